"""The session's client against a budget that does what a test says: who gets which answer, and what is sent when."""

import asyncio
import time

import grpc
import pytest

from dac.budget.v1 import budget_pb2, budget_pb2_grpc
from dac.type.v1.principal_pb2 import Principal
from mesh import call as calls
from mesh.call import Call, install_service_principals, serving
from mesh.errors import MeshError, Reason
from mesh.inprocess import LocalChannel
from mesh.inprocess_calls import MethodTable
from mesh.status import to_status
from services.gateway.chat import budget_session
from services.gateway.chat.budget_session import BudgetSession
from services.gateway.chat.pipeline import Stubs

CALLER = Principal(kind=Principal.KIND_USER_KEY, scopes=["chat"])


class Budget(budget_pb2_grpc.BudgetServiceServicer):
    """Hands every message to `play`, which yields answers; keeps what came."""

    def __init__(self):
        self.messages, self.streams, self.unary = [], 0, []
        self.play = self.answer_all

    async def Session(self, request_iterator, context):
        self.streams += 1
        async for message in request_iterator:
            self.messages.append(message)
            async for answer in self.play(message):
                if answer is None:
                    return
                yield answer

    async def answer_all(self, message):
        yield answers(*(reserved(call) for call in message.calls))

    async def Reserve(self, request, context):
        self.unary.append(request.request_id)
        return budget_pb2.ReserveResponse(reservation_id=f"unary-{request.request_id}")

    def asked(self):
        return [call.reserve.request_id for message in self.messages for call in message.calls]


def answers(*replies):
    return budget_pb2.SessionResponse(replies=replies)


def reserved(call):
    answer = budget_pb2.ReserveResponse(reservation_id=f"for-{call.reserve.request_id}")
    return budget_pb2.SessionReply(call_id=call.call_id, reserve=answer)


@pytest.fixture
def budget(monkeypatch):
    monkeypatch.setattr(calls, "_service_principal", None)
    install_service_principals(lambda name: (Principal(kind=Principal.KIND_SERVICE, service=name), b"signed"))
    return Budget()


@pytest.fixture
async def make_session(budget):
    made = []

    def make(**options):
        table = MethodTable()
        budget_pb2_grpc.add_BudgetServiceServicer_to_server(budget, table)
        made.append(BudgetSession(LocalChannel(table), **options))
        return made[-1]

    yield make
    for one in made:
        await one.close()


@pytest.fixture
def session(make_session):
    return make_session()


async def reserve(session, request_id, *, signed=b"caller", timeout=5.0):
    with serving(Call(request_id, CALLER, signed)):
        answer = await session.Reserve(budget_pb2.ReserveRequest(request_id=request_id), timeout=timeout)
    return answer.reservation_id


async def test_each_caller_gets_its_own_answer_in_whatever_order_they_come(budget, session):
    held = []

    async def backwards(message):
        held.extend(message.calls)
        if len(held) == 50:
            for call in reversed(held):
                yield answers(reserved(call))

    budget.play = backwards
    got = await asyncio.gather(*(reserve(session, f"r{number}") for number in range(50)))
    assert got == [f"for-r{number}" for number in range(50)]


async def test_what_is_asked_at_once_goes_out_as_one_message_with_each_callers_principal(budget, session):
    await reserve(session, "first")
    await asyncio.gather(*(reserve(session, f"r{number}", signed=b"of-%d" % number) for number in range(20)))
    assert budget.streams == 1 and len(budget.messages) == 2
    assert [call.signed_principal for call in budget.messages[1].calls] == [b"of-%d" % number for number in range(20)]


async def test_a_reply_of_another_kind_is_nobodys_answer_and_one_to_nothing_is_dropped(budget, session):
    async def wrong(message):
        (call,) = message.calls
        yield answers(
            budget_pb2.SessionReply(call_id=call.call_id + 99, reserve=budget_pb2.ReserveResponse(reservation_id="x")),
            budget_pb2.SessionReply(call_id=call.call_id, commit=budget_pb2.CommitResponse(cost_nano_usd=1)),
        )

    budget.play = wrong
    with pytest.raises(MeshError) as failed:
        await reserve(session, "r")
    assert failed.value.reason is Reason.INTERNAL
    budget.play = budget.answer_all
    assert await reserve(session, "next") == "for-next" and budget.streams == 1


