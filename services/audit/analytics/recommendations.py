"""What would have cost less, said only where the record proves it.

Models are compared where both answered the same team's prompts of the same intent and complexity. The other model
counts with its mean cost there, scaled up where its prompts were shorter. The bound that holds with 95 % confidence
knows how much the costs of both sides vary. Quality counts where it was measured.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.audit.analytics.facts import QUALITY_POINTS, SIMPLE

ONE_SIDED_95 = 1.645
LEAST_SAVED = 0.10
"""A saving that may be smaller than this is not worth a change."""
QUALITY_MARGIN = 0.02
"""How much worse the measured quality may be at most, with 95 % confidence."""
FAILING = 0.05
"""A share of failed attempts below this is usual."""
UNUSED_TIMES = 10
"""Reservations that hold more than so many times what is charged keep budgets from being used."""
ROUTE, REASONING, PROVIDER_ERRORS, UNUSED_RESERVATION, CACHE = range(1, 6)
"""Kinds, by their numbers in the contract."""
MOST_MISSING = 5


@dataclass
class Side:
    """One model's requests within a comparison."""

    model: str = ""
    provider: str = ""
    requests: int = 0
    cost: float = 0.0
    input: int = 0
    output: int = 0
    quality_count: int = 0
    quality_points: int = 0
    attempts: int = 0
    failed: int = 0

    @property
    def quality(self) -> float | None:
        """The measured mean, 0–1."""
        return self.quality_points / self.quality_count / QUALITY_POINTS if self.quality_count else None


@dataclass
class Finding:
    """One recommendation."""

    kind: int
    summary: str
    requests: int
    team: str = ""
    intent: str = ""
    current: Side = field(default_factory=Side)
    better: Side = field(default_factory=Side)
    saved_share: float = 0.0
    saved_at_least: float = 0.0
    saved_nano_usd: int = 0
    quality_change: float | None = None
    quality_at_least: float | None = None

    @property
    def finding_id(self) -> str:
        """The same for the same finding."""
        what = (self.kind, self.team, self.intent, self.current.model, self.current.provider, self.better.model)
        return hashlib.blake2b(repr((*what, self.better.provider)).encode(), digest_size=8).hexdigest()


