"""How each measured system is started, made ready and stopped: its own process, 127.0.0.1 only, a scratch folder."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import pathlib
import secrets
import shutil
import signal
import socket
import string
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import yaml

from bench import peers
from bench.processes import MARKER, ProcessTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE")


class StartFailure(Exception):
    """A system did not become ready; the message holds the end of its log."""


@dataclass(frozen=True)
class Place:
    """Where a system runs and what stands behind it."""

    folder: pathlib.Path
    upstream: str
    gap_ms: float


@dataclass(frozen=True)
class Recipe:
    """What starting a system takes."""

    command: list[str]
    port: int
    headers: dict[str, str]
    model: str = "gpt-4o-mini"
    environment: dict[str, str] = field(default_factory=dict)
    ready_path: str | None = None
    ready_s: float = 60.0


@dataclass(frozen=True)
class System:
    """A running system under load."""

    name: str
    port: int
    model: str
    headers: dict[str, str]
    tree: ProcessTree

    def get_json(self, path: str, *, method: str = "GET", body: object = None) -> dict[str, object]:
        """One management call."""
        headers = {"content-type": "application/json", **self.headers}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=15) as answer:
                parsed: dict[str, object] = json.loads(answer.read())
                return parsed
        except urllib.error.HTTPError as failure:
            failure.msg = f"{failure.msg} ({method} {path}): {failure.read(400).decode('utf-8', 'replace')}"
            raise


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _letters(count: int) -> str:
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(count))


# ---- recipes -------------------------------------------------------------------------------------------------------


def _direct(place: Place) -> Recipe:
    port = free_port()
    command = [sys.executable, "-m", "bench.upstream", "--port", str(port), "--gap-ms", str(place.gap_ms)]
    return Recipe(command, port, {"authorization": "Bearer sk-bench"}, ready_path="/v1/models")


def _floor(place: Place) -> Recipe:
    port = free_port()
    command = [sys.executable, "-m", "bench.floor", "--upstream", place.upstream, "--port", str(port)]
    return Recipe(command, port, {"authorization": "Bearer sk-bench"}, ready_path="/v1/models")


def _dac(place: Place, *flags: str) -> Recipe:
    config: dict[str, object] = {
        "providers": {
            "mock": {
                "kind": "openai",
                "base_url": f"{place.upstream}/v1",
                "api_key": "sk-bench",
                "allow_private_address": True,
            },
            "local": {"enabled": False},
        },
        "models": [
            {
                "id": "mock/gpt-4o-mini",
                "provider": "mock",
                "name": "gpt-4o-mini",
                "context_tokens": 128000,
                "quality": 0.8,
                "price": {"input_usd_per_mtok": "0.15", "output_usd_per_mtok": "0.60"},
            }
        ],
    }
    return dac_recipe(place, config, "mock/gpt-4o-mini", *flags)


def dac_recipe(place: Place, config: dict[str, object], model: str, *flags: str) -> Recipe:
    """`dac up` of this tree with its own ports, data folder and key; `model` answers when it is ready."""
    port = free_port()
    key = f"dac_bench_{_letters(12)}_{_letters(43)}"
    path = place.folder / "dac.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    environment = {
        "DAC_HTTP_PORT": str(port),
        "DAC_GRPC_PORT": str(free_port()),
        "DAC_DATA_DIR": str(place.folder / "data"),
        "DAC_CONFIG": str(path),
        "DAC_BOOTSTRAP_API_KEY": key,
        # This tree, whatever is installed.
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gen'}",
    }
    command = [sys.executable, "-m", "mesh", "up", *flags]
    headers = {"authorization": f"Bearer {key}"}
    return Recipe(command, port, headers, model, environment, ready_path="/ready", ready_s=180.0)


def _dac_split(place: Place) -> Recipe:
    return _dac(place, "--split")


def _litellm(place: Place) -> Recipe:
    port = free_port()
    key = "sk-" + secrets.token_hex(24)
    config = {
        "model_list": [
            {
                "model_name": "gpt-4o-mini",
                "litellm_params": {
                    "model": "openai/gpt-4o-mini",
                    "api_base": f"{place.upstream}/v1",
                    "api_key": "sk-bench",
                },
            }
        ],
        "general_settings": {"master_key": key},
        "litellm_settings": {"callbacks": [], "num_retries": 0, "telemetry": False},
    }
    path = place.folder / "litellm.yaml"
    path.write_text(yaml.safe_dump(config))
    environment = {
        "LITELLM_LOG": "ERROR",
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "DISABLE_ADMIN_UI": "True",
    }
    command = [str(peers.LITELLM_VENV / "bin" / "litellm"), "--config", str(path), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--num_workers", "1"]
    headers = {"authorization": f"Bearer {key}"}
    return Recipe(command, port, headers, environment=environment, ready_path="/health/liveliness", ready_s=180.0)


def _portkey(place: Place) -> Recipe:
    port = free_port()
    preload = str(ROOT / "bench" / "portkey_loopback.cjs")
    command = ["node", "--require", preload, str(peers.PORTKEY_SERVER), f"--port={port}", "--headless"]
    headers = {
        "authorization": "Bearer sk-bench",
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": f"{place.upstream}/v1",
    }
    return Recipe(command, port, headers)


RECIPES: dict[str, Callable[[Place], Recipe]] = {
    "direct": _direct,
    "floor": _floor,
    "dac": _dac,
    "dac-split": _dac_split,
    "litellm": _litellm,
    "portkey": _portkey,
}

SWITCHED_ON = {
    "direct": "nothing: the mock itself, its own CPU",
    "floor": "nothing: bytes passed on by uvicorn + aiohttp, one process",
    "dac": "key check, routing, durable budget reservation and commit (one organisation budget), "
    "ledger, audit record; embedded PostgreSQL with its usual fsync; cache, memory, persona, validation off (default)",
    "litellm": "master key only, 1 worker; no database: no virtual keys, budgets, spend or audit",
    "portkey": "nothing: no keys, budgets or records; bound to loopback by a preload, hono and node-server pinned",
}
SWITCHED_ON["dac-split"] = SWITCHED_ON["dac"] + "; one process per service, gRPC between them"


def version_of(name: str) -> str | None:
    """The version that would run; None = not installed."""
    if name == "litellm":
        return peers.litellm_version()
    if name == "portkey":
        return peers.portkey_version()
    if name in ("dac", "dac-split"):
        dac = pathlib.Path(sys.executable).parent / "dac"
        return importlib.metadata.version("dac") if dac.exists() else None
    if name == "floor":
        return f"uvicorn {importlib.metadata.version('uvicorn')}, aiohttp {importlib.metadata.version('aiohttp')}"
    return f"uvloop {importlib.metadata.version('uvloop')}"


# ---- life cycle ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def running(
    name: str,
    scratch: pathlib.Path,
    *,
    upstream: str = "",
    gap_ms: float = 1.0,
    recipe_for: Callable[[Place], Recipe] | None = None,
) -> Iterator[System]:
    """The system, ready for load; all its processes are gone afterwards, whatever happened."""
    run_id = f"{name}-{uuid.uuid4().hex[:12]}"
    folder = scratch / run_id
    folder.mkdir(parents=True)
    recipe = (recipe_for or RECIPES[name])(Place(folder, upstream, gap_ms))
    environment = {key: os.environ[key] for key in PASSED_ON if key in os.environ}
    environment |= recipe.environment | {MARKER: run_id}
    log = folder / "log.txt"
    with log.open("wb") as output:
        root = subprocess.Popen(
            recipe.command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    tree = ProcessTree(run_id, root.pid, folder)
    try:
        system = System(name, recipe.port, recipe.model, recipe.headers, tree)
        _await_ready(system, recipe, root, log)
        yield system
    finally:
        _stop(root, tree)
        shutil.rmtree(folder, ignore_errors=True)


def _await_ready(system: System, recipe: Recipe, root: subprocess.Popen[bytes], log: pathlib.Path) -> None:
    until = time.monotonic() + recipe.ready_s
    last = "no answer yet"
    while time.monotonic() < until:
        if root.poll() is not None:
            raise StartFailure(f"{system.name} ended with code {root.returncode} while starting:\n{_tail(log)}")
        try:
            if recipe.ready_path is not None:
                with urllib.request.urlopen(f"http://127.0.0.1:{recipe.port}{recipe.ready_path}", timeout=5):
                    pass
            system.get_json("/v1/chat/completions", method="POST", body=_first_request(system.model))
            return
        except (OSError, ValueError) as failure:
            last = str(failure)
        time.sleep(0.2)
    raise StartFailure(f"{system.name} was not ready after {recipe.ready_s:.0f} s ({last}):\n{_tail(log)}")


def _first_request(model: str) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": "Are you there?"}]}


def _tail(log: pathlib.Path) -> str:
    return "\n".join(log.read_text("utf-8", "replace").splitlines()[-15:])


def _stop(root: subprocess.Popen[bytes], tree: ProcessTree) -> None:
    # Only the root is asked: it is the one that knows in which order its children end.
    if root.poll() is None:
        root.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            root.wait(timeout=20)
    tree.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        root.wait(timeout=5)
