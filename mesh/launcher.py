"""`dac up`: the embedded database, migrations, then the targets: in this process, split, or as workers.

Children run in sessions of their own and die with their parent; only `dac` itself gets the terminal's signals, so that
Ctrl-C drains before PostgreSQL stops.
"""

import asyncio
import contextlib
import dataclasses
import gc
import json
import logging
import os
import pathlib
import shutil
import signal
import socket
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

from mesh import logs
from mesh.app import TARGETS, Settings, start_order
from mesh.backup.upgrade import back_up_before_upgrade
from mesh.children import Child
from mesh.config import ConfigError, Secret
from mesh.embedded import EmbeddedPostgres
from mesh.errors import MeshError, Reason
from mesh.keyring import Keyring, open_keyring
from mesh.migrate import bootstrap, migrate
from mesh.runtime import Process, ensure_secrets, role_password
from mesh.variables import in_words

Say = Callable[[str], None]
CORE = [name for name, target in TARGETS.items() if not target.edge]
EDGE = [name for name, target in TARGETS.items() if target.edge]
NURSE_EVERY_S = 0.2
_log = logging.getLogger("dac.launcher")


class Launcher:
    """One `dac up`."""

    def __init__(self, settings: Settings, *, split: bool, workers: int, say: Say, env: Mapping[str, str]) -> None:
        self.settings, self.split, self.workers, self.say = settings, split, workers, say
        self._env = dict(env)
        self.data_dir = settings.mesh.data_dir.absolute()
        self.postgres: EmbeddedPostgres | None = None
        self.process: Process | None = None
        self.children: list[Child] = []
        self.first_key: str | None = None
        self._sockets: pathlib.Path | None = None
        self._stop = asyncio.Event()
        self._nurse: asyncio.Task[None] | None = None

    async def run(self, announce: Callable[["Launcher"], Awaitable[None]]) -> int:
        """Starts, announces, waits for a signal, stops. Returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop.set)
        failed = False
        try:
            await self._start()
            if not self._stop.is_set():
                await announce(self)
                gc.collect()
                gc.freeze()
                await self._stop.wait()
                self.say("stopping: running requests may finish …")
        except MeshError as error:
            failed = True
            self.say(f"error: {error.message}")
        finally:
            # Signals stay handled until PostgreSQL has stopped, last of all: a second one must not cut the drain.
            await self._shut_down()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
        return 1 if failed else 0

    async def _start(self) -> None:
        gateway = self.settings.services["gateway"]
        for host, port, flag, variable in (
            (gateway.http_host, gateway.http_port, "--http-port", "DAC_HTTP_PORT"),
            (gateway.grpc_host, gateway.grpc_port, "--grpc-port", "DAC_GRPC_PORT"),
        ):
            check_port(host, port, flag, variable)
        ensure_secrets(self.data_dir)
        mesh = self.settings.mesh
        keyring = open_keyring(
            mesh.master_key_file or self.data_dir / "secrets" / "master.key",
            create=mesh.master_key_file is None,
            old=mesh.master_key_old_file,
        )
        await self._start_database(keyring)
        started = time.monotonic()
        result = self.data_dir / "secrets" / ".first-key"
        result.unlink(missing_ok=True)
        if self.split or self.workers > 1:
            await self._start_children(result)
        else:
            await self._start_here(result)
        if result.exists():
            self.first_key = result.read_text()
            result.unlink()
        self._write_state()
        self.say(f"✓ services ready in {time.monotonic() - started:.1f} s")

    async def _start_database(self, keyring: Keyring) -> None:
        mesh, started = self.settings.mesh, time.monotonic()
        folders = {name: target.migrations for name, target in TARGETS.items()}
        if mesh.database_url is not None:
            owner = (mesh.database_owner_url or mesh.database_url).reveal()
            check_database_url(mesh.database_url)
            login = login_of(mesh.database_url)
            await migrate(owner, folders, None, runtime_login=login)
            self.say(
                f"✓ your PostgreSQL is migrated in {time.monotonic() - started:.1f} s; "
                f'"{login}" switches to the role dac_<service> at every connection'
            )
            return
        root = self.data_dir / "postgres"
        self.say("  starting the embedded PostgreSQL …" if root.exists() else "  setting up the embedded PostgreSQL …")
        self.postgres = EmbeddedPostgres(root)
        self.postgres.start()
        owner = await bootstrap(self.postgres.superuser_dsn, keyring.subkey("postgres:owner").hex())
        administrator = self.postgres.superuser_dsn.replace("@/postgres?", "@/dac?")
        await back_up_before_upgrade(administrator, folders, self.data_dir, keyring, self._env, self.say)
        await migrate(owner, folders, {name: role_password(keyring, name) for name in TARGETS})
        self.say(f"✓ PostgreSQL ready in {time.monotonic() - started:.1f} s")
        self._nurse = asyncio.create_task(self._nurse_database())

    async def _nurse_database(self) -> None:
        """Starts the embedded PostgreSQL again when it dies. Services come back by themselves."""
        assert self.postgres is not None
        while True:
            await asyncio.sleep(NURSE_EVERY_S)
            try:
                # In this thread, because the server dies with the thread that started it.
                if self.postgres.revive():
                    _log.warning("the embedded PostgreSQL had died and was started again")
            except MeshError as error:
                _log.error("the embedded PostgreSQL has died and does not start: %s", error.message)
                await asyncio.sleep(NURSE_EVERY_S * 10)

    def _mesh_env(self) -> dict[str, str]:
        """What every child needs to know of its surroundings."""
        env = {**self._env, "DAC_DATA_DIR": str(self.data_dir), "DAC_PROBE_PORT": "0"}
        if self.postgres is not None:
            env["DAC_EMBEDDED_POSTGRES_DIR"] = str(self.postgres.socket_dir)
        return env

    async def _start_here(self, result: pathlib.Path) -> None:
        mesh = dataclasses.replace(
            self.settings.mesh,
            data_dir=self.data_dir,
            embedded_postgres_dir=self.postgres.socket_dir if self.postgres else None,
        )
        services = dict(self.settings.services)
        services["gateway"] = dataclasses.replace(services["gateway"], bootstrap_result_file=result)
        settings = dataclasses.replace(self.settings, mesh=mesh, services=services)
        self.process = Process(settings, list(TARGETS))
        await self.process.start()

    async def _start_children(self, result: pathlib.Path) -> None:
        self._sockets = pathlib.Path(tempfile.mkdtemp(prefix="dac-"))
        groups = self._groups()
        addresses = ",".join(
            f"{name}=unix:{self._sockets / label}.sock" for label, names, listens in groups for name in names if listens
        )
        for label, names, listens in groups:
            env = {**self._mesh_env(), "DAC_MESH_ADDRESSES": addresses}
            if listens:
                env["DAC_MESH_LISTEN"] = f"unix:{self._sockets / label}.sock"
            if "gateway" in names and not any("gateway" in child.targets for child in self.children):
                env["DAC_GATEWAY_BOOTSTRAP_RESULT_FILE"] = str(result)
            if self.workers > 1:
                env["DAC_GATEWAY_REUSE_PORT"] = "true"
            if "gateway" not in names:
                env["DAC_MESH_LAME_DUCK_S"] = "0"
            child = Child(label, names, env, on_change=self._write_state)
            self.children.append(child)
            await child.start()
            self.say(f"  {label} is up (pid {child.pid})")

    def _groups(self) -> list[tuple[str, list[str], bool]]:
        """(label, targets, whether others call it) in order of start."""
        if self.split and self.workers <= 1:
            return [(name, [name], True) for name in start_order(TARGETS)]
        return [("core", CORE, True)] + [(f"edge-{number + 1}", EDGE, False) for number in range(self.workers)]

    def state(self) -> dict[str, list[dict[str, object]]]:
        """What `dac status --json` shows."""
        if self.process is not None:
            here = [{"name": name, "pid": os.getpid(), "state": "serving", "target": "all"} for name in TARGETS]
            return {"services": list(here)}
        rows: list[dict[str, object]] = []
        for child in self.children:
            for name in child.targets:
                rows.append({"name": name, "pid": child.pid, "state": child.state, "target": child.label})
        return {"services": rows}

    def _write_state(self) -> None:
        gateway = self.settings.services["gateway"]
        whole = {
            "pid": os.getpid(),
            "http_port": gateway.http_port,
            "grpc_port": gateway.grpc_port,
            **self.state(),
        }
        draft = self.data_dir / ".state.draft"
        draft.write_text(json.dumps(whole))
        draft.replace(state_file(self.data_dir))

    async def _shut_down(self) -> None:
        for child in self.children:
            child.expect_end()
        grace_s = self.settings.mesh.lame_duck_s + self.settings.mesh.drain_s
        # Gateways first, all at once: each goes on serving for a while, and the services below must be there for them.
        gateways = [child for child in self.children if "gateway" in child.targets]
        await asyncio.gather(*(child.stop(grace_s) for child in gateways))
        for child in reversed([child for child in self.children if child not in gateways]):
            await child.stop(grace_s)
        if self.process is not None:
            await self.process.stop()
        if self._nurse is not None:
            self._nurse.cancel()
        if self.postgres is not None:
            self.postgres.stop()
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)
        state_file(self.data_dir).unlink(missing_ok=True)


async def serve(settings: Settings, targets: Sequence[str]) -> int:
    """`dac serve`: the targets in this process until a signal. Returns the exit code."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    ensure_secrets(settings.mesh.data_dir)
    try:
        process = Process(settings, list(targets))
    except MeshError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    try:
        await process.start()
        tell_ready()
        _log.info("serving %s", ", ".join(process.order))
        gc.collect()
        gc.freeze()
        await stop.wait()
    except MeshError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return 1
    finally:
        await process.stop()
    return 0


