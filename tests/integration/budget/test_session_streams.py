"""Sessions with budget whatever befalls their stream: thousands of calls at once, cuts, replicas that stop and come."""

# ruff: noqa: F811

from __future__ import annotations

import asyncio
import contextlib

import pytest

from dac.budget.v1 import budget_pb2
from mesh.call import Call, serving
from mesh.errors import MeshError, Reason
from mesh.transport import RemoteBidi
from services.gateway.chat.budget_session import BudgetSession
from tests.integration.budget.session_world import ask, commit_of, replica, session, set_budget, totals, world  # noqa: F401
from tests.integration.budget.world import CENT, principal


async def test_two_thousand_reserves_at_once_arrive_exactly_once_in_far_fewer_messages(
    world, replica, session, org_id, monkeypatch
):
    await set_budget(replica, org_id, 1500 * 10 * CENT)
    writes = 0
    write = RemoteBidi.write

    async def counted(self, message):
        nonlocal writes
        writes += 1
        await write(self, message)

    monkeypatch.setattr(RemoteBidi, "write", counted)
    requests = [ask() for _ in range(2000)]
    with world.calling(principal(org_id, "chat")):
        told = await asyncio.gather(*(session.Reserve(one) for one in requests), return_exceptions=True)
        held = [one for one in told if isinstance(one, budget_pb2.ReserveResponse)]
        refused = [one for one in told if isinstance(one, MeshError)]
        again = await asyncio.gather(
            *(session.Reserve(one) for one, was in zip(requests, told, strict=True) if was in held)
        )
    assert len(held) == 1500 and len({one.reservation_id for one in held}) == 1500
    assert {one.reason for one in refused} == {Reason.BUDGET_EXHAUSTED} and len(refused) == 500
    assert [one.reservation_id for one in again] == [one.reservation_id for one in held]
    assert await totals(replica, org_id) == (0, 1500 * 10 * CENT)
    assert replica.seen.methods.count("Reserve") == 3500 and writes < 350
    assert replica.seen.methods.count("Session") == 1


async def test_a_slow_call_holds_up_nobody_and_is_answered_in_the_end(world, replica, session, org_id):
    caller = principal(org_id, "chat")
    with world.calling(caller, world.stranger):
        slow = asyncio.create_task(session.Reserve(ask()))
    await asyncio.wait_for(world.asked.wait(), 5)
    with world.calling(caller):
        for _ in range(20):
            await session.Reserve(ask())
        with pytest.raises(MeshError) as late, serving(Call("r", caller, world.stranger.sign(caller))):
            await session.Reserve(ask(), timeout=0.2)
    assert late.value.reason is Reason.DEADLINE_EXCEEDED and not slow.done()
    world.known.set()
    assert (await slow).reserved_nano_usd == 10 * CENT
    assert replica.seen.methods.count("Session") == 1


async def test_a_large_record_is_carried_and_a_too_large_one_breaks_nothing(world, replica, session, org_id):
    request = ask()
    with world.calling(principal(org_id, "chat")):
        held = await session.Reserve(request)
        commit = commit_of(held, request, org_id)
        commit.record.message = "x" * 5_000_000
        with pytest.raises(MeshError) as refused:
            await session.Commit(commit)
        assert refused.value.reason is Reason.TOO_LARGE
        commit.record.message = "x" * 3_000_000
        others = [asyncio.create_task(session.Reserve(ask())) for _ in range(50)]
        assert (await session.Commit(commit)).cost_nano_usd == 10 * CENT
        await asyncio.gather(*others)
    assert replica.seen.methods.count("Session") == 1


# ---- streams that end -----------------------------------------------------------------------------------------------


async def test_a_cut_stream_fails_what_is_in_flight_and_the_next_call_finds_the_server_again(
    world, replica, session, org_id
):
    await set_budget(replica, org_id, 1000 * CENT)
    caller, request = principal(org_id, "chat"), ask()
    with world.calling(caller, world.stranger):
        cut = asyncio.create_task(session.Reserve(request))
    await asyncio.wait_for(world.asked.wait(), 5)
    await replica.stop()
    with pytest.raises(MeshError) as failed:
        await asyncio.wait_for(cut, 2)
    assert failed.value.reason is Reason.UNAVAILABLE
    with world.calling(caller), pytest.raises(MeshError) as gone:
        await session.Reserve(request)
    assert gone.value.reason is Reason.UNAVAILABLE
    world.known.set()
    await replica.start()
    with world.calling(caller):
        held = await until_reachable(lambda: session.Reserve(request))
        await session.Commit(commit_of(held, request, org_id))
    assert await totals(replica, org_id) == (10 * CENT, 0)


async def until_reachable(step):
    """Says it again, as every caller of budget does."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await step()
            except MeshError as error:
                if error.reason is not Reason.UNAVAILABLE:
                    raise


async def test_a_replica_that_stops_answers_what_it_has_and_no_caller_notices(world, org_id):
    first, second = await world.replica(), await world.replica()
    await set_budget(first, org_id, 100_000 * CENT)
    session = world.session(first, second)
    caller = principal(org_id, "chat")
    with world.calling(caller, world.stranger):
        slow = asyncio.create_task(session.Reserve(ask()))
    await asyncio.wait_for(world.asked.wait(), 5)
    serving_now = first if "Session" in first.seen.methods else second
    other = second if serving_now is first else first
    done, stop = 0, asyncio.Event()

    async def cycles():
        nonlocal done
        while not stop.is_set():
            request = ask()
            held = await session.Reserve(request)
            await session.Commit(commit_of(held, request, org_id))
            done += 1

    with world.calling(caller):
        load = [asyncio.create_task(cycles()) for _ in range(8)]
    async with asyncio.timeout(20):
        while done < 20:
            await asyncio.sleep(0.01)
        stopping = asyncio.create_task(serving_now.stop(10))
        while other.seen.methods.count("Commit") < 20:
            await asyncio.sleep(0.01)
        world.known.set()
        assert (await slow).reserved_nano_usd == 10 * CENT
        await stopping
    stop.set()
    await asyncio.gather(*load)
    await session.close()
    spent, held = await totals(other, org_id)
    assert (spent, held) == (done * 10 * CENT, 10 * CENT)


async def test_a_session_moves_on_to_the_other_replicas_by_and_by(world, org_id):
    replicas = [await world.replica() for _ in range(3)]
    channel = world.channel()
    await set_budget(replicas[0], org_id, 100_000 * CENT)
    session = BudgetSession(channel, renew_after_s=0.02)
    asked = 0
    with world.calling(principal(org_id, "chat")):
        async with asyncio.timeout(20):
            while not all("Reserve" in one.seen.methods for one in replicas):
                await asyncio.gather(*(session.Reserve(ask()) for _ in range(5)))
                asked += 5
    await session.close()
    assert sum(one.seen.methods.count("Reserve") for one in replicas) == asked
    assert await totals(replicas[0], org_id) == (0, asked * 10 * CENT)


async def test_what_was_sent_runs_although_its_caller_has_left(world, replica, session, org_id):
    await set_budget(replica, org_id, 1000 * CENT)
    caller = principal(org_id, "chat")
    with world.calling(caller, world.stranger):
        leaving = asyncio.create_task(session.Reserve(ask()))
    await asyncio.wait_for(world.asked.wait(), 5)
    leaving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await leaving
    world.known.set()
    async with asyncio.timeout(5):
        while (await totals(replica, org_id))[1] != 10 * CENT:
            await asyncio.sleep(0.01)
    with world.calling(caller):
        await session.Reserve(ask())
    assert await totals(replica, org_id) == (0, 20 * CENT)
