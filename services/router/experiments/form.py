"""What is said of an experiment, checked; and as it is kept."""

from __future__ import annotations

import dataclasses

import msgspec

from mesh.errors import invalid
from services.router.experiments.experiments import (
    CALLER,
    CANARY,
    COST,
    ERRORS,
    FALLBACKS,
    GUARDS,
    KINDS,
    LATENCY_P95,
    METRICS,
    QUALITY,
    REQUEST,
    SHADOW,
    USUAL_STEPS,
    Plan,
    Step,
)
from services.router.policies.form import check_name

MOST_NAME_CHARS = 80
MOST_STEPS = 10
FEWEST_REQUESTS, MOST_REQUESTS = 100, 10_000_000
MOST_STEP_S = 30 * 86_400.0
SHADOW_METRICS = (QUALITY, COST, ERRORS)
"""What the router can expect without asking anybody."""


def plan_of(
    *,
    name: str,
    kind: str,
    policy: str,
    control: str = "",
    share: float = 0.0,
    steps: tuple[Step, ...] = (),
    metric: str = "",
    guards: tuple[str, ...] = (),
    alpha: float = 0.0,
    max_requests: int = 0,
    sticky_by: str = "",
) -> Plan:
    """The plan, with what was left out filled in. Raises INVALID_REQUEST."""
    if kind not in KINDS:
        raise invalid("kind", "kind: say KIND_AB, KIND_SHADOW or KIND_CANARY.")
    if not name.strip() or len(name) > MOST_NAME_CHARS or not name.isprintable():
        raise invalid("name", f"name: 1 to {MOST_NAME_CHARS} printable characters say what the experiment is for.")
    check_name(policy, "policy")
    if control:
        check_name(control, "control")
        if control == policy:
            raise invalid("control", f'control: the requests under "{policy}" go by it already.')
    if sticky_by not in ("", CALLER, REQUEST):
        raise invalid("sticky_by", f'sticky_by is "{sticky_by[:40]}": say {CALLER} or {REQUEST}.')
    if alpha and not 0.0001 <= alpha <= 0.5:
        raise invalid("alpha", f"alpha is {alpha:g}: say a probability between 0.0001 and 0.5.")
    if max_requests and not FEWEST_REQUESTS <= max_requests <= MOST_REQUESTS:
        raise invalid("max_requests", f"max_requests is {max_requests}: say {FEWEST_REQUESTS} to {MOST_REQUESTS}.")
    return Plan(
        name=name,
        kind=kind,
        policy=policy,
        control=control,
        share=_share(kind, share),
        steps=_steps(kind, steps),
        metric=_metric(kind, metric),
        guards=_guards(kind, guards),
        alpha=alpha or 0.05,
        max_requests=max_requests or 20_000,
        sticky_by=sticky_by or CALLER,
    )


def _share(kind: str, share: float) -> float:
    if kind == CANARY:
        if share:
            raise invalid("share", "share: a canary grows by its steps; say these.")
        return 0.0
    most = 1.0 if kind == SHADOW else 0.99
    if share and not 0 < share <= most:
        raise invalid("share", f"share is {share:g}: say a share above 0, and at most {most:g}.")
    return share or (1.0 if kind == SHADOW else 0.5)


def _steps(kind: str, steps: tuple[Step, ...]) -> tuple[Step, ...]:
    if kind != CANARY:
        if steps:
            raise invalid("steps", "steps: only a canary has them; say a share.")
        return ()
    if not steps:
        return USUAL_STEPS
    if len(steps) > MOST_STEPS:
        raise invalid("steps", f"steps: at most {MOST_STEPS}, not {len(steps)}.")
    shares = [one.share for one in steps]
    if not all(0 < one <= 1 for one in shares) or sorted(set(shares)) != shares:
        raise invalid("steps.share", f"steps: shares must grow, above 0 and at most 1, not {shares}.")
    if shares[0] == 1:
        raise invalid("steps.share", "steps: the first must be below 1, or there is nothing to compare with.")
    for one in steps:
        if one.share < 1 and not 1 <= one.min_requests <= MOST_REQUESTS:
            raise invalid("steps.min_requests", f"steps: min_requests must be 1 to {MOST_REQUESTS}.")
        if not 0 <= one.min_s <= MOST_STEP_S:
            raise invalid("steps.min_s", f"steps: min_s must be 0 to {MOST_STEP_S:.0f}, not {one.min_s:g}.")
    return steps if shares[-1] == 1 else (*steps, Step(1.0, 0, 0.0))


def _metric(kind: str, metric: str) -> str:
    known = SHADOW_METRICS if kind == SHADOW else METRICS
    if metric and (kind == CANARY or metric not in known):
        what = "a canary has guards alone" if kind == CANARY else f"say {', '.join(known)}"
        raise invalid("metric", f'metric is "{metric[:40]}": {what}.')
    return metric or QUALITY


def _guards(kind: str, guards: tuple[str, ...]) -> tuple[str, ...]:
    for one in guards:
        if one not in GUARDS:
            raise invalid("guards", f'guards: there is no "{one[:40]}"; say {", ".join(GUARDS)}.')
    if kind == SHADOW:
        if {LATENCY_P95, FALLBACKS} & set(guards):
            raise invalid("guards", "guards: nothing is asked in the shadow, so nothing is slow or fails: say others.")
        return tuple(dict.fromkeys(guards)) or (ERRORS, QUALITY)
    return tuple(dict.fromkeys(guards)) or GUARDS


def encode(plan: Plan) -> str:
    """The plan as it is kept."""
    return msgspec.json.encode(dataclasses.asdict(plan) | {"steps": [list(one) for one in plan.steps]}).decode()


def decode(document: str) -> Plan:
    """What was kept. Raises msgspec.MsgspecError."""
    return msgspec.json.decode(document, type=Plan)