async def test_a_failure_arrives_as_the_plain_stub_raises_it(budget, session):
    told = MeshError(Reason.BUDGET_EXHAUSTED, "spent", metadata={"level": "org"}, retry_after_s=2.5)

    async def refuse(message):
        yield answers(*(budget_pb2.SessionReply(call_id=call.call_id, error=to_status(told)) for call in message.calls))

    budget.play = refuse
    with pytest.raises(MeshError) as failed:
        await reserve(session, "r")
    error = failed.value
    assert (error.reason, error.message, error.metadata) == (told.reason, told.message, told.metadata)
    assert error.retry_after_s == pytest.approx(2.5)
    assert isinstance(error, grpc.aio.AioRpcError) and error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_who_leaves_before_it_is_sent_is_not_sent(budget, session):
    leaving = asyncio.create_task(reserve(session, "left"))
    staying = asyncio.create_task(reserve(session, "stays"))
    await asyncio.sleep(0)  # Both have queued; the sender has not run yet.
    leaving.cancel()
    assert await staying == "for-stays"
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert budget.asked() == ["stays"]


async def test_who_leaves_after_it_was_sent_keeps_its_room_until_it_is_answered(budget, make_session):
    session = make_session(max_in_flight=1)
    come, may_answer = asyncio.Event(), asyncio.Event()

    async def slowly(message):
        come.set()
        await may_answer.wait()
        yield answers(*(reserved(call) for call in message.calls))

    budget.play = slowly
    leaving = asyncio.create_task(reserve(session, "left"))
    await come.wait()
    leaving.cancel()
    await asyncio.wait([leaving])
    with pytest.raises(MeshError) as late:
        await reserve(session, "waits", timeout=0.2)
    assert late.value.reason is Reason.DEADLINE_EXCEEDED and budget.asked() == ["left"]
    may_answer.set()
    assert await reserve(session, "next") == "for-next"
    assert budget.asked() == ["left", "next"]


async def test_calls_in_flight_are_bounded_and_the_others_wait(budget, make_session):
    session = make_session(max_in_flight=8)
    under_way = most = 0

    async def one_by_one(message):
        nonlocal under_way, most
        under_way += len(message.calls)
        most = max(most, under_way)
        for call in message.calls:
            under_way -= 1
            yield answers(reserved(call))

    budget.play = one_by_one
    got = await asyncio.gather(*(reserve(session, f"r{number}") for number in range(100)))
    assert got == [f"for-r{number}" for number in range(100)] and most <= 8


async def test_messages_stay_small_a_large_call_goes_alone_and_a_too_large_one_is_refused(budget, session):
    def ask(request_id, size):
        request = budget_pb2.CommitRequest(reservation_id=request_id)
        request.record.message = "x" * size
        with serving(Call(request_id, CALLER, b"caller")):
            return asyncio.ensure_future(session.Commit(request))

    async def answer(message):
        yield answers(
            *(
                budget_pb2.SessionReply(call_id=call.call_id, commit=budget_pb2.CommitResponse())
                for call in message.calls
            )
        )

    budget.play = answer
    asked = [ask(f"small-{number}", 100_000) for number in range(8)]
    asked += [ask("large", 3_000_000), ask("after", 10)]
    with pytest.raises(MeshError) as refused:
        await ask("too large", 5_000_000)
    await asyncio.gather(*asked)
    assert refused.value.reason is Reason.TOO_LARGE
    together = [[call.commit.reservation_id for call in message.calls] for message in budget.messages]
    assert ["large"] in together and budget.streams == 1
    sizes = [message.ByteSize() for message, ids in zip(budget.messages, together, strict=True) if ids != ["large"]]
    assert all(size < 300_000 for size in sizes) and len(sizes) < len(asked) - 1


async def test_a_stream_that_breaks_fails_what_was_sent_at_once_and_the_next_call_opens_another(budget, session):
    async def die(message):
        raise MeshError(Reason.INTERNAL, "broken")
        yield

    budget.play = die
    begun = time.monotonic()
    results = await asyncio.gather(*(reserve(session, f"r{number}") for number in range(5)), return_exceptions=True)
    assert {error.reason for error in results} == {Reason.UNAVAILABLE} and time.monotonic() - begun < 1
    assert len({id(error) for error in results}) == 5
    budget.play = budget.answer_all
    assert await reserve(session, "again") == "for-again" and budget.streams == 2


async def test_what_a_server_that_ended_well_has_not_answered_goes_to_the_next(budget, session):
    async def one_then_leave(message):
        yield answers(reserved(message.calls[0]))
        budget.play = budget.answer_all
        yield None

    budget.play = one_then_leave
    got = await asyncio.gather(*(reserve(session, f"r{number}") for number in range(5)))
    assert got == [f"for-r{number}" for number in range(5)]
    assert budget.streams == 2 and budget.asked() == ["r0", "r1", "r2", "r3", "r4", "r1", "r2", "r3", "r4"]


