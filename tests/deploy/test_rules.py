"""The alert rules in Prometheus' hands: each fires on what it is for and on nothing else, and says what to do."""

import json
import re
import subprocess

import pytest
import yaml

from mesh.app import ROOT
from mesh.boards.alerts import ALLOWED, OBJECTIVE, RUNBOOK, alerts, rules
from mesh.boards.files import files
from tests.deploy.expressions import parse, yields
from tests.deploy.promtool_binary import NoPromtool, find_promtool

RULES = ROOT / "deploy" / "prometheus" / "rules.yaml"
ALERTS = {alert.name: alert for alert in alerts()}
HTTP = 'http_requests_total{route="/v1/chat/completions",method="POST",status="%d",job="dac",instance="a"}'
GRPC = 'rpc_server_call_duration_seconds_count{rpc_method="dac.gateway.v1.ChatService/Chat",rpc_status_code="%s"}'
RESERVE = (
    'rpc_server_call_duration_seconds_count{rpc_method="dac.budget.v1.BudgetService/Reserve",rpc_status_code="%s"}'
)
FIRST = 'gen_ai_server_time_to_first_token_seconds_bucket{model="m",le="%s"}'
ATTEMPTS = 'provider_attempts_total{provider="mine",outcome="%s"}'
BREAKER = 'router_breaker_open{model="mine/large",provider="mine",instance="%s"}'
SETTLED = 'settlement_attempts_total{outcome="%s"}'
LEDGER = 'budget_operations_total{operation="%s",outcome="ok"}'
UNREAD = 'budget_records_unread{consumer="audit",instance="%s"}'
WITNESS = 'audit_witness_total{witness="w",outcome="%s"}'
COSIGNED = 'audit_witness_age_seconds{witness="%s",instance="%s"}'
CLUSTER = 'envoy_cluster_upstream_rq_xx{envoy_cluster_name="%s",envoy_response_code_class="%d"}'
HEALTHY = 'envoy_cluster_membership_healthy{envoy_cluster_name="gateway_http",instance="%s"}'
BUILD, STARTED = (
    'dac_build_info{job="dac",instance="a",version="1"}',
    'process_start_time_seconds{job="%s",instance="a"}',
)

