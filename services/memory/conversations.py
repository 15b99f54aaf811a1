"""Threads and turns: checks what comes in, makes ids and times, and chooses the window."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mesh.tokens import estimate_tokens
from services.memory import errors
from services.memory.config import MemoryConfig
from services.memory.store import Draft, Thread, ThreadStore
from services.memory.window import Message, choose, cost_tokens

ROLES = ("system", "user", "assistant", "tool")
MAX_THREAD_ID_CHARS = 128
MAX_REQUEST_ID_CHARS = 128
MAX_TITLE_CHARS = 512
DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000
APPENDED_FROM = 1_000_000
"""The first ordinal of appended messages: an answer is never taken for a message of the turn that it answers."""


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message as it comes in."""

    role: str
    text: str
    openai_json: str = ""
    tokens_estimated: int = 0
    model: str = ""


class Conversations:
    """What ConversationService does, without the wire."""

    def __init__(
        self,
        store: ThreadStore,
        config: MemoryConfig,
        *,
        clock: Callable[[], dt.datetime],
        new_id: Callable[[], str],
    ) -> None:
        self._store, self._config, self._clock, self._new_id = store, config, clock, new_id

    async def create(self, org_id: str, thread_id: str, title: str) -> Thread:
        """The thread of this id, or a new one."""
        if len(title) > MAX_TITLE_CHARS:
            raise errors.invalid("title", f"has {len(title)} characters, at most {MAX_TITLE_CHARS} are kept")
        chosen = _checked_thread_id(thread_id) if thread_id else self._new_id()
        return await self._store.create(org_id, chosen, _storable(title), self._clock())

    async def get(self, org_id: str, thread_id: str) -> Thread:
        """One thread. Raises NOT_FOUND."""
        thread = await self._store.get(org_id, _checked_thread_id(thread_id))
        if thread is None:
            raise errors.thread_not_found(thread_id)
        return thread

    async def list_threads(self, org_id: str, page_size: int, page_token: str) -> tuple[list[Thread], str]:
        """A page of threads, newest first, and the next page's token."""
        size = _size(page_size)
        found = await self._store.list_threads(org_id, size + 1, _read_thread_token(page_token))
        page = found[:size]
        return page, _make_token(f"{page[-1].created_at.isoformat()} {page[-1].thread_id}") if found[size:] else ""

    async def delete(self, org_id: str, thread_id: str) -> None:
        """Deletes a thread with its messages. Raises NOT_FOUND."""
        if not await self._store.delete(org_id, _checked_thread_id(thread_id)):
            raise errors.thread_not_found(thread_id)

    async def list_messages(
        self, org_id: str, thread_id: str, page_size: int, page_token: str
    ) -> tuple[list[Message], str]:
        """A page of messages, oldest first, and the next page's token. Raises NOT_FOUND."""
        size = _size(page_size)
        after = _read_position_token(page_token)
        found = await self._store.list_messages(org_id, _checked_thread_id(thread_id), size + 1, after)
        if found is None:
            raise errors.thread_not_found(thread_id)
        page = found[:size]
        return page, _make_token(str(page[-1].position)) if found[size:] else ""

    async def append(self, org_id: str, thread_id: str, request_id: str, messages: Sequence[NewMessage]) -> list[str]:
        """Saves messages, once per request; their ids. Raises NOT_FOUND."""
        _checked_thread_id(thread_id)
        drafts = self._drafts(request_id, messages, first_ordinal=APPENDED_FROM)
        ids = await self._store.append(org_id, thread_id, request_id, drafts, self._clock())
        if ids is None:
            raise errors.thread_not_found(thread_id)
        return ids

    async def open_turn(
        self,
        org_id: str,
        thread_id: str,
        request_id: str,
        messages: Sequence[NewMessage],
        *,
        max_tokens: int,
        max_messages: int,
    ) -> tuple[list[Message], int]:
        """Saves the turn and gives the window of earlier messages with its tokens. Without messages it only reads."""
        _checked_thread_id(thread_id)
        if max_tokens < 0 or max_messages < 0:
            raise errors.invalid("max_tokens", "limits of the window must not be negative; 0 means the default")
        limit = min(max_messages or self._config.window_max_messages, self._config.window_scan_messages)
        drafts = self._drafts(request_id, messages)
        if drafts:
            earlier = await self._store.open_turn(
                org_id, thread_id, request_id, drafts, self._clock(), limit=limit, max_tokens=max_tokens
            )
        else:
            earlier = await self._store.read_window(org_id, thread_id, request_id, limit=limit, max_tokens=max_tokens)
        window = choose(earlier, max_tokens=max_tokens, max_messages=limit)
        return window, sum(map(cost_tokens, window))

    def _drafts(self, request_id: str, messages: Sequence[NewMessage], *, first_ordinal: int = 0) -> list[Draft]:
        if len(request_id) > MAX_REQUEST_ID_CHARS or not request_id.isprintable():
            raise errors.invalid("request_id", f"must be at most {MAX_REQUEST_ID_CHARS} printable characters")
        if len(messages) > APPENDED_FROM:
            raise errors.invalid("messages", f"has {len(messages)}, at most {APPENDED_FROM} are saved at once")
        return [self._draft(message, index, first_ordinal + index) for index, message in enumerate(messages)]

    def _draft(self, message: NewMessage, index: int, ordinal: int) -> Draft:
        if message.role not in ROLES:
            raise errors.invalid(f"messages[{index}].role", f'"{message.role[:32]}" is none of {", ".join(ROLES)}')
        text_bytes, json_bytes = len(message.text.encode()), len(message.openai_json.encode())
        size_bytes = text_bytes + json_bytes
        if size_bytes > self._config.max_message_bytes:
            raise errors.message_too_large(size_bytes, self._config.max_message_bytes)
        return Draft(
            message_id=self._new_id(),
            role=message.role,
            text=_storable(message.text),
            openai_json=_storable(message.openai_json),
            tokens_estimated=message.tokens_estimated
            if message.tokens_estimated > 0
            else estimate_tokens(max(text_bytes, json_bytes)),
            model=_storable(message.model),
            ordinal=ordinal,
        )


def _storable(text: str) -> str:
    """PostgreSQL's text holds every character but NUL."""
    return text.replace("\x00", "\ufffd")


def _checked_thread_id(thread_id: str) -> str:
    if not 1 <= len(thread_id) <= MAX_THREAD_ID_CHARS or not thread_id.isprintable():
        raise errors.invalid("thread_id", f"must be 1 to {MAX_THREAD_ID_CHARS} printable characters")
    return thread_id


def _size(page_size: int) -> int:
    if page_size < 0:
        raise errors.invalid("page_size", f"must not be negative, not {page_size}")
    return min(page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


def _make_token(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


def _read_thread_token(token: str) -> tuple[dt.datetime, str] | None:
    if not token:
        return None
    try:
        created, _, thread_id = base64.urlsafe_b64decode(token.encode()).decode().partition(" ")
        moment = dt.datetime.fromisoformat(created)
        if moment.tzinfo is None or "\x00" in thread_id:
            raise _bad_token()
        # A moment may lie outside of what UTC can say.
        return moment.astimezone(dt.UTC), thread_id
    except (ValueError, OverflowError):
        raise _bad_token() from None


def _read_position_token(token: str) -> int:
    if not token:
        return -1
    try:
        position = int(base64.urlsafe_b64decode(token.encode()).decode())
    except ValueError:
        raise _bad_token() from None
    if not 0 <= position < 2**63:
        raise _bad_token()
    return position


def _bad_token() -> Exception:
    return errors.invalid("page_token", "is not one that this list gave; leave it out to begin anew")
