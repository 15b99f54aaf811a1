"""Deadlines, cancellation, identity and failures are the same on every transport."""

import asyncio
import time

import grpc
import pytest

from dac.provider.v1.provider_pb2 import GenerateRequest
from dac.router.v1.router_pb2 import RouteRequest
from dac.type.v1.principal_pb2 import Principal
from mesh.call import Call, serving
from mesh.errors import MeshError, Reason
from mesh.transport import reading


def calling(caller, **more):
    principal, signed = caller
    return serving(Call("req-1", principal, signed, **more))


async def test_a_unary_call_carries_request_id_principal_and_trace(transport, caller):
    with calling(caller, trace_id="a" * 32, span_id="b" * 16):
        answer = await transport.router.Route(RouteRequest(model="m"))
    assert answer.candidates[0].model == "m"
    seen = transport.router_servicer.seen[0][0]
    assert seen.request_id == "req-1" and seen.trace_id == "a" * 32
    assert seen.principal.org_id == caller[0].org_id and seen.deadline is not None


async def test_metadata_and_trailing_metadata_pass(transport, caller):
    with calling(caller):
        call = transport.router.Route(RouteRequest(model="trailing"), metadata=(("x-mine", "1"),))
        await call
    assert transport.router_servicer.seen[0][1]["x-mine"] == "1"
    assert dict(await call.trailing_metadata())["x-told"] == "yes"
    assert await call.code() == grpc.StatusCode.OK


async def test_without_a_principal_a_service_refuses(transport):
    with serving(Call("req-1")), pytest.raises(MeshError) as refused:
        await transport.router.Route(RouteRequest(model="m"))
    assert refused.value.reason is Reason.PRINCIPAL_REQUIRED
    assert not transport.router_servicer.seen


async def test_a_missing_scope_is_refused(transport, signer):
    principal = Principal(kind=Principal.KIND_USER_KEY, scopes=["read"])
    with calling((principal, signer.sign(principal))), pytest.raises(MeshError) as refused:
        await transport.router.Route(RouteRequest(model="m"))
    assert refused.value.reason is Reason.PERMISSION_DENIED and refused.value.metadata == {"scope": "chat"}


async def test_a_named_failure_arrives_whole_and_is_an_rpc_error_too(transport, caller):
    with calling(caller), pytest.raises(MeshError) as failed:
        await transport.router.Route(RouteRequest(model="named"))
    error = failed.value
    assert (error.reason, error.message) == (Reason.MODEL_NOT_FOUND, "no such model")
    assert error.metadata == {"model": "x"} and error.retry_after_s == pytest.approx(1.5)
    assert isinstance(error, grpc.aio.AioRpcError) and error.code() == grpc.StatusCode.NOT_FOUND


async def test_what_breaks_inside_never_leaves(transport, caller):
    with calling(caller), pytest.raises(MeshError) as failed:
        await transport.router.Route(RouteRequest(model="driver"))
    assert failed.value.reason is Reason.INTERNAL and "hunter2" not in str(failed.value)


async def test_an_unknown_method_is_unimplemented(transport, caller):
    method = transport.channel.unary_unary("/dac.router.v1.RouterService/Nothing", RouteRequest.SerializeToString)
    with calling(caller), pytest.raises(MeshError) as failed:
        await method(RouteRequest())
    assert failed.value.reason is Reason.UNIMPLEMENTED


async def test_the_deadline_is_shaved_and_kept(transport, caller):
    with calling(caller, deadline=time.monotonic() + 5):
        await transport.router.Route(RouteRequest(model="m"))
    assert 4 < transport.router_servicer.seen[0][2] < 5.0


async def test_a_call_that_takes_too_long_ends_by_its_deadline_and_stops_the_server(transport, caller):
    started = time.monotonic()
    with calling(caller), pytest.raises(MeshError) as failed:
        await transport.router.Route(RouteRequest(model="slow"), timeout=0.3)
    assert failed.value.reason is Reason.DEADLINE_EXCEEDED and time.monotonic() - started < 2
    await asyncio.wait_for(transport.router_servicer.cancelled.wait(), 2)


async def test_a_deadline_that_ended_as_another_failure_spoils_no_later_one(transport, caller):
    with calling(caller):
        with pytest.raises(MeshError):
            await transport.router.Route(RouteRequest(model="stubborn"), timeout=0.2)
        with pytest.raises(MeshError) as failed:
            await transport.router.Route(RouteRequest(model="slow"), timeout=0.2)
    assert failed.value.reason is Reason.DEADLINE_EXCEEDED


