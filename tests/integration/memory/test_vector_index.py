"""One contract for every vector index, through VectorService and a real PostgreSQL.

With DAC_WEAVIATE_URL (and DAC_WEAVIATE_GRPC_ADDRESS) Weaviate is a real server, else the stand-in beside this file.
"""

import asyncio
import datetime as dt
import os
import pathlib
import threading
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import faiss
import numpy as np
import pytest

from dac.memory.v1 import vector_pb2
from dac.type.v1.principal_pb2 import Principal
from mesh.call import Call, serving
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from services.memory.config import MemoryConfig
from services.memory.embedding.embedder import open_embedder
from services.memory.embedding.hashed_embedder import HashedEmbedder
from services.memory.sealing.sealing import PlainSealer, SealingKeys
from services.memory.vectors import index_weaviate as vector_index_weaviate
from services.memory.vectors.collections import VectorCollections
from services.memory.vectors.feed import VectorFeed
from services.memory.vectors.index import VectorIndex, open_index
from services.memory.vectors.index_faiss import FaissIndex, FaissShelf
from services.memory.vectors.index_postgres import PostgresIndex
from services.memory.vectors.mirror import Mirror
from services.memory.vectors.server import VectorServicer
from services.memory.vectors.store import VectorStore

if TYPE_CHECKING:  # Weaviate's client takes half a second, in each test process that collects this file.
    from tests.integration.memory.weaviate_stand_in import StandIn

RANDOM = np.random.default_rng(7)


def vectors(count, dimensions=8):
    return RANDOM.standard_normal((count, dimensions)).round(3).tolist()


def unit(rows):
    rows = np.asarray(rows)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


class House:
    """VectorService on one index, called as an organisation."""

    def __init__(self, database, index: VectorIndex, data_dir: pathlib.Path, stand_in: "StandIn | None" = None) -> None:
        self.database, self.index, self.data_dir, self.stand_in = database, index, data_dir, stand_in
        self.embedder, self.sealer = HashedEmbedder(), PlainSealer()
        self.config = MemoryConfig(vector_max_items=2000, vector_max_dimensions=16)

    def servicer(self) -> VectorServicer:
        store = VectorStore(self.database)
        return VectorServicer(
            VectorCollections(
                store,
                self.index,
                self.embedder,
                self.sealer,
                self.config,
                clock=lambda: dt.datetime.now(dt.UTC),
                new_id=uuid7,
            )
        )

    async def ask(self, org_id, method, **fields):
        kind = getattr(vector_pb2, f"{method}Request")
        with serving(Call(principal=Principal(org_id=org_id))):
            return await getattr(self.servicer(), method)(kind(**fields), None)

    async def upsert(self, org_id, name, rows, first=0, **more):
        items = [{"id": f"i{first + n}", "vector": row, **more} for n, row in enumerate(rows)]
        return list((await self.ask(org_id, "UpsertVectors", collection=name, items=items)).ids)

    async def near(self, org_id, name, vector, top_k=10, **more):
        hits = (await self.ask(org_id, "SearchVectors", collection=name, vector=vector, top_k=top_k, **more)).hits
        return [(one.id, round(one.score, 4)) for one in hits]


async def open_weaviate(database, tmp_path):
    stand_in = None
    url, address = os.environ.get("DAC_WEAVIATE_URL", ""), os.environ.get("DAC_WEAVIATE_GRPC_ADDRESS", ":50051")
    if not url:
        from tests.integration.memory.weaviate_stand_in import StandIn

        stand_in = StandIn()
        await stand_in.serve()
        url, address = f"http://127.0.0.1:{stand_in.http_port}", f":{stand_in.grpc_port}"
    config = MemoryConfig(vector_index="weaviate", vector_weaviate_url=url, vector_weaviate_grpc_address=address)
    return open_index(config, VectorFeed(database), tmp_path), stand_in


async def made(kind: str, database, tmp_path) -> "tuple[VectorIndex, StandIn | None]":
    if kind == "weaviate":
        return await open_weaviate(database, tmp_path)
    if kind == "matrix":
        return PostgresIndex(VectorFeed(database), 1 << 20, use_pgvector=False), None
    return open_index(MemoryConfig(vector_index=kind), VectorFeed(database), tmp_path), None


