"""Policies without a database: whose counts, what they bar, what bounds them, and how long it takes to ask."""

import pathlib
import timeit

import hypothesis.strategies as st
import pytest
from hypothesis import given

from mesh.documents import Documents
from mesh.errors import MeshError, Reason
from mesh.model_files import ModelFiles
from services.router.deciding.scoring import PROFILES
from services.router.policies.files import PolicyFiles
from services.router.policies.form import KEYS, decode, encode, parse, parse_policies, parse_tenants
from services.router.policies.policies import (
    PROFILE_NAMES,
    Assignment,
    OrgRules,
    Policies,
    RoutingPolicy,
    TenantRules,
    built_in,
    with_profile,
)

BASE = RoutingPolicy()
IDS = st.integers(0, 5).map("level-{}".format)
NAMES = st.sampled_from(PROFILE_NAMES)


def of_org(*assignments: tuple[str, str], tenant: TenantRules | None = None) -> Policies:
    rows = tuple(Assignment(2, level, name) for level, name in assignments)
    return Policies(built_in(BASE), {"org": OrgRules(assignments=rows, tenant=tenant)})


def test_every_profile_has_a_policy_and_weights() -> None:
    assert set(PROFILE_NAMES) <= set(PROFILES)
    assert {name: policy.profile for name, policy in built_in(BASE).items()} == {
        "default": "balanced",
        **{name: name for name in PROFILE_NAMES},
    }


@given(st.dictionaries(IDS, NAMES), st.lists(IDS, unique=True))
def test_the_nearest_level_counts(assigned: dict[str, str], path: list[str]) -> None:
    policies = of_org(*assigned.items())
    nearest = next((assigned[level] for level in reversed(path) if level in assigned), "default")
    assert policies.for_principal("org", ["org", *path]).name == nearest
    assert policies.for_principal("other", ["other", *path]).name == "default"


@given(st.dictionaries(IDS, NAMES), IDS, st.sampled_from(["a/x", "b/x", "c"]))
def test_no_assignment_gets_around_the_operators_bounds(assigned: dict[str, str], level: str, model: str) -> None:
    tenant = TenantRules("org", allowed_models=("a/*",), regions=("eu",))
    policy = of_org(*assigned.items(), tenant=tenant).for_principal("org", ["org", level])
    for one in (policy, policy.for_intent("coding_help")):
        assert bool(one.bars_model(model)) == (model != "a/x")
        assert one.bars_place("p", "us") and one.bars_place("p", "") and not one.bars_place("p", "EU")


def test_a_records_version_tells_the_operators_bounds() -> None:
    tenants = [None, TenantRules("org", allowed_models=("a/*",)), TenantRules("org", allowed_models=("b/*",))]
    versions = [of_org(tenant=tenant).for_principal("org", ["org"]).version for tenant in tenants]
    assert len(set(versions)) == 3 and all(one.startswith("default@built_in") for one in versions)


def test_what_is_denied_wins_and_aliases_count() -> None:
    policy = parse("p", {"allowed_models": ["a/*", "nick"], "denied_models": ["a/bad", "worse"]}, BASE, "p@1")
    assert policy.bars_model("a/good") == ""
    assert policy.bars_model("b/x", ("nick",)) == ""
    assert "does not allow" in policy.bars_model("b/x")
    assert "denies" in policy.bars_model("a/bad") and "denies" in policy.bars_model("a/x", ("worse",))
    places = parse("p", {"allowed_providers": ["eu-*"], "denied_providers": ["eu-bad"]}, BASE, "p@1")
    assert [bool(places.bars_place(one, "")) for one in ("eu-1", "eu-bad", "us")] == [False, True, True]


def test_an_intent_keeps_what_it_does_not_change() -> None:
    rules = {"regions": ["eu"], "min_quality": 0.5, "weights": {"quality": 0.5, "cost": 0.5}}
    policy = parse("p", {**rules, "intents": {"coding_help": {"profile": "quality"}}}, BASE, "p@1")
    coding = policy.for_intent("coding_help")
    assert (coding.profile, coding.weights, coding.regions, coding.min_quality) == ("quality", None, ("eu",), 0.5)
    assert policy.for_intent("social_chat") is policy and policy.weights is not None
    moved = with_profile(policy, "budget")
    assert (moved.profile, moved.weights, moved.version) == ("budget", None, "p@1+budget")
    assert moved.for_intent("coding_help").profile == "quality", "what was said for an intent stays"


def test_a_policy_that_does_not_exist_allows_nothing() -> None:
    policies = of_org(("key", "gone"))
    policy = policies.for_principal("org", ["org", "key"])
    assert policy.missing and '"gone"' in policy.bars_model("a/x")
    assert policies.missing_names() == [("org", "gone")]


def test_nobody_is_let_through_before_it_is_known_under_what() -> None:
    unread = Policies(built_in(BASE), unread=True)
    waiting = Policies(built_in(BASE), {"known": OrgRules(tenant=TenantRules("known"))}, waits_for_names=True)
    for policies, org in ((unread, "any"), (waiting, "new")):
        with pytest.raises(MeshError) as caught:
            policies.for_principal(org, [org])
        assert caught.value.reason is Reason.UNAVAILABLE and caught.value.retry_after_s
    assert waiting.for_principal("known", ["known"]).name == "default"


