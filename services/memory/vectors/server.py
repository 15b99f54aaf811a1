"""VectorService: proto in, collections, proto out."""

from __future__ import annotations

from typing import Any

from dac.memory.v1 import vector_pb2, vector_pb2_grpc
from mesh.structs import plain
from services.memory.vectors.collections import Item, VectorCollections, check_count
from services.memory.vectors.store import Collection
from services.memory.viewers import organisation


class VectorServicer(vector_pb2_grpc.VectorServiceServicer):
    """Collections of texts or vectors."""

    def __init__(self, vectors: VectorCollections) -> None:
        self._vectors = vectors

    async def CreateCollection(
        self, request: vector_pb2.CreateCollectionRequest, context: Any
    ) -> vector_pb2.CreateCollectionResponse:
        """See VectorService.CreateCollection."""
        made = await self._vectors.create(organisation(), request.collection, request.dimensions, request.embedder_id)
        return vector_pb2.CreateCollectionResponse(collection=self._collection(made))

    async def ListCollections(
        self, request: vector_pb2.ListCollectionsRequest, context: Any
    ) -> vector_pb2.ListCollectionsResponse:
        """See VectorService.ListCollections."""
        page, token = await self._vectors.collections(organisation(), request.page_size, request.page_token)
        return vector_pb2.ListCollectionsResponse(collections=map(self._collection, page), next_page_token=token)

    async def GetCollection(
        self, request: vector_pb2.GetCollectionRequest, context: Any
    ) -> vector_pb2.GetCollectionResponse:
        """See VectorService.GetCollection."""
        found = await self._vectors.get(organisation(), request.collection)
        return vector_pb2.GetCollectionResponse(collection=self._collection(found))

    async def DeleteCollection(
        self, request: vector_pb2.DeleteCollectionRequest, context: Any
    ) -> vector_pb2.DeleteCollectionResponse:
        """See VectorService.DeleteCollection."""
        await self._vectors.delete(organisation(), request.collection)
        return vector_pb2.DeleteCollectionResponse()

    async def UpsertVectors(
        self, request: vector_pb2.UpsertVectorsRequest, context: Any
    ) -> vector_pb2.UpsertVectorsResponse:
        """See VectorService.UpsertVectors."""
        check_count(len(request.items))
        items = [Item(one.id, one.text, list(one.vector), plain(one.metadata)) for one in request.items]
        ids = await self._vectors.upsert(organisation(), request.collection, items, request.embedder_id)
        return vector_pb2.UpsertVectorsResponse(ids=ids)

    async def SearchVectors(
        self, request: vector_pb2.SearchVectorsRequest, context: Any
    ) -> vector_pb2.SearchVectorsResponse:
        """See VectorService.SearchVectors."""
        hits = await self._vectors.search(
            organisation(),
            request.collection,
            text=request.text,
            vector=list(request.vector),
            top_k=request.top_k,
            where=plain(request.filter),
            min_score=request.min_score if request.HasField("min_score") else None,
            embedder_id=request.embedder_id,
        )
        answer = vector_pb2.SearchVectorsResponse()
        for one in hits:
            hit = answer.hits.add(id=one.item_id, score=one.score, text=one.text)
            if one.metadata:
                hit.metadata.update(one.metadata)
        return answer

    async def DeleteVectors(
        self, request: vector_pb2.DeleteVectorsRequest, context: Any
    ) -> vector_pb2.DeleteVectorsResponse:
        """See VectorService.DeleteVectors."""
        deleted = await self._vectors.remove(
            organisation(), request.collection, list(request.ids), plain(request.filter)
        )
        return vector_pb2.DeleteVectorsResponse(deleted=deleted)

    async def ReindexCollection(
        self, request: vector_pb2.ReindexCollectionRequest, context: Any
    ) -> vector_pb2.ReindexCollectionResponse:
        """See VectorService.ReindexCollection."""
        done = await self._vectors.reindex(organisation(), request.collection)
        return vector_pb2.ReindexCollectionResponse(collection=self._collection(done))

    async def GetEmbedder(self, request: vector_pb2.GetEmbedderRequest, context: Any) -> vector_pb2.GetEmbedderResponse:
        """See VectorService.GetEmbedder."""
        embedder = self._vectors.embedder
        return vector_pb2.GetEmbedderResponse(
            embedder_id=embedder.embedder_id,
            dimensions=embedder.dimensions,
            semantic=embedder.semantic,
            note=embedder.note,
            vector_index=self._vectors.index.name,
        )

    def _collection(self, found: Collection) -> vector_pb2.VectorCollection:
        return vector_pb2.VectorCollection(
            collection=found.name,
            dimensions=found.dimensions,
            embedder_id=found.embedder_id,
            takes_text=self._vectors.takes_text(found),
            item_count=found.item_count,
            created_at=found.created_at,
        )
