"""The semantic cache against a real PostgreSQL: partitions, meaning, life, purge, feedback, replicas."""

import asyncio
import datetime as dt
import json
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from dac.memory.v1 import cache_pb2
from dac.type.v1.principal_pb2 import Principal
from dac.type.v1.record_pb2 import AdminRecord
from mesh.call import Call, serving
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.postgres import Database
from services.memory.answers.cache import ResponseCache
from services.memory.answers.server import CacheServicer
from services.memory.answers.store import PostgresCacheStore
from services.memory.answers.sweeper import Sweeper
from services.memory.config import MemoryConfig
from services.memory.embedding.embedder import open_embedder
from services.memory.sealing.sealing import PlainSealer

Open = Callable[..., Awaitable[Database]]
START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
SCOPE, OTHER_SCOPE = b"s" * 32, b"t" * 32
ASKED, REWORDED = "How do I renew my fishing licence?", "Hi, how can I renew my fishing licence? Thanks"
TRAP = "How do I renew my hunting licence?"


def completion(text: str, **more: Any) -> bytes:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text, **more}}]}).encode()


class Replica:
    """One process's cache."""

    embedder = open_embedder(MemoryConfig())

    def __init__(self, database: Database, **settings: Any) -> None:
        self.now = START
        config = MemoryConfig(**settings)
        store = PostgresCacheStore(database)
        self.cache = ResponseCache(
            store, config, self.embedder, PlainSealer(), digest_key=b"k" * 32,
            clock=lambda: self.now, new_id=uuid7, chance=random.Random(7),
        )  # fmt: skip
        self.servicer = CacheServicer(self.cache, store, clock=lambda: self.now)
        self.sweeper = Sweeper(store, config, self.cache.counts, clock=lambda: self.now)

    async def ask(self, org_id: str, method: str, request: Any, *scopes: str, user_id: str = "") -> Any:
        with serving(Call(principal=Principal(org_id=org_id, user_id=user_id, scopes=scopes))):
            return await getattr(self.servicer, method)(request, None)

    async def store(self, org_id: str, prompt: str, text: str = "an answer", *, user_id: str = "", **more: Any) -> Any:
        answer = {
            "model": "m",
            "finish_reason": "stop",
            "openai_json": completion(text),
            "cost_nano_usd": 7,
            "duration_ms": 2.5,
        }
        answer |= more.pop("answer", {})
        request = cache_pb2.StoreRequest(
            answer=cache_pb2.CachedAnswer(**answer), **{"scope_key": SCOPE, "prompt": prompt, **more}
        )
        return await self.ask(org_id, "Store", request, user_id=user_id)

    async def look(self, org_id: str, prompt: str, *, user_id: str = "", **more: Any) -> Any:
        fields = {"scope_key": SCOPE, "prompt": prompt, "mode": cache_pb2.MATCH_MODE_DEFAULT, **more}
        return await self.ask(org_id, "Lookup", cache_pb2.LookupRequest(**fields), user_id=user_id)

    async def purge(self, org_id: str, **what: Any) -> int:
        purged = await self.ask(org_id, "PurgeCache", cache_pb2.PurgeCacheRequest(**what), "admin")
        return int(purged.deleted)


