"""The context of a turn: reads the thread, recalls what fits, and has it put together within the budget."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mesh.ids import is_uuid
from services.memory import errors
from services.memory.config import MemoryConfig
from services.memory.contexts.context import (
    Budget,
    Context,
    Earlier,
    Piece,
    Recollection,
    SummaryText,
    assemble,
    fallen_out,
    sorted_out,
)
from services.memory.contexts.recalled_text import BEGIN
from services.memory.contexts.summaries import RENEWED_AFTER, Summarist, Summary, SummaryStore, best_of
from services.memory.contexts.token_counts import ESTIMATE, Counting
from services.memory.conversations.threads import Limits, Place, Thread
from services.memory.conversations.turn_store import PostgresTurnStore
from services.memory.conversations.window import Message
from services.memory.recall.index import Query
from services.memory.recall.memory import FACT, Filter, Memory, Seen
from services.memory.recall.recall import Recaller
from services.memory.recall.store import MemoryStore
from services.memory.viewers import Viewer

LEAST_COSINE = 0.35
"""What shares no word with the question and is no nearer than this is not recalled."""
MAX_FACTS = 50
MAX_SUMMARY_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Asked:
    """What a context is asked for."""

    thread_id: str
    parent_message_id: str
    request_id: str
    news: Sequence[Piece]
    max_tokens: int
    max_messages: int
    recall: bool
    across_threads: bool
    top_k: int
    agent_id: str
    counting: Counting = ESTIMATE
    """How tokens are counted."""


@dataclass(frozen=True, slots=True)
class Built:
    """A context, and whether memories from outside of the thread are in it."""

    context: Context
    private: bool
    summary_missing: bool
    counted_by: str


class Contexts:
    """BuildContext and the summaries, without the wire."""

    def __init__(
        self,
        turns: PostgresTurnStore,
        memories: MemoryStore,
        recaller: Recaller,
        summaries: SummaryStore,
        summarist: Summarist,
        config: MemoryConfig,
        *,
        clock: Callable[[], dt.datetime],
    ) -> None:
        self._turns, self._memories, self._recaller = turns, memories, recaller
        self._summaries, self._summarist, self._config, self._clock = summaries, summarist, config, clock

    async def build(self, viewer: Viewer, asked: Asked) -> Built:
        """The context. Raises NOT_FOUND for a thread or message that is not there."""
        if asked.max_tokens < 0 or asked.max_messages < 0 or asked.top_k < 0:
            raise errors.invalid("max_tokens", "limits must not be negative; 0 means the default")
        thread, messages = await self._read(viewer, asked)
        config = self._config
        most = min(asked.max_messages or config.window_max_messages, config.window_scan_messages)
        counting = asked.counting
        budget = Budget(asked.max_tokens, most, config.recall_max_share, config.recall_max_tokens, counting)
        earlier = sorted_out(counting.recounted(messages, asked.max_tokens), asked.news)
        if not asked.recall:
            context = assemble(earlier, asked.news, budget)
            return Built(context, private=False, summary_missing=False, counted_by=counting.name)
        if thread is not None and thread.agent_id and not asked.agent_id:
            asked = replace(asked, agent_id=thread.agent_id)
        fallen = fallen_out(earlier, asked.news, budget)
        summary = await self._summary(viewer, thread, fallen) if thread is not None and fallen else None
        recalled = await self._recalled(viewer, asked, thread, earlier, fallen)
        facts = await self._facts(viewer, asked) if asked.across_threads else []
        told = None if summary is None else SummaryText(summary.text, summary.until_message_id)
        context = assemble(earlier, asked.news, budget, facts=facts, recalled=recalled, summary=told)
        private = any(one.across_threads for one in context.used)
        missing = bool(fallen) and summary is None
        return Built(context, private, summary_missing=missing, counted_by=counting.name)

    async def summary(self, viewer: Viewer, thread_id: str, head: str) -> Summary | None:
        """The summary of a branch. Raises NOT_FOUND."""
        line = await self._line(viewer, thread_id, head)
        ids = [message.message_id for message in line]
        return best_of(await self._summaries.find(viewer.org_id, thread_id, ids), ids)

    async def write_summary(self, viewer: Viewer, thread_id: str, text: str, until: str, written_by: str) -> Summary:
        """Keeps a summary that a model wrote. Raises NOT_FOUND."""
        if not text.strip() or len(text.encode()) > MAX_SUMMARY_BYTES:
            raise errors.invalid("text", f"must be 1 to {MAX_SUMMARY_BYTES} bytes")
        if not 1 <= len(written_by) <= 128 or not written_by.isprintable() or written_by == "extracted":
            raise errors.invalid(
                "written_by", 'must name the model that wrote it, in 1 to 128 characters; not "extracted"'
            )
        if not is_uuid(until):
            raise errors.message_not_found(thread_id, until)
        line = await self._line(viewer, thread_id, until)
        covered = [message.message_id for message in line]
        text = text.replace("\x00", "\ufffd")
        summary = Summary(text, until, len(covered), written_by, self._clock())
        if not covered or not await self._summaries.put(viewer.org_id, thread_id, summary, covered):
            raise errors.message_not_found(thread_id, until)
        return summary

    async def _line(self, viewer: Viewer, thread_id: str, head: str) -> list[Message]:
        _checked_parent(thread_id, head)
        limit = self._config.window_scan_messages
        saved, line = await self._turns.look(
            viewer, thread_id, "", Place(parent_id=head), Limits(), limit=limit, max_tokens=0
        )
        if saved is None:
            raise errors.thread_not_found(thread_id)
        return line

    async def _read(self, viewer: Viewer, asked: Asked) -> tuple[Thread | None, list[Message]]:
        if not asked.thread_id:
            return None, []
        _checked_parent(asked.thread_id, asked.parent_message_id)
        saved, messages = await self._turns.look(
            viewer,
            asked.thread_id,
            asked.request_id,
            Place(parent_id=asked.parent_message_id),
            Limits(),
            limit=self._config.window_scan_messages,
            max_tokens=0,
        )
        if saved is None:
            raise errors.thread_not_found(asked.thread_id)
        return saved.thread, messages

    async def _summary(self, viewer: Viewer, thread: Thread, fallen: Sequence[Message]) -> Summary | None:
        """The best there is; a better one is asked for, for the next time."""
        ids = [message.message_id for message in fallen]
        found = best_of(await self._summaries.find(viewer.org_id, thread.thread_id, ids), ids)
        covered = -1 if found is None else ids.index(found.until_message_id)
        if found is None or len(ids) - 1 - covered >= RENEWED_AFTER:
            self._summarist.ask(viewer.org_id, thread.thread_id, fallen)
        return found

    async def _recalled(
        self, viewer: Viewer, asked: Asked, thread: Thread | None, earlier: Earlier, fallen: Sequence[Message]
    ) -> list[Recollection]:
        """The best of what fell out, and of other threads where that was asked for; the best first."""
        question = _question(asked.news, earlier)
        if not question:
            return []
        k = asked.top_k or self._config.recall_top_k
        now_s = self._clock().timestamp()
        found: list[Recollection] = []
        if thread is not None and fallen:
            query = Query(
                terms=(),
                vector=None,
                k=k,
                user_id=thread.user_id,
                only=frozenset(message.message_id for message in fallen),
            )
            found += await self._found(viewer.org_id, thread.user_id, question, query, across=False)
        if asked.across_threads:
            query = Query(
                terms=(),
                vector=None,
                k=k,
                user_id=viewer.user_id,
                agents=_agents(viewer, asked.agent_id),
                valid_at_s=now_s,
                not_thread_id=asked.thread_id or None,
            )
            found += await self._found(viewer.org_id, viewer.user_id, question, query, across=True)
        found.sort(key=lambda one: (-one.score, one.memory.memory_id))
        return found[:k]

    async def _found(self, org_id: str, owner: str, question: str, query: Query, *, across: bool) -> list[Recollection]:
        findings = await self._recaller.find(org_id, question, query)
        near = [one for one in findings.found if one.bm25 > 0 or one.cosine >= LEAST_COSINE]
        memories = await self._memories.read(Seen(org_id, owner), [one.memory_id for one in near])
        return [
            Recollection(memories[one.memory_id], one.score, across_threads=across)
            for one in near
            if one.memory_id in memories
        ]

    async def _facts(self, viewer: Viewer, asked: Asked) -> list[Memory]:
        """Pinned facts that hold now, the newest first."""
        wanted = Filter(kinds=(FACT,), valid_at=self._clock())
        agents = _agents(viewer, asked.agent_id)
        seen = Seen(viewer.org_id, viewer.user_id)
        facts = await self._memories.page(seen, wanted, 1000, None, newest_first=True)
        pinned = [one for one in facts if one.pinned and one.agent_id in agents]
        return [one for one in pinned if one.thread_id in ("", asked.thread_id)][:MAX_FACTS]


def _agents(viewer: Viewer, agent_id: str) -> frozenset[str]:
    """An agent of a key without a user sees its own only: what other agents' keys kept is not its users'."""
    return frozenset({agent_id}) if agent_id and not viewer.user_id else frozenset({"", agent_id})


def _question(news: Sequence[Piece], earlier: Earlier) -> str:
    """What is looked for: the last thing that the user said."""
    for piece in reversed(news):
        if piece.role == "user" and piece.text.strip():
            return piece.text
    for message in reversed((*earlier.rest, *earlier.latest)):
        if message.role == "user" and message.text.strip() and BEGIN not in message.text:
            return message.text
    return ""


def _checked_parent(thread_id: str, parent_id: str) -> None:
    if parent_id and not is_uuid(parent_id):
        raise errors.message_not_found(thread_id, parent_id)
