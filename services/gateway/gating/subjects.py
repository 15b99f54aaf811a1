"""What of a chat its answer is checked against: the question, the sources, the JSON Schema that was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from dac.type.v1 import chat_pb2
from services.gateway.wire.openai_wire import ChatAsk, bounded_prompt

_TEXT_TYPES = frozenset({"text", "input_text"})


def question_of(ask: ChatAsk) -> str:
    """What the user said last, or its beginning and end; empty when that is no text."""
    if ask.prompt:
        return ask.prompt
    if ask.messages:
        turns: Iterable[Any] = ({"role": one.role, "content": one.content} for one in reversed(ask.messages))
    else:
        name = "input" if ask.dialect == chat_pb2.DIALECT_OPENAI_RESPONSES else "messages"
        said = _decoded(ask.fields.get(name))
        turns = [{"role": "user", "content": said}] if isinstance(said, str) else reversed(said or [])
    for turn in turns:
        if isinstance(turn, Mapping) and turn.get("role") == "user":
            return bounded_prompt(_text(turn.get("content")))
    return ""


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    texts = (one.get("text") for one in parts if isinstance(one, Mapping) and one.get("type") in _TEXT_TYPES)
    return "\n".join(text for text in texts if isinstance(text, str))


def schema_of(ask: ChatAsk) -> Mapping[str, Any] | None:
    """The JSON Schema of the whole answer; {} = any JSON, None = it need not be JSON."""
    if ask.dialect == chat_pb2.DIALECT_OPENAI_RESPONSES:
        wanted = _mapping(_decoded(ask.fields.get("text"))).get("format")
    elif ask.dialect == chat_pb2.DIALECT_ANTHROPIC_MESSAGES:
        wanted = _mapping(_decoded(ask.fields.get("output_config"))).get("format")
        wanted = wanted or _decoded(ask.fields.get("output_format"))
    else:
        wanted = _decoded(ask.fields.get("response_format"))
    form = _mapping(wanted)
    if form.get("type") == "json_object":
        return {}
    if form.get("type") != "json_schema":
        return None
    # OpenAI's chat form puts it one level deeper than the others.
    found = _mapping(form.get("json_schema")).get("schema", form.get("schema"))
    return found if isinstance(found, Mapping) else {}


def _decoded(raw: msgspec.Raw | None) -> Any:
    return None if raw is None else msgspec.json.decode(raw)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
