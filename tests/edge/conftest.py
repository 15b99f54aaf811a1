"""A real `dac up` in front of the scriptable upstream, reached by real clients."""

import contextlib
import dataclasses
import os
import pathlib
import secrets
import signal
import string
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from tests import prepared, programs
from tests.ports import free_port
from tests.upstream import Upstream

ALPHABET = string.ascii_letters + string.digits
CONFIG = """
providers:
  mock: {{kind: openai, base_url: "{base}", api_key: {{env: MOCK_API_KEY}}, allow_private_address: true}}
  second: {{kind: openai, base_url: "{base}", api_key: {{env: MOCK_API_KEY}}, allow_private_address: true}}
  claude: {{kind: anthropic, base_url: "{origin}", api_key: {{env: MOCK_API_KEY}}, allow_private_address: true}}
  quick: {{kind: openai, base_url: "{base}", api_key: {{env: MOCK_API_KEY}}, allow_private_address: true,
     first_token_timeout_s: 0.5}}
  dead: {{kind: openai, base_url: "http://127.0.0.1:9/v1", allow_private_address: true}}
  local: {{enabled: {local}}}
models:
  - {{id: mock/gpt-4o-mini, provider: mock, name: gpt-4o-mini, context_tokens: 128000, quality: 0.8,
     capabilities: [tools, images, json], price: {{input_usd_per_mtok: "0.15", output_usd_per_mtok: "0.60"}}}}
  - {{id: second/small, provider: second, name: small, context_tokens: 32000, quality: 0.7,
     capabilities: [tools, json], price: {{input_usd_per_mtok: "0.10", output_usd_per_mtok: "0.40"}}}}
  - {{id: claude/sonnet, provider: claude, name: sonnet, context_tokens: 200000, quality: 0.75,
     capabilities: [tools, images], price: {{input_usd_per_mtok: "3", output_usd_per_mtok: "15"}}}}
  - {{id: mock/unpriced, provider: mock, name: unpriced, context_tokens: 8000, quality: 0.1}}
  - {{id: mock/embed, provider: mock, name: embed, context_tokens: 8191, capabilities: [embeddings],
     price: {{input_usd_per_mtok: "0.02", output_usd_per_mtok: "0"}}}}
  - {{id: quick/embed, provider: quick, name: embed, context_tokens: 8191, capabilities: [embeddings],
     price: {{input_usd_per_mtok: "0.02", output_usd_per_mtok: "0"}}}}
  - {{id: mock/embed-unpriced, provider: mock, name: embed-unpriced, context_tokens: 8191, capabilities: [embeddings]}}
  - {{id: claude/embed, provider: claude, name: embed, context_tokens: 8191, capabilities: [embeddings],
     price: {{input_usd_per_mtok: "0.02", output_usd_per_mtok: "0"}}}}
{more}
"""
AUDIO = """
  - {id: mock/whisper, provider: mock, name: whisper-1, context_tokens: 448, capabilities: [transcription],
     price: {audio_usd_per_hour: "0.36"}}
  - {id: quick/whisper, provider: quick, name: whisper-1, context_tokens: 448, capabilities: [transcription],
     price: {audio_usd_per_hour: "0.36"}}
  - {id: pair/whisper, name: whisper-1, context_tokens: 448, capabilities: [transcription],
     deployments: [{provider: dead}, {provider: claude}, {provider: mock, priority: 1}],
     price: {audio_usd_per_hour: "0.36"}}
  - {id: claude/whisper, provider: claude, name: whisper-1, context_tokens: 448, capabilities: [transcription],
     price: {audio_usd_per_hour: "0.36"}}
  - {id: mock/transcribe, provider: mock, name: gpt-4o-transcribe, context_tokens: 16000, max_output_tokens: 2000,
     capabilities: [transcription], price: {input_usd_per_mtok: "2.5", output_usd_per_mtok: "10"}}
  - {id: mock/whisper-unpriced, provider: mock, name: whisper-1, context_tokens: 448, capabilities: [transcription]}
  - {id: mock/tts, provider: mock, name: tts-1, context_tokens: 4096, capabilities: [speech],
     price: {input_usd_per_mchar: "15"}}
  - {id: quick/tts, provider: quick, name: tts-1, context_tokens: 4096, capabilities: [speech],
     price: {input_usd_per_mchar: "15"}}
  - {id: mock/voice, provider: mock, name: gpt-4o-mini-tts, context_tokens: 2000, capabilities: [speech],
     price: {input_usd_per_mtok: "0.6", output_usd_per_mtok: "12"}}
"""


