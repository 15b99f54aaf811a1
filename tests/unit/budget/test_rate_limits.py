"""The sliding window against a plain log of what was let through, and the verdict over several limits."""

import asyncio
import random
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.ids import uuid7
from services.budget.limits import limiter as limiter_file
from services.budget.limits.limiter import MemoryLimiter
from services.budget.limits.rate_limits import NEVER, Asked, LimitBook, Measure, RateLimit, Verdict, Wish

ORG = uuid7()
SECOND = 1_000_000
T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """A coroutine that never waits."""
    with pytest.raises(StopIteration) as ended:
        work.send(None)
    return ended.value.value  # type: ignore[no-any-return]


class Clock:
    """Exact to the microsecond, and set by hand."""

    def __init__(self, us: int = 1_000 * SECOND) -> None:
        self.us = us

    def __call__(self) -> float:
        return self.us / SECOND


def limit(requests: int | None = None, tokens: int | None = None, at_once: int | None = None, **more: Any) -> RateLimit:
    return RateLimit(uuid7(), ORG, 1, ORG, more.pop("model", ""), requests, tokens, at_once, **more)


def admit(memory: MemoryLimiter, *limits: RateLimit, request_id: str = "", ttl_s: float = 900, **wish: Any) -> Verdict:
    asked = [Asked(one) for one in limits]
    return run(memory.admit(ORG, asked, 1, request_id or uuid7(), Wish(**wish), ttl_s))


steps = st.lists(st.tuples(st.integers(0, 30 * SECOND), st.integers(1, 4)), min_size=1, max_size=80)


@given(steps=steps, most=st.integers(1, 12))
def test_within_any_60_seconds_never_more_than_the_limit(steps: list[tuple[int, int]], most: int) -> None:
    clock = Clock()
    memory, held = MemoryLimiter(clock), limit(tokens=most)
    log: list[tuple[int, int]] = []
    for wait_us, tokens in steps:
        clock.us += wait_us
        if admit(memory, held, tokens=tokens).refusal is None:
            log.append((clock.us, tokens))
        # Every window that ends now; the windows that ended before were looked at then.
        assert sum(n for at, n in log if at > clock.us - 60 * SECOND) <= most


@given(steps=steps, most=st.integers(1, 12), data=st.data())
def test_a_refusal_says_exactly_when_it_ends(steps: list[tuple[int, int]], most: int, data: st.DataObject) -> None:
    clock = Clock()
    memory, held = MemoryLimiter(clock), limit(tokens=most)
    for wait_us, tokens in steps:
        clock.us += wait_us
        refusal = admit(memory, held, tokens=tokens).refusal
        if refusal is None:
            continue
        assert refusal.measure is Measure.TOKENS and refusal.most == most
        if tokens > most:
            assert refusal.retry_after_s == NEVER
            continue
        wait_us = round(refusal.retry_after_s * SECOND)
        assert 0 < wait_us <= 61 * SECOND
        clock.us += data.draw(st.integers(0, wait_us - 1))
        early = admit(memory, held, tokens=tokens).refusal
        assert early is not None
        clock.us += round(early.retry_after_s * SECOND)
        assert admit(memory, held, tokens=tokens).refusal is None


@given(steps=steps, most=st.integers(1, 12))
def test_what_is_said_to_be_left_is_left(steps: list[tuple[int, int]], most: int) -> None:
    clock = Clock()
    memory, held = MemoryLimiter(clock), limit(requests=most)
    for wait_us, _ in steps:
        clock.us += wait_us
        state = admit(memory, held).state
        assert state.requests_limit == most
        left = state.requests_remaining
        ids = [uuid7() for _ in range(left + 1)]
        verdicts = [admit(memory, held, request_id=one).refusal is None for one in ids]
        assert verdicts == [True] * left + [False]
        for one in ids[:left]:
            run(memory.withdraw(ORG, one))


def test_the_window_is_empty_when_it_was_said_to_be() -> None:
    clock = Clock(1_000 * SECOND + 250_000)
    memory, held = MemoryLimiter(clock), limit(requests=3)
    assert admit(memory, held).state.requests_reset_s == pytest.approx(60.75)
    clock.us += 10 * SECOND
    assert [admit(memory, held).state.requests_remaining for _ in range(2)] == [1, 0]
    refused = admit(memory, held)
    assert refused.refusal is not None and refused.refusal.retry_after_s == pytest.approx(50.75)
    assert refused.state.requests_remaining == 0 and refused.state.requests_reset_s == pytest.approx(60.75)
    clock.us += round(60.75 * SECOND) - 1
    assert admit(memory, held).state.requests_remaining == 0
    clock.us += 1
    assert admit(memory, held).state.requests_remaining == 1


def test_of_500_at_once_exactly_the_limit_is_let_through() -> None:
    async def race() -> int:
        memory, held = MemoryLimiter(), limit(requests=100)
        asked = [Asked(held), Asked(limit(requests=400))]
        verdicts = await asyncio.gather(*(memory.admit(ORG, asked, 1, uuid7(), Wish(), 60) for _ in range(500)))
        return sum(verdict.refusal is None for verdict in verdicts)

    assert asyncio.run(race()) == 100


