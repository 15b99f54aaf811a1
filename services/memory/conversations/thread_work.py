"""One transaction on an organisation's threads: what the caller may see of them, locks, and saving at a place."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from mesh.ids import uuid7
from mesh.postgres import Database
from services.memory import errors
from services.memory.conversations.thread_rows import (
    INSERTED_AT_ONCE,
    MESSAGE_COLUMNS,
    THREAD_COLUMNS,
    about_branch,
    branch_of,
    insert_messages,
    message_of,
    node_of,
    thread_of,
)
from services.memory.conversations.threads import ROOT, Branch, Draft, Limits, Place, Saved, Thread
from services.memory.conversations.tree import Tree, branch_with_head
from services.memory.conversations.turn_listeners import TurnListener
from services.memory.conversations.window import Message
from services.memory.sealing.sealing import OrgKey, PlainSealer, Sealer
from services.memory.viewers import Viewer

_FIND = """SELECT {columns}
    FROM threads WHERE org_id = $1 AND thread_id = $2 AND (user_id = $3 OR $4)""".replace("{columns}", THREAD_COLUMNS)
_LOCK = _FIND + " FOR UPDATE"
_BRANCHES = """SELECT b.thread_id, b.branch_id, b.name, b.head_message_id, b.forked_from, b.merge_request_id,
    b.created_at, b.updated_at, b.sealed, m.position AS head_position
    FROM branches b LEFT JOIN LATERAL (SELECT position, message_id FROM messages
        WHERE org_id = b.org_id AND thread_id = b.thread_id AND message_id >= b.head_message_id
        ORDER BY message_id LIMIT 1) AS m ON m.message_id = b.head_message_id
    WHERE b.org_id = $1 AND b.thread_id = $2 AND ($3 = '' OR b.branch_id = $3)
    ORDER BY b.branch_id <> 'main', b.created_at, b.branch_id"""
_MESSAGE = """SELECT {columns}
    FROM messages WHERE org_id = $1 AND thread_id = $2 AND message_id = $3""".replace("{columns}", MESSAGE_COLUMNS)
_NODES = """SELECT message_id, parent_id, position, role, tokens_estimated, model, status, created_at, copied_from,
    deleted_at FROM messages WHERE org_id = $1 AND thread_id = $2"""
_OF_REQUEST = """SELECT role, ordinal, message_id, position, parent_id, branch_id FROM messages
    WHERE org_id = $1 AND thread_id = $2 AND request_id = $3 AND request_id <> ''
    ORDER BY role, ordinal"""
_SITUATION = """SELECT b.*, (SELECT json_agg(one) FROM (
        SELECT role, ordinal, message_id, position, parent_id, branch_id FROM messages
        WHERE org_id = $1 AND thread_id = $2 AND request_id = $4 AND request_id <> ''
        ORDER BY role, ordinal) AS one) AS saved
    FROM ({branches}) AS b""".replace("{branches}", _BRANCHES)
_INSERT_BRANCH = """INSERT INTO branches (org_id, thread_id, branch_id, name, sealed, head_message_id, forked_from,
    request_id, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)"""
_GROW = """WITH moved AS (UPDATE branches SET head_message_id = $3, updated_at = $4
        WHERE org_id = $1 AND thread_id = $2 AND branch_id = $5)
    UPDATE threads SET next_position = next_position + $6, message_count = message_count + $6, updated_at = $4,
        active_branch = $7, forked = $8, version = $9 WHERE org_id = $1 AND thread_id = $2"""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Where messages go."""

    parent_id: str
    """Empty = they are the first."""
    parent_position: int
    branch: Branch | None
    """None = a new branch."""
    activate: bool = False


