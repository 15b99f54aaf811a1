"""Makes the vectors of memories that have none yet, in the background: turns are kept without waiting for a model."""

from __future__ import annotations

import logging

from mesh.errors import MeshError
from mesh.rounds import Rounds
from services.memory.embedding.embedder import Embedder
from services.memory.recall.store import Embedded, MemoryStore, ToEmbed

GATHER_S = 0.05
"""How long after a turn is announced it is looked for: it is committed by then, and others have come with it."""
MAX_EMBEDDED_CHARS = 2000
"""The model reads some 128 word pieces; what stands behind cannot count."""

_log = logging.getLogger(__name__)


class VectorMaker:
    """One task. Whatever it does not get done, it or another replica's finds later."""

    def __init__(self, store: MemoryStore, embedder: Embedder, *, rows: int, check_s: float) -> None:
        self._store, self._embedder, self._rows = store, embedder, rows
        self._rounds = Rounds(
            "memory-vectors",
            self.make_all,
            check_s,
            _log,
            meanwhile="memories stay without vectors for now",
            gather_s=GATHER_S,
        )

    def start(self) -> None:
        """Begins, when there is a model."""
        if self._embedder.semantic:
            self._rounds.start()

    async def close(self) -> None:
        """Stops."""
        await self._rounds.close()

    def wake(self) -> None:
        """There is, or will be in a moment, something to do."""
        self._rounds.wake()

    async def make_all(self) -> int:
        """Makes all that are lacking; how many. Raises MeshError when it cannot even ask for whom."""
        made = 0
        for org_id in await self._store.organisations_to_embed(self._embedder.embedder_id):
            try:
                made += await self.make(org_id)
            except MeshError as error:
                # What one organisation's rows suffer from must not keep the others waiting.
                _log.warning("memories of organisation %s stay without vectors for now: %s", org_id, error.message)
        return made

    async def make(self, org_id: str) -> int:
        """Makes those of one organisation; how many. Raises MeshError."""
        made = 0
        while rows := await self._store.to_embed(org_id, self._embedder.embedder_id, self._rows):
            await self._store.put_vectors(org_id, self._embedder.embedder_id, await self._embedded(rows))
            made += len(rows)
        return made

    async def _embedded(self, rows: list[ToEmbed]) -> list[Embedded]:
        followed = [row for row in rows if row.before]
        texts = [row.said[:MAX_EMBEDDED_CHARS] for row in rows]
        texts += [window_text(row.before, row.said) for row in followed]
        vectors = await self._embedder.embed(texts, background=True)
        windows = {row.memory_id: vectors[len(rows) + at] for at, row in enumerate(followed)}
        return [
            Embedded(row.memory_id, row.seq, vectors[at], windows.get(row.memory_id)) for at, row in enumerate(rows)
        ]


def window_text(before: str, said: str) -> str:
    """A turn with the one before it, as they are embedded together."""
    return f"{before[:MAX_EMBEDDED_CHARS]}\n{said[:MAX_EMBEDDED_CHARS]}"
