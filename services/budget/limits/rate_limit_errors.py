"""The named failures of rate limits."""

from __future__ import annotations

from mesh.errors import MeshError, Reason
from services.budget.ledger.rows import LevelKind
from services.budget.limits.rate_limits import NEVER, LimitState, Measure, Refusal

_NAMES = {
    Measure.REQUESTS: "requests_per_minute",
    Measure.TOKENS: "tokens_per_minute",
    Measure.CONCURRENT: "concurrent_requests",
}


def rate_limited(refusal: Refusal, state: LimitState, tokens: int) -> MeshError:
    """A limit on the request's path has no room for it; says which, and exactly when it has."""
    limit, most, name = refusal.limit, refusal.most, _NAMES[refusal.measure]
    level = LevelKind(limit.level_kind).name.lower()
    requests = "request" if most == 1 else "requests"
    what = {
        Measure.REQUESTS: f"{most} {requests} a minute",
        Measure.TOKENS: f"{most} {'token' if most == 1 else 'tokens'} a minute",
        Measure.CONCURRENT: f"{most} {requests} at once",
    }[refusal.measure]
    about = f"Rate limit: {level} {limit.level_id} may have {what}" + (f" of {limit.model}" if limit.model else "")
    change = "change the limit with PUT /v1/rate-limits"
    metadata = {
        "level": level,
        "level_id": limit.level_id,
        "limit": name,
        "value": str(most),
        "rate_limit_id": limit.rate_limit_id,
        **({"model": limit.model} if limit.model else {}),
        **state_texts(state),
    }
    if refusal.retry_after_s != NEVER:
        wait_s = refusal.retry_after_s
        return MeshError(
            Reason.RATE_LIMITED,
            f"{about}. Try again in {wait_s:.3f} s, or {change}.",
            metadata=metadata,
            retry_after_s=wait_s,
        )
    if refusal.measure is Measure.TOKENS and most:
        mend = f"and this request may take {tokens}: send less, ask for a shorter answer (max_tokens), or {change}."
        return MeshError(Reason.RATE_LIMITED, f"{about}, {mend}", metadata=metadata)
    return MeshError(Reason.RATE_LIMITED, f"{about}: none. To allow some, {change}.", metadata=metadata)


def state_texts(state: LimitState) -> dict[str, str]:
    """What is left, for the metadata of a refusal: its answer tells it in headers."""
    texts: dict[str, str] = {}
    if state.requests_limit is not None:
        texts |= {
            "requests_limit": str(state.requests_limit),
            "requests_remaining": str(state.requests_remaining),
            "requests_reset_s": f"{state.requests_reset_s:.3f}",
        }
    if state.tokens_limit is not None:
        texts |= {
            "tokens_limit": str(state.tokens_limit),
            "tokens_remaining": str(state.tokens_remaining),
            "tokens_reset_s": f"{state.tokens_reset_s:.3f}",
        }
    return texts


def rate_limit_not_found(rate_limit_id: str) -> MeshError:
    """No such rate limit in the caller's organisation."""
    return MeshError(
        Reason.NOT_FOUND,
        f"rate limit {rate_limit_id} does not exist in this organisation; GET /v1/rate-limits lists them.",
        metadata={"rate_limit_id": rate_limit_id},
    )


def wrong_redis_url() -> MeshError:
    """The address of the Redis is none. Its text may hold a password, so it is not repeated."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        "mesh.redis_url (REDIS_URL) is no address of a Redis: write redis://host:6379/0, rediss://… or unix://…, "
        "or leave it out.",
    )


def not_for_envoy() -> MeshError:
    """Envoy asks a budget service that was not told to answer it."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        "This budget service does not answer Envoy's rate limit questions: set budget.envoy_rate_limits "
        "(DAC_BUDGET_ENVOY_RATE_LIMITS=true) where only Envoy and DAC reach its port.",
    )