def test_all_limits_are_counted_or_none() -> None:
    memory, wide, narrow = MemoryLimiter(Clock()), limit(requests=5), limit(requests=1)
    assert admit(memory, wide, narrow).refusal is None
    refused = admit(memory, wide, narrow).refusal
    assert refused is not None and refused.limit == narrow
    # Had the refused one been counted in the wide limit, three would be left.
    assert admit(memory, wide).state.requests_remaining == 3


def test_the_same_request_counts_once_while_it_is_open() -> None:
    memory, held = MemoryLimiter(Clock()), limit(requests=9, at_once=1)
    first = admit(memory, held, request_id="a")
    again = admit(memory, held, request_id="a")
    assert again.is_repeat and again.refusal is None and again.state == first.state
    assert admit(memory, held, request_id="b").refusal is not None
    run(memory.finish(ORG, "a", {}))
    assert admit(memory, held, request_id="b").state.requests_remaining == 7


def test_a_place_is_given_back_once() -> None:
    memory, held = MemoryLimiter(Clock()), limit(at_once=2)
    assert [admit(memory, held, request_id=one).refusal is None for one in "abc"] == [True, True, False]
    for _ in range(3):
        run(memory.finish(ORG, "a", {}))
    assert [admit(memory, held, request_id=one).refusal is None for one in "cd"] == [True, False]
    run(memory.finish(uuid7(), "b", {}))
    assert admit(memory, held, request_id="d").refusal is not None, "another organisation's request freed a place"


def test_a_place_that_nobody_gives_back_ends_with_its_time() -> None:
    clock = Clock()
    memory, held = MemoryLimiter(clock), limit(at_once=1)
    assert admit(memory, held, ttl_s=30).refusal is None
    clock.us += 30 * SECOND - 1
    refused = admit(memory, held).refusal
    assert refused is not None and refused.measure is Measure.CONCURRENT
    clock.us += 1
    assert admit(memory, held, request_id="next", ttl_s=30).refusal is None
    assert admit(memory, held).refusal is not None


def test_tokens_are_corrected_where_they_were_taken() -> None:
    clock = Clock()
    memory, held = MemoryLimiter(clock), limit(tokens=1000)
    assert admit(memory, held, request_id="a", tokens=900).state.tokens_remaining == 100
    clock.us += 20 * SECOND
    run(memory.finish(ORG, "a", {"m": 150}))
    assert admit(memory, held, request_id="b", tokens=800).state.tokens_remaining == 50
    clock.us += 41 * SECOND
    # What is left of "a" went with its own second.
    assert admit(memory, held, tokens=1).state.tokens_remaining == 199


def test_what_went_beyond_is_a_debt() -> None:
    clock = Clock()
    memory, held = MemoryLimiter(clock), limit(tokens=1000)
    admit(memory, held, request_id="a", tokens=100)
    clock.us += 100 * SECOND
    run(memory.finish(ORG, "a", {"m": 5000}))
    refused = admit(memory, held, tokens=1)
    assert refused.refusal is not None and refused.state.tokens_remaining == 0
    clock.us += round(refused.refusal.retry_after_s * SECOND)
    assert admit(memory, held, tokens=1).state.tokens_remaining == 999


def test_a_request_that_was_not_made_leaves_nothing() -> None:
    memory, held = MemoryLimiter(Clock()), limit(requests=1, tokens=10, at_once=1)
    for _ in range(3):
        assert admit(memory, held, request_id="a", tokens=10).refusal is None
        run(memory.withdraw(ORG, "a"))


def test_none_is_none_and_unset_is_unlimited() -> None:
    memory = MemoryLimiter(Clock())
    for none in (limit(requests=0), limit(tokens=0), limit(at_once=0)):
        refused = admit(memory, none, tokens=1).refusal
        assert refused is not None and refused.retry_after_s == NEVER
    state = admit(memory, limit(at_once=5), tokens=10**9).state
    assert state.requests_limit is None and state.tokens_limit is None


def test_a_used_up_model_is_left_out_while_another_can_answer() -> None:
    memory = MemoryLimiter(Clock())
    book = LimitBook([limit(requests=1, model="a/*"), limit(requests=2, model="b/x")])

    def ask(*models: str) -> Verdict:
        asked = book.asked(ORG, [(1, ORG)], models)
        return run(memory.admit(ORG, asked, len(models), uuid7(), Wish(), 60))

    assert ask("a/1").refusal is None
    assert ask("a/1", "a/2").refusal is not None
    for _ in range(2):
        verdict = ask("a/1", "b/x")
        assert verdict.refusal is None and verdict.barred == {0}
    refused = ask("a/1", "b/x").refusal
    assert refused is not None
    assert ask("a/2", "b/x", "c/free").barred == {0, 1}
    assert book.asked(ORG, [(1, ORG)], ["c/free"]) == ()


