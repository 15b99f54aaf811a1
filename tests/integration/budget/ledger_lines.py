"""Lines of the ledger written by hand: what a month of traffic leaves, without the traffic."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from mesh.ids import uuid7
from mesh.postgres import Database

INSERT = """INSERT INTO ledger (org_id, reservation_id, attempt_id, kind, amount, price_version, request_id, counters,
                                at, provider, model, operation, path, tags, tokens)
  VALUES ($1, $2, $3, $4, $5, 1, $6, $7, $8, $9, $10, $11, $12, $13, $14)"""
MANY = """INSERT INTO ledger (org_id, reservation_id, attempt_id, kind, amount, price_version, request_id, counters, at,
                              provider, model, operation, path, tags, tokens)
  SELECT $1::uuid, gen_random_uuid(), '0:a' || g, 'commit', g, 1, gen_random_uuid(), ARRAY['b@1', 'c@2'],
         $2::timestamptz + g * $3::interval, 'p' || g % 3, 'p/m' || g % 7, 'chat',
         ARRAY['org:' || $1::uuid::text, 'team:' || g % 5, 'team:' || g % 50, 'project:' || g % 20, 'user:' || g % 200,
               'key:' || g % 500], ARRAY['env=prod', 'app=a' || g % 4], ARRAY[g % 1000, 1, 2, 3, 4]::bigint[]
  FROM generate_series(1, $4::integer) AS g"""


@dataclass(frozen=True)
class Ledger:
    """Writes lines for one organisation, as the service's own role."""

    database: Database
    org_id: str

    async def add(
        self,
        at: str,
        amount: int,
        *,
        kind: str = "commit",
        attempt: str = "0:a",
        request: str = "",
        provider: str = "openai",
        model: str = "openai/gpt-4o",
        operation: str = "chat",
        path: tuple[str, ...] = (),
        tags: tuple[str, ...] = (),
        tokens: tuple[int, ...] = (),
        counters: tuple[str, ...] = (),
    ) -> str:
        """One line; returns its request, which another line may go on with."""
        request = request or uuid7()
        moment = dt.datetime.fromisoformat(at)
        values: tuple[Any, ...] = (request, attempt, kind, amount, request, list(counters), moment, provider, model)
        whole = [f"org:{self.org_id}", *path]
        async with self.database.transaction(self.org_id) as connection:
            await connection.execute(INSERT, self.org_id, *values, operation, whole, list(tags), list(tokens))
        return request

    async def fill(self, lines: int, start: str, every: dt.timedelta) -> None:
        """Many lines of seven models, fifty teams and five hundred keys."""
        async with self.database.transaction(self.org_id) as connection:
            await connection.execute(MANY, self.org_id, dt.datetime.fromisoformat(start), every, lines)