def test_files_name_what_is_wrong_and_the_nearest_right() -> None:
    for raw, words in (
        ({"x": {"profil": "speed"}}, 'did you mean "profile"'),
        ({"speed": {}}, "built-in"),
        ({"Big": {}}, "no name"),
        ({"x": ["a"]}, "a mapping"),
        ([], "a mapping"),
        ({"x": {"exploration": True}}, "a number"),
        ({"x": {"named_fallbacks": "yes"}}, "true or false"),
        ({"x": {"allowed_models": "a/*"}}, "a list"),
        ({"x": {"max_candidates": 1.5}}, "a whole number"),
        ({"x": {1: 2}}, "must be words"),
    ):
        with pytest.raises(MeshError, match=words) as caught:
            parse_policies(raw, BASE)
        assert caught.value.reason is Reason.INVALID_REQUEST
    for raw, words in (
        ({"acme": {"mode": "speed"}}, "unknown key"),
        ({"acme": "nope"}, "no policy"),
        ({"acme": {"routing_mode": "fast"}}, "no profile"),
        ({1: "speed"}, "quotes"),
    ):
        with pytest.raises(MeshError, match=words):
            parse_tenants(raw, PROFILE_NAMES)


def test_the_same_rules_have_the_same_version() -> None:
    first = parse_policies({"p": {"profile": "speed", "exploration": 0}}, BASE)["p"][0]
    again = parse_policies({"p": {"exploration": 0, "profile": "speed"}}, BASE)["p"][0]
    other = parse_policies({"p": {"exploration": 0.1, "profile": "speed"}}, BASE)["p"][0]
    assert first.version == again.version != other.version


SHARES = st.floats(0, 1, allow_nan=False)
RULES = st.fixed_dictionaries(
    {},
    optional={
        "profile": NAMES,
        "min_quality": SHARES,
        "max_quality_drop": SHARES,
        "exploration": st.floats(0, 0.5),
        "max_candidates": st.integers(1, 20),
        "max_cost_nano_usd": st.integers(0, 10**12),
        "named_fallbacks": st.booleans(),
        "regions": st.lists(st.sampled_from(["eu", "us-*", "local"]), unique=True),
        "denied_models": st.lists(st.sampled_from(["a/*", "b/c"]), unique=True),
        "intents": st.dictionaries(
            st.sampled_from(["coding_help", "social_chat"]), st.fixed_dictionaries({}, optional={"min_quality": SHARES})
        ),
    },
)


@given(RULES)
def test_what_is_kept_says_what_was_written(rules: dict[str, object]) -> None:
    assert set(rules) <= set(KEYS)
    assert parse("p", decode(encode(rules)), BASE, "p@1") == parse("p", rules, BASE, "p@1")


def test_asking_takes_microseconds() -> None:
    policies = Policies(
        built_in(BASE),
        {
            f"org-{n}": OrgRules(assignments=tuple(Assignment(5, f"key-{k}", "quality") for k in range(50)))
            for n in range(200)
        },
    )
    path = ["org-7", "team", "project", "user", "key-no"]
    best = min(timeit.repeat(lambda: policies.for_principal("org-7", path), number=2000, repeat=5)) / 2000
    assert best < 5e-6


def test_the_files_of_a_checkout_are_read_again_beside_those_of_the_operator(tmp_path: pathlib.Path) -> None:
    shipped, own = tmp_path / "config", tmp_path / "own.yaml"
    shipped.mkdir()
    (shipped / "policies.yaml").write_text("policies: {}")
    for mine in (None, own):
        own.write_text("gateway: {}")
        documents = Documents(shipped, mine)
        files, models = PolicyFiles(documents, BASE), ModelFiles(documents, (), ())
        (shipped / "policies.yaml").write_text("policies: {strict: {min_quality: 0.5}}")
        (shipped / "tenants.yaml").write_text("tenants: {acme: strict, other: {routing_mode: budget}}")
        (shipped / "models.yaml").write_text("models: [{id: p/m, provider: p, context_tokens: 9}]")
        assert files.changed and files.look() and not files.look()
        assert (files.now.policies["strict"].min_quality, files.now.tenants["acme"].policy) == (0.5, "strict")
        models.look()
        assert [one.model for one in models.now] == ["p/m"] and not models.problem
        for name in ("tenants", "models"):
            (shipped / f"{name}.yaml").unlink()
        (shipped / "policies.yaml").write_text("policies: {}")
    own.write_text("tenants: {acme: balanced}")
    (shipped / "tenants.yaml").write_text("tenants: {acme: quality, other: speed}")
    assert files.look()
    assert {name: one.policy for name, one in files.now.tenants.items()} == {"acme": "balanced", "other": "speed"}
    own.write_text("tenants: [acme]")
    assert not files.look() and "a mapping is needed" in files.problem
