"""OpenAI responses in and out, for providers that speak them: bytes pass through; only what must change is spliced."""

from collections.abc import Mapping
from typing import Any

import msgspec

from mesh import sse
from services.provider.adapters import MAX_KEPT_BYTES, Outgoing, Result, counted
from services.provider.adapters.usage import is_count, kept_long, tier_of
from services.provider.calling.events import Ask, Candidate, Usage, UsageSource
from services.provider.errors import cut, garbage, not_translatable, stream_error
from services.provider.splice import fields_of, splice

FINISH = {"max_output_tokens": "length", "content_filter": "content_filter"}
"""Why a response is incomplete → finish_reason."""
ENDED = frozenset({"completed", "incomplete"})
"""The states of an answer that can be shown as one; every other is a failure, or not the end."""
_DATA = frozenset({"image_url", "file_data"})
_encode, _decode = msgspec.json.encode, msgspec.json.decode


def usage_of(raw: Any, service_tier: Any = None) -> Usage | None:
    """A response's totals as disjoint buckets; a missing, negative or absurd number is no usage."""
    if not isinstance(raw, dict):
        return None
    read, written = raw.get("input_tokens"), raw.get("output_tokens")
    if not is_count(read) or not is_count(written):
        return None
    cached = min(read, _detail(raw, "input_tokens_details", "cached_tokens"))
    thought = min(written, _detail(raw, "output_tokens_details", "reasoning_tokens"))
    details = raw.get("input_tokens_details")
    stored = min(read - cached, _detail(raw, "input_tokens_details", "cache_write_tokens"))
    kept = min(stored, kept_long(details) if isinstance(details, dict) else 0)
    return Usage(
        read - cached - stored,
        cached,
        stored - kept,
        written - thought,
        thought,
        cache_write_1h_tokens=kept,
        service_tier=tier_of(service_tier),
    )


def _detail(raw: dict[str, Any], group: str, name: str) -> int:
    details = raw.get(group)
    value = details.get(name) if isinstance(details, dict) else 0
    return value if is_count(value) else 0


def text_bytes_of(body: bytes) -> int:
    """The UTF-8 bytes of all text in a request, without pictures and files. An odd body counts whole."""
    try:
        fields = _decode(body)
        return _bytes_in([fields.get(name) for name in ("input", "instructions", "tools", "text")])
    except (ValueError, AttributeError, RecursionError):
        return len(body)


def _bytes_in(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "replace"))
    if isinstance(value, list):
        return sum([_bytes_in(one) for one in value])
    if isinstance(value, dict):
        return sum([len(name) + _bytes_in(one) for name, one in value.items() if name not in _DATA])
    return 0


