"""Where requests with an Idempotency-Key stand: who is at them, and what came of them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
from typing import Protocol

from mesh.postgres import Database
from services.gateway.errors import too_many_keyed


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """A request that came with a key."""

    org_id: str
    caller: str
    key_hash: bytes
    fingerprint: bytes
    """What the request says: two that differ in it are not the same."""


class State(enum.Enum):
    """What a claim finds."""

    TAKEN = enum.auto()
    """It is the claimer's to carry out."""
    RUNNING = enum.auto()
    """Somebody is at it."""
    OTHER = enum.auto()
    """The key stands for another request."""
    FINISHED = enum.auto()
    """It was carried out."""


@dataclasses.dataclass(frozen=True, slots=True)
class Claim:
    """What stands under a key."""

    state: State
    request_id: str = ""
    """Stays the same however often the request is carried out."""
    again: bool = False
    """Somebody carried it out before, and what came of it is not known."""
    answer: bytes | None = None
    """Sealed; None of a finished one = it was too large to be kept."""
    master_key_id: str = ""


class Store(Protocol):
    """What keeps them."""

    async def claim(self, asked: Asked, run_id: str, request_id: str, run_s: float, kept_s: float, most: int) -> Claim:
        """Takes the request for `run_s` when nobody has it. Raises RATE_LIMITED when its caller has `most` already."""

    async def finish(self, asked: Asked, run_id: str, master_key_id: str, answer: bytes | None, kept_s: float) -> None:
        """It was carried out by this run."""

    async def release(self, asked: Asked, run_id: str) -> None:
        """This run ended, and nobody knows what came of it: the next one may take it."""

    async def forget(self, asked: Asked, run_id: str) -> None:
        """This run was refused: nothing came of it."""

    async def sweep(self, most: int) -> int:
        """Removes what is kept no longer; how many."""


_CLAIM = """INSERT INTO idempotent_requests AS kept
    (org_id, caller, key_hash, fingerprint, run_id, request_id, runs_until, kept_until)
  VALUES ($1, $2, $3, $4, $5, $6, now() + $7, now() + $8)
  ON CONFLICT (org_id, caller, key_hash) DO UPDATE SET fingerprint = EXCLUDED.fingerprint, run_id = EXCLUDED.run_id,
    request_id = CASE WHEN kept.kept_until < now() THEN EXCLUDED.request_id ELSE kept.request_id END,
    runs_until = EXCLUDED.runs_until, kept_until = EXCLUDED.kept_until, finished_at = NULL, answer = NULL,
    master_key_id = ''
  WHERE kept.kept_until < now()
    OR (kept.finished_at IS NULL AND kept.runs_until <= now() AND kept.fingerprint = EXCLUDED.fingerprint)
  RETURNING request_id::text, request_id <> $6 AS again"""
_FOUND = """SELECT fingerprint = $4, finished_at IS NOT NULL, answer, master_key_id FROM idempotent_requests
  WHERE org_id = $1 AND caller = $2 AND key_hash = $3"""
_COUNT = """SELECT count(*) FROM
  (SELECT FROM idempotent_requests WHERE org_id = $1 AND caller = $2 AND kept_until > now() LIMIT $3) AS counted"""
_FINISH = """UPDATE idempotent_requests
  SET finished_at = now(), kept_until = now() + $5, master_key_id = $6, answer = $7
  WHERE org_id = $1 AND caller = $2 AND key_hash = $3 AND run_id = $4"""
_RELEASE = """UPDATE idempotent_requests SET runs_until = now()
  WHERE org_id = $1 AND caller = $2 AND key_hash = $3 AND run_id = $4"""
_FORGET = """DELETE FROM idempotent_requests
  WHERE org_id = $1 AND caller = $2 AND key_hash = $3 AND run_id = $4"""


class PostgresRequests:
    """Store in PostgreSQL. Every time is the database's, so that replicas agree."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, asked: Asked, run_id: str, request_id: str, run_s: float, kept_s: float, most: int) -> Claim:
        """See Store."""
        place = asked.org_id, asked.caller, asked.key_hash
        lasts = dt.timedelta(seconds=run_s), dt.timedelta(seconds=kept_s)
        async with self._database.transaction(asked.org_id) as connection:
            row = await connection.fetchrow(_CLAIM, *place, asked.fingerprint, run_id, request_id, *lasts)
            if row is not None:
                counted = 0 if row[1] else await connection.fetchval(_COUNT, asked.org_id, asked.caller, most + 1)
                if counted > most:
                    raise too_many_keyed(most)
                return Claim(State.TAKEN, row[0], again=row[1])
            # The insert locked the row that it met: it stands until this transaction ends.
            same, finished, answer, master_key_id = await connection.fetchrow(_FOUND, *place, asked.fingerprint)
        if not same:
            return Claim(State.OTHER)
        if not finished:
            return Claim(State.RUNNING)
        return Claim(State.FINISHED, answer=answer, master_key_id=master_key_id)

    async def finish(self, asked: Asked, run_id: str, master_key_id: str, answer: bytes | None, kept_s: float) -> None:
        """See Store."""
        await self._write(_FINISH, asked, run_id, dt.timedelta(seconds=kept_s), master_key_id, answer)

    async def release(self, asked: Asked, run_id: str) -> None:
        """See Store."""
        await self._write(_RELEASE, asked, run_id)

    async def forget(self, asked: Asked, run_id: str) -> None:
        """See Store."""
        await self._write(_FORGET, asked, run_id)

    async def _write(self, statement: str, asked: Asked, run_id: str, *values: object) -> None:
        async with self._database.transaction(asked.org_id) as connection:
            await connection.execute(statement, asked.org_id, asked.caller, asked.key_hash, run_id, *values)

    async def sweep(self, most: int) -> int:
        """See Store."""
        async with self._database.transaction() as connection:
            return int(await connection.fetchval("SELECT sweep_idempotent_requests($1)", most))
