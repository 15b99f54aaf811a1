"""Search in Weaviate: one collection there, an organisation is a tenant of it, vectors and numbers only.

Weaviate compares vectors of one length, so that "one collection" is one for each length: DacVectors384 for texts.
What PostgreSQL has committed is sent before a search, by one process at a time; what Weaviate missed while it was away
is sent by the next search, or by the process itself soon after.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import uuid
from collections.abc import Awaitable, Sequence
from typing import Any
from urllib.parse import urlsplit

from mesh.errors import MeshError
from services.memory.config import MemoryConfig
from services.memory.vectors import vector_errors as errors
from services.memory.vectors.feed import VectorFeed
from services.memory.vectors.store import Collection, Vectors

CLASS = "DacVectors"
PAGE = 500
CATCH_UP_S = 30.0
"""How often it is looked for what Weaviate missed."""
CALL_S = 5.0
"""How long one call to Weaviate may take with all the repeats that its client makes by itself."""
PAUSE_S = 1.0
"""After a failure, before the next try."""
FAILURES_MAX = 3
NUMBER = (1 << 64) - 1

_log = logging.getLogger(__name__)


def object_id(collection_id: str, number: int) -> uuid.UUID:
    """The id of a version in Weaviate: its lower half is the number."""
    above = hashlib.blake2b(collection_id.encode(), digest_size=8).digest()
    return uuid.UUID(int=int.from_bytes(above, "big") << 64 | number)


class WeaviateIndex:
    """See vector_index.VectorIndex."""

    name = "weaviate"

    def __init__(self, weaviate: Any, config: MemoryConfig, feed: VectorFeed) -> None:
        self._weaviate, self._config, self._feed = weaviate, config, feed
        self._client: Any = None
        self._connecting = asyncio.Lock()
        # Each takes a connection to PostgreSQL while Weaviate works.
        self._filling = asyncio.Semaphore(2)
        self._known: dict[str, tuple[int, int]] = {}
        self._tenants: set[tuple[str, str]] = set()
        self._written: dict[str, Collection] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def search(
        self, collection: Collection, vector: Vectors, k: int, pairs: Sequence[int]
    ) -> list[tuple[int, float]]:
        """See VectorIndex."""
        await self._settle(collection)
        if not collection.item_count:
            return []
        query = self._weaviate.classes.query
        where = query.Filter.by_property("collection").equal(collection.collection_id)
        if pairs:
            where = where & query.Filter.by_property("pairs").contains_all([f"{one:x}" for one in pairs])
        shelf = await self._shelf(collection)
        found = await self._asked(
            shelf.query.near_vector(
                vector.tolist(),
                limit=k,
                filters=where,
                return_metadata=query.MetadataQuery(distance=True),
                return_properties=[],
            )
        )
        return [(one.uuid.int & NUMBER, -one.metadata.distance) for one in found.objects]

    async def settle(self, collection: Collection) -> None:
        """See VectorIndex. Writers do not wait for Weaviate."""
        if self._task is None:
            await self._settle(collection)
        else:
            self._written[collection.collection_id] = collection
            self._wake.set()

    async def _settle(self, collection: Collection) -> None:
        # Nobody else takes back what was sent, except in another embedding, which moves swept_seq.
        known, floor = self._known.get(collection.collection_id, (0, 0))
        if known >= collection.seq and floor >= collection.swept_seq:
            return
        shelf = await self._shelf(collection)
        async with self._filling, self._feed.filling(collection) as current:
            if current is not None:
                await self._fill(shelf, current)

    async def drop(self, collection: Collection) -> None:
        """See VectorIndex."""
        self._known.pop(collection.collection_id, None)
        shelf = await self._shelf(collection)
        async with self._filling, self._feed.filling(collection) as current:
            if current is not None:
                await self._feed.mark_unindexed(current)
                await self._empty(shelf, current)

    async def erase(self, org_id: str) -> None:
        """See VectorIndex: the organisation's tenant goes with all it has."""
        client = await self._asked(self._connected())
        for name in await self._asked(client.collections.list_all(simple=True)):
            if name.startswith(CLASS):
                await self._asked(client.collections.use(name).tenants.remove([org_id]))
        self._tenants = {one for one in self._tenants if one[1] != org_id}

    async def start(self) -> None:
        """Begins to look for what Weaviate missed."""
        self._task = asyncio.create_task(self._catch_up(), name="weaviate-catch-up")

    async def close(self) -> None:
        """Stops looking and disconnects."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _fill(self, shelf: Any, current: Collection) -> None:
        """Sends the changes that Weaviate does not have; the caller holds the collection's turn."""
        position, floor = current.indexed_seq, current.swept_seq
        if position < 0 or 0 < position < floor:
            await self._empty(shelf, current)
            position = 0
        while position < current.seq:
            changes = await self._feed.changes(current, position, PAGE)
            if changes is None:
                return
            if changes.swept_seq != floor and position < changes.swept_seq:
                raise errors.embedder_changed(current.name)
            await self._send(shelf, current, changes.numbers, changes.vectors, changes.pairs)
            await self._take_away(shelf, current, changes.removed)
            position = changes.seq
        if await self._feed.mark_indexed(current, position):
            self._known[current.collection_id] = (position, floor)

    async def _send(
        self, shelf: Any, current: Collection, numbers: list[int], vectors: Vectors, pairs: list[list[int]]
    ) -> None:
        if not numbers:
            return
        new = self._weaviate.classes.data.DataObject
        objects = [
            new(
                uuid=object_id(current.collection_id, number),
                vector=vector.tolist(),
                properties={"collection": current.collection_id, "pairs": [f"{pair:x}" for pair in own]},
            )
            for number, vector, own in zip(numbers, vectors, pairs, strict=True)
        ]
        sent = await self._asked(shelf.data.insert_many(objects))
        if sent.has_errors:
            first = next(iter(sent.errors.values()))
            raise errors.index_unavailable("weaviate", f"it did not take {len(sent.errors)} objects: {first.message}")

    async def _take_away(self, shelf: Any, current: Collection, numbers: list[int]) -> None:
        ids = [object_id(current.collection_id, number) for number in numbers]
        for begin in range(0, len(ids), PAGE):
            where = self._weaviate.classes.query.Filter.by_id().contains_any(ids[begin : begin + PAGE])
            await self._delete(shelf, where)

    async def _empty(self, shelf: Any, current: Collection) -> None:
        where = self._weaviate.classes.query.Filter.by_property("collection").equal(current.collection_id)
        # It deletes so many at a time only.
        while await self._delete(shelf, where):
            pass

    async def _delete(self, shelf: Any, where: Any) -> int:
        done = await self._asked(shelf.data.delete_many(where))
        if done.failed:
            raise errors.index_unavailable("weaviate", f"it did not delete {done.failed} objects")
        return int(done.matches)

    async def _asked(self, work: Awaitable[Any]) -> Any:
        """What Weaviate answers; its failures come out named, never as one of PostgreSQL's."""
        try:
            async with asyncio.timeout(CALL_S):
                return await work
        except (self._weaviate.exceptions.WeaviateBaseError, OSError, TimeoutError) as error:
            # It may have come back empty: what is known of it is asked again.
            self._tenants.clear()
            self._known.clear()
            problem = (str(error).splitlines() or [f"no answer in {CALL_S:g} s"])[0]
            raise errors.index_unavailable("weaviate", problem[:200]) from error

    async def _shelf(self, collection: Collection) -> Any:
        """The organisation's tenant, made when it is not there."""
        name = f"{CLASS}{collection.dimensions}"
        client = await self._asked(self._connected())
        if (name, collection.org_id) not in self._tenants and await self._asked(
            self._make_tenant(client, name, collection.org_id)
        ):
            # Also after Weaviate came back empty.
            await self._feed.mark_all_unindexed(collection.org_id, collection.dimensions)
            self._known.clear()
        self._tenants.add((name, collection.org_id))
        return client.collections.use(name).with_tenant(collection.org_id)

    async def _make_tenant(self, client: Any, name: str, org_id: str) -> bool:
        """Whether it was not there."""
        if not await client.collections.exists(name):
            try:
                await self._make_class(client, name)
            except self._weaviate.exceptions.WeaviateBaseError:
                # Another process was first.
                if not await client.collections.exists(name):
                    raise
        tenants = client.collections.use(name).tenants
        if await tenants.exists(org_id):
            return False
        try:
            await tenants.create([org_id])
        except self._weaviate.exceptions.WeaviateBaseError:
            if not await tenants.exists(org_id):
                raise
        return True

    async def _make_class(self, client: Any, name: str) -> None:
        wv = self._weaviate.classes.config
        await client.collections.create(
            name,
            description="Vectors of DAC. Made from PostgreSQL and made again when deleted.",
            multi_tenancy_config=wv.Configure.multi_tenancy(enabled=True),
            vector_config=wv.Configure.Vectors.self_provided(
                vector_index_config=wv.Configure.VectorIndex.hnsw(distance_metric=wv.VectorDistances.DOT)
            ),
            properties=[
                wv.Property(
                    name=one,
                    data_type=kind,
                    tokenization=wv.Tokenization.FIELD,
                    index_filterable=True,
                    index_searchable=False,
                )
                for one, kind in (("collection", wv.DataType.TEXT), ("pairs", wv.DataType.TEXT_ARRAY))
            ],
        )

    async def _connected(self) -> Any:
        async with self._connecting:
            if self._client is None:
                http = urlsplit(self._config.vector_weaviate_url)
                host, _, port = self._config.vector_weaviate_grpc_address.rpartition(":")
                init, key = self._weaviate.classes.init, self._config.vector_weaviate_api_key
                client = self._weaviate.use_async_with_custom(
                    http_host=http.hostname or "",
                    http_port=http.port or (443 if http.scheme == "https" else 80),
                    http_secure=http.scheme == "https",
                    grpc_host=host or http.hostname or "",
                    grpc_port=int(port),
                    grpc_secure=http.scheme == "https",
                    auth_credentials=init.Auth.api_key(key.reveal()) if key is not None else None,
                    additional_config=init.AdditionalConfig(timeout=init.Timeout(init=3, query=10, insert=30)),
                    # It would ask a package registry for its own newest version.
                    skip_init_checks=True,
                )
                await client.connect()
                self._client = client
            return self._client

    async def _catch_up(self) -> None:
        """Sends what was just written, and now and then whatever is behind."""
        while True:
            self._wake.clear()
            written, self._written = list(self._written.values()), {}
            try:
                await self._settle_all(written or await self._feed.behind())
            except MeshError as error:
                _log.warning("Weaviate is behind and stays so for now: %s", error.message)
                await asyncio.sleep(PAUSE_S)
                # What came meanwhile is found behind.
                self._written.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), CATCH_UP_S)

    async def _settle_all(self, collections: Sequence[Collection]) -> None:
        """Goes on after one that fails, but not when nothing works at all."""
        failures = 0
        for collection in collections:
            try:
                await self._settle(collection)
                failures = 0
            except MeshError:
                failures += 1
                if failures == FAILURES_MAX or len(collections) == 1:
                    raise


def weaviate_index(config: MemoryConfig, feed: VectorFeed) -> WeaviateIndex:
    """The index; connects at the first use."""
    try:
        import weaviate
        import weaviate.classes
        import weaviate.exceptions
    except ImportError:
        raise errors.index_not_installed("weaviate") from None
    return WeaviateIndex(weaviate, config, feed)
