"""Every Prometheus metric, once: what GET /metrics shows, and the calls that count.

Names follow what users of like products already graph elsewhere (`http_requests_total` …); spans and OTLP metrics are
in mesh.tracing. A test asserts the literal strings, another one the table in docs/telemetry.md; boards and alert rules
(mesh.boards) use these names and no others.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dac.type.v1.record_pb2 import AttemptRecord, Rescue
from mesh.errors import Reason
from mesh.timings import Timing, Timings
from mesh.tracing import OTHER, method_label, record_rpc

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
LABEL_VALUES_MAX = 500
"""So many different values a label may have; every further one is counted as "other"."""

# Otherwise every counter and histogram brings a second series that says when it was made.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY = CollectorRegistry()
"""What GET /metrics shows."""


class Sampled(Collector):
    """A gauge that is read when the page is asked for, and costs nothing until then."""

    def __init__(self, name: str, documentation: str, labels: tuple[str, ...] = ()) -> None:
        self.name, self.documentation, self.labels = name, documentation, labels
        self._sources: dict[str, Callable[[], Iterable[tuple[tuple[str, ...], float]]]] = {}
        REGISTRY.register(self)

    def watch(self, owner: str, source: Callable[[], Iterable[tuple[tuple[str, ...], float]]]) -> None:
        """Reads label values and figures from `source`; an owner's later source takes the place of its former."""
        self._sources[owner] = source

    def forget(self, owner: str) -> None:
        """Reads nothing of this owner any more."""
        self._sources.pop(owner, None)

    def collect(self) -> Iterator[Metric]:
        """What the sources say now."""
        family = GaugeMetricFamily(self.name, self.documentation, labels=self.labels)
        found = {labels: figure for source in self._sources.values() for labels, figure in source()}
        for labels, figure in found.items():
            family.add_metric(labels, figure)
        yield family


