"""What sources say fills what nobody said, becomes a quality by fixed scales, and overrides nobody."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.catalog import ModelEntry, parse_model
from services.router.catalog.catalog import CatalogView, ProviderView, build_view
from services.router.catalog.listed import ListedView, ProbeView
from services.router.sources import Elo
from services.router.sources.facts import ELO_SCALE, INTENTS, SCALES, WEIGHTS, Facts, Said, measured, on_scale
from services.router.sources.lmarena import CATEGORIES

FACTS = Facts(
    context_tokens=64000,
    max_output_tokens=4000,
    capabilities=("tools", "images", "embeddings"),
    quality=0.6,
    quality_by_intent={**dict.fromkeys(INTENTS, 0.6), "coding_help": 0.8},
    speed_tokens_per_s=50.0,
    first_token_ms=300.0,
    said=(Said("models_dev", "a/one", "same name", 5.0), Said("lmarena", "one", "same name", 3.0)),
)
FIGURES = st.dictionaries(st.sampled_from(sorted(SCALES)), st.floats(0, 1))
RATINGS = st.dictionaries(
    st.sampled_from(sorted(set(CATEGORIES.values()))),
    st.tuples(st.floats(600, 1800), st.floats(0, 200)).map(lambda one: Elo(one[0], one[0] - one[1], one[0] + one[1])),
)


def written(**fields: Any) -> ModelEntry:
    """An entry of the operator's file."""
    return parse_model({"id": "a/one", "provider": "a", "context_tokens": 1000, **fields}, "models[0]", "config")


def view_of(*entries: ModelEntry, facts: dict[str, Facts], lists: dict[str, list[ListedView]]) -> CatalogView:
    return build_view(entries, {"a": ProviderView("a", True)}, {}, lists=lists, facts=facts)


def test_what_the_operator_wrote_stays() -> None:
    said = written(quality=0.9, capabilities=["json"], max_output_tokens=7, speed_tokens_per_s=1, first_token_ms=2)
    one = view_of(said, facts={"a/one": FACTS}, lists={}).by_id["a/one"]
    assert one.entry == said and one.facts is FACTS
    assert {one.quality_for(intent) for intent in (*INTENTS, "", "none")} == {0.9}


def test_what_nobody_said_is_filled() -> None:
    one = view_of(written(), facts={"a/one": FACTS}, lists={}).by_id["a/one"]
    assert (one.entry.context_tokens, one.entry.quality, one.entry.max_output_tokens) == (1000, 0.6, 4000)
    assert one.entry.capabilities == ("tools", "images") and one.chats
    assert (one.entry.speed_tokens_per_s, one.entry.first_token_ms) == (50.0, 300.0)
    assert one.quality_for("coding_help") == pytest.approx(0.8) and one.quality_for("social_chat") == 0.6
    assert one.scores.quality == 0.6


def test_the_pair_of_speeds_is_not_mixed() -> None:
    one = view_of(written(speed_tokens_per_s=9), facts={"a/one": FACTS}, lists={}).by_id["a/one"].entry
    assert (one.speed_tokens_per_s, one.first_token_ms) == (9.0, 0.0)


def test_a_shipped_quality_keeps_its_height_and_leans_with_the_intent() -> None:
    entry = parse_model({"id": "a/one", "provider": "a", "context_tokens": 9, "quality": 0.7}, "models[0]", "catalog")
    one = view_of(entry, facts={"a/one": FACTS}, lists={}).by_id["a/one"]
    assert (one.entry.quality, one.quality_for("social_chat")) == (0.7, 0.7)
    assert one.quality_for("coding_help") == pytest.approx(0.9)
    assert view_of(entry, facts={}, lists={}).by_id["a/one"].quality_for("coding_help") == 0.7


def test_a_list_and_a_probe_win_over_facts() -> None:
    bare = view_of(facts={"a/one": FACTS}, lists={"a": [ListedView("one")]}).by_id["a/one"]
    assert (bare.entry.context_tokens, bare.entry.quality) == (64000, 0.6)
    assert bare.entry.capabilities == ("tools", "images") and bare.unproven
    said = ListedView("one", context_tokens=5, capabilities=("json",), probe=ProbeView(0.3, 1.0, 1.0, ("json",), 1.0))
    full = view_of(facts={"a/one": FACTS}, lists={"a": [said]}).by_id["a/one"].entry
    assert (full.context_tokens, full.quality, full.capabilities) == (5, 0.3, ("json",))


def test_facts_never_make_a_model_chat_or_stop_chatting() -> None:
    lists = {"a": [ListedView("one", chats=False, embeds=True)]}
    embeds = view_of(facts={"a/one": FACTS}, lists=lists).by_id["a/one"]
    assert embeds.entry.capabilities == ("embeddings",) and not embeds.chats


@pytest.mark.parametrize("scale", [ELO_SCALE, *SCALES.values()])
def test_scales_rise(scale: tuple[tuple[float, float], ...]) -> None:
    assert list(scale) == sorted(scale) and [at for _, at in scale] == sorted({at for _, at in scale})
    assert all(0 <= quality <= 1 for _, quality in scale)
    for figure, quality in scale:
        assert on_scale(figure, scale) == pytest.approx(quality)


def test_every_weighed_figure_is_one_that_exists() -> None:
    assert set(WEIGHTS) == {"", *INTENTS}
    for weights in WEIGHTS.values():
        assert set(weights) <= set(SCALES) | {f"elo:{category}" for category in CATEGORIES.values()}


@given(RATINGS, FIGURES)
def test_qualities_are_from_nothing_to_one(elo: dict[str, Elo], benchmarks: dict[str, float]) -> None:
    overall, by_intent = measured(elo, benchmarks)
    assert (overall is None) == (not by_intent)
    if overall is not None:
        assert set(by_intent) == set(INTENTS)
        assert all(0 <= one <= 1 for one in (overall, *by_intent.values()))
    assert measured({}, {"vibes": 1.0}) == (None, {})


@given(RATINGS, FIGURES, st.sampled_from(sorted(SCALES)), st.floats(0, 1), st.floats(0, 1))
def test_a_better_figure_never_lowers_a_quality(
    elo: dict[str, Elo], benchmarks: dict[str, float], name: str, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    worse, worse_by = measured(elo, {**benchmarks, name: low})
    better, better_by = measured(elo, {**benchmarks, name: high})
    assert worse is not None and better is not None and better >= worse - 1e-9
    assert all(better_by[intent] >= worse_by[intent] - 1e-9 for intent in INTENTS)


def test_an_unsure_rating_weighs_less_and_an_intent_follows_its_own_figures() -> None:
    benchmarks = {"gpqa": 0.5}
    sure, _ = measured({"overall": Elo(1480, 1475, 1485)}, benchmarks)
    unsure, _ = measured({"overall": Elo(1480, 1380, 1580)}, benchmarks)
    assert sure is not None and unsure is not None and sure > unsure
    coder = measured({"overall": Elo(1300, 1295, 1305), "coding": Elo(1450, 1445, 1455)}, {})[1]
    assert coder["coding_help"] > coder["reasoning_math"] + 0.1
    assert coder["qa_retrieval"] == pytest.approx(coder["reasoning_math"])
    facts = Facts(quality=0.5, quality_by_intent=coder)
    assert facts.quality_for("coding_help") == coder["coding_help"] and facts.quality_for("else") == 0.5
    assert facts.lean("else") == 0.0 and Facts().quality_for("coding_help") is None and Facts().seen_at_s == 0.0
    assert FACTS.seen_at_s == 3.0
