"""Scores stand on fixed references."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.catalog import ModelEntry
from mesh.model_prices import PriceEntry
from services.router.catalog.catalog import ProviderView, build_view
from services.router.deciding.scoring import (
    LONG_SHARE,
    LONG_TOKENS,
    LONG_TURNS,
    LONGEST_TOKENS,
    PROFILES,
    Weights,
    context_score,
    cost_score,
    ease,
    for_length,
    latency_score,
    length_share,
    log_odds,
)
from services.router.policies.policies import PROFILE_NAMES

USD = 1_000_000_000
PROVIDERS = {name: ProviderView(name, True) for name in ("a", "b", "c")}

entries = st.builds(
    lambda provider, number, quality, speed, first, context, price: ModelEntry(
        model=f"{provider}/{number}",
        provider=provider,
        name=str(number),
        context_tokens=context,
        quality=quality,
        speed_tokens_per_s=speed,
        first_token_ms=first,
        price=price,
    ),
    st.sampled_from("abc"),
    st.integers(0, 30),
    st.floats(0, 1),
    st.floats(0, 1000),
    st.floats(0, 60_000),
    st.integers(0, 4_000_000),
    st.none()
    | st.builds(
        lambda i, o: PriceEntry(False, {"input": i, "output": o}), st.integers(0, 10**12), st.integers(0, 10**12)
    ),
)


@given(st.lists(entries, max_size=8), entries)
def test_adding_a_model_changes_no_others_score(models: list[ModelEntry], another: ModelEntry) -> None:
    before = build_view(models, PROVIDERS, {})
    after = build_view([*models, dataclasses.replace(another, model="c/another", provider="c")], PROVIDERS, {})
    for name, model in before.by_id.items():
        assert after.by_id[name].totals == model.totals
        assert after.by_id[name].scores == model.scores


@given(entries)
def test_every_score_lies_between_0_and_1(entry: ModelEntry) -> None:
    model = build_view([entry], PROVIDERS, {}).by_id[entry.model]
    assert all(-1e-9 <= total <= 1 + 1e-9 for total in model.totals.values())
    assert all(0 <= side <= 1 for side in dataclasses.astuple(model.scores))


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(0, 10**12))
def test_dearer_never_scores_more(input_price: int, output_price: int, more: int) -> None:
    assert cost_score(input_price + more, output_price) <= cost_score(input_price, output_price)


def test_the_references_themselves() -> None:
    assert cost_score(50_000_000, 50_000_000) == pytest.approx(1)
    assert cost_score(60 * USD, 60 * USD) == pytest.approx(0)
    assert cost_score(0, 0) == 1
    assert cost_score(None, None) == 0
    assert latency_score(0, 0) == 0.5
    assert latency_score(1e9, 500) == pytest.approx(1, abs=1e-3)
    assert latency_score(10, 0.001) == pytest.approx(0, abs=1e-3)
    assert context_score(8_000) == 0 and context_score(1_000_000) == pytest.approx(1)


def test_weights_sum_to_one() -> None:
    assert all(sum(dataclasses.astuple(weights)) == pytest.approx(1) for weights in PROFILES.values())
    assert tuple(PROFILES) == PROFILE_NAMES
    usual = dataclasses.astuple(PROFILES["local-preferred"])
    assert usual == (0.25, 0.15, 0.6, 0), "quality, latency and cost as users of that mode expect them"


@given(st.floats(0, 1), st.integers(0, 10**7), st.integers(0, 1000))
def test_long_conversations_weigh_the_window_and_weights_still_sum_to_one(q: float, tokens: int, turns: int) -> None:
    share = length_share(tokens, turns)
    for weights in (*PROFILES.values(), Weights(q, 1 - q, 0)):
        made = for_length(weights, share)
        assert sum(dataclasses.astuple(made)) == pytest.approx(1)
        assert made.context >= max(share, weights.context) - 1e-9
    assert length_share(LONG_TOKENS, 0) == 0 and length_share(LONGEST_TOKENS, 0) == LONG_SHARE
    assert length_share(100, LONG_TURNS * 2) == LONG_SHARE


@given(st.floats(0.02, 0.98), st.floats(0.02, 0.98), st.floats(0, 1), st.floats(0, 1))
def test_simple_prompts_bring_models_together_and_never_change_their_order(
    a: float, b: float, c: float, d: float
) -> None:
    def expected(quality: float, complexity: float) -> float:
        return 1 / (1 + math.exp(-log_odds(quality) - ease(complexity)))

    assert expected(a, 0.5) == pytest.approx(a)
    assert (expected(a, c) >= expected(b, c)) == (a >= b) or a == pytest.approx(b)
    assert expected(a, max(c, d)) <= expected(a, min(c, d)) + 1e-12
    if min(a, b) >= 0.5:
        assert abs(expected(a, 0.0) - expected(b, 0.0)) <= abs(a - b) + 1e-12
