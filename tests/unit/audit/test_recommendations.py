"""Savings are said with evidence, and not without: each condition that is taken away takes the recommendation away."""

import random
from typing import Any

import pytest

from services.audit.analytics import recommendations as rec
from services.audit.analytics.recommendations import Found, recommended

TOTAL = {"requests": 2000, "cache_lookups": 500, "reserved_nano_usd": 3, "cost_nano_usd": 2}


def row(model: str, costs: list[int], quality: list[int] | None = None, **fields: Any) -> dict[str, Any]:
    points = quality if quality is not None else [9000 + (n % 5) * 100 for n in range(len(costs))]
    return {
        "team_id": None,
        "intent": "qa_retrieval",
        "complexity": 1,
        "model": model,
        "provider": f"{model}-provider",
        "requests": len(costs),
        "clean": len(costs),
        "cost": sum(costs),
        "squared": sum(cost**2 for cost in costs),
        "input": 500 * len(costs),
        "output": 100 * len(costs),
        "quality_count": len(points),
        "quality_points": sum(points),
        "quality_squared": sum(one**2 for one in points),
        "reasoning_tokens": 0,
        "reasoning_cost": 0,
        **fields,
    }


def costs(mean: int, count: int = 600) -> list[int]:
    return [mean + (n % 11 - 5) * mean // 50 for n in range(count)]


def routes(evidence: list[dict[str, Any]], tried: list[dict[str, Any]] | None = None) -> Found:
    return recommended(evidence, tried or [], TOTAL, 100)


def said(found: Found) -> list[rec.Finding]:
    return [one for one in found.findings if one.kind == rec.ROUTE]


def test_a_cheaper_model_of_the_same_quality_is_recommended_with_its_evidence() -> None:
    (one,) = said(routes([row("a", costs(1_000_000)), row("b", costs(380_000, 604))]))
    assert "Route `qa_retrieval` of no team from a (a-provider) to b (b-provider): -62% cost" in one.summary
    assert "over 1,204 requests" in one.summary and one.requests == 1204
    assert one.saved_share == pytest.approx(0.62, abs=0.005) and one.saved_at_least < one.saved_share
    assert one.saved_nano_usd == pytest.approx(600 * 620_000, rel=0.01)
    assert one.quality_at_least is not None and one.quality_change is not None
    assert one.quality_at_least < one.quality_change


@pytest.mark.parametrize(
    ("better", "why"),
    [
        (row("b", costs(380_000, 99)), "too few of it"),
        (row("b", costs(950_000)), "it saves less than a tenth"),
        (row("b", [*[1] * 598, *[150_000_000] * 2]), "it may as well cost as much"),
        (row("b", costs(380_000), [8500] * 600), "its quality is worse"),
        (row("b", costs(380_000), [9000] * 50 + [0] * 50), "its quality may be worse"),
        (row("b", costs(380_000), input=500 * 600 // 3), "its prompts were a third as long"),
        (row("b", costs(380_000), team_id="other"), "it answered another team"),
        (row("b", costs(380_000), intent="coding_help"), "it answered other prompts"),
        (row("b", costs(380_000), complexity=3), "its prompts were complex"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_without_a_part_of_the_evidence_nothing_is_recommended(better: dict[str, Any], why: str) -> None:
    assert said(routes([row("a", costs(1_000_000)), better])) == [], why


def test_unmeasured_quality_is_told_as_missing() -> None:
    found = routes([row("a", costs(1_000_000)), row("b", costs(380_000), [9000] * 20)])
    assert not said(found)
    assert any("turn validation on until both have 100" in message for _, message in found.missing)


def test_a_model_that_fails_more_often_is_not_recommended() -> None:
    evidence = [row("a", costs(1_000_000)), row("b", costs(380_000))]
    tried = [
        {"model": "a", "provider": "a-provider", "attempts": 600, "failed": 3},
        {"model": "b", "provider": "b-provider", "attempts": 700, "failed": 100},
    ]
    found = routes(evidence, tried)
    assert not said(found)
    (errors,) = [one for one in found.findings if one.kind == rec.PROVIDER_ERRORS]
    assert errors.summary.startswith("100 of 700 attempts at b-provider failed (14%; at least 12%")


def test_usual_failures_are_no_finding() -> None:
    tried = [
        {"model": name, "provider": name, "attempts": 500, "failed": count} for name, count in (("a", 30), ("b", 25))
    ]
    assert not routes([], tried).findings


def test_reasoning_about_simple_prompts_and_what_reservations_hold() -> None:
    thought = row("a", costs(1_000_000), reasoning_tokens=60_000, reasoning_cost=240_000_000)
    (one,) = routes([thought]).findings
    assert one.kind == rec.REASONING and one.saved_nano_usd == 240_000_000 and "up to 40%" in one.summary
    assert not routes([thought | {"complexity": 3}]).findings
    total = TOTAL | {"reserved_nano_usd": 4200, "cost_nano_usd": 100}
    (held,) = recommended([], [], total, 100).findings
    assert held.kind == rec.UNUSED_RESERVATION and "42 times" in held.summary and held.saved_nano_usd == 0


def test_nothing_recorded_says_what_is_missing() -> None:
    found = recommended([], [], dict.fromkeys(TOTAL, 0), 100)
    assert not found.findings
    assert [kind for kind, _ in found.missing] == [0, rec.ROUTE, rec.CACHE]


def test_models_that_cost_the_same_are_hardly_ever_told_apart() -> None:
    wrong = 0
    for seed in range(400):
        made = random.Random(seed)
        drawn = [[int(made.lognormvariate(13, 0.8)) for _ in range(200)] for _ in range(2)]
        wrong += bool(said(routes([row("a", drawn[0]), row("b", drawn[1])])))
    assert wrong <= 400 * 0.02
