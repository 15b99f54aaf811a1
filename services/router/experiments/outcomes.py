"""What the record of a request says of the experiments that it took part in."""

from __future__ import annotations

from collections.abc import Sequence

from dac.type.v1 import record_pb2
from mesh.ids import is_uuid
from services.router.experiments.experiments import ARMS, TrialKey, TrialOutcome

_ENDED = (record_pb2.OUTCOME_OK, record_pb2.OUTCOME_CLIENT_GONE, record_pb2.OUTCOME_FAILED)
"""A request that budget refused, or whose gateway died, says nothing of a policy."""
_HIT = record_pb2.CacheRecord.STATUS_HIT
_COALESCED = record_pb2.CacheRecord.STATUS_COALESCED


def outcomes_of(record: record_pb2.RequestRecord, grades: Sequence[float]) -> list[TrialOutcome]:
    """One outcome for the arm that a request was in; one for each arm of a shadow. `grades` as validation gave them."""
    if not is_uuid(record.org_id) or not is_uuid(record.request_id) or record.outcome not in _ENDED:
        return []
    found, org_id, request_id = list[TrialOutcome](), record.org_id.lower(), record.request_id.lower()
    route = record.route
    taken, shadow = route.experiment, route.shadow
    # A stored answer was not made by either policy, and a shared call is its leader's.
    if is_uuid(taken.experiment_id) and taken.arm in ARMS and record.cache.status not in (_HIT, _COALESCED):
        key = TrialKey(org_id, taken.experiment_id.lower(), max(0, taken.step), taken.arm)
        # Who refused did not answer: what came then is the other policy's.
        found.append(TrialOutcome(key, request_id, failed=True) if taken.refused else _measured(record, key, grades))
    if is_uuid(shadow.experiment_id):
        found += _expected(shadow, org_id, request_id)
    return found


def _measured(record: record_pb2.RequestRecord, key: TrialKey, grades: Sequence[float]) -> TrialOutcome:
    request_id = record.request_id.lower()
    if record.outcome == record_pb2.OUTCOME_FAILED:
        return TrialOutcome(key, request_id, failed=True, cost_usd=max(0, record.cost_nano_usd) / 1e9)
    whole = record.outcome == record_pb2.OUTCOME_OK
    first_ms = record.attempts[-1].first_token_ms if record.attempts else 0.0
    took_ms = (record.ended_at.ToNanoseconds() - record.started_at.ToNanoseconds()) / 1e6
    return TrialOutcome(
        key,
        request_id,
        # Who went away ended the answer: it has no length of its own.
        latency_ms=max(0.0, took_ms) if whole else None,
        first_token_ms=first_ms if first_ms > 0 else None,
        cost_usd=max(0, record.cost_nano_usd) / 1e9 if whole else None,
        quality=min(1.0, max(0.0, sum(grades) / len(grades))) if grades and whole else None,
        fell_back=_fell_back(record),
        ratable=True,
    )


def _fell_back(record: record_pb2.RequestRecord) -> bool:
    """Whether the first model asked did not answer and another one did."""
    attempts = record.attempts
    return len(attempts) > 1 and bool(attempts[0].reason) and attempts[-1].model != attempts[0].model


def _expected(shadow: record_pb2.ShadowRecord, org_id: str, request_id: str) -> list[TrialOutcome]:
    chosen, tried = (TrialKey(org_id, shadow.experiment_id.lower(), 0, arm) for arm in ARMS)
    if not shadow.model:
        return [TrialOutcome(chosen, request_id), TrialOutcome(tried, request_id, failed=True)]
    of_chosen = shadow.chosen_cost_nano_usd / 1e9 if shadow.priced else None
    of_tried = shadow.cost_nano_usd / 1e9 if shadow.priced else None
    timed = shadow.latency_ms > 0 and shadow.chosen_latency_ms > 0
    return [
        TrialOutcome(
            chosen,
            request_id,
            latency_ms=shadow.chosen_latency_ms if timed else None,
            cost_usd=of_chosen,
            quality=shadow.chosen_quality,
        ),
        TrialOutcome(
            tried,
            request_id,
            latency_ms=shadow.latency_ms if timed else None,
            cost_usd=of_tried,
            quality=shadow.quality,
            agreed=shadow.agreed,
        ),
    ]
