"""The real Envoy in front of gateways that fail in every way: what is tried again, who is left out, what is said."""

import socket
import threading
from concurrent import futures

import grpc
import httpx
import pytest

from mesh.envoy.document import Endpoint
from mesh.envoy.edge import EdgeOptions, edge
from tests.edge.envoy_process import running, until
from tests.edge.stand_in import StandIn, finish, reply, reset
from tests.ports import free_port

CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
LIMIT = 64 * 1024


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


@pytest.fixture
def in_front_of(tmp_path):
    """Factory: a running Envoy in front of stand-ins, and a client of it."""
    opened = []

    def make(*stand_ins, host="127.0.0.1", grpc_ports=(), health_interval_s=0.2, request_timeout_s=600.0, **more):
        options = EdgeOptions(
            gateways=tuple(Endpoint(host, one.port) for one in stand_ins),
            grpc_gateways=tuple(Endpoint("127.0.0.1", port) for port in grpc_ports),
            max_body_bytes=LIMIT,
            request_timeout_s=request_timeout_s,
            listen=Endpoint("127.0.0.1", free_port()),
            tls=False,
            admin=Endpoint("127.0.0.1", free_port()),
            probes=Endpoint("127.0.0.1", free_port()),
            health_interval_s=health_interval_s,
            **more,
        )
        manager = running(edge(options), tmp_path, f"envoy{len(opened)}")
        envoy = manager.__enter__()
        client = httpx.Client(base_url=f"http://{envoy.address('edge')}", timeout=20)
        opened.append((manager, client))
        envoy.wait_healthy("gateway_http", *(["gateway_grpc"] if grpc_ports else []))
        return envoy, client

    yield make
    for manager, client in opened:
        client.close()
        manager.__exit__(None, None, None)


def error_of(response):
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def test_a_stream_passes_byte_for_byte_as_it_comes(in_front_of):
    pieces = [b'data: {"a"', b': "\xc3\xa9"}\r\n\n: ping\n', b"\n", b"data: [DONE]\n\n"]
    read = threading.Semaphore(0)

    def answer(_, connection):
        connection.sendall(CHUNKED)
        for piece in pieces:
            connection.sendall(chunk(piece))
            assert read.acquire(timeout=10), "Envoy kept a piece back"
        connection.sendall(b"0\r\n\r\n")

    with StandIn(answer) as gateway:
        _, client = in_front_of(gateway)
        got = []
        with client.stream("POST", "/v1/chat/completions", json={}) as response:
            for piece in response.iter_raw():
                got.append(piece)
                read.release()
        assert got == pieces


@pytest.mark.parametrize("end", [finish, reset])
def test_a_stream_that_breaks_is_an_error_and_not_sent_again(in_front_of, end):
    def answer(_, connection):
        connection.sendall(CHUNKED + chunk(b"data: 1\n\n"))
        end(connection)

    with StandIn(answer) as gateway, StandIn(answer) as other:
        _, client = in_front_of(gateway, other)
        with (
            pytest.raises(httpx.RemoteProtocolError),
            client.stream("POST", "/v1/chat/completions", json={}) as response,
        ):
            assert response.status_code == 200
            list(response.iter_raw())
        assert len(gateway.requests) + len(other.requests) == 1


@pytest.mark.parametrize("end", [finish, reset])
def test_a_request_that_may_have_begun_is_not_sent_again(in_front_of, end):
    def answer(_, connection):
        end(connection)

    with StandIn(answer) as gateway, StandIn(answer) as other:
        _, client = in_front_of(gateway, other)
        response = client.post("/v1/chat/completions", json={})
        assert response.status_code == 503 and error_of(response)["code"] == "unavailable"
        assert len(gateway.requests) + len(other.requests) == 1


