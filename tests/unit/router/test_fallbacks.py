"""Fallbacks that the operator wrote, and other names for models."""

import dataclasses
from typing import Any

import pytest

from mesh.catalog import PriceEntry, parse_price
from mesh.errors import MeshError, Reason
from services.router.catalog.catalog import CatalogView
from services.router.config import RouterConfig
from services.router.deciding.breakers import BreakerRules, Breakers
from services.router.deciding.decision import Decider
from services.router.policies.form import parse
from services.router.policies.policies import RoutingPolicy
from services.router.policies.policy import Ask, find_named
from tests.unit.router.test_decision import LOCAL, entry, ids, refusal, run, view_of

NAMED = RouterConfig(named_fallbacks=True)


def cheap(output_usd_per_mtok: str) -> PriceEntry | None:
    return parse_price({"input_usd_per_mtok": "0", "output_usd_per_mtok": output_usd_per_mtok}, "price")


def three() -> CatalogView:
    """a/one with two fallbacks of its own, and a better model that nobody wrote behind it."""
    return view_of(
        entry("a/one", 0.9, fallbacks=("c/three", "b/two")),
        entry("b/two", 0.3),
        entry("c/three", 0.5),
        entry("b/best", 0.95),
    )


def test_a_named_model_is_followed_by_its_own_fallbacks_in_order() -> None:
    decision = run(three(), model="a/one")
    assert ids(decision) == ["a/one", "c/three", "b/two"]
    assert "; then c/three, b/two" in decision.reason
    assert ids(run(three(), model="b/two")) == ["b/two"]


def test_the_routers_own_fallbacks_stand_behind_them() -> None:
    assert ids(run(three(), NAMED, model="a/one")) == ["a/one", "c/three", "b/two", "b/best"]
    assert ids(run(three(), RouterConfig(named_fallbacks=True, max_candidates=2), model="a/one")) == [
        *("a/one", "c/three", "b/two"),
    ]


def test_a_model_chosen_by_auto_brings_them_too() -> None:
    view = view_of(entry("a/one", 0.9, fallbacks=("b/far",)), entry("b/far", 0.2), entry("c/near", 0.88))
    decision = run(view, model="auto:quality")
    assert ids(decision) == ["a/one", "b/far", "c/near"]
    assert not [model for model, _ in decision.left_out if model.id == "b/far"]


@pytest.mark.parametrize(
    ("ask", "kept"),
    [
        ({"needs_images": True}, ["a/one", "b/two"]),
        ({"needs_tools": True}, ["a/one", "c/three"]),
        ({"input_tokens": 20_000}, ["a/one", "b/two"]),
        ({"allowed_models": ("a/*", "c/*")}, ["a/one", "c/three"]),
    ],
    ids=str,
)
def test_they_are_filtered_like_others(ask: dict[str, Any], kept: list[str]) -> None:
    view = view_of(
        entry("a/one", fallbacks=("c/three", "b/two")),
        entry("b/two", capabilities=("images",)),
        entry("c/three", capabilities=("tools",), context_tokens=10_000),
    )
    assert ids(run(view, model="a/one", **ask)) == kept


