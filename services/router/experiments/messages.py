"""Experiments between the wire and the domain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dac.router.v1 import experiment_pb2
from services.router.experiments.doubts import doubts
from services.router.experiments.experiments import (
    AB,
    CANARY,
    COMPARED,
    CONCLUDED,
    COST,
    FIRST_TOKEN,
    LATENCY,
    LATENCY_P95,
    PROMOTED,
    QUALITY,
    ROLLED_BACK,
    RUNNING,
    SHADOW,
    STOPPED,
    ArmSums,
    Comparison,
    Plan,
    Step,
    compare,
)
from services.router.experiments.store import ExperimentRow, Figures

_Wire = experiment_pb2.Experiment
KINDS = {_Wire.KIND_AB: AB, _Wire.KIND_SHADOW: SHADOW, _Wire.KIND_CANARY: CANARY}
STATES: Mapping[int, str] = {
    _Wire.STATE_RUNNING: RUNNING,
    _Wire.STATE_STOPPED: STOPPED,
    _Wire.STATE_CONCLUDED: CONCLUDED,
    _Wire.STATE_ROLLED_BACK: ROLLED_BACK,
    _Wire.STATE_PROMOTED: PROMOTED,
}
_KIND_OF = {word: kind for kind, word in KINDS.items()}
_STATE_OF = {word: state for state, word in STATES.items()}
DIGITS = 6


def kind_of(kind: int) -> str:
    """The word for a kind; empty = it was not said."""
    return {int(number): word for number, word in KINDS.items()}.get(kind, "")


def steps_of(steps: Iterable[experiment_pb2.ExperimentStep]) -> tuple[Step, ...]:
    """The steps as they were said."""
    return tuple(Step(one.share, one.min_requests, one.min_s) for one in steps)


def of_experiment(row: ExperimentRow, figures: Figures, *, policy_missing: bool) -> experiment_pb2.Experiment:
    """An experiment with what came of it."""
    plan, latest = row.plan, max(figures, default=0)
    message = experiment_pb2.Experiment(
        experiment_id=row.experiment_id,
        name=plan.name,
        kind=_KIND_OF[plan.kind],
        policy=plan.policy,
        control=plan.control,
        share=plan.share,
        steps=[
            experiment_pb2.ExperimentStep(share=one.share, min_requests=one.min_requests, min_s=one.min_s)
            for one in plan.steps
        ],
        metric="" if plan.kind == CANARY else plan.metric,
        guards=plan.guards,
        alpha=plan.alpha,
        max_requests=0 if plan.kind == CANARY else plan.max_requests,
        sticky_by=plan.sticky_by,
        verdict=row.verdict,
        reason=row.reason,
        step=row.step,
        share_now=_share_now(row),
        agreement=_agreement(plan, figures),
        figures=[_figures(plan, step, figures[step]) for step in sorted(figures)],
        etag=row.etag,
        policy_missing=policy_missing,
        warnings=doubts(plan, latest, figures.get(latest, {})),
    )
    message.state = _STATE_OF[row.state]  # type: ignore[assignment]
    message.created_at.FromDatetime(row.created_at)
    message.step_at.FromDatetime(row.step_at)
    if row.ended_at is not None:
        message.ended_at.FromDatetime(row.ended_at)
    return message


def _share_now(row: ExperimentRow) -> float:
    if row.state == PROMOTED:
        return 1.0
    return row.plan.share_at(row.step) if row.state == RUNNING else 0.0


def _agreement(plan: Plan, figures: Figures) -> float:
    tried = figures.get(0, {}).get("b") if plan.kind == SHADOW else None
    return round(tried.agreed / tried.requests, DIGITS) if tried is not None and tried.requests else 0.0


def _figures(plan: Plan, step: int, arms: Mapping[str, ArmSums]) -> experiment_pb2.ExperimentFigures:
    a, b = arms.get("a") or ArmSums(), arms.get("b") or ArmSums()
    compared = (*plan.decided_by, LATENCY, COST) if plan.kind == SHADOW else (*plan.decided_by, *COMPARED)
    return experiment_pb2.ExperimentFigures(
        step=step,
        arms=[_arm("a", a), _arm("b", b)],
        comparisons=[_comparison(compare(one, a, b, plan.alpha_each)) for one in dict.fromkeys(compared)],
    )


def _arm(name: str, sums: ArmSums) -> experiment_pb2.ExperimentArm:
    return experiment_pb2.ExperimentArm(
        arm=name,
        requests=round(sums.requests),
        errors=round(sums.errors),
        error_rate=round(sums.error_rate, DIGITS),
        fallbacks=round(sums.fallbacks),
        fallback_rate=round(sums.fallback_rate, DIGITS),
        latency_ms=round(sums.samples[LATENCY].mean, 1),
        latency_p95_ms=round(sums.latency_p95_ms, 1),
        first_token_ms=round(sums.samples[FIRST_TOKEN].mean, 1),
        cost_nano_usd=round(sums.samples[COST].mean * 1e9),
        quality=round(sums.samples[QUALITY].mean, DIGITS),
        graded=round(sums.samples[QUALITY].n),
    )


def _comparison(one: Comparison) -> experiment_pb2.ExperimentComparison:
    digits = 1 if one.metric in (LATENCY, LATENCY_P95, FIRST_TOKEN) else 9 if one.metric == COST else DIGITS
    return experiment_pb2.ExperimentComparison(
        metric=one.metric,
        a=round(one.a, digits),
        b=round(one.b, digits),
        p_value=one.difference.p_value,
        always_valid_p=one.difference.always_valid_p,
        verdict=one.verdict,
    )
