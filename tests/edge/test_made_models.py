"""Models that the operator makes while DAC runs: asked, charged, routed to, changed, rolled back, and on the record."""

from __future__ import annotations

import concurrent.futures
import json
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import yaml

from tests import programs
from tests.edge.conftest import Dac, UpstreamProcess, make_dac

FILED = "aliases: {taken: second/small}\npolicies: {default: {exploration: 0}}\n"
LARGE = {
    "model": "mock/large",
    "provider": "mock",
    "name": "gpt-large",
    "context_tokens": 64000,
    "quality": 0.95,
    "capabilities": ["tools", "json"],
    "prices": [{"usd_per_mtok": {"input": "1.5", "output": "6"}}],
    "fallbacks": ["second/small"],
    "aliases": ["large"],
}


@pytest.fixture(scope="module")
def dac(tmp_path_factory: pytest.TempPathFactory, upstream_process: UpstreamProcess) -> Iterator[Dac]:
    running = make_dac(tmp_path_factory.mktemp("made"), upstream_process, audio=False, more=FILED)
    running.start()
    yield running
    assert running.stop() == 0


def call(dac: Dac, method: str, path: str, body: Any = None, *, operator: bool = True) -> httpx.Response:
    headers = dac.operator_headers if operator else dac.headers
    return httpx.request(method, dac.url + path, json=body, headers=headers, timeout=30)


