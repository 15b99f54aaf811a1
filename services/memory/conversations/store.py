"""Threads themselves in the schema `memory`: made, found, listed, changed, deleted, restored, erased."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

from services.memory import errors
from services.memory.conversations.thread_rows import (
    MESSAGE_COLUMNS,
    THREAD_COLUMNS,
    message_of,
    numbers_of,
    tag_number,
    thread_of,
    thread_values,
)
from services.memory.conversations.thread_work import ThreadDatabase, ThreadWork
from services.memory.conversations.threads import Limits, Thread, ThreadChange, ThreadFilter
from services.memory.viewers import Viewer

_INSERT = """INSERT INTO threads (org_id, thread_id, user_id, created_at, updated_at, title, tags, tag_terms,
    title_terms, parameters, sealed, model, agent_id) VALUES ($1, $2, $3, $4, $4, $5, $6, $7, $8, $9, $10, $11, $12)
    ON CONFLICT (org_id, thread_id) DO NOTHING"""
_UPDATE = """UPDATE threads SET updated_at = $3, title = $4, tags = $5, tag_terms = $6, title_terms = $7,
    parameters = $8, sealed = $9, model = $10, version = $11 WHERE org_id = $1 AND thread_id = $2"""
_MARK = """UPDATE threads SET deleted_at = $3, version = version + 1, updated_at = $4
    WHERE org_id = $1 AND thread_id = $2"""
_LIST = """SELECT {columns} FROM threads WHERE org_id = $1 AND (user_id = $2 OR $3) AND (deleted_at IS NOT NULL) = $4
    AND ($5 = '' OR user_id = $5) AND ($6 = '' OR model = $6)
    AND ($7::bigint[] IS NULL OR tag_terms @> $7)
    AND ($8::bigint[] IS NULL OR title_terms @> $8 OR (title_terms IS NULL AND title ILIKE ALL ($9::text[])))
    AND ($10::timestamptz IS NULL OR (created_at, thread_id) < ($10, $11))
    ORDER BY created_at DESC, thread_id DESC LIMIT $12""".replace("{columns}", THREAD_COLUMNS)
_COUNT = "SELECT count(*) FROM threads WHERE org_id = $1 AND user_id = $2 AND deleted_at IS NULL"
_ONE_BY_ONE = "SELECT pg_advisory_xact_lock(hashtextextended($1, 7))"
_ALL_MESSAGES = """SELECT {columns}
    FROM messages WHERE org_id = $1 AND thread_id = $2 AND deleted_at IS NULL ORDER BY position""".replace(
    "{columns}", MESSAGE_COLUMNS
)
_ERASE = "DELETE FROM threads WHERE org_id = $1 AND thread_id = $2"


async def make_thread(work: ThreadWork, thread: Thread, limits: Limits) -> Thread:
    """The thread of this id, made when there is none, and locked. Raises NOT_FOUND when it is not the caller's."""
    viewer = work.viewer
    if viewer.user_id and limits.threads_of_user:
        await work.connection.execute(_ONE_BY_ONE, f"{viewer.org_id}/{viewer.user_id}")
        count = await work.connection.fetchval(_COUNT, viewer.org_id, viewer.user_id)
        if count >= limits.threads_of_user:
            raise errors.too_many_threads(count, limits.threads_of_user)
    title, tags, tag_terms, title_terms, parameters, sealed = thread_values(
        work.key, thread.thread_id, thread.title, thread.tags, thread.parameters
    )
    await work.connection.execute(
        _INSERT,
        viewer.org_id,
        thread.thread_id,
        viewer.user_id,
        thread.created_at,
        title,
        tags,
        tag_terms,
        title_terms,
        parameters,
        sealed,
        thread.model,
        thread.agent_id,
    )
    made = await work.find(thread.thread_id, lock=True)
    if made is None:
        raise errors.thread_id_taken(thread.thread_id)
    if made.deleted_at is not None:
        raise errors.thread_deleted(thread.thread_id)
    return made


