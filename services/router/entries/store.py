"""Where models of the API are kept: every change is one transaction with its version and its record."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from mesh.model_book import CHANNEL
from mesh.model_entries import ModelRow
from mesh.postgres import Database
from services.router.entries import entry_errors as errors
from services.router.policies.store import Author, VersionRow, tell

MOST_MODELS = 1000
_ALL = "SELECT model, version, document FROM mesh.models ORDER BY model"
_ONE = "SELECT model, version, document, created_at, changed_at FROM mesh.models WHERE model = $1"
_MADE = "SELECT model, version, document, created_at, changed_at FROM mesh.models WHERE request_id = $1"
_PAGE = """SELECT model, version, document, created_at, changed_at FROM mesh.models
  WHERE model > $1 AND ($2 = '' OR model = $2) ORDER BY model LIMIT $3"""
_KEEP = """INSERT INTO mesh.models (model, version, document, request_id, created_at, changed_at)
  VALUES ($1, $2, $3, $4, $5, $5)
  ON CONFLICT (model) DO UPDATE SET version = $2, document = $3, changed_at = $5
  RETURNING model, version, document, created_at, changed_at"""
_NEXT = "SELECT coalesce(max(version), 0) + 1 FROM model_versions WHERE model = $1"
_VERSION = """INSERT INTO model_versions (model, version, action, document, actor, at)
  VALUES ($1, $2, $3, $4, $5, $6)"""
_VERSIONS = """SELECT version, action, document, actor, at FROM model_versions
  WHERE model = $1 AND version < $2 ORDER BY version DESC LIMIT $3"""

Check = Callable[[Sequence[ModelRow]], None]
"""Looks at all models of the API as they stand while nobody else changes them; raises what forbids the change."""
CheckDocument = Callable[[str, Sequence[ModelRow]], None]
"""The same, of a document that is to stand again."""


@dataclasses.dataclass(frozen=True)
class KeptRow:
    """A model as it stands."""

    model: str
    version: int
    document: str
    created_at: dt.datetime
    changed_at: dt.datetime

    @property
    def etag(self) -> str:
        """Versions never come again, so the version says it."""
        return str(self.version)


class PostgresEntryStore:
    """The table mesh.models, and its versions in the schema `router`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, model: str, document: str, request_id: str, author: Author, check: Check) -> KeptRow:
        """Makes a model; the one that this request_id made already. Raises ALREADY_EXISTS and what `check` does."""
        async with self._changing(author) as connection:
            if request_id and (known := await connection.fetchrow(_MADE, request_id)) is not None:
                if known["model"] != model:
                    raise errors.request_id_used(request_id)
                return KeptRow(*known)
            rows = await self._rows(connection)
            check(rows)
            if any(one.model == model for one in rows):
                raise errors.model_exists(model)
            if len(rows) >= MOST_MODELS:
                raise errors.too_many(MOST_MODELS)
            return await self._keep(connection, model, document, "create", author, None, request_id)

    async def update(self, model: str, document: str, etag: str, author: Author, check: Check) -> KeptRow:
        """Replaces what is said of a model. Raises NOT_FOUND, FAILED_PRECONDITION for another etag, and what `check`
        does."""
        async with self._changing(author) as connection:
            before = await self._standing(connection, model, etag)
            check(await self._rows(connection))
            return await self._keep(connection, model, document, "update", author, before)

    async def rollback(self, model: str, version: int, etag: str, author: Author, check: CheckDocument) -> KeptRow:
        """Says again what an earlier version said; 0 = the one before. Raises NOT_FOUND, FAILED_PRECONDITION, and what
        `check` says of a document that is no model any more."""
        async with self._changing(author) as connection:
            latest = await connection.fetchval(_NEXT, model) - 1
            if not latest:
                raise errors.model_not_found(model)
            standing = await connection.fetchrow(_ONE, model)
            before = KeptRow(*standing) if standing is not None else None
            if etag and etag != (before.etag if before else ""):
                raise errors.etag_conflict(model, etag, before.etag if before else "")
            wanted = version or latest - 1
            found = await connection.fetchrow(_VERSIONS, model, wanted + 1, 1)
            if found is None or found["version"] != wanted or not found["document"]:
                raise errors.version_not_found(model, wanted, latest)
            rows = await self._rows(connection)
            check(found["document"], rows)
            if before is None and len(rows) >= MOST_MODELS:
                raise errors.too_many(MOST_MODELS)
            return await self._keep(connection, model, found["document"], "rollback", author, before)

    async def delete(self, model: str, etag: str, author: Author, check: Check) -> None:
        """Takes a model away. Raises NOT_FOUND, FAILED_PRECONDITION, and what `check` does."""
        async with self._changing(author) as connection:
            before = await self._standing(connection, model, etag)
            check(await self._rows(connection))
            await connection.execute("DELETE FROM mesh.models WHERE model = $1", model)
            version = await connection.fetchval(_NEXT, model)
            await connection.execute(_VERSION, model, version, "delete", "", author.actor, author.at)
            await tell(connection, author.seal(_said(before), None))

    async def versions(self, model: str, before: int, limit: int) -> list[VersionRow]:
        """The states of a model, the latest first, below a version."""
        async with self._database.transaction() as connection:
            return [VersionRow(*row) for row in await connection.fetch(_VERSIONS, model, before, limit)]

    async def page(self, after: str, only: str, limit: int) -> list[KeptRow]:
        """Models as they stand, by id, behind one; `only`: that one, empty = all."""
        async with self._database.transaction() as connection:
            return [KeptRow(*row) for row in await connection.fetch(_PAGE, after, only, limit)]

    @contextlib.asynccontextmanager
    async def _changing(self, author: Author) -> AsyncIterator[Any]:
        """A transaction that alone changes models, and tells all processes when it is done."""
        async with self._database.transaction(*([author.org_id] if author.org_id else [])) as connection:
            await connection.execute("UPDATE mesh.model_changes SET changes = changes + 1")
            yield connection
            await connection.execute("SELECT pg_notify($1, '')", CHANNEL)

    @staticmethod
    async def _rows(connection: Any) -> list[ModelRow]:
        return [ModelRow(*row) for row in await connection.fetch(_ALL)]

    @staticmethod
    async def _standing(connection: Any, model: str, etag: str) -> KeptRow:
        row = await connection.fetchrow(_ONE, model)
        if row is None:
            raise errors.model_not_found(model)
        found = KeptRow(*row)
        if etag and etag != found.etag:
            raise errors.etag_conflict(model, etag, found.etag)
        return found

    async def _keep(
        self,
        connection: Any,
        model: str,
        document: str,
        action: str,
        author: Author,
        before: KeptRow | None,
        request_id: str = "",
    ) -> KeptRow:
        version = await connection.fetchval(_NEXT, model)
        row = KeptRow(*await connection.fetchrow(_KEEP, model, version, document, request_id, author.at))
        await connection.execute(_VERSION, model, version, action, document, author.actor, author.at)
        await tell(connection, author.seal(_said(before), _said(row)))
        return row


def _said(row: KeptRow | None) -> object:
    return None if row is None else {"version": row.version, "entry": row.document}
