"""Where rate limits are counted: the face of it, and this process's memory.

One call decides over every limit on a request's path and counts in all of them or in none. Who holds a place among the
concurrent requests is its request id, on a ticket that ends by itself: a place cannot leak or be given back twice.
"""

from __future__ import annotations

import functools
import heapq
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.budget.limits.rate_limits import (
    NEVER,
    Asked,
    RateLimit,
    Reading,
    SlidingWindow,
    Verdict,
    Wish,
    decide,
    matches,
)

PLACE_RETRY_S = 1.0
"""When to ask again for a place: nobody knows when one will be free."""
SCOPES_MAX = 100_000
"""Limits that are counted at a time; beyond them the oldest are forgotten. Only Envoy's addresses can be so many."""
FORGET_EVERY_S = 60.0


class Limiter(Protocol):
    """Counts; whatever is behind it."""

    async def admit(
        self, org_id: str, asked: Sequence[Asked], models: int, request_id: str, wish: Wish, ttl_s: float
    ) -> Verdict:
        """Counts a request that may end at `models` models in all its limits, or in none. The same id again, while its
        ticket lives (until `finish`, `withdraw` or `ttl_s`; 0 = it has none), gets the same verdict and is not counted
        again."""

    async def finish(self, org_id: str, request_id: str, used: Mapping[str, int] | None) -> None:
        """A request has ended: its place is free, and what was taken is corrected to the tokens `used` at each model
        (None = nobody knows). Nothing, when it has no ticket or holds no place."""

    async def withdraw(self, org_id: str, request_id: str) -> None:
        """A request was not made after all: everything is given back."""

    async def close(self) -> None:
        """Gives everything back that it has open."""


class _Scope:
    """What one limit has counted."""

    __slots__ = ("holders", "step_s", "window")

    def __init__(self, limit: RateLimit) -> None:
        self.window = SlidingWindow(limit.steps)
        self.step_s = limit.step_s
        self.holders: set[str] = set()


@dataclass(slots=True)
class _Ticket:
    request_id: str
    expires_s: float
    verdict: Verdict
    wish: Wish
    taken: tuple[tuple[RateLimit, int], ...]
    """Each with the step in which it was counted."""


@functools.lru_cache(maxsize=4096)
def _part(limit: RateLimit, replicas: int) -> RateLimit:
    return limit.divided(replicas)


