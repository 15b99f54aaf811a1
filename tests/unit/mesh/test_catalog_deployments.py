"""`deployments:` of a model: what is filled in, and mistakes named with their place and their mend."""

import re
from typing import Any

import pytest

from mesh.catalog import DeploymentEntry, ModelEntry, parse_catalog
from mesh.config import ConfigError
from mesh.model_prices import PriceEntry

PROVIDERS = {"eu": {"base_url": "http://eu"}, "us": {"base_url": "http://us"}}
CHEAP, DEAR = ({"input_usd_per_mtok": n, "output_usd_per_mtok": n} for n in (1, 2))


def parsed(*deployments: Any, **more: Any) -> ModelEntry:
    model = {"id": "x/large", "context_tokens": 1000, "deployments": list(deployments), **more}
    return parse_catalog({"providers": PROVIDERS, "models": [model]}, {}, {})[1][0]


def test_the_model_stands_where_its_first_deployment_is() -> None:
    got = parsed({"provider": "us", "name": "big", "priority": 1}, {"provider": "eu", "weight": "2.5"}, sticky=True)
    assert (got.provider, got.name, got.sticky) == ("us", "big", True)
    assert got.deployments == (DeploymentEntry("us", "big", priority=1), DeploymentEntry("eu", "large", weight=2.5))
    assert parsed({"provider": "us"}, {"provider": "eu", "name": "e"}, provider="eu").name == "e"


def test_the_models_price_counts_unless_a_deployment_has_its_own() -> None:
    got = parsed({"provider": "us", "price": DEAR}, {"provider": "eu"}, price=CHEAP)
    assert [one.price and one.price.nano_usd_per_mtok["input"] for one in got.endpoints] == [2 * 10**9, 10**9]
    assert [one.price for one in parsed({"provider": "us", "price": "free"}, {"provider": "eu"}).endpoints] == [
        PriceEntry(True, {}),
        None,
    ]


def test_a_model_without_deployments_has_one_endpoint() -> None:
    assert ModelEntry("a/b", "a", "b", 10).endpoints == (DeploymentEntry("a", "b"),)


@pytest.mark.parametrize(
    ("deployments", "more", "said"),
    [
        ([], {}, "models[0].deployments: a list is needed"),
        (["us"], {}, "models[0].deployments[0]: a deployment is a mapping with provider and name"),
        ([{"name": "x"}], {}, "models[0].deployments[0]: a deployment is a mapping with provider and name"),
        ([{"provider": "us", "wieght": 1}], {}, 'unknown key "wieght" (did you mean "weight"?)'),
        ([{"provider": "us", "weight": 0}], {}, "deployments[0].weight: it must be above 0"),
        ([{"provider": "us", "weight": float("nan")}], {}, "deployments[0].weight: it must be above 0"),
        ([{"provider": "us", "priority": -1}], {}, "deployments[0].priority: it must be 0 to 100"),
        ([{"provider": "us", "priority": "first"}], {}, 'deployments[0].priority: a number is needed, not "first"'),
        ([{"provider": "us"}, {"provider": "us"}], {}, "large at us is there twice"),
        ([{"provider": "uss"}], {}, 'there is no provider "uss" (did you mean "us"?)'),
        ([{"provider": "us"}, {"provider": "eux"}], {}, 'there is no provider "eux" (did you mean "eu"?)'),
        ([{"provider": "us"}], {"provider": "eu"}, "models[0].provider: none of the deployments is at eu"),
        ([{"provider": "us", "price": "gratis"}], {}, "models[0].deployments[0].price"),
        (
            [{"provider": "us", "price": CHEAP}, {"provider": "us", "name": "b", "price": DEAR}],
            {},
            "deployments of one model at one provider cost the same",
        ),
    ],
    ids=str,
)
def test_a_wrong_deployment_is_refused_with_place_and_mend(deployments: Any, more: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        parsed(*deployments, **more)
