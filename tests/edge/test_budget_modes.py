"""Through the whole house: streams that are held in steps, budgets of every kind over HTTP, and the emergency stop."""

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.edge.conftest import Dac, UpstreamProcess, make_dac
from tests.edge.test_failures import until
from tests.edge.test_rescue import chunks_of, said
from tests.upstream.answers import WORDS

INPUT, OUTPUT = 150, 600
"""Nano-USD per token of mock/gpt-4o-mini."""


@pytest.fixture(scope="module")
def stepwise(tmp_path_factory: pytest.TempPathFactory, upstream_process: UpstreamProcess) -> Iterator[Dac]:
    """A DAC that holds streams in steps of ten tokens."""
    more = "budget: {reservation_mode: balanced, default_output_tokens: 10, extend_output_tokens: 10}\n"
    running = make_dac(tmp_path_factory.mktemp("stepwise"), upstream_process, more=more)  # type: ignore[arg-type]
    running.start()
    yield running
    running.stop()


def with_limit(dac: Dac, nano_usd: int) -> tuple[Dac, dict[str, Any]]:
    """A key of its own with a limit, and its budget."""
    made = httpx.post(f"{dac.url}/v1/keys", headers=dac.headers, json={"name": "limited"}).json()
    level = {"kind": "KIND_KEY", "id": made["key"]["key_id"]}
    body = {"level": level, "window": "WINDOW_DAY", "limit_nano_usd": str(nano_usd)}
    answer = httpx.post(f"{dac.url}/v2/budgets", headers=dac.headers, json=body)
    assert answer.status_code == 200, answer.text
    return dataclasses.replace(dac, key=made["token"]), answer.json()["budget"]


def test_a_stream_is_held_in_steps_and_arrives_whole(stepwise: Dac, upstream_process: UpstreamProcess) -> None:
    upstream_process.clear()
    caller, budget = with_limit(stepwise, 10**9)
    answer = caller.chat(stream=True, enable_rescue=False)
    assert said(chunks_of(answer.text)) == WORDS and answer.text.endswith("data: [DONE]\n\n")
    (asked,) = upstream_process.requests()
    assert "max_tokens" not in asked["body"] and "max_completion_tokens" not in asked["body"]
    record = caller.record(answer)
    usage = record["attempts"][0]["usage"]
    cost = int(usage["input_tokens"]) * INPUT + int(usage["output_tokens"]) * OUTPUT
    assert int(record["cost_nano_usd"]) == cost <= int(record["reserved_nano_usd"])
    assert int(record["reserved_nano_usd"]) > 10 * OUTPUT * 2, "more was held while it grew"
    shown = stepwise.get(f"/v2/budgets/{budget['budget_id']}").json()["budget"]
    assert (shown["spent_nano_usd"], shown["reserved_nano_usd"]) == (str(cost), "0")


def test_a_stream_ends_where_the_budget_does(stepwise: Dac, upstream_process: UpstreamProcess) -> None:
    upstream_process.clear()
    upstream_process.script("ok", token_delay_s=0.005)
    limit = 40 * INPUT + 25 * OUTPUT
    caller, budget = with_limit(stepwise, limit)
    answer = caller.chat(stream=True, enable_rescue=False)
    shown = said([one for one in chunks_of(answer.text) if "choices" in one])
    assert shown and WORDS.startswith(shown) and len(shown) < len(WORDS)
    assert "[DONE]" not in answer.text
    error = json.loads(answer.text.split("\n\n")[-2].removeprefix("data: "))["error"]
    assert error["code"] == "insufficient_quota"
    record = caller.record(answer)
    assert record["outcome"] == "OUTCOME_FAILED" and record["reason"] == "ERROR_REASON_BUDGET_EXHAUSTED"
    assert 0 < int(record["cost_nano_usd"]) <= limit
    left = stepwise.get(f"/v2/budgets/{budget['budget_id']}").json()["budget"]
    assert (left["spent_nano_usd"], left["reserved_nano_usd"]) == (record["cost_nano_usd"], "0")
    assert stepwise.get("/v1/budgets:verify").json()["differences"] == []


