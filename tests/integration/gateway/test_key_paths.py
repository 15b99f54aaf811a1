"""The path of a key from its organisation down on a real database, and that every replica sees it move."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from services.gateway.identity.places import MOST_DEEP
from services.gateway.identity.store import PostgresStore
from tests.integration.gateway.test_callers import CountingStore, DeafStore
from tests.integration.gateway.tree_house import BY, KEY, ORG, PROJECT, TEAM, USER, levels, path_of_key


async def test_a_keys_path_goes_from_the_organisation_through_its_teams_project_and_user(world, house):
    outer, user = await house.team("research"), await house.user("Ann")
    inner = await house.team("vision", outer)
    project = await house.project("chatbot", inner)
    key, token = await house.key(project_id=project, user_id=user)
    assert (key.team_id, key.project_id, key.user_id) == (inner, project, user), "the project says the team"
    principal = (await world.callers().authenticate(token)).principal
    assert levels(principal) == [
        (ORG, house.org_id),
        (TEAM, outer),
        (TEAM, inner),
        (PROJECT, project),
        (USER, user),
        (KEY, key.key_id),
    ]
    assert (principal.team_id, principal.project_id, principal.user_id) == (inner, project, user)
    _, plain = await house.key()
    assert [kind for kind, _ in await path_of_key(world, plain)] == [ORG, KEY]
    free = await house.project("shared")
    both, token = await house.key(team_id=outer, project_id=free)
    assert [kind for kind, _ in await path_of_key(world, token)] == [ORG, TEAM, PROJECT, KEY]
    assert both.team_id == outer, "a project without a team takes keys of every team"
    listed, _ = await house.identity.keys(house.org_id, 10, "")
    assert {one.key_id: (one.team_id, one.project_id, one.user_id) for one in listed}[key.key_id] == (
        inner,
        project,
        user,
    )


@pytest.mark.parametrize("seed", range(3))
async def test_the_path_of_any_tree_has_the_organisation_first_the_key_last_and_no_level_twice(world, house, seed):
    dice, teams = random.Random(seed), {"": ()}
    for number in range(12):
        parent = dice.choice([one for one in teams if len(teams[one]) < MOST_DEEP])
        team = await house.team(f"team {number}", parent)
        teams[team] = (*teams[parent], team)
    callers = world.callers()
    for team, above in teams.items():
        project = await house.project(f"({team})", team)
        key, token = await house.key(**{"project_id": project} if dice.random() < 0.5 else {"team_id": team})
        principal = (await callers.authenticate(token)).principal
        path = levels(principal)
        assert path[0] == (ORG, house.org_id) and path[-1] == (KEY, key.key_id) and len(set(path)) == len(path)
        assert tuple(one for kind, one in path if kind == TEAM) == above and principal.team_id == team


@pytest.mark.parametrize("store_class", [PostgresStore, DeafStore])
async def test_a_moved_key_is_seen_by_every_replica_within_a_second(world, house, store_class):
    one, other = await house.team("one"), await house.team("other")
    key, token = await house.key(team_id=one)
    replicas = [await world.started(world.callers(world.store(store_class))) for _ in range(2)]

    async def team_at(replica):
        return (await replica.authenticate(token)).principal.team_id

    async def seen_within_a_second(wanted):
        end = time.monotonic() + 1.0
        for replica in replicas:
            while await team_at(replica) != wanted:
                assert time.monotonic() < end, "a replica still has the old place"
                await asyncio.sleep(0.01)

    assert [await team_at(replica) for replica in replicas] == [one, one]
    moved = await house.identity.update_key(house.org_id, key.key_id, BY, team_id=other)
    assert moved.team_id == other
    await seen_within_a_second(other)
    await house.identity.update_key(house.org_id, key.key_id, BY, team_id="")
    await seen_within_a_second("")


async def test_a_moved_team_and_a_moved_project_are_seen_by_every_replica_within_a_second(world, house):
    one, other = await house.team("one"), await house.team("other")
    project = await house.project("p", one)
    _, token = await house.key(project_id=project)
    replicas = [await world.started(world.callers()) for _ in range(2)]

    async def teams_become(wanted):
        end = time.monotonic() + 1.0
        for replica in replicas:
            while True:
                path = levels((await replica.authenticate(token)).principal)
                if [level for kind, level in path if kind == TEAM] == wanted:
                    break
                assert time.monotonic() < end, "a replica still has the old path"
                await asyncio.sleep(0.01)

    await teams_become([one])
    await house.tree.update("team", house.org_id, one, BY, team_id=other)
    await teams_become([other, one])
    await house.tree.update("project", house.org_id, project, BY, team_id=other)
    await teams_become([other])
    await house.tree.update("project", house.org_id, project, BY, team_id="")
    await teams_become([])


async def test_what_is_new_or_only_renamed_as_nothing_makes_no_replica_read_again(world, house):
    _, token = await house.key()
    callers = world.callers(store := world.store(CountingStore))
    await callers.authenticate(token)
    before = await store.epoch()
    team = await house.team("t")
    await house.project("p", team)
    await house.user("u")
    await house.tree.update("team", house.org_id, team, BY, name="t")
    assert await store.epoch() == before
    await callers.authenticate(token)
    assert store.asked["find_key"] == 1
