"""Routes of a running DAC: read from the prompt, asked for without sending, and held by an operator's hand."""

import pathlib
import time

import grpc
import httpx
import pytest

from dac.router.v1 import router_pb2, router_pb2_grpc
from tests.edge.conftest import Dac, UpstreamProcess
from tests.edge.test_cli import answered, run

CODE = "Write a Python function that merges two sorted lists, and test it."
MODEL = "mock/gpt-4o-mini"


def dry_run(dac: Dac, key: str = "", **fields: object) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"} if key else dac.headers
    return httpx.post(f"{dac.url}/v1/route", headers=headers, json=fields, timeout=30)


def test_a_chat_with_auto_is_read_and_its_features_stand_on_the_record(dac: Dac) -> None:
    record = dac.record(dac.chat(model="auto", messages=[{"role": "user", "content": CODE}]))
    features, route = record["features"], record["route"]
    assert features["intent"] == "coding_help" and features["language"] == "en"  # type: ignore[index]
    assert 0 < features["complexity"] < 1 and int(features["input_tokens_estimated"]) > 5  # type: ignore[index]
    assert "coding prompt" in route["reason"] and route["basis"] == "best"  # type: ignore[index,operator]
    assert CODE not in str(record), "the prompt is not kept"
    named = dac.record(dac.chat(messages=[{"role": "user", "content": CODE}]))
    assert not named["features"].get("intent"), "nobody reads the prompt of a named model"  # type: ignore[attr-defined]
    assert not named["features"].get("needs_tools")  # type: ignore[attr-defined]
    told = dac.record(dac.chat(model="auto", task_type="math", messages=[{"role": "user", "content": "Hi"}]))
    assert told["features"]["intent"] == "reasoning_math"  # type: ignore[index]


PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAA"
    "AfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def test_what_a_request_needs_of_who_answers_stands_on_the_record_and_counts_in_a_trial(
    dac: Dac, tmp_path: pathlib.Path
) -> None:
    picture = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
    tool = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}
    asked = {"messages": [{"role": "user", "content": picture}], "tools": [tool]}
    for model in ("auto", "mock/gpt-4o-mini"):
        record = dac.record(dac.chat(model=model, **asked))
        features = record["features"]
        assert (features["needs_images"], features["needs_tools"]) == (True, True)  # type: ignore[index]
        assert not features.get("needs_json") and not features.get("long_context")  # type: ignore[attr-defined]
    assert "needs tools and images" in run(dac, "explain", str(record["request_id"])).stdout
    file = tmp_path / "blind.yaml"
    file.write_text('policies: {blind: {allowed_models: ["second/small"]}}')
    tried = answered(run(dac, "policy", "test", str(file), "--limit", "2", "--json"))
    assert tried["refused_then"] == 2 and tried["refused_now"] == 0
    assert any("cannot see images" in one["refused_then"] for one in tried["changed"])  # type: ignore[attr-defined]
    long = dry_run(dac, model="auto", input_tokens=30_000, prompt="Go on", needs_json=True).json()["features"]
    assert long["long_context"] and long["needs_json"] and not long["needs_images"]


def test_a_route_that_is_only_asked_for_sends_nothing(dac: Dac, upstream_process: UpstreamProcess) -> None:
    before = len(upstream_process.requests())
    answer = dry_run(dac, model="auto", prompt=CODE, request_id="seed").json()
    assert answer["features"]["intent"] == "coding_help" and answer["candidates"] and answer["route"]["reason"]
    same = dry_run(dac, model="auto", request_id="seed", messages=[{"role": "user", "content": CODE}]).json()
    assert same["candidates"] == answer["candidates"] and same["features"]["intent"] == "coding_help"
    bounded = dry_run(dac, model="auto", prompt=CODE, min_quality=0.79).json()["route"]["candidates"]
    assert any("is below the 0.79 asked for" in one["excluded"] for one in bounded)
    assert len(upstream_process.requests()) == before
    unknown = dry_run(dac, model="auto", promt=CODE)
    assert unknown.status_code == 400 and 'Did you mean "prompt"?' in unknown.json()["error"]["message"]


