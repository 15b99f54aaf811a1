"""Equal chats at two replicas make one call, told of through Valkey; without it each makes its own."""

import asyncio
import contextlib
import threading
import time

import asyncpg
import pytest
import redis

from mesh.embedded_valkey import EmbeddedValkey
from tests import prepared
from tests.edge.test_coalescing import asked, chat, client, manage, question, record, texts_of
from tests.edge.test_rolling import MASTER_KEY, Replica, migrate
from tests.integration.memory.test_canary import dump_at, found_in
from tests.integration.memory.tour import MARK, text


@pytest.fixture(scope="module")
def valkey(tmp_path_factory):
    server = EmbeddedValkey(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def replicas(tmp_path_factory, upstream_process, valkey):
    folder = tmp_path_factory.mktemp("replicas")

    async def prepare(dsn):
        connection = await asyncpg.connect(dsn)
        await connection.execute("CREATE ROLE operator LOGIN CREATEROLE PASSWORD 'pw'")
        await connection.execute("CREATE DATABASE own OWNER operator")
        await connection.close()

    server = prepared.server_in(folder / "pg")
    server.start()
    asyncio.run(prepare(server.superuser_dsn))
    (folder / "master.key").write_text(MASTER_KEY)
    shared = {
        "DATABASE_URL": server.dsn("operator", "pw", "own"),
        "DAC_MASTER_KEY_FILE": str(folder / "master.key"),
        "REDIS_URL": valkey.url,
        "DAC_MEMORY_ENCRYPT_TEXT": "true",
    }
    pair = [Replica(folder / name, upstream_process, shared) for name in ("one", "two")]
    pair[0].database = server.superuser_dsn.replace("@/postgres?", "@/own?")
    pair[1].dac.key = pair[1].dac.env["DAC_BOOTSTRAP_API_KEY"] = pair[0].dac.key
    migrate(pair[0])
    for one in pair:
        one.start()
    for one in pair:
        one.until_ready()
    yield pair
    for one in pair:
        if one.process is not None and one.process.poll() is None:
            one.stop()
    server.stop()


READ = {
    b"string": lambda client, key: [client.get(key)],
    b"hash": lambda client, key: client.hgetall(key).items(),
    b"list": lambda client, key: client.lrange(key, 0, -1),
    b"set": lambda client, key: client.smembers(key),
    b"zset": lambda client, key: client.zrange(key, 0, -1, withscores=True),
    b"stream": lambda client, key: client.xrange(key),
}


def held_in(valkey):
    """Everything that Valkey holds: keys and values of every type, by key."""
    with redis.from_url(valkey.url) as client:
        return {key: repr(list(READ[client.type(key)](client, key))).encode() for key in client.scan_iter()}


def written_by(valkey):
    """Everything that was ever written to it: its append-only file, as it stands on the disk."""
    with redis.from_url(valkey.url) as client:
        end = time.monotonic() + 5
        while client.info("persistence")["aof_pending_bio_fsync"]:
            assert time.monotonic() < end
    return b"".join(file.read_bytes() for file in (valkey.root / "data").rglob("*") if file.is_file())


@contextlib.contextmanager
def overheard(valkey):
    """Every command that anybody gives meanwhile, what is published among them."""
    said = []
    with redis.from_url(valkey.url) as client, client.monitor() as monitor:

        def listen():
            with contextlib.suppress(redis.RedisError, OSError, ValueError, AttributeError):
                for one in monitor.listen():
                    said.append(one["command"].encode())

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        yield said
        with redis.from_url(valkey.url) as last:
            last.echo("the end is heard")
        end = time.monotonic() + 5
        while not any(b"the end is heard" in one for one in said):
            assert time.monotonic() < end
            time.sleep(0.01)


def test_what_is_looked_through_is_everything(valkey):
    """Were a text there, in a value of any type or long gone, it would be found."""
    canary = text("planted")
    with overheard(valkey) as said, redis.from_url(valkey.url) as client:
        client.set("string", canary)
        client.hset("hash", "field", canary)
        client.rpush("list", canary)
        client.sadd("set", canary)
        client.zadd("zset", {canary: 1})
        client.xadd("stream", {"field": canary})
        held = held_in(valkey)
        assert {key for key, value in held.items() if found_in(value)} >= set(READ)
        client.publish("dac:test", canary)
        client.flushall()
    assert not held_in(valkey) and found_in(written_by(valkey)) and found_in(b"".join(said))
    with redis.from_url(valkey.url) as client:
        client.bgrewriteaof()
        while client.info("persistence")["aof_rewrite_in_progress"] or found_in(written_by(valkey)):
            time.sleep(0.02)


async def test_a_dump_of_database_and_redis_holds_no_text_of_a_chat(replicas, upstream_process, valkey):
    """With text at rest sealed: threads, memories, cache, coalescing across replicas, rate limits, breakers' hints."""
    one, two = (replica.dac for replica in replicas)
    level = {"kind": "KIND_ORG"}
    limits = {"requests_per_minute": "1000", "tokens_per_minute": "1000000", "concurrent_requests": "100"}
    manage(one, "PUT", "/v1/rate-limits", level=level, **limits)
    upstream_process.script("ok", text=text("answer"), delay_s=0.6)
    messages = [{"role": "system", "content": text("system")}, {"role": "user", "content": text("question")}]
    found_at = []
    with overheard(valkey) as said:
        async with client() as session:
            leading = asyncio.create_task(chat(session, one, messages))
            await asked(upstream_process, 1)
            following = [asyncio.create_task(chat(session, two, messages, stream=bool(n % 2))) for n in range(4)]
            await asyncio.sleep(0.2)
            found_at.append(held_in(valkey))
            answers = await asyncio.gather(leading, *following)
            assert {status for status, _, _ in answers} == {200} and len(upstream_process.requests()) == 1
            assert all(MARK.encode() in body for _, _, body in answers[:1])
            thread = {"thread_id": "canaries", "enable_memory": True}
            for said_by in ("first", "second"):
                turn = [{"role": "user", "content": text(said_by)}]
                assert (await chat(session, one, turn, **thread))[0] == 200
            hit = await chat(session, two, messages)
            assert hit[1]["x-dac-cache"] == "hit"
            upstream_process.clear()
            upstream_process.script("500", times=0)
            broken = [{"role": "user", "content": text("broken")}]
            for _ in range(8):
                await chat(session, one, broken, model="second/small", enable_cache=False)
        manage(one, "POST", "/v1/memories", memories=[{"text": text("note")}])
        found_at.append(held_in(valkey))
    heard = b"\n".join(said)
    # What is looked through is what this is about.
    held = b"".join(key for one in found_at for key in one)
    assert b"dac:chats" in heard and b"dac:breakers" in heard and b"dac:chats" in held and len(held) > 200
    for at in (heard, written_by(valkey), *(b"\n".join([*one, *one.values()]) for one in found_at)):
        assert found_in(at) == set()
    dump = await dump_at(replicas[0].database)
    assert b"canaries" in dump, "the id of the thread, which the caller chose"
    assert found_in(dump) == set()


async def test_two_replicas_make_one_call_and_nothing_of_it_is_in_redis(replicas, upstream_process, valkey):
    upstream_process.script("ok", text="Shared secret answer.", delay_s=0.6)
    messages = question("Canary of the question")
    one, two = (replica.dac for replica in replicas)
    async with client() as session:
        chats = [asyncio.create_task(chat(session, one, messages)) for _ in range(5)]
        await asked(upstream_process, 1)
        chats += [asyncio.create_task(chat(session, two, messages, stream=number % 2 == 1)) for number in range(6)]
        await asyncio.sleep(0.2)
        held = held_in(valkey)
        found = await asyncio.gather(*chats)
    assert {status for status, _, _ in found} == {200} and len(upstream_process.requests()) == 1
    assert all(b"Shared secret answer." in body or texts_of(body) == "Shared secret answer." for _, _, body in found)
    held |= held_in(valkey)
    assert held and not any(b"Canary" in part or b"secret" in part for part in (*held, *held.values()))
    cache = [record(one, headers)["cache"] for _, headers, _ in found]
    assert [one["status"] for one in cache].count("STATUS_STORED") == 1
    assert {one["status"] for one in cache} == {"STATUS_STORED", "STATUS_COALESCED"}
    leaders = {one.get("leader_request_id") for one in cache} - {None, ""}
    assert len(leaders) == 1


async def test_a_leader_that_fails_at_one_replica_is_followed_at_the_other(replicas, upstream_process):
    one, two = (replica.dac for replica in replicas)
    async with client() as session:
        upstream_process.script("400", times=1, delay_s=0.5)
        upstream_process.script("ok", text="From the other.", delay_s=0.2)
        messages = question()
        leading = asyncio.create_task(chat(session, one, messages))
        await asked(upstream_process, 1)
        found = await asyncio.gather(leading, *(chat(session, two, messages) for _ in range(4)))
    assert [status for status, _, _ in found] == [400, 200, 200, 200, 200]
    assert len(upstream_process.requests()) == 2


async def test_an_answer_that_is_not_stored_is_asked_for_by_each_replica_itself(replicas, upstream_process):
    upstream_process.script("ok", delay_s=0.4)
    one, two = (replica.dac for replica in replicas)
    messages = question()
    async with client() as session:
        leading = asyncio.create_task(chat(session, one, messages, max_tokens=3))
        await asked(upstream_process, 1)
        found = await asyncio.gather(leading, *(chat(session, two, messages, max_tokens=3) for _ in range(3)))
    assert {status for status, _, _ in found} == {200} and len(upstream_process.requests()) == 2


async def test_without_redis_every_replica_makes_its_own_call_and_none_waits(replicas, upstream_process, valkey):
    one, two = (replica.dac for replica in replicas)
    valkey.stop()
    try:
        upstream_process.script("ok", text="On my own.", delay_s=0.3)
        messages = question()
        begun = time.monotonic()
        async with client() as session:
            found = await asyncio.gather(*(chat(session, dac, messages) for dac in (one, two) for _ in range(5)))
        assert time.monotonic() - begun < 5
        assert {status for status, _, _ in found} == {200} and len(upstream_process.requests()) == 2
    finally:
        valkey.start()


async def test_a_replica_that_is_killed_while_it_leads_is_followed_by_the_other(replicas, upstream_process):
    """The last test: it leaves one replica."""
    one, two = (replica.dac for replica in replicas)
    upstream_process.script("ok", text="never seen", delay_s=30, times=1)
    upstream_process.script("ok", text="Carried on.", delay_s=0.1)
    messages = question()
    async with client() as session:
        leading = asyncio.create_task(chat(session, one, messages))
        await asked(upstream_process, 1)
        waiting = [asyncio.create_task(chat(session, two, messages)) for _ in range(5)]
        await asyncio.sleep(0.3)
        replicas[0].process.kill()
        found = await asyncio.gather(*waiting)
        await asyncio.gather(leading, return_exceptions=True)
    replicas[0].process.wait(10)
    assert {status for status, _, _ in found} == {200} and b"Carried on." in found[0][2]
    assert len(upstream_process.requests()) == 2, "one of those who waited made the call"
