"""What the real exporters send to a real OTLP receiver: spans, their links, GenAI attributes, metrics."""

import contextlib
import time

import pytest

from mesh import telemetry, tracing
from mesh.call import Call
from mesh.errors import Reason
from services.provider.calling.events import Attempt, Usage, UsageSource
from tests.otlp_receiver import OtlpReceiver
from tests.ports import free_port

CLIENT, SERVER = 3, 2
PROMPT = b'{"id":"x","model":"gpt-4o-mini-2024-07-18","choices":[{"message":{"content":"canary-words"}}]}'


@pytest.fixture
def receiver():
    with OtlpReceiver() as running:
        tracing.set_up("unit", running.endpoint, instance="i-1")
        try:
            yield running
        finally:
            tracing.shut_down()


def new_attempt():
    return Attempt("attempt-1", "openai", "openai/gpt-4o-mini", time.time())


def test_a_chat_is_one_trace_with_a_provider_call(receiver):
    call = Call(request_id="r-1")
    tracing.continue_trace(call, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    http = tracing.begin_http(call, "POST")
    attempt = new_attempt()
    with tracing.attempting(attempt, "gpt-4o-mini", call) as watched:
        watched.saw(PROMPT)
        attempt.usage = Usage(input_tokens=10, input_cached_tokens=5, output_tokens=7, reasoning_tokens=2)
        attempt.usage_source, attempt.finish_reason = UsageSource.PROVIDER, "stop"
    tracing.end_http(http, call, "POST", "/v1/chat/completions", 200)
    tracing.shut_down()
    (top,), (below,) = receiver.named("POST"), receiver.named("chat ")
    assert (top.trace_id, top.parent_id) == ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")
    assert (below.trace_id, below.parent_id) == (top.trace_id, top.span_id)
    assert (top.service, top.kind, below.kind) == ("dac-unit", SERVER, CLIENT)
    assert (top.name, below.name) == ("POST /v1/chat/completions", "chat gpt-4o-mini")
    assert top.attributes["http.response.status_code"] == 200 and not top.failed
    assert below.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
        "gen_ai.usage.input_tokens": 15,
        "gen_ai.usage.output_tokens": 9,
        "gen_ai.usage.cache_read.input_tokens": 5,
        "gen_ai.response.finish_reasons": ["stop"],
        "dac.model": "openai/gpt-4o-mini",
        "dac.attempt_id": "attempt-1",
    }
    tokens = receiver.metrics["gen_ai.client.token.usage"].histogram.data_points
    assert {
        (next(a.value.string_value for a in p.attributes if a.key == "gen_ai.token.type"), p.sum) for p in tokens
    } == {
        ("input", 15),
        ("output", 9),
    }
    assert list(tokens[0].explicit_bounds) == [4**power for power in range(14)]
    (duration,) = receiver.metrics["gen_ai.client.operation.duration"].histogram.data_points
    assert duration.count == 1 and duration.explicit_bounds[0] == 0.01 and duration.explicit_bounds[-1] == 81.92
    assert b"canary-words" not in receiver.raw


def test_a_call_for_embeddings_is_named_so(receiver):
    with tracing.attempting(new_attempt(), "text-embedding-3-small", Call(request_id="r-1"), "embeddings") as watched:
        watched.saw(b'{"object":"list","data":[{"embedding":"canary-words"}],"model":"text-embedding-3-small"}')
    tracing.shut_down()
    (span,) = receiver.named("embeddings ")
    assert span.attributes["gen_ai.operation.name"] == "embeddings" and not span.failed
    (duration,) = receiver.metrics["gen_ai.client.operation.duration"].histogram.data_points
    assert "embeddings" in {one.value.string_value for one in duration.attributes}
    assert b"canary-words" not in receiver.raw


def test_failed_and_abandoned_calls_say_so_and_count_no_tokens(receiver):
    failed = new_attempt()
    with tracing.attempting(failed, "down", Call()):
        failed.reason = Reason.PROVIDER_TIMEOUT
    with contextlib.suppress(GeneratorExit), tracing.attempting(new_attempt(), "left", Call()):
        raise GeneratorExit
    estimated = new_attempt()
    with tracing.attempting(estimated, "guessed", Call()):
        estimated.usage, estimated.usage_source = Usage(3, output_tokens=4), UsageSource.ESTIMATED
        estimated.finish_reason = "stop"
    tracing.shut_down()
    errors = {span.name: (span.failed, span.attributes.get("error.type")) for span in receiver.spans}
    assert errors == {
        "chat down": (True, "PROVIDER_TIMEOUT"),
        "chat left": (True, "CANCELLED"),
        "chat guessed": (False, None),
    }
    assert "gen_ai.client.token.usage" not in receiver.metrics


def test_a_root_span_keeps_the_trace_id_that_logs_and_records_have(receiver):
    call = Call(trace_id="ab" * 16)
    tracing.end_span(tracing.begin_span("kept", call))
    fake = Call(trace_id="ab" * 16, span_id="0" * 15 + "1")
    tracing.end_span(tracing.begin_span("no real parent", fake))
    tracing.end_span(tracing.begin_span("own", Call()))
    tracing.end_span(tracing.begin_span("nonsense", Call(trace_id="z" * 32, span_id="+" * 16)))
    tracing.shut_down()
    ids = {span.name: (span.trace_id, span.parent_id) for span in receiver.spans}
    assert call.trace_id == "ab" * 16 and len(call.span_id) == 16
    assert ids["kept"] == ids["no real parent"] == ("ab" * 16, "")
    assert ids["own"][0] not in ("ab" * 16, "0" * 32) and ids["nonsense"][1] == ""


def test_rpc_durations_are_sent_and_faults_of_the_caller_are_no_failures_of_the_server(receiver):
    for status in ("OK", "INVALID_ARGUMENT", "INTERNAL"):
        span = tracing.begin_span("dac.router.v1.RouterService/Route", Call())
        tracing.end_rpc(span, Call(), status)
        telemetry.observe_rpc("dac.router.v1.RouterService/Route", status, time.perf_counter())
    tracing.shut_down()
    assert {span.attributes["rpc.status_code"]: span.failed for span in receiver.spans} == {
        "OK": False,
        "INVALID_ARGUMENT": False,
        "INTERNAL": True,
    }
    assert len(receiver.metrics["rpc.server.call.duration"].histogram.data_points) == 3


def test_a_collector_that_is_not_there_does_not_hold_up_the_end():
    tracing.set_up("unit", f"http://127.0.0.1:{free_port()}", instance="i-1")
    tracing.end_span(tracing.begin_span("lost", Call()))
    telemetry.observe_rpc("x/Y", "OK", time.perf_counter())
    began = time.monotonic()
    tracing.shut_down()
    assert time.monotonic() - began < 15
    assert not tracing.tracing()
