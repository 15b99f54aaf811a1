"""Organisations as the operator handles them: found, renamed, deleted; and telling the router what they are called."""

from __future__ import annotations

import datetime as dt
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from mesh.admin_record import Change
from mesh.errors import MeshError, Reason, invalid
from mesh.ids import is_uuid
from services.gateway import errors
from services.gateway.identity.organisation_store import OrganisationStore
from services.gateway.identity.rows import OrganisationRow

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_log = logging.getLogger("dac.gateway.organisations")

MakeChange = Callable[[str, str, str, str, object, object], Change]
"""(org_id, actor, action, target, before, after) → what audit is told."""
TellNames = Callable[[Mapping[str, str]], Awaitable[None]]
"""Tells the router what organisations are called, all of them."""


class Listed(OrganisationStore, Protocol):
    """A store that also lists them."""

    async def organisations(self) -> list[OrganisationRow]:
        """All of them, oldest first."""


def check_name(name: str) -> None:
    """Raises INVALID_REQUEST for what is no name."""
    if not NAME.fullmatch(name):
        raise invalid("name", f'"{name[:80]}" is not a name: use up to 63 of a-z, 0-9 and "-".')


def name_taken(name: str) -> MeshError:
    """ALREADY_EXISTS."""
    return MeshError(Reason.ALREADY_EXISTS, f'There is an organisation "{name}" already: choose another name.')


class Organisations:
    """What the operator does to organisations that there are."""

    def __init__(
        self,
        store: Listed,
        make_change: MakeChange,
        news: Callable[[], None],
        tell: TellNames | None,
        clock: Callable[[], dt.datetime],
    ) -> None:
        self._store, self._change, self._news, self._tell, self._clock = store, make_change, news, tell, clock
        self._told: dict[str, str] | None = None

    async def find(self, which: str) -> OrganisationRow:
        """One by its id, or else by its name. Raises NOT_FOUND."""
        rows = await self._store.organisations()
        wanted = which.lower() if is_uuid(which) else which
        for row in rows:
            if row.org_id == wanted:
                return row
        for row in rows:
            if row.name == which:
                return row
        raise errors.no_organisation(which[:80])

    async def rename(self, row: OrganisationRow, name: str, actor: str) -> None:
        """Raises INVALID_REQUEST, ALREADY_EXISTS, NOT_FOUND, or FAILED_PRECONDITION for the first one."""
        check_name(name)
        if name == row.name:
            return
        _check_not_first(row)
        change = self._change(
            row.org_id, actor, "organisation.rename", f"organisation:{row.org_id}", {"name": row.name}, {"name": name}
        )
        if not await self._store.rename_organisation(row.org_id, name, self._clock(), change):
            raise name_taken(name)
        await self.changed()

    async def delete(self, row: OrganisationRow, actor: str, record_org_id: str) -> None:
        """Deletes it; the record of that is `record_org_id`'s. Raises NOT_FOUND or FAILED_PRECONDITION."""
        _check_not_first(row)
        change = self._change(
            record_org_id, actor, "organisation.delete", f"organisation:{row.org_id}", {"name": row.name}, None
        )
        await self._store.delete_organisation(row.org_id, self._clock(), record_org_id, change)
        await self.changed()

    async def changed(self) -> None:
        """There is news for audit and the router."""
        self._news()
        await self.tell_names()

    async def tell_names(self) -> None:
        """Tells the router the names if it was told others; what fails is tried again with the next news."""
        if self._tell is None:
            return
        try:
            names = {row.org_id: row.name for row in await self._store.organisations()}
            if names != self._told:
                await self._tell(names)
                self._told = names
        except MeshError as error:
            _log.warning("the router was not told what organisations are called: %s", error.message)


def _check_not_first(row: OrganisationRow) -> None:
    if row.name == "default":
        raise MeshError(
            Reason.FAILED_PRECONDITION, 'The organisation "default" is the operator\'s: it keeps its name and stays.'
        )