def tell_ready() -> None:
    """Tells the parent that started this process (see mesh.children) that it serves."""
    fd = os.environ.get("DAC_READY_FD")
    if fd:
        os.write(int(fd), b"1")
        os.close(int(fd))


def run_in_loop(main: Callable[[], Coroutine[Any, Any, int]], settings: Settings, name: str) -> int:
    """Runs a coroutine function on uvloop with logging set up."""
    logs.set_up(settings.mesh.log_level, settings.mesh.log_format, name)
    if "DAC_READY_FD" not in os.environ:  # A child has its parent's variables, and the parent has said it.
        for variable, near in settings.unknown:
            _log.warning("%s", in_words(variable, near))
    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    with contextlib.suppress(ImportError):
        import uvloop

        factory = uvloop.new_event_loop
    gc.set_threshold(50_000, 20, 50)
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main())


def state_file(data_dir: pathlib.Path) -> pathlib.Path:
    """Where a running `dac up` says what it runs."""
    return data_dir / "state.json"


def check_port(host: str, port: int, flag: str, variable: str) -> None:
    """Raises FAILED_PRECONDITION when another program has the port."""
    if not port:
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise MeshError(
                Reason.FAILED_PRECONDITION,
                f"port {port} on {host} cannot be used ({error.strerror}): stop the program that has it, or choose "
                f"another port with {flag} PORT or {variable}=PORT",
            ) from None


def login_of(url: Secret) -> str | None:
    """The user that a database address logs in as."""
    user = urllib.parse.urlsplit(url.reveal()).username
    return urllib.parse.unquote(user) if user else None


def check_database_url(url: Secret) -> None:
    """Raises ConfigError for a database DAC does not work on."""
    scheme = url.reveal().split(":", 1)[0]
    if scheme not in ("postgresql", "postgres"):
        raise ConfigError(
            f"DATABASE_URL: {scheme}:// is not supported. Budgets need row locks and row-level security, which only "
            "PostgreSQL gives: use postgresql://…, or leave DATABASE_URL unset for the embedded one"
        )
