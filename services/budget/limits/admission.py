"""Admission by rate limits: all limits in memory, one question to the limiter for a request that has any.

An organisation without rate limits costs a look into a dictionary.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from dac.budget.v1 import budget_pb2
from dac.type.v1 import principal_pb2, record_pb2
from mesh import telemetry
from mesh.errors import MeshError
from mesh.usage import answer_tokens, prompt_tokens
from services.budget.background import repeat, stop
from services.budget.config import BudgetConfig
from services.budget.limits import rate_limit_errors
from services.budget.limits.limiter import Limiter, MemoryLimiter
from services.budget.limits.rate_limits import Asked, LimitBook, LimitState, Verdict, Wish
from services.budget.limits.store import PostgresRateLimitStore

BEAT_S = 3.0
ALIVE_S = 10.0
"""How long a replica counts that has not said that it lives."""
SURE_S = 11.0
"""For how long there must be several before that is said: one that died just before this one came is no replica."""
RECHECK_S = 1.0
PASSED_MAX = 4096
PASSED_S = 10.0
ADMIT_TTL_S = 60.0
"""How long a request that holds nothing is known by its id."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that was counted."""

    org_id: str
    request_id: str
    verdict: Verdict
    barred: frozenset[str]
    """Models that it must not go to."""

    def tell(self, request: budget_pb2.ReserveRequest, response: budget_pb2.ReserveResponse) -> None:
        """Writes what is left, and what is not covered, into the answer."""
        response.rate_limit.CopyFrom(state_message(self.verdict.state))
        response.uncovered.extend(one for one in request.candidates if one.model in self.barred)


def state_message(state: LimitState) -> budget_pb2.RateLimitState:
    """What is left, in the contract's form."""
    return budget_pb2.RateLimitState(
        requests_limit=state.requests_limit or 0,
        requests_remaining=state.requests_remaining,
        requests_reset_s=state.requests_reset_s,
        tokens_limit=state.tokens_limit or 0,
        tokens_remaining=state.tokens_remaining,
        tokens_reset_s=state.tokens_reset_s,
    )


