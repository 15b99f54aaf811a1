"""Spans and the metrics that go out by OTLP when an endpoint is set; every name of them, once.

Names follow OpenTelemetry's RPC, HTTP and GenAI conventions. Without an endpoint nothing here costs anything. What
Prometheus reads is in mesh.telemetry. A test asserts the literal strings; docs/telemetry.md tells users.
"""

import os
import re
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from opentelemetry import trace
from opentelemetry.metrics import Histogram as OtlpHistogram
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, StatusCode, TraceFlags

from mesh.call import Call
from mesh.errors import Reason
from mesh.usage import Tokens, answer_tokens, cached_tokens, prompt_tokens

GENAI_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
GENAI_TOKENS = tuple(4**power for power in range(14))
RPC_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
OTHER = "other"
HTTP_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

METRIC_RPC_DURATION = "rpc.server.call.duration"
METRIC_GENAI_DURATION = "gen_ai.client.operation.duration"
METRIC_GENAI_TOKENS = "gen_ai.client.token.usage"
ATTR_METHOD = "rpc.method"
ATTR_SYSTEM = "rpc.system.name"
ATTR_STATUS = "rpc.status_code"
ATTR_HTTP_METHOD = "http.request.method"
ATTR_HTTP_ROUTE = "http.route"
ATTR_HTTP_STATUS = "http.response.status_code"
ATTR_ERROR = "error.type"
ATTR_REQUEST_ID = "dac.request_id"
ATTR_ORG = "dac.org_id"
ATTR_DAC_MODEL = "dac.model"
ATTR_ATTEMPT_ID = "dac.attempt_id"
ATTR_OPERATION = "gen_ai.operation.name"
ATTR_PROVIDER = "gen_ai.provider.name"
ATTR_REQUEST_MODEL = "gen_ai.request.model"
ATTR_RESPONSE_MODEL = "gen_ai.response.model"
ATTR_INPUT_TOKENS = "gen_ai.usage.input_tokens"
ATTR_OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
ATTR_CACHED_TOKENS = "gen_ai.usage.cache_read.input_tokens"
ATTR_FINISH_REASONS = "gen_ai.response.finish_reasons"
ATTR_TOKEN_TYPE = "gen_ai.token.type"
OPERATION_CHAT = "chat"
USAGE_ESTIMATED = 3

_SERVER_FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""What the conventions count as the server's error; the rest is told by rpc.status_code alone."""
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}")
_HEX = re.compile(r"[0-9a-f]+")
_NO_SPAN = "0" * 15 + "1"
"""What mesh.transport sends as parent for a call that has a trace but no span."""
_MODEL = re.compile(rb'"model"\s*:\s*"([^"\\]{1,200})"')

_tracer: trace.Tracer | None = None
_shutdown: list[Callable[[], None]] = []
_wanted_trace = 0
_rpc_histogram: OtlpHistogram | None = None
_genai_duration: OtlpHistogram | None = None
_genai_tokens: OtlpHistogram | None = None


def set_up(service: str, otlp_endpoint: str, *, instance: str) -> None:
    """Begins exporting spans and metrics when `otlp_endpoint` is not empty; costs nothing otherwise.

    gRPC is spoken, or HTTP to port 4318. The SDK's own OTEL_… variables (headers, intervals) keep their meaning.
    """
    global _tracer, _rpc_histogram, _genai_duration, _genai_tokens
    if not otlp_endpoint:
        return
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class Ids(RandomIdGenerator):
        """A root span takes the trace id its call already has, so that logs, records and spans agree."""

        def generate_trace_id(self) -> int:
            return _wanted_trace or super().generate_trace_id()

    resource = Resource.create(
        {"service.name": f"dac-{service}", "service.namespace": "dac", "service.instance.id": instance}
    )
    span_exporter, metric_exporter = _exporters(otlp_endpoint)
    provider = TracerProvider(resource=resource, id_generator=Ids(), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(span_exporter, schedule_delay_millis=1000))
    reader = PeriodicExportingMetricReader(metric_exporter)
    metering = MeterProvider([reader], resource, shutdown_on_exit=False)
    meter = metering.get_meter("dac")
    _rpc_histogram = meter.create_histogram(
        METRIC_RPC_DURATION, "s", "Calls between services.", explicit_bucket_boundaries_advisory=RPC_BUCKETS
    )
    _genai_duration = meter.create_histogram(
        METRIC_GENAI_DURATION, "s", "Calls to providers.", explicit_bucket_boundaries_advisory=GENAI_SECONDS
    )
    _genai_tokens = meter.create_histogram(
        METRIC_GENAI_TOKENS, "{token}", "Tokens of a call.", explicit_bucket_boundaries_advisory=GENAI_TOKENS
    )
    _tracer = provider.get_tracer("dac")
    _shutdown[:] = [provider.shutdown, metering.shutdown]


