"""What adapters share that say another provider's vectors in the form of OpenAI's embeddings."""

import base64
import struct
from typing import Any, NamedTuple

import msgspec

from services.provider.adapters import Outgoing, Result
from services.provider.adapters.translated import BROKEN
from services.provider.calling.events import Ask, Candidate, Usage, UsageSource
from services.provider.errors import garbage, not_translatable

_encode, _decode = msgspec.json.encode, msgspec.json.decode


class Asked(NamedTuple):
    """What the caller wants embedded."""

    texts: list[str]
    dimensions: int
    """0 = the model's own."""
    body: dict[str, Any]


class Told(NamedTuple):
    """What a provider answered."""

    vectors: list[list[float]]
    tokens: int | None
    """What it read; None = it told none."""
    model: str


class TranslatedEmbedding:
    """For callers of OpenAI's embeddings. A subclass adds request, read and error_body."""

    def __init__(self, ask: Ask, candidate: Candidate, provider: str, key: str) -> None:
        self._ask, self._candidate, self._provider, self._key = ask, candidate, provider, key
        self._usage: Usage | None = None
        self._base64 = False
        self.first = self.finished = self.done = False

    def request(self, asked: Asked) -> Outgoing:
        """The request in the provider's dialect. Raises ProviderFault, or one of BROKEN."""
        raise NotImplementedError

    def read(self, raw: bytes) -> Told:
        """Takes in an answer. Raises ProviderFault, or one of BROKEN."""
        raise NotImplementedError

    def outgoing(self) -> Outgoing:
        """The translated request."""
        try:
            body = _decode(self._ask.input)
            self._base64 = body.get("encoding_format") == "base64"
            given, dimensions = body["input"], body.get("dimensions") or 0
            texts = [given] if isinstance(given, str) else given
            if not isinstance(texts, list) or not all(isinstance(one, str) for one in texts):
                raise not_translatable(
                    f"input: {self._provider} embeds texts, not tokens; send a text or a list of texts."
                )
            if type(dimensions) is not int or dimensions < 0:
                raise not_translatable("dimensions: a whole number of 1 or more is needed.")
            return self.request(Asked(texts, dimensions, body))
        except BROKEN:
            raise not_translatable("The request body is not a JSON object of embeddings.") from None

    def plain(self, raw: bytes) -> bytes:
        """A list of embeddings, once it is known to hold a vector for every input."""
        try:
            told = self.read(raw)
        except BROKEN:
            raise garbage(self._provider, "the body is no list of embeddings") from None
        wanted, came = self._ask.vectors, len(told.vectors)
        if came == 0 or (wanted and came != wanted):
            raise garbage(self._provider, f"{came} vectors came for {wanted or 'some'} inputs")
        if not all(told.vectors):
            raise garbage(self._provider, "a vector is empty")
        data = [
            {"object": "embedding", "index": index, "embedding": self._shown(vector)}
            for index, vector in enumerate(told.vectors)
        ]
        self._usage = None if told.tokens is None else Usage(input_tokens=told.tokens)
        used = self._ask.input_tokens if told.tokens is None else told.tokens
        self.first = self.finished = self.done = True
        return _encode(
            {
                "object": "list",
                "data": data,
                "model": self._ask.answer_model or told.model or self._candidate.upstream_name,
                "usage": {"prompt_tokens": used, "total_tokens": used},
            }
        )

    def event(self, event: bytes) -> bytes:
        """Embeddings are never streamed."""
        raise garbage(self._provider, "it streamed embeddings")

    def end(self) -> bytes:
        """Nothing is owed."""
        return b""

    def result(self, *, need_text: bool) -> Result:
        """What the provider said it read; else what the gateway counted."""
        if self._usage is not None:
            return Result(self._usage, UsageSource.PROVIDER, "")
        return Result(Usage(input_tokens=self._ask.input_tokens), UsageSource.COUNTED, "")

    def _shown(self, vector: list[float]) -> Any:
        if not self._base64:
            return vector
        try:
            return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
        except OverflowError:
            raise garbage(self._provider, "a number of a vector is too large") from None
