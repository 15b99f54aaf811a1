"""An organisation with a tree of teams, projects and users, and the paths of keys in it: for the tests of both."""

from __future__ import annotations

from dac.type.v1.principal_pb2 import Level
from mesh.errors import MeshError

ORG, TEAM, PROJECT, USER, KEY = (
    Level.KIND_ORG,
    Level.KIND_TEAM,
    Level.KIND_PROJECT,
    Level.KIND_USER,
    Level.KIND_KEY,
)
BY = "key:admin"


class House:
    """An organisation with a tree, and who makes it."""

    def __init__(self, identity, org_id):
        self.identity, self.tree, self.org_id = identity, identity.tree, org_id

    async def team(self, name, parent=""):
        return (await self.tree.create("team", self.org_id, name, BY, team_id=parent)).node_id

    async def project(self, name, team=""):
        return (await self.tree.create("project", self.org_id, name, BY, team_id=team)).node_id

    async def user(self, name, email=""):
        return (await self.tree.create("user", self.org_id, name, BY, email=email)).node_id

    async def key(self, *scopes, **place):
        made = await self.identity.create_key(
            self.org_id, "k", scopes or ("chat",), [], None, held=["operator"], actor=BY, **place
        )
        return made[0], made[1]


async def reason_of(awaitable):
    try:
        await awaitable
    except MeshError as error:
        return error.reason, error.metadata.get("field", "")
    return None


def levels(principal):
    return [(one.kind, one.id) for one in principal.path]


async def path_of_key(world, token):
    return levels((await world.callers().authenticate(token)).principal)
