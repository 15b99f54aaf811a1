"""Lists of providers join the catalog: they fill what nobody said, and take nothing over."""

from typing import Any

import pytest

from mesh.catalog import ModelEntry
from mesh.errors import MeshError, Reason
from services.router.catalog.catalog import CatalogView, ProviderView, build_view
from services.router.catalog.listed import ListedView, Lists, ProbeView
from services.router.config import RouterConfig
from services.router.deciding.breakers import Breakers
from services.router.deciding.decision import Decider
from services.router.policies.policy import Ask, find_named

PROBE = ProbeView(0.5, 80.0, 200.0, ("json",), 1.0)


def entry(model: str, **fields: Any) -> ModelEntry:
    provider, name = model.split("/", 1)
    return ModelEntry(**{"model": model, "provider": provider, "name": name, "context_tokens": 32000, **fields})


def view_of(*entries: ModelEntry, lists: dict[str, list[ListedView]], **more: Any) -> CatalogView:
    providers = {name: ProviderView(name, True) for name in {one.provider for one in entries} | set(lists)}
    return build_view(entries, {**providers, **more.pop("providers", {})}, {}, lists=lists, **more)


def route(view: CatalogView, model: str = "auto", **fields: Any) -> Any:
    return Decider(RouterConfig(), Breakers(lambda: 0.0)).decide(view, Ask(model=model, **fields))


def test_a_listed_model_has_cautious_figures() -> None:
    view = view_of(lists={"a": [ListedView("new", seen_at_s=5.0), ListedView("e", chats=False, embeds=True)]})
    new = view.by_id["a/new"]
    assert (new.entry.quality, new.entry.context_tokens, new.entry.source) == (0.1, 8192, "listed")
    assert new.unproven and new.available and view.by_id["a/e"].can("embeddings") and not view.by_id["a/e"].chats
    assert route(view, "a/e", needs_embeddings=True).chain[0].id == "a/e"
    said = ListedView("big", context_tokens=99, max_output_tokens=9, capabilities=("images",), probe=PROBE)
    big = view_of(lists={"a": [said]}).by_id["a/big"].entry
    assert (big.context_tokens, big.max_output_tokens, big.capabilities) == (99, 9, ("images", "json"))
    assert (big.quality, big.speed_tokens_per_s, big.first_token_ms) == (0.5, 80.0, 200.0)
    does_neither = view_of(lists={"a": [ListedView("tts", chats=False)]})
    assert not does_neither.by_id


def test_files_win_and_lists_fill_only_what_is_open() -> None:
    said = ListedView("one", context_tokens=7, max_output_tokens=5, capabilities=("images",), probe=PROBE)
    written = entry("a/one", quality=0.9, capabilities=("tools",))
    found = view_of(written, lists={"a": [said]}).by_id["a/one"].entry
    assert (found.context_tokens, found.quality, found.capabilities) == (32000, 0.9, ("tools",))
    assert (found.max_output_tokens, found.speed_tokens_per_s) == (5, 80.0)
    fast = entry("a/one", speed_tokens_per_s=10.0, max_output_tokens=3)
    found = view_of(fast, lists={"a": [said]}).by_id["a/one"].entry
    assert (found.max_output_tokens, found.speed_tokens_per_s, found.first_token_ms) == (3, 10.0, 0.0)


def test_auto_never_takes_a_model_that_only_a_list_knows() -> None:
    lists = {"a": [ListedView("new"), ListedView("newer")]}
    view = view_of(entry("b/known", quality=0.01), lists=lists)
    for profile in ("quality", "balanced", "speed", "budget", "long_context"):
        decision = route(view, f"auto:{profile}")
        assert [one.id for one in decision.chain] == ["b/known"]
        assert "2 known only from providers' lists and never probed were left out" in decision.reason
        assert [model.id for model, why in decision.left_out if "probe it" in why] == ["a/new", "a/newer"]
    assert route(view, "a/new").chain[0].id == "a/new"
    demo = entry("l/demo", model_class="demo")
    assert route(view_of(demo, lists=lists)).basis == "demo"
    with pytest.raises(MeshError, match="a/new") as caught:
        route(view_of(lists=lists))
    assert caught.value.reason is Reason.NO_MODEL_AVAILABLE
    assert route(view_of(lists=lists, auto_unprobed=True)).chain[0].id in ("a/new", "a/newer")
    probed = {"a": [ListedView("new", probe=PROBE), ListedView("newer")]}
    assert [one.id for one in route(view_of(lists=probed)).chain] == ["a/new"]


def test_a_list_takes_no_name_over() -> None:
    own = entry("own/gpt", name="gpt", aliases=("evil/alias",))
    cross = entry("evil/x", provider="own", name="elsewhere")
    lists = {"evil": [ListedView("gpt"), ListedView("x"), ListedView("alias"), ListedView("rare")]}
    view = view_of(own, cross, lists=lists)
    assert find_named(view, "gpt")[0].id == "own/gpt"
    assert view.by_id["evil/x"].entry.provider == "own"
    assert "evil/alias" not in view.by_id and find_named(view, "evil/alias")[0].id == "own/gpt"
    assert find_named(view, "rare")[0].id == "evil/rare" and find_named(view, "evil/gpt")[0].id == "evil/gpt"
    # Also while the described one cannot be asked.
    away = view_of(own, lists=lists, providers={"own": ProviderView("own", False)})
    assert find_named(away, "gpt")[0].id == "own/gpt"


def test_gone_models_are_unavailable_but_the_operators_word_stands() -> None:
    gone = {"a": [ListedView("m", gone=True, seen_at_s=1.0), ListedView("n-2025-01-01", seen_at_s=1.0)]}
    shipped = view_of(entry("a/m", source="catalog"), entry("a/n", source="catalog"), lists=gone)
    assert not shipped.by_id["a/m"].available and "no more" in shipped.by_id["a/m"].unavailable_because
    assert shipped.by_id["a/n"].available, "a dated name is the same model"
    assert view_of(entry("a/m", source="config"), lists=gone).by_id["a/m"].available
    assert not view_of(lists=gone).by_id["a/m"].available
    # A shipped model that a list never had stays: lists are often not whole.
    assert view_of(entry("a/other", source="catalog"), lists=gone).by_id["a/other"].available


def test_a_newer_list_counts_beside_the_one_of_the_test_call() -> None:
    lists = Lists({"a": ("old", "both")}, {"a": [ListedView("new", seen_at_s=1.0), ListedView("both", seen_at_s=2.0)]})
    assert lists.problem("a", "new", "catalog") == "" == lists.problem("a", "old", "catalog")
    assert "does not list" in lists.problem("a", "never", "catalog")
    both = lists.find("a", "models/both:latest")
    assert both is not None and both.seen_at_s == 2.0
    gone = Lists({"a": ("old",)}, {"a": [ListedView("old", gone=True, seen_at_s=1.0)]})
    assert "no more" in gone.problem("a", "old", "catalog")


def test_nothing_of_a_disabled_provider() -> None:
    view = view_of(lists={"a": [ListedView("m")]}, providers={"a": ProviderView("a", False)})
    assert not view.by_id
