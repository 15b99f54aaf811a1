"""A chat's part in the exact response cache. A cache that fails never loses the answer."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from dac.memory.v1.cache_pb2 import CachedAnswer, LookupRequest, StoreRequest
from dac.provider.v1.provider_pb2 import GenerateFinish
from mesh import telemetry
from mesh.errors import MeshError
from services.gateway import openai_wire
from services.gateway.openai_wire import ChatAsk

if TYPE_CHECKING:
    from dac.memory.v1.cache_pb2_grpc import CacheServiceAsyncStub

TIMEOUT_S = 2.0


class AnswerCache:
    """Looks up and stores the answer of one chat, inside its caller's organisation."""

    def __init__(self, cache: "CacheServiceAsyncStub", ask: ChatAsk, body: bytes, request_id: str) -> None:
        self._cache, self._ask, self._request_id = cache, ask, request_id
        self._fingerprint = openai_wire.fingerprint(ask, body)

    async def look_up(self, allowed: Collection[str]) -> CachedAnswer | None:
        """A stored answer of one of the `allowed` models, or None."""
        answer = None
        try:
            found = await self._cache.Lookup(LookupRequest(fingerprint=self._fingerprint), timeout=TIMEOUT_S)
            # The organisation's other keys may use more models than this one.
            if found.HasField("answer") and found.answer.model in allowed:
                answer = found.answer
        except MeshError:
            pass
        telemetry.CACHE.labels("miss" if answer is None else "hit").inc()
        return answer

    def wants_text(self) -> bool:
        """Whether storing needs the text of a stream."""
        return self._ask.stream and self._stream_is_storable()

    def _stream_is_storable(self) -> bool:
        """A stream is put together from its first choice's text, so it can stand only for requests of that."""
        return self._ask.choices == 1 and "logprobs" not in self._ask.fields

    async def store(self, finish: GenerateFinish, body: bytes, cost_nano_usd: int) -> bool:
        """Stores a whole answer; False when it was not storable (a mended one is not) or the cache failed."""
        if finish.finish_reason != "stop" or not finish.attempts:
            return False
        last = finish.attempts[-1]
        if last.rescue:
            return False
        if self._ask.stream:
            if not self._stream_is_storable():
                return False
            text, calls, reason = finish.text, finish.tool_calls_json, finish.finish_reason
            body = openai_wire.completion(self._request_id, last.model, text, calls, reason, finish.usage)
        answer = CachedAnswer(
            openai_json=body,
            model=last.model,
            provider=last.provider,
            usage=finish.usage,
            finish_reason=finish.finish_reason,
            cost_nano_usd=cost_nano_usd,
        )
        try:
            request = StoreRequest(fingerprint=self._fingerprint, answer=answer)
            stored = await self._cache.Store(request, timeout=TIMEOUT_S)
        except MeshError:
            return False
        return stored.stored