def fine(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(answer: httpx.Response, status: int, *words: str) -> None:
    assert answer.status_code == status, answer.text
    message = answer.json()["error"]["message"]
    assert all(word in message for word in words), message


def until(true: Callable[[], bool], within_s: float = 5) -> None:
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < within_s, "it did not happen"
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def none_left(dac: Dac) -> Iterator[None]:
    """What a test made is gone again afterwards."""
    yield
    while kept := fine(call(dac, "GET", "/v2/models:kept"))["models"]:
        for one in kept:
            call(dac, "DELETE", f"/v2/models/{one['entry']['model']}")


@pytest.fixture
def large(dac: Dac) -> dict[str, Any]:
    """A made model."""
    return fine(call(dac, "POST", "/v2/models", {"entry": LARGE}))["model"]  # type: ignore[no-any-return]


def output_price(dac: Dac, model: str) -> list[tuple[str, str]]:
    found = fine(call(dac, "GET", f"/v1/prices?model={model}"))["prices"]
    return [(one["nano_usd_per_mtok"].get("output", "free"), one["source"]) for one in found]


def test_a_made_model_answers_at_once_and_is_charged_by_its_price(dac: Dac, large: dict[str, Any]) -> None:
    assert (large["version"], large["etag"]) == ("1", "1")
    assert large["entry"]["prices"] == [
        {"nano_usd_per_mtok": {"input": "1500000000", "output": "6000000000"}, "free": False, "usd_per_mtok": {}}
    ]
    until(lambda: output_price(dac, "mock/large") == [("6000000000", "api")])
    for asked in ("mock/large", "large"):
        answered = dac.chat(model=asked)
        assert answered.status_code == 200 and answered.headers["x-dac-model"] == "mock/large"
    assert int(dac.record(answered)["cost_nano_usd"]) > 0  # type: ignore[call-overload]
    routed = fine(call(dac, "POST", "/v1/route", {"model": "auto:quality"}, operator=False))
    assert routed["candidates"][0]["model"] == "mock/large"
    shown = fine(call(dac, "GET", "/v2/models/mock/large", operator=False))["model"]
    assert (shown["source"], shown["aliases"], shown["quality"]) == ("api", ["large"], 0.95)
    listed = {one["id"]: one for one in fine(call(dac, "GET", "/v1/models", operator=False))["data"]}
    assert listed["mock/large"]["source"] == "api" and listed["large"]["alias_of"] == "mock/large"


def test_only_the_operator_makes_models(dac: Dac, large: dict[str, Any]) -> None:
    body = {"entry": {**LARGE, "model": "mock/theirs", "aliases": []}}
    admin = fine(call(dac, "POST", "/v1/keys", {"name": "admin", "scopes": ["admin", "chat"]}, operator=False))["token"]
    for method, path, said in (
        ("POST", "/v2/models", body),
        ("PUT", "/v2/models/mock/large", body),
        ("DELETE", "/v2/models/mock/large", None),
        ("POST", "/v2/models/mock/large:rollback", {}),
        ("GET", "/v2/models/mock/large:versions", None),
        ("GET", "/v2/models:kept", None),
    ):
        answer = httpx.request(method, dac.url + path, json=said, headers={"authorization": f"Bearer {admin}"})
        assert answer.status_code == 403, (method, path, answer.text)


def test_every_change_is_a_version_that_can_be_gone_back_to(dac: Dac, large: dict[str, Any]) -> None:
    changed = {**LARGE, "quality": 0.2, "prices": [{"free": True}], "aliases": []}
    first = fine(call(dac, "PATCH", "/v2/models/mock/large", {"entry": changed, "etag": large["etag"]}))["model"]
    until(lambda: fine(call(dac, "GET", "/v2/models/mock/large"))["model"]["quality"] == 0.2)
    until(lambda: [one["source"] for one in fine(call(dac, "GET", "/v1/prices?model=mock/large"))["prices"]] == ["api"])
    assert dac.chat(model="large").status_code == 404
    refused(call(dac, "PUT", "/v2/models/mock/large", {"entry": changed, "etag": "0"}), 409, f'"{first["etag"]}"')
    back = fine(call(dac, "POST", "/v2/models/mock/large:rollback", {}))["model"]
    assert back["entry"] == large["entry"] and int(back["version"]) == int(first["version"]) + 1
    until(lambda: output_price(dac, "mock/large") == [("6000000000", "api")])
    assert dac.chat(model="large").status_code == 200
    fine(call(dac, "DELETE", "/v2/models/mock/large"))
    until(lambda: call(dac, "GET", "/v2/models/mock/large").status_code == 404)
    until(lambda: output_price(dac, "mock/large") == [])
    page = fine(call(dac, "GET", "/v2/models/mock/large:versions?page_size=3"))
    assert [one["action"] for one in page["versions"]] == ["delete", "rollback", "update"] and page["next_page_token"]
    assert "entry" not in page["versions"][0] and page["versions"][2]["entry"]["quality"] == 0.2
    rest = fine(call(dac, "GET", f"/v2/models/mock/large:versions?page_token={page['next_page_token']}"))["versions"]
    assert rest[0]["action"] == "create" and not rest[0]["entry"]["prices"][0]["free"]
    refused(call(dac, "POST", "/v2/models/mock/large:rollback", {"version": "99"}), 404, "no version 99")
    deletion = page["versions"][0]["version"]
    refused(call(dac, "POST", "/v2/models/mock/large:rollback", {"version": deletion}), 404, "no version")
    fine(call(dac, "POST", "/v2/models/mock/large:rollback", {}))
    assert dac.chat(model="mock/large").status_code == 200


def test_every_change_is_on_the_record_of_the_operators_organisation(dac: Dac, large: dict[str, Any]) -> None:
    """Also one by the operator's token: it stands in the organisation `default`."""
    fine(call(dac, "PUT", "/v2/models/mock/large", {"entry": {**LARGE, "quality": 0.9}}))
    fine(call(dac, "POST", "/v2/models/mock/large:rollback", {}))
    fine(call(dac, "DELETE", "/v2/models/mock/large"))

    def told() -> list[dict[str, Any]]:
        path = "/v1/changes?target=model:mock/large&page_size=4"
        return fine(call(dac, "GET", path, operator=False))["changes"]  # type: ignore[no-any-return]

    wanted = ["model.delete", "model.rollback", "model.update", "model.create"]
    until(lambda: [one["action"] for one in told()] == wanted)
    update = told()[2]
    assert update["actor"] == "operator"
    before, after = json.loads(update["before_json"]), json.loads(update["after_json"])
    assert json.loads(before["entry"])["quality"] == 0.95 and json.loads(after["entry"])["quality"] == 0.9


def test_a_model_of_the_shipped_catalog_is_described_anew_and_as_it_was_again(dac: Dac) -> None:
    path = "/v2/models/openai/gpt-5.6"
    shipped = fine(call(dac, "GET", path))["model"]
    entry = {"model": "openai/gpt-5.6", "provider": "mock", "name": "gpt-5.6", "context_tokens": 5000}
    entry["prices"] = [{"usd_per_mtok": {"input": "1", "output": "2"}}]
    fine(call(dac, "POST", "/v2/models", {"entry": entry}))
    until(lambda: fine(call(dac, "GET", path))["model"]["context_tokens"] == "5000")
    assert dac.chat(model="openai/gpt-5.6").status_code == 200, "it is asked where the operator says now"
    until(lambda: output_price(dac, "openai/gpt-5.6") == [("2000000000", "api")])
    fine(call(dac, "DELETE", path))
    until(lambda: fine(call(dac, "GET", path))["model"]["context_tokens"] == shipped["context_tokens"])
    until(lambda: output_price(dac, "openai/gpt-5.6") == [("20000000000", "catalog")])


def test_what_a_file_says_is_the_files(dac: Dac, large: dict[str, Any]) -> None:
    own = {"model": "second/small", "provider": "mock", "context_tokens": 1000}
    refused(call(dac, "POST", "/v2/models", {"entry": own}), 409, "stands in a file")
    refused(call(dac, "DELETE", "/v2/models/second/small"), 409, "stands in a file")
    text = dac.config.read_text()
    filed = "{id: mock/large, provider: mock, name: filed, context_tokens: 7000, quality: 0.5}"
    try:
        dac.config.write_text(text.replace("models:", f"models:\n  - {filed}", 1))
        until(lambda: fine(call(dac, "GET", "/v2/models/mock/large"))["model"]["context_tokens"] == "7000")
        assert "mock/large" in fine(call(dac, "GET", "/v1/status"))["models_problem"]
        assert fine(call(dac, "GET", "/v1/status", operator=False))["models_problem"] == ""
    finally:
        dac.config.write_text(text)
    until(lambda: fine(call(dac, "GET", "/v2/models/mock/large"))["model"]["context_tokens"] == "64000")
    assert fine(call(dac, "GET", "/v1/status"))["models_problem"] == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"provider": "nowhere"}, ('"nowhere"', "provider")),
        ({"context_tokens": 0}, ("context_tokens",)),
        ({"quality": 1.5}, ("quality",)),
        ({"speed_tokens_per_s": -1}, ("speed_tokens_per_s",)),
        ({"model": "auto:fast"}, ("auto:fast",)),
        ({"model": "mock/a:versions"}, (":versions",)),
        ({"model": "mock/a b"}, ("no name",)),
        ({"model": "taken"}, ("alias of another model",)),
        ({"model_class": "toy"}, ("toy", "standard")),
        ({"fallbacks": ["mock/none"]}, ("mock/none",)),
        ({"fallbacks": ["mock/embed"]}, ("embeddings",)),
        ({"fallbacks": ["mock/new"]}, ("itself",)),
        ({"aliases": ["taken"]}, ('"taken"', "second/small")),
        ({"aliases": ["auto"]}, ("auto",)),
        ({"aliases": ["second/small"]}, ("model of this id",)),
        ({"identities": {"moon": "x"}}, ("moon",)),
        ({"retires_on": "soon"}, ("soon",)),
        ({"prices": [{}]}, ("say one of",)),
        ({"prices": [{"free": True, "usd_per_mtok": {"input": "1"}}]}, ("say one of",)),
        ({"prices": [{"usd_per_mtok": {"input": "a lot", "output": "1"}}]}, ("a lot",)),
        ({"prices": [{"usd_per_mtok": {"inpt": "1", "output": "1"}}]}, ("inpt",)),
        ({"prices": [{"nano_usd_per_mtok": {"input": "1"}}]}, ("output_usd_per_mtok",)),
        ({"prices": [{"free": True, "valid_from": "2027-01-01T00:00:00Z"}]}, ("valid_from",)),
        ({"prices": [{"free": True}, {"free": True}]}, ("valid_from",)),
        ({"deployments": [{"provider": "claude", "weight": -1}]}, ("weight",)),
    ],
)
def test_what_makes_no_sense_is_refused_and_says_why(dac: Dac, change: dict[str, Any], words: tuple[str, ...]) -> None:
    entry = {"model": "mock/new", "provider": "mock", "context_tokens": 1000, **change}
    refused(call(dac, "POST", "/v2/models", {"entry": entry}), 400, *words)
    assert fine(call(dac, "GET", "/v2/models:kept"))["models"] == []


