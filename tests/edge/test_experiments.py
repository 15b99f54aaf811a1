"""Experiments over HTTP and by the command: threads stay in their arm, figures come from requests, a stop ends it."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests import programs
from tests.edge.conftest import Dac, UpstreamProcess, make_dac


@pytest.fixture(scope="module")
def dac(tmp_path_factory: pytest.TempPathFactory, upstream_process: UpstreamProcess) -> Iterator[Dac]:
    more = "\npolicies:\n  default: {exploration: 0}\n  tried: {profile: budget, exploration: 0}\n"
    running = make_dac(tmp_path_factory.mktemp("experiments"), upstream_process, audio=False, more=more)
    running.start()
    yield running
    assert running.stop() == 0


def call(dac: Dac, method: str, path: str, body: Any = None, code: int = 200) -> Any:
    answer = httpx.request(method, dac.url + path, json=body, headers=dac.headers, timeout=30)
    assert answer.status_code == code, answer.text
    return answer.json()


def command(dac: Dac, *arguments: str) -> str:
    env = {**dac.env, "DAC_BASE_URL": dac.url, "DAC_API_KEY": dac.key}
    done = programs.run(["experiment", *arguments], env)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_an_experiment_from_its_beginning_to_its_end(dac: Dac) -> None:
    made = json.loads(command(dac, "create", "a test", "--policy", "tried", "--share", "0.5", "--json"))["experiment"]
    assert (made["kind"], made["state"], made["metric"]) == ("KIND_AB", "STATE_RUNNING", "quality")
    experiment_id = made["experiment_id"]
    refused = call(dac, "POST", "/v2/experiments", {"name": "x", "kind": "KIND_CANARY", "policy": "tried"}, 409)
    assert experiment_id in refused["error"]["message"]
    arms: dict[str, set[str]] = {}
    for number in range(12):
        thread = f"thread-{number % 6}"
        answer = dac.chat(model="auto", thread_id=thread)
        assert answer.status_code == 200, answer.text
        record = dac.get(f"/v1/requests/{answer.headers['x-dac-request-id']}").json()["request"]
        part = record["route"]["experiment"]
        assert part["experiment_id"] == experiment_id
        assert record["route"]["policy_version"].startswith("tried@" if part["arm"] == "b" else "default@")
        arms.setdefault(thread, set()).add(part["arm"])
    assert all(len(one) == 1 for one in arms.values()), arms
    ends_at = time.monotonic() + 40
    while True:
        found = call(dac, "GET", f"/v2/experiments/{experiment_id}")["experiment"]
        counted = [int(arm["requests"]) for figures in found["figures"] for arm in figures["arms"]]
        if sum(counted) == 12:
            break
        assert time.monotonic() < ends_at, found
        time.sleep(0.1)
    assert counted[1] == 2 * sum(one == {"b"} for one in arms.values())
    shown = command(dac, "show", experiment_id)
    assert "ALWAYS-VALID P" in shown and "no_difference" in shown
    assert "a test" in command(dac, "list")
    assert "stopped" in command(dac, "stop", experiment_id, "--note", "seen enough")
    assert not call(dac, "POST", "/v1/route", {"model": "auto"})["route"].get("experiment")
    ends_at = time.monotonic() + 15
    while "experiment.stop" not in {one["action"] for one in call(dac, "GET", "/v1/changes")["changes"]}:
        assert time.monotonic() < ends_at
        time.sleep(0.1)
    canary = json.loads(
        command(dac, "create", "c", "--policy", "tried", "--kind", "canary", "--steps", "5%:200:60", "--json")
    )["experiment"]
    assert [one["share"] for one in canary["steps"]] == [0.05, 1]
    assert "100%" in command(dac, "promote", canary["experiment_id"])
    route = call(dac, "POST", "/v1/route", {"model": "auto"})["route"]
    assert route["policy_version"].startswith("tried@")
    command(dac, "delete", canary["experiment_id"])
    assert [one["experiment_id"] for one in call(dac, "GET", "/v2/experiments")["experiments"]] == [experiment_id]


def test_one_key_may_speak_for_many_users(dac: Dac) -> None:
    """Each of an application's own users stays in an arm, in every dialect; a request's story says in which."""
    command(dac, "create", "customers", "--policy", "tried")
    arms: dict[str, set[str]] = {}
    last = ""
    for number in range(24):
        customer, messages = f"customer-{number % 12}", [{"role": "user", "content": "Hello."}]
        body: dict[str, Any] = {"model": "auto", "messages": messages}
        if number < 12:
            path, body = "/v1/chat/completions", {**body, "user": customer}
        else:
            path, body = "/v1/messages", {**body, "max_tokens": 20, "metadata": {"user_id": customer}}
        answer = httpx.post(dac.url + path, json=body, headers=dac.headers, timeout=30)
        assert answer.status_code == 200, answer.text
        last = answer.headers["x-dac-request-id"]
        arms.setdefault(customer, set()).add(dac.record(answer)["route"]["experiment"]["arm"])  # type: ignore[index]
    assert all(len(one) == 1 for one in arms.values()) and {"a", "b"} == set().union(*arms.values()), arms
    told = programs.run(["explain", last], {**dac.env, "DAC_BASE_URL": dac.url, "DAC_API_KEY": dac.key}).stdout
    (arm,) = arms["customer-11"]
    assert f"arm {arm}, step 0" in told and ("policy tried@" if arm == "b" else "policy default@") in told
    assert "sticky by caller" in command(dac, "show", "customers")
    command(dac, "stop", "customers")
