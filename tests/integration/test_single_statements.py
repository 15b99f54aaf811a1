"""Statements that are a transaction each: on one connection while they come, which goes back when none comes."""

import asyncio

import asyncpg
import pytest

from mesh import single_statements
from mesh.single_statements import SingleStatements, is_gone

PID = "SELECT pg_backend_pid()"


async def pid(single, statement=PID):
    return (await single.run(statement))[0][0]


@pytest.fixture
def database_url(migrated):
    return migrated.superuser_dsn


@pytest.fixture
async def pool(database_url, monkeypatch):
    monkeypatch.setattr(single_statements, "IDLE_S", 0.05)
    async with asyncpg.create_pool(database_url, min_size=0, max_size=2) as made:
        yield made


async def test_one_connection_runs_them_and_goes_back_when_none_comes(pool):
    single = SingleStatements(pool, 5.0)
    first = await pid(single)
    assert pool.get_size() - pool.get_idle_size() == 1
    assert {await pid(single) for _ in range(20)} == {first}
    async with asyncio.timeout(10):
        while pool.get_idle_size() < pool.get_size():
            await asyncio.sleep(0.01)
    assert await pid(single) == first
    await single.close()
    assert pool.get_idle_size() == pool.get_size()


async def test_several_at_once_share_the_pool_and_leave_one_connection_kept(pool):
    single = SingleStatements(pool, 5.0)
    found = await asyncio.gather(*(pid(single, f"{PID} FROM pg_sleep({n / 100})") for n in range(6)))
    assert 1 <= len(set(found)) <= 2
    assert pool.get_size() - pool.get_idle_size() <= 1
    await single.close()


async def test_a_connection_that_failed_or_was_cut_is_not_kept(pool, database_url, monkeypatch):
    monkeypatch.setattr(single_statements, "IDLE_S", 60.0)
    single = SingleStatements(pool, 5.0)
    with pytest.raises(asyncpg.DivisionByZeroError):
        await single.run("SELECT 1 / 0")
    assert pool.get_idle_size() == pool.get_size()
    cut = await pid(single)
    other = await asyncpg.connect(database_url)
    await other.execute("SELECT pg_terminate_backend($1, 5000)", cut)
    await other.close()
    async with asyncio.timeout(10):
        while not is_gone(single._kept):
            await asyncio.sleep(0.01)
    assert await pid(single) != cut
    await single.close()


async def test_nothing_is_kept_of_a_pool_with_one_connection_nor_after_the_end(database_url, pool):
    async with asyncpg.create_pool(database_url, min_size=0, max_size=1) as small:
        await SingleStatements(small, 5.0).run(PID)
        assert small.get_idle_size() == small.get_size()
    ended = SingleStatements(pool, 5.0)
    await ended.close()
    await ended.run(PID)
    assert pool.get_idle_size() == pool.get_size()


async def test_it_gives_a_connection_back_that_has_run_many(pool, monkeypatch):
    monkeypatch.setattr(single_statements, "MAX_STATEMENTS", 3)
    single = SingleStatements(pool, 5.0)
    busy = []
    for _ in range(3):
        await pid(single)
        busy.append(pool.get_size() - pool.get_idle_size())
    assert busy == [1, 1, 0]
    await single.close()
