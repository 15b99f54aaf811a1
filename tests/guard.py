"""A process beside each test process, which ends it when a test goes on long after its time limit.

pytest-timeout stops a test from within, which takes the interpreter's lock: native code that hangs with the lock held
never gives it back, and one such test would hold the whole run. xdist tells which test its process died in.
"""

import atexit
import functools
import os
import select
import signal
import subprocess
import sys
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:  # The guard itself is this file, too, and starts without them.
    import pytest

TIMES = 2.5
"""How many times its limit a test may take: with the 120 s of pyproject.toml, five minutes."""
OVER = "0"


def pytest_timeout_set_timer(item: "pytest.Item", settings: Any) -> None:
    """A test begins: what it may take, and its name. Without a time limit (`-o timeout=0`) there is none here."""
    _say(f"{settings.timeout * TIMES} {item.nodeid[:1000]}")


def pytest_runtest_logfinish() -> None:
    """It is over, with its fixtures: pytest-timeout itself no longer looks when a test has failed and is cleared up."""
    _say(OVER)


def pytest_enter_pdb() -> None:
    """Somebody looks at it."""
    _say(OVER)


def _say(line: str) -> None:
    told = _guard()
    told.write(line.encode() + b"\n")
    told.flush()


@functools.cache
def _guard() -> IO[bytes]:
    """What the guard of this process reads: a line when a test begins and one when it is over."""
    process = subprocess.Popen([sys.executable, __file__, str(os.getpid())], stdin=subprocess.PIPE)
    assert process.stdin is not None
    atexit.register(process.communicate)
    return process.stdin


def watch(guarded: int, told: int) -> None:
    """Reads until the guarded process ends; ends it, and all that it started, when a test has taken too long."""
    limit_s, name = None, ""
    while select.select([told], [], [], limit_s)[0]:
        said = os.read(told, 1 << 16).decode(errors="replace")
        if not said:
            return
        first, _, name = said.splitlines()[-1].partition(" ")
        limit_s = None if first == OVER else float(first)
    if os.getppid() == guarded:
        print(f"\nkilled: a test that did not end in {limit_s} s: {name}", file=sys.stderr, flush=True)
        end(guarded)


def end(guarded: int) -> None:
    """No process of its own is left behind that would hold a port, or an output that somebody reads to its end."""
    import psutil

    process = psutil.Process(guarded)
    started = process.children(recursive=True)
    process.kill()
    for other in started:
        if other.pid != os.getpid() and other.is_running():
            other.kill()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    watch(int(sys.argv[1]), sys.stdin.fileno())
