"""Acting for a team or a project that a request names: who may, and where the request then stands.

Naming one never takes a caller out of its own place: the levels of its own team stay in the path, so that their budgets
hold as well. Only administrators choose freely.
"""

from dac.type.v1.principal_pb2 import Principal
from mesh.call import has_scope
from mesh.errors import MeshError
from services.gateway import errors
from services.gateway.identity.places import Place, path_of
from services.gateway.identity.rows import FoundPlace


def stays(own: Principal, team_id: str, project_id: str) -> bool:
    """Whether what is named is where the caller stands already."""
    return team_id in ("", own.team_id) and project_id in ("", own.project_id)


def check_at_all(own: Principal, team_id: str, project_id: str) -> None:
    """Whether the caller may act for anything but where it stands. Raises PERMISSION_DENIED."""
    if has_scope(own, "admin") or (own.team_id and not own.project_id):
        return
    raise _denied(own, team_id, project_id)


def place_for(own: Principal, team_id: str, project_id: str, found: FoundPlace) -> Place:
    """Where the request stands. Raises PERMISSION_DENIED, or INVALID_REQUEST for a team and another team's project."""
    missing = (team_id and not found.team_ids) or (project_id and not found.project_exists)
    inside = own.team_id in found.team_ids and (found.project_team_id or not project_id)
    if missing or not (inside or has_scope(own, "admin")):
        raise _denied(own, team_id, project_id)
    if team_id and found.project_team_id and team_id != found.project_team_id:
        raise errors.project_elsewhere(project_id, found.project_team_id)
    return Place(found.team_ids, project_id, own.user_id)


def principal_at(own: Principal, place: Place) -> Principal:
    """The same caller, standing there."""
    principal = Principal()
    principal.CopyFrom(own)
    stand(principal, place)
    return principal


def stand(principal: Principal, place: Place) -> None:
    """Writes a place and the path to it on a principal."""
    principal.team_id, principal.project_id, principal.user_id = place.team_id, place.project_id, place.user_id
    del principal.path[:]
    principal.path.extend(path_of(principal.org_id, place, principal.key_id))


def _denied(own: Principal, team_id: str, project_id: str) -> MeshError:
    if project_id not in ("", own.project_id):
        return errors.may_not_act("project", project_id)
    return errors.may_not_act("team", team_id)
