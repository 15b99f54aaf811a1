"""MemoryService: proto in, memories and contexts, proto out; and how that part of memory is put together."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Sequence
from typing import Any

import grpc.aio

from dac.memory.v1 import memory_pb2, memory_pb2_grpc
from mesh.call import Call, current, require_principal
from mesh.ids import uuid7
from mesh.postgres import Database
from mesh.rounds import Rounds
from services.memory import errors
from services.memory.answers.guards import fires
from services.memory.config import MemoryConfig
from services.memory.contexts.contexts import Contexts
from services.memory.contexts.form import asked_of, built_message, summary_message
from services.memory.contexts.summaries import Summarist, SummaryStore
from services.memory.contexts.token_counts import Tokenizers
from services.memory.conversations.thread_work import ThreadDatabase
from services.memory.conversations.threads import Thread
from services.memory.conversations.turn_store import PostgresTurnStore
from services.memory.embedding.embedder import Embedder
from services.memory.recall.form import (
    amendment,
    change_message,
    filter_of,
    json_line,
    memory_message,
    new_memory,
)
from services.memory.recall.memories import Memories, check_count
from services.memory.recall.memory import Seen
from services.memory.recall.recall import Recaller
from services.memory.recall.store import MemoryListener, PostgresMemoryStore
from services.memory.recall.turn_index import CatchUp, TurnIndex
from services.memory.recall.vectors import VectorMaker
from services.memory.sealing.sealing import Sealer
from services.memory.viewers import viewer
from services.memory.writing.asking import Writer
from services.memory.writing.extraction import Extraction

SWEEP_INTERVAL_S = 3600.0
SWEEP_ROWS = 10_000
MAX_EMBEDDED_TEXTS = 256
MAX_EMBEDDED_BYTES = 1_048_576

_log = logging.getLogger(__name__)


def _seen() -> Seen:
    who = viewer()
    return Seen(who.org_id, who.user_id, who.sees_all)


class MemoryServicer(memory_pb2_grpc.MemoryServiceServicer):
    """dac.memory.v1.MemoryService."""

    def __init__(self, memories: Memories, contexts: Contexts, embedder: Embedder, tokenizers: Tokenizers) -> None:
        self._memories, self._contexts, self._embedder = memories, contexts, embedder
        self.tokenizers = tokenizers

    async def Remember(self, request: memory_pb2.RememberRequest, context: Any) -> memory_pb2.RememberResponse:
        """See MemoryService.Remember."""
        check_count(len(request.memories))
        request_id = request.request_id or current().request_id
        news = [new_memory(one) for one in request.memories]
        told = await self._memories.remember(_seen(), news, request_id, _key_id())
        return memory_pb2.RememberResponse(
            memories=[
                memory_pb2.RememberResponse.Remembered(memory_id=one.memory_id, stored=one.stored, why=one.why)
                for one in told
            ]
        )

    async def Recall(self, request: memory_pb2.RecallRequest, context: Any) -> memory_pb2.RecallResponse:
        """See MemoryService.Recall."""
        best, findings = await self._memories.recall(
            _seen(),
            request.query,
            filter_of(request.filter),
            top_k=request.top_k,
            all_agents=request.all_agents,
            superseded=request.include_superseded,
        )
        return memory_pb2.RecallResponse(
            memories=[
                memory_pb2.Recalled(memory=memory_message(memory), score=score, bm25=bm25, cosine=cosine)
                for memory, score, bm25, cosine in best
            ],
            embedder_id=self._embedder.embedder_id if self._embedder.semantic else "",
            not_embedded=findings.not_embedded,
        )

    async def ListMemories(
        self, request: memory_pb2.ListMemoriesRequest, context: Any
    ) -> memory_pb2.ListMemoriesResponse:
        """See MemoryService.ListMemories."""
        page, token = await self._memories.page(
            _seen(), filter_of(request.filter), request.page_size, request.page_token
        )
        return memory_pb2.ListMemoriesResponse(memories=map(memory_message, page), next_page_token=token)

    async def GetMemory(self, request: memory_pb2.GetMemoryRequest, context: Any) -> memory_pb2.GetMemoryResponse:
        """See MemoryService.GetMemory."""
        return memory_pb2.GetMemoryResponse(memory=memory_message(await self._memories.get(_seen(), request.memory_id)))

    async def UpdateMemory(
        self, request: memory_pb2.UpdateMemoryRequest, context: Any
    ) -> memory_pb2.UpdateMemoryResponse:
        """See MemoryService.UpdateMemory."""
        changed = await self._memories.update(_seen(), request.memory_id, amendment(request), _key_id())
        return memory_pb2.UpdateMemoryResponse(memory=memory_message(changed))

    async def DeleteMemory(
        self, request: memory_pb2.DeleteMemoryRequest, context: Any
    ) -> memory_pb2.DeleteMemoryResponse:
        """See MemoryService.DeleteMemory."""
        await self._memories.delete(_seen(), request.memory_id, _key_id())
        return memory_pb2.DeleteMemoryResponse()

    async def DeleteMemories(
        self, request: memory_pb2.DeleteMemoriesRequest, context: Any
    ) -> memory_pb2.DeleteMemoriesResponse:
        """See MemoryService.DeleteMemories."""
        deleted = await self._memories.delete_many(_seen(), filter_of(request.filter), _key_id())
        return memory_pb2.DeleteMemoriesResponse(deleted=deleted)

    async def GetMemoryHistory(
        self, request: memory_pb2.GetMemoryHistoryRequest, context: Any
    ) -> memory_pb2.GetMemoryHistoryResponse:
        """See MemoryService.GetMemoryHistory."""
        entries = await self._memories.history(_seen(), request.memory_id)
        return memory_pb2.GetMemoryHistoryResponse(changes=map(change_message, entries))

    async def ExportMemories(
        self, request: memory_pb2.ExportMemoriesRequest, context: Any
    ) -> memory_pb2.ExportMemoriesResponse:
        """See MemoryService.ExportMemories."""
        page, token = await self._memories.page(
            _seen(), filter_of(request.filter), request.page_size, request.page_token, newest_first=False
        )
        lines = "".join(map(json_line, page))
        return memory_pb2.ExportMemoriesResponse(jsonl=lines, count=len(page), next_page_token=token)

    async def EraseMemories(
        self, request: memory_pb2.EraseMemoriesRequest, context: Any
    ) -> memory_pb2.EraseMemoriesResponse:
        """See MemoryService.EraseMemories."""
        wanted = filter_of(request.filter)
        erased = await self._memories.erase(_seen(), wanted, _key_id(), everything=request.everything)
        return memory_pb2.EraseMemoriesResponse(erased=erased)

    async def GetProfile(self, request: memory_pb2.GetProfileRequest, context: Any) -> memory_pb2.GetProfileResponse:
        """See MemoryService.GetProfile."""
        seen = _seen()
        if request.user_id and request.user_id != seen.user_id and not seen.everyone:
            raise errors.not_yours(request.user_id)
        about = Seen(seen.org_id, request.user_id or seen.user_id)
        facts, counts = await self._memories.profile(about, request.agent_id, request.max_facts)
        return memory_pb2.GetProfileResponse(
            facts=map(memory_message, facts),
            counts={memory_pb2.MemoryKind.Name(kind): many for kind, many in counts.items()},
        )

    async def BuildContext(
        self, request: memory_pb2.BuildContextRequest, context: Any
    ) -> memory_pb2.BuildContextResponse:
        """See MemoryService.BuildContext."""
        asked = asked_of(request, self.tokenizers.of(request.model))
        return built_message(await self._contexts.build(viewer(), asked))

    async def GetSummary(self, request: memory_pb2.GetSummaryRequest, context: Any) -> memory_pb2.GetSummaryResponse:
        """See MemoryService.GetSummary."""
        found = await self._contexts.summary(viewer(), request.thread_id, request.head_message_id)
        return memory_pb2.GetSummaryResponse(summary=None if found is None else summary_message(found))

    async def UpdateSummary(
        self, request: memory_pb2.UpdateSummaryRequest, context: Any
    ) -> memory_pb2.UpdateSummaryResponse:
        """See MemoryService.UpdateSummary."""
        written = await self._contexts.write_summary(
            viewer(), request.thread_id, request.text, request.until_message_id, request.written_by
        )
        return memory_pb2.UpdateSummaryResponse(summary=summary_message(written))

    async def Embed(self, request: memory_pb2.EmbedRequest, context: Any) -> memory_pb2.EmbedResponse:
        """See MemoryService.Embed."""
        if not 1 <= len(request.texts) <= MAX_EMBEDDED_TEXTS:
            raise errors.invalid("texts", f"must be 1 to {MAX_EMBEDDED_TEXTS}, not {len(request.texts)}")
        texts = list(request.texts)
        size_bytes = sum(len(text.encode()) for text in texts)
        if size_bytes > MAX_EMBEDDED_BYTES:
            raise errors.message_too_large(size_bytes, MAX_EMBEDDED_BYTES)
        vectors = await self._embedder.embed(texts)
        return memory_pb2.EmbedResponse(
            vectors=[memory_pb2.EmbedResponse.Vector(values=vector.tolist()) for vector in vectors],
            embedder_id=self._embedder.embedder_id,
            dimensions=self._embedder.dimensions,
            semantic=self._embedder.semantic,
        )


def _key_id() -> str:
    return require_principal().key_id


class Remembering:
    """Everything of memories in one process: the servicer, the turn index, and what runs beside them."""

    def __init__(
        self,
        database: Database,
        config: MemoryConfig,
        sealer: Sealer,
        embedder: Embedder,
        listeners: Sequence[MemoryListener] = (),
        writer: Writer | None = None,
    ) -> None:
        """Opens nothing. `listeners` are told what is forgotten; `writer` asks the models that the operator names."""
        store = PostgresMemoryStore(database, sealer, listeners)
        self.recaller = recaller = Recaller(store, embedder, sealer, max_bytes=config.recall_index_max_bytes)
        self.vector_maker = VectorMaker(
            store, embedder, rows=config.recall_embed_rows, check_s=config.recall_embed_check_s
        )
        memories = Memories(store, recaller, config, clock=now, new_id=uuid7, fires=fires, kept=self.vector_maker.wake)
        self.turn_index = TurnIndex(
            sealer,
            clock=now,
            max_text_bytes=config.recall_max_text_bytes,
            kept=self.vector_maker.wake,
            listeners=listeners,
        )
        summaries = SummaryStore(database, sealer)
        named = config.summary_model
        self.summarist = Summarist(
            summaries, embedder, clock=now, writer=writer if named else None, model=named or "extracted"
        )
        self.extraction = None
        if writer is not None and config.facts_model:
            self.extraction = Extraction(database, sealer, memories, writer, model=config.facts_model, clock=now)
        turns = PostgresTurnStore(ThreadDatabase(database, sealer=sealer))
        contexts = Contexts(turns, store, recaller, summaries, self.summarist, config, clock=now)
        self.servicer = MemoryServicer(memories, contexts, embedder, Tokenizers(wanted=config.context_tokenizer))
        self.catch_up = CatchUp(database, sealer, self.turn_index)
        self._caretaker = Caretaker(store, self.catch_up, keep_s=config.recall_keep_deleted_s)

    def answered(self, thread: Thread, caller: Call) -> None:
        """A turn of this thread is whole."""
        if self.extraction is not None:
            self.extraction.answered(thread, caller)

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the servicer."""
        memory_pb2_grpc.add_MemoryServiceServicer_to_server(self.servicer, server)

    async def start(self) -> None:
        """Begins to make vectors and summaries, and to sweep tombstones."""
        self.vector_maker.start()
        self.summarist.start()
        self._caretaker.start()
        if self.extraction is not None:
            self.extraction.start()

    async def close(self) -> None:
        """Stops that."""
        if self.extraction is not None:
            await self.extraction.close()
        await self._caretaker.close()
        await self.summarist.close()
        await self.vector_maker.close()
        await self.recaller.close()


class Caretaker:
    """Catches up with turns, and takes away what says that memories were deleted: at the start, then now and then."""

    def __init__(self, store: PostgresMemoryStore, catch_up: CatchUp, *, keep_s: float) -> None:
        self._store, self._catch_up, self._keep_s = store, catch_up, keep_s
        rounds = Rounds(
            "memory-caretaker",
            self._care,
            SWEEP_INTERVAL_S,
            _log,
            meanwhile="turns and tombstones stay as they are for now",
        )
        self.start, self.close = rounds.start, rounds.close

    async def _care(self) -> None:
        await self._catch_up.run()
        await self._store.sweep(now() - dt.timedelta(seconds=self._keep_s), SWEEP_ROWS)


def now() -> dt.datetime:
    """The time, in UTC."""
    return dt.datetime.now(dt.UTC)
