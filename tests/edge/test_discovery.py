"""Discovery through a running DAC: lists, the last good copy, hostile lists, graded questions, the command."""

import json
import pathlib
import secrets
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.edge.conftest import Dac, UpstreamProcess, make_dac
from tests.edge.test_cli import answered, run

USD = 10**9
PRICED = {"prompt": "0.000001", "completion": "0.000002"}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, upstream_process: UpstreamProcess) -> Iterator[Dac]:
    """A DAC of this file: discovery changes what everybody sees."""
    running = make_dac(tmp_path_factory.mktemp("discovery"), upstream_process)  # type: ignore[arg-type]
    running.start()
    yield running
    assert running.stop() == 0, running.log()


def post(dac: Dac, path: str, body: dict[str, Any], **more: Any) -> httpx.Response:
    return httpx.post(dac.url + path, json=body, headers=more.pop("headers", dac.headers), timeout=60)


def refresh(dac: Dac, *providers: str) -> dict[str, dict[str, Any]]:
    answer = post(dac, "/v1/models/refresh", {"providers": list(providers)})
    assert answer.status_code == 200, answer.text
    return {one["provider"]: one for one in answer.json()["providers"]}


def model(dac: Dac, name: str, **wanted: Any) -> dict[str, Any]:
    """A model once it is listed as wanted."""
    end = time.monotonic() + 10
    while True:
        listed = dac.get("/v1/models", params={"include_unavailable": "1"}).json()["data"]
        found = next((one for one in listed if one["id"] == name), None)
        if found is not None and all(found[key] == value for key, value in wanted.items()):
            return found  # type: ignore[no-any-return]
        assert time.monotonic() < end, (name, wanted, found)
        time.sleep(0.05)


def scripted(upstream: UpstreamProcess, models: Any, **more: Any) -> None:
    text = models if isinstance(models, str) else json.dumps(models)
    upstream.script("ok", model=more.pop("model", ""), models=text, times=1, **more)


def test_a_list_becomes_models_that_can_be_named(own: Dac, upstream_process: UpstreamProcess) -> None:
    upstream_process.clear()
    found = refresh(own)
    assert found["mock"]["found"] == 3 and "echo-1" in found["mock"]["added"] and not found["mock"].get("error")
    assert found["claude"]["found"] == 2
    assert "could not be reached" in found["dead"]["error"]
    shown = model(own, "mock/echo-1", available=True, source="listed")
    assert shown["quality"] == 0.1 and shown["context_tokens"] == 8192 and shown["seen_at"] and not shown["probed_at"]
    configured = model(own, "mock/gpt-4o-mini", source="config")
    assert configured["quality"] == 0.8 and configured["context_tokens"] == 128000
    told = own.chat(model="mock/echo-1", messages=[{"role": "user", "content": "hello"}])
    assert told.status_code == 200 and told.json()["choices"][0]["message"]["content"] == "echo: hello"
    again = post(own, "/v2/discovery/run", {"providers": ["mock"]}).json()["providers"]
    assert again[0]["found"] == 3 and not again[0].get("added")
    # What nobody described or probed is not for auto, and the record says so.
    record = own.record(own.chat(model="auto"))
    assert "never probed were left out" in record["route"]["reason"]  # type: ignore[index]
    left_out = [one for one in record["route"]["candidates"] if "probe it" in one.get("excluded", "")]  # type: ignore[index]
    assert left_out
    overview = {one["provider"]: one for one in own.get("/v1/models/providers").json()["providers"]}
    assert overview["mock"]["found"] == 3 and "could not be reached" in overview["dead"]["error"]


@pytest.mark.parametrize(
    ("fault", "fields", "said"),
    [
        ("503", {}, "answered 503"),
        ("401", {}, "answered 401"),
        ("garbage_body", {}, "not JSON"),
        ("empty_body", {}, "not JSON"),
        ("html", {}, "not JSON"),
        ("reset", {}, "could not be reached"),
        ("redirect", {}, "answered 302"),
        ("ok", {"models": '{"data": []}'}, "empty"),
        ("ok", {"models": '{"data": {"id": "x"}}'}, "no list"),
    ],
)
def test_a_provider_that_lists_badly_keeps_its_last_good_copy(
    own: Dac, upstream_process: UpstreamProcess, fault: str, fields: dict[str, Any], said: str
) -> None:
    upstream_process.clear()
    good = refresh(own, "second")["second"]
    assert good["found"] == 3
    # A list asked in vain over a broken connection is asked for once more.
    upstream_process.script(fault, times=2 if fault == "reset" else 1, **fields)
    bad = refresh(own, "second")["second"]
    assert said in bad["error"] and bad["found"] == 3 and bad["listed_at"] == good["listed_at"]
    assert model(own, "second/echo-1")["available"]
    assert own.chat(model="second/echo-1").status_code == 200


