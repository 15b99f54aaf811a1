"""Facts from turns: after an answer a model of the operator's reads the thread's new messages, in the background.

One task, one thread after the other. What it could not do stays to be done: the next turn of the thread begins where
the last reading ended. Nothing is written but through `Memories`, with the thread's own user.
"""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Callable, Sequence

from mesh.call import Call
from mesh.errors import MeshError
from mesh.postgres import Database
from mesh.rounds import Rounds
from services.memory.conversations.thread_rows import MESSAGE_COLUMNS, message_of
from services.memory.conversations.threads import Thread
from services.memory.conversations.window import Message
from services.memory.recall.memories import Memories
from services.memory.recall.memory import FACT, Filter, Seen
from services.memory.recall.rules import NewMemory
from services.memory.sealing.sealing import Sealer
from services.memory.writing.asking import EXTRACT, Ask, Writer
from services.memory.writing.facts import INSTRUCTIONS, Known, NoFacts, question_of, read_facts

MOST_MESSAGES = 40
MOST_KNOWN = 30
MAX_OUTPUT_TOKENS = 1000
MAX_WAITING = 256
"""More threads than that wait for their next turn."""
STALE_S = 45.0
"""What waited longer is left to the thread's next turn: a caller's identity is proven for two minutes."""
_UNREAD = """SELECT {columns} FROM (SELECT {columns} FROM messages WHERE org_id = $1 AND thread_id = $2
    AND position > coalesce((SELECT facts_position FROM threads WHERE org_id = $1 AND thread_id = $2
        AND deleted_at IS NULL), -1) AND deleted_at IS NULL AND copied_from IS NULL
    ORDER BY position DESC LIMIT $3) AS newest ORDER BY position""".replace("{columns}", MESSAGE_COLUMNS)
_READ = """UPDATE threads SET facts_position = greatest(facts_position, $3) WHERE org_id = $1 AND thread_id = $2
    AND deleted_at IS NULL"""
_STILL_THERE = """SELECT count(*) FROM messages m JOIN threads t USING (org_id, thread_id) WHERE m.org_id = $1
    AND m.thread_id = $2 AND m.message_id = ANY ($3) AND m.deleted_at IS NULL AND t.deleted_at IS NULL"""
_log = logging.getLogger("dac.memory.extraction")


class Extraction:
    """See the module."""

    def __init__(
        self,
        database: Database,
        sealer: Sealer,
        memories: Memories,
        writer: Writer,
        *,
        model: str,
        clock: Callable[[], dt.datetime],
    ) -> None:
        self._database, self._sealer, self._memories, self._writer = database, sealer, memories, writer
        self._model, self._clock = model, clock
        self._waiting: dict[tuple[str, str], tuple[Thread, Call, float]] = {}
        meanwhile = "threads are not read for facts for now"
        self._rounds = Rounds("memory-facts", self._read_waiting, None, _log, meanwhile=meanwhile, at_once=False)

    def start(self) -> None:
        """Begins."""
        self._rounds.start()

    async def close(self) -> None:
        """Stops; what waits is read after the next turn of its thread."""
        await self._rounds.close()

    def answered(self, thread: Thread, caller: Call) -> None:
        """A turn of this thread is whole: read it some time soon. Waits for nothing."""
        org_id = caller.principal.org_id if caller.principal is not None else ""
        key = (org_id, thread.thread_id)
        if org_id and (len(self._waiting) < MAX_WAITING or key in self._waiting):
            self._waiting[key] = (thread, caller, time.monotonic())
            self._rounds.wake()

    async def _read_waiting(self) -> None:
        while self._waiting:
            (org_id, _), (thread, caller, asked_at) = self._waiting.popitem()
            if time.monotonic() - asked_at > STALE_S:
                continue
            try:
                await self.read(org_id, thread, caller)
            except MeshError as error:
                _log.warning("a thread of organisation %s is not read for facts for now: %s", org_id, error.message)
            except Exception:
                _log.exception("reading a thread for facts failed and goes on")

    async def read(self, org_id: str, thread: Thread, caller: Call) -> int:
        """Reads what is new of a thread; how many facts were kept. Raises MeshError when it is to be tried again."""
        key = await self._sealer.key_of(org_id)
        async with self._database.transaction(org_id) as connection:
            rows = await connection.fetch(_UNREAD, org_id, thread.thread_id, MOST_MESSAGES)
        messages = [message_of(key, row) for row in rows]
        # A thread of nobody's is no place to learn of somebody: what is said there stays in that thread.
        thread_id = "" if thread.user_id else thread.thread_id
        seen = Seen(org_id, thread.user_id)
        known = await self._known(seen, thread, thread_id, messages)
        question = question_of(messages, known)
        kept = 0
        if question:
            asked = Ask(self._model, EXTRACT, INSTRUCTIONS, question, MAX_OUTPUT_TOKENS, thread.thread_id)
            answer = await self._writer.write(caller, asked)
            kept = await self._keep(seen, thread, thread_id, messages, known, answer)
        if messages:
            async with self._database.transaction(org_id) as connection:
                await connection.execute(_READ, org_id, thread.thread_id, messages[-1].position)
        return kept

    async def _known(self, seen: Seen, thread: Thread, thread_id: str, messages: Sequence[Message]) -> list[Known]:
        """Facts that hold, those first that are nearest to what was said."""
        said = "\n".join(message.text for message in messages if message.role == "user")[:2000]
        if not said.strip():
            return []
        wanted = Filter(kinds=(FACT,), agent_id=thread.agent_id, thread_id=thread_id)
        found, _ = await self._memories.recall(seen, said, wanted, top_k=MOST_KNOWN)
        own = (one for one, *_ in found if one.user_id == thread.user_id and one.agent_id == thread.agent_id)
        return [Known(one.memory_id, one.text) for one in own]

    async def _keep(
        self,
        seen: Seen,
        thread: Thread,
        thread_id: str,
        messages: Sequence[Message],
        known: Sequence[Known],
        answer: str,
    ) -> int:
        try:
            found = read_facts(answer, messages, known, self._clock())
        except NoFacts as error:
            # It is not asked the same again: it would answer the same, and cost as much.
            _log.warning("%s found no facts in a thread of organisation %s: %s", self._model, seen.org_id, error)
            return 0
        if not found:
            return 0
        sources = sorted({source for one in found for source in one.source_ids})
        async with self._database.transaction(seen.org_id) as connection:
            there = await connection.fetchval(_STILL_THERE, seen.org_id, thread.thread_id, sources)
        if there != len(sources):
            # Something was deleted meanwhile: nothing is learned from it.
            return 0
        news = [
            NewMemory(
                text=one.text,
                kind=FACT,
                user_id=thread.user_id,
                agent_id=thread.agent_id,
                thread_id=thread_id,
                valid_from=one.valid_from,
                source_ids=one.source_ids,
                supersedes=one.supersedes,
                confidence=one.confidence,
                metadata={"found_by": self._model[:256]},
            )
            for one in found
        ]
        # The same reading again keeps nothing twice.
        told = await self._memories.remember(seen, news, f"facts/{messages[-1].message_id}", "")
        return sum(one.stored for one in told)
