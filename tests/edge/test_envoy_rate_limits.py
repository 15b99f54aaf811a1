"""The real Envoy asks a real DAC whether a request may pass."""

import signal
import ssl

import httpx
import pytest

from mesh.envoy import certificates
from mesh.envoy.document import Endpoint
from mesh.envoy.edge import EdgeOptions, edge
from mesh.envoy.groups import Names
from tests.edge.conftest import make_dac
from tests.edge.envoy_process import running
from tests.ports import free_port


@pytest.fixture(scope="module")
def behind(tmp_path_factory, upstream_process):
    """A DAC whose budget answers Envoy."""
    dac = make_dac(tmp_path_factory.mktemp("behind"), upstream_process)
    dac.env |= {
        "DAC_MESH_LISTEN": f"127.0.0.1:{free_port()}",
        "DAC_BUDGET_ENVOY_RATE_LIMITS": "true",
        "DAC_BUDGET_ENVOY_KEY_REQUESTS_PER_MINUTE": "3",
        "DAC_BUDGET_ENVOY_ADDRESS_REQUESTS_PER_MINUTE": "1000",
    }
    dac.start()
    try:
        yield dac
        assert dac.stop() == 0, dac.log()
    finally:
        dac.stop(signal.SIGKILL)


@pytest.fixture(scope="module")
def envoy(behind, tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    certificates.make(folder, Names(), groups=["edge"])
    options = EdgeOptions(
        gateways=(Endpoint("127.0.0.1", int(behind.url.rsplit(":", 1)[1])),),
        grpc_gateways=(Endpoint("127.0.0.1", int(behind.grpc_address.rsplit(":", 1)[1])),),
        max_body_bytes=1 << 20,
        request_timeout_s=600,
        listen=Endpoint("127.0.0.1", free_port()),
        admin=Endpoint("127.0.0.1", free_port()),
        probes=Endpoint("127.0.0.1", free_port()),
        health_interval_s=0.2,
        sds_dir=str(folder / "edge"),
        rate_limit_service=Endpoint("127.0.0.1", int(behind.env["DAC_MESH_LISTEN"].rsplit(":", 1)[1])),
    )
    with running(edge(options), tmp_path_factory.mktemp("envoy"), "edge") as process:
        process.trust = ssl.create_default_context(cafile=str(folder / "ca.crt"))
        yield process.wait_healthy("gateway_http", "gateway_grpc")


def test_a_key_over_its_limit_is_refused_by_envoy(behind, envoy):
    with httpx.Client(base_url=f"https://{envoy.address('edge')}", verify=envoy.trust, timeout=30) as client:
        made = client.post("/v1/keys", headers=behind.headers, json={"name": "flood"}).json()
        headers = {"authorization": f"Bearer {made['token']}"}
        answers = [client.get("/v1/caller", headers=headers) for _ in range(6)]
        codes = [one.status_code for one in answers]
        # Envoy lets a request pass that is not answered in time: none of these was late, or the test says so.
        assert codes == [200, 200, 200, 429, 429, 429]
        refused = answers[-1]
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        assert 0 < int(refused.headers["retry-after"]) <= 61
        assert "x-dac-request-id" not in refused.headers, "the gateway saw nothing of it"
        assert client.get("/v1/caller", headers=behind.headers).status_code == 200, "another key passes"


def test_only_this_method_is_open_to_envoy(behind, envoy):
    """The port that Envoy reaches takes nothing else without a proven caller."""
    import grpc

    from dac.budget.v1 import limit_pb2, limit_pb2_grpc

    with grpc.insecure_channel(behind.env["DAC_MESH_LISTEN"]) as channel:
        stub = limit_pb2_grpc.LimitServiceStub(channel)
        for call, request in (
            (stub.ListRateLimits, limit_pb2.ListRateLimitsRequest()),
            (stub.Admit, limit_pb2.AdmitRequest()),
        ):
            with pytest.raises(grpc.RpcError) as refused:
                call(request, timeout=5)
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
