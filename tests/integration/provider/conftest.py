"""A generator in front of the mock upstream."""

import dataclasses
import datetime
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest

from mesh.catalog import ProviderEntry
from mesh.config import Secret
from mesh.ids import uuid7
from services.provider.calling.events import Ask, Candidate, Dialect, Event, Failure, Finish, Frames
from services.provider.calling.generation import Generator
from services.provider.config import ProviderConfig
from services.provider.keys.vault import Vault
from services.provider.registry import Registry
from tests.upstream import Upstream


@dataclasses.dataclass
class Outcome:
    """What a generation came to."""

    events: list[Event]

    @property
    def last(self) -> Any:
        return self.events[-1]

    @property
    def finish(self) -> Finish:
        assert isinstance(self.last, Finish), self.last
        return self.last

    @property
    def failure(self) -> Failure:
        assert isinstance(self.last, Failure), self.last
        return self.last

    @property
    def data(self) -> bytes:
        return b"".join(event.data for event in self.events if isinstance(event, Frames))


SILENT = {"hang", "headers_only", "stall"}
"""Faults that a time limit ends, and nothing else."""


class Bench:
    """Generations against one upstream, through a real registry."""

    def __init__(self, upstream: Upstream, registry: Registry, generator: Generator) -> None:
        self.upstream, self.registry, self.generator = upstream, registry, generator

    def ask(self, *models: str, provider: str = "up", body: dict[str, Any] | None = None, **fields: Any) -> Ask:
        cap = fields.pop("cap", 0)
        stream = fields.get("stream", False)
        made: dict[str, Any] = {"model": "dac/any", "messages": [{"role": "user", "content": "hello there"}]}
        if stream:
            made["stream"] = True
        made.update(body or {})
        named = [model.rsplit("@", 1) if "@" in model else [model, provider] for model in models]
        candidates = [Candidate(f"dac/{name}", where, name, cap) for name, where in named]
        return Ask(input=msgspec.json.encode(made), candidates=candidates, **fields)

    async def run(self, *models: str, **fields: Any) -> Outcome:
        outcome = Outcome([event async for event in self.generator.run(self.ask(*models, **fields))])
        ends = [event for event in outcome.events if isinstance(event, Finish | Failure)]
        assert ends == [outcome.events[-1]], "exactly one Finish or Failure, at the end"
        return outcome


def entries(upstream: Upstream, **fields: Any) -> list[ProviderEntry]:
    rungs = {
        "connect_timeout_s": 5.0,
        "first_token_timeout_s": 10.0,
        "idle_timeout_s": 10.0,
        "total_timeout_s": 30.0,
        **fields,
    }
    return [
        ProviderEntry("up", "openai", upstream.base_url, Secret("sk-test-0123456789abcd"), **rungs),
        ProviderEntry("claude", "anthropic", upstream.origin, Secret("sk-ant-test-0123456789"), **rungs),
        ProviderEntry("gemini", "gemini", upstream.origin + "/v1beta", Secret("AIza-test-0123456789abcd"), **rungs),
        ProviderEntry("badgemini", "gemini", upstream.origin + "/v1beta", Secret("bad"), **rungs),
        ProviderEntry("badkey", "openai", upstream.base_url, Secret("bad"), **rungs),
        ProviderEntry("gone", "openai", "http://127.0.0.1:1/v1", Secret("k"), **rungs),
    ]


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as running:
        yield running


@pytest.fixture
async def make_bench(
    upstream: Upstream, request: pytest.FixtureRequest
) -> AsyncIterator[Callable[..., Awaitable[Bench]]]:
    registries: list[Registry] = []
    told = getattr(request.node, "callspec", None)
    silent = told is not None and not SILENT.isdisjoint(one for one in told.params.values() if isinstance(one, str))
    # Short only where a limit is what the test is about: a loaded machine is late, too.
    limits = {"first_token_timeout_s": 1.0, "idle_timeout_s": 1.0} if silent else {}

    async def make(config: ProviderConfig | None = None, **fields: Any) -> Bench:
        config = config or ProviderConfig(retry_delay_s=0.02, plain_wait_factor=1.0)
        vault = Vault(b"k" * 32, "key")
        now = datetime.datetime.now(datetime.UTC)
        registry = Registry(entries(upstream, **(limits | fields)), config, None, vault, now=lambda: now)
        await registry.start()
        registries.append(registry)
        return Bench(upstream, registry, Generator(registry.find, config, new_id=uuid7))

    yield make
    for registry in registries:
        await registry.close()


@pytest.fixture
async def bench(make_bench: Callable[..., Awaitable[Bench]]) -> Bench:
    return await make_bench()


ANTHROPIC = {"dialect_in": Dialect.ANTHROPIC_MESSAGES, "dialect_out": Dialect.ANTHROPIC_MESSAGES}