def test_a_model_that_others_fall_back_to_stays(dac: Dac, large: dict[str, Any]) -> None:
    entry = {"model": "mock/behind", "provider": "mock", "context_tokens": 1000, "fallbacks": ["mock/large"]}
    fine(call(dac, "POST", "/v2/models", {"entry": entry}))
    refused(call(dac, "DELETE", "/v2/models/mock/large"), 409, "mock/behind")
    fine(call(dac, "DELETE", "/v2/models/mock/behind"))
    fine(call(dac, "DELETE", "/v2/models/mock/large"))
    refused(call(dac, "DELETE", "/v2/models/mock/large"), 404, "mock/large")


def test_a_creation_may_be_repeated_and_of_many_at_once_one_wins(dac: Dac) -> None:
    request_id, entry = "018f0000-0000-7000-8000-000000000001", {**LARGE, "model": "mock/once", "aliases": []}
    body = {"entry": entry, "request_id": request_id}
    first = fine(call(dac, "POST", "/v2/models", body))
    assert fine(call(dac, "POST", "/v2/models", body)) == first
    other = {"entry": {**entry, "model": "mock/other"}, "request_id": request_id}
    refused(call(dac, "POST", "/v2/models", other), 409, request_id)
    refused(call(dac, "POST", "/v2/models", {"entry": entry}), 409, "PUT /v2/models/mock/once")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        aliased = [{**LARGE, "model": f"mock/racer-{number}", "aliases": ["racer"]} for number in range(8)]
        codes = [
            done.status_code for done in pool.map(lambda one: call(dac, "POST", "/v2/models", {"entry": one}), aliased)
        ]
    assert sorted(codes) == [200] + [400] * 7, "an alias is one model's"


