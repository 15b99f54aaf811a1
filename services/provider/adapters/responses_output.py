"""The output items of an OpenAI response while they grow, and the stream events that tell of it.

One item is open at a time, as OpenAI sends them. Nothing here knows of a provider's exchange: whatever says the pieces,
the items, their ids and the sequence numbers go on.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from services.provider.adapters.chat_deltas import CallOrder
from services.provider.adapters.responses_tools import Tool, custom_text
from services.provider.errors import garbage

MOST_BYTES = 2 * 1024 * 1024
"""The largest translated answer, as JSON: its end repeats it four times; gRPC callers take no message over 12 MiB."""
_FIELD = {"output_text": "text", "refusal": "refusal", "summary_text": "text"}
_EVENT = {"output_text": "output_text", "refusal": "refusal", "summary_text": "reasoning_summary_text"}
_encode = msgspec.json.encode


class Output:
    """Items so far. Every method gives the events that it makes, as bytes."""

    def __init__(self, provider: str) -> None:
        self.items: list[dict[str, Any]] = []
        self.name = ""
        """What the items' ids are made of."""
        self.tools: Mapping[str, Tool] = {}
        """The functions that stand for tools of another form."""
        self._provider = provider
        self._calls = CallOrder(provider)
        self._item: dict[str, Any] | None = None
        self._kind = ""
        self._pieces: list[str] = []
        self._bytes = self._sequence = 0

    def event(self, kind: str, **fields: Any) -> bytes:
        """One event with the next sequence number."""
        made = {"type": kind, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return b"event: " + kind.encode() + b"\ndata: " + _encode(made) + b"\n\n"

    def say(self, kind: str, piece: str) -> bytes:
        """A piece of text: output_text, refusal or summary_text."""
        if not piece:
            return b""
        out = b"" if self._kind == kind else self.begin(kind)
        self._keep(piece)
        more: dict[str, Any] = {"logprobs": []} if kind == "output_text" else {}
        return out + self.event(f"response.{_EVENT[kind]}.delta", **self._place(), delta=piece, **more)

    def begin(self, kind: str) -> bytes:
        """Opens a part of that kind, in the open item when it may stand there."""
        reasoning = kind == "summary_text"
        self._calls.leave()
        out = self._close_part()
        if self._item is None or self._item["type"] != ("reasoning" if reasoning else "message"):
            out += self.close() + self._open(_blank_reasoning() if reasoning else _blank_message())
        self._kind = kind
        self._parts().append(_blank_part(kind))
        added = "reasoning_summary_part" if reasoning else "content_part"
        return out + self.event(f"response.{added}.added", **self._place(), part=self._parts()[-1])

    def call(self, call: dict[str, Any]) -> bytes:
        """A piece of a chat's tool call. Raises ProviderFault for one of a call that is over."""
        function = call.get("function") or {}
        out = b""
        if self._calls.begins(call):
            call_id = str(call.get("id") or f"call_{self.name}_{len(self.items)}")
            item = _blank_call(self.tools.get(str(function["name"]), Tool(str(function["name"]))), call_id)
            out = self.close() + self._open(item)
            self._kind = item["type"]
        if call.get("extra_content") and self._item is not None:
            self._item["extra_content"] = call["extra_content"]
        arguments = function.get("arguments") or ""
        piece = arguments if isinstance(arguments, str) else _encode(arguments).decode()
        if not piece:
            return out
        self._keep(piece)
        if self._kind == "custom_tool_call":
            # Its text can be told when all of it is there.
            return out
        return out + self.event("response.function_call_arguments.delta", **self._place(), delta=piece)

    def close(self, status: str = "completed") -> bytes:
        """The end of the open item."""
        if self._item is None:
            return b""
        out, item = self._close_part(), self._item
        if item["type"] != "reasoning":
            item["status"] = status
        self._item = None
        return out + self.event("response.output_item.done", output_index=len(self.items) - 1, item=item)

    def _open(self, item: dict[str, Any]) -> bytes:
        item["id"] = f"{item['id']}_{self.name}_{len(self.items)}"
        self._item = item
        self.items.append(item)
        return self.event("response.output_item.added", output_index=len(self.items) - 1, item=item)

    def _parts(self) -> list[dict[str, Any]]:
        assert self._item is not None
        parts: list[dict[str, Any]] = self._item["summary" if self._item["type"] == "reasoning" else "content"]
        return parts

    def _place(self) -> dict[str, Any]:
        """Where the open part stands."""
        assert self._item is not None
        place = {"item_id": self._item["id"], "output_index": len(self.items) - 1}
        if self._kind in ("function_call", "custom_tool_call"):
            return place
        index = "summary_index" if self._kind == "summary_text" else "content_index"
        return {**place, index: len(self._parts()) - 1}

    def _close_part(self) -> bytes:
        if not self._kind or self._item is None:
            return b""
        kind, text = self._kind, "".join(self._pieces)
        if kind == "custom_tool_call":
            self._item["input"] = text = custom_text(text)
            out = self.event("response.custom_tool_call_input.delta", **self._place(), delta=text) if text else b""
            out += self.event("response.custom_tool_call_input.done", **self._place(), input=text)
        elif kind == "function_call":
            self._item["arguments"] = text = text or "{}"
            name = self._item["name"]
            out = self.event("response.function_call_arguments.done", **self._place(), name=name, arguments=text)
        else:
            part = self._parts()[-1]
            part[_FIELD[kind]] = text
            more: dict[str, Any] = {"logprobs": []} if kind == "output_text" else {}
            out = self.event(f"response.{_EVENT[kind]}.done", **self._place(), **{_FIELD[kind]: text}, **more)
            done = "reasoning_summary_part" if kind == "summary_text" else "content_part"
            out += self.event(f"response.{done}.done", **self._place(), part=part)
        self._kind, self._pieces = "", []
        return out

    def _keep(self, piece: str) -> None:
        self._pieces.append(piece)
        self._bytes += len(_encode(piece))
        if self._bytes > MOST_BYTES:
            raise garbage(
                self._provider, f"it is larger than {MOST_BYTES >> 20} MiB, the most of a translated response"
            )


def _blank_call(tool: Tool, call_id: str) -> dict[str, Any]:
    kind, said = ("custom_tool_call", "input") if tool.custom else ("function_call", "arguments")
    named = {"namespace": tool.namespace} if tool.namespace else {}
    item = {"id": "ctc" if tool.custom else "fc", "type": kind, "status": "in_progress", "call_id": call_id}
    return {**item, **named, "name": tool.name, said: ""}


def _blank_message() -> dict[str, Any]:
    return {"id": "msg", "type": "message", "status": "in_progress", "role": "assistant", "content": []}


def _blank_reasoning() -> dict[str, Any]:
    return {"id": "rs", "type": "reasoning", "summary": []}


def _blank_part(kind: str) -> dict[str, Any]:
    if kind == "output_text":
        return {"type": kind, "text": "", "annotations": [], "logprobs": []}
    return {"type": kind, _FIELD[kind]: ""}
