"""Google's Gemini API (generateContent and its SSE stream) as a provider for OpenAI callers.

Thoughts are not shown, only counted. The signature that Google puts on a function call travels as
`extra_content.google.thought_signature` of the tool call, as in Google's own OpenAI endpoint. A blocked prompt is an
answer with the finish reason "content_filter" and a refusal. Gemini marks no end of its stream: one without a finish
reason was cut.
"""

import hashlib
from typing import Any
from urllib.parse import quote

import msgspec

from mesh import sse
from mesh.usage import openai_usage
from services.provider.adapters import MAX_KEPT_BYTES, Outgoing, Result, Shown, counted, larger, openai_form
from services.provider.adapters.gemini_request import to_contents
from services.provider.adapters.openai import text_bytes_of
from services.provider.adapters.usage import is_count, tier_of
from services.provider.calling.events import Ask, Candidate, Usage, UsageSource
from services.provider.error_bodies import google_error
from services.provider.errors import ProviderFault, cut, garbage, not_translatable, stream_error

FINISH = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    **dict.fromkeys(
        (
            *("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR"),
            *("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "ESCALATION"),
        ),
        "content_filter",
    ),
}
"""finishReason → finish_reason. Any other is a failure of the model (MALFORMED_FUNCTION_CALL, OTHER, …)."""
UNSAID = frozenset({"", "FINISH_REASON_UNSPECIFIED", "BLOCK_REASON_UNSPECIFIED", "BLOCKED_REASON_UNSPECIFIED"})
_encode = msgspec.json.encode
_BROKEN = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


class _Call(msgspec.Struct):
    name: str = ""
    args: msgspec.Raw = msgspec.Raw(b"{}")
    id: str | None = None


class _Part(msgspec.Struct, rename="camel"):
    text: str | None = None
    thought: bool | None = None
    function_call: _Call | None = None
    thought_signature: str | None = None


class _Content(msgspec.Struct):
    parts: list[_Part] | None = None


class _Choice(msgspec.Struct, rename="camel"):
    content: _Content | None = None
    finish_reason: str | None = None
    index: int | None = None


class _Feedback(msgspec.Struct, rename="camel"):
    block_reason: str | None = None


class _Answer(msgspec.Struct, rename="camel"):
    candidates: list[_Choice] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: Any = None
    response_id: str | None = None
    model_version: str | None = None
    error: Any = None


_ANSWER = msgspec.json.Decoder(_Answer)


def usage_of(raw: Any) -> Usage | None:
    """Google's totals as disjoint buckets; it leaves zeros out. None without the prompt's count."""
    if not isinstance(raw, dict) or "promptTokenCount" not in raw:
        return None
    numbers = []
    for name in ("promptTokenCount", "cachedContentTokenCount", "toolUsePromptTokenCount", "candidatesTokenCount"):
        numbers.append(raw.get(name) or 0)
    numbers.append(raw.get("thoughtsTokenCount") or 0)
    if not all(is_count(number) for number in numbers):
        return None
    prompt, cached, tools, output, thoughts = numbers
    cached = min(prompt, cached)
    cached_heard = min(cached, _of(raw, "cacheTokensDetails", "AUDIO"))
    # The prompt's details count what was cached, too.
    rest = prompt - cached
    heard = min(rest, max(0, _of(raw, "promptTokensDetails", "AUDIO") - cached_heard))
    cached_seen = _of(raw, "cacheTokensDetails", "IMAGE")
    seen = min(rest - heard, max(0, _of(raw, "promptTokensDetails", "IMAGE") - cached_seen))
    spoken = min(output, _of(raw, "candidatesTokensDetails", "AUDIO"))
    drawn = min(output - spoken, _of(raw, "candidatesTokensDetails", "IMAGE"))
    return Usage(
        rest - heard - seen + tools,
        cached - cached_heard,
        0,
        output - spoken - drawn,
        thoughts,
        input_audio_tokens=heard,
        input_audio_cached_tokens=cached_heard,
        input_image_tokens=seen,
        output_audio_tokens=spoken,
        output_image_tokens=drawn,
        service_tier=_tier(raw),
    )


def _of(raw: dict[str, Any], group: str, modality: str) -> int:
    """How many of a group's tokens are of one modality."""
    details = raw.get(group)
    found = 0
    for one in details if isinstance(details, list) else ():
        if isinstance(one, dict) and one.get("modality") == modality and is_count(count := one.get("tokenCount")):
            found += count
    return found


