"""Policies on a real PostgreSQL: versions, conflicts, rollback, files, two replicas, and that nobody sees another's."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import msgspec
import pytest

from dac.router.v1 import policy_pb2, tenant_rules_pb2
from dac.type.v1 import principal_pb2
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.postgres import Database
from services.router.policies.store import EVERYBODY
from tests.conftest import Migrated
from tests.integration.router.conftest import House, reason_of, until

LEVEL = principal_pb2.Level

pytestmark = pytest.mark.usefixtures("service_principals")


async def test_every_change_is_one_version_and_one_record(house: House, org_id: str) -> None:
    made = await house.make(org_id, "strict", profile="budget", max_cost_usd=0.01)
    assert (made.version, made.etag, made.managed_by, made.shared) == (1, "1", "api", False)
    rules = policy_pb2.PolicyRules(profile="quality", exploration=0.0)
    changed = (await house.do("UpdatePolicy", org_id, name="strict", rules=rules, etag="1")).policy
    assert (changed.version, changed.rules.profile) == (2, "quality")
    back = (await house.do("RollbackPolicy", org_id, name="strict")).policy
    assert (back.version, back.rules.profile, back.rules.max_cost_usd) == (3, "budget", 0.01)
    await house.do("DeletePolicy", org_id, name="strict", etag="3")
    versions = (await house.do("ListPolicyVersions", org_id, name="strict")).versions
    assert [(one.version, one.action) for one in versions] == [
        (4, "delete"), (3, "rollback"), (2, "update"), (1, "create"),
    ]  # fmt: skip
    assert versions[0].actor == "key:k1" and not versions[0].HasField("rules")
    assert versions[2].rules.HasField("exploration"), "0 is said, not left out"
    again = (await house.do("RollbackPolicy", org_id, name="strict", version=2)).policy
    assert (again.version, again.rules.profile) == (5, "quality")
    await until(lambda: len(house.audit.records) == 5)
    actions = [(one.action, one.target, one.org_id) for one in house.audit.records]
    assert actions == [
        (f"policy.{what}", "policy:strict", org_id) for what in ("create", "update", "rollback", "delete", "rollback")
    ]
    second = house.audit.records[1]
    assert msgspec.json.decode(second.before_json)["version"] == 1
    assert msgspec.json.decode(msgspec.json.decode(second.after_json)["rules"])["profile"] == "quality"


async def test_two_that_change_the_same_state_do_not_overwrite_each_other(house: House, org_id: str) -> None:
    await house.make(org_id, "strict", profile="budget")
    change = [
        house.do("UpdatePolicy", org_id, name="strict", rules=policy_pb2.PolicyRules(profile=one), etag="1")
        for one in ("quality", "speed")
    ]
    done = await asyncio.gather(*change, return_exceptions=True)
    (lost,) = [one for one in done if isinstance(one, MeshError)]
    assert lost.reason is Reason.FAILED_PRECONDITION and '"2"' in lost.message
    for method, more in (("DeletePolicy", {}), ("RollbackPolicy", {"version": 1})):
        with pytest.raises(MeshError) as caught:
            await house.do(method, org_id, name="strict", etag="1", **more)
        assert reason_of(caught) is Reason.FAILED_PRECONDITION
    assert len((await house.do("ListPolicyVersions", org_id, name="strict")).versions) == 2


async def test_the_same_request_again_makes_nothing_new(house: House, org_id: str) -> None:
    fields = {"name": "once", "rules": policy_pb2.PolicyRules(profile="speed"), "request_id": uuid7()}
    first, second = [(await house.do("CreatePolicy", org_id, **fields)).policy for _ in range(2)]
    assert first == second
    with pytest.raises(MeshError) as caught:
        await house.do("CreatePolicy", org_id, **{**fields, "name": "other"})
    assert reason_of(caught) is Reason.ALREADY_EXISTS
    with pytest.raises(MeshError) as caught:
        await house.make(org_id, "once")
    assert reason_of(caught) is Reason.ALREADY_EXISTS


async def test_the_nearest_level_wins_and_unassigning_ends_it(house: House, org_id: str) -> None:
    team, key = uuid7(), uuid7()
    await house.make(org_id, "thrifty", profile="budget")
    assert house.policy(org_id, team, key).name == "default"
    for kind, level_id, name in ((LEVEL.KIND_ORG, "", "speed"), (LEVEL.KIND_TEAM, team, "thrifty")):
        await house.do("AssignPolicy", org_id, level=LEVEL(kind=kind, id=level_id), policy=name)
    assert house.policy(org_id, uuid7(), key).name == "speed"
    assert house.policy(org_id, team, key).version == "thrifty@1"
    await house.do("AssignPolicy", org_id, level=LEVEL(kind=LEVEL.KIND_KEY, id=key), policy="quality")
    assert house.policy(org_id, team, key).name == "quality"
    listed = (await house.do("ListAssignments", org_id)).assignments
    assert {(one.level.id, one.policy, one.exists) for one in listed} == {
        (org_id, "speed", True), (team, "thrifty", True), (key, "quality", True),
    }  # fmt: skip
    with pytest.raises(MeshError) as caught:
        await house.do("DeletePolicy", org_id, name="thrifty")
    assert reason_of(caught) is Reason.FAILED_PRECONDITION
    for level_id in (key, team):
        await house.do("UnassignPolicy", org_id, level_id=level_id)
    assert house.policy(org_id, team, key).name == "speed"
    await house.do("DeletePolicy", org_id, name="thrifty")
    for fields, reason in (
        ({"level": LEVEL(kind=LEVEL.KIND_TEAM, id=team), "policy": "thrifty"}, Reason.NOT_FOUND),
        ({"level": LEVEL(kind=LEVEL.KIND_ORG, id=team), "policy": "speed"}, Reason.INVALID_REQUEST),
        ({"level": LEVEL(id=team), "policy": "speed"}, Reason.INVALID_REQUEST),
    ):
        with pytest.raises(MeshError) as caught:
            await house.do("AssignPolicy", org_id, **fields)
        assert reason_of(caught) is reason


async def test_organisations_do_not_see_or_change_each_other(house: House, org_id: str) -> None:
    other = uuid7()
    await house.make(org_id, "secret", denied_models=["x/*"])
    await house.do("AssignPolicy", org_id, level=LEVEL(kind=LEVEL.KIND_ORG), policy="secret")
    assert house.policy(other).name == "default"
    assert "secret" not in [one.name for one in (await house.do("ListPolicies", other)).policies]
    for method, fields in (
        ("GetPolicy", {"name": "secret"}),
        ("UpdatePolicy", {"name": "secret"}),
        ("DeletePolicy", {"name": "secret"}),
        ("RollbackPolicy", {"name": "secret"}),
        ("ListPolicyVersions", {"name": "secret"}),
        ("UnassignPolicy", {"level_id": org_id}),
        ("AssignPolicy", {"level": LEVEL(kind=LEVEL.KIND_ORG), "policy": "secret"}),
    ):
        with pytest.raises(MeshError) as caught:
            await house.do(method, other, **fields)
        assert reason_of(caught) is Reason.NOT_FOUND, method
    assert not (await house.do("ListAssignments", other)).assignments
    await house.make(other, "secret", profile="speed")
    assert house.policy(org_id).denied_models == ("x/*",)
    for scopes in ("admin",), ("read",):
        with pytest.raises(MeshError) as caught:
            await house.do("CreatePolicy", org_id, *scopes, name="all", shared=True)
        assert reason_of(caught) is Reason.PERMISSION_DENIED
        with pytest.raises(MeshError) as caught:
            await house.do("SetTenantRules", org_id, *scopes, rules=tenant_rules_pb2.TenantRules(org_id=org_id))
        assert reason_of(caught) is Reason.PERMISSION_DENIED


async def test_rows_are_behind_row_level_security(house: House, migrated: Migrated, org_id: str) -> None:
    await house.make(org_id, "mine")
    await house.do("AssignPolicy", org_id, level=LEVEL(kind=LEVEL.KIND_ORG), policy="mine")
    await house.do("SetTenantRules", "", "operator", rules={"org_id": org_id, "regions": ["eu"]})
    connection = await asyncpg.connect(migrated.dsn("router"))
    try:
        for table in (
            "policies",
            "policy_versions",
            "policy_assignments",
            "tenant_rules",
            "tenant_versions",
            "policy_counts",
        ):
            await connection.execute("SET app.org_ids = ''")
            seen = f"SELECT count(*) FROM router.{table} WHERE org_id = '{org_id}'"
            assert await connection.fetchval(seen) == 0, table
            await connection.execute(f"SET app.org_ids = '{uuid7()}'")
            assert await connection.fetchval(seen) == 0, table
            await connection.execute(f"SET app.org_ids = '{org_id}'")
            assert await connection.fetchval(seen) == 1, table
    finally:
        await connection.close()


async def test_what_is_wrong_is_refused_by_name(house: House, org_id: str) -> None:
    for rules, words in (
        ({"profile": "fast"}, "profile"),
        ({"weights": {"quality": 0.5, "cost": 0.2}}, "sum to 0.7"),
        ({"profile": "speed", "weights": {"quality": 1}}, "not both"),
        ({"exploration": 0.6}, "between 0 and 0.5"),
        ({"allowed_models": ["has space"]}, "allowed_models"),
        ({"max_cost_usd": 1, "max_cost_nano_usd": 1}, "say one"),
        ({"max_candidates": 0}, "max_candidates"),
        ({"min_quality": 1.5}, "between 0 and 1"),
        ({"intents": {"coding": {}}}, 'did you mean "coding_help"'),
        ({"intents": {"coding_help": {"regions": ["eu"]}}}, "regions"),
    ):
        with pytest.raises(MeshError, match=words) as caught:
            await house.make(org_id, "bad", **rules)
        assert reason_of(caught) is Reason.INVALID_REQUEST
    for name in ("", "Big", "a b", "x" * 64):
        with pytest.raises(MeshError) as caught:
            await house.make(org_id, name)
        assert reason_of(caught) is Reason.INVALID_REQUEST
    with pytest.raises(MeshError) as caught:
        await house.make(org_id, "balanced")
    assert reason_of(caught) is Reason.MANAGED_BY_FILE


FILED = """
policies:
  residency: {regions: ["eu-*", EU], intents: {coding_help: {profile: quality, min_quality: 0.7}}}