def test_budgets_over_http(stepwise: Dac) -> None:
    caller, budget = with_limit(stepwise, 10**9)
    url = f"{stepwise.url}/v2/budgets/{budget['budget_id']}"
    change = {"limit_nano_usd": "0", "enforcement": "ENFORCEMENT_HARD"}
    assert httpx.patch(url, headers=stepwise.headers, json=change).json()["budget"]["limit_nano_usd"] == "0"
    refused = caller.chat()
    assert refused.status_code == 429 and refused.headers["x-should-retry"] == "false"
    assert httpx.patch(url, headers=caller.headers, json=change).status_code == 403
    soft = {"enforcement": "ENFORCEMENT_SOFT"}
    assert httpx.patch(url, headers=stepwise.headers, json=soft).json()["budget"]["limit_nano_usd"] == "0"
    passed = caller.chat()
    assert passed.status_code == 200
    assert passed.headers["x-dac-budget-exceeded"].startswith(f"key {budget['level']['id']}: $0.0")
    assert passed.headers["x-dac-budget-exceeded"].endswith(" of $0.0")
    assert "x-dac-budget-exceeded" not in stepwise.chat().headers
    assert httpx.delete(url, headers=stepwise.headers).status_code == 200
    assert httpx.get(url, headers=stepwise.headers).status_code == 404


def test_the_emergency_stop_over_http(stepwise: Dac) -> None:
    stop = httpx.post(f"{stepwise.url}/v2/budgets:stop", headers=stepwise.headers, json={"reason": "leaked key"})
    assert stop.status_code == 200 and stop.json()["stopped_at"]
    refused = stepwise.chat()
    assert refused.status_code == 403 and refused.json()["error"]["code"] == "spending_stopped"
    assert "leaked key" in refused.json()["error"]["message"] and refused.headers["x-should-retry"] == "false"
    resumed = httpx.post(f"{stepwise.url}/v2/budgets:resume", headers=stepwise.headers, json={})
    assert resumed.json() == {"was_stopped": True}
    assert stepwise.chat().status_code == 200


def test_a_charge_is_corrected_over_http(stepwise: Dac) -> None:
    answer = stepwise.chat()
    record = stepwise.record(answer)
    body = {
        "adjustment_id": "01a1fccb-d17f-7000-8000-000000000001",
        "request_id": record["request_id"],
        "amount_nano_usd": "-1",
        "reason": "invoice",
    }
    for _ in range(2):
        adjusted = httpx.post(f"{stepwise.url}/v2/budgets:adjust", headers=stepwise.headers, json=body)
        assert int(adjusted.json()["cost_nano_usd"]) == int(record["cost_nano_usd"]) - 1
    assert stepwise.get("/v1/budgets:verify").json()["differences"] == []


def test_a_teams_budget_and_a_tags_hold_for_the_keys_below(stepwise: Dac) -> None:
    def make(path: str, **body: Any) -> Any:
        answer = httpx.post(f"{stepwise.url}{path}", headers=stepwise.headers, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    team = make("/v1/teams", name="research")["team"]["team_id"]
    inner = make("/v1/teams", name="vision", parent_team_id=team)["team"]["team_id"]
    made = make("/v1/keys", name="in-the-team", team_id=inner)
    member = dataclasses.replace(stepwise, key=made["token"])
    make("/v2/budgets", level={"kind": "KIND_TEAM", "id": team}, window="WINDOW_HOUR", limit_nano_usd="0")
    refused = member.chat()
    assert refused.status_code == 429 and f"team {team}" in refused.json()["error"]["message"]
    assert stepwise.chat().status_code == 200
    make("/v2/budgets", level={"kind": "KIND_ORG"}, window="WINDOW_HOUR", tag="app=search", limit_nano_usd="0")
    tagged = httpx.post(
        f"{stepwise.url}/v1/chat/completions",
        headers={**stepwise.headers, "x-dac-tags": "app=search"},
        json={"model": "mock/gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]},
    )
    assert tagged.status_code == 429 and "for the tag app=search" in tagged.json()["error"]["message"]
    assert stepwise.chat().status_code == 200
    moved = httpx.patch(
        f"{stepwise.url}/v1/keys/{made['key']['key_id']}", headers=stepwise.headers, json={"team_id": ""}
    )
    assert moved.status_code == 200
    # A key that left the team is not held by its budget, within a second.
    until(lambda: member.chat().status_code == 200)