@pytest.fixture(params=["postgres", "matrix", "faiss", "weaviate"])
async def house(request, database_for, tmp_path) -> AsyncIterator[House]:
    database = await database_for("memory")
    index, stand_in = await made(request.param, database, tmp_path)
    yield House(database, index, tmp_path, stand_in)
    await index.close()
    if stand_in is not None:
        await stand_in.stop()


async def refused(work, reason, words):
    with pytest.raises(MeshError) as caught:
        await work
    assert caught.value.reason is reason and words in caught.value.message, caught.value.message


async def test_the_nearest_are_found_in_order_and_at_once(house: House, org_id: str) -> None:
    rows = vectors(60)
    assert await house.upsert(org_id, "c", rows[:40]) == [f"i{n}" for n in range(40)]
    await house.upsert(org_id, "c", rows[40:], first=40)
    query = vectors(1)[0]
    scores = unit(rows) @ unit(query)
    best = sorted(range(60), key=lambda n: -scores[n])[:10]
    assert await house.near(org_id, "c", query) == [(f"i{n}", pytest.approx(scores[n], abs=2e-4)) for n in best]
    floor = float(scores[best[3]]) - 1e-4
    assert len(await house.near(org_id, "c", query, min_score=floor)) == 4
    assert len(await house.near(org_id, "c", query, top_k=1000)) == 60
    got = await house.ask(org_id, "GetCollection", collection="c")
    assert (got.collection.item_count, got.collection.dimensions, got.collection.takes_text) == (60, 8, False)


async def test_what_is_replaced_or_deleted_is_never_found_again(house: House, org_id: str) -> None:
    rows = vectors(30)
    await house.upsert(org_id, "c", rows)
    moved = [-x for x in rows[3]]
    await house.upsert(org_id, "c", [moved], first=3)
    assert (await house.near(org_id, "c", moved))[0] == ("i3", 1.0)
    assert ("i3", 1.0) not in await house.near(org_id, "c", rows[3], top_k=30)
    deleted = await house.ask(org_id, "DeleteVectors", collection="c", ids=["i3", "i4", "i4", "no such"])
    assert deleted.deleted == 2
    assert not {"i3", "i4"} & {one for one, _ in await house.near(org_id, "c", moved, top_k=1000)}
    assert (await house.ask(org_id, "GetCollection", collection="c")).collection.item_count == 28
    await house.upsert(org_id, "c", [rows[4]], first=4)
    assert (await house.near(org_id, "c", rows[4]))[0] == ("i4", 1.0)


async def test_a_deleted_collection_is_gone_and_its_name_is_free(house: House, org_id: str) -> None:
    await house.upsert(org_id, "c", vectors(700))
    await house.near(org_id, "c", vectors(1)[0])
    await house.ask(org_id, "DeleteCollection", collection="c")
    await refused(house.near(org_id, "c", vectors(1)[0]), Reason.NOT_FOUND, 'no collection "c"')
    await refused(house.ask(org_id, "DeleteCollection", collection="c"), Reason.NOT_FOUND, "no collection")
    await house.upsert(org_id, "c", vectors(2, 5))
    assert len(await house.near(org_id, "c", vectors(1, 5)[0], top_k=100)) == 2
    if house.stand_in is not None:
        assert sum(1 for tenant, _ in house.stand_in.objects() if tenant == org_id) == 2
    assert len(list(house.data_dir.rglob("*.faiss"))) <= 1


async def test_filters_hold_before_nearness(house: House, org_id: str) -> None:
    near, far = [1.0, *[0.0] * 7], [-1.0, *[0.0] * 7]
    items = [{"id": f"n{n}", "vector": near, "metadata": {"lang": "en", "n": n, "tags": ["a"]}} for n in range(50)]
    items.append({"id": "far", "vector": far, "metadata": {"lang": "de", "n": 1, "ok": True, "half": 0.5}})
    await house.ask(org_id, "UpsertVectors", collection="c", items=items)

    async def found(**where):
        return [one for one, _ in await house.near(org_id, "c", near, top_k=3, filter=where)]

    assert await found(lang="de") == ["far"] and await found(ok=True) == ["far"] and await found(half=0.5) == ["far"]
    assert sorted(await found(n=1)) == ["far", "n1"]
    assert await found(lang="en", n=7) == ["n7"]
    assert await found(n="7") == [] and await found(ok=1) == [] and await found(lang="fr") == []
    await refused(found(tags=["a"]), Reason.INVALID_REQUEST, "a text, a number, true or false")
    hit = (await house.ask(org_id, "SearchVectors", collection="c", vector=far, top_k=1)).hits[0]
    assert dict(hit.metadata) == {"lang": "de", "n": 1, "ok": True, "half": 0.5}
    deleted = await house.ask(org_id, "DeleteVectors", collection="c", filter={"lang": "en"})
    assert deleted.deleted == 50 and await house.near(org_id, "c", near) == [("far", -1.0)]


