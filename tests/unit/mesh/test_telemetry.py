"""Names that users graph, labels that stay few, traces that are continued, logs that hold no secret."""

import asyncio
import json
import logging
import time
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from dac.type.v1.principal_pb2 import Principal
from dac.type.v1.record_pb2 import AttemptRecord
from mesh import logs, telemetry, tracing
from mesh.call import Call, serving
from mesh.errors import Reason
from mesh.metrics_page import metrics_page


def page():
    return metrics_page().decode()


def series():
    return {line.rsplit(" ", 1)[0] for line in page().splitlines() if not line.startswith("#")}


def value(name):
    return next((float(line.rsplit(" ", 1)[1]) for line in page().splitlines() if line.startswith(name + " ")), 0.0)


def attempt(model="unit/one", provider="unit", seconds=2, **fields):
    made = AttemptRecord(model=model, provider=provider, **fields)
    made.usage.input_tokens, made.usage.output_tokens = 7, 5
    made.started_at.FromSeconds(1_000)
    made.ended_at.FromSeconds(1_000 + seconds)
    return made


def test_the_names_users_graph_are_literally_these():
    telemetry.observe_http("/v1/chat/completions", "POST", 200, time.perf_counter())
    telemetry.observe_chat("unit/one", "OUTCOME_OK", [attempt()], 1_500_000_000, seconds=1)
    telemetry.observe_org("org-one", "OUTCOME_OK", [attempt()], 1)
    telemetry.CACHE.labels("hit", "exact").inc()
    telemetry.ERRORS.labels("internal").inc()
    names = {line.split("{")[0].split(" ")[0] for line in page().splitlines() if not line.startswith("#")}
    assert names >= {
        "http_requests_total",
        "http_request_duration_seconds_bucket",
        "http_request_duration_seconds_sum",
        "http_request_duration_seconds_count",
        "chat_completions_total",
        "chat_tokens_total",
        "conversations_total",
        "revenue_total_usd",
        "active_streams_current",
        "cache_operations_total",
        "errors_total",
        "orchestra_requests_total",
        "orchestra_request_duration_seconds_bucket",
        "orchestra_cache_hit_rate",
        "orchestra_model_selections",
        "provider_attempts_total",
        "provider_attempt_duration_seconds_bucket",
        "chat_duration_seconds_bucket",
        "org_requests_total",
        "org_tokens_total",
        "org_cost_usd_total",
        "dac_build_info",
        "process_start_time_seconds",
    }
    # Those without a sample until something happens; docs/telemetry.md lists all of them, and a test holds it to that.
    assert [
        one._name
        for one in (
            telemetry.CHAT_FAILURES,
            telemetry.CHAT_FALLBACKS,
            telemetry.CHAT_RESCUES,
            telemetry.ROUTE_DECISIONS,
            telemetry.ROUTE_REFUSALS,
            telemetry.BUDGET_OPERATIONS,
            telemetry.RECORDS_UNREAD,
            telemetry.AUDIT_RECORDS,
            telemetry.SETTLEMENTS,
        )
    ] == [
        "chat_failures",
        "chat_fallbacks",
        "chat_rescues",
        "route_decisions",
        "route_refusals",
        "budget_operations",
        "budget_records_unread",
        "audit_records",
        "settlement_attempts",
    ]
    assert not any(name.endswith("_created") for name in names)


