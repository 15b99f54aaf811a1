"""What gRPC is told: by names that it knows, and so that a quiet connection stays."""

from __future__ import annotations

import asyncio
import pathlib
import re

import grpc.aio
import grpc_health.v1.health_pb2 as health_pb2
import grpc_health.v1.health_pb2_grpc as health_pb2_grpc
import pytest

import grpc._cython.cygrpc as library  # isort: skip
from mesh import server as mesh_server
from mesh.app import ROOT
from mesh.inprocess_calls import MethodTable
from mesh.server import LiveHealth, Server

OPTION = re.compile(r'"(grpc\.[a-z0-9_.]+)",\s')


def test_every_option_is_one_that_the_library_knows() -> None:
    used = {
        name
        for folder in ("mesh", "services")
        for path in (ROOT / folder).rglob("*.py")
        for name in OPTION.findall(path.read_text())
    }
    assert "grpc.keepalive_time_ms" in used
    known = pathlib.Path(library.__file__).read_bytes()
    unknown = [name for name in sorted(used) if name.encode() + b"\0" not in known]
    assert not unknown, "gRPC says nothing of an option that it does not know"


async def test_a_quiet_stream_outlives_the_questions_whether_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    # A client asks once a second at most, so that the server may not be as patient as usual, or this takes long.
    rules = mesh_server.ping_rules
    monkeypatch.setattr(mesh_server, "LEAST_PING_INTERVAL_MS", 50)
    monkeypatch.setattr(mesh_server, "ping_rules", lambda: [*rules(), ("grpc.http2.max_ping_strikes", 1)])
    table, health = MethodTable(), LiveHealth()
    health_pb2_grpc.add_HealthServicer_to_server(health, table)
    server = Server(table, health)
    port = server.listen("127.0.0.1:0")
    await server.start()
    server.set_serving(True)
    often = [("grpc.keepalive_time_ms", 100), ("grpc.http2.max_pings_without_data", 0)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", often) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        # Two questions more often than it allows, and the server ends the connection.
        quiet = asyncio.ensure_future(watch.read())
        ended, _ = await asyncio.wait([quiet], timeout=3.5)
        assert not ended, quiet.exception()
        server.set_serving(False)
        assert (await quiet).status == health_pb2.HealthCheckResponse.NOT_SERVING
        other = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="other"))
        assert (await other.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        await server.stop(0.1)