async def test_two_organisations_with_the_same_never_see_each_other(house: House) -> None:
    one, two = uuid7(), uuid7()
    rows = vectors(5)
    await house.upsert(one, "c", rows)
    await refused(house.near(two, "c", rows[0]), Reason.NOT_FOUND, "no collection")
    await house.upsert(two, "c", rows[:2], metadata={"mine": True})
    assert len(await house.near(one, "c", rows[0], top_k=100)) == 5
    assert len(await house.near(two, "c", rows[0], top_k=100)) == 2
    assert await house.near(one, "c", rows[0], filter={"mine": True}) == []
    assert (await house.ask(two, "DeleteVectors", collection="c", ids=["i0", "i4"])).deleted == 1
    assert len(await house.near(one, "c", rows[0], top_k=100)) == 5
    await house.ask(two, "DeleteCollection", collection="c")
    assert (await house.near(one, "c", rows[0]))[0] == ("i0", 1.0)
    assert [c.collection for c in (await house.ask(two, "ListCollections")).collections] == []


async def test_two_replicas_see_each_others_writes(house: House, org_id: str, request, tmp_path) -> None:
    kind = request.node.callspec.params["house"]
    if kind == "weaviate":
        other = House(house.database, house.index, tmp_path)
    else:
        other = House(house.database, (await made(kind, house.database, tmp_path / "other"))[0], tmp_path)
    rows = vectors(6)
    await house.upsert(org_id, "c", rows[:3])
    assert len(await other.near(org_id, "c", rows[0])) == 3
    await other.upsert(org_id, "c", rows[3:], first=3)
    await house.ask(org_id, "DeleteVectors", collection="c", ids=["i0"])
    assert sorted(one for one, _ in await other.near(org_id, "c", rows[0])) == [f"i{n}" for n in range(1, 6)]
    assert sorted(one for one, _ in await house.near(org_id, "c", rows[0])) == [f"i{n}" for n in range(1, 6)]
    await other.index.close()


async def test_an_erased_organisation_leaves_nothing(house: House) -> None:
    one, two = uuid7(), uuid7()
    rows = vectors(3)
    for org_id in (one, two):
        await house.upsert(org_id, "c", rows)
        assert len(await house.near(org_id, "c", rows[0])) == 3
    await house.ask(one, "DeleteCollection", collection="c")
    await house.index.erase(one)
    if house.stand_in is not None:
        assert {tenant for tenant, _ in house.stand_in.objects()} == {two}
    assert not (house.data_dir / "vectors" / one).exists()
    await house.upsert(one, "c", rows[:1])
    assert len(await house.near(one, "c", rows[0])) == 1 and len(await house.near(two, "c", rows[0])) == 3


async def test_writers_at_once_lose_nothing(house: House, org_id: str) -> None:
    rows = vectors(40)
    await house.upsert(org_id, "c", rows[:1])
    await asyncio.gather(*(house.upsert(org_id, "c", [row], first=n % 20) for n, row in enumerate(rows)))
    found = await house.near(org_id, "c", rows[0], top_k=100)
    assert sorted(one for one, _ in found) == sorted(f"i{n}" for n in range(20))