def test_the_conventions_names_are_literally_these():
    said = {name: getattr(tracing, name) for name in dir(tracing) if name.startswith(("ATTR_", "METRIC_"))}
    assert said == {
        "ATTR_ATTEMPT_ID": "dac.attempt_id",
        "ATTR_CACHED_TOKENS": "gen_ai.usage.cache_read.input_tokens",
        "ATTR_DAC_MODEL": "dac.model",
        "ATTR_ERROR": "error.type",
        "ATTR_FINISH_REASONS": "gen_ai.response.finish_reasons",
        "ATTR_HTTP_METHOD": "http.request.method",
        "ATTR_HTTP_ROUTE": "http.route",
        "ATTR_HTTP_STATUS": "http.response.status_code",
        "ATTR_INPUT_TOKENS": "gen_ai.usage.input_tokens",
        "ATTR_METHOD": "rpc.method",
        "ATTR_OPERATION": "gen_ai.operation.name",
        "ATTR_ORG": "dac.org_id",
        "ATTR_OUTPUT_TOKENS": "gen_ai.usage.output_tokens",
        "ATTR_PROVIDER": "gen_ai.provider.name",
        "ATTR_REQUEST_ID": "dac.request_id",
        "ATTR_REQUEST_MODEL": "gen_ai.request.model",
        "ATTR_RESPONSE_MODEL": "gen_ai.response.model",
        "ATTR_STATUS": "rpc.status_code",
        "ATTR_SYSTEM": "rpc.system.name",
        "ATTR_TOKEN_TYPE": "gen_ai.token.type",
        "METRIC_GENAI_DURATION": "gen_ai.client.operation.duration",
        "METRIC_GENAI_TOKENS": "gen_ai.client.token.usage",
        "METRIC_RPC_DURATION": "rpc.server.call.duration",
    }
    assert tracing.GENAI_TOKENS[0] == 1 and tracing.GENAI_TOKENS[-1] == 67_108_864
    assert tracing.GENAI_SECONDS[0] == 0.01 and tracing.GENAI_SECONDS[-1] == 81.92


def test_a_chat_is_counted_with_its_charge_and_its_provider_calls():
    revenue, tokens = 'revenue_total_usd{model="unit/paid"}', 'chat_tokens_total{kind="output",model="unit/paid"}'
    failed = attempt("unit/paid", "unit-paid", reason=int(Reason.PROVIDER_TIMEOUT))
    telemetry.observe_chat("unit/paid", "OUTCOME_OK", [failed, attempt("unit/paid", "unit-paid")], 250_000_000)
    telemetry.observe_chat("unit/paid", "OUTCOME_FAILED", [])
    assert value(revenue) == pytest.approx(0.25) and value(tokens) == 10
    assert value('provider_attempts_total{outcome="ok",provider="unit-paid"}') == 1
    assert value('provider_attempts_total{outcome="provider_timeout",provider="unit-paid"}') == 1
    assert value('provider_attempt_duration_seconds_sum{provider="unit-paid"}') == 4
    assert value('orchestra_model_selections{model="unit/paid"}') == 2


def test_the_aliases_are_the_same_observations():
    before = value("orchestra_request_duration_seconds_count")
    telemetry.observe_http("/v1/chat/completions", "POST", 200, time.perf_counter() - 0.2)
    telemetry.observe_http("/ready", "GET", 200, time.perf_counter())
    assert value("orchestra_request_duration_seconds_count") == before + 1
    families = {family.name: family for family in text_string_to_metric_families(page())}
    buckets = [one.value for one in families["orchestra_request_duration_seconds"].samples if "le" in one.labels]
    assert buckets == sorted(buckets)
    hits = sum(value(f'cache_operations_total{{kind="{kind}",verdict="hit"}}') for kind in ("exact", "semantic"))
    misses = value('cache_operations_total{kind="",verdict="miss"}')
    telemetry.CACHE.labels("hit", "semantic").inc(hits + misses + 1)
    assert value("orchestra_cache_hit_rate") == pytest.approx((2 * hits + misses + 1) / (2 * (hits + misses) + 1))


def test_a_chat_is_counted_for_its_organisation():
    telemetry.observe_org("org-paid", "OUTCOME_OK", [attempt(), attempt()], 250_000_000)
    telemetry.observe_org("org-paid", "OUTCOME_CLIENT_GONE")
    assert value('org_requests_total{org="org-paid",outcome="ok"}') == 1
    assert value('org_requests_total{org="org-paid",outcome="client_gone"}') == 1
    assert value('org_tokens_total{org="org-paid"}') == 24
    assert value('org_cost_usd_total{org="org-paid"}') == pytest.approx(0.25)


def test_a_step_to_another_model_is_a_fallback_and_a_retry_is_none():
    late = {"reason": int(Reason.PROVIDER_TIMEOUT)}
    telemetry.observe_chat(
        "unit/second",
        "OUTCOME_OK",
        [attempt("unit/first", **late), attempt("unit/first", **late), attempt("unit/second")],
    )
    assert value('chat_fallbacks_total{model="unit/first",reason="provider_timeout"}') == 1
    assert value('chat_fallbacks_total{model="unit/second",reason="ok"}') == 0