def test_the_commands(dac: Dac, tmp_path: pathlib.Path) -> None:
    def command(*arguments: str, code: int = 0) -> str:
        env = {**dac.env, "DAC_BASE_URL": dac.url, "DAC_API_KEY": dac.operator_headers["authorization"].split()[1]}
        done = programs.run([*arguments], {**env, "COLUMNS": "200"})
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    file = tmp_path / "mine.yaml"
    file.write_text(
        "models:\n"
        "  - {id: mock/mine, context_tokens: 9000, deployments: [{provider: mock, name: mine}, {provider: second}],\n"
        "     class: standard, retires_on: 2099-01-01,\n"
        '     price: [{input_usd_per_mtok: "0.1", output_usd_per_mtok: "0.2", service_tiers: {batch: 0.5}},\n'
        '             {from: 2090-01-01, input_usd_per_mtok: "0.05", output_usd_per_mtok: "0.1"}]}\n'
        "  - {id: mock/plain, provider: mock, context_tokens: 8000, price: free, aliases: [plain]}\n"
    )
    assert "mock/mine" in command("model", "set", str(file))
    shown = command("model", "show", "mock/mine")
    again = yaml.safe_load(shown)["models"][0]
    assert again["retires_on"] == "2099-01-01" and len(again["price"]) == 2 and len(again["deployments"]) == 2
    file.write_text(shown)
    assert " 2 " in command("model", "set", str(file)), "what is shown can be set again"
    versions = json.loads(command("model", "history", "mock/mine", "--json"))["versions"]
    assert versions[0]["entry"] == versions[1]["entry"]
    assert "plain" in command("model", "kept") and "api" in command("model", "list")
    assert "rollback mock/plain" in command("model", "delete", "mock/plain")
    assert "mock/plain" in command("model", "rollback", "mock/plain")
    assert "create" in command("model", "history", "mock/plain")
    file.write_text("models: []")
    assert "it holds no models" in command("model", "set", str(file), code=2)
    for one in ("mock/mine", "mock/plain"):
        command("model", "delete", one)
    assert "none were made" in command("model", "kept")


def test_a_made_model_is_there_after_a_restart(dac: Dac, large: dict[str, Any]) -> None:
    until(lambda: output_price(dac, "mock/large") == [("6000000000", "api")])
    versions = len(fine(call(dac, "GET", "/v1/prices?model=mock/large&history=true"))["prices"])
    assert dac.stop() == 0
    dac.start()
    assert dac.chat(model="large").status_code == 200
    history = fine(call(dac, "GET", "/v1/prices?model=mock/large&history=true"))["prices"]
    assert len(history) == versions, "its price was never taken back meanwhile"
