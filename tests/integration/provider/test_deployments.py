"""One candidate with several endpoints: another one is asked at once when one fails, and only when that can help."""

import dataclasses
import time
from collections.abc import Awaitable, Callable

import pytest

from mesh.errors import Reason
from services.provider.calling.events import Ask, Candidate, Deployment, Failure, Finish, Frames
from services.provider.config import ProviderConfig
from tests.integration.provider.conftest import Bench
from tests.upstream.answers import WORDS

Make = Callable[..., Awaitable[Bench]]
GOOD = "gpt-4o-mini"


def ask_of(bench: Bench, *places: str, more: tuple[Candidate, ...] = (), **fields: object) -> Ask:
    """One candidate whose endpoints are `name@provider`, each of the next priority."""
    named = [place.rsplit("@", 1) for place in places]
    ranked = [Deployment(provider, name, priority=number) for number, (name, provider) in enumerate(named)]
    plain = bench.ask(GOOD, **fields)  # type: ignore[arg-type]
    first = Candidate("dac/many", ranked[0].provider, ranked[0].upstream_name, deployments=ranked)
    return dataclasses.replace(plain, candidates=[first, *more])


async def ended(bench: Bench, ask: Ask) -> Finish | Failure:
    events = [event async for event in bench.generator.run(ask)]
    assert isinstance(events[-1], Finish | Failure)
    return events[-1]


def providers(end: Finish | Failure) -> list[str]:
    return [attempt.provider for attempt in end.attempts]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["500", "503", "429", "401", "404", "reset", "headers_only", "html"])
async def test_another_endpoint_is_asked_at_once(make_bench: Make, fault: str, stream: bool) -> None:
    bench = await make_bench(ProviderConfig(retry_delay_s=30, plain_wait_factor=1.0))
    begun = time.monotonic()
    end = await ended(bench, ask_of(bench, f"fault:{fault}@up", f"{GOOD}@claude", stream=stream, need_text=True))
    assert isinstance(end, Finish) and end.text == WORDS and providers(end) == ["up", "claude"]
    assert {attempt.model for attempt in end.attempts} == {"dac/many"} and time.monotonic() - begun < 5


async def test_every_endpoint_is_asked_before_the_next_candidate(bench: Bench) -> None:
    other = Candidate("dac/other", "up", GOOD)
    end = await ended(bench, ask_of(bench, "x@gone", "fault:500@up", f"{GOOD}@claude", more=(other,)))
    assert providers(end) == ["gone", "up", "claude"]
    end = await ended(bench, ask_of(bench, "x@gone", "fault:500@up", more=(other,)))
    assert [attempt.model for attempt in end.attempts] == ["dac/other"], "all its endpoints cool down"


@pytest.mark.parametrize("fault", ["500", "429", "404", "401"])
async def test_one_that_failed_is_not_asked_by_the_next_request(bench: Bench, fault: str) -> None:
    ask = ask_of(bench, f"fault:{fault}@up", f"{GOOD}@claude")
    assert providers(await ended(bench, ask)) == ["up", "claude"]
    assert providers(await ended(bench, ask)) == ["claude"]


@pytest.mark.parametrize(
    ("fault", "reason"), [("400", Reason.PROVIDER_REFUSED), ("context_length", Reason.CONTEXT_TOO_LONG)]
)
async def test_what_is_wrong_everywhere_is_asked_once(bench: Bench, fault: str, reason: Reason) -> None:
    ask = ask_of(bench, f"fault:{fault}@up", f"{GOOD}@claude")
    for _ in range(2):
        end = await ended(bench, ask)
        assert isinstance(end, Failure) and end.reason is reason and providers(end) == ["up"]


async def test_a_full_endpoint_is_passed_over(make_bench: Make) -> None:
    bench = await make_bench(max_concurrent=1)
    async with bench.registry.find("up").endpoint.bulkhead.place(1):
        assert providers(await ended(bench, ask_of(bench, f"{GOOD}@up", f"{GOOD}@claude"))) == ["claude"]
    assert providers(await ended(bench, ask_of(bench, f"{GOOD}@up", f"{GOOD}@claude"))) == ["up"]


async def test_a_provider_that_is_not_there_is_passed_over(bench: Bench) -> None:
    assert providers(await ended(bench, ask_of(bench, f"{GOOD}@nobody", f"{GOOD}@up"))) == ["up"]


async def test_a_broken_stream_goes_on_at_another_endpoint(bench: Bench) -> None:
    other = Candidate("dac/other", "up", GOOD)
    ask = ask_of(bench, "fault:cut,after_tokens=10@up", f"{GOOD}@claude", more=(other,), stream=True, need_text=True)
    events = [event async for event in bench.generator.run(dataclasses.replace(ask, rescues=1))]
    end = events[-1]
    assert isinstance(end, Finish) and providers(end) == ["up", "claude"]
    assert [attempt.model for attempt in end.attempts] == ["dac/many", "dac/many"]
    assert b"[DONE]" in b"".join(event.data for event in events if isinstance(event, Frames))


async def test_a_lone_endpoint_is_retried_as_before(bench: Bench) -> None:
    ask = dataclasses.replace(
        bench.ask(GOOD),
        candidates=[Candidate("dac/one", "gone", "x", deployments=[Deployment("gone", "x")])],
    )
    assert providers(await ended(bench, ask)) == ["gone", "gone"]