async def test_a_hopeless_deadline_is_refused_at_once(transport, caller):
    with calling(caller, deadline=time.monotonic() + 0.03), pytest.raises(MeshError) as failed:
        await transport.router.Route(RouteRequest(model="m"))
    assert failed.value.reason is Reason.DEADLINE_EXCEEDED
    assert not transport.router_servicer.seen


async def test_cancelling_a_unary_call_cancels_the_server(transport, caller):
    async def call():
        with calling(caller):
            await transport.router.Route(RouteRequest(model="slow"))

    task = asyncio.create_task(call())
    while not transport.router_servicer.seen:
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(transport.router_servicer.cancelled.wait(), 2)


async def test_a_stream_is_read_to_its_end(transport, caller):
    with calling(caller):
        async with reading(transport.provider.Generate(GenerateRequest(input=b"50"))) as events:
            got = [event.frames.data async for event in events]
    assert got == [str(number).encode() for number in range(50)]


async def test_a_stream_that_fails_late_gives_its_messages_first(transport, caller):
    got = []
    with calling(caller), pytest.raises(MeshError) as failed:
        async with reading(transport.provider.Generate(GenerateRequest(input=b"3", request_id="fail"))) as events:
            async for event in events:
                got.append(event.frames.data)
    assert got == [b"0", b"1", b"2"] and failed.value.reason is Reason.PROVIDER_CUT


async def test_leaving_a_stream_early_stops_the_server(transport, caller):
    with calling(caller):
        async with reading(transport.provider.Generate(GenerateRequest())) as events:
            async for _ in events:
                break
    await asyncio.wait_for(transport.provider_servicer.stopped.wait(), 2)
    sent = transport.provider_servicer.sent
    await asyncio.sleep(0.05)
    assert transport.provider_servicer.sent == sent


async def test_cancelling_the_reader_stops_the_server(transport, caller):
    async def read():
        with calling(caller):
            async with reading(transport.provider.Generate(GenerateRequest())) as events:
                async for _ in events:
                    pass

    task = asyncio.create_task(read())
    while transport.provider_servicer.sent < 3:
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(transport.provider_servicer.stopped.wait(), 2)


async def test_a_stream_ends_by_its_deadline(transport, caller):
    with calling(caller), pytest.raises(MeshError) as failed:
        async with reading(transport.provider.Generate(GenerateRequest(), timeout=0.3)) as events:
            async for _ in events:
                pass
    assert failed.value.reason is Reason.DEADLINE_EXCEEDED
    await asyncio.wait_for(transport.provider_servicer.stopped.wait(), 2)


async def test_the_callers_own_call_is_untouched_by_the_callee(transport, caller):
    from mesh.call import current

    with calling(caller) as mine:
        async with reading(transport.provider.Generate(GenerateRequest(input=b"3"))) as events:
            async for _ in events:
                assert current() is mine


async def test_messages_do_not_share_objects(transport, caller):
    request = RouteRequest(model="m")
    with calling(caller):
        await transport.router.Route(request)
    transport.router_servicer.requests[0].model = "changed by the servicer"
    assert request.model == "m"


async def test_what_a_servicer_keeps_of_its_answers_is_its_own(transport, caller):
    with calling(caller):
        answer = await transport.router.Route(RouteRequest(model="m"))
        answer.candidates[0].model = "changed by the caller"
        async with reading(transport.provider.Generate(GenerateRequest(input=b"2"))) as events:
            shown = [event async for event in events]
    shown[0].frames.data = b"changed by the caller"
    assert transport.router_servicer.answers[0].candidates[0].model == "m"
    assert [event.frames.data for event in transport.provider_servicer.events] == [b"0", b"1"]


async def test_a_forged_principal_is_refused_between_processes(transport, caller, request):
    if "in-process" in request.node.name:
        signed = caller[1]
        with serving(Call("r", None, signed)), pytest.raises(MeshError) as refused:
            await transport.router.Route(RouteRequest(model="m"))
        assert refused.value.reason is Reason.PRINCIPAL_REQUIRED
        return
    forged = bytearray(caller[1])
    forged[10] ^= 1
    with calling((caller[0], bytes(forged))), pytest.raises(MeshError) as refused:
        await transport.router.Route(RouteRequest(model="m"))
    assert refused.value.reason is Reason.INVALID_CREDENTIAL
