"""A test that hangs in native code with the interpreter's lock held is ended, and named; the run goes on."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys

import psutil

from mesh.app import ROOT

HANGS = """
import ctypes, os, pathlib, pytest, subprocess

def hang(place):
    pathlib.Path(place).write_text(f"{os.getpid()} {subprocess.Popen(['sleep', '600']).pid}")
    # Locked twice by one thread: waits for ever, deaf to signals' handlers, and keeps the interpreter.
    mutex, native = ctypes.create_string_buffer(128), ctypes.PyDLL(None)
    native.pthread_mutex_lock(mutex)
    native.pthread_mutex_lock(mutex)

@pytest.fixture
def left_hanging():
    yield
    hang("left")

def test_before():
    pass

def test_that_hangs():
    hang("inside")

def test_that_fails_and_hangs(left_hanging):
    raise AssertionError

def test_after():
    pass
"""


def runs(pid: int) -> bool:
    """Whether it is more than an entry that nobody has read yet."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_native_hang_ends_and_is_named(tmp_path: pathlib.Path) -> None:
    (tmp_path / "test_native.py").write_text(HANGS)
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    env |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
    plugins = ("-p", "xdist", "-p", "pytest_timeout", "-p", "tests.guard", "-p", "no:cacheprovider")
    command = [sys.executable, "-m", "pytest", "-q", "-n", "1", "-o", "timeout=2", *plugins, str(tmp_path)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, env=env, start_new_session=True, **pipes) as run:
        try:
            out, said = run.communicate(timeout=90)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)
    for test, place in (("test_that_hangs", "inside"), ("test_that_fails_and_hangs", "left")):
        assert f"crashed while running 'test_native.py::{test}'" in out
        assert f"killed: a test that did not end in 5.0 s: test_native.py::{test}\n" in said
        assert not any(runs(int(pid)) for pid in (tmp_path / place).read_text().split())
    assert run.returncode == 1 and "2 passed" in out