def test_a_model_that_vanished_is_shown_as_gone_and_comes_back(own: Dac, upstream_process: UpstreamProcess) -> None:
    upstream_process.clear()
    scripted(upstream_process, "stays|goes")
    refresh(own, "quick")
    model(own, "quick/goes", available=True)
    scripted(upstream_process, "stays")
    assert refresh(own, "quick")["quick"]["gone"] == ["goes"]
    model(own, "quick/goes", available=False)
    refused = own.chat(model="quick/goes")
    assert refused.status_code in (404, 503) and "lists goes no more" in refused.text
    scripted(upstream_process, "stays|goes")
    assert refresh(own, "quick")["quick"]["added"] == ["goes"]
    model(own, "quick/goes", available=True)


def test_a_hostile_list_brings_in_nothing_but_usable_names(own: Dac, upstream_process: UpstreamProcess) -> None:
    upstream_process.clear()
    rows: list[Any] = [
        {"id": name}
        for name in ("fine", "fine", "x\x1b[31m", "a\nb", "../../etc/passwd", "n" * 5000, "gpt\u202e4", "", "auto")
    ]
    rows += [{"id": 7}, None, {"id": "wild", "context_length": -1, "pricing": {"prompt": "nan", "completion": "-1"}}]
    # Names that the operator's own models have: neither an id nor a bare name is taken over.
    rows += [{"id": "gpt-4o-mini", "context_length": 1}]
    scripted(upstream_process, {"data": rows})
    found = refresh(own, "quick")["quick"]
    assert sorted(found["added"]) == ["auto", "fine", "gpt-4o-mini", "wild"] and found["dropped"] == 9
    assert model(own, "quick/wild", available=True)["price"] is None
    assert own.chat(model="gpt-4o-mini").headers["x-dac-model"] == "mock/gpt-4o-mini"
    assert "\x1b" not in own.get("/v1/models").text
    scripted(upstream_process, "10000")
    many = refresh(own, "quick")["quick"]
    assert many["found"] == 2000 and many["dropped"] == 8000
    model(own, "quick/model-1999", available=True)
    started = time.monotonic()
    assert own.chat(model="quick/model-19999").status_code == 404
    assert own.chat().status_code == 200 and time.monotonic() - started < 3
    scripted(upstream_process, "fine")
    refresh(own, "quick")


def test_a_slow_list_is_given_up_and_others_are_not_kept_waiting(
    tmp_path: pathlib.Path, upstream_process: UpstreamProcess
) -> None:
    dac = make_dac(tmp_path, upstream_process)  # type: ignore[arg-type]
    dac.env["DAC_PROVIDER_DISCOVERY_TIMEOUT_S"] = "1"
    dac.start()
    try:
        upstream_process.clear()
        upstream_process.script("ok", times=1, delay_s=20)
        started = time.monotonic()
        found = refresh(dac)
        assert time.monotonic() - started < 8
        slow = [one for one in found.values() if "longer than 1 s" in one.get("error", "")]
        assert len(slow) == 1 and sum(not one.get("error") for one in found.values()) == 3
        # Offline, after a restart: the last good copy is listed and can be used.
        good = next(name for name in ("mock", "second") if not found[name].get("error"))
        model(dac, f"{good}/echo-1", available=True)
        assert dac.stop() == 0
        dac.start()
        upstream_process.script("503", times=4)
        assert "answered 503" in refresh(dac, good)[good]["error"]
        upstream_process.clear()
        assert model(dac, f"{good}/echo-1")["available"]
        assert dac.chat(model=f"{good}/echo-1").status_code == 200
    finally:
        assert dac.stop() == 0, dac.log()


def test_who_may_and_what_is_refused(own: Dac) -> None:
    made = post(own, "/v1/keys", {"name": "reader", "scopes": ["chat", "read"]}).json()
    reader = {"authorization": f"Bearer {made['token']}"}
    for path, body in (("/v1/models/refresh", {}), ("/v2/discovery/run", {}), ("/v1/models/probe", {"model": "x"})):
        assert post(own, path, body, headers=reader).status_code == 403
        assert httpx.post(own.url + path, json=body).status_code == 401
    assert httpx.get(own.url + "/v1/models/providers", headers=reader).status_code == 200
    admin = post(own, "/v1/keys", {"name": "admin", "scopes": ["admin"]}).json()
    administrator = {"authorization": f"Bearer {admin['token']}"}
    assert post(own, "/v2/discovery/run", {"probe": True}, headers=administrator).status_code == 403
    for body, said in (
        ({"providers": ["nobody"]}, "nobody"),
        ({"providers": ["local"]}, "local"),
        ({"max_nano_usd": "5"}, "max_nano_usd"),
        ({"probe": True, "max_nano_usd": "-1"}, "max_nano_usd"),
        ({"probe": True, "max_nano_usd": str(10**15)}, "max_nano_usd"),
    ):
        refused = post(own, "/v1/models/refresh", body, headers=own.operator_headers)
        assert 400 <= refused.status_code < 500 and said in refused.text, refused.text