@dataclass(slots=True)
class ThreadWork:
    """A transaction with what it needs; ThreadDatabase begins and ends it."""

    connection: Any
    key: OrgKey
    viewer: Viewer
    listeners: Sequence[TurnListener]
    new_id: Callable[[], str]

    async def find(self, thread_id: str, *, lock: bool = False) -> Thread | None:
        """A thread that the caller may see, deleted or not."""
        viewer = self.viewer
        row = await self.connection.fetchrow(
            _LOCK if lock else _FIND, viewer.org_id, thread_id, viewer.user_id, viewer.sees_all
        )
        return None if row is None else thread_of(self.key, row)

    async def get(self, thread_id: str, *, lock: bool = False) -> Thread:
        """A thread that the caller may see and that is not deleted. Raises NOT_FOUND."""
        thread = await self.find(thread_id, lock=lock)
        if thread is None:
            raise errors.thread_not_found(thread_id)
        if thread.deleted_at is not None:
            raise errors.thread_deleted(thread_id)
        return thread

    async def branches(self, thread: Thread) -> list[Branch]:
        """All branches, oldest first."""
        rows = await self.connection.fetch(_BRANCHES, self.viewer.org_id, thread.thread_id, "")
        return [branch_of(self.key, row, thread.active_branch) for row in rows]

    async def find_branch(self, thread: Thread, branch_id: str) -> Branch | None:
        """One branch; "" = the active one."""
        wanted = branch_id or thread.active_branch
        row = await self.connection.fetchrow(_BRANCHES, self.viewer.org_id, thread.thread_id, wanted)
        return None if row is None else branch_of(self.key, row, thread.active_branch)

    async def branch(self, thread: Thread, branch_id: str) -> Branch:
        """One branch; "" = the active one. Raises NOT_FOUND."""
        branch = await self.find_branch(thread, branch_id)
        if branch is None:
            raise errors.branch_not_found(thread.thread_id, branch_id)
        return branch

    async def message(self, thread: Thread, message_id: str, *, deleted: bool = False) -> Message:
        """One message. Raises NOT_FOUND, also for a deleted one unless `deleted`."""
        row = await self.connection.fetchrow(_MESSAGE, self.viewer.org_id, thread.thread_id, message_id)
        if row is None or (row["deleted_at"] is not None and not deleted):
            raise errors.message_not_found(thread.thread_id, message_id)
        return message_of(self.key, row)

    async def tree(self, thread: Thread) -> Tree:
        """The whole tree without its texts."""
        rows = await self.connection.fetch(_NODES, self.viewer.org_id, thread.thread_id)
        return Tree(map(node_of, rows))

    async def of_request(self, thread_id: str, request_id: str) -> list[Any]:
        """What a request saved: role, ordinal, message_id, position, parent_id, branch_id; in order."""
        rows = await self.connection.fetch(_OF_REQUEST, self.viewer.org_id, thread_id, request_id)
        return sorted(rows, key=lambda row: row["position"])

    async def situation(self, thread: Thread, request_id: str) -> tuple[list[Any], Branch]:
        """What a request saved, and the active branch, at one question."""
        row = await self.connection.fetchrow(
            _SITUATION, self.viewer.org_id, thread.thread_id, thread.active_branch, request_id
        )
        if row is None:
            raise errors.branch_not_found(thread.thread_id, thread.active_branch)
        rows = msgspec.json.decode(row["saved"]) if row["saved"] else []
        return sorted(rows, key=lambda one: int(one["position"])), branch_of(self.key, row, thread.active_branch)

    async def make_branch(
        self, thread: Thread, name: str, forked_from: str, head: str, request_id: str, now: dt.datetime
    ) -> str:
        """Inserts a branch; its id."""
        branch_id = self.new_id()
        sealed = self.key.seal(about_branch(thread.thread_id, branch_id), {"name": name})
        await self.connection.execute(
            _INSERT_BRANCH,
            self.viewer.org_id,
            thread.thread_id,
            branch_id,
            name if sealed is None else "",
            sealed,
            head or None,
            forked_from or None,
            request_id,
            now,
        )
        return branch_id

    async def check_branches(self, thread: Thread, limit: int) -> int:
        """How many branches there are. Raises FAILED_PRECONDITION when there may be no more."""
        count = len(await self.connection.fetch(_BRANCHES, self.viewer.org_id, thread.thread_id, ""))
        if limit and count >= limit:
            raise errors.too_many_branches(thread.thread_id, count, limit)
        return count

    async def tell_saved(self, thread: Thread, messages: Sequence[Message]) -> None:
        """Tells the listeners of new messages; a deleted thread is told when it is restored."""
        if thread.deleted_at is None and messages:
            for listener in self.listeners:
                await listener.saved(self.connection, self.viewer.org_id, thread, messages)

    async def tell_erased(self, thread_id: str, message_ids: Sequence[str] | None) -> None:
        """Tells the listeners what is gone."""
        for listener in self.listeners:
            await listener.erased(self.connection, self.viewer.org_id, thread_id, message_ids)

    async def save(
        self,
        thread: Thread,
        request_id: str,
        drafts: Sequence[Draft],
        place: Place,
        now: dt.datetime,
        limits: Limits,
    ) -> Saved:
        """Saves what this request has not saved yet, under the thread's lock."""
        rows, active = await self.situation(thread, request_id)
        known = {(row["role"], row["ordinal"]): str(row["message_id"]) for row in rows}
        new = [draft for draft in drafts if (draft.role, draft.ordinal) not in known]
        ids = [known.get((draft.role, draft.ordinal), draft.message_id) for draft in drafts]
        before = _parent(rows[0]) if rows else ""
        if not new:
            return Saved(thread, ids, rows[-1]["branch_id"] if rows else thread.active_branch, before)
        if thread.deleted_at is not None and not rows:
            raise errors.thread_deleted(thread.thread_id)
        # An answer is never refused: it was made and paid for.
        is_answer = bool(rows) or new[0].role in ("assistant", "tool")
        if not is_answer and limits.messages and thread.message_count + len(new) > limits.messages:
            raise errors.too_many_messages(thread.thread_id, thread.message_count, limits.messages)
        chosen = await self._choose(thread, active, place, rows, new)
        if chosen.branch is not None:
            branch_id = chosen.branch.branch_id
        else:
            count = await self.check_branches(thread, 0 if is_answer and place.new_branch is None else limits.branches)
            name = place.new_branch or f"branch {count + 1}"
            branch_id = await self.make_branch(thread, name, chosen.parent_id, "", "", now)
        saved, messages = await self._insert(thread, branch_id, request_id, new, chosen, now)
        for start in range(0, len(messages), INSERTED_AT_ONCE):
            await self.tell_saved(saved, messages[start : start + INSERTED_AT_ONCE])
        return Saved(saved, ids, branch_id, before if rows else chosen.parent_id)

    async def _insert(
        self, thread: Thread, branch_id: str, request_id: str, new: Sequence[Draft], chosen: Chosen, now: dt.datetime
    ) -> tuple[Thread, list[Message]]:
        """Inserts a chain behind its parent and moves the branch to its end."""
        parent, messages = chosen.parent_id, list[Message]()
        for start in range(0, len(new), INSERTED_AT_ONCE):
            rows: list[tuple[Message, int]] = []
            for draft in new[start : start + INSERTED_AT_ONCE]:
                values = {name: getattr(draft, name) for name in _COPIED}
                message = Message(
                    **values,
                    thread_id=thread.thread_id,
                    request_id=request_id,
                    position=thread.next_position + start + len(rows),
                    created_at_s=now.timestamp(),
                    parent_id=parent,
                    branch_id=branch_id,
                )
                rows.append((message, draft.ordinal))
                parent = draft.message_id
            await insert_messages(self.connection, self.key, self.viewer.org_id, thread.thread_id, rows)
            messages += [message for message, _ in rows]
        active = branch_id if chosen.activate else thread.active_branch
        grown = dataclasses.replace(
            thread,
            message_count=thread.message_count + len(new),
            next_position=thread.next_position + len(new),
            forked=thread.forked or chosen.parent_position != thread.next_position - 1,
            active_branch=active,
            version=thread.version + (active != thread.active_branch),
            updated_at=now,
        )
        await self.connection.execute(
            _GROW,
            self.viewer.org_id,
            thread.thread_id,
            parent,
            now,
            branch_id,
            len(new),
            active,
            grown.forked,
            grown.version,
        )
        return grown, messages

    async def _choose(
        self, thread: Thread, active: Branch, place: Place, rows: Sequence[Mapping[str, Any]], new: Sequence[Draft]
    ) -> Chosen:
        """The branch and the parent for new messages. Raises NOT_FOUND and FAILED_PRECONDITION."""
        own = {str(row["message_id"]) for row in rows}
        if rows and place.new_branch is None and (not place.said or place.parent_id in own):
            # An answer follows its own question, after whatever came between.
            own_branch = rows[-1]["branch_id"]
            branch = active if own_branch == active.branch_id else await self.find_branch(thread, own_branch)
            if branch is not None:
                return Chosen(branch.head, branch.head_position, branch)
            return Chosen(str(rows[-1]["message_id"]), rows[-1]["position"], None)
        if new[0].replaces and not place.said:
            replaced = await self.message(thread, new[0].replaces, deleted=True)
            place = Place(parent_id=replaced.parent_id or ROOT)
        if place.branch_id or not place.parent_id:
            branch = await self.branch(thread, place.branch_id) if place.branch_id else active
            if place.parent_id and place.parent_id != (branch.head or ROOT):
                raise errors.not_the_head(branch.branch_id, branch.head, place.parent_id)
            return Chosen(branch.head, branch.head_position, branch)
        parent_id, position = "", -1
        if place.parent_id != ROOT:
            # What replaces a deleted message may begin behind a deleted one.
            parent = await self.message(thread, place.parent_id, deleted=bool(new[0].replaces))
            parent_id, position = parent.message_id, parent.position
        if place.new_branch is None:
            found = branch_with_head(await self.branches(thread), parent_id)
            if found is not None:
                return Chosen(parent_id, position, found)
        return Chosen(parent_id, position, None, activate=True)


_COPIED = (
    "message_id",
    "role",
    "text",
    "openai_json",
    "tokens_estimated",
    "model",
    "status",
    "finish_reason",
    "replaces",
    "copied_from",
)


def _parent(row: Mapping[str, Any]) -> str:
    found = str(row["parent_id"])
    return "" if found == ROOT else found


class ThreadDatabase:
    """Begins transactions on threads."""

    def __init__(
        self,
        database: Database,
        *,
        sealer: Sealer | None = None,
        listeners: Sequence[TurnListener] = (),
        new_id: Callable[[], str] = uuid7,
    ) -> None:
        self._database, self._sealer = database, sealer or PlainSealer()
        self._listeners, self._new_id = tuple(listeners), new_id

    @contextlib.asynccontextmanager
    async def begin(self, viewer: Viewer) -> AsyncIterator[ThreadWork]:
        """A transaction in the viewer's organisation; it commits when the block ends well."""
        key = await self._sealer.key_of(viewer.org_id)
        async with self._database.transaction(viewer.org_id) as connection:
            yield ThreadWork(connection, key, viewer, self._listeners, self._new_id)
