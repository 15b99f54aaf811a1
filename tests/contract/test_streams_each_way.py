"""Streams each way behave the same on every transport."""

import asyncio
import time

import grpc
import pytest

from dac.budget.v1 import budget_pb2
from dac.type.v1.principal_pb2 import Principal
from mesh.call import Call, current, serving
from mesh.errors import MeshError, Reason
from mesh.transport import reading

LARGE = b"x" * 64 * 1024


def message(*call_ids, word="", filling=b""):
    calls = [budget_pb2.SessionCall(call_id=one, signed_principal=filling) for one in call_ids]
    calls[0].reserve.request_id = word
    return budget_pb2.SessionRequest(calls=calls)


def ids_of(answer):
    return [reply.call_id for reply in answer.replies]


@pytest.fixture
def open_session(transport, service):
    def open_it(requests=None, **more):
        timeout = more.pop("timeout", None)
        with serving(Call("req-1", *service, **more)):
            return transport.budget.Session(requests, timeout=timeout)

    return open_it


async def test_messages_go_both_ways_in_turn(open_session):
    async with reading(open_session()) as stream:
        answers = aiter(stream)
        for number in range(1, 50):
            await stream.write(message(number, number + 1))
            assert ids_of(await anext(answers)) == [number, number + 1]


async def test_all_may_be_written_before_anything_is_read_and_the_last_answers_follow_the_half_close(open_session):
    async with reading(open_session()) as stream:
        for number in range(1, 11):
            await stream.write(message(number))
        await stream.done_writing()
        assert [ids_of(answer) async for answer in stream] == [[number] for number in range(1, 11)] + [[0]]
        with pytest.raises(asyncio.InvalidStateError):
            await stream.write(message(1))


async def test_requests_may_come_from_an_iterator(open_session):
    async def requests():
        for number in range(1, 41):
            yield message(number)

    async with reading(open_session(requests())) as stream:
        assert [ids_of(answer) async for answer in stream] == [[number] for number in range(1, 41)] + [[0]]


async def test_the_handler_runs_without_a_reader_and_sees_who_calls(transport, open_session, service):
    async with reading(open_session(trace_id="a" * 32, span_id="b" * 16)) as stream:
        await asyncio.wait_for(transport.budget_servicer.begun.wait(), 2)
        seen, metadata, left = transport.budget_servicer.seen[0]
        assert seen.principal.service == "gateway" and seen.trace_id == "a" * 32 and seen.request_id == "req-1"
        assert left is None and metadata is not None
        await stream.done_writing()
        with serving(Call("mine")) as mine:
            async for _ in stream:
                assert current() is mine


async def test_messages_do_not_share_objects(transport, open_session):
    request = message(7)
    async with reading(open_session()) as stream:
        await stream.write(request)
        await anext(aiter(stream))
        transport.budget_servicer.requests[0].calls[0].call_id = 8
    assert request.calls[0].call_id == 7


async def test_a_named_failure_comes_whole_behind_the_answers_before_it_and_meets_who_writes_on(open_session):
    got = []
    stream = open_session()
    await stream.write(message(1))
    await stream.write(message(2, word="named"))
    with pytest.raises(MeshError) as failed:
        async for answer in stream:
            got.append(ids_of(answer))
    for error in (failed.value, await failure_of(stream.write(message(3)))):
        assert (error.reason, error.message) == (Reason.BUDGET_EXHAUSTED, "spent")
        assert error.metadata == {"left": "0"} and error.retry_after_s == pytest.approx(1.5)
        assert isinstance(error, grpc.aio.AioRpcError) and error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert got == [[1]]


async def failure_of(awaitable):
    with pytest.raises(MeshError) as failed:
        await awaitable
    return failed.value


async def test_what_breaks_inside_never_leaves(open_session):
    stream = open_session()
    await stream.write(message(1, word="driver"))
    with pytest.raises(MeshError) as failed:
        async for _ in stream:
            pass
    assert failed.value.reason is Reason.INTERNAL and "hunter2" not in str(failed.value)


async def test_a_stream_that_the_server_ended_well_ends_and_takes_nothing_more(open_session):
    stream = open_session()
    await stream.write(message(1))
    await stream.write(message(2, word="end"))
    assert [ids_of(answer) async for answer in stream] == [[1]]
    assert (await failure_of(stream.write(message(3)))).reason is Reason.UNAVAILABLE