def _exporters(endpoint: str):  # type: ignore[no-untyped-def]
    if re.search(r":4318(/|$)", endpoint):
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans

        base = endpoint.rstrip("/")
        return HttpSpans(f"{base}/v1/traces", timeout=5), HttpMetrics(f"{base}/v1/metrics", timeout=5)
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    plain = not endpoint.startswith("https:")
    return OTLPSpanExporter(endpoint, plain, timeout=5), OTLPMetricExporter(endpoint, plain, timeout=5)


def shut_down() -> None:
    """Sends what is still buffered and records no more."""
    global _tracer, _rpc_histogram, _genai_duration, _genai_tokens
    _tracer = _rpc_histogram = _genai_duration = _genai_tokens = None
    for close in _shutdown:
        close()
    _shutdown.clear()


def tracing() -> bool:
    """Whether spans are recorded in this process."""
    return _tracer is not None


def continue_trace(call: Call, traceparent: str) -> None:
    """Puts a caller's trace on the call when the header is a right one; anything else is as if it were not there."""
    found = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    if found is not None:
        call.trace_id, call.span_id = found[1], found[2]


def ensure_trace(call: Call) -> None:
    """Gives a call without a trace a trace id of its own, so that logs of all services can be joined."""
    if not call.trace_id:
        call.trace_id = os.urandom(16).hex()


def _start(tracer: trace.Tracer, name: str, call: Call, kind: SpanKind) -> Span:
    global _wanted_trace
    trace_id = int(call.trace_id, 16) if len(call.trace_id) == 32 and _HEX.fullmatch(call.trace_id) else 0
    parent = int(call.span_id, 16) if len(call.span_id) == 16 and _HEX.fullmatch(call.span_id) else 0
    if trace_id and parent and call.span_id != _NO_SPAN:
        above = NonRecordingSpan(SpanContext(trace_id, parent, True, TraceFlags(TraceFlags.SAMPLED)))
        return tracer.start_span(name, trace.set_span_in_context(above), kind)
    _wanted_trace = trace_id
    try:
        return tracer.start_span(name, trace.set_span_in_context(trace.INVALID_SPAN), kind)
    finally:
        _wanted_trace = 0


def begin_span(name: str, call: Call, kind: SpanKind = SpanKind.INTERNAL) -> Span | None:
    """Starts a span below the call's and puts its ids on the call. None when nothing is exported."""
    if _tracer is None:
        return None
    span = _start(_tracer, name, call, kind)
    made = span.get_span_context()
    call.trace_id, call.span_id = f"{made.trace_id:032x}", f"{made.span_id:016x}"
    return span


def end_span(span: Span | None, error: str = "") -> None:
    """Ends a span, marking it failed when `error` says why."""
    if span is None:
        return
    if error:
        span.set_status(StatusCode.ERROR)
        span.set_attribute(ATTR_ERROR, error)
    span.end()


def begin_http(call: Call, method: str) -> Span | None:
    """The span of an HTTP request; its ids are put on the call, so that all calls below become its children."""
    if _tracer is None:
        return None
    span = begin_span(method_label(method), call, SpanKind.SERVER)
    if span is not None:
        span.set_attributes({ATTR_HTTP_METHOD: method_label(method), ATTR_REQUEST_ID: call.request_id})
    return span


