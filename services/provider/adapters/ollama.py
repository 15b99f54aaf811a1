"""Ollama's own API: /api/chat with its stream of JSON lines, and /api/embed, for callers who speak OpenAI.

What a model thinks comes as `reasoning_content`. Ollama counts thoughts as output, and says nothing of a cache.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from services.provider.adapters import Outgoing, openai_form
from services.provider.adapters.framing import NDJSON
from services.provider.adapters.ollama_request import keep_alive_of, to_chat
from services.provider.adapters.translated import BROKEN, Delta, Translated, count_of
from services.provider.adapters.translated_embedding import Asked, Told, TranslatedEmbedding
from services.provider.calling.events import Ask, Candidate, Usage
from services.provider.errors import ProviderFault, garbage, not_translatable, stream_error

FINISH = {"stop": "stop", "length": "length"}
"""done_reason → finish_reason; "load" and "unload" answer nothing and are failures here."""
NOTHING: Mapping[str, str] = {}
_encode, _decode = msgspec.json.encode, msgspec.json.decode


class _Function(msgspec.Struct):
    name: str = ""
    arguments: msgspec.Raw = msgspec.Raw(b"{}")


class _Call(msgspec.Struct):
    function: _Function
    id: str | None = None


class _Message(msgspec.Struct):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[_Call] | None = None


class _Answer(msgspec.Struct):
    message: _Message | None = None
    done: bool | None = None
    done_reason: str | None = None
    prompt_eval_count: Any = None
    eval_count: Any = None
    model: str | None = None
    error: Any = None


_ANSWER = msgspec.json.Decoder(_Answer)


def usage_of(answer: _Answer) -> Usage | None:
    """Both counts; None when one is missing or absurd."""
    prompt, output = count_of(answer.prompt_eval_count), count_of(answer.eval_count)
    return None if prompt is None or output is None else Usage(input_tokens=prompt, output_tokens=output)


def headers_of(key: str) -> dict[str, str]:
    """An Ollama behind a proxy, or ollama.com itself, takes a bearer key."""
    return {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}


def said_in_openai(body: bytes) -> bytes:
    """{"error": "…"} in OpenAI's shape; nothing when it is none."""
    try:
        return openai_form.error_body(_decode(body)["error"])
    except BROKEN:
        return b""


class OllamaExchange(Translated):
    """For callers who speak OpenAI chat completions."""

    def __init__(
        self,
        ask: Ask,
        candidate: Candidate,
        provider: str,
        key: str,
        *,
        now_s: int = 0,
        options: Mapping[str, str] = NOTHING,
    ) -> None:
        super().__init__(ask, candidate, provider, key, now_s=now_s)
        self._options = options

    def outgoing(self) -> Outgoing:
        """The translated request."""
        candidate, stream = self._candidate, self._ask.stream
        try:
            body = _decode(self._ask.input)
            cap = candidate.output_cap_tokens
            made = _encode(to_chat(body, candidate.upstream_name, cap, self._options, stream=stream))
        except ProviderFault:
            raise
        except BROKEN:
            raise not_translatable("The request body is not a valid chat completions request.") from None
        return Outgoing("/api/chat", headers_of(self._key), made, NDJSON)

    def read_whole(self, raw: bytes) -> Delta:
        """See Translated."""
        return self._read(_ANSWER.decode(raw))

    def read_event(self, event: bytes) -> Delta | None:
        """See Translated. One broken line among good ones is left out, as for every other provider."""
        try:
            answer = _ANSWER.decode(event)
        except (ValueError, RecursionError) as error:
            if isinstance(error, msgspec.ValidationError) and event.startswith(b"{"):
                raise
            return None
        return self._read(answer)

    def error_body(self, body: bytes) -> bytes:
        """Ollama's error in OpenAI's shape."""
        return said_in_openai(body)

    def _read(self, answer: _Answer) -> Delta:
        if answer.error is not None:
            # Its words may hold the prompt: only that there was one is told.
            raise stream_error(self._provider, "")
        if answer.message is None and not answer.done:
            raise garbage(self._provider, "an answer has no message")
        delta: Delta = {}
        self.name("", answer.model or "")
        message = answer.message or _Message()
        self.think(delta, message.thinking or "")
        self.say(delta, message.content or "")
        for call in message.tool_calls or []:
            arguments = bytes(call.function.arguments).decode()
            arguments = "{}" if arguments == "null" else arguments
            if not arguments.startswith("{"):
                raise garbage(self._provider, "a tool call's arguments are no object")
            self.open_call(delta, call.function.name, arguments, call_id=call.id or "")
        if answer.done:
            reason = answer.done_reason or "stop"
            if reason not in FINISH:
                raise stream_error(self._provider, reason)
            self.count(usage_of(answer))
            self.finish(FINISH[reason])
            self.done = True
        return delta


class _Vectors(msgspec.Struct):
    embeddings: list[list[float]]
    prompt_eval_count: Any = None
    model: str = ""


_VECTORS = msgspec.json.Decoder(_Vectors)


class OllamaEmbedding(TranslatedEmbedding):
    """/api/embed for callers who speak OpenAI's embeddings."""

    def __init__(
        self, ask: Ask, candidate: Candidate, provider: str, key: str, *, options: Mapping[str, str] = NOTHING
    ) -> None:
        super().__init__(ask, candidate, provider, key)
        self._options = options

    def request(self, asked: Asked) -> Outgoing:
        """See TranslatedEmbedding."""
        made: dict[str, Any] = {"model": self._candidate.upstream_name, "input": asked.texts}
        if asked.dimensions:
            made["dimensions"] = asked.dimensions
        if self._options.get("num_ctx"):
            made["options"] = {"num_ctx": int(self._options["num_ctx"])}
        if self._options.get("keep_alive"):
            made["keep_alive"] = keep_alive_of(self._options)
        return Outgoing("/api/embed", headers_of(self._key), _encode(made))

    def read(self, raw: bytes) -> Told:
        """See TranslatedEmbedding."""
        answer = _VECTORS.decode(raw)
        return Told(answer.embeddings, count_of(answer.prompt_eval_count), answer.model)

    def error_body(self, body: bytes) -> bytes:
        """Ollama's error in OpenAI's shape."""
        return said_in_openai(body)
