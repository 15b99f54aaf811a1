"""A log with old entries whose payloads are gone, ready to be dropped: for the tests of the log's start."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import asyncpg

from dac.audit.v1 import log_pb2
from dac.type.v1 import record_pb2
from mesh.ids import uuid7
from mesh.postgres import Database
from mesh.tlog.notes import Checkpoint, open_checkpoint
from mesh.tlog.packing import WINDOW
from mesh.tlog.tiles import WIDTH
from services.audit.log.dropper import Dropper
from services.audit.log.packer import Packer
from services.audit.log.sequencer import Sequencer
from services.audit.sealing.payloads import PLAIN, Payloads
from tests.conftest import Migrated
from tests.integration.audit.log_world import KEY, change, request
from tests.integration.audit.test_retention import NOW, Kept

OLD_DAYS = 3000
ORGS = [uuid7() for _ in range(3)]
"""Of the first every window has entries, of the second only the first one has, of the third every other entry is."""


class Dropped(Kept):
    """The log, a sequencer that only the test steps, and what drops."""

    def __init__(self, database: Database, made: Migrated, payloads: Payloads = PLAIN) -> None:
        super().__init__(database, made, payloads)
        self.keeper._wait_s = 0
        self.leader: Sequencer = self.sequencer(heads_every_s=1e-6)
        self.dropper = self.dropping()
        self.servicer._dropper = self.dropper

    def dropping(self, kept_days: int = 2557, *, needs_archive: bool = False) -> Dropper:
        """What drops leaves that are so old."""
        return Dropper(
            self.store,
            self.leader.begin_at,
            kept_days=kept_days,
            needs_archive=needs_archive,
            every_s=3600,
            clock=lambda: NOW,
        )

    async def fill(self, windows: int = 1, rest: int = 2 * WIDTH) -> list[record_pb2.RequestRecord]:
        """Stores old entries of so many windows and some more, and a change of each organisation; the requests."""
        await self.leader.lead()
        made = []
        for number in range(windows * WINDOW + rest):
            one = request(ORGS[2] if number % 2 else ORGS[1] if number < WIDTH else ORGS[0])
            one.started_at.seconds -= OLD_DAYS * 86_400
            made.append(one)
        changes = [change(org_id) for org_id in ORGS]
        for told in changes:
            told.at.seconds -= OLD_DAYS * 86_400
        await self.administer(*changes)
        await self.store_all(made)
        return made

    async def store_all(self, records: Sequence[record_pb2.RequestRecord]) -> None:
        """Stores requests, each batch with its leaves."""
        for start in range(0, len(records), 1000):
            await self.ask(*records[start : start + 1000])
            await self.sequence(self.leader)

    async def redact(self) -> None:
        """Prunes every old record, and packs what is old."""
        await self.counting.everything()
        for _ in range(4):
            await self.prune(NOW - dt.timedelta(days=100), with_changes=True)
            await self.sequence(self.leader)
            await self.keeper.carry_out_all()
        await Packer(self.store, 90, 3600).round(NOW)
        await self.sequence(self.leader)

    async def drop(self) -> int:
        """Drops what may go; how many entries."""
        done = 0
        while dropped := await self.dropper.round():
            done += dropped
        return done

    async def kept_now(self) -> Checkpoint:
        """A checkpoint to keep elsewhere."""
        return open_checkpoint((await self.store.head()).checkpoint, KEY)

    async def proof(self, size: int, to_size: int = 0) -> list[bytes]:
        """The log's proof that it begins with a tree of a size."""
        from tests.integration.budget.world import as_key

        asked = log_pb2.GetConsistencyProofRequest(size=size, to_size=to_size)
        with as_key(uuid7(), "read"):
            return list((await self.servicer.GetConsistencyProof(asked, None)).hashes)

    async def as_superuser(self, *statements: str) -> None:
        """Edits the database behind everybody's back."""
        connection = await asyncpg.connect(
            self.made.superuser_dsn, server_settings={"search_path": "audit", "session_replication_role": "replica"}
        )
        for statement in statements:
            await connection.execute(statement)
        await connection.close()


@contextlib.asynccontextmanager
async def copy_of(made: Migrated, make_database: Callable[..., Awaitable[Migrated]]) -> AsyncIterator[Dropped]:
    """A log in a database of its own that has all that is in another, with a leader that has taken it over."""
    copy = await make_database(made.services, like=made)
    database = Database(copy.dsn("audit"), "audit")
    log = Dropped(database, copy)
    await log.leader.lead()
    yield log
    await database.close()
