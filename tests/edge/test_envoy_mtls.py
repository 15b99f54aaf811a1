"""Two `dac serve` with a sidecar each: mutual TLS between them, who is refused, certificates that change meanwhile."""

import asyncio
import contextlib
import itertools
import json
import os
import re
import secrets
import shutil
import signal
import socket
import ssl
import threading
from concurrent import futures

import asyncpg
import grpc
import httpx
import pytest
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mesh.envoy import certificates
from mesh.envoy.document import Endpoint, to_yaml
from mesh.envoy.groups import Names
from mesh.envoy.sds import sds_files
from mesh.envoy.sidecar import SidecarOptions, mesh_addresses, sidecar
from tests import prepared, programs
from tests.edge.conftest import CONFIG, new_key
from tests.edge.envoy_process import running, until
from tests.ports import free_port, free_ports

MODEL = "mock/gpt-4o-mini"
EDGE, CORE = "gateway,router,provider", "budget,audit,memory"
NAMES = Names()
LOOPBACK = "127.0.0.1"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    certificates.make(folder, NAMES)
    return folder


def options_for(group, authority, **more):
    ports = {"admin": Endpoint(LOOPBACK, free_port()), "probes": Endpoint(LOOPBACK, free_port())}
    fixed = {"topology": "core", "sds_dir": str(authority / group), "health_interval_s": 0.2}
    return SidecarOptions(group, **{**fixed, **ports, "listen": Endpoint(LOOPBACK, free_port()), **more})