class PostgresThreadStore:
    """Threads, inside what the viewer may see."""

    def __init__(self, threads: ThreadDatabase) -> None:
        self._threads = threads

    async def create(self, viewer: Viewer, thread: Thread, limits: Limits) -> Thread:
        """The thread of this id, made when there is none."""
        async with self._threads.begin(viewer) as work:
            found = await work.find(thread.thread_id)
            if found is not None and found.deleted_at is None:
                return found
            return await make_thread(work, thread, limits)

    async def get(self, viewer: Viewer, thread_id: str) -> Thread:
        """One thread. Raises NOT_FOUND."""
        async with self._threads.begin(viewer) as work:
            return await work.get(thread_id)

    async def list_threads(
        self, viewer: Viewer, wanted: ThreadFilter, limit: int, after: tuple[dt.datetime, str] | None
    ) -> list[Thread]:
        """Newest first, behind `after`."""
        created_at, thread_id = after or (None, "")
        async with self._threads.begin(viewer) as work:
            words = wanted.search.split()
            rows = await work.connection.fetch(
                _LIST,
                viewer.org_id,
                viewer.user_id,
                viewer.sees_all,
                wanted.deleted,
                wanted.user_id,
                wanted.model,
                [tag_number(work.key, tag) for tag in wanted.tags] or None,
                numbers_of(work.key, wanted.search) or None,
                [f"%{_escaped(word)}%" for word in words],
                created_at,
                thread_id,
                limit,
            )
            return [thread_of(work.key, row) for row in rows]

    async def update(self, viewer: Viewer, thread_id: str, change: ThreadChange, now: dt.datetime) -> Thread:
        """Changes what is named. Raises NOT_FOUND, and FAILED_PRECONDITION for another version."""
        async with self._threads.begin(viewer) as work:
            thread = await work.get(thread_id, lock=True)
            if change.version and change.version != thread.version:
                raise errors.version_changed(thread_id, change.version, thread.version)
            named: dict[str, Any] = {
                name: value
                for name in ("title", "tags", "model", "parameters")
                if (value := getattr(change, name)) is not None
            }
            changed = dataclasses.replace(thread, **named, updated_at=now, version=thread.version + 1)
            title, tags, tag_terms, title_terms, parameters, sealed = thread_values(
                work.key, thread_id, changed.title, changed.tags, changed.parameters
            )
            await work.connection.execute(
                _UPDATE,
                viewer.org_id,
                thread_id,
                now,
                title,
                tags,
                tag_terms,
                title_terms,
                parameters,
                sealed,
                changed.model,
                changed.version,
            )
            return changed

    async def delete(self, viewer: Viewer, thread_id: str, now: dt.datetime, *, erase: bool) -> None:
        """Marks a thread deleted, or leaves nothing of it. Raises NOT_FOUND."""
        async with self._threads.begin(viewer) as work:
            thread = await work.find(thread_id, lock=True)
            if thread is None:
                raise errors.thread_not_found(thread_id)
            if thread.deleted_at is not None and not erase:
                raise errors.thread_deleted(thread_id)
            await work.tell_erased(thread_id, None)
            if erase:
                await work.connection.execute(_ERASE, viewer.org_id, thread_id)
            else:
                await work.connection.execute(_MARK, viewer.org_id, thread_id, now, now)

    async def restore(self, viewer: Viewer, thread_id: str, now: dt.datetime, limits: Limits) -> Thread:
        """Takes a deletion back; a thread that is not deleted stays as it is. Raises NOT_FOUND."""
        async with self._threads.begin(viewer) as work:
            thread = await work.find(thread_id, lock=True)
            if thread is None:
                raise errors.thread_not_found(thread_id)
            if thread.deleted_at is None:
                return thread
            if thread.user_id and limits.threads_of_user:
                await work.connection.execute(_ONE_BY_ONE, f"{viewer.org_id}/{thread.user_id}")
                count = await work.connection.fetchval(_COUNT, viewer.org_id, thread.user_id)
                if count >= limits.threads_of_user:
                    raise errors.too_many_threads(count, limits.threads_of_user)
            await work.connection.execute(_MARK, viewer.org_id, thread_id, None, now)
            restored = dataclasses.replace(thread, deleted_at=None, updated_at=now, version=thread.version + 1)
            rows = await work.connection.fetch(_ALL_MESSAGES, viewer.org_id, thread_id)
            await work.tell_saved(restored, [message_of(work.key, row) for row in rows])
            return restored


def _escaped(word: str) -> str:
    """A word as ILIKE takes it literally."""
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
