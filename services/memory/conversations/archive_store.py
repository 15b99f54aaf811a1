"""Whole threads in PostgreSQL: read in pages at one moment, made from a file, counted."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mesh.fair_share import in_turn
from services.memory import errors
from services.memory.conversations.file import ConversationFile, is_within
from services.memory.conversations.store import make_thread
from services.memory.conversations.thread_rows import (
    INSERTED_AT_ONCE,
    MESSAGE_COLUMNS,
    THREAD_COLUMNS,
    about_branch,
    insert_messages,
    message_of,
    thread_of,
)
from services.memory.conversations.thread_work import ThreadDatabase, ThreadWork
from services.memory.conversations.threads import MAIN, Branch, Limits, Thread
from services.memory.conversations.tree import Tree
from services.memory.conversations.window import Message
from services.memory.sealing.sealing import OrgKey
from services.memory.viewers import Viewer

_PAGE = """SELECT {columns} FROM messages WHERE org_id = $1 AND thread_id = $2 AND position > $3 AND position < $4
    ORDER BY position LIMIT $5""".replace("{columns}", MESSAGE_COLUMNS)
_AT = """SELECT {columns} FROM messages WHERE org_id = $1 AND thread_id = $2 AND position = ANY ($3::bigint[])
    ORDER BY position""".replace("{columns}", MESSAGE_COLUMNS)
_SHAPE = """UPDATE threads SET next_position = $3, message_count = $4, forked = $5, active_branch = $6, updated_at = $7
    WHERE org_id = $1 AND thread_id = $2"""
_MAIN = """UPDATE branches SET name = $3, sealed = $4, head_message_id = $5, forked_from = $6, created_at = $7,
    updated_at = $8 WHERE org_id = $1 AND thread_id = $2 AND branch_id = 'main'"""
_BRANCH = """INSERT INTO branches (org_id, thread_id, branch_id, name, sealed, head_message_id, forked_from, created_at,
    updated_at) VALUES ($1, $2, $9, $3, $4, $5, $6, $7, $8)"""
_DELETED = """UPDATE messages SET deleted_at = one.deleted_at, terms = '{}'
    FROM unnest($3::bigint[], $4::timestamptz[]) AS one (position, deleted_at)
    WHERE org_id = $1 AND thread_id = $2 AND messages.position = one.position"""
_THREADS = """SELECT count(*) FILTER (WHERE deleted_at IS NULL) AS threads,
    count(*) FILTER (WHERE deleted_at IS NOT NULL) AS deleted FROM threads WHERE org_id = $1 AND ($3 OR user_id = $2)"""
_MESSAGES = """SELECT role, count(*) AS messages, count(*) FILTER (WHERE status = 'PARTIAL') AS partial,
    coalesce(sum(tokens_estimated), 0)::bigint AS tokens, min(created_at) AS first_at, max(created_at) AS last_at
    FROM messages WHERE org_id = $1 AND deleted_at IS NULL AND thread_id IN (
        SELECT thread_id FROM threads WHERE org_id = $1 AND ($3 OR user_id = $2) AND deleted_at IS NULL)
    GROUP BY role ORDER BY role"""
_MODELS = """SELECT model, count(*) AS answers FROM messages WHERE org_id = $1 AND deleted_at IS NULL
    AND role = 'assistant' AND model <> '' AND thread_id IN (
        SELECT thread_id FROM threads WHERE org_id = $1 AND ($3 OR user_id = $2) AND deleted_at IS NULL)
    GROUP BY model ORDER BY answers DESC, model LIMIT $4"""
_BRANCHES = """SELECT count(*) FROM branches WHERE org_id = $1 AND thread_id IN (
        SELECT thread_id FROM threads WHERE org_id = $1 AND ($3 OR user_id = $2) AND deleted_at IS NULL)"""
_TAGGED = """SELECT {columns} FROM threads WHERE org_id = $1 AND ($3 OR user_id = $2) AND deleted_at IS NULL
    AND cardinality(tag_terms) > 0 ORDER BY created_at DESC LIMIT 10000""".replace("{columns}", THREAD_COLUMNS)
_MOST_NAMED = 50


@dataclass(frozen=True, slots=True)
class Whole:
    """A thread at one moment: what is behind `thread.next_position` came later."""

    thread: Thread
    branches: list[Branch]
    tree: Tree


@dataclass(frozen=True, slots=True)
class ArchiveStats:
    """Counts over threads; deleted messages and the messages of deleted threads do not count."""

    threads: int
    deleted_threads: int
    branches: int
    messages: int = 0
    partial_messages: int = 0
    tokens_estimated: int = 0
    roles: tuple[tuple[str, int], ...] = ()
    models: tuple[tuple[str, int], ...] = ()
    tags: tuple[tuple[str, int], ...] = ()
    first_at: dt.datetime | None = None
    last_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import made, or found made."""

    thread: Thread
    created: bool


