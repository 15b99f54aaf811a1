"""The tree's rows: teams, projects and users, and what hangs on them.

Everything that changes the tree of an organisation, or a key's place in it, waits on the organisation's row: so no two
changes together make what neither alone would.
"""

import dataclasses
import datetime as dt
from collections.abc import Callable
from typing import Any, Protocol

from mesh.admin_record import Change
from mesh.postgres import Database
from mesh.postgres_errors import Conflict
from services.gateway import errors
from services.gateway.identity.places import Teams
from services.gateway.identity.rows import KeyPlace, Node

Edit = Callable[[Node | None, Teams], tuple[Node, Change | None]]
"""What stands there (None = nothing) and the organisation's teams → what is to stand there, and what audit is told
(None when nothing changed)."""


class TreeStore(Protocol):
    """What identity keeps of the tree."""

    async def nodes(self, kind: str, org_id: str, limit: int, after: str) -> list[Node]:
        """The organisation's teams, projects or users by their ids, oldest first, behind the id `after` ("" = all)."""

    async def write_node(self, kind: str, org_id: str, node_id: str, edit: Edit) -> Node:
        """Adds or changes one. Raises ALREADY_EXISTS for a name that is taken, FAILED_PRECONDITION for a project whose
        keys name another team, and what `edit` raises."""

    async def remove_node(
        self, kind: str, org_id: str, node_id: str, at: dt.datetime, describe: Callable[[Node], Change]
    ) -> None:
        """Deletes one; keys that are revoked or expired `at` this time let go of it. Raises NOT_FOUND, or
        FAILED_PRECONDITION when something else hangs on it."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Statements:
    page: str
    one: str
    insert: str
    update: str
    delete: str
    let_go: str
    hanging: str


def _statements(table: str, node_id: str, more: str, kind_of_more: str, hanging: str) -> _Statements:
    """`more` is the one column that only this kind has."""
    shown = f"{node_id}::text, name, created_at, coalesce({more}::text, '')"
    value = f"nullif($4::text, '')::{kind_of_more}"
    mine = f"org_id = $1 AND {node_id} = $2"
    return _Statements(
        page=f"""SELECT {shown} FROM {table} WHERE org_id = $1 AND ($2::text = '' OR {node_id} > nullif($2, '')::uuid)
          ORDER BY {node_id} LIMIT $3""",  # noqa: S608
        one=f"""SELECT {shown} FROM {table} WHERE {mine}""",  # noqa: S608
        insert=f"""INSERT INTO {table} (org_id, {node_id}, name, {more}, created_at)
          VALUES ($1, $2, $3, {value}, $5)""",  # noqa: S608
        update=f"""UPDATE {table} SET name = $3, {more} = {value} WHERE {mine}""",  # noqa: S608
        delete=f"""DELETE FROM {table} WHERE {mine}""",  # noqa: S608
        let_go=f"""UPDATE api_keys SET {node_id} = NULL WHERE {mine}
          AND (revoked_at IS NOT NULL OR expires_at <= $3)""",  # noqa: S608
        hanging=f"""SELECT kind, name, count(*) OVER () FROM ({hanging}
          SELECT 'key', name FROM api_keys WHERE {mine}) AS found (kind, name) LIMIT 3""",  # noqa: S608
    )


_IN_TEAM = """SELECT 'team', name FROM teams WHERE org_id = $1 AND parent_team_id = $2 UNION ALL
  SELECT 'project', name FROM projects WHERE org_id = $1 AND team_id = $2 UNION ALL"""
_SQL = {
    "team": _statements("teams", "team_id", "parent_team_id", "uuid", _IN_TEAM),
    "project": _statements("projects", "project_id", "team_id", "uuid", ""),
    "user": _statements("users", "user_id", "email", "text", ""),
}
_TEAMS = "SELECT team_id::text, coalesce(parent_team_id::text, '') FROM teams WHERE org_id = $1"
_OTHER_TEAM = """SELECT name, team_id::text FROM api_keys WHERE org_id = $1 AND project_id = $2 AND revoked_at IS NULL
  AND team_id IS NOT NULL AND team_id::text <> ALL ($3::text[]) LIMIT 1"""
_FOLLOW = """UPDATE api_keys SET team_id = $3 WHERE org_id = $1 AND project_id = $2 AND team_id IS NOT NULL
  AND team_id <> $3"""
_OUTBOX = "INSERT INTO admin_outbox (org_id, record_id, record) VALUES ($1, $2, $3)"


def _node(kind: str, org_id: str, row: Any) -> Node:
    team_id, email = ("", row[3]) if kind == "user" else (row[3], "")
    return Node(kind, org_id, row[0], row[1], row[2], team_id, email)


async def lock_tree(connection: Any, org_id: str) -> None:
    """From here to the end of the transaction nobody else changes the organisation's tree."""
    await connection.execute("SELECT FROM organisations WHERE org_id = $1 FOR UPDATE", org_id)


