"""Prometheus' promtool for the tests: the one on the PATH, or out of Debian's package, kept in the user's cache folder.

`DAC_PROMTOOL` names another one instead.
"""

import os
import pathlib
import shutil
import subprocess
import tempfile

from tests.downloads import cached


class NoPromtool(Exception):
    """There is no promtool for this machine."""


def find_promtool() -> str:
    """The path of a promtool. Raises NoPromtool."""
    found = os.environ.get("DAC_PROMTOOL") or shutil.which("promtool")
    if found:
        return found
    return str(cached("prometheus", "promtool", _unpack))


def _unpack(binary: pathlib.Path) -> None:
    missing = "promtool is not here: install Prometheus, or set DAC_PROMTOOL to one of your own"
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise NoPromtool(f"{missing}; this machine has no apt-get to fetch Debian's package with")
    with tempfile.TemporaryDirectory() as folder:
        done = _run("apt-get", "download", "prometheus", folder=folder)
        if done.returncode:
            # The lists of packages may be empty; only root can fill them.
            _run("apt-get", "update", folder=folder)
            done = _run("apt-get", "download", "prometheus", folder=folder)
        packages = list(pathlib.Path(folder).glob("prometheus_*.deb"))
        if done.returncode or not packages:
            raise NoPromtool(f"{missing}; apt-get download prometheus said: {done.stderr.strip()[-300:]}")
        tree = pathlib.Path(folder) / "tree"
        done = _run("dpkg-deb", "-x", str(packages[0]), str(tree), folder=folder)
        if done.returncode:
            raise NoPromtool(f"{missing}; dpkg-deb said: {done.stderr.strip()[-300:]}")
        draft = binary.with_suffix(".draft")
        shutil.copy2(tree / "usr" / "bin" / "promtool", draft)
        draft.replace(binary)


def _run(*command: str, folder: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=150)
