"""BudgetService.Session over a socket, with a real ledger behind it: the same answers as unary calls, whatever befalls
the stream."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time

import pytest

from dac.budget.v1 import budget_pb2, budget_pb2_grpc
from dac.type.v1.principal_pb2 import Level, Principal
from mesh import call as calls
from mesh.call import Call, install_service_principals, serving
from mesh.carried import Carried
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.inprocess_calls import MethodTable
from mesh.interceptors import server_interceptors
from mesh.permissions import PERMISSIONS
from mesh.principals import Signer, Verifier
from mesh.server import LiveHealth, Server
from mesh.telemetry import RPC_SECONDS
from mesh.transport import RemoteBidi, RemoteChannel
from services.budget.config import BudgetConfig
from services.budget.server import build
from services.gateway.chat.budget_session import BudgetSession
from tests.integration.budget.world import CENT, MODELS, context_for, principal

METHOD = "/dac.budget.v1.BudgetService/"
DIME, METERED, MYSTERY = (("test", f"test/{name}") for name in ("dime", "metered", "mystery"))


class Seen:
    """Writes down which methods were served, as the last of the interceptors."""

    name = "seen"

    def __init__(self):
        self.methods = []

    def begin(self, served):
        self.methods.append(served.method.removeprefix(METHOD))

    def end(self, served, error):
        return error


class Replica:
    """One budget process's worth: a service, its method table and a server."""

    def __init__(self, service, table, seen, address):
        self.service, self.table, self.seen, self.address = service, table, seen, address
        self.server = None

    async def start(self):
        self.server = Server(self.table, LiveHealth())
        self.server.listen(self.address)
        await self.server.start()
        return self

    async def stop(self, grace_s=0.0):
        if self.server is not None:
            server, self.server = self.server, None
            await server.stop(grace_s)


class World:
    """Replicas of budget on one database, signers, and channels to them."""

    def __init__(self, database_for, folder):
        self._database_for, self._folder = database_for, folder
        self.gateway, self.stranger = Signer("gateway", bytes(range(32))), Signer("gateway", bytes(32))
        self.router, self.budget = Signer("router", b"r" * 32), Signer("budget", b"b" * 32)
        self.known = asyncio.Event()
        """Whether the stranger's key can be looked up: until then its calls are slow ones."""
        self.asked = asyncio.Event()
        self.replicas, self.channels = [], []

    async def look_up(self, signing_key_id):
        if signing_key_id == self.stranger.signing_key_id:
            self.asked.set()
            await self.known.wait()
        signers = {one.signing_key_id: one for one in (self.gateway, self.stranger, self.router)}
        found = signers.get(signing_key_id)
        return found and (found.service, found.public_key)

    async def replica(self, **options):
        table, seen = MethodTable(), Seen()
        table.interceptors = (*server_interceptors(Verifier(self.look_up)), seen)
        config = BudgetConfig(sweep_interval_s=3600.0, required_consumers=(), **options)
        context = context_for(await self._database_for("budget"), config, MODELS)
        service = build(dataclasses.replace(context, carried=Carried(table)))
        await service.start()
        service.register(table)
        made = Replica(service, table, seen, f"unix:{self._folder / str(len(self.replicas))}")
        self.replicas.append(made)
        return await made.start()

    def channel(self, *replicas):
        paths = ",".join(one.address.removeprefix("unix:") for one in replicas or self.replicas)
        self.channels.append(RemoteChannel(f"unix:{paths}", "budget"))
        return self.channels[-1]

    def session(self, *replicas, **options):
        return BudgetSession(self.channel(*replicas), **options)

    def calling(self, caller, signer=None):
        signed = (signer or self.gateway).sign(caller)
        return serving(Call(uuid7(), caller, signed))

    async def close(self):
        self.known.set()
        for channel in self.channels:
            await channel.close()
        for one in self.replicas:
            await one.stop()
            await one.service.close()


@pytest.fixture
async def world(database_for, tmp_path_factory, monkeypatch):
    made = World(database_for, tmp_path_factory.mktemp("s"))
    monkeypatch.setattr(calls, "_service_principal", None)

    def mint(name):
        service = Principal(kind=Principal.KIND_SERVICE, service=name)
        return service, getattr(made, name).sign(service)

    install_service_principals(mint)
    yield made
    await made.close()


@pytest.fixture
async def replica(world):
    return await world.replica()


@pytest.fixture
async def session(world, replica):
    made = world.session()
    yield made
    await made.close()


def ask(candidate=DIME, request_id="", **more):
    return budget_pb2.ReserveRequest(
        request_id=request_id or uuid7(),
        candidates=[budget_pb2.PricedCandidate(provider=candidate[0], model=candidate[1])],
        **{"input_tokens": 10, "input_tokens_max": 10, "max_output_tokens": 10, "body_hash": b"h", **more},
    )