async def check_place(connection: Any, org_id: str, place: KeyPlace) -> str:
    """Whether a key may stand there; its project's team ("" = none).

    Raises NOT_FOUND, or INVALID_REQUEST for a team and another team's project.
    """
    project_team_id = ""
    for kind, node_id in (("team", place.team_id), ("project", place.project_id), ("user", place.user_id)):
        row = await connection.fetchrow(_SQL[kind].one, org_id, node_id) if node_id else None
        if node_id and row is None:
            raise errors.not_found(kind, node_id)
        if kind == "project" and row is not None:
            project_team_id = row[3]
    if place.team_id and project_team_id and place.team_id != project_team_id:
        raise errors.project_elsewhere(place.project_id, project_team_id)
    return project_team_id


class PostgresTree:
    """TreeStore in PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def nodes(self, kind: str, org_id: str, limit: int, after: str) -> list[Node]:
        """See TreeStore."""
        async with self._database.transaction(org_id) as connection:
            rows = await connection.fetch(_SQL[kind].page, org_id, after, limit)
        return [_node(kind, org_id, row) for row in rows]

    async def write_node(self, kind: str, org_id: str, node_id: str, edit: Edit) -> Node:
        """See TreeStore."""
        sql, wanted = _SQL[kind], None
        try:
            async with self._database.transaction(org_id) as connection:
                await lock_tree(connection, org_id)
                row = await connection.fetchrow(sql.one, org_id, node_id)
                before = _node(kind, org_id, row) if row is not None else None
                teams = Teams(dict(await connection.fetch(_TEAMS, org_id)) if kind != "user" else {})
                wanted, change = edit(before, teams)
                if change is None:
                    return wanted
                values = org_id, node_id, wanted.name, wanted.email if kind == "user" else wanted.team_id
                if before is None:
                    await connection.execute(sql.insert, *values, wanted.created_at)
                else:
                    await connection.execute(sql.update, *values)
                    if kind == "project" and wanted.team_id not in ("", before.team_id):
                        await _take_keys_along(connection, before, wanted)
                await connection.execute(_OUTBOX, org_id, change.record_id, change.record)
                return wanted
        except Conflict:
            raise errors.name_taken(kind, wanted.name if wanted is not None else "") from None

    async def remove_node(
        self, kind: str, org_id: str, node_id: str, at: dt.datetime, describe: Callable[[Node], Change]
    ) -> None:
        """See TreeStore."""
        sql = _SQL[kind]
        async with self._database.transaction(org_id) as connection:
            await lock_tree(connection, org_id)
            row = await connection.fetchrow(sql.one, org_id, node_id)
            if row is None:
                raise errors.not_found(kind, node_id)
            node = _node(kind, org_id, row)
            await connection.execute(sql.let_go, org_id, node_id, at)
            hanging = await connection.fetch(sql.hanging, org_id, node_id)
            if hanging:
                named = ", ".join(f'{one[0]} "{one[1]}"' for one in hanging)
                more = hanging[0][2] - len(hanging)
                raise errors.in_use(kind, node.name, f"{named} and {more} more" if more else named)
            change = describe(node)
            await connection.execute(sql.delete, org_id, node_id)
            await connection.execute(_OUTBOX, org_id, change.record_id, change.record)


async def _take_keys_along(connection: Any, before: Node, wanted: Node) -> None:
    """Keys that name a project and its team follow the project to its new team."""
    known = [before.team_id, wanted.team_id]
    other = await connection.fetchrow(_OTHER_TEAM, wanted.org_id, wanted.node_id, known)
    if other is not None:
        raise errors.keys_of_another_team(other[0], other[1])
    await connection.execute(_FOLLOW, wanted.org_id, wanted.node_id, wanted.team_id)
