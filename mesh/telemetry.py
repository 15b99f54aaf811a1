"""Every metric, span and attribute name, once; Prometheus for the metrics page, OTLP when an endpoint is set.

Names follow OpenTelemetry's RPC and GenAI conventions where there are any, and what users of like products already
graph elsewhere (`http_requests_total` …). A test asserts the literal strings.
"""

import os
import time
from collections.abc import Callable, Iterable

from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, StatusCode, TraceFlags
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

from dac.type.v1.record_pb2 import AttemptRecord
from mesh.call import Call

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)

REGISTRY = CollectorRegistry()
"""What GET /metrics shows."""

HTTP_REQUESTS = Counter("http_requests_total", "HTTP requests.", ("route", "method", "status"), registry=REGISTRY)
HTTP_SECONDS = Histogram(
    "http_request_duration_seconds", "Until the last byte.", ("route",), registry=REGISTRY, buckets=SECONDS
)
CHATS = Counter("chat_completions_total", "Chats by model and outcome.", ("model", "outcome"), registry=REGISTRY)
CHAT_TOKENS = Counter("chat_tokens_total", "Tokens by model and kind.", ("model", "kind"), registry=REGISTRY)
FIRST_TOKEN = Histogram(
    "gen_ai_server_time_to_first_token_seconds",
    "Until the first token.",
    ("model",),
    registry=REGISTRY,
    buckets=SECONDS,
)
REVENUE = Counter("revenue_total_usd", "What was charged, in US dollars.", ("model",), registry=REGISTRY)
ACTIVE_STREAMS = Gauge("active_streams_current", "Streams being sent.", registry=REGISTRY)
CACHE = Counter("cache_operations_total", "Response cache.", ("verdict",), registry=REGISTRY)
ERRORS = Counter("errors_total", "Failures told to callers.", ("reason",), registry=REGISTRY)
CONVERSATIONS = Counter("conversations_total", "Threads opened.", registry=REGISTRY)
RPC_SECONDS = Histogram(
    "rpc_server_call_duration_seconds",
    "Calls between services.",
    ("rpc_method", "rpc_status_code"),
    registry=REGISTRY,
    buckets=SECONDS,
)

SPAN_HTTP = "POST /v1/chat/completions"
ATTR_METHOD = "rpc.method"
ATTR_SYSTEM = "rpc.system.name"
ATTR_STATUS = "rpc.status_code"
ATTR_REQUEST_ID = "dac.request_id"
ATTR_ORG = "dac.org_id"
ATTR_OPERATION = "gen_ai.operation.name"
ATTR_PROVIDER = "gen_ai.provider.name"
ATTR_REQUEST_MODEL = "gen_ai.request.model"
ATTR_RESPONSE_MODEL = "gen_ai.response.model"
ATTR_INPUT_TOKENS = "gen_ai.usage.input_tokens"
ATTR_OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
ATTR_FINISH_REASONS = "gen_ai.response.finish_reasons"

_tracer: trace.Tracer | None = None
_shutdown: Callable[[], None] | None = None
_rpc_children: dict[tuple[str, str], Histogram] = {}
_http_children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}


def set_up(service: str, otlp_endpoint: str, *, instance: str) -> None:
    """Begins exporting spans and metrics when `otlp_endpoint` is not empty; costs nothing otherwise."""
    global _tracer, _shutdown
    if not otlp_endpoint:
        return
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create(
        {"service.name": f"dac-{service}", "service.namespace": "dac", "service.instance.id": instance}
    )
    provider = TracerProvider(resource=resource)
    exporter = OTLPSpanExporter(endpoint=otlp_endpoint, insecure=not otlp_endpoint.startswith("https:"))
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1000))
    _tracer, _shutdown = provider.get_tracer("dac"), provider.shutdown


def shut_down() -> None:
    """Sends what is still buffered."""
    if _shutdown is not None:
        _shutdown()


def tracing() -> bool:
    """Whether spans are recorded in this process."""
    return _tracer is not None


def begin_span(name: str, call: Call, kind: SpanKind = SpanKind.INTERNAL) -> Span | None:
    """Starts a span below the call's and puts its ids on the call. None when nothing is exported."""
    if _tracer is None:
        return None
    context = None
    if call.trace_id and call.span_id:
        parent = SpanContext(int(call.trace_id, 16), int(call.span_id, 16), True, TraceFlags(TraceFlags.SAMPLED))
        context = trace.set_span_in_context(NonRecordingSpan(parent))
    span = _tracer.start_span(name, context=context, kind=kind)
    made = span.get_span_context()
    call.trace_id, call.span_id = f"{made.trace_id:032x}", f"{made.span_id:016x}"
    return span


def end_span(span: Span | None, error: str = "") -> None:
    """Ends a span, marking it failed when `error` says why."""
    if span is None:
        return
    if error:
        span.set_status(StatusCode.ERROR, error)
        span.set_attribute("error.type", error)
    span.end()


def ensure_trace(call: Call) -> None:
    """Gives a call without a trace a trace id of its own, so that logs of all services can be joined."""
    if not call.trace_id:
        call.trace_id = os.urandom(16).hex()


def observe_rpc(method: str, status: str, started: float) -> None:
    """Counts one served call; `started` is on time.perf_counter()'s scale."""
    key = (method, status)
    child = _rpc_children.get(key)
    if child is None:
        child = _rpc_children[key] = RPC_SECONDS.labels(method, status)
    child.observe(time.perf_counter() - started)


def metrics_page() -> bytes:
    """The metrics in Prometheus' text format."""
    return generate_latest(REGISTRY)


def observe_chat(model: str, outcome: str, attempts: Iterable[AttemptRecord]) -> None:
    """Counts one chat, its tokens and its charge. Model names come from the catalog, so labels stay bounded."""
    CHATS.labels(model, outcome.removeprefix("OUTCOME_").lower()).inc()
    for attempt in attempts:
        usage = attempt.usage
        if usage.input_tokens:
            CHAT_TOKENS.labels(attempt.model, "input").inc(usage.input_tokens)
        if usage.output_tokens:
            CHAT_TOKENS.labels(attempt.model, "output").inc(usage.output_tokens)


def observe_http(route: str, method: str, status: int, started: float) -> None:
    """Counts one HTTP request; `route` is a template, never a path a caller made up."""
    key = (route, method, status)
    children = _http_children.get(key)
    if children is None:
        if len(_http_children) > 500:
            key = ("other", "other", status)
        children = (HTTP_REQUESTS.labels(key[0], key[1], str(key[2])), HTTP_SECONDS.labels(key[0]))
        _http_children[key] = children
    children[0].inc()
    children[1].observe(time.perf_counter() - started)