def commit_of(held, request, org_id):
    message = budget_pb2.CommitRequest(reservation_id=held.reservation_id, reservation_secret=held.reservation_secret)
    message.record.request_id, message.record.org_id = request.request_id, org_id
    attempt = message.record.attempts.add(attempt_id=uuid7(), provider=DIME[0], model=DIME[1])
    attempt.usage.input_tokens = 1
    return message


async def set_budget(replica, org_id, limit, **more):
    with serving(Call(uuid7(), principal(org_id))):
        await replica.service.budget.SetBudget(
            budget_pb2.SetBudgetRequest(
                level=Level(kind=Level.KIND_ORG), window=budget_pb2.WINDOW_DAY, limit_nano_usd=limit, **more
            ),
            None,
        )


async def totals(replica, org_id):
    """(spent, held) of the organisation's only budget."""
    with serving(Call(uuid7(), principal(org_id))):
        listed = await replica.service.budget.ListBudgets(budget_pb2.ListBudgetsRequest(), None)
        verified = await replica.service.budget.VerifyLedger(budget_pb2.VerifyLedgerRequest(), None)
    assert verified.differences == []
    (one,) = listed.budgets
    return one.spent_nano_usd, one.reserved_nano_usd


async def test_a_request_is_reserved_and_charged_and_every_call_is_measured_as_one(world, replica, session, org_id):
    await set_budget(replica, org_id, 100 * CENT)
    before = [measured(method) for method in ("Reserve", "Commit", "Release")]
    with world.calling(principal(org_id, "chat")):
        first, second = ask(), ask()
        held = await session.Reserve(first)
        freed = await session.Reserve(second)
        assert held.reserved_nano_usd == 10 * CENT and held.rates[0].request == 10 * CENT
        assert (await session.Commit(commit_of(held, first, org_id))).cost_nano_usd == 10 * CENT
        release = budget_pb2.ReleaseRequest(
            reservation_id=freed.reservation_id, reservation_secret=freed.reservation_secret
        )
        release.record.request_id, release.record.org_id = second.request_id, org_id
        await session.Release(release)
    assert await totals(replica, org_id) == (10 * CENT, 0)
    after = [measured(method) for method in ("Reserve", "Commit", "Release")]
    assert [now - then for now, then in zip(after, before, strict=True)] == [2, 1, 1]
    assert replica.seen.methods.count("Session") == 1


async def test_a_stream_is_extended_over_the_session(world, org_id):
    replica = await world.replica(reservation_mode="balanced", default_output_tokens=100)
    await set_budget(replica, org_id, 1000 * CENT)
    session = world.session(replica)
    with world.calling(principal(org_id, "chat")):
        request = ask(METERED, max_output_tokens=1000, stream=True)
        held = await session.Reserve(request)
        extended = await session.Extend(
            budget_pb2.ExtendRequest(
                org_id=org_id,
                request_id=request.request_id,
                reservation_id=held.reservation_id,
                reservation_secret=held.reservation_secret,
                provider=METERED[0],
                model=METERED[1],
                output_tokens=500,
            )
        )
    await session.close()
    assert held.covered_output_tokens == 100 and extended.covered_output_tokens >= 500
    assert await totals(replica, org_id) == (0, extended.reserved_nano_usd)


def measured(method):
    labels = {"rpc_method": f"{METHOD}{method}"[1:], "rpc_status_code": "OK"}
    samples = (sample for family in RPC_SECONDS.collect() for sample in family.samples)
    return sum(one.value for one in samples if one.name.endswith("_count") and one.labels == labels)


# ---- refusals: the same through the session as alone ----------------------------------------------------------------


async def _exhausted(world, replica, org_id):
    await set_budget(replica, org_id, 5 * CENT)
    return "Reserve", ask()


async def _no_price(world, replica, org_id):
    await set_budget(replica, org_id, 5 * CENT)
    return "Reserve", ask(MYSTERY)


async def _no_candidates(world, replica, org_id):
    return "Reserve", budget_pb2.ReserveRequest(request_id=uuid7())


async def _another_body(world, replica, org_id):
    request = ask()
    with serving(Call(uuid7(), principal(org_id))):
        await replica.service.budget.Reserve(request, None)
    return "Reserve", ask(request_id=request.request_id, body_hash=b"another")


async def _wrong_secret(world, replica, org_id):
    held = budget_pb2.ReserveResponse(reservation_id=uuid7(), reservation_secret=b"guessed")
    return "Commit", commit_of(held, ask(), org_id)