SAID = {
    # alert → [(what it is about, the steps after which it is looked at, series, whether it fires)]
    "DacErrorBudgetBurnFast": [
        ("every tenth chat fails", 70, {HTTP % 200: "0+90x70", HTTP % 502: "0+10x70"}, True),
        ("streams are cut", 70, {HTTP % 200: "0+90x70", 'chat_failures_total{stage="cut"}': "0+10x70"}, True),
        ("gRPC callers see it", 70, {GRPC % "OK": "0+90x70", GRPC % "UNAVAILABLE": "0+10x70"}, True),
        ("6.5 % for hours", 400, {HTTP % 200: "0+935x400", HTTP % 503: "0+65x400"}, True),
        ("1 % fails", 400, {HTTP % 200: "0+990x400", HTTP % 502: "0+10x400"}, False),
        ("it is over", 90, {HTTP % 200: "0+90x90", HTTP % 502: "0+10x60 600+0x30"}, False),
        ("callers do wrong", 70, {HTTP % 200: "0+50x70", HTTP % 400: "0+50x70", HTTP % 429: "0+50x70"}, False),
        ("nobody asks", 70, {HTTP % 200: "0+0x70", HTTP % 502: "0+0x70"}, False),
    ],
    "DacErrorBudgetBurnSlow": [
        ("2 % for a day", 50, {HTTP % 200: "0+98x50", HTTP % 500: "0+2x50"}, True),
        ("0.6 % for days", 150, {HTTP % 200: "0+994x150", HTTP % 500: "0+6x150"}, True),
        ("0.4 % for days", 150, {HTTP % 200: "0+996x150", HTTP % 500: "0+4x150"}, False),
    ],
    "DacFirstTokenSlow": [
        ("all take 5 to 10 s", 40, {FIRST % "5": "0+0x40", FIRST % "10": "0+60x40", FIRST % "+Inf": "0+60x40"}, True),
        ("a few do", 40, {FIRST % "1": "0+58x40", FIRST % "10": "0+60x40", FIRST % "+Inf": "0+60x40"}, False),
    ],
    "DacAbsent": [("nothing is there", 20, {"up": "1x20"}, True), ("one is there", 20, {BUILD: "1x20"}, False)],
    "DacRestarting": [
        ("it ends again and again", 30, {BUILD: "1x30", STARTED % "dac": "0+300x30"}, True),
        ("it was replaced once", 30, {BUILD: "1x30", STARTED % "dac": "100x15 500x15"}, False),
        ("another program does", 30, {BUILD: "1x30", STARTED % "other": "0+300x30"}, False),
    ],
    "DacProviderFailing": [
        ("most time out", 20, {ATTEMPTS % "ok": "0+2x20", ATTEMPTS % "provider_timeout": "0+8x20"}, True),
        ("it refuses callers", 20, {ATTEMPTS % "ok": "0+2x20", ATTEMPTS % "provider_refused": "0+8x20"}, False),
        ("a third fails", 20, {ATTEMPTS % "ok": "0+6x20", ATTEMPTS % "provider_failed": "0+3x20"}, False),
        ("two calls in all", 16, {ATTEMPTS % "ok": "0x16", ATTEMPTS % "provider_failed": "0x9 2x6"}, False),
    ],
    "DacBreakerOpen": [
        ("open, then on trial", 20, {BREAKER % "a": "1 1 0.5 1 1 0.5 1 1 0.5 1 1 0.5 1 1 0.5 1 1 0.5 1 1"}, True),
        ("one replica's", 20, {BREAKER % "a": "1x20", BREAKER % "b": "0x20"}, True),
        ("it closed", 20, {BREAKER % "a": "1x10 0x10"}, False),
    ],
    "DacNoModelAvailable": [
        ("none", 5, {'router_models_available{instance="a"}': "0x5"}, True),
        ("a new router has not heard yet", 5, {'router_models_available{instance="a"}': "0x5",
                                               'router_models_available{instance="b"}': "4x5"}, False),
    ],
    "DacBudgetFailing": [
        ("its database is away", 10, {RESERVE % "OK": "0+1x10", RESERVE % "UNAVAILABLE": "0+9x10"}, True),
        ("budgets are spent", 10, {RESERVE % "OK": "0+1x10", RESERVE % "RESOURCE_EXHAUSTED": "0+9x10"}, False),
    ],
    "DacSettlementsWaiting": [
        ("two gateways wait", 15, {f'settlements_pending_current{{instance="{one}"}}': "15x15" for one in "ab"}, True),
        ("a few are under way", 15, {'settlements_pending_current{instance="a"}': "9x15"}, False),
        ("a moment's jam", 15, {'settlements_pending_current{instance="a"}': "0x7 90 0x7"}, False),
    ],
    "DacRecordsLost": [
        ("one", 30, {SETTLED % "lost": "0x15 1x15"}, True),
        ("all stored, some again", 30, {SETTLED % "lost": "0x30", SETTLED % "again": "0+5x30"}, False),
    ],
    "DacIndeterminateCharges": [
        ("one a minute", 30, {LEDGER % "expire": "0+1x30"}, True),
        ("a gateway died once", 30, {LEDGER % "expire": "0x15 3x15", LEDGER % "commit": "0+50x30"}, False),
    ],
    "DacAuditBehind": [
        ("every replica tells it", 30, {UNREAD % "a": "2000+100x30", UNREAD % "b": "2000+100x30"}, True),
        ("it catches up", 30, {UNREAD % "a": "5000x10 0x20"}, False),
    ],
    "DacAuditOtherPast": [
        ("it was set back", 90, {WITNESS % "set_back": "0x85 1 2 3 4 5", WITNESS % "cosigned": "0+1x90"}, True),
        ("it was rewritten", 90, {WITNESS % "forked": "0x85 1 2 3 4 5"}, True),
        ("it is away, or refuses", 90, {WITNESS % "unreachable": "0+1x90", WITNESS % "refused": "0+1x90"}, False),
        ("all is well", 90, {WITNESS % "cosigned": "0+1x90", WITNESS % "forked": "0x90"}, False),
    ],
    "DacAuditNotCosigned": [
        ("one of two is away", 90, {COSIGNED % ("w", "a"): "0+60x90", COSIGNED % ("v", "a"): "30x90"}, True),
        ("it came back", 90, {COSIGNED % ("w", "a"): "0+60x80 30x10"}, False),
        ("another replica leads now", 90, {COSIGNED % ("w", "a"): "0+60x70", COSIGNED % ("w", "b"): "_x70 30x20"},
         False),
    ],
    "DacCanaryFailing": [
        ("half of it", 20, {CLUSTER % ("gateway_http", 2): "0+90x20", CLUSTER % ("gateway_http_canary", 2): "0+5x20",
                            CLUSTER % ("gateway_http_canary", 5): "0+5x20"}, True),
        ("as the others", 20, {CLUSTER % (name, code): f"0+{many}x20"
                               for name in ("gateway_http", "gateway_http_canary") for code, many in ((2, 8), (5, 2))},
         False),
        ("none is there", 20, {CLUSTER % ("gateway_http", 5): "0+90x20"}, False),
    ],
    "DacEdgeWithoutGateway": [
        ("none", 5, {HEALTHY % "a": "0x5"}, True),
        ("another Envoy has some", 5, {HEALTHY % "a": "0x5", HEALTHY % "b": "2x5"}, False),
    ],
}  # fmt: skip
STEP_MINUTES = {"DacErrorBudgetBurnSlow": 30}
CASES = [(name, *case) for name, cases in SAID.items() for case in cases]