def clever(upstream: UpstreamProcess, name: str) -> None:
    """The next four questions to this model are answered right."""
    for text in ("400", "ELPPA", '{"city": "Oslo", "sizes": [3, 1, 2]}'):
        upstream.script("ok", model=name, text=text, times=1)
    upstream.script("ok", model=name, arguments='{"room": "kitchen", "on": true}', times=1)


def spent(dac: Dac, budget_id: str) -> int:
    listed = dac.get("/v1/budgets").json()["budgets"]
    return int(next(one for one in listed if one["budget_id"] == budget_id).get("spent_nano_usd") or 0)


def test_probing_is_charged_and_bounded(own: Dac, upstream_process: UpstreamProcess) -> None:
    upstream_process.clear()
    name = f"smart-{secrets.token_hex(3)}"
    org_id = own.get("/v1/caller").json().get("org_id") or own.get("/v1/caller").json()["caller"]["org_id"]
    limit = {"level": {"kind": "KIND_ORG", "id": org_id}, "window": "WINDOW_MONTH", "limit_nano_usd": str(5 * USD)}
    budget_id = httpx.put(own.url + "/v1/budgets", json=limit, headers=own.headers).json()["budget"]["budget_id"]
    rows = [{"id": name, "pricing": PRICED, "context_length": 64000}, {"id": name + "-unpriced"}]
    clever(upstream_process, name)
    scripted(upstream_process, {"data": rows})
    before = spent(own, budget_id)
    answer = post(own, "/v2/discovery/run", {"providers": ["second"], "probe": True}, headers=own.operator_headers)
    assert answer.status_code == 200, answer.text
    made = answer.json()
    (probed,) = made["probed"]
    assert probed["model"] == f"second/{name}" and probed["result"]["right"] == 4, probed
    cost = int(made["cost_nano_usd"])
    assert 0 < cost == int(probed["cost_nano_usd"]) <= 10_000_000
    end = time.monotonic() + 5
    while spent(own, budget_id) - before != cost:
        assert time.monotonic() < end, (spent(own, budget_id), before, cost)
        time.sleep(0.05)
    shown = model(own, f"second/{name}", quality=0.5)
    assert shown["probed_at"] and shown["context_tokens"] == 64000 and shown["capabilities"] == ["json", "tools"]
    assert shown["price"] == {"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 2.0}
    # From now on auto may choose it.
    route = own.chat(model="auto")
    candidates = own.record(route)["route"]["candidates"]  # type: ignore[index]
    assert not any(one["model"] == f"second/{name}" and "probe it" in one.get("excluded", "") for one in candidates)
    records = own.get("/v1/requests", params={"page_size": 20}).json()["requests"]
    assert sum(one.get("operation") == "probe" for one in records) == 4
    # A limit below the next question's bound: nothing is asked, nothing is held.
    asked = len(upstream_process.requests())
    tight = post(
        own, "/v1/models/probe", {"model": f"second/{name}", "max_nano_usd": "10"}, headers=own.operator_headers
    )
    assert "of the limit are left" in tight.json()["probed"]["why_not"] and len(upstream_process.requests()) == asked
    unknown = post(own, "/v1/models/probe", {"model": f"second/{name}-unpriced"}, headers=own.operator_headers)
    assert "price of second/" in unknown.json()["probed"]["why_not"]
    assert post(own, "/v1/models/probe", {"model": "second/none"}, headers=own.operator_headers).status_code == 404
    upstream_process.script("503", model=name, times=4)
    failing = post(own, "/v1/models/probe", {"model": f"second/{name}"}, headers=own.operator_headers).json()["probed"]
    assert failing["why_not"] and not failing.get("result")
    assert model(own, f"second/{name}")["quality"] == 0.5, "a failed try takes nothing away"
    assert httpx.get(own.url + "/v1/budgets:verify", headers=own.headers).json().get("differences", []) == []
    httpx.delete(own.url + f"/v1/budgets/{budget_id}", headers=own.headers)


def test_the_command(own: Dac, upstream_process: UpstreamProcess) -> None:
    upstream_process.clear()
    name = f"cli-{secrets.token_hex(3)}"
    scripted(upstream_process, {"data": [{"id": name, "pricing": PRICED}]})
    clever(upstream_process, name)
    done = run(own, "models", "discover", "--provider", "quick", "--probe", "--max-usd", "0.05", "--json", key="")
    told = answered(done)
    assert told["providers"][0]["added"] == [name]  # type: ignore[index]
    assert [one["model"] for one in told["probed"]] == [f"quick/{name}"]  # type: ignore[attr-defined]
    assert "4/4 right" in done.stderr and 0 < int(str(told["cost_nano_usd"])) < 50_000_000
    whole = run(own, "models", "discover")
    assert whole.returncode == 0 and "dead" in whole.stdout and "could not be reached" in whole.stdout
    listed = run(own, "models", "list", "--all")
    assert f"quick/{name}" in listed.stdout and "listed" in listed.stdout and "ago" in listed.stdout
    assert run(own, "models", "discover", "--provider", "dead").returncode == 1
    assert run(own, "models", "discover", "--max-usd", "lots").returncode == 2
