"""Requests with an Idempotency-Key on a real database: carried out once by any replica, sealed, bounded, forgotten."""

from __future__ import annotations

import asyncio

import pytest

from mesh.errors import MeshError, Reason
from mesh.ids import is_uuid, uuid7
from mesh.keyring import Keyring
from services.gateway.idempotency import requests as requests_module
from services.gateway.idempotency.requests import IdempotentRequests, asked_with
from services.gateway.idempotency.store import PostgresRequests
from tests.integration.gateway.conftest import KEYRING

RPC = "/dac.gateway.v1.IdentityService/CreateApiKey"
ORG, CALLER = uuid7(), uuid7()
SECRET = b"dac_live_a-secret-that-is-shown-once"


class Service:
    """Counts how often it was asked."""

    def __init__(self, *ends: bytes | Exception) -> None:
        self.ends, self.ids = list(ends), list[str]()
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.asked = asyncio.Event()

    async def __call__(self, request_id: str) -> bytes:
        self.ids.append(request_id)
        self.asked.set()
        await self.may_end.wait()
        end = self.ends.pop(0) if self.ends else b"made %d" % len(self.ids)
        if isinstance(end, Exception):
            raise end
        return end


def replica(world, keyring=KEYRING, **options):
    return IdempotentRequests(PostgresRequests(world.database()), keyring, **options)


def asked(key="k", body=b"b", caller=CALLER, org_id=ORG):
    return asked_with(key, org_id, caller, RPC, body)


async def refusal(waiting) -> Reason:
    with pytest.raises(MeshError) as refused:
        await waiting
    return refused.value.reason


async def rows(world):
    return await world.as_superuser("SELECT * FROM gateway.idempotent_requests ORDER BY caller, key_hash")


async def test_the_same_request_is_carried_out_once_by_all_replicas(world):
    one, two, service = replica(world), replica(world), Service(SECRET)
    assert await one.once(asked(), service) == (SECRET, False)
    assert await two.once(asked(), service) == (SECRET, True)
    assert await one.once(asked(), service) == (SECRET, True)
    assert len(service.ids) == 1 and is_uuid(service.ids[0])
    assert await two.once(asked(caller=uuid7()), service) == (b"made 2", False)
    assert await two.once(asked(org_id=uuid7()), service) == (b"made 3", False)


async def test_another_request_with_the_key_is_refused(world):
    one, service = replica(world), Service()
    await one.once(asked(), service)
    assert await refusal(one.once(asked(body=b"other"), service)) is Reason.REQUEST_ID_CONFLICT
    assert len(service.ids) == 1


async def test_while_it_runs_others_are_told_to_ask_again(world):
    one, two, service = replica(world), replica(world), Service(b"made")
    service.may_end.clear()
    running = asyncio.create_task(one.once(asked(), service))
    await service.asked.wait()
    ends = await asyncio.gather(*(refusal(end.once(asked(), service)) for end in (one, two) * 4))
    assert set(ends) == {Reason.REQUEST_IN_PROGRESS} and len(service.ids) == 1
    assert await refusal(two.once(asked(body=b"other"), service)) is Reason.REQUEST_ID_CONFLICT
    service.may_end.set()
    assert await running == (b"made", False) and await two.once(asked(), service) == (b"made", True)


async def test_of_many_at_the_same_moment_one_is_carried_out(world):
    replicas, service = [replica(world) for _ in range(3)], Service()
    ends = await asyncio.gather(*(one.once(asked(), service) for one in replicas * 5), return_exceptions=True)
    assert len(service.ids) == 1 and (b"made 1", False) in ends
    told = {end.reason if isinstance(end, MeshError) else end for end in ends}
    assert told <= {(b"made 1", False), (b"made 1", True), Reason.REQUEST_IN_PROGRESS}


async def test_who_leaves_finds_the_answer_when_it_asks_again(world):
    one, service = replica(world), Service(b"made")
    service.may_end.clear()
    running = asyncio.create_task(one.once(asked(), service))
    await service.asked.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    service.may_end.set()
    await one.close(5)
    assert await replica(world).once(asked(), service) == (b"made", True)


async def test_a_refusal_changed_nothing_and_frees_the_key(world):
    one, service = replica(world), Service(MeshError(Reason.NOT_FOUND, "none"), b"made")
    assert await refusal(one.once(asked(), service)) is Reason.NOT_FOUND
    assert await rows(world) == []
    assert await one.once(asked(body=b"mended"), service) == (b"made", False)


@pytest.mark.parametrize("end", [MeshError(Reason.UNAVAILABLE, "away"), ValueError("broken")])
async def test_an_unknown_end_is_carried_out_again_under_the_same_id(world, end):
    one, service = replica(world), Service(end, MeshError(Reason.RATE_LIMITED, "slower"), b"made")
    for _ in range(2):
        with pytest.raises((MeshError, ValueError)):
            await one.once(asked(), service)
        # Also behind the refusal: the first run may have made something.
        assert await refusal(one.once(asked(body=b"other"), service)) is Reason.REQUEST_ID_CONFLICT
    assert await one.once(asked(), service) == (b"made", False)
    assert len(service.ids) == 3 and len(set(service.ids)) == 1


