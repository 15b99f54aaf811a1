"""Models that stand at several providers: available where one of them is, and ill only where all are."""

from mesh.catalog import DeploymentEntry
from mesh.model_prices import PriceEntry
from services.router.catalog.catalog import CatalogView, PriceView, ProviderView, build_view
from services.router.catalog.listing import ModelFilter, listed
from services.router.deciding.breakers import BreakerRules, Breakers
from tests.unit.router.test_decision import USD, entry, ids, refusal, run

BOTH = (DeploymentEntry("us", "big", priority=1), DeploymentEntry("eu", "grand", weight=2))


def view_of(*configured: str, **prices: int) -> CatalogView:
    two = entry("eu/one", 0.9, deployments=BOTH)
    priced = {(name, "eu/one"): PriceView(usd * USD, usd * USD) for name, usd in prices.items()}
    return build_view([two, entry("c/other", 0.5)], {name: ProviderView(name, True) for name in configured}, priced)


def test_only_deployments_that_can_be_asked_are_handed_over_lowest_priority_first() -> None:
    model = run(view_of("us", "eu"), model="eu/one").chain[0]
    assert [one.provider for one in model.deployments] == ["eu", "us"] and model.provider == "eu"
    alone = run(view_of("us"), model="eu/one").chain[0]
    assert [one.provider for one in alone.deployments] == ["us"] and alone.provider == "us"
    refused = refusal(view_of("c"), model="eu/one")
    assert "provider eu is not configured; provider us is not configured" in refused.message


def test_the_price_is_that_of_the_deployment_asked_first() -> None:
    assert view_of("us", "eu", us=5, eu=3).by_id["eu/one"].price == PriceView(3 * USD, 3 * USD)
    assert view_of("us", us=5, eu=3).by_id["eu/one"].price == PriceView(5 * USD, 5 * USD)
    dear = DeploymentEntry("eu", "grand", price=PriceEntry(False, {"input": 9 * USD, "output": 9 * USD}))
    view = build_view([entry("eu/one", deployments=(dear, BOTH[0]))], {"eu": ProviderView("eu", True)}, {})
    assert view.by_id["eu/one"].price == PriceView(9 * USD, 9 * USD)


def test_one_dead_deployment_leaves_the_model_in_the_race() -> None:
    now = [0.0]
    breakers, view = Breakers(lambda: now[0], BreakerRules(failures=1)), view_of("us", "eu", "c")
    breakers.record("eu/one", "eu", ok=False, provider_fault=True)
    assert ids(run(view, breakers=breakers, model="auto:quality"))[0] == "eu/one"
    unhealthy = {("eu/one", "eu")}
    assert "eu/one" in [model.id for model in listed(view, ModelFilter(), unhealthy)]
    breakers.record("eu/one", "us", ok=False, provider_fault=True)
    assert ids(run(view, breakers=breakers, model="auto:quality")) == ["c/other"]
    assert "eu/one" not in [model.id for model in listed(view, ModelFilter(), unhealthy | {("eu/one", "us")})]
    now[0] = 61
    assert ids(run(view, breakers=breakers, model="auto:quality"))[0] == "eu/one"
    assert ids(run(view, breakers=breakers, model="auto:quality")) == ["c/other"], "one trial"
    for _ in range(7):
        breakers.record("eu/one", "us", ok=True, provider_fault=False)
    assert ids(run(view, breakers=breakers, model="auto:quality"))[0] == "eu/one"


def test_every_place_is_known_and_found_by_its_own_name() -> None:
    view = view_of("us", "eu")
    assert view.holds("eu/one", "us") and view.holds("eu/one", "eu") and not view.holds("eu/one", "c")
    assert ("eu/one", "us") in view.holdings()
    assert [model.id for model in listed(view, ModelFilter(provider="us"), set())] == ["eu/one"]
    assert ids(run(view, model="grand")) == ["eu/one"]


def test_a_deployment_that_its_provider_lists_is_not_discovered_again() -> None:
    us = ProviderView("us", True, ("big", "small"))
    view = build_view([entry("eu/one", deployments=BOTH)], {"us": us}, {})
    assert set(view.by_id) == {"eu/one", "us/small"}
