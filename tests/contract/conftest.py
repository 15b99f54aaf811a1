"""One suite over every transport: the same stubs and servicers in process, over a unix socket and over TCP."""

import asyncio
import pathlib
import tempfile
from collections.abc import AsyncIterator

import grpc.aio
import pytest

from dac.provider.v1 import provider_pb2, provider_pb2_grpc
from dac.router.v1 import router_pb2, router_pb2_grpc
from dac.type.v1.chat_pb2 import Frames
from dac.type.v1.principal_pb2 import Principal
from mesh.call import current
from mesh.errors import MeshError, Reason
from mesh.inprocess import LocalChannel, MethodTable
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
        if request.model == "trailing":
            context.set_trailing_metadata((("x-told", "yes"),))
        return router_pb2.RouteResponse(candidates=[router_pb2.Candidate(model=request.model)])


class Provider(provider_pb2_grpc.ProviderServiceServicer):
    """Streams numbers, for ever when nothing else is asked."""

    def __init__(self) -> None:
        self.stopped = asyncio.Event()
        self.sent = 0

    async def Generate(self, request, context):
        try:
            for number in range(int(request.input or b"0") or 1_000_000):
                self.sent += 1
                yield provider_pb2.GenerateResponse(frames=Frames(data=str(number).encode(), events=1))
                if not request.input:
                    await asyncio.sleep(0.005)
            if request.request_id == "fail":
                raise MeshError(Reason.PROVIDER_CUT, "cut")
        except asyncio.CancelledError:
            self.stopped.set()
            raise


class Transport:
    """A pair of servicers and a channel to them."""

    def __init__(self, channel: grpc.aio.Channel, router: Router, provider: Provider) -> None:
        self.router_servicer, self.provider_servicer = router, provider
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


@pytest.fixture(params=["in-process", "unix", "tcp"])
async def transport(request: pytest.FixtureRequest, signer: Signer) -> AsyncIterator[Transport]:
    async def look_up(key_id: str) -> tuple[str, bytes] | None:
        return ("gateway", signer.public_key) if key_id == signer.signing_key_id else None

    table, router, provider = MethodTable(), Router(), Provider()
    table.interceptors = server_interceptors(Verifier(look_up))
    router_pb2_grpc.add_RouterServiceServicer_to_server(router, table)
    provider_pb2_grpc.add_ProviderServiceServicer_to_server(provider, table)
    if request.param == "in-process":
        yield Transport(LocalChannel(table), router, provider)
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
            yield Transport(channel, router, provider)
        await server.stop(0.1)
