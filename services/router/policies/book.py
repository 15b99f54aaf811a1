"""Keeps the policies in memory: those of files, joined with what the tables last said, current within a second."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Mapping

from mesh.errors import MeshError
from mesh.following import Follower
from services.router.policies.files import PolicyFiles
from services.router.policies.form import decode, parse
from services.router.policies.policies import API, BUILT_IN, FILE, OrgRules, Policies, RoutingPolicy, TenantRules
from services.router.policies.store import EVERYBODY, OrgRows, PolicyRow, PostgresPolicyStore

_log = logging.getLogger(__name__)


class PolicyBook:
    """The last known policies. Decisions read `now` and wait for nothing."""

    def __init__(
        self,
        store: PostgresPolicyStore | None,
        files: PolicyFiles,
        base: RoutingPolicy,
        *,
        poll_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._store, self.files, self._base, self._clock = store, files, base, clock
        self._rows: dict[str, OrgRows] = {}
        self._own: dict[str, Mapping[str, RoutingPolicy]] = {}
        """Organisation → its policies, parsed."""
        self._counts: dict[str, int] = {}
        self._names: dict[str, str] = {}
        self._read_s: float | None = None
        self._told_missing: set[tuple[str, str]] = set()
        self._follower = Follower("router-policies", self._look, poll_s, _log)
        self._lock = asyncio.Lock()
        self.now = Policies(files.now.policies)
        self._build()

    async def start(self) -> None:
        """Reads the tables and follows them and the files in the background."""
        if self._store is not None:
            try:
                await self.refresh()
            except MeshError as error:
                _log.warning("policies could not be read yet: %s", error.message)
            await self._store.follow(self._follower.wake)
        self._follower.start()

    async def close(self) -> None:
        """Stops following."""
        await self._follower.close()

    @property
    def age_s(self) -> float:
        """Seconds since the tables were last found current; negative = never."""
        return -1.0 if self._read_s is None else self._clock() - self._read_s

    def rows(self, org_id: str) -> OrgRows:
        """What an organisation's rows last said; those of everybody are under `EVERYBODY`."""
        return self._rows.get(org_id) or OrgRows()

    def tenants(self) -> dict[str, TenantRules]:
        """What the operator says of organisations, by id; files win."""
        said = {org_id: rows.tenant for org_id, rows in self._rows.items() if rows.tenant is not None}
        return said | self._filed_tenants()

    def organisation_named(self, name: str) -> str:
        """An organisation's id; empty when none of that name is known yet."""
        return next((org_id for org_id, known in self._names.items() if known == name), "")

    async def refresh(self) -> None:
        """Reads what changed. Raises MeshError."""
        if self._store is None:
            return
        async with self._lock:
            counts = await self._store.counts()
            changed = [org_id for org_id, count in counts.items() if self._counts.get(org_id) != count]
            for org_id in changed:
                rows = await self._store.read(org_id)
                self._rows[org_id], self._own[org_id] = rows, self._parsed(org_id, rows)
            if EVERYBODY in changed:
                self._names = await self._store.names()
            # Only now: what failed in between is read again.
            self._counts = counts
            first, self._read_s = self._read_s is None, self._clock()
            if changed or first:
                self._build(set(changed))

    async def _look(self) -> None:
        """Reads the files and the tables again, as far as they changed. Raises MeshError."""
        # A thread's work: a large configuration takes long enough to read for decisions to notice.
        if self.files.changed and await asyncio.to_thread(self.files.look, self._names_in_use()):
            self._build()
        await self.refresh()

    def _parsed(self, org_id: str, rows: OrgRows) -> dict[str, RoutingPolicy]:
        return {row.name: self._policy(org_id, row) for row in rows.policies}

    def _policy(self, org_id: str, row: PolicyRow) -> RoutingPolicy:
        version = f"{row.name}@{row.version}"
        try:
            return parse(row.name, decode(row.document), self._base, version)
        except MeshError as error:
            # Written by a newer DAC, or before a rule became stricter: allowing everything instead would be worse.
            _log.error("policy %s of %s cannot be read, and allows nothing: %s", row.name, org_id, error.message)
            return dataclasses.replace(self._base, name=row.name, version=version, missing=True)

    def _filed_tenants(self) -> dict[str, TenantRules]:
        filed = self.files.now.tenants
        by_name = {name: org_id for org_id, name in self._names.items()}
        found = {}
        for key, rules in filed.items():
            org_id = key if key in self._names or key not in by_name else by_name[key]
            found[org_id] = dataclasses.replace(rules, org_id=org_id)
        return found

    def _names_in_use(self) -> frozenset[str]:
        """Everybody's policies that the tables put somebody under."""
        used = set()
        for org_id, rows in self._rows.items():
            used |= {one.policy for one in rows.assignments if one.policy not in self._own.get(org_id, {})}
            if rows.tenant is not None:
                used.add(rows.tenant.policy)
        return frozenset(used)

    def _build(self, changed: set[str] | None = None) -> None:
        """Joins what is known; organisations that are not in `changed` are taken over as they are (None = all anew)."""
        shared = {**self._own.get(EVERYBODY, {}), **self.files.now.policies}
        tenants = self._filed_tenants()
        former = self.now.organisations if changed is not None and EVERYBODY not in changed else {}
        rules: dict[str, OrgRules] = {}
        for org_id in {*self._rows, *tenants} - {EVERYBODY}:
            known = former.get(org_id)
            if known is not None and org_id not in (changed or ()):
                rules[org_id] = known
                continue
            rows = self.rows(org_id)
            made = OrgRules(self._own.get(org_id, {}), rows.assignments, tenants.get(org_id, rows.tenant))
            if made != OrgRules():
                rules[org_id] = made
        named = {key for key in self.files.now.tenants if key not in tenants}
        waits = bool(self.files.now.tenants) and bool(named - set(self._names.values())) and not self._names
        self.now = Policies(
            shared,
            rules,
            unread=self._store is not None and self._read_s is None,
            waits_for_names=waits,
            former=self.now if former else None,
        )
        missing = set(self.now.missing_names())
        told, self._told_missing = self._told_missing, missing
        for org_id, name in sorted(missing - told):
            _log.error("organisation %s is under the policy %s, which does not exist: nothing is allowed", org_id, name)


def managed_by(book: PolicyBook, name: str) -> str:
    """Whether everybody's policy of that name is built in, of a file, or the API's."""
    if name in book.files.now.written:
        return FILE
    return BUILT_IN if name in book.files.now.policies else API