async def test_texts_are_found_by_text_and_embedders_are_never_mixed(house: House, org_id: str) -> None:
    texts = ["the cat sat on the mat", "quarterly revenue grew", "how to reset a password"]
    items = [{"id": f"t{n}", "text": text} for n, text in enumerate(texts)]
    await house.ask(org_id, "UpsertVectors", collection="notes", items=items)
    ask = {"collection": "notes", "text": "reset the password", "top_k": 1}
    hits = (await house.ask(org_id, "SearchVectors", **ask)).hits
    assert [(one.id, one.text) for one in hits] == [("t2", texts[2])]
    house.embedder = open_embedder(MemoryConfig())
    await refused(house.ask(org_id, "SearchVectors", **ask), Reason.FAILED_PRECONDITION, "/reindex embeds its texts")
    adding = house.ask(org_id, "UpsertVectors", collection="notes", items=[{"text": "more"}])
    await refused(adding, Reason.FAILED_PRECONDITION, "hashed-ngrams:1")
    assert not (await house.ask(org_id, "GetCollection", collection="notes")).collection.takes_text
    done = (await house.ask(org_id, "ReindexCollection", collection="notes")).collection
    assert (done.embedder_id, done.takes_text, done.item_count) == ("minilm-l6-int8:8199be6f", True, 3)
    hits = (await house.ask(org_id, "SearchVectors", collection="notes", text="I forgot my login", top_k=3)).hits
    assert len(hits) == 3 and hits[0].id == "t2"
    await house.ask(org_id, "UpsertVectors", collection="notes", items=[{"id": "t3", "text": "log in again"}])
    hits = (await house.ask(org_id, "SearchVectors", collection="notes", text="log in again", top_k=10)).hits
    assert len(hits) == 4 and hits[0].id == "t3"
    await house.embedder.close()


async def test_what_does_not_fit_is_refused_and_says_why(house: House, org_id: str) -> None:
    await house.upsert(org_id, "c", vectors(1))
    wrong = Reason.INVALID_REQUEST
    await refused(
        house.upsert(org_id, "c", vectors(1, 9)), wrong, 'vector of 9 numbers does not go into collection "c"'
    )
    await refused(house.near(org_id, "c", [1.0]), wrong, "have 8")
    await refused(house.upsert(org_id, "c", [[0.0] * 8]), wrong, "not all 0")
    await refused(house.near(org_id, "c", [float("nan")] * 8), wrong, "finite")
    await refused(house.near(org_id, "c", []), wrong, "either a text or a vector")
    await refused(house.upsert(org_id, "a/b", vectors(1)), wrong, "letter or digit")
    await refused(house.near(org_id, "c", vectors(1)[0], top_k=1001), wrong, "0 to 1000")
    items = [{"id": "x", "vector": vectors(1)[0]}] * 2
    await refused(house.ask(org_id, "UpsertVectors", collection="c", items=items), wrong, 'two have the id "x"')
    await refused(house.ask(org_id, "UpsertVectors", collection="c", items=[{"id": "e"}]), wrong, "text or a vector")
    mixed = house.ask(org_id, "UpsertVectors", collection="c", items=[*items[:1], {"text": "t"}])
    await refused(mixed, wrong, "either all")
    await refused(house.ask(org_id, "DeleteVectors", collection="c"), wrong, "either ids or a filter")
    texts = house.ask(org_id, "UpsertVectors", collection="c", items=[{"text": "t"}])
    await refused(texts, Reason.FAILED_PRECONDITION, "cannot make of text")
    named = house.ask(org_id, "SearchVectors", collection="c", vector=vectors(1)[0], embedder_id="other")
    await refused(named, Reason.FAILED_PRECONDITION, 'made by "external"')
    made = house.ask(org_id, "CreateCollection", collection="c", dimensions=9)
    await refused(made, Reason.ALREADY_EXISTS, "vectors of 8 numbers")
    assert (await house.near(org_id, "c", vectors(1)[0], top_k=100))[0][0] == "i0"


async def test_an_empty_collection_answers_nothing(house: House, org_id: str) -> None:
    made = await house.ask(org_id, "CreateCollection", collection="c", dimensions=8, embedder_id="mine")
    assert made == await house.ask(org_id, "CreateCollection", collection="c", dimensions=8, embedder_id="mine")
    assert await house.near(org_id, "c", vectors(1)[0]) == []
    assert await house.near(org_id, "c", vectors(1)[0], filter={"a": "b"}) == []
    names = ["a", "b", "c"]
    for name in names[:2]:
        await house.ask(org_id, "CreateCollection", collection=name)
    page = await house.ask(org_id, "ListCollections", page_size=2)
    rest = await house.ask(org_id, "ListCollections", page_size=2, page_token=page.next_page_token)
    assert [c.collection for c in [*page.collections, *rest.collections]] == names and not rest.next_page_token


