"""Every turn of a thread is a memory: written and deleted in the transaction that writes and deletes the message.

What was written without (before there were memories, or by the program before beside this one) is caught up with.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Sequence
from typing import Any

from mesh.errors import MeshError
from mesh.postgres import Database
from services.memory.contexts.recalled_text import without_recalled
from services.memory.conversations.thread_rows import MESSAGE_COLUMNS, THREAD_COLUMNS, message_of, thread_of
from services.memory.conversations.threads import Thread
from services.memory.conversations.window import Message
from services.memory.recall import memory_statements as sql
from services.memory.recall.memory import TURN, Filter, Keeping, Memory, Seen
from services.memory.recall.rows import filter_values
from services.memory.recall.store import MemoryListener
from services.memory.recall.transaction import forget_within, keep_within
from services.memory.sealing.sealing import Sealer

CAUGHT_UP_AT_ONCE = 200
_LACKING = """org_id = $1 AND role IN ('user', 'assistant') AND deleted_at IS NULL AND copied_from IS NULL
    AND NOT EXISTS (SELECT FROM memories WHERE memories.org_id = $1 AND memories.memory_id = messages.message_id)"""
_UNREMEMBERED_THREADS = "SELECT DISTINCT thread_id FROM messages WHERE {lacking}".replace("{lacking}", _LACKING)
_UNREMEMBERED = "SELECT {columns} FROM messages WHERE thread_id = $2 AND {lacking} ORDER BY position LIMIT $3".replace(
    "{columns}", MESSAGE_COLUMNS
).replace("{lacking}", _LACKING)
_LOCK_THREAD = """SELECT {columns} FROM threads WHERE org_id = $1 AND thread_id = $2 AND deleted_at IS NULL
    FOR UPDATE""".replace("{columns}", THREAD_COLUMNS)
_TOMBSTONES = """INSERT INTO memories (org_id, memory_id, seq, kind, user_id, text, occurred_at, created_at, updated_at,
    deleted_at) SELECT $1, message_id, $3 + place, 1, $4, '', now(), now(), now(), now()
    FROM unnest($2::uuid[]) WITH ORDINALITY AS these (message_id, place) ON CONFLICT DO NOTHING"""
INDEXED_ROLES = frozenset({"user", "assistant"})
_log = logging.getLogger("dac.memory.turns")


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
        # Somebody else may have kept memories under a thread of the same name.
        owner = await connection.fetchval(sql.THREAD_OWNER, org_id, thread_id)
        seen = Seen(org_id, owner or "", everyone=owner is None)
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
            agent_id=thread.agent_id,
            thread_id=thread.thread_id,
            role=message.role,
        )


class CatchUp:
    """Makes memories of turns that have none, thread by thread, under each thread's lock."""

    def __init__(self, database: Database, sealer: Sealer, index: TurnIndex) -> None:
        self._database, self._sealer, self._index = database, sealer, index

    async def run(self) -> int:
        """One round over every organisation; how many turns. Raises MeshError when it cannot even ask for whom."""
        async with self._database.transaction() as connection:
            found = await connection.fetch("SELECT organisations_with_unremembered_turns()::text AS org_id")
        done = 0
        for row in found:
            try:
                done += await self.of_organisation(row["org_id"])
            except MeshError as error:
                _log.warning("turns of organisation %s are not remembered for now: %s", row["org_id"], error.message)
        return done

    async def of_organisation(self, org_id: str) -> int:
        """Every turn of one organisation; how many. An unreadable thread holds up no other. Raises MeshError."""
        async with self._database.transaction(org_id) as connection:
            threads = await connection.fetch(_UNREMEMBERED_THREADS, org_id)
        done = 0
        for thread in threads:
            try:
                while made := await self._of_thread(org_id, thread["thread_id"]):
                    done += made
            except MeshError as error:
                _log.warning("turns of organisation %s are not remembered for now: %s", org_id, error.message)
        return done

    async def _of_thread(self, org_id: str, thread_id: str) -> int:
        key = await self._sealer.key_of(org_id)
        async with self._database.transaction(org_id) as connection:
            locked = await connection.fetchrow(_LOCK_THREAD, org_id, thread_id)
            if locked is None:
                return 0
            rows = await connection.fetch(_UNREMEMBERED, org_id, thread_id, CAUGHT_UP_AT_ONCE)
            messages = [message_of(key, row) for row in rows]
            thread = thread_of(key, locked)
            await self._index.saved(connection, org_id, thread, messages)
            # What is no memory (it is empty, or was recalled) is not looked at again.
            empty = [one.message_id for one in messages if self._index.memory_of(thread, one) is None]
            if empty:
                last = await connection.fetchval(sql.NEXT, org_id, len(empty))
                await connection.execute(_TOMBSTONES, org_id, empty, last - len(empty), thread.user_id)
        return len(rows)
