"""OpenAI chat completions in and out: bytes pass through; only what must change is spliced."""

import contextlib
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from mesh import sse
from services.provider.adapters import MAX_KEPT_BYTES, Outgoing, Result, Shown, counted, larger
from services.provider.adapters.dialects import PLAIN, ChatDialect, key_headers, said_in
from services.provider.adapters.usage import usage_of
from services.provider.calling.events import Ask, Candidate, Usage, UsageSource
from services.provider.error_bodies import openai_error
from services.provider.errors import cut, garbage, not_translatable, stream_error
from services.provider.splice import Fields, changed, fields_of, join, replace_model, splice

FAILED = frozenset({"error", "abort", "insufficient_system_resource"})
"""Finish reasons of broken answers: of OpenRouter and Mistral, vLLM, DeepSeek."""
_TELLING = re.compile(rb'"(?:usage"\s*:\s*\{|finish_reason"\s*:\s*"|error"\s*:\s*[{"])')
_BESIDE = frozenset({"role", "reasoning_content", "reasoning", "reasoning_details"})
"""What a delta may hold beside text without being a part of the answer."""
_RAW = msgspec.json.Decoder(msgspec.Raw)
_encode, _decode = msgspec.json.encode, msgspec.json.decode


def text_bytes_of(body: bytes) -> int:
    """The UTF-8 bytes of all text in a request's messages and tools. Never raises: an odd body counts whole."""
    try:
        return _text_bytes_of(body)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return len(body)


def _text_bytes_of(body: bytes) -> int:
    fields = fields_of(body)
    total = len(bytes(fields["tools"])) if "tools" in fields else 0
    messages = _decode(bytes(fields["messages"]))
    if "system" in fields:
        messages = [*messages, {"content": _decode(bytes(fields["system"]))}]
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        parts = [content] if isinstance(content, str) else content if isinstance(content, list) else []
        for part in parts:
            text = part if isinstance(part, str) else part.get("text", "") if isinstance(part, dict) else ""
            total += len(str(text).encode())
        for call in (message.get("tool_calls") or []) if isinstance(message, dict) else []:
            total += len(_encode(call.get("function")))
    return total


def cap_fields(fields: Mapping[str, msgspec.Raw | bytes], cap: int, *, limit: str) -> dict[str, bytes]:
    """The splice that keeps the output within `cap`; none when the caller asks for less. `limit`: the name to use."""
    if cap <= 0:
        return {}
    changes: dict[str, bytes] = {}
    said = False
    # Every one that is there: which of two a provider heeds is not known.
    for name in ("max_tokens", "max_completion_tokens"):
        if name in fields and (asked := _decode(bytes(fields[name]))) is not None:
            said = True
            if not isinstance(asked, int) or not 1 <= asked <= cap:
                changes[name] = str(cap).encode()
    if not said:
        changes[limit] = str(cap).encode()
    return changes


