"""The rolling window: which earlier messages of a thread go with a new turn. Pure: messages in, messages out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import msgspec

MESSAGE_OVERHEAD_TOKENS = 4
"""Tokens that a chat format adds to each message (role and separators)."""


@dataclass(frozen=True, slots=True)
class Message:
    """One saved message."""

    message_id: str
    thread_id: str
    role: str
    text: str
    openai_json: str
    tokens_estimated: int
    request_id: str
    model: str
    position: int
    created_at_s: float = 0.0
    parent_id: str = ""
    """The message before it; empty = the first."""
    branch_id: str = "main"
    """The branch it was written on."""
    status: str = "COMPLETE"
    """COMPLETE, or PARTIAL for an answer that was cut half-way."""
    finish_reason: str = ""
    replaces: str = ""
    """The message that this one is another version of."""
    copied_from: str = ""
    """The message that this one is a copy of, made by a merge."""
    deleted_at_s: float = 0.0
    """0 = not deleted."""


class _Call(msgspec.Struct):
    id: str = ""


class _Shape(msgspec.Struct):
    """The part of an OpenAI message that ties tool calls to their results."""

    tool_calls: list[_Call] | None = None
    tool_call_id: str = ""


_decoder = msgspec.json.Decoder(_Shape)


def _shape(message: Message) -> _Shape:
    if not message.openai_json:
        return _Shape()
    try:
        return _decoder.decode(message.openai_json)
    except msgspec.DecodeError:
        return _Shape()


def cost_tokens(message: Message) -> int:
    """What a message costs of the window's budget."""
    return message.tokens_estimated + MESSAGE_OVERHEAD_TOKENS


def result_of(openai_json: str) -> str:
    """The id of the call that a message of a tool answers; empty = none."""
    try:
        return _decoder.decode(openai_json).tool_call_id
    except msgspec.DecodeError:
        return ""


def groups_of(messages: Sequence[Message], answered: Collection[str] = ()) -> list[list[Message]]:
    """Messages that only make sense together: a tool-calling assistant message with all its results; else one alone.

    Calls without all their results and results without their call are left out: providers refuse both. `answered`: the
    calls whose results follow behind all these messages.
    """
    groups: list[list[Message]] = []
    index = 0
    while index < len(messages):
        message = messages[index]
        index += 1
        if message.role == "tool":
            continue
        calls = _shape(message).tool_calls if message.role == "assistant" else None
        if not calls:
            groups.append([message])
            continue
        open_ids, group = {call.id for call in calls}, [message]
        while index < len(messages) and messages[index].role == "tool":
            result = _shape(messages[index]).tool_call_id
            if result in open_ids:
                open_ids.discard(result)
                group.append(messages[index])
            index += 1
        if not open_ids or (index == len(messages) and open_ids <= set(answered)):
            groups.append(group)
    return groups


def choose(messages: Sequence[Message], *, max_tokens: int, max_messages: int) -> list[Message]:
    """The newest groups that fit both limits, oldest first; nothing between two of them is skipped for being too long.

    `max_tokens` 0 = no limit by tokens.
    """
    chosen: list[list[Message]] = []
    tokens = count = 0
    for group in reversed(groups_of(messages)):
        group_tokens = sum(map(cost_tokens, group))
        if (max_tokens and tokens + group_tokens > max_tokens) or count + len(group) > max_messages:
            break
        tokens, count = tokens + group_tokens, count + len(group)
        chosen.append(group)
    return [message for group in reversed(chosen) for message in group]
