"""Hints: what is told, what is heard, and that telling waits for nobody."""

import asyncio

import msgspec
import pytest

from mesh.errors import MeshError, Reason
from mesh.key_values import MemoryStore
from mesh.redis import connect
from services.router.deciding.breakers import Breakers, State
from services.router.deciding.hints import CHANNEL, MAX_WAITING, BreakerHints, Hint


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def fail(breakers: Breakers, times: int = 1) -> None:
    for _ in range(times):
        breakers.record("p/m", "p", ok=False, provider_fault=True)


def succeed(breakers: Breakers, times: int = 1) -> None:
    for _ in range(times):
        breakers.record("p/m", "p", ok=True, provider_fault=False)


def test_only_a_closed_breaker_that_opens_is_told() -> None:
    clock, told = Clock(), list[tuple[str, str]]()
    breakers = Breakers(clock)
    breakers.on_open = lambda model, provider: told.append((model, provider))
    fail(breakers, 2)
    assert told == []
    fail(breakers, 5)
    assert told == [("p/m", "p")]
    clock.now_s = 60.0
    breakers.begin_trial("p/m", "p")
    fail(breakers)
    assert breakers.state("p/m", "p") is State.OPEN and len(told) == 1, "a failed trial opened it again"
    succeed(breakers)
    fail(breakers)
    assert breakers.state("p/m", "p") is State.OPEN and len(told) == 1, "neither is one that was letting in again"
    clock.now_s = 120.0
    succeed(breakers, 7)
    fail(breakers, 3)
    assert len(told) == 2


def test_a_heard_breaker_is_open_then_half_open_and_is_not_told_on() -> None:
    clock, told = Clock(), list[tuple[str, str]]()
    breakers = Breakers(clock)
    breakers.on_open = lambda model, provider: told.append((model, provider))
    breakers.hear_open("p/m", "p")
    assert breakers.state("p/m", "p") is State.OPEN and breakers.retry_in_s("p/m", "p") == 60
    clock.now_s = 59.0
    breakers.hear_open("p/m", "p")
    clock.now_s = 60.0
    assert breakers.state("p/m", "p") is State.HALF_OPEN, "a second hint does not prolong it"
    breakers.begin_trial("p/m", "p")
    assert breakers.state("p/m", "p") is State.OPEN
    fail(breakers)
    clock.now_s = 119.0
    assert breakers.state("p/m", "p") is State.OPEN and told == []
    succeed(breakers)
    assert breakers.state("p/m", "p") is State.RECOVERING
    succeed(breakers, 6)
    assert breakers.state("p/m", "p") is State.CLOSED and breakers.quiet


def test_a_trial_without_news_closes_a_heard_breaker() -> None:
    # Who never saw it fail does not report that it works.
    clock = Clock()
    breakers = Breakers(clock)
    breakers.hear_open("p/m", "p")
    clock.now_s = 60.0
    breakers.begin_trial("p/m", "p")
    clock.now_s = 120.0
    assert breakers.state("p/m", "p") is State.CLOSED and breakers.statuses() == []
    breakers.record("p/m", "p", ok=False, provider_fault=False)
    assert breakers.state("p/m", "p") is State.CLOSED
    fail(breakers, 2)
    assert breakers.state("p/m", "p") is State.CLOSED
    fail(breakers)
    assert breakers.state("p/m", "p") is State.OPEN


def test_a_heard_breaker_that_then_failed_here_is_an_own_one() -> None:
    clock = Clock()
    breakers = Breakers(clock)
    breakers.hear_open("p/m", "p")
    for clock.now_s in (60.0, 120.0):
        breakers.begin_trial("p/m", "p")
        if clock.now_s == 60.0:
            fail(breakers)
    clock.now_s = 180.0
    assert breakers.state("p/m", "p") is State.HALF_OPEN, "silence says nothing of what failed here"


async def test_own_hints_and_nonsense_are_ignored(caplog: pytest.LogCaptureFixture) -> None:
    store, heard, told = MemoryStore(), list[tuple[str, str]](), list[bytes]()

    async def open_store() -> MemoryStore:
        return store

    hints = BreakerHints(open_store, "me", lambda model, provider: heard.append((model, provider)))
    told_one = asyncio.Event()
    await store.subscribe(CHANNEL, lambda payload: (told.append(payload), told_one.set()))  # type: ignore[func-returns-value,arg-type]
    await hints.start()
    hints.announce("p/m", "p")
    async with asyncio.timeout(5):
        await told_one.wait()
    assert msgspec.json.decode(told[0]) == {"model": "p/m", "provider": "p", "instance": "me"}
    for payload in (b"", b"\xff", b"[]", b'{"model": 1}', b'{"model": "p/m"}', b'{"model":"\xff","provider":"p"}'):
        await store.publish(CHANNEL, payload)
    assert heard == [] and "is no hint" in caplog.text
    assert not [record for record in caplog.records if record.exc_info], "nonsense is no failure of ours"
    await store.publish(CHANNEL, msgspec.json.encode(Hint("p/m", "p", "other")))
    assert heard == [("p/m", "p")]
    await hints.close()


async def test_telling_waits_for_nobody_and_goes_on_after_a_failure() -> None:
    stuck, told = asyncio.Event(), list[bytes]()

    class Stuck(MemoryStore):
        async def publish(self, channel: str, payload: bytes) -> None:
            await stuck.wait()
            told.append(payload)
            if len(told) == 1:
                raise RuntimeError("odd")

    async def open_store() -> MemoryStore:
        return Stuck()

    hints = BreakerHints(open_store, "me", lambda model, provider: None)
    await hints.start()
    for _ in range(MAX_WAITING * 2):
        hints.announce("p/m", "p")
    stuck.set()
    async with asyncio.timeout(5):
        while len(told) < MAX_WAITING:
            await asyncio.sleep(0)
    await hints.close()
    assert len(told) == MAX_WAITING


async def test_an_address_that_is_none_is_refused_without_its_password() -> None:
    hints = BreakerHints(lambda: connect("nonsense://:hunter2@host"), "me", lambda model, provider: None)
    with pytest.raises(MeshError) as caught:
        await hints.start()
    assert caught.value.reason is Reason.FAILED_PRECONDITION
    assert "mesh.redis_url" in caught.value.message and "hunter2" not in caught.value.message
    await hints.close()
