"""Messages in the schema `memory`: turns saved at their place, windows and pages read along a branch."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence

from services.memory import errors
from services.memory.conversations.store import make_thread
from services.memory.conversations.thread_rows import MESSAGE_COLUMNS, message_of
from services.memory.conversations.thread_work import ThreadDatabase, ThreadWork
from services.memory.conversations.threads import EDITED_FROM, MAIN, ROOT, Branch, Draft, Limits, Place, Saved, Thread
from services.memory.conversations.window import MESSAGE_OVERHEAD_TOKENS, Message
from services.memory.viewers import Viewer

# A thread that never forked is read by position; along a forked one every message names the one before it. A message is
# looked up as the first one from its id on: only the index by id has that order, so that no other index is ever taken
# for it, which would read the whole thread for each message.
_LINE_WINDOW = """SELECT {columns} FROM (
        SELECT *, sum(tokens_estimated + $6::bigint) OVER (ORDER BY position DESC) AS running FROM (
            SELECT * FROM messages WHERE org_id = $1 AND thread_id = $2 AND deleted_at IS NULL AND position <= (
                SELECT position FROM (SELECT position, message_id FROM messages
                    WHERE org_id = $1 AND thread_id = $2 AND message_id >= $3 ORDER BY message_id LIMIT 1) AS head
                WHERE message_id = $3)
            ORDER BY position DESC LIMIT $4) AS newest) AS summed
    WHERE $5::bigint = 0 OR running <= $5 ORDER BY position""".replace("{columns}", MESSAGE_COLUMNS)
_TREE_WINDOW = """WITH RECURSIVE line (whole, before, living) AS (
        SELECT NULL::messages, $3::uuid, 0
        UNION ALL
        SELECT found.whole, (found.whole).parent_id, line.living + ((found.whole).deleted_at IS NULL)::int
        FROM line, LATERAL (SELECT m AS whole FROM messages m
            WHERE m.org_id = $1 AND m.thread_id = $2 AND m.message_id >= line.before
            ORDER BY m.message_id LIMIT 1) AS found
        WHERE line.living < $4 AND (found.whole).message_id = line.before)
    SELECT {columns} FROM (
        SELECT (whole).*, sum((whole).tokens_estimated + $6::bigint) OVER (ORDER BY (whole).position DESC) AS running
        FROM line WHERE (whole).message_id IS NOT NULL AND (whole).deleted_at IS NULL) AS summed
    WHERE $5::bigint = 0 OR running <= $5 ORDER BY position""".replace("{columns}", MESSAGE_COLUMNS)
_LINE_PAGE = """SELECT {columns} FROM messages WHERE org_id = $1 AND thread_id = $2 AND position > $3 AND position <= $4
    AND (deleted_at IS NULL OR $5) ORDER BY position LIMIT $6""".replace("{columns}", MESSAGE_COLUMNS)
_SKELETON = """SELECT position, message_id, parent_id, deleted_at IS NULL AS living FROM messages
    WHERE org_id = $1 AND thread_id = $2 AND position > $3 AND position <= $4"""
_AT = """SELECT {columns} FROM messages WHERE org_id = $1 AND thread_id = $2 AND position = ANY ($3::bigint[])
    ORDER BY position""".replace("{columns}", MESSAGE_COLUMNS)
_LAST = 2**63 - 1
_SIBLINGS = """SELECT message_id FROM messages WHERE org_id = $1 AND thread_id = $2 AND parent_id = $3
    AND deleted_at IS NULL ORDER BY position"""


async def read_window(work: ThreadWork, thread: Thread, head: str, *, limit: int, max_tokens: int) -> list[Message]:
    """The newest messages of the line that ends with `head`, it too, oldest first; max_tokens 0 = no limit."""
    if not head:
        return []
    statement = _TREE_WINDOW if thread.forked else _LINE_WINDOW
    rows = await work.connection.fetch(
        statement, work.viewer.org_id, thread.thread_id, head, limit, max_tokens, MESSAGE_OVERHEAD_TOKENS
    )
    return [message_of(work.key, row) for row in rows]


async def read_line(
    work: ThreadWork, thread: Thread, branch: Branch, *, after: int = -1, limit: int = _LAST, deleted: bool = False
) -> list[Message]:
    """The messages of a branch, oldest first, behind a position."""
    org_id, connection = work.viewer.org_id, work.connection
    between = (org_id, thread.thread_id, after, branch.head_position)
    if not thread.forked:
        rows = await connection.fetch(_LINE_PAGE, *between, deleted, limit)
    else:
        # Cheaper than a question for each message of the line: the bare tree, walked here.
        before = {one["message_id"]: one for one in await connection.fetch(_SKELETON, *between)}
        places, at = [], before.get(uuid.UUID(branch.head)) if branch.head else None
        while at is not None:
            if deleted or at["living"]:
                places.append(at["position"])
            at = before.get(at["parent_id"])
        rows = await connection.fetch(_AT, org_id, thread.thread_id, places[::-1][:limit])
    return [message_of(work.key, row) for row in rows]


class PostgresTurnStore:
    """Turns and messages, inside what the viewer may see."""

    def __init__(self, threads: ThreadDatabase) -> None:
        self._threads = threads

    async def append(
        self,
        viewer: Viewer,
        thread_id: str,
        request_id: str,
        drafts: Sequence[Draft],
        place: Place,
        now: dt.datetime,
        limits: Limits,
    ) -> Saved:
        """Saves the messages once per request. Raises NOT_FOUND."""
        async with self._threads.begin(viewer) as work:
            thread = await work.find(thread_id, lock=True)
            if thread is None:
                raise errors.thread_not_found(thread_id)
            return await work.save(thread, request_id, drafts, place, now, limits)

    async def open_turn(
        self,
        viewer: Viewer,
        thread: Thread,
        request_id: str,
        drafts: Sequence[Draft],
        place: Place,
        limits: Limits,
        *,
        limit: int,
        max_tokens: int,
    ) -> tuple[Saved, list[Message]]:
        """Saves the turn, making `thread` when there is none, and reads the newest messages before it, oldest first."""
        async with self._threads.begin(viewer) as work:
            found = await work.find(thread.thread_id, lock=True) or await make_thread(work, thread, limits)
            saved = await work.save(found, request_id, drafts, place, thread.created_at, limits)
            window = await read_window(work, saved.thread, saved.before, limit=limit, max_tokens=max_tokens)
            return saved, window

    async def look(
        self,
        viewer: Viewer,
        thread_id: str,
        request_id: str,
        place: Place,
        limits: Limits,
        *,
        limit: int,
        max_tokens: int,
    ) -> tuple[Saved | None, list[Message]]:
        """The newest messages before a turn, oldest first; writes nothing. None without such a thread.

        Refuses what saving the turn would refuse.
        """
        async with self._threads.begin(viewer) as work:
            thread = await work.find(thread_id)
            if thread is None:
                return None, []
            rows, active = await work.situation(thread, request_id)
            if rows:
                before = str(rows[0]["parent_id"])
                saved = Saved(thread, [], rows[-1]["branch_id"], "" if before == ROOT else before)
            else:
                saved = await _before_saving(work, thread, active, place, limits)
            return saved, await read_window(work, thread, saved.before, limit=limit, max_tokens=max_tokens)

    async def list_messages(
        self,
        viewer: Viewer,
        thread_id: str,
        branch_id: str,
        limit: int,
        after: int,
        *,
        everything: bool,
        deleted: bool,
    ) -> list[Message]:
        """Oldest first, behind position `after`. Raises NOT_FOUND."""
        async with self._threads.begin(viewer) as work:
            thread = await work.get(thread_id)
            if everything:
                rows = await work.connection.fetch(_LINE_PAGE, viewer.org_id, thread_id, after, _LAST, deleted, limit)
                return [message_of(work.key, row) for row in rows]
            branch = await work.branch(thread, branch_id)
            return await read_line(work, thread, branch, after=after, limit=limit, deleted=deleted)

    async def get_message(self, viewer: Viewer, thread_id: str, message_id: str) -> tuple[Message, list[str]]:
        """One message and the ids of all with the same parent. Raises NOT_FOUND."""
        async with self._threads.begin(viewer) as work:
            thread = await work.get(thread_id)
            message = await work.message(thread, message_id)
            parent = message.parent_id or ROOT
            rows = await work.connection.fetch(_SIBLINGS, viewer.org_id, thread_id, parent)
            return message, [str(row["message_id"]) for row in rows]

    async def edit(
        self,
        viewer: Viewer,
        thread_id: str,
        request_id: str,
        draft: Draft,
        branch_name: str,
        now: dt.datetime,
        limits: Limits,
    ) -> tuple[Message, Branch]:
        """Saves another version of `draft.replaces` with its role on a new, active branch. Raises NOT_FOUND."""
        async with self._threads.begin(viewer) as work:
            thread = await work.get(thread_id, lock=True)
            for row in await work.of_request(thread_id, request_id) if request_id else []:
                if row["ordinal"] == EDITED_FROM:
                    message = await work.message(thread, str(row["message_id"]))
                    return message, await _branch_or_main(work, thread, message.branch_id)
            old = await work.message(thread, draft.replaces)
            version = _with_role(draft, old.role)
            place = Place(parent_id=old.parent_id or ROOT, new_branch=branch_name)
            saved = await work.save(thread, request_id, [version], place, now, limits)
            message = await work.message(saved.thread, saved.message_ids[0])
            return message, await work.branch(saved.thread, saved.branch_id)


def _with_role(draft: Draft, role: str) -> Draft:
    return Draft(
        draft.message_id,
        role,
        draft.text,
        draft.openai_json,
        draft.tokens_estimated,
        draft.model,
        draft.ordinal,
        replaces=draft.replaces,
    )


async def _branch_or_main(work: ThreadWork, thread: Thread, branch_id: str) -> Branch:
    """The branch that a message was written on; "main" when it was deleted since."""
    return await work.find_branch(thread, branch_id) or await work.branch(thread, MAIN)


async def _before_saving(work: ThreadWork, thread: Thread, active: Branch, place: Place, limits: Limits) -> Saved:
    """Where a turn would go. Raises what saving it would raise."""
    if thread.deleted_at is not None:
        raise errors.thread_deleted(thread.thread_id)
    if limits.messages and thread.message_count >= limits.messages:
        raise errors.too_many_messages(thread.thread_id, thread.message_count, limits.messages)
    if place.parent_id and not place.branch_id:
        parent_id = ""
        if place.parent_id != ROOT:
            parent_id = (await work.message(thread, place.parent_id)).message_id
        branches = await work.branches(thread)
        there = [branch for branch in branches if branch.head == parent_id]
        if not there and limits.branches and len(branches) >= limits.branches:
            raise errors.too_many_branches(thread.thread_id, len(branches), limits.branches)
        return Saved(thread, [], there[0].branch_id if there else "", parent_id)
    branch = await work.branch(thread, place.branch_id) if place.branch_id else active
    if place.parent_id and place.parent_id != (branch.head or ROOT):
        raise errors.not_the_head(branch.branch_id, branch.head, place.parent_id)
    return Saved(thread, [], branch.branch_id, branch.head)
