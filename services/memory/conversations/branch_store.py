"""Branches in the schema `memory`: made, activated, merged, counted, deleted; and messages deleted out of the tree."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence
from typing import Any

from services.memory import errors
from services.memory.conversations.thread_rows import MESSAGE_COLUMNS, insert_messages, message_of
from services.memory.conversations.thread_work import ThreadDatabase, ThreadWork
from services.memory.conversations.threads import MAIN, MERGED_FROM, ROOT, Branch, BranchStats, Limits, Thread
from services.memory.conversations.tree import Node, Tree
from services.memory.conversations.window import Message
from services.memory.viewers import Viewer

_BRANCH_OF_REQUEST = """SELECT branch_id FROM branches
    WHERE org_id = $1 AND thread_id = $2 AND request_id = $3 AND request_id <> ''"""
_POINT = """UPDATE branches SET head_message_id = $4, updated_at = $5, merge_request_id = $6
    WHERE org_id = $1 AND thread_id = $2 AND branch_id = $3"""
_ACTIVATE = """UPDATE threads SET active_branch = $3, version = version + 1, updated_at = $4
    WHERE org_id = $1 AND thread_id = $2"""
_GROW = """UPDATE threads SET next_position = next_position + $3, message_count = message_count + $3, forked = $4,
    updated_at = $5 WHERE org_id = $1 AND thread_id = $2"""
_DELETE_BRANCH = "DELETE FROM branches WHERE org_id = $1 AND thread_id = $2 AND branch_id = $3"
_MESSAGES = """SELECT {columns}
    FROM messages WHERE org_id = $1 AND thread_id = $2 AND message_id = ANY ($3::uuid[]) ORDER BY position""".replace(
    "{columns}", MESSAGE_COLUMNS
)
_MARK_MESSAGE = "UPDATE messages SET deleted_at = $4 WHERE org_id = $1 AND thread_id = $2 AND message_id = $3"
_ERASE_MESSAGES = "DELETE FROM messages WHERE org_id = $1 AND thread_id = $2 AND message_id = ANY ($3::uuid[])"
_FORGET_VERSION = """UPDATE messages SET replaces = NULL
    WHERE org_id = $1 AND thread_id = $2 AND replaces = ANY ($3::uuid[])"""
_REPARENT = """UPDATE messages SET parent_id = one.parent
    FROM unnest($3::uuid[], $4::uuid[]) AS one (child, parent)
    WHERE org_id = $1 AND thread_id = $2 AND message_id = one.child"""
_MOVE_HEADS = """UPDATE branches SET head_message_id = one.head
    FROM unnest($3::text[], $4::uuid[]) AS one (branch, head)
    WHERE org_id = $1 AND thread_id = $2 AND branch_id = one.branch"""
_MOVE_FORKS = """UPDATE branches SET forked_from = one.start
    FROM unnest($3::text[], $4::uuid[]) AS one (branch, start)
    WHERE org_id = $1 AND thread_id = $2 AND branch_id = one.branch"""
_SHRINK = """UPDATE threads SET message_count = message_count - $3, updated_at = $4
    WHERE org_id = $1 AND thread_id = $2"""


class PostgresBranchStore:
    """Branches, inside what the viewer may see."""

    def __init__(self, threads: ThreadDatabase) -> None:
        self._threads = threads

    async def list_branches(self, viewer: Viewer, thread_id: str) -> list[Branch]:
        """Oldest first. Raises NOT_FOUND."""
        async with self._threads.begin(viewer) as work:
            return await work.branches(await work.get(thread_id))

    async def create(
        self,
        viewer: Viewer,
        thread_id: str,
        name: str,
        message_id: str,
        request_id: str,
        now: dt.datetime,
        limits: Limits,
        *,
        activate: bool,
    ) -> Branch:
        """A branch whose head is a message ("" = the active branch's head). Raises NOT_FOUND."""
        async with self._threads.begin(viewer) as work:
            thread = await work.get(thread_id, lock=True)
            made = await work.connection.fetchval(_BRANCH_OF_REQUEST, viewer.org_id, thread_id, request_id)
            if made is not None:
                return await work.branch(thread, made)
            if message_id:
                head = "" if message_id == ROOT else (await work.message(thread, message_id)).message_id
            else:
                head = (await work.branch(thread, "")).head
            count = await work.check_branches(thread, limits.branches)
            branch_id = await work.make_branch(thread, name or f"branch {count + 1}", head, head, request_id, now)
            if activate:
                thread = await _activate(work, thread, branch_id, now)
            return await work.branch(thread, branch_id)

    async def activate(self, viewer: Viewer, thread_id: str, branch_id: str, now: dt.datetime) -> Branch:
        """Makes a branch the active one. Raises NOT_FOUND."""
        async with self._threads.begin(viewer) as work:
            thread = await work.get(thread_id, lock=True)
            branch = await work.branch(thread, branch_id)
            if branch.active:
                return branch
            return await work.branch(await _activate(work, thread, branch_id, now), branch_id)

    async def merge(
        self,
        viewer: Viewer,
        thread_id: str,
        branch_id: str,
        target_id: str,
        request_id: str,
        now: dt.datetime,
        limits: Limits,
        *,
        fast_forward: bool,
    ) -> tuple[Branch, list[str]]:
        """Brings a branch's own turns into another. Raises NOT_FOUND and FAILED_PRECONDITION."""
        async with self._threads.begin(viewer) as work:
            thread = await work.get(thread_id, lock=True)
            source, target = await work.branch(thread, branch_id), await work.branch(thread, target_id)
            if request_id and target.merge_request_id == request_id:
                rows = await work.of_request(thread_id, request_id)
                return target, [str(row["message_id"]) for row in rows if row["ordinal"] >= MERGED_FROM]
            tree = await work.tree(thread)
            if fast_forward:
                if tree.is_before(source.head, target.head):
                    return target, []
                if not tree.is_before(target.head, source.head):
                    raise errors.diverged(branch_id, target_id)
                await _point(work, thread, target, source.head, now, request_id)
                return await work.branch(thread, target_id), []
            brought = tree.brought(source.head, target.head)
            if limits.messages and brought and thread.message_count + len(brought) > limits.messages:
                raise errors.too_many_messages(thread_id, thread.message_count, limits.messages)
            ids = await _copy(work, thread, target, brought, request_id, now)
            await _point(work, thread, target, ids[-1] if ids else target.head, now, request_id)
            return await work.branch(thread, target_id), ids

    async def stats(self, viewer: Viewer, thread_id: str, branch_id: str) -> BranchStats:
        """Counts of a branch. Raises NOT_FOUND."""
        async with self._threads.begin(viewer) as work:
            thread = await work.get(thread_id)
            branch, main = await work.branch(thread, branch_id), await work.branch(thread, MAIN)
            return (await work.tree(thread)).stats(branch, main)

    async def delete(self, viewer: Viewer, thread_id: str, branch_id: str, now: dt.datetime, *, erase: bool) -> None:
        """Deletes a branch, with `erase` also what only it holds. Raises NOT_FOUND and FAILED_PRECONDITION."""
        async with self._threads.begin(viewer) as work:
            thread = await work.get(thread_id, lock=True)
            branch = await work.branch(thread, branch_id)
            if branch.branch_id == MAIN:
                raise errors.main_stays()
            if branch.active:
                thread = await _activate(work, thread, MAIN, now)
            others = [one for one in await work.branches(thread) if one.branch_id != branch_id]
            await work.connection.execute(_DELETE_BRANCH, viewer.org_id, thread_id, branch_id)
            if erase:
                tree = await work.tree(thread)
                alone = tree.only_held_by(branch, others)
                await _erase(work, thread, tree, others, alone, now)

    async def delete_message(
        self, viewer: Viewer, thread_id: str, message_id: str, now: dt.datetime, *, erase: bool
    ) -> None:
        """Deletes a message; with `erase` it and its copies are gone. Raises NOT_FOUND."""
        async with self._threads.begin(viewer) as work:
            thread = await work.get(thread_id, lock=True)
            await work.message(thread, message_id, deleted=erase)
            tree, branches = await work.tree(thread), await work.branches(thread)
            node = tree.nodes[message_id]
            if erase:
                same = [one for one in tree.nodes.values() if one.origin == node.origin]
                await _erase(work, thread, tree, branches, same, now)
                return
            await work.connection.execute(_MARK_MESSAGE, viewer.org_id, thread_id, message_id, now)
            tree.nodes[message_id] = dataclasses.replace(node, deleted=True)
            await _move_heads(work, thread, tree, branches)
            await work.connection.execute(_SHRINK, viewer.org_id, thread_id, 1, now)
            await work.tell_erased(thread_id, [message_id])


async def _activate(work: ThreadWork, thread: Thread, branch_id: str, now: dt.datetime) -> Thread:
    await work.connection.execute(_ACTIVATE, work.viewer.org_id, thread.thread_id, branch_id, now)
    return dataclasses.replace(thread, active_branch=branch_id, version=thread.version + 1, updated_at=now)


async def _point(
    work: ThreadWork, thread: Thread, branch: Branch, head: str, now: dt.datetime, merge_request_id: str
) -> None:
    await work.connection.execute(
        _POINT, work.viewer.org_id, thread.thread_id, branch.branch_id, head or None, now, merge_request_id
    )


async def _copy(
    work: ThreadWork, thread: Thread, target: Branch, brought: Sequence[Node], request_id: str, now: dt.datetime
) -> list[str]:
    """Copies of messages as a chain behind the target's head; their ids."""
    if not brought:
        return []
    org_id, thread_id = work.viewer.org_id, thread.thread_id
    rows = await work.connection.fetch(_MESSAGES, org_id, thread_id, [node.message_id for node in brought])
    parent, copies = target.head, []
    for place, row in enumerate(rows):
        old = message_of(work.key, row)
        copies.append(
            dataclasses.replace(
                old,
                message_id=work.new_id(),
                parent_id=parent,
                branch_id=target.branch_id,
                position=thread.next_position + place,
                request_id=request_id,
                replaces="",
                copied_from=old.copied_from or old.message_id,
            )
        )
        parent = copies[-1].message_id
    pairs: list[tuple[Message, int]] = [(one, MERGED_FROM + place) for place, one in enumerate(copies)]
    await insert_messages(work.connection, work.key, org_id, thread_id, pairs)
    forked = thread.forked or target.head_position != thread.next_position - 1
    await work.connection.execute(_GROW, org_id, thread_id, len(copies), forked, now)
    await work.tell_saved(thread, copies)
    return [one.message_id for one in copies]


async def _erase(
    work: ThreadWork, thread: Thread, tree: Tree, branches: Sequence[Branch], gone: Sequence[Node], now: dt.datetime
) -> None:
    """Takes messages out of the tree for ever: what followed one of them follows the one before it."""
    if not gone:
        return
    org_id, thread_id, ids = work.viewer.org_id, thread.thread_id, {node.message_id for node in gone}

    def kept(message_id: str) -> str:
        while message_id in ids:
            message_id = tree.nodes[message_id].parent_id
        return message_id

    orphans = [one for one in tree.nodes.values() if one.parent_id in ids and one.message_id not in ids]
    children = [one.message_id for one in orphans]
    await work.connection.execute(
        _REPARENT, org_id, thread_id, children, [kept(one.parent_id) or ROOT for one in orphans]
    )
    forks = [branch for branch in branches if branch.forked_from in ids]
    await work.connection.execute(
        _MOVE_FORKS,
        org_id,
        thread_id,
        [branch.branch_id for branch in forks],
        [kept(branch.forked_from) or None for branch in forks],
    )
    heads = [dataclasses.replace(branch, head=kept(branch.head)) for branch in branches if branch.head in ids]
    await _set_heads(work, thread, [(branch, tree.living_head(branch.head)) for branch in heads])
    await work.connection.execute(_FORGET_VERSION, org_id, thread_id, list(ids))
    await work.connection.execute(_ERASE_MESSAGES, org_id, thread_id, list(ids))
    await work.connection.execute(_SHRINK, org_id, thread_id, sum(not node.deleted for node in gone), now)
    await work.tell_erased(thread_id, sorted(ids))


async def _move_heads(work: ThreadWork, thread: Thread, tree: Tree, branches: Sequence[Branch]) -> None:
    """No branch ends with a deleted message: turns go on behind what is seen."""
    moved: list[tuple[Branch, str]] = []
    for branch in branches:
        head = tree.living_head(branch.head)
        if head != branch.head:
            moved.append((branch, head))
    await _set_heads(work, thread, moved)


async def _set_heads(work: ThreadWork, thread: Thread, heads: Sequence[tuple[Branch, str]]) -> None:
    names: list[str] = [branch.branch_id for branch, _ in heads]
    ends: list[Any] = [head or None for _, head in heads]
    if heads:
        await work.connection.execute(_MOVE_HEADS, work.viewer.org_id, thread.thread_id, names, ends)
