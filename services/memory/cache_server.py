"""CacheService: proto in, the cache, proto out."""

from __future__ import annotations

from typing import Any

from dac.memory.v1 import cache_pb2, cache_pb2_grpc
from services.memory.cache import ResponseCache
from services.memory.viewers import organisation


class CacheServicer(cache_pb2_grpc.CacheServiceServicer):
    """The exact response cache."""

    def __init__(self, cache: ResponseCache) -> None:
        self._cache = cache

    async def Lookup(self, request: cache_pb2.LookupRequest, context: Any) -> cache_pb2.LookupResponse:
        """See CacheService.Lookup."""
        found = await self._cache.find(organisation(), request.fingerprint)
        if found is None:
            return cache_pb2.LookupResponse()
        return cache_pb2.LookupResponse(answer=cache_pb2.CachedAnswer.FromString(found[0]), age_s=found[1])

    async def Store(self, request: cache_pb2.StoreRequest, context: Any) -> cache_pb2.StoreResponse:
        """See CacheService.Store."""
        stored = await self._cache.put(
            organisation(),
            request.fingerprint,
            request.answer.SerializeToString() if request.answer.openai_json else b"",
            finish_reason=request.answer.finish_reason,
            lifetime_s=request.lifetime_s,
        )
        return cache_pb2.StoreResponse(stored=stored)
