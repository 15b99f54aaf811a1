"""A chat's stream as the events of a thread: thinking, searching, delta, citation, usage, done, error. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from mesh import sse
from mesh.errors import MeshError
from services.gateway.edge.failures import error_object

_REASONING = ("reasoning_content", "reasoning")


def event(name: str, data: Mapping[str, Any]) -> bytes:
    """One event with its JSON data."""
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"


def error_event(error: MeshError, request_id: str, told: Mapping[str, Any]) -> bytes:
    """The last event of a stream that failed: OpenAI's error object, and what became of the turn."""
    kept = {name: told[name] for name in ("thread_id", "user_message_id", "saved") if told.get(name)}
    return event("error", {**error_object(error), "request_id": request_id, **kept})


class ThreadEvents:
    """Reads the frames of one stream in OpenAI's form; remembers what was cited and why it ended."""

    def __init__(self) -> None:
        self._splitter, self._cited, self._begun = sse.Splitter(), set[str](), False

    def read(self, frames: bytes) -> Iterator[bytes]:
        """The events that these frames become."""
        for whole in self._splitter.feed(frames):
            document = sse.read_json(sse.data_of(whole))
            if isinstance(document, dict):
                yield from self._chunk(document)

    def _chunk(self, document: dict[str, Any]) -> Iterator[bytes]:
        choices, deltas = document.get("choices"), list[dict[str, Any]]()
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict) and not choice.get("index"):
                delta = choice.get("delta")
                deltas.append(delta if isinstance(delta, dict) else {})
        # What was found before the first word is told before it.
        for one in citations_of(document):
            yield from self._citation(one)
        for delta in deltas:
            yield from self._delta(delta)

    def _delta(self, delta: dict[str, Any]) -> Iterator[bytes]:
        thought = next((said for name in _REASONING if isinstance(said := delta.get(name), str) and said), "")
        if thought:
            yield event("thinking", {"text": thought})
        text = delta.get("content") or delta.get("refusal")
        said = {"text": text if isinstance(text, str) else "", "tool_calls": delta.get("tool_calls")}
        if said["text"] or said["tool_calls"]:
            self._begun = True
            yield event("delta", {name: value for name, value in said.items() if value})
        for one in citations_of(delta):
            yield from self._citation(one)

    def _citation(self, one: dict[str, Any]) -> Iterator[bytes]:
        key = one.get("url") or repr(one)
        if key not in self._cited:
            if not self._cited and not self._begun:
                yield event("searching", {"source": "web"})
            self._cited.add(key)
            yield event("citation", {"index": len(self._cited), **one})


def citations_of(holder: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What a document, a message or a delta cites, in the forms that providers have: Perplexity's search results and
    citations, OpenAI's annotations, Cohere's citations."""
    for one in _dicts(holder.get("search_results")):
        yield _named(one, ("url", "title", "date", "snippet"))
    for one in _dicts(holder.get("annotations")):
        yield _named(one.get("url_citation") or one, ("url", "title", "start_index", "end_index"))
    given = holder.get("citations")
    for one in given if isinstance(given, list) else ():
        if isinstance(one, str):
            yield {"url": one}
        elif isinstance(one, dict):
            yield _named(one, ("url", "title", "start", "end", "text", "sources"))


def _dicts(given: Any) -> list[dict[str, Any]]:
    return [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []


def _named(given: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: given[name] for name in names if given.get(name) is not None} if isinstance(given, dict) else {}


def shown_text(frames: bytes) -> str:
    """The text of the first choice that the frames of a stream in OpenAI's form have shown."""
    parts = []
    for data in sse.events_in(frames):
        document = sse.read_json(data)
        choices = document.get("choices") if isinstance(document, dict) else None
        for choice in choices if isinstance(choices, list) else ():
            delta = choice.get("delta") if isinstance(choice, dict) and not choice.get("index") else None
            if isinstance(delta, dict) and isinstance(delta.get("content"), str):
                parts.append(delta["content"])
    return "".join(parts)
