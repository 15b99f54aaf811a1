"""MemoryService on a real PostgreSQL, called as this or that user."""

from __future__ import annotations

from typing import Any

from dac.memory.v1 import memory_pb2
from dac.type.v1.principal_pb2 import Principal
from mesh.call import Call, serving
from mesh.postgres import Database
from services.memory.config import MemoryConfig
from services.memory.embedding.embedder import Embedder
from services.memory.embedding.hashed_embedder import HashedEmbedder
from services.memory.recall.server import Remembering
from services.memory.sealing.sealing import PlainSealer, Sealer

TURN, FACT, NOTE = (
    memory_pb2.MEMORY_KIND_TURN,
    memory_pb2.MEMORY_KIND_FACT,
    memory_pb2.MEMORY_KIND_NOTE,
)
Scopes = tuple[str, ...]


class MemoryHouse:
    """One replica."""

    def __init__(
        self,
        database: Database,
        config: MemoryConfig | None = None,
        *,
        embedder: Embedder | None = None,
        sealer: Sealer | None = None,
    ) -> None:
        self.database = database
        self.config = config or MemoryConfig()
        self.embedder = embedder or HashedEmbedder("for a test")
        self.part = Remembering(database, self.config, sealer or PlainSealer(), self.embedder)

    async def ask(
        self, org_id: str, method: str, request: object, *, user: str = "", scopes: Scopes = ("chat", "read")
    ) -> Any:
        principal = Principal(org_id=org_id, user_id=user, key_id="key-1", scopes=scopes)
        with serving(Call(principal=principal)):
            return await getattr(self.part.servicer, method)(request, None)

    async def remember(self, org_id: str, *texts: str, user: str = "", **fields: Any) -> list[str]:
        """Keeps texts; their ids."""
        news = [memory_pb2.NewMemory(text=text, **fields) for text in texts]
        request = memory_pb2.RememberRequest(memories=news)
        told = (await self.ask(org_id, "Remember", request, user=user)).memories
        return [one.memory_id for one in told]

    async def recall(
        self, org_id: str, query: str, *, user: str = "", scopes: Scopes = ("read",), **fields: Any
    ) -> list[str]:
        """The texts that are found, best first."""
        options = {name: fields.pop(name) for name in ("top_k", "all_agents", "include_superseded") if name in fields}
        request = memory_pb2.RecallRequest(query=query, filter=memory_pb2.MemoryFilter(**fields), **options)
        found = await self.ask(org_id, "Recall", request, user=user, scopes=scopes)
        return [one.memory.text for one in found.memories]

    async def texts(self, org_id: str, *, user: str = "", scopes: Scopes = ("read",), **fields: Any) -> set[str]:
        """The texts that are listed."""
        request = memory_pb2.ListMemoriesRequest(filter=memory_pb2.MemoryFilter(**fields))
        return {
            one.text for one in (await self.ask(org_id, "ListMemories", request, user=user, scopes=scopes)).memories
        }