class OpenAIExchange:
    """Pass-through."""

    def __init__(
        self, ask: Ask, candidate: Candidate, provider: str, key: str, *, dialect: ChatDialect = PLAIN
    ) -> None:
        self._ask, self._candidate, self._provider, self._key = ask, candidate, provider, key
        self._dialect = dialect
        self._shows_usage = ask.include_usage or not dialect.asks_usage
        self._model = _encode(ask.answer_model) if ask.answer_model else b""
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._usage: Usage | None = None
        self._finish = ""
        self._choices = 1
        self._ended: set[int] = set()
        self._plain: bytes | None = None
        self.first = self.finished = self.done = False

    def changes(self, fields: Fields) -> dict[str, bytes | None]:
        """The top-level fields of the request that must differ from the caller's."""
        ask, changes = self._ask, said_in(self._dialect, fields)
        changes["model"] = _encode(self._candidate.upstream_name)
        if ("stream" in fields and _decode(bytes(fields["stream"])) is True) != ask.stream:
            changes["stream"] = b"true" if ask.stream else b"false"
        if ask.stream and self._dialect.asks_usage:
            options = _decode(bytes(fields["stream_options"])) if "stream_options" in fields else None
            options = {k: v for k, v in (options or {}).items() if k != "include_dac"}
            changes["stream_options"] = _encode({**options, "include_usage": True})
        elif "stream_options" in fields:
            changes["stream_options"] = None
        said = changed(fields, changes)
        changes.update(cap_fields(said, self._candidate.output_cap_tokens, limit=self._dialect.limits[0]))
        return changes

    def outgoing(self) -> Outgoing:
        """The caller's bytes with `changes` spliced in."""
        try:
            fields = fields_of(self._ask.input)
            changes = self.changes(fields)
            self._choices = int(_decode(bytes(fields["n"])) or 1) if "n" in fields else 1
        except (ValueError, AttributeError, TypeError):
            raise not_translatable("The request body is not a JSON object of chat completions.") from None
        headers = {"Content-Type": "application/json", **key_headers(self._dialect, self._key)}
        return Outgoing("/chat/completions", headers, join(changed(fields, changes)))

    def plain(self, raw: bytes) -> bytes:
        """The answer's own bytes, with the model replaced when asked."""
        try:
            answer = _decode(raw)
            # Some answer 200 with an error, and with an empty list of choices beside it.
            choices = answer["choices"] if not answer.get("error") else None
            self._finish = str(choices[0].get("finish_reason") or "") if choices else ""
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            choices, answer = None, _try_decode(raw)
        if not choices:
            error = answer.get("error") if isinstance(answer, dict) else None
            if error:
                raise stream_error(self._provider, _kind(error))
            raise garbage(self._provider, "the body is no chat completion")
        if self._finish in FAILED:
            raise stream_error(self._provider, self._finish)
        self._usage = self._usage_of(answer)
        self._plain = raw
        self.first = self.finished = self.done = True
        return splice(raw, {"model": self._model}) if self._model else raw

    def event(self, event: bytes) -> bytes:
        """The event's own bytes; nothing for events that cannot be read or that only DAC asked for."""
        # As most providers write: one line.
        plain = event[:5] == b"data:" and event.find(b"\n") == len(event) - 2
        data = event[5:-2].strip() if plain else sse.data_of(event)
        if not data:
            return event if self.first else b""
        if data == b"[DONE]":
            self.done = True
            return b""
        try:
            _RAW.decode(data)
        except (ValueError, RecursionError):
            data = b""
        if data[:1] != b"{":
            # One broken event among good ones is left out: the caller's parser would end the stream over it.
            return b""
        if self._kept_bytes < MAX_KEPT_BYTES:
            self._kept.append(data)
            self._kept_bytes += len(data)
        if (not self.first or _tells(data)) and not self._read(data):
            return b""
        return replace_model(event, self._model) if self._model else event

    def _read(self, data: bytes) -> bool:
        """Takes in an event that tells something; False when the caller must not see it."""
        chunk = _decode(data)
        if not isinstance(chunk, dict):
            return False
        if chunk.get("error"):
            raise stream_error(self._provider, _kind(chunk["error"]))
        choices = chunk.get("choices") or []
        for choice in choices:
            if choice.get("finish_reason"):
                self._finish = str(choice["finish_reason"])
                if self._finish in FAILED:
                    raise stream_error(self._provider, self._finish)
                self._ended.add(choice.get("index", 0))
                self.first = True
                self.finished = len(self._ended) >= self._choices
            if any(value for name, value in (choice.get("delta") or {}).items() if name != "role"):
                self.first = True
        usage = self._usage_of(chunk)
        if usage is not None:
            self._usage = usage
        return bool(choices) or usage is None or self._shows_usage

    def _usage_of(self, said: dict[str, Any]) -> Usage | None:
        """The usage of a chunk or a whole answer."""
        usage, tier = self._dialect.usage_at(said), said.get("service_tier")
        return usage_of(usage, added=self._dialect.adds_reasoning, service_tier=tier)

    def end(self) -> bytes:
        """DAC ends every good stream itself."""
        if not self.finished and not (self.done and self._ended):
            # Also behind an end mark: some servers send that whatever happened.
            raise cut(self._provider, "the stream ended without a finish reason")
        if not self.first and not self.finished:
            raise garbage(self._provider, "the stream ended without a single token")
        return sse.DONE

    def error_body(self, body: bytes) -> bytes:
        """In OpenAI's form: some compatible servers have one of their own."""
        return openai_error(body)

    def shown(self) -> Shown | None:
        """See Shows."""
        return _only_text(self._kept)

    def result(self, *, need_text: bool) -> Result:
        """Reads the kept bytes only when the text or a count is needed."""
        text, calls = "", ""
        if need_text:
            text, tool_calls = _gather(self._plain, self._kept)
            calls = _encode(tool_calls).decode() if tool_calls else ""
        usage, source = self._usage, UsageSource.PROVIDER
        if usage is None or not (self.finished or self.done):
            # Of a broken answer some told a usage early: what came behind it is counted.
            said = self._kept if self._plain is None else [self._plain]
            size = sum(sse.answer_bytes_of(sse.read_json(data)) for data in said)
            guess, source = counted(text_bytes_of(self._ask.input), size), UsageSource.COUNTED
            usage = guess if usage is None else larger(usage, guess)
        return Result(usage, source, self._finish, text, calls)


