"""What searches vectors, and which one this DAC has. PostgreSQL keeps them; an index can be lost and made again."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from services.memory.config import MemoryConfig

if TYPE_CHECKING:
    from services.memory.vectors.feed import VectorFeed
    from services.memory.vectors.store import Collection, Vectors


class VectorIndex(Protocol):
    """Nearest vectors of one collection. Every answer knows all that was committed before the question."""

    name: str

    async def search(
        self, collection: Collection, vector: Vectors, k: int, pairs: Sequence[int]
    ) -> list[tuple[int, float]]:
        """The k best (number of the item's version, product), best first, of those that have all `pairs`."""

    async def settle(self, collection: Collection) -> None:
        """Brings it to `collection.seq` at least. Searching does so too: this is only to be early."""

    async def drop(self, collection: Collection) -> None:
        """Forgets a collection at once, before PostgreSQL does."""

    async def erase(self, org_id: str) -> None:
        """Forgets everything of an organisation, whose collections are gone."""

    async def start(self) -> None:
        """Begins background work."""

    async def close(self) -> None:
        """Ends it and lets go of connections and files."""


def open_index(config: MemoryConfig, feed: VectorFeed, data_dir: pathlib.Path) -> VectorIndex:
    """The configured index; connects to nothing yet. Raises FAILED_PRECONDITION when its package is missing."""
    if config.vector_index == "faiss":
        from services.memory.vectors.index_faiss import faiss_index

        return faiss_index(feed, data_dir / "vectors", config.vector_memory_bytes)
    if config.vector_index == "weaviate":
        from services.memory.vectors.index_weaviate import weaviate_index

        return weaviate_index(config, feed)
    from services.memory.vectors.index_postgres import PostgresIndex

    return PostgresIndex(feed, config.vector_memory_bytes)
