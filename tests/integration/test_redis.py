"""The key-value store against a real Valkey, and without it."""

import asyncio
import pathlib
import stat
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from mesh.embedded_valkey import EmbeddedValkey
from mesh.ids import uuid7
from mesh.key_values import KeyValueStore, MemoryStore
from mesh.redis import connect
from mesh.redis_store import RedisStore


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["memory", "valkey"])
async def store(request: pytest.FixtureRequest, valkey: EmbeddedValkey) -> AsyncIterator[KeyValueStore]:
    opened = await connect(valkey.url if request.param == "valkey" else None)
    yield opened
    await opened.close()


async def test_values_are_kept_and_forgotten(store: KeyValueStore) -> None:
    key = uuid7()
    assert await store.get(key) is None
    await store.set(key, b"\x00\xff", 60)
    assert await store.get(key) == b"\x00\xff"
    await store.delete(key)
    assert await store.get(key) is None


async def test_only_the_first_to_add_a_key_keeps_its_value(store: KeyValueStore) -> None:
    key = uuid7()
    assert [await store.add(key, str(number).encode(), 60) for number in range(3)] == [True, False, False]
    assert await store.get(key) == b"0"
    await store.delete(key)
    assert await store.add(key, b"again", 0.5) and not await store.add(key, b"too soon", 60)
    await asyncio.sleep(0.6)
    assert await store.add(key, b"free", 60)


async def test_counting_starts_at_one_for_each_key(store: KeyValueStore) -> None:
    key = uuid7()
    assert [await store.incr(key, 60) for _ in range(3)] == [1, 2, 3]
    assert await store.incr(uuid7(), 60) == 1


async def test_subscribers_hear_what_is_published(store: KeyValueStore) -> None:
    channel, heard, arrived = uuid7(), [], asyncio.Event()

    def hear(payload: bytes) -> None:
        heard.append(payload)
        arrived.set()

    await store.subscribe(channel, hear)
    await store.publish(channel, b"one")
    await asyncio.wait_for(arrived.wait(), 2)
    assert heard == [b"one"]


async def test_valkey_ends_values_and_counts_by_their_first_life_time(valkey: EmbeddedValkey) -> None:
    store = RedisStore(valkey.url, MemoryStore())
    key = uuid7()
    await store.incr(key, 100)
    await store.incr(key, 900)
    assert 90_000 < await store._client.pttl(key) <= 100_000
    await store.close()


async def test_memory_ends_values_and_counts_by_the_clock() -> None:
    clock = [0.0]
    store = MemoryStore(lambda: clock[0])
    await store.set("value", b"x", 10)
    await store.incr("count", 10)
    clock[0] = 9.9
    assert (await store.get("value"), await store.incr("count", 10)) == (b"x", 2)
    clock[0] = 10.0
    assert (await store.get("value"), await store.incr("count", 10)) == (None, 1)


@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_a_server_that_goes_away_costs_at_most_50_ms(tmp_path: pathlib.Path, how: str) -> None:
    server = EmbeddedValkey(tmp_path)
    server.start()
    store = RedisStore(server.url, MemoryStore())
    try:
        await store.set("before", b"x", 60)
        assert server.process is not None
        if how == "killed":
            server.process.kill()
            server.process.wait()
        else:
            server.process.send_signal(19)
        started = time.perf_counter()
        assert await store.incr("count", 60) == 1
        assert time.perf_counter() - started < 0.05
        started = time.perf_counter()
        assert await store.incr("count", 60) == 2
        await store.set("during", b"y", 60)
        assert await store.get("during") == b"y"
        assert time.perf_counter() - started < 0.005
        if how == "killed":
            server.start()
        else:
            server.process.send_signal(18)
        async with asyncio.timeout(5):
            while not store.connected:
                await asyncio.sleep(0.01)
        await store.set("after", b"z", 60)
        assert await store.get("after") == b"z"
    finally:
        await store.close()
        server.stop()


def test_the_password_stands_in_no_readable_file_and_no_argument(valkey: EmbeddedValkey) -> None:
    password = valkey.url.split(":", 2)[2].split("@")[0]
    assert valkey.process is not None
    assert all(password not in str(argument) for argument in valkey.process.args)  # type: ignore[union-attr]
    for name in ("valkey.conf", "password"):
        assert stat.S_IMODE((valkey.root / name).stat().st_mode) == 0o600
