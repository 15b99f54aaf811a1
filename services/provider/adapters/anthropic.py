"""Anthropic messages: as a provider for OpenAI callers (translated) and for Anthropic callers (bytes pass through)."""

import dataclasses
from typing import Any

import msgspec

from mesh import sse
from mesh.usage import openai_usage
from services.provider.adapters import MAX_KEPT_BYTES, Outgoing, Result, Shown, counted, openai_form
from services.provider.adapters.anthropic_request import to_messages
from services.provider.adapters.anthropic_thinking import KINDS, Thoughts
from services.provider.adapters.openai import text_bytes_of
from services.provider.adapters.usage import is_count, tier_of
from services.provider.calling.events import Ask, Candidate, Usage, UsageSource
from services.provider.errors import ProviderFault, cut, garbage, not_translatable, stream_error
from services.provider.splice import fields_of, replace_model, splice

VERSION = "2023-06-01"
FAST = "fast"
"""A speed that has its own price: for DAC a service tier like others."""
FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "pause_turn": "stop",
}
"""stop_reason → finish_reason."""
_encode, _decode = msgspec.json.encode, msgspec.json.decode


class _Anthropic:
    """What both ways share: reading the provider's answer."""

    def __init__(self, ask: Ask, candidate: Candidate, provider: str, key: str, *, now_s: int = 0) -> None:
        self._ask, self._candidate, self._provider, self._key, self._now_s = ask, candidate, provider, key, now_s
        self._numbers: dict[str, int] = {}
        self._stop_reason = self._refusal = self._tier = ""
        self._text: list[str] = []
        self._calls: dict[int, dict[str, Any]] = {}
        self._kept_bytes = self._thinking_bytes = 0
        self.first = self.finished = self.done = False

    def _post(self, body: bytes) -> Outgoing:
        headers = {"Content-Type": "application/json", "anthropic-version": VERSION}
        if self._key:
            headers["x-api-key"] = self._key
        return Outgoing("/v1/messages", headers, body)

    def _note_usage(self, raw: Any) -> None:
        if isinstance(raw, dict):
            parts = raw
            for group in ("output_tokens_details", "cache_creation"):
                if isinstance(told := raw.get(group), dict):
                    parts = {**parts, **told}
            self._numbers.update({name: value for name, value in parts.items() if is_count(value)})
            self._tier = (FAST if raw.get("speed") == FAST else tier_of(raw.get("service_tier"))) or self._tier

    def _note_stop(self, said: dict[str, Any]) -> None:
        self._stop_reason = str(said.get("stop_reason") or self._stop_reason)
        details = said.get("stop_details")
        if isinstance(details, dict) and details.get("type") == "refusal":
            self._refusal = str(details.get("explanation") or "")

    def _usage(self) -> Usage | None:
        numbers = self._numbers
        if "input_tokens" not in numbers or "output_tokens" not in numbers:
            return None
        # A part of output_tokens, which holds all that is billed.
        thought = min(numbers["output_tokens"], numbers.get("thinking_tokens", 0))
        stored = numbers.get("cache_creation_input_tokens", 0)
        kept = min(stored, numbers.get("ephemeral_1h_input_tokens", 0))
        return Usage(
            numbers["input_tokens"],
            numbers.get("cache_read_input_tokens", 0),
            stored - kept,
            numbers["output_tokens"] - thought,
            thought,
            cache_write_1h_tokens=kept,
            service_tier=self._tier,
        )

    def _read_whole(self, raw: bytes) -> dict[str, Any]:
        """Takes in a whole answer. Raises ProviderFault."""
        try:
            answer = _decode(raw)
            if answer.get("type") == "error":
                raise stream_error(self._provider, str((answer.get("error") or {}).get("type") or ""))
            for index, block in enumerate(answer["content"]):
                if block["type"] == "text":
                    self._text.append(str(block["text"]))
                elif block["type"] == "tool_use":
                    self._open_call(index, block, _encode(block["input"]).decode())
                elif block["type"] == "thinking":
                    self._thinking_bytes += len(block.get("thinking", ""))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise garbage(self._provider, "the body is no message") from None
        self._note_usage(answer.get("usage"))
        self._note_stop(answer)
        self.first = self.finished = self.done = True
        return dict(answer)

    def _open_call(self, index: int, block: dict[str, Any], arguments: str = "") -> int:
        number = len(self._calls)
        function = {"name": block["name"], "arguments": arguments}
        self._calls[index] = {"number": number, "id": block["id"], "function": function}
        return number

    def _read_event(self, event: bytes) -> dict[str, Any] | None:
        """Takes in one stream event; None for one that cannot be read. Raises ProviderFault for an error event."""
        try:
            data = _decode(sse.data_of(event) or b"null")
        except (ValueError, RecursionError):
            return None
        if not isinstance(data, dict):
            return None
        kind = data.get("type")
        if kind == "error":
            raise stream_error(self._provider, str((data.get("error") or {}).get("type") or ""))
        if kind == "message_start":
            self._note_usage((data.get("message") or {}).get("usage"))
        elif kind == "content_block_delta":
            self._read_delta(data)
        elif kind == "message_delta":
            self._note_usage(data.get("usage"))
            self._note_stop(data.get("delta") or {})
            if self._stop_reason:
                self.first = self.finished = True
        elif kind == "message_stop":
            self.done = True
        elif kind == "content_block_start" and (data.get("content_block") or {}).get("type") == "tool_use":
            self._open_call(data["index"], data["content_block"])
            self.first = True
        return data

    def _read_delta(self, data: dict[str, Any]) -> None:
        delta = data.get("delta") or {}
        self.first = True
        piece = str(delta.get("text") or delta.get("partial_json") or "")
        self._thinking_bytes += len(delta.get("thinking") or "")
        self._kept_bytes += len(piece)
        if self._kept_bytes > MAX_KEPT_BYTES:
            return
        if delta.get("type") == "text_delta":
            self._text.append(piece)
        elif delta.get("type") == "input_json_delta" and data.get("index") in self._calls:
            self._calls[data["index"]]["function"]["arguments"] += piece

    def _check_end(self) -> None:
        if not self.finished:
            # Also behind message_stop: a reason must not be made up.
            raise cut(self._provider, "the stream ended without a stop reason")

    def _tool_calls(self) -> list[dict[str, Any]]:
        return [
            {"id": call["id"], "type": "function", "function": {**call["function"], "arguments": _arguments(call)}}
            for call in self._calls.values()
        ]

    def result(self, *, need_text: bool) -> Result:
        """Usage and text of what was seen so far."""
        usage, source = self._usage(), UsageSource.PROVIDER
        if usage is None or not self.finished:
            # Cut before the final count: message_start's output_tokens is only a placeholder.
            size = sum(len(text.encode()) for text in self._text) + self._thinking_bytes
            size += sum(len(_encode(call["function"])) for call in self._calls.values())
            usage, source = counted(text_bytes_of(self._ask.input), size), UsageSource.COUNTED
        finish = FINISH.get(self._stop_reason, self._stop_reason)
        if not need_text:
            return Result(usage, source, finish)
        calls = self._tool_calls()
        return Result(usage, source, finish, "".join(self._text), _encode(calls).decode() if calls else "")


