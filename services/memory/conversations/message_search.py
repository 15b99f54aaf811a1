"""Search in messages: by words (BM25), by meaning where an index of turns is there, or by both."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from services.memory import errors
from services.memory.conversations.snippets import Snippet
from services.memory.conversations.terms import terms_of
from services.memory.conversations.window import Message
from services.memory.viewers import Viewer

DEFAULT_PAGE, MAX_PAGE = 20, 100
MAX_QUERY_CHARS = 2000
MAX_QUERY_TERMS = 16
MAX_FILTER_VALUES = 100
"""How many roles, models or tags one search names."""
"""Of a longer query the longest words are looked for: short ones tell little."""
MOST_WEIGHED = 500
"""Messages that are weighed of each word of the query: the newest ones."""
MOST_NEAREST = 200
"""Messages that are asked of the index of meanings."""
LEAST_COSINE = 0.3
"""What is less near is not found by meaning: something is always nearest."""
_K1, _B = 1.2, 0.75
_MEANING_SHARE = 0.6


class Mode(Enum):
    """By what messages are found."""

    BOTH = 0
    WORDS = 1
    MEANING = 2


@dataclass(frozen=True, slots=True)
class MessageFilter:
    """Which messages count at all."""

    thread_id: str = ""
    """Empty = every thread that the viewer may see."""
    roles: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    since: dt.datetime | None = None
    before: dt.datetime | None = None
    user_id: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A message that may be found; `counts` says how often it holds each word of the query."""

    thread_id: str
    position: int
    message_id: str
    created_at: dt.datetime
    length: int
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Hit:
    """A found message with its text, and where the text holds the query."""

    message: Message
    thread_title: str
    score: float
    word_score: float
    meaning_score: float
    snippets: tuple[Snippet, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """What is looked for."""

    query: str
    filter: MessageFilter = MessageFilter()
    mode: Mode = Mode.BOTH
    every_word: bool = False
    page_size: int = 0
    page_token: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """One page, the best first."""

    hits: list[Hit]
    next_page_token: str
    by_meaning: bool
    has_unweighed: bool


class SearchStore(Protocol):
    """What search needs of where messages are kept. Deleted messages and threads are never given."""

    async def with_words(
        self, viewer: Viewer, words: Sequence[str], chosen: MessageFilter, *, every_word: bool, most: int
    ) -> tuple[list[Candidate], int]:
        """The newest `most` messages with all the words and with each one, and about how many messages there are."""

    async def of_ids(
        self, viewer: Viewer, message_ids: Sequence[str], words: Sequence[str], chosen: MessageFilter
    ) -> list[Candidate]:
        """Those of these messages that pass the filter."""

    async def show(
        self, viewer: Viewer, places: Sequence[tuple[str, int]], wanted: frozenset[str]
    ) -> Mapping[tuple[str, int], tuple[Message, str, tuple[Snippet, ...]]]:
        """Messages by thread and position, with the title of the thread and their snippets."""


class NearestTurns(Protocol):
    """An index of what turns mean."""

    async def nearest(
        self, viewer: Viewer, query: str, *, thread_id: str, user_id: str, most: int
    ) -> list[tuple[str, float]] | None:
        """Ids of messages with their cosine, the nearest first; None = there is no embedder."""


@dataclass(frozen=True, slots=True)
class _Weighed:
    candidate: Candidate
    words: float
    meaning: float
    score: float


class MessageSearch:
    """Finds what was said."""

    def __init__(self, store: SearchStore, nearest: NearestTurns | None) -> None:
        self._store, self._nearest = store, nearest

    async def search(self, viewer: Viewer, asked: Asked) -> Found:
        """One page of what fits best. Raises INVALID_REQUEST, FAILED_PRECONDITION."""
        _check(asked)
        size = min(asked.page_size or DEFAULT_PAGE, MAX_PAGE)
        offset = _offset_of(asked)
        words = _chosen_words(asked.query)
        near = None
        if asked.mode is not Mode.WORDS and self._nearest is not None:
            chosen = asked.filter
            near = await self._nearest.nearest(
                viewer, asked.query, thread_id=chosen.thread_id, user_id=chosen.user_id, most=MOST_NEAREST
            )
        if asked.mode is Mode.MEANING and near is None:
            raise errors.no_embedder()
        candidates: list[Candidate] = []
        total = 0
        if words and asked.mode is not Mode.MEANING:
            candidates, total = await self._store.with_words(
                viewer, words, asked.filter, every_word=asked.every_word, most=MOST_WEIGHED
            )
        has_unweighed = _has_unweighed(candidates, len(words))
        meanings = {name: cosine for name, cosine in near or () if cosine >= LEAST_COSINE}
        missing = meanings.keys() - {one.message_id for one in candidates}
        if missing:
            others = await self._store.of_ids(viewer, sorted(missing), words, asked.filter)
            candidates += [one for one in others if not asked.every_word or all(one.counts)]
        ranked = rank(candidates, meanings, total)
        page = ranked[offset : offset + size]
        hits = await self._hits(viewer, page, frozenset(words))
        more = offset + size < len(ranked)
        return Found(hits, _token(asked, offset + size) if more else "", near is not None, has_unweighed)

    async def _hits(self, viewer: Viewer, page: Sequence[_Weighed], wanted: frozenset[str]) -> list[Hit]:
        places = [(one.candidate.thread_id, one.candidate.position) for one in page]
        shown = await self._store.show(viewer, places, wanted) if places else {}
        return [
            Hit(*shown[place][:2], one.score, one.words, one.meaning, shown[place][2])
            for place, one in zip(places, page, strict=True)
            if place in shown
        ]


def rank(candidates: Sequence[Candidate], meanings: Mapping[str, float], total: int) -> list[_Weighed]:
    """The best first: BM25, mixed with the cosine when there is one; of equals the newest."""
    words = bm25(candidates, total)
    if not meanings:
        weighed = [_Weighed(one, score, 0.0, score) for one, score in zip(candidates, words, strict=True)]
    else:
        # Whatever the index did not name is at most as near as the farthest that it named.
        floor = min(meanings.values())
        cosines = [meanings.get(one.message_id, floor) for one in candidates]
        mixed = [
            _MEANING_SHARE * dense + (1 - _MEANING_SHARE) * lexical
            for dense, lexical in zip(_standardised(cosines), _standardised(words), strict=True)
        ]
        weighed = [
            _Weighed(one, word, meanings.get(one.message_id, 0.0), score)
            for one, word, score in zip(candidates, words, mixed, strict=True)
        ]
    return sorted(
        weighed,
        key=lambda one: (
            -one.score,
            -one.candidate.created_at.timestamp(),
            one.candidate.thread_id,
            -one.candidate.position,
        ),
    )


def bm25(candidates: Sequence[Candidate], total: int) -> list[float]:
    """The weight of each candidate by its words, among about `total` messages."""
    if not candidates:
        return []
    total = max(total, len(candidates))
    mean_length = max(1.0, sum(one.length for one in candidates) / len(candidates))
    weights = [
        math.log(1 + (total - holding + 0.5) / (holding + 0.5))
        for holding in (sum(1 for one in candidates if one.counts[n]) for n in range(len(candidates[0].counts)))
    ]
    found = []
    for one in candidates:
        slack = _K1 * (1 - _B + _B * one.length / mean_length)
        found.append(
            sum(
                weight * count * (_K1 + 1) / (count + slack)
                for weight, count in zip(weights, one.counts, strict=True)
                if count
            )
        )
    return found


def _standardised(values: Sequence[float]) -> list[float]:
    mean = sum(values) / len(values) if values else 0.0
    spread = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values)) if values else 0.0
    return [(value - mean) / spread if spread else 0.0 for value in values]


