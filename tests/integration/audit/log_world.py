"""A log of its own for the tests: a fresh database, requests and changes of several organisations, a sequencer."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Sequence
from typing import Any

from dac.audit.v1 import log_pb2
from dac.type.v1 import record_pb2
from dac.type.v1.principal_pb2 import Level
from mesh.errors import MeshError
from mesh.ids import uuid7
from mesh.postgres import Database
from mesh.tlog.notes import Checkpoint, VerifierKey
from mesh.tlog.side_by_side import check_stretch
from mesh.tlog.tiles import WIDTH
from mesh.tlog.verification import Verification
from services.audit.follower import Arrivals
from services.audit.log.sequencer import Sequencer
from services.audit.log.server import LogServicer
from services.audit.log.signing import signer_of
from services.audit.log.store import LogStore
from services.audit.sealing.payloads import PLAIN, Payloads
from services.audit.server import request_row
from services.audit.store import ChangeRow, PostgresAuditStore
from tests.integration.budget.world import as_key

SIGNER = signer_of(b"k" * 32)
KEY = SIGNER.verifier
_cursors = itertools.count()


def request(org_id: str, **fields: Any) -> record_pb2.RequestRecord:
    record = record_pb2.RequestRecord(
        **{"org_id": org_id, "request_id": uuid7(), "asked_model": "auto", "outcome": 1, "cost_nano_usd": 7, **fields}
    )
    record.started_at.GetCurrentTime()
    record.path.add(kind=Level.KIND_KEY, id=uuid7())
    record.attempts.add(model="test/free", provider="test")
    return record


def change(org_id: str, **fields: Any) -> record_pb2.AdminRecord:
    record = record_pb2.AdminRecord(
        **{"org_id": org_id, "record_id": uuid7(), "actor": "operator", "action": "key.create", **fields}
    )
    record.at.GetCurrentTime()
    return record


class Given:
    """A stretch that has been read."""

    def __init__(self, parts: list[bytes]) -> None:
        self._parts = parts

    def __call__(self, first: int, end: int) -> list[bytes]:
        return self._parts


class World:
    """What writes and reads one log."""

    def __init__(self, database: Database, payloads: Payloads = PLAIN) -> None:
        self.database, self.payloads = database, payloads
        self.records = PostgresAuditStore(database, payloads)
        self.store = LogStore(database, payloads)
        self.servicer = LogServicer(self.store, Arrivals())

    def sequencer(self, batch: int = 1000, key: Any = SIGNER, heads_every_s: float = 0) -> Sequencer:
        return Sequencer(
            self.store,
            lambda: key,
            Arrivals(),
            batch=batch,
            poll_s=0.2,
            retry_s=0.1,
            random=os.urandom,
            heads_every_s=heads_every_s,
        )

    async def ask(self, *records: record_pb2.RequestRecord) -> None:
        await self.records.insert_requests([request_row(record) for record in records], str(next(_cursors)))

    async def administer(self, *records: record_pb2.AdminRecord) -> None:
        rows = [ChangeRow(one.org_id, one.record_id, one.at.ToDatetime(), one.SerializeToString()) for one in records]
        from datetime import UTC

        await self.records.insert_changes([row._replace(at=row.at.replace(tzinfo=UTC)) for row in rows])

    async def sequence(self, sequencer: Sequencer | None = None) -> int:
        one = sequencer or self.sequencer()
        if sequencer is None:
            await one.lead()
        done = 0
        while fresh := await one.step():
            done += fresh
        return done

    async def checkpoint(self) -> log_pb2.GetCheckpointResponse:
        with as_key(uuid7(), "read"):
            return await self.servicer.GetCheckpoint(log_pb2.GetCheckpointRequest(), None)

    async def verify(
        self, outside: Checkpoint | None = None, key: VerifierKey | None = KEY, servicer: LogServicer | None = None
    ) -> Verification:
        with as_key("", "operator"):
            verification = Verification(key, outside)
            async for part in (servicer or self.servicer).ReadLog(log_pb2.ReadLogRequest(), None):
                # In parts of odd sizes, as they come from a socket.
                for at in range(0, len(part.data), 50_021):
                    verification.feed(part.data[at : at + 50_021])
            await self._prove_kept(verification, outside, servicer or self.servicer)
            verification.finish()
            in_stretches = await self._verify_in_stretches(outside, key, servicer or self.servicer)
        assert bool(in_stretches.faults) == bool(verification.faults), in_stretches.findings
        return verification

    async def _verify_in_stretches(
        self, outside: Checkpoint | None, key: VerifierKey | None, servicer: LogServicer
    ) -> Verification:
        """The same from stretches of a tile or two, each checked by itself."""
        verification = Verification(key, outside)
        size = (await servicer._store.head()).size // WIDTH * WIDTH
        start = (await servicer._store.started()).idx
        if start:
            asked = log_pb2.ReadLogRequest(first=0, end=start)
            verification.begin([part.data async for part in servicer.ReadLog(asked, None)])
        stretches = {}
        # In any order: they know nothing of each other.
        for first in reversed(range(start, size, 2 * WIDTH)):
            end = min(first + 2 * WIDTH, size)
            asked = log_pb2.ReadLogRequest(first=first, end=end)
            parts = [part.data async for part in servicer.ReadLog(asked, None)]
            stretches[end] = check_stretch(Given(parts), first, end, verification.kept_size)
        for end in sorted(stretches):
            verification.join(stretches[end], end)
        async for part in servicer.ReadLog(log_pb2.ReadLogRequest(first=verification.due), None):
            verification.feed(part.data)
        await self._prove_kept(verification, outside, servicer)
        verification.finish()
        return verification

    async def _prove_kept(self, verification: Verification, outside: Checkpoint | None, servicer: LogServicer) -> None:
        """Asks for the proof of a checkpoint whose last entries are gone, as the command does."""
        if outside and verification.checkpoint and outside.size < verification.start:
            asked = log_pb2.GetConsistencyProofRequest(size=outside.size, to_size=verification.checkpoint.size)
            with contextlib.suppress(MeshError):
                verification.kept_proof = list((await servicer.GetConsistencyProof(asked, None)).hashes)


class OneConnection:
    """A Database of one connection, within whose transaction everything is read."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    @contextlib.asynccontextmanager
    async def transaction(self, *org_ids: str) -> AsyncIterator[Any]:
        yield self._connection


async def file(servicer: LogServicer, path: str, scopes: Sequence[str] = ("read",)) -> bytes:
    with as_key(uuid7(), *scopes):
        return b"".join([part.data async for part in servicer.ReadFile(log_pb2.ReadFileRequest(path=path), None)])
