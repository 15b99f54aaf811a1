"""OpenAI's responses in their two forms, from one to the other: see services.gateway.sharing.replay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from mesh import sse
from services.gateway.sharing.replay import pieces

_CALLS = {
    "function_call": ("arguments", "response.function_call_arguments"),
    "custom_tool_call": ("input", "response.custom_tool_call_input"),
}


def assembled(events: Sequence[bytes]) -> dict[str, Any] | None:
    """The response that a stream ends with; None when it did not end well."""
    last = sse.read_json(events[-1]) if events else None
    if not isinstance(last, dict) or last.get("type") != "response.completed":
        return None
    response = last.get("response")
    return response if isinstance(response, dict) else None


def split(document: dict[str, Any]) -> list[bytes]:
    """A response as the events of a stream, response.completed included."""
    made = _events(document)
    return [
        msgspec.json.encode({"type": event.pop("type"), "sequence_number": number, **event})
        for number, event in enumerate(made)
    ]


def _events(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    begun = {**document, "status": "in_progress", "output": [], "usage": None}
    if "completed_at" in begun:
        begun["completed_at"] = None
    for kind in ("response.created", "response.in_progress"):
        yield {"type": kind, "response": begun}
    for index, item in enumerate(document.get("output") or ()):
        kind, place = item.get("type"), {"item_id": item.get("id"), "output_index": index}
        opened = {**item, **({"status": "in_progress"} if "status" in item else {})}
        if kind == "message":
            opened["content"] = []
        elif kind == "reasoning":
            opened["summary"] = []
        elif kind in _CALLS:
            opened[_CALLS[kind][0]] = ""
        yield {"type": "response.output_item.added", "output_index": index, "item": opened}
        yield from _within(kind, item, place)
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": f"response.{document.get('status') or 'completed'}", "response": document}


def _within(kind: Any, item: dict[str, Any], place: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if kind == "message":
        for number, part in enumerate(item.get("content") or ()):
            yield from _part(part, {**place, "content_index": number})
    elif kind == "reasoning":
        for number, part in enumerate(item.get("summary") or ()):
            where, text = {**place, "summary_index": number}, part.get("text") or ""
            yield {"type": "response.reasoning_summary_part.added", **where, "part": {**part, "text": ""}}
            for piece in pieces(text):
                yield {"type": "response.reasoning_summary_text.delta", **where, "delta": piece}
            yield {"type": "response.reasoning_summary_text.done", **where, "text": text}
            yield {"type": "response.reasoning_summary_part.done", **where, "part": part}
    elif kind in _CALLS:
        name, event = _CALLS[kind]
        for piece in pieces(item.get(name) or ""):
            yield {"type": f"{event}.delta", **place, "delta": piece}
        yield {"type": f"{event}.done", **place, name: item.get(name) or ""}


def _part(part: dict[str, Any], where: dict[str, Any]) -> Iterator[dict[str, Any]]:
    name = "refusal" if part.get("type") == "refusal" else "text"
    event = "response.refusal" if name == "refusal" else "response.output_text"
    more: dict[str, Any] = {} if name == "refusal" else {"logprobs": []}
    yield {"type": "response.content_part.added", **where, "part": {**part, name: ""}}
    for piece in pieces(part.get(name) or ""):
        yield {"type": f"{event}.delta", **where, "delta": piece, **more}
    yield {"type": f"{event}.done", **where, name: part.get(name) or "", **more}
    yield {"type": "response.content_part.done", **where, "part": part}