class Keyed:
    """A sealer with a key."""

    enabled = True

    def __init__(self):
        self.key_id = uuid7()

    async def key_of(self, org_id):
        return SealingKeys(org_id, {self.key_id: b"k" * 32}, self.key_id, terms=b"t" * 32)


async def test_sealed_texts_are_found_and_stand_nowhere_plain(house: House, org_id: str) -> None:
    house.sealer = Keyed()
    async with house.database.transaction(org_id) as connection:
        there = await connection.fetchval("SELECT to_regclass('memory.data_keys') IS NOT NULL")
        if there:
            await connection.execute(
                """INSERT INTO data_keys (org_id, key_id, purpose, wrapped_key, master_key_id, created_at)
                   VALUES ($1, $2, 'text', 'w', 'm', now())""",
                org_id,
                house.sealer.key_id,
            )
    item = {"id": "a", "text": "the canary sings", "metadata": {"bird": "canary"}}
    await house.ask(org_id, "UpsertVectors", collection="c", items=[item])
    hit = (await house.ask(org_id, "SearchVectors", collection="c", text="canary", filter={"bird": "canary"})).hits[0]
    assert (hit.text, dict(hit.metadata)) == (item["text"], item["metadata"])
    async with house.database.transaction(org_id) as connection:
        dump = await connection.fetchval("SELECT string_agg(item::text, '') FROM vector_items item")
        sealed = await connection.fetchval("SELECT sealed FROM vector_items")
    assert "canary" not in dump and b"canary" not in sealed


async def test_faiss_reads_its_file_again_and_makes_a_broken_one_anew(database_for, org_id, tmp_path) -> None:
    database = await database_for("memory")
    rows = vectors(20)

    async def opened():
        return House(database, (await made("faiss", database, tmp_path))[0], tmp_path)

    house = await opened()
    await house.upsert(org_id, "c", rows[:10])
    await house.index.close()
    (path,) = tmp_path.rglob("*.faiss")
    other = House(database, PostgresIndex(VectorFeed(database), 1 << 20), tmp_path)
    await other.upsert(org_id, "c", rows[10:], first=10)
    await other.ask(org_id, "DeleteVectors", collection="c", ids=["i0"])
    house = await opened()
    expected = await other.near(org_id, "c", rows[1], top_k=100)
    assert await house.near(org_id, "c", rows[1], top_k=100) == expected and len(expected) == 19
    # The deleted one stands in no file meanwhile.
    assert not path.exists()
    await house.index.close()
    for content in (b"", b"garbage" * 100, path.read_bytes()[:-40]):
        path.write_bytes(content)
        house = await opened()
        assert await house.near(org_id, "c", rows[1], top_k=100) == expected
        await house.index.close()


class Slow(FaissShelf):
    """Says how many threads were ever at it at once; searches when told to."""

    at_it = most = 0
    go_on = threading.Event()

    def best(self, vector, k, allowed):
        self.enter()
        self.go_on.wait(30)
        found = super().best(vector, k, allowed)
        self.at_it -= 1
        return found

    def add(self, ids, rows):
        self.enter()
        super().add(ids, rows)
        self.at_it -= 1

    def enter(self):
        self.at_it += 1
        self.most = max(self.most, self.at_it)


async def test_who_goes_away_lets_no_second_thread_at_the_index(database_for, org_id, tmp_path) -> None:
    database = await database_for("memory")
    shelf = Slow(faiss, tmp_path / "one", 8)
    mirror = Mirror(VectorFeed(database), lambda collection: (shelf, 0, 0), 1 << 20)
    house = House(database, FaissIndex(mirror, tmp_path), tmp_path)
    rows = vectors(20)
    await house.upsert(org_id, "c", rows[:10])
    searching = asyncio.create_task(house.near(org_id, "c", rows[0]))
    while not shelf.at_it:
        await asyncio.sleep(0.01)
    searching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await searching
    changing = asyncio.create_task(house.upsert(org_id, "c", rows[10:], first=10))
    after = asyncio.create_task(house.near(org_id, "c", rows[11], top_k=1))
    await asyncio.wait([changing, after], timeout=0.3)
    shelf.go_on.set()
    await changing
    await after
    assert [one for one, _ in await house.near(org_id, "c", rows[11], top_k=1)] == ["i11"] and shelf.most == 1
    await house.index.close()


