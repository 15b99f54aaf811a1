"""Replicas of budget behind sockets, and sessions with them: for the tests of BudgetService.Session."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from dac.budget.v1 import budget_pb2
from dac.type.v1.principal_pb2 import Level, Principal
from mesh import call as calls
from mesh.call import Call, install_service_principals, serving
from mesh.carried import Carried
from mesh.ids import uuid7
from mesh.inprocess_calls import MethodTable
from mesh.interceptors import server_interceptors
from mesh.principals import Signer, Verifier
from mesh.server import LiveHealth, Server
from mesh.transport import RemoteChannel
from services.budget.config import BudgetConfig
from services.budget.server import build
from services.gateway.chat.budget_session import BudgetSession
from tests.integration.budget.world import MODELS, context_for, principal

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
