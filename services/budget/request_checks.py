"""What a request to the ledger has to say: bounds of every count, and what to send instead."""

import operator

from dac.budget.v1 import budget_pb2
from dac.type.v1 import record_pb2
from mesh.ids import is_uuid
from services.budget import errors

MAX_TOKENS = 1_000_000_000
BOUNDED = (
    "input_tokens",
    "input_tokens_max",
    "max_output_tokens",
    "audio_seconds_max",
    "input_characters_max",
    "asked_output_tokens",
)
"""What a reservation counts; none of it more than that."""
_BOUNDED_OF = operator.attrgetter(*BOUNDED)
MAX_RESCUES = 8
MOST_CANDIDATES = 1_000
SERVICE_TIER = "service_tier"
"""What a usage says beside its counts."""
MAX_ADJUSTMENT_NANO_USD = 2**62


def check_reservation(request: budget_pb2.ReserveRequest) -> None:
    """What is to be reserved. Raises INVALID_REQUEST."""
    if not is_uuid(request.request_id):
        raise errors.invalid("request_id", f"{request.request_id!r} is not a UUID; make a UUIDv7 for each request")
    if not request.candidates:
        raise errors.invalid("candidates", "name at least one model")
    counts = _BOUNDED_OF(request)
    if min(counts) < 0 or max(counts) > MAX_TOKENS:
        for field, count in zip(BOUNDED, counts, strict=True):
            if not 0 <= count <= MAX_TOKENS:
                raise errors.invalid(field, f"{count} is not in 0…{MAX_TOKENS}; 0 = unknown")
    if not 0 <= request.rescues <= MAX_RESCUES:
        raise errors.invalid("rescues", f"{request.rescues} is not in 0…{MAX_RESCUES}")
    if not (request.ttl_s >= 0 and request.ttl_s < float("inf")):
        raise errors.invalid("ttl_s", f"{request.ttl_s} is not a number of seconds from 0; 0 = the configured life")


def check_extension(request: budget_pb2.ExtendRequest) -> None:
    """By how much a reservation grows. Raises INVALID_REQUEST."""
    if not 0 <= request.output_tokens <= MAX_TOKENS:
        raise errors.invalid("output_tokens", f"{request.output_tokens} is not in 0…{MAX_TOKENS}")
    if not 0 <= request.ttl_s < float("inf"):
        raise errors.invalid("ttl_s", f"{request.ttl_s} is not a number of seconds from 0; 0 = as long as it lives")
    if len(request.again) > MOST_CANDIDATES or not 0 <= request.input_tokens_max <= MAX_TOKENS:
        raise errors.invalid("again", f"say at most {MOST_CANDIDATES} candidates and 0…{MAX_TOKENS} tokens")
    if not 0 <= request.max_output_tokens <= MAX_TOKENS:
        raise errors.invalid("max_output_tokens", f"{request.max_output_tokens} is not in 0…{MAX_TOKENS}")


def check_adjustment(request: budget_pb2.AdjustRequest) -> None:
    """What is made good of a charge. Raises INVALID_REQUEST."""
    for field in ("adjustment_id", "request_id"):
        if not is_uuid(getattr(request, field)):
            raise errors.invalid(field, f"{getattr(request, field)[:80]!r} is not a UUID")
    if not 0 < abs(request.amount_nano_usd) <= MAX_ADJUSTMENT_NANO_USD:
        raise errors.invalid("amount_nano_usd", "say by how much the charge is wrong; negative gives back")
    if not 1 <= len(request.reason) <= 200 or not request.reason.isprintable():
        raise errors.invalid("reason", "say why, in 1 to 200 printable characters")


def check_usage(record: record_pb2.RequestRecord) -> None:
    """What attempts used. Raises INVALID_REQUEST."""
    for attempt in record.attempts:
        for field, tokens in attempt.usage.ListFields():
            if field.name != SERVICE_TIER and not 0 <= tokens <= MAX_TOKENS:
                raise errors.invalid(f"record.attempts.usage.{field.name}", f"{tokens} is not in 0…{MAX_TOKENS}")