def test_a_replica_that_does_not_take_connections_costs_no_request(in_front_of):
    with StandIn() as gateway, StandIn() as gone:
        # The next health check is far away: only a second try can help.
        envoy, client = in_front_of(gateway, gone, health_interval_s=60)
        gone.close()
        assert [client.post("/v1/chat/completions", json={}).status_code for _ in range(20)] == [200] * 20
        assert len(gateway.requests) == 20
        assert envoy.access_log(lambda line: line["attempts"] == 2)["status"] == 200


def test_a_sick_replica_is_left_out_and_comes_back(in_front_of):
    with StandIn() as healthy, StandIn(reply(500)) as sick:
        envoy, client = in_front_of(healthy, sick, ejection_s=4.0)

        def left_out():
            return [one for one in envoy.members("gateway_http") if one["health_status"].get("failed_outlier_check")]

        statuses = []
        while statuses.count(500) < 5:
            statuses.append(client.get("/v1/models").status_code)
            assert len(statuses) < 100
        (member,) = until(left_out, "left out")
        assert member["address"]["socket_address"]["port_value"] == sick.port
        checks = envoy.stat("cluster.gateway_http.health_check.success")
        until(lambda: envoy.stat("cluster.gateway_http.health_check.success") > checks + 4, "asked whether it is ready")
        assert left_out(), "a check of its health brought it back before its time"
        assert [client.get("/v1/models").status_code for _ in range(10)] == [200] * 10
        sick.answer = reply(200)
        until(lambda: not left_out(), "back again")
        before = len(sick.requests)
        until(lambda: client.get("/v1/models").status_code == 200 and len(sick.requests) > before, "used again")


def test_a_providers_failure_does_not_speak_against_the_gateway(in_front_of):
    with StandIn(reply(503, "x-dac-request-id: 1")) as one, StandIn(reply(502, "x-dac-request-id: 2")) as other:
        envoy, client = in_front_of(one, other)
        statuses = [client.get("/v1/models").status_code for _ in range(30)]
        assert set(statuses) == {502, 503}
        assert envoy.stat("cluster.gateway_http.outlier_detection.ejections_enforced_total") == 0
        assert len(one.requests) + len(other.requests) == 30


def test_the_flood_guard_spares_probes(in_front_of):
    with StandIn() as gateway:
        envoy, client = in_front_of(gateway, local_rps=1)
        responses = [client.get("/v1/models") for _ in range(30)]
        refused = [one for one in responses if one.status_code == 429]
        assert len(refused) >= 10 and len(refused) + len(gateway.requests) == 30
        assert error_of(refused[0]) == {
            "message": "Too many requests. Wait a moment and send it again.",
            "type": "rate_limit_error",
            "param": None,
            "code": "rate_limit_exceeded",
        }
        assert refused[0].headers["retry-after"] == "1" and refused[0].headers["x-request-id"]
        assert {client.get("/live").status_code for _ in range(20)} == {200}

        def codes():
            with grpc.insecure_channel(envoy.address("edge")) as channel:
                call = channel.unary_unary("/dac.gateway.v1.IdentityService/ListApiKeys")
                return [call.future(b"", timeout=5).exception().code() for _ in range(10)]

        assert grpc.StatusCode.RESOURCE_EXHAUSTED in codes()


def test_without_a_gateway_the_answer_says_so(in_front_of):
    with StandIn() as gateway:
        envoy, client = in_front_of(gateway)
        gateway.close()
        response = client.post("/v1/chat/completions", json={}, headers={"x-request-id": "mine"})
        assert response.status_code == 503 and response.headers["x-request-id"] == "mine"
        assert error_of(response)["type"] == "server_error" and response.headers["retry-after"] == "1"
        probe = f"http://{envoy.address('probes')}/ready"
        until(lambda: httpx.get(probe).status_code == 503, "not ready")
        with grpc.insecure_channel(envoy.address("edge")) as channel, pytest.raises(grpc.RpcError) as failure:
            channel.unary_unary("/dac.gateway.v1.IdentityService/ListApiKeys")(b"", timeout=5)
        assert failure.value.code() is grpc.StatusCode.UNAVAILABLE and "{" not in failure.value.details()


