"""A chat's answer in its two forms, from one to the other: the events of a stream, and one whole document.

What is stored holds both where it can, so that a stream is replayed along the boundaries it had, and an answer that
was asked for whole can be streamed, with reasoning, tool calls, log probabilities and usage. Pure: values in and out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from mesh import sse

_PIECE = re.compile(r"\s*\S+|\s+$")
_SET = frozenset({"role", "name", "id", "type"})
_TEXTS = ("reasoning_content", "reasoning", "content", "refusal")


def events_of(frames: bytes) -> list[bytes]:
    """The data of every event of a stream but its [DONE]."""
    return [data for data in sse.events_in(frames) if data and data != b"[DONE]"]


def framed(events: Iterable[bytes], *, named: bool = False) -> bytes:
    """Events as they go over the wire; `named`: with the type of each in a line of its own."""
    if not named:
        return b"".join(b"data: " + event + b"\n\n" for event in events)
    made = []
    for event in events:
        document = sse.read_json(event)
        kind = document.get("type") if isinstance(document, dict) else ""
        made.append(b"event: " + str(kind).encode() + b"\ndata: " + event + b"\n\n")
    return b"".join(made)


def pieces(text: str) -> list[str]:
    """A text as a model might have streamed it: word by word. Joined they are the text."""
    return _PIECE.findall(text) if text else []


def assembled(events: Sequence[bytes]) -> dict[str, Any] | None:
    """The chat.completion that the events of a stream make; None where one of them says what cannot be joined."""
    top: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    usage = None
    for raw in events:
        event = sse.read_json(raw)
        if not isinstance(event, dict) or "error" in event or not isinstance(event.get("choices"), list):
            return None
        usage = event.get("usage") or usage
        top |= {key: value for key, value in event.items() if value is not None and key not in ("choices", "usage")}
        for choice in event["choices"]:
            found = choices.setdefault(choice.get("index", 0), {"message": {"role": "assistant"}})
            if not _join_choice(found, choice):
                return None
    if not choices or not all(one.get("finish_reason") for one in choices.values()):
        return None
    made = {**top, "object": "chat.completion", "choices": []}
    for index, one in sorted(choices.items()):
        message = one["message"]
        message.setdefault("content", None)
        if calls := message.pop("tool_calls", None):
            message["tool_calls"] = [calls[number] for number in sorted(calls)]
            message["content"] = message["content"] or None
        rest = {key: value for key, value in one.items() if key not in ("message", "logprobs", "finish_reason")}
        ended = {"logprobs": one.get("logprobs"), "finish_reason": one["finish_reason"]}
        made["choices"].append({"index": index, "message": message, **ended, **rest})
    if usage is not None:
        made["usage"] = usage
    return made


def _join_choice(found: dict[str, Any], choice: dict[str, Any]) -> bool:
    for key, value in choice.items():
        if key == "delta":
            if value is not None and not _join_delta(found["message"], value):
                return False
        elif key == "logprobs" and isinstance(value, dict):
            kept = found["logprobs"] = found.get("logprobs") or {}
            for name, tokens in value.items():
                kept[name] = (kept.get(name) or []) + tokens if isinstance(tokens, list) else kept.get(name)
        elif key != "index" and (value is not None or key not in found):
            found[key] = value
    return True


def _join_delta(message: dict[str, Any], delta: dict[str, Any]) -> bool:
    for key, value in delta.items():
        if key == "tool_calls" and isinstance(value, list):
            calls = message.setdefault("tool_calls", {})
            for call in value:
                kept = calls.setdefault(call.get("index", len(calls)), {})
                _join_call(kept, call)
        elif isinstance(value, str):
            # What says who or what stands once; everything else is text that goes on.
            message[key] = value if key in _SET else (message.get(key) or "") + value
        elif isinstance(value, list):
            message[key] = (message.get(key) or []) + value
        elif isinstance(value, dict):
            return False
        elif value is not None or key not in message:
            message[key] = value
    return True


def _join_call(kept: dict[str, Any], call: dict[str, Any]) -> None:
    for key, value in call.items():
        if isinstance(value, dict):
            inner = kept.setdefault(key, {})
            for name, part in value.items():
                grows = name in ("arguments", "input") and isinstance(part, str)
                inner[name] = inner.get(name, "") + part if grows else part
        elif key != "index" and value is not None:
            kept[key] = value


def split(document: dict[str, Any]) -> list[bytes]:
    """A chat.completion as the events of a stream, without its usage."""
    top = {key: value for key, value in document.items() if key not in ("choices", "usage")}
    if "object" in top:
        top["object"] = "chat.completion.chunk"
    events = []
    for choice in document.get("choices") or ():
        index = choice.get("index", 0)
        for delta, logprobs in _deltas(choice):
            one = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": None}
            events.append(msgspec.json.encode({**top, "choices": [one]}))
        beside_choice = {key: value for key, value in choice.items() if key not in ("message", "logprobs")}
        events.append(msgspec.json.encode({**top, "choices": [{**beside_choice, "delta": {}, "logprobs": None}]}))
    return events


def _deltas(choice: dict[str, Any]) -> list[tuple[dict[str, Any], Any]]:
    message = choice.get("message") or {}
    calls: list[dict[str, Any]] = message.get("tool_calls") or []
    logprobs: dict[str, Any] = choice.get("logprobs") or {}
    first = {
        "role": message.get("role", "assistant"),
        "content": "" if isinstance(message.get("content"), str) else None,
    }
    if "refusal" in message:
        first["refusal"] = None
    made: list[tuple[dict[str, Any], Any]] = [(first, None)]
    for name in _TEXTS:
        text = message.get(name)
        if not isinstance(text, str):
            continue
        tokens = logprobs.get(name)
        if tokens and "".join(str(one.get("token")) for one in tokens) == text:
            made += [({name: one["token"]}, {**dict.fromkeys(logprobs), name: [one]}) for one in tokens]
        elif tokens:
            made.append(({name: text}, {**dict.fromkeys(logprobs), name: tokens}))
        else:
            made += [({name: piece}, None) for piece in pieces(text)]
    for number, call in enumerate(calls):
        function = call.get("function")
        if not isinstance(function, dict) or not isinstance(function.get("arguments"), str):
            made.append(({"tool_calls": [{"index": number, **call}]}, None))
            continue
        opened = {"index": number, **call, "function": {**function, "arguments": ""}}
        made.append(({"tool_calls": [opened]}, None))
        for piece in pieces(function["arguments"]):
            made.append(({"tool_calls": [{"index": number, "function": {"arguments": piece}}]}, None))
    known = {*_TEXTS, "role", "tool_calls"}
    rest = {key: value for key, value in message.items() if key not in known and value not in (None, [])}
    return [*made, (rest, None)] if rest else made


def with_usage(events: Sequence[bytes], usage: dict[str, Any], *, wanted: bool) -> list[bytes]:
    """The events as one who asks for usage gets them, or as one who does not. Events that are so already stay."""
    read = [sse.read_json(event) for event in events]
    has = bool(read) and isinstance(read[-1], dict) and read[-1].get("choices") == [] and bool(read[-1].get("usage"))
    if has == wanted:
        return list(events)
    if not wanted:
        return [msgspec.json.encode({key: one[key] for key in one if key != "usage"}) for one in read[:-1]]
    told = [{**one, "usage": None} for one in read]
    last = {**told[-1], "choices": [], "usage": usage} if told else {"choices": [], "usage": usage}
    return [msgspec.json.encode(one) for one in [*told, last]]
