"""What must be equal before a stored answer may be considered: the scope key of a chat, and the prompt within it.

Only the last question may differ in words, and only when it is nothing but text. Everything else that shapes the answer
is in the key: see CacheService. The organisation and the user are not: they are hard filters of their own.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import msgspec

from dac.type.v1 import chat_pb2
from mesh.errors import invalid
from services.gateway.wire.openai_wire import SHAPES_NOTHING, ChatAsk

VERSION = "v2"
_TURNS = {chat_pb2.DIALECT_OPENAI_RESPONSES: "input"}
_TEXT_TYPES = frozenset({"text", "input_text"})
_TEXT_PART = frozenset({"type", "text", "cache_control"})
"""What a part of plain text may hold; a mark for a provider's prompt cache changes no answer."""
_PLAIN_USER = frozenset({"role", "content", "type"})


class Scoped(NamedTuple):
    """A chat as the cache knows it."""

    key: bytes
    prompt: str
    """Empty: the last message is part of the key, and only an equal chat matches."""


def scope_of(ask: ChatAsk, body: bytes, rules: str = "") -> Scoped:
    """The scope of a chat whose messages, earlier turns of its thread included, are in `body`.

    `rules`: what its policy does to answers; empty = nothing. Raises INVALID_REQUEST for what nobody can compare.
    """
    fields: dict[str, Any] = _decoded(body)
    name = _TURNS.get(ask.dialect, "messages")
    turns = fields.pop(name, None)
    if isinstance(turns, str):
        turns = [{"role": "user", "content": turns}]
    prompt, before, rest = "", turns, None
    if isinstance(turns, list) and turns:
        text, beside = _question(turns[-1])
        if text.strip():
            prompt, before, rest = text, turns[:-1], beside
    shaping = {key: value for key, value in fields.items() if key not in SHAPES_NOTHING}
    about = [
        VERSION,
        rules,
        chat_pb2.Dialect.Name(ask.dialect),
        ask.model,
        ask.profile,
        ask.anthropic_beta,
        _canonical_turns(before),
        rest,
        shaping,
    ]
    return Scoped(hashlib.sha256(msgspec.json.encode(about, order="sorted")).digest(), prompt)


def _decoded(body: bytes | msgspec.Raw) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid("body", f"The body cannot be compared with others, as the cache does: {error}.") from None


def temperature_of(ask: ChatAsk) -> float:
    """What the chat asks for; 1 when it does not say, as providers take it."""
    raw = ask.fields.get("temperature")
    found = None if raw is None else _decoded(raw)
    return float(found) if isinstance(found, int | float) else 1.0


def _question(turn: Any) -> tuple[str, Any]:
    """(the text of a user's turn, what it holds besides); no text when it is more than that."""
    if not isinstance(turn, dict) or turn.get("role") != "user":
        return "", None
    text = _text(turn.get("content"))
    if text is None:
        return "", None
    beside = {key: value for key, value in turn.items() if key not in _PLAIN_USER}
    return text, beside


def _text(content: Any) -> str | None:
    """The text of a content that is nothing else."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    texts: list[str] = []
    for part in content:
        if not isinstance(part, dict) or part.get("type") not in _TEXT_TYPES or not _TEXT_PART.issuperset(part):
            return None
        if not isinstance(part.get("text"), str):
            return None
        texts.append(part["text"])
    return "\n".join(texts) if texts else None


def _canonical_turns(turns: Any) -> Any:
    """Turns with plain text written one way, whichever of its two forms it was sent in."""
    if not isinstance(turns, list):
        return turns
    return [_canonical_turn(turn) for turn in turns]


def _canonical_turn(turn: Any) -> Any:
    if not isinstance(turn, dict):
        return turn
    text = _text(turn.get("content"))
    return turn if text is None or isinstance(turn["content"], str) else {**turn, "content": text}