def _tells(data: bytes) -> bool:
    """Whether an event may tell usage, finish reason or error. (Plain searches are many times faster than the pattern,
    and faster than `in`, which first tries whether it is asked for a number. Nearly every event holds
    "finish_reason":null, near its end.)"""
    find = data.find
    if find(b'"usage"') >= 0 or find(b'"error"') >= 0:
        return _TELLING.search(data) is not None
    at = find(b'"finish_reason"')
    return at >= 0 and _TELLING.search(data, at) is not None


def _kind(error: Any) -> str:
    return str(error.get("code") or error.get("type") or "") if isinstance(error, dict) else ""


def _try_decode(raw: bytes) -> Any:
    try:
        return _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _gather(plain: bytes | None, kept: list[bytes]) -> tuple[str, list[dict[str, Any]]]:
    """(text, tool calls) of the first choice. Never raises: the answer is already with the caller."""
    if plain is not None:
        try:
            message = dict((_decode(plain)["choices"] or [{}])[0].get("message") or {})
        except (ValueError, TypeError, AttributeError):
            message = {}
        calls = message.get("tool_calls")
        calls = [one for one in calls if isinstance(one, dict) and "function" in one] if isinstance(calls, list) else []
        return str(message.get("content") or message.get("refusal") or ""), calls
    gathered = _Gathered()
    for data in kept:
        # A chunk of an odd shape went to the caller as it came; it only cannot be gathered.
        with contextlib.suppress(AttributeError, TypeError, KeyError, ValueError, OverflowError):
            gathered.add(sse.read_json(data))
    return "".join(gathered.pieces), [gathered.calls[index] for index in sorted(gathered.calls)]


def _only_text(kept: list[bytes]) -> Shown | None:
    """The text of a stream; None when it holds tool calls, a refusal, sound or several choices."""
    pieces = []
    try:
        for data in kept:
            for choice in sse.read_json(data).get("choices") or []:
                for name, value in (choice.get("delta") or {}).items():
                    if name == "content" and isinstance(value, str) and not choice.get("index"):
                        pieces.append(value)
                    elif value and name not in _BESIDE:
                        return None
    except (AttributeError, TypeError):
        return None
    return Shown("".join(pieces))


class _Gathered:
    """The first choice of a stream, put together."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.calls: dict[int, dict[str, Any]] = {}

    def add(self, chunk: dict[str, Any]) -> None:
        """Takes in one chunk."""
        for choice in chunk.get("choices") or []:
            if choice.get("index", 0) != 0:
                continue
            delta = choice.get("delta") or {}
            self.pieces.append(str(delta.get("content") or delta.get("refusal") or ""))
            for call in delta.get("tool_calls") or []:
                made = self.calls.setdefault(
                    int(call.get("index") or 0),
                    {"id": "", "type": "function", "function": {"name": "", "arguments": ""}},
                )
                made["id"] = str(call.get("id") or made["id"])
                function = call.get("function") or {}
                made["function"]["name"] += str(function.get("name") or "")
                made["function"]["arguments"] += str(function.get("arguments") or "")
