"""What keeps an experiment's figures from saying much, in words for whoever runs it."""

from __future__ import annotations

import math
from collections.abc import Mapping

from services.router.experiments.experiments import ARMS, CALLER, QUALITY, SHADOW, ArmSums, Plan
from services.router.experiments.significance import FEWEST

FEWEST_SEEN = 100
"""Requests before anything is said."""
SURE = 3.0
"""Standard deviations that the share of arm b must be off by."""


def doubts(plan: Plan, step: int, arms: Mapping[str, ArmSums]) -> list[str]:
    """What is to be said of the figures of a step; none for a shadow, whose arms are the same requests."""
    if plan.kind == SHADOW:
        return []
    found = {arm: arms.get(arm) or ArmSums() for arm in ARMS}
    return [said for said in (_uneven(plan, step, found["a"], found["b"]), _ungraded(plan, found)) if said]


def _uneven(plan: Plan, step: int, a: ArmSums, b: ArmSums) -> str:
    requests, wanted = a.requests + b.requests, plan.share_at(step)
    if plan.sticky_by != CALLER or requests < FEWEST_SEEN or wanted >= 1:
        return ""
    share = b.requests / requests
    off = abs(share - wanted)
    if off < wanted / 2 or off < SURE * math.sqrt(wanted * (1 - wanted) / requests):
        return ""
    return (
        f"arm b has {share:.1%} of the requests instead of {wanted:.1%}: few callers send most of them, and each stays "
        "in one arm. An experiment with sticky_by request draws every request by itself."
    )


def _ungraded(plan: Plan, arms: Mapping[str, ArmSums]) -> str:
    if QUALITY not in plan.decided_by:
        return ""
    few = [arm for arm, one in arms.items() if one.requests >= FEWEST_SEEN and one.samples[QUALITY].n < FEWEST]
    if not few:
        return ""
    told = " and ".join(f"{arms[arm].samples[QUALITY].n:.0f} of arm {arm}" for arm in few)
    return (
        f"quality is not compared: {told} are graded, and {FEWEST} answers of each arm are needed. Switch validation "
        "on in both policies, or send ratings (POST /v1/feedback)."
    )