async def _not_reserved(world, replica, org_id):
    return "Release", budget_pb2.ReleaseRequest()


async def _nothing_to_extend(world, replica, org_id):
    return "Extend", budget_pb2.ExtendRequest(org_id=org_id, request_id=uuid7(), reservation_id=uuid7())


REFUSALS = {
    _exhausted: Reason.BUDGET_EXHAUSTED,
    _no_price: Reason.PRICE_UNKNOWN,
    _no_candidates: Reason.INVALID_REQUEST,
    _another_body: Reason.REQUEST_ID_CONFLICT,
    _wrong_secret: Reason.RESERVATION_INVALID,
    _not_reserved: Reason.INVALID_REQUEST,
    _nothing_to_extend: Reason.RESERVATION_INVALID,
}


@pytest.mark.parametrize("prepare", REFUSALS, ids=lambda one: one.__name__[1:])
async def test_a_refusal_is_told_as_a_unary_call_tells_it(world, replica, session, org_id, prepare):
    method, request = await prepare(world, replica, org_id)
    plain = budget_pb2_grpc.BudgetServiceStub(world.channel())
    await assert_same(world, session, plain, method, request, principal(org_id, "chat"), REFUSALS[prepare])


async def assert_same(world, session, plain, method, request, caller, reason, signed=None):
    told = []
    for stub in (plain, session):
        call = Call(uuid7(), caller, world.gateway.sign(caller) if signed is None else signed)
        with serving(call), pytest.raises(MeshError) as refused:
            await getattr(stub, method)(request)
        told.append(refused.value)
    alone, carried = told
    assert alone.reason is carried.reason is reason
    assert (alone.message, alone.metadata, alone.code()) == (carried.message, carried.metadata, carried.code())
    assert type(alone) is type(carried) and (alone.retry_after_s is None) == (carried.retry_after_s is None)
    if alone.retry_after_s is not None:
        assert carried.retry_after_s == pytest.approx(alone.retry_after_s, abs=5)


def _forged(world, caller):
    signed = bytearray(world.gateway.sign(caller))
    signed[10] ^= 1
    return bytes(signed)


def _expired(world, caller):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: 1_000_000_000.0)
        return world.gateway.sign(caller)


CALLERS = {
    "nobody": (lambda world, caller: b"", Reason.PRINCIPAL_REQUIRED),
    "garbage": (lambda world, caller: b"garbage", Reason.INVALID_CREDENTIAL),
    "forged": (_forged, Reason.INVALID_CREDENTIAL),
    "expired": (_expired, Reason.INVALID_CREDENTIAL),
    "another service that speaks for a caller": (
        lambda world, caller: world.router.sign(caller),
        Reason.INVALID_CREDENTIAL,
    ),
    "a key without the scope": (
        lambda world, caller: world.gateway.sign(principal(caller.org_id, "read")),
        Reason.PERMISSION_DENIED,
    ),
    "a service": (
        lambda world, caller: world.gateway.sign(Principal(kind=Principal.KIND_SERVICE, service="gateway")),
        Reason.PERMISSION_DENIED,
    ),
}


@pytest.mark.parametrize("who", CALLERS)
async def test_each_call_proves_its_own_caller_and_a_bad_one_breaks_nothing(world, replica, session, org_id, who):
    sign, reason = CALLERS[who]
    caller = principal(org_id, "chat")
    plain = budget_pb2_grpc.BudgetServiceStub(world.channel())
    await assert_same(world, session, plain, "Reserve", ask(), caller, reason, sign(world, caller))
    with world.calling(caller):
        assert (await session.Reserve(ask())).reserved_nano_usd == 10 * CENT
    assert replica.seen.methods.count("Session") == 1


@pytest.mark.parametrize("who", ["router", "an operator", "nobody"])
async def test_only_the_gateway_opens_a_session(world, replica, org_id, who):
    if who == "router":
        session = world.session(service="router")
        with world.calling(principal(org_id)), pytest.raises(MeshError) as refused:
            await session.Reserve(ask())
        await session.close()
    else:
        caller = Principal(kind=Principal.KIND_OPERATOR, org_id=org_id, scopes=["operator"])
        stub = budget_pb2_grpc.BudgetServiceStub(world.channel())
        with serving(Call(uuid7(), caller, world.gateway.sign(caller) if who == "an operator" else b"")):
            stream = stub.Session()
        with pytest.raises(MeshError) as refused:
            async for _ in stream:
                pass
    assert refused.value.reason is (Reason.PRINCIPAL_REQUIRED if who == "nobody" else Reason.PERMISSION_DENIED)
    assert PERMISSIONS[f"{METHOD}Session"] == "operator"


# ---- many calls, slow calls -----------------------------------------------------------------------------------------


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
