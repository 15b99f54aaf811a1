"""What the budget bench plays on: one embedded PostgreSQL as it is shipped, budget in processes of its own, callers."""

from __future__ import annotations

import asyncio
import os
import pathlib
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import asyncpg
import yaml

from bench.processes import MARKER, ProcessTree
from bench.systems import PASSED_ON, ROOT, StartFailure
from dac.budget.v1 import budget_pb2, budget_pb2_grpc
from dac.type.v1.principal_pb2 import Level, Principal
from mesh.app import TARGETS
from mesh.call import Call, install_service_principals, serving
from mesh.embedded import EmbeddedPostgres
from mesh.ids import uuid7
from mesh.keyring import open_keyring
from mesh.migrate import bootstrap, migrate
from mesh.principals import Signer
from mesh.runtime import role_password
from mesh.transport import RemoteChannel
from services.gateway.chat.budget_session import BudgetSession

CENT = 10_000_000
"""In nano-USD."""
USD = 100 * CENT
DIME, CHAT = "bench/dime", "bench/chat"
"""A model that costs $0.10 a request, and one that is priced by tokens."""
KINDS = (Level.KIND_ORG, Level.KIND_TEAM, Level.KIND_PROJECT, Level.KIND_USER, Level.KIND_KEY)
CONFIG: dict[str, object] = {
    "providers": {
        "bench": {
            "kind": "openai",
            "base_url": "http://127.0.0.1:9/v1",
            "api_key": "sk-bench",
            "allow_private_address": True,
        },
        "local": {"enabled": False},
    },
    "models": [
        {
            "id": name,
            "provider": "bench",
            "name": name.partition("/")[2],
            "context_tokens": 128_000,
            "quality": 0.5,
            "price": price,
        }
        for name, price in (
            (DIME, {"request_usd": "0.10"}),
            (CHAT, {"input_usd_per_mtok": "0.15", "output_usd_per_mtok": "0.60"}),
        )
    ],
}


@dataclass(frozen=True)
class Organisation:
    """A caller at the end of five levels, each of which has a budget."""

    principal: Principal
    signed: bytes

    @property
    def org_id(self) -> str:
        """The tenant."""
        return self.principal.org_id

    def calling(self) -> serving:
        """Calls made inside are this caller's."""
        return serving(Call(principal=self.principal, signed_principal=self.signed))


