"""Hard constraints: never a model that does not fit, a reason for each that was left out, the same choice each time."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.catalog import DeploymentEntry, ModelEntry
from mesh.errors import MeshError, Reason
from services.router.catalog.catalog import CatalogView, PriceView, ProviderView, build_view
from services.router.config import RouterConfig
from services.router.deciding.breakers import Breakers, State
from services.router.deciding.constraints import MOST_SHORTLISTS, Shortlists, cost_nano_usd
from services.router.deciding.decision import Decider, default_policy
from services.router.deciding.latency import Speeds
from services.router.deciding.scoring import Weights
from services.router.deciding.sheet import Decision, draw
from services.router.learning.learning import Key, Learned, Observation
from services.router.policies.policies import RoutingPolicy
from services.router.policies.policy import Ask, may_use
from services.router.prompt.predictor import QualityPredictor, Reading
from tests.unit.router.test_decision import LOCAL, USD, entry, ids, view_of

CONFIG = RouterConfig()
BASE = default_policy(CONFIG)
REGIONS = {"a": "eu", "b": "us"}


def decided(
    view: CatalogView, policy: RoutingPolicy = BASE, breakers: Breakers | None = None, **ask: object
) -> Decision:
    decider = Decider(CONFIG, breakers or Breakers(lambda: 0.0))
    return decider.decide(view, Ask(**ask), policy)  # type: ignore[arg-type]


def refused(view: CatalogView, policy: RoutingPolicy = BASE, **ask: object) -> MeshError:
    with pytest.raises(MeshError) as caught:
        decided(view, policy, **ask)
    return caught.value


def placed(*entries: ModelEntry) -> CatalogView:
    """A view whose providers a and b stand in known regions, c somewhere."""
    providers = {name: ProviderView(name, True) for name in "abc"}
    return build_view(entries, providers, {}, regions=REGIONS)


def why(decision: Decision) -> dict[str, str]:
    return {model.id: told for model, told in decision.left_out}


def with_(**fields: object) -> RoutingPolicy:
    return dataclasses.replace(BASE, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("policy", "ask", "told"),
    [
        ({}, {"input_tokens": 50_000}, "context of 32000 tokens is too small"),
        ({}, {"needs_tools": True}, "cannot call tools"),
        ({"denied_models": ("b/*",)}, {}, "the policy default denies it"),
        ({"allowed_models": ("a/*",)}, {}, "the policy default does not allow it"),
        ({"denied_providers": ("b",)}, {}, "the policy default denies b"),
        ({"regions": ("eu",)}, {}, "b stands in us, not in eu"),
        ({}, {"regions": ("eu",)}, "b stands in us, not in eu"),
        ({"min_quality": 0.7}, {}, "quality 0.60 is below the 0.70 asked for"),
        ({}, {"min_quality": 0.7}, "quality 0.60 is below the 0.70 asked for"),
        ({"max_first_token_ms": 1000.0}, {}, "its first token takes about 2000 ms, more than 1000 ms"),
        ({}, {"max_first_token_ms": 1000.0}, "its first token takes about 2000 ms, more than 1000 ms"),
        ({"max_latency_ms": 20_000.0}, {}, "an answer takes about 32000 ms, more than 20000 ms"),
        (
            {"max_cost_nano_usd": 20_000_000},
            {"input_tokens": 100},
            "would cost about $0.022480, above the cap",
        ),
        ({}, {"max_cost_nano_usd": 20_000_000, "input_tokens": 100}, "above the cap of $0.020000"),
        ({}, {"allowed_models": ("a/*",)}, "this key may not use it"),
    ],
    ids=str,
)
def test_every_bound_keeps_a_model_out_and_says_so(
    policy: dict[str, object], ask: dict[str, object], told: str
) -> None:
    good = entry("a/good", 0.8, 10, first_token_ms=500.0, speed_tokens_per_s=100.0)
    poor = entry(
        "b/poor", 0.6, 20, context_tokens=32_000, capabilities=(), first_token_ms=2000.0, speed_tokens_per_s=10.0
    )
    decision = decided(placed(good, poor), with_(**policy), **ask)
    assert ids(decision) == ["a/good"]
    assert told in why(decision)["b/poor"]
    alone = refused(placed(poor), with_(**policy), **ask)
    assert alone.reason in (Reason.NO_MODEL_AVAILABLE, Reason.PERMISSION_DENIED, Reason.CONTEXT_TOO_LONG)


def test_what_is_unknown_is_held_against_a_price_and_a_region_and_not_against_speed() -> None:
    view = placed(dataclasses.replace(entry("c/new", 0.9), price=None), entry("a/one", 0.8))
    assert ids(decided(view, max_first_token_ms=1.0, max_latency_ms=1.0, profile="quality"))[0] == "c/new"
    assert why(decided(view, max_cost_nano_usd=10**12))["c/new"] == "its price is unknown, and the cost is capped"
    assert "an unknown region" in why(decided(view, regions=("eu",)))["c/new"]


def test_a_model_at_several_places_is_asked_only_where_it_may_be_and_costs_what_it_costs_there() -> None:
    both = (DeploymentEntry("b", "x", priority=0), DeploymentEntry("a", "x", priority=1))
    model = entry("b/one", 0.8, deployments=both)
    prices = {("a", "b/one"): 7, ("b", "b/one"): 3}
    providers = {name: ProviderView(name, True) for name in "ab"}
    priced = {place: PriceView(usd * USD, usd * USD) for place, usd in prices.items()}
    view = build_view([model], providers, priced, regions=REGIONS)
    for ask in ({"model": "auto"}, {"model": "b/one"}):
        (found,) = decided(view, with_(regions=("eu",)), **ask).chain
        assert found.places == ("a",) and [one.provider for one in found.deployments] == ["a"]
        assert found.price.input_nano_usd_per_mtok == 7 * USD
        assert decided(view, **ask).chain[0].places == ("b", "a")


def test_a_named_model_is_bound_by_the_policy_too() -> None:
    view = placed(entry("a/one", usd=10), entry("b/two"))
    for policy, told in (
        ({"denied_models": ("a/one",)}, "the policy default denies it"),
        ({"allowed_providers": ("b",)}, "does not allow a"),
        ({"regions": ("us",)}, "a stands in eu, not in us"),
    ):
        error = refused(view, with_(**policy), model="a/one")
        assert error.reason is Reason.PERMISSION_DENIED and told in error.message
    capped = refused(view, with_(max_cost_nano_usd=1000), model="a/one")
    assert capped.reason is Reason.NO_MODEL_AVAILABLE and "may cost $0.000001 at most" in capped.message
    fallback = with_(denied_models=("b/*",))
    view = placed(entry("a/one", fallbacks=("b/two",)), entry("b/two"))
    decision = decided(view, fallback, model="a/one")
    assert ids(decision) == ["a/one"] and "denies it" in why(decision)["b/two"]


def test_a_policy_that_leaves_nothing_says_which_one_it_is() -> None:
    error = refused(placed(entry("a/one")), with_(name="strict", denied_models=("*",)))
    assert error.reason is Reason.PERMISSION_DENIED and "the policy strict denies it" in error.message


def test_the_floor_holds_for_every_profile() -> None:
    view = placed(entry("a/best", 0.9, 50), entry("b/weak", 0.4, 0.0, speed_tokens_per_s=1000.0))
    for profile in ("quality", "balanced", "speed", "budget", "long_context", "local-preferred", "performance"):
        decision = decided(view, profile=profile)
        assert ids(decision) == ["a/best"], profile
        assert why(decision)["b/weak"] == "quality 0.40 is below the floor of 0.45"
    assert ids(decided(view, with_(quality_floor_share=0.0), profile="budget"))[0] == "b/weak"
    breakers = Breakers(lambda: 0.0)
    breakers.force("a/best", "a", State.OPEN)
    weak = decided(view, breakers=breakers)
    assert ids(weak) == ["b/weak"] and "below the quality floor" in weak.reason


def test_local_preferred_takes_what_is_free_first_and_never_the_demo_model() -> None:
    free = entry("b/free", 0.6, 0.0)
    view = view_of(LOCAL, free, entry("a/best", 0.9, 0.1, speed_tokens_per_s=1000.0))
    assert ids(decided(view, profile="local-preferred"))[0] == "b/free"
    assert ids(decided(view, profile="quality"))[0] == "a/best"
    assert "local/tiny" not in ids(decided(view, profile="local-preferred"))


def test_own_weights_count_unless_the_request_names_a_profile() -> None:
    view = placed(entry("a/best", 0.9, 30), entry("b/cheap", 0.7, 0.06))
    own = with_(weights=Weights(0.0, 0.0, 1.0))
    assert ids(decided(view, own))[0] == "b/cheap"
    assert ids(decided(view, own, profile="quality"))[0] == "a/best"
    assert ids(decided(view, own, model="auto:quality"))[0] == "a/best"


def test_simple_prompts_go_to_cheap_models_and_complex_ones_to_good_ones() -> None:
    view = placed(entry("a/best", 0.9, 8), entry("b/cheap", 0.72, 1))
    assert ids(decided(view, complexity=1.0))[0] == "a/best"
    assert ids(decided(view, complexity=0.0))[0] == "b/cheap"
    simple = decided(view, complexity=0.0, intent="coding_help")
    assert "best of 2 that fit a simple coding prompt" in simple.reason


def test_long_conversations_go_to_models_of_a_long_context() -> None:
    view = placed(entry("a/short", 0.8, context_tokens=200_000), entry("b/long", 0.78, context_tokens=1_000_000))
    assert ids(decided(view))[0] == "a/short"
    assert ids(decided(view, input_tokens=120_000))[0] == "b/long"
    assert ids(decided(view, turns=60))[0] == "b/long"


def test_live_figures_replace_the_catalogs() -> None:
    speeds = Speeds(lambda: 0.0)
    view = placed(
        entry("a/one", 0.8, first_token_ms=200.0, speed_tokens_per_s=200.0),
        entry("b/two", 0.8, first_token_ms=900.0, speed_tokens_per_s=50.0),
    )
    decider = Decider(CONFIG, Breakers(lambda: 0.0), speeds)
    assert ids(decider.decide(view, Ask(profile="speed"))) == ["a/one", "b/two"]
    for _ in range(10):
        speeds.observe("a/one", "a", first_token_ms=9000, total_ms=60_000, output_tokens=100)
    assert ids(decider.decide(view, Ask(profile="speed"))) == ["b/two", "a/one"]
    limited = decider.decide(view, Ask(profile="quality", max_first_token_ms=1000))
    assert ids(limited) == ["b/two"] and "first token takes about 9000 ms" in why(limited)["a/one"]


def test_a_model_that_is_far_slower_than_the_limit_just_now_waits_while_others_fit() -> None:
    speeds = Speeds(lambda: 0.0)
    view = placed(entry("a/one", 0.9), entry("b/two", 0.7))
    decider = Decider(CONFIG, Breakers(lambda: 0.0), speeds)
    # Mostly quick, now and then very slow: the median lies within the limit.
    for index in range(40):
        slow = index % 5 == 0
        speeds.observe("a/one", "a", first_token_ms=8000 if slow else 500, total_ms=9000, output_tokens=100)
    ask = Ask(profile="quality", max_first_token_ms=1000)
    decision = decider.decide(view, ask)
    assert ids(decision) == ["b/two"] and "over 8000 ms just now" in why(decision)["a/one"]
    alone = decider.decide(placed(entry("a/one", 0.9)), ask)
    assert ids(alone) == ["a/one"] and "far slower than the limit" in alone.reason


def test_a_recovering_model_gets_its_share_of_the_traffic() -> None:
    now = [0.0]
    breakers = Breakers(lambda: now[0])
    view = placed(entry("a/one", 0.9), entry("b/two", 0.8))
    for _ in range(3):
        breakers.record("a/one", "a", ok=False, provider_fault=True)
    now[0] = 60.0
    breakers.record("a/one", "a", ok=True, provider_fault=False)
    decider = Decider(CONFIG, breakers)
    seeds = [f"seed-{number}" for number in range(1000)]
    first = [ids(decider.decide(view, Ask(profile="quality", seed=seed)))[0] for seed in seeds]
    assert 60 <= first.count("a/one") <= 140
    assert first == [ids(decider.decide(view, Ask(profile="quality", seed=seed)))[0] for seed in seeds]
    out = next(seed for seed in seeds if draw(seed, "a/one") >= 0.1)
    assert ids(decider.decide(view, Ask(profile="quality", seed=out))) == ["b/two", "a/one"], "better than nobody"
    alone_there = with_(max_candidates=1)
    told = why(decider.decide(view, Ask(profile="quality", seed=out), alone_there))["a/one"]
    assert told == "its circuit breaker is recovering and lets 10% through"
    alone = Decider(CONFIG, breakers).decide(placed(entry("a/one", 0.9)), Ask(seed=out))
    assert ids(alone) == ["a/one"] and alone.basis == "best", "nobody else is there"


def test_a_model_held_open_is_not_even_the_least_bad_and_not_to_be_named() -> None:
    breakers = Breakers(lambda: 0.0)
    view = placed(entry("a/one", 0.9), entry("b/two", 0.8))
    for model in ("a/one", "b/two"):
        breakers.force(model, model[0], State.OPEN)
    for model in ("auto", "a/one"):
        with pytest.raises(MeshError) as caught:
            decided(view, breakers=breakers, model=model)
        assert caught.value.reason is Reason.NO_MODEL_AVAILABLE and "dac breaker auto" in caught.value.message
    breakers.force("b/two", "b", None)
    decision = decided(view, breakers=breakers)
    assert ids(decision) == ["b/two"] and why(decision)["a/one"] == "an operator holds its circuit breaker open"


def test_a_dry_run_gives_out_no_trial() -> None:
    now = [0.0]
    breakers = Breakers(lambda: now[0])
    view = placed(entry("a/one", 0.9), entry("b/two", 0.8))
    for _ in range(3):
        breakers.record("a/one", "a", ok=False, provider_fault=True)
    now[0] = 60.0
    for _ in range(3):
        assert ids(decided(view, breakers=breakers, profile="quality", dry_run=True))[0] == "a/one"
        assert breakers.state("a/one", "a") is State.HALF_OPEN
    decided(view, breakers=breakers, profile="quality")
    assert breakers.state("a/one", "a") is State.OPEN


def test_fallbacks_change_the_provider_early() -> None:
    view = placed(entry("a/1", 0.90), entry("a/2", 0.89), entry("a/3", 0.88), entry("b/1", 0.87), entry("c/1", 0.86))
    assert ids(decided(view, profile="quality")) == ["a/1", "b/1", "c/1", "a/2"]


def test_shortlists_are_made_once_and_not_without_end() -> None:
    view, shortlists = placed(entry("a/one")), Shortlists()
    assert shortlists.of(view, BASE, Ask()) is shortlists.of(view, BASE, Ask(input_tokens=5))
    other = dataclasses.replace(BASE, denied_models=("x",))
    assert shortlists.of(view, other, Ask()) is not shortlists.of(view, BASE, Ask())
    for number in range(2 * MOST_SHORTLISTS):
        shortlists.of(view, BASE, Ask(allowed_models=(f"m{number}", "a/*")))
    assert len(shortlists._kept) == MOST_SHORTLISTS


PROVIDERS = "abc"
entries = st.lists(
    st.builds(
        lambda provider, number, quality, usd, context, output, can, first, speed, priced: dataclasses.replace(
            entry(
                f"{provider}/{number}",
                quality,
                usd,
                context_tokens=context,
                max_output_tokens=output,
                capabilities=tuple(can),
                first_token_ms=first,
                speed_tokens_per_s=speed,
            ),
            **({} if priced else {"price": None}),
        ),
        st.sampled_from(PROVIDERS),
        st.integers(0, 30),
        st.floats(0, 1),
        st.floats(0, 50),
        st.sampled_from([4_000, 32_000, 200_000]),
        st.sampled_from([0, 1_000, 8_000]),
        st.sets(st.sampled_from(["tools", "images", "json"])),
        st.sampled_from([0.0, 200.0, 3_000.0]),
        st.sampled_from([0.0, 20.0, 200.0]),
        st.booleans(),
    ),
    min_size=1,
    max_size=15,
    unique_by=lambda one: one.model,
)
patterns = st.lists(st.sampled_from(["a/*", "b/*", "*/1?", "c/3"]), max_size=2).map(tuple)
names = st.lists(st.sampled_from(PROVIDERS), max_size=2).map(tuple)
policies = st.builds(
    lambda **fields: dataclasses.replace(BASE, **fields),
    allowed_models=patterns,
    denied_models=patterns,
    allowed_providers=names,
    denied_providers=names,
    regions=st.sampled_from([(), ("eu",), ("eu", "us")]),
    min_quality=st.sampled_from([0.0, 0.5]),
    max_first_token_ms=st.sampled_from([0.0, 1000.0]),
    max_cost_nano_usd=st.sampled_from([0, 10_000_000]),
    quality_floor_share=st.sampled_from([0.0, 0.5, 0.9]),
    max_quality_drop=st.sampled_from([0.0, 0.1, 0.25]),
    max_candidates=st.integers(1, 6),
)
asks = st.builds(
    Ask,
    profile=st.sampled_from(["", "quality", "budget", "speed", "local-preferred"]),
    input_tokens=st.sampled_from([0, 10_000, 100_000]),
    max_output_tokens=st.sampled_from([0, 500, 4_000]),
    needs_tools=st.booleans(),
    needs_images=st.booleans(),
    needs_json=st.booleans(),
    allowed_models=patterns,
    turns=st.integers(0, 50),
    complexity=st.none() | st.floats(0, 1),
    min_quality=st.sampled_from([0.0, 0.6]),
    max_cost_nano_usd=st.sampled_from([0, 50_000_000]),
    regions=st.sampled_from([(), ("us",)]),
    seed=st.text(max_size=4),
)


@settings(max_examples=300)
@given(entries, policies, asks, st.sets(st.sampled_from(PROVIDERS)))
def test_never_a_model_that_does_not_fit(
    models: list[ModelEntry], policy: RoutingPolicy, ask: Ask, sick: set[str]
) -> None:
    view, breakers = placed(*models), Breakers(lambda: 0.0)
    for one in models:
        if one.provider in sick:
            breakers.hear_open(one.model, one.provider)
    decider = Decider(CONFIG, breakers)
    try:
        decision = decider.decide(view, ask, policy)
    except MeshError as error:
        assert error.reason in (Reason.NO_MODEL_AVAILABLE, Reason.PERMISSION_DENIED, Reason.CONTEXT_TOO_LONG)
        return
    again = Decider(CONFIG, breakers).decide(view, ask, policy)
    assert ids(again) == ids(decision) and again.reason == decision.reason and why(again) == why(decision)
    chain = decision.chain
    assert 1 <= len(chain) <= policy.max_candidates and len(set(ids(decision))) == len(chain)
    best = chain[0].entry.quality
    output = ask.max_output_tokens or CONFIG.default_output_tokens
    for model in chain:
        one = model.entry
        assert one.context_tokens >= ask.input_tokens + output
        assert not ask.max_output_tokens or not 0 < one.max_output_tokens < ask.max_output_tokens
        for needed, name in ((ask.needs_tools, "tools"), (ask.needs_images, "images"), (ask.needs_json, "json")):
            assert not needed or name in one.capabilities
        assert not ask.allowed_models or _matches(one.model, ask.allowed_models)
        assert not policy.bars_model(one.model)
        for place in model.places:
            region = REGIONS.get(place, "")
            assert not policy.bars_place(place, region) and (not ask.regions or region in ask.regions)
        assert one.quality >= max(policy.min_quality, ask.min_quality)
        assert not policy.max_first_token_ms or one.first_token_ms <= policy.max_first_token_ms
        for cap in (policy.max_cost_nano_usd, ask.max_cost_nano_usd):
            cost = cost_nano_usd(model, ask.input_tokens, min(output, CONFIG.default_output_tokens))
            assert not cap or (cost is not None and cost <= cap)
        assert one.quality >= best - policy.max_quality_drop - 1e-6
        assert one.provider not in sick or decision.basis == "least_bad"
    left_out = why(decision)
    assert all(left_out.values()) and not set(left_out) & set(ids(decision)) and len(left_out) <= 12
    if decision.basis == "best" and "below the quality floor" not in decision.reason:
        fitting = [model for model in view.by_id.values() if model.id in {*ids(decision)}]
        assert all(
            model.entry.quality >= policy.quality_floor_share * max(one.entry.quality for one in fitting) - 1e-6
            for model in chain
        )


def _matches(model: str, allowed: tuple[str, ...]) -> bool:
    return may_use(model, allowed)


def test_what_was_learned_corrects_the_choice_and_departures_are_bounded_and_never_below_what_fits() -> None:
    view = placed(entry("a/one", 0.9, 2), entry("b/two", 0.8, 2), entry("b/near", 0.78, 2), entry("c/weak", 0.2, 2))
    learned = Learned()
    decider = Decider(CONFIG, Breakers(lambda: 0.0), learned=learned)
    still = with_(exploration=0.0)

    def first(seed: str, policy: RoutingPolicy = still, **more: object) -> Decision:
        return decider.decide(view, Ask(profile="quality", org_id="o", seed=seed, **more), policy)  # type: ignore[arg-type]

    assert first("x").chain[0].id == "a/one"
    bad = Observation(Key("o", "", "a/one"), quality=0.6, expected=0.9)
    learned.add([bad] * 10)
    assert first("x").chain[0].id == "b/two" and first("x").sides(view.by_id["a/one"]).quality < 0.8
    assert decided(view, profile="quality", org_id="o").chain[0].id == "a/one", "another router learned nothing"
    explored = [first(f"s{number}", BASE) for number in range(400)]
    departures = [one for one in explored if one.explored]
    assert 0 < len(departures) <= 40 and all("to learn more of it" in one.reason for one in departures)
    assert "c/weak" not in {one.chain[0].id for one in explored}, "below the floor is never explored"
    assert not any(first(f"s{number}").explored for number in range(50)), "a policy may forbid it"
    before = first("seed", BASE, dry_run=True)
    assert all(first("seed", BASE, dry_run=True).reason == before.reason for _ in range(30)), (
        "a question leaves no trace"
    )


def test_a_fallback_is_never_weaker_than_the_bound_by_what_was_learned_of_it_either() -> None:
    view = placed(entry("a/one", 0.9, 2), entry("b/near", 0.88, 2), entry("c/far", 0.8, 2))
    learned = Learned()
    decider = Decider(CONFIG, Breakers(lambda: 0.0), learned=learned)
    ask = Ask(profile="quality", org_id="o", dry_run=True)
    assert [one.id for one in decider.decide(view, ask, BASE).chain] == ["a/one", "b/near", "c/far"]
    learned.add([Observation(Key("o", "", "b/near"), quality=0.0, expected=0.88)] * 60)
    decision = decider.decide(view, ask, BASE)
    assert [one.id for one in decision.chain] == ["a/one", "c/far"]
    ((model, why),) = decision.left_out
    assert model.id == "b/near" and "is too far below the primary's 0.90" in why and "0.88" not in why


def test_a_prompt_like_those_that_were_learned_moves_the_expected_quality_and_others_do_not() -> None:
    predictor = QualityPredictor.load()
    decider = Decider(CONFIG, Breakers(lambda: 0.0), predictor=predictor)
    view = placed(entry("a/best", 0.9, 8), entry("b/cheap", 0.72, 1), entry("c/gemma-2-9b-it", 0.6, 1))
    own = np.zeros(len(predictor.measured), np.float32)

    def qualities(reading: Reading | None, complexity: float | None = 0.5) -> list[float]:
        decision = decider.decide(view, Ask(reading=reading, complexity=complexity))
        return [decision.sides(model).quality for model in view.by_id.values()]

    hard, easy = qualities(Reading(2.0, 1.0, own)), qualities(Reading(-2.0, 1.0, own))
    assert all(a < b < c for a, b, c in zip(hard, qualities(None), easy, strict=True))
    assert decider.decide(view, Ask(reading=Reading(2.0, 1.0, own))).chain[0].id == "a/best"
    assert decider.decide(view, Ask(reading=Reading(-2.0, 1.0, own))).chain[0].id == "b/cheap"
    unlike = Reading(2.0, 0.0, own)
    assert qualities(unlike) == qualities(None) and qualities(unlike, None) == [0.9, 0.72, 0.6]
    assert qualities(unlike, 1.0) == qualities(None, 1.0), "then the complexity alone counts"
    own[predictor.measured.index("gemma-2-9b-it")] = 3.0
    better = qualities(Reading(0.0, 1.0, own))
    assert better[2] > 0.9 and better[:2] == pytest.approx(qualities(Reading(0.0, 1.0, own * 0))[:2])
