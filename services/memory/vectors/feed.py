"""What indexes read of collections: nearest rows, changes since a number, and how far an index outside has come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np

from mesh.postgres import Database
from services.memory.vectors.store import Collection, Vectors, collection_of

ARRAY_HEADER_BYTES = 20
"""In front of the numbers in PostgreSQL's binary form of an array of one dimension."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What an index has to do to be as the collection was at `seq`."""

    seq: int
    numbers: list[int]
    vectors: Vectors
    pairs: list[list[int]]
    removed: list[int]
    swept_seq: int
    """Removals up to this change are forgotten, or everything was embedded anew in it."""


class VectorFeed:
    """Reads one organisation's collections for its index."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._knows_vectors: bool | None = None

    async def knows_vectors(self) -> bool:
        """Whether this server has pgvector."""
        if self._knows_vectors is None:
            async with self._database.transaction() as connection:
                self._knows_vectors = await connection.fetchval("SELECT to_regtype('vector') IS NOT NULL")
        return bool(self._knows_vectors)

    async def numbers_with(self, collection: Collection, pairs: Sequence[int]) -> list[int]:
        """The numbers of the items that have all these pairs."""
        async with self._database.transaction(collection.org_id) as connection:
            rows = await connection.fetch(
                "SELECT seq FROM vector_items WHERE org_id = $1 AND collection_id = $2 AND pairs @> $3::bigint[]",
                collection.org_id,
                collection.collection_id,
                pairs,
            )
        return [row["seq"] for row in rows]

    async def nearest(
        self, collection: Collection, vector: Vectors, k: int, pairs: Sequence[int]
    ) -> list[tuple[int, float]]:
        """Exact search by pgvector over the collection's rows only."""
        async with self._database.transaction(collection.org_id) as connection:
            rows = await connection.fetch(
                # The product is computed once for each row, and the sought vector is converted once for all.
                """SELECT seq, embedding::vector <#> (SELECT $3::real[]::vector) AS distance FROM vector_items
                   WHERE org_id = $1 AND collection_id = $2 AND pairs @> $4::bigint[]
                   ORDER BY distance, seq LIMIT $5""",
                collection.org_id,
                collection.collection_id,
                vector.tolist(),
                pairs,
                k,
            )
        return [(row["seq"], -row["distance"]) for row in rows]

    async def changes(self, collection: Collection, after: int, limit: int) -> Changes | None:
        """The next changes behind `after`, some `limit` of them; None when the collection is gone."""
        key = (collection.org_id, collection.collection_id)
        async with self._database.transaction(collection.org_id) as connection:
            goal = await connection.fetchval(
                "SELECT seq FROM vector_collections WHERE org_id = $1 AND collection_id = $2", *key
            )
            rows = await connection.fetch(
                """SELECT seq, array_send(embedding) AS embedding, pairs FROM vector_items
                   WHERE org_id = $1 AND collection_id = $2 AND seq > $3 AND seq <= $4 ORDER BY seq LIMIT $5""",
                *key,
                after,
                goal or 0,
                limit,
            )
            if len(rows) == limit:
                goal = rows[-1]["seq"]
            removed = await connection.fetch(
                """SELECT removed_seq FROM vector_removals
                   WHERE org_id = $1 AND collection_id = $2 AND seq > $3 AND seq <= $4""",
                *key,
                after,
                goal or 0,
            )
            # Last, so that nothing was forgotten between the reading of removals and this.
            swept = await connection.fetchval(
                "SELECT swept_seq FROM vector_collections WHERE org_id = $1 AND collection_id = $2", *key
            )
        if goal is None or swept is None:
            return None
        vectors = [np.frombuffer(row["embedding"], ">f4", offset=ARRAY_HEADER_BYTES)[1::2] for row in rows]
        return Changes(
            goal,
            [row["seq"] for row in rows],
            np.array(vectors, np.float32).reshape(len(rows), collection.dimensions),
            [row["pairs"] for row in rows],
            [row["removed_seq"] for row in removed],
            swept,
        )

    @asynccontextmanager
    async def filling(self, collection: Collection) -> AsyncIterator[Collection | None]:
        """The turn of filling the index outside: one process at a time; the collection as it is then."""
        async with self._database.transaction(collection.org_id) as connection:
            await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 7))", collection.collection_id)
            row = await connection.fetchrow(
                "SELECT * FROM vector_collections WHERE org_id = $1 AND collection_id = $2",
                collection.org_id,
                collection.collection_id,
            )
            yield None if row is None else collection_of(row)

    async def mark_indexed(self, collection: Collection, seq: int) -> bool:
        """Notes what the index outside has; False when everything was embedded anew meanwhile."""
        async with self._database.transaction(collection.org_id) as connection:
            done = await connection.fetchval(
                """UPDATE vector_collections SET indexed_seq = $3
                   WHERE org_id = $1 AND collection_id = $2 AND swept_seq = $4 RETURNING true""",
                collection.org_id,
                collection.collection_id,
                seq,
                collection.swept_seq,
            )
        return bool(done)

    async def mark_unindexed(self, collection: Collection) -> None:
        """Notes that the index outside must be filled anew."""
        async with self._database.transaction(collection.org_id) as connection:
            await connection.execute(
                "UPDATE vector_collections SET indexed_seq = -1 WHERE org_id = $1 AND collection_id = $2",
                collection.org_id,
                collection.collection_id,
            )

    async def mark_all_unindexed(self, org_id: str, dimensions: int) -> None:
        """Notes that the index outside has nothing of an organisation's collections with such vectors."""
        async with self._database.transaction(org_id) as connection:
            await connection.execute(
                """UPDATE vector_collections SET indexed_seq = -1
                   WHERE org_id = $1 AND dimensions = $2 AND indexed_seq > 0""",
                org_id,
                dimensions,
            )

    async def behind(self) -> list[Collection]:
        """All collections, of any organisation, with changes that the index outside does not have."""
        async with self._database.transaction() as connection:
            rows = await connection.fetch("SELECT organisations_with_vectors_behind()::text AS org_id")
        found: list[Collection] = []
        for org_id in (row["org_id"] for row in rows):
            async with self._database.transaction(org_id) as connection:
                behind = await connection.fetch(
                    "SELECT * FROM vector_collections WHERE org_id = $1 AND indexed_seq < seq", org_id
                )
            found += [collection_of(row) for row in behind]
        return found
