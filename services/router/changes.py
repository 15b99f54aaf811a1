"""Telling audit of administrative changes: sealed in the transaction of the change, told until audit has them."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from dac.type.v1 import principal_pb2, record_pb2
from mesh import call
from mesh.errors import MeshError
from mesh.ids import uuid7
from services.router.policy_store import Author, Change, PostgresPolicyStore

RETRY_S = 5.0
_log = logging.getLogger(__name__)


def actor_of(principal: principal_pb2.Principal) -> str:
    """The actor of an administrative record."""
    if principal.kind == principal_pb2.Principal.KIND_SERVICE:
        return f"service:{principal.service}"
    if principal.kind == principal_pb2.Principal.KIND_OPERATOR:
        return "operator"
    return f"key:{principal.key_id}" if principal.key_id else f"user:{principal.user_id}"


def author(principal: principal_pb2.Principal, action: str, target: str, at: dt.datetime, *, org_id: str) -> Author:
    """Who changes something, with the record of it. Without an organisation nobody could read one: there is none."""
    actor, request_id = actor_of(principal), call.current().request_id

    def seal(before: object, after: object) -> Change | None:
        if not org_id:
            return None
        record = record_pb2.AdminRecord(
            record_id=uuid7(),
            org_id=org_id,
            actor=actor,
            action=action,
            target=target,
            before_json="" if before is None else msgspec.json.encode(before).decode(),
            after_json="" if after is None else msgspec.json.encode(after).decode(),
            request_id=request_id,
        )
        record.at.FromDatetime(at)
        return Change(org_id, record.record_id, record.SerializeToString())

    return Author(actor, org_id, at, seal)


class ChangeTeller:
    """Delivers what waits in the outbox. Replicas may deliver twice: audit takes each record id once."""

    def __init__(self, store: PostgresPolicyStore, append: Callable[[Sequence[bytes]], Awaitable[None]]) -> None:
        self._store, self._append = store, append
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins delivering in the background."""
        self._task = asyncio.create_task(self._run(), name="router-changes")

    async def close(self) -> None:
        """Stops; what was not told yet waits in the outbox."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def wake(self) -> None:
        """Something was just written."""
        self._wake.set()

    async def tell(self) -> int:
        """Delivers what waits; returns how many. Raises MeshError."""
        changes = await self._store.untold()
        if changes:
            await self._append([change.record for change in changes])
            await self._store.told(changes)
        return len(changes)

    async def _run(self) -> None:
        while True:
            try:
                while await self.tell():
                    pass
            except MeshError as error:
                _log.debug("audit could not be told yet: %s", error.message)
            except Exception:
                _log.exception("telling audit failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RETRY_S):
                    await self._wake.wait()
            self._wake.clear()