@pytest.mark.parametrize(
    ("principal", "reason"),
    [
        (None, Reason.PRINCIPAL_REQUIRED),
        (Principal(kind=Principal.KIND_SERVICE, service="gateway", issuer="router"), Reason.INVALID_CREDENTIAL),
        (Principal(kind=Principal.KIND_USER_KEY, scopes=["admin"]), Reason.PERMISSION_DENIED),
    ],
)
async def test_who_may_not_is_refused_before_the_handler(transport, signer, principal, reason, request):
    signed = b"" if principal is None else signer.sign(principal)
    if reason is Reason.INVALID_CREDENTIAL:
        if "in-process" in request.node.name:
            pytest.skip("in process the principal is handed over")
        signed = signed[:-5] + b"wrong"
    with serving(Call("req-1", principal, signed)):
        stream = transport.budget.Session()
    with pytest.raises(MeshError) as refused:
        async for _ in stream:
            pass
    assert refused.value.reason is reason and not transport.budget_servicer.seen


async def test_an_unknown_method_is_unimplemented(transport, service):
    with serving(Call("req-1", *service)):
        stream = transport.channel.stream_stream("/dac.budget.v1.BudgetService/Nothing")()
    with pytest.raises(MeshError) as failed:
        async for _ in stream:
            pass
    assert failed.value.reason is Reason.UNIMPLEMENTED


async def test_leaving_early_stops_the_server(transport, open_session):
    async with reading(open_session()) as stream:
        await stream.write(message(1))
        async for _ in stream:
            break
    await asyncio.wait_for(transport.budget_servicer.cancelled.wait(), 2)


async def test_cancelling_the_reader_stops_the_server(transport, open_session):
    async def read():
        async with reading(open_session()) as stream:
            async for _ in stream:
                pass

    task = asyncio.create_task(read())
    await asyncio.wait_for(transport.budget_servicer.begun.wait(), 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(transport.budget_servicer.cancelled.wait(), 2)


async def test_a_stream_ends_by_its_deadline(transport, open_session):
    started = time.monotonic()
    with pytest.raises(MeshError) as failed:
        async for _ in open_session(timeout=0.3):
            pass
    assert failed.value.reason is Reason.DEADLINE_EXCEEDED and time.monotonic() - started < 2
    await asyncio.wait_for(transport.budget_servicer.cancelled.wait(), 2)


async def test_a_server_that_does_not_read_holds_up_who_writes(transport, open_session):
    transport.budget_servicer.may_read.clear()
    written = 0

    async def write_on():
        nonlocal written
        for number in range(1, 2001):
            await stream.write(message(number, filling=LARGE))
            written = number
        await stream.done_writing()

    async with reading(open_session()) as stream:
        writing = asyncio.create_task(write_on())
        while True:
            before = written
            await asyncio.sleep(0.2)
            if written == before and written:
                break
        assert written < 1000 and not writing.done()
        transport.budget_servicer.may_read.set()
        last = 0
        async for answer in stream:
            last = ids_of(answer)[0] or last
        await writing
    assert last == 2000


async def test_a_client_that_does_not_read_holds_up_who_answers(transport, open_session):
    async with reading(open_session()) as stream:
        await stream.write(message(*range(1, 20_000), word="flood"))
        while True:
            before = transport.budget_servicer.wrote
            await asyncio.sleep(0.2)
            if before and transport.budget_servicer.wrote == before:
                break
    await asyncio.wait_for(transport.budget_servicer.cancelled.wait(), 2)


async def test_a_server_that_stops_lets_the_handler_answer_what_it_has_and_ends_the_stream_well(
    transport, open_session
):
    if transport.server is None:
        pytest.skip("in process nobody stops alone")
    got = []
    async with reading(open_session()) as stream:
        answers = aiter(stream)
        await stream.write(message(1))
        got.append(ids_of(await anext(answers)))
        started = time.monotonic()
        stopping = asyncio.create_task(transport.server.stop(10))
        got += [ids_of(answer) async for answer in answers]
        await stopping
    assert got == [[1], [0]] and time.monotonic() - started < 5
    assert not transport.budget_servicer.cancelled.is_set()


async def test_a_stream_that_begins_while_the_server_stops_ends_well_too(transport, open_session):
    if transport.server is None:
        pytest.skip("in process nobody stops alone")
    transport.server._endless.end()
    async with reading(open_session()) as stream:
        assert [ids_of(answer) async for answer in stream] == [[0]]