def _arguments(call: dict[str, Any]) -> str:
    return call["function"]["arguments"] or "{}"


class AnthropicExchange(_Anthropic):
    """For callers who speak OpenAI chat completions. What a model thought comes as `reasoning_content`, and under its
    signature as `extra_content.anthropic.thinking`, to be sent back as it came."""

    def __init__(self, ask: Ask, candidate: Candidate, provider: str, key: str, *, now_s: int = 0) -> None:
        super().__init__(ask, candidate, provider, key, now_s=now_s)
        self._id = self._model = ""
        self._thoughts = Thoughts()

    def shown(self) -> Shown | None:
        """See Shows."""
        return None if self._calls else Shown("".join(self._text))

    def outgoing(self) -> Outgoing:
        """The translated request."""
        try:
            body = _decode(self._ask.input)
            cap = self._candidate.output_cap_tokens
            made = to_messages(body, self._candidate.upstream_name, cap, stream=self._ask.stream)
        except ProviderFault:
            raise
        except (ValueError, KeyError, TypeError, AttributeError):
            raise not_translatable("The request body is not a valid chat completions request.") from None
        return self._post(_encode(made))

    def plain(self, raw: bytes) -> bytes:
        """A chat.completion object."""
        answer = self._read_whole(raw)
        calls = self._tool_calls()
        message: dict[str, Any] = {
            "role": "assistant",
            "content": "".join(self._text) if self._text or not calls else None,
            "refusal": self._refusal or None,
            "annotations": [],
        }
        for index, block in enumerate(answer["content"]):
            if block["type"] in KINDS:
                self._thoughts.whole(index, block)
        if self._thoughts.texts:
            message["reasoning_content"] = "".join(self._thoughts.texts)
        if calls:
            message["tool_calls"] = calls
        if self._thoughts.kept:
            message["extra_content"] = {"anthropic": {"thinking": self._thoughts.kept}}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._finish()}
        made = {
            "id": f"chatcmpl-{answer.get('id', '')}",
            "object": "chat.completion",
            "created": self._now_s,
            "model": self._ask.answer_model or str(answer.get("model", "")),
            "choices": [choice],
            "usage": self._openai_usage(),
        }
        return _encode(made)

    def event(self, event: bytes) -> bytes:
        """OpenAI chunks for one Anthropic event."""
        data = self._read_event(event)
        if data is None:
            return b""
        kind = data.get("type")
        if kind == "message_start":
            message = data.get("message") or {}
            self._id = f"chatcmpl-{message.get('id', '')}"
            self._model = self._ask.answer_model or str(message.get("model", ""))
            return self._chunk({"role": "assistant", "content": "", "refusal": None})
        if kind == "content_block_start" and data.get("index") in self._calls:
            call = self._calls[data["index"]]
            opened = {"index": call["number"], "id": call["id"], "type": "function"}
            return self._chunk(
                {"tool_calls": [{**opened, "function": {"name": call["function"]["name"], "arguments": ""}}]}
            )
        if kind == "content_block_start" and (data.get("content_block") or {}).get("type") in KINDS:
            self._thoughts.begin(data["index"], data["content_block"])
        elif kind == "content_block_delta":
            return self._say_delta(data.get("index"), data.get("delta") or {})
        elif kind == "content_block_stop":
            return self._say_stop(data.get("index"))
        return b""

    def _say_delta(self, index: Any, delta: dict[str, Any]) -> bytes:
        kind = delta.get("type")
        if kind == "text_delta":
            return self._chunk({"content": delta.get("text", "")})
        if kind == "input_json_delta" and index in self._calls and delta["partial_json"]:
            return self._say_arguments(index, delta["partial_json"])
        if kind in ("thinking_delta", "signature_delta"):
            text = self._thoughts.more(index, delta)
            return self._chunk({"reasoning_content": text}) if text else b""
        return b""

    def _say_stop(self, index: Any) -> bytes:
        if index in self._calls and not self._calls[index]["function"]["arguments"]:
            # A call without arguments has no delta: callers parse what they get.
            return self._say_arguments(index, "{}")
        block = self._thoughts.close(index)
        return self._chunk({"extra_content": {"anthropic": {"thinking": [block]}}}) if block else b""

    def _say_arguments(self, index: int, piece: str) -> bytes:
        number = self._calls[index]["number"]
        return self._chunk({"tool_calls": [{"index": number, "function": {"arguments": piece}}]})

    def end(self) -> bytes:
        """The finish chunk, the usage chunk when asked for, and the end mark."""
        self._check_end()
        tail = self._chunk({"refusal": self._refusal} if self._refusal else {}, self._finish())
        if self._ask.include_usage:
            tail += self._chunk(None, None, usage=self._openai_usage())
        return tail + sse.DONE

    def error_body(self, body: bytes) -> bytes:
        """Anthropic's error in OpenAI's shape."""
        try:
            error = _decode(body)["error"]
            made = {"message": error["message"], "type": error["type"], "param": None, "code": None}
        except (ValueError, KeyError, TypeError):
            return b""
        return _encode({"error": made})

    def _finish(self) -> str:
        return FINISH.get(self._stop_reason, "stop")

    def _chunk(self, delta: dict[str, Any] | None, finish: str | None = None, *, usage: Any = None) -> bytes:
        more = {"usage": usage} if self._ask.include_usage else {}
        return openai_form.chunk(self._id, self._now_s, self._model, delta, finish, **more)

    def _openai_usage(self) -> dict[str, Any]:
        return openai_usage(self.result(need_text=False).usage)