"""


async def test_policies_of_files_are_read_only_and_read_again(
    make_house: Callable[..., Awaitable[House]], org_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    house = await make_house(policies=FILED)
    await house.do("AssignPolicy", org_id, level=LEVEL(kind=LEVEL.KIND_ORG), policy="residency")
    policy = house.policy(org_id)
    assert policy.regions == ("eu-*", "eu") and policy.for_intent("coding_help").min_quality == 0.7
    assert policy.for_intent("coding_help").regions == policy.regions, "residency holds for every intent"
    shown = (await house.do("GetPolicy", org_id, "read", name="residency")).policy
    assert (shown.managed_by, shown.shared, shown.version) == ("file", True, 0)
    for method, scopes in (
        ("UpdatePolicy", ("admin",)),
        ("DeletePolicy", ("operator",)),
        ("RollbackPolicy", ("admin",)),
    ):
        with pytest.raises(MeshError) as caught:
            await house.do(method, org_id, *scopes, name="residency", shared="operator" in scopes)
        assert reason_of(caught) is Reason.MANAGED_BY_FILE
    house.write("policies.yaml", 'policies: {residency: {regions: ["us-*"]}}')
    assert await until(lambda: house.policy(org_id).regions == ("us-*",)) < 1
    assert house.policy(org_id).version != policy.version
    for text, words in (
        ("policies: {residency: {region: [eu]}}", 'did you mean "regions"'),
        ("policies: {residency: {", "not valid YAML"),
        ("policies: {}", "is gone from the files"),
        ('tenants: {x: {policy: nope}}\npolicies: {residency: {regions: ["us-*"]}}', 'no policy "nope"'),
    ):
        with caplog.at_level(logging.ERROR):
            caplog.clear()
            house.write("policies.yaml", text)
            await until(lambda words=words: words in house.status().files_problem)
        assert words in caplog.text
        assert house.policy(org_id).regions == ("us-*",), "the last good ones stay in force"
    house.write("policies.yaml", "policies: {residency: {profile: speed}}")
    await until(lambda: house.policy(org_id).profile == "speed")
    assert not house.status().files_problem


async def test_bad_files_stop_a_start(make_house: Callable[..., Awaitable[House]]) -> None:
    with pytest.raises(MeshError, match="exploration"):
        await make_house(policies="policies: {x: {exploration: 2}}")


async def test_a_policy_that_is_gone_at_a_start_allows_nothing(
    make_house: Callable[..., Awaitable[House]], org_id: str
) -> None:
    first = await make_house(policies="policies: {residency: {regions: [eu]}}")
    await first.do("AssignPolicy", org_id, level=LEVEL(kind=LEVEL.KIND_ORG), policy="residency")
    second = await make_house(policies="policies: {}")
    assert second.policy(org_id).bars_model("openai/gpt-4o"), "allowing everything instead would be worse"
    assert f"{org_id}/residency" in second.status().missing
    assert not second.status("read", org_id=uuid7()).missing, "others are not told"
    assert second.status("read", org_id=org_id).missing == [f"{org_id}/residency"]
    assert second.policy(uuid7()).bars_model("openai/gpt-4o") == ""


async def test_replicas_follow_within_a_second(make_house: Callable[..., Awaitable[House]], org_id: str) -> None:
    first, second = await make_house(poll_s=60.0), await make_house(poll_s=60.0)
    await first.make(org_id, "strict", profile="budget")
    await first.do("AssignPolicy", org_id, level=LEVEL(kind=LEVEL.KIND_ORG), policy="strict")
    assert await until(lambda: second.policy(org_id).version == "strict@1") < 1
    await second.do("UpdatePolicy", org_id, name="strict", rules=policy_pb2.PolicyRules(profile="speed"))
    assert await until(lambda: first.policy(org_id).profile == "speed") < 1


async def test_without_notifications_the_counts_are_asked(
    make_house: Callable[..., Awaitable[House]],
    database_for: Callable[..., Awaitable[Database]],
    monkeypatch: pytest.MonkeyPatch,
    org_id: str,
) -> None:
    deaf = await database_for("router")

    async def listen(*_: Any, **__: Any) -> None:
        return None

    monkeypatch.setattr(deaf, "listen", listen)
    first, second = await make_house(), await make_house(deaf)
    await first.do("AssignPolicy", org_id, level=LEVEL(kind=LEVEL.KIND_ORG), policy="speed")
    assert await until(lambda: second.policy(org_id).name == "speed") < 1


async def test_the_operators_policies_are_everybodys(house: House, org_id: str) -> None:
    name = f"p{org_id[-8:]}"
    made = await house.do(
        "CreatePolicy", org_id, "operator", name=name, shared=True, rules=policy_pb2.PolicyRules(profile="speed")
    )
    assert made.policy.shared
    other = uuid7()
    assert name in [one.name for one in (await house.do("ListPolicies", other, "read")).policies]
    await house.do("AssignPolicy", other, level=LEVEL(kind=LEVEL.KIND_ORG), policy=name)
    assert house.policy(other).profile == "speed"
    with pytest.raises(MeshError) as caught:
        await house.do("UpdatePolicy", other, name=name)
    assert reason_of(caught) is Reason.NOT_FOUND, "administrators cannot change it"
    with pytest.raises(MeshError) as caught:
        await house.make(other, name)
    assert reason_of(caught) is Reason.ALREADY_EXISTS
    with pytest.raises(MeshError, match="1 time") as caught:
        await house.do("DeletePolicy", org_id, "operator", name=name, shared=True)
    assert reason_of(caught) is Reason.FAILED_PRECONDITION
    await house.do("UnassignPolicy", other, level_id=other)
    await house.do("DeletePolicy", org_id, "operator", name=name, shared=True)
    assert EVERYBODY not in house.desk.book.now.organisations


async def test_what_the_operator_says_bounds_every_policy(house: House, org_id: str) -> None:
    key = uuid7()
    await house.make(org_id, "wide", profile="quality")
    await house.do("AssignPolicy", org_id, level=LEVEL(kind=LEVEL.KIND_KEY, id=key), policy="wide")
    rules = tenant_rules_pb2.TenantRules(org_id=org_id, routing_mode="local-preferred", allowed_models=["local/*"])
    await house.do("SetTenantRules", "", "operator", rules=rules)
    assert house.policy(org_id).profile == "local-preferred"
    for policy in house.policy(org_id), house.policy(org_id, key):
        assert policy.bars_model("openai/gpt-4o") and not policy.bars_model("local/x")
    with pytest.raises(MeshError) as caught:
        await house.do("AssignPolicy", org_id, level=LEVEL(kind=LEVEL.KIND_ORG), policy="wide")
    assert reason_of(caught) is Reason.PERMISSION_DENIED
    assert (await house.do("ListAssignments", org_id)).tenant.routing_mode == "local-preferred"
    await house.do("SetTenantRules", "", "operator", rules=tenant_rules_pb2.TenantRules(org_id=org_id))
    assert house.policy(org_id).name == "default" and not house.policy(org_id, key).bars_model("openai/gpt-4o")
    await until(lambda: len([one for one in house.audit.records if one.action == "tenant.set"]) == 2)


async def test_tenants_of_files_by_id_and_by_name(make_house: Callable[..., Awaitable[House]], org_id: str) -> None:
    acme, name = uuid7(), f"acme-{org_id[-8:]}"
    house = await make_house(
        tenants=f"tenants: {{{org_id}: speed, {name}: {{routing_mode: budget, allowed_models: [local/*]}}}}"
    )
    assert house.policy(org_id).name == "speed"
    told = [policy_pb2.OrganisationName(org_id=acme, name=name)]
    await house.do("NameOrganisations", kind=principal_pb2.Principal.KIND_SERVICE, organisations=told)
    assert house.policy(acme).profile == "budget"
    with pytest.raises(MeshError) as caught:
        await house.do(
            "SetTenantRules", "", "operator", rules=tenant_rules_pb2.TenantRules(org_id=acme, policy="speed")
        )
    assert reason_of(caught) is Reason.MANAGED_BY_FILE
    with pytest.raises(MeshError) as caught:
        await house.do("NameOrganisations", org_id, "operator", organisations=told)
    assert reason_of(caught) is Reason.PERMISSION_DENIED
