"""Policies and tenants over HTTP: what a policy leaves out, files that change while DAC runs, lives of tenants."""

import concurrent.futures
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests import programs
from tests.edge.conftest import Dac, UpstreamProcess, make_dac

FILED = """
policies:
  default: {exploration: 0}
  filed: {denied_models: ["claude/*"], profile: quality, exploration: 0}
"""
NEWCOMER = (
    "{id: claude/newcomer, provider: claude, name: newcomer, context_tokens: 64000, quality: 0.78, "
    'price: {input_usd_per_mtok: "0.1", output_usd_per_mtok: "0.3"}}'
)


@pytest.fixture(scope="module")
def dac(tmp_path_factory: pytest.TempPathFactory, upstream_process: UpstreamProcess) -> Iterator[Dac]:
    running = make_dac(tmp_path_factory.mktemp("policies"), upstream_process, audio=False, more=FILED)
    running.start()
    yield running
    assert running.stop() == 0


def call(dac: Dac, method: str, path: str, body: Any = None, *, operator: bool = False, key: str = "") -> Any:
    headers = dac.operator_headers if operator else {"authorization": f"Bearer {key or dac.key}"}
    answer = httpx.request(method, dac.url + path, json=body, headers=headers, timeout=30)
    return answer


def fine(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()


def route(dac: Dac, key: str = "") -> dict[str, Any]:
    return fine(call(dac, "POST", "/v1/route", {"model": "auto"}, key=key))  # type: ignore[no-any-return]


def until(true: Callable[[], bool], within_s: float = 5) -> float:
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < within_s, "it did not happen"
        time.sleep(0.02)
    return time.monotonic() - began


def command(dac: Dac, *arguments: str, code: int = 0) -> str:
    env = {**dac.env, "DAC_BASE_URL": dac.url, "DAC_API_KEY": dac.key}
    done = programs.run([*arguments], env)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def unassigned(dac: Dac) -> Iterator[None]:
    yield
    for one in fine(call(dac, "GET", "/v2/policy-assignments"))["assignments"]:
        fine(call(dac, "DELETE", f"/v2/policy-assignments/{one['level']['id']}"))


def test_a_policy_decides_and_stands_in_the_record(dac: Dac, unassigned: None) -> None:
    rules = {"denied_models": ["mock/*"], "exploration": 0}
    made = fine(call(dac, "POST", "/v2/policies", {"name": "own", "rules": rules}))["policy"]
    assert (made["version"], made["etag"], made["managed_by"]) == ("1", "1", "api")
    assert route(dac)["candidates"][0]["model"] == "mock/gpt-4o-mini"
    fine(call(dac, "PUT", "/v2/policy-assignments", {"level": {"kind": "KIND_ORG"}, "policy": "own"}))
    decided = route(dac)
    assert not [one for one in decided["candidates"] if one["model"].startswith("mock/")]
    assert decided["route"]["policy_version"].startswith("own@1")
    refused = dac.chat()
    assert refused.status_code in (403, 503) and "own" in refused.text
    answered = dac.chat(model="auto")
    assert dac.record(answered)["route"]["policy_version"].startswith("own@1")  # type: ignore[index]
    changed = {"rules": {"allowed_models": ["mock/*"], "exploration": 0}, "etag": "1"}
    assert fine(call(dac, "PATCH", "/v2/policies/own", changed))["policy"]["version"] == "2"
    assert route(dac)["candidates"][0]["model"] == "mock/gpt-4o-mini"
    again = call(dac, "PUT", "/v2/policies/own", changed)
    assert again.status_code == 409 and '"2"' in again.json()["error"]["message"]
    assert fine(call(dac, "POST", "/v2/policies/own:rollback", {}))["policy"]["version"] == "3"
    versions = fine(call(dac, "GET", "/v2/policies/own/versions?page_size=2"))
    assert [one["action"] for one in versions["versions"]] == ["rollback", "update"] and versions["next_page_token"]
    in_use = call(dac, "DELETE", "/v2/policies/own")
    assert in_use.status_code == 409 and "1 time" in in_use.text
    until(
        lambda: (
            {"policy.create", "policy.assign", "policy.update", "policy.rollback"}
            <= {one["action"] for one in fine(call(dac, "GET", "/v1/changes?page_size=100"))["changes"]}
        )
    )


def test_an_unknown_field_is_refused_with_the_nearest(dac: Dac) -> None:
    for rules, words in (({"allowed_model": []}, "allowed_models"), ({"weights": {"qualty": 1}}, "quality")):
        refused = call(dac, "POST", "/v2/policies", {"name": "bad", "rules": rules})
        assert refused.status_code == 400 and f'"{words}"' in refused.json()["error"]["message"]


def test_files_are_read_again_while_dac_runs(dac: Dac, unassigned: None) -> None:
    fine(call(dac, "PUT", "/v2/policy-assignments", {"level": {"kind": "KIND_ORG"}, "policy": "filed"}))
    shown = fine(call(dac, "GET", "/v2/policies/filed"))["policy"]
    assert (shown["managed_by"], shown["rules"]["denied_models"]) == ("file", ["claude/*"])
    assert call(dac, "PUT", "/v2/policies/filed", {"rules": {}}).status_code == 409
    first, text = route(dac), dac.config.read_text()
    assert "claude/sonnet" not in [one["model"] for one in first["candidates"]]

    try:
        replace(dac, text.replace('["claude/*"]', '["mock/*"]'))
        until(lambda: route(dac)["candidates"][0]["model"] != "mock/gpt-4o-mini")
        replace(dac, text.replace("denied_models", "denied_model"))

        def problem() -> str:
            return fine(call(dac, "GET", "/v1/status", operator=True))["policies"]["files_problem"]  # type: ignore[no-any-return]

        until(lambda: "denied_models" in problem())
        assert route(dac)["candidates"][0]["model"] != "mock/gpt-4o-mini", "the last good ones stay"
        assert fine(call(dac, "GET", "/v1/status"))["policies"]["files_problem"] == "", "only the operator is told"
        assert "denied_models" in dac.log()
    finally:
        replace(dac, text)
    until(lambda: problem() == "" and route(dac)["candidates"][0]["model"] == "mock/gpt-4o-mini")


def replace(dac: Dac, text: str) -> None:
    """Writes the configuration as an editor does: at once."""
    beside = dac.config.with_suffix(".new")
    beside.write_text(text)
    beside.replace(dac.config)


def prices(dac: Dac, model: str) -> list[str]:
    """What an output token of the model costs by the price list."""
    found = fine(call(dac, "GET", f"/v1/prices?model={model}"))["prices"]
    return [one["nano_usd_per_mtok"]["output"] for one in found]


def changes(dac: Dac, target: str) -> list[dict[str, Any]]:
    """What the audit trail has of a target, the newest first."""
    return fine(call(dac, "GET", f"/v1/changes?target={target}"))["changes"]  # type: ignore[no-any-return]


def test_models_of_files_are_read_again_too(dac: Dac) -> None:
    text = dac.config.read_text()
    assert route(dac)["candidates"][0]["model"] == "mock/gpt-4o-mini"
    new = text.replace("quality: 0.8,", "quality: 0.3,").replace("models:", "models:\n  - " + NEWCOMER, 1)

    def problem(*, operator: bool = True) -> str:
        return fine(call(dac, "GET", "/v1/status", operator=operator))["models_problem"]  # type: ignore[no-any-return]

    try:
        replace(dac, new + "aliases: {favourite: claude/newcomer}\n")
        until(lambda: fine(call(dac, "GET", "/v2/models/mock/gpt-4o-mini"))["model"]["quality"] == 0.3)
        # What it costs is budget's word: the ledger charges by the file as it stands now.
        until(lambda: prices(dac, "claude/newcomer") == ["300000000"])
        answered = dac.chat(model="favourite")
        assert answered.status_code == 200 and answered.headers["x-dac-model"] == "claude/newcomer"
        assert int(dac.record(answered)["cost_nano_usd"]) > 0  # type: ignore[call-overload]
        assert "claude/newcomer" in [one["model"] for one in route(dac)["candidates"]]
        replace(dac, new.replace("context_tokens: 64000", "context_token: 64000"))
        until(lambda: "context_tokens" in problem())
        assert problem(operator=False) == "", "only the operator is told"
        assert dac.chat(model="claude/newcomer").status_code == 200, "the last good ones stay"
        replace(dac, new.replace("provider: claude, name: newcomer", "provider: later, name: newcomer"))
        until(lambda: '"later"' in problem())
    finally:
        replace(dac, text)
    until(lambda: problem() == "" and prices(dac, "claude/newcomer") == [])
    until(lambda: len(changes(dac, "file:models")) == 2)
    gone, came = changes(dac, "file:models")
    assert "claude/newcomer" in came["after_json"] and "claude/newcomer" not in gone["after_json"]
    assert {gone["actor"], came["actor"]} == {"service:router"}
    until(lambda: call(dac, "GET", "/v2/models/claude/newcomer").status_code == 404)
    assert dac.chat(model="favourite").status_code == 404


def test_a_tenants_whole_life(dac: Dac) -> None:
    body = {
        "tenant_name": "acme",
        "monthly_budget_usd": 12.5,
        "allowed_models": ["second/*"],
        "routing_mode": "local-preferred",
    }
    assert call(dac, "POST", "/v2/tenants", body).status_code == 403, "the operator's alone"
    made = fine(call(dac, "POST", "/v2/tenants", body, operator=True))["tenant"]
    assert {name: made[name] for name in body} == body
    tenant = made["tenant_id"]
    wanted = {"org_id": tenant, "name": "theirs", "scopes": ["chat", "read", "admin"]}
    key = fine(call(dac, "POST", "/v1/keys", wanted, operator=True))
    token, key_id = key["token"], key["key"]["key_id"]
    decided = route(dac, token)
    assert [one["model"] for one in decided["candidates"]] == ["second/small"]
    assert decided["route"]["profile"] == "local-preferred"
    assert [one["id"] for one in fine(call(dac, "GET", "/v1/models", key=token))["data"]] == ["second/small"]
    ranks = fine(call(dac, "GET", "/v1/rankings?profile=quality", key=token))["models"]
    assert [one["model"]["model"] for one in ranks] == ["second/small"]
    assert not fine(call(dac, "GET", "/v1/models/search?q=sonnet", key=token))["results"]
    others = fine(call(dac, "GET", "/v2/models?include_unavailable=true&provider=mock", key=token))["models"]
    assert others and not any(one["available"] for one in others)
    budgets = fine(call(dac, "GET", "/v2/budgets", key=token))["budgets"]
    assert [(one["limit_nano_usd"], one["window"]) for one in budgets] == [("12500000000", "WINDOW_MONTH")]
    whole = call(dac, "PUT", "/v2/policy-assignments", {"level": {"kind": "KIND_ORG"}, "policy": "quality"}, key=token)
    assert whole.status_code == 403
    change = {"monthly_budget_usd": 20, "tenant_name": "acme-two", "clear": ["allowed_models"]}
    fine(call(dac, "PATCH", "/v2/tenants/acme", change, operator=True))
    shown = fine(call(dac, "GET", "/v2/tenants/acme-two", operator=True))["tenant"]
    assert (shown["monthly_budget_usd"], shown["allowed_models"], shown["routing_mode"]) == (20, [], "local-preferred")
    assert len(route(dac, token)["candidates"]) > 1
    fine(call(dac, "PATCH", f"/v2/tenants/{tenant}", {"clear": ["monthly_budget_usd"]}, operator=True))
    shown = fine(call(dac, "GET", f"/v2/tenants/{tenant}", operator=True))["tenant"]
    assert "monthly_budget_usd" not in shown
    listed = fine(call(dac, "GET", "/v2/tenants", operator=True))["tenants"]
    assert [one["tenant_name"] for one in listed] == ["default", "acme-two"]
    hangs = call(dac, "DELETE", "/v2/tenants/acme-two", operator=True)
    assert hangs.status_code == 409 and 'key "theirs"' in hangs.json()["error"]["message"]
    fine(call(dac, "DELETE", f"/v1/keys/{key_id}", key=token))
    fine(call(dac, "DELETE", "/v2/tenants/acme-two", operator=True))
    assert call(dac, "GET", "/v2/tenants/acme-two", operator=True).status_code == 404
    assert call(dac, "DELETE", "/v2/tenants/default", operator=True).status_code == 409
    until(
        lambda: (
            "organisation.delete"
            in {one["action"] for one in fine(call(dac, "GET", "/v1/changes?page_size=100"))["changes"]}
        )
    )


def test_what_is_said_of_a_tenant_can_be_gone_back_to(dac: Dac) -> None:
    body = {"tenant_name": "turning", "allowed_models": ["second/*"], "routing_mode": "speed"}
    tenant = fine(call(dac, "POST", "/v2/tenants", body, operator=True))["tenant"]["tenant_id"]
    fine(call(dac, "PATCH", "/v2/tenants/turning", {"allowed_models": ["claude/*"]}, operator=True))
    path = "/v2/tenants/turning/versions:rollback"
    assert call(dac, "POST", path, {}).status_code == 403, "the operator's alone"
    back = fine(call(dac, "POST", path, {}, operator=True))["rules"]
    assert (back["allowed_models"], back["routing_mode"]) == (["second/*"], "speed")
    shown = fine(call(dac, "GET", "/v2/tenants/turning", operator=True))["tenant"]
    assert shown["allowed_models"] == ["second/*"]
    fine(call(dac, "PATCH", "/v2/tenants/turning", {"clear": ["allowed_models", "routing_mode"]}, operator=True))
    first = fine(call(dac, "GET", "/v2/tenants/turning/versions?page_size=3", operator=True))
    assert [(one["version"], one["action"]) for one in first["versions"]] == [
        ("4", "remove"),
        ("3", "rollback"),
        ("2", "set"),
    ]
    assert "rules" not in first["versions"][0] and first["versions"][0]["actor"] == "operator"
    more = f"/v2/tenants/{tenant}/versions?page_token={first['next_page_token']}"
    assert [one["version"] for one in fine(call(dac, "GET", more, operator=True))["versions"]] == ["1"]
    fine(call(dac, "POST", path, {"version": "2"}, operator=True))
    shown = fine(call(dac, "GET", f"/v2/tenants/{tenant}", operator=True))["tenant"]
    assert shown["allowed_models"] == ["claude/*"]
    # Nothing said is a state, too.
    assert "rules" not in fine(call(dac, "POST", path, {}, operator=True))
    assert call(dac, "POST", path, {"version": "99"}, operator=True).status_code == 404
    assert call(dac, "GET", "/v2/tenants/nobody/versions", operator=True).status_code == 404
    wanted = {"org_id": tenant, "name": "theirs", "scopes": ["read", "admin"]}
    key = fine(call(dac, "POST", "/v1/keys", wanted, operator=True))
    listed = "/v1/changes?target=organisation:" + tenant + "&page_size=100"
    until(
        lambda: (
            [one["action"] for one in fine(call(dac, "GET", listed, key=key["token"]))["changes"]].count(
                "tenant.rollback"
            )
            == 3
        )
    )
    fine(call(dac, "DELETE", f"/v1/keys/{key['key']['key_id']}", key=key["token"]))
    fine(call(dac, "DELETE", "/v2/tenants/turning", operator=True))


def test_a_tenant_without_its_bounds_is_not_made(dac: Dac) -> None:
    for wrong in ({"routing_mode": "fast"}, {"policy": "nope"}, {"monthly_budget_usd": -1}):
        refused = call(dac, "POST", "/v2/tenants", {"tenant_name": "half", **wrong}, operator=True)
        assert refused.status_code in (400, 404), refused.text
        assert call(dac, "GET", "/v2/tenants/half", operator=True).status_code == 404


def test_a_file_of_tenants_may_say_a_name(dac: Dac) -> None:
    text = dac.config.read_text()
    dac.config.write_text(text + 'tenants: {later: {allowed_models: ["claude/*"]}}\n')
    try:
        tenant = fine(call(dac, "POST", "/v2/tenants", {"tenant_name": "later"}, operator=True))["tenant"]
        wanted = {"org_id": tenant["tenant_id"], "name": "k", "scopes": ["chat"]}
        token = fine(call(dac, "POST", "/v1/keys", wanted, operator=True))["token"]
        until(lambda: [one["model"] for one in route(dac, token)["candidates"]] == ["claude/sonnet"])
        refused = call(dac, "PATCH", "/v2/tenants/later", {"routing_mode": "speed"}, operator=True)
        assert refused.status_code == 409 and "file" in refused.text
    finally:
        dac.config.write_text(text)


def test_the_command(dac: Dac, unassigned: None, tmp_path: Any) -> None:
    file = tmp_path / "cheap.yaml"
    file.write_text(
        "policies: {cheap: {profile: budget, max_cost_usd: 0.5, intents: {coding_help: {profile: quality}}}}"
    )
    assert "cheap" in command(dac, "policy", "set", str(file))
    shown = command(dac, "policy", "show", "cheap")
    file.write_text(shown.replace("profile: budget", "profile: speed"))
    made = json.loads(command(dac, "policy", "set", str(file), "--json"))["policies"][0]
    assert made["version"] == "2" and made["rules"]["intents"]["coding_help"]["profile"] == "quality"
    command(dac, "policy", "assign", "cheap")
    assert route(dac)["route"]["profile"] == "speed"
    assert "cheap" in command(dac, "policy", "list")
    command(dac, "policy", "assign", "--none")
    assert "rollback" not in command(dac, "policy", "history", "cheap")
    assert "3" in command(dac, "policy", "rollback", "cheap", "--version", "1")
    assert "rollback" in command(dac, "policy", "history", "cheap")
    command(dac, "policy", "delete", "cheap")
    assert "no policy" in command(dac, "policy", "show", "cheap", code=1)
    file.write_text("cheap: {profile: budget}")
    assert "policies:" in command(dac, "policy", "set", str(file), code=2)


def test_a_policy_is_tried_on_what_was_asked(dac: Dac, unassigned: None, tmp_path: Any) -> None:
    answers = [dac.chat(model=model) for model in ("auto", "mock/gpt-4o-mini", "claude/sonnet")]
    for answer in answers:
        dac.record(answer)
    file = tmp_path / "tried.yaml"
    file.write_text('policies: {tried: {allowed_models: ["claude/*"]}}')
    found = json.loads(command(dac, "policy", "test", str(file), "--limit", "3", "--json"))
    assert (found["requests"], found["rerouted"], found["refused_now"], found["refused_then"]) == (3, 1, 0, 1)
    changed = {one["asked_model"]: one for one in found["changed"]}
    assert set(changed) == {"auto", "mock/gpt-4o-mini"}
    assert changed["auto"]["model_now"] in ("mock/gpt-4o-mini", "second/small"), "the dearest is not the best for all"
    assert changed["auto"]["model_then"] == "claude/sonnet"
    assert int(changed["auto"]["cost_then_nano_usd"]) > 0
    assert "tried" in changed["mock/gpt-4o-mini"]["refused_then"] and not changed["mock/gpt-4o-mini"]["model_then"]
    assert int(found["cost_now_nano_usd"]) > 0
    text = command(dac, "policy", "test", str(file), "--limit", "3")
    assert "3 requests" in text and "refused 0 now, 1 then" in text
    assert "tried" not in [one["name"] for one in fine(call(dac, "GET", "/v2/policies"))["policies"]]
    bad = call(dac, "POST", "/v2/policies:test", {"rules": {"profile": "fast"}})
    assert bad.status_code == 400


def under(dac: Dac, rules: dict[str, Any]) -> None:
    """Makes the policy "answers" of these rules for answers, and assigns it to the organisation."""
    body = {"rules": {"exploration": 0, "answers": rules}}
    if call(dac, "GET", "/v2/policies/answers").status_code == 404:
        fine(call(dac, "POST", "/v2/policies", {"name": "answers", **body}))
    else:
        fine(call(dac, "PUT", "/v2/policies/answers", body))
    fine(call(dac, "PUT", "/v2/policy-assignments", {"level": {"kind": "KIND_ORG"}, "policy": "answers"}))


def cached(dac: Dac, text: str, headers: dict[str, str] | None = None, **fields: Any) -> str:
    """What the cache did for a chat."""
    body = {"model": "mock/gpt-4o-mini", "messages": [{"role": "user", "content": text}], **fields}
    own = {"authorization": f"Bearer {dac.key}", **(headers or {})}
    answer = httpx.post(dac.url + "/v1/chat/completions", json=body, headers=own, timeout=30)
    return answer.headers["x-dac-cache"] if answer.status_code == 200 else str(answer.status_code)


def test_a_policy_turns_the_cache_on_and_requests_narrow_it(
    dac: Dac, upstream_process: UpstreamProcess, unassigned: None
) -> None:
    text = f"Which policy? {time.time_ns()}"
    assert [cached(dac, text) for _ in range(2)] == ["bypass", "bypass"]
    under(dac, {"cache": {"enabled": True, "ttl_s": 300}})
    assert [cached(dac, text) for _ in range(2)] == ["miss", "hit"]
    assert cached(dac, text, enable_cache=False) == "bypass"
    assert cached(dac, text, {"cache-control": "no-store"}) == "bypass"
    assert cached(dac, text, {"cache-control": "no-cache"}) == "miss"
    under(dac, {"cache": {"enabled": True, "ttl_s": 1}})
    until(lambda: cached(dac, text, {"cache-control": "only-if-cached"}) == "404")
    under(dac, {"cache": {"enabled": False}})
    assert cached(dac, text, enable_cache=True) == "bypass" == cached(dac, text, {"x-dac-cache-mode": "exact"})
    calls = len(upstream_process.requests())
    assert cached(dac, text, {"cache-control": "only-if-cached"}) == "404"
    assert len(upstream_process.requests()) == calls, "who takes a stored answer only asks no provider"


def test_under_such_a_policy_equal_chats_share_a_call(
    dac: Dac, upstream_process: UpstreamProcess, unassigned: None
) -> None:
    under(dac, {"cache": {"enabled": True}})
    upstream_process.script("ok", text="One for all.", delay_s=0.5)
    text = f"Who else? {time.time_ns()}"
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: cached(dac, text), range(8)))
    assert set(found) == {"miss"} and len(upstream_process.requests()) == 1


def test_a_caller_who_leaves_takes_nothing_from_those_who_follow_by_policy(
    dac: Dac, upstream_process: UpstreamProcess, unassigned: None
) -> None:
    under(dac, {"cache": {"enabled": True}})
    upstream_process.script("ok", text="a b c d e f g h", token_delay_s=0.1)
    messages = [{"role": "user", "content": f"Who stays? {time.time_ns()}"}]
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        body = {"model": "mock/gpt-4o-mini", "messages": messages, "stream": True}
        with httpx.stream("POST", dac.url + "/v1/chat/completions", json=body, headers=dac.headers) as leader:
            chunks = leader.iter_raw()
            next(chunks)
            following = pool.submit(dac.chat, messages=messages, stream=True)
            time.sleep(0.3)
        answer = following.result()
    assert answer.text.endswith("data: [DONE]\n\n") and len(upstream_process.requests()) == 1
    assert answer.headers["x-dac-coalesced"] == leader.headers["x-dac-request-id"]
    led: dict[str, object] = dac.record(leader)
    assert led["outcome"] == "OUTCOME_CLIENT_GONE" and int(str(led["cost_nano_usd"])) > 0
