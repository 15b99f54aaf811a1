"""One suite over every transport: the same stubs and servicers in process, over a unix socket and over TCP."""

import asyncio
import pathlib
import tempfile
from collections.abc import AsyncIterator

import grpc.aio
import pytest

from dac.budget.v1 import budget_pb2, budget_pb2_grpc
from dac.provider.v1 import provider_pb2, provider_pb2_grpc
from dac.router.v1 import router_pb2, router_pb2_grpc
from dac.type.v1.chat_pb2 import Frames
from dac.type.v1.principal_pb2 import Principal
from mesh.call import current
from mesh.errors import MeshError, Reason
from mesh.inprocess import LocalChannel
from mesh.inprocess_calls import MethodTable
from mesh.interceptors import server_interceptors
from mesh.principals import Signer, Verifier
from mesh.server import LiveHealth, Server
from mesh.transport import RemoteChannel


class Router(router_pb2_grpc.RouterServiceServicer):
    """Does what the asked model says."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()
        self.seen: list[object] = []
        self.requests: list[object] = []
        self.answers: list[router_pb2.RouteResponse] = []

    async def Route(self, request, context):
        self.seen.append((current(), dict(context.invocation_metadata()), context.time_remaining()))
        self.requests.append(request)
        if request.model == "named":
            raise MeshError(Reason.MODEL_NOT_FOUND, "no such model", metadata={"model": "x"}, retry_after_s=1.5)
        if request.model == "driver":
            raise RuntimeError("password=hunter2")
        if request.model == "slow":
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        if request.model == "stubborn":
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                raise MeshError(Reason.UNAVAILABLE, "another failure than its being cancelled") from None
        if request.model == "trailing":
            context.set_trailing_metadata((("x-told", "yes"),))
        self.answers.append(router_pb2.RouteResponse(candidates=[router_pb2.Candidate(model=request.model)]))
        return self.answers[-1]


class Provider(provider_pb2_grpc.ProviderServiceServicer):
    """Streams numbers, for ever when nothing else is asked."""

    def __init__(self) -> None:
        self.stopped = asyncio.Event()
        self.sent = 0
        self.events: list[provider_pb2.GenerateResponse] = []

    async def Generate(self, request, context):
        try:
            for number in range(int(request.input or b"0") or 1_000_000):
                self.sent += 1
                self.events.append(provider_pb2.GenerateResponse(frames=Frames(data=str(number).encode(), events=1)))
                yield self.events[-1]
                if not request.input:
                    await asyncio.sleep(0.005)
            if request.request_id == "fail":
                raise MeshError(Reason.PROVIDER_CUT, "cut")
        except asyncio.CancelledError:
            self.stopped.set()
            raise


class Budget(budget_pb2_grpc.BudgetServiceServicer):
    """Answers each message with its call ids, one answer a message, or does what it says."""

    def __init__(self) -> None:
        self.cancelled, self.begun, self.may_read = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.may_read.set()
        self.seen: list[object] = []
        self.requests: list[object] = []
        self.wrote = 0

    async def Session(self, request_iterator, context):
        self.seen.append((current(), dict(context.invocation_metadata()), context.time_remaining()))
        self.begun.set()
        try:
            await self.may_read.wait()
            async for request in request_iterator:
                self.requests.append(request)
                word = request.calls[0].reserve.request_id
                if word == "named":
                    raise MeshError(Reason.BUDGET_EXHAUSTED, "spent", metadata={"left": "0"}, retry_after_s=1.5)
                if word == "driver":
                    raise RuntimeError("password=hunter2")
                if word == "end":
                    return
                answer = answer_to(*(call.call_id for call in request.calls))
                while True:
                    yield answer
                    self.wrote += 1
                    if word != "flood":
                        break
            yield answer_to(0)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


def answer_to(*call_ids: int) -> budget_pb2.SessionResponse:
    return budget_pb2.SessionResponse(replies=[budget_pb2.SessionReply(call_id=one) for one in call_ids])


class Transport:
    """Servicers and a channel to them."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        router: Router,
        provider: Provider,
        budget: Budget,
        server: Server | None = None,
    ) -> None:
        self.router_servicer, self.provider_servicer, self.budget_servicer = router, provider, budget
        self.budget = budget_pb2_grpc.BudgetServiceStub(channel)
        self.server = server
        self.router = router_pb2_grpc.RouterServiceStub(channel)
        self.provider = provider_pb2_grpc.ProviderServiceStub(channel)
        self.channel = channel


@pytest.fixture(scope="session")
def signer() -> Signer:
    return Signer("gateway", bytes(range(32)))


@pytest.fixture
def caller(signer: Signer) -> tuple[Principal, bytes]:
    principal = Principal(kind=Principal.KIND_USER_KEY, org_id="0192f000-0000-7000-8000-000000000001", scopes=["chat"])
    return principal, signer.sign(principal)


@pytest.fixture
def service(signer: Signer) -> tuple[Principal, bytes]:
    principal = Principal(kind=Principal.KIND_SERVICE, service="gateway")
    return principal, signer.sign(principal)


@pytest.fixture(params=["in-process", "unix", "tcp"])
async def transport(request: pytest.FixtureRequest, signer: Signer) -> AsyncIterator[Transport]:
    async def look_up(key_id: str) -> tuple[str, bytes] | None:
        return ("gateway", signer.public_key) if key_id == signer.signing_key_id else None

    table, router, provider, budget = MethodTable(), Router(), Provider(), Budget()
    table.interceptors = server_interceptors(Verifier(look_up))
    router_pb2_grpc.add_RouterServiceServicer_to_server(router, table)
    provider_pb2_grpc.add_ProviderServiceServicer_to_server(provider, table)
    budget_pb2_grpc.add_BudgetServiceServicer_to_server(budget, table)
    if request.param == "in-process":
        yield Transport(LocalChannel(table), router, provider, budget)
        return
    server = Server(table, LiveHealth())
    with tempfile.TemporaryDirectory(prefix="dac-") as folder:
        if request.param == "unix":
            address = f"unix:{pathlib.Path(folder) / 's'}"
            server.listen(address)
        else:
            address = f"127.0.0.1:{server.listen('127.0.0.1:0')}"
        await server.start()
        async with RemoteChannel(address, "provider") as channel:
            yield Transport(channel, router, provider, budget, server)
        await server.stop(0.1)
