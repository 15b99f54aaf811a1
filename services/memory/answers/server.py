"""CacheService: proto in, the cache, proto out."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from typing import Any

from dac.memory.v1 import cache_pb2, cache_pb2_grpc
from mesh.admin_record import Change, admin_change
from mesh.call import require_principal, require_scope
from mesh.ids import is_uuid
from services.memory import errors
from services.memory.answers import counts as cache_counts
from services.memory.answers.cache import Asked, Hit, ResponseCache
from services.memory.answers.counts import error_bounds
from services.memory.answers.rules import Offered
from services.memory.answers.store import CacheStore, Partition, Purge
from services.memory.viewers import organisation, viewer

DEFAULT_DAYS, MAX_DAYS = 30, 366
_BY_MEANING = (cache_pb2.MATCH_MODE_DEFAULT, cache_pb2.MATCH_MODE_BALANCED)


class CacheServicer(cache_pb2_grpc.CacheServiceServicer):
    """The response cache."""

    def __init__(self, cache: ResponseCache, store: CacheStore, *, clock: Callable[[], dt.datetime]) -> None:
        self._cache, self._store, self._clock = cache, store, clock

    async def Lookup(self, request: cache_pb2.LookupRequest, context: Any) -> cache_pb2.LookupResponse:
        """See CacheService.Lookup."""
        partition = _partition(request.scope_key or request.fingerprint, request.user_scoped)
        meaning = bool(request.scope_key) and request.mode in _BY_MEANING
        embedder_id = self._cache.embedder.embedder_id if meaning else ""
        if partition is None:
            return cache_pb2.LookupResponse(embedder_id=embedder_id)
        found = await self._cache.find(
            Asked(
                partition,
                request.prompt if request.scope_key else "",
                meaning,
                balanced=request.mode == cache_pb2.MATCH_MODE_BALANCED,
                min_similarity=_checked(request.min_similarity, "min_similarity"),
                max_age_s=_checked(request.max_age_s, "max_age_s"),
                models=list(request.models),
                fingerprint_only=not request.scope_key,
            )
        )
        if not isinstance(found, Hit):
            return cache_pb2.LookupResponse(similarity=found.similarity, guard=found.guard, embedder_id=embedder_id)
        answer = cache_pb2.CachedAnswer.FromString(found.answer)
        self._cache.served(partition.org_id, found, answer.cost_nano_usd, answer.duration_ms)
        return cache_pb2.LookupResponse(
            answer=answer,
            age_s=found.age_s,
            entry_id=found.entry_id,
            similarity=found.similarity,
            kind=cache_pb2.MATCH_KIND_EXACT if found.exact else cache_pb2.MATCH_KIND_SEMANTIC,
            embedder_id=embedder_id,
        )

    async def Store(self, request: cache_pb2.StoreRequest, context: Any) -> cache_pb2.StoreResponse:
        """See CacheService.Store."""
        partition = _partition(request.scope_key or request.fingerprint, request.user_scoped)
        if partition is None:
            return cache_pb2.StoreResponse(reason="no_user")
        answer = request.answer
        serialised = answer.SerializeToString()
        prompt = request.prompt if request.scope_key else ""
        entry_id, reason = await self._cache.put(
            Asked(
                partition,
                prompt,
                meaning=bool(request.scope_key) and not request.exact_only,
                fingerprint_only=not request.scope_key,
            ),
            serialised,
            Offered(
                answer.openai_json,
                answer.finish_reason,
                len(serialised),
                request.quality if request.HasField("quality") else None,
                prompt,
            ),
            lifetime_s=request.lifetime_s,
            tags=list(request.tags),
            model=answer.model,
        )
        return cache_pb2.StoreResponse(stored=bool(entry_id), reason=reason, entry_id=entry_id)

    async def GetCacheStatistics(
        self, request: cache_pb2.GetCacheStatisticsRequest, context: Any
    ) -> cache_pb2.GetCacheStatisticsResponse:
        """See CacheService.GetCacheStatistics."""
        org_id = _organisation_named(request.org_id)
        days = request.days or DEFAULT_DAYS
        if not 1 <= days <= MAX_DAYS:
            raise errors.invalid("days", f"must be from 1 to {MAX_DAYS}, not {days}")
        await self._cache.counts.write_of(org_id)
        since = self._clock().date() - dt.timedelta(days=days - 1)
        counts, totals = await self._store.counted(org_id, since)
        response = _statistics(counts)
        response.since.FromDatetime(dt.datetime(since.year, since.month, since.day, tzinfo=dt.UTC))
        response.entries, response.bytes = totals.entries, totals.bytes
        response.embedder_id, response.semantic = self._cache.embedder.embedder_id, self._cache.embedder.semantic
        return response

    async def PurgeCache(self, request: cache_pb2.PurgeCacheRequest, context: Any) -> cache_pb2.PurgeCacheResponse:
        """See CacheService.PurgeCache."""
        org_id = _organisation_named(request.org_id)
        named = (request.model, request.tag, request.entry_id, request.scope_key, request.text, request.user_id)
        if not any(named) and not request.older_than_s and not request.all:
            raise errors.invalid(
                "all", "must be true to delete every answer; or name a model, a tag, an age, a text, …"
            )
        if request.entry_id and not is_uuid(request.entry_id):
            raise errors.invalid("entry_id", f'must be a UUID, not "{request.entry_id[:80]}"')
        age_s = min(_checked(request.older_than_s, "older_than_s"), 1e9)
        purge = Purge(
            model=request.model,
            tag=request.tag,
            entry_id=request.entry_id or None,
            scope_key=request.scope_key,
            before=self._clock() - dt.timedelta(seconds=age_s) if age_s else None,
            user_id=request.user_id,
        )
        return cache_pb2.PurgeCacheResponse(
            deleted=await self._cache.purge(org_id, purge, request.text, self._change(org_id, request))
        )

    def _change(self, org_id: str, request: cache_pb2.PurgeCacheRequest) -> Change:
        """What audit is told: which fields narrowed the purge; a text and a scope key not by what they hold."""
        spoken = [(name, getattr(request, name)) for name in ("model", "tag", "entry_id", "user_id")]
        named = [f"{name}={value}" for name, value in spoken if value]
        named += [name for name in ("scope_key", "older_than_s", "text") if getattr(request, name)]
        target = ("cache:" + " ".join(named or ["all"]))[:512]
        return admin_change("memory.cache.purge", target, self._clock(), org_id=org_id)

    async def ReportCacheFeedback(
        self, request: cache_pb2.ReportCacheFeedbackRequest, context: Any
    ) -> cache_pb2.ReportCacheFeedbackResponse:
        """See CacheService.ReportCacheFeedback."""
        caller = viewer()
        if not is_uuid(request.entry_id):
            raise errors.invalid("entry_id", f'must be a UUID, not "{request.entry_id[:80]}"')
        found, dropped, needs = await self._cache.fail(
            caller.org_id,
            None if caller.sees_all else caller.user_id,
            request.entry_id,
            request.similarity,
            request.request_id,
        )
        if found:
            self._cache.counts.add(caller.org_id, cache_counts.FEEDBACK)
            if request.similarity < 1:
                self._cache.counts.add(caller.org_id, cache_counts.FEEDBACK_SEMANTIC)
        return cache_pb2.ReportCacheFeedbackResponse(found=found, dropped=dropped, min_similarity=needs)


def _partition(scope_key: bytes, user_scoped: bool) -> Partition | None:
    """The caller's partition; None when it has to be a user's and the caller has none."""
    user_id = require_principal().user_id
    if user_scoped and not user_id:
        return None
    return Partition(organisation(), user_id if user_scoped else "", scope_key)


def _organisation_named(org_id: str) -> str:
    """The caller's organisation, or the one that an operator names."""
    if not org_id or org_id == require_principal().org_id:
        return organisation()
    require_scope("operator")
    if not is_uuid(org_id):
        raise errors.invalid("org_id", f'must be a UUID, not "{org_id[:80]}"')
    return org_id


