"""From one master key to the next, beside replicas that have only the former one."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from dac.provider.v1 import key_pb2, key_pb2_grpc, provider_pb2_grpc
from mesh.errors import MeshError
from mesh.ids import uuid7
from mesh.inprocess import LocalChannel
from mesh.inprocess_calls import MethodTable
from mesh.keyring import Keyring
from mesh.postgres import Database
from services.provider.server import build
from tests.integration.provider.test_own_keys import FIRST, MASTER, SECOND, House, acting, context_of
from tests.upstream import Upstream


class Died(Exception):
    """What goes wrong in the middle of a step."""


NEXT = Keyring(b"n" * 32)
BOTH = Keyring(b"n" * 32, [MASTER])


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as running:
        yield running


@pytest.fixture
async def make_house(
    make_database: Callable[..., Awaitable[Any]], all_services: dict[str, Any], upstream: Upstream
) -> AsyncIterator[Callable[..., Awaitable[House]]]:
    """Houses with one database of this test's own."""
    migrated = await make_database({"provider": all_services["provider"]})
    opened: list[Any] = []

    async def make(keyring: Keyring) -> House:
        database = Database(migrated.dsn("provider"), "provider")
        await database.open()
        app = build(context_of(database, upstream, keyring))
        await app.start()
        opened.extend((database, app))
        table = MethodTable()
        app.register(table)  # type: ignore[arg-type]
        channel = LocalChannel(table)
        return House(
            app, upstream, provider_pb2_grpc.ProviderServiceStub(channel), key_pb2_grpc.KeyServiceStub(channel)
        )

    yield make
    for one in reversed(opened):
        await one.close()


async def step(house: House, **fields: Any) -> Any:
    with acting(uuid7(), "operator"):
        return await house.keys.RotateProviderKeys(key_pb2.RotateProviderKeysRequest(**fields))


async def test_everything_is_sealed_anew_step_by_step(make_house: Callable[..., Awaitable[House]]) -> None:
    former = await make_house(MASTER)
    orgs = [uuid7() for _ in range(3)]
    for org_id in orgs:
        await former.add(org_id, FIRST)
    await former.add("", SECOND)
    await former.app.desk.add("mine", "openai", "https://llm.example.com/v1", FIRST, skip_test=True)
    house = await make_house(BOTH)
    looked = await step(house, check_only=True)
    assert (looked.rotated, looked.left, looked.lost, looked.master_key_id) == (0, 5, 0, NEXT.id)
    first = await step(house, limit=2)
    assert (first.rotated, first.left) == (2, 3)
    # Two at once share the work, and neither is in the other's way.
    rest = await asyncio.gather(step(house), step(house))
    assert sum(one.rotated for one in rest) == 3
    last = await step(house)
    assert (last.rotated, last.left, last.lost) == (0, 0, 0)
    # Who still has only the former key goes on, also when something else changes.
    house.app.registry.book._draw = lambda: 0.0
    added = await house.add(orgs[0], SECOND)
    await former.app.registry.refresh()
    assert any(one.entry.provider == "mine" and one.enabled for one in former.app.registry.providers())
    for org_id in orgs:
        await former.chat(org_id)
    assert former.sent() == [FIRST] * 3
    # Also when another change of the keys is heard of before they are shown, and when they are asked after that.
    await house.add(orgs[0], SECOND)
    await former.app.registry.refresh()
    shown = {key.key_id: key.unusable_because for key in await former.listed(orgs[0])}
    assert "cannot be opened" in shown.pop(added.key_id) and list(shown.values()).count("") == 1
    await former.chat(orgs[0])
    assert former.sent() == [FIRST]
    # And the former one is needed no more.
    alone = await make_house(NEXT)
    alone.app.registry.book._draw = lambda: 0.0
    for org_id in orgs:
        await alone.chat(org_id)
    assert alone.sent() == [FIRST] * 3
    assert all(one.enabled for one in alone.app.registry.providers() if one.entry.provider == "mine")


async def test_what_does_not_open_is_counted_and_left(make_house: Callable[..., Awaitable[House]]) -> None:
    former, org_id = await make_house(MASTER), uuid7()
    broken, good = await former.add(org_id, FIRST), await former.add(org_id, SECOND)
    database = former.app._database
    assert database is not None
    async with database.transaction(org_id) as connection:
        query = "UPDATE provider_keys SET sealed_data_key = $2 WHERE key_id = $1"
        await connection.execute(query, broken.key_id, b"x" * 60)
    house = await make_house(BOTH)
    for rotated in (1, 0):
        done = await step(house, limit=1)
        assert (done.rotated, done.left, done.lost) == (rotated, 1, 1)
    await house.chat(org_id)
    assert house.sent() == [SECOND]
    with acting(org_id, "admin"):
        request = key_pb2.UpdateProviderKeyRequest(org_id=org_id, key_id=broken.key_id, api_key=FIRST)
        await house.keys.UpdateProviderKey(request)
    assert (await step(house)).left == 0 and good.key_id


async def test_a_step_that_fails_leaves_the_rows_as_they_were(
    make_house: Callable[..., Awaitable[House]], monkeypatch: pytest.MonkeyPatch
) -> None:
    former, org_id = await make_house(MASTER), uuid7()
    for _ in range(4):
        await former.add(org_id, FIRST)
    house = await make_house(BOTH)
    vault, sealed = house.app.key_desk._vault, []

    class Dies:
        master_key_id = vault.master_key_id
        open = vault.open

        def seal(self, *given: Any) -> Any:
            sealed.append(given)
            if len(sealed) == 3:
                raise Died
            return vault.seal(*given)

    monkeypatch.setattr(house.app.key_desk, "_vault", Dies())
    with pytest.raises((Died, MeshError)):
        await step(house)
    monkeypatch.undo()
    assert (await step(house, check_only=True)).left == 4
    assert (await step(house)).rotated == 4
