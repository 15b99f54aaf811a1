"""Threads and turns: checks what comes in, makes ids and times, and chooses the window."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mesh.fair_share import in_turn
from services.memory import errors
from services.memory.config import MemoryConfig
from services.memory.conversations.branch_store import PostgresBranchStore
from services.memory.conversations.input import (
    NewMessage,
    checked_agent_id,
    checked_change,
    checked_limit,
    checked_message_id,
    checked_name,
    checked_request_id,
    checked_tags,
    checked_thread_id,
    draft_of,
    drafts_of,
    make_token,
    page_size_of,
    read_position_token,
    read_thread_token,
    storable,
)
from services.memory.conversations.store import PostgresThreadStore
from services.memory.conversations.thread_work import ThreadDatabase
from services.memory.conversations.threads import (
    APPENDED_FROM,
    EDITED_FROM,
    MAIN,
    Branch,
    BranchStats,
    Draft,
    Limits,
    Place,
    Saved,
    Thread,
    ThreadChange,
    ThreadFilter,
)
from services.memory.conversations.turn_store import PostgresTurnStore
from services.memory.conversations.window import Message, choose, cost_tokens
from services.memory.viewers import Viewer

MADE_AT_ONCE = 500
"""How many messages are made ready within one turn of the event loop."""


@dataclass(frozen=True, slots=True)
class OpenedTurn:
    """A turn with the window before it."""

    window: list[Message]
    window_tokens: int
    saved: Saved | None
    """Where the turn is, or would go; None = there is no such thread."""


class Conversations:
    """What ConversationService does, without the wire."""

    def __init__(
        self,
        threads: ThreadDatabase,
        config: MemoryConfig,
        *,
        clock: Callable[[], dt.datetime],
        new_id: Callable[[], str],
    ) -> None:
        self._threads, self._turns = PostgresThreadStore(threads), PostgresTurnStore(threads)
        self._branches = PostgresBranchStore(threads)
        self._config, self._clock, self._new_id = config, clock, new_id
        self._limits = Limits(config.thread_max_messages, config.thread_max_branches, config.thread_max_per_user)

    async def create(
        self,
        viewer: Viewer,
        thread_id: str,
        title: str,
        *,
        tags: Sequence[str] = (),
        model: str = "",
        parameters: str = "",
        agent_id: str = "",
    ) -> Thread:
        """The thread of this id, or a new one."""
        chosen = checked_thread_id(thread_id) if thread_id else self._new_id()
        named = checked_change(ThreadChange(title, tuple(tags), model, parameters))
        return await self._threads.create(viewer, self._thread(viewer, chosen, agent_id, named), self._limits)

    def _thread(self, viewer: Viewer, thread_id: str, agent_id: str, named: ThreadChange | None = None) -> Thread:
        """A thread that is not there yet."""
        now, named = self._clock(), named or ThreadChange()
        return Thread(
            thread_id,
            named.title or "",
            0,
            now,
            now,
            viewer.user_id,
            named.tags or (),
            named.model or "",
            named.parameters or "",
            agent_id=checked_agent_id(agent_id),
        )

    async def get(self, viewer: Viewer, thread_id: str) -> Thread:
        """One thread. Raises NOT_FOUND."""
        return await self._threads.get(viewer, checked_thread_id(thread_id))

    async def list_threads(
        self, viewer: Viewer, wanted: ThreadFilter, page_size: int, page_token: str
    ) -> tuple[list[Thread], str]:
        """A page of threads, newest first, and the next page's token."""
        size = page_size_of(page_size)
        checked_tags(wanted.tags)
        if wanted.user_id and wanted.user_id != viewer.user_id and not viewer.sees_all:
            raise errors.others_threads()
        found = await self._threads.list_threads(viewer, wanted, size + 1, read_thread_token(page_token))
        page = found[:size]
        return page, make_token(f"{page[-1].created_at.isoformat()} {page[-1].thread_id}") if found[size:] else ""

    async def update(self, viewer: Viewer, thread_id: str, change: ThreadChange) -> Thread:
        """Changes what is named. Raises NOT_FOUND."""
        return await self._threads.update(viewer, checked_thread_id(thread_id), checked_change(change), self._clock())

    async def delete(self, viewer: Viewer, thread_id: str, *, erase: bool = False) -> None:
        """Deletes a thread, with `erase` for ever. Raises NOT_FOUND."""
        await self._threads.delete(viewer, checked_thread_id(thread_id), self._clock(), erase=erase)

    async def restore(self, viewer: Viewer, thread_id: str) -> Thread:
        """Takes a deletion back. Raises NOT_FOUND."""
        return await self._threads.restore(viewer, checked_thread_id(thread_id), self._clock(), self._limits)

    async def list_messages(
        self,
        viewer: Viewer,
        thread_id: str,
        page_size: int,
        page_token: str,
        *,
        branch_id: str = "",
        everything: bool = False,
        deleted: bool = False,
    ) -> tuple[list[Message], str]:
        """A page of messages, oldest first, and the next page's token. Raises NOT_FOUND."""
        size = page_size_of(page_size)
        found = await self._turns.list_messages(
            viewer,
            checked_thread_id(thread_id),
            storable(branch_id),
            size + 1,
            read_position_token(page_token),
            everything=everything,
            deleted=deleted,
        )
        page = found[:size]
        return page, make_token(str(page[-1].position)) if found[size:] else ""

    async def get_message(self, viewer: Viewer, thread_id: str, message_id: str) -> tuple[Message, list[str]]:
        """One message and the ids of all with the same parent. Raises NOT_FOUND."""
        return await self._turns.get_message(viewer, checked_thread_id(thread_id), checked_message_id(message_id))

    async def edit(
        self, viewer: Viewer, thread_id: str, request_id: str, edited: NewMessage, branch_name: str
    ) -> tuple[Message, Branch]:
        """Another version of `edited.replaces` on a new, active branch. Raises NOT_FOUND."""
        checked_message_id(edited.replaces)
        draft = draft_of(edited, self._config.max_message_bytes, self._new_id(), EDITED_FROM)
        return await self._turns.edit(
            viewer,
            checked_thread_id(thread_id),
            checked_request_id(request_id),
            draft,
            checked_name(branch_name),
            self._clock(),
            self._limits,
        )

    async def delete_message(self, viewer: Viewer, thread_id: str, message_id: str, *, erase: bool) -> None:
        """Deletes one message. Raises NOT_FOUND."""
        await self._branches.delete_message(
            viewer, checked_thread_id(thread_id), checked_message_id(message_id), self._clock(), erase=erase
        )

    async def list_branches(self, viewer: Viewer, thread_id: str) -> list[Branch]:
        """All branches, oldest first. Raises NOT_FOUND."""
        return await self._branches.list_branches(viewer, checked_thread_id(thread_id))

    async def create_branch(
        self, viewer: Viewer, thread_id: str, name: str, message_id: str, request_id: str, *, activate: bool
    ) -> Branch:
        """A branch whose head is a message; "" = the active branch's head. Raises NOT_FOUND."""
        return await self._branches.create(
            viewer,
            checked_thread_id(thread_id),
            checked_name(name),
            checked_message_id(message_id) if message_id else "",
            checked_request_id(request_id),
            self._clock(),
            self._limits,
            activate=activate,
        )

    async def activate_branch(self, viewer: Viewer, thread_id: str, branch_id: str) -> Branch:
        """Makes a branch the active one. Raises NOT_FOUND."""
        return await self._branches.activate(viewer, checked_thread_id(thread_id), storable(branch_id), self._clock())

    async def merge_branch(
        self, viewer: Viewer, thread_id: str, branch_id: str, target_id: str, request_id: str, *, fast_forward: bool
    ) -> tuple[Branch, list[str]]:
        """Brings a branch's own turns into another ("" = main); what was appended. Raises NOT_FOUND."""
        target_id = target_id or MAIN
        if branch_id == target_id:
            raise errors.invalid("target_branch_id", f'a branch cannot be merged into itself, "{branch_id[:64]}"')
        return await self._branches.merge(
            viewer,
            checked_thread_id(thread_id),
            storable(branch_id),
            storable(target_id),
            checked_request_id(request_id),
            self._clock(),
            self._limits,
            fast_forward=fast_forward,
        )

    async def branch_stats(self, viewer: Viewer, thread_id: str, branch_id: str) -> BranchStats:
        """Counts of a branch. Raises NOT_FOUND."""
        return await self._branches.stats(viewer, checked_thread_id(thread_id), storable(branch_id))

    async def delete_branch(self, viewer: Viewer, thread_id: str, branch_id: str, *, erase: bool) -> None:
        """Deletes a branch, with `erase` also what only it holds. Raises NOT_FOUND."""
        await self._branches.delete(
            viewer, checked_thread_id(thread_id), storable(branch_id), self._clock(), erase=erase
        )

    async def append(
        self,
        viewer: Viewer,
        thread_id: str,
        request_id: str,
        messages: Sequence[NewMessage],
        *,
        parent_id: str = "",
        branch_id: str = "",
    ) -> Saved:
        """Saves messages, once per request. Raises NOT_FOUND."""
        drafts = await self._drafts(messages, request_id, first_ordinal=APPENDED_FROM)
        return await self._turns.append(
            viewer,
            checked_thread_id(thread_id),
            request_id,
            drafts,
            _place(parent_id, branch_id),
            self._clock(),
            self._limits,
        )

    async def _drafts(self, messages: Sequence[NewMessage], request_id: str, *, first_ordinal: int = 0) -> list[Draft]:
        """Messages ready to save; where they are many, made beside the event loop."""
        given = (messages, self._config.max_message_bytes, self._new_id, request_id)
        if len(messages) <= MADE_AT_ONCE:
            return drafts_of(*given, first_ordinal=first_ordinal)
        return await in_turn(drafts_of, *given, first_ordinal=first_ordinal)

    async def open_turn(
        self,
        viewer: Viewer,
        thread_id: str,
        request_id: str,
        messages: Sequence[NewMessage],
        *,
        max_tokens: int,
        max_messages: int,
        parent_id: str = "",
        branch_id: str = "",
        agent_id: str = "",
    ) -> OpenedTurn:
        """Saves the turn and gives the window of earlier messages with its tokens. Without messages it only reads."""
        checked_thread_id(thread_id)
        checked_limit(max_tokens, max_messages)
        limit = min(max_messages or self._config.window_max_messages, self._config.window_scan_messages)
        place = _place(parent_id, branch_id)
        drafts = await self._drafts(messages, request_id)
        saved: Saved | None
        if drafts:
            thread = self._thread(viewer, thread_id, agent_id)
            saved, earlier = await self._turns.open_turn(
                viewer, thread, request_id, drafts, place, self._limits, limit=limit, max_tokens=max_tokens
            )
        else:
            saved, earlier = await self._turns.look(
                viewer, thread_id, request_id, place, self._limits, limit=limit, max_tokens=max_tokens
            )
        window = choose(earlier, max_tokens=max_tokens, max_messages=limit)
        return OpenedTurn(window, sum(map(cost_tokens, window)), saved)


def _place(parent_id: str, branch_id: str) -> Place:
    return Place(storable(branch_id), checked_message_id(parent_id, "parent_message_id") if parent_id else "")
