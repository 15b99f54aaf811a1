"""Hands request records to their consumers: waits for the first, gathers a little, answers with many."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol

from services.budget.config import BudgetConfig
from services.budget.record_store import Cursor

MAX_ANSWER_BYTES = 2 * 1024 * 1024
"""Records in one answer, in bytes: half of what a message between services may carry."""


class RecordStore(Protocol):
    """The outbox."""

    async def read(self, after: Cursor, limit: int, max_bytes: int) -> tuple[list[bytes], Cursor]:
        """Serialised records after a cursor, in commit order, and the cursor behind the last.

        At most `limit` and `max_bytes` of them, but the first whatever its size.
        """

    async def advance(self, consumer: str, cursor: Cursor) -> None:
        """Notes how far a consumer has read."""

    async def register(self, consumers: Sequence[str]) -> None:
        """Makes records wait for these consumers from now on."""


class RecordFeed:
    """Wakes waiting readers when the local writer has committed records."""

    def __init__(self, store: RecordStore, config: BudgetConfig) -> None:
        self._store = store
        self._config = config
        self._news = asyncio.Event()
        self._noted: dict[str, Cursor] = {}

    def announce(self) -> None:
        """Records were committed in this process."""
        self._news.set()
        # Everybody who waits now is woken; who comes later waits for the next news.
        self._news = asyncio.Event()

    async def fetch(self, consumer: str, after: Cursor, limit: int, wait_s: float) -> tuple[list[bytes], Cursor]:
        """Records after a cursor; waits up to `wait_s` for the first."""
        if self._noted.get(consumer) != after:
            if after.seq:
                await self._store.advance(consumer, after)
            else:
                # What it has not read yet must not be removed before it asks for the second time.
                await self._store.register([consumer])
            self._noted[consumer] = after
        ends_at = time.monotonic() + wait_s
        retry_s = self._config.record_poll_s
        while True:
            news = self._news
            records, cursor = await self._store.read(after, limit, MAX_ANSWER_BYTES)
            left_s = ends_at - time.monotonic()
            if records or left_s <= 0:
                return records, cursor
            try:
                await asyncio.wait_for(news.wait(), min(left_s, retry_s))
            except TimeoutError:
                retry_s = self._config.record_poll_s
            else:
                await asyncio.sleep(min(left_s, self._config.record_linger_ms / 1000))
                # A record can stay hidden for a moment behind an older transaction that is still running.
                retry_s = min(self._config.record_poll_s, 0.05)
