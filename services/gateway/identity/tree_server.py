"""The part of IdentityService that is about teams, projects and users: proto in → tree → proto out."""

from typing import Any

from dac.gateway.v1 import identity_pb2, identity_pb2_grpc
from mesh.admin_record import actor_of
from mesh.call import require_scope
from services.gateway.identity.rows import Node
from services.gateway.identity.tree import Tree


def _team(node: Node) -> identity_pb2.Team:
    shown = identity_pb2.Team(team_id=node.node_id, org_id=node.org_id, name=node.name, parent_team_id=node.team_id)
    shown.created_at.FromDatetime(node.created_at)
    return shown


def _project(node: Node) -> identity_pb2.Project:
    shown = identity_pb2.Project(project_id=node.node_id, org_id=node.org_id, name=node.name, team_id=node.team_id)
    shown.created_at.FromDatetime(node.created_at)
    return shown


def _user(node: Node) -> identity_pb2.User:
    shown = identity_pb2.User(user_id=node.node_id, org_id=node.org_id, name=node.name, email=node.email)
    shown.created_at.FromDatetime(node.created_at)
    return shown


def _named(request: Any, field: str) -> str | None:
    return getattr(request, field) if request.HasField(field) else None


class TreeServicer(identity_pb2_grpc.IdentityServiceServicer):
    """See dac.gateway.v1.IdentityService."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    async def _create(self, kind: str, request: Any, **place: str) -> Node:
        principal = require_scope("admin")
        return await self._tree.create(kind, principal.org_id, request.name, actor_of(principal), **place)

    async def _page(self, kind: str, request: Any, scope: str) -> tuple[list[Node], str]:
        principal = require_scope(scope)
        return await self._tree.page(kind, principal.org_id, request.page_size, request.page_token)

    async def _update(self, kind: str, request: Any, node_id: str, **place: str | None) -> Node:
        principal, name = require_scope("admin"), _named(request, "name")
        return await self._tree.update(kind, principal.org_id, node_id, actor_of(principal), name=name, **place)

    async def _delete(self, kind: str, node_id: str) -> None:
        principal = require_scope("admin")
        await self._tree.delete(kind, principal.org_id, node_id, actor_of(principal))

    async def CreateTeam(self, request: identity_pb2.CreateTeamRequest, context: Any) -> Any:  # noqa: D102
        node = await self._create("team", request, team_id=request.parent_team_id)
        return identity_pb2.CreateTeamResponse(team=_team(node))

    async def ListTeams(self, request: identity_pb2.ListTeamsRequest, context: Any) -> Any:  # noqa: D102
        found, token = await self._page("team", request, "read")
        return identity_pb2.ListTeamsResponse(teams=map(_team, found), next_page_token=token)

    async def UpdateTeam(self, request: identity_pb2.UpdateTeamRequest, context: Any) -> Any:  # noqa: D102
        node = await self._update("team", request, request.team_id, team_id=_named(request, "parent_team_id"))
        return identity_pb2.UpdateTeamResponse(team=_team(node))

    async def DeleteTeam(self, request: identity_pb2.DeleteTeamRequest, context: Any) -> Any:  # noqa: D102
        await self._delete("team", request.team_id)
        return identity_pb2.DeleteTeamResponse()

    async def CreateProject(self, request: identity_pb2.CreateProjectRequest, context: Any) -> Any:  # noqa: D102
        node = await self._create("project", request, team_id=request.team_id)
        return identity_pb2.CreateProjectResponse(project=_project(node))

    async def ListProjects(self, request: identity_pb2.ListProjectsRequest, context: Any) -> Any:  # noqa: D102
        found, token = await self._page("project", request, "read")
        return identity_pb2.ListProjectsResponse(projects=map(_project, found), next_page_token=token)

    async def UpdateProject(self, request: identity_pb2.UpdateProjectRequest, context: Any) -> Any:  # noqa: D102
        node = await self._update("project", request, request.project_id, team_id=_named(request, "team_id"))
        return identity_pb2.UpdateProjectResponse(project=_project(node))

    async def DeleteProject(self, request: identity_pb2.DeleteProjectRequest, context: Any) -> Any:  # noqa: D102
        await self._delete("project", request.project_id)
        return identity_pb2.DeleteProjectResponse()

    async def CreateUser(self, request: identity_pb2.CreateUserRequest, context: Any) -> Any:  # noqa: D102
        node = await self._create("user", request, email=request.email)
        return identity_pb2.CreateUserResponse(user=_user(node))

    async def ListUsers(self, request: identity_pb2.ListUsersRequest, context: Any) -> Any:  # noqa: D102
        # Names and addresses of people: not for every key that may read.
        found, token = await self._page("user", request, "admin")
        return identity_pb2.ListUsersResponse(users=map(_user, found), next_page_token=token)

    async def UpdateUser(self, request: identity_pb2.UpdateUserRequest, context: Any) -> Any:  # noqa: D102
        node = await self._update("user", request, request.user_id, email=_named(request, "email"))
        return identity_pb2.UpdateUserResponse(user=_user(node))

    async def DeleteUser(self, request: identity_pb2.DeleteUserRequest, context: Any) -> Any:  # noqa: D102
        await self._delete("user", request.user_id)
        return identity_pb2.DeleteUserResponse()