def test_a_gateway_that_is_silent_ends_with_504(in_front_of):
    with StandIn(lambda *_: threading.Event().wait(5)) as gateway:
        _, client = in_front_of(gateway, request_timeout_s=0.5)
        response = client.post("/v1/chat/completions", json={})
        assert response.status_code == 504 and error_of(response)["code"] == "deadline_exceeded"
        assert response.headers["x-should-retry"] == "false"
        assert len(gateway.requests) == 1


def test_only_dac_and_envoy_set_their_own_headers(in_front_of):
    forged = {
        "x-dac-principal": "operator",
        "x-dac-principal-bin": "b3BlcmF0b3I=",
        "x-dac-request-id": "1",
        "x-dac-": "1",
        "x-dac-tag": "1",
        "x-dac-tagss": "1",
        "x-dac-teams": "1",
        "x-envoy-retry-on": "5xx",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-forwarded-for": "9.9.9.9",
        "authorization": "Bearer x",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    }
    callers = {"x-dac-tags": "a=1", "X-DAC-Team": "t", "x-dac-project": "p"}
    with StandIn() as gateway:
        _, client = in_front_of(gateway)
        assert client.get("/v1/a//b/../models?q=1", headers={**forged, **callers}).status_code == 200
        (seen,) = gateway.requests
        for name, value in callers.items():
            assert seen.headers.pop(name.lower()) == value, "a header of callers"
        assert [name for name in seen.headers if name.startswith(("x-dac", "x-envoy-re", "x-envoy-up"))] == []
        assert seen.headers["authorization"] == "Bearer x" and seen.headers["traceparent"] == forged["traceparent"]
        assert seen.path == "/v1/a/models?q=1"
        claimed, added = seen.headers["x-forwarded-for"].split(",")
        assert claimed == "9.9.9.9" != added, "whoever believes the last address is not deceived"
        assert client.get("/v1/models").status_code == 200
        assert "x-envoy-internal" not in gateway.requests[-1].headers, "nobody is trusted for an address"


def test_malformed_requests_are_refused_in_openais_form(in_front_of):
    with StandIn() as gateway:
        _, client = in_front_of(gateway)
        underscored = client.get("/v1/models", headers={"x_dac_principal": "operator"})
        assert underscored.status_code == 400 and error_of(underscored)["code"] == "invalid_request"
        large = client.get("/v1/models", headers={"x-large": "x" * 70_000})
        assert large.status_code == 431 and error_of(large)["param"] == "headers"
        body = client.post("/v1/chat/completions", content=b"x" * (LIMIT + 1))
        assert body.status_code == 413 and error_of(body)["code"] == "too_large"
        pieces = client.post("/v1/chat/completions", content=(b"x" * 8192 for _ in range(9)))
        assert pieces.status_code == 413 and error_of(pieces) == error_of(body)
        exact = client.post("/v1/chat/completions", content=b"x" * LIMIT)
        assert exact.status_code == 200
        assert [len(one.body) for one in gateway.requests] == [LIMIT]


@pytest.mark.parametrize(("weight", "shares"), [(0, (40, 0)), (100, (0, 40)), (50, None)])
def test_a_canary_gets_its_share(in_front_of, weight, shares):
    with StandIn() as gateway, StandIn() as canary:
        _, client = in_front_of(gateway, canary=Endpoint("127.0.0.1", canary.port), canary_weight=weight)
        for _ in range(40):
            assert client.get("/v1/models").status_code == 200
        got = (len(gateway.requests), len(canary.requests))
        assert got == shares if shares else min(got) > 5


