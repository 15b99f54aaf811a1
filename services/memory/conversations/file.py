"""A conversation as a file: what it holds, whether it is a tree, under which ids it is made anew. Pure."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from mesh.tokens import estimate_tokens
from services.memory import errors
from services.memory.conversations.input import (
    MAX_NAME_CHARS,
    MAX_REQUEST_ID_CHARS,
    ROLES,
    checked_agent_id,
    checked_change,
    storable,
)
from services.memory.conversations.threads import COMPLETE, MAIN, PARTIAL, Branch, Thread, ThreadChange
from services.memory.conversations.window import Message

FORMAT = "dac.conversation/1"
MAX_ID_CHARS = 128
MAX_MODEL_CHARS = 256
_MOST_BYTES_PER_TOKEN = 16
LATEST_S = 253_402_300_000
"""Times a calendar can say: before the year 10,000."""


@dataclass(frozen=True, slots=True)
class ConversationFile:
    """A thread with its branches and messages, a message behind the one it follows."""

    thread: Thread
    branches: Sequence[Branch]
    messages: Sequence[Message]
    notes: Sequence[str] = field(default=())
    """What the file could not say."""


def checked(file: ConversationFile, *, max_bytes: int) -> ConversationFile:
    """The file with its gaps filled, its positions in order. Raises INVALID_REQUEST naming what is wrong."""
    notes = list(file.notes)
    messages, seen = [], set[str]()
    for index, message in enumerate(file.messages):
        messages.append(_checked_message(message, index, seen, max_bytes))
        seen.add(message.message_id)
    branches = _checked_branches(file.branches, messages)
    names = {branch.branch_id for branch in branches}
    active = file.thread.active_branch or MAIN
    if active not in names:
        raise errors.invalid("thread.active_branch_id", f'"{active[:64]}" is none of the branches of the file')
    messages, forgotten = _without_strangers(messages, seen)
    if forgotten:
        notes.append(f"{forgotten} references to messages that the file does not hold were left out.")
    thread = file.thread
    said = checked_change(ThreadChange(thread.title, thread.tags, thread.model, thread.parameters))
    thread = dataclasses.replace(
        thread,
        title=said.title or "",
        tags=said.tags or (),
        model=said.model or "",
        parameters=said.parameters or "",
        active_branch=active,
        agent_id=checked_agent_id(thread.agent_id),
        message_count=sum(not one.deleted_at_s for one in messages),
        next_position=len(messages),
        forked=any(
            one.parent_id != (messages[place - 1].message_id if place else "") for place, one in enumerate(messages)
        ),
        deleted_at=None,
        version=1,
    )
    return ConversationFile(thread, branches, messages, notes)


def _checked_message(message: Message, index: int, seen: set[str], max_bytes: int) -> Message:
    here = f"messages[{index}]"
    _check_id(f"{here}.message_id", message.message_id)
    if message.message_id in seen:
        raise errors.invalid(f"{here}.message_id", f'"{message.message_id}" is there twice')
    if message.parent_id and message.parent_id not in seen:
        raise errors.invalid(
            f"{here}.parent_message_id",
            f'"{message.parent_id[:64]}" is no message before this one: a message stands behind the one it follows',
        )
    if message.role not in ROLES:
        raise errors.invalid(f"{here}.role", f'"{message.role[:32]}" is none of {", ".join(ROLES)}')
    if message.status not in (COMPLETE, PARTIAL):
        raise errors.invalid(f"{here}.status", f'"{message.status[:32]}" is neither {COMPLETE} nor {PARTIAL}')
    text_bytes, json_bytes = len(message.text.encode()), len(message.openai_json.encode())
    if text_bytes + json_bytes > max_bytes:
        raise errors.message_too_large(text_bytes + json_bytes, max_bytes)
    size_bytes = max(text_bytes, json_bytes)
    for name, value, most in (
        ("request_id", message.request_id, MAX_REQUEST_ID_CHARS),
        ("model", message.model, MAX_MODEL_CHARS),
        ("finish_reason", message.finish_reason, MAX_NAME_CHARS),
    ):
        if len(value) > most:
            raise errors.invalid(f"{here}.{name}", f"has {len(value)} characters, at most {most} are kept")
    _check_branch_id(f"{here}.branch_id", message.branch_id or MAIN)
    tokens = message.tokens_estimated
    if not 0 <= tokens < 2**31:
        raise errors.invalid(f"{here}.tokens_estimated", f"must be 0 to {2**31 - 1}, not {tokens}")
    return dataclasses.replace(
        message,
        text=storable(message.text),
        openai_json=storable(message.openai_json),
        # A budget of tokens must not be cheated by what a file says.
        tokens_estimated=tokens if tokens * _MOST_BYTES_PER_TOKEN >= size_bytes else estimate_tokens(size_bytes),
        request_id=storable(message.request_id),
        model=storable(message.model),
        finish_reason=storable(message.finish_reason),
        branch_id=message.branch_id or MAIN,
        position=index,
        created_at_s=_checked_time(f"{here}.created_at", message.created_at_s),
        deleted_at_s=_checked_time(f"{here}.deleted_at", message.deleted_at_s),
    )


def _checked_branches(branches: Sequence[Branch], messages: Sequence[Message]) -> list[Branch]:
    """The branches, "main" among them: where the file says none it ends with the last message."""
    places = {message.message_id: message.position for message in messages}
    found: list[Branch] = []
    ids = set[str]()
    for index, branch in enumerate(branches):
        here = f"branches[{index}]"
        _check_branch_id(f"{here}.branch_id", branch.branch_id)
        if branch.branch_id in ids:
            raise errors.invalid(f"{here}.branch_id", f'"{branch.branch_id}" is there twice')
        ids.add(branch.branch_id)
        if len(branch.name) > MAX_NAME_CHARS:
            raise errors.invalid(f"{here}.name", f"has {len(branch.name)} characters, at most {MAX_NAME_CHARS}")
        for name, value in (("head_message_id", branch.head), ("forked_from_message_id", branch.forked_from)):
            if value and value not in places:
                raise errors.invalid(f"{here}.{name}", f'"{value[:64]}" is no message of the file')
        found.append(dataclasses.replace(branch, name=storable(branch.name), head_position=places.get(branch.head, -1)))
    if MAIN not in ids:
        if found:
            raise errors.invalid("branches", f'have no "{MAIN}", which every thread has')
        last = messages[-1] if messages else None
        head, position = (last.message_id, last.position) if last else ("", -1)
        found.append(Branch(MAIN, MAIN, head=head, head_position=position))
    return found


def _without_strangers(messages: Sequence[Message], seen: set[str]) -> tuple[list[Message], int]:
    """Messages whose references are all to messages of the file; and how many references were left out."""
    kept, forgotten = [], 0
    for message in messages:
        replaces = message.replaces if message.replaces in seen else ""
        copied_from = message.copied_from if message.copied_from in seen else ""
        forgotten += (replaces != message.replaces) + (copied_from != message.copied_from)
        kept.append(dataclasses.replace(message, replaces=replaces, copied_from=copied_from))
    return kept, forgotten


def _check_id(where: str, value: str) -> None:
    if not 1 <= len(value) <= MAX_ID_CHARS or not value.isprintable():
        raise errors.invalid(where, f"must be 1 to {MAX_ID_CHARS} printable characters")


def _check_branch_id(where: str, value: str) -> None:
    if value == MAIN:
        return
    try:
        is_canonical = str(uuid.UUID(value)) == value
    except ValueError:
        is_canonical = False
    if not is_canonical:
        raise errors.invalid(where, f'"{value[:64]}" is neither "{MAIN}" nor a UUID')


def _checked_time(where: str, value: float) -> float:
    if not 0 <= value < LATEST_S:
        raise errors.invalid(where, "is no time since 1970 and before the year 10,000")
    return value


def renamed(file: ConversationFile, thread_id: str) -> ConversationFile:
    """The same tree as `thread_id`, with ids of its own that follow from it and the file's: again the same ones.

    No id of a file is taken as it is: it could be one of somebody else's messages.
    """
    ids = {"": ""}
    for message in file.messages:
        ids[message.message_id] = derived_id(message.created_at_s, thread_id, message.message_id)
    messages = [
        dataclasses.replace(
            message,
            message_id=ids[message.message_id],
            thread_id=thread_id,
            parent_id=ids[message.parent_id],
            replaces=ids[message.replaces],
            copied_from=ids[message.copied_from],
        )
        for message in file.messages
    ]
    branches = [
        dataclasses.replace(branch, head=ids[branch.head], forked_from=ids[branch.forked_from])
        for branch in file.branches
    ]
    return dataclasses.replace(
        file, thread=dataclasses.replace(file.thread, thread_id=thread_id), branches=branches, messages=messages
    )


def dated(file: ConversationFile, now: dt.datetime) -> ConversationFile:
    """With a time wherever the file says none: the one before it, or now."""
    messages: list[Message] = []
    latest = min((one.created_at_s for one in file.messages if one.created_at_s), default=now.timestamp())
    for message in file.messages:
        latest = message.created_at_s or latest
        messages.append(dataclasses.replace(message, created_at_s=latest))
    branches = [
        branch if branch.created_at.tzinfo else dataclasses.replace(branch, created_at=now, updated_at=now)
        for branch in file.branches
    ]
    return dataclasses.replace(file, branches=branches, messages=messages)


def derived_id(created_at_s: float, *names: str) -> str:
    """A UUIDv7 that is the same for the same time and names."""
    digest = hashlib.blake2b("\0".join(names).encode("utf-8", "surrogatepass"), digest_size=10).digest()
    value = (int(created_at_s * 1000) & (2**48 - 1)) << 80 | int.from_bytes(digest, "big")
    value = value & ~(0xF << 76) | 7 << 76
    return str(uuid.UUID(int=value & ~(0x3 << 62) | 2 << 62))


def is_within(file: ConversationFile, thread_id: str, messages: Sequence[Message]) -> bool:
    """Whether a thread's messages hold every one of the file's, under the file's ids or under those made of them.

    A message whose text is gone, there or here, is known by its place alone.
    """
    there = {message.message_id: message for message in messages}
    return any(
        all(_is_same(there.get(message.message_id), message) for message in candidate)
        for candidate in (file.messages, renamed(file, thread_id).messages)
    )


def _is_same(there: Message | None, message: Message) -> bool:
    if there is None or (there.parent_id, there.role) != (message.parent_id, message.role):
        return False
    if there.deleted_at_s or message.deleted_at_s:
        return True
    return (there.text, there.openai_json) == (message.text, message.openai_json)
