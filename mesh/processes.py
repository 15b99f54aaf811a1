"""Child servers of `dac up` as processes and folders: they run in sessions of their own (the terminal's Ctrl-C does
not reach them) and die with their parent, however it dies; their folders are private and used by one dac at a time."""

import contextlib
import fcntl
import hashlib
import os
import pathlib
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from typing import Any

from mesh.errors import MeshError, Reason

NOBODY = 65534
SOCKET_PATH_LIMIT_BYTES = 100
LOG_LIMIT_BYTES = 10 * 1024 * 1024
STARTER = """import ctypes, os, sys
parent, number, user, *argv = sys.argv[1:]
if user:
    os.setgroups([])
    os.setgid(int(user))
    os.setuid(int(user))
ctypes.CDLL(None).prctl(1, int(number))
if os.getppid() != int(parent):
    sys.exit(1)
try:
    os.execvp(argv[0], argv)
except OSError as error:
    hint = ": run dac as an ordinary user, or make its folders reachable for all (chmod o+x)" if user else ""
    sys.exit(f"cannot run {argv[0]}: {error.strerror}{hint}")
"""
"""Runs a command that gets a signal when its parent ends (PR_SET_PDEATHSIG); arguments: the parent's process id, the
signal, the user id or nothing, the command."""
WATCHER = (
    "import os,signal,sys\nsys.stdin.buffer.read()\n"
    "try: os.kill(int(sys.argv[1]), int(sys.argv[2]))\nexcept ProcessLookupError: pass"
)
"""What dies-with-parent is where the kernel has no PR_SET_PDEATHSIG: wait for the parent's end of a pipe to close."""


def refused(message: str) -> MeshError:
    """What an operator has to mend before the server can start."""
    return MeshError(Reason.FAILED_PRECONDITION, message)


def dying_with_parent(argv: Sequence[str], death_signal: int, user: int | None = None) -> list[str]:
    """The command that runs `argv`, as `user` if given, so that it gets this signal when the calling thread ends.

    Set between fork and exec it would need a real fork, and OpenBLAS and gRPC stop their threads before each of those:
    with one of them at work the whole process then hangs, or crashes.
    """
    if sys.platform != "linux":
        return list(argv)
    told = [str(os.getpid()), str(int(death_signal)), "" if user is None else str(user)]
    return [sys.executable, "-I", "-S", "-c", STARTER, *told, *argv]


def spawn(
    argv: Sequence[str], log: pathlib.Path, death_signal: int, user: int | None = None
) -> subprocess.Popen[bytes]:
    """Start a server that dies with this process, with the rights of `user` and no group but its own if given."""
    if threading.current_thread() is not threading.main_thread():
        raise refused(f"{argv[0]} must be started from the main thread: it dies with the thread that started it")
    on_linux = sys.platform == "linux"
    rights: dict[str, Any] = {} if user is None or on_linux else {"user": user, "group": user, "extra_groups": []}
    with log.open("ab") as out:
        child = subprocess.Popen(
            dying_with_parent(argv, death_signal, user),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd="/",
            start_new_session=True,
            **rights,
        )
    if not on_linux:
        watch = [sys.executable, "-S", "-c", WATCHER, str(child.pid), str(int(death_signal))]
        child.watcher = subprocess.Popen(watch, stdin=subprocess.PIPE, start_new_session=True)  # type: ignore[attr-defined]
    return child


def end(process: subprocess.Popen[bytes], gentle: int, timeout_s: float) -> None:
    """Ask to stop, then insist."""
    if process.poll() is None:
        process.send_signal(gentle)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
    watcher = getattr(process, "watcher", None)
    if watcher is not None:
        watcher.kill()
        watcher.wait(5)


def private_folder(folder: pathlib.Path) -> pathlib.Path:
    """`folder`, made 0700, refused when somebody else could have put it there."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in (os.geteuid(), NOBODY if os.geteuid() == 0 else -1):
        raise refused(f"{folder} belongs to somebody else: remove it, or set TMPDIR to a folder of your own")
    folder.chmod(0o700)
    return folder


def socket_folder(root: pathlib.Path, socket_name: str) -> pathlib.Path:
    """Where the socket lies: beside the data, or in a short temporary folder when that path would be too long."""
    beside = root / "s"
    if len(os.fsencode(beside / socket_name)) <= SOCKET_PATH_LIMIT_BYTES:
        return private_folder(beside)
    name = hashlib.sha256(os.fsencode(root)).hexdigest()[:12]
    folder = pathlib.Path(tempfile.gettempdir(), f"dac-{os.geteuid()}-{name}")
    if len(os.fsencode(folder / socket_name)) > SOCKET_PATH_LIMIT_BYTES:
        raise refused(f"{folder} is too long for a unix socket: set TMPDIR to a shorter folder, such as /tmp")
    return private_folder(folder)


def write_secret(path: pathlib.Path, text: str) -> None:
    """Write `text` at once and for the owner only."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def trim_log(log: pathlib.Path) -> None:
    """Keep one older log at most."""
    if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
        log.replace(log.with_name(log.name + ".1"))


def tail(log: pathlib.Path, offset: int) -> str:
    """The end of what was logged since `offset`."""
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(offset)
        return file.read()[-2000:].decode("utf-8", "replace")
    return ""


class FolderLock:
    """At most one process uses a data folder. The kernel drops the lock when its holder dies."""

    def __init__(self, root: pathlib.Path) -> None:
        self._path = root / "lock"
        self._fd: int | None = None

    def take(self) -> None:
        """Hold the folder, or say who has it."""
        if self._fd is not None:
            return
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(fd, 20).decode() or "unknown"
            os.close(fd)
            raise refused(
                f"the data folder {self._path.parent} is already in use by another dac (pid {holder}): "
                "stop that one first, or give this one a data folder of its own"
            ) from None
        os.ftruncate(fd, 0)
        os.write(fd, str(os.getpid()).encode())
        self._fd = fd

    def drop(self) -> None:
        """Let the next one in."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def answers(path: pathlib.Path) -> bool:
    """Whether somebody listens on the unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        return probe.connect_ex(str(path)) == 0