class Replica:
    """One `dac serve --target=budget`, and the ways to it."""

    def __init__(self, name: str, folder: pathlib.Path, environment: dict[str, str]) -> None:
        self.name, self._log = name, folder / f"{name}.log"
        self.address = f"unix:{folder / name}.sock"
        self._environment = {**environment, "DAC_MESH_LISTEN": self.address}
        self._process: subprocess.Popen[bytes] | None = None
        self.channel: RemoteChannel | None = None
        self.session: BudgetSession | None = None

    async def start(self, *, ready_s: float = 60.0) -> None:
        """Starts the process and returns when it serves. Also after `kill`; ways that were open stay open."""
        read, write = os.pipe()
        command = [sys.executable, "-m", "mesh", "serve", "--target", "budget"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - quick, and the bench has nothing else to do
                command,
                cwd=ROOT,
                env={**self._environment, "DAC_READY_FD": str(write)},
                pass_fds=(write,),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        os.close(write)
        try:
            await asyncio.to_thread(select.select, [read], [], [], ready_s)
            said = os.read(read, 1) if select.select([read], [], [], 0)[0] else b""
        finally:
            os.close(read)
        if said != b"1":
            raise StartFailure(f"{self.name} did not start:\n{self._log.read_text('utf-8', 'replace')[-2000:]}")
        if self.channel is None:
            self.channel = RemoteChannel(self.address, "budget")
            self.session = BudgetSession(self.channel)

    @property
    def stub(self) -> budget_pb2_grpc.BudgetServiceAsyncStub:
        """Unary calls."""
        assert self.channel is not None
        return budget_pb2_grpc.BudgetServiceStub(self.channel)

    @property
    def stream(self) -> BudgetSession:
        """Calls that travel in one stream, as the gateway's do."""
        assert self.session is not None
        return self.session

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def stop(self) -> None:
        """Closes the ways, then the process."""
        if self.session is not None:
            await self.session.close()
        if self.channel is not None:
            await self.channel.close()
        self.session = self.channel = None
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                await asyncio.to_thread(self._process.wait, 10)
            except subprocess.TimeoutExpired:
                self.kill()


class Stage:
    """PostgreSQL and the replicas on it. To be opened in the main thread, with which the embedded server dies."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.run_id = f"budget-{uuid.uuid4().hex[:12]}"
        self.postgres = EmbeddedPostgres(self.data / "postgres")
        self.replicas: list[Replica] = []
        self.environment: dict[str, str] = {}
        self._signer: Signer | None = None
        self._started = 0

    async def open(self) -> None:
        """A durable server with its shipped settings, the schema, and a gateway's key to sign with."""
        secrets = self.data / "secrets"
        secrets.mkdir(parents=True, mode=0o700)
        keyring = open_keyring(secrets / "master.key", create=True)
        self.postgres.start()
        owner = await bootstrap(self.postgres.superuser_dsn, keyring.subkey("postgres:owner").hex())
        await migrate(owner, {"budget": TARGETS["budget"].migrations}, {"budget": role_password(keyring, "budget")})
        signer = self._signer = Signer.from_file("gateway", secrets, create=True)
        connection = await self.connect()
        await connection.execute(
            "INSERT INTO mesh.signing_keys (signing_key_id, issuer, public_key) VALUES ($1, 'gateway', $2)",
            signer.signing_key_id,
            signer.public_key,
        )
        await connection.close()
        service = Principal(kind=Principal.KIND_SERVICE, service="gateway")
        # Streams are opened anew every half a minute, and a signature holds for two.
        install_service_principals(lambda name: (service, signer.sign(service)))
        config = self.folder / "dac.yaml"
        config.write_text(yaml.safe_dump(CONFIG))
        self.environment = {key: os.environ[key] for key in PASSED_ON if key in os.environ} | {
            "DAC_CONFIG": str(config),
            "DAC_DATA_DIR": str(self.data),
            "DAC_EMBEDDED_POSTGRES_DIR": str(self.postgres.socket_dir),
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gen'}",
            MARKER: self.run_id,
        }

    async def close(self) -> None:
        """Ends everything."""
        for replica in self.replicas:
            await replica.stop()
        self.postgres.stop()
        self.tree.kill()

    @property
    def tree(self) -> ProcessTree:
        """The replicas and PostgreSQL; not this process."""
        return ProcessTree(self.run_id, 0, self.folder)

    async def connect(self) -> asyncpg.Connection:
        """An administrator's connection, which row-level security does not bind."""
        return await asyncpg.connect(self.postgres.superuser_dsn.replace("@/postgres?", "@/dac?"))

    async def with_replicas(self, count: int) -> list[Replica]:
        """Exactly this many replicas."""
        while len(self.replicas) > count:
            await self.replicas.pop().stop()
        while len(self.replicas) < count:
            # A name of its own: gRPC remembers an address whose process has ended, and waits before it tries again.
            self._started += 1
            replica = Replica(f"budget-{self._started}", self.folder, self.environment)
            await replica.start()
            self.replicas.append(replica)
        return self.replicas

    def renewed(self, organisation: Organisation) -> Organisation:
        """The same caller with a fresh signature."""
        assert self._signer is not None
        return Organisation(organisation.principal, self._signer.sign(organisation.principal))

    async def organisation(self, limit_nano_usd: int) -> Organisation:
        """A new one: organisation, team, project, user and key, each with this hard budget."""
        principal = Principal(kind=Principal.KIND_USER_KEY, org_id=uuid7(), scopes=("chat", "admin"))
        for kind in KINDS:
            principal.path.add(kind=kind, id=principal.org_id if kind == Level.KIND_ORG else uuid7())
        principal.key_id = principal.path[-1].id
        made = self.renewed(Organisation(principal, b""))
        with made.calling():
            for level in principal.path:
                await self.replicas[0].stub.SetBudget(
                    budget_pb2.SetBudgetRequest(
                        level=level, window=budget_pb2.WINDOW_MONTH, limit_nano_usd=limit_nano_usd
                    )
                )
        return made


@contextmanager
def took(said: Callable[[str], None], what: str) -> Iterator[None]:
    """Tells what is being measured and how long that took."""
    said(f"{what} …")
    began = time.monotonic()
    yield
    said(f"{what}: done in {time.monotonic() - began:.1f} s")
