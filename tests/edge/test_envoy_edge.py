"""The real Envoy in front of a real DAC: TLS, streams, the management API, limits, health, logs and traces."""

import json
import re
import signal
import socket
import ssl
import uuid

import grpc
import httpx
import openai
import pytest

from dac.gateway.v1 import identity_pb2, identity_pb2_grpc
from mesh.envoy import certificates
from mesh.envoy.document import Endpoint
from mesh.envoy.edge import EdgeOptions, edge
from mesh.envoy.groups import Names
from services.gateway.config import GatewayConfig
from tests.edge.conftest import make_dac
from tests.edge.envoy_process import running
from tests.edge.rate_limits import RateLimitServer
from tests.otlp_receiver import OtlpReceiver
from tests.ports import free_port

MODEL = "mock/gpt-4o-mini"
SERVER = 2
CANARY = "canary-7f3d91"
LIMIT = GatewayConfig().max_body_bytes


@pytest.fixture(scope="module")
def otlp():
    with OtlpReceiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def rls():
    server = RateLimitServer().start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def behind(tmp_path_factory, upstream_process, otlp):
    """The DAC behind Envoy."""
    dac = make_dac(tmp_path_factory.mktemp("behind"), upstream_process)
    dac.env |= {
        "OTEL_EXPORTER_OTLP_ENDPOINT": otlp.endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    dac.start()
    try:
        yield dac
        assert dac.stop() == 0, dac.log()
    finally:
        dac.stop(signal.SIGKILL)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    certificates.make(folder, Names(), groups=["edge"])
    return folder


def options_for(dac, **more):
    host, port = dac.url.removeprefix("http://").split(":")
    grpc_host, grpc_port = dac.grpc_address.split(":")
    return EdgeOptions(
        gateways=(Endpoint(host, int(port)),),
        grpc_gateways=(Endpoint(grpc_host, int(grpc_port)),),
        max_body_bytes=LIMIT,
        request_timeout_s=600,
        listen=Endpoint("127.0.0.1", free_port()),
        admin=Endpoint("127.0.0.1", free_port()),
        probes=Endpoint("127.0.0.1", free_port()),
        health_interval_s=0.2,
        **more,
    )


@pytest.fixture(scope="module")
def envoy(behind, authority, otlp, rls, tmp_path_factory):
    options = options_for(
        behind,
        sds_dir=str(authority / "edge"),
        otlp=Endpoint("127.0.0.1", int(otlp.endpoint.rsplit(":", 1)[1])),
        rate_limit_service=Endpoint("127.0.0.1", rls.port),
    )
    document = edge(options)
    document["layered_runtime"]["layers"][0]["static_layer"]["tracing.opentelemetry.flush_interval_ms"] = 100
    with running(document, tmp_path_factory.mktemp("envoy"), "edge") as process:
        yield process.wait_healthy("gateway_http", "gateway_grpc")


@pytest.fixture(scope="module")
def trust(authority):
    return ssl.create_default_context(cafile=str(authority / "ca.crt"))


@pytest.fixture(scope="module")
def client(envoy, trust, behind):
    """An HTTP client that comes through Envoy with the key."""
    with httpx.Client(
        base_url=f"https://{envoy.address('edge')}", verify=trust, headers=behind.headers, timeout=30
    ) as made:
        yield made


def ask(**fields):
    return {"model": MODEL, "messages": [{"role": "user", "content": "Say hello."}], **fields}


def without_ids(body):
    """A chat's bytes without what differs from one request to the next."""
    return re.sub(rb'"(id|created|request_id|latency_ms|cost_usd)": ?("[^"]*"|[\d.]+)', b"", body)


def test_tls_offers_both_protocols_and_nothing_plain(envoy, trust):
    host, port = envoy.address("edge").split(":")
    for offered in (["h2", "http/1.1"], ["http/1.1"]):
        context = ssl.create_default_context()
        context.load_verify_locations(
            cadata="\n".join(ssl.DER_cert_to_PEM_cert(one) for one in trust.get_ca_certs(True))
        )
        context.set_alpn_protocols(offered)
        with (
            socket.create_connection((host, int(port))) as plain,
            context.wrap_socket(plain, server_hostname=host) as tls,
        ):
            assert tls.selected_alpn_protocol() == offered[0]
            assert tls.version() == "TLSv1.3"
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://{host}:{port}/live", timeout=5)


@pytest.mark.parametrize("fields", [{}, {"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}])
def test_chat_is_the_same_as_without_envoy(client, behind, fields):
    direct = httpx.post(f"{behind.url}/v1/chat/completions", json=ask(**fields), headers=behind.headers, timeout=30)
    through = client.post("/v1/chat/completions", json=ask(**fields))
    assert through.status_code == direct.status_code == 200
    assert without_ids(through.content) == without_ids(direct.content)
    kept = ("content-type", "x-dac-model", "x-content-type-options", "cache-control", "x-accel-buffering")
    assert {name: through.headers.get(name) for name in kept} == {name: direct.headers.get(name) for name in kept}
    assert not [name for name in through.headers if name.startswith("x-envoy") or name == "server"]


def test_the_openai_sdk_streams_through_envoy(envoy, trust, behind, upstream_process):
    upstream_process.script("ok", token_delay_s=0.02)
    sdk = openai.OpenAI(
        base_url=f"https://{envoy.address('edge')}/v1", api_key=behind.key, http_client=httpx.Client(verify=trust)
    )
    pieces = [
        chunk.choices[0].delta.content or ""
        for chunk in sdk.chat.completions.create(**ask(stream=True))
        if chunk.choices
    ]
    assert len([piece for piece in pieces if piece]) > 20
    assert sdk.models.retrieve(MODEL).id == MODEL
    with pytest.raises(openai.NotFoundError) as failure:
        sdk.chat.completions.create(**ask(model="mock/none"))
    assert failure.value.code == "model_not_found"


def test_a_client_that_leaves_ends_the_request(client, upstream_process, behind):
    upstream_process.script("ok", token_delay_s=0.05)
    with client.stream("POST", "/v1/chat/completions", json=ask(stream=True)) as answer:
        next(answer.iter_bytes())
    assert behind.record(answer)["outcome"] == "OUTCOME_CLIENT_GONE"


def pair(client, behind, method, path, **more):
    """(status, JSON) directly and through Envoy."""
    answers = (
        httpx.request(method, behind.url + path, headers=behind.headers, timeout=20, **more),
        client.request(method, path, **more),
    )
    return [(one.status_code, one.json()) for one in answers]


def changing(value):
    """JSON without what differs from one object to the next."""
    if isinstance(value, dict):
        return {key: changing(one) for key, one in value.items() if not key.endswith("_at")}
    if isinstance(value, list):
        return [changing(one) for one in value]
    return value


def test_the_management_api_is_the_same_as_without_envoy(client, behind):
    for path in ("/v1/keys", "/v1/budgets", "/v1/models", f"/v1/models/{MODEL.replace('/', '%2F')}", "/v1/caller"):
        direct, through = pair(client, behind, "GET", path)
        assert changing(direct) == changing(through) and direct[0] == 200, path
    for method, path, body in (
        ("GET", "/v1/nothing", None),
        ("POST", "/v1/keys", {"nam": "x"}),
        ("GET", "/v1/keys?page_size=x", None),
        ("PATCH", "/v1/keys", {}),
        ("DELETE", f"/v1/keys/{uuid.uuid4()}", None),
    ):
        direct, through = pair(client, behind, method, path, json=body)
        assert direct == through and direct[0] >= 400, path
    made = client.post("/v1/keys", json={"name": "through envoy", "scopes": ["chat"]})
    assert made.status_code == 200 and made.json()["token"].startswith("dac_")
    key_id = made.json()["key"]["key_id"]
    assert key_id in {one["key_id"] for one in behind.get("/v1/keys").json()["keys"]}
    gone = client.delete(f"/v1/keys/{key_id}")
    assert gone.status_code == 200
    wanted = {"level": {"kind": "KIND_ORG"}, "window": "WINDOW_MONTH", "limit_nano_usd": "5000000000"}
    direct, through = pair(client, behind, "PUT", "/v1/budgets", json=wanted)
    assert direct == through and through[0] == 200
    direct, through = pair(client, behind, "GET", "/v1/budgets")
    assert changing(direct) == changing(through) and len(through[1]["budgets"]) == 1
    budget_id = through[1]["budgets"][0]["budget_id"]
    assert client.delete(f"/v1/budgets/{budget_id}").status_code == 200
    assert behind.get("/v1/budgets").json()["budgets"] == []


def test_grpc_with_a_key_goes_to_the_grpc_port(envoy, authority, behind):
    credentials = grpc.ssl_channel_credentials((authority / "ca.crt").read_bytes())
    with grpc.secure_channel(envoy.address("edge"), credentials) as channel:
        stub = identity_pb2_grpc.IdentityServiceStub(channel)
        bearer = (("authorization", f"Bearer {behind.key}"),)
        listed = stub.ListApiKeys(identity_pb2.ListApiKeysRequest(), metadata=bearer, timeout=10)
        assert len(listed.keys) >= 1
        with pytest.raises(grpc.RpcError) as refused:
            stub.ListApiKeys(identity_pb2.ListApiKeysRequest(), timeout=10)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        with pytest.raises(grpc.RpcError) as unknown:
            channel.unary_unary("/dac.gateway.v1.Nothing/Do")(b"", metadata=bearer, timeout=10)
        assert unknown.value.code() is grpc.StatusCode.UNIMPLEMENTED
        with pytest.raises(grpc.RpcError) as large:
            channel.unary_unary("/dac.gateway.v1.IdentityService/ListApiKeys")(
                b"\x0a" * (12 * 1024 * 1024 + 1), metadata=bearer, timeout=20
            )
        assert large.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("given", ["mine-1", "5f0c2f5e-9d3a-4c0e-8f51-0a4b0e7c9d21", None])
def test_request_ids_are_kept(client, given):
    answer = client.get("/v1/caller", headers={"x-request-id": given} if given else {})
    assert answer.headers["x-dac-request-id"] != answer.headers["x-request-id"]
    if given:
        assert answer.headers["x-request-id"] == given
    else:
        assert uuid.UUID(answer.headers["x-request-id"])
    assert len(answer.headers.get_list("x-request-id")) == 1


def body_of(size):
    """A chat of exactly `size` bytes."""
    empty = len(json.dumps(ask(messages=[{"role": "user", "content": ""}])))
    body = json.dumps(ask(messages=[{"role": "user", "content": "x" * (size - empty)}])).encode()
    assert len(body) == size
    return body


def test_the_body_limit_is_the_same_at_every_hop(client, behind, envoy):
    headers = {"content-type": "application/json"}
    for more in (-1, 0):
        direct = httpx.post(
            f"{behind.url}/v1/chat/completions",
            content=body_of(LIMIT + more),
            headers={**behind.headers, **headers},
            timeout=30,
        )
        through = client.post("/v1/chat/completions", content=body_of(LIMIT + more), headers=headers)
        assert direct.status_code == through.status_code == 200
    before = envoy.stat("cluster.gateway_http.upstream_rq_total")
    direct = httpx.post(
        f"{behind.url}/v1/chat/completions",
        content=body_of(LIMIT + 1),
        headers={**behind.headers, **headers},
        timeout=30,
    )
    through = client.post("/v1/chat/completions", content=body_of(LIMIT + 1), headers=headers)
    assert direct.status_code == through.status_code == 413
    assert direct.json() == through.json()
    assert through.json()["error"]["param"] == "body"
    line = envoy.access_log(lambda one: one["status"] == 413)
    assert line["upstream_host"] is None, "Envoy refused it before the gateway saw it"
    assert before > 0


def test_a_limited_key_gets_429_and_others_pass(client, rls, behind, envoy, trust):
    limited = client.post("/v1/keys", json={"name": "limited"}).json()
    token = limited["token"]
    public = token.split("_")[2]
    rls.limited.append(("key_id", public))
    try:
        refused = client.get("/v1/caller", headers={"authorization": f"Bearer {token}"})
        assert refused.status_code == 429
        assert refused.json()["error"] == {
            "message": "Too many requests. Wait a moment and send it again.",
            "type": "rate_limit_error",
            "param": None,
            "code": "rate_limit_exceeded",
        }
        assert refused.headers["retry-after"] == "1" and refused.headers["content-type"] == "application/json"
        assert client.get("/v1/caller").status_code == 200
        for malformed in (f"Bearer  {token}", f"bearer {token}", f"Bearer \t{token}"):
            assert client.get("/v1/caller", headers={"authorization": malformed}).status_code == 429
        with httpx.Client(base_url=client.base_url, verify=trust) as plain:
            other = {"authorization": f"Bearer {behind.key}"}
            for sent in ({"x-api-key": token}, {**other, "x-api-key": token}):
                assert plain.post("/v1/messages", headers=sent, json={}).status_code == 429
            shaken = {"authorization": f"Bearer {token}", "x-api-key": behind.key}
            assert plain.get("/v1/caller", headers=shaken).status_code == 429
            assert plain.post("/v1/messages", headers={"x-api-key": CANARY}, json={}).status_code == 401
            assert plain.post("/v1/messages", headers={"x-api-key": behind.key}, json={}).status_code == 400
            for second in (b"x", b"\xff"):
                twice = [(b"authorization", f"Bearer {token}".encode()), (b"authorization", second)]
                assert plain.get("/v1/caller", headers=twice).status_code == 429
        secrets_sent = [token.split("_")[3], "sk-" + CANARY, f"dac_live_{CANARY * 4}", CANARY]
        for secret in (f"Bearer sk-{CANARY}", f"Bearer dac_live_{CANARY * 4}", f"Basic {CANARY}", CANARY):
            assert client.get("/v1/caller", headers={"authorization": secret}).status_code == 401
        assert not [one for one in secrets_sent if one.encode() in rls.raw]
        assert client.get("/live", headers={"x-forwarded-for": "9.9.9.9"}).status_code == 200
        client.get("/v1/models", headers={"authorization": "Bearer x", "x-forwarded-for": "9.9.9.9"})
        asked = rls.asked[-1]
        assert asked.domain == "dac" and asked.descriptors == ({"remote_address": "127.0.0.1"},)
        assert {"key_id": behind.key.split("_")[2]} in [d for one in rls.asked for d in one.descriptors]
    finally:
        rls.limited.clear()
        client.delete(f"/v1/keys/{limited['key']['key_id']}")


def test_without_an_answer_of_the_rate_limit_service_requests_pass(client, rls):
    before = len(rls.asked)
    rls.stop()
    try:
        assert [client.get("/v1/caller").status_code for _ in range(3)] == [200, 200, 200]
    finally:
        rls.start()
    assert len(rls.asked) == before


def test_health_and_drain(client, envoy):
    probes = f"http://{envoy.address('probes')}"
    assert client.get("/live").json() == {"status": "live"}
    assert client.get("/ready").json()["status"] == "ready"
    assert httpx.get(f"{probes}/live").status_code == httpx.get(f"{probes}/ready").status_code == 200
    assert "envoy_cluster_upstream_rq_total" in httpx.get(f"{probes}/metrics").text
    assert httpx.get(f"{probes}/quitquitquit").status_code == 404
    envoy.post("/healthcheck/fail")
    try:
        assert client.get("/ready").status_code == httpx.get(f"{probes}/ready").status_code == 503
        assert client.get("/v1/caller").status_code == 200, "requests are still served"
    finally:
        envoy.post("/healthcheck/ok")
    assert client.get("/ready").status_code == 200


def test_the_access_log_tells_what_happened_and_no_secret(client, envoy, behind):
    request_id = f"log-{uuid.uuid4()}"
    client.post(
        f"/v1/chat/completions?q={CANARY}",
        json=ask(messages=[{"role": "user", "content": CANARY}]),
        headers={"x-request-id": request_id},
    )
    line = envoy.access_log(lambda one: one["request_id"] == request_id)
    assert line["path"] == "/v1/chat/completions" and line["status"] == 200 and line["method"] == "POST"
    assert line["upstream"] == "gateway_http" and line["attempts"] == 1 and line["key_id"] == behind.key.split("_")[2]
    assert line["dac_request_id"] and line["trace_id"] and line["duration_ms"] >= 0 and line["bytes_out"] > 0
    written = envoy.access_log_file.read_text() + envoy.log()
    assert CANARY not in written and behind.key.split("_")[3] not in written and "Bearer" not in written


def test_the_trace_goes_on_into_the_gateway(client, otlp):
    trace, parent = uuid.uuid4().hex, "00f067aa0ba902b7"
    answer = client.post(
        f"/v1/chat/completions?q={CANARY}", json=ask(), headers={"traceparent": f"00-{trace}-{parent}-01"}
    )
    assert answer.status_code == 200

    def complete(have):
        mine = [span for span in have.spans if span.trace_id == trace]
        named = {span.service for span in mine}
        return named >= {"dac-envoy", "dac-all"} and any("POST /v1" in one.name for one in mine) and mine

    spans = otlp.until(complete)
    (envoys,) = [span for span in spans if span.service == "dac-envoy" and span.kind == SERVER]
    (gateway,) = [span for span in spans if span.name == "POST /v1/chat/completions"]
    assert envoys.parent_id == parent and gateway.parent_id == envoys.span_id
    assert envoys.attributes["url.path"] == "/v1/chat/completions"
    assert CANARY.encode() not in otlp.raw


def test_envoy_can_transcode_the_management_api_itself(behind, tmp_path):
    with running(edge(options_for(behind, tls=False, transcode=True)), tmp_path, "transcoding") as process:
        process.wait_healthy("gateway_http", "gateway_grpc")
        with httpx.Client(base_url=f"http://{process.address('edge')}", headers=behind.headers, timeout=20) as client:
            before = process.stat("cluster.gateway_grpc.upstream_rq_total")
            direct, through = pair(client, behind, "GET", "/v1/keys")
            assert changing(direct) == changing(through)
            made = client.post("/v1/keys", json={"name": "transcoded"})
            assert made.status_code == 200 and made.json()["key"]["name"] == "transcoded"
            gone = client.delete(f"/v1/keys/{made.json()['key']['key_id']}")
            assert gone.status_code == 200
            assert process.stat("cluster.gateway_grpc.upstream_rq_total") == before + 3
            assert client.get("/v1/nothing").status_code == 404
            assert client.patch("/v1/keys", json={}).status_code == 404
            assert client.get("/v1/keys", headers={"authorization": "Bearer x"}).status_code == 401
            assert client.get("/live").status_code == client.get("/ready").status_code == 200
            assert client.get("/v1/models").json()["object"] == "list"
            assert client.post("/v1/chat/completions", json=ask(stream=True)).text.endswith("data: [DONE]\n\n")
            with client.stream("GET", "/v1/requests:follow") as followed:
                assert followed.status_code == 200 and next(followed.iter_bytes()) == b": open\n\n"


def test_no_field_is_deprecated(envoy):
    assert envoy.warnings() == []
    assert envoy.stat("runtime.deprecated_feature_use") == 0
