"""How memory is put together. Each RPC service has a file of its own: `*_server.py`."""

from __future__ import annotations

import datetime as dt

import grpc.aio

from dac.memory.v1 import cache_pb2_grpc, conversation_pb2_grpc
from mesh.ids import uuid7
from mesh.postgres import Database
from mesh.service import Context, Service
from services.memory import errors
from services.memory.cache import ResponseCache, Sweeper
from services.memory.cache_server import CacheServicer
from services.memory.cache_store import PostgresCacheStore
from services.memory.config import MemoryConfig
from services.memory.conversation_server import ConversationServicer
from services.memory.conversations import Conversations
from services.memory.store import PostgresThreadStore


class MemoryService:
    """The service as the mesh runs it."""

    def __init__(
        self, database: Database, conversations: ConversationServicer, cache: CacheServicer, sweeper: Sweeper
    ) -> None:
        self._database, self.conversations, self.cache, self._sweeper = database, conversations, cache, sweeper

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the servicers."""
        conversation_pb2_grpc.add_ConversationServiceServicer_to_server(self.conversations, server)
        cache_pb2_grpc.add_CacheServiceServicer_to_server(self.cache, server)

    async def start(self) -> None:
        """Begins to sweep."""
        self._sweeper.start()

    async def close(self) -> None:
        """Stops sweeping."""
        await self._sweeper.close()

    async def health(self) -> None:
        """Raises UNAVAILABLE when the database does not answer."""
        await self._database.check()


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def build(context: Context) -> Service:
    """Memory from its context; opens nothing."""
    config: MemoryConfig = context.config
    if context.database is None:
        raise errors.not_opened()
    answers = PostgresCacheStore(context.database)
    return MemoryService(
        context.database,
        ConversationServicer(Conversations(PostgresThreadStore(context.database), config, clock=_now, new_id=uuid7)),
        CacheServicer(ResponseCache(answers, config, clock=_now)),
        Sweeper(answers, config, clock=_now),
    )
