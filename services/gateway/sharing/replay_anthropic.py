"""Anthropic's messages in their two forms, from one to the other: see services.gateway.sharing.replay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from mesh import sse
from services.gateway.sharing.replay import pieces

_GROWS = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}
_PASSED_OVER = frozenset({"ping", "content_block_stop", "message_stop"})


def assembled(events: Sequence[bytes]) -> dict[str, Any] | None:
    """The message that the events of a stream make; None where one of them says what cannot be joined."""
    message: dict[str, Any] | None = None
    blocks: dict[int, dict[str, Any]] = {}
    inputs: dict[int, str] = {}
    for raw in events:
        event = sse.read_json(raw)
        kind = event.get("type") if isinstance(event, dict) else None
        if kind == "message_start":
            message = {**event["message"], "content": []}
        elif kind == "content_block_start":
            blocks[event["index"]] = dict(event["content_block"])
        elif kind == "content_block_delta":
            if event["index"] not in blocks or not _join(
                blocks[event["index"]], inputs, event["index"], event["delta"]
            ):
                return None
        elif kind == "message_delta" and message is not None:
            message |= event.get("delta") or {}
            if event.get("usage"):
                message["usage"] = {**(message.get("usage") or {}), **event["usage"]}
        elif kind not in _PASSED_OVER:
            return None
    if message is None or not message.get("stop_reason"):
        return None
    for index, text in inputs.items():
        said = sse.read_json(text.encode() or b"{}")
        if said is None:
            return None
        blocks[index]["input"] = said
    message["content"] = [blocks[index] for index in sorted(blocks)]
    return message


def _join(block: dict[str, Any], inputs: dict[int, str], index: int, delta: dict[str, Any]) -> bool:
    kind = delta.get("type")
    if kind in _GROWS:
        name = _GROWS[str(kind)]
        block[name] = (block.get(name) or "") + delta[name]
    elif kind == "input_json_delta":
        inputs[index] = inputs.get(index, "") + delta["partial_json"]
    elif kind == "citations_delta":
        block["citations"] = [*(block.get("citations") or []), delta["citation"]]
    else:
        return False
    return True


def split(document: dict[str, Any]) -> list[bytes]:
    """A message as the events of a stream, message_stop included."""
    ended = {name: document.get(name) for name in ("stop_reason", "stop_sequence")}
    opened = {**document, "content": [], **dict.fromkeys(ended)}
    usage = document.get("usage")
    if isinstance(usage, dict):
        opened["usage"] = {**usage, "output_tokens": min(1, usage.get("output_tokens") or 0)}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": opened}]
    for index, block in enumerate(document.get("content") or ()):
        empty, deltas = _block(block)
        events.append({"type": "content_block_start", "index": index, "content_block": empty})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    told = {"output_tokens": usage.get("output_tokens")} if isinstance(usage, dict) else {}
    events += [{"type": "message_delta", "delta": ended, "usage": told}, {"type": "message_stop"}]
    return [msgspec.json.encode(event) for event in events]


def _block(block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    kind = block.get("type")
    if kind == "text":
        cited = [{"type": "citations_delta", "citation": one} for one in block.get("citations") or ()]
        return {**block, "text": "", **({"citations": []} if cited else {})}, [
            *cited,
            *({"type": "text_delta", "text": piece} for piece in pieces(block.get("text") or "")),
        ]
    if kind == "thinking":
        told = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(block.get("thinking") or "")]
        if block.get("signature"):
            told.append({"type": "signature_delta", "signature": block["signature"]})
        return {**block, "thinking": "", "signature": ""}, told
    if kind in ("tool_use", "server_tool_use", "mcp_tool_use"):
        said = msgspec.json.encode(block.get("input") or {}).decode()
        parts = pieces(said) if said != "{}" else [""]
        return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": part} for part in parts]
    return block, []
