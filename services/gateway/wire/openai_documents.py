"""OpenAI's chat documents that DAC makes or reads itself: usage, a whole answer, a stream's event, a message."""

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from dac.type.v1.usage_pb2 import Usage
from mesh.usage import openai_usage


def completion(request_id: str, model: str, text: str, tool_calls_json: str, finish_reason: str, usage: Usage) -> bytes:
    """A whole chat.completion document."""
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
    if tool_calls_json:
        message["tool_calls"] = msgspec.json.decode(tool_calls_json)
        message["content"] = text or None
    return msgspec.json.encode(
        {
            "id": f"chatcmpl-{request_id}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": model,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason or "stop"}],
            "usage": openai_usage(usage),
        }
    )


def chunk(request_id: str, model: str, choices: list[dict[str, Any]], extra: Mapping[str, Any] | None = None) -> bytes:
    """One stream event."""
    body = {
        "id": f"chatcmpl-{request_id}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": model,
        "choices": choices,
    }
    return b"data: " + msgspec.json.encode({**body, **(extra or {})}) + b"\n\n"


def answer_of(document: bytes) -> tuple[str, str]:
    """Text and tool calls (as JSON, or empty) of a stored chat.completion."""
    message = msgspec.json.decode(document)["choices"][0]["message"]
    calls = message.get("tool_calls")
    return message.get("content") or "", msgspec.json.encode(calls).decode() if calls else ""


def plain_message(role: str, text: str) -> bytes:
    """A message of plain text."""
    return msgspec.json.encode({"role": role, "content": text})


def assistant_message(text: str, tool_calls_json: str) -> str:
    """An assistant's message with tool calls."""
    calls = msgspec.json.decode(tool_calls_json)
    return msgspec.json.encode({"role": "assistant", "content": text or None, "tool_calls": calls}).decode()
