"""Many changes of threads at once: each with its own result, and none made twice."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mesh.errors import MeshError, Reason
from services.memory import errors
from services.memory.conversations.conversations import Conversations
from services.memory.conversations.file import derived_id
from services.memory.conversations.input import checked_request_id, checked_tags
from services.memory.conversations.threads import Thread, ThreadChange
from services.memory.viewers import Viewer

MAX_OPERATIONS = 100
_TAG_TRIES = 10
_TRY_AGAIN = (Reason.UNAVAILABLE, Reason.DEADLINE_EXCEEDED, Reason.CANCELLED, Reason.INTERNAL)


@dataclass(frozen=True, slots=True)
class Create:
    """Begins a thread."""

    thread_id: str
    named: ThreadChange


@dataclass(frozen=True, slots=True)
class Update:
    """Changes what is named of a thread."""

    thread_id: str
    change: ThreadChange


@dataclass(frozen=True, slots=True)
class Delete:
    """Deletes a thread, with `erase` for ever."""

    thread_id: str
    erase: bool


@dataclass(frozen=True, slots=True)
class Restore:
    """Takes a deletion back."""

    thread_id: str


@dataclass(frozen=True, slots=True)
class Tag:
    """Adds tags and takes others away."""

    thread_id: str
    add: tuple[str, ...]
    remove: tuple[str, ...]


Change = Create | Update | Delete | Restore | Tag


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one change; without a reason it was made."""

    thread_id: str
    reason: str = ""
    message: str = ""
    thread: Thread | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A batch that the caller may go on with, or that is done."""

    created_at: dt.datetime
    results: tuple[Result, ...]
    """Of the changes that were tried before; threads are not filled in."""
    done: bool


class BatchStore(Protocol):
    """What each change of a batch did, for a day."""

    async def claim(self, viewer: Viewer, request_id: str, digest: bytes, now: dt.datetime) -> Claim:
        """Begins a batch or goes on with one. Raises REQUEST_ID_CONFLICT, and UNAVAILABLE while another is at it."""

    async def record(self, viewer: Viewer, request_id: str, result: Result, now: dt.datetime, *, last: bool) -> None:
        """What became of the next change."""

    async def give_up(self, viewer: Viewer, request_id: str) -> None:
        """Lets the next try go on at once."""


def check_count(count: int) -> None:
    """Raises INVALID_REQUEST for no changes, and for more than a batch has."""
    if not 1 <= count <= MAX_OPERATIONS:
        raise errors.invalid("operations", f"are {count}; a batch has 1 to {MAX_OPERATIONS}")


class Batches:
    """Works through batches."""

    def __init__(
        self,
        conversations: Conversations,
        store: BatchStore,
        *,
        clock: Callable[[], dt.datetime],
        new_id: Callable[[], str],
    ) -> None:
        self._conversations, self._store, self._clock, self._new_id = conversations, store, clock, new_id

    async def run(self, viewer: Viewer, request_id: str, changes: Sequence[Change]) -> list[Result]:
        """Makes the changes in their order; what becomes of each. Raises INVALID_REQUEST, REQUEST_ID_CONFLICT."""
        checked_request_id(request_id)
        check_count(len(changes))
        if not request_id:
            return [await self._try(viewer, self._with_id(change, self._new_id())) for change in changes]
        digest = hashlib.sha256(repr(list(changes)).encode("utf-8", "replace")).digest()
        claim = await self._store.claim(viewer, request_id, digest, self._clock())
        results = [await self._again(viewer, before, changes[place]) for place, before in enumerate(claim.results)]
        if not claim.done:
            try:
                for place in range(len(results), len(changes)):
                    names = (viewer.org_id, viewer.user_id, request_id, str(place))
                    change = self._with_id(changes[place], derived_id(claim.created_at.timestamp(), *names))
                    results.append(await self._recorded(viewer, request_id, change, last=place + 1 == len(changes)))
            except BaseException:
                with contextlib.suppress(MeshError):
                    await self._store.give_up(viewer, request_id)
                raise
        return results

    async def _recorded(self, viewer: Viewer, request_id: str, change: Change, *, last: bool) -> Result:
        result = await self._try(viewer, change, fatal=_TRY_AGAIN)
        # What is refused as invalid names what it was given, and is refused again in the same words.
        kept = dataclasses.replace(result, message="") if result.reason == Reason.INVALID_REQUEST.name else result
        await self._store.record(viewer, request_id, kept, self._clock(), last=last)
        return result

    async def _again(self, viewer: Viewer, before: Result, change: Change) -> Result:
        """A result as it was, with the thread as it is now."""
        if before.reason == Reason.INVALID_REQUEST.name:
            return await self._try(viewer, change)
        if before.reason or isinstance(change, Delete):
            return before
        try:
            return dataclasses.replace(before, thread=await self._conversations.get(viewer, before.thread_id))
        except MeshError:
            return before

    async def _try(self, viewer: Viewer, change: Change, fatal: Sequence[Reason] = ()) -> Result:
        try:
            thread = await self._make(viewer, change)
        except MeshError as error:
            if error.reason in fatal:
                raise
            return Result(change.thread_id[:128], error.reason.name, error.message)
        return Result(change.thread_id, thread=thread)

    async def _make(self, viewer: Viewer, change: Change) -> Thread | None:
        match change:
            case Create(thread_id, named):
                return await self._conversations.create(
                    viewer,
                    thread_id,
                    named.title or "",
                    tags=named.tags or (),
                    model=named.model or "",
                    parameters=named.parameters or "",
                )
            case Update(thread_id, named):
                return await self._conversations.update(viewer, thread_id, named)
            case Delete(thread_id, erase):
                await self._conversations.delete(viewer, thread_id, erase=erase)
                return None
            case Restore(thread_id):
                return await self._conversations.restore(viewer, thread_id)
            case Tag():
                return await self._tag(viewer, change)

    async def _tag(self, viewer: Viewer, change: Tag) -> Thread:
        """Reads, adds and takes away; again when somebody changed the thread in between."""
        checked_tags(change.add)
        for left in reversed(range(_TAG_TRIES)):
            thread = await self._conversations.get(viewer, change.thread_id)
            tags = tuple(dict.fromkeys([tag for tag in (*thread.tags, *change.add) if tag not in change.remove]))
            if tags == thread.tags:
                return thread
            try:
                return await self._conversations.update(
                    viewer, change.thread_id, ThreadChange(tags=tags, version=thread.version)
                )
            except MeshError as error:
                if error.reason is not Reason.FAILED_PRECONDITION or not left:
                    raise
        raise AssertionError("the last try returns or raises")

    @staticmethod
    def _with_id(change: Change, thread_id: str) -> Change:
        is_new = isinstance(change, Create) and not change.thread_id
        return dataclasses.replace(change, thread_id=thread_id) if is_new else change
