"""The running summaries of threads: read when a context is put together, made in the background."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mesh.call import Call, current
from mesh.errors import MeshError
from mesh.postgres import Database
from mesh.rounds import Rounds
from services.memory.contexts.summary import central, sentences_of
from services.memory.conversations.window import Message
from services.memory.embedding.embedder import Embedder
from services.memory.sealing.sealing import Sealer
from services.memory.writing.asking import SUMMARISE, Ask, Writer
from services.memory.writing.model_summary import INSTRUCTIONS, question_of, read_summary

EXTRACTED = "extracted"
"""What an extracted summary is written by."""
MAX_TOKENS = MODEL_TOKENS = 550
RENEWED_AFTER = 8
"""A summary that lacks so many messages is made anew."""
MAX_WAITING = 64
"""More threads than that are not remembered: they are summed up when they are next asked for."""

_FIND = """SELECT until_message_id, written_by, messages_covered, text, written_at, sealed FROM thread_summaries
    WHERE org_id = $1 AND thread_id = $2 AND until_message_id = ANY ($3)"""
_STILL_THERE = """SELECT (SELECT count(*) FROM messages WHERE org_id = $1 AND thread_id = $2 AND message_id = ANY ($3)
    AND deleted_at IS NULL) FROM threads WHERE org_id = $1 AND thread_id = $2 AND deleted_at IS NULL FOR UPDATE"""
_PUT = """INSERT INTO thread_summaries (org_id, thread_id, until_message_id, written_by, messages_covered, text,
    written_at, sealed) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (org_id, thread_id, until_message_id,
    written_by) DO UPDATE SET messages_covered = EXCLUDED.messages_covered, text = EXCLUDED.text,
    written_at = EXCLUDED.written_at, sealed = EXCLUDED.sealed"""
# Older ones of the same hand are of no use once the thread has gone on; other branches' last one stays.
_PRUNE = """DELETE FROM thread_summaries WHERE org_id = $1 AND thread_id = $2 AND written_by = $3
    AND until_message_id = ANY ($4)"""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Summary:
    """Of the beginning of one branch."""

    text: str
    until_message_id: str
    messages_covered: int
    written_by: str
    written_at: dt.datetime


class SummaryStore:
    """Summaries in the schema `memory`."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database, self._sealer = database, sealer

    async def find(self, org_id: str, thread_id: str, until: Sequence[str]) -> list[Summary]:
        """Those that end with one of these messages."""
        key = await self._sealer.key_of(org_id)
        async with self._database.transaction(org_id) as connection:
            rows = await connection.fetch(_FIND, org_id, thread_id, list(until))
        return [
            Summary(
                text=row["text"] if row["sealed"] is None else key.open(_about(thread_id), row["sealed"])["text"],
                until_message_id=str(row["until_message_id"]),
                messages_covered=row["messages_covered"],
                written_by=row["written_by"],
                written_at=row["written_at"],
            )
            for row in rows
        ]

    async def put(self, org_id: str, thread_id: str, summary: Summary, covered: Sequence[str]) -> bool:
        """Saves it, unless something that it covers is gone by now; earlier ones of the same hand go."""
        key = await self._sealer.key_of(org_id)
        sealed = key.seal(_about(thread_id), {"text": summary.text})
        async with self._database.transaction(org_id) as connection:
            # Under the thread's lock, which deletions take first: no deleted text comes back.
            there = await connection.fetchval(_STILL_THERE, org_id, thread_id, list(covered))
            if there != len(covered):
                return False
            await connection.execute(
                _PRUNE,
                org_id,
                thread_id,
                summary.written_by,
                [one for one in covered if one != summary.until_message_id],
            )
            await connection.execute(
                _PUT,
                org_id,
                thread_id,
                summary.until_message_id,
                summary.written_by,
                summary.messages_covered,
                summary.text if sealed is None else "",
                summary.written_at,
                sealed,
            )
        return True


class Summarist:
    """Makes summaries, one thread after the other, in one task."""

    def __init__(
        self,
        store: SummaryStore,
        embedder: Embedder,
        *,
        clock: Callable[[], dt.datetime],
        writer: Writer | None = None,
        model: str = "",
    ) -> None:
        """`writer`: asks `model` for a better one, where the operator names a model."""
        self._store, self._embedder, self._clock = store, embedder, clock
        self._writer, self._model = writer, model
        self._waiting: dict[tuple[str, str], tuple[Sequence[Message], Call]] = {}
        self._rounds = Rounds("memory-summaries", self.make_all, None, _log, meanwhile="summaries are not made for now")

    def start(self) -> None:
        """Begins."""
        self._rounds.start()

    async def close(self) -> None:
        """Stops; what is not made yet is made when it is next asked for."""
        await self._rounds.close()

    def ask(self, org_id: str, thread_id: str, messages: Sequence[Message]) -> None:
        """These messages fell out of a window: sum them up some time soon."""
        if len(self._waiting) < MAX_WAITING or (org_id, thread_id) in self._waiting:
            self._waiting[org_id, thread_id] = (messages, current())
            self._rounds.wake()

    async def make_all(self) -> None:
        """Makes what was asked for. One that cannot be made holds up no other."""
        while self._waiting:
            (org_id, thread_id), (messages, caller) = self._waiting.popitem()
            try:
                await self._make(org_id, thread_id, messages)
                if self._writer is not None:
                    await self._have_written(self._writer, caller, org_id, thread_id, messages)
            except MeshError as error:
                _log.warning("a summary of organisation %s is not made for now: %s", org_id, error.message)

    async def _make(self, org_id: str, thread_id: str, messages: Sequence[Message]) -> None:
        sentences = sentences_of(messages)
        if not sentences:
            return
        text = central(sentences, await self._embedder.embed(sentences, background=True), MAX_TOKENS)
        summary = Summary(text, messages[-1].message_id, len(messages), EXTRACTED, self._clock())
        await self._store.put(org_id, thread_id, summary, [message.message_id for message in messages])

    async def _have_written(
        self, writer: Writer, caller: Call, org_id: str, thread_id: str, messages: Sequence[Message]
    ) -> None:
        """Has the model go on from its last summary; it is preferred where it covers as much."""
        ids = [message.message_id for message in messages]
        earlier = [one for one in await self._store.find(org_id, thread_id, ids) if one.written_by == self._model]
        before = best_of(earlier, ids)
        after = 0 if before is None else ids.index(before.until_message_id) + 1
        question = question_of("" if before is None else before.text, messages[after:])
        if not question:
            return
        ask = Ask(self._model, SUMMARISE, INSTRUCTIONS, question, MODEL_TOKENS, thread_id)
        text = read_summary(await writer.write(caller, ask))
        if text:
            summary = Summary(text, ids[-1], len(ids), self._model, self._clock())
            await self._store.put(org_id, thread_id, summary, ids)


def best_of(summaries: Sequence[Summary], order: Sequence[str]) -> Summary | None:
    """The one that covers most; of those that cover as much, a model's."""
    places = {message_id: at for at, message_id in enumerate(order)}
    return max(
        (one for one in summaries if one.until_message_id in places),
        key=lambda one: (places[one.until_message_id], one.written_by != EXTRACTED, one.written_at),
        default=None,
    )


def _about(thread_id: str) -> str:
    return f"thread_summaries/{thread_id}"