def test_a_sampled_gauge_is_read_when_it_is_asked_for():
    seen = [1.0]
    # Its own: other tests of this process may have left a mesh behind that watches one of DAC's.
    gauge = telemetry.Sampled("unit_sampled", "For this test.")
    try:
        gauge.watch("unit", lambda: [((), seen[0])])
        assert value("unit_sampled") == 1
        seen[0] = 2
        assert value("unit_sampled") == 2
        gauge.watch("unit", lambda: [((), 7)])
        assert value("unit_sampled") == 7
        gauge.forget("unit")
        assert "unit_sampled" not in series()
    finally:
        telemetry.REGISTRY.unregister(gauge)


@pytest.mark.parametrize("fresh", [False, True])
def test_made_up_names_make_no_new_series(monkeypatch, fresh):
    """The first names may be counted; when there are too many, nothing new is made whatever comes."""
    known = telemetry.LABEL_VALUES_MAX if not fresh else 0
    for name in ("_models_seen", "_routes_seen", "_providers_seen", "_orgs_seen"):
        monkeypatch.setattr(telemetry, name, {f"full-{index}" for index in range(known)})
    monkeypatch.setattr(telemetry, "LABEL_VALUES_MAX", known)
    now = time.perf_counter()

    def abuse(index):
        telemetry.observe_http(f"/made/up/{index}", f"VERB{index}", 404, now)
        telemetry.observe_chat(f"made-up/{index}", "OUTCOME_OK", [attempt(f"m{index}", f"p{index}")], 1)
        telemetry.observe_org(f"made-up/{index}", "OUTCOME_OK", [attempt()], 1)
        telemetry.observe_route("auto", f"made-up/{index}", "best")
        failed = attempt(f"m{index}", f"p{index}", reason=int(Reason.PROVIDER_CUT))
        telemetry.observe_chat("none", "OUTCOME_OK", [failed, attempt(f"made-up/{index}", "unit")])

    abuse(0)
    caches = [one for name, one in vars(telemetry).items() if name.endswith("_children") and isinstance(one, dict)]
    before, remembered = series(), [len(cache) for cache in caches]
    for index in range(1, 10_000):
        abuse(index)
    assert series() == before and [len(cache) for cache in caches] == remembered
    assert not any("made" in one for one in before)


GOOD = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_callers_trace_is_continued():
    call = Call()
    tracing.continue_trace(call, GOOD)
    assert (call.trace_id, call.span_id) == ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")
    tracing.ensure_trace(call)
    assert call.trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"


@given(
    st.text(max_size=80)
    | st.sampled_from(
        [
            GOOD.upper(),
            GOOD.replace("00-", "ff-", 1),
            "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
            GOOD[:36] + "0" * 16 + "-01",
            GOOD.replace("4bf9", "+bf9"),
            GOOD + "\n",
            GOOD.replace("4bf9", "4_f9"),
            GOOD.replace("4", "٤"),
        ]
    )
)
def test_a_wrong_traceparent_is_as_none(header):
    call = Call()
    tracing.continue_trace(call, header)
    assert (call.trace_id, call.span_id) == ("", "")


def test_nothing_is_begun_without_an_endpoint():
    call = Call(trace_id="a" * 32)
    assert not tracing.tracing()
    assert tracing.begin_http(call, "POST") is None and tracing.begin_span("x", call) is None
    tracing.end_http(None, call, "POST", "/x", 200)
    assert (call.trace_id, call.span_id) == ("a" * 32, "")
    tracing.set_up("all", "", instance="i")
    assert not tracing.tracing()


@pytest.fixture
def lines(monkeypatch):
    """What all of Python's logging writes through DAC's formatter, as parsed lines."""
    written = []

    class Keep(logging.Handler):
        def emit(self, record):
            written.append(self.format(record))

    handler = Keep()
    handler.setFormatter(logs.formatter(as_json=True, service="gateway"))
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [handler])
    monkeypatch.setattr(root, "level", logging.INFO)
    return written


CANARY = "canary-9f2c77ab51"


