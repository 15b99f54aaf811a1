"""Search in PostgreSQL: by pgvector where the server has it, else in a mirror of the rows. Both are exact."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from services.memory.vectors.feed import VectorFeed
from services.memory.vectors.matrix import Matrix
from services.memory.vectors.mirror import Mirror, Shelf
from services.memory.vectors.store import Collection, Vectors


class MatrixShelf:
    """See vector_mirror.Shelf."""

    def __init__(self, dimensions: int) -> None:
        self._matrix = Matrix(dimensions)

    def __len__(self) -> int:
        return len(self._matrix)

    def add(self, ids: Sequence[int], rows: Vectors) -> None:
        """See Shelf."""
        self._matrix.add(ids, rows)

    def remove(self, ids: Iterable[int]) -> None:
        """See Shelf."""
        self._matrix.remove(ids)

    def best(self, vector: Vectors, k: int, allowed: Sequence[int] | None) -> list[tuple[int, float]]:
        """See Shelf."""
        return self._matrix.top(vector, k, allowed=None if allowed is None else self._matrix.mask(allowed))

    def saved(self, position: int, floor: int) -> None:
        """It has no file."""

    def erase(self) -> None:
        """Empties it."""
        self._matrix = Matrix(self._matrix.dimensions)


def matrix_shelf(collection: Collection) -> tuple[Shelf, int, int]:
    """An empty shelf."""
    return MatrixShelf(collection.dimensions), 0, 0


class PostgresIndex:
    """See vector_index.VectorIndex."""

    name = "postgres"

    def __init__(self, feed: VectorFeed, max_bytes: int, *, use_pgvector: bool = True) -> None:
        """`use_pgvector` False: as on a server without the extension."""
        self._feed, self._use_pgvector = feed, use_pgvector
        self._mirror = Mirror(feed, matrix_shelf, max_bytes)

    async def search(
        self, collection: Collection, vector: Vectors, k: int, pairs: Sequence[int]
    ) -> list[tuple[int, float]]:
        """See VectorIndex."""
        if self._use_pgvector and await self._feed.knows_vectors():
            return await self._feed.nearest(collection, vector, k, pairs)
        return await self._mirror.search(collection, vector, k, pairs)

    async def settle(self, collection: Collection) -> None:
        """Nothing to do: what is committed is what is searched."""

    async def drop(self, collection: Collection) -> None:
        """See VectorIndex."""
        await self._mirror.drop(collection)

    async def erase(self, org_id: str) -> None:
        """See VectorIndex."""
        await self._mirror.erase(org_id)

    async def start(self) -> None:
        """Nothing to begin."""

    async def close(self) -> None:
        """See VectorIndex."""
        await self._mirror.close()