def test_a_gateway_is_found_by_name(in_front_of):
    with StandIn() as gateway:
        envoy, client = in_front_of(gateway, host="localhost")
        assert client.get("/v1/models").status_code == 200
        (cluster,) = [one for one in envoy.document["static_resources"]["clusters"] if one["name"] == "gateway_http"]
        assert cluster["cluster_type"]["name"] == "envoy.clusters.dns"


def test_without_memory_left_requests_are_refused_and_probes_are_not(in_front_of):
    with StandIn() as gateway:
        # Text, as in the chart, is not checked: so little that every Envoy is over it from the start.
        envoy, client = in_front_of(gateway, heap_bytes="1000000")
        until(lambda: client.get("/v1/models").status_code == 503, "overloaded")
        response = client.post("/v1/chat/completions", json={})
        assert response.status_code == 503 and error_of(response)["code"] == "unavailable"
        assert httpx.get(f"http://{envoy.address('probes')}/live").status_code == 200
        assert envoy.stat("http.edge.downstream_rq_overload_close") >= 1


def test_too_many_connections_are_refused_and_probes_are_not(in_front_of):
    with StandIn() as gateway:
        envoy, client = in_front_of(gateway, max_connections=2)
        host, port = envoy.address("edge").split(":")
        assert client.get("/v1/models").status_code == 200
        with socket.create_connection((host, int(port))) as second:
            second.sendall(b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n")
            assert second.recv(12) == b"HTTP/1.1 200"
            with pytest.raises(httpx.HTTPError):
                httpx.get(f"http://{host}:{port}/v1/models", timeout=3)
            assert httpx.get(f"http://{envoy.address('probes')}/live").status_code == 200


class GrpcStandIn:
    """A gRPC server that fails before or after its first message."""

    def __init__(self, messages, code=None):
        self.calls, self._messages, self._code = 0, messages, code
        self._server = grpc.server(futures.ThreadPoolExecutor(2))
        handler = grpc.unary_stream_rpc_method_handler(self._answer)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("dac.Test", {"Do": handler}),))
        self.port = self._server.add_insecure_port("127.0.0.1:0")

    def __enter__(self):
        self._server.start()
        return self

    def __exit__(self, *_):
        self._server.stop(0).wait()

    def _answer(self, request, context):
        self.calls += 1
        yield from self._messages
        if self._code:
            context.abort(self._code, "no")


def test_what_a_gateway_has_answered_by_grpc_is_not_asked_again(in_front_of):
    code = grpc.StatusCode.UNAVAILABLE
    with StandIn() as ready, GrpcStandIn([], code) as failing:
        # A chat whose provider failed: sent again it would be charged again.
        envoy, _ = in_front_of(ready, grpc_ports=(failing.port,))
        with grpc.insecure_channel(envoy.address("edge")) as channel:
            for _ in range(3):
                with pytest.raises(grpc.RpcError) as failure:
                    list(channel.unary_stream("/dac.Test/Do")(b"", timeout=10))
                assert failure.value.code() is code
        assert failing.calls == 3
    with StandIn() as ready, GrpcStandIn([b"whole"]) as good:
        # The other port belongs to nobody: there nothing can have begun.
        envoy, _ = in_front_of(ready, grpc_ports=(free_port(), good.port))
        with grpc.insecure_channel(envoy.address("edge")) as channel:
            call = channel.unary_stream("/dac.Test/Do")
            assert [list(call(b"", timeout=10)) for _ in range(6)] == [[b"whole"]] * 6
    with StandIn() as ready, GrpcStandIn([b"part"], code) as breaking, GrpcStandIn([b"part"], code) as other:
        envoy, _ = in_front_of(ready, grpc_ports=(breaking.port, other.port))
        with grpc.insecure_channel(envoy.address("edge")) as channel:
            got = []
            with pytest.raises(grpc.RpcError) as failure:
                got.extend(iter(channel.unary_stream("/dac.Test/Do")(b"", timeout=10)))
        assert failure.value.code() is code
        assert breaking.calls + other.calls == 1
