"""One process of the mesh: builds a set of targets, connects them, starts and drains them in order."""

import asyncio
import logging
import os
import pathlib
import secrets
import time
from collections.abc import Mapping
from urllib.parse import quote

import grpc.aio
from grpc_health.v1 import health_pb2_grpc

from dac.type.v1.principal_pb2 import Principal
from mesh import tracing
from mesh.app import TARGETS, Settings, start_order
from mesh.call import install_service_principals
from mesh.carried import Carried
from mesh.config import ConfigError
from mesh.embedded import PG_PORT
from mesh.errors import MeshError, Reason
from mesh.inprocess import LocalChannel
from mesh.inprocess_calls import MethodTable
from mesh.interceptors import server_interceptors
from mesh.keyring import Keyring, open_keyring
from mesh.model_book import FOLLOWING, ModelBook
from mesh.model_files import ModelFiles
from mesh.permissions import check_covered
from mesh.postgres import Database
from mesh.principals import LIFETIME_S, Signer, Verifier
from mesh.probes import Probes
from mesh.server import LiveHealth, Server, wait_healthy
from mesh.service import Context, Service
from mesh.transport import RemoteChannel

_log = logging.getLogger("dac.runtime")
HEALTH_EVERY_S = 5.0


class Process:
    """The targets of one process. `start` returns when they serve; `stop` drains and closes them in reverse."""

    def __init__(self, settings: Settings, targets: list[str]) -> None:
        self.settings, self.order = settings, start_order(targets)
        self.instance = f"{os.getpid():x}-{secrets.token_hex(3)}"
        self.table = MethodTable()
        self.services: dict[str, Service] = {}
        self.databases: dict[str, Database] = {}
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._local = LocalChannel(self.table)
        self._addresses = parse_addresses(settings.mesh.addresses)
        self._minted: dict[str, tuple[Principal, bytes]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.server: Server | None = None
        self.health = LiveHealth()
        self.leaving = asyncio.Event()
        self.serving: dict[str, Service] = {}
        self.probes = Probes(self.serving, self.leaving)
        mesh = settings.mesh
        key_file = mesh.master_key_file or mesh.secrets_dir / "master.key"
        self.keyring: Keyring = open_keyring(key_file, create=False, old=mesh.master_key_old_file)
        self.signers = {name: Signer.from_file(name, mesh.secrets_dir, create=True) for name in self.order}

    def channel_to(self, name: str) -> grpc.aio.Channel:
        """The channel to a service: in process when it is here, else a socket."""
        if name in self.order:
            return self._local
        if name not in self._channels:
            if name not in self._addresses:
                raise ConfigError(
                    f'"{name}" does not run in this process and mesh.addresses does not say where it does: '
                    f"add {name}=HOST:PORT, or run it here with --target"
                )
            self._channels[name] = RemoteChannel(self._addresses[name], name)
        return self._channels[name]

    def _database(self, name: str) -> Database:
        if name not in self.databases:
            mesh = self.settings.mesh
            if mesh.database_url is not None:
                self.databases[name] = Database(mesh.database_url.reveal(), name, role=f"dac_{name}")
            elif mesh.embedded_postgres_dir is not None:
                password = role_password(self.keyring, name)
                dsn = role_dsn(mesh.embedded_postgres_dir, f"dac_{name}", password)
                self.databases[name] = Database(dsn, name)
            else:
                raise ConfigError("there is no database: set DATABASE_URL, or start with `dac up`, which brings one")
        return self.databases[name]

    def _mint(self, service: str) -> tuple[Principal, bytes]:
        """A SERVICE principal of this process, made anew after half its lifetime."""
        held = self._minted.get(service)
        if held is None or held[0].expires_at.seconds - time.time() < LIFETIME_S / 2:
            principal = Principal(kind=Principal.KIND_SERVICE, service=service)
            held = self._minted[service] = (principal, self.signers[service].sign(principal))
        return held

    async def _look_up(self, signing_key_id: str) -> tuple[str, bytes] | None:
        async with self._database(self.order[0]).transaction() as connection:
            row = await connection.fetchrow(
                "SELECT issuer, public_key FROM mesh.signing_keys WHERE signing_key_id = $1", signing_key_id
            )
        return (row["issuer"], bytes(row["public_key"])) if row else None

    async def _publish_keys(self) -> None:
        for name, signer in self.signers.items():
            async with self._database(name).transaction() as connection:
                await connection.execute(
                    "INSERT INTO mesh.signing_keys (signing_key_id, issuer, public_key) VALUES ($1, $2, $3) "
                    "ON CONFLICT (signing_key_id) DO NOTHING",
                    signer.signing_key_id,
                    name,
                    signer.public_key,
                )

    async def _open_models(self) -> ModelBook:
        """The models, those of the API read before any service is built. Raises MeshError."""
        settings = self.settings
        files = ModelFiles(settings.documents, settings.providers, settings.models, settings.catalog_read_on)
        following = next((name for name in FOLLOWING if name in self.order), None)
        book = ModelBook(files, self._database(following) if following is not None else None)
        await book.load()
        return book

    def _build(self, models: ModelBook) -> None:
        settings = self.settings
        for name in self.order:
            context = Context(
                name=name,
                config=settings.services[name],
                providers=settings.providers,
                models=models.now,
                data_dir=settings.mesh.data_dir,
                keyring=self.keyring,
                signer=self.signers[name],
                database=self._database(name),
                channel_to=self.channel_to,
                instance=self.instance,
                split=bool(settings.mesh.listen),
                redis_url=settings.mesh.redis_url.reveal() if settings.mesh.redis_url else None,
                drain_s=settings.mesh.drain_s,
                leaving=self.leaving,
                here=tuple(self.order),
                carried=Carried(self.table),
                documents=settings.documents,
                model_book=models,
            )
            self.services[name] = TARGETS[name].build(context)
            self.services[name].register(self.table)  # type: ignore[arg-type]
        self.health.asked = self.services
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self.table)
        check_covered(self.table.handlers)

    async def start(self, *, wait_s: float = 60.0) -> None:
        """Builds, serves and starts everything. Raises MeshError when a part cannot start."""
        mesh = self.settings.mesh
        tracing.set_up(
            "+".join(self.order) if len(self.order) < len(TARGETS) else "all",
            mesh.otlp_endpoint,
            instance=self.instance,
        )
        install_service_principals(self._mint)
        if mesh.probe_port:
            await self.probes.start(mesh.probe_host, mesh.probe_port)
        self.table.interceptors = server_interceptors(Verifier(self._look_up))
        self._build(await self._open_models())
        if mesh.listen or mesh.addresses:
            await self._publish_keys()
        if mesh.listen:
            self.server = Server(self.table, self.health)
            try:
                self.server.listen(mesh.listen)
            except RuntimeError:
                raise MeshError(
                    Reason.FAILED_PRECONDITION,
                    f"{mesh.listen} is taken by another program: choose another with DAC_MESH_LISTEN.",
                ) from None
            await self.server.start()
        for name in self.order:
            await self._wait_for_needs(name, wait_s)
            await self.services[name].start()
        self.serving.update(self.services)
        if self.server is not None:
            self.server.set_serving(True)
            self._tasks.append(asyncio.create_task(self._watch_health()))

    async def _wait_for_needs(self, name: str, wait_s: float) -> None:
        for needed in TARGETS[name].needs:
            if needed not in self.order and not await wait_healthy(self.channel_to(needed), wait_s, needed):
                raise MeshError(
                    Reason.UNAVAILABLE,
                    f'"{name}" needs "{needed}", which did not become healthy at '
                    f"{self._addresses[needed]} within {wait_s:g} s.",
                )

    async def _watch_health(self) -> None:
        """Tells health checks when a service cannot do its work (polled, as Boulder does)."""
        assert self.server is not None
        while True:
            await asyncio.sleep(HEALTH_EVERY_S)
            try:
                async with asyncio.timeout(HEALTH_EVERY_S * 0.9):
                    for service in self.services.values():
                        await service.health()
            except (MeshError, TimeoutError) as error:
                _log.warning("not healthy: %s", error)
                self.server.set_serving(False)
            else:
                self.server.set_serving(True)

    async def stop(self) -> None:
        """Not ready → lame duck → finish running calls → flush and close services in reverse → close the rest."""
        for task in self._tasks:
            task.cancel()
        self.leaving.set()
        if self.server is not None:
            self.server.set_serving(False)
        if self.serving:
            await asyncio.sleep(self.settings.mesh.lame_duck_s)
        until = time.monotonic() + self.settings.mesh.drain_s
        for name in reversed(self.order):
            if name == "gateway" and name in self.services:
                await self._close(name)
        if self.server is not None:
            # The gateway's callers and the mesh's share one drain: whoever kills the pod counts once.
            await self.server.stop(max(1.0, until - time.monotonic()))
        for name in reversed(self.order):
            if name != "gateway" and name in self.services:
                await self._close(name)
        for channel in self._channels.values():
            await channel.close()
        for database in self.databases.values():
            await database.close()
        await self.probes.close()
        tracing.shut_down()

    async def _close(self, name: str) -> None:
        try:
            await self.services[name].close()
        except Exception:
            _log.exception("%s did not close cleanly", name)


def role_dsn(socket_dir: pathlib.Path, role: str, password: str) -> str:
    """The address of the embedded database for one role."""
    return f"postgresql://{role}:{password}@/dac?host={quote(str(socket_dir))}&port={PG_PORT}"


def role_password(keyring: Keyring, name: str) -> str:
    """The password of dac_<name> in the embedded database: derived, so that it is stored nowhere."""
    return keyring.subkey(f"postgres:{name}").hex()


def parse_addresses(pairs: tuple[str, ...]) -> Mapping[str, str]:
    """("budget=unix:/x",) → {"budget": "unix:/x"}. Raises ConfigError."""
    addresses = {}
    for pair in pairs:
        name, found, address = pair.partition("=")
        if not found or name not in TARGETS:
            raise ConfigError(f'mesh.addresses: "{pair}" is not NAME=ADDRESS with a name of {", ".join(TARGETS)}')
        addresses[name] = address
    return addresses


def ensure_secrets(data_dir: pathlib.Path) -> None:
    """Makes the data and secrets folders, private."""
    data_dir.mkdir(parents=True, exist_ok=True)
    (data_dir / "secrets").mkdir(mode=0o700, exist_ok=True)
