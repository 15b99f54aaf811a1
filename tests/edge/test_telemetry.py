"""A chat as its operators see it: one trace over all services, metrics with few labels, logs without secrets."""

import json
import signal
import time

import httpx
import pytest

from tests.edge.conftest import make_dac
from tests.otlp_receiver import OtlpReceiver

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PROMPT = "prompt-canary-3e81b0"
SERVER, CLIENT = 2, 3


@pytest.fixture(scope="module", params=[(), ("--split",)], ids=["one process", "split"])
def traced(request, tmp_path_factory, upstream_process):
    with OtlpReceiver() as receiver:
        dac = make_dac(tmp_path_factory.mktemp("traced"), upstream_process, *request.param)
        dac.env |= {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_METRIC_EXPORT_INTERVAL": "300",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "DAC_LOG_LEVEL": "debug",
        }
        dac.start()
        try:
            yield dac, receiver
            assert dac.stop() == 0, dac.log()
        finally:
            dac.stop(signal.SIGKILL)


def chat(dac, trace, **fields):
    body = {"model": "mock/gpt-4o-mini", "messages": [{"role": "user", "content": PROMPT}], **fields}
    headers = {**dac.headers, "traceparent": f"00-{trace}-{PARENT}-01"}
    return httpx.post(f"{dac.url}/v1/chat/completions", json=body, headers=headers, timeout=30)


def spans_of(receiver, trace, *needed):
    """The spans of a trace once one of each name in `needed` has come."""

    def found(have):
        mine = [span for span in have.spans if span.trace_id == trace]
        return all(any(name in span.name for span in mine) for name in needed) and mine

    return receiver.until(found)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_a_chat_is_one_trace_over_all_services(traced, stream):
    dac, receiver = traced
    trace = TRACE[:-1] + str(int(stream))
    answer = chat(dac, trace, stream=stream)
    assert answer.status_code == 200
    needed = ("POST /v1", "RouterService/Route", "BudgetService/Reserve", "ProviderService/Generate", "chat gpt-4o")
    spans = spans_of(receiver, trace, *needed, "BudgetService/Commit")
    by_id = {span.span_id: span for span in spans}
    (http,) = [span for span in spans if span.name == "POST /v1/chat/completions"]
    assert http.parent_id == PARENT and http.kind == SERVER
    assert http.attributes["dac.request_id"] == answer.headers["x-dac-request-id"]
    for name in needed[1:4]:
        (rpc,) = [span for span in spans if name in span.name]
        assert rpc.parent_id == http.span_id and rpc.kind == SERVER and not rpc.failed
    commit = next(span for span in spans if "BudgetService/Commit" in span.name)
    assert commit.parent_id == http.span_id and commit.attributes["rpc.status_code"] == "OK"
    (genai,) = [span for span in spans if span.name.startswith("chat ")]
    assert genai.kind == CLIENT and "ProviderService/Generate" in by_id[genai.parent_id].name
    said = genai.attributes
    assert (said["gen_ai.operation.name"], said["gen_ai.provider.name"]) == ("chat", "mock")
    assert said["gen_ai.request.model"] == "gpt-4o-mini" and said["gen_ai.response.model"]
    assert said["gen_ai.usage.input_tokens"] > 0 and said["gen_ai.usage.output_tokens"] == 60
    assert said["gen_ai.response.finish_reasons"] == ["stop"] and "error.type" not in said
    if "--split" in dac.arguments:
        assert {span.service for span in spans} >= {"dac-gateway", "dac-router", "dac-budget", "dac-provider"}
    else:
        assert {span.service for span in spans} == {"dac-all"}
    record = dac.record(answer)
    assert record["trace_id"] == trace


def test_a_conversation_and_a_look_at_its_record_are_in_the_trace_too(traced):
    """What a chat touches beyond the shortest way: the thread and the cache in memory, its record in audit."""
    dac, receiver = traced
    trace = TRACE[:-1] + "4"
    answer = chat(dac, trace, thread_id="traced-thread", enable_cache=True)
    assert answer.status_code == 200
    path = f"/v1/requests/{answer.headers['x-dac-request-id']}"
    headers = {**dac.headers, "traceparent": f"00-{trace}-{PARENT}-01"}
    assert httpx.get(dac.url + path, headers=headers, timeout=30).status_code == 200
    of_chat = ("Route", "Reserve", "Generate", "OpenTurn", "AppendMessages", "Lookup", "Store")
    spans = spans_of(receiver, trace, "GET /v1", "POST /v1", "GetRequest", "Commit", *of_chat)
    tops = {span.name.split(" ")[0]: span for span in spans if span.parent_id == PARENT}
    for span in spans:
        method = span.name.rsplit("/", 1)[-1]
        if method in of_chat:
            assert span.parent_id == tops["POST"].span_id and not span.failed
        elif method == "GetRequest":
            assert span.parent_id == tops["GET"].span_id and span.attributes["rpc.status_code"] == "OK"
    if "--split" in dac.arguments:
        by_service = {span.service for span in spans}
        assert by_service == {f"dac-{name}" for name in ("gateway", "router", "budget", "provider", "memory", "audit")}