def new_key() -> str:
    """A bootstrap key of the right form."""
    pick = secrets.choice
    return f"dac_test_{''.join(pick(ALPHABET) for _ in range(12))}_{''.join(pick(ALPHABET) for _ in range(43))}"


@dataclasses.dataclass
class Dac:
    """A running `dac up`."""

    url: str
    grpc_address: str
    key: str
    data_dir: pathlib.Path
    config: pathlib.Path
    env: dict[str, str]
    arguments: tuple[str, ...]
    process: programs.Program | subprocess.Popen[bytes] | None = None
    database: str = "migrated"
    """What a first start finds: a migrated database, an "empty" server, or "nothing", as at people's first start."""

    def start(self, timeout_s: float = 60) -> None:
        """Starts it and waits until it is ready."""
        folder = self.data_dir / "postgres"
        if self.database != "nothing" and "DATABASE_URL" not in self.env and not folder.exists():
            prepared.put(folder, migrated=self.database == "migrated")
        log = (self.data_dir.parent / "dac.log").open("ab")
        command = ["up", "--config", str(self.config), *self.arguments]
        if self.env.get("PYTHONPATH") == os.environ.get("PYTHONPATH"):
            self.process = programs.start(command, self.env, stdout=log, stderr=log)
        else:  # Another program than the one that these tests have imported.
            real = [sys.executable, "-m", "mesh", *command]
            self.process = subprocess.Popen(real, env=self.env, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        end = time.monotonic() + timeout_s
        with httpx.Client(base_url=self.url, timeout=2) as client:
            while time.monotonic() < end:
                if self.process.poll() is not None:
                    raise AssertionError(f"dac up ended with {self.process.returncode}:\n{self.log()}")
                with contextlib.suppress(httpx.HTTPError):
                    if client.get("/ready").status_code == 200:
                        return
                time.sleep(0.05)
        raise AssertionError(f"dac up was not ready in {timeout_s} s:\n{self.log()}")

    def log(self) -> str:
        """What it wrote."""
        return (self.data_dir.parent / "dac.log").read_text()[-6000:]

    def has_said(self, words: str, timeout_s: float = 20) -> bool:
        """Whether it writes these words: what it announces comes a moment after it is ready."""
        end = time.monotonic() + timeout_s
        while words not in self.log():
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        return True

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ends it; returns the exit code."""
        if self.process is None:
            return 0
        self.process.send_signal(number)
        code = self.process.wait(45)
        self.process = None
        return code

    @property
    def headers(self) -> dict[str, str]:
        """The bearer header."""
        return {"authorization": f"Bearer {self.key}"}

    @property
    def operator_headers(self) -> dict[str, str]:
        """The operator's."""
        token = (self.data_dir / "secrets" / "operator.token").read_text().strip()
        return {"authorization": f"Bearer {token}"}

    def get(self, path: str, **more: object) -> httpx.Response:
        """GET with the key."""
        return httpx.get(self.url + path, headers=self.headers, timeout=30, **more)  # type: ignore[arg-type]

    def chat(self, **fields: object) -> httpx.Response:
        """A chat with the key."""
        body = {"model": "mock/gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello."}], **fields}
        return httpx.post(self.url + "/v1/chat/completions", json=body, headers=self.headers, timeout=30)

    def usual_chat(self, **fields: object) -> httpx.Response:
        """A chat whose route is no departure: one decision in ten may try another model to learn of it."""
        for _ in range(20):
            answer = self.chat(**fields)
            if "to learn more of it" not in answer.headers.get("x-dac-route", ""):
                return answer
        raise AssertionError("every route tried a model to learn of it")

    def record(self, response: httpx.Response, timeout_s: float = 5) -> dict[str, object]:
        """The stored record of an answered request, when it has arrived."""
        request_id = response.headers["x-dac-request-id"]
        end = time.monotonic() + timeout_s
        while True:
            found = self.get(f"/v1/requests/{request_id}")
            if found.status_code == 200 or time.monotonic() > end:
                assert found.status_code == 200, found.text
                return found.json()["request"]  # type: ignore[no-any-return]
            time.sleep(0.02)


