"""Good answers in the two dialects, as events and whole, for faults to be put into."""

import json
from typing import Any

WORDS = [f"w{number:02}" for number in range(24)]
ANSWER = " ".join(WORDS)
INPUT_TOKENS, OUTPUT_TOKENS = 30, 24
GOOD_USAGE = {"prompt_tokens": INPUT_TOKENS, "completion_tokens": OUTPUT_TOKENS, "total_tokens": 54}
MISSING = object()


def usage_in(dialect: str, usage: Any) -> dict[str, Any]:
    """OpenAI's usage in a dialect's own words, in its own field; nothing when it is MISSING."""
    if usage is MISSING:
        return {}
    if dialect == "messages" and isinstance(usage, dict):
        names = {"prompt_tokens": "input_tokens", "completion_tokens": "output_tokens"}
        usage = {names.get(name, name): value for name, value in usage.items() if name != "total_tokens"}
    return {"usage": usage}


def encoded(dialect: str, event: dict[str, Any] | str) -> bytes:
    """One event on the wire."""
    if isinstance(event, str):
        return f"data: {event}\n\n".encode()
    name = f"event: {event['type']}\n" if dialect == "messages" else ""
    return f"{name}data: {json.dumps(event)}\n\n".encode()


def word_event(dialect: str, word: str, *, first: bool = False) -> bytes:
    """One word of the answer."""
    text = word if first else f" {word}"
    if dialect == "messages":
        delta = {"type": "text_delta", "text": text}
        return encoded(dialect, {"type": "content_block_delta", "index": 0, "delta": delta})
    return encoded(dialect, _chunk({"content": text}))


def _chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices}


def parts(dialect: str, usage: Any = GOOD_USAGE) -> tuple[list[bytes], list[bytes], list[bytes]]:
    """A stream's events: before the words, the words, after them."""
    words = [word_event(dialect, word, first=index == 0) for index, word in enumerate(WORDS)]
    if dialect == "messages":
        begun = usage_in(
            dialect, {"prompt_tokens": INPUT_TOKENS, "completion_tokens": 1} if usage is GOOD_USAGE else usage
        )
        message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
        start = {"type": "message_start", "message": {**message, "stop_reason": None, "stop_sequence": None, **begun}}
        block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        stop = {"stop_reason": "end_turn", "stop_sequence": None}
        delta = {"type": "message_delta", "delta": stop, **usage_in(dialect, usage)}
        tail = [{"type": "content_block_stop", "index": 0}, delta, {"type": "message_stop"}]
        return [encoded(dialect, start), encoded(dialect, block)], words, [encoded(dialect, one) for one in tail]
    head = encoded(dialect, _chunk({"role": "assistant", "content": ""}))
    tail = [encoded(dialect, _chunk({}, "stop"))]
    if usage is not MISSING:
        tail.append(encoded(dialect, {**_chunk({}), "choices": [], "usage": usage}))
    return [head], words, [*tail, encoded(dialect, "[DONE]")]


def whole(dialect: str, usage: Any = GOOD_USAGE) -> bytes:
    """An answer that is not streamed."""
    told = usage_in(dialect, usage)
    if dialect == "messages":
        made = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_sequence": None}
        content = [{"type": "text", "text": ANSWER}]
        return json.dumps({**made, "content": content, "stop_reason": "end_turn", **told}).encode()
    choice = {"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}
    made = {"id": "c-1", "object": "chat.completion", "created": 1, "model": "m"}
    return json.dumps({**made, "choices": [choice], **told}).encode()


def error(dialect: str, status: int, message: str) -> bytes:
    """A refusal's body."""
    kind = "rate_limit_error" if status == 429 else "invalid_request_error" if status < 500 else "api_error"
    if dialect == "messages":
        return json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": None}}).encode()
