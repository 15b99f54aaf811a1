"""How memory is put together. Each RPC service has a `server.py` in the package of its subject."""

from __future__ import annotations

import datetime as dt
import random

import grpc.aio

from dac.memory.v1 import cache_pb2_grpc, conversation_pb2_grpc, vector_pb2_grpc
from mesh.ids import uuid7
from mesh.postgres import Database
from mesh.service import Context, Service
from services.memory import errors
from services.memory.answers.cache import ResponseCache
from services.memory.answers.private_answers import PrivateAnswers
from services.memory.answers.server import CacheServicer
from services.memory.answers.store import PostgresCacheStore
from services.memory.answers.sweeper import Sweeper
from services.memory.config import MemoryConfig
from services.memory.conversations.archive_server import Archive
from services.memory.conversations.conversations import Conversations
from services.memory.conversations.nearest_turns import RecalledTurns
from services.memory.conversations.server import ConversationServicer
from services.memory.conversations.thread_work import ThreadDatabase
from services.memory.embedding.embedder import Embedder, open_embedder
from services.memory.recall.server import Remembering
from services.memory.sealing.server import Sealing
from services.memory.vectors.collections import VectorCollections
from services.memory.vectors.feed import VectorFeed
from services.memory.vectors.index import VectorIndex, open_index
from services.memory.vectors.server import VectorServicer
from services.memory.vectors.store import VectorStore
from services.memory.writing.own_model import OwnModel


class MemoryService:
    """The service as the mesh runs it."""

    def __init__(
        self,
        database: Database,
        conversations: ConversationServicer,
        cache: CacheServicer,
        vectors: VectorServicer,
        sweeper: Sweeper,
        sealing: Sealing,
        embedder: Embedder,
        remembering: Remembering,
        index: VectorIndex,
        archive: Archive,
    ) -> None:
        self._database, self.conversations, self.cache, self.vectors = database, conversations, cache, vectors
        self._sweeper, self.sealing, self._embedder, self._index = sweeper, sealing, embedder, index
        self.remembering, self.archive = remembering, archive

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the servicers."""
        conversation_pb2_grpc.add_ConversationServiceServicer_to_server(self.conversations, server)
        cache_pb2_grpc.add_CacheServiceServicer_to_server(self.cache, server)
        vector_pb2_grpc.add_VectorServiceServicer_to_server(self.vectors, server)
        self.sealing.register(server)
        self.remembering.register(server)
        self.archive.register(server)

    async def start(self) -> None:
        """Begins to sweep, and to seal old rows."""
        await self.sealing.start()
        await self.remembering.start()
        self._sweeper.start()
        self.archive.start()
        await self._index.start()

    async def close(self) -> None:
        """Stops that."""
        await self._sweeper.close()
        await self.archive.close()
        await self.remembering.close()
        await self.sealing.close()
        await self._index.close()
        await self._embedder.close()

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
    embedder = open_embedder(config)
    answers = PostgresCacheStore(context.database)
    sealing = Sealing(context)
    writer = OwnModel(context.channel_to) if config.facts_model or config.summary_model else None
    listeners = [PrivateAnswers()]
    remembering = Remembering(context.database, config, sealing.sealer, embedder, listeners, writer)
    sealing.sealer.on_erased(remembering.recaller.forget)
    threads = ThreadDatabase(context.database, sealer=sealing.sealer, listeners=(remembering.turn_index,))
    conversations = Conversations(threads, config, clock=_now, new_id=uuid7)
    cache = ResponseCache(
        answers,
        config,
        embedder,
        sealing.sealer,
        digest_key=context.keyring.subkey("memory-cache-digests"),
        clock=_now,
        new_id=uuid7,
        chance=random.SystemRandom(),
    )
    sealing.sealer.on_erased(cache.forget)
    index = open_index(config, VectorFeed(context.database), context.data_dir)
    vectors = VectorCollections(
        VectorStore(context.database), index, embedder, sealing.sealer, config, clock=_now, new_id=uuid7
    )
    sealing.erasure.also(index.erase)
    return MemoryService(
        context.database,
        ConversationServicer(conversations, remembering.answered),
        CacheServicer(cache, answers, clock=_now),
        VectorServicer(vectors),
        Sweeper(answers, config, cache.counts, clock=_now),
        sealing,
        embedder,
        remembering,
        index,
        Archive(
            context.database,
            config,
            sealing.sealer,
            threads,
            conversations,
            RecalledTurns(remembering.recaller),
            clock=_now,
        ),
    )
