"""Where threads and messages are kept: what memory needs of a store, and PostgreSQL as one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mesh.postgres import Database
from services.memory.window import MESSAGE_OVERHEAD_TOKENS, Message


@dataclass(frozen=True, slots=True)
class Thread:
    """A conversation."""

    thread_id: str
    title: str
    message_count: int
    created_at: dt.datetime
    updated_at: dt.datetime
    user_id: str = ""
    """Whose it is; empty = the organisation's."""
    tags: tuple[str, ...] = ()
    model: str = ""
    parameters: str = ""
    """A JSON object, or empty."""
    active_branch: str = "main"
    forked: bool = False
    """False: the tree is one line in the order of positions."""
    version: int = 1
    deleted_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """A message to save; (role, ordinal) makes it unique within its request."""

    message_id: str
    role: str
    text: str
    openai_json: str
    tokens_estimated: int
    model: str
    ordinal: int


@dataclass(frozen=True, slots=True)
class Saved:
    """What saving gave: the ids in the order of the drafts, and where this request's messages begin."""

    message_ids: list[str]
    first_position: int


class ThreadStore(Protocol):
    """Threads and messages of one organisation at a time."""

    async def create(self, org_id: str, thread_id: str, title: str, now: dt.datetime) -> Thread:
        """The thread of this id, made when there is none."""

    async def get(self, org_id: str, thread_id: str) -> Thread | None:
        """One thread."""

    async def list_threads(self, org_id: str, limit: int, after: tuple[dt.datetime, str] | None) -> list[Thread]:
        """Newest first, behind `after`."""

    async def delete(self, org_id: str, thread_id: str) -> bool:
        """Deletes a thread with its messages; False when there was none."""

    async def list_messages(self, org_id: str, thread_id: str, limit: int, after: int) -> list[Message] | None:
        """Oldest first, behind position `after`; None when there is no such thread."""

    async def append(
        self, org_id: str, thread_id: str, request_id: str, drafts: Sequence[Draft], now: dt.datetime
    ) -> list[str] | None:
        """Saves the messages once per request; None when there is no such thread."""

    async def open_turn(
        self,
        org_id: str,
        thread_id: str,
        request_id: str,
        drafts: Sequence[Draft],
        now: dt.datetime,
        *,
        limit: int,
        max_tokens: int,
    ) -> list[Message]:
        """Saves the turn, making the thread when needed, and reads the newest messages before it, oldest first."""

    async def read_window(
        self, org_id: str, thread_id: str, request_id: str, *, limit: int, max_tokens: int
    ) -> list[Message]:
        """The newest messages before the request, oldest first; writes nothing, none without such a thread."""


_INSERT_THREAD = (
    "INSERT INTO threads (org_id, thread_id, title, created_at, updated_at) VALUES ($1, $2, $3, $4, $4) "
    "ON CONFLICT (org_id, thread_id) DO NOTHING"
)
_GET_THREAD = """SELECT thread_id, title, message_count, created_at, updated_at FROM threads
    WHERE org_id = $1 AND thread_id = $2"""
_LIST_THREADS = """SELECT thread_id, title, message_count, created_at, updated_at FROM threads
    WHERE org_id = $1 AND ($2::timestamptz IS NULL OR (created_at, thread_id) < ($2, $3))
    ORDER BY created_at DESC, thread_id DESC LIMIT $4"""
_LIST_MESSAGES = """SELECT message_id, thread_id, role, text, openai_json, tokens_estimated, request_id, model,
    position, created_at FROM messages
    WHERE org_id = $1 AND thread_id = $2 AND position > $3 ORDER BY position LIMIT $4"""
_LOCK_THREAD = "SELECT next_position FROM threads WHERE org_id = $1 AND thread_id = $2 FOR UPDATE"
_END_OF_WINDOW = """SELECT least(next_position, (
        SELECT min(position) FROM messages
        WHERE org_id = $1 AND thread_id = $2 AND request_id = $3 AND request_id <> ''))
    FROM threads WHERE org_id = $1 AND thread_id = $2"""
_SAVED_BEFORE = (
    "SELECT role, ordinal, message_id, position FROM messages "
    "WHERE org_id = $1 AND thread_id = $2 AND request_id = $3 AND request_id <> ''"
)
_INSERT_MESSAGES = """INSERT INTO messages (org_id, thread_id, request_id, created_at,
    position, message_id, role, text, openai_json, tokens_estimated, ordinal, model)
    SELECT $1, $2, $3, $4, * FROM unnest($5::bigint[], $6::uuid[], $7::text[], $8::text[], $9::text[], $10::bigint[],
    $11::integer[], $12::text[])"""
_GROW_THREAD = (
    "UPDATE threads SET next_position = next_position + $3, message_count = message_count + $3, updated_at = $4 "
    "WHERE org_id = $1 AND thread_id = $2"
)
_WINDOW = """SELECT message_id, thread_id, role, text, openai_json, tokens_estimated, request_id, model,
    position, created_at FROM (
        SELECT *, sum(tokens_estimated + $6::bigint) OVER (ORDER BY position DESC) AS running
        FROM (SELECT * FROM messages WHERE org_id = $1 AND thread_id = $2 AND position < $3
              ORDER BY position DESC LIMIT $4) AS newest) AS summed
    WHERE $5::bigint = 0 OR running <= $5 ORDER BY position"""