@dataclass
class Found:
    """What is recommended, and what is missing for more: kind and sentence."""

    findings: list[Finding] = field(default_factory=list)
    missing: list[tuple[int, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Comparison:
    """What requests of one model would have cost with another one, over prompts of the same kind."""

    current: Side
    better: Side
    projected: float
    spread: float
    quality_change: float | None
    quality_at_least: float | None

    @property
    def saved_share(self) -> float:
        """Of what was paid."""
        return 1 - self.projected / self.current.cost

    @property
    def saved_at_least(self) -> float:
        """The same with 95 % confidence."""
        return 1 - (self.projected + ONE_SIDED_95 * self.spread) / self.current.cost


Row = Mapping[str, Any]


def recommended(evidence: Sequence[Row], tried: Sequence[Row], total: Mapping[str, int], least: int) -> Found:
    """Everything that the rows prove, most money first. `least`: the fewest requests of each side."""
    found = Found()
    _routes(evidence, tried, least, found)
    found.findings += _reasoning(evidence, least)
    found.findings += _provider_errors(tried, least)
    found.findings += _unused(total, least)
    found.findings.sort(key=lambda one: (-one.saved_nano_usd, one.finding_id))
    if total["requests"] < least:
        said = (
            f"{total['requests']} requests are recorded in this window; recommendations begin at {least} of each side"
        )
        found.missing.insert(0, (0, said + "."))
    if total["cache_lookups"] < least:
        found.missing.append(
            (
                CACHE,
                "The record holds no questions, so it cannot tell how many repeat. Let a team's requests ask the cache "
                f'("enable_cache": true): after {least} of them its hit rate says what it saves.',
            )
        )
    return found


def _routes(evidence: Sequence[Row], tried: Sequence[Row], least: int, found: Found) -> None:
    cells: dict[tuple[str, str], dict[tuple[str, str], dict[int, Row]]] = defaultdict(lambda: defaultdict(dict))
    for row in evidence:
        if row["clean"] and row["provider"]:
            cell = cells[str(row["team_id"] or ""), row["intent"]]
            cell[row["model"], row["provider"]][row["complexity"]] = row
    failing = {(row["model"], row["provider"]): row["failed"] / row["attempts"] for row in tried if row["attempts"]}
    compared = False
    for (team, intent), models in sorted(cells.items()):
        for current, rows in models.items():
            best: Finding | None = None
            for better, others in models.items():
                comparison = _compare(current, rows, better, others, least) if better != current else None
                if comparison is None:
                    continue
                compared = True
                if comparison.saved_at_least < LEAST_SAVED:
                    continue
                if failing.get(better, 0.0) > max(failing.get(current, 0.0), FAILING):
                    continue
                change = comparison.quality_at_least
                if change is None:
                    found.missing.append((ROUTE, _unmeasured(team, intent, comparison, least)))
                elif change >= -QUALITY_MARGIN:
                    made = _route(team, intent, comparison)
                    best = made if best is None or made.saved_nano_usd > best.saved_nano_usd else best
            found.findings += [best] if best else []
    del found.missing[MOST_MISSING:]
    if not compared:
        said = (
            f"No two models answered {least} requests each of one team, intent and complexity: nothing can be compared."
        )
        found.missing.append((ROUTE, said))


def _compare(
    current: tuple[str, str], rows: Mapping[int, Row], better: tuple[str, str], others: Mapping[int, Row], least: int
) -> Comparison | None:
    """Over the kinds of prompts of which both sides have enough; None = there are none, or nothing was paid."""
    shared = [level for level in rows if level in others and min(rows[level]["clean"], others[level]["clean"]) >= least]
    mine, theirs = Side(*current), Side(*better)
    projected = variance = 0.0
    for level in shared:
        row, other = rows[level], others[level]
        _add(mine, row)
        _add(theirs, other)
        # Their prompts may have been shorter: then they would have cost more, at most in proportion.
        longer = (row["input"] / row["clean"]) / max(other["input"] / other["clean"], 1.0)
        mean = other["cost"] / other["clean"] * max(1.0, longer)
        spread = _variance(other["clean"], other["cost"], other["squared"]) * max(1.0, longer) ** 2
        projected += row["clean"] * mean
        # Which prompts came to this model was chance, too.
        variance += row["clean"] * _variance(row["clean"], row["cost"], row["squared"])
        variance += row["clean"] ** 2 * spread / other["clean"]
    if not shared or mine.cost <= 0:
        return None
    change, at_least = _quality(rows, others, shared, least)
    return Comparison(mine, theirs, projected, math.sqrt(variance), change, at_least)


def _quality(
    rows: Mapping[int, Row], others: Mapping[int, Row], shared: Sequence[int], least: int
) -> tuple[float | None, float | None]:
    """How much better it was, and at least; None unless both were measured often enough in every kind of prompts."""
    if any(min(rows[one]["quality_count"], others[one]["quality_count"]) < least for one in shared):
        return None, None
    weight = sum(rows[one]["clean"] for one in shared)
    change = variance = 0.0
    for one in shared:
        share = rows[one]["clean"] / weight
        means, errors = [], 0.0
        for row in (others[one], rows[one]):
            count = row["quality_count"]
            means.append(row["quality_points"] / count)
            errors += _variance(count, row["quality_points"], row["quality_squared"]) / count
        change += share * (means[0] - means[1])
        variance += share**2 * errors
    bound = change - ONE_SIDED_95 * math.sqrt(variance)
    return change / QUALITY_POINTS, bound / QUALITY_POINTS


def _variance(count: int, total: int, squared: Any) -> float:
    """Of a sample, from whole numbers: nothing is lost to rounding."""
    if count < 2:
        return 0.0
    return max(0.0, (count * int(squared) - int(total) ** 2) / (count * (count - 1)))


def _add(side: Side, row: Row) -> None:
    side.requests += row["clean"]
    side.cost += row["cost"]
    side.input += row["input"]
    side.output += row["output"]
    side.quality_count += row["quality_count"]
    side.quality_points += row["quality_points"]


def _route(team: str, intent: str, compared: Comparison) -> Finding:
    current, better = compared.current, compared.better
    change, bound = compared.quality_change or 0.0, compared.quality_at_least or 0.0
    requests = current.requests + better.requests
    summary = (
        f"Route {_whose(team, intent)} from {_name(current)} to {_name(better)}: {-compared.saved_share:+.0%} cost "
        f"(at least {-compared.saved_at_least:+.0%}), measured quality {change:+.1%} (at least {bound:+.1%}), "
        f"over {requests:,} requests."
    )
    return Finding(
        ROUTE,
        summary,
        requests,
        team,
        intent,
        current,
        better,
        compared.saved_share,
        compared.saved_at_least,
        round(current.cost - compared.projected),
        compared.quality_change,
        compared.quality_at_least,
    )


def _unmeasured(team: str, intent: str, compared: Comparison, least: int) -> str:
    current, better = compared.current, compared.better
    return (
        f"{_name(better)} cost {compared.saved_share:.0%} less than {_name(current)} for {_whose(team, intent)} "
        f"({better.requests:,} and {current.requests:,} requests), but their quality was measured "
        f"{better.quality_count:,} and {current.quality_count:,} times: turn validation on until both have {least}."
    )


def _reasoning(evidence: Iterable[Row], least: int) -> Iterator[Finding]:
    for row in evidence:
        if row["complexity"] != SIMPLE or row["clean"] < least or not row["reasoning_cost"] or not row["cost"]:
            continue
        share = min(1.0, row["reasoning_cost"] / row["cost"])
        if share < LEAST_SAVED:
            continue
        team, side = str(row["team_id"] or ""), Side(row["model"], row["provider"])
        _add(side, row)
        summary = (
            f"{_name(side)} thought about {row['clean']:,} simple prompts of {_whose(team, row['intent'])}: "
            f"{row['reasoning_tokens']:,} reasoning tokens were up to {share:.0%} of their cost. Ask for less "
            "reasoning effort, or route simple prompts to a model that does not reason."
        )
        saved = int(row["reasoning_cost"])
        yield Finding(REASONING, summary, row["clean"], team, row["intent"], side, Side(), share, 0.0, saved)


def _provider_errors(tried: Sequence[Row], least: int) -> Iterator[Finding]:
    by: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for row in tried:
        if row["provider"]:
            by[row["provider"]][0] += row["attempts"]
            by[row["provider"]][1] += row["failed"]
    for provider, (attempts, failed) in sorted(by.items()):
        others, others_failed = (sum(counts[at] for name, counts in by.items() if name != provider) for at in (0, 1))
        if min(attempts, others) < least:
            continue
        at_least, usual = _wilson(failed, attempts, -1), _wilson(others_failed, others, 1)
        if at_least > max(FAILING, 2 * usual):
            summary = (
                f"{failed:,} of {attempts:,} attempts at {provider} failed ({failed / attempts:.0%}; at least "
                f"{at_least:.0%} with 95 % confidence), of those elsewhere {others_failed / others:.1%}: put it behind "
                "another provider of the same models, or look at its key and its limits."
            )
            current = Side(provider=provider, attempts=attempts, failed=failed)
            better = Side(attempts=others, failed=others_failed)
            yield Finding(PROVIDER_ERRORS, summary, attempts + others, current=current, better=better)


def _unused(total: Mapping[str, int], least: int) -> Iterator[Finding]:
    held, paid = total["reserved_nano_usd"], total["cost_nano_usd"]
    if total["requests"] < least or paid <= 0 or held < UNUSED_TIMES * paid:
        return
    summary = (
        f"Reservations held {held / paid:,.0f} times what {total['requests']:,} requests cost: budgets refuse earlier "
        "than they need to. Send a max_tokens that fits the answers, or set budget.reservation_mode: balanced."
    )
    yield Finding(UNUSED_RESERVATION, summary, total["requests"])


def _wilson(hits: int, count: int, side: int) -> float:
    """The bound of a share with 95 % confidence: side -1 = at least, 1 = at most."""
    z, share = ONE_SIDED_95, hits / count
    middle = share + z * z / (2 * count)
    spread = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (middle + side * spread) / (1 + z * z / count)


def _name(side: Side) -> str:
    return f"{side.model or 'the model'} ({side.provider})"


def _whose(team: str, intent: str) -> str:
    what = f"`{intent}`" if intent else "what was not read"
    return f"{what} of team {team}" if team else f"{what} of no team"
