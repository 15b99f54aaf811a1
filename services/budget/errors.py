"""The named failures of budget."""

from __future__ import annotations

import datetime as dt
import functools

from mesh.errors import MeshError, Reason

NANO_USD_PER_USD = 1_000_000_000


def usd(nano_usd: int) -> str:
    """Nano-USD for people, exact: `$0.000001500`, `$5`."""
    sign, whole = ("-" if nano_usd < 0 else ""), abs(nano_usd)
    fraction = f"{whole % NANO_USD_PER_USD:09d}".rstrip("0")
    return f"{sign}${whole // NANO_USD_PER_USD}" + (f".{fraction}" if fraction else "")


def invalid(field: str, problem: str) -> MeshError:
    """A field breaks the contract."""
    return MeshError(Reason.INVALID_REQUEST, f"{field}: {problem}", metadata={"field": field})


def budget_exhausted(
    *,
    level: str,
    level_id: str,
    selector: str,
    limit_nano_usd: int,
    left_nano_usd: int,
    resets_at: dt.datetime | None,
    now: dt.datetime,
) -> MeshError:
    """A level has too little left even for one answer token."""
    message, metadata = _exhausted(level, level_id, selector, limit_nano_usd, left_nano_usd, resets_at)
    retry_after_s = max(1.0, (resets_at - now).total_seconds()) if resets_at else None
    return MeshError(Reason.BUDGET_EXHAUSTED, message, metadata=metadata, retry_after_s=retry_after_s)


@functools.lru_cache(maxsize=256)
def _exhausted(
    level: str, level_id: str, selector: str, limit_nano_usd: int, left_nano_usd: int, resets_at: dt.datetime | None
) -> tuple[str, dict[str, str]]:
    """Message and metadata. Refusals come in bursts that say the same."""
    kind, _, narrowed = selector.partition(":")
    resets = f"resets at {resets_at:%Y-%m-%dT%H:%M:%SZ}" if resets_at else "never resets"
    metadata = {
        "level": level,
        "level_id": level_id,
        "limit_nano_usd": str(limit_nano_usd),
        "remaining_nano_usd": str(left_nano_usd),
    }
    if narrowed:
        metadata[kind] = narrowed
    if resets_at:
        metadata["resets_at"] = f"{resets_at:%Y-%m-%dT%H:%M:%SZ}"
    message = (
        f"The budget of {level} {level_id}{f' for the {kind} {narrowed}' if narrowed else ''} has "
        f"{usd(left_nano_usd)} of {usd(limit_nano_usd)} left, too little for this request; it {resets}. Raise it with "
        "PUT /v1/budgets, or ask for fewer tokens or a cheaper model."
    )
    return message, metadata


def price_unknown(provider: str, model: str) -> MeshError:
    """A budget applies and a candidate has no price."""
    return MeshError(
        Reason.PRICE_UNKNOWN,
        f"A budget applies to this request and the price of {model} at {provider} is unknown. Set it in the "
        f"configuration file ({model} under models: its price with input_usd_per_mtok and output_usd_per_mtok, or "
        "`price: free` if it costs nothing), or as the operator with `dac price set` or PUT /v1/prices.",
        metadata={"provider": provider, "model": model},
    )


def price_in_file(provider: str, model: str) -> MeshError:
    """The configuration file counts over what the operator sets."""
    return MeshError(
        Reason.MANAGED_BY_FILE,
        f"The configuration file says what {model} at {provider} costs, and counts over what is set here: change its "
        "price there, or take it out and set it here.",
        metadata={"provider": provider, "model": model},
    )


def request_id_conflict(request_id: str) -> MeshError:
    """The request id came before with another body."""
    return MeshError(
        Reason.REQUEST_ID_CONFLICT,
        f"request_id {request_id} was used for another body; use a new id for a new request.",
        metadata={"request_id": request_id},
    )


def reservation_invalid(reservation_id: str, problem: str) -> MeshError:
    """The reservation is not one that this caller may resolve."""
    return MeshError(
        Reason.RESERVATION_INVALID,
        f"reservation {reservation_id}: {problem}; use the reservation_id and reservation_secret that Reserve answered "
        "for this request.",
        metadata={"reservation_id": reservation_id},
    )


def release_of_used(reservation_id: str, cost_nano_usd: int) -> MeshError:
    """What was used is charged, never released."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        f"reservation {reservation_id}: its attempts cost {usd(cost_nano_usd)}, so it cannot be released; call Commit.",
        metadata={"reservation_id": reservation_id},
    )


def spending_stopped(org_id: str, note: str) -> MeshError:
    """The organisation's emergency stop holds."""
    why = f" ({note})" if note else ""
    return MeshError(
        Reason.SPENDING_STOPPED,
        f"Spending of organisation {org_id} is stopped{why}. An administrator resumes it with `dac budget resume` or "
        "POST /v2/budgets:resume.",
        metadata={"org_id": org_id},
    )


def not_charged(request_id: str) -> MeshError:
    """There is no charge to correct."""
    return MeshError(
        Reason.NOT_FOUND,
        f"request {request_id} was not charged in this organisation, or still runs; GET /v1/requests lists requests.",
        metadata={"request_id": request_id},
    )


def more_than_charged(request_id: str, charged_nano_usd: int, amount_nano_usd: int) -> MeshError:
    """A correction would leave less than nothing."""
    return MeshError(
        Reason.INVALID_REQUEST,
        f"amount_nano_usd: request {request_id} was charged {usd(charged_nano_usd)}: at most that can be given back, "
        f"not {usd(-amount_nano_usd)}.",
        metadata={"field": "amount_nano_usd"},
    )


def budget_exists(budget_id: str) -> MeshError:
    """The place is taken."""
    return MeshError(
        Reason.ALREADY_EXISTS,
        f"Budget {budget_id} has this level, window and selector: change it with PATCH /v2/budgets/{budget_id}.",
        metadata={"budget_id": budget_id},
    )


def zone_fixed(budget_id: str, zone: str) -> MeshError:
    """The zone of a budget does not change."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        f"Budget {budget_id} counts in {zone}: another zone would count its window anew. Delete it and make a new one.",
        metadata={"budget_id": budget_id},
    )


def budget_not_found(budget_id: str) -> MeshError:
    """No such budget in the caller's organisation."""
    return MeshError(
        Reason.NOT_FOUND,
        f"budget {budget_id} does not exist in this organisation; GET /v1/budgets lists them.",
        metadata={"budget_id": budget_id},
    )


def services_only(method: str) -> MeshError:
    """Only services follow the outbox."""
    return MeshError(Reason.PERMISSION_DENIED, f"{method} is for services only; GET /v1/requests lists requests.")


def writer_closed() -> MeshError:
    """The service is stopping."""
    return MeshError(Reason.UNAVAILABLE, "budget is stopping; try again.", retry_after_s=1.0)
