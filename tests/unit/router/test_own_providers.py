"""Providers that only some organisations' own keys open: available to these, and to nobody else."""

import pytest

from mesh.catalog import ModelEntry, PriceEntry, ProviderEntry
from mesh.errors import MeshError
from services.router.catalog.catalog import ProviderView
from services.router.catalog.followers import MAX_SHARED_VIEWS, LiveCatalog
from services.router.config import RouterConfig
from services.router.deciding.breakers import Breakers
from services.router.deciding.decision import Decider
from services.router.policies.policy import Ask

CONFIG = RouterConfig()
FREE = PriceEntry(True, {})
MODELS = [
    ModelEntry("all/small", "all", "small", 8192, quality=0.4, price=FREE),
    *(ModelEntry(f"{name}/large", name, "large", 8192, quality=0.9, price=FREE) for name in ("own", "other", "off")),
]


def catalog_of(*more: ProviderView) -> LiveCatalog:
    catalog = LiveCatalog(MODELS, [ProviderEntry("all", "openai", "https://x")], CONFIG, lambda: 0.0)
    catalog.hear_providers([ProviderView("all", True), *more])
    return catalog


def chosen(catalog: LiveCatalog, org_id: str, model: str = "auto") -> str:
    breakers = Breakers(lambda: 0.0)
    return Decider(CONFIG, breakers).decide(catalog.view_for(org_id), Ask(model=model)).chain[0].id


def test_it_is_there_for_who_has_keys() -> None:
    catalog = catalog_of(ProviderView("own", False, org_ids=frozenset({"a", "b"})))
    assert [chosen(catalog, org_id) for org_id in ("a", "b", "c", "")] == ["own/large"] * 2 + ["all/small"] * 2
    assert chosen(catalog, "a", "own/large") == "own/large"
    with pytest.raises(MeshError, match="own is disabled"):
        chosen(catalog, "c", "own/large")
    assert "own" not in catalog.view.configured


def test_those_with_the_same_providers_share_a_view() -> None:
    catalog = catalog_of(
        ProviderView("own", False, org_ids=frozenset({"a", "b"})),
        ProviderView("other", False, org_ids=frozenset({"b"})),
    )
    assert catalog.view_for("a") is catalog.view_for("a") is not catalog.view_for("b")
    assert chosen(catalog, "b", "other/large") == "other/large"
    assert catalog.view_for("c") is catalog.view
    catalog.hear_providers([ProviderView("all", True), ProviderView("own", True, org_ids=frozenset({"a"}))])
    assert catalog.view_for("a") is catalog.view and chosen(catalog, "c") == "own/large"


def test_views_are_bounded_and_made_anew_with_news() -> None:
    names = [f"p{number}" for number in range(MAX_SHARED_VIEWS + 5)]
    catalog = catalog_of(*(ProviderView(name, False, org_ids=frozenset({name})) for name in names))
    views = {name: catalog.view_for(name) for name in names}
    assert len({id(view) for view in views.values()}) == len(names)
    assert len(catalog._shared) == MAX_SHARED_VIEWS
    catalog.hear_prices({})
    assert catalog.view_for(names[-1]) is not views[names[-1]]