def _tier(raw: dict[str, Any]) -> str:
    """Vertex AI's ON_DEMAND_FLEX is the tier flex."""
    return tier_of(str(raw.get("trafficType") or raw.get("serviceTier") or "").lower().removeprefix("on_demand_"))


class GeminiExchange:
    """For callers who speak OpenAI chat completions."""

    def __init__(self, ask: Ask, candidate: Candidate, provider: str, key: str, *, now_s: int = 0) -> None:
        self._ask, self._candidate, self._provider, self._key, self._now_s = ask, candidate, provider, key, now_s
        self._usage: Usage | None = None
        self._finish = ""
        self._refusal = ""
        self._text: list[str] = []
        self._calls: list[dict[str, Any]] = []
        self._seen_bytes = self._kept_bytes = 0
        self._id = ""
        self._model = ask.answer_model
        self._role_sent = False
        self.first = self.finished = self.done = False

    def outgoing(self) -> Outgoing:
        """The translated request; the key only in a header."""
        name = self._candidate.upstream_name
        try:
            body = msgspec.json.decode(self._ask.input)
            made = _encode(to_contents(body, name, self._candidate.output_cap_tokens))
        except ProviderFault:
            raise
        except _BROKEN:
            raise not_translatable("The request body is not a valid chat completions request.") from None
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["x-goog-api-key"] = self._key
        path = quote(name if name.startswith(("models/", "tunedModels/")) else f"models/{name}", safe="/")
        verb = "streamGenerateContent?alt=sse" if self._ask.stream else "generateContent"
        return Outgoing(f"/{path}:{verb}", headers, made)

    def plain(self, raw: bytes) -> bytes:
        """A chat.completion object."""
        try:
            answer = _ANSWER.decode(raw)
            self._read(answer)
        except _BROKEN:
            raise garbage(self._provider, "the body is no generateContent answer") from None
        if not self.finished:
            if not answer.candidates:
                raise garbage(self._provider, "the body has no candidates")
            raise cut(self._provider, "the answer has no finish reason")
        self.done = True
        message: dict[str, Any] = {
            "role": "assistant",
            "content": "".join(self._text) if self._text or not (self._calls or self._refusal) else None,
            "refusal": self._refusal or None,
            "annotations": [],
        }
        if self._calls:
            message["tool_calls"] = self._calls
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._finish_reason()}
        return _encode(
            {
                "id": self._id,
                "object": "chat.completion",
                "created": self._now_s,
                "model": self._model,
                "choices": [choice],
                "usage": self._openai_usage(),
            }
        )

    def event(self, event: bytes) -> bytes:
        """One OpenAI chunk for one Gemini event, or none."""
        data = sse.data_of(event)
        if not data:
            return b""
        try:
            answer = _ANSWER.decode(data)
        except (ValueError, RecursionError) as error:
            if isinstance(error, msgspec.ValidationError) and data.startswith(b"{"):
                raise garbage(self._provider, "an event is no generateContent answer") from None
            # One broken event among good ones is left out, as for every other provider.
            return b""
        try:
            delta = self._read(answer)
        except _BROKEN:
            raise garbage(self._provider, "an event is no generateContent answer") from None
        return self._chunk(delta) if delta else b""

    def end(self) -> bytes:
        """The finish chunk, the usage chunk when asked for, and the end mark."""
        if not self.finished:
            raise cut(self._provider, "the stream ended without a finish reason")
        tail = self._chunk({}, self._finish_reason())
        if self._ask.include_usage:
            tail += self._chunk(None, usage=self._openai_usage())
        return tail + sse.DONE

    def error_body(self, body: bytes) -> bytes:
        """Google's error in OpenAI's shape."""
        error = google_error(body)
        if error is None or not isinstance(error.get("message"), str):
            return b""
        kind = error.get("status")
        made = {"message": error["message"], "type": kind if isinstance(kind, str) else "error"}
        return _encode({"error": {**made, "param": None, "code": None}})

    def shown(self) -> Shown | None:
        """See Shows."""
        return None if self._calls or self._refusal else Shown("".join(self._text))

    def result(self, *, need_text: bool) -> Result:
        """Usage and text of what was seen so far."""
        usage, source = self._usage, UsageSource.PROVIDER
        if usage is None or not self.finished:
            # Cut before the final count: what Google said on the way is the least it can be.
            guess, source = counted(text_bytes_of(self._ask.input), self._seen_bytes), UsageSource.COUNTED
            usage = larger(usage, guess) if usage is not None else guess
        if not need_text:
            return Result(usage, source, self._finish_reason())
        calls = _encode(self._calls).decode() if self._calls else ""
        return Result(usage, source, self._finish_reason(), "".join(self._text) or self._refusal, calls)

    def _read(self, answer: _Answer) -> dict[str, Any]:
        """Takes in an answer or a piece of one; the delta to show. Raises ProviderFault for a failure."""
        if answer.error is not None:
            status = answer.error.get("status") if isinstance(answer.error, dict) else ""
            raise stream_error(self._provider, status if isinstance(status, str) else "")
        self._name(answer)
        self._usage = usage_of(answer.usage_metadata) or self._usage
        delta: dict[str, Any] = {}
        blocked = (answer.prompt_feedback.block_reason if answer.prompt_feedback else None) or ""
        for choice in answer.candidates or []:
            if choice.index:
                # Only one is asked for; a second one would run into the first.
                continue
            for part in (choice.content.parts if choice.content else None) or []:
                self._read_part(part, delta)
            if (choice.finish_reason or "") not in UNSAID:
                self._end(str(choice.finish_reason))
        if blocked not in UNSAID and not answer.candidates:
            self._refusal = f"Google blocked the prompt ({blocked})."
            delta["refusal"] = self._refusal
            self._end("SAFETY")
        return delta

    def _name(self, answer: _Answer) -> None:
        if not self._id:
            own = answer.response_id or hashlib.sha256(self._ask.input).hexdigest()[:24]
            self._id = f"chatcmpl-{own}"
        self._model = self._model or answer.model_version or self._candidate.upstream_name

    def _read_part(self, part: _Part, delta: dict[str, Any]) -> None:
        """Adds what is to be shown of a part to the delta."""
        if part.function_call is not None:
            delta.setdefault("tool_calls", []).append(self._read_call(part.function_call, part.thought_signature))
            return
        if not part.text:
            return
        self.first = True
        size = len(part.text.encode())
        self._seen_bytes += size
        if part.thought:
            return
        if self._kept_bytes + size <= MAX_KEPT_BYTES or not self._ask.stream:
            self._text.append(part.text)
            self._kept_bytes += size
        delta["content"] = delta.get("content", "") + part.text

    def _read_call(self, call: _Call, signature: str | None) -> dict[str, Any]:
        arguments = bytes(call.args).decode()
        if arguments == "null":
            arguments = "{}"
        if not call.name or not arguments.startswith("{"):
            raise garbage(self._provider, "a function call has no name or its arguments are no object")
        number = len(self._calls)
        function = {"name": call.name, "arguments": arguments}
        made: dict[str, Any] = {"id": call.id or self._call_id(number, function), "type": "function"}
        made["function"] = function
        if signature:
            made["extra_content"] = {"google": {"thought_signature": signature}}
        self.first = True
        self._seen_bytes += len(call.name) + len(arguments.encode())
        self._calls.append(made)
        return {"index": number, **made}

    def _call_id(self, number: int, function: dict[str, str]) -> str:
        """The same for the same call in answer to the same request, another in the next turn."""
        said = [number, function["name"], function["arguments"]]
        return f"call_{hashlib.sha256(self._ask.input + _encode(said)).hexdigest()[:24]}"

    def _end(self, reason: str) -> None:
        if reason not in FINISH:
            raise stream_error(self._provider, reason)
        self._finish = reason
        self.first = self.finished = True

    def _finish_reason(self) -> str:
        finish = FINISH.get(self._finish, "")
        return "tool_calls" if finish == "stop" and self._calls else finish

    def _chunk(self, delta: dict[str, Any] | None, finish: str | None = None, *, usage: Any = None) -> bytes:
        if delta is not None and not self._role_sent:
            self._role_sent = True
            delta = {"role": "assistant", "content": "", "refusal": None, **delta}
        more = {"usage": usage} if self._ask.include_usage else {}
        return openai_form.chunk(self._id, self._now_s, self._model, delta, finish, **more)

    def _openai_usage(self) -> dict[str, Any]:
        return openai_usage(self.result(need_text=False).usage)
