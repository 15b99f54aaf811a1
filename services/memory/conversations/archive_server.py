"""ArchiveService: proto in, search and whole conversations, proto out."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc.aio
from google.api import httpbody_pb2

from dac.memory.v1 import archive_pb2, archive_pb2_grpc
from mesh.fair_share import in_turn
from mesh.ids import uuid7
from mesh.postgres import Database
from services.memory import errors
from services.memory.config import MemoryConfig
from services.memory.conversations.archive import ConversationArchive
from services.memory.conversations.archive_form import (
    ProtoEncoder,
    asked_of,
    change_in,
    file_of,
    hit_form,
    result_form,
    stats_form,
    tree_form,
)
from services.memory.conversations.archive_store import PostgresArchiveStore
from services.memory.conversations.batch import Batches, check_count
from services.memory.conversations.batch_store import PostgresBatchStore
from services.memory.conversations.conversations import Conversations
from services.memory.conversations.form import thread_form
from services.memory.conversations.input import checked_thread_id
from services.memory.conversations.message_search import MessageSearch, NearestTurns
from services.memory.conversations.numbering import Numberer
from services.memory.conversations.search_store import PostgresSearchStore, PostgresUnnumbered
from services.memory.conversations.thread_work import ThreadDatabase
from services.memory.sealing.sealing import Sealer
from services.memory.viewers import viewer

CONTENT_TYPES = {
    "": "application/json",
    "json": "application/json",
    "markdown": "text/markdown; charset=utf-8",
}
PART_BYTES = 262_144
"""How much of a file is sent at once."""


class ArchiveServicer(archive_pb2_grpc.ArchiveServiceServicer):
    """Search, trees, batches, counts, files."""

    def __init__(self, archive: ConversationArchive, search: MessageSearch, batches: Batches) -> None:
        self._archive, self._search, self._batches = archive, search, batches

    async def SearchMessages(
        self, request: archive_pb2.SearchMessagesRequest, context: Any
    ) -> archive_pb2.SearchMessagesResponse:
        """See ArchiveService.SearchMessages."""
        caller = viewer()
        if request.conversation_id and request.thread_id and request.conversation_id != request.thread_id:
            raise errors.invalid("conversation_id", "says another thread than thread_id: send one of them")
        if request.user_id and request.user_id != caller.user_id and not caller.sees_all:
            raise errors.others_threads()
        thread_id = request.thread_id or request.conversation_id
        if thread_id:
            await self._archive.find(caller, checked_thread_id(thread_id))
        found = await self._search.search(caller, asked_of(request, thread_id))
        return archive_pb2.SearchMessagesResponse(
            hits=map(hit_form, found.hits),
            next_page_token=found.next_page_token,
            by_meaning=found.by_meaning,
            has_unweighed=found.has_unweighed,
        )

    async def GetConversationFull(
        self, request: archive_pb2.GetConversationFullRequest, context: Any
    ) -> archive_pb2.GetConversationFullResponse:
        """See ArchiveService.GetConversationFull."""
        page = await self._archive.full(
            viewer(),
            request.thread_id,
            request.page_size,
            request.page_token,
            include_deleted=request.include_deleted,
        )
        return tree_form(page)

    async def BatchConversations(
        self, request: archive_pb2.BatchConversationsRequest, context: Any
    ) -> archive_pb2.BatchConversationsResponse:
        """See ArchiveService.BatchConversations."""
        check_count(len(request.operations))
        changes = [change_in(one, place) for place, one in enumerate(request.operations)]
        results = await self._batches.run(viewer(), request.request_id, changes)
        failed = sum(bool(one.reason) for one in results)
        return archive_pb2.BatchConversationsResponse(
            results=map(result_form, results), succeeded=len(results) - failed, failed=failed
        )

    async def GetConversationStats(
        self, request: archive_pb2.GetConversationStatsRequest, context: Any
    ) -> archive_pb2.GetConversationStatsResponse:
        """See ArchiveService.GetConversationStats."""
        if request.user_id and request.whole_organisation:
            raise errors.invalid("user_id", "cannot stand beside whole_organisation: send one of them")
        stats = await self._archive.stats(viewer(), request.user_id, everyone=request.whole_organisation)
        return stats_form(stats)

    async def ExportConversation(
        self, request: archive_pb2.ExportConversationRequest, context: Any
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        """See ArchiveService.ExportConversation."""
        content_type = CONTENT_TYPES.get(request.format, "")
        parts = self._archive.export(
            viewer(), request.thread_id, request.format, ProtoEncoder(), include_deleted=request.include_deleted
        )
        waiting = bytearray()
        async for part in parts:
            waiting += part.encode()
            while len(waiting) >= PART_BYTES:
                yield httpbody_pb2.HttpBody(content_type=content_type, data=bytes(waiting[:PART_BYTES]))
                del waiting[:PART_BYTES]
        yield httpbody_pb2.HttpBody(content_type=content_type, data=bytes(waiting))

    async def ImportConversation(
        self, request: archive_pb2.ImportConversationRequest, context: Any
    ) -> archive_pb2.ImportConversationResponse:
        """See ArchiveService.ImportConversation."""
        # Beside the event loop: ten megabytes take seconds.
        read = await in_turn(file_of, request)
        imported, file = await self._archive.bring(viewer(), read, request.thread_id)
        return archive_pb2.ImportConversationResponse(
            thread=thread_form(imported.thread),
            created=imported.created,
            message_count=len(file.messages),
            branch_count=len(file.branches),
            notes=file.notes,
        )


class Archive:
    """Everything of archives in one process: the servicer, and what runs beside it."""

    def __init__(
        self,
        database: Database,
        config: MemoryConfig,
        sealer: Sealer,
        threads: ThreadDatabase,
        conversations: Conversations,
        nearest: NearestTurns | None,
        *,
        clock: Callable[[], dt.datetime],
    ) -> None:
        """Opens nothing."""
        self.servicer = ArchiveServicer(
            ConversationArchive(PostgresArchiveStore(threads), config, clock=clock),
            MessageSearch(PostgresSearchStore(threads), nearest),
            Batches(conversations, PostgresBatchStore(database), clock=clock, new_id=uuid7),
        )
        self.numberer = Numberer(PostgresUnnumbered(database, sealer), config)

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the servicer."""
        archive_pb2_grpc.add_ArchiveServiceServicer_to_server(self.servicer, server)

    def start(self) -> None:
        """Begins to make old messages findable."""
        self.numberer.start()

    async def close(self) -> None:
        """Stops that."""
        await self.numberer.close()
