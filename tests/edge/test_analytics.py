"""Analytics through the whole house: a few chats, and every figure as GET /v1/requests tells it."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests import programs
from tests.edge.conftest import Dac, UpstreamProcess, make_dac

MODEL = "mock/gpt-4o-mini"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, upstream_process: UpstreamProcess) -> Iterator[Dac]:
    """A DAC of the module's own with five chats (two streams, a cache hit, a refusal) and event lines."""
    running = make_dac(tmp_path_factory.mktemp("analytics"), upstream_process)  # type: ignore[arg-type]
    # Nothing is loaded when the first answer is stored: it is there for the chat behind it.
    running.env |= {"DAC_AUDIT_EVENT_LINES": "true", "DAC_MEMORY_EMBEDDING_MODEL": "hashed"}
    running.start()
    with client(running) as http:
        for body in (
            {"model": MODEL, "stream": True},
            {"model": MODEL, "stream": True},
            {"model": MODEL, "enable_cache": True},
            {"model": MODEL, "enable_cache": True},
        ):
            http.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "Hello"}], **body}).read()
        refused = http.post(
            "/v1/chat/completions", json={"model": "no/such", "messages": [{"role": "user", "content": "x"}]}
        )
        assert refused.status_code >= 400
    yield running
    assert running.stop() == 0, running.log()


def client(dac: Dac) -> httpx.Client:
    return httpx.Client(base_url=dac.url, headers={"authorization": f"Bearer {dac.key}"}, timeout=30)


def requests_of(http: httpx.Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while len(found) < 5:
        found = http.get("/v1/requests").json()["requests"]
    return found


def total(figures: dict[str, Any], name: str) -> int:
    return int(figures.get(name) or 0)


def test_the_dashboard_equals_the_requests(own: Dac) -> None:
    with client(own) as http:
        records = requests_of(http)
        answer = http.get("/v2/analytics/dashboard", params={"group_by": "ANALYTICS_DIMENSION_MODEL"})
        assert answer.status_code == 200, answer.text
        told = answer.json()
        mine = http.get("/v1/users/me/analytics/dashboard").json()
    figures = told["total"]
    usage = [attempt.get("usage", {}) for record in records for attempt in record.get("attempts", [])]
    assert total(figures, "requests") == len(records) == 5
    assert total(figures, "ok") == sum(record["outcome"] == "OUTCOME_OK" for record in records) == 4
    assert total(figures, "refused") == sum(record["outcome"] == "OUTCOME_REFUSED" for record in records) == 1
    assert total(figures, "cost_nano_usd") == sum(int(record.get("cost_nano_usd") or 0) for record in records)
    for kind in ("input_tokens", "output_tokens"):
        assert total(figures, kind) == sum(int(one.get(kind) or 0) for one in usage)
    assert total(figures, "cache_hits") == 1 and total(figures, "cache_lookups") == 2
    assert total(figures, "saved_nano_usd") == sum(
        int(record.get("cache", {}).get("saved_nano_usd") or 0) for record in records
    )
    assert int(figures["first_token"]["count"]) == 2 and float(figures["latency"]["p95_ms"]) > 0
    by_model = {one.get("value", ""): total(one["figures"], "requests") for one in told["breakdowns"][0]["groups"]}
    assert by_model == {MODEL: 4, "": 1}
    # The key asked for all of them itself.
    assert mine["total"] == figures and total(mine["features"], "streams") == 2


def test_nothing_is_recommended_without_evidence(own: Dac) -> None:
    with client(own) as http:
        answer = http.get("/v2/recommendations").json()
    assert not answer.get("recommendations")
    assert "recommendations begin at 100" in answer["missing"][0]["message"]


def run(own: Dac, *words: str) -> str:
    done = programs.run([*words], {**own.env, "DAC_BASE_URL": own.url, "DAC_API_KEY": own.key})
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_commands_tell_the_same_and_a_rebuild_changes_nothing(own: Dac) -> None:
    before = json.loads(run(own, "analytics", "show", "--by", "intent,provider", "--json"))
    days = [json.loads(line) for line in run(own, "analytics", "rebuild", "--json").splitlines()]
    assert sum(int(day["requests"]) for day in days) == 5
    after = json.loads(run(own, "analytics", "show", "--by", "intent,provider", "--json"))
    assert before["total"] == after["total"] and before["breakdowns"] == after["breakdowns"]
    assert "window before" in run(own, "analytics", "show", "--mine")
    assert run(own, "recommendations") == ""


def test_each_request_is_one_line_and_says_nothing_of_its_text(own: Dac) -> None:
    lines = [json.loads(line) for line in own.log().splitlines() if line.startswith('{"event":"request.')]
    assert sorted(line["event"] for line in lines) == [*["request.ok"] * 4, "request.refused"]
    with client(own) as http:
        assert {line["request_id"] for line in lines} == {one["request_id"] for one in requests_of(http)}
    assert not any("Hello" in json.dumps(line) for line in lines)
