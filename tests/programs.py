"""`dac up`, `dac serve` and `dac` commands as processes of their own, without paying for their imports each time.

A start of DAC is mostly the import of what it is made of, and the tests start it hundreds of times: here a process that
has imported everything forks for each (`tests.nursery`). What depends on a real start or on the interpreter's own end
(another version's program, a plug-in on another path, `make run`) takes `subprocess`.
"""

import atexit
import functools
import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import IO

START_TIMEOUT_S = 120.0
COMMAND = """#!{python} -IS
import json, os, signal, socket, sys
told, status = os.pipe()
program = dict(arguments=sys.argv[1:], env=dict(os.environ), folder=os.getcwd())
socket.send_fds(socket.socket(fileno={nursery}), [json.dumps(program).encode()], [0, 1, 2, status])
os.close(status)
said = open(told)
pid = int(said.readline())
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda number, frame: os.kill(pid, number))
code = int(said.readline() or -9)
sys.exit(code if code >= 0 else 128 - code)
"""
"""A program for the shell in the place of `dac`."""
ROOT = pathlib.Path(__file__).resolve().parent.parent


class Program:
    """A running program: what is used of `subprocess.Popen`."""

    def __init__(self, arguments: list[str], pid: int, status: int) -> None:
        self.args, self.pid, self._status = arguments, pid, status
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code when it has ended."""
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code. Raises subprocess.TimeoutExpired."""
        code = self._look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Sends a signal while it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _look(self, timeout_s: float | None) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], timeout_s)[0]:
            said = os.read(self._status, 64)
            self.returncode = int(said or b"-9")
            os.close(self._status)
        return self.returncode


def start(
    arguments: list[str],
    env: Mapping[str, str],
    *,
    stdin: IO[bytes] | int | None = None,
    stdout: IO[bytes] | None = None,
    stderr: IO[bytes] | None = None,
    folder: pathlib.Path = ROOT,
) -> Program:
    """Starts `dac ARGUMENTS`; without files for its output nobody reads it."""
    message = json.dumps({"arguments": arguments, "env": dict(env), "folder": str(folder)}).encode()
    told, status = os.pipe()
    with open(os.devnull, "r+b") as nothing:  # noqa: PTH123
        streams = [
            stream if isinstance(stream, int) else (stream or nothing).fileno() for stream in (stdin, stdout, stderr)
        ]
        socket.send_fds(_nursery(), [message], [*streams, status])
    os.close(status)
    if not select.select([told], [], [], START_TIMEOUT_S)[0]:
        raise AssertionError("the nursery of programs does not answer")
    pid = b""
    while not pid.endswith(b"\n"):
        pid += os.read(told, 1) or b"\n"
    return Program(arguments, int(pid), told)


def run(
    arguments: list[str], env: Mapping[str, str], *, stdin: str = "", timeout_s: float = 60, folder: pathlib.Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Runs `dac ARGUMENTS` to its end; killed when it takes too long."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(stdin.encode())
        given.seek(0)
        program = start(arguments, env, stdin=given, stdout=out, stderr=err, folder=folder)
        try:
            code = program.wait(timeout_s)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()
            raise
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(arguments, code, out.read().decode(), err.read().decode())


def command(file: pathlib.Path) -> int:
    """Makes `file` a `dac` for scripts; returns the descriptor that they have to inherit."""
    nursery = _nursery().fileno()
    file.write_text(COMMAND.format(python=sys.executable, nursery=nursery))
    file.chmod(0o755)
    return nursery


@functools.cache
def _nursery() -> socket.socket:
    """The control socket of this test process's nursery."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # One thread: a fork takes no other thread along, and a pool that was there would hang.
    env = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.nursery", str(theirs.fileno())],
        env=env, cwd=ROOT, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    theirs.close()
    atexit.register(_end, ours, process)
    return ours


def _end(ours: socket.socket, process: "subprocess.Popen[bytes]") -> None:
    ours.close()
    process.wait(10)
