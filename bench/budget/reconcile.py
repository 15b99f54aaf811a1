"""Independent accounting: plain sums over budget's rows, beside what the callers were told. None of budget's code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import asyncpg

CHARGED = """
SELECT request_id::text, array_agg(amount) AS amounts FROM budget.ledger
WHERE org_id = $1 AND kind IN ('commit', 'indeterminate', 'adjust') GROUP BY request_id
"""
COUNTERS = """
SELECT c.budget_id::text || '@' || extract(epoch FROM c.window_start)::bigint AS counter, c.committed, c.reserved,
  (SELECT coalesce(sum(l.amount), 0) FROM budget.ledger l WHERE l.org_id = c.org_id
     AND l.kind IN ('commit', 'indeterminate', 'adjust')
     AND c.budget_id::text || '@' || extract(epoch FROM c.window_start)::bigint = ANY (l.counters))::bigint AS charged,
  (SELECT coalesce(sum(r.amount), 0) FROM budget.reservations r WHERE r.org_id = c.org_id AND r.state = 0
     AND c.budget_id::text || '@' || extract(epoch FROM c.window_start)::bigint = ANY (r.counters))::bigint AS held
FROM budget.counters c WHERE c.org_id = $1
"""
RECORDS = "SELECT count(*) FROM budget.record_outbox WHERE org_id = $1"
OPEN = "SELECT count(*) FROM budget.reservations WHERE org_id = $1 AND state = 0"


@dataclass
class Account:
    """What stands in the database, of one organisation, at one moment."""

    charged: dict[str, list[int]]
    """Request → the amounts it was charged."""
    counters: list[tuple[str, int, int, int, int]]
    """Counter, committed, reserved, and the same two as the ledger and the open reservations sum them."""
    open_reservations: int
    records: int
    differences: list[str] = field(default_factory=list)
    """What VerifyLedger found."""


@dataclass(frozen=True)
class Found:
    """What an account says against the callers' own list."""

    lost: int
    double: int
    differences: list[str]


async def account_of(connection: asyncpg.Connection, org_id: str) -> Account:
    """All sums in one snapshot."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        charged = {row[0]: list(row[1]) for row in await connection.fetch(CHARGED, org_id)}
        counters = [tuple(row) for row in await connection.fetch(COUNTERS, org_id)]
        open_reservations = await connection.fetchval(OPEN, org_id)
        records = await connection.fetchval(RECORDS, org_id)
    return Account(charged, counters, open_reservations, records)


def compare(acknowledged: Mapping[str, int], account: Account, *, final: bool) -> Found:
    """Lost: acknowledged and not charged what was said. Double: charged more than once.

    `final`: nobody asks any more, so nothing else may be charged, and nothing may be held.
    """
    lost = sum(1 for request_id, cost in acknowledged.items() if cost not in account.charged.get(request_id, ()))
    double = sum(1 for amounts in account.charged.values() if len(amounts) > 1)
    differences = list(account.differences)
    for counter, committed, reserved, charged, held in account.counters:
        if committed != charged:
            differences.append(f"{counter}: {committed} committed, the ledger says {charged}")
        if reserved != held:
            differences.append(f"{counter}: {reserved} reserved, the open reservations say {held}")
    if final:
        strangers = account.charged.keys() - acknowledged.keys()
        if strangers:
            differences.append(f"{len(strangers)} requests are charged whose commit nobody was told of")
        told, charged = sum(acknowledged.values()), sum(sum(amounts) for amounts in account.charged.values())
        if told != charged:
            differences.append(f"the callers were told {told}, the ledger says {charged}")
        if account.open_reservations:
            differences.append(f"{account.open_reservations} reservations are still open")
        if account.records < len(acknowledged):
            differences.append(f"{len(acknowledged)} commits have {account.records} records")
    return Found(lost, double, differences)
