"""MemoryService: proto in, memories and contexts, proto out; and how that part of memory is put together."""

from __future__ import annotations

from typing import Any

from dac.memory.v1 import memory_pb2, memory_pb2_grpc
from mesh.call import current, require_principal
from services.memory import errors
from services.memory.embedder import Embedder
from services.memory.memories import Memories
from services.memory.memory import Seen
from services.memory.memory_form import (
    amendment,
    change_message,
    filter_of,
    json_line,
    memory_message,
    new_memory,
)
from services.memory.viewers import viewer

MAX_EMBEDDED_TEXTS = 256
MAX_EMBEDDED_BYTES = 1_048_576


def _seen() -> Seen:
    who = viewer()
    return Seen(who.org_id, who.user_id, who.sees_all)


class MemoryServicer(memory_pb2_grpc.MemoryServiceServicer):
    """dac.memory.v1.MemoryService."""

    def __init__(self, memories: Memories, embedder: Embedder) -> None:
        self._memories, self._embedder = memories, embedder

    async def Remember(self, request: memory_pb2.RememberRequest, context: Any) -> memory_pb2.RememberResponse:
        """See MemoryService.Remember."""
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

    async def Embed(self, request: memory_pb2.EmbedRequest, context: Any) -> memory_pb2.EmbedResponse:
        """See MemoryService.Embed."""
        texts = list(request.texts)
        if not 1 <= len(texts) <= MAX_EMBEDDED_TEXTS:
            raise errors.invalid("texts", f"must be 1 to {MAX_EMBEDDED_TEXTS}, not {len(texts)}")
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