def end_http(span: Span | None, call: Call, method: str, route: str, status: int) -> None:
    """Ends it; `route` is a template, `status` 0 when nothing was answered."""
    if span is None:
        return
    span.update_name(f"{method_label(method)} {route}")
    span.set_attributes({ATTR_HTTP_ROUTE: route, ATTR_HTTP_STATUS: status})
    if call.principal is not None and call.principal.org_id:
        span.set_attribute(ATTR_ORG, call.principal.org_id)
    end_span(span, str(status) if status >= 500 or status == 0 else "")


def end_rpc(span: Span, call: Call, status: str) -> None:
    """Ends the span of a served call."""
    span.set_attribute(ATTR_STATUS, status)
    if call.principal is not None and call.principal.org_id:
        span.set_attribute(ATTR_ORG, call.principal.org_id)
    end_span(span, status if status in _SERVER_FAULTS else "")


class _Attempt(Protocol):
    attempt_id: str
    provider: str
    model: str
    reason: Reason
    finish_reason: str

    @property
    def usage(self) -> Tokens: ...
    @property
    def usage_source(self) -> int: ...


class attempting:
    """Around one call to a provider: the GenAI client span and its metrics, read from the attempt when it is over."""

    __slots__ = ("_attempt", "_model", "_operation", "_response_model", "_span", "_started")

    def __init__(self, attempt: _Attempt, upstream_model: str, call: Call, operation: str = OPERATION_CHAT) -> None:
        self._attempt, self._model, self._response_model = attempt, upstream_model, ""
        self._operation, self._started = operation, time.perf_counter()
        self._span = _start(_tracer, f"{operation} {upstream_model}", call, SpanKind.CLIENT) if _tracer else None

    def __enter__(self) -> "attempting":
        return self

    def saw(self, data: bytes) -> None:
        """Takes the answering model's name from the answer's first bytes; nothing else of them is kept."""
        if self._span is None or self._response_model:
            return
        found = _MODEL.search(data[:8192])
        self._response_model = found[1].decode("utf-8", "replace") if found else self._model

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._span is None:
            return
        attempt, usage = self._attempt, self._attempt.usage
        failure = (
            attempt.reason.name if attempt.reason else ("" if kind is None or attempt.finish_reason else "CANCELLED")
        )
        labels = {
            ATTR_OPERATION: self._operation,
            ATTR_PROVIDER: attempt.provider,
            ATTR_REQUEST_MODEL: self._model,
        }
        if self._response_model:
            labels[ATTR_RESPONSE_MODEL] = self._response_model
        read, written, cached = prompt_tokens(usage), answer_tokens(usage), cached_tokens(usage)
        self._span.set_attributes(
            {**labels, ATTR_DAC_MODEL: attempt.model, ATTR_ATTEMPT_ID: attempt.attempt_id}
            | ({ATTR_INPUT_TOKENS: read, ATTR_OUTPUT_TOKENS: written} if read or written else {})
            | ({ATTR_CACHED_TOKENS: cached} if cached else {})
            | ({ATTR_FINISH_REASONS: [attempt.finish_reason]} if attempt.finish_reason else {})
        )
        end_span(self._span, failure)
        if _genai_tokens is not None and (read or written) and int(attempt.usage_source) != USAGE_ESTIMATED:
            _genai_tokens.record(read, {**labels, ATTR_TOKEN_TYPE: "input"})
            _genai_tokens.record(written, {**labels, ATTR_TOKEN_TYPE: "output"})
        if _genai_duration is not None:
            taken = time.perf_counter() - self._started
            _genai_duration.record(taken, {**labels, ATTR_ERROR: failure} if failure else labels)


def record_rpc(method: str, status: str, taken_s: float) -> None:
    """Sends the duration of a served call, when anything is exported."""
    if _rpc_histogram is not None:
        _rpc_histogram.record(taken_s, {ATTR_SYSTEM: "grpc", ATTR_METHOD: method, ATTR_STATUS: status})


def method_label(method: str) -> str:
    """An HTTP method as a label: callers can make up others."""
    return method if method in HTTP_METHODS else OTHER
