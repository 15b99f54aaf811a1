"""Envoy's rate limit service (RLS v3), answered by the limiter that counts the organisations' limits.

What Envoy asks about is no organisation's: a caller's address, the public part of its key. Each descriptor is counted
for itself.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any

from dac.envoy.v3 import ratelimit_pb2, rls_pb2, rls_pb2_grpc
from mesh.ids import uuid7
from services.budget.config import BudgetConfig
from services.budget.limits import rate_limit_errors
from services.budget.limits.admission import Admission
from services.budget.limits.rate_limits import Asked, RateLimit

DOMAIN = "dac"
ADDRESS = "remote_address"
KEYS = ("key_id", "api_key_id")
MAX_DESCRIPTORS = 32
MAX_TEXT = 256
_UNITS = rls_pb2.RateLimitResponse.RateLimit
_STEPS: dict[int, tuple[int, int]] = {
    ratelimit_pb2.SECOND: (1, 1),
    ratelimit_pb2.MINUTE: (1, 60),
    ratelimit_pb2.HOUR: (60, 60),
    ratelimit_pb2.DAY: (1440, 60),
    ratelimit_pb2.MONTH: (43_200, 60),
    ratelimit_pb2.YEAR: (525_600, 60),
}
"""The length of a step in seconds, and how many there are in a unit; a month has 30 days."""


class EnvoyRateLimitServicer(rls_pb2_grpc.RateLimitServiceServicer):
    """See envoy.service.ratelimit.v3.RateLimitService. Refuses every call unless the operator has let Envoy in."""

    def __init__(self, admission: Admission, config: BudgetConfig) -> None:
        self._admission, self._config = admission, config

    async def ShouldRateLimit(  # noqa: D102
        self, request: rls_pb2.RateLimitRequest, context: Any
    ) -> rls_pb2.RateLimitResponse:
        if not self._config.envoy_rate_limits:
            raise rate_limit_errors.not_for_envoy()
        hits = request.hits_addend or 1
        answers = await asyncio.gather(
            *(self._status(request.domain, one, hits) for one in request.descriptors[:MAX_DESCRIPTORS])
        )
        response = rls_pb2.RateLimitResponse(
            overall_code=rls_pb2.RateLimitResponse.OK, statuses=[status for status, _ in answers]
        )
        waits = [wait_s for status, wait_s in answers if status.code == rls_pb2.RateLimitResponse.OVER_LIMIT]
        if waits:
            response.overall_code = rls_pb2.RateLimitResponse.OVER_LIMIT
            if (wait_s := max(waits)) != math.inf:
                response.response_headers_to_add.add(key="retry-after", value=str(math.ceil(wait_s)))
        return response

    async def _status(
        self, domain: str, descriptor: ratelimit_pb2.RateLimitDescriptor, hits: int
    ) -> tuple[rls_pb2.RateLimitResponse.DescriptorStatus, float]:
        """What is left for one descriptor, and when it has room again."""
        status = rls_pb2.RateLimitResponse.DescriptorStatus(code=rls_pb2.RateLimitResponse.OK)
        most, unit = self._limit_of(domain, descriptor)
        if most is None:
            return status, 0.0
        name = "|".join(f"{one.key[:MAX_TEXT]}={one.value[:MAX_TEXT]}" for one in descriptor.entries)
        step_s, steps = _STEPS[unit]
        # The name is the hash tag: descriptors spread over a cluster's servers.
        scope = f"envoy:{domain[:MAX_TEXT]}:{unit}:{name}".replace("{", "(").replace("}", ")")
        limit = RateLimit(scope, scope, 0, "", requests_per_minute=most, step_s=step_s, steps=steps)
        if descriptor.HasField("hits_addend"):
            hits = min(descriptor.hits_addend.value, 2**32)
        verdict = await self._admission.count_apart(Asked(limit), hits, uuid7())
        state = verdict.state
        status.current_limit.CopyFrom(_UNITS(requests_per_unit=most, unit=_UNITS.Unit.Name(unit)))
        status.limit_remaining = min(state.requests_remaining, 2**32 - 1)
        status.duration_until_reset.FromNanoseconds(int(state.requests_reset_s * 1e9))
        if verdict.refusal is None:
            return status, 0.0
        status.code = rls_pb2.RateLimitResponse.OVER_LIMIT
        return status, verdict.refusal.retry_after_s

    def _limit_of(self, domain: str, descriptor: ratelimit_pb2.RateLimitDescriptor) -> tuple[int | None, int]:
        """How many in which unit; None = it is not limited."""
        unit = int(descriptor.limit.unit)
        if descriptor.HasField("limit") and unit in _STEPS:
            return descriptor.limit.requests_per_unit, unit
        keys = [one.key for one in descriptor.entries]
        most = 0
        if domain == DOMAIN and keys == [ADDRESS]:
            most = self._config.envoy_address_requests_per_minute
        elif domain == DOMAIN and len(keys) == 1 and keys[0] in KEYS and descriptor.entries[0].value:
            most = self._config.envoy_key_requests_per_minute
        return most or None, ratelimit_pb2.MINUTE