class ResponsesPassExchange:
    """Pass-through."""

    def __init__(self, ask: Ask, candidate: Candidate, provider: str, key_headers: Mapping[str, str]) -> None:
        self._ask, self._candidate, self._provider, self._key_headers = ask, candidate, provider, key_headers
        self._usage: Usage | None = None
        self._finish = ""
        self._calls: list[dict[str, Any]] = []
        self._text: list[str] = []
        self._seen_bytes = self._kept_bytes = 0
        self.first = self.finished = self.done = False

    def outgoing(self) -> Outgoing:
        """The caller's bytes with the model, the output cap and `stream` spliced in."""
        cap = self._candidate.output_cap_tokens
        changes: dict[str, bytes | None] = {"model": _encode(self._candidate.upstream_name)}
        try:
            fields = fields_of(self._ask.input)
            asked = _decode(bytes(fields["max_output_tokens"])) if "max_output_tokens" in fields else None
            if cap > 0 and (asked is None or asked > cap):
                changes["max_output_tokens"] = str(cap).encode()
            if ("stream" in fields and _decode(bytes(fields["stream"])) is True) != self._ask.stream:
                changes["stream"] = b"true" if self._ask.stream else b"false"
            body = splice(self._ask.input, changes)
        except (ValueError, TypeError):
            raise not_translatable("The request body is not a JSON object of a responses request.") from None
        return Outgoing("/responses", {"Content-Type": "application/json", **self._key_headers}, body)

    def plain(self, raw: bytes) -> bytes:
        """The answer's own bytes, with the model replaced when asked."""
        try:
            answer = dict(_decode(raw))
            self._check(answer)
            self._take(answer)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise garbage(self._provider, "the body is no response") from None
        return splice(raw, self._named()) if self._ask.answer_model else raw

    def event(self, event: bytes) -> bytes:
        """The event's own bytes. Raises ProviderFault for an error event and a failed response."""
        document = sse.read_json(sse.data_of(event) or b"null")
        if not isinstance(document, dict):
            return b""
        kind, response = str(document.get("type") or ""), document.get("response")
        if kind in ("error", "response.failed"):
            self._check({"error": document.get("error") or document, **(response or {})})
            raise stream_error(self._provider, kind)
        if kind.endswith(".delta"):
            self._hear(kind, document.get("delta"))
        elif kind == "response.output_item.added":
            self._add(document["item"])
        elif kind in ("response.completed", "response.incomplete"):
            self._take(dict(response or {}))
        if isinstance(response, dict) and self._ask.answer_model:
            return self._renamed(event, kind)
        return event

    def end(self) -> bytes:
        """Nothing is owed: the last event was the provider's own. Raises ProviderFault when it did not come."""
        if not self.done:
            raise cut(self._provider, "the stream ended without its last event")
        return b""

    def error_body(self, body: bytes) -> bytes:
        """Already the caller's form."""
        return body

    def result(self, *, need_text: bool) -> Result:
        """The provider's usage, or a count of what was seen when the last event did not come."""
        usage, source = self._usage, UsageSource.PROVIDER
        if usage is None:
            usage, source = counted(text_bytes_of(self._ask.input), self._seen_bytes), UsageSource.COUNTED
        if not need_text:
            return Result(usage, source, self._finish)
        calls = _encode(self._calls).decode() if self._calls else ""
        return Result(usage, source, self._finish, "".join(self._text), calls)

    def _check(self, answer: dict[str, Any]) -> None:
        """Raises ProviderFault for a response that failed or did not end."""
        error = answer.get("error")
        if error:
            named = error if isinstance(error, dict) else {}
            raise stream_error(self._provider, str(named.get("code") or named.get("type") or ""))
        if answer["status"] not in ENDED:
            raise garbage(self._provider, "the response is neither completed nor incomplete")

    def _take(self, response: dict[str, Any]) -> None:
        """The end: what the response came to. Everything is read here, where an odd shape is the provider's failure."""
        items = response["output"]
        whole = [self._texts(item) for item in items]
        self._calls = [_call(item) for item in items if item["type"] == "function_call"]
        self._usage = usage_of(response.get("usage"), response.get("service_tier"))
        why = str((response.get("incomplete_details") or {}).get("reason") or "")
        self._finish = FINISH.get(why, why) or ("tool_calls" if self._calls else "stop")
        if not self._text and not self._seen_bytes:
            self._text = [text for texts in whole for text in texts]
            self._seen_bytes = sum(len(text.encode("utf-8", "replace")) for text in self._text)
            self._seen_bytes += sum(_bytes_in([one.get("name"), one.get("arguments")]) for one in items)
        self.first = self.finished = self.done = True

    @staticmethod
    def _texts(item: dict[str, Any]) -> list[str]:
        parts = item["content"] if item["type"] == "message" else []
        return [str(part.get("text") or part.get("refusal") or "") for part in parts]

    def _hear(self, kind: str, delta: Any) -> None:
        if not isinstance(delta, str) or not delta:
            return
        self.first = True
        self._seen_bytes += len(delta.encode("utf-8", "replace"))
        if kind in ("response.output_text.delta", "response.refusal.delta") and self._kept_bytes < MAX_KEPT_BYTES:
            self._text.append(delta)
            self._kept_bytes += len(delta)

    def _add(self, item: dict[str, Any]) -> None:
        """A new item: a message is still empty, but a tool at work is something to see."""
        if item["type"] != "message":
            self.first = True
            self._seen_bytes += _bytes_in(item.get("name"))

    def _named(self) -> dict[str, bytes | None]:
        return {"model": _encode(self._ask.answer_model)}

    def _renamed(self, event: bytes, kind: str) -> bytes:
        data = sse.data_of(event)
        response = splice(bytes(fields_of(data)["response"]), self._named())
        return b"event: " + kind.encode() + b"\ndata: " + splice(data, {"response": response}) + b"\n\n"


def _call(item: dict[str, Any]) -> dict[str, Any]:
    """A function call as a chat has it."""
    function = {"name": item["name"], "arguments": item["arguments"]}
    return {"id": item["call_id"], "type": "function", "function": function}