@pytest.fixture(scope="session")
def promtool():
    try:
        return find_promtool()
    except NoPromtool as error:
        pytest.fail(str(error))


def run(promtool, *arguments):
    return subprocess.run([promtool, *map(str, arguments)], capture_output=True, text=True, timeout=60)


def test_prometheus_takes_the_file(promtool):
    done = run(promtool, "check", "rules", RULES)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_case_that_fires_and_one_that_does_not():
    assert set(SAID) == set(ALERTS)
    for name, cases in SAID.items():
        assert {fires for *_, fires in cases} == {True, False}, name


def asks(cases, tmp_path, step_minutes=1):
    """A file of tests for promtool."""
    tests = [
        {
            "name": f"{name}: {about}",
            "interval": f"{step_minutes}m",
            "input_series": [{"series": one, "values": values} for one, values in series.items()],
            "promql_expr_test": [
                {
                    "expr": f'count(ALERTS{{alertname="{name}",alertstate="firing"}}) > bool 0 or vector(0)',
                    "eval_time": f"{steps * step_minutes}m",
                    "exp_samples": [{"labels": "{}", "value": int(fires)}],
                }
            ],
        }
        for name, about, steps, series, fires in cases
    ]
    # promtool asks every rule at every step: only those that the cases look at, and what is recorded for them.
    asked, wanted = rules(), {name for name, *_ in cases}
    told = " ".join(rule["expr"] for group in asked["groups"] for rule in group["rules"] if rule.get("alert") in wanted)
    for group in asked["groups"]:
        group["rules"] = [one for one in group["rules"] if one.get("alert") in wanted or one.get("record", "?") in told]
    asked["groups"] = [group for group in asked["groups"] if group["rules"]]
    return written({"evaluation_interval": f"{step_minutes}m", "tests": tests}, tmp_path, step_minutes, asked)