class MemoryLimiter:
    """Counts in this process. Nothing here waits, so every call is one atomic step."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self.replicas = 1
        """How many processes count apart: each lets through its part of every limit."""
        self._scopes: dict[str, _Scope] = {}
        self._tickets: dict[tuple[str, str], _Ticket] = {}
        self._ends: list[tuple[float, str, str]] = []
        self._forget_s = now() + FORGET_EVERY_S

    async def admit(
        self, org_id: str, asked: Sequence[Asked], models: int, request_id: str, wish: Wish, ttl_s: float
    ) -> Verdict:
        """See Limiter."""
        now_s = self._now()
        self._expire(now_s)
        ticket = self._tickets.get((org_id, request_id))
        if ticket is not None:
            return ticket.verdict
        if self.replicas > 1:
            asked = [Asked(_part(one.limit, self.replicas), one.models) for one in asked]
        if now_s >= self._forget_s or len(self._scopes) >= SCOPES_MAX:
            # Not between the scopes of one request: a new one counts nothing yet.
            self._forget(now_s)
        scopes = [self._scope(one.limit, now_s) for one in asked]
        readings = [read(one.limit, scope, wish, now_s) for one, scope in zip(asked, scopes, strict=True)]
        verdict = decide(asked, readings, models, wish, now_s)
        if verdict.refusal is not None or not (wish.requests and wish.tokens):
            readings = [
                with_resets(reading, one.limit, scope, now_s)
                for reading, one, scope in zip(readings, asked, scopes, strict=True)
            ]
            verdict = decide(asked, readings, models, wish, now_s)
        if verdict.refusal is None and verdict.taken:
            taken = []
            for index in verdict.taken:
                limit, scope = asked[index].limit, scopes[index]
                step = scope.window.add(limit.step_of(now_s), wish.requests, wish.tokens)
                if wish.is_held and ttl_s and limit.concurrent_requests is not None:
                    scope.holders.add(request_id)
                taken.append((limit, step))
            if not ttl_s:
                return verdict
            repeat = verdict._replace(is_repeat=True)
            self._tickets[org_id, request_id] = _Ticket(request_id, now_s + ttl_s, repeat, wish, tuple(taken))
            heapq.heappush(self._ends, (now_s + ttl_s, org_id, request_id))
        return verdict

    async def finish(self, org_id: str, request_id: str, used: Mapping[str, int] | None) -> None:
        """See Limiter."""
        self.finish_now(org_id, request_id, used)

    def finish_now(self, org_id: str, request_id: str, used: Mapping[str, int] | None) -> bool:
        """As `finish`; says whether there was a ticket."""
        now_s = self._now()
        self._expire(now_s)
        there = self._tickets.get((org_id, request_id))
        if there is not None and not there.wish.is_held:
            # It took what it used: nothing comes back.
            return True
        ticket = self._pop(org_id, request_id)
        if ticket is None or used is None:
            return ticket is not None
        for limit, step in ticket.taken:
            scope = self._scope(limit, now_s)
            at_these = [tokens for model, tokens in used.items() if matches(limit.model, model)]
            if limit.model and not at_these:
                # Another model answered.
                scope.window.take_back(step, ticket.wish.requests, ticket.wish.tokens)
                continue
            beyond = sum(at_these) - ticket.wish.tokens
            if beyond > 0:
                scope.window.add(limit.step_of(now_s), 0, beyond)
            elif beyond < 0:
                scope.window.take_back(step, 0, -beyond)
        return True

    async def withdraw(self, org_id: str, request_id: str) -> None:
        """See Limiter."""
        self.withdraw_now(org_id, request_id)

    def withdraw_now(self, org_id: str, request_id: str) -> bool:
        """As `withdraw`; says whether there was a ticket."""
        now_s = self._now()
        self._expire(now_s)
        ticket = self._pop(org_id, request_id)
        if ticket is None:
            return False
        for limit, step in ticket.taken:
            self._scope(limit, now_s).window.take_back(step, ticket.wish.requests, ticket.wish.tokens)
        return True

    def held(self) -> list[tuple[str, str]]:
        """Organisation and id of every request that holds something."""
        return [key for key, ticket in self._tickets.items() if ticket.wish.is_held]

    async def close(self) -> None:
        """See Limiter."""

    def _pop(self, org_id: str, request_id: str) -> _Ticket | None:
        ticket = self._tickets.pop((org_id, request_id), None)
        if ticket is not None:
            for limit, _ in ticket.taken:
                scope = self._scopes.get(limit.rate_limit_id)
                if scope is not None:
                    scope.holders.discard(request_id)
        return ticket

    def _expire(self, now_s: float) -> None:
        """Ends tickets whose time is over, and keeps the list of ends as long as there are tickets, about."""
        ends = self._ends
        while ends and ends[0][0] <= now_s:
            expires_s, org_id, request_id = heapq.heappop(ends)
            ticket = self._tickets.get((org_id, request_id))
            if ticket is not None and ticket.expires_s <= expires_s:
                self._pop(org_id, request_id)
        if len(ends) > 2 * len(self._tickets) + 1000:
            self._ends = [(one.expires_s, *key) for key, one in self._tickets.items()]
            heapq.heapify(self._ends)

    def _scope(self, limit: RateLimit, now_s: float) -> _Scope:
        scope = self._scopes.get(limit.rate_limit_id)
        if scope is None:
            scope = self._scopes[limit.rate_limit_id] = _Scope(limit)
        scope.window.forget(limit.step_of(now_s))
        return scope

    def _forget(self, now_s: float) -> None:
        """Lets go of limits that count nothing now; of the oldest tenth, when all of them do."""
        self._forget_s = now_s + FORGET_EVERY_S
        idle = []
        for key, scope in self._scopes.items():
            scope.window.forget(int(now_s // scope.step_s))
            if scope.window.is_empty() and not scope.holders:
                idle.append(key)
        if len(self._scopes) - len(idle) >= SCOPES_MAX:
            idle += list(self._scopes)[: SCOPES_MAX // 10]
        for key in idle:
            self._scopes.pop(key, None)


def read(limit: RateLimit, scope: _Scope, wish: Wish, now_s: float) -> Reading:
    """What a limit says before the request is counted, but for when it will be empty."""
    window, held = scope.window, len(scope.holders)
    requests_s = tokens_s = place_s = 0.0
    most = limit.requests_per_minute
    if most is not None and wish.requests and window.requests + wish.requests > most:
        requests_s = _free_s(limit, window, most, window.requests + wish.requests - most, wish.requests, 1, now_s)
    most = limit.tokens_per_minute
    if most is not None and wish.tokens and window.tokens + wish.tokens > most:
        tokens_s = _free_s(limit, window, most, window.tokens + wish.tokens - most, wish.tokens, 2, now_s)
    most = limit.concurrent_requests
    if most == 0:
        place_s = NEVER
    elif most is not None and wish.is_held and held >= most:
        place_s = PLACE_RETRY_S
    return Reading(window.requests, window.tokens, held, requests_s, tokens_s, place_s)


def _free_s(
    limit: RateLimit, window: SlidingWindow, most: int, excess: int, more: int, column: int, now_s: float
) -> float:
    step = window.free_step(column, excess) if more <= most else None
    return NEVER if step is None else limit.until(step, now_s)


def with_resets(reading: Reading, limit: RateLimit, scope: _Scope, now_s: float) -> Reading:
    """With when it will be empty: only who is not counted is told by what others have used."""
    steps = [scope.window.empty_step(column) for column in (1, 2)]
    requests_s, tokens_s = (limit.until(step, now_s) if step else 0.0 for step in steps)
    return reading._replace(requests_reset_s=requests_s, tokens_reset_s=tokens_s)
