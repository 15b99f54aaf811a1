"""Rate limits over a real Valkey: exact across replicas, the same as in memory, and what happens when it is away."""

from __future__ import annotations

import asyncio
import logging
import pathlib
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
import redis

from mesh.embedded_valkey import EmbeddedValkey
from mesh.ids import uuid7
from services.budget.limits.limiter import MemoryLimiter
from services.budget.limits.rate_limits import Asked, RateLimit, Verdict, Wish
from services.budget.limits.redis_limiter import RedisLimiter, prefix_of

MakeLimiter = Callable[..., RedisLimiter]


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def replica(valkey: EmbeddedValkey) -> AsyncIterator[MakeLimiter]:
    made: list[RedisLimiter] = []

    def make(url: str = "", clock: Callable[[], float] | None = None) -> RedisLimiter:
        made.append(RedisLimiter(url or valkey.url, MemoryLimiter(), clock))
        return made[-1]

    yield make
    for one in made:
        await one.close()


def limit(org_id: str, **most: int) -> RateLimit:
    return RateLimit(uuid7(), org_id, 1, org_id, **most)  # type: ignore[arg-type]


async def admit(
    by: RedisLimiter | MemoryLimiter, *limits: RateLimit, request_id: str = "", tokens: int = 1, ttl_s: float = 60
) -> Verdict:
    asked = [Asked(one) for one in limits]
    return await by.admit(limits[0].org_id, asked, 1, request_id or uuid7(), Wish(tokens=tokens), ttl_s)


@pytest.mark.parametrize("measure", ["requests_per_minute", "tokens_per_minute", "concurrent_requests"])
async def test_of_500_at_once_over_three_replicas_exactly_the_limit(replica: MakeLimiter, measure: str) -> None:
    org_id = uuid7()
    held, wide = limit(org_id, **{measure: 60}), limit(org_id, requests_per_minute=450)
    three = [replica() for _ in range(3)]
    verdicts = await asyncio.gather(*(admit(three[number % 3], held, wide) for number in range(500)))
    assert sum(verdict.refusal is None for verdict in verdicts) == 60
    assert all(each.connected for each in three)
    # What was refused was counted nowhere.
    assert (await admit(three[0], wide)).state.requests_remaining == 450 - 61


async def test_any_replica_may_end_a_request(replica: MakeLimiter, org_id: str) -> None:
    held, one, two = limit(org_id, concurrent_requests=1, tokens_per_minute=100), replica(), replica()
    assert (await admit(one, held, request_id="a", tokens=80)).refusal is None
    assert (await admit(two, held)).refusal is not None
    for _ in range(2):
        await two.finish(org_id, "a", {"m": 10})
    assert (await admit(one, held, request_id="b", tokens=80)).state.tokens_remaining == 10
    assert (await admit(one, held, tokens=1)).refusal is not None
    await one.withdraw(org_id, "b")
    assert (await admit(two, held, tokens=90)).state.tokens_remaining == 0


async def test_a_place_of_one_who_died_ends_with_its_time(replica: MakeLimiter, org_id: str) -> None:
    clock = [5_000.0]
    held, dying, other = limit(org_id, concurrent_requests=1), *(replica(clock=lambda: clock[0]) for _ in range(2))
    assert (await admit(dying, held, ttl_s=30)).refusal is None
    await dying.close()
    clock[0] += 29.999
    assert (await admit(other, held)).refusal is not None
    clock[0] += 0.001
    assert (await admit(other, held)).refusal is None


async def test_the_servers_own_clock_counts(replica: MakeLimiter, org_id: str) -> None:
    state = (await admit(replica(), limit(org_id, requests_per_minute=5))).state
    assert state.requests_remaining == 4 and 60 <= state.requests_reset_s <= 61