async def test_what_a_leaving_server_has_read_is_awaited_and_the_rest_goes_to_the_next_at_once(budget, session):
    may_answer = asyncio.Event()

    async def say_what_is_read(message):
        budget.play = budget.answer_all
        yield answers(budget_pb2.SessionReply(call_id=message.calls[1].call_id))
        await may_answer.wait()
        yield answers(*(reserved(call) for call in message.calls[:2]))

    budget.play = say_what_is_read
    read = [asyncio.create_task(reserve(session, f"read-{number}")) for number in range(2)]
    rest = [asyncio.create_task(reserve(session, f"rest-{number}")) for number in range(3)]
    assert await asyncio.gather(*rest) == [f"for-rest-{number}" for number in range(3)]
    assert budget.streams == 2 and not any(one.done() for one in read)
    may_answer.set()
    assert await asyncio.gather(*read) == ["for-read-0", "for-read-1"]
    assert budget.asked() == ["read-0", "read-1", "rest-0", "rest-1", "rest-2", "rest-0", "rest-1", "rest-2"]


async def test_a_server_that_always_ends_is_asked_at_growing_pauses(budget, make_session):
    pauses = []

    def shortest(low, high):
        if high <= budget_session.LONGEST_PAUSE_S:
            pauses.append(high)
            return 0.0
        return low

    session = make_session(uniform=shortest)

    async def leave(message):
        if budget.streams > 8:
            budget.play = budget.answer_all
        yield None

    budget.play = leave
    assert await reserve(session, "r") == "for-r"
    assert pauses[:6] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0] and budget.streams > 8


async def test_a_stream_is_renewed_when_it_is_old_and_its_last_replies_still_come(budget, make_session):
    session = make_session(renew_after_s=60.0)
    come, may_answer = asyncio.Event(), asyncio.Event()

    async def slowly(message):
        budget.play = budget.answer_all
        come.set()
        await may_answer.wait()
        yield answers(*(reserved(call) for call in message.calls))

    budget.play = slowly
    first = asyncio.create_task(reserve(session, "first"))
    await come.wait()
    (stream,) = session._streams
    stream.renew_at = time.monotonic()
    assert await reserve(session, "second") == "for-second" and budget.streams == 2 and not first.done()
    may_answer.set()
    assert await first == "for-first"


async def test_a_budget_without_sessions_is_asked_by_unary_calls(budget, make_session, monkeypatch):
    async def unknown(self, request_iterator, context):
        budget.streams += 1
        raise MeshError(Reason.UNIMPLEMENTED, "no sessions here")
        yield

    monkeypatch.setattr(Budget, "Session", unknown)
    session = make_session()
    got = await asyncio.gather(*(reserve(session, f"r{number}") for number in range(5)))
    assert got == [f"unary-r{number}" for number in range(5)]
    assert await reserve(session, "later") == "unary-later" and budget.streams == 1


@pytest.mark.parametrize("reason", [Reason.PERMISSION_DENIED, Reason.INVALID_CREDENTIAL])
async def test_a_gateway_that_may_not_is_told_so(budget, session, reason):
    async def refuse(message):
        raise MeshError(reason, "not you")
        yield

    budget.play = refuse
    with pytest.raises(MeshError) as failed:
        await reserve(session, "r")
    assert failed.value.reason is reason and failed.value.message == "not you"


async def test_too_little_time_is_refused_before_anything_is_sent(budget, session):
    with pytest.raises(MeshError) as late:
        await reserve(session, "r", timeout=0.01)
    assert late.value.reason is Reason.DEADLINE_EXCEEDED and budget.streams == 0


async def test_closing_fails_what_waits_and_takes_nothing_more(budget, session):
    come = asyncio.Event()

    async def never(message):
        come.set()
        await asyncio.Event().wait()
        yield

    budget.play = never
    waiting = asyncio.create_task(reserve(session, "r"))
    await come.wait()
    await session.close()
    for call in (waiting, reserve(session, "late")):
        with pytest.raises(MeshError) as failed:
            await call
        assert failed.value.reason is Reason.UNAVAILABLE


def test_only_a_budget_elsewhere_is_asked_by_a_session():
    channel = LocalChannel(MethodTable())
    assert Stubs(lambda _: channel, ("gateway", "budget")).session is None
    elsewhere = Stubs(lambda _: channel, ("gateway", "router"))
    assert isinstance(elsewhere.budget, BudgetSession)


async def test_a_stream_that_cannot_even_be_opened_fails_what_is_queued(budget, session, monkeypatch):
    def broken():
        raise RuntimeError("the channel is closed")

    with monkeypatch.context() as patch:
        patch.setattr(session._stub, "Session", broken)
        results = await asyncio.gather(*(reserve(session, f"r{number}") for number in range(5)), return_exceptions=True)
    assert {error.reason for error in results} == {Reason.UNAVAILABLE}
    assert await reserve(session, "again") == "for-again"