@pytest.fixture(scope="module")
def postgres_server(tmp_path_factory):
    """A server of its own: roles belong to a whole server, and a login may only grant those that it made."""
    server = prepared.server_in(tmp_path_factory.mktemp("pg"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def database(postgres_server):
    """(owner's URL, DAC's URL) of an empty database, as an administrator would make it."""
    name = f"mtls_{secrets.token_hex(4)}"

    async def prepare():
        connection = await asyncpg.connect(postgres_server.superuser_dsn)
        for statement in (
            f"CREATE ROLE {name}_owner LOGIN CREATEROLE PASSWORD 'o'",
            f"CREATE ROLE {name} LOGIN PASSWORD 'a'",
            f"CREATE DATABASE {name} OWNER {name}_owner",
        ):
            await connection.execute(statement)
        await connection.close()

    thread = threading.Thread(target=lambda: asyncio.run(prepare()))
    thread.start()
    thread.join()
    return postgres_server.dsn(f"{name}_owner", "o", name), postgres_server.dsn(name, "a", name)


class Serving:
    """A `dac serve` with its probe port."""

    def __init__(self, target, folder, env):
        self.log = folder / "serve.log"
        self.probe = free_port()
        more = {"DAC_DATA_DIR": str(folder / "data"), "DAC_PROBE_PORT": str(self.probe)}
        with self.log.open("ab") as log:
            self.process = programs.start(["serve", "--target", target], {**env, **more}, stdout=log, stderr=log)

    def ready(self):
        assert self.process.poll() is None, self.log.read_text()[-4000:]
        return httpx.get(f"http://{LOOPBACK}:{self.probe}/ready", timeout=5).status_code == 200

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(40)
        finally:
            self.process.kill()


class Mesh:
    """Both processes and both sidecars."""

    def __init__(self, url, key, edge, core):
        self.url, self.headers, self.edge, self.core = url, {"authorization": f"Bearer {key}"}, edge, core

    def chat(self):
        body = {"model": MODEL, "messages": [{"role": "user", "content": "Say hello."}]}
        return httpx.post(f"{self.url}/v1/chat/completions", json=body, headers=self.headers, timeout=30)


@pytest.fixture(scope="module")
def mesh(authority, database, upstream_process, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mtls")
    key, http_port, edge_mesh, core_mesh = new_key(), free_port(), free_port(), free_port()
    (folder / "dac.yaml").write_text(
        CONFIG.format(base=upstream_process.base_url, origin=upstream_process.origin, local="false", more="")
    )
    (folder / "master.key").write_text(secrets.token_hex(32))
    (folder / "master.key").chmod(0o600)
    # As in a cluster: what names the certificates lies apart from them. The other sidecar has both in one folder.
    (folder / "sds").mkdir()
    for name, document in sds_files(str(authority / "core")).items():
        (folder / "sds" / name).write_text(to_yaml(document, name))
    core_options = options_for("core", authority, sds_dir=str(folder / "sds"), mesh=Endpoint(LOOPBACK, core_mesh))
    peers = dict.fromkeys(CORE.split(","), core_options.listen)
    edge_options = options_for("edge", authority, peers=peers, egress_port=free_ports(3))
    env = {
        **{name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")},
        "DAC_CONFIG": str(folder / "dac.yaml"),
        "DAC_MASTER_KEY_FILE": str(folder / "master.key"),
        "DATABASE_URL": database[1],
        "DAC_LOG_FORMAT": "json",
        "MOCK_API_KEY": "mock",
    }
    migrated = programs.run(["migrate"], {**env, "DATABASE_OWNER_URL": database[0]})
    assert migrated.returncode == 0, migrated.stderr
    addresses = ",".join(f"{target}={address}" for target, address in mesh_addresses(edge_options).items())
    edge_env = {
        **env,
        "DAC_HTTP_PORT": str(http_port),
        "DAC_GRPC_PORT": "0",
        "DAC_MESH_ADDRESSES": addresses,
        "DAC_MESH_LISTEN": f"{LOOPBACK}:{edge_mesh}",
        "DAC_BOOTSTRAP_API_KEY": key,
    }
    with contextlib.ExitStack() as stack:
        core_envoy = stack.enter_context(running(sidecar(core_options), folder, "core"))
        edge_envoy = stack.enter_context(running(sidecar(edge_options), folder, "edge"))
        for name in ("core-data", "edge-data"):
            (folder / name).mkdir()
        core = Serving(CORE, folder / "core-data", {**env, "DAC_MESH_LISTEN": f"{LOOPBACK}:{core_mesh}"})
        stack.callback(core.stop)
        edge = Serving(EDGE, folder / "edge-data", edge_env)
        stack.callback(edge.stop)
        until(core.ready, "core serves", 40)
        until(edge.ready, "edge serves", 40)
        until(lambda: httpx.get(f"http://{LOOPBACK}:{http_port}/ready").status_code == 200, "ready", 40)
        core_envoy.wait_healthy("local")
        edge_envoy.wait_healthy("budget", "audit", "memory")
        yield Mesh(f"http://{LOOPBACK}:{http_port}", key, edge_envoy, core_envoy)


def check_health(address, folder, *, certificate=True):
    """Asks for the health of what is behind an ingress; raises RpcError when it is not let in."""
    read = {name: (folder / name).read_bytes() for name in ("ca.crt", "tls.crt", "tls.key")}
    pair = (read["tls.key"], read["tls.crt"]) if certificate else (None, None)
    credentials = grpc.ssl_channel_credentials(read["ca.crt"], *pair)
    with grpc.secure_channel(address, credentials) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return stub.Check(health_pb2.HealthCheckRequest(service="budget"), timeout=5).status


def presented(address, folder):
    """The serial number of the certificate that an ingress shows to a new connection."""
    context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    host, port = address.split(":")
    with socket.create_connection((host, int(port))) as plain, context.wrap_socket(plain, server_hostname=host) as tls:
        return x509.load_der_x509_certificate(tls.getpeercert(True)).serial_number


def test_a_chat_works_through_mutual_tls(mesh):
    answer = mesh.chat()
    assert answer.status_code == 200
    request_id = answer.headers["x-dac-request-id"]
    until(
        lambda: httpx.get(f"{mesh.url}/v1/requests/{request_id}", headers=mesh.headers).status_code == 200,
        "the record has come to audit",
    )
    # Reserve and Commit went through a session, which is not in the log before it ends.
    assert httpx.get(f"{mesh.url}/v1/budgets", headers=mesh.headers).status_code == 200
    line = mesh.core.access_log(lambda one: "BudgetService/ListBudgets" in one["path"])
    assert line["peer"] == NAMES.spiffe_id("edge") and line["grpc_status"] in (0, "0", "OK")
    assert httpx.get(f"{mesh.url}/health").json()["status"] == "healthy"
    assert httpx.get(f"http://{mesh.core.address('probes')}/ready").status_code == 200
    # Memory asks models; nobody else calls what stands at the edge.
    (ingress,) = [one for one in mesh.edge.document["static_resources"]["listeners"] if one["name"] == "ingress"]
    assert set(re.findall(r"spiffe://[\w./-]+", json.dumps(ingress))) == {NAMES.spiffe_id("core")}


def test_only_the_right_spiffe_id_is_let_in(mesh, authority, tmp_path):
    address = mesh.core.address("ingress")
    assert check_health(address, authority / "edge") == health_pb2.HealthCheckResponse.SERVING
    certificates.make(tmp_path / "strangers", NAMES, groups=["edge"])
    shutil.copy(authority / "ca.crt", tmp_path / "ca.crt")
    for name in ("tls.crt", "tls.key"):
        shutil.copy(tmp_path / "strangers" / "edge" / name, tmp_path / name)
    for folder, with_certificate in ((authority / "edge", False), (authority / "memory", True), (tmp_path, True)):
        with pytest.raises(grpc.RpcError) as refused:
            check_health(address, folder, certificate=with_certificate)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    with httpx.Client(timeout=5) as client, pytest.raises(httpx.HTTPError):
        client.get(f"http://{address}/")


def test_a_peer_with_another_spiffe_id_is_not_spoken_to(authority, tmp_path):
    false_core = options_for("core", authority, sds_dir=str(authority / "audit"), probes=None)
    edge_options = options_for(
        "edge", authority, peers={"budget": false_core.listen}, egress_port=free_ports(3), probes=None
    )
    with running(sidecar(false_core), tmp_path, "false"), running(sidecar(edge_options), tmp_path, "edge") as edge:
        with grpc.insecure_channel(edge.address("egress_budget")) as channel, pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary("/dac.budget.v1.BudgetService/Reserve")(b"", timeout=5)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert edge.stat("cluster.budget.ssl.fail_verify_san") > 0


def test_who_called_is_told_by_envoy_alone(authority, tmp_path):
    seen = []

    def answer(request, context):
        seen.append(dict(context.invocation_metadata()))
        return b""

    server = grpc.server(futures.ThreadPoolExecutor(1))
    handlers = {"Do": grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("dac.Test", handlers),))
    options = options_for("core", authority, probes=None, mesh=Endpoint(LOOPBACK, free_port()))
    assert server.add_insecure_port(f"{LOOPBACK}:{options.mesh.port}")
    server.start()
    with running(sidecar(options), tmp_path, "ingress") as envoy:
        own = authority / "edge"
        credentials = grpc.ssl_channel_credentials(
            (own / "ca.crt").read_bytes(), (own / "tls.key").read_bytes(), (own / "tls.crt").read_bytes()
        )
        with grpc.secure_channel(envoy.address("ingress"), credentials) as channel:
            forged = (("x-forwarded-client-cert", "URI=spiffe://dac.local/ns/dac/sa/dac-operator"),)
            channel.unary_unary("/dac.Test/Do")(b"", metadata=forged, timeout=5)
    server.stop(0)
    assert seen[0]["x-forwarded-client-cert"].endswith(f"URI={NAMES.spiffe_id('edge')}")
    assert "operator" not in seen[0]["x-forwarded-client-cert"]


def test_certificates_change_without_a_restart_or_a_failed_request(mesh, authority):
    address, stop, statuses = mesh.core.address("ingress"), threading.Event(), []

    def load():
        while not stop.is_set():
            statuses.append(mesh.chat().status_code)

    before, pids = presented(address, authority / "edge"), (mesh.core.process.pid, mesh.edge.process.pid)
    worker = threading.Thread(target=load)
    worker.start()
    try:
        for _ in itertools.repeat(None, 2):
            assert "core" in certificates.renew(authority)
            until(lambda old=before: presented(address, authority / "edge") != old, "the new certificate")
            before = presented(address, authority / "edge")
        renewed = mesh.edge.stat("cluster.budget.client_ssl_socket_factory.ssl_context_update_by_sds")
        assert renewed >= 2
        done = len(statuses)
        until(lambda: len(statuses) > done + 3, "requests go on")
    finally:
        stop.set()
        worker.join()
    assert set(statuses) == {200}
    assert pids == (mesh.core.process.pid, mesh.edge.process.pid)
    assert mesh.core.process.poll() is None and mesh.edge.process.poll() is None
    leaf = x509.load_pem_x509_certificate((authority / "core" / "tls.crt").read_bytes())
    assert leaf.serial_number == before
    assert check_health(address, authority / "edge") == health_pb2.HealthCheckResponse.SERVING
