"""What callers of ConversationService send, checked: ids, titles, tags, messages, page tokens."""

from __future__ import annotations

import base64
import datetime as dt
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mesh.tokens import estimate_tokens
from services.memory import errors
from services.memory.conversations.threads import COMPLETE, Draft, ThreadChange

ROLES = ("system", "user", "assistant", "tool")
MAX_THREAD_ID_CHARS = 128
MAX_REQUEST_ID_CHARS = 128
MAX_TITLE_CHARS = 512
MAX_NAME_CHARS = 128
MAX_MODEL_CHARS = 256
MAX_TAGS = 32
MAX_TAG_CHARS = 64
MAX_PARAMETERS_BYTES = 16_384
DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message as it comes in."""

    role: str
    text: str
    openai_json: str = ""
    tokens_estimated: int = 0
    model: str = ""
    status: str = COMPLETE
    finish_reason: str = ""
    replaces: str = ""
    message_id: str = ""
    """Empty = a new one is made."""


def drafts_of(
    messages: Sequence[NewMessage],
    max_bytes: int,
    new_id: Callable[[], str],
    request_id: str,
    *,
    first_ordinal: int = 0,
) -> list[Draft]:
    """Messages ready to save. Raises INVALID_REQUEST and TOO_LARGE."""
    checked_request_id(request_id)
    return [
        draft_of(message, max_bytes, _id_of(message, index) or new_id(), first_ordinal + index, f"messages[{index}]")
        for index, message in enumerate(messages)
    ]


def _id_of(message: NewMessage, index: int) -> str:
    given = message.message_id
    return checked_message_id(given, f"messages[{index}].message_id") if given else ""


def draft_of(message: NewMessage, max_bytes: int, message_id: str, ordinal: int, field: str = "message") -> Draft:
    """A message ready to save. Raises INVALID_REQUEST and TOO_LARGE."""
    if message.role not in ROLES:
        raise errors.invalid(f"{field}.role", f'"{message.role[:32]}" is none of {", ".join(ROLES)}')
    text_bytes, json_bytes = len(message.text.encode()), len(message.openai_json.encode())
    size_bytes = text_bytes + json_bytes
    if size_bytes > max_bytes:
        raise errors.message_too_large(size_bytes, max_bytes)
    estimated = message.tokens_estimated
    return Draft(
        message_id=message_id,
        role=message.role,
        text=storable(message.text),
        openai_json=storable(message.openai_json),
        tokens_estimated=estimated if estimated > 0 else estimate_tokens(max(text_bytes, json_bytes)),
        model=storable(message.model),
        ordinal=ordinal,
        status=message.status,
        finish_reason=storable(message.finish_reason),
        replaces=checked_message_id(message.replaces, f"{field}.replaces_message_id") if message.replaces else "",
    )


def checked_change(change: ThreadChange) -> ThreadChange:
    """What may be stored of a thread. Raises INVALID_REQUEST."""
    if change.title is not None and len(change.title) > MAX_TITLE_CHARS:
        raise errors.invalid("title", f"has {len(change.title)} characters, at most {MAX_TITLE_CHARS} are kept")
    if change.model is not None and len(change.model) > MAX_MODEL_CHARS:
        raise errors.invalid("model", f"has {len(change.model)} characters, at most {MAX_MODEL_CHARS} are kept")
    if change.parameters is not None and len(change.parameters.encode()) > MAX_PARAMETERS_BYTES:
        raise errors.invalid("parameters", f"is longer than the {MAX_PARAMETERS_BYTES} bytes that are kept")
    if change.version < 0:
        raise errors.invalid("version", f"must not be negative, not {change.version}")
    return replace(
        change,
        title=None if change.title is None else storable(change.title),
        model=None if change.model is None else storable(change.model),
        parameters=None if change.parameters is None else storable(change.parameters),
        tags=None if change.tags is None else checked_tags(change.tags),
    )


def checked_tags(tags: Sequence[str]) -> tuple[str, ...]:
    """Tags, each once. Raises INVALID_REQUEST."""
    if len(tags) > MAX_TAGS:
        raise errors.invalid("tags", f"are {len(tags)}, at most {MAX_TAGS} are kept")
    for tag in tags:
        if not 1 <= len(tag) <= MAX_TAG_CHARS or not tag.isprintable():
            raise errors.invalid("tags", f'"{tag[:MAX_TAG_CHARS]}" must be 1 to {MAX_TAG_CHARS} printable characters')
    return tuple(dict.fromkeys(tags))


def checked_name(name: str) -> str:
    """A branch's name. Raises INVALID_REQUEST."""
    if len(name) > MAX_NAME_CHARS:
        raise errors.invalid("name", f"has {len(name)} characters, at most {MAX_NAME_CHARS} are kept")
    return storable(name)


def checked_thread_id(thread_id: str) -> str:
    """A thread's id. Raises INVALID_REQUEST."""
    if not 1 <= len(thread_id) <= MAX_THREAD_ID_CHARS or not thread_id.isprintable():
        raise errors.invalid("thread_id", f"must be 1 to {MAX_THREAD_ID_CHARS} printable characters")
    return thread_id


def checked_agent_id(agent_id: str) -> str:
    """An agent's id; empty is allowed. Raises INVALID_REQUEST."""
    if len(agent_id) > MAX_THREAD_ID_CHARS or not agent_id.isprintable():
        raise errors.invalid("agent_id", f"must be at most {MAX_THREAD_ID_CHARS} printable characters")
    return agent_id


def checked_request_id(request_id: str) -> str:
    """A request's id; empty is allowed. Raises INVALID_REQUEST."""
    if len(request_id) > MAX_REQUEST_ID_CHARS or not request_id.isprintable():
        raise errors.invalid("request_id", f"must be at most {MAX_REQUEST_ID_CHARS} printable characters")
    return request_id


def checked_message_id(message_id: str, field: str = "message_id") -> str:
    """A message's id as it is stored. Raises INVALID_REQUEST."""
    try:
        return str(uuid.UUID(message_id))
    except ValueError:
        raise errors.invalid(field, f'"{message_id[:64]}" is not the id of a message, which is a UUID') from None


def checked_limit(max_tokens: int, max_messages: int) -> None:
    """Refuses limits that could not be."""
    if max_tokens < 0 or max_messages < 0:
        raise errors.invalid("max_tokens", "limits of the window must not be negative; 0 means the default")


def storable(text: str) -> str:
    """PostgreSQL's text holds every character but NUL."""
    return text.replace("\x00", "\ufffd")


def page_size_of(page_size: int) -> int:
    """How many rows a page has. Raises INVALID_REQUEST."""
    if page_size < 0:
        raise errors.invalid("page_size", f"must not be negative, not {page_size}")
    return min(page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


def make_token(text: str) -> str:
    """A page token that says where to go on."""
    return base64.urlsafe_b64encode(text.encode()).decode()


def read_thread_token(token: str) -> tuple[dt.datetime, str] | None:
    """When and which thread was last on the page before. Raises INVALID_REQUEST."""
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


def read_position_token(token: str) -> int:
    """The last position of the page before. Raises INVALID_REQUEST."""
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
