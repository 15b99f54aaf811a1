"""Embeddings: the caller's bytes to an OpenAI-compatible provider and its bytes back, by the retry loop of chats."""

import dataclasses
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from services.provider.adapters import Outgoing, Result
from services.provider.adapters.dialects import PLAIN, ChatDialect, key_headers
from services.provider.adapters.usage import usage_of
from services.provider.calling.events import Ask, Attempt, Candidate, Failure, Finish, Frames, Usage, UsageSource
from services.provider.calling.generation import Generator
from services.provider.error_bodies import openai_error
from services.provider.errors import ProviderFault, garbage, not_translatable, stream_error
from services.provider.splice import changed, fields_of, join


class _Vector(msgspec.Struct):
    """One element of the answer; its numbers are never built."""

    embedding: msgspec.Raw


class _Answer(msgspec.Struct):
    """An answer as far as DAC looks into it."""

    data: list[_Vector]
    usage: Any = None


_answers = msgspec.json.Decoder(_Answer)
_encode, _decode = msgspec.json.encode, msgspec.json.decode


@dataclasses.dataclass(frozen=True, slots=True)
class Vectors:
    """A good answer."""

    body: bytes
    """The provider's own bytes."""
    usage: Usage
    usage_source: UsageSource
    attempts: Sequence[Attempt]


class EmbeddingExchange:
    """Pass-through of `POST /embeddings`: only the model's name differs from what the caller sent."""

    def __init__(
        self, ask: Ask, candidate: Candidate, provider: str, key: str, *, dialect: ChatDialect = PLAIN
    ) -> None:
        self._ask, self._candidate, self._provider, self._key = ask, candidate, provider, key
        self._dialect = dialect
        self._usage: Usage | None = None
        self.first = self.finished = self.done = False

    def outgoing(self) -> Outgoing:
        """The caller's bytes with the provider's own names for the model and for fields."""
        dialect = self._dialect
        try:
            fields = fields_of(self._ask.input)
            changes: dict[str, bytes | None] = {"model": _encode(self._candidate.upstream_name)}
            for name in fields.keys() & dialect.embedding_renamed.keys():
                changes |= {name: None, dialect.embedding_renamed[name]: bytes(fields[name])}
            changes |= dict.fromkeys(dialect.embedding_dropped)
            body = join(changed(fields, changes))
        except (ValueError, RecursionError):
            raise not_translatable("The request body is not a JSON object of embeddings.") from None
        return Outgoing("/embeddings", {"Content-Type": "application/json", **key_headers(dialect, self._key)}, body)

    def plain(self, raw: bytes) -> bytes:
        """The answer's own bytes, once it is known to hold a vector for every input."""
        try:
            answer = _answers.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise self._unreadable(raw) from None
        wanted, came = self._ask.vectors, len(answer.data)
        if came == 0 or (wanted and came != wanted):
            raise garbage(self._provider, f"{came} vectors came for {wanted or 'some'} inputs")
        if not all(_is_vector(bytes(one.embedding)) for one in answer.data):
            raise garbage(self._provider, "a vector is empty, or neither a list nor base64")
        usage = answer.usage
        # OpenAI tells no output here: there is none.
        self._usage = usage_of({"completion_tokens": 0, **usage} if isinstance(usage, dict) else None)
        self.first = self.finished = self.done = True
        return raw

    def _unreadable(self, raw: bytes) -> ProviderFault:
        """Some compatible servers report failures with status 200."""
        try:
            error = _decode(bytes(fields_of(raw)["error"]))
        except (ValueError, KeyError, RecursionError):
            return garbage(self._provider, "the body is no list of embeddings")
        kind = str(error.get("code") or error.get("type") or "") if isinstance(error, dict) else ""
        return stream_error(self._provider, kind)

    def event(self, event: bytes) -> bytes:
        """Embeddings are never streamed."""
        raise garbage(self._provider, "it streamed embeddings")

    def end(self) -> bytes:
        """Nothing is owed."""
        return b""

    def error_body(self, body: bytes) -> bytes:
        """See OpenAIExchange."""
        return openai_error(body)

    def result(self, *, need_text: bool) -> Result:
        """What the provider said it read; else what the gateway counted."""
        if self._usage is not None:
            return Result(self._usage, UsageSource.PROVIDER, "")
        return Result(Usage(input_tokens=self._ask.input_tokens), UsageSource.COUNTED, "")


def _is_vector(raw: bytes) -> bool:
    return raw[:1] in (b"[", b'"') and raw not in (b"[]", b'""')


async def embed(generator: Generator, ask: Ask) -> Vectors | Failure:
    """Embeds by the rules of a generation that is not streamed."""
    body = b""
    end: Finish | Failure | None = None
    async with aclosing(generator.run(ask)) as events:
        async for event in events:
            if isinstance(event, Frames):
                body = event.data
            elif isinstance(event, Finish | Failure):
                end = event
    assert end is not None
    if isinstance(end, Failure):
        return end
    return Vectors(body, end.usage, end.usage_source, end.attempts)