async def test_what_was_removed_long_ago_is_not_needed_to_catch_up(database_for, org_id, tmp_path) -> None:
    database = await database_for("memory")
    house = House(database, (await made("matrix", database, tmp_path))[0], tmp_path)
    other = House(database, (await made("matrix", database, tmp_path))[0], tmp_path)
    rows = vectors(10)
    await house.upsert(org_id, "c", rows)
    assert len(await other.near(org_id, "c", rows[0], top_k=100)) == 10
    await house.ask(org_id, "DeleteVectors", collection="c", ids=["i1", "i2"])
    async with database.transaction(org_id) as connection:
        await connection.execute("UPDATE vector_removals SET removed_at = now() - interval '2 days'")
    await house.ask(org_id, "DeleteVectors", collection="c", ids=["i3"])
    async with database.transaction(org_id) as connection:
        assert await connection.fetchval("SELECT count(*) FROM vector_removals") == 1
    assert len(await other.near(org_id, "c", rows[0], top_k=100)) == 7


async def test_room_is_made_for_what_is_searched(database_for, org_id, tmp_path) -> None:
    database = await database_for("memory")
    index = PostgresIndex(VectorFeed(database), 8 * 4 * 25, use_pgvector=False)
    house = House(database, index, tmp_path)
    for name in "abc":
        await house.upsert(org_id, name, vectors(10))
        assert len(await house.near(org_id, name, vectors(1)[0], top_k=100)) == 10
    await house.near(org_id, "c", vectors(1)[0])
    assert len(index._mirror._partitions) == 2
    assert len(await house.near(org_id, "a", vectors(1)[0], top_k=100)) == 10


@pytest.mark.skipif("DAC_WEAVIATE_URL" in os.environ, reason="breaks the server")
@pytest.mark.parametrize("house", ["weaviate"], indirect=True)
async def test_what_weaviate_missed_is_made_good(house: House, org_id: str, monkeypatch) -> None:
    monkeypatch.setattr(vector_index_weaviate, "CALL_S", 0.3)
    monkeypatch.setattr(vector_index_weaviate, "CATCH_UP_S", 0.05)
    index, stand_in = house.index, house.stand_in
    rows = vectors(10)
    await house.upsert(org_id, "c", rows[:4])
    stand_in.broken = True
    # Saved, and searched once Weaviate is back; until then a search says so instead of showing less.
    await house.upsert(org_id, "c", rows[4:], first=4)
    await house.ask(org_id, "DeleteVectors", collection="c", ids=["i0"])
    await refused(house.near(org_id, "c", rows[0]), Reason.UNAVAILABLE, "weaviate")
    stand_in.broken = False
    assert len(await house.near(org_id, "c", rows[0], top_k=100)) == 9

    def there() -> int:
        return sum(1 for tenant, _ in stand_in.objects() if tenant == org_id)

    assert there() == 9
    # It comes back empty: everything is sent again.
    stand_in.schema.clear()
    stand_in.classes.clear()
    await refused(house.near(org_id, "c", rows[0]), Reason.UNAVAILABLE, "weaviate")
    assert len(await house.near(org_id, "c", rows[0], top_k=100)) == 9
    # Without a search, the process itself does it.
    stand_in.broken = True
    await house.ask(org_id, "DeleteVectors", collection="c", ids=["i1"])
    stand_in.broken = False
    await index.start()
    async with asyncio.timeout(10):
        while there() != 8:
            await asyncio.sleep(0.02)
    # And at once when it is there.
    await house.upsert(org_id, "c", rows[:1])
    async with asyncio.timeout(10):
        while there() != 9:
            await asyncio.sleep(0.02)


async def test_a_collection_has_an_end(database_for, org_id, tmp_path) -> None:
    database = await database_for("memory")
    house = House(database, PostgresIndex(VectorFeed(database), 1 << 20), tmp_path)
    house.config = MemoryConfig(vector_max_items=10)
    await house.upsert(org_id, "c", vectors(10))
    await refused(house.upsert(org_id, "c", vectors(1), first=10), Reason.TOO_LARGE, "vector_max_items")
    await house.upsert(org_id, "c", vectors(10))
    assert len(await house.near(org_id, "c", vectors(1)[0], top_k=100)) == 10