HTTP_REQUESTS = Counter("http_requests_total", "HTTP requests.", ("route", "method", "status"), registry=REGISTRY)
HTTP_SECONDS = Timings(
    "http_request_duration_seconds", "Until the last byte.", ("route",), registry=REGISTRY, buckets=SECONDS
)
CHATS = Counter("chat_completions_total", "Chats by model and outcome.", ("model", "outcome"), registry=REGISTRY)
EMBEDDINGS = Counter(
    "embeddings_total", "Requests for embeddings by model and outcome.", ("model", "outcome"), registry=REGISTRY
)
EMBEDDING_SECONDS = Timings(
    "embeddings_duration_seconds", "Until their record is complete.", ("model",), registry=REGISTRY, buckets=SECONDS
)
AUDIO = Counter("audio_total", "Audio requests.", ("operation", "model", "outcome"), registry=REGISTRY)
AUDIO_SECONDS = Timings(
    "audio_duration_seconds", "Until the last byte.", ("operation", "model"), registry=REGISTRY, buckets=SECONDS
)
CHAT_TOKENS = Counter("chat_tokens_total", "Tokens by model and kind.", ("model", "kind"), registry=REGISTRY)
FIRST_TOKEN = Timings(
    "gen_ai_server_time_to_first_token_seconds",
    "Until the first token.",
    ("model",),
    registry=REGISTRY,
    buckets=SECONDS,
)
# A gauge because the client library would call a counter revenue_total_usd_total; it only ever grows.
REVENUE = Gauge("revenue_total_usd", "What was charged, in US dollars.", ("model",), registry=REGISTRY)
ACTIVE_STREAMS = Gauge("active_streams_current", "Streams being sent.", registry=REGISTRY)
CACHE = Counter("cache_operations_total", "Response cache.", ("verdict", "kind"), registry=REGISTRY)
COALESCED = Counter(
    "coalesced_requests_total", "Chats that may share a call, by their part in it.", ("part",), registry=REGISTRY
)
SAVED = Counter(
    "saved_usd_total", "What answers that were not asked for again had cost, in US dollars.", ("by",), registry=REGISTRY
)
VALIDATIONS = Counter("validations_total", "Answers that were checked.", ("status", "mode"), registry=REGISTRY)
VALIDATION_RETRIES = Counter(
    "validation_retries_total", "Answers asked for again because one did not pass.", ("outcome",), registry=REGISTRY
)
VALIDATION_SECONDS = Timings(
    "validation_duration_seconds",
    "Checking one answer, by who did.",
    ("part",),
    registry=REGISTRY,
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
REDACTIONS = Counter(
    "redactions_total", "Private values found in requests, by what was done.", ("kind", "action"), registry=REGISTRY
)
ERRORS = Counter("errors_total", "Failures told to callers.", ("reason",), registry=REGISTRY)
CONVERSATIONS = Counter("conversations_total", "Threads opened.", registry=REGISTRY)
PROVIDER_ATTEMPTS = Counter(
    "provider_attempts_total", "Calls to providers by what came of them.", ("provider", "outcome"), registry=REGISTRY
)
PROVIDER_SECONDS = Timings(
    "provider_attempt_duration_seconds",
    "One call to a provider, until its last byte.",
    ("provider",),
    registry=REGISTRY,
    buckets=SECONDS,
)
RPC_SECONDS = Timings(
    "rpc_server_call_duration_seconds",
    "Calls between services.",
    ("rpc_method", "rpc_status_code"),
    registry=REGISTRY,
    buckets=SECONDS,
)
CHAT_SECONDS = Timings(
    "chat_duration_seconds", "Chats until their record is complete.", ("model",), registry=REGISTRY, buckets=SECONDS
)
CHAT_FAILURES = Counter(
    "chat_failures_total",
    "Chats without a good answer: refused, failed before the first byte, or cut after it.",
    ("stage", "reason"),
    registry=REGISTRY,
)
CHAT_FALLBACKS = Counter(
    "chat_fallbacks_total",
    "Steps to the next model of a chat, by the one left.",
    ("model", "reason"),
    registry=REGISTRY,
)
CHAT_RESCUES = Counter(
    "chat_rescues_total",
    "Attempts that took up a broken stream, by way and by how they ended themselves.",
    ("way", "reason"),
    registry=REGISTRY,
)
ORG_REQUESTS = Counter(
    "org_requests_total", "Chats by organisation and outcome.", ("org", "outcome"), registry=REGISTRY
)
ORG_TOKENS = Counter("org_tokens_total", "Tokens, read and written, by organisation.", ("org",), registry=REGISTRY)
ORG_COST = Counter("org_cost_usd_total", "What was charged, in US dollars.", ("org",), registry=REGISTRY)
ROUTE_DECISIONS = Counter(
    "route_decisions_total", "Decisions by what spoke for the model.", ("profile", "model", "basis"), registry=REGISTRY
)
ROUTE_REFUSALS = Counter("route_refusals_total", "Requests the router refused.", ("reason",), registry=REGISTRY)
BREAKER_OPEN = Sampled("router_breaker_open", "1 open, 0.5 half-open, 0 closed with failures.", ("model", "provider"))
MODELS_AVAILABLE = Sampled("router_models_available", "Models of providers that are configured.")
BUDGET_OPERATIONS = Counter(
    "budget_operations_total",
    "Operations on the ledger by what came of them.",
    ("operation", "outcome"),
    registry=REGISTRY,
)
BUDGET_QUEUE = Sampled("budget_queue_current", "Operations that wait for the ledger's writer.")
RATE_LIMITED = Counter(
    "rate_limited_total", "Requests refused by a rate limit, by what it counts.", ("limit",), registry=REGISTRY
)
RESERVATIONS_OPEN = Gauge("budget_reservations_open", "Reservations not resolved yet, in all.", registry=REGISTRY)
RESERVED = Gauge("budget_reserved_usd", "What they hold, in US dollars.", registry=REGISTRY)
RECORDS_UNREAD = Gauge(
    "budget_records_unread", "Records a consumer has not read yet.", ("consumer",), registry=REGISTRY
)
ALERTS_TOLD = Counter(
    "budget_alerts_total", "Tries to tell of a crossed threshold.", ("channel", "outcome"), registry=REGISTRY
)
AUDIT_RECORDS = Counter("audit_records_total", "Request records that audit took over.", ("outcome",), registry=REGISTRY)
TEXTS_RECORDED = Counter(
    "recorded_texts_total", "Prompts and answers handed to audit, by what came of it.", ("outcome",), registry=REGISTRY
)
AUDIT_WITNESS = Counter(
    "audit_witness_total",
    "Checkpoints sent to a witness, by what came of it.",
    ("witness", "outcome"),
    registry=REGISTRY,
)
AUDIT_WITNESS_AGE = Sampled(
    "audit_witness_age_seconds", "So long ago a witness had cosigned all that the audit log held.", ("witness",)
)
LEARNED_OUTCOMES = Counter("learned_outcomes_total", "Attempts that the router has learned from.", registry=REGISTRY)
SETTLEMENTS = Counter(
    "settlement_attempts_total", "Tries to store a request's record.", ("outcome",), registry=REGISTRY
)
SETTLEMENTS_PENDING = Sampled("settlements_pending_current", "Records that are not stored yet.")
POOL = Sampled("postgres_pool_connections", "Connections to PostgreSQL.", ("service", "state"))
BUILD = Gauge("dac_build_info", "1, with DAC's version as label.", ("version",), registry=REGISTRY)
BUILD.labels(metadata.version("dac")).set(1)
prometheus_client.ProcessCollector(registry=REGISTRY)
prometheus_client.PlatformCollector(registry=REGISTRY)
prometheus_client.GCCollector(registry=REGISTRY)

_rpc_children: dict[tuple[str, str], Timing] = {}
_http_children: dict[tuple[str, str, int], tuple[Counter, Timing]] = {}
_chat_children: dict[tuple[str, str], tuple[Counter, Gauge, Timing]] = {}
_attempt_children: dict[tuple[str, str, int], tuple[Counter, Counter, Counter, Timing]] = {}
_org_children: dict[tuple[str, str], tuple[Counter, Counter, Counter]] = {}
_route_children: dict[tuple[str, str, str], Counter] = {}
_budget_children: dict[tuple[str, int], Counter] = {}
_models_seen: set[str] = set()
_routes_seen: set[str] = set()
_providers_seen: set[str] = set()
_orgs_seen: set[str] = set()


def observe_rpc(method: str, status: str, started: float) -> None:
    """Counts one served call; `started` is on time.perf_counter()'s scale."""
    taken = time.perf_counter() - started
    key = (method, status)
    child = _rpc_children.get(key)
    if child is None:
        child = _rpc_children[key] = RPC_SECONDS.labels(method, status)
    child.observe(taken)
    record_rpc(method, status, taken)


def _bounded(value: str, seen: set[str]) -> str:
    if value in seen:
        return value
    if len(seen) >= LABEL_VALUES_MAX:
        return OTHER
    seen.add(value)
    return value


def reason_label(reason: int) -> str:
    """A failure's reason as a label; "ok" for none."""
    return Reason(reason).name.lower() if reason else "ok"


def observe_chat(
    model: str,
    outcome: str,
    attempts: Iterable[AttemptRecord],
    cost_nano_usd: int | None = None,
    *,
    seconds: float | None = None,
) -> None:
    """Counts one chat, its provider calls, tokens and charge (None = not known)."""
    chat = _chat_children.get((model, outcome))
    if chat is None:
        model = _bounded(model, _models_seen)
        counted = CHATS.labels(model, outcome_label(outcome))
        chat = _chat_children[model, outcome] = (counted, REVENUE.labels(model), CHAT_SECONDS.labels(model))
    chat[0].inc()
    if cost_nano_usd:
        chat[1].inc(cost_nano_usd / 1e9)
    if seconds is not None:
        chat[2].observe(seconds)
    _observe_attempts(attempts)


def observe_embeddings(
    model: str, outcome: str, attempts: Iterable[AttemptRecord], cost_nano_usd: int | None, *, seconds: float
) -> None:
    """Counts one request for embeddings, its provider calls, tokens and charge (None = not known)."""
    model = _bounded(model, _models_seen)
    EMBEDDINGS.labels(model, outcome_label(outcome)).inc()
    EMBEDDING_SECONDS.labels(model).observe(seconds)
    if cost_nano_usd:
        REVENUE.labels(model).inc(cost_nano_usd / 1e9)
    _observe_attempts(attempts)


def observe_audio(
    operation: str, model: str, outcome: str, attempts: Iterable[AttemptRecord], nano_usd: int | None, *, seconds: float
) -> None:
    """Counts one audio request, its provider calls, tokens and charge (None = not known)."""
    model = _bounded(model, _models_seen)
    AUDIO.labels(operation, model, outcome_label(outcome)).inc()
    AUDIO_SECONDS.labels(operation, model).observe(seconds)
    if nano_usd:
        REVENUE.labels(model).inc(nano_usd / 1e9)
    _observe_attempts(attempts)


def _observe_attempts(attempts: Iterable[AttemptRecord]) -> None:
    former: AttemptRecord | None = None
    for attempt in attempts:
        usage, begun, ended = attempt.usage, attempt.started_at, attempt.ended_at
        children = _attempt_children.get((attempt.provider, attempt.model, attempt.reason))
        if children is None:
            children = _make_attempt_children(attempt.provider, attempt.model, attempt.reason)
        children[0].inc()
        if read := usage.input_tokens + usage.input_audio_tokens + usage.input_image_tokens:
            children[1].inc(read)
        if written := usage.output_tokens + usage.output_audio_tokens + usage.output_image_tokens:
            children[2].inc(written)
        taken = ended.seconds - begun.seconds + (ended.nanos - begun.nanos) / 1e9
        if taken >= 0 and ended.seconds:
            children[3].observe(taken)
        if former is not None and former.model != attempt.model:
            CHAT_FALLBACKS.labels(_bounded(former.model, _models_seen), reason_label(former.reason)).inc()
        if attempt.rescue:
            CHAT_RESCUES.labels(Rescue.Name(attempt.rescue)[7:].lower(), reason_label(attempt.reason)).inc()
        former = attempt


def outcome_label(outcome: str) -> str:
    """OUTCOME_CLIENT_GONE → client_gone."""
    return outcome.removeprefix("OUTCOME_").lower()


def observe_org(
    org_id: str, outcome: str, attempts: Iterable[AttemptRecord] = (), cost_nano_usd: int | None = None
) -> None:
    """Counts one chat for its organisation."""
    children = _org_children.get((org_id, outcome))
    if children is None:
        org = _bounded(org_id, _orgs_seen)
        children = _org_children[org, outcome] = (
            ORG_REQUESTS.labels(org, outcome_label(outcome)),
            ORG_TOKENS.labels(org),
            ORG_COST.labels(org),
        )
    children[0].inc()
    for attempt in attempts:
        usage = attempt.usage
        read = usage.input_tokens + usage.input_audio_tokens + usage.input_image_tokens
        children[1].inc(read + usage.output_tokens + usage.output_audio_tokens + usage.output_image_tokens)
    if cost_nano_usd:
        children[2].inc(cost_nano_usd / 1e9)


def observe_failure(stage: str, reason: int) -> None:
    """Counts a chat without a good answer: `stage` is refused, failed or cut."""
    CHAT_FAILURES.labels(stage, reason_label(reason)).inc()


def observe_saved(by: str, nano_usd: int) -> None:
    """Counts what was not paid again: `by` is cache or coalescing."""
    if nano_usd > 0:
        SAVED.labels(by).inc(nano_usd / 1e9)


def observe_route(profile: str, model: str, basis: str) -> None:
    """Counts one decision of the router; profile and basis are words of its own."""
    key = (profile, model, basis)
    child = _route_children.get(key)
    if child is None:
        model = _bounded(model, _models_seen)
        child = _route_children[profile, model, basis] = ROUTE_DECISIONS.labels(profile, model, basis)
    child.inc()


def observe_ledger(operation: str, reason: int, count: int = 1) -> None:
    """Counts operations on the ledger; `reason` 0 = they were done."""
    key = (operation, reason)
    child = _budget_children.get(key)
    if child is None:
        child = _budget_children[key] = BUDGET_OPERATIONS.labels(operation, reason_label(reason))
    child.inc(count)


def _make_attempt_children(provider: str, model: str, reason: int) -> tuple[Counter, Counter, Counter, Timing]:
    model, provider = _bounded(model, _models_seen), _bounded(provider, _providers_seen)
    children = _attempt_children[provider, model, reason] = (
        PROVIDER_ATTEMPTS.labels(provider, reason_label(reason)),
        CHAT_TOKENS.labels(model, "input"),
        CHAT_TOKENS.labels(model, "output"),
        PROVIDER_SECONDS.labels(provider),
    )
    return children


def observe_http(route: str, method: str, status: int, started: float) -> None:
    """Counts one HTTP request; `route` is a template, never a path a caller made up."""
    key = (route, method, status)
    children = _http_children.get(key)
    if children is None:
        # Only what stays bounded is remembered, under the names it is counted by.
        key = (_bounded(route, _routes_seen), method_label(method), status)
        children = (HTTP_REQUESTS.labels(key[0], key[1], str(status)), HTTP_SECONDS.labels(key[0]))
        _http_children[key] = children
    children[0].inc()
    children[1].observe(time.perf_counter() - started)
