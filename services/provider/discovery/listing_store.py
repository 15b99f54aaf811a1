"""Where lists of models and the results of probes are kept; every replica follows."""

import dataclasses
import datetime
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from mesh.postgres import Database
from services.provider.discovery.listings import Listed

CHANNEL = "listings_changed"
_models = msgspec.json.Decoder(list[Listed])


@dataclasses.dataclass(frozen=True, slots=True)
class Listing:
    """What is known of one provider's list."""

    provider: str
    base_url: str
    listed_at: datetime.datetime | None
    tried_at: datetime.datetime
    error: str
    models: Sequence[Listed]


@dataclasses.dataclass(frozen=True, slots=True)
class Probed:
    """How a model did in the graded questions."""

    provider: str
    name: str
    quality: float
    right: int
    asked: int
    speed_tokens_per_s: float
    first_token_ms: float
    capabilities: tuple[str, ...]
    probed_at: datetime.datetime


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """Everything at one version."""

    version: int = 0
    listings: Mapping[str, Listing] = dataclasses.field(default_factory=dict)
    probes: Mapping[tuple[str, str], Probed] = dataclasses.field(default_factory=dict)


class ListingStore(Protocol):
    """Lists and probes with a version that grows at every change."""

    async def version(self) -> int:
        """The version now."""

    async def read(self) -> Known:
        """All of it."""

    async def put(self, listing: Listing) -> None:
        """Replaces one provider's list."""

    async def put_failure(self, listing: Listing) -> None:
        """Keeps the time and the error of a try that failed, and the last good copy from that address."""

    async def put_probe(self, probed: Probed) -> None:
        """Replaces one model's result."""

    async def follow(self, changed: Callable[[], None]) -> None:
        """Calls `changed` soon after any replica changed something, best effort."""


class PostgresListingStore:
    """The tables provider.listings and provider.probes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def version(self) -> int:
        """See ListingStore."""
        async with self._database.transaction() as connection:
            return int(await connection.fetchval("SELECT version FROM listings_version"))

    async def read(self) -> Known:
        """See ListingStore. The version is read first: a change in between is read again, never missed."""
        async with self._database.transaction() as connection:
            version = int(await connection.fetchval("SELECT version FROM listings_version"))
            rows = await connection.fetch(
                "SELECT provider, base_url, listed_at, tried_at, error, models::text AS models FROM listings"
            )
            probes = await connection.fetch(
                "SELECT provider, name, quality, answers_right, asked, speed_tokens_per_s, first_token_ms, "
                "capabilities, probed_at FROM probes"
            )
        return Known(
            version,
            {
                row["provider"]: Listing(
                    row["provider"],
                    row["base_url"],
                    row["listed_at"],
                    row["tried_at"],
                    row["error"],
                    _models.decode(row["models"]),
                )
                for row in rows
            },
            {
                (row["provider"], row["name"]): Probed(
                    row["provider"],
                    row["name"],
                    row["quality"],
                    row["answers_right"],
                    row["asked"],
                    row["speed_tokens_per_s"],
                    row["first_token_ms"],
                    tuple(row["capabilities"]),
                    row["probed_at"],
                )
                for row in probes
            },
        )

    async def put(self, listing: Listing) -> None:
        """See ListingStore."""
        async with self._database.transaction() as connection:
            await connection.execute(
                "INSERT INTO listings (provider, base_url, listed_at, tried_at, error, models) "
                "VALUES ($1, $2, $3, $4, $5, $6::text::jsonb) ON CONFLICT (provider) DO UPDATE SET "
                "base_url = $2, listed_at = $3, tried_at = $4, error = $5, models = $6::text::jsonb",
                listing.provider,
                listing.base_url,
                listing.listed_at,
                listing.tried_at,
                listing.error,
                msgspec.json.encode(listing.models).decode(),
            )
            await _count(connection)

    async def put_failure(self, listing: Listing) -> None:
        """See ListingStore."""
        async with self._database.transaction() as connection:
            await connection.execute(
                "INSERT INTO listings AS l (provider, base_url, tried_at, error) VALUES ($1, $2, $3, $4) "
                "ON CONFLICT (provider) DO UPDATE SET base_url = $2, tried_at = $3, error = $4, "
                "listed_at = CASE WHEN l.base_url = $2 THEN l.listed_at END, "
                "models = CASE WHEN l.base_url = $2 THEN l.models ELSE '[]' END",
                listing.provider,
                listing.base_url,
                listing.tried_at,
                listing.error,
            )
            await _count(connection)

    async def put_probe(self, probed: Probed) -> None:
        """See ListingStore."""
        async with self._database.transaction() as connection:
            await connection.execute(
                "INSERT INTO probes (provider, name, quality, answers_right, asked, speed_tokens_per_s, "
                "first_token_ms, capabilities, probed_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) "
                "ON CONFLICT (provider, name) DO UPDATE SET quality = $3, answers_right = $4, asked = $5, "
                "speed_tokens_per_s = $6, first_token_ms = $7, capabilities = $8, probed_at = $9",
                probed.provider,
                probed.name,
                probed.quality,
                probed.right,
                probed.asked,
                probed.speed_tokens_per_s,
                probed.first_token_ms,
                list(probed.capabilities),
                probed.probed_at,
            )
            await _count(connection)

    async def follow(self, changed: Callable[[], None]) -> None:
        """See ListingStore."""
        await self._database.listen(CHANNEL, lambda _: changed(), on_gap=changed)


async def _count(connection: Any) -> None:
    await connection.execute("UPDATE listings_version SET version = version + 1")
    await connection.execute("SELECT pg_notify($1, '')", CHANNEL)
