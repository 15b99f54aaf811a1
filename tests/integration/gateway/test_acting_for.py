"""A key acts for a team or project below its own, on a real database: who may, what is remembered, what is not."""

from __future__ import annotations

import asyncio
import time

from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from services.gateway.identity import callers as callers_module
from services.gateway.identity.store import PostgresStore
from tests.integration.gateway.conftest import SIGNER
from tests.integration.gateway.test_callers import CountingStore
from tests.integration.gateway.tree_house import BY, KEY, ORG, PROJECT, TEAM, USER, levels, reason_of


async def test_a_key_acts_within_its_team_and_is_refused_outside(world, house):
    mine, user = await house.team("mine"), await house.user("ann")
    inner, beside = await house.team("inner", mine), await house.team("beside")
    inside, outside, free = (
        await house.project("inside", inner),
        await house.project("outside", beside),
        await house.project("free"),
    )
    key, token = await house.key(team_id=mine, user_id=user)
    callers = world.callers()
    caller = await callers.authenticate(token)
    assert await callers.acting_for(caller, mine, "") is caller
    acts = await callers.acting_for(caller, "", inside)
    assert levels(acts.principal) == [
        (ORG, house.org_id),
        (TEAM, mine),
        (TEAM, inner),
        (PROJECT, inside),
        (USER, user),
        (KEY, key.key_id),
    ]
    assert (acts.principal.team_id, acts.principal.project_id, acts.models) == (inner, inside, caller.models)
    assert caller.principal.team_id == mine, "the caller itself stays where it is"
    assert levels((await callers.acting_for(caller, inner, "")).principal)[1:3] == [(TEAM, mine), (TEAM, inner)]
    for team, project, field in (
        (beside, "", "team_id"),
        (uuid7(), "", "team_id"),
        ("", outside, "project_id"),
        ("", free, "project_id"),
        ("", uuid7(), "project_id"),
        (mine, outside, "project_id"),
    ):
        denied = (Reason.PERMISSION_DENIED, field)
        assert await reason_of(callers.acting_for(caller, team, project)) == denied
    _, plain = await house.key()
    nobody = await callers.authenticate(plain)
    assert await reason_of(callers.acting_for(nobody, mine, "")) == (Reason.PERMISSION_DENIED, "team_id")
    _, token = await house.key("chat", "admin")
    admin = await callers.authenticate(token)
    assert (await callers.acting_for(admin, beside, free)).principal.project_id == free
    operator = world.callers()
    operator.set_operator("operator-token", house.org_id)
    acts = await operator.acting_for(await operator.authenticate("operator-token"), "", outside)
    assert levels(acts.principal) == [(ORG, house.org_id), (TEAM, beside), (PROJECT, outside)]


class CountingSigner:
    """Counts signatures."""

    def __init__(self):
        self.signed = 0

    def sign(self, principal):
        self.signed += 1
        return SIGNER.sign(principal)


async def test_acting_for_a_team_is_remembered_until_the_tree_changes(world, house):
    mine = await house.team("mine")
    inner = await house.team("inner", mine)
    _, token = await house.key(team_id=mine)
    store, signer = world.store(CountingStore), CountingSigner()
    callers = callers_module.Callers(store, signer, world.identity()._keyring)
    first = await callers.acting_for(await callers.authenticate(token), inner, "")
    first.signed()
    epochs, signed = store.asked["epoch"], signer.signed
    for _ in range(50):
        again = await callers.acting_for(await callers.authenticate(token), inner, "")
        assert again is first and again.signed()
    assert (store.asked["epoch"], signer.signed) == (epochs, signed) and signed == 1
    outside = await house.team("outside")
    await house.tree.update("team", house.org_id, inner, BY, team_id=outside)
    end = time.monotonic() + 1.5
    while await reason_of(callers.acting_for(await callers.authenticate(token), inner, "")) is None:
        assert time.monotonic() < end, "it still acts for a team that is not below its own any more"
        await asyncio.sleep(0.01)


async def test_a_place_is_remembered_within_bounds(world, house, monkeypatch):
    monkeypatch.setattr(callers_module, "ACTING_CAPACITY", 2)
    mine = await house.team("mine")
    inner = [await house.team(f"t{number}", mine) for number in range(4)]
    _, token = await house.key(team_id=mine)
    callers = world.callers()
    for team in inner * 2:
        assert (await callers.acting_for(await callers.authenticate(token), team, "")).principal.team_id == team
    assert len(callers._acting) == 2


async def test_with_the_database_away_nobody_acts_for_what_was_not_looked_up(world, house):
    mine = await house.team("mine")
    inner = await house.team("inner", mine)
    _, token = await house.key(team_id=mine)

    class Away(PostgresStore):
        async def find_place(self, org_id, team_id, project_id):
            raise MeshError(Reason.UNAVAILABLE, "away")

    callers = world.callers(world.store(Away))
    caller = await callers.authenticate(token)
    assert (await reason_of(callers.acting_for(caller, inner, "")))[0] is Reason.UNAVAILABLE