class Admission:
    """The rate limits of this replica. `start` reads them; `jobs` follows changes by others."""

    def __init__(
        self,
        store: PostgresRateLimitStore,
        config: BudgetConfig,
        instance: str,
        redis_url: str | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._config, self._instance, self._redis_url, self._now = store, config, instance, redis_url, now
        self.memory = MemoryLimiter(now)
        self.limiter: Limiter = self.memory
        self._book, self._epoch = LimitBook(), 0
        self._passed: deque[tuple[float, record_pb2.RequestRecord]] = deque(maxlen=PASSED_MAX)
        self._crowded_at, self._has_said = math.inf, False
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Reads the limits and the number of replicas. Raises FAILED_PRECONDITION when the Redis' address is none."""
        if self._redis_url is not None:
            # Here, because most processes need no Redis.
            from services.budget.limits.redis_limiter import RedisLimiter

            try:
                self.limiter = RedisLimiter(self._redis_url, self.memory)
            except ValueError:
                raise rate_limit_errors.wrong_redis_url() from None
        await self.beat()
        await self.follow()
        jobs = (
            repeat("following rate limits", self._config.rate_limit_poll_s, self.follow),
            repeat("counting replicas", BEAT_S, self.beat),
            repeat("looking for ended requests", RECHECK_S, self.recheck),
        )
        self._tasks = [asyncio.create_task(job) for job in jobs]

    async def close(self) -> None:
        """Stops; the other replicas share the limits among themselves."""
        await stop(self._tasks)
        await self.limiter.close()
        with contextlib.suppress(MeshError):
            await self._store.leave(self._instance)

    async def follow(self) -> None:
        """Takes over limits that have changed."""
        read = await self._store.read_all(self._epoch)
        if read is None:
            return
        self._epoch, limits = read
        self._book = book = LimitBook(limits)
        # Another replica may have counted what passed here while only that one knew of the limits.
        passed, self._passed = self._passed, deque(maxlen=PASSED_MAX)
        for at, record in passed:
            if record.org_id in book and self._now() - at < PASSED_S:
                await self.finish(record)

    async def beat(self) -> None:
        """Counts the replicas. Those without a common Redis let through their part of each limit."""
        self.memory.replicas = await self._store.beat(self._instance, ALIVE_S)
        if self.memory.replicas == 1 or self._redis_url is not None:
            self._crowded_at, self._has_said = math.inf, False
            return
        self._crowded_at = min(self._crowded_at, self._now())
        if not self._has_said and self._now() - self._crowded_at >= SURE_S:
            self._has_said = True
            _log.warning(
                "%d replicas of budget share no Redis: each lets through its part of every rate limit. "
                "Set REDIS_URL to count together.",
                self.memory.replicas,
            )

    async def recheck(self) -> None:
        """Frees the places of requests whose end was reported to another replica."""
        held = self.memory.held() if self.memory.replicas > 1 else ()
        if held:
            for org_id, request_id in await self._store.ended(held):
                self.memory.finish_now(org_id, request_id, None)

    async def admit(
        self, principal: principal_pb2.Principal, request: budget_pb2.ReserveRequest, ttl_s: float
    ) -> Admitted | None:
        """Counts a request that is to be reserved; None when nothing limits it. Raises RATE_LIMITED."""
        if principal.org_id not in self._book:
            return None
        models = list(dict.fromkeys(one.model for one in request.candidates))
        answer = request.asked_output_tokens or self._config.rate_limit_output_tokens
        wish = Wish(tokens=max(1, request.input_tokens + answer))
        return await self._count(principal, models, request.request_id, wish, ttl_s)

    async def admit_unheld(
        self, principal: principal_pb2.Principal, models: list[str], request_id: str
    ) -> Admitted | None:
        """Counts a request that takes no tokens and no place. Raises RATE_LIMITED."""
        if principal.org_id not in self._book:
            return None
        return await self._count(principal, models, request_id, Wish(is_held=False), ADMIT_TTL_S)

    async def _count(
        self, principal: principal_pb2.Principal, models: list[str], request_id: str, wish: Wish, ttl_s: float
    ) -> Admitted | None:
        org_id = principal.org_id
        asked = self._book.asked(org_id, ((level.kind, level.id) for level in principal.path), models)
        if not asked:
            return None
        verdict = await self.limiter.admit(org_id, asked, len(models), request_id, wish, ttl_s)
        if verdict.refusal is not None:
            telemetry.RATE_LIMITED.labels(verdict.refusal.measure.value).inc()
            raise rate_limit_errors.rate_limited(verdict.refusal, verdict.state, wish.tokens)
        return Admitted(org_id, request_id, verdict, frozenset(models[index] for index in verdict.barred))

    async def count_apart(self, asked: Asked, hits: int, request_id: str) -> Verdict:
        """Counts hits against a limit that stands in no book."""
        wish = Wish(requests=hits, is_held=False)
        return await self.limiter.admit(asked.limit.org_id, (asked,), 0, request_id, wish, 0.0)

    async def finish(self, record: record_pb2.RequestRecord) -> None:
        """A request has ended: its place is free and its tokens are corrected. May be said twice."""
        if record.org_id not in self._book:
            if self._redis_url is not None:
                self._passed.append((self._now(), record))
            return
        used: dict[str, int] = {}
        for attempt in record.attempts:
            tokens = prompt_tokens(attempt.usage) + answer_tokens(attempt.usage)
            used[attempt.model] = used.get(attempt.model, 0) + tokens
        await self.limiter.finish(record.org_id, record.request_id, used)

    async def withdraw(self, admitted: Admitted | None) -> None:
        """The request was not made after all."""
        if admitted is not None and not admitted.verdict.is_repeat:
            await self.limiter.withdraw(admitted.org_id, admitted.request_id)
