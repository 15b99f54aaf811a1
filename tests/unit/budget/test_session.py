"""The server's side of a session, with calls that end when a test says so."""

import asyncio
import contextlib

import pytest

from dac.budget.v1 import budget_pb2
from mesh.errors import MeshError, Reason
from mesh.status import from_status
from services.budget import session
from services.budget.session import Session


class Calls:
    """Serves by holding every call until it is let go."""

    def __init__(self):
        self.begun, self.held, self.cancelled, self.met = [], {}, [], []
        self.filling = b""

    async def serve(self, method, request, *, signed_principal, request_id, traceparent):
        self.begun.append(request_id)
        self.met.append((method.rpartition("/")[2], signed_principal, traceparent))
        self.held[request_id] = asyncio.get_running_loop().create_future()
        try:
            await self.held[request_id]
        except asyncio.CancelledError:
            self.cancelled.append(request_id)
            raise
        return budget_pb2.ReserveResponse(reservation_id=request_id, reservation_secret=self.filling)

    def let_go(self, *request_ids):
        for one in request_ids:
            self.held[one].set_result(None)


@pytest.fixture
def calls():
    return Calls()


class Client:
    """Sends and reads by hand."""

    def __init__(self, calls, **options):
        self._sent = asyncio.Queue()
        self.taken = 0
        self.responses = Session(calls.serve, **options).replies(self._requests())

    async def _requests(self):
        while (message := await self._sent.get()) is not None:
            self.taken += 1
            yield message

    def send(self, *request_ids):
        message = budget_pb2.SessionRequest()
        for one in request_ids:
            call = message.calls.add(call_id=int(one), signed_principal=b"of-" + one.encode())
            call.reserve.request_id, call.traceparent = one, one * 32
        self._sent.put_nowait(message)

    def send_message(self, message):
        self._sent.put_nowait(message)

    def end(self):
        self._sent.put_nowait(None)


async def settled():
    """Everything that can run has run."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_each_call_is_served_as_its_own_and_what_is_answered_by_then_goes_in_one_message(calls):
    client = Client(calls)
    client.send("1", "2", "3")
    reading = asyncio.ensure_future(anext(client.responses))
    await settled()
    assert calls.met == [("Reserve", f"of-{one}".encode(), one * 32) for one in "123"]
    calls.let_go("3", "1")
    answer = await reading
    assert [(one.call_id, one.reserve.reservation_id) for one in answer.replies] == [(3, "3"), (1, "1")]
    client.end()
    calls.let_go("2")
    last = [reply async for one in client.responses for reply in one.replies]
    assert [one.reserve.reservation_id for one in last if one.HasField("reserve")] == ["2"]


async def test_no_more_is_read_while_too_many_run(calls):
    client = Client(calls, max_running=4)
    for number in range(6):
        client.send(str(number * 2), str(number * 2 + 1))
    reading = asyncio.ensure_future(anext(client.responses))
    await settled()
    assert len(calls.begun) == 4 and client.taken == 3
    calls.let_go("0")
    await reading
    await settled()
    assert len(calls.begun) == 5
    await client.responses.aclose()


async def test_a_stream_that_ends_early_says_what_was_read_and_then_answers_it(calls):
    client = Client(calls)
    client.send("7", "8")
    client.end()
    told = await anext(client.responses)
    assert [(one.call_id, one.WhichOneof("reply")) for one in told.replies] == [(8, None)]
    calls.let_go("7", "8")
    answered = [one.call_id for message in [one async for one in client.responses] for one in message.replies]
    assert sorted(answered) == [7, 8]


async def test_a_stream_that_ends_with_everything_answered_says_no_more(calls):
    client = Client(calls)
    client.send("1")
    reading = asyncio.ensure_future(anext(client.responses))
    await settled()
    calls.let_go("1")
    await reading
    client.end()
    assert [one async for one in client.responses] == []


async def test_replies_are_parted_before_they_grow_too_large(calls):
    client = Client(calls)
    calls.filling = b"x" * (session.MESSAGE_BYTES // 3)
    ids = [str(number) for number in range(9)]
    client.send(*ids)
    reading = asyncio.ensure_future(anext(client.responses))
    await settled()
    calls.let_go(*ids)
    sizes = [(await reading).ByteSize(), *[(await anext(client.responses)).ByteSize() for _ in range(2)]]
    assert max(sizes) < 2 * session.MESSAGE_BYTES and sum(sizes) > 9 * len(calls.filling)
    await client.responses.aclose()


async def test_a_call_of_no_known_kind_and_one_that_breaks_are_answered_like_any(calls):
    async def broken(method, request, **_):
        raise (MeshError(Reason.BUDGET_EXHAUSTED, "spent") if request.request_id == "1" else RuntimeError("hunter2"))

    calls.serve = broken
    client = Client(calls)
    client.send_message(budget_pb2.SessionRequest(calls=[budget_pb2.SessionCall(call_id=9)]))
    client.send("1", "2")
    told = {}
    while len(told) < 3:
        told |= {one.call_id: from_status(one.error) for one in (await anext(client.responses)).replies}
    assert {call_id: error.reason for call_id, error in told.items()} == {
        9: Reason.INVALID_REQUEST,
        1: Reason.BUDGET_EXHAUSTED,
        2: Reason.INTERNAL,
    }
    assert "hunter2" not in told[2].message
    await client.responses.aclose()


async def test_a_client_that_goes_away_takes_its_calls_along(calls):
    client = Client(calls)
    client.send("1", "2")
    reading = asyncio.ensure_future(anext(client.responses))
    await settled()
    reading.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await reading
    await client.responses.aclose()
    assert sorted(calls.cancelled) == ["1", "2"]
