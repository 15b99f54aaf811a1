"""What is compiled before the tests' processes start is what they read."""

import os
import pathlib
import subprocess
import sys

from mesh.app import ROOT

TEST = "def test_one():\n    here = 1\n    assert here == 2\n"


def test_pytest_finds_its_files_compiled(tmp_path: pathlib.Path) -> None:
    (tmp_path / "test_one.py").write_text(TEST)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.rewritten", str(tmp_path)], cwd=ROOT, env=env, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (written,) = (tmp_path / "__pycache__").iterdir()
    before = written.stat()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_one.py"]
    ended = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert "assert 1 == 2" in ended.stdout
    (read,) = (tmp_path / "__pycache__").iterdir()
    assert (read, read.stat().st_ino, read.stat().st_mtime_ns) == (written, before.st_ino, before.st_mtime_ns)
