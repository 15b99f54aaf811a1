"""Teams, projects and users on a real database: made, moved, deleted, listed, tenants apart, told to audit."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from dac.gateway.v1 import identity_pb2
from dac.type.v1.principal_pb2 import Principal
from mesh.call import Call, serving
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from services.gateway.identity.places import MOST_DEEP
from services.gateway.identity.server import IdentityServicer
from tests.integration.gateway.conftest import outcome
from tests.integration.gateway.tree_house import BY, TEAM, House, path_of_key, reason_of


async def test_a_key_is_renamed_and_moved_and_what_is_not_named_stays(world, house):
    team, other = await house.team("t"), await house.team("o")
    project, user = await house.project("p", team), await house.user("u")
    key, _ = await house.key(team_id=team, project_id=project, user_id=user)

    async def after(**named):
        now = await house.identity.update_key(house.org_id, key.key_id, BY, **named)
        return now.name, now.team_id, now.project_id, now.user_id

    assert await after(name="new") == ("new", team, project, user)
    assert await after() == ("new", team, project, user)
    assert await reason_of(after(team_id=other)) == (Reason.INVALID_REQUEST, "project_id")
    assert await reason_of(after(team_id="")) == (Reason.INVALID_REQUEST, "project_id")
    assert await after(project_id="") == ("new", team, "", user), "it named the team itself"
    assert await after(team_id=other, user_id="") == ("new", other, "", "")
    assert await after(team_id="") == ("new", "", "", "")
    assert await reason_of(after(name="")) == (Reason.INVALID_REQUEST, "name")
    for gone in (uuid7(), "x", ""):
        assert await reason_of(house.identity.update_key(house.org_id, gone, BY, name="n")) == (Reason.NOT_FOUND, "")


@pytest.mark.parametrize("field", ["team_id", "project_id", "user_id"])
async def test_a_place_that_is_none_is_refused(house, field):
    key, _ = await house.key()
    for place, reason in ((uuid7(), Reason.NOT_FOUND), ("me", Reason.INVALID_REQUEST)):
        assert (await reason_of(house.key(**{field: place})))[0] is reason
        moved = house.identity.update_key(house.org_id, key.key_id, BY, **{field: place})
        assert (await reason_of(moved))[0] is reason


async def test_a_team_and_a_project_of_another_team_are_refused(house):
    team, other = await house.team("t"), await house.team("o")
    inner = await house.team("i", team)
    project = await house.project("p", team)
    for wrong in (other, inner):
        assert await reason_of(house.key(team_id=wrong, project_id=project)) == (Reason.INVALID_REQUEST, "project_id")
    key, _ = await house.key(team_id=team, project_id=project)
    assert key.team_id == team


async def test_keys_follow_their_project_to_another_team(world, house):
    one, other = await house.team("one"), await house.team("other")
    project, free = await house.project("p", one), await house.project("free")
    _, named_both = await house.key(team_id=one, project_id=project)
    _, named_project = await house.key(project_id=project)
    await house.tree.update("project", house.org_id, project, BY, team_id=other)
    for token in (named_both, named_project):
        assert (TEAM, other) in await path_of_key(world, token)
    await house.tree.update("project", house.org_id, project, BY, team_id="")
    assert (TEAM, other) in await path_of_key(world, named_both), "it named the team itself"
    assert TEAM not in dict(await path_of_key(world, named_project))
    key, token = await house.key(team_id=one, project_id=free)
    there = house.tree.update("project", house.org_id, free, BY, team_id=other)
    assert await reason_of(there) == (Reason.FAILED_PRECONDITION, "team_id"), "the key would leave its team unasked"
    assert (TEAM, one) in await path_of_key(world, token)
    await house.identity.revoke(house.org_id, key.key_id, BY)
    await house.tree.update("project", house.org_id, free, BY, team_id=other)


async def test_circles_and_a_ninth_team_are_refused_also_of_two_moves_at_once(house):
    chain = [await house.team("t1")]
    for number in range(2, MOST_DEEP + 1):
        chain.append(await house.team(f"t{number}", chain[-1]))
    field = (Reason.INVALID_REQUEST, "parent_team_id")
    assert await reason_of(house.team("t9", chain[-1])) == field
    for below in (chain[0], chain[3]):
        assert await reason_of(house.tree.update("team", house.org_id, chain[0], BY, team_id=below)) == field
    top = await house.team("top")
    assert await reason_of(house.tree.update("team", house.org_id, chain[0], BY, team_id=top)) == field
    await house.tree.update("team", house.org_id, chain[4], BY, team_id=top)
    one, other = await house.team("one"), await house.team("other")
    both = await asyncio.gather(
        reason_of(house.tree.update("team", house.org_id, one, BY, team_id=other)),
        reason_of(house.tree.update("team", house.org_id, other, BY, team_id=one)),
    )
    assert sorted(both, key=str) == [field, None], "each alone is right, both together are a circle"


async def test_what_something_hangs_on_is_not_deleted_and_says_what(house):
    team, user = await house.team("team"), await house.user("ann")
    inner, project = await house.team("inner", team), await house.project("app", team)
    key, _ = await house.key(project_id=project, user_id=user)
    for kind, node, hanging in (
        ("team", team, 'team "inner", project "app"'),
        ("project", project, 'key "k"'),
        ("user", user, 'key "k"'),
    ):
        with pytest.raises(MeshError, match=hanging) as caught:
            await house.tree.delete(kind, house.org_id, node, BY)
        assert caught.value.reason is Reason.FAILED_PRECONDITION
    more = [(await house.key(team_id=inner))[0] for _ in range(5)]
    with pytest.raises(MeshError, match="and 2 more"):
        await house.tree.delete("team", house.org_id, inner, BY)
    for one in (key, *more):
        await house.identity.revoke(house.org_id, one.key_id, BY)
    for kind, node in (("project", project), ("user", user), ("team", inner), ("team", team)):
        await house.tree.delete(kind, house.org_id, node, BY)
        assert await reason_of(house.tree.delete(kind, house.org_id, node, BY)) == (Reason.NOT_FOUND, "")
    for kind in ("team", "project", "user"):
        assert await house.tree.page(kind, house.org_id, 10, "") == ([], "")
    assert (await house.identity.keys(house.org_id, 10, ""))[0], "revoked keys stay"


async def test_a_key_is_not_put_into_what_is_deleted_at_the_same_time(house):
    for number in range(5):
        team = await house.team(f"t{number}")
        made, deleted = await asyncio.gather(
            reason_of(house.key(team_id=team)), reason_of(house.tree.delete("team", house.org_id, team, BY))
        )
        assert (made, deleted) in ((None, (Reason.FAILED_PRECONDITION, "")), ((Reason.NOT_FOUND, ""), None))


async def test_names_are_unique_within_a_kind_and_an_organisation(house):
    team = await house.team("same")
    await house.project("same")
    await house.user("same")
    other = House(house.identity, (await house.identity.create_organisation("other", "operator")).org_id)
    await other.team("same")
    for make in (house.team, house.project, house.user):
        with pytest.raises(MeshError, match='"same" in your organisation') as caught:
            await make("same")
        assert caught.value.reason is Reason.ALREADY_EXISTS
    second = await house.team("second")
    renamed = house.tree.update("team", house.org_id, second, BY, name="same")
    assert await reason_of(renamed) == (Reason.ALREADY_EXISTS, "name")
    assert (await house.tree.update("team", house.org_id, team, BY, name="other")).name == "other"


@pytest.mark.parametrize("name", ["", "x" * 101, "a\n", " a", "a ", "a\x00", "0192f3c4-0000-7000-8000-000000000001"])
async def test_a_wrong_name_is_refused(house, name):
    for make in (house.team, house.project, house.user):
        assert await reason_of(make(name)) == (Reason.INVALID_REQUEST, "name")
    team = await house.team("t")
    assert await reason_of(house.tree.update("team", house.org_id, team, BY, name=name)) == (
        Reason.INVALID_REQUEST,
        "name",
    )


@pytest.mark.parametrize("email", ["ann", "@x", "ann@", "a b@x", "a@b@c", "a\x7f@x", "x" * 300 + "@y"])
async def test_a_wrong_address_is_refused(house, email):
    assert await reason_of(house.user("ann", email)) == (Reason.INVALID_REQUEST, "email")
    user = await house.user("ann", "ann@example.com")
    assert (await house.tree.update("user", house.org_id, user, BY, email="")).email == ""


async def test_lists_are_paged_oldest_first_without_gaps(house):
    made = [await house.team(f"t{number}") for number in range(5)]
    seen, token = [], ""
    while True:
        page, token = await house.tree.page("team", house.org_id, 2, token)
        seen += [one.node_id for one in page]
        if not token:
            break
    assert seen == made
    for size, bad in ((-1, ""), (2, "x"), (2, "me")):
        assert (await reason_of(house.tree.page("team", house.org_id, size, bad)))[0] is Reason.INVALID_REQUEST


def as_key(org_id, *scopes):
    return serving(Call(principal=Principal(kind=Principal.KIND_USER_KEY, org_id=org_id, key_id="k", scopes=scopes)))


async def test_organisations_do_not_see_or_use_each_others_teams_projects_and_users(world, house):
    other = House(house.identity, (await house.identity.create_organisation("other", "operator")).org_id)
    foreign = {
        "team_id": await other.team("t"),
        "project_id": await other.project("p"),
        "user_id": await other.user("u"),
    }
    key, _ = await house.key()
    mine = await house.team("mine")
    servicer = IdentityServicer(house.identity)
    with as_key(house.org_id, "admin", "chat"):
        assert [one.name for one in (await servicer.ListTeams(identity_pb2.ListTeamsRequest(), None)).teams] == ["mine"]
        assert not (await servicer.ListProjects(identity_pb2.ListProjectsRequest(), None)).projects
        assert not (await servicer.ListUsers(identity_pb2.ListUsersRequest(), None)).users
        named = [
            servicer.UpdateTeam(identity_pb2.UpdateTeamRequest(team_id=foreign["team_id"], name="x"), None),
            servicer.DeleteTeam(identity_pb2.DeleteTeamRequest(team_id=foreign["team_id"]), None),
            servicer.UpdateProject(identity_pb2.UpdateProjectRequest(project_id=foreign["project_id"]), None),
            servicer.DeleteProject(identity_pb2.DeleteProjectRequest(project_id=foreign["project_id"]), None),
            servicer.UpdateUser(identity_pb2.UpdateUserRequest(user_id=foreign["user_id"], email="a@b"), None),
            servicer.DeleteUser(identity_pb2.DeleteUserRequest(user_id=foreign["user_id"]), None),
            servicer.DeleteUser(identity_pb2.DeleteUserRequest(user_id="me"), None),
            servicer.CreateTeam(identity_pb2.CreateTeamRequest(name="n", parent_team_id=foreign["team_id"]), None),
            servicer.CreateProject(identity_pb2.CreateProjectRequest(name="n", team_id=foreign["team_id"]), None),
            servicer.UpdateTeam(identity_pb2.UpdateTeamRequest(team_id=mine, parent_team_id=foreign["team_id"]), None),
        ]
        for field, value in foreign.items():
            named.append(servicer.CreateApiKey(identity_pb2.CreateApiKeyRequest(name="n", **{field: value}), None))
            request = identity_pb2.UpdateApiKeyRequest(key_id=key.key_id, **{field: value})
            named.append(servicer.UpdateApiKey(request, None))
        for awaitable in named:
            assert (await reason_of(awaitable))[0] is Reason.NOT_FOUND
    with as_key(other.org_id, "admin"):
        request = identity_pb2.UpdateApiKeyRequest(key_id=key.key_id, name="x")
        assert (await reason_of(servicer.UpdateApiKey(request, None)))[0] is Reason.NOT_FOUND
        found = (await servicer.ListTeams(identity_pb2.ListTeamsRequest(), None)).teams
        assert [one.name for one in found] == ["t"]
    # An administrator acts for everything of the own organisation, and for nothing of another.
    _, token = await house.key("chat", "admin")
    callers = world.callers()
    caller = await callers.authenticate(token)
    for team, project, field in ((foreign["team_id"], "", "team_id"), ("", foreign["project_id"], "project_id")):
        denied = (Reason.PERMISSION_DENIED, field)
        assert await reason_of(callers.acting_for(caller, team, project)) == denied


async def test_without_admin_nobody_changes_the_tree_and_without_read_nobody_sees_it(house):
    servicer = IdentityServicer(house.identity)
    changes = [
        (servicer.UpdateApiKey, identity_pb2.UpdateApiKeyRequest(key_id=uuid7())),
        (servicer.CreateTeam, identity_pb2.CreateTeamRequest(name="n")),
        (servicer.UpdateTeam, identity_pb2.UpdateTeamRequest(team_id=uuid7())),
        (servicer.DeleteTeam, identity_pb2.DeleteTeamRequest(team_id=uuid7())),
        (servicer.CreateProject, identity_pb2.CreateProjectRequest(name="n")),
        (servicer.UpdateProject, identity_pb2.UpdateProjectRequest(project_id=uuid7())),
        (servicer.DeleteProject, identity_pb2.DeleteProjectRequest(project_id=uuid7())),
        (servicer.CreateUser, identity_pb2.CreateUserRequest(name="n")),
        (servicer.UpdateUser, identity_pb2.UpdateUserRequest(user_id=uuid7())),
        (servicer.DeleteUser, identity_pb2.DeleteUserRequest(user_id=uuid7())),
        (servicer.ListUsers, identity_pb2.ListUsersRequest()),
    ]
    lists = [
        (servicer.ListTeams, identity_pb2.ListTeamsRequest()),
        (servicer.ListProjects, identity_pb2.ListProjectsRequest()),
    ]
    with as_key(house.org_id, "chat", "read"):
        for rpc, request in changes:
            assert (await reason_of(rpc(request, None)))[0] is Reason.PERMISSION_DENIED
        for rpc, request in lists:
            assert await reason_of(rpc(request, None)) is None
    with as_key(house.org_id, "chat"):
        for rpc, request in lists:
            assert (await reason_of(rpc(request, None)))[0] is Reason.PERMISSION_DENIED


async def test_audit_hears_of_every_change_with_before_and_after_and_of_no_address(world, house):
    team, user = await house.team("t"), await house.user("ann", "ann@example.com")
    project = await house.project("p", team)
    await house.tree.update("team", house.org_id, team, BY, name="t2")
    await house.tree.update("user", house.org_id, user, BY, email="")
    key, _ = await house.key(project_id=project)
    for _ in range(2):  # The second time it changes nothing.
        await house.identity.update_key(house.org_id, key.key_id, BY, project_id="", name="moved")
    await house.tree.delete("project", house.org_id, project, BY)
    await house.identity.start()
    try:
        end = time.monotonic() + 10
        while any(row.has_changes for row in await world.store().organisations()):
            assert time.monotonic() < end
            await asyncio.sleep(0.01)
    finally:
        await house.identity.close()
    told = [
        (one.action, one.target, json.loads(one.before_json or "null"), json.loads(one.after_json or "null"))
        for one in world.delivered
        if one.actor == BY and one.action != "key.create"
    ]
    there = {"name": "k", "team_id": "", "project_id": project, "user_id": "", "without_persona": False}
    assert told == [
        ("team.create", f"team:{team}", None, {"name": "t", "parent_team_id": ""}),
        ("user.create", f"user:{user}", None, {"name": "ann", "has_email": True}),
        ("project.create", f"project:{project}", None, {"name": "p", "team_id": team}),
        (
            "team.update",
            f"team:{team}",
            {"name": "t", "parent_team_id": ""},
            {"name": "t2", "parent_team_id": ""},
        ),
        ("user.update", f"user:{user}", {"name": "ann", "has_email": True}, {"name": "ann", "has_email": False}),
        ("key.update", f"key:{key.key_id}", there, {**there, "name": "moved", "project_id": ""}),
        ("project.delete", f"project:{project}", {"name": "p", "team_id": team}, None),
    ]
    assert b"ann@" not in b"".join(one.SerializeToString() for one in world.delivered)
    created = next(one for one in world.delivered if one.target == f"key:{key.key_id}" and one.action == "key.create")
    assert json.loads(created.after_json)["project_id"] == project


async def test_the_program_of_before_finds_its_keys_and_the_rows_of_other_organisations_stay_hidden(world, house):
    team = await house.team("t")
    key, token = await house.key(team_id=team)
    lookup = (await world.as_superuser("SELECT lookup_id FROM gateway.api_keys WHERE key_id = $1", key.key_id))[0][0]
    async with world.database().transaction() as connection:
        row = await connection.fetchrow("SELECT * FROM find_key($1)", lookup)
        assert len(row) == 7 and str(row["key_id"]) == key.key_id
        for table in ("teams", "projects", "users"):
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0
    async with world.database().transaction(uuid7()) as connection:
        assert await connection.fetchval("SELECT count(*) FROM teams") == 0
        assert await connection.fetchval("SELECT team_path($1, $2)", house.org_id, team) == []
    assert await outcome(world.callers(), token) is None
