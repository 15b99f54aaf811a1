"""What `dac up` says when it is ready: where it listens, the first key, which models answer, and a line to paste."""

import asyncio
import contextlib
import json
import socket
import sys
import urllib.request
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING

from mesh.known_providers import KNOWN

if TYPE_CHECKING:
    from mesh.launcher import Launcher

OLLAMA_PORT = 11434
FIRST_CHAT = {
    "model": "auto",
    "messages": [{"role": "user", "content": "What is the capital of France? Answer in one short sentence."}],
}


def find_ollama(env: MutableMapping[str, str]) -> None:
    """Notes an Ollama on its usual port in `env`, as if OLLAMA_BASE_URL were set."""
    if env.get("OLLAMA_BASE_URL"):
        return
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", OLLAMA_PORT), timeout=0.1):
        env["OLLAMA_BASE_URL"] = f"http://127.0.0.1:{OLLAMA_PORT}"


def _models(url: str, token: str) -> list[str]:
    request = urllib.request.Request(f"{url}/v1/models", headers={"authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return [one["id"] for one in json.load(answer)["data"]]
    except (OSError, ValueError, KeyError):
        return []


def by_provider(models: list[str]) -> str:
    """ "openai (12: gpt-4o, gpt-4o-mini, …), local (1: smollm2-135m)" for people."""
    groups: dict[str, list[str]] = {}
    for model in models:
        provider, _, name = model.partition("/")
        groups.setdefault(provider, []).append(name)
    shown = (
        f"{provider} ({len(names)}: {', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
        for provider, names in groups.items()
    )
    return ", ".join(shown)


async def announce(launcher: "Launcher", env: Mapping[str, str]) -> None:
    """Prints the last lines of a start."""
    gateway = launcher.settings.services["gateway"]
    host = "127.0.0.1" if gateway.http_host in ("0.0.0.0", "::") else gateway.http_host
    url = f"http://{host}:{gateway.http_port}"
    say = launcher.say
    found = [name for name, known in KNOWN.items() if env.get(known.env) and env.get(known.address_env or known.env)]
    say("")
    if found:
        say(f"  providers from your environment: {', '.join(found)}")
    kept = launcher.data_dir / "secrets" / "operator.token"
    operator = gateway.operator_token.reveal() if gateway.operator_token else kept.read_text().strip()
    models = await asyncio.to_thread(_models, url, operator)
    if models:
        say(f"  models that answer now: {by_provider(models)}")
    for place, name in launcher.settings.unset:
        say(f"  {place}: {name} is not set")
    if all(model.startswith("local/") for model in models):
        say("  no provider key found: the embedded demo model answers. Add a real one: dac provider add openai")
    if gateway.auth == "off":
        say("  WARNING: auth is off: every caller on this machine is organisation `default`")
    grpc = f"{gateway.grpc_host}:{gateway.grpc_port}" if gateway.grpc_port else "off"
    say(f"  DAC is ready:  {url}   docs: {url}/docs   gRPC: {grpc}")
    if launcher.first_key:
        say("  your API key, shown once:")
        say(f"\n    {launcher.first_key}\n")
    kept_at = f"$(cat {launcher.settings.mesh.data_dir}/secrets/operator.token)"
    bearer = launcher.first_key or ("$DAC_OPERATOR_TOKEN" if gateway.operator_token else kept_at)
    say("  try it:\n")
    print(
        f'curl {url}/v1/chat/completions -H "Authorization: Bearer {bearer}" '
        f"-H 'Content-Type: application/json' -d '{json.dumps(FIRST_CHAT)}'",
        flush=True,
    )
    print("", file=sys.stderr, flush=True)
