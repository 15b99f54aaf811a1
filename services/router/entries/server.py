"""The RPCs of PolicyService that are about models: who may, proto in, store, proto out."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Sequence
from typing import Any

from dac.router.v1 import entry_pb2
from dac.type.v1 import principal_pb2
from mesh.call import require_scope
from mesh.catalog import ModelEntry
from mesh.config import ConfigError
from mesh.errors import MeshError, Reason, invalid
from mesh.ids import is_uuid
from mesh.model_book import ModelBook
from mesh.model_entries import CONFIG, Joiner, ModelRow, check_entry, parse_entry
from services.router.changes import author
from services.router.entries import entry_errors as errors
from services.router.entries.form import decoded, document_of, kept_message, version_message
from services.router.entries.store import PostgresEntryStore
from services.router.policies.store import Author

PAGE = 100


class EntryDesk:
    """Makes, changes and takes away models for callers."""

    def __init__(
        self,
        store: PostgresEntryStore | None,
        book: ModelBook | None,
        now: Callable[[], dt.datetime],
        told: Callable[[], None],
    ) -> None:
        """`told` is called when something waits for audit."""
        self._kept, self._book, self._now, self._told = store, book, now, told
        self._joiner = Joiner()
        self.provider_names: Callable[[], Collection[str]] = tuple
        """Every provider that there is; set once somebody knows."""

    async def create(self, request: entry_pb2.CreateModelRequest) -> entry_pb2.CreateModelResponse:
        """See PolicyService.CreateModel."""
        principal = require_scope("operator")
        if request.request_id and not is_uuid(request.request_id):
            raise invalid("request_id", f'request_id "{request.request_id[:80]}" is not a UUID.')
        entry, document = document_of(request.entry)
        by = self._author(principal, "model.create", entry.model)

        def check(rows: Sequence[ModelRow]) -> None:
            self._check(entry, rows)

        row = await self._store.create(entry.model, document, request.request_id.lower(), by, check)
        await self._changed()
        return entry_pb2.CreateModelResponse(model=kept_message(row))

    async def update(self, request: entry_pb2.UpdateModelRequest) -> entry_pb2.UpdateModelResponse:
        """See PolicyService.UpdateModel."""
        principal = require_scope("operator")
        if request.entry.model not in ("", request.model):
            raise invalid(
                "entry.model",
                f'entry.model is "{request.entry.model[:200]}", and the path names another one: leave '
                "it out, or make a new model under that id.",
            )
        request.entry.model = request.model
        entry, document = document_of(request.entry)
        by = self._author(principal, "model.update", entry.model)

        def check(rows: Sequence[ModelRow]) -> None:
            self._check(entry, rows)

        row = await self._store.update(entry.model, document, request.etag, by, check)
        await self._changed()
        return entry_pb2.UpdateModelResponse(model=kept_message(row))

    async def delete(self, request: entry_pb2.DeleteModelRequest) -> entry_pb2.DeleteModelResponse:
        """See PolicyService.DeleteModel."""
        principal, model = require_scope("operator"), request.model
        self._check_ours(model)

        def check(rows: Sequence[ModelRow]) -> None:
            rest = [one for one in rows if one.model != model]
            left, _ = self._joiner.join(self._files, rest)
            if any(one.model == model for one in left):
                return
            standing, _ = self._joiner.join(self._files, rows)
            if users := [one.model for one in standing if model in one.fallbacks and one.model != model]:
                raise errors.model_in_use(model, users)

        await self._store.delete(model, request.etag, self._author(principal, "model.delete", model), check)
        await self._changed()
        return entry_pb2.DeleteModelResponse()

    async def versions(self, request: entry_pb2.ListModelVersionsRequest) -> entry_pb2.ListModelVersionsResponse:
        """See PolicyService.ListModelVersions. The page token is the last version of the page before."""
        require_scope("operator")
        size = _page_size(request.page_size)
        if request.page_token and not (request.page_token.isascii() and request.page_token.isdigit()):
            raise invalid("page_token", f'page_token "{request.page_token[:40]}" is of no list of versions.')
        before = min(int(request.page_token[:18] or 2**62), 2**62)
        found = await self._store.versions(request.model, before, size + 1)
        if not found and not request.page_token:
            self._check_ours(request.model)
            raise errors.model_not_found(request.model)
        token = str(found[size - 1].version) if len(found) > size else ""
        return entry_pb2.ListModelVersionsResponse(
            versions=[version_message(row) for row in found[:size]], next_page_token=token
        )

    async def rollback(self, request: entry_pb2.RollbackModelRequest) -> entry_pb2.RollbackModelResponse:
        """See PolicyService.RollbackModel."""
        principal = require_scope("operator")
        if request.version < 0:
            raise invalid("version", f"version must not be negative, it is {request.version}.")
        by = self._author(principal, "model.rollback", request.model)

        def check(document: str, rows: Sequence[ModelRow]) -> None:
            try:
                entry = parse_entry(decoded(document), "entry")
            except ConfigError as error:
                raise invalid("version", f"What that version says is refused by now: {error.message}") from None
            self._check(entry, rows)

        row = await self._store.rollback(request.model, request.version, request.etag, by, check)
        await self._changed()
        return entry_pb2.RollbackModelResponse(model=kept_message(row))

    async def listed(self, request: entry_pb2.ListKeptModelsRequest) -> entry_pb2.ListKeptModelsResponse:
        """See PolicyService.ListKeptModels. The page token is the last id of the page before."""
        require_scope("operator")
        size = _page_size(request.page_size)
        rows = await self._store.page(request.page_token, request.model, size + 1)
        token = rows[size - 1].model if len(rows) > size else ""
        return entry_pb2.ListKeptModelsResponse(
            models=[kept_message(row) for row in rows[:size]], next_page_token=token
        )

    @property
    def _store(self) -> PostgresEntryStore:
        if self._kept is None:
            raise errors.no_database()
        return self._kept

    @property
    def _files(self) -> tuple[ModelEntry, ...]:
        return self._book.files.now if self._book is not None else ()

    def _author(self, principal: principal_pb2.Principal, action: str, model: str) -> Author:
        return author(principal, action, f"model:{model}", self._now(), org_id=principal.org_id)

    def _check_ours(self, model: str) -> None:
        """Raises MANAGED_BY_FILE for a model that a file describes."""
        if any(one.model == model and one.source == CONFIG for one in self._files):
            raise errors.model_of_file(model)

    def _check(self, entry: ModelEntry, rows: Sequence[ModelRow]) -> None:
        """Raises MANAGED_BY_FILE, or INVALID_REQUEST for what cannot stand beside the others."""
        self._check_ours(entry.model)
        others, _ = self._joiner.join(self._files, [one for one in rows if one.model != entry.model])
        try:
            check_entry(entry, others, self.provider_names(), "entry")
        except ConfigError as error:
            raise invalid("entry", error.message) from None

    async def _changed(self) -> None:
        """This process knows at once; the others within a second."""
        self._told()
        if self._book is None:
            return
        self._book.wake()
        try:
            await self._book.look()
        except MeshError as error:
            if error.reason is not Reason.UNAVAILABLE:
                raise


class EntryRpcs:
    """The methods of PolicyService that are about models."""

    entries: EntryDesk

    async def CreateModel(self, request: entry_pb2.CreateModelRequest, context: Any) -> entry_pb2.CreateModelResponse:
        """See the proto."""
        return await self.entries.create(request)

    async def ListKeptModels(
        self, request: entry_pb2.ListKeptModelsRequest, context: Any
    ) -> entry_pb2.ListKeptModelsResponse:
        """See the proto."""
        return await self.entries.listed(request)

    async def UpdateModel(self, request: entry_pb2.UpdateModelRequest, context: Any) -> entry_pb2.UpdateModelResponse:
        """See the proto."""
        return await self.entries.update(request)

    async def DeleteModel(self, request: entry_pb2.DeleteModelRequest, context: Any) -> entry_pb2.DeleteModelResponse:
        """See the proto."""
        return await self.entries.delete(request)

    async def ListModelVersions(
        self, request: entry_pb2.ListModelVersionsRequest, context: Any
    ) -> entry_pb2.ListModelVersionsResponse:
        """See the proto."""
        return await self.entries.versions(request)

    async def RollbackModel(
        self, request: entry_pb2.RollbackModelRequest, context: Any
    ) -> entry_pb2.RollbackModelResponse:
        """See the proto."""
        return await self.entries.rollback(request)


def _page_size(wanted: int) -> int:
    if wanted < 0:
        raise invalid("page_size", f"page_size must not be negative, it is {wanted}.")
    return min(wanted or PAGE, PAGE)
