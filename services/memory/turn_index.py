"""Every turn of a thread is a memory: written and deleted in the transaction that writes and deletes the message."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any

from services.memory import memory_statements as sql
from services.memory.memories_store import MemoryListener, forget_within, keep_within
from services.memory.memory import TURN, Filter, Keeping, Memory, Seen
from services.memory.memory_rows import filter_values
from services.memory.recalled_text import without_recalled
from services.memory.sealing import Sealer
from services.memory.threads import Thread
from services.memory.window import Message

INDEXED_ROLES = frozenset({"user", "assistant"})


class TurnIndex:
    """A TurnListener. System messages and results of tools are no memories; what DAC itself recalled is never one."""

    def __init__(
        self,
        sealer: Sealer,
        *,
        clock: Callable[[], dt.datetime],
        max_text_bytes: int,
        kept: Callable[[], None],
        listeners: Sequence[MemoryListener] = (),
    ) -> None:
        """`kept` is called when there are vectors to make."""
        self._sealer, self._clock, self._max_text_bytes = sealer, clock, max_text_bytes
        self._kept, self._listeners = kept, listeners

    async def saved(self, connection: Any, org_id: str, thread: Thread, messages: Sequence[Message]) -> None:
        """See TurnListener."""
        keepings = [
            Keeping(memory, previous_id=message.parent_id)
            for message in messages
            if (memory := self.memory_of(thread, message)) is not None
        ]
        if not keepings:
            return
        key = await self._sealer.key_of(org_id)
        await keep_within(connection, org_id, key, keepings, "", "", "")
        self._kept()

    async def erased(self, connection: Any, org_id: str, thread_id: str, message_ids: Sequence[str] | None) -> None:
        """See TurnListener."""
        await connection.execute(sql.DROP_SUMMARIES, org_id, thread_id)
        if message_ids is None:
            wanted = Filter(thread_id=thread_id)
        elif message_ids:
            wanted = Filter(memory_ids=tuple(message_ids))
        else:
            return
        seen = Seen(org_id, everyone=True)
        key = await self._sealer.key_of(org_id)
        gone = await forget_within(connection, seen, filter_values(key, seen, wanted), self._clock())
        if not gone:
            return
        await connection.execute(sql.DROP_HISTORY, org_id, list(gone))
        for listener in self._listeners:
            await listener.forgotten(connection, org_id, sorted(set(gone.values())), list(gone))

    def memory_of(self, thread: Thread, message: Message) -> Memory | None:
        """The memory of a message; None when it is none."""
        if message.role not in INDEXED_ROLES or message.copied_from:
            return None
        text = without_recalled(message.text)
        if not text.strip():
            return None
        kept = text.encode()[: self._max_text_bytes].decode(errors="ignore")
        moment = dt.datetime.fromtimestamp(message.created_at_s, dt.UTC)
        return Memory(
            memory_id=message.message_id,
            kind=TURN,
            text=kept,
            occurred_at=moment,
            created_at=moment,
            updated_at=moment,
            user_id=thread.user_id,
            thread_id=thread.thread_id,
            role=message.role,
        )
