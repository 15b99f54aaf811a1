"""Equal chats at two replicas make one call, told of through Valkey; without it each makes its own."""

import asyncio
import time

import asyncpg
import pytest
import redis

from mesh.embedded_valkey import EmbeddedValkey
from tests import prepared
from tests.edge.test_coalescing import asked, chat, client, question, record, texts_of
from tests.edge.test_rolling import MASTER_KEY, Replica, migrate


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
    }
    pair = [Replica(folder / name, upstream_process, shared) for name in ("one", "two")]
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


def texts(valkey):
    """Everything that Valkey holds, keys and values."""
    with redis.from_url(valkey.url) as open_client:
        return [part for key in open_client.scan_iter() for part in (key, open_client.get(key) or b"")]


async def test_two_replicas_make_one_call_and_nothing_of_it_is_in_redis(replicas, upstream_process, valkey):
    upstream_process.script("ok", text="Shared secret answer.", delay_s=0.6)
    messages = question("Canary of the question")
    one, two = (replica.dac for replica in replicas)
    async with client() as session:
        chats = [asyncio.create_task(chat(session, one, messages)) for _ in range(5)]
        await asked(upstream_process, 1)
        chats += [asyncio.create_task(chat(session, two, messages, stream=number % 2 == 1)) for number in range(6)]
        await asyncio.sleep(0.2)
        held = texts(valkey)
        found = await asyncio.gather(*chats)
    assert {status for status, _, _ in found} == {200} and len(upstream_process.requests()) == 1
    assert all(b"Shared secret answer." in body or texts_of(body) == "Shared secret answer." for _, _, body in found)
    held += texts(valkey)
    assert held and not any(b"Canary" in part or b"secret" in part for part in held)
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
    assert {status for status, _, _ in found} == {200} and b"Carried on." in found[0][2]
    assert len(upstream_process.requests()) == 2, "one of those who waited made the call"