def test_a_request_counts_for_the_model_that_answered() -> None:
    memory = MemoryLimiter(Clock())
    book = LimitBook([limit(requests=1, tokens=100, model="a"), limit(requests=1, tokens=100, model="b")])
    asked = book.asked(ORG, [(1, ORG)], ["a", "b"])
    run(memory.admit(ORG, asked, 2, "one", Wish(tokens=60), 60))
    run(memory.finish(ORG, "one", {"b": 30}))
    at_a = run(memory.admit(ORG, book.asked(ORG, [(1, ORG)], ["a"]), 1, "two", Wish(tokens=60), 60))
    at_b = run(memory.admit(ORG, book.asked(ORG, [(1, ORG)], ["b"]), 1, "three", Wish(tokens=60), 60))
    assert at_a.refusal is None and at_a.state.tokens_remaining == 40
    assert at_b.refusal is not None and at_b.refusal.limit.model == "b"


def test_what_holds_no_place_stays_counted_when_it_has_ended() -> None:
    """An answer from the cache: no model was asked, and it is a request of that model's all the same."""
    memory = MemoryLimiter(Clock())
    asked = LimitBook([limit(requests=2, model="a")]).asked(ORG, [(1, ORG)], ["a"])
    for _ in range(2):
        assert run(memory.admit(ORG, asked, 1, "one", Wish(is_held=False), 60)).state.requests_remaining == 1
        run(memory.finish(ORG, "one", {}))
    assert run(memory.admit(ORG, asked, 1, "two", Wish(is_held=False), 60)).state.requests_remaining == 0


def test_the_tightest_limit_is_told() -> None:
    verdict = admit(MemoryLimiter(Clock()), limit(requests=10, tokens=50), limit(requests=4, tokens=900), tokens=5)
    state = verdict.state
    assert (state.requests_limit, state.requests_remaining) == (4, 3)
    assert (state.tokens_limit, state.tokens_remaining) == (50, 45)


@given(replicas=st.integers(1, 7), most=st.integers(0, 30))
def test_replicas_that_count_apart_never_let_more_through(replicas: int, most: int) -> None:
    held, clock = limit(requests=most), Clock()
    apart = [MemoryLimiter(clock) for _ in range(replicas)]
    for one in apart:
        one.replicas = replicas
    passed = sum(admit(memory, held).refusal is None for memory in apart for _ in range(40))
    assert passed == most // replicas * replicas


def test_memory_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limiter_file, "SCOPES_MAX", 50)
    clock = Clock()
    memory, busy = MemoryLimiter(clock), limit(requests=10_000)
    for _ in range(400):
        admit(memory, limit(requests=5), ttl_s=0)
    assert len(memory._scopes) <= 51
    for number in range(5000):
        request_id = f"r{number}"
        admit(memory, busy, request_id=request_id)
        run(memory.finish(ORG, request_id, {}))
    assert not memory._tickets and len(memory._ends) <= 1001
    clock.us += 200 * SECOND
    admit(memory, limit(requests=5), ttl_s=0)
    admit(memory, limit(requests=5), ttl_s=0)
    assert len(memory._scopes) <= 2


def test_forgetting_takes_nothing_that_was_just_counted() -> None:
    clock = Clock()
    memory, first, second = MemoryLimiter(clock), limit(requests=1), limit(requests=9)
    clock.us += 61 * SECOND
    assert admit(memory, first, second).refusal is None
    assert admit(memory, first, second).refusal is not None


def test_a_clock_that_goes_back_loses_nothing() -> None:
    clock = Clock()
    memory, held = MemoryLimiter(clock), limit(requests=2)
    admit(memory, held)
    clock.us -= 30 * SECOND
    admit(memory, held)
    assert admit(memory, held).refusal is not None


def test_organisations_and_levels_are_apart() -> None:
    other, key = uuid7(), uuid7()
    mine = RateLimit("1", ORG, 5, key, requests_per_minute=1)
    book = LimitBook([mine])
    assert ORG in book and other not in book
    assert book.asked(other, [(5, key)], []) == ()
    assert book.asked(ORG, [(4, key)], []) == ()
    assert book.asked(ORG, [(1, ORG), (5, key)], []) == (Asked(mine),)


def test_a_long_random_day_keeps_the_totals_right() -> None:
    """The running totals are those of the rows, whatever was taken, corrected and given back."""
    clock, pick = Clock(), random.Random(7)
    memory, held = MemoryLimiter(clock), limit(requests=50, tokens=5000, at_once=20)
    running: list[str] = []
    for _ in range(4000):
        clock.us += pick.randrange(3 * SECOND)
        if running and pick.random() < 0.5:
            one = running.pop(pick.randrange(len(running)))
            run(
                memory.withdraw(ORG, one)
                if pick.random() < 0.2
                else memory.finish(ORG, one, {"m": pick.randrange(900)})
            )
        else:
            one = uuid7()
            if admit(memory, held, request_id=one, tokens=pick.randrange(1, 600), ttl_s=100).refusal is None:
                running.append(one)
        window = memory._scopes[held.rate_limit_id].window
        assert window.requests == sum(row[1] for row in window._rows) >= 0
        assert window.tokens == sum(row[2] for row in window._rows) >= 0
        assert len(window._rows) <= 61