async def test_a_run_whose_gateway_died_is_taken_over_and_no_longer_heard(world):
    store, one, service = PostgresRequests(world.database()), replica(world), Service(b"made")
    first = await store.claim(asked(), died := uuid7(), uuid7(), 60, 60, 10)
    assert await refusal(one.once(asked(), service)) is Reason.REQUEST_IN_PROGRESS
    await world.as_superuser("UPDATE gateway.idempotent_requests SET runs_until = now() - interval '1 s'")
    assert await one.once(asked(), service) == (b"made", False)
    assert service.ids == [first.request_id]
    await store.forget(asked(), died)
    await store.finish(asked(), died, "", None, 60)
    assert await one.once(asked(), service) == (b"made", True)


async def test_what_is_kept_is_sealed_and_opens_with_the_former_master_key(world):
    one, service = replica(world), Service(SECRET)
    await one.once(asked(key="the-key-itself"), service)
    stored = b"".join(value for value in (await rows(world))[0] if isinstance(value, bytes))
    assert SECRET not in stored and b"the-key-itself" not in stored
    other = Keyring(bytes(range(1, 33)))
    rotated = Keyring(bytes(range(1, 33)), [KEYRING])
    assert await replica(world, rotated).once(asked(key="the-key-itself"), service) == (SECRET, True)
    lost = replica(world, other).once(asked(key="the-key-itself"), service)
    assert await refusal(lost) is Reason.FAILED_PRECONDITION and len(service.ids) == 1


async def test_an_answer_moved_to_another_row_does_not_open(world):
    one, service = replica(world), Service(SECRET, b"other")
    await one.once(asked(), service)
    await one.once(asked(key="j"), service)
    await world.as_superuser(
        "UPDATE gateway.idempotent_requests SET answer = (SELECT answer FROM gateway.idempotent_requests "
        "WHERE key_hash = $1)",
        asked().key_hash,
    )
    assert await refusal(one.once(asked(key="j"), service)) is Reason.FAILED_PRECONDITION


async def test_an_answer_too_large_to_keep_is_not_made_twice(world, monkeypatch):
    monkeypatch.setattr(requests_module, "MOST_ANSWER_BYTES", 10)
    one, service = replica(world), Service(b"x" * 11)
    assert await one.once(asked(), service) == (b"x" * 11, False)
    assert await refusal(one.once(asked(), service)) is Reason.FAILED_PRECONDITION
    assert len(service.ids) == 1


async def test_a_caller_has_only_so_many_keys(world):
    one, service = replica(world, most_per_caller=3), Service()
    for key in "abc":
        await one.once(asked(key=key), service)
    assert await refusal(one.once(asked(key="d"), service)) is Reason.RATE_LIMITED
    assert await one.once(asked(key="a"), service) == (b"made 1", True)
    assert await one.once(asked(key="d", caller=uuid7()), service) == (b"made 4", False)
    assert len(await rows(world)) == 4


async def test_after_a_day_a_key_is_new_and_its_row_is_swept(world, monkeypatch):
    one, service = replica(world), Service()
    await one.once(asked(), service)
    await one.once(asked(key="swept", org_id=uuid7()), service)
    await world.as_superuser("UPDATE gateway.idempotent_requests SET kept_until = now() - interval '1 s'")
    assert await one.once(asked(body=b"other"), service) == (b"made 3", False)
    assert len(set(service.ids)) == 3
    monkeypatch.setattr(requests_module, "SWEEP_EVERY_S", 0.01)
    one.start()
    async with asyncio.timeout(10):
        while len(found := await rows(world)) > 1:
            await asyncio.sleep(0.01)
    await one.close(1)
    assert [str(row["org_id"]) for row in found] == [ORG]


async def test_a_database_that_is_away_refuses_before_anything_is_done(world):
    database = world.database()
    one, service = IdempotentRequests(PostgresRequests(database), KEYRING), Service()
    await one.once(asked(), service)
    await world.as_superuser("ALTER TABLE gateway.idempotent_requests RENAME TO away")
    with pytest.raises(MeshError):
        await one.once(asked(key="j"), service)
    assert len(service.ids) == 1


async def test_an_organisation_goes_with_what_was_kept_for_it(world):
    identity = world.identity()
    await identity.bootstrap(None)
    row = await identity.create_organisation("leaves", "operator")
    one, service = replica(world), Service()
    await one.once(asked(org_id=row.org_id), service)
    await one.once(asked(), service)
    await identity.known.delete(row, "operator", identity.default_org_id)
    assert [str(found["org_id"]) for found in await rows(world)] == [ORG]
