"""Lists of models: their order and pages, search, rankings, comparison, providers in figures."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.catalog import ModelEntry
from mesh.errors import MeshError, Reason
from services.router.catalog.catalog import CatalogView, PriceView, ProviderView, build_view
from services.router.catalog.listed import ListedView, ListState
from services.router.catalog.listing import ModelFilter
from services.router.catalog.ordering import MEASURES, order_of, page_of
from services.router.catalog.provider_figures import figures
from services.router.catalog.ranking import best_at, named, ranked
from services.router.catalog.searching import search
from services.router.deciding.scoring import PROFILES
from services.router.sources.facts import INTENTS, Facts

USD = 10**9


def entry(model: str, **fields: Any) -> ModelEntry:
    provider, name = model.split("/", 1)
    return ModelEntry(**{"model": model, "provider": provider, "name": name, "context_tokens": 8000, **fields})


ENTRIES = (
    entry("acme/spruce-3-70b", quality=0.8, context_tokens=128000, speed_tokens_per_s=40, first_token_ms=900,
          capabilities=("tools", "images")),
    entry("acme/spruce-3-8b", quality=0.5, context_tokens=32000, speed_tokens_per_s=150, first_token_ms=200,
          capabilities=("tools",), aliases=("quick",)),
    entry("birch/birch-mini", quality=0.5, context_tokens=64000, capabilities=("json",)),
    entry("birch/birch-embed", quality=0.4, capabilities=("embeddings",)),
    entry("away/spruce-3-70b", quality=0.9),
    entry("local/demo", quality=0.95, model_class="demo"),
)  # fmt: skip
PRICES = {
    ("acme", "acme/spruce-3-70b"): PriceView(2 * USD, 6 * USD),
    ("acme", "acme/spruce-3-8b"): PriceView(USD // 10, USD // 5),
    ("birch", "birch/birch-embed"): PriceView(USD // 100, 0),
}
FACTS = {
    "acme/spruce-3-70b": Facts(quality=0.7, quality_by_intent={**dict.fromkeys(INTENTS, 0.7), "coding_help": 0.2}),
    "acme/spruce-3-8b": Facts(quality=0.5, quality_by_intent={**dict.fromkeys(INTENTS, 0.5), "coding_help": 0.9}),
}


def view_of(*entries: ModelEntry, facts: Any = None, lists: Any = None) -> CatalogView:
    providers = {name: ProviderView(name, True) for name in ("acme", "birch")}
    providers["local"] = ProviderView("local", True, model_class="demo")
    return build_view(entries or ENTRIES, providers, PRICES, facts=facts, lists=lists)


VIEW = view_of()
EVERYTHING = ModelFilter(include_unavailable=True)


def ids(models: Any) -> list[str]:
    return [one.id for one in models]


def refused(call: Any, *arguments: Any) -> MeshError:
    with pytest.raises(MeshError) as caught:
        call(*arguments)
    assert caught.value.reason is Reason.INVALID_REQUEST
    return caught.value


@pytest.mark.parametrize(
    ("order_by", "first", "last"),
    [
        ("", "local/demo", "birch/birch-embed"),
        ("quality", "birch/birch-embed", "local/demo"),
        ("name", "acme/spruce-3-70b", "local/demo"),
        ("name desc", "local/demo", "acme/spruce-3-70b"),
        ("context desc, name", "acme/spruce-3-70b", "local/demo"),
        # A price or a speed that nobody knows is last, whichever way.
        ("price", "birch/birch-embed", "local/demo"),
        ("price desc", "acme/spruce-3-70b", "local/demo"),
        ("speed desc", "acme/spruce-3-8b", "local/demo"),
        ("first_token asc", "acme/spruce-3-8b", "local/demo"),
    ],
)
def test_models_stand_in_the_order_that_was_asked_for(order_by: str, first: str, last: str) -> None:
    page, token = page_of(VIEW.by_quality, 0, "", order_by)
    assert (page[0].id, page[-1].id, token) == (first, last, "")


@pytest.mark.parametrize("order_by", ["prize", "quality down", "quality desc desc", "quality,", "name, name", ","])
def test_an_order_that_does_not_exist_is_refused_with_those_that_do(order_by: str) -> None:
    said = refused(page_of, VIEW.by_quality, 0, "", order_by)
    assert said.metadata["field"] == "order_by"


@given(
    st.lists(st.tuples(st.sampled_from(sorted(MEASURES)), st.booleans()), max_size=3, unique_by=lambda one: one[0]),
    st.integers(1, 4),
)
def test_pages_together_are_the_list_in_every_order(parts: list[tuple[str, bool]], size: int) -> None:
    order_by = ", ".join(f"{name} desc" if down else name for name, down in parts)
    whole, _ = page_of(VIEW.by_quality, 0, "", order_by)
    seen, token = [], ""
    while True:
        page, token = page_of(VIEW.by_quality, size, token, order_by)
        seen += page
        if not token:
            break
    assert seen == whole and len(seen) == len(ENTRIES)
    assert order_of(order_of(order_by).text) == order_of(order_by)


def test_a_model_that_comes_or_goes_shifts_no_page() -> None:
    page, token = page_of(VIEW.by_quality, 2, "", "name")
    more = view_of(*ENTRIES[1:], entry("aaa/new"), entry("birch/birch-medium"))
    rest, _ = page_of(more.by_quality, 0, token, "name")
    assert ids(page) == ["acme/spruce-3-70b", "acme/spruce-3-8b"]
    assert ids(rest) == [
        "away/spruce-3-70b",
        "birch/birch-embed",
        "birch/birch-medium",
        "birch/birch-mini",
        "local/demo",
    ]


@pytest.mark.parametrize("token", ["nonsense", "W10=", "WyJuYW1lIixbMV0sImEiXQ==", "bnVsbA=="])
def test_a_token_of_somewhere_else_is_refused(token: str) -> None:
    refused(page_of, VIEW.by_quality, 2, token, "name")
    _, own = page_of(VIEW.by_quality, 2, "", "name")
    refused(page_of, VIEW.by_quality, 2, own, "name desc")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("spruce", ["acme/spruce-3-70b", "acme/spruce-3-8b", "away/spruce-3-70b"]),
        ("spruce 8b", ["acme/spruce-3-8b"]),
        ("Spruce3 70b", ["acme/spruce-3-70b", "away/spruce-3-70b"]),
        ("acme images", ["acme/spruce-3-70b"]),
        ("embeddings", ["birch/birch-embed"]),
        ("quick", ["acme/spruce-3-8b"]),
        ("spruse", ["acme/spruce-3-70b", "acme/spruce-3-8b", "away/spruce-3-70b"]),
        ("spruce json", []),
    ],
)
def test_every_word_must_be_found_somewhere(query: str, found: list[str]) -> None:
    assert [one.model.id for one in search(VIEW.by_quality, query)] == found


def test_what_was_typed_whole_comes_first() -> None:
    models = view_of(entry("acme/fir-large", quality=0.9), entry("acme/fir", quality=0.1)).by_quality
    found = search(models, "fir")
    assert [one.model.id for one in found] == ["acme/fir", "acme/fir-large"]
    assert found[0].score == 1.0 and found[0].matched == ("name",)


@given(st.text(max_size=300))
def test_any_query_is_answered_or_refused(query: str) -> None:
    try:
        found = search(VIEW.by_quality, query)
    except MeshError as error:
        assert error.reason is Reason.INVALID_REQUEST
        return
    assert all(0 < one.score <= 1 for one in found)


def test_rankings_follow_the_profile_and_leave_out_what_does_not_chat() -> None:
    for profile in PROFILES:
        found = ranked(VIEW, profile, "", ModelFilter(), set())
        assert "birch/birch-embed" not in ids(one.model for one in found)
        assert found[-1].model.id == "local/demo", "the demo model never stands before a real one"
        scores = [one.score for one in found[:-1]]
        assert scores == sorted(scores, reverse=True)
    assert ranked(VIEW, "quality", "", ModelFilter(), set())[0].model.id == "acme/spruce-3-70b"
    assert ranked(VIEW, "budget", "", ModelFilter(), set())[0].model.id == "acme/spruce-3-8b"
    away = ids(one.model for one in ranked(VIEW, "quality", "", EVERYTHING, set()))
    assert away[0] == "away/spruce-3-70b"


def test_rankings_for_an_intent_use_the_quality_for_it() -> None:
    shipped = [dataclasses.replace(one, source="catalog") for one in ENTRIES[:2]]
    view = view_of(*shipped, facts=FACTS)
    overall = ranked(view, "quality", "", ModelFilter(), set())
    coding = ranked(view, "quality", "coding_help", ModelFilter(), set())
    assert ids(one.model for one in overall) == ["acme/spruce-3-70b", "acme/spruce-3-8b"]
    assert ids(one.model for one in coding) == ["acme/spruce-3-8b", "acme/spruce-3-70b"]
    assert coding[0].scores.quality == pytest.approx(0.9)
    assert best_at(list(view.by_id.values()))["intent:coding_help"] == "acme/spruce-3-8b"


def test_what_is_behind_an_open_breaker_is_not_ranked() -> None:
    found = ranked(VIEW, "quality", "", ModelFilter(), {("acme/spruce-3-70b", "acme")})
    assert "acme/spruce-3-70b" not in ids(one.model for one in found)


def test_what_only_a_list_knows_is_not_ranked() -> None:
    view = view_of(*ENTRIES[:2], lists={"birch": [ListedView("surprise")]})
    assert "birch/surprise" in view.by_id
    assert "birch/surprise" not in ids(one.model for one in ranked(view, "quality", "", EVERYTHING, set()))


def test_a_profile_or_an_intent_that_does_not_exist_is_refused() -> None:
    assert "best" in refused(ranked, VIEW, "best", "", ModelFilter(), set()).message
    assert "coding_help" in refused(ranked, VIEW, "quality", "coding", ModelFilter(), set()).message


def test_comparing_tells_who_is_best_at_what() -> None:
    models = named(VIEW, ["acme/spruce-3-70b,quick", "birch/birch-mini"])
    assert ids(models) == ["acme/spruce-3-70b", "acme/spruce-3-8b", "birch/birch-mini"]
    best = best_at(models)
    assert best["quality"] == best["context"] == "acme/spruce-3-70b"
    assert best["price"] == best["speed"] == best["first_token"] == best["profile:budget"] == "acme/spruce-3-8b"
    equal = best_at(named(VIEW, ["acme/spruce-3-8b", "birch/birch-mini"]))
    assert "quality" not in equal, "both have 0.5"
    # Nobody else's price or speed is known.
    assert equal["price"] == equal["speed"] == "acme/spruce-3-8b"


@pytest.mark.parametrize("names", [[], ["acme/spruce-3-8b"], ["quick", "acme/spruce-3-8b"], [","], ["a/b"] * 11])
def test_a_comparison_needs_two_to_ten_models(names: list[str]) -> None:
    assert refused(named, VIEW, names).metadata["field"] == "model_ids"


def test_providers_in_figures() -> None:
    states = {"acme": ListState(found=7, gone=1, listed_at_s=5.0), "listed-only": ListState(error="answered 503")}
    unhealthy = {("acme/spruce-3-8b", "acme")}
    found = {one.provider: one for one in figures(VIEW, unhealthy, states, {("acme/spruce-3-70b", "acme"): 500.0})}
    assert list(found) == ["acme", "away", "birch", "listed-only", "local"]
    acme = found["acme"]
    assert (acme.configured, acme.models, acme.available, acme.breakers_open) == (True, 2, 1, 1)
    assert acme.cheapest is not None and acme.cheapest.id == "acme/spruce-3-8b"
    assert acme.best is not None and acme.best.id == "acme/spruce-3-70b"
    # What was measured lately counts before what the catalog says: the median of 500 and 200.
    assert (acme.first_token_ms, acme.speed_tokens_per_s) == (350.0, 95.0)
    assert (acme.state.found, found["listed-only"].state.error) == (7, "answered 503")
    # Its only price is of a model that does not chat.
    assert found["birch"].cheapest is None and found["birch"].available == 2
    assert (found["away"].configured, found["away"].available, found["away"].first_token_ms) == (False, 0, 0.0)