def written(document, tmp_path, step_minutes=1, asked=None):
    """The file of tests, beside the rules; those are asked as seldom as there are new figures."""
    asked = asked or rules()
    for group in asked["groups"]:
        group["interval"] = f"{step_minutes}m"
    # JSON is YAML, too.
    (tmp_path / "rules.yaml").write_text(json.dumps(asked))
    # promtool takes groups in any order unless it is told one, and alerts need what is recorded at the same moment.
    order = [group["name"] for group in asked["groups"]]
    whole = {"rule_files": ["rules.yaml"], "group_eval_order": order, **document}
    (tmp_path / "tests.yaml").write_text(json.dumps(whole))
    return tmp_path / "tests.yaml"


@pytest.mark.parametrize("name", list(SAID))
def test_an_alert_fires_on_what_it_is_for_and_on_nothing_else(promtool, tmp_path, name):
    done = run(
        promtool,
        "test",
        "rules",
        asks([case for case in CASES if case[0] == name], tmp_path, STEP_MINUTES.get(name, 1)),
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_wrong_expectation_is_noticed(promtool, tmp_path):
    name, about, minutes, series, fires = CASES[0]
    done = run(promtool, "test", "rules", asks([(name, about, minutes, series, not fires)], tmp_path))
    assert done.returncode == 1 and "FAILED" in done.stdout + done.stderr


def test_what_an_alert_says_is_filled_in(promtool, tmp_path):
    alert = ALERTS["DacProviderFailing"]
    test = {
        "interval": "1m",
        "input_series": [
            {"series": ATTEMPTS % "ok", "values": "0+2x20"},
            {"series": ATTEMPTS % "provider_cut", "values": "0+8x20"},
        ],
        "alert_rule_test": [
            {
                "eval_time": "20m",
                "alertname": alert.name,
                "exp_alerts": [
                    {
                        "exp_labels": {"severity": "warning", "provider": "mine"},
                        "exp_annotations": {
                            "summary": "mine fails 80% of its calls",
                            "description": alert.description,
                            "runbook_url": alert.runbook,
                        },
                    }
                ],
            }
        ],
    }
    done = run(promtool, "test", "rules", written({"evaluation_interval": "1m", "tests": [test]}, tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", list(ALERTS))
def test_an_alert_says_what_to_do_and_where_more_stands(name):
    alert = ALERTS[name]
    assert alert.severity in ("critical", "warning") and re.fullmatch(r"Dac([A-Z][a-z]+)+", name)
    assert alert.summary and len(alert.description) > 60 and alert.description.endswith(".")
    page, _, anchor = alert.runbook.partition("#")
    headings = re.findall(r"(?m)^## (.+)$", (ROOT / page).read_text())
    assert anchor in [heading.lower() for heading in headings], f"{page} has no section {name}"


def test_the_page_of_alerts_has_no_others_and_says_the_same_severity():
    text = (ROOT / RUNBOOK).read_text()
    sections = dict(re.findall(r"(?ms)^## (Dac\w+)\n\n(.*?)(?=^## |\Z)", text))
    assert set(sections) == set(ALERTS)
    for name, section in sections.items():
        assert section.startswith(ALERTS[name].severity.capitalize()), name


@pytest.mark.parametrize(
    "rule",
    [rule for group in rules()["groups"] for rule in group["rules"]],
    ids=lambda rule: rule.get("alert", "record"),
)
def test_rules_use_only_names_and_labels_that_are_exported(rule):
    found = yields(parse(rule["expr"]))
    said = " ".join(rule.get("annotations", {}).values())
    assert set(re.findall(r"\$labels\.(\w+)", said)) <= found


def test_the_objective_is_the_one_promised():
    assert OBJECTIVE == 0.995 and ALLOWED == 0.005
    assert (
        "0.072" in ALERTS["DacErrorBudgetBurnFast"].expression
        and "0.5 %" in ALERTS["DacErrorBudgetBurnFast"].description
    )


def test_the_file_is_fresh():
    made, path = files()["prometheus/rules.yaml"], ROOT / "deploy" / "prometheus" / "rules.yaml"
    assert path.read_text() == made, "run `python -m mesh.boards deploy`"
    assert yaml.safe_load(RULES.read_text()) == rules()
