"""A stream that is slow to begin is asked for elsewhere too: whoever begins first answers, both are accounted for."""

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable

import pytest

from mesh.errors import Reason
from mesh.ids import uuid7
from services.provider.calling.attempt_run import Ground, Run
from services.provider.calling.events import Attempt, Failure, Finish, Frames, Started, UsageSource
from services.provider.calling.rescue import Rescuer
from services.provider.calling.retry_budget import RESERVE, RetryBudget
from services.provider.config import ProviderConfig
from tests.integration.provider.conftest import Bench, Outcome
from tests.upstream.answers import WORDS

Make = Callable[..., Awaitable[Bench]]
SLOW, GOOD = "fault:headers_only,first_token_delay_s=3", "gpt-4o-mini"


@pytest.fixture
async def patient(make_bench: Make) -> Bench:
    return await make_bench(first_token_timeout_s=6.0, idle_timeout_s=6.0)


def answers(got: Outcome) -> str:
    """The attempt that a reader of the protocol takes for the one that answers."""
    before = got.events[: [isinstance(one, Frames) for one in got.events].index(True)]
    return [event.model for event in before if isinstance(event, Started)][-1]


async def test_the_second_answers_when_the_first_is_slow(patient: Bench) -> None:
    async with asyncio.timeout(2.5):
        got = await patient.run(SLOW, GOOD, stream=True, hedge_after_s=0.1)
    assert isinstance(got.last, Finish) and WORDS.split()[-1].encode() in got.data
    assert answers(got) == f"dac/{GOOD}"
    lost, won = got.last.attempts
    assert lost.reason is Reason.CANCELLED and won.reason is Reason.UNSPECIFIED
    assert lost.usage.input_tokens > 0 and lost.usage.output_tokens == 0
    assert lost.usage_source is UsageSource.COUNTED
    await asyncio.wait_for(patient.upstream.requests[0].left.wait(), 1)


async def test_the_first_still_answers_when_it_begins_first(patient: Bench) -> None:
    got = await patient.run("fault:headers_only,first_token_delay_s=0.4", SLOW, stream=True, hedge_after_s=0.05)
    assert isinstance(got.last, Finish)
    assert answers(got).startswith("dac/fault:headers_only,first_token_delay_s=0.4")
    assert [attempt.reason for attempt in got.last.attempts] == [Reason.CANCELLED, Reason.UNSPECIFIED]
    await asyncio.wait_for(patient.upstream.requests[1].left.wait(), 1)


async def test_nothing_is_sent_twice_when_the_first_is_quick_or_nobody_stands_beside_it(patient: Bench) -> None:
    for models in ((GOOD, GOOD), (GOOD,)):
        patient.upstream.requests.clear()
        got = await patient.run(*models, stream=True, hedge_after_s=0.3)
        assert isinstance(got.last, Finish) and len(patient.upstream.requests) == 1
    patient.upstream.requests.clear()
    plain = await patient.run("fault:ok,delay_s=0.3", GOOD, hedge_after_s=0.0)
    assert isinstance(plain.last, Finish) and len(patient.upstream.requests) == 1


async def test_a_first_that_fails_before_the_hedge_is_followed_by_the_loop(patient: Bench) -> None:
    got = await patient.run("fault:503", GOOD, stream=True, hedge_after_s=5.0)
    assert isinstance(got.last, Finish)
    assert [attempt.status_code for attempt in got.last.attempts] == [503, 503, 200]


async def test_when_one_of_two_fails_the_other_answers(patient: Bench) -> None:
    slow_but_good = "fault:headers_only,first_token_delay_s=0.6"
    got = await patient.run(slow_but_good, "fault:503", stream=True, hedge_after_s=0.05)
    assert isinstance(got.last, Finish) and answers(got) == f"dac/{slow_but_good}"
    assert [attempt.status_code for attempt in got.last.attempts] == [503, 200]


async def test_when_both_fail_the_loop_goes_on_and_ends_with_a_failure(make_bench: Make) -> None:
    bench = await make_bench(first_token_timeout_s=0.3)
    got = await bench.run("fault:hang", "fault:hang,status=1", stream=True, hedge_after_s=0.05)
    assert isinstance(got.last, Failure) and got.last.reason is Reason.PROVIDER_TIMEOUT
    assert not got.last.after_first_token


async def test_a_winner_that_breaks_is_taken_up(patient: Bench) -> None:
    got = await patient.run(SLOW, "fault:cut,after_tokens=20,times=1", GOOD, stream=True, hedge_after_s=0.05, rescues=1)
    assert isinstance(got.last, Finish) and b"rescue" in got.data and WORDS.split()[-1].encode() in got.data


