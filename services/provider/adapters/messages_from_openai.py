"""OpenAI's answers said in Anthropic's form, for callers of /v1/messages whose model speaks chat completions.

The reading of the answer is the inner exchange's own, whatever its provider speaks: this file only says again, in
Anthropic's words, what that one says in OpenAI's.
OpenAI does not tell which stop sequence was met: stop_reason is then end_turn. Reasoning texts are left out, because
Anthropic's thinking blocks carry a signature that nobody here can give.
"""

import re
from collections.abc import Callable
from typing import Any

import msgspec

from mesh.usage import answer_tokens, cached_tokens, prompt_tokens
from services.provider.adapters import Exchange, Outgoing, Result, Shown, Shows
from services.provider.adapters.chat_deltas import CallOrder, chunks_in, text_of
from services.provider.adapters.messages_to_openai import to_chat
from services.provider.calling.events import Ask, Usage
from services.provider.errors import ProviderFault, garbage, not_translatable

STOP = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
"""finish_reason → stop_reason."""
_CALLER = {"type": "direct"}
_ODD = re.compile(r"[^A-Za-z0-9_-]")
_encode, _decode = msgspec.json.encode, msgspec.json.decode


class MessagesExchange:
    """For callers who speak Anthropic messages, in front of an exchange for callers of chat completions."""

    def __init__(self, ask: Ask, provider: str, make: Callable[[Ask], Exchange], *, official: bool) -> None:
        self._ask, self._provider, self._make, self._official = ask, provider, make, official
        self._inner: Exchange | None = None
        self._blocks = _Blocks(provider)
        self._begun = self._refused = False
        self.first = self.finished = self.done = False

    def outgoing(self) -> Outgoing:
        """The translated request, made final by the inner exchange."""
        try:
            said = _encode(to_chat(_decode(self._ask.input), official=self._official))
        except ProviderFault:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
            raise not_translatable("The request body is not a valid messages request.") from None
        ask = self._ask
        # With the usage event, which message_delta needs.
        self._inner = self._make(Ask(said, ask.candidates, stream=ask.stream, include_usage=True))
        return self._inner.outgoing()

    def plain(self, raw: bytes) -> bytes:
        """A message object."""
        inner = self._reader()
        answer = _decode(inner.plain(raw))
        self._follow(inner)
        if not answer["choices"]:
            raise garbage(self._provider, "the answer has no choice")
        message = answer["choices"][0]["message"]
        content: list[dict[str, Any]] = []
        text = text_of(message.get("content"))
        refusal = text_of(message.get("refusal"))
        self._refused = bool(refusal)
        calls = message.get("tool_calls") or []
        if text or refusal or not calls:
            content.append({"type": "text", "text": text + refusal, "citations": None})
        for number, call in enumerate(calls):
            function = call["function"]
            content.append(
                {
                    "type": "tool_use",
                    "id": str(call.get("id") or f"toolu_{number}"),
                    "name": str(function["name"]),
                    "input": self._arguments(function.get("arguments")),
                    "caller": _CALLER,
                }
            )
        made = self._message(answer)
        made["content"] = content
        made.update(self._stop(called=bool(calls)))
        made["usage"] |= usage_object(inner.result(need_text=False).usage)
        return _encode(made)

    def event(self, event: bytes) -> bytes:
        """Anthropic's events for one chunk; none for what has no word there."""
        inner = self._reader()
        try:
            said = inner.event(event)
        finally:
            self._follow(inner)
        return self._say(said)

    def _say(self, said: bytes) -> bytes:
        """What the inner exchange says, in Anthropic's events."""
        return b"".join([self._begin(chunk) + self._chunk(chunk) for chunk in chunks_in(said)])

    def _chunk(self, chunk: dict[str, Any]) -> bytes:
        out = b""
        for choice in chunk.get("choices") or []:
            if choice.get("index", 0) != 0:
                continue
            delta = choice.get("delta") or {}
            refusal = text_of(delta.get("refusal"))
            self._refused = self._refused or bool(refusal)
            out += self._blocks.text(text_of(delta.get("content")) + refusal)
            for call in delta.get("tool_calls") or []:
                out += self._blocks.call(call)
        return out

    def end(self) -> bytes:
        """The open block's end, the stop reason with the usage, and message_stop. Raises ProviderFault when cut."""
        inner = self._reader()
        out = self._say(inner.end()) + self._begin({}) + self._blocks.close()
        delta = {**self._stop(called=self._blocks.called), "stop_sequence": None, "container": None}
        usage = usage_object(inner.result(need_text=False).usage)
        return out + _event("message_delta", {"delta": delta, "usage": usage}) + _event("message_stop", {})

    def error_body(self, body: bytes) -> bytes:
        """The provider's error in Anthropic's shape; nothing when it is none."""
        try:
            error = _decode(self._reader().error_body(body))["error"]
            message = error["message"] if isinstance(error, dict) else error
            kind = "not_found_error" if _names_no_model(error) else "invalid_request_error"
        except (ValueError, KeyError, TypeError, RecursionError):
            return b""
        return _encode({"type": "error", "error": {"type": kind, "message": str(message)}})

    def shown(self) -> Shown | None:
        """See Shows."""
        inner: object = self._inner
        seen = inner.shown() if isinstance(inner, Shows) else None
        return seen._replace(block=0) if seen is not None and self._blocks.only_text else None

    def result(self, *, need_text: bool) -> Result:
        """The inner exchange's reading."""
        return self._reader().result(need_text=need_text)

    def _follow(self, inner: Exchange) -> None:
        # A token that was seen stays seen, also when another exchange goes on.
        self.first = self.first or inner.first
        self.finished, self.done = inner.finished, inner.done

    def _reader(self) -> Exchange:
        if self._inner is None:
            raise not_translatable("The request was not made yet.")
        return self._inner

    def _message(self, answer: dict[str, Any]) -> dict[str, Any]:
        own = _ODD.sub("", str(answer.get("id") or "").removeprefix("chatcmpl-"))[:64]
        return {
            "id": f"msg_{own or 'unnamed'}",
            "type": "message",
            "role": "assistant",
            "model": self._ask.answer_model or str(answer.get("model") or ""),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "stop_details": None,
            "container": None,
            "usage": {**usage_object(Usage()), "cache_creation": None, "inference_geo": None, "service_tier": None},
        }

    def _begin(self, chunk: dict[str, Any]) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        return _event("message_start", {"message": self._message(chunk)})

    def _stop(self, *, called: bool) -> dict[str, Any]:
        reason = STOP.get(self._reader().result(need_text=False).finish_reason, "end_turn")
        if self._refused or reason == "refusal":
            details = {"type": "refusal", "category": None, "explanation": None}
            return {"stop_reason": "refusal", "stop_details": details}
        # Some compatible servers end calls with "stop".
        reason = "tool_use" if called and reason == "end_turn" else reason
        return {"stop_reason": reason, "stop_details": None}

    def _arguments(self, said: Any) -> dict[str, Any]:
        arguments = said if isinstance(said, dict) else _decode(said or "{}")
        if not isinstance(arguments, dict):
            raise garbage(self._provider, "a tool call's arguments are no JSON object")
        return arguments