def test_the_keys_own_list_counts_also_over_grpc(dac: Dac) -> None:
    made = httpx.post(
        f"{dac.url}/v1/keys", headers=dac.headers, json={"name": "narrow", "models": ["second/*"]}, timeout=30
    ).json()
    token = made["token"]
    wide = dry_run(dac, token, model="auto", allowed_models=["*"]).json()
    assert {one["provider"] for one in wide["candidates"]} == {"second"}
    with grpc.insecure_channel(dac.grpc_address) as channel:
        router = router_pb2_grpc.RouterServiceStub(channel)
        request = router_pb2.RouteRequest(model="auto", allowed_models=["*"])
        found = router.Route(request, metadata=[("authorization", f"Bearer {token}")], timeout=10)
        assert {one.provider for one in found.candidates} == {"second"}


def test_the_command_shows_candidates_their_sides_and_the_sentence(dac: Dac) -> None:
    shown = run(dac, "route", CODE, "--profile", "quality")
    assert shown.returncode == 0, shown.stderr
    for word in (
        "MODEL",
        "QUALITY",
        "LATENCY",
        "COST",
        "LEFT OUT",
        "quality: ",
        "prompt: coding_help",
        "policy: default@",
    ):
        assert word in shown.stdout, word
    value = answered(run(dac, "route", "--json", stdin=CODE))
    assert value["route"]["reason"] and value["features"]["intent"] == "coding_help"  # type: ignore[index]
    nothing = run(dac, "route", "--json", stdin="")
    assert nothing.returncode == 2 and "nothing to route" in nothing.stderr


def test_an_operator_takes_a_model_out_of_service_and_back(dac: Dac) -> None:
    refused = run(dac, "breaker", "open", MODEL)
    assert refused.returncode == 1 and "operator" in refused.stderr
    try:
        opened = run(dac, "breaker", "open", MODEL, "--note", "wrong answers", key="")
        assert opened.returncode == 0 and "held open" in opened.stderr, opened.stderr
        assert "held open" in run(dac, "breaker", "list").stdout
        chat = dac.chat()
        assert chat.status_code == 503 and "an operator holds its circuit breaker open" in chat.text
        left_out = dry_run(dac, model="auto", prompt="Hi").json()["route"]["candidates"]
        assert {one["model"]: one["excluded"] for one in left_out}[
            MODEL
        ] == "an operator holds its circuit breaker open"
        state = httpx.get(f"{dac.url}/v1/status", headers=dac.headers, timeout=30).json()["breakers"]
        assert [(one["state"], one["forced"]) for one in state if one["model"] == MODEL] == [("STATE_OPEN", True)]
    finally:
        assert run(dac, "breaker", "auto", MODEL, key="").returncode == 0
    assert dac.chat().status_code == 200


def test_live_speed_is_learned_from_streams(dac: Dac) -> None:
    for _ in range(9):
        dac.chat(stream=True)
    end = time.monotonic() + 10
    while True:
        speeds = httpx.get(f"{dac.url}/v1/status", headers=dac.headers, timeout=30).json().get("speeds") or []
        mine = [one for one in speeds if one["model"] == MODEL]
        if mine and mine[0]["answers"] >= 8:
            break
        assert time.monotonic() < end, speeds
        time.sleep(0.05)
    assert 0 < mine[0]["first_token_p50_ms"] <= mine[0]["first_token_p95_ms"]


@pytest.mark.parametrize("profile", ["local-preferred", "performance"])
def test_the_newer_profiles_answer(dac: Dac, profile: str) -> None:
    assert dac.chat(model=f"auto:{profile}").status_code == 200
    assert dac.chat(model="auto", routing_profile=profile).status_code == 200