class PostgresArchiveStore:
    """Whole threads, inside what the viewer may see."""

    def __init__(self, threads: ThreadDatabase) -> None:
        self._threads = threads

    async def find(self, viewer: Viewer, thread_id: str) -> Thread:
        """One thread. Raises NOT_FOUND."""
        async with self._threads.begin(viewer) as work:
            return await work.get(thread_id)

    async def whole(self, viewer: Viewer, thread_id: str) -> Whole:
        """A thread, its branches and the shape of its tree. Raises NOT_FOUND."""
        async with self._threads.begin(viewer) as work:
            # Under a lock that writers wait for: heads, messages and the next position are of one moment.
            thread = await work.get(thread_id, lock=True)
            return Whole(thread, await work.branches(thread), await work.tree(thread))

    async def page(self, viewer: Viewer, thread_id: str, after: int, before: int, limit: int) -> list[Message]:
        """Messages between two positions, deleted ones too, oldest first. Raises NOT_FOUND."""
        async with self._threads.begin(viewer) as work:
            await work.get(thread_id)
            rows = await work.connection.fetch(_PAGE, viewer.org_id, thread_id, after, before, limit)
            return [message_of(work.key, row) for row in rows]

    async def at(self, viewer: Viewer, thread_id: str, positions: Sequence[int]) -> list[Message]:
        """The messages at these positions, oldest first. Raises NOT_FOUND."""
        async with self._threads.begin(viewer) as work:
            await work.get(thread_id)
            rows = await work.connection.fetch(_AT, viewer.org_id, thread_id, list(positions))
            return [message_of(work.key, row) for row in rows]

    async def bring(
        self, viewer: Viewer, file: ConversationFile, original: ConversationFile, limits: Limits
    ) -> Imported:
        """Makes the thread of a file, all or nothing; one that holds all of it already stays as it is.

        Raises ALREADY_EXISTS for a thread of this id with other messages, and what making a thread raises.
        """
        async with self._threads.begin(viewer) as work:
            thread_id = file.thread.thread_id
            found = await work.find(thread_id)
            if found is None:
                if limits.branches and len(file.branches) > limits.branches:
                    raise errors.too_many_branches(thread_id, len(file.branches), limits.branches)
                if limits.messages and len(file.messages) > limits.messages:
                    raise errors.too_many_messages(thread_id, len(file.messages), limits.messages)
                found = await make_thread(work, file.thread, limits)
                if found.next_position == 0 and found.version == 1:
                    return Imported(await _fill(work, found, file), created=True)
            if found.deleted_at is not None:
                raise errors.thread_deleted(thread_id)
            rows = await work.connection.fetch(_PAGE, viewer.org_id, thread_id, -1, found.next_position, None)
            if not await in_turn(_is_within, original, thread_id, work.key, rows):
                raise errors.thread_differs(thread_id)
            return Imported(found, created=False)

    async def stats(self, viewer: Viewer, user_id: str, *, everyone: bool) -> ArchiveStats:
        """Counts over the threads of a user, or of the whole organisation."""
        whose = (viewer.org_id, user_id, everyone)
        async with self._threads.begin(viewer) as work:
            connection = work.connection
            threads = await connection.fetchrow(_THREADS, *whose)
            branches = await connection.fetchval(_BRANCHES, *whose)
            rows = await connection.fetch(_MESSAGES, *whose)
            models = await connection.fetch(_MODELS, *whose, _MOST_NAMED)
            tagged = [thread_of(work.key, row).tags for row in await connection.fetch(_TAGGED, *whose)]
        tags = Counter(tag for one in tagged for tag in one)
        return ArchiveStats(
            threads["threads"],
            threads["deleted"],
            branches,
            sum(row["messages"] for row in rows),
            sum(row["partial"] for row in rows),
            sum(row["tokens"] for row in rows),
            tuple((row["role"], row["messages"]) for row in rows),
            tuple((row["model"], row["answers"]) for row in models),
            tuple(sorted(tags.items(), key=lambda one: (-one[1], one[0]))[:_MOST_NAMED]),
            min((row["first_at"] for row in rows), default=None),
            max((row["last_at"] for row in rows), default=None),
        )


