"""One model at several endpoints of a running DAC: traffic moves and comes back, each charges its own price."""

import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests import programs
from tests.edge.conftest import Dac, UpstreamProcess, make_dac

MORE = """
  - id: fleet/even
    context_tokens: 32000
    quality: 0.65
    price: {input_usd_per_mtok: "1", output_usd_per_mtok: "2"}
    deployments:
      - {provider: mock, name: even-eu}
      - {provider: second, name: even-us, price: {input_usd_per_mtok: "10", output_usd_per_mtok: "20"}}
  - id: fleet/ranked
    context_tokens: 32000
    price: {input_usd_per_mtok: "1", output_usd_per_mtok: "2"}
    deployments: [{provider: second, name: ranked-us, priority: 1}, {provider: mock, name: ranked-eu}]
  - id: fleet/lame
    context_tokens: 32000
    quality: 0.99
    capabilities: [tools, images, json, reasoning]
    price: free
    deployments: [{provider: dead, name: lame-dead}, {provider: second, name: lame-us, priority: 1}]
  - id: fleet/sticky
    context_tokens: 32000
    price: free
    sticky: true
    deployments: [{provider: mock, name: sticky-eu}, {provider: second, name: sticky-us}]
  - id: fleet/half-priced
    context_tokens: 32000
    deployments: [{provider: mock, name: half-eu}, {provider: second, name: half-us, price: free}]
  - id: fleet/vectors
    context_tokens: 8000
    capabilities: [embeddings]
    price: {input_usd_per_mtok: "1", output_usd_per_mtok: "0"}
    deployments: [{provider: mock, name: vectors-embed-eu}, {provider: second, name: vectors-embed-us, priority: 1}]
provider: {cooldown_min_s: 0.5}
"""
USD = {"mock": (1, 2), "second": (10, 20)}


@pytest.fixture(scope="module")
def fleet(upstream_process: UpstreamProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dac]:
    running = make_dac(tmp_path_factory.mktemp("fleet"), upstream_process, more=MORE)  # type: ignore[arg-type]
    running.start()
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def _clean(upstream_process: UpstreamProcess) -> Iterator[None]:
    upstream_process.clear()
    yield
    upstream_process.clear()


def attempts_of(dac: Dac, answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    attempts: Any = dac.record(answer)["attempts"]
    return list(attempts)


def asked_at(dac: Dac, answer: httpx.Response) -> list[str]:
    return [attempt["provider"] for attempt in attempts_of(dac, answer)]


def test_both_answer_and_each_charges_its_own_price(fleet: Dac) -> None:
    seen = set()
    for _ in range(40):
        [attempt] = attempts_of(fleet, fleet.chat(model="fleet/even"))
        seen.add(attempt["provider"])
        put, out = USD[attempt["provider"]]
        usage = attempt["usage"]
        charged = int(usage["input_tokens"]) * put * 1000 + int(usage["output_tokens"]) * out * 1000
        assert int(attempt["cost_nano_usd"]) == charged > 0
        if len(seen) == 2:
            return
    raise AssertionError(f"all went to {seen}")


def test_traffic_leaves_a_slow_one(fleet: Dac, upstream_process: UpstreamProcess) -> None:
    upstream_process.script("ok", model="even-eu", first_token_delay_s=0.6)
    asked = [asked_at(fleet, fleet.chat(model="fleet/even", stream=True))[0] for _ in range(12)]
    assert asked.count("mock") <= 2 and asked[-6:] == ["second"] * 6


def test_a_rate_limit_spills_over_and_comes_back_when_it_is_over(fleet: Dac, upstream_process: UpstreamProcess) -> None:
    assert asked_at(fleet, fleet.chat(model="fleet/ranked")) == ["mock"]
    upstream_process.script("429", model="ranked-eu", retry_after="1", times=1)
    limited = time.monotonic()
    attempts = attempts_of(fleet, fleet.chat(model="fleet/ranked"))
    assert [(one["provider"], one["status_code"]) for one in attempts] == [("mock", 429), ("second", 200)]
    spilled = asked_at(fleet, fleet.chat(model="fleet/ranked"))
    assert spilled == ["second"] or time.monotonic() - limited > 1
    while asked_at(fleet, fleet.chat(model="fleet/ranked")) != ["mock"]:
        assert time.monotonic() - limited < 10, "it did not come back"
    assert time.monotonic() - limited >= 1


def test_a_cut_off_endpoint_is_left_and_the_model_stays_available(fleet: Dac) -> None:
    assert asked_at(fleet, fleet.chat(model="fleet/lame")) == ["dead", "second"]
    assert asked_at(fleet, fleet.chat(model="fleet/lame")) in (["second"], ["dead", "second"])
    end = time.monotonic() + 10
    while not any(
        (one["model"], one["provider"], one["state"]) == ("fleet/lame", "dead", "STATE_OPEN")
        for one in fleet.get("/v1/status").json().get("breakers", [])
    ):
        assert time.monotonic() < end, "its own breaker did not open"
        fleet.chat(model="fleet/lame")
    assert "fleet/lame" in [one["id"] for one in fleet.get("/v1/models").json()["data"]]
    best = fleet.usual_chat(model="auto:quality")
    assert best.headers["x-dac-model"] == "fleet/lame" and asked_at(fleet, best)[-1] == "second"


def test_conversations_stay_where_they_began(fleet: Dac) -> None:
    homes = set()
    for topic in range(12):
        begun = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": f"About {topic}"}]
        turns = [begun, [*begun, {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "Go on"}]]
        places = [asked_at(fleet, fleet.chat(model="fleet/sticky", messages=turn))[0] for turn in turns]
        assert places[0] == places[1]
        homes.add(places[0])
    assert homes == {"mock", "second"}


def test_under_a_budget_only_the_priced_endpoint_is_asked(fleet: Dac) -> None:
    made = httpx.post(f"{fleet.url}/v1/keys", headers=fleet.headers, json={"name": "limited"}).json()
    level = {"kind": "KIND_KEY", "id": made["key"]["key_id"]}
    body = {"level": level, "window": "WINDOW_DAY", "limit_nano_usd": "1000000000"}
    assert httpx.put(f"{fleet.url}/v1/budgets", headers=fleet.headers, json=body).status_code == 200
    limited = dataclasses.replace(fleet, key=made["token"])
    places = [
        asked_at(fleet, limited.chat(model="fleet/half-priced", messages=[{"role": "user", "content": str(number)}]))
        for number in range(8)
    ]
    assert places == [["second"]] * 8


def test_embeddings_go_to_another_endpoint_too(fleet: Dac, upstream_process: UpstreamProcess) -> None:
    upstream_process.script("503", model="vectors-embed-eu", times=1)
    answer = httpx.post(
        f"{fleet.url}/v1/embeddings",
        json={"model": "fleet/vectors", "input": "hello"},
        headers=fleet.headers,
        timeout=30,
    )
    assert asked_at(fleet, answer) == ["mock", "second"]


def test_explain_names_the_endpoint(fleet: Dac) -> None:
    answer = fleet.chat(model="fleet/lame")
    fleet.record(answer)
    env = {**fleet.env, "DAC_BASE_URL": fleet.url, "DAC_API_KEY": fleet.key}
    told = programs.run(["explain", answer.headers["x-dac-request-id"]], env)
    assert told.returncode == 0, told.stderr
    assert "fleet/lame at second: ok" in told.stdout
