"""BudgetService.Session over a socket, with a real ledger behind it: the same answers and refusals as unary calls."""

# ruff: noqa: F811

from __future__ import annotations

import time

import pytest

from dac.budget.v1 import budget_pb2, budget_pb2_grpc
from dac.type.v1.principal_pb2 import Principal
from mesh.call import Call, serving
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.permissions import PERMISSIONS
from mesh.telemetry import RPC_SECONDS
from tests.integration.budget.session_world import (  # noqa: F401
    METERED,
    METHOD,
    MYSTERY,
    ask,
    commit_of,
    replica,
    session,
    set_budget,
    totals,
    world,
)
from tests.integration.budget.world import CENT, principal


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
