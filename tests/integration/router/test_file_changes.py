"""What files of policies, tenants and models bring into force is in the audit trail: once, whoever reads it first."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from dac.router.v1 import policy_pb2
from dac.type.v1 import principal_pb2
from mesh.ids import uuid7
from mesh.postgres import Database
from services.router.policies.file_changes import MOST_SHOWN, FileChanges, digest
from tests.integration.router.conftest import House, until

pytestmark = pytest.mark.usefixtures("service_principals")
MakeHouse = Callable[..., Awaitable[House]]
SPEED, BUDGET = "policies: {everyday: {profile: speed}}", "policies: {everyday: {profile: budget}, new: {}}"


@pytest.fixture
async def database(
    make_database: Callable[..., Awaitable[Any]], all_services: dict[str, pathlib.Path]
) -> Callable[[], Awaitable[Database]]:
    """Opens the router's tables of this test alone: they hold what files said last."""
    made = await make_database({"router": all_services["router"]})

    async def opened() -> Database:
        one = Database(made.dsn("router"), "router")
        await one.open()
        return one

    return opened


async def named(house: House, org_id: str) -> None:
    """The gateway tells which organisation is the operator's."""
    told = [policy_pb2.OrganisationName(org_id=org_id, name="default")]
    await house.do("NameOrganisations", kind=principal_pb2.Principal.KIND_SERVICE, organisations=told)


def told_by(*houses: House) -> list[Any]:
    """What audit was told of files."""
    return [one for house in houses for one in house.audit.records if one.action == "file.read"]


async def test_a_changed_file_is_recorded_once_by_all_replicas(
    make_house: MakeHouse, database: Callable[[], Awaitable[Database]]
) -> None:
    org_id = uuid7()
    one = await make_house(await database(), policies=SPEED, tenants=f"tenants: {{{org_id}: everyday}}")
    other = await make_house(await database())
    await named(one, org_id)
    await until(lambda: {made.target for made in told_by(one, other)} == {"file:policies", "file:tenants"})
    first = next(made for made in told_by(one, other) if made.target == "file:policies")
    assert (first.org_id, first.actor, json.loads(first.before_json)) == (org_id, "service:router", {})
    assert list(json.loads(first.after_json)) == ["everyday"]
    one.write("policies.yaml", BUDGET)
    await until(lambda: len(told_by(one, other)) == 3 and len(other.desk.book.files.now.written) == 2)
    (second,) = (made for made in told_by(one, other) if made.target == "file:policies" and made is not first)
    before, after = json.loads(second.before_json), json.loads(second.after_json)
    assert before == json.loads(first.after_json), "what stood there before is what was told before"
    assert list(after) == ["everyday", "new"] and after["everyday"] != before["everyday"]
    # A bad file brings nothing into force; the one after it says what the last good one said.
    one.write("policies.yaml", "policies: {everyday: {profile: nowhere}}")
    await until(lambda: bool(one.status().files_problem and other.status().files_problem))
    one.write("policies.yaml", BUDGET)
    await until(lambda: not one.status().files_problem and not other.status().files_problem)
    again = await make_house(await database())
    await until(lambda: again.desk.book.organisation_named("default") == org_id)
    again.write("policies.yaml", SPEED)
    await until(lambda: len(told_by(one, other, again)) == 4)


async def test_old_news_are_not_told_by_who_starts_and_has_not_read_the_new_file_yet(
    database: Callable[[], Awaitable[Database]],
) -> None:
    org_id, opened, now, waits, heard = uuid7(), await database(), {"a": "old"}, True, list[None]()
    changes = FileChanges(opened, lambda: org_id, lambda: heard.append(None), every_s=1.0)
    changes.follow("policies", lambda: now, dict, waits=lambda: waits)
    await changes.look()
    assert not heard
    now, waits = {"a": "new"}, False
    await changes.look()
    assert len(heard) == 1
    now, waits = {"a": "newer"}, True
    await changes.look()
    assert len(heard) == 2, "what came into force is told, whatever stands in the file by now"
    await opened.close()


async def test_what_stands_in_files_at_the_first_look_is_no_change_where_it_is_shipped(
    database: Callable[[], Awaitable[Database]],
) -> None:
    org_id, opened = uuid7(), await database()
    rows = "SELECT record FROM admin_outbox"
    now, heard = {"a/one": "1"}, list[None]()
    changes = FileChanges(opened, lambda: org_id, lambda: heard.append(None), every_s=1.0)
    changes.follow("models", lambda: now, dict, tells_first=False)
    await changes.look()
    assert not heard
    now = {"a/one": "1"} | {f"a/{number}": "1" for number in range(MOST_SHOWN + 3)}
    await changes.look()
    await changes.look()
    async with opened.transaction(org_id) as connection:
        records = await connection.fetch(rows)
    assert len(heard) == len(records) == 1
    assert b'"and_more":3' in records[0][0]
    await opened.close()


async def test_nothing_is_lost_while_nobody_knows_whose_record_it_is(
    database: Callable[[], Awaitable[Database]],
) -> None:
    owner, opened, heard = "", await database(), list[None]()
    changes = FileChanges(opened, lambda: owner, lambda: heard.append(None), every_s=1.0)
    changes.follow("policies", lambda: {"a": "1"}, dict)
    await changes.look()
    assert not heard
    owner = uuid7()
    await changes.look()
    assert len(heard) == 1
    await opened.close()


def test_a_digest_does_not_depend_on_the_order_in_which_something_was_written() -> None:
    assert digest({"a": 1, "b": {"x", "y", "z"}}) == digest({"b": {"z", "y", "x"}, "a": 1}) != digest({"a": 2})
