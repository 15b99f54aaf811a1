"""For tests, DAC's own and those of programs that build on it: a whole mesh in this process, and a clock by hand.

async with mesh_in_process(tmp_path, config="…") as process:
    stub = RouterServiceStub(process.channel_to("router"))
    with serving(process.caller("chat")):
        await stub.Route(RouteRequest(model="auto"))
"""

import contextlib
import dataclasses
import pathlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from dac.type.v1.principal_pb2 import Level, Principal
from mesh.app import TARGETS, load_settings
from mesh.call import Call
from mesh.embedded import EmbeddedPostgres
from mesh.ids import uuid7
from mesh.keyring import open_keyring
from mesh.migrate import bootstrap, migrate
from mesh.runtime import Process, ensure_secrets, role_password


class FakeClock:
    """A monotonic clock that moves only when told."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """The time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Moves it on."""
        self.now += seconds


class TestProcess(Process):
    """A Process that also makes callers."""

    __test__ = False

    def caller(self, *scopes: str, org_id: str = "") -> Call:
        """A call with these scopes in an organisation (a new one when none is given), by no key in particular."""
        org_id = org_id or uuid7()
        principal = Principal(
            kind=Principal.KIND_USER_KEY,
            org_id=org_id,
            scopes=scopes,
            path=[Level(kind=Level.KIND_ORG, id=org_id)],
        )
        return Call(uuid7(), principal, self.signers["gateway"].sign(principal) if "gateway" in self.signers else b"")


@contextlib.asynccontextmanager
async def mesh_in_process(
    folder: pathlib.Path,
    *,
    config: str = "",
    targets: Sequence[str] = tuple(TARGETS),
    env: Mapping[str, str] | None = None,
    durable: bool = False,
) -> AsyncIterator[TestProcess]:
    """Every target in this process on a throw-away PostgreSQL; ports are chosen by the system, no public source of
    models is asked. Main thread only. `durable` for what measures: PostgreSQL waits for the disk as it is shipped."""
    file = folder / "mesh.yaml"
    file.write_text(config)
    flags: dict[str, dict[str, Any]] = {
        "gateway": {"http_port": 0, "grpc_port": 0},
        "mesh": {"data_dir": folder / "data"},
    }
    settings = load_settings(file if config else None, env={"DAC_OFFLINE": "true", **(env or {})}, flags=flags)
    ensure_secrets(settings.mesh.data_dir)
    keyring = open_keyring(settings.mesh.secrets_dir / "master.key", create=True)
    postgres = EmbeddedPostgres(folder / "postgres", durable=durable)
    postgres.start()
    try:
        owner = await bootstrap(postgres.superuser_dsn, keyring.subkey("postgres:owner").hex())
        folders = {name: target.migrations for name, target in TARGETS.items()}
        await migrate(owner, folders, {name: role_password(keyring, name) for name in TARGETS})
        mesh = dataclasses.replace(settings.mesh, embedded_postgres_dir=postgres.socket_dir, drain_s=5.0)
        process = TestProcess(dataclasses.replace(settings, mesh=mesh), list(targets))
        try:
            await process.start()
            yield process
        finally:
            await process.stop()
    finally:
        postgres.stop()
