"""What a request for embeddings leaves behind when the mesh itself fails, or its caller leaves."""

import asyncio
from typing import Any

import pytest

from dac.budget.v1.budget_pb2 import CandidateRates, CommitRequest, ReserveResponse
from dac.provider.v1.provider_pb2 import EmbedResponse
from dac.router.v1.router_pb2 import Candidate, RouteResponse
from dac.type.v1 import record_pb2, usage_pb2
from dac.type.v1.principal_pb2 import Principal
from mesh.call import Call
from mesh.errors import MeshError, Reason
from services.gateway.chat.pipeline import Pipeline
from services.gateway.embeddings import EmbedRun, parse_embeddings
from services.gateway.identity.callers import Caller

ORG = "01890000-0000-7000-8000-000000000001"


class Desk:
    """Settlements that only remember."""

    def __init__(self) -> None:
        self.committed: list[CommitRequest] = []
        self.released: list[record_pb2.RequestRecord] = []
        self.reserving: asyncio.Future[ReserveResponse] | None = None

    def submit(self, message: CommitRequest, caller: Caller) -> None:
        self.committed.append(message)

    def release(self, reserving: Any, record: record_pb2.RequestRecord, caller: Caller) -> None:
        self.released.append(record)
        self.reserving = reserving


class Mesh:
    """Router, budget and provider as a test says."""

    def __init__(self) -> None:
        self.embed: MeshError | EmbedResponse = EmbedResponse()
        self.waits_in = ""
        self.reached = asyncio.Event()
        self.asked: Any = None
        self.router = self.budget = self.provider = self.threads = self

    async def _pass(self, step: str) -> None:
        if step == self.waits_in:
            self.reached.set()
            await asyncio.Event().wait()

    async def Route(self, request: Any) -> RouteResponse:
        await self._pass("route")
        assert request.needs_embeddings and request.model == "a/embed"
        return RouteResponse(candidates=[Candidate(model="a/embed", provider="a", upstream_name="embed")])

    async def Reserve(self, request: Any) -> ReserveResponse:
        await self._pass("reserve")
        assert (request.input_tokens_max, request.max_output_tokens) == (42, 1)
        rates = [CandidateRates(provider="a", model="a/embed", input=20_000_000)]
        return ReserveResponse(reservation_id="r", reservation_secret=b"s", rates=rates)

    async def Embed(self, request: Any) -> EmbedResponse:
        self.asked = request
        await self._pass("embed")
        if isinstance(self.embed, MeshError):
            raise self.embed
        return self.embed


@pytest.fixture
async def mesh() -> Mesh:
    return Mesh()


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def run(mesh: Mesh, desk: Desk) -> EmbedRun:
    ask = parse_embeddings(b'{"model":"a/embed","input":"' + b"x" * 40 + b'"}')
    caller = Caller(Principal(org_id=ORG), ())
    pipeline = Pipeline(mesh, desk)  # type: ignore[arg-type]
    return EmbedRun(
        pipeline, ask, caller, Call(request_id="01890000-0000-7000-8000-000000000002"), client_request_id=""
    )


async def failed(run: EmbedRun) -> MeshError:
    with pytest.raises(MeshError) as caught:
        await run.answer()
    return caught.value


async def test_a_good_answer_is_committed_with_its_attempts(mesh: Mesh, run: EmbedRun, desk: Desk) -> None:
    attempt = record_pb2.AttemptRecord(model="a/embed", provider="a", usage=usage_pb2.Usage(input_tokens=3))
    mesh.embed = EmbedResponse(answer={"body": b"{}", "attempts": [attempt]})
    made = await run.answer()
    assert (made.body, made.head.model, made.cost_nano_usd) == (b"{}", "a/embed", 60)
    assert mesh.asked.input == run.ask.body and (mesh.asked.vectors, mesh.asked.input_tokens) == (1, 10)
    (commit,) = desk.committed
    assert (commit.reservation_id, commit.reservation_secret) == ("r", b"s")
    assert commit.record.outcome == record_pb2.OUTCOME_OK and commit.record.operation == "embeddings"


@pytest.mark.parametrize("reason", [Reason.DEADLINE_EXCEEDED, Reason.INTERNAL, Reason.CANCELLED])
async def test_what_may_have_been_used_is_charged(mesh: Mesh, run: EmbedRun, desk: Desk, reason: Reason) -> None:
    mesh.embed = MeshError(reason, "It broke.")
    assert (await failed(run)).reason is reason
    (attempt,) = desk.committed[0].record.attempts
    assert attempt.usage.input_tokens == 10 and attempt.usage_source == usage_pb2.USAGE_SOURCE_COUNTED
    assert attempt.reason == int(reason) and desk.committed[0].record.outcome == record_pb2.OUTCOME_FAILED


@pytest.mark.parametrize("reason", [Reason.UNAVAILABLE, Reason.PERMISSION_DENIED, Reason.UNIMPLEMENTED])
async def test_what_was_never_sent_is_not(mesh: Mesh, run: EmbedRun, desk: Desk, reason: Reason) -> None:
    mesh.embed = MeshError(reason, "It is away.")
    await failed(run)
    (commit,) = desk.committed
    assert not commit.record.attempts and commit.reservation_id == "r"


async def test_an_answer_of_no_kind_is_a_failure(run: EmbedRun) -> None:
    assert (await failed(run)).reason is Reason.INTERNAL


@pytest.mark.parametrize("step", ["route", "reserve", "embed"])
async def test_a_caller_that_leaves_is_on_record(mesh: Mesh, run: EmbedRun, desk: Desk, step: str) -> None:
    mesh.waits_in = step
    task = asyncio.create_task(run.answer())
    await mesh.reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    records = [one.record for one in desk.committed] + desk.released
    assert [one.outcome for one in records] == [record_pb2.OUTCOME_CLIENT_GONE]
    assert [one.usage.input_tokens for one in records[0].attempts] == ([10] if step == "embed" else [])
    assert bool(desk.released) is (step == "reserve")
    if desk.reserving is not None:
        assert not desk.reserving.done(), "nobody would know of the reservation"
        desk.reserving.cancel()


async def test_a_refusal_of_the_provider_goes_through(mesh: Mesh, run: EmbedRun, desk: Desk) -> None:
    failure: Any = {"reason": int(Reason.PROVIDER_REFUSED), "status_code": 400, "provider_error_json": b"{}"}
    mesh.embed = EmbedResponse(failure=failure)
    error: Any = await failed(run)
    assert (error.status_code, error.body) == (400, b"{}")
    assert desk.committed[0].record.reason == int(Reason.PROVIDER_REFUSED)