async def test_a_caller_that_leaves_a_race_stops_both(patient: Bench) -> None:
    events = patient.generator.run(patient.ask(SLOW, SLOW + ",status=2", stream=True, hedge_after_s=0.05))
    seen = [await anext(events), await anext(events)]
    assert all(isinstance(event, Started) for event in seen)
    # The second has started; its request may still be on its way.
    async with asyncio.timeout(2):
        while len(patient.upstream.requests) < 2:
            await asyncio.sleep(0.01)
    await events.aclose()
    for request in patient.upstream.requests:
        await asyncio.wait_for(request.left.wait(), 1)


def before_frames(got: Outcome) -> Started:
    """What a reader knows of the others while the answer comes: all it can charge for when its caller leaves."""
    upto = [isinstance(one, Frames) for one in got.events].index(True)
    return [event for event in got.events[:upto] if isinstance(event, Started)][-1]


async def test_whoever_reads_a_race_knows_at_every_moment_what_the_other_costs(patient: Bench) -> None:
    for models in ((SLOW, GOOD), ("fault:headers_only,first_token_delay_s=0.4", SLOW)):
        got = await patient.run(*models, stream=True, hedge_after_s=0.05)
        second = [event for event in got.events if isinstance(event, Started)][1]
        assert [(one.reason, one.usage.input_tokens > 0) for one in second.before] == [(Reason.CANCELLED, True)]
        (lost,) = before_frames(got).before
        assert lost == got.finish.attempts[0] and lost.usage.input_tokens > 0


async def test_a_loser_that_was_refused_or_never_sent_costs_nothing(make_bench: Make) -> None:
    bench = await make_bench(first_token_timeout_s=6.0, max_concurrent=1)
    held = bench.generator.run(bench.ask("fault:hang", stream=True))
    await anext(held)
    waits = asyncio.create_task(anext(held))
    while not bench.upstream.requests:
        await asyncio.sleep(0.01)
    # The only place at "up" is taken: the first waits in line, and the second answers elsewhere.
    got = await bench.run("gpt-4o-mini@up", "claude-sonnet-4-5@claude", stream=True, hedge_after_s=0.05)
    lost, won = got.finish.attempts
    assert won.provider == "claude" and lost.reason is Reason.CANCELLED and lost.usage.input_tokens == 0
    waits.cancel()
    await asyncio.gather(waits, return_exceptions=True)
    await held.aclose()


async def test_a_loser_that_failed_in_the_same_moment_keeps_its_own_account(patient: Bench) -> None:
    ask = patient.ask("fault:401")
    generator, attempts = patient.generator, list[Attempt]()
    ground = Ground(
        patient.registry.find, ProviderConfig(), uuid7, time.monotonic, time.time, generator.health, generator.balancer
    )
    run = Run(ground, ask, ask.candidates[0], attempts, Rescuer(ask), lambda: 9.0)
    assert [type(event) async for event in run.events()] == [Started]
    run.lost()
    assert attempts[0].status_code == 401 and attempts[0].reason is Reason.PROVIDER_FAILED
    assert attempts[0].usage.input_tokens == 0


async def test_the_next_candidates_small_context_bars_no_larger_one(patient: Bench) -> None:
    """The hedge went to a small model, which said so last; the one behind it is large enough."""
    models = ("fault:500,delay_s=0.3", "fault:context_length,delay_s=0.6", GOOD)
    ask = patient.ask(*models, stream=True, hedge_after_s=0.05)
    contexts = (200_000, 8_000, 100_000)
    sized = [dataclasses.replace(one, context_tokens=n) for one, n in zip(ask.candidates, contexts, strict=True)]
    got = [event async for event in patient.generator.run(dataclasses.replace(ask, candidates=sized))]
    assert isinstance(got[-1], Finish) and got[-1].attempts[-1].model == f"dac/{GOOD}"


async def test_retries_and_hedges_have_a_budget(make_bench: Make) -> None:
    bench = await make_bench(ProviderConfig(retry_delay_s=0.001, retry_ratio=0.1, failing_after=10_000))
    for _ in range(40):
        await bench.run("fault:503")
    sent = len(bench.upstream.requests)
    assert 40 + RESERVE <= sent <= 40 + RESERVE + 40 * 0.1 + 1
    free = await make_bench(ProviderConfig(retry_delay_s=0.001, retry_ratio=0.0, failing_after=10_000))
    bench.upstream.requests.clear()
    for _ in range(20):
        await free.run("fault:503")
    assert len(bench.upstream.requests) == 40


def test_a_retry_budget_is_earned_by_requests() -> None:
    budget = RetryBudget(0.5)
    assert [budget.spend("p") for _ in range(int(RESERVE) + 1)] == [True] * int(RESERVE) + [False]
    budget.sent("p")
    assert not budget.spend("p")
    budget.sent("p")
    assert budget.spend("p") and not budget.spend("p")
    assert budget.spend("other")
