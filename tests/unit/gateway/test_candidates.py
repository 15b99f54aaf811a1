"""Candidates between router, budget and provider: every place is priced, and what is not covered is not asked."""

from dac.budget.v1.budget_pb2 import PricedCandidate
from dac.router.v1.router_pb2 import Candidate
from dac.type.v1.deployment_pb2 import Deployment
from services.gateway.chat.candidates import asked, covered, priced


def at(provider: str, name: str = "n") -> Deployment:
    return Deployment(provider=provider, upstream_name=name, weight=2, priority=1)


MANY = Candidate(
    model="m/one",
    provider="a",
    upstream_name="n",
    context_tokens=9,
    deployments=[at("a"), at("b"), at("b", "n2")],
    sticky=True,
)
ALONE = Candidate(model="m/two", provider="c", upstream_name="x")


def pair(provider: str, model: str = "m/one") -> PricedCandidate:
    return PricedCandidate(provider=provider, model=model)


def test_every_model_at_every_provider_is_priced_once() -> None:
    assert priced([MANY, ALONE]) == [pair("a"), pair("b"), pair("c", "m/two")]


def test_what_is_not_covered_is_left_out_place_by_place() -> None:
    assert covered([MANY, ALONE], []) == [MANY, ALONE]
    [one, two] = covered([MANY, ALONE], [pair("b")])
    assert (one.provider, list(one.deployments), two) == ("a", [], ALONE)
    [one, two] = covered([MANY, ALONE], [pair("a")])
    assert (one.provider, one.context_tokens, list(one.deployments)) == ("b", 9, [at("b"), at("b", "n2")])
    assert covered([MANY, ALONE], [pair("a"), pair("b")]) == [ALONE]
    assert covered([MANY, ALONE], [pair("a"), pair("b"), pair("c", "m/two")]) == []
    assert covered([MANY], [pair("a", "m/two")]) == [MANY], "another model's price says nothing"


def test_provider_is_told_all_that_it_needs() -> None:
    [one, two] = asked([MANY, ALONE], output_cap_tokens=7)
    assert (one.model, one.context_tokens, one.sticky, one.output_cap_tokens) == ("m/one", 9, True, 7)
    assert list(one.deployments) == list(MANY.deployments) and not two.deployments
