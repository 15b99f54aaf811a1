"""How the part of the router that is about policies is put together: files, tables, servicer, and telling audit."""

from __future__ import annotations

import datetime as dt
import functools
import time

import grpc.aio

from dac.router.v1 import policy_pb2_grpc
from dac.type.v1.principal_pb2 import Principal
from mesh.admin_changes import APPEND_TIMEOUT_S, ChangeTeller, append_to_audit
from mesh.config import ConfigError
from mesh.errors import MeshError
from mesh.service import Context
from services.router.entries.server import EntryDesk
from services.router.entries.store import PostgresEntryStore
from services.router.policies.book import PolicyBook
from services.router.policies.file_changes import FileChanges, shown_models, shown_policies, shown_tenants
from services.router.policies.files import PolicyFiles
from services.router.policies.policies import RoutingPolicy
from services.router.policies.server import PolicyServicer
from services.router.policies.store import PostgresPolicyStore
from services.router.policies.tenant_store import PostgresTenantStore

OPERATORS = "default"
"""The operator's organisation: what files say is recorded there."""


class PolicyDesk:
    """Policies as the router's other parts see them."""

    def __init__(self, context: Context, base: RoutingPolicy, *, poll_s: float) -> None:
        """Raises ConfigError when the files are bad. `base` is what a policy is where it says nothing."""
        try:
            files = PolicyFiles(context.documents, base)
        except MeshError as error:
            raise ConfigError(error.message) from None
        store = tenants = None
        if context.database is not None:
            store = PostgresPolicyStore(context.database)
            tenants = PostgresTenantStore(context.database, store)
        self.book = PolicyBook(store, files, base, poll_s=poll_s, clock=time.monotonic)
        append = append_to_audit("router", context.channel_to, APPEND_TIMEOUT_S)
        self._teller = ChangeTeller("router", store, append) if store is not None else None
        self.told = self._teller.wake if self._teller is not None else lambda: None
        """To be called when something waits for audit."""
        kept = PostgresEntryStore(context.database) if context.database is not None else None
        entries = EntryDesk(kept, context.model_book, _now, self.told)
        self._files = None
        if context.database is not None:
            owner = functools.partial(self.book.organisation_named, OPERATORS)
            self._files = FileChanges(context.database, owner, self.told, every_s=poll_s)
            self._files.follow("policies", lambda: files.now, shown_policies, waits=lambda: files.changed)
            self._files.follow("tenants", lambda: files.now, shown_tenants, waits=lambda: files.changed)
            if (models := context.model_book) is not None:
                filed = models.files
                self._files.follow(
                    "models", lambda: filed.now, shown_models, waits=lambda: filed.changed, tells_first=False
                )
        self.servicer = PolicyServicer(self.book, store, base, _now, self.told, entries, tenants)

    def policy_for(self, principal: Principal) -> RoutingPolicy:
        """The policy in force for a caller. Raises UNAVAILABLE while that cannot be known."""
        return self.book.now.for_principal(principal.org_id, [level.id for level in principal.path])

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the servicer."""
        policy_pb2_grpc.add_PolicyServiceServicer_to_server(self.servicer, server)

    async def start(self) -> None:
        """Reads the policies, follows them, and begins to tell audit."""
        await self.book.start()
        if self._teller is not None:
            self._teller.start()
        if self._files is not None:
            self._files.start()

    async def close(self) -> None:
        """Stops; what was not told yet waits in the outbox."""
        if self._files is not None:
            await self._files.close()
        if self._teller is not None:
            await self._teller.close()
        await self.book.close()


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
