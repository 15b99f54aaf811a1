"""Search by meaning in messages, from the index of turns that recall keeps."""

from __future__ import annotations

from services.memory.recall.index import Query
from services.memory.recall.memory import TURN
from services.memory.recall.recall import Recaller
from services.memory.viewers import Viewer


class RecalledTurns:
    """NearestTurns: every turn of a thread is a memory with the id of its message."""

    def __init__(self, recaller: Recaller) -> None:
        self._recaller = recaller

    async def nearest(
        self, viewer: Viewer, query: str, *, thread_id: str, user_id: str, most: int
    ) -> list[tuple[str, float]] | None:
        """See NearestTurns."""
        (vector,) = await self._recaller.vectors([query])
        if vector is None:
            return None
        whose = (user_id or None) if viewer.sees_all else viewer.user_id
        wanted = Query(
            terms=(),
            vector=vector,
            k=most,
            user_id=whose,
            thread_id=thread_id or None,
            kinds=frozenset({TURN}),
        )
        return await self._recaller.nearest(viewer.org_id, wanted)
