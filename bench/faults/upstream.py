"""The wall: an OpenAI-compatible provider with one fault per model name.

Every healthy answer is the same sixty words, one stream event a word, so that a truncated answer cannot pass as whole.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bench.faults.raw_http import Connection, Request, Server

ANSWER = (
    "Trust is earned on bad days: when a provider slows down, breaks its stream, forgets the last event or refuses "
    "without a word, a gateway must notice, wait no longer than it promised, ask again where that helps, turn to "
    "another model where it does not, charge only what was used, and tell the caller plainly how it all ended."
)
WORDS = ANSWER.split()


@dataclass(frozen=True)
class Timing:
    """How long the faults last."""

    token_s: float = 0.015
    retry_after_s: int = 2
    silence_s: float = 120.0
    """S06: how long nothing is answered."""
    slow_first_s: float = 20.0
    """S07: before the first token."""
    stall_s: float = 30.0
    """S09: in mid-stream, before the connection closes."""
    down_s: float = 60.0
    """S15: how long the primary is down after the reset."""


CUT_AFTER, STALL_AFTER, MALFORMED_AT = 40, 20, 10
OVERLOADED = (503, "The engine is overloaded. Try again later.", "server_error", "overloaded")
LIMITED = (429, "The rate limit is reached.", "rate_limit_error", "rate_limit_exceeded")
BROKEN = (500, "The server had an error.", "server_error", None)
TOO_LONG = (
    400,
    "This model's maximum context length is 8192 tokens. However, your messages resulted in 9631 tokens.",
    "invalid_request_error",
    "context_length_exceeded",
)
FILTERED = (400, "Our safety system rejected your request.", "invalid_request_error", "content_policy_violation")
NO_PREFILL = (
    400,
    "This model does not support assistant message prefill. The conversation must end with a user message.",
    "invalid_request_error",
    "invalid_prefill",
)


@dataclass
class Seen:
    """One attempt that reached the wall."""

    model: str
    at_s: float
    """After the reset."""
    did: str
    """What it was answered with."""


@dataclass
class Wall:
    """Faults by model name; `seen` is what arrived since the last reset."""

    timing: Timing
    clock: Callable[[], float] = time.monotonic
    seen: list[Seen] = field(default_factory=list)
    _reset_at: float = 0.0

    def __post_init__(self) -> None:
        self._reset_at = self.clock()

    def reset(self) -> None:
        """Forgets what was seen; the outage of S15 begins now."""
        self.seen, self._reset_at = [], self.clock()

    def server(self) -> Server:
        """To be entered."""
        return Server(self._serve)

    def times(self, model: str) -> list[float]:
        """When this model was asked."""
        return [one.at_s for one in self.seen if one.model == model]

    async def _serve(self, request: Request, connection: Connection) -> bool:
        if request.method == "GET" and request.path.endswith("/models"):
            # No list: the bench's configuration names every model.
            await connection.answer(200, b'{"object":"list","data":[]}')
            return True
        body = request.json()
        model = str(body.get("model", ""))
        noted = Seen(model, self.clock() - self._reset_at, "200")
        self.seen.append(noted)
        first = len(self.times(model)) == 1
        refusal = self._refusal(model, body, first=first)
        if refusal is not None:
            noted.did = f"{refusal[0]} {refusal[3] or ''}".strip()
            after = {"Retry-After": str(self.timing.retry_after_s)} if model == "s01" else {}
            await connection.answer(refusal[0], _error(*refusal[1:]), more=after)
            return True
        if model == "s05" and first:
            noted.did = "reset"
            connection.reset()
            return False
        if model == "s06":
            noted.did = "silence"
            await connection.left_within(self.timing.silence_s)
            return False
        if not body.get("stream"):
            await connection.answer(200, json.dumps(_whole(model)).encode())
            return True
        return await self._stream(model, body, connection, noted)

    def _refusal(self, model: str, body: dict[str, Any], *, first: bool) -> tuple[int, str, str, str | None] | None:
        """Status, message, type and code of a refusal; None when the model answers."""
        if model == "fb-no-prefill":
            messages = body.get("messages") or [{}]
            return NO_PREFILL if messages[-1].get("role") == "assistant" else None
        if model in ("s01", "s03") and not first:
            return None
        if model == "s15":
            return OVERLOADED if self.clock() - self._reset_at < self.timing.down_s else None
        return {
            "s01": LIMITED,
            "s02": LIMITED,
            "s03": BROKEN,
            "s04": OVERLOADED,
            "s12": TOO_LONG,
            "s13": FILTERED,
            "s16": OVERLOADED,
        }.get(model)

    async def _stream(self, model: str, body: dict[str, Any], connection: Connection, noted: Seen) -> bool:
        timing = self.timing
        words, begun = _words_after(body)
        await connection.begin_chunks()
        if model == "s07":
            noted.did = "slow"
            if await connection.left_within(timing.slow_first_s):
                return False
        await connection.chunk(_event(model, {"role": "assistant", "content": ""}))
        for index, word in enumerate(words):
            if model in ("s08", "s14") and index == CUT_AFTER:
                noted.did = f"cut after {index}"
                return False
            if model == "s09" and index == STALL_AFTER:
                noted.did = f"stalled after {index}"
                await connection.left_within(timing.stall_s)
                return False
            if model == "s10" and index == MALFORMED_AT:
                noted.did = f"malformed event before {index}"
                await connection.chunk(b'data: {"id":"wall","object":"chat.completion.chunk","choices":[{"delta":\n\n')
            await connection.chunk(_event(model, {"content": f" {word}" if index or begun else word}))
            await asyncio.sleep(timing.token_s)
        await connection.chunk(_event(model, {}, finish="stop"))
        if (body.get("stream_options") or {}).get("include_usage"):
            await connection.chunk(_event(model, None, usage=_usage(len(words))))
        if model != "s11":
            await connection.chunk(b"data: [DONE]\n\n")
        await connection.end_chunks()
        return True


def _words_after(body: dict[str, Any]) -> tuple[list[str], bool]:
    """The words still to say, and whether some were said: a prefill that is a start of the answer is continued."""
    last = (body.get("messages") or [{}])[-1]
    said = str(last.get("content") or "").strip() if last.get("role") == "assistant" else ""
    if said and ANSWER.startswith(said):
        return ANSWER[len(said) :].split(), True
    return WORDS, False


def _usage(output: int) -> dict[str, int]:
    return {"prompt_tokens": 20, "completion_tokens": output, "total_tokens": 20 + output}


def _whole(model: str) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}
    kind = "chat.completion"
    return {"id": "wall", "object": kind, "created": 1, "model": model, "choices": [choice], "usage": _usage(60)}


def _event(model: str, delta: dict[str, str] | None, *, finish: str | None = None, usage: Any = None) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    made = {"id": "wall", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": choices}
    return b"data: " + json.dumps(made | ({"usage": usage} if usage else {})).encode() + b"\n\n"


def _error(message: str, kind: str, code: str | None) -> bytes:
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}}).encode()
