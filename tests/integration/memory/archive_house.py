"""ConversationService and ArchiveService on a real PostgreSQL, called as this or that user."""

import dataclasses
import datetime as dt
from collections.abc import Awaitable, Sequence
from typing import Any

import pytest
from google.protobuf import json_format

from dac.memory.v1 import archive_pb2, conversation_pb2
from dac.type.v1.principal_pb2 import Principal
from mesh.call import Call, serving
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.postgres import Database
from services.memory.config import MemoryConfig
from services.memory.conversations.archive_server import Archive
from services.memory.conversations.conversations import Conversations
from services.memory.conversations.message_search import NearestTurns
from services.memory.conversations.server import ConversationServicer
from services.memory.conversations.thread_work import ThreadDatabase
from services.memory.conversations.turn_listeners import TurnListener
from services.memory.sealing.sealing import PlainSealer, Sealer
from services.memory.viewers import Viewer

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
Msg = conversation_pb2.Message


class Meanings:
    """An index of meanings that says what it was told to."""

    def __init__(self) -> None:
        self.said: list[tuple[str, float]] | None = None

    async def nearest(self, viewer: Viewer, query: str, *, thread_id: str, user_id: str, most: int) -> Any:
        return self.said


class House:
    """Both servicers on one database, called as somebody of an organisation."""

    def __init__(
        self,
        database: Database,
        sealer: Sealer | None = None,
        *,
        nearest: NearestTurns | None = None,
        listeners: Sequence[TurnListener] = (),
    ) -> None:
        self.now, self.database, self.meanings = START, database, Meanings()
        self.sealer = sealer or PlainSealer()
        config, threads = MemoryConfig(), ThreadDatabase(database, sealer=self.sealer, listeners=listeners)
        conversations = Conversations(threads, config, clock=self.clock, new_id=uuid7)
        archive = Archive(
            database, config, self.sealer, threads, conversations, nearest or self.meanings, clock=self.clock
        )
        self.servicers = (ConversationServicer(conversations), archive.servicer)
        self.numberer = archive.numberer

    def clock(self) -> dt.datetime:
        return self.now

    def caller(self, who: Principal) -> "Caller":
        return Caller(self, who)


@dataclasses.dataclass
class Caller:
    """Somebody who calls."""

    house: House
    who: Principal

    async def ask(self, method: str, request: object) -> Any:
        servicer = next(one for one in self.house.servicers if method in type(one).__dict__)
        with serving(Call(principal=self.who)):
            return await getattr(servicer, method)(request, None)

    async def say(self, thread_id: str, text: str, role: str = "user", **values: Any) -> str:
        """Appends a message; its id."""
        self.house.now += dt.timedelta(seconds=1)
        with_parent = {"parent_message_id": values.pop("parent")} if "parent" in values else {}
        request = conversation_pb2.AppendMessagesRequest(
            thread_id=thread_id, messages=[Msg(role=role, text=text, **values)], **with_parent
        )
        return str((await self.ask("AppendMessages", request)).message_ids[0])

    async def begin(self, thread_id: str, **values: Any) -> None:
        await self.ask("CreateThread", conversation_pb2.CreateThreadRequest(thread_id=thread_id, **values))

    async def found(self, query: str, **values: Any) -> list[str]:
        """The texts that a search finds."""
        return [one.message.text for one in (await self.search(query, **values)).hits]

    async def search(self, query: str, **values: Any) -> Any:
        return await self.ask("SearchMessages", archive_pb2.SearchMessagesRequest(query=query, **values))

    async def file(self, thread_id: str, form: str = "json", **values: Any) -> str:
        request = archive_pb2.ExportConversationRequest(thread_id=thread_id, format=form, **values)
        data = b""
        with serving(Call(principal=self.who)):
            async for part in self.house.servicers[1].ExportConversation(request, None):
                data += part.data
        return data.decode()

    async def bring(self, file: str, **values: Any) -> Any:
        """Imports an exported JSON file, whose text is the body as it is."""
        request = json_format.Parse(file, archive_pb2.ImportConversationRequest(**values))
        return await self.ask("ImportConversation", request)

    async def batch(self, *operations: dict[str, Any], request_id: str = "") -> Any:
        document = {"operations": list(operations), "request_id": request_id}
        return await self.ask(
            "BatchConversations", json_format.ParseDict(document, archive_pb2.BatchConversationsRequest())
        )


async def refused(work: Awaitable[object]) -> Reason:
    with pytest.raises(MeshError) as caught:
        await work
    return caught.value.reason
