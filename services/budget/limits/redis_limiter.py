"""Rate limits of several replicas on one Redis or Valkey: one script a call, by the server's own clock.

When the server does not answer, every replica counts its part of each limit in memory until it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pathlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from mesh.ids import uuid7
from services.budget.limits.limiter import PLACE_RETRY_S, MemoryLimiter
from services.budget.limits.rate_limits import NEVER, Asked, Reading, Verdict, Wish, decide
from services.budget.limits.redis_line import FAILURES, RedisLine

SCRIPT = (pathlib.Path(__file__).parent / "redis_limiter.lua").read_text()
RECONNECT_S = 0.25
OWED_MAX = 10_000
"""What is to be told to a server that is away; the oldest is dropped, and ends by its time."""
REPEATED = 2
"""What the script answers when a request was counted before; 0 = refused, 1 = counted now."""

_log = logging.getLogger(__name__)
_Reply = tuple[int, int, list[list[int]], int, int]
_decoder = msgspec.msgpack.Decoder(_Reply)


class RedisLimiter:
    """Counts on a server, with memory behind it."""

    def __init__(self, url: str, memory: MemoryLimiter, now: Callable[[], float] | None = None) -> None:
        """`now`: instead of the server's clock. Raises ValueError for an address that is none."""
        self._memory, self._now = memory, now
        self._line = RedisLine(url, SCRIPT)
        self._owed: deque[tuple[str, str, str, Mapping[str, int] | None]] = deque(maxlen=OWED_MAX)
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closing = False
        self.connected = True
        """False while memory counts."""

    async def admit(
        self, org_id: str, asked: Sequence[Asked], models: int, request_id: str, wish: Wish, ttl_s: float
    ) -> Verdict:
        """See Limiter."""
        if not self.connected:
            return await self._memory.admit(org_id, asked, models, request_id, wish, ttl_s)
        arguments: list[Any] = [wish.tokens, wish.requests, int(wish.is_held), int(ttl_s * 1000), models]
        arguments.append(prefix_of(org_id))
        for one in asked:
            limit = one.limit
            most = (limit.requests_per_minute, limit.tokens_per_minute, limit.concurrent_requests)
            arguments += [limit.rate_limit_id, limit.model, limit.step_s, limit.steps]
            arguments += [-1 if value is None else value for value in most]
            arguments.append("" if one.models is None else ",".join(map(str, one.models)))
        try:
            reply = _decoder.decode(await self._run(org_id, request_id, "admit", arguments))
        except asyncio.CancelledError:
            # It may have been counted, and nobody waits for it any more.
            self._soon(self._tell("withdraw", org_id, request_id, None))
            raise
        except FAILURES as error:
            self._owed.append(("withdraw", org_id, request_id, None))
            self._lost(error)
            return await self._memory.admit(org_id, asked, models, request_id, wish, ttl_s)
        return _verdict(reply, asked, models, wish)

    async def finish(self, org_id: str, request_id: str, used: Mapping[str, int] | None) -> None:
        """See Limiter."""
        if not self._memory.finish_now(org_id, request_id, used):
            await self._tell("finish", org_id, request_id, used)

    async def withdraw(self, org_id: str, request_id: str) -> None:
        """See Limiter."""
        if not self._memory.withdraw_now(org_id, request_id):
            await self._tell("withdraw", org_id, request_id, None)

    async def close(self) -> None:
        """See Limiter."""
        self._is_closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._line.close()

    async def _tell(self, what: str, org_id: str, request_id: str, used: Mapping[str, int] | None) -> None:
        """Ends a request on the server, or later when it is away."""
        if self.connected:
            try:
                await self._end(what, org_id, request_id, used)
                return
            except FAILURES as error:
                self._lost(error)
        self._owed.append((what, org_id, request_id, used))

    async def _end(self, what: str, org_id: str, request_id: str, used: Mapping[str, int] | None) -> None:
        arguments: list[Any] = [prefix_of(org_id)]
        if what == "finish":
            arguments.append(int(used is not None))
            for model, tokens in (used or {}).items():
                arguments += [model, tokens]
        await self._run(org_id, request_id, what, arguments)

    async def _run(self, org_id: str, request_id: str, what: str, arguments: Sequence[Any]) -> Any:
        key = f"{prefix_of(org_id)}t:{request_id}"
        now_us = 0 if self._now is None else int(self._now() * 1e6)
        return await self._line.run(key, what, now_us, request_id, *arguments)

    def _soon(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _lost(self, error: BaseException) -> None:
        if self.connected and not self._is_closing:
            self.connected = False
            parts = f"a part of each limit ({self._memory.replicas} replicas)" if self._memory.replicas > 1 else "alone"
            _log.warning("Redis is not available, rate limits are counted here, %s: %s", parts, type(error).__name__)
            self._soon(self._reconnect())

    async def _reconnect(self) -> None:
        while not self.connected:
            await asyncio.sleep(RECONNECT_S)
            with contextlib.suppress(*FAILURES):
                await self._line.check(f"dac:rl:probe:{uuid7()}")
                while self._owed:
                    await self._end(*self._owed[0])
                    self._owed.popleft()
                self.connected = True
                _log.info("Redis is available again, rate limits are counted there")


def prefix_of(org_id: str) -> str:
    """What an organisation's keys begin with: one hash tag, so that one script reaches all of them."""
    return f"dac:rl:{{{org_id}}}:"


def _verdict(reply: _Reply, asked: Sequence[Asked], models: int, wish: Wish) -> Verdict:
    outcome, now_us, rows, tokens, requests = reply
    wish = wish._replace(tokens=tokens, requests=requests)
    if len(rows) != len(asked):
        # Counted before, under limits that have changed since.
        return Verdict(is_repeat=True)
    verdict = decide(asked, [_reading(row) for row in rows], models, wish, now_us / 1e6)
    if outcome != REPEATED:
        return verdict
    return Verdict(verdict.state, None, verdict.barred, verdict.taken, is_repeat=True)


def _reading(row: Sequence[int]) -> Reading:
    free = [NEVER if us < 0 else us / 1e6 for us in row[3:5]]
    place_s = NEVER if row[5] < 0 else row[5] * PLACE_RETRY_S
    return Reading(row[0], row[1], row[2], free[0], free[1], place_s, row[6] / 1e6, row[7] / 1e6)