def _checked(value: float, field: str) -> float:
    if not math.isfinite(value) or value < 0:
        raise errors.invalid(field, f"must be a number from 0, not {value}")
    return value


def _statistics(counts: dict[str, int]) -> cache_pb2.GetCacheStatisticsResponse:
    exact, semantic = counts.get(cache_counts.EXACT, 0), counts.get(cache_counts.SEMANTIC, 0)
    misses, failed = counts.get(cache_counts.MISS, 0), counts.get(cache_counts.FEEDBACK_SEMANTIC, 0)
    lookups = exact + semantic + misses
    low, high = error_bounds(failed, semantic)
    return cache_pb2.GetCacheStatisticsResponse(
        exact_hits=exact,
        semantic_hits=semantic,
        misses=misses,
        hit_rate=(exact + semantic) / lookups if lookups else 0.0,
        guard_blocks=[
            cache_pb2.GuardBlocks(guard=guard, blocks=total) for guard, total in _under(counts, cache_counts.BLOCKED)
        ],
        not_stored=[
            cache_pb2.NotStored(reason=reason, answers=total)
            for reason, total in _under(counts, cache_counts.NOT_STORED)
        ],
        saved_nano_usd=counts.get(cache_counts.SAVED_NANO_USD, 0),
        saved_ms=counts.get(cache_counts.SAVED_US, 0) / 1000,
        negative_feedback=counts.get(cache_counts.FEEDBACK, 0),
        observed_error=min(1.0, failed / semantic) if semantic else 0.0,
        observed_error_low=low,
        observed_error_high=high,
        stored=counts.get(cache_counts.STORED, 0),
    )


def _under(counts: dict[str, int], prefix: str) -> list[tuple[str, int]]:
    """The counts whose name begins so, most first."""
    found = [(name.removeprefix(prefix), total) for name, total in counts.items() if name.startswith(prefix)]
    return sorted(found, key=lambda one: (-one[1], one[0]))