def _is_within(original: ConversationFile, thread_id: str, key: OrgKey, rows: Sequence[Any]) -> bool:
    return is_within(original, thread_id, [message_of(key, row) for row in rows])


async def _fill(work: ThreadWork, made: Thread, file: ConversationFile) -> Thread:
    """Puts a file's messages and branches into a thread that was just made."""
    org_id, thread = work.viewer.org_id, file.thread
    ordinals: Counter[tuple[str, str]] = Counter()
    rows: list[tuple[Message, int]] = []
    for place, message in enumerate(file.messages):
        about = (message.request_id, message.role)
        rows.append((message, ordinals[about]))
        ordinals[about] += 1
        if place % INSERTED_AT_ONCE == 0:
            await asyncio.sleep(0)
    for start in range(0, len(rows), INSERTED_AT_ONCE):
        await insert_messages(
            work.connection, work.key, org_id, thread.thread_id, rows[start : start + INSERTED_AT_ONCE]
        )
    deleted = [message for message in file.messages if message.deleted_at_s]
    if deleted:
        moments = [dt.datetime.fromtimestamp(message.deleted_at_s, dt.UTC) for message in deleted]
        await work.connection.execute(
            _DELETED, org_id, thread.thread_id, [message.position for message in deleted], moments
        )
    for branch in file.branches:
        await _put_branch(work, thread, branch)
    filled = dataclasses.replace(
        made,
        next_position=thread.next_position,
        message_count=thread.message_count,
        forked=thread.forked,
        active_branch=thread.active_branch,
        updated_at=thread.updated_at,
    )
    await work.connection.execute(
        _SHAPE,
        org_id,
        filled.thread_id,
        filled.next_position,
        filled.message_count,
        filled.forked,
        filled.active_branch,
        filled.updated_at,
    )
    living = [message for message in file.messages if not message.deleted_at_s]
    for start in range(0, len(living), INSERTED_AT_ONCE):
        await work.tell_saved(filled, living[start : start + INSERTED_AT_ONCE])
    return filled


async def _put_branch(work: ThreadWork, thread: Thread, branch: Branch) -> None:
    """The branch as the file says; "main" is there already."""
    sealed = work.key.seal(about_branch(thread.thread_id, branch.branch_id), {"name": branch.name})
    values = (
        work.viewer.org_id,
        thread.thread_id,
        branch.name if sealed is None else "",
        sealed,
        branch.head or None,
        branch.forked_from or None,
        branch.created_at,
        branch.updated_at,
    )
    if branch.branch_id == MAIN:
        await work.connection.execute(_MAIN, *values)
    else:
        await work.connection.execute(_BRANCH, *values, branch.branch_id)
