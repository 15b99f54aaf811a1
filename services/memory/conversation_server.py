"""ConversationService: proto in, threads and their trees, proto out."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

from dac.memory.v1 import conversation_pb2, conversation_pb2_grpc
from services.memory.conversations import Conversations, NewMessage
from services.memory.store import Thread
from services.memory.viewers import organisation
from services.memory.window import Message


class ConversationServicer(conversation_pb2_grpc.ConversationServiceServicer):
    """Threads and messages."""

    def __init__(self, conversations: Conversations) -> None:
        self._conversations = conversations

    async def CreateThread(
        self, request: conversation_pb2.CreateThreadRequest, context: Any
    ) -> conversation_pb2.CreateThreadResponse:
        """See ConversationService.CreateThread."""
        thread = await self._conversations.create(organisation(), request.thread_id, request.title)
        return conversation_pb2.CreateThreadResponse(thread=_thread(thread))

    async def GetThread(
        self, request: conversation_pb2.GetThreadRequest, context: Any
    ) -> conversation_pb2.GetThreadResponse:
        """See ConversationService.GetThread."""
        thread = await self._conversations.get(organisation(), request.thread_id)
        return conversation_pb2.GetThreadResponse(thread=_thread(thread))

    async def ListThreads(
        self, request: conversation_pb2.ListThreadsRequest, context: Any
    ) -> conversation_pb2.ListThreadsResponse:
        """See ConversationService.ListThreads."""
        page, token = await self._conversations.list_threads(organisation(), request.page_size, request.page_token)
        return conversation_pb2.ListThreadsResponse(threads=map(_thread, page), next_page_token=token)

    async def DeleteThread(
        self, request: conversation_pb2.DeleteThreadRequest, context: Any
    ) -> conversation_pb2.DeleteThreadResponse:
        """See ConversationService.DeleteThread."""
        await self._conversations.delete(organisation(), request.thread_id)
        return conversation_pb2.DeleteThreadResponse()

    async def ListMessages(
        self, request: conversation_pb2.ListMessagesRequest, context: Any
    ) -> conversation_pb2.ListMessagesResponse:
        """See ConversationService.ListMessages."""
        page, token = await self._conversations.list_messages(
            organisation(), request.thread_id, request.page_size, request.page_token
        )
        return conversation_pb2.ListMessagesResponse(messages=map(_message, page), next_page_token=token)

    async def AppendMessages(
        self, request: conversation_pb2.AppendMessagesRequest, context: Any
    ) -> conversation_pb2.AppendMessagesResponse:
        """See ConversationService.AppendMessages."""
        ids = await self._conversations.append(
            organisation(), request.thread_id, request.request_id, _new(request.messages)
        )
        return conversation_pb2.AppendMessagesResponse(message_ids=ids)

    async def OpenTurn(
        self, request: conversation_pb2.OpenTurnRequest, context: Any
    ) -> conversation_pb2.OpenTurnResponse:
        """See ConversationService.OpenTurn."""
        window, tokens = await self._conversations.open_turn(
            organisation(),
            request.thread_id,
            request.request_id,
            _new(request.messages),
            max_tokens=request.max_tokens,
            max_messages=request.max_messages,
        )
        return conversation_pb2.OpenTurnResponse(window=map(_message, window), window_tokens=tokens)


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