async def test_it_decides_as_memory_does(replica: MakeLimiter, valkey: EmbeddedValkey) -> None:
    """The same requests at the same moments: the same verdicts, states and waits, to the microsecond."""
    pick = random.Random(11)
    for _ in range(8):
        org_id, us = uuid7(), [9_000_000_000]
        memory, server = MemoryLimiter(lambda us=us: us[0] / 1e6), replica(clock=lambda us=us: us[0] / 1e6)
        limits = [
            RateLimit(uuid7(), org_id, 1, org_id, "", 12, 4000, 5),
            RateLimit(uuid7(), org_id, 5, org_id, "a/*", 6, None, None),
            RateLimit(uuid7(), org_id, 5, org_id, "b", None, 900, 2),
            RateLimit(uuid7(), org_id, 5, org_id, "", 30, None, None, step_s=60),
        ]
        asked = (Asked(limits[0]), Asked(limits[1], (0, 1)), Asked(limits[2], (2,)), Asked(limits[3]))
        running: list[str] = []
        for _ in range(150):
            us[0] += pick.randrange(4_000_000)
            kind, request_id = pick.random(), uuid7()
            if kind < 0.6 or not running:
                again = pick.choice(running) if running and kind < 0.1 else request_id
                wish = Wish(tokens=pick.randrange(700), is_held=pick.random() < 0.8)
                both = [await by.admit(org_id, asked, 3, again, wish, 45) for by in (memory, server)]
                assert _plain(both[0]) == _plain(both[1])
                assert _seconds(both[0]) == pytest.approx(_seconds(both[1]), abs=2e-6)
                if both[0].refusal is None:
                    running.append(again)
            else:
                ended = running.pop(pick.randrange(len(running)))
                used = {pick.choice(["a/1", "a/2", "b", "c"]): pick.randrange(1500) for _ in range(pick.randrange(3))}
                for by in (memory, server):
                    await (by.withdraw(org_id, ended) if kind > 0.9 else by.finish(org_id, ended, used))
        keys = redis.Redis.from_url(valkey.url).keys(f"{prefix_of(org_id)}*")
        assert all(redis.Redis.from_url(valkey.url).pttl(key) > 0 for key in keys), "what is counted goes by itself"


def _plain(verdict: Verdict) -> tuple[object, ...]:
    state, refusal = verdict.state, verdict.refusal
    counts = (state.requests_limit, state.requests_remaining, state.tokens_limit, state.tokens_remaining)
    what = (refusal.limit, refusal.measure) if refusal is not None else None
    return (*counts, what, verdict.barred, verdict.taken, verdict.is_repeat)


def _seconds(verdict: Verdict) -> list[float]:
    state, refusal = verdict.state, verdict.refusal
    return [state.requests_reset_s, state.tokens_reset_s, refusal.retry_after_s if refusal is not None else 0.0]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_without_the_server_each_replica_lets_its_part_through_and_goes_back(
    replica: MakeLimiter, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture, org_id: str
) -> None:
    own = EmbeddedValkey(tmp_path / "valkey")
    own.start()
    held, places = limit(org_id, requests_per_minute=10), limit(org_id, concurrent_requests=1)
    three = [replica(own.url) for _ in range(3)]
    for one in three:
        one._memory.replicas = 3
    assert (await admit(three[0], held, places, request_id="open")).refusal is None
    assert own.process is not None
    own.process.send_signal(signal.SIGSTOP)
    with caplog.at_level(logging.INFO):
        passed = [(await admit(one, held)).refusal is None for one in three for _ in range(10)]
        assert sum(passed) == 9, "ten, shared by three"
        # Its end cannot be told now.
        await three[0].finish(org_id, "open", {})
        own.process.send_signal(signal.SIGCONT)
        await until(lambda: all(one.connected for one in three))
    said = [one.message for one in caplog.records if "Redis" in one.message]
    assert len([one for one in said if "not available" in one]) == 3, "each says it once"
    assert len([one for one in said if "available again" in one]) == 3
    assert (await admit(three[1], places)).refusal is None, "the place was given back when the server was back"
    await asyncio.gather(*(one.close() for one in three))
    own.stop()


async def test_a_server_that_was_emptied_is_told_the_script_again(
    replica: MakeLimiter, valkey: EmbeddedValkey, org_id: str
) -> None:
    held, one = limit(org_id, requests_per_minute=2), replica()
    await admit(one, held)
    redis.Redis.from_url(valkey.url).script_flush()
    assert (await admit(one, held)).refusal is None and one.connected
    assert (await admit(one, held)).refusal is not None


async def test_a_request_whose_caller_left_while_it_was_counted_holds_nothing(
    replica: MakeLimiter, org_id: str
) -> None:
    held, one = limit(org_id, requests_per_minute=1, concurrent_requests=1), replica()
    await admit(one, limit(org_id, requests_per_minute=9))
    asking: Awaitable[Verdict] = asyncio.ensure_future(admit(one, held, request_id="left"))
    # Once to begin, once for the line to send it.
    for _ in range(2):
        await asyncio.sleep(0)
    asking.cancel()  # type: ignore[attr-defined]
    with pytest.raises(asyncio.CancelledError):
        await asking
    await asyncio.gather(*one._tasks)
    assert (await admit(one, held)).refusal is None
