"""Search in the messages of PostgreSQL, and numbering the words of rows that a program before left without."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from mesh.postgres import Database
from services.memory.conversations.message_search import Candidate, MessageFilter
from services.memory.conversations.snippets import Snippet, snippets_of
from services.memory.conversations.thread_rows import (
    MESSAGE_COLUMNS,
    THREAD_COLUMNS,
    message_numbers,
    message_of,
    tag_number,
    thread_of,
)
from services.memory.conversations.thread_work import ThreadDatabase
from services.memory.conversations.window import Message
from services.memory.sealing.sealing import Sealer
from services.memory.viewers import Viewer

_FIND = """SELECT thread_id, position, message_id, created_at, length, counts
    FROM find_messages($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"""
_TOTAL = """SELECT coalesce(sum(message_count), 0)::bigint FROM (SELECT message_count FROM threads
    WHERE org_id = $1 AND (user_id = $2 OR $3) AND ($4 = '' OR thread_id = $4) AND ($5::text IS NULL OR user_id = $5)
    LIMIT 10000) AS counted"""
_OF_IDS = """SELECT m.thread_id, m.position, m.message_id, m.created_at, coalesce(cardinality(m.terms), 0) AS length,
    ARRAY(SELECT coalesce(cardinality(array_positions(m.terms, word)), 0)
          FROM unnest($2::bigint[]) WITH ORDINALITY AS asked (word, place) ORDER BY place) AS counts
    FROM unnest($3::uuid[]) AS wanted (message_id) JOIN messages m ON m.message_id = wanted.message_id
    JOIN threads t ON t.org_id = m.org_id AND t.thread_id = m.thread_id
    WHERE m.org_id = $1 AND m.deleted_at IS NULL AND t.deleted_at IS NULL AND (t.user_id = $4 OR $5)
        AND ($6::text IS NULL OR t.user_id = $6) AND ($7 = '' OR m.thread_id = $7)
        AND (cardinality($8::text[]) = 0 OR m.role = ANY ($8)) AND (cardinality($9::text[]) = 0 OR m.model = ANY ($9))
        AND (cardinality($10::bigint[]) = 0 OR t.tag_terms @> $10)
        AND ($11::timestamptz IS NULL OR m.created_at >= $11) AND ($12::timestamptz IS NULL OR m.created_at < $12)"""
_MESSAGES = """SELECT {columns} FROM messages WHERE org_id = $1 AND deleted_at IS NULL
    AND (thread_id, position) IN (SELECT * FROM unnest($2::text[], $3::bigint[]))""".replace(
    "{columns}", MESSAGE_COLUMNS
)
_THREADS = """SELECT {columns} FROM threads WHERE org_id = $1 AND thread_id = ANY ($2::text[]) AND deleted_at IS NULL
    AND (user_id = $3 OR $4)""".replace("{columns}", THREAD_COLUMNS)
_UNNUMBERED = "SELECT organisations_with_unnumbered_messages($1)"
_TAKE = """SELECT {columns} FROM messages WHERE org_id = $1 AND terms IS NULL
    ORDER BY org_id, thread_id, position LIMIT $2 FOR UPDATE SKIP LOCKED""".replace("{columns}", MESSAGE_COLUMNS)
_NUMBER = """UPDATE messages SET terms = one.terms::bigint[]
    FROM unnest($2::text[], $3::bigint[], $4::text[]) AS one (thread_id, position, terms)
    WHERE messages.org_id = $1 AND messages.thread_id = one.thread_id AND messages.position = one.position"""
_LONG_CHARS = 50_000
"""Looking through more text than this is done beside the loop."""


class PostgresSearchStore:
    """SearchStore in the schema `memory`."""

    def __init__(self, threads: ThreadDatabase) -> None:
        self._threads = threads

    async def with_words(
        self, viewer: Viewer, words: Sequence[str], chosen: MessageFilter, *, every_word: bool, most: int
    ) -> tuple[list[Candidate], int]:
        """See SearchStore."""
        async with self._threads.begin(viewer) as work:
            rows = await work.connection.fetch(
                _FIND,
                viewer.org_id,
                [work.key.term_id(word) for word in words],
                every_word,
                most,
                chosen.thread_id,
                viewer.user_id,
                viewer.sees_all,
                chosen.user_id or None,
                list(chosen.roles),
                list(chosen.models),
                [tag_number(work.key, tag) for tag in chosen.tags],
                chosen.since,
                chosen.before,
            )
            total = await work.connection.fetchval(
                _TOTAL, viewer.org_id, viewer.user_id, viewer.sees_all, chosen.thread_id, chosen.user_id or None
            )
        return [_candidate(row) for row in rows], total

    async def of_ids(
        self, viewer: Viewer, message_ids: Sequence[str], words: Sequence[str], chosen: MessageFilter
    ) -> list[Candidate]:
        """See SearchStore."""
        async with self._threads.begin(viewer) as work:
            rows = await work.connection.fetch(
                _OF_IDS,
                viewer.org_id,
                [work.key.term_id(word) for word in words],
                list(message_ids),
                viewer.user_id,
                viewer.sees_all,
                chosen.user_id or None,
                chosen.thread_id,
                list(chosen.roles),
                list(chosen.models),
                [tag_number(work.key, tag) for tag in chosen.tags],
                chosen.since,
                chosen.before,
            )
        return [_candidate(row) for row in rows]

    async def show(
        self, viewer: Viewer, places: Sequence[tuple[str, int]], wanted: frozenset[str]
    ) -> Mapping[tuple[str, int], tuple[Message, str, tuple[Snippet, ...]]]:
        """See SearchStore."""
        async with self._threads.begin(viewer) as work:
            rows = await work.connection.fetch(
                _MESSAGES, viewer.org_id, [place[0] for place in places], [place[1] for place in places]
            )
            threads = await work.connection.fetch(
                _THREADS, viewer.org_id, sorted({place[0] for place in places}), viewer.user_id, viewer.sees_all
            )
            titles = {row["thread_id"]: thread_of(work.key, row).title for row in threads}
            messages = [message_of(work.key, row) for row in rows if row["thread_id"] in titles]
        texts = [message.text for message in messages]
        if sum(map(len, texts)) > _LONG_CHARS:
            snippets = await asyncio.to_thread(_all_snippets, texts, wanted)
        else:
            snippets = _all_snippets(texts, wanted)
        return {
            (message.thread_id, message.position): (message, titles[message.thread_id], found)
            for message, found in zip(messages, snippets, strict=True)
        }


def _all_snippets(texts: Sequence[str], wanted: frozenset[str]) -> list[tuple[Snippet, ...]]:
    return [tuple(snippets_of(text, wanted)) for text in texts]


def _candidate(row: Any) -> Candidate:
    return Candidate(
        row["thread_id"],
        row["position"],
        str(row["message_id"]),
        row["created_at"].astimezone(dt.UTC),
        row["length"],
        tuple(row["counts"]),
    )


class PostgresUnnumbered:
    """Messages whose words have no numbers yet."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database, self._sealer = database, sealer

    async def organisations(self, most: int) -> list[str]:
        """Organisations that have such messages."""
        async with self._database.transaction() as connection:
            return [str(row[0]) for row in await connection.fetch(_UNNUMBERED, most)]

    async def number(self, org_id: str, most: int) -> int:
        """Numbers the words of up to `most` messages that nobody else is at; how many there were."""
        key = await self._sealer.key_of(org_id)
        async with self._database.transaction(org_id) as connection:
            rows = await connection.fetch(_TAKE, org_id, most)
            if not rows:
                return 0
            texts = [message_of(key, row).text for row in rows]
            numbers = await asyncio.to_thread(lambda: [message_numbers(key, text) for text in texts])
            await connection.execute(
                _NUMBER,
                org_id,
                [row["thread_id"] for row in rows],
                [row["position"] for row in rows],
                ["{" + ",".join(map(str, one)) + "}" for one in numbers],
            )
        return len(rows)