@pytest.mark.parametrize(
    ("model", "rules", "ask", "kept"),
    [
        ("auto:quality", {"min_quality": 0.6}, {}, ["a/one", "b/near"]),
        ("auto:quality", {}, {"min_quality": 0.6}, ["a/one", "b/near"]),
        ("auto:quality", {"max_cost_nano_usd": 1_500_000}, {}, ["a/one", "c/far"]),
        ("auto:quality", {"max_first_token_ms": 1000}, {}, ["a/one", "b/near"]),
        ("auto:quality", {}, {"max_latency_ms": 2500}, ["a/one", "b/near"]),
        ("auto:quality", {"max_quality_drop": 0.25}, {}, ["a/one", "b/near"]),
        ("a/one", {"max_quality_drop": 0.1}, {}, ["a/one"]),
        ("a/one", {"min_quality": 0.6}, {}, ["a/one", "b/near"]),
        ("auto:quality", {}, {}, ["a/one", "c/far", "b/near"]),
    ],
    ids=str,
)
def test_bounds_bind_them_and_the_quality_drop_where_a_policy_says_it(
    model: str, rules: dict[str, Any], ask: dict[str, Any], kept: list[str]
) -> None:
    view = view_of(
        dataclasses.replace(entry("a/one", 0.9, fallbacks=("c/far", "b/near")), price=cheap("1")),
        dataclasses.replace(entry("b/near", 0.75), price=cheap("2")),
        dataclasses.replace(entry("c/far", 0.5), price=cheap("1"), first_token_ms=3000),
    )
    policy = parse("bounded", rules, RoutingPolicy(), "bounded@1")
    decision = Decider(RouterConfig(), Breakers(lambda: 0.0)).decide(view, Ask(model=model, **ask), policy)
    assert ids(decision) == kept
    assert {one.id for one, _ in decision.left_out} == {"b/near", "c/far"} - set(kept), "and the record says why"


def test_the_demo_model_stands_behind_no_real_one_though_it_is_written_there() -> None:
    view = view_of(entry("a/one", fallbacks=("local/tiny", "b/two")), entry("b/two"), LOCAL)
    for model in ("a/one", "auto"):
        decision = run(view, model=model)
        assert ids(decision) == ["a/one", "b/two"]
        assert [one.id for one, why in decision.left_out if "demo model" in why] == ["local/tiny"]


def test_one_that_is_not_available_is_left_out_with_the_reason() -> None:
    view = view_of(entry("a/one", fallbacks=("gone/x",)), entry("gone/x"), configured="a")
    decision = run(view, model="a/one")
    assert ids(decision) == ["a/one"]
    assert [(model.id, why) for model, why in decision.left_out] == [("gone/x", "provider gone is not configured")]


def test_behind_an_open_breaker_the_fallbacks_come_first() -> None:
    breakers = Breakers(lambda: 0.0, BreakerRules(failures=1))
    breakers.record("a/one", "a", ok=False, provider_fault=True)
    decision = run(three(), NAMED, breakers, model="a/one")
    assert ids(decision) == ["c/three", "b/two", "a/one", "b/best"] and "breaker is open" in decision.reason
    breakers.record("c/three", "c", ok=False, provider_fault=True)
    decision = run(three(), breakers=breakers, model="a/one")
    assert ids(decision) == ["b/two", "a/one"]
    assert ("c/three", "its circuit breaker is open") in [(model.id, why) for model, why in decision.left_out]
    breakers.record("b/two", "b", ok=False, provider_fault=True)
    decision = run(three(), breakers=breakers, model="a/one")
    assert ids(decision) == ["a/one"] and "a named model means that model" in decision.reason


def test_an_alias_names_its_model_and_says_so() -> None:
    view = view_of(entry("a/one", aliases=("gpt-4", "two")), entry("b/two"))
    decision = run(view, model="gpt-4")
    assert ids(decision) == ["a/one"] and '("gpt-4" is an alias of it)' in decision.reason
    assert ids(run(view, model="two")) == ["a/one"], "what the operator named wins over a bare upstream name"
    with pytest.raises(MeshError) as caught:
        find_named(view, "gpt-44")
    assert caught.value.reason is Reason.MODEL_NOT_FOUND and "Did you mean a/one" in caught.value.message


def test_a_key_may_name_the_id_or_the_alias() -> None:
    view = view_of(entry("a/one", aliases=("gpt-4",)), entry("b/two"))
    for allowed in (("a/one",), ("gpt-4",), ("gpt-*",), ("a/*",)):
        assert ids(run(view, model="gpt-4", allowed_models=allowed)) == ["a/one"]
        assert ids(run(view, model="auto", allowed_models=allowed)) == ["a/one"]
    assert refusal(view, model="gpt-4", allowed_models=("b/*",)).reason is Reason.PERMISSION_DENIED
