"""kill -9 of budget and of PostgreSQL in turn, under load; afterwards everything must add up."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from bench.budget.reconcile import Account, Found, account_of, compare
from bench.budget.stage import CHAT, USD, Organisation, Replica, Stage
from bench.budget.traffic import record, reservation
from dac.budget.v1 import budget_pb2
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7

CALLERS = 24
LIMIT_NANO_USD = 1_000_000 * USD
HEAL_S = 60.0
PASSING = frozenset({Reason.UNAVAILABLE, Reason.DEADLINE_EXCEEDED})


@dataclass
class Traffic:
    """Callers that ask again until they are answered, as the gateway's settlement does."""

    replica: Replica
    organisation: Organisation
    acknowledged: dict[str, int] = field(default_factory=dict)
    """Request → the cost that Commit answered."""
    asked_again: int = 0
    stopped: bool = False
    going: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared while accounts are read: they would take ever longer while rows come."""

    async def again(self, ask: Callable[[], Awaitable[object]]) -> object:
        """The answer, however often the other side dies meanwhile."""
        while True:
            try:
                return await ask()
            except MeshError as error:
                if error.reason not in PASSING:
                    raise
                self.asked_again += 1
                await asyncio.sleep(0.02)

    async def cycle(self) -> None:
        """One request from reserve to an acknowledged commit."""
        request = reservation(CHAT)
        request.request_id = uuid7()
        held = await self.again(lambda: self.replica.stream.Reserve(request))
        assert isinstance(held, budget_pb2.ReserveResponse)
        commit = budget_pb2.CommitRequest(
            reservation_id=held.reservation_id,
            reservation_secret=held.reservation_secret,
            record=record(self.organisation, CHAT),
        )
        commit.record.request_id = commit.record.attempts[0].attempt_id = request.request_id
        done = await self.again(lambda: self.replica.stream.Commit(commit))
        assert isinstance(done, budget_pb2.CommitResponse)
        self.acknowledged[request.request_id] = done.cost_nano_usd

    async def caller(self) -> None:
        """Cycles until it is told to stop; the last one is brought to its end."""
        while not self.stopped:
            await self.going.wait()
            with self.organisation.calling():
                await self.cycle()


@dataclass(frozen=True)
class Campaign:
    """All kills."""

    kills: int
    found: list[Found]
    acknowledged: int
    asked_again: int
    back_s: list[float]
    """From each kill to the next acknowledged commit."""


async def run(stage: Stage, kills: int, seed: int, said: Callable[[str], None]) -> Campaign:
    """Budget's process and the postmaster in turn, at random moments; an account after each kill and at the end."""
    (replica,) = await stage.with_replicas(1)
    dice = random.Random(seed)
    traffic = Traffic(replica, await stage.organisation(LIMIT_NANO_USD))
    found: list[Found] = []
    back_s: list[float] = []
    callers = [asyncio.create_task(traffic.caller()) for _ in range(CALLERS)]
    try:
        for number in range(kills):
            traffic.going.set()
            await asyncio.sleep(dice.uniform(0.15, 0.6))
            traffic.organisation = stage.renewed(traffic.organisation)
            began, before = time.monotonic(), len(traffic.acknowledged)
            if number % 2 == 0:
                replica.kill()
                await replica.start()
            else:
                _kill_postgres(stage)
            await _until_served(traffic, before, callers)
            back_s.append(time.monotonic() - began)
            traffic.going.clear()
            acknowledged = dict(traffic.acknowledged)
            # Calls under way end meanwhile; what was acknowledged before must be there.
            found.append(compare(acknowledged, await _account(stage, traffic), final=False))
            if (number + 1) % 6 == 0 or number + 1 == kills:
                said(
                    f"kill {number + 1}/{kills}: {len(acknowledged)} commits acknowledged, back in at most "
                    f"{max(back_s):.2f} s, {sum(one.lost for one in found)} lost, {sum(one.double for one in found)} "
                    f"double"
                )
        traffic.stopped = True
        traffic.going.set()
        await asyncio.gather(*callers)
    finally:
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
    found.append(compare(traffic.acknowledged, await _account(stage, traffic), final=True))
    return Campaign(kills, found, len(traffic.acknowledged), traffic.asked_again, back_s)


def _kill_postgres(stage: Stage) -> None:
    assert stage.postgres.process is not None
    stage.postgres.process.kill()
    stage.postgres.process.wait()
    end = time.monotonic() + HEAL_S
    while True:
        try:
            # In this thread: the server dies with the one that started it.
            stage.postgres.revive()
            return
        except MeshError:
            # As `dac up` does: backends of the killed one may still hold its memory.
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


async def _until_served(traffic: Traffic, before: int, callers: list[asyncio.Task[None]]) -> None:
    end = time.monotonic() + HEAL_S
    # A kill may leave acknowledgements on their way: as many again as there are callers are sure to be new.
    while len(traffic.acknowledged) <= before + CALLERS:
        for caller in callers:
            if caller.done():
                caller.result()
        if time.monotonic() > end:
            raise RuntimeError(f"budget did not come back within {HEAL_S:.0f} s of a kill")
        await asyncio.sleep(0.005)


async def _account(stage: Stage, traffic: Traffic) -> Account:
    """PostgreSQL's own rows, and what VerifyLedger says."""
    connection = await stage.connect()
    try:
        account = await account_of(connection, traffic.organisation.org_id)
    finally:
        await connection.close()
    with traffic.organisation.calling():
        verified = await traffic.again(lambda: traffic.replica.stub.VerifyLedger(budget_pb2.VerifyLedgerRequest()))
    assert isinstance(verified, budget_pb2.VerifyLedgerResponse)
    account.differences.extend(verified.differences)
    return account


def figures(campaign: Campaign) -> dict[str, object]:
    """What is published."""
    return {
        "kills": campaign.kills,
        "lost": sum(one.lost for one in campaign.found),
        "double": sum(one.double for one in campaign.found),
        "differences": [text for one in campaign.found for text in one.differences][:20],
        "acknowledged": campaign.acknowledged,
        "asked_again": campaign.asked_again,
        "accounts": len(campaign.found),
        "back_s_max": round(max(campaign.back_s, default=0.0), 2),
    }
