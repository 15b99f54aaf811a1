"""Where collections and their items are kept: PostgreSQL, the source that every index is made from."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mesh.postgres import Database
from services.memory.vectors import vector_errors as errors

REMOVALS_KEPT_FOR = dt.timedelta(days=1)
"""How long an index may be away before it must be filled anew."""

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection as it was when it was read."""

    org_id: str
    collection_id: str
    name: str
    dimensions: int
    embedder_id: str
    of_texts: bool
    item_count: int
    seq: int
    swept_seq: int
    indexed_seq: int
    created_at: dt.datetime


@dataclass(frozen=True, slots=True)
class NewItem:
    """An item to be saved; `sealed` takes the place of text and metadata."""

    item_id: str
    text: str
    metadata_json: str
    sealed: bytes | None
    pairs: Sequence[int]


@dataclass(frozen=True, slots=True)
class StoredItem:
    """An item as it is kept."""

    seq: int
    item_id: str
    text: str
    metadata_json: str
    sealed: bytes | None


class VectorStore:
    """Collections and items of one organisation at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, org_id: str, collection: Collection) -> Collection:
        """The collection of this name, made when there is none."""
        async with self._database.transaction(org_id) as connection:
            await connection.execute(
                """INSERT INTO vector_collections
                       (org_id, collection_id, name, dimensions, embedder_id, of_texts, created_at)
                   VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (org_id, name) DO NOTHING""",
                org_id,
                collection.collection_id,
                collection.name,
                collection.dimensions,
                collection.embedder_id,
                collection.of_texts,
                collection.created_at,
            )
            found = await _find(connection, org_id, collection.name)
        if found is None:
            raise errors.collection_not_found(collection.name)
        return found

    async def find(self, org_id: str, name: str) -> Collection | None:
        """One collection by name."""
        async with self._database.transaction(org_id) as connection:
            return await _find(connection, org_id, name)

    async def collections(self, org_id: str, limit: int, after: str) -> list[Collection]:
        """By name, behind `after`."""
        async with self._database.transaction(org_id) as connection:
            rows = await connection.fetch(
                "SELECT * FROM vector_collections WHERE org_id = $1 AND name > $2 ORDER BY name LIMIT $3",
                org_id,
                after,
                limit,
            )
        return [collection_of(row) for row in rows]

    async def drop(self, collection: Collection) -> None:
        """Deletes a collection with all that belongs to it."""
        async with self._database.transaction(collection.org_id) as connection:
            await connection.execute(
                "DELETE FROM vector_collections WHERE org_id = $1 AND collection_id = $2",
                collection.org_id,
                collection.collection_id,
            )

    async def upsert(
        self, collection: Collection, items: Sequence[NewItem], vectors: Vectors, now: dt.datetime, max_items: int
    ) -> Collection:
        """Saves all items; the ids differ from each other."""
        key = (collection.org_id, collection.collection_id)
        async with self._database.transaction(collection.org_id) as connection:
            current = await _locked(connection, collection)
            removed = await _remove(connection, key, current.seq, [one.item_id for one in items], now)
            count = current.item_count - removed + len(items)
            if count > max_items:
                raise errors.collection_full(collection.name, count, max_items)
            first = current.seq + removed
            await connection.execute(
                """INSERT INTO vector_items (org_id, collection_id, item_id, seq, embedder_id, text, metadata, sealed,
                       pairs, embedding, updated_at)
                   SELECT $1, $2, item_id, $3 + number, $4, body, metadata::jsonb, sealed, pairs::bigint[],
                       ($10::real[])[(number - 1) * $11 + 1 : number * $11], $12
                   FROM unnest($5::text[], $6::text[], $7::text[], $8::bytea[], $9::text[])
                       WITH ORDINALITY AS new (item_id, body, metadata, sealed, pairs, number)""",
                *key,
                first,
                current.embedder_id,
                [one.item_id for one in items],
                [one.text for one in items],
                [one.metadata_json for one in items],
                [one.sealed for one in items],
                ["{" + ",".join(map(str, one.pairs)) + "}" for one in items],
                vectors.ravel().tolist(),
                collection.dimensions,
                now,
            )
            return await _moved(connection, current, first + len(items), count, now)

    async def remove(
        self, collection: Collection, ids: Sequence[str], pairs: Sequence[int], now: dt.datetime
    ) -> tuple[int, Collection]:
        """Deletes items by ids, or all that have all pairs; how many there were."""
        key = (collection.org_id, collection.collection_id)
        async with self._database.transaction(collection.org_id) as connection:
            current = await _locked(connection, collection, same_embedder=False)
            if pairs:
                ids = [
                    row["item_id"]
                    for row in await connection.fetch(
                        "SELECT item_id FROM vector_items WHERE org_id = $1 AND collection_id = $2 AND pairs @> $3",
                        *key,
                        pairs,
                    )
                ]
            removed = await _remove(connection, key, current.seq, ids, now)
            if not removed:
                return 0, current
            count = current.item_count - removed
            return removed, await _moved(connection, current, current.seq + removed, count, now)

    async def items(self, collection: Collection, numbers: Sequence[int]) -> dict[int, StoredItem]:
        """What of these is still there, by number."""
        async with self._database.transaction(collection.org_id) as connection:
            rows = await connection.fetch(
                """SELECT seq, item_id, text, metadata::text, sealed FROM vector_items
                   WHERE org_id = $1 AND collection_id = $2 AND seq = ANY ($3::bigint[])""",
                collection.org_id,
                collection.collection_id,
                numbers,
            )
        return {row["seq"]: StoredItem(*row) for row in rows}

    async def page(self, collection: Collection, after: int, limit: int) -> list[StoredItem]:
        """Items in order of their numbers, behind `after`."""
        async with self._database.transaction(collection.org_id) as connection:
            rows = await connection.fetch(
                """SELECT seq, item_id, text, metadata::text, sealed FROM vector_items
                   WHERE org_id = $1 AND collection_id = $2 AND seq > $3 ORDER BY seq LIMIT $4""",
                collection.org_id,
                collection.collection_id,
                after,
                limit,
            )
        return [StoredItem(*row) for row in rows]

    async def replace_vectors(
        self, collection: Collection, numbers: Sequence[int], vectors: Vectors, embedder_id: str, now: dt.datetime
    ) -> bool:
        """Gives every item the vector of its new embedder, at once. False: the collection has changed meanwhile."""
        key = (collection.org_id, collection.collection_id)
        async with self._database.transaction(collection.org_id) as connection:
            current = await _locked(connection, collection)
            if current.seq != collection.seq:
                return False
            dimensions = vectors.shape[1]
            for begin in range(0, len(numbers), 1000):
                await connection.execute(
                    """UPDATE vector_items AS item SET seq = $3 + new.number, embedder_id = $4, updated_at = $5,
                           embedding = ($6::real[])[(new.number - 1) * $7 + 1 : new.number * $7]
                       FROM unnest($8::bigint[]) WITH ORDINALITY AS new (old, number)
                       WHERE org_id = $1 AND collection_id = $2 AND item.seq = new.old""",
                    *key,
                    current.seq + begin,
                    embedder_id,
                    now,
                    vectors[begin : begin + 1000].ravel().tolist(),
                    dimensions,
                    numbers[begin : begin + 1000],
                )
            await connection.execute("DELETE FROM vector_removals WHERE org_id = $1 AND collection_id = $2", *key)
            await connection.execute(
                """UPDATE vector_collections SET embedder_id = $3, dimensions = $4, seq = $5, swept_seq = $5,
                       indexed_seq = -1 WHERE org_id = $1 AND collection_id = $2""",
                *key,
                embedder_id,
                dimensions,
                # One more than the last item's, so that an empty index is behind even when there are no items.
                current.seq + len(numbers) + 1,
            )
            return True


async def _find(connection: Any, org_id: str, name: str) -> Collection | None:
    row = await connection.fetchrow("SELECT * FROM vector_collections WHERE org_id = $1 AND name = $2", org_id, name)
    return None if row is None else collection_of(row)


def collection_of(row: Mapping[str, Any]) -> Collection:
    """A collection from its row."""
    values = {one.name: row[one.name] for one in fields(Collection)}
    return Collection(**{**values, "org_id": str(row["org_id"]), "collection_id": str(row["collection_id"])})


async def _locked(connection: Any, collection: Collection, *, same_embedder: bool = True) -> Collection:
    """The collection as it is now, until the transaction ends; never another one of the same name."""
    row = await connection.fetchrow(
        "SELECT * FROM vector_collections WHERE org_id = $1 AND collection_id = $2 FOR UPDATE",
        collection.org_id,
        collection.collection_id,
    )
    if row is None:
        raise errors.collection_not_found(collection.name)
    current = collection_of(row)
    if same_embedder and current.embedder_id != collection.embedder_id:
        raise errors.embedder_changed(collection.name)
    return current


async def _remove(connection: Any, key: tuple[str, str], seq: int, ids: Sequence[str], now: dt.datetime) -> int:
    """Deletes the versions of these ids and leaves their numbers, as changes behind `seq`; how many there were."""
    count = await connection.fetchval(
        """WITH gone AS (
               DELETE FROM vector_items WHERE org_id = $1 AND collection_id = $2 AND item_id = ANY ($3::text[])
               RETURNING seq
           ), noted AS (
               INSERT INTO vector_removals (org_id, collection_id, removed_seq, seq, removed_at)
               SELECT $1, $2, gone.seq, $4 + row_number() OVER (), $5 FROM gone RETURNING 1
           )
           SELECT count(*) FROM noted""",
        *key,
        ids,
        seq,
        now,
    )
    return int(count)


async def _moved(connection: Any, current: Collection, seq: int, count: int, now: dt.datetime) -> Collection:
    """Writes where the collection is now, and forgets what was removed long ago."""
    row = await connection.fetchrow(
        """WITH forgotten AS (
               DELETE FROM vector_removals WHERE org_id = $1 AND collection_id = $2 AND removed_at < $5 RETURNING seq
           )
           UPDATE vector_collections SET seq = $3, item_count = $4,
               swept_seq = GREATEST(swept_seq, (SELECT max(seq) FROM forgotten))
           WHERE org_id = $1 AND collection_id = $2 RETURNING *""",
        current.org_id,
        current.collection_id,
        seq,
        count,
        now - REMOVALS_KEPT_FOR,
    )
    return collection_of(row)