class _Blocks:
    """The content blocks of a stream: one open at a time, as Anthropic sends them."""

    def __init__(self, provider: str) -> None:
        self._calls = CallOrder(provider)
        self._count = 0
        self._open = ""

    @property
    def called(self) -> bool:
        """A tool was called."""
        return self._calls.count > 0

    @property
    def only_text(self) -> bool:
        """The first block is a text, and it is open."""
        return self._open == "text" and not self._count

    def text(self, piece: str) -> bytes:
        """The events for a piece of text."""
        if not piece:
            return b""
        self._calls.leave()
        out = b"" if self._open == "text" else self._start("text", {"type": "text", "text": "", "citations": None})
        return out + self._delta({"type": "text_delta", "text": piece})

    def call(self, call: dict[str, Any]) -> bytes:
        """The events for a piece of a tool call. Raises ProviderFault for one of a call that is over."""
        function = call.get("function") or {}
        arguments, number = function.get("arguments") or "", self._calls.count
        out = b""
        if self._calls.begins(call):
            call_id = str(call.get("id") or "") or f"toolu_{number}"
            block = {"type": "tool_use", "id": call_id, "name": str(function["name"]), "input": {}, "caller": _CALLER}
            out = self._start("tool_use", block)
        piece = arguments if isinstance(arguments, str) else _encode(arguments).decode()
        return out + (self._delta({"type": "input_json_delta", "partial_json": piece}) if piece else b"")

    def close(self) -> bytes:
        """The end of the open block."""
        if not self._open:
            return b""
        self._open = ""
        self._count += 1
        return _event("content_block_stop", {"index": self._count - 1})

    def _start(self, kind: str, block: dict[str, Any]) -> bytes:
        out = self.close()
        self._open = kind
        return out + _event("content_block_start", {"index": self._count, "content_block": block})

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return _event("content_block_delta", {"index": self._count, "delta": delta})


def usage_object(usage: Usage) -> dict[str, Any]:
    """Anthropic's usage: its buckets are disjoint too, and what was thought counts as output."""
    stored = usage.cache_write_tokens + usage.cache_write_1h_tokens
    return {
        "input_tokens": prompt_tokens(usage) - cached_tokens(usage) - stored,
        "cache_creation_input_tokens": stored,
        "cache_read_input_tokens": cached_tokens(usage),
        "output_tokens": answer_tokens(usage),
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
        "server_tool_use": None,
    }


def _event(kind: str, fields: dict[str, Any]) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + _encode({"type": kind, **fields}) + b"\n\n"


def _names_no_model(error: Any) -> bool:
    return isinstance(error, dict) and error.get("code") == "model_not_found"