def make_dac(
    folder: pathlib.Path, upstream: Upstream, *arguments: str, local: bool = False, more: str = "", audio: bool = True
) -> Dac:
    """A `dac up` to be started: own ports, own data."""
    more = (AUDIO if audio else "") + more
    http_port, grpc_port, key = free_port(), free_port(), new_key()
    config = folder / "dac.yaml"
    config.write_text(
        CONFIG.format(base=upstream.base_url, origin=upstream.origin, local=str(local).lower(), more=more)
    )
    clean = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    env = {
        **clean,
        "DAC_HTTP_PORT": str(http_port),
        "DAC_GRPC_PORT": str(grpc_port),
        "DAC_DATA_DIR": str(folder / "data"),
        "DAC_BOOTSTRAP_API_KEY": key,
        "MOCK_API_KEY": "mock-secret-canary-5b1f",
        "DAC_LOG_FORMAT": "json",
        # A look at the mock's list of models would use up what a test scripted.
        "DAC_PROVIDER_DISCOVERY_INTERVAL_S": "0",
        # Hundreds of starts need not load 180 MB of vocabulary.
        "DAC_MEMORY_CONTEXT_TOKENIZER": "false",
        # No test asks the world's public sources of models.
        "DAC_OFFLINE": "true",
        # Exports are held against what the log noted a moment ago, and not within the last hour.
        "DAC_AUDIT_HEADS_EVERY_S": "1",
        # On a busy machine the embedder's first question takes longer than callers would wait, and would be a miss.
        "DAC_GATEWAY_CACHE_TIMEOUT_S": "30",
    }
    return Dac(f"http://127.0.0.1:{http_port}", f"127.0.0.1:{grpc_port}", key, folder / "data", config, env, arguments)


@pytest.fixture(scope="session")
async def upstream() -> AsyncIterator[Upstream]:
    """The stand-in for providers; runs in the tests' own loop."""
    async with Upstream() as running:
        yield running


@pytest.fixture(scope="session")
def upstream_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator["UpstreamProcess"]:
    """The stand-in for providers in a process of its own, for tests with blocking clients."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "tests.upstream", "--port", str(port)])
    running = UpstreamProcess(f"http://127.0.0.1:{port}")
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with contextlib.suppress(httpx.HTTPError):
            httpx.get(running.origin + "/requests", timeout=1)
            break
        time.sleep(0.02)
    yield running
    process.terminate()
    process.wait(10)


@dataclasses.dataclass
class UpstreamProcess:
    """Remote control of the stand-in."""

    origin: str

    @property
    def base_url(self) -> str:
        """OpenAI's base URL."""
        return self.origin + "/v1"

    def script(self, fault: str = "ok", **fields: object) -> None:
        """Queues one behaviour for the next request."""
        httpx.post(self.origin + "/script", json={"fault": fault, **fields}).raise_for_status()

    def clear(self) -> None:
        """Forgets scripts and recordings."""
        httpx.delete(self.origin + "/script").raise_for_status()

    def requests(self) -> list[dict[str, object]]:
        """What it received."""
        return httpx.get(self.origin + "/requests").json()  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def dac(tmp_path_factory: pytest.TempPathFactory, upstream_process: UpstreamProcess) -> Iterator[Dac]:
    """One `dac up` shared by the tests of this process: leave it as you found it."""
    running = make_dac(tmp_path_factory.mktemp("dac"), upstream_process)  # type: ignore[arg-type]
    running.start()
    yield running
    code = running.stop()
    assert code == 0, running.log()


@pytest.fixture(autouse=True)
def fresh_upstream(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test begins without scripts, and leaves none to the fixtures of the next module."""
    if "upstream_process" not in request.fixturenames and "dac" not in request.fixturenames:
        yield
        return
    running = request.getfixturevalue("upstream_process")
    running.clear()
    yield
    running.clear()