class AnthropicPassExchange(_Anthropic):
    """For callers who speak Anthropic messages: only the model, the limit and `stream` are spliced."""

    def outgoing(self) -> Outgoing:
        """The caller's bytes with the model, the output cap and `stream` spliced in."""
        cap = self._candidate.output_cap_tokens
        changes: dict[str, bytes | None] = {"model": _encode(self._candidate.upstream_name)}
        try:
            fields = fields_of(self._ask.input)
            asked = _decode(bytes(fields["max_tokens"])) if "max_tokens" in fields else None
            if asked is None or (cap > 0 and asked > cap):
                changes["max_tokens"] = str(cap or 4096).encode()
            if ("stream" in fields and _decode(bytes(fields["stream"])) is True) != self._ask.stream:
                changes["stream"] = b"true" if self._ask.stream else b"false"
            made = self._post(splice(self._ask.input, changes))
        except (ValueError, TypeError):
            raise not_translatable("The request body is not a JSON object of messages.") from None
        if not self._ask.anthropic_beta:
            return made
        # Fields of a beta in the body are refused there without it.
        return dataclasses.replace(made, headers={**made.headers, "anthropic-beta": self._ask.anthropic_beta})

    def plain(self, raw: bytes) -> bytes:
        """The answer's own bytes, with the model replaced when asked."""
        self._read_whole(raw)
        return splice(raw, {"model": _encode(self._ask.answer_model)}) if self._ask.answer_model else raw

    _begun = 0
    _open = -1

    def shown(self) -> Shown | None:
        """See Shows: one text block that is still open, with only thinking before it."""
        return Shown("".join(self._text), self._open) if self._begun == 1 and self._open >= 0 else None

    def event(self, event: bytes) -> bytes:
        """The event's own bytes."""
        data = self._read_event(event)
        if data is None:
            return b""
        kind = data.get("type")
        if kind == "content_block_start":
            block = (data.get("content_block") or {}).get("type")
            if block not in ("thinking", "redacted_thinking"):
                self._begun += 1
                self._open = data["index"] if block == "text" else -1
        elif kind == "content_block_stop":
            self._open = -1
        if data.get("type") == "message_start" and self._ask.answer_model:
            return replace_model(event, _encode(self._ask.answer_model))
        return event

    def end(self) -> bytes:
        """A message_stop when the provider forgot it."""
        self._check_end()
        return b"" if self.done else b'event: message_stop\ndata: {"type":"message_stop"}\n\n'

    def error_body(self, body: bytes) -> bytes:
        """Already the caller's dialect."""
        return body
