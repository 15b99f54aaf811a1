"""Price versions in PostgreSQL. A version is written only when a price changes; old ones stay for ever."""

from __future__ import annotations

from collections.abc import Iterable

import asyncpg

from mesh.postgres import Database
from services.budget.money import Price
from services.budget.price_book import PriceBook, Proposal

READ = """SELECT price_version, provider, model, state, buckets, nano_usd_per_mtok, source FROM prices
          WHERE price_version > $1 ORDER BY price_version"""
WRITE = """INSERT INTO prices (provider, model, state, buckets, nano_usd_per_mtok, source)
           VALUES ($1, $2, $3, $4::text[], $5::bigint[], $6)"""
ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtext('dac.budget.prices'))"


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
        )
        for row in await connection.fetch(READ, after_version)
    ]


async def refresh(database: Database, book: PriceBook) -> bool:
    """Reads what other replicas wrote; True = something is new."""
    async with database.transaction() as connection:
        new = await read_prices(connection, book.latest_version)
    book.add(new)
    return bool(new)


async def propose(database: Database, book: PriceBook, proposals: Iterable[Proposal], *, fetched: bool = False) -> int:
    """Writes the versions that differ from what is in force and brings the book up to date; returns how many.

    `fetched`: they come from providers, not from files, and say nothing of the prices they leave out.
    """
    async with database.transaction() as connection:
        # Two replicas that start together must not write the same change twice.
        await connection.execute(ONE_AT_A_TIME)
        book.add(await read_prices(connection, book.latest_version))
        changed = book.fetched(proposals) if fetched else book.changes(proposals)
        for change in changed:
            state = "unknown" if change.buckets is None else "priced" if change.buckets else "free"
            buckets = change.buckets or {}
            await connection.execute(
                WRITE, change.provider, change.model, state, list(buckets), list(buckets.values()), change.source
            )
        new = await read_prices(connection, book.latest_version)
    book.add(new)
    return len(changed)
