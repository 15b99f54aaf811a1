"""Ours beside theirs, by day and model: what differs, and the likely reason."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from mesh.cli.provider_exports import Place, Usage
from mesh.money import NANO_USD_PER_USD

CLOSE_PERCENT = Decimal("0.5")
"""What differs by less is taken for the same: rounding, a token that is counted otherwise."""


@dataclass
class Line:
    """One day and model on both sides. None = it is not there."""

    day: dt.date
    model: str
    ours: Usage | None
    theirs: Usage | None
    reasons: list[str] = field(default_factory=list)

    @property
    def difference_nano_usd(self) -> Decimal:
        """Ours above theirs; negative = ours is below."""
        return _cost(self.ours) - _cost(self.theirs)

    @property
    def difference_tokens(self) -> int:
        """Ours above theirs."""
        return _tokens(self.ours) - _tokens(self.theirs)


@dataclass(frozen=True)
class Comparison:
    """All lines, and how far both sides are apart."""

    lines: Sequence[Line]
    has_costs: bool
    """Their files say costs; else only tokens are compared."""
    ours_nano_usd: Decimal
    theirs_nano_usd: Decimal
    apart_percent: Decimal
    """The differences of all models, each over all days, beside what theirs is. Days are not told apart: a request that
    runs over midnight is on one day here and on another there. By tokens where no costs are known."""


def compare(ours: Mapping[Place, Usage], theirs: Mapping[Place, Usage]) -> Comparison:
    """Both sides by day and model, with the likely reasons of what differs."""
    lines = [Line(*place, ours.get(place), theirs.get(place)) for place in sorted(ours.keys() | theirs.keys())]
    has_costs = any(usage.cost_nano_usd is not None for usage in theirs.values())
    for line in lines:
        line.reasons = _reasons(line, has_costs=has_costs)
    _explain_midnight(lines, has_costs=has_costs)
    return Comparison(
        lines,
        has_costs,
        sum((_cost(usage) for usage in ours.values()), Decimal(0)),
        sum((_cost(usage) for usage in theirs.values()), Decimal(0)),
        _apart(lines, has_costs=has_costs),
    )


def _apart(lines: Sequence[Line], *, has_costs: bool) -> Decimal:
    def measure(usage: Usage | None) -> Decimal:
        return _cost(usage) if has_costs else Decimal(_tokens(usage))

    differences: dict[str, Decimal] = {}
    for line in lines:
        before = differences.get(line.model, Decimal(0))
        differences[line.model] = before + measure(line.ours) - measure(line.theirs)
    apart = sum(map(abs, differences.values()), Decimal(0))
    whole = sum((measure(line.theirs) for line in lines), Decimal(0))
    if whole:
        return apart * 100 / whole
    return Decimal(100) if apart else Decimal(0)


def _reasons(line: Line, *, has_costs: bool) -> list[str]:
    ours, theirs = line.ours, line.theirs
    if theirs is None or _is_nothing(theirs):
        return [] if ours is None or _is_nothing(ours) else ["only here: another account, or their export is late"]
    if ours is None or _is_nothing(ours):
        return ["only there: it did not go through DAC, or by another key"]
    reasons = []
    if theirs.requests is not None and ours.requests is not None and theirs.requests != ours.requests:
        more = theirs.requests - ours.requests
        reasons.append(
            f"{more} requests more there: not through DAC, or repeated attempts, which count once here"
            if more > 0
            else f"{-more} requests more here: their export is late, or another account"
        )
    reasons += _token_reasons(ours, theirs)
    if has_costs and not _close(_cost(ours), _cost(theirs)):
        reasons += _cost_reasons(ours, theirs, explained=bool(reasons))
    return reasons


def _token_reasons(ours: Usage, theirs: Usage) -> list[str]:
    if theirs.tokens is None or ours.tokens is None:
        return []
    reasons = []
    our_input, their_input = _inputs(ours), _inputs(theirs)
    if _close(our_input, their_input):
        for name, here, there in (
            ("cached tokens", ours.input_cached_tokens, theirs.input_cached_tokens),
            ("tokens written to the cache", ours.cache_write_tokens, theirs.cache_write_tokens),
        ):
            if not _close(here or 0, there or 0, of=their_input):
                reasons.append(f"{name}: {here or 0:,} here, {there or 0:,} there, of the same input")
    else:
        reasons.append(f"input tokens: {our_input:,} here, {their_input:,} there")
    if not _close(ours.output_tokens or 0, theirs.output_tokens or 0):
        reasons.append(f"output tokens: {ours.output_tokens or 0:,} here, {theirs.output_tokens or 0:,} there")
    return reasons


def _cost_reasons(ours: Usage, theirs: Usage, *, explained: bool) -> list[str]:
    if theirs.has_batch:
        return ["batches, which cost less, are among theirs"]
    if explained:
        return []
    if theirs.tokens is None:
        return ["the price differs, or what was used: give their usage export, too"]
    return [f"the price differs: {_rate(ours)} here, {_rate(theirs)} there, for the same tokens"]


def _explain_midnight(lines: Sequence[Line], *, has_costs: bool) -> None:
    """A day's surplus that is the next day's lack was used at midnight UTC."""

    def surplus(line: Line) -> Decimal:
        return line.difference_nano_usd if has_costs else Decimal(line.difference_tokens)

    by_place = {(line.day, line.model): line for line in lines}
    for line in lines:
        following = by_place.get((line.day + dt.timedelta(days=1), line.model))
        if following is None or not line.reasons or not following.reasons:
            continue
        first, second = surplus(line), surplus(following)
        if first * second < 0 and abs(first + second) * 10 <= min(abs(first), abs(second)):
            why = "at midnight UTC: DAC counts a request when it ends"
            for one in (line, following):
                if why not in one.reasons:
                    one.reasons.insert(0, why)


def _inputs(usage: Usage) -> int:
    return (usage.input_tokens or 0) + (usage.input_cached_tokens or 0) + (usage.cache_write_tokens or 0)


def _tokens(usage: Usage | None) -> int:
    return (usage.tokens or 0) if usage is not None else 0


def _cost(usage: Usage | None) -> Decimal:
    return (usage.cost_nano_usd or Decimal(0)) if usage is not None else Decimal(0)


def _is_nothing(usage: Usage) -> bool:
    return not (usage.requests or usage.tokens or usage.cost_nano_usd)


def _close(here: Decimal | int, there: Decimal | int, *, of: int | None = None) -> bool:
    first, second = Decimal(here), Decimal(there)
    whole = max(abs(first), abs(second)) if of is None else Decimal(of)
    return abs(first - second) * 100 <= whole * CLOSE_PERCENT


def _rate(usage: Usage) -> str:
    return f"${_cost(usage) / NANO_USD_PER_USD / Decimal(usage.tokens or 1) * 1_000_000:.4f} per million"