def test_every_attempt_is_a_span_and_a_failed_one_says_why(traced, upstream_process):
    dac, receiver = traced
    trace = TRACE[:-1] + "2"
    upstream_process.script("status", status=500, times=1)
    assert chat(dac, trace).status_code == 200
    spans = receiver.until(
        lambda have: len(both := [s for s in have.named("chat ") if s.trace_id == trace]) == 2 and both
    )
    failed, good = sorted(spans, key=lambda span: not span.failed)
    assert failed.attributes["error.type"] == "PROVIDER_FAILED" and "error.type" not in good.attributes
    assert failed.attributes["dac.attempt_id"] != good.attributes["dac.attempt_id"]


def test_metrics_come_by_otlp_too_and_nothing_sent_holds_prompts_or_keys(traced):
    dac, receiver = traced
    assert chat(dac, TRACE[:-1] + "3").status_code == 200
    names = {"gen_ai.client.operation.duration", "gen_ai.client.token.usage", "rpc.server.call.duration"}
    receiver.until(lambda have: names <= set(have.metrics))
    spans_of(receiver, TRACE[:-1] + "3", "POST /v1", "chat ")
    for secret in (PROMPT, dac.key, "mock-secret-canary", "twelve thirteen"):
        assert secret.encode() not in receiver.raw


def series(dac):
    page = httpx.get(f"{dac.url}/metrics", headers=dac.operator_headers).text
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in page.splitlines() if line[0] != "#"}


def test_a_chat_shows_on_the_metrics_page_with_its_charge(dac):
    name = 'revenue_total_usd{model="mock/gpt-4o-mini"}'
    before = series(dac)
    answer = dac.chat()
    dac.record(answer)
    after = series(dac)
    for counted in (
        'chat_completions_total{model="mock/gpt-4o-mini",outcome="ok"}',
        'orchestra_model_selections{model="mock/gpt-4o-mini"}',
        'provider_attempts_total{outcome="ok",provider="mock"}',
        'http_requests_total{method="POST",route="/v1/chat/completions",status="200"}',
    ):
        assert after[counted] == before.get(counted, 0) + 1, counted
    assert after[name] - before.get(name, 0) == pytest.approx(float(answer.headers["x-dac-cost-usd"]))


def test_made_up_paths_and_models_make_no_new_series(dac):
    def abuse(index):
        client.get(f"/made/up/{index}")
        client.request("PROPFIND", f"/made/up/{index}")
        body = {"model": f"made/up-{index}", "messages": [{"role": "user", "content": "x"}]}
        assert client.post("/v1/chat/completions", json=body).status_code in (400, 404)

    with httpx.Client(base_url=dac.url, headers=dac.headers, timeout=20) as client:
        abuse(0)
        client.get("/metrics", headers=dac.operator_headers)
        # What was refused is recorded a moment later.
        end = time.monotonic() + 10
        while 'budget_operations_total{operation="record",outcome="ok"}' not in (before := set(series(dac))):
            assert time.monotonic() < end
            time.sleep(0.02)
        for index in range(1, 100):
            abuse(index)
    assert set(series(dac)) - before <= {name for name in series(dac) if name.startswith("rpc_server")}
    assert not any("made" in name or "PROPFIND" in name for name in series(dac))


def test_logs_are_json_lines_without_secrets(traced, upstream_process):
    dac, _ = traced
    upstream_process.script("cut", times=1)
    dac.chat(messages=[{"role": "user", "content": PROMPT}], stream=True)
    whole = (dac.data_dir.parent / "dac.log").read_text()
    for secret in (PROMPT, dac.key, "mock-secret-canary"):
        assert secret not in whole
    assert "Traceback" not in whole
    logged = [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
    assert logged and all({"timestamp", "level", "event", "logger"} <= set(line) for line in logged)
