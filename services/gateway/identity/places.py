"""Where a key stands: the path from its organisation down to it, and the rules of the tree that the path comes from."""

import dataclasses
from collections.abc import Mapping

from dac.type.v1.principal_pb2 import Level
from mesh.errors import invalid
from mesh.ids import is_uuid
from services.gateway import errors

MOST_DEEP = 8
"""How many teams may lie within each other."""


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """What lies between an organisation and a key."""

    team_ids: tuple[str, ...] = ()
    """The outermost first."""
    project_id: str = ""
    user_id: str = ""

    @property
    def team_id(self) -> str:
        """The innermost team."""
        return self.team_ids[-1] if self.team_ids else ""


NOWHERE = Place()
"""Directly in the organisation."""


def path_of(org_id: str, place: Place, key_id: str) -> list[Level]:
    """The levels from the organisation down to the key (when there is one): what budgets and limits hang on."""
    path = [Level(kind=Level.KIND_ORG, id=org_id)]
    path += [Level(kind=Level.KIND_TEAM, id=team_id) for team_id in place.team_ids]
    for kind, level_id in (
        (Level.KIND_PROJECT, place.project_id),
        (Level.KIND_USER, place.user_id),
        (Level.KIND_KEY, key_id),
    ):
        if level_id:
            path.append(Level(kind=kind, id=level_id))
    return path


def named_id(field: str, given: str) -> str:
    """An id that a request names, or nothing. Raises INVALID_REQUEST."""
    if given and not is_uuid(given.lower()):
        raise invalid(field, f'{field} "{given[:80]}" is not an id: ids are UUIDs, as the lists show them.')
    return given.lower()


class Teams:
    """The teams of one organisation, by the team that each lies in ("" = none)."""

    def __init__(self, parents: Mapping[str, str]) -> None:
        self._parents = parents

    def path(self, team_id: str) -> tuple[str, ...]:
        """A team and all that it lies in, outermost first; empty for none. Raises NOT_FOUND."""
        path: list[str] = []
        while team_id:
            if team_id not in self._parents:
                raise errors.not_found("team", team_id[:80])
            path.append(team_id)
            team_id = self._parents[team_id]
        return tuple(reversed(path))

    def height(self, team_id: str) -> int:
        """How many teams lie within each other from this one down, itself counted."""
        below: dict[str, list[str]] = {}
        for child, parent in self._parents.items():
            below.setdefault(parent, []).append(child)
        level, height = [team_id], 0
        while level:
            level, height = [child for one in level for child in below.get(one, ())], height + 1
        return height

    def check_parent(self, team_id: str, parent_team_id: str) -> None:
        """Whether a team (new or not) may lie in another. Raises NOT_FOUND, or INVALID_REQUEST for a circle or for
        more than MOST_DEEP teams within each other."""
        above = self.path(parent_team_id)
        if team_id in above:
            raise errors.team_circle(team_id, parent_team_id)
        if len(above) + self.height(team_id) > MOST_DEEP:
            raise errors.too_deep(MOST_DEEP)
