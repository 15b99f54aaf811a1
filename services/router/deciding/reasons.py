"""The decision in words: why a model was taken, and why each of the others was not."""

from __future__ import annotations

from services.router.catalog.catalog import KnownModel
from services.router.deciding.sheet import Sides
from services.router.policies.intents import described
from services.router.policies.policy import Ask

OPEN = "its circuit breaker is open"
OPEN_BUT_NAMED = f"; {OPEN}, but a named model means that model"
HELD = "an operator holds its circuit breaker open"
DEMO = "demo model: only used when nothing else is configured, or when named"
BELOW = "ranked below the chain"
UNPROVEN = "known only from its provider's list: probe it, describe it, or name it"
EXPLORED = "; taken to learn more of it"
NOBODY_NEAR = "; nobody stands behind it, the others are of much lower quality"


def recovering(share: float) -> str:
    """A breaker that lets a part of the traffic through, and not this request."""
    return f"its circuit breaker is recovering and lets {share:.0%} through"


def too_far_below(quality: float, primary: float) -> str:
    """A fallback would be too weak."""
    return f"quality {quality:.2f} is too far below the primary's {primary:.2f}"


def below_floor(quality: float, floor: float) -> str:
    """The model is too weak beside the best one allowed."""
    return f"quality {quality:.2f} is below the floor of {floor:.2f}"


def slow(high_first_token_ms: float) -> str:
    """The model is far slower than the limit just now."""
    return f"1 in 20 first tokens takes over {high_first_token_ms:.0f} ms just now, far above the limit"


def then(chain: list[KnownModel]) -> str:
    """Who stands behind the first."""
    return "; then " + ", ".join(model.id for model in chain[1:]) if len(chain) > 1 else ""


def chosen(
    profile: str,
    primary: KnownModel,
    sides: Sides,
    ask: Ask,
    *,
    count: int,
    notes: str,
    chain: list[KnownModel],
    unproven: int,
    shows_context: bool,
) -> str:
    """Why the first of the chain is the first."""
    context = f", context {sides.context:.2f}" if shows_context else ""
    prompt = described(ask.intent, ask.complexity)
    demo = "; it is a demo model, because nothing else is configured" if primary.demo else ""
    lists = f"; {unproven} known only from providers' lists and never probed were left out" if unproven else ""
    return (
        f"{profile}: {primary.id} scores {sides.total:.2f} (quality {sides.quality:.2f}, latency {sides.latency:.2f}, "
        f"cost {sides.cost:.2f}{context}), best of {count} that fit{f' {prompt}' if prompt else ''}"
        f"{demo}{notes}{then(chain)}{lists}."
    )


def least_bad(profile: str, model: KnownModel) -> str:
    """Everything that fits is ill."""
    return f"{profile}: the circuit breakers of all models that fit are open; {model.id} is the least bad."
