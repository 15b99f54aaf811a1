"""Price versions in PostgreSQL. A version is written only when a price changes; old ones stay for ever.

The database's clock decides what is to come: replicas whose clocks differ begin a price at the same moment.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import asyncpg

from mesh.admin_record import Change
from mesh.postgres import Database
from services.budget.prices.book import OPERATOR, WHOLE, PriceBook, Proposal, divided, is_same
from services.budget.prices.money import Price

READ = """SELECT price_version, provider, model, state, buckets, nano_usd_per_mtok, source, valid_from FROM prices
          WHERE price_version > $1 ORDER BY price_version"""
WRITE = """INSERT INTO prices (provider, model, state, buckets, nano_usd_per_mtok, source, valid_from)
           VALUES ($1, $2, $3, $4::text[], $5::bigint[], $6, coalesce($7, now()))"""
SCHEDULED = """SELECT provider, model, buckets, nano_usd_per_mtok, source, valid_from FROM scheduled_prices
               ORDER BY valid_from, provider, model, source"""
SCHEDULE = """INSERT INTO scheduled_prices (provider, model, state, buckets, nano_usd_per_mtok, source, valid_from)
              VALUES ($1, $2, $3, $4::text[], $5::bigint[], $6, $7)
              ON CONFLICT (provider, model, source, valid_from) DO UPDATE SET state = EXCLUDED.state,
                buckets = EXCLUDED.buckets, nano_usd_per_mtok = EXCLUDED.nano_usd_per_mtok"""
DUE = """DELETE FROM scheduled_prices WHERE valid_from <= now()
         RETURNING provider, model, buckets, nano_usd_per_mtok, source, valid_from"""
CANCEL = "DELETE FROM scheduled_prices WHERE provider = $1 AND model = $2 AND source = $3"
CANCEL_WHOLE = "DELETE FROM scheduled_prices WHERE source = ANY ($1::text[])"
TELL = "INSERT INTO admin_outbox (org_id, record_id, record) VALUES ($1, $2, $3)"
ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtext('dac.budget.prices'))"
NOW = "SELECT now()"

SealPrice = Callable[[Price | None, Proposal], Change]
"""(the price in force before, what was said) → what audit is told."""


async def read_prices(connection: asyncpg.Connection, after_version: int = 0) -> list[Price]:
    """The versions after one."""
    return [
        Price(
            version=row["price_version"],
            provider=row["provider"],
            model=row["model"],
            buckets=dict(zip(row["buckets"], row["nano_usd_per_mtok"], strict=True)),
            source=row["source"],
            known=row["state"] != "unknown",
            valid_from=row["valid_from"],
        )
        for row in await connection.fetch(READ, after_version)
    ]


async def refresh(database: Database, book: PriceBook) -> bool:
    """Reads what other replicas wrote, and begins what is due; True = another price counts than before."""
    async with database.transaction() as connection:
        new = await read_prices(connection, book.latest_version)
        scheduled = await _read_scheduled(connection)
        now = await connection.fetchval(NOW)
    book.add(new)
    book.scheduled = scheduled
    if any(one.valid_from is not None and one.valid_from <= now for one in scheduled):
        return await _begin(database, book) or bool(new)
    return bool(new)


async def _begin(database: Database, book: PriceBook) -> bool:
    """Makes versions of the prices whose day has come."""
    before = book.latest_version
    async with database.transaction() as connection:
        await connection.execute(ONE_AT_A_TIME)
        book.add(await read_prices(connection, book.latest_version))
        due = [_proposal(row) for row in await connection.fetch(DUE)]
        for one in book.begun(due):
            await _write(connection, one)
        new = await read_prices(connection, book.latest_version)
        scheduled = await _read_scheduled(connection)
    book.add(new)
    book.scheduled = scheduled
    return book.latest_version > before


async def propose(database: Database, book: PriceBook, proposals: Iterable[Proposal], *, fetched: bool = False) -> int:
    """Writes the versions that differ from what is in force and brings the book up to date; returns how many.

    `fetched`: they come from providers, not from files, and say nothing of the prices they leave out. What files say of
    days to come replaces what they said before.
    """
    said = list(proposals)
    async with database.transaction() as connection:
        # Two replicas that start together must not write the same change twice.
        await connection.execute(ONE_AT_A_TIME)
        book.add(await read_prices(connection, book.latest_version))
        if fetched:
            changed = book.fetched(said)
        else:
            current, later = divided(said, await connection.fetchval(NOW))
            changed = book.changes(current)
            await connection.execute(CANCEL_WHOLE, list(WHOLE))
            for one in later:
                await connection.execute(SCHEDULE, *_columns(one))
        for change in changed:
            await _write(connection, change)
        new = await read_prices(connection, book.latest_version)
        scheduled = await _read_scheduled(connection)
    book.add(new)
    book.scheduled = scheduled
    return len(changed)


async def set_price(
    database: Database,
    book: PriceBook,
    wanted: Proposal,
    files: Sequence[Proposal],
    *,
    org_id: str,
    seal: SealPrice | None,
) -> bool:
    """Writes the operator's price, now or for a day to come; without buckets it is withdrawn, with all to come.

    `files` is what files say of this model: it counts again after a withdrawal. Returns whether the price in force
    changed, or will.
    """
    async with database.transaction(*([org_id] if org_id else [])) as connection:
        await connection.execute(ONE_AT_A_TIME)
        book.add(await read_prices(connection, book.latest_version))
        now = await connection.fetchval(NOW)
        before = book.in_force(wanted.provider, wanted.model)
        if wanted.buckets is None:
            changed = await _withdraw(connection, book, wanted, files, now)
        elif wanted.valid_from is not None and wanted.valid_from > now:
            await connection.execute(SCHEDULE, *_columns(wanted))
            changed = True
        else:
            changed = not is_same(before, wanted)
            if changed:
                await _write(connection, replace(wanted, valid_from=None))
        if changed and seal is not None:
            await connection.execute(TELL, org_id, *seal(before, wanted))
        new = await read_prices(connection, book.latest_version)
        scheduled = await _read_scheduled(connection)
    book.add(new)
    book.scheduled = scheduled
    return changed


async def _withdraw(
    connection: asyncpg.Connection, book: PriceBook, wanted: Proposal, files: Sequence[Proposal], now: dt.datetime
) -> bool:
    gone = await connection.execute(CANCEL, wanted.provider, wanted.model, OPERATOR)
    price = book.in_force(wanted.provider, wanted.model)
    if price is None or price.source != OPERATOR:
        return str(gone) != "DELETE 0"
    current, _ = divided(files, now)
    again = [one for one in current if one.buckets is not None]
    await _write(connection, again[0] if again else wanted)
    return True


async def _read_scheduled(connection: asyncpg.Connection) -> list[Proposal]:
    return [_proposal(row) for row in await connection.fetch(SCHEDULED)]


def _proposal(row: Any) -> Proposal:
    buckets = dict(zip(row["buckets"], row["nano_usd_per_mtok"], strict=True))
    return Proposal(row["provider"], row["model"], buckets, row["source"], row["valid_from"])


async def _write(connection: asyncpg.Connection, change: Proposal) -> None:
    await connection.execute(WRITE, *_columns(change))


def _columns(change: Proposal) -> tuple[object, ...]:
    state = "unknown" if change.buckets is None else "priced" if change.buckets else "free"
    buckets = change.buckets or {}
    return (
        *(change.provider, change.model, state, list(buckets), list(buckets.values()), change.source),
        change.valid_from,
    )
