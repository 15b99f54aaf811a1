"""The tree below an organisation: teams within teams, projects, users. Made, listed, renamed, moved and deleted."""

import dataclasses
import datetime as dt
import re
from collections.abc import Callable
from typing import Any

from mesh.admin_record import Change
from mesh.errors import MeshError, invalid
from mesh.ids import is_uuid, uuid7
from services.gateway import errors
from services.gateway.identity.places import Teams, named_id
from services.gateway.identity.rows import Node
from services.gateway.identity.tree_store import TreeStore

_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,189}")
_ID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

Describe = Callable[[str, str, str, str, object, object], Change]
"""(org_id, actor, action, target, before, after) → what audit is told."""


class Tree:
    """What IdentityService does with teams, projects and users, without the wire."""

    def __init__(
        self, store: TreeStore, describe: Describe, told: Callable[[], None], clock: Callable[[], dt.datetime]
    ) -> None:
        self._store, self._describe, self._told, self._clock = store, describe, told, clock

    async def create(
        self, kind: str, org_id: str, name: str, actor: str, *, team_id: str = "", email: str = ""
    ) -> Node:
        """A new team, project or user. Raises INVALID_REQUEST, ALREADY_EXISTS, or NOT_FOUND for a team that there is
        not."""
        _check(kind, name, email)
        field = _team_field(kind)
        new = Node(kind, org_id, uuid7(), name, self._clock(), named_id(field, team_id), email)

        def edit(_: Node | None, teams: Teams) -> tuple[Node, Change | None]:
            _check_team(new, teams)
            return new, self._change(actor, "create", None, new)

        made = await self._store.write_node(kind, org_id, new.node_id, edit)
        self._told()
        return made

    async def page(self, kind: str, org_id: str, page_size: int, page_token: str) -> tuple[list[Node], str]:
        """A page of teams, projects or users, oldest first, and the next page's token. Raises INVALID_REQUEST."""
        if page_size < 0:
            raise invalid("page_size", f"page_size must not be negative, not {page_size}.")
        if page_token and not is_uuid(page_token):
            raise invalid("page_token", "page_token is not one that this list gave: leave it out.")
        size = min(page_size or 50, 1000)
        found = await self._store.nodes(kind, org_id, size + 1, page_token)
        return found[:size], found[size - 1].node_id if found[size:] else ""

    async def update(
        self,
        kind: str,
        org_id: str,
        node_id: str,
        actor: str,
        *,
        name: str | None = None,
        team_id: str | None = None,
        email: str | None = None,
    ) -> Node:
        """Renames or moves one; None = as it is, "" = out of every team, or no e-mail.

        Raises NOT_FOUND, INVALID_REQUEST, ALREADY_EXISTS, or FAILED_PRECONDITION for a project one of whose keys names
        another team.
        """
        _check_id(kind, node_id)
        _check(kind, name, email)
        if team_id is not None:
            team_id = named_id(_team_field(kind), team_id)
        wanted = {"name": name, "email": email, "team_id": team_id}
        named: dict[str, Any] = {field: value for field, value in wanted.items() if value is not None}

        def edit(before: Node | None, teams: Teams) -> tuple[Node, Change | None]:
            if before is None:
                raise errors.not_found(kind, node_id)
            after = dataclasses.replace(before, **named)
            if after == before:
                return before, None
            if after.team_id != before.team_id:
                _check_team(after, teams)
            return after, self._change(actor, "update", before, after)

        changed = await self._store.write_node(kind, org_id, node_id, edit)
        self._told()
        return changed

    async def delete(self, kind: str, org_id: str, node_id: str, actor: str) -> None:
        """Deletes one on which nothing hangs any more. Raises NOT_FOUND or FAILED_PRECONDITION."""
        _check_id(kind, node_id)
        now = self._clock()
        await self._store.remove_node(
            kind, org_id, node_id, now, lambda before: self._change(actor, "delete", before, None)
        )
        self._told()

    def _change(self, actor: str, verb: str, before: Node | None, after: Node | None) -> Change:
        node = after or before
        assert node is not None
        target = f"{node.kind}:{node.node_id}"
        return self._describe(node.org_id, actor, f"{node.kind}.{verb}", target, _public(before), _public(after))


def _team_field(kind: str) -> str:
    return "parent_team_id" if kind == "team" else "team_id"


def _public(node: Node | None) -> dict[str, object] | None:
    """What audit keeps of one. A person's address is left out: what audit has is never rewritten."""
    if node is None:
        return None
    more = {"has_email": bool(node.email)} if node.kind == "user" else {_team_field(node.kind): node.team_id}
    return {"name": node.name, **more}


def _check_id(kind: str, node_id: str) -> None:
    if not is_uuid(node_id):
        raise errors.not_found(kind, node_id[:80])


def _check_team(node: Node, teams: Teams) -> None:
    """Raises NOT_FOUND for a team that there is not, INVALID_REQUEST for a circle or too many within each other."""
    if node.kind == "team":
        teams.check_parent(node.node_id, node.team_id)
    else:
        teams.path(node.team_id)


def _check(kind: str, name: str | None, email: str | None) -> None:
    """Raises INVALID_REQUEST for a name or an address that is none."""
    if name is not None:
        if not 1 <= len(name) <= 100 or not name.isprintable() or name != name.strip():
            raise invalid("name", f"A {kind}'s name has 1 to 100 printable characters, and no space at its ends.")
        if _ID.fullmatch(name):
            raise invalid("name", "A name must not look like an id: choose words.")
    if email and not (_EMAIL.fullmatch(email) and email.isprintable()):
        raise _bad_email(email)


def _bad_email(email: str) -> MeshError:
    return invalid("email", f'"{email[:80]}" is not an e-mail address: write it as name@example.com.')