class PostgresThreadStore:
    """ThreadStore in the schema `memory`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, org_id: str, thread_id: str, title: str, now: dt.datetime) -> Thread:
        """See ThreadStore."""
        async with self._database.transaction(org_id) as connection:
            await connection.execute(_INSERT_THREAD, org_id, thread_id, title, now)
            return _thread(await connection.fetchrow(_GET_THREAD, org_id, thread_id))

    async def get(self, org_id: str, thread_id: str) -> Thread | None:
        """See ThreadStore."""
        async with self._database.transaction(org_id) as connection:
            row = await connection.fetchrow(_GET_THREAD, org_id, thread_id)
        return None if row is None else _thread(row)

    async def list_threads(self, org_id: str, limit: int, after: tuple[dt.datetime, str] | None) -> list[Thread]:
        """See ThreadStore."""
        created_at, thread_id = after or (None, "")
        async with self._database.transaction(org_id) as connection:
            rows = await connection.fetch(_LIST_THREADS, org_id, created_at, thread_id, limit)
        return [_thread(row) for row in rows]

    async def delete(self, org_id: str, thread_id: str) -> bool:
        """See ThreadStore."""
        async with self._database.transaction(org_id) as connection:
            done = await connection.execute(
                "DELETE FROM threads WHERE org_id = $1 AND thread_id = $2", org_id, thread_id
            )
        return str(done) != "DELETE 0"

    async def list_messages(self, org_id: str, thread_id: str, limit: int, after: int) -> list[Message] | None:
        """See ThreadStore."""
        async with self._database.transaction(org_id) as connection:
            if await connection.fetchrow(_GET_THREAD, org_id, thread_id) is None:
                return None
            rows = await connection.fetch(_LIST_MESSAGES, org_id, thread_id, after, limit)
        return [_message(row) for row in rows]

    async def append(
        self, org_id: str, thread_id: str, request_id: str, drafts: Sequence[Draft], now: dt.datetime
    ) -> list[str] | None:
        """See ThreadStore."""
        async with self._database.transaction(org_id) as connection:
            saved = await _save(connection, org_id, thread_id, request_id, drafts, now)
        return None if saved is None else saved.message_ids

    async def open_turn(
        self,
        org_id: str,
        thread_id: str,
        request_id: str,
        drafts: Sequence[Draft],
        now: dt.datetime,
        *,
        limit: int,
        max_tokens: int,
    ) -> list[Message]:
        """See ThreadStore."""
        async with self._database.transaction(org_id) as connection:
            saved = await _save(connection, org_id, thread_id, request_id, drafts, now)
            if saved is None:
                await connection.execute(_INSERT_THREAD, org_id, thread_id, "", now)
                saved = await _save(connection, org_id, thread_id, request_id, drafts, now)
            assert saved is not None
            return await _window(connection, org_id, thread_id, saved.first_position, limit, max_tokens)

    async def read_window(
        self, org_id: str, thread_id: str, request_id: str, *, limit: int, max_tokens: int
    ) -> list[Message]:
        """See ThreadStore."""
        async with self._database.transaction(org_id) as connection:
            end = await connection.fetchval(_END_OF_WINDOW, org_id, thread_id, request_id)
            return [] if end is None else await _window(connection, org_id, thread_id, end, limit, max_tokens)


async def _window(connection: Any, org_id: str, thread_id: str, end: int, limit: int, max_tokens: int) -> list[Message]:
    """The newest messages before a position, oldest first."""
    rows = await connection.fetch(_WINDOW, org_id, thread_id, end, limit, max_tokens, MESSAGE_OVERHEAD_TOKENS)
    return [_message(row) for row in rows]


async def _save(
    connection: Any, org_id: str, thread_id: str, request_id: str, drafts: Sequence[Draft], now: dt.datetime
) -> Saved | None:
    """Saves what this request has not saved yet, under the thread's lock; None without such a thread."""
    position = await connection.fetchval(_LOCK_THREAD, org_id, thread_id)
    if position is None:
        return None
    before = {
        (row["role"], row["ordinal"]): (str(row["message_id"]), row["position"])
        for row in await connection.fetch(_SAVED_BEFORE, org_id, thread_id, request_id)
    }
    new = [draft for draft in drafts if (draft.role, draft.ordinal) not in before]
    if new:
        await connection.execute(
            _INSERT_MESSAGES,
            org_id,
            thread_id,
            request_id,
            now,
            list(range(position, position + len(new))),
            [draft.message_id for draft in new],
            [draft.role for draft in new],
            [draft.text for draft in new],
            [draft.openai_json for draft in new],
            [draft.tokens_estimated for draft in new],
            [draft.ordinal for draft in new],
            [draft.model for draft in new],
        )
        await connection.execute(_GROW_THREAD, org_id, thread_id, len(new), now)
    ids = [before.get((draft.role, draft.ordinal), (draft.message_id, 0))[0] for draft in drafts]
    return Saved(ids, min([position, *(place for _, place in before.values())]))


def _thread(row: Any) -> Thread:
    return Thread(**dict(row))


def _message(row: Any) -> Message:
    values = dict(row)
    values["message_id"] = str(values["message_id"])
    values["created_at_s"] = values.pop("created_at").timestamp()
    return Message(**values)
