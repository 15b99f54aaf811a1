"""Policies on a real PostgreSQL with an audit that takes what it is told: what their tests share."""

import asyncio
import dataclasses
import pathlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from google.protobuf.message_factory import GetMessageClass

from dac.audit.v1 import audit_pb2, audit_pb2_grpc
from dac.router.v1 import policy_pb2, policy_pb2_grpc
from dac.type.v1 import principal_pb2
from mesh import call as calls
from mesh.documents import Documents
from mesh.errors import MeshError, Reason
from mesh.inprocess import LocalChannel
from mesh.inprocess_calls import MethodTable
from mesh.keyring import Keyring
from mesh.postgres import Database
from mesh.service import Context
from services.router.config import RouterConfig
from services.router.policies.policies import RoutingPolicy
from services.router.policies.service import PolicyDesk

SHIPPED = pathlib.Path(__file__).parents[3] / "config"
LEVEL = principal_pb2.Level
_METHODS = policy_pb2.DESCRIPTOR.services_by_name["PolicyService"].methods
_REQUESTS = {one.name: GetMessageClass(one.input_type) for one in _METHODS}


class Audit(audit_pb2_grpc.AuditServiceServicer):
    """Takes what it is told."""

    def __init__(self) -> None:
        self.records: list[Any] = []

    async def Append(self, request: Any, context: Any) -> Any:
        self.records += request.records
        return audit_pb2.AppendResponse()


@dataclasses.dataclass
class House:
    """One replica with its stub."""

    desk: PolicyDesk
    audit: Audit
    stub: Any
    files: pathlib.Path

    async def do(self, method: str, org_id: str = "", *scopes: str, kind: int = 0, **fields: Any) -> Any:
        """Calls as a key of an organisation (admin), or as what is said."""
        principal = principal_pb2.Principal(
            org_id=org_id, key_id="k1", scopes=scopes or ("admin",), service="gateway" if kind == 3 else ""
        )
        principal.kind = kind or 1  # type: ignore[assignment]
        with calls.serving(calls.Call(principal=principal)):
            return await getattr(self.stub, method)(_REQUESTS[method](**fields))

    async def make(self, org_id: str, name: str, **rules: Any) -> Any:
        return (await self.do("CreatePolicy", org_id, name=name, rules=policy_pb2.PolicyRules(**rules))).policy

    def policy(self, org_id: str, *path: str) -> RoutingPolicy:
        levels = [LEVEL(id=one) for one in (org_id, *path)]
        return self.desk.policy_for(principal_pb2.Principal(org_id=org_id, path=levels))

    def status(self, *scopes: str, org_id: str = "") -> Any:
        return self.desk.servicer.status(principal_pb2.Principal(org_id=org_id, scopes=scopes or ("operator",)))

    def write(self, name: str, text: str) -> None:
        """Replaces a file at once, as editors and Kubernetes do."""
        new = self.files.parent / f"{name}.new"
        new.write_text(text)
        new.replace(self.files / name)


@pytest.fixture
async def make_house(
    database_for: Callable[..., Awaitable[Database]], tmp_path: pathlib.Path
) -> AsyncIterator[Callable[..., Awaitable[House]]]:
    desks: list[PolicyDesk] = []
    (tmp_path / "config").mkdir()

    async def make(database: Database | None = None, *, poll_s: float = 0.05, **files: str) -> House:
        house_files = tmp_path / "config"
        for name, text in files.items():
            (house_files / f"{name}.yaml").write_text(text)
        table, audit = MethodTable(), Audit()
        channel: Any = LocalChannel(table)
        context = Context(
            name="router",
            config=RouterConfig(),
            providers=(),
            models=(),
            data_dir=pathlib.Path(),
            keyring=Keyring(b"m" * 32),
            signer=None,  # type: ignore[arg-type]
            database=database or await database_for("router"),
            channel_to=lambda service: channel,
            documents=Documents(SHIPPED, house_files),
        )
        desk = PolicyDesk(context, RoutingPolicy(), poll_s=poll_s)
        desk.register(table)  # type: ignore[arg-type]
        audit_pb2_grpc.add_AuditServiceServicer_to_server(audit, table)  # type: ignore[arg-type]
        await desk.start()
        desks.append(desk)
        return House(desk, audit, policy_pb2_grpc.PolicyServiceStub(channel), house_files)

    yield make
    for desk in desks:
        await desk.close()


@pytest.fixture
async def house(make_house: Callable[..., Awaitable[House]]) -> House:
    return await make_house()


@pytest.fixture
def service_principals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Background work acts as the router, as in a process of the mesh."""
    made = principal_pb2.Principal(kind=principal_pb2.Principal.KIND_SERVICE, service="router"), b""
    monkeypatch.setattr(calls, "_service_principal", lambda service: made)


async def until(true: Callable[[], bool], within_s: float = 5.0) -> float:
    """Waits for something that happens in the background; how long it took."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < within_s, "it did not happen"
        await asyncio.sleep(0.005)
    return time.monotonic() - began


def reason_of(caught: pytest.ExceptionInfo[MeshError]) -> Reason:
    return caught.value.reason
