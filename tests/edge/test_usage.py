"""Usage, balances, exports, reconciliation and a warning, through the whole house."""

import csv
import datetime as dt
import http.server
import io
import json
import os
import pathlib
import subprocess
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from tests import programs
from tests.edge.conftest import Dac, UpstreamProcess, make_dac

MODEL = "mock/gpt-4o-mini"


@pytest.fixture(scope="module")
def events() -> Iterator[tuple[str, list[dict[str, object]]]]:
    """A receiver of webhooks: its address, and what it got."""
    got: list[dict[str, object]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/", got
        server.shutdown()


@pytest.fixture(scope="module")
def own(
    tmp_path_factory: pytest.TempPathFactory, upstream_process: UpstreamProcess, events: tuple[str, object]
) -> Iterator[Dac]:
    """A DAC that tells of thresholds, with two budgets and four chats."""
    running = make_dac(tmp_path_factory.mktemp("usage"), upstream_process)  # type: ignore[arg-type]
    running.env |= {
        "DAC_BUDGET_ALERT_WEBHOOK_URL": events[0],
        "DAC_BUDGET_ALERT_WEBHOOK_SECRET": "x" * 32,
        "DAC_BUDGET_ALERT_WEBHOOK_ALLOW_PRIVATE_ADDRESS": "true",
        "DAC_BUDGET_ALERT_INTERVAL_S": "0.2",
    }
    running.start()
    hard = {"level": {"kind": "KIND_ORG"}, "window": "WINDOW_MONTH", "limit_nano_usd": "1000000000",
            "thresholds": {"percent": []}}  # fmt: skip
    soft = {"level": {"kind": "KIND_ORG"}, "window": "WINDOW_DAY", "limit_nano_usd": "1000000",
            "thresholds": {"percent": [1, 100]}, "enforcement": "ENFORCEMENT_SOFT"}  # fmt: skip
    for budget in (hard, soft):
        httpx.put(f"{running.url}/v1/budgets", json=budget, headers=running.headers).raise_for_status()
    for _ in range(4):
        running.record(running.chat())
    yield running
    assert running.stop() == 0, running.log()


def run(dac: Dac, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "DAC_BASE_URL": dac.url, "DAC_API_KEY": dac.key}
    return programs.run([*arguments], env)


def test_rows_and_files_say_the_same(own: Dac) -> None:
    found = own.get("/v2/usage?group_by=DIMENSION_MODEL&group_by=DIMENSION_KEY&step=WINDOW_DAY").json()
    (row,) = found["rows"]
    assert row["group"][0] == MODEL and row["requests"] == "4" and int(row["cost_nano_usd"]) > 0
    assert found["total"]["cost_nano_usd"] == row["cost_nano_usd"]
    file = own.get("/v2/usage/export?group_by=DIMENSION_MODEL&group_by=DIMENSION_KEY&step=WINDOW_DAY")
    assert file.headers["content-type"].startswith("text/csv") and file.headers["content-disposition"] == "attachment"
    (line,) = csv.DictReader(io.StringIO(file.text, newline=""))
    assert (line["model"], line["key"], line["cost_nano_usd"]) == (MODEL, row["group"][1], row["cost_nano_usd"])
    as_json = own.get("/v2/usage/export?group_by=DIMENSION_MODEL&format=json").json()
    assert as_json["rows"][0]["cost_nano_usd"] == row["cost_nano_usd"]
    shown = run(own, "usage", "--by", "model", "--csv")
    assert shown.returncode == 0 and MODEL in shown.stdout
    refused = own.get("/v2/usage?group_by=DIMENSION_TAG")
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "tag_key"
    assert httpx.get(f"{own.url}/v2/usage/export").status_code == 401


def test_status_usage_and_balance_of_the_caller(own: Dac) -> None:
    status = own.get("/v2/budget/status").json()
    soft, hard = status["budgets"]
    spent = hard["spent_nano_usd"]
    assert status["today_nano_usd"] == status["month_nano_usd"] == soft["spent_nano_usd"] == spent != "0"
    assert soft["reached_percent"] == [1] and hard["reached_percent"] == []
    mine = own.get("/v1/users/me/usage").json()
    assert mine["total"]["cost_nano_usd"] == spent and mine["rows"][0]["group"] == [MODEL]
    balance = own.get("/v1/users/me/balance").json()
    assert [one["enforcement"] for one in balance["balances"]] == ["ENFORCEMENT_SOFT", "ENFORCEMENT_HARD"]
    assert balance["remaining_nano_usd"] == str(10**9 - int(spent)) == balance["balances"][1]["remaining_nano_usd"]


def test_a_threshold_is_told(own: Dac, events: tuple[str, list[dict[str, object]]]) -> None:
    end = time.monotonic() + 10
    while not events[1] and time.monotonic() < end:
        time.sleep(0.05)
    (event,) = events[1]
    assert (event["event"], event["threshold_percent"], event["limit_nano_usd"]) == ("budget.threshold", 1, str(10**6))


def test_what_the_provider_says_is_compared(own: Dac, tmp_path: pathlib.Path) -> None:
    (row,) = own.get("/v2/usage?group_by=DIMENSION_MODEL&step=WINDOW_DAY").json()["rows"]
    start = int(dt.datetime.fromisoformat(row["start"]).timestamp())
    usd = int(row["cost_nano_usd"]) / 1e9
    file = tmp_path / "costs.csv"
    head = "start_time,end_time,amount_value,amount_currency,line_item\n"
    file.write_text(f'{head}{start},{start + 86400},{usd:.9f},usd,"gpt-4o-mini-2024-07-18, input"\n')
    command = ("cost", "reconcile", "--provider", "openai", "--as", "mock", str(file))
    agreed = run(own, *command)
    assert agreed.returncode == 0 and "agrees" in agreed.stdout, agreed.stderr
    file.write_text(f'{head}{start},{start + 86400},{usd * 2:.9f},usd,"gpt-4o-mini-2024-07-18, input"\n')
    apart = run(own, *command)
    assert apart.returncode == 1 and "50.00 % apart" in apart.stdout