def test_a_line_has_the_fields_of_its_call(lines):
    principal = Principal(org_id="0190f000-0000-7000-8000-000000000001")
    with serving(Call(request_id="r-1", principal=principal, trace_id="b" * 32)):
        logging.getLogger("dac.unit").warning("reached %d of %s\nnext", 3, "four")
    logging.getLogger("dac.unit").info("outside")
    inside, outside = map(json.loads, lines)
    assert inside["event"] == "reached 3 of four\nnext" and "\n" not in lines[0]
    assert (inside["level"], inside["logger"], inside["service"]) == ("warning", "dac.unit", "gateway")
    assert inside["timestamp"].endswith("Z") and inside["org_id"] == principal.org_id
    assert (inside["request_id"], inside["trace_id"]) == ("r-1", "b" * 32)
    assert not {"request_id", "org_id", "trace_id"} & set(outside)


def test_an_exception_is_told_without_local_variables(lines):
    def inner(prompt):
        api_key = CANARY + prompt
        raise ValueError(f"wrong after {len(api_key)} characters")

    try:
        inner(CANARY)
    except ValueError as error:
        try:
            raise RuntimeError("outer") from error
        except RuntimeError:
            logging.getLogger("dac.unit").exception("it failed")
    (line,) = lines
    assert CANARY not in line
    told = json.loads(line)["exception"]
    assert [one["exc_type"] for one in told] == ["RuntimeError", "ValueError"]
    assert told[1]["frames"][-1]["name"] == "inner" and not told[1]["frames"][-1].get("locals")


@pytest.mark.parametrize(
    "secret",
    [
        "dac_live_abcdefghijkl_" + "Q" * 43,
        "sk-proj-" + "Q" * 40,
        "Bearer QQQQQQQQQQQQQQQQQQQQ",
        "postgresql://dac:QQQQQQQQQQQQ@db/dac",
        "QQQQ.person@corp-mail.org",
        "password=QQQQ1234!x",
        "AKIAQQQQQQQQQQQQQQQQ",
        "-----BEGIN PRIVATE KEY-----\nQQQQ\nQQQQ\n-----END PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nQQQQ\nQQQQ",
    ],
)
def test_what_looks_like_a_secret_is_struck_out(lines, secret):
    try:
        raise ValueError(f"refused {secret} there")
    except ValueError:
        logging.getLogger("dac.unit").exception("with %s too", secret)
    assert "QQQQ" not in lines[0] and json.loads(lines[0])["level"] == "error"


FRAGMENTS = st.sampled_from(
    ['password="', "password: '", "secret=aB3!", '"', "'", "\\", "\n", "a@b.org", "://u:p1!aaa@h", "\x01", "\u2028",
     "-----BEGIN PRIVATE KEY-----", "Bearer ", "aB3" * 9, "é", ", ", ":", "x"]
)  # fmt: skip


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=200) | st.lists(FRAGMENTS, max_size=12).map("".join))
def test_a_struck_line_stays_json(text):
    assert isinstance(json.loads(logs.strike(json.dumps({"event": text}))), dict)


@pytest.mark.parametrize(
    "name", ["uvicorn.error", "uvicorn", "asyncio", "grpc", "grpc._cython.cygrpc", "aiohttp.client"]
)
def test_other_libraries_take_the_same_way(lines, name):
    logging.getLogger(name).warning("from %s", name)
    assert json.loads(lines[0])["event"] == f"from {name}"


def test_set_up_takes_everything_in(capfd, monkeypatch):
    root, kept = logging.getLogger(), {}
    import sys
    import threading

    kept = (list(root.handlers), root.level, sys.excepthook, threading.excepthook)
    logging.getLogger("uvicorn").addHandler(logging.StreamHandler())
    try:
        logs.set_up("info", "json", "up")
        logging.getLogger("uvicorn").warning("once")
        logging.getLogger("uvicorn.access").info("never")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("careful", stacklevel=1)
        worker = threading.Thread(target=lambda: 1 / 0)
        worker.start()
        worker.join()
        loop = asyncio.new_event_loop()
        loop.call_exception_handler({"message": "lost", "exception": ValueError("x")})
        loop.close()
    finally:
        root.handlers[:], _ = kept[0], root.setLevel(kept[1])
        sys.excepthook, threading.excepthook = kept[2:]
        logging.captureWarnings(False)
    told = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [one["event"].split("\n")[0] for one in told if "careful" not in one["event"]] == [
        "once",
        "uncaught exception",
        "lost",
    ]
    assert any("careful" in one["event"] for one in told) and all(one["service"] == "up" for one in told)
