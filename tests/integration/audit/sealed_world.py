"""A log with retention whose payloads are sealed, and looks at what stands in its database."""

from __future__ import annotations

import asyncio
import base64
import re
from typing import Any

import asyncpg

from dac.audit.v1 import audit_pb2
from dac.type.v1 import record_pb2
from mesh.embedded import postgres_bin
from mesh.keyring import Keyring
from mesh.postgres import Database
from services.audit.config import AuditConfig
from services.audit.follower import Arrivals
from services.audit.lists import Lists
from services.audit.sealing.server import Sealing
from services.audit.server import AuditServicer
from tests.conftest import Migrated
from tests.integration.audit.test_retention import Kept
from tests.integration.budget.world import as_key

MASTER = Keyring(b"m" * 32)
CANARY = "Harbouvelle"


class SealedWorld(Kept):
    """What writes and reads one log of sealed payloads."""

    def __init__(self, database: Database, made: Migrated, keyring: Keyring = MASTER, *, seals: bool = True) -> None:
        self.sealing = Sealing(database, keyring, seals=seals)
        super().__init__(database, made, self.sealing.payloads)
        lists = Lists(database, self.payloads)
        self.audit = AuditServicer(self.records, lists, Arrivals(), AuditConfig(settle_wait_s=0))

    def replica(self, keyring: Keyring = MASTER, *, seals: bool = True) -> SealedWorld:
        """Another one over the same database."""
        return SealedWorld(self.database, self.made, keyring, seals=seals)

    async def get(self, org_id: str, request_id: str) -> record_pb2.RequestRecord:
        with as_key(org_id, "read"):
            return (await self.audit.GetRequest(audit_pb2.GetRequestRequest(request_id=request_id), None)).request

    async def list(self, org_id: str, **fields: Any) -> list[record_pb2.RequestRecord]:
        with as_key(org_id, "read"):
            return list((await self.audit.ListRequests(audit_pb2.ListRequestsRequest(**fields), None)).requests)

    async def list_changes(self, org_id: str, **fields: Any) -> list[record_pb2.AdminRecord]:
        with as_key(org_id, "admin"):
            return list((await self.audit.ListChanges(audit_pb2.ListChangesRequest(**fields), None)).changes)

    async def told(self, org_id: str, action: str) -> list[record_pb2.AdminRecord]:
        found = await self.list_changes(org_id, action=action, page_size=500)
        return sorted(found, key=lambda one: one.at.ToNanoseconds())

    async def as_administrator(self, *statements: str) -> list[Any]:
        """What somebody with the whole database does; the rows of the last statement."""
        connection = await asyncpg.connect(self.made.superuser_dsn, server_settings={"search_path": "audit"})
        try:
            await connection.execute("SET session_replication_role = replica")
            found: list[Any] = []
            for statement in statements:
                found = await connection.fetch(statement)
            return found
        finally:
            await connection.close()

    async def live_keys(self, org_id: str) -> set[str]:
        """The subjects whose keys are there."""
        rows = await self.as_administrator(
            f"SELECT subject FROM payload_keys WHERE org_id = '{org_id}' AND wrapped_key <> ''"
        )
        return {row[0] for row in rows}

    async def dump(self) -> bytes:
        """Everything in the schema."""
        command = (postgres_bin() / "pg_dump", "-n", "audit", self.made.superuser_dsn)
        dump = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        dumped, _ = await dump.communicate()
        assert b"CREATE TABLE audit.requests" in dumped
        return dumped


def found_in(dump: bytes, text: str = CANARY) -> list[str]:
    """Where a text stands in a dump: as it is, and as hexadecimal or base64 of bytes."""
    needles = [text.encode(), text.encode().hex().encode()]
    needles += [base64.b64encode(b"x" * shift + text.encode())[4:-4] for shift in range(3)]
    return [
        dump[max(0, hit.start() - 60) : hit.end() + 40].decode("utf-8", "replace")
        for needle in needles
        for hit in re.finditer(re.escape(needle), dump)
    ]
