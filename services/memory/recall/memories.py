"""Memories: what may be kept and by whom, what is there already, how it changes and how it goes."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Callable, Sequence

from mesh.ids import is_uuid
from services.memory import errors
from services.memory.config import MemoryConfig
from services.memory.recall.index import Findings, Query
from services.memory.recall.memory import (
    FACT,
    KINDS,
    TURN,
    Filter,
    HistoryEntry,
    Keeping,
    Kept,
    Memory,
    Seen,
    Vector,
)
from services.memory.recall.recall import Recaller
from services.memory.recall.rules import Amendment, NewMemory, amended, check_id, made
from services.memory.recall.store import MemoryStore

MAX_AT_ONCE = 1000
DEFAULT_TOP_K = 10
MAX_TOP_K = 200
DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000
NEIGHBOURS = 5
"""How many of the nearest are compared when something new comes."""

Fires = Callable[[str, str], str | None]
"""The name of what tells two texts apart although they look alike, or None."""


def check_count(count: int) -> None:
    """Raises INVALID_REQUEST for no memories, and for more than are kept at once."""
    if not 1 <= count <= MAX_AT_ONCE:
        raise errors.invalid("memories", f"must be 1 to {MAX_AT_ONCE}, not {count}")


class Memories:
    """What MemoryService does with memories, without the wire."""

    def __init__(
        self,
        store: MemoryStore,
        recaller: Recaller,
        config: MemoryConfig,
        *,
        clock: Callable[[], dt.datetime],
        new_id: Callable[[], str],
        fires: Fires,
        kept: Callable[[], None] = lambda: None,
    ) -> None:
        """`kept` is called when there may be vectors to make."""
        self._store, self._recaller, self._config = store, recaller, config
        self._clock, self._new_id, self._fires, self._kept = clock, new_id, fires, kept

    async def remember(self, seen: Seen, news: Sequence[NewMemory], request_id: str, key_id: str) -> list[Kept]:
        """Keeps them; what became of each, in order."""
        check_count(len(news))
        check_id("request_id", request_id)
        now = self._clock()
        most = self._config.recall_max_text_bytes
        memories = [made(seen, one, at, self._new_id(), now, most) for at, one in enumerate(news)]
        told: list[Kept | None] = [None if memory.text else Kept("", False, "recalled") for memory in memories]
        vectors = await self._vectors_of(memories)
        keepings: list[Keeping] = []
        for at, (memory, vector, one) in enumerate(zip(memories, vectors, news, strict=True)):
            if told[at] is not None:
                continue
            alike = await self._alike(seen.org_id, memory, vector, keepings) if vector is not None else None
            if alike is not None:
                told[at] = Kept(alike, False, "same_meaning")
            else:
                keepings.append(Keeping(memory, ordinal=at, vector=vector, supersedes=one.supersedes))
        saved: list[Kept] = []
        if keepings:
            saved = await self._store.keep(seen.org_id, keepings, request_id, self._recaller.embedder_id, key_id)
            self._kept()
        kept = iter(saved)
        return [next(kept) if one is None else one for one in told]

    async def recall(
        self,
        seen: Seen,
        text: str,
        wanted: Filter,
        *,
        top_k: int,
        all_agents: bool = False,
        superseded: bool = False,
    ) -> tuple[list[tuple[Memory, float, float, float]], Findings]:
        """The best, best first, each with score, BM25 and cosine."""
        if not text.strip():
            raise errors.invalid("query", "is empty: say what is looked for")
        if not 0 <= top_k <= MAX_TOP_K:
            raise errors.invalid("top_k", f"must be 0 to {MAX_TOP_K}, not {top_k}")
        self._check_filter(wanted)
        valid_at = wanted.valid_at or self._clock()
        query = Query(
            terms=(),
            vector=None,
            k=top_k or DEFAULT_TOP_K,
            user_id=_owner(seen, wanted),
            agents=None if all_agents else frozenset({"", wanted.agent_id}),
            thread_id=wanted.thread_id or None,
            kinds=frozenset(wanted.kinds) or None,
            occurred_from_s=None if wanted.occurred_from is None else wanted.occurred_from.timestamp(),
            occurred_before_s=None if wanted.occurred_before is None else wanted.occurred_before.timestamp(),
            valid_at_s=None if superseded else valid_at.timestamp(),
            metadata=wanted.metadata,
            only=frozenset(wanted.memory_ids) or None,
        )
        if not seen.everyone and wanted.user_id not in ("", seen.user_id):
            return [], Findings([], 0)
        findings = await self._recaller.find(seen.org_id, text, query)
        memories = await self._store.read(seen, [one.memory_id for one in findings.found])
        best = [
            (memories[one.memory_id], one.score, one.bm25, one.cosine)
            for one in findings.found
            if one.memory_id in memories
        ]
        return best, findings

    async def page(
        self, seen: Seen, wanted: Filter, page_size: int, page_token: str, *, newest_first: bool = True
    ) -> tuple[list[Memory], str]:
        """A page, and the next one's token."""
        if page_size < 0:
            raise errors.invalid("page_size", f"must not be negative, not {page_size}")
        self._check_filter(wanted)
        size = min(page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
        found = await self._store.page(seen, wanted, size + 1, _read_token(page_token), newest_first=newest_first)
        page = found[:size]
        return page, _make_token(page[-1]) if found[size:] else ""

    async def get(self, seen: Seen, memory_id: str) -> Memory:
        """One. Raises NOT_FOUND."""
        found = await self._store.read(seen, [memory_id]) if is_uuid(memory_id) else {}
        if memory_id not in found:
            raise errors.memory_not_found(memory_id)
        return found[memory_id]

    async def update(self, seen: Seen, memory_id: str, amendment: Amendment, key_id: str) -> Memory:
        """The memory as it is then. Raises NOT_FOUND."""
        memory = await self.get(seen, memory_id)
        changed = amended(memory, amendment, self._clock(), self._config.recall_max_text_bytes)
        text_changed = changed.text != memory.text
        vector = (await self._recaller.vectors([changed.said]))[0] if text_changed else None
        embedder_id = self._recaller.embedder_id
        if not await self._store.update(seen, changed, vector, embedder_id, key_id, text_changed=text_changed):
            raise errors.memory_not_found(memory_id)
        return changed

    async def delete(self, seen: Seen, memory_id: str, key_id: str) -> None:
        """Deletes one. Raises NOT_FOUND."""
        wanted = Filter(memory_ids=(memory_id,)) if is_uuid(memory_id) else None
        if wanted is None or not await self._store.forget(seen, wanted, self._clock(), key_id, erase=False):
            raise errors.memory_not_found(memory_id)

    async def delete_many(self, seen: Seen, wanted: Filter, key_id: str) -> int:
        """Deletes what fits; how many."""
        if not wanted.narrows:
            raise errors.invalid("filter", "is empty: name what is to be deleted; everything goes with EraseMemories")
        self._check_filter(wanted)
        return await self._store.forget(seen, wanted, self._clock(), key_id, erase=False)

    async def erase(self, seen: Seen, wanted: Filter, key_id: str, *, everything: bool) -> int:
        """Erases what fits, with its history; how many."""
        if everything == wanted.narrows:
            raise errors.invalid("filter", "name what is to be erased, or set everything; not both, not neither")
        self._check_filter(wanted)
        erased = await self._store.forget(seen, wanted, self._clock(), key_id, erase=True)
        self._recaller.forget(seen.org_id)
        return erased

    async def history(self, seen: Seen, memory_id: str) -> list[HistoryEntry]:
        """Oldest first. Raises NOT_FOUND."""
        if not is_uuid(memory_id):
            raise errors.memory_not_found(memory_id)
        entries = await self._store.history(seen, memory_id)
        if entries and entries[0].action == "created":
            return entries
        # Turns are written without a history of their own: they begin as they are.
        found = await self._store.read(seen, [memory_id])
        if memory_id in found:
            first = found[memory_id]
            return [HistoryEntry(first.created_at, "created", first if not entries else None, ""), *entries]
        if not entries:
            raise errors.memory_not_found(memory_id)
        return entries

    async def profile(self, seen: Seen, agent_id: str, limit: int) -> tuple[list[Memory], dict[int, int]]:
        """Facts that hold now, pinned ones first; and how many memories there are of each kind."""
        if limit < 0:
            raise errors.invalid("max_facts", f"must not be negative, not {limit}")
        now = self._clock()
        wanted = Filter(kinds=(FACT,), valid_at=now)
        facts = await self._store.page(seen, wanted, MAX_PAGE_SIZE, None, newest_first=True)
        agents = ("", agent_id)
        facts = [fact for fact in facts if fact.agent_id in agents and not fact.superseded_by]
        facts.sort(key=lambda fact: not fact.pinned)
        return facts[: limit or DEFAULT_PAGE_SIZE], await self._store.counts(seen, Filter())

    async def _vectors_of(self, memories: Sequence[Memory]) -> list[Vector | None]:
        """Of facts and notes, which are compared with what is there; turns get theirs later."""
        compared = [at for at, memory in enumerate(memories) if memory.kind != TURN and memory.text]
        found = await self._recaller.vectors([memories[at].said for at in compared])
        vectors: list[Vector | None] = [None] * len(memories)
        for at, vector in zip(compared, found, strict=True):
            vectors[at] = vector
        return vectors

    async def _alike(self, org_id: str, memory: Memory, vector: Vector, before: Sequence[Keeping]) -> str | None:
        """The memory that says the same in other words, if there is one."""
        least = self._config.recall_same_meaning_cosine
        for one in before:
            other = one.memory
            if one.vector is None or (other.kind, other.user_id, other.agent_id, other.thread_id) != (
                memory.kind,
                memory.user_id,
                memory.agent_id,
                memory.thread_id,
            ):
                continue
            # The very same text is told apart from the same meaning by the store.
            if other.said != memory.said and float(one.vector @ vector) >= least and self._same(other, memory):
                return other.memory_id
        query = Query(
            terms=(),
            vector=vector,
            k=NEIGHBOURS,
            user_id=memory.user_id,
            agents=frozenset({memory.agent_id}),
            thread_id=memory.thread_id,
            kinds=frozenset({memory.kind}),
            valid_at_s=memory.created_at.timestamp(),
        )
        near = [one for one, cosine in await self._recaller.nearest(org_id, query) if cosine >= least]
        others = await self._store.read(Seen(org_id, memory.user_id), near)
        for found in near:
            if found in others and others[found].said != memory.said and self._same(others[found], memory):
                return found
        return None

    def _same(self, one: Memory, other: Memory) -> bool:
        return one.speaker == other.speaker and self._fires(one.text, other.text) is None

    def _check_filter(self, wanted: Filter) -> None:
        if not all(map(is_uuid, wanted.memory_ids)):
            raise errors.invalid("filter.memory_ids", "must be ids of memories")
        if any(kind not in KINDS for kind in wanted.kinds):
            raise errors.invalid("filter.kinds", "must be turns, facts or notes")
        for name in ("user_id", "agent_id", "thread_id"):
            check_id(f"filter.{name}", getattr(wanted, name))


def _owner(seen: Seen, wanted: Filter) -> str | None:
    if seen.everyone:
        return wanted.user_id or None
    return seen.user_id


def _make_token(memory: Memory) -> str:
    return base64.urlsafe_b64encode(f"{memory.created_at.isoformat()} {memory.memory_id}".encode()).decode()


def _read_token(token: str) -> tuple[dt.datetime, str] | None:
    if not token:
        return None
    try:
        created, _, memory_id = base64.urlsafe_b64decode(token.encode()).decode().partition(" ")
        moment = dt.datetime.fromisoformat(created).astimezone(dt.UTC)
    except (ValueError, OverflowError):
        raise errors.invalid("page_token", "is none that was given out: take next_page_token as it is") from None
    if not is_uuid(memory_id):
        raise errors.invalid("page_token", "is none that was given out: take next_page_token as it is")
    return moment, memory_id
