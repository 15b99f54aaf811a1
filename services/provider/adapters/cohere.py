"""Cohere's API of the second version: /v2/chat with its typed events, and /v2/embed, for callers who speak OpenAI.

What a model thinks, and the plan it makes before it calls tools, come as `reasoning_content`; its citations are kept as
`citations`. Usage is what Cohere bills, and where it does not say that, what the model read and wrote.
"""

from typing import Any

import msgspec

from mesh import sse
from services.provider.adapters import Outgoing, openai_form
from services.provider.adapters.cohere_request import to_chat
from services.provider.adapters.translated import BROKEN, Delta, Translated, count_of, text_in
from services.provider.adapters.translated_embedding import Asked, Told, TranslatedEmbedding
from services.provider.calling.events import Ask, Candidate, Usage
from services.provider.errors import ProviderFault, garbage, not_translatable, stream_error

FINISH = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
    "ERROR_TOXIC": "content_filter",
}
"""finish_reason → OpenAI's. Any other (ERROR, TIMEOUT, …) is a failure."""
INPUT_TYPES = ("search_document", "search_query", "classification", "clustering")
"""What Cohere must be told a text is for; a caller's `input_type` says it, else it is a document."""
_encode, _decode = msgspec.json.encode, msgspec.json.decode


def usage_of(raw: Any) -> Usage | None:
    """What is billed, else what was read and written; None when a count is missing or absurd."""
    if not isinstance(raw, dict):
        return None
    for name in ("billed_units", "tokens"):
        told = raw.get(name)
        if not isinstance(told, dict):
            continue
        read, wrote = count_of(told.get("input_tokens")), count_of(told.get("output_tokens"))
        if read is not None and wrote is not None:
            cached = min(read, count_of(raw.get("cached_tokens")) or 0)
            return Usage(read - cached, cached, 0, wrote)
    return None


def headers_of(key: str) -> dict[str, str]:
    """The bearer key."""
    return {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}


def said_in_openai(body: bytes) -> bytes:
    """{"message": "…"} in OpenAI's shape; nothing when it is none."""
    try:
        return openai_form.error_body(_decode(body)["message"])
    except BROKEN:
        return b""


class CohereExchange(Translated):
    """For callers who speak OpenAI chat completions."""

    def __init__(self, ask: Ask, candidate: Candidate, provider: str, key: str, *, now_s: int = 0) -> None:
        super().__init__(ask, candidate, provider, key, now_s=now_s)
        self._numbers: dict[int, int] = {}

    def outgoing(self) -> Outgoing:
        """The translated request."""
        candidate = self._candidate
        try:
            body = _decode(self._ask.input)
            cap, stream = candidate.output_cap_tokens, self._ask.stream
            made = _encode(to_chat(body, candidate.upstream_name, cap, stream=stream))
        except ProviderFault:
            raise
        except BROKEN:
            raise not_translatable("The request body is not a valid chat completions request.") from None
        return Outgoing("/v2/chat", headers_of(self._key), made)

    def read_whole(self, raw: bytes) -> Delta:
        """See Translated."""
        answer = _decode(raw)
        message, delta = answer["message"], Delta()
        self.name(text_in(answer.get("id")), "")
        self.think(delta, text_in(message.get("tool_plan")))
        for block in message.get("content") or []:
            self._read_content(delta, block)
        for call in message.get("tool_calls") or []:
            self._open(delta, call)
        if message.get("citations"):
            self._extra["citations"] = list(message["citations"])
        self._read_end(answer)
        return delta

    def read_event(self, event: bytes) -> Delta | None:
        """See Translated. One broken event among good ones is left out, as for every other provider."""
        try:
            data = _decode(sse.data_of(event) or b"null")
        except (ValueError, RecursionError):
            return None
        if not isinstance(data, dict):
            return None
        kind, given = data.get("type"), data.get("delta") or {}
        message, delta = given.get("message") or {}, Delta()
        if kind == "message-start":
            self.name(text_in(data.get("id")), "")
        elif kind in ("content-start", "content-delta"):
            self._read_content(delta, message["content"])
        elif kind == "tool-plan-delta":
            self.think(delta, text_in(message.get("tool_plan")))
        elif kind == "tool-call-start":
            self._numbers[data["index"]] = self._open(delta, message["tool_calls"])
        elif kind == "tool-call-delta":
            piece = text_in(message["tool_calls"]["function"].get("arguments"))
            self.more_arguments(delta, self._numbers[data["index"]], piece)
        elif kind == "citation-start":
            delta["citations"] = [message["citations"]]
        elif kind == "message-end":
            self._read_end(given)
            self.done = True
        return delta

    def error_body(self, body: bytes) -> bytes:
        """Cohere's error in OpenAI's shape."""
        return said_in_openai(body)

    def _read_content(self, delta: Delta, block: Any) -> None:
        self.think(delta, text_in(block.get("thinking")))
        self.say(delta, text_in(block.get("text")))

    def _open(self, delta: Delta, call: Any) -> int:
        function = call["function"]
        arguments = text_in(function.get("arguments"))
        return self.open_call(delta, text_in(function.get("name")), arguments, call_id=text_in(call.get("id")))

    def _read_end(self, given: Any) -> None:
        reason = given.get("finish_reason")
        if given.get("error") or reason not in FINISH:
            if reason is None and not given.get("error"):
                raise garbage(self._provider, "its end has no finish reason")
            raise stream_error(self._provider, text_in(reason))
        self.count(usage_of(given.get("usage")))
        self.finish(FINISH[reason])


class _Floats(msgspec.Struct):
    float: list[list[float]]


class _Vectors(msgspec.Struct):
    embeddings: _Floats
    meta: Any = None


_VECTORS = msgspec.json.Decoder(_Vectors)


class CohereEmbedding(TranslatedEmbedding):
    """/v2/embed for callers who speak OpenAI's embeddings."""

    def request(self, asked: Asked) -> Outgoing:
        """See TranslatedEmbedding."""
        kind = asked.body.get("input_type") or INPUT_TYPES[0]
        if kind not in INPUT_TYPES:
            raise not_translatable(f"input_type: {kind!r} is none of {', '.join(INPUT_TYPES)}.")
        made: dict[str, Any] = {"model": self._candidate.upstream_name, "texts": asked.texts, "input_type": kind}
        made["embedding_types"] = ["float"]
        if asked.dimensions:
            made["output_dimension"] = asked.dimensions
        return Outgoing("/v2/embed", headers_of(self._key), _encode(made))

    def read(self, raw: bytes) -> Told:
        """See TranslatedEmbedding."""
        answer = _VECTORS.decode(raw)
        billed = (answer.meta or {}).get("billed_units") or {}
        return Told(answer.embeddings.float, count_of(billed.get("input_tokens")), "")

    def error_body(self, body: bytes) -> bytes:
        """Cohere's error in OpenAI's shape."""
        return said_in_openai(body)