def _has_unweighed(candidates: Sequence[Candidate], words: int) -> bool:
    return any(sum(1 for one in candidates if one.counts[n]) >= MOST_WEIGHED for n in range(words))


def _chosen_words(query: str) -> list[str]:
    words = list(dict.fromkeys(terms_of(query)))
    kept = set(sorted(words, key=len, reverse=True)[:MAX_QUERY_TERMS])
    return [word for word in words if word in kept]


def _check(asked: Asked) -> None:
    if not asked.query.strip():
        raise errors.invalid("query", "is empty: say what to look for")
    if len(asked.query) > MAX_QUERY_CHARS:
        raise errors.invalid("query", f"has {len(asked.query)} characters, at most {MAX_QUERY_CHARS} are looked for")
    if asked.page_size < 0:
        raise errors.invalid("page_size", f"must not be negative, not {asked.page_size}")
    chosen = asked.filter
    for name, values in (("role", chosen.roles), ("model", chosen.models), ("tag", chosen.tags)):
        if len(values) > MAX_FILTER_VALUES:
            raise errors.invalid(name, f"names {len(values)}, at most {MAX_FILTER_VALUES} are looked for")
    if chosen.since and chosen.before and chosen.since >= chosen.before:
        raise errors.invalid("end_at", "must be later than start_at")


def _question(asked: Asked) -> str:
    """Tells questions apart, so that a page's token is not taken for another question's."""
    said = repr((asked.query, asked.filter, asked.mode, asked.every_word))
    return hashlib.blake2b(said.encode("utf-8", "replace"), digest_size=6).hexdigest()


def _token(asked: Asked, offset: int) -> str:
    return base64.urlsafe_b64encode(f"{offset} {_question(asked)}".encode()).decode()


def _offset_of(asked: Asked) -> int:
    if not asked.page_token:
        return 0
    try:
        offset, question = base64.urlsafe_b64decode(asked.page_token.encode()).decode().split(" ")
        if question == _question(asked) and 0 <= int(offset) <= 100_000:
            return int(offset)
    except ValueError:
        pass
    raise errors.invalid("page_token", "is not one that this search gave; leave it out to begin anew")
