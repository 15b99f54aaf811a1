"""Paths of any tree, circles and depth, and who may act for what, without a database."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dac.type.v1.principal_pb2 import Level, Principal
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from services.gateway.identity import acting
from services.gateway.identity.places import MOST_DEEP, NOWHERE, Place, Teams, named_id, path_of
from services.gateway.identity.rows import FoundPlace

KINDS = [Level.KIND_ORG, Level.KIND_TEAM, Level.KIND_PROJECT, Level.KIND_USER, Level.KIND_KEY]


@st.composite
def forests(draw):
    """Teams that were made one after the other, each somewhere among those before it: (parents, a team or "")."""
    parents, teams = {}, Teams({})
    for number in range(draw(st.integers(0, 14))):
        parent = draw(st.sampled_from(["", *parents]))
        teams = Teams(parents)
        if len(teams.path(parent)) < MOST_DEEP:
            parents[f"t{number}"] = parent
    return parents, draw(st.sampled_from(["", *parents]))


@given(forests(), st.sampled_from(["", "p"]), st.sampled_from(["", "u"]), st.sampled_from(["", "k"]))
def test_a_path_has_the_organisation_first_the_key_last_and_no_level_twice(forest, project, user, key):
    parents, team = forest
    path = path_of("o", Place(Teams(parents).path(team), project, user), key)
    assert (path[0].kind, path[0].id) == (Level.KIND_ORG, "o")
    assert not key or (path[-1].kind, path[-1].id) == (Level.KIND_KEY, "k")
    assert len({(one.kind, one.id) for one in path}) == len(path)
    order = [KINDS.index(one.kind) for one in path]
    assert order == sorted(order), "from the organisation down"
    teams = [one.id for one in path if one.kind == Level.KIND_TEAM]
    assert len(teams) <= MOST_DEEP and [parents[one] for one in teams] == ["", *teams[:-1]][: len(teams)]
    assert [one.id for one in path if one.kind == Level.KIND_PROJECT] == [project] * bool(project)


@given(forests(), st.data())
def test_a_move_leaves_a_tree_of_at_most_so_many_levels_or_is_refused(forest, data):
    parents, moved = forest
    if not moved:
        return
    to = data.draw(st.sampled_from(["", *parents]))
    try:
        Teams(parents).check_parent(moved, to)
    except MeshError as error:
        below = moved in Teams(parents).path(to)
        too_deep = len(Teams(parents).path(to)) + Teams(parents).height(moved) > MOST_DEEP
        assert (error.reason, error.metadata) == (Reason.INVALID_REQUEST, {"field": "parent_team_id"})
        assert below or too_deep
        return
    after = Teams({**parents, moved: to})
    # Ends for every team, also for those that came along.
    assert max(len(after.path(team)) for team in parents) <= MOST_DEEP


@given(forests())
def test_a_team_never_lies_in_itself_or_below_itself(forest):
    parents, team = forest
    for below in [one for one in parents if team and team in Teams(parents).path(one)]:
        with pytest.raises(MeshError, match="lies in it"):
            Teams(parents).check_parent(team, below)


def test_a_team_that_is_not_there_is_not_found():
    with pytest.raises(MeshError) as caught:
        Teams({}).check_parent("t", "gone")
    assert caught.value.reason is Reason.NOT_FOUND


@pytest.mark.parametrize("wrong", ["me", "x" * 36, "0192f3c4-0000-7000-8000-00000000000", "research"])
def test_what_is_no_id_is_named(wrong):
    with pytest.raises(MeshError) as caught:
        named_id("team_id", wrong)
    assert caught.value.metadata == {"field": "team_id"}
    given = uuid7()
    assert named_id("team_id", given.upper()) == given and named_id("team_id", "") == ""


def caller(*scopes, team_ids=(), project_id="", user_id=""):
    principal = Principal(org_id="o", key_id="k", scopes=scopes)
    acting.stand(principal, Place(team_ids, project_id, user_id))
    return principal


def test_where_a_principal_stands_is_on_it_and_nowhere_is_nothing():
    own = caller(team_ids=("a", "b"), project_id="p", user_id="u")
    assert (own.team_id, own.project_id, own.user_id, len(own.path)) == ("b", "p", "u", 6)
    acting.stand(own, NOWHERE)
    assert (own.team_id, own.project_id, own.user_id) == ("", "", "")
    assert [one.kind for one in own.path] == [Level.KIND_ORG, Level.KIND_KEY]


def decide(own, team_id, project_id, found):
    """Where the request stands, or why it is refused."""
    try:
        acting.check_at_all(own, team_id, project_id)
        return acting.place_for(own, team_id, project_id, found)
    except MeshError as error:
        return error.reason, error.metadata["field"]


DENIED_TEAM, DENIED_PROJECT = (Reason.PERMISSION_DENIED, "team_id"), (Reason.PERMISSION_DENIED, "project_id")


@pytest.mark.parametrize(
    ("own", "named", "found", "expected"),
    [
        # One that stands in team b (of a) may act for c within b, and for projects of c.
        (("a", "b"), ("c", ""), (("a", "b", "c"), False, ""), Place(("a", "b", "c"))),
        (("a", "b"), ("", "p"), (("a", "b", "c"), True, "c"), Place(("a", "b", "c"), "p")),
        (("a", "b"), ("", "p"), (("a", "b"), True, "b"), Place(("a", "b"), "p")),
        # Not above, not beside, not what there is not, and not for a project without a team: it would leave its own.
        (("a", "b"), ("a", ""), (("a",), False, ""), DENIED_TEAM),
        (("a", "b"), ("d", ""), (("a", "d"), False, ""), DENIED_TEAM),
        (("a", "b"), ("gone", ""), ((), False, ""), DENIED_TEAM),
        (("a", "b"), ("", "gone"), ((), False, ""), DENIED_PROJECT),
        (("a", "b"), ("c", "gone"), (("a", "b", "c"), False, ""), DENIED_PROJECT),
        (("a", "b"), ("", "p"), ((), True, ""), DENIED_PROJECT),
        (("a", "b"), ("c", "p"), (("a", "b", "c"), True, ""), DENIED_PROJECT),
        (("a", "b"), ("c", "p"), (("a", "b", "e"), True, "e"), (Reason.INVALID_REQUEST, "project_id")),
        # One that stands in no team has nothing below it.
        ((), ("c", ""), (("a", "c"), False, ""), DENIED_TEAM),
        ((), ("", "p"), ((), True, ""), DENIED_PROJECT),
    ],
)
def test_a_key_acts_for_what_lies_in_its_own_team(own, named, found, expected):
    assert decide(caller("chat", team_ids=own), *named, FoundPlace(*found)) == expected


def test_a_key_of_a_project_acts_for_that_project_only():
    own = caller("chat", team_ids=("a",), project_id="p")
    assert acting.stays(own, "a", "") and acting.stays(own, "", "p") and acting.stays(own, "a", "p")
    assert not acting.stays(own, "a", "q")
    assert decide(own, "", "q", FoundPlace(("a",), True, "a")) == DENIED_PROJECT
    assert decide(own, "c", "", FoundPlace(("a", "c"), False, "")) == DENIED_TEAM


@given(forests(), st.data())
def test_acting_for_something_never_takes_a_level_of_a_team_out_of_the_path(forest, data):
    parents, own_team = forest
    own = caller("chat", team_ids=Teams(parents).path(own_team), user_id="u")
    named = data.draw(st.sampled_from(["", *parents]))
    project_team = data.draw(st.sampled_from(["", *parents]))
    project = data.draw(st.sampled_from(["", "p"]))
    found = FoundPlace(
        Teams(parents).path(project_team if project and project_team else named),
        bool(project),
        project and project_team,
    )
    if acting.stays(own, named, project):
        return
    place = decide(own, named, project, found)
    if isinstance(place, Place):
        principal = acting.principal_at(own, place)
        kept = {(one.kind, one.id) for one in principal.path}
        assert {(one.kind, one.id) for one in own.path} <= kept
        assert principal.team_id == (project_team if project else named) and principal.project_id == project
        assert own.team_id == own_team, "the caller itself stays as it was"


@pytest.mark.parametrize("scope", ["admin", "operator"])
def test_administrators_act_for_everything_of_their_organisation(scope):
    own = caller(scope, team_ids=("a",), project_id="p", user_id="u")
    assert decide(own, "d", "", FoundPlace(("d",), False, "")) == Place(("d",), "", "u")
    assert decide(own, "d", "q", FoundPlace(("d",), True, "")) == Place(("d",), "q", "u")
    assert decide(own, "", "q", FoundPlace((), True, "")) == Place((), "q", "u")
    assert decide(own, "gone", "", FoundPlace((), False, "")) == DENIED_TEAM
    assert decide(own, "d", "q", FoundPlace(("e",), True, "e")) == (Reason.INVALID_REQUEST, "project_id")
