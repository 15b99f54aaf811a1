"""Memory's servicers: proto in, domain, proto out; and how the service is put together."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

import grpc.aio

from dac.memory.v1 import cache_pb2, cache_pb2_grpc, conversation_pb2, conversation_pb2_grpc
from mesh.call import require_principal
from mesh.ids import uuid7
from mesh.postgres import Database
from mesh.service import Context, Service
from services.memory import errors
from services.memory.cache import ResponseCache, Sweeper
from services.memory.config import MemoryConfig
from services.memory.conversations import Conversations, NewMessage
from services.memory.store import PostgresCacheStore, PostgresThreadStore, Thread
from services.memory.window import Message


def _org_id() -> str:
    """The caller's organisation: the only partition that memory opens for a call."""
    org_id = require_principal().org_id
    if not org_id:
        raise errors.no_organisation()
    return org_id


class ConversationServicer(conversation_pb2_grpc.ConversationServiceServicer):
    """Threads and messages."""

    def __init__(self, conversations: Conversations) -> None:
        self._conversations = conversations

    async def CreateThread(
        self, request: conversation_pb2.CreateThreadRequest, context: Any
    ) -> conversation_pb2.CreateThreadResponse:
        """See ConversationService.CreateThread."""
        thread = await self._conversations.create(_org_id(), request.thread_id, request.title)
        return conversation_pb2.CreateThreadResponse(thread=_thread(thread))

    async def GetThread(
        self, request: conversation_pb2.GetThreadRequest, context: Any
    ) -> conversation_pb2.GetThreadResponse:
        """See ConversationService.GetThread."""
        thread = await self._conversations.get(_org_id(), request.thread_id)
        return conversation_pb2.GetThreadResponse(thread=_thread(thread))

    async def ListThreads(
        self, request: conversation_pb2.ListThreadsRequest, context: Any
    ) -> conversation_pb2.ListThreadsResponse:
        """See ConversationService.ListThreads."""
        page, token = await self._conversations.list_threads(_org_id(), request.page_size, request.page_token)
        return conversation_pb2.ListThreadsResponse(threads=map(_thread, page), next_page_token=token)

    async def DeleteThread(
        self, request: conversation_pb2.DeleteThreadRequest, context: Any
    ) -> conversation_pb2.DeleteThreadResponse:
        """See ConversationService.DeleteThread."""
        await self._conversations.delete(_org_id(), request.thread_id)
        return conversation_pb2.DeleteThreadResponse()

    async def ListMessages(
        self, request: conversation_pb2.ListMessagesRequest, context: Any
    ) -> conversation_pb2.ListMessagesResponse:
        """See ConversationService.ListMessages."""
        page, token = await self._conversations.list_messages(
            _org_id(), request.thread_id, request.page_size, request.page_token
        )
        return conversation_pb2.ListMessagesResponse(messages=map(_message, page), next_page_token=token)

    async def AppendMessages(
        self, request: conversation_pb2.AppendMessagesRequest, context: Any
    ) -> conversation_pb2.AppendMessagesResponse:
        """See ConversationService.AppendMessages."""
        ids = await self._conversations.append(_org_id(), request.thread_id, request.request_id, _new(request.messages))
        return conversation_pb2.AppendMessagesResponse(message_ids=ids)

    async def OpenTurn(
        self, request: conversation_pb2.OpenTurnRequest, context: Any
    ) -> conversation_pb2.OpenTurnResponse:
        """See ConversationService.OpenTurn."""
        window, tokens = await self._conversations.open_turn(
            _org_id(),
            request.thread_id,
            request.request_id,
            _new(request.messages),
            max_tokens=request.max_tokens,
            max_messages=request.max_messages,
        )
        return conversation_pb2.OpenTurnResponse(window=map(_message, window), window_tokens=tokens)


class CacheServicer(cache_pb2_grpc.CacheServiceServicer):
    """The exact response cache."""

    def __init__(self, cache: ResponseCache) -> None:
        self._cache = cache

    async def Lookup(self, request: cache_pb2.LookupRequest, context: Any) -> cache_pb2.LookupResponse:
        """See CacheService.Lookup."""
        found = await self._cache.find(_org_id(), request.fingerprint)
        if found is None:
            return cache_pb2.LookupResponse()
        return cache_pb2.LookupResponse(answer=cache_pb2.CachedAnswer.FromString(found[0]), age_s=found[1])

    async def Store(self, request: cache_pb2.StoreRequest, context: Any) -> cache_pb2.StoreResponse:
        """See CacheService.Store."""
        stored = await self._cache.put(
            _org_id(),
            request.fingerprint,
            request.answer.SerializeToString() if request.answer.openai_json else b"",
            finish_reason=request.answer.finish_reason,
            lifetime_s=request.lifetime_s,
        )
        return cache_pb2.StoreResponse(stored=stored)


def _new(messages: Iterable[conversation_pb2.Message]) -> list[NewMessage]:
    return [NewMessage(one.role, one.text, one.openai_json, one.tokens_estimated, one.model) for one in messages]


def _thread(thread: Thread) -> conversation_pb2.Thread:
    return conversation_pb2.Thread(
        thread_id=thread.thread_id,
        title=thread.title,
        created_at=thread.created_at,
        updated_at=thread.updated_at,
        message_count=thread.message_count,
    )


def _message(message: Message) -> conversation_pb2.Message:
    return conversation_pb2.Message(
        message_id=message.message_id,
        thread_id=message.thread_id,
        role=message.role,
        text=message.text,
        openai_json=message.openai_json,
        tokens_estimated=message.tokens_estimated,
        request_id=message.request_id,
        model=message.model,
        created_at=dt.datetime.fromtimestamp(message.created_at_s, dt.UTC),
    )


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
