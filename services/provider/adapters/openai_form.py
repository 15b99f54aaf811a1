"""OpenAI's stream chunks and usage, for adapters that translate another provider's answers into them."""

from typing import Any

import msgspec


def chunk(
    answer_id: str, created_s: int, model: str, delta: dict[str, Any] | None, finish: str | None, **more: Any
) -> bytes:
    """One chat.completion.chunk as a stream event; without a delta it has no choices. `more`: fields put behind."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    made: dict[str, Any] = {
        "id": answer_id,
        "object": "chat.completion.chunk",
        "created": created_s,
        "model": model,
        "choices": choices,
        **more,
    }
    return b"data: " + msgspec.json.encode(made) + b"\n\n"


def error_body(message: object) -> bytes:
    """An error that says this; nothing when it is no text."""
    if not isinstance(message, str):
        return b""
    return msgspec.json.encode({"error": {"message": message, "type": "error", "param": None, "code": None}})
