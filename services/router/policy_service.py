"""How the part of the router that is about policies is put together: files, tables, servicer, and telling audit."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Sequence

import grpc.aio

from dac.audit.v1 import audit_pb2, audit_pb2_grpc
from dac.router.v1 import policy_pb2_grpc
from dac.type.v1 import record_pb2
from dac.type.v1.principal_pb2 import Principal
from mesh.call import acting_as
from mesh.config import ConfigError
from mesh.errors import MeshError
from mesh.service import Context
from services.router.changes import ChangeTeller
from services.router.policies import RoutingPolicy
from services.router.policy_book import PolicyBook
from services.router.policy_files import PolicyFiles
from services.router.policy_server import PolicyServicer
from services.router.policy_store import PostgresPolicyStore

AUDIT_TIMEOUT_S = 10.0


class PolicyDesk:
    """Policies as the router's other parts see them."""

    def __init__(self, context: Context, base: RoutingPolicy, *, poll_s: float) -> None:
        """Raises ConfigError when the files are bad. `base` is what a policy is where it says nothing."""
        try:
            files = PolicyFiles(context.documents, base)
        except MeshError as error:
            raise ConfigError(error.message) from None
        store = PostgresPolicyStore(context.database) if context.database is not None else None
        self.book = PolicyBook(store, files, base, poll_s=poll_s, clock=time.monotonic)
        self._channel_to = context.channel_to
        self._teller = ChangeTeller(store, self._append) if store is not None else None
        self.told = self._teller.wake if self._teller is not None else lambda: None
        """To be called when something waits for audit."""
        self.servicer = PolicyServicer(self.book, store, base, _now, self.told)

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

    async def close(self) -> None:
        """Stops; what was not told yet waits in the outbox."""
        if self._teller is not None:
            await self._teller.close()
        await self.book.close()

    async def _append(self, records: Sequence[bytes]) -> None:
        parsed = [record_pb2.AdminRecord.FromString(record) for record in records]
        with acting_as("router"):
            stub = audit_pb2_grpc.AuditServiceStub(self._channel_to("audit"))
            await stub.Append(audit_pb2.AppendRequest(records=parsed), timeout=AUDIT_TIMEOUT_S)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
