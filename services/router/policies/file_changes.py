"""Tells audit of what the files of policies, tenants and models brought into force: once for all replicas.

A file has no author that a record could name, and every replica reads it. So what it said last stands in the database,
and whoever finds it different puts a record into the outbox in the same transaction; the others find nothing new.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from mesh.admin_record import admin_change
from mesh.catalog import ModelEntry
from mesh.following import Follower
from mesh.ids import uuid7
from mesh.postgres import Database
from services.router.policies.files import Filed
from services.router.policies.store import TELL

MOST_SHOWN = 100
"""So many names stand in a record; of more, how many there are."""
_log = logging.getLogger(__name__)
_HEARD = "SELECT shown FROM read_files WHERE kind = $1 FOR UPDATE"
_FIRST = "INSERT INTO read_files (kind, shown) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING true"
_NOW = "UPDATE read_files SET shown = $2, told_at = now() WHERE kind = $1"

Shown = Mapping[str, str]
"""What stands in files: a name → a digest of what was written under it."""


def digest(value: object) -> str:
    """Twelve characters that are the same for the same value, in every process and replica."""
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:12]


def shown_models(models: Iterable[ModelEntry]) -> Shown:
    """The models of files."""
    return {one.model: digest(one) for one in models}


def shown_policies(filed: Filed) -> Shown:
    """The policies that were written into files; those that are built in change with DAC only."""
    return {name: digest(written) for name, written in filed.written.items()}


def shown_tenants(filed: Filed) -> Shown:
    """The organisations that files say something of."""
    return {name: digest(rules) for name, rules in filed.tenants.items()}


class _Followed(NamedTuple):
    source: Callable[[], object]
    waits: Callable[[], bool]
    shown: Callable[[Any], Shown]
    tells_first: bool


class FileChanges:
    """Follows what is in force of files, and tells audit of it."""

    def __init__(
        self, database: Database, owner: Callable[[], str], told: Callable[[], None], *, every_s: float
    ) -> None:
        """`owner`: the organisation whose records these are, empty while it is not known. `told` is called when
        something waits for audit."""
        self._database, self._owner, self._told = database, owner, told
        self._followed: dict[str, _Followed] = {}
        self._heard: dict[str, object] = {}
        self._follower = Follower("router-files", self.look, every_s, _log)

    def follow(
        self,
        kind: str,
        source: Callable[[], object],
        shown: Callable[[Any], Shown],
        *,
        waits: Callable[[], bool] = lambda: False,
        tells_first: bool = True,
    ) -> None:
        """Follows one kind of file. `source` gives what is in force, another object whenever it changed; `waits`:
        whether the files have changed since they were read, so that what is in force is old news. Without
        `tells_first` what is found at an installation's very first look is what later changes are held against, and
        no change itself."""
        self._followed[kind] = _Followed(source, waits, shown, tells_first)

    def start(self) -> None:
        """Begins to look."""
        self._follower.start()
        self._follower.wake()

    async def close(self) -> None:
        """Stops; what was not told is found different at the next start."""
        await self._follower.close()

    async def look(self) -> None:
        """Tells audit of each kind whose files say something else than when audit was last told. Raises MeshError."""
        if not (owner := self._owner()):
            return
        for kind, followed in self._followed.items():
            now = followed.source()
            # A replica that starts and has not read a new file yet would tell of the old one as if that were news.
            if self._heard.get(kind) is not now and (kind in self._heard or not followed.waits()):
                await self._hear(owner, kind, followed.shown(now), tells_first=followed.tells_first)
                self._heard[kind] = now

    async def _hear(self, owner: str, kind: str, now: Shown, *, tells_first: bool) -> None:
        document = msgspec.json.encode(now, order="deterministic").decode()
        async with self._database.transaction(owner) as connection:
            before: str | None = await connection.fetchval(_HEARD, kind)
            if before is None:
                if not await connection.fetchval(_FIRST, kind, document) or not tells_first:
                    return
            elif before == document:
                return
            else:
                await connection.execute(_NOW, kind, document)
            former: Shown = msgspec.json.decode(before or "{}")
            if former == now:
                return
            change = admin_change(
                "file.read",
                f"file:{kind}",
                dt.datetime.now(dt.UTC),
                org_id=owner,
                before=_differing(former, now),
                after=_differing(now, former),
                actor="service:router",
                request_id=uuid7(),
            )
            await connection.execute(TELL, owner, change.record_id, change.record)
        self._told()


def _differing(these: Shown, others: Shown) -> Mapping[str, str | int]:
    """What is other than there, by name; of very many the first names, and how many more there are."""
    names = sorted(name for name, said in these.items() if others.get(name) != said)
    found: dict[str, str | int] = {name: these[name] for name in names[:MOST_SHOWN]}
    if len(names) > MOST_SHOWN:
        found["and_more"] = len(names) - MOST_SHOWN
    return found