class Watched:
    """The embedder, telling what it is asked."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.asked, self.broken = asyncio.Event(), False

    def __getattr__(self, name: str) -> Any:
        return getattr(Replica.embedder, name)

    async def embed(self, texts: Any, *, background: bool = False) -> Any:
        self.texts += texts
        self.asked.set()
        if self.broken:
            raise OSError("the model cannot be read")
        return await Replica.embedder.embed(texts, background=background)


def text_of(found: Any) -> str:
    return (
        str(json.loads(found.answer.openai_json)["choices"][0]["message"]["content"])
        if found.HasField("answer")
        else ""
    )


@pytest.fixture
async def replica(database_for: Open) -> Replica:
    return Replica(await database_for("memory"))


@pytest.fixture
async def twin(replica: Replica, database_for: Open) -> Replica:
    return Replica(await database_for("memory"))


@pytest.fixture
def org_id() -> str:
    return uuid7()


async def refused(work: Awaitable[object]) -> Reason:
    with pytest.raises(MeshError) as caught:
        await work
    return caught.value.reason


async def test_an_equal_question_then_one_in_other_words_then_never_another_one(replica: Replica, org_id: str) -> None:
    stored = await replica.store(org_id, ASKED, "at the harbour office")
    exact = await replica.look(org_id, "  " + ASKED.rstrip("?"))
    assert (text_of(exact), exact.kind, exact.similarity) == ("at the harbour office", cache_pb2.MATCH_KIND_EXACT, 1.0)
    replica.now += dt.timedelta(seconds=9)
    near = await replica.look(org_id, REWORDED)
    assert (text_of(near), near.kind) == ("at the harbour office", cache_pb2.MATCH_KIND_SEMANTIC)
    assert near.entry_id == stored.entry_id and near.age_s == 9 and 0.5 < near.similarity <= 1
    assert near.embedder_id == Replica.embedder.embedder_id
    trap = await replica.look(org_id, TRAP)
    assert not trap.HasField("answer") and trap.similarity > 0.3
    assert not (await replica.look(org_id, REWORDED, mode=cache_pb2.MATCH_MODE_EXACT_ONLY)).HasField("answer")
    assert not (await replica.look(org_id, REWORDED, min_similarity=1.0)).HasField("answer")
    assert not (await replica.look(org_id, REWORDED, max_age_s=5)).HasField("answer")
    assert not (await replica.look(org_id, REWORDED, models=["other"])).HasField("answer")
    assert text_of(await replica.look(org_id, REWORDED, models=["other", "m"], max_age_s=60))


async def test_a_question_is_embedded_while_an_equal_one_is_looked_for_unless_one_is_known(
    database_for: Open, twin: Replica, org_id: str
) -> None:
    watched = Watched()
    replica = type("WatchedReplica", (Replica,), {"embedder": watched})(await database_for("memory"))
    await twin.store(org_id, ASKED, "at the harbour office")
    assert not (await replica.look(org_id, TRAP)).HasField("answer"), "this look reads the scope's vectors"
    assert text_of(await replica.look(org_id, ASKED)) and watched.texts == [TRAP.rstrip("?")]

    store = replica.cache._store
    find = store.find

    async def find_late(*wanted: Any) -> Any:
        await asyncio.wait_for(watched.asked.wait(), 10)
        return await find(*wanted)

    watched.asked.clear()
    store.find = find_late
    assert text_of(await replica.look(org_id, REWORDED)) == "at the harbour office"
    watched.asked.clear()
    watched.broken = True
    await twin.store(org_id, "Where do I pay a fine?", "at the desk")
    found = await replica.look(org_id, "Where do I pay a fine?")
    assert (text_of(found), found.kind) == ("at the desk", cache_pb2.MATCH_KIND_EXACT)


async def test_a_guard_that_holds_back_is_named_and_counted(replica: Replica, org_id: str) -> None:
    await replica.store(org_id, "How much is parking for 2 hours?")
    assert (await replica.look(org_id, "How much is parking for 3 hours?")).guard == "numbers"
    counted = await replica.ask(org_id, "GetCacheStatistics", cache_pb2.GetCacheStatisticsRequest(), "read")
    assert [(one.guard, one.blocks) for one in counted.guard_blocks] == [("numbers", 1)]


async def test_answers_come_back_whole(replica: Replica, org_id: str) -> None:
    events = [b'{"choices":[{"delta":{"reasoning_content":"hm"}}]}', b'{"choices":[{"delta":{"content":"x"}}]}']
    answer = {"stream_events": events, "provider": "p", "openai_json": completion("x", reasoning_content="hm")}
    await replica.store(org_id, ASKED, answer=answer)
    found = (await replica.look(org_id, REWORDED)).answer
    assert (list(found.stream_events), found.provider, found.cost_nano_usd) == (events, "p", 7)


@pytest.mark.timeout(300)
async def test_10_000_requests_never_cross_a_partition(database_for: Open) -> None:
    """Every answer says where it was stored; equal texts are everywhere."""
    replicas = [Replica(await database_for("memory")) for _ in range(2)]
    chance = random.Random(2026)
    orgs, users = [uuid7() for _ in range(3)], ["", "ann", "bob"]
    keys = [bytes([number]) * 32 for number in range(6)]
    texts = [ASKED, REWORDED, ASKED.upper(), "how do i renew my fishing license", TRAP, "What is tar?"]
    modes = [cache_pb2.MATCH_MODE_DEFAULT, cache_pb2.MATCH_MODE_BALANCED, cache_pb2.MATCH_MODE_EXACT_ONLY]
    hits, limit = 0, asyncio.Semaphore(8)

    async def one(number: int, rng: random.Random) -> int:
        org_id, user_id, key = rng.choice(orgs), rng.choice(users), rng.choice(keys)
        scoped, text, replica = rng.random() < 0.5, rng.choice(texts), rng.choice(replicas)
        place = f"{org_id}/{user_id if scoped else ''}/{key.hex()}"
        common = {"scope_key": key, "user_scoped": scoped, "user_id": user_id}
        async with limit:
            if number % 40 == 0:
                await replica.store(org_id, text, place, **common)
                return 0
            found = await replica.look(org_id, text, mode=rng.choice(modes), **common)
        said = text_of(found)
        assert said in ("", place)
        assert not (scoped and not user_id and said)
        return bool(said)

    for start in range(0, 10_000, 500):
        block = [one(number, random.Random(chance.random())) for number in range(start, start + 500)]
        hits += sum(await asyncio.gather(*block))
    assert hits > 2000, "the test says nothing when nothing is ever found"


async def test_a_users_answers_are_only_the_users(replica: Replica, org_id: str) -> None:
    await replica.store(org_id, ASKED, "ann's", user_id="ann", user_scoped=True)
    for user_id, scoped in (("bob", True), ("bob", False), ("ann", False), ("", True)):
        assert not text_of(await replica.look(org_id, REWORDED, user_id=user_id, user_scoped=scoped))
    assert text_of(await replica.look(org_id, REWORDED, user_id="ann", user_scoped=True)) == "ann's"
    nobody = await replica.store(org_id, ASKED, user_scoped=True)
    assert (nobody.stored, nobody.reason) == (False, "no_user")


async def test_answers_live_as_long_as_they_may(replica: Replica, org_id: str) -> None:
    await replica.store(org_id, ASKED)
    await replica.store(org_id, "What is the weather like now?")
    await replica.store(org_id, "What is a short life?", lifetime_s=10)
    await replica.store(org_id, "Who fixes roofs?", lifetime_s=1e9)
    replica.now = START + dt.timedelta(seconds=11)
    assert not text_of(await replica.look(org_id, "What is a short life?"))
    replica.now = START + dt.timedelta(seconds=301)
    assert not text_of(await replica.look(org_id, "What is the weather like now?"))
    replica.now = START + dt.timedelta(days=26)
    assert text_of(await replica.look(org_id, REWORDED))
    replica.now = START + dt.timedelta(days=30, seconds=1)
    assert not text_of(await replica.look(org_id, REWORDED)) and not text_of(
        await replica.look(org_id, "Who fixes roofs?")
    )
    assert await replica.sweeper.sweep() >= 4
    assert (await statistics(replica, org_id)).entries == 0


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"answer": {"finish_reason": "length"}}, "finish_reason"),
        ({"answer": {"finish_reason": "tool_calls"}}, "tool_calls"),
        ({"answer": {"openai_json": completion("", tool_calls=[{"id": "1"}])}}, "tool_calls"),
        ({"answer": {"openai_json": completion("  ")}}, "empty"),
        ({"answer": {"openai_json": b""}}, "empty"),
        ({"answer": {"openai_json": b"{}"}}, "empty"),
        ({"answer": {"openai_json": b"not json"}}, "not_a_completion"),
        ({"answer": {"openai_json": completion("I'm sorry, but I can't help with that.")}}, "refusal"),
        ({"answer": {"openai_json": completion("We are experiencing technical difficulties.")}}, "refusal"),
        ({"answer": {"openai_json": completion("x", refusal="no")}}, "refusal"),
        ({"answer": {"openai_json": completion("x" * 3_000_000)}}, "too_large"),
        ({"quality": 0.6}, "quality"),
        ({"prompt": "x" * 70_000}, "prompt_too_long"),
    ],
)  # fmt: skip
async def test_what_is_not_stored_says_why(replica: Replica, org_id: str, more: dict[str, Any], reason: str) -> None:
    prompt = more.pop("prompt", ASKED)
    stored = await replica.store(org_id, prompt, **more)
    assert (stored.stored, stored.reason) == (False, reason)
    assert [(one.reason, one.answers) for one in (await statistics(replica, org_id)).not_stored] == [(reason, 1)]


async def test_quality_that_is_unknown_or_high_is_stored(replica: Replica, org_id: str) -> None:
    assert (await replica.store(org_id, ASKED)).stored and (await replica.store(org_id, TRAP, quality=0.61)).stored


async def statistics(replica: Replica, org_id: str) -> Any:
    return await replica.ask(org_id, "GetCacheStatistics", cache_pb2.GetCacheStatisticsRequest(), "read")


async def test_statistics_say_what_was_saved_and_how_sure_the_error_is(replica: Replica, org_id: str) -> None:
    await replica.store(org_id, ASKED)
    await replica.look(org_id, ASKED)
    hit = await replica.look(org_id, REWORDED)
    await replica.look(org_id, "What is tar?")
    report = cache_pb2.ReportCacheFeedbackRequest(entry_id=hit.entry_id, similarity=hit.similarity)
    await replica.ask(org_id, "ReportCacheFeedback", report)
    said = await statistics(replica, org_id)
    assert (said.exact_hits, said.semantic_hits, said.misses, said.stored) == (1, 1, 1, 1)
    assert said.hit_rate == pytest.approx(2 / 3) and (said.saved_nano_usd, said.saved_ms) == (14, 5)
    assert (said.entries, said.negative_feedback, said.observed_error) == (1, 1, 1.0) and said.bytes > 100
    assert said.observed_error_low == pytest.approx(0.025, abs=0.001) and said.observed_error_high == 1
    assert (await statistics(replica, uuid7())).misses == 0
    request = cache_pb2.GetCacheStatisticsRequest(org_id=org_id)
    assert await refused(replica.ask(uuid7(), "GetCacheStatistics", request, "admin")) is Reason.PERMISSION_DENIED
    assert (await replica.ask(uuid7(), "GetCacheStatistics", request, "operator")).stored == 1


async def test_a_report_raises_what_the_answer_needs_and_a_second_one_deletes_it(replica: Replica, org_id: str) -> None:
    await replica.store(org_id, ASKED)
    hit = await replica.look(org_id, REWORDED)

    async def report(request_id: str, **more: Any) -> Any:
        fields = {"entry_id": hit.entry_id, "similarity": hit.similarity, "request_id": request_id, **more}
        return await replica.ask(org_id, "ReportCacheFeedback", cache_pb2.ReportCacheFeedbackRequest(**fields))

    first = await report("r1")
    assert first.found and not first.dropped and first.min_similarity == pytest.approx(hit.similarity)
    assert not text_of(await replica.look(org_id, REWORDED)) and text_of(await replica.look(org_id, ASKED))
    again = await report("r1")
    assert again.found and not again.dropped, "one request counts once"
    assert (await report("r2")).dropped and not text_of(await replica.look(org_id, ASKED))
    assert not (await report("r3")).found
    await replica.store(org_id, ASKED)
    exact = await replica.look(org_id, ASKED)
    assert (await report("r4", entry_id=exact.entry_id, similarity=1.0)).dropped


async def test_only_the_user_or_an_admin_reports_a_users_answer(replica: Replica, org_id: str) -> None:
    stored = await replica.store(org_id, ASKED, user_id="ann", user_scoped=True)
    report = cache_pb2.ReportCacheFeedbackRequest(entry_id=stored.entry_id, similarity=1.0)
    assert not (await replica.ask(org_id, "ReportCacheFeedback", report, user_id="bob")).found
    assert not (await replica.ask(uuid7(), "ReportCacheFeedback", report, "admin")).found
    assert (await replica.ask(org_id, "ReportCacheFeedback", report, user_id="ann")).dropped


async def test_a_purge_is_gone_at_once_in_every_replica(replica: Replica, twin: Replica, org_id: str) -> None:
    async def fill() -> str:
        await replica.store(org_id, TRAP, "elk", tags=["wild"], answer={"model": "n"})
        await replica.store(org_id, "Who was Grieg?", "a composer é", scope_key=OTHER_SCOPE)
        await replica.store(org_id, "How do I tie a bowline?", "slowly", user_id="ann", user_scoped=True)
        stored = await replica.store(org_id, ASKED, "trout")
        assert text_of(await twin.look(org_id, REWORDED)) == "trout", "the twin holds the scope's vectors"
        return str(stored.entry_id)

    for number, (what, deleted) in enumerate((
        ({"model": "n"}, 1), ({"tag": "wild"}, 1), ({"scope_key": OTHER_SCOPE}, 1),
        ({"text": "TROUT"}, 1), ({"text": "É"}, 1),
        ({"user_id": "ann"}, 1), ({"text": "fishing"}, 1), ({"model": "n", "tag": "tame"}, 0), ({"all": True}, 4),
    )):  # fmt: skip
        entry_id = await fill()
        assert await replica.purge(org_id, **what) == deleted, what
        found = await twin.look(org_id, REWORDED)
        gone = what in ({"text": "TROUT"}, {"text": "fishing"}, {"all": True})
        assert text_of(found) == ("" if gone else "trout"), number
    entry_id = await fill()
    assert await replica.purge(uuid7(), entry_id=entry_id) == 0, "another organisation's"
    assert await replica.purge(org_id, entry_id=entry_id) == 1
    assert not text_of(await twin.look(org_id, REWORDED)) and not text_of(await twin.look(org_id, ASKED))
    replica.now += dt.timedelta(hours=1)
    assert await replica.purge(org_id, older_than_s=7200) == 0 and await replica.purge(org_id, older_than_s=3000) == 3
    assert await refused(replica.purge(org_id)) is Reason.INVALID_REQUEST
    assert await refused(replica.purge(org_id, entry_id="x")) is Reason.INVALID_REQUEST
    elsewhere = cache_pb2.PurgeCacheRequest(all=True, org_id=uuid7())
    assert await refused(replica.ask(org_id, "PurgeCache", elsewhere, "admin")) is Reason.PERMISSION_DENIED


async def test_a_purge_leaves_word_for_audit_without_the_text(
    replica: Replica, database_for: Open, org_id: str
) -> None:
    await replica.purge(org_id, text="a secret", model="m")
    async with (await database_for("memory")).transaction() as connection:
        records = [
            AdminRecord.FromString(row["record"]) for row in await connection.fetch("SELECT record FROM change_outbox")
        ]
    mine = [one for one in records if one.org_id == org_id]
    assert [(one.action, one.target) for one in mine] == [("memory.cache.purge", "cache:model=m text")]


async def test_replicas_find_what_the_other_stored_and_replaced(replica: Replica, twin: Replica, org_id: str) -> None:
    assert not text_of(await twin.look(org_id, REWORDED))
    await replica.store(org_id, ASKED, "first")
    assert text_of(await twin.look(org_id, REWORDED)) == "first"
    await twin.store(org_id, ASKED + "!", "second")
    assert text_of(await replica.look(org_id, REWORDED)) == "second"
    assert (await statistics(replica, org_id)).entries == 1
    await replica.store(org_id, ASKED, "third", exact_only=True)
    assert not text_of(await twin.look(org_id, REWORDED)) and text_of(await twin.look(org_id, ASKED)) == "third"


async def test_concurrent_stores_lose_no_change(replica: Replica, twin: Replica, org_id: str) -> None:
    things = ["kettle", "violin", "ladder", "tent", "lathe", "kayak", "scooter", "printer"]
    work = [one.store(org_id, f"How do I clean a {thing}?", thing) for one in (replica, twin) for thing in things]
    looks = [twin.look(org_id, f"How can I clean a {thing}") for thing in things]
    await asyncio.gather(*work, *looks)
    for thing in things:
        for one in (replica, twin):
            assert text_of(await one.look(org_id, f"How can I clean a {thing}")) == thing


async def test_what_is_unused_for_longest_makes_room(database_for: Open, org_id: str) -> None:
    replica = Replica(await database_for("memory"), cache_max_entries=3)
    for number, thing in enumerate(("kettle", "violin", "ladder")):
        replica.now = START + dt.timedelta(seconds=number)
        await replica.store(org_id, f"Who repairs a {thing}?")
    replica.now = START + dt.timedelta(seconds=10)
    await replica.look(org_id, "Who repairs a kettle?")
    await replica.cache.counts.write()
    await replica.store(org_id, "Who repairs a tent?")
    left = [
        bool(text_of(await replica.look(org_id, f"Who repairs a {one}?")))
        for one in ("kettle", "violin", "ladder", "tent")
    ]
    assert left == [True, False, True, True]
    small = Replica(await database_for("memory"), cache_max_bytes=6000)
    for number in range(5):
        await small.store(org_id, f"Who repairs boat {number}?", "x" * 1000)
    said = await statistics(small, org_id)
    assert 0 < said.bytes <= 6000 and said.entries >= 1


async def test_little_memory_only_reads_again(database_for: Open, org_id: str) -> None:
    replica = Replica(await database_for("memory"), cache_mirror_bytes=3000)
    keys = [bytes([number]) * 32 for number in range(1, 6)]
    for key in keys:
        await replica.store(org_id, ASKED, key.hex(), scope_key=key)
    for _ in range(2):
        for key in keys:
            assert text_of(await replica.look(org_id, REWORDED, scope_key=key)) == key.hex()
    assert len(replica.cache._partitions) < len(keys) and replica.cache._partitions.bytes <= 3000


async def test_without_meaning_only_equal_questions_match(database_for: Open, org_id: str) -> None:
    replica = Replica(await database_for("memory"), cache_semantic=False)
    await replica.store(org_id, ASKED)
    assert text_of(await replica.look(org_id, ASKED)) and not text_of(await replica.look(org_id, REWORDED))


async def test_an_older_gateway_sends_fingerprints_and_an_older_memory_goes_on_writing(
    replica: Replica, database_for: Open, org_id: str
) -> None:
    answer = cache_pb2.CachedAnswer(openai_json=b"{}", model="m", finish_reason="stop")
    await replica.ask(org_id, "Store", cache_pb2.StoreRequest(fingerprint=SCOPE, answer=answer))
    found = await replica.ask(org_id, "Lookup", cache_pb2.LookupRequest(fingerprint=SCOPE))
    assert found.answer.model == "m"
    assert not text_of(await replica.look(org_id, ASKED))
    replica.now += dt.timedelta(seconds=3601)
    gone = await replica.ask(org_id, "Lookup", cache_pb2.LookupRequest(fingerprint=SCOPE))
    assert not gone.HasField("answer"), "an hour, as before"
    database = await database_for("memory")
    older = (
        "INSERT INTO cache_entries (org_id, fingerprint, answer, stored_at, expires_at) VALUES ($1, $2, 'x', $3, $4)"
    )
    async with database.transaction(org_id) as connection:
        await connection.execute(older, org_id, SCOPE, START, replica.now + dt.timedelta(days=1))
        await connection.execute(older, org_id, OTHER_SCOPE, START, START)
    assert await replica.sweeper.sweep() >= 2
    assert (await statistics(replica, org_id)).entries == 0
    assert await replica.purge(org_id, all=True) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"scope_key": b"short"}, {"min_similarity": -1.0}, {"min_similarity": float("nan")},
        {"max_age_s": float("inf")},
    ],
)  # fmt: skip
async def test_broken_lookups_are_refused(replica: Replica, org_id: str, fields: dict[str, Any]) -> None:
    assert await refused(replica.look(org_id, ASKED, **fields)) is Reason.INVALID_REQUEST


@pytest.mark.parametrize(
    "fields",
    [
        {"scope_key": b"short"}, {"quality": 1.5}, {"lifetime_s": -1.0}, {"tags": ["x"] * 17}, {"tags": [""]},
    ],
)  # fmt: skip
async def test_broken_stores_are_refused(replica: Replica, org_id: str, fields: dict[str, Any]) -> None:
    assert await refused(replica.store(org_id, ASKED, **fields)) is Reason.INVALID_REQUEST
