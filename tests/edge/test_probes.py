"""Probes on a port of their own, and a stop that lets balancers look away first."""

import signal
import socket
import time

import httpx
import pytest

from tests.edge.conftest import make_dac, new_key
from tests.ports import free_port


@pytest.fixture
def probed(tmp_path, upstream_process):
    dac = make_dac(tmp_path, upstream_process)
    port = free_port()
    dac.env |= {"DAC_PROBE_PORT": str(port), "DAC_MESH_LAME_DUCK_S": "2", "DAC_OPERATOR_TOKEN": new_key()}
    dac.start()
    yield dac, f"http://127.0.0.1:{port}"
    dac.stop(signal.SIGKILL)


def test_probes_tell_of_the_process_and_a_stop_is_announced_before_it_begins(probed):
    dac, probes = probed
    assert httpx.get(f"{probes}/live").status_code == 200
    assert httpx.get(f"{probes}/ready").json() == {"status": "ready", "missing": []}
    assert dac.chat().status_code == 200
    assert 'chat_completions_total{model="mock/gpt-4o-mini",outcome="ok"} 1.0' in httpx.get(f"{probes}/metrics").text
    assert httpx.get(f"{probes}/v1/models").status_code == 404
    given = {"authorization": f"Bearer {dac.env['DAC_OPERATOR_TOKEN']}"}
    assert httpx.get(f"{dac.url}/v1/organisations", headers=given).status_code == 200
    assert not (dac.data_dir / "secrets" / "operator.token").exists()
    dac.process.send_signal(signal.SIGTERM)
    end = time.monotonic() + 5
    while (ready := httpx.get(f"{probes}/ready")).status_code == 200:
        assert time.monotonic() < end
    assert ready.json()["missing"] == ["leaving"]
    assert "leaving" in httpx.get(f"{dac.url}/ready").json()["missing"]
    late = dac.chat()
    assert late.status_code == 200 and late.headers["connection"] == "close"
    assert dac.process.wait(20) == 0


def test_a_weak_operator_token_is_refused_by_name(tmp_path, upstream_process):
    dac = make_dac(tmp_path, upstream_process)
    dac.env["DAC_OPERATOR_TOKEN"] = "operator"
    with pytest.raises(AssertionError, match="DAC_OPERATOR_TOKEN is weak"):
        dac.start()


def test_a_taken_probe_port_is_named(tmp_path, upstream_process):
    dac = make_dac(tmp_path, upstream_process)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        dac.env["DAC_PROBE_PORT"] = str(other.getsockname()[1])
        with pytest.raises(AssertionError, match="choose another port with DAC_PROBE_PORT"):
            dac.start()
