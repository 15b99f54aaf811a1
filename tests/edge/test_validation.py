"""Checked answers as callers see them: headers, bodies, records, charges, the cache, and what is done with bad ones."""

import base64
import hashlib
import hmac
import http.server
import json
import pathlib
import re
import threading
import time
from collections.abc import Iterator
from typing import Any, ClassVar

import httpx
import pytest

from tests import programs
from tests.edge.conftest import Dac, UpstreamProcess, make_dac
from tests.ports import free_port

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
SECRET = "a secret of more than twenty-four bytes"
BAD, MEH, GOOD = "This answer is BAD.", "This answer is MEH.", "This answer is good."
PORT = free_port()
MORE = f"""
gateway:
  validation_webhooks: ["guard=http://127.0.0.1:{PORT}/check", "gone=http://127.0.0.1:9/check"]
  validation_webhook_secret: "{SECRET}"
  validation_webhook_allow_private_address: true
  validation_webhook_timeout_s: 1
policies:
  default:
    exploration: 0
    intents:
      qa_retrieval: {{answers: {{validation: {{enabled: true, action: block, webhook: guard}}}}}}
      coding_help: {{answers: {{validation: {{enabled: true, action: retry, webhook: guard}}}}}}
      editing_writing: {{answers: {{validation: {{enabled: true, webhook: guard, streams: hold}}}}}}
      social_chat: {{answers: {{validation: {{enabled: true, webhook: gone}}}}}}
      reasoning_math: {{answers: {{validation: {{enabled: true, judge_model: second/small}}}}}}
"""
BLOCK, RETRY, HOLD, BROKEN, JUDGED = (
    {"task_type": name} for name in ("qa_retrieval", "coding_help", "editing_writing", "social_chat", "reasoning_math")
)


class Guard(http.server.BaseHTTPRequestHandler):
    """A webhook that dislikes some words."""

    told: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        signed = b".".join((self.headers["webhook-id"].encode(), self.headers["webhook-timestamp"].encode(), body))
        expected = base64.b64encode(hmac.digest(SECRET.encode(), signed, hashlib.sha256)).decode()
        assert self.headers["webhook-signature"] == f"v1,{expected}"
        event = json.loads(body)
        self.told.append(event)
        said: dict[str, Any] = {"status": "passed", "quality": 0.9}
        if "BAD" in event["text"]:
            said = {"status": "failed", "quality": 0.1, "messages": ["It says BAD."]}
        elif "MEH" in event["text"]:
            said = {"status": "flagged", "quality": 0.8}
        answer = b"<html>" if "BROKEN" in event["text"] else json.dumps(said).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def guard() -> Iterator[type[Guard]]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Guard)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Guard
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def dac(
    tmp_path_factory: pytest.TempPathFactory, upstream_process: UpstreamProcess, guard: type[Guard]
) -> Iterator[Dac]:
    running = make_dac(tmp_path_factory.mktemp("validation"), upstream_process, audio=False, more=MORE)
    running.start()
    yield running
    assert running.stop() == 0


def ask(dac: Dac, path: str = CHAT, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
    messages = [{"role": "user", "content": f"What is it? {time.time_ns()}"}]
    body: dict[str, Any] = {"model": "mock/gpt-4o-mini", "messages": messages, **fields}
    if path == RESPONSES:
        body["input"] = body.pop("messages")
    if path == MESSAGES:
        body["max_tokens"] = 500
    return httpx.post(dac.url + path, json=body, headers={**dac.headers, **(headers or {})}, timeout=30)


def text_of(answer: httpx.Response) -> str:
    if answer.headers["content-type"].startswith("application/json"):
        return str(answer.json()["choices"][0]["message"]["content"])
    said = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    return "".join(choice["delta"].get("content") or "" for one in said for choice in one.get("choices", ()))


def validation_of(dac: Dac, answer: httpx.Response) -> Any:
    return dac.record(answer).get("validation")


def test_an_answer_that_passes_says_so_in_header_and_record(dac: Dac, upstream_process: UpstreamProcess) -> None:
    upstream_process.script(text=GOOD, times=1)
    answer = ask(dac, **HOLD)
    assert text_of(answer) == GOOD
    said = answer.headers["x-dac-validation"]
    record = validation_of(dac, answer)
    assert said == f"passed; quality={record['quality']:.2f}" and record["status"] == "passed"
    assert record["checks"]["webhook"] == "passed" and record["mode"] == "whole" and record["action"] == "flag"
    assert record["answers"] == [
        {
            "attempt_id": dac.record(answer)["attempts"][0]["attempt_id"],  # type: ignore[index]
            "model": "mock/gpt-4o-mini",
            "quality": record["quality"],
            "status": "passed",
            "given": True,
        }
    ]


@pytest.mark.parametrize("stream", [False, True])
def test_a_flagged_answer_is_given_and_flagged(dac: Dac, upstream_process: UpstreamProcess, stream: bool) -> None:
    upstream_process.script(text=BAD, times=1)
    answer = ask(dac, stream=stream, **HOLD)
    assert text_of(answer) == BAD and answer.status_code == 200
    record = validation_of(dac, answer)
    mode = "; mode=hold" if stream else ""
    assert answer.headers["x-dac-validation"] == f"flagged; quality={record['quality']:.2f}; checks=webhook{mode}"
    assert record["status"] == "flagged" and record["findings"] == {"webhook": 1}


def test_retry_gives_the_next_models_answer_and_charges_both(dac: Dac, upstream_process: UpstreamProcess) -> None:
    upstream_process.script(text=BAD, times=1)
    upstream_process.script(text=GOOD, times=1)
    answer = ask(dac, model="auto", **RETRY)
    assert text_of(answer) == GOOD and answer.headers["x-dac-validation"].startswith("passed; quality=")
    record: Any = dac.record(answer)
    first, second = record["attempts"]
    assert first["model"] != second["model"] == answer.headers["x-dac-model"]
    costs = [int(one["cost_nano_usd"]) for one in (first, second)]
    assert min(costs) > 0 and int(record["cost_nano_usd"]) == sum(costs)
    assert float(answer.headers["x-dac-cost-usd"]) == pytest.approx(sum(costs) / 1e9)
    assert [(one["status"], one.get("given", False)) for one in record["validation"]["answers"]] == [
        ("flagged", False),
        ("passed", True),
    ]


def test_the_better_answer_is_given_when_all_fail(dac: Dac, upstream_process: UpstreamProcess) -> None:
    for text in (BAD, BAD + " BROKEN"):
        upstream_process.script(text=text, times=1)
    answer = ask(dac, model="auto", stream=False, **RETRY)
    record: Any = dac.record(answer)
    assert len(record["attempts"]) == 2 and record["attempts"][-1]["model"] == answer.headers["x-dac-model"]
    given = next(one for one in record["validation"]["answers"] if one.get("given"))
    assert given["attempt_id"] == record["attempts"][-1]["attempt_id"], "the one that was given stands last"
    upstream_process.script(text=BAD, times=1)
    upstream_process.script(fault="status", status=500, times=4)
    answer = ask(dac, model="auto", **RETRY)
    assert answer.status_code == 200 and text_of(answer) == BAD, "a retry that fails loses no answer"
    assert answer.headers["x-dac-validation"].startswith("flagged")


def test_bad_json_is_asked_for_again(dac: Dac, upstream_process: UpstreamProcess) -> None:
    schema = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}
    format_ = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema}}
    upstream_process.script(text='{"name": 5}', times=1)
    upstream_process.script(text='{"name": "Ada"}', times=1)
    answer = ask(dac, response_format=format_, **RETRY)
    assert text_of(answer) == '{"name": "Ada"}' and answer.headers["x-dac-validation"].startswith("passed")
    record: Any = dac.record(answer)
    assert [one["model"] for one in record["attempts"]] == ["mock/gpt-4o-mini"] * 2, "no other model stands behind it"
    assert record["validation"]["checks"]["schema"] == "passed"
    assert all(int(one["cost_nano_usd"]) > 0 for one in record["attempts"])


def test_a_budget_that_is_too_small_for_another_answer_gives_the_first(
    dac: Dac, upstream_process: UpstreamProcess
) -> None:
    upstream_process.script(text=BAD, times=3)
    fields: dict[str, Any] = {"max_tokens": 400, **RETRY}
    first: Any = dac.record(ask(dac, **fields))
    assert len(first["attempts"]) == 2
    one = int(first["reserved_nano_usd"]) // 2
    spent = int(first["cost_nano_usd"])
    key = {"kind": "KIND_KEY", "id": first["path"][-1]["id"]}
    for times, attempts in ((2.5, 2), (1.5, 1)):
        upstream_process.clear()
        upstream_process.script(text=BAD, times=3)
        budgets = dac.get("/v1/budgets").json().get("budgets", [])
        used = sum(int(one["spent_nano_usd"]) for one in budgets)
        body = {"level": key, "window": "WINDOW_DAY", "limit_nano_usd": str(used + int(times * one))}
        made = httpx.put(dac.url + "/v1/budgets", json=body, headers=dac.headers)
        assert made.status_code == 200, made.text
        answer = ask(dac, **fields)
        assert answer.status_code == 200 and text_of(answer) == BAD, (times, answer.text)
        record: Any = dac.record(answer)
        assert len(record["attempts"]) == attempts, times
        assert int(record["cost_nano_usd"]) <= int(record["reserved_nano_usd"]) <= int(times * one) + spent
    gone = httpx.delete(f"{dac.url}/v1/budgets/{made.json()['budget']['budget_id']}", headers=dac.headers)
    assert gone.status_code == 200


def test_a_client_that_leaves_during_a_retry_is_charged_for_both_once(
    dac: Dac, upstream_process: UpstreamProcess
) -> None:
    upstream_process.script(text=BAD, times=1)
    upstream_process.script(times=1, delay_s=5.0)
    own = {**dac.headers, "x-request-id": f"left-{time.time_ns()}"}
    body = {"model": "mock/gpt-4o-mini", "messages": [{"role": "user", "content": "Go on."}], **RETRY}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(dac.url + CHAT, json=body, headers=own, timeout=1.0)
    end = time.monotonic() + 5
    while True:
        listed = dac.get("/v1/requests", params={"page_size": 5}).json()["requests"]
        found = [one for one in listed if one.get("client_request_id") == own["x-request-id"]]
        if found or time.monotonic() > end:
            break
        time.sleep(0.02)
    attempts = found[0]["attempts"]
    assert found[0]["outcome"] == "OUTCOME_CLIENT_GONE" and len(attempts) == 2
    assert [one["usage_source"] for one in attempts] == ["USAGE_SOURCE_PROVIDER", "USAGE_SOURCE_COUNTED"]
    assert len({one["attempt_id"] for one in attempts}) == 2


def test_the_worst_of_several_choices_decides(dac: Dac, upstream_process: UpstreamProcess) -> None:
    for stream in (False, True):
        upstream_process.script(text=BAD, times=1)
        answer = ask(dac, n=2, stream=stream, **HOLD)
        assert answer.headers["x-dac-validation"].startswith("flagged") and "BAD" in answer.text


def test_a_thread_keeps_what_was_shown(dac: Dac, upstream_process: UpstreamProcess) -> None:
    thread = f"checked-{time.time_ns()}"
    upstream_process.script(text=BAD, times=1)
    blocked = ask(dac, thread_id=thread, **BLOCK)
    assert blocked.status_code == 422
    upstream_process.script(text=BAD, times=1)
    upstream_process.script(text=GOOD, times=1)
    url = f"{dac.url}/api/threads/{thread}/messages"
    body = {"content": "Once more?", "model": "mock/gpt-4o-mini", **RETRY}
    answer = httpx.post(url, json=body, headers=dac.headers, timeout=30)
    assert answer.json()["message"]["content"] == GOOD and answer.json()["validation"]["status"] == "passed"
    upstream_process.script(text=BAD, times=1)
    streamed = httpx.post(f"{url}/stream", json={**body, "enable_validation": True}, headers=dac.headers, timeout=30)
    done = json.loads(streamed.text.split("event: done\ndata: ")[1].splitlines()[0])
    assert done["validation"]["status"] == "flagged" and done["validation"]["mode"] == "flag"
    kept = dac.get(f"/api/threads/{thread}/messages").json()["messages"]
    said = [one["text"] for one in kept if one["role"] == "assistant"]
    assert said == [GOOD, BAD], "what was blocked or replaced was never said"


@pytest.mark.parametrize("stream", [False, True])
def test_a_blocked_answer_is_never_shown(dac: Dac, upstream_process: UpstreamProcess, stream: bool) -> None:
    for more in ({}, {"enable_validation": False}):
        upstream_process.script(text=BAD, times=1)
        answer = ask(dac, stream=stream, **BLOCK, **more)
        assert answer.status_code == 422 and "BAD" not in answer.text, more
        error = answer.json()["error"]
        assert error["code"] == "answer_blocked" and error["type"] == "invalid_request_error"
        assert answer.headers["x-dac-validation"].startswith("blocked; quality=")
        assert answer.headers["x-should-retry"] == "false"
    record: Any = dac.record(answer)
    assert record["outcome"] == "OUTCOME_FAILED" and record["reason"] == "ERROR_REASON_ANSWER_BLOCKED"
    assert record["validation"]["status"] == "blocked" and not record["validation"]["answers"][0].get("given")
    assert int(record["cost_nano_usd"]) > 0, "it was made, and is paid for"


def test_a_stream_that_is_not_held_passes_and_is_told_at_its_end(dac: Dac, upstream_process: UpstreamProcess) -> None:
    upstream_process.script(text=BAD, times=1)
    answer = ask(dac, stream=True, stream_options={"include_dac": True}, **RETRY)
    assert text_of(answer) == BAD and answer.headers["x-dac-validation"] == "pending; mode=flag"
    told = next(json.loads(one[6:]) for one in answer.text.splitlines() if '"dac":' in one)["dac"]["validation"]
    assert (told["status"], told["mode"], told["checks"]["webhook"]) == ("flagged", "flag", "failed")
    record = validation_of(dac, answer)
    assert record["status"] == "flagged" and record["quality"] == pytest.approx(told["quality"], abs=1e-3)


@pytest.fixture
def held(dac: Dac) -> Iterator[None]:
    """A policy that holds and blocks, for everybody."""
    rules = {"exploration": 0, "answers": {"validation": {"enabled": True, "action": "block", "webhook": "guard"}}}
    for method, path, body in (
        ("POST", "/v2/policies", {"name": "held", "rules": rules}),
        ("PUT", "/v2/policy-assignments", {"level": {"kind": "KIND_ORG"}, "policy": "held"}),
    ):
        httpx.request(method, dac.url + path, json=body, headers=dac.headers).raise_for_status()
    yield
    for one in dac.get("/v2/policy-assignments").json()["assignments"]:
        httpx.delete(f"{dac.url}/v2/policy-assignments/{one['level']['id']}", headers=dac.headers).raise_for_status()


def test_other_dialects_are_held_and_blocked_alike(dac: Dac, upstream_process: UpstreamProcess, held: None) -> None:
    for path, stream in ((MESSAGES, False), (MESSAGES, True), (RESPONSES, True)):
        upstream_process.script(text=GOOD, times=1)
        good = ask(dac, path, stream=stream)
        assert good.headers["x-dac-validation"].startswith("passed; quality=") and " good." in good.text
        assert good.headers["x-dac-validation"].endswith("; mode=hold") == stream
        upstream_process.script(text=BAD, times=1)
        bad = ask(dac, path, stream=stream)
        assert bad.status_code == 422 and "held back" in bad.json()["error"]["message"] and "BAD" not in bad.text


def test_other_dialects_ask_for_checks_by_header(dac: Dac, upstream_process: UpstreamProcess) -> None:
    for path, stream in ((MESSAGES, False), (MESSAGES, True), (RESPONSES, False), (RESPONSES, True)):
        answer = ask(dac, path, {"x-dac-validation": "on"}, stream=stream)
        assert answer.status_code == 200, answer.text
        expected = "pending; mode=flag" if stream else ("passed", "flagged", "not_checked")
        assert answer.headers["x-dac-validation"].startswith(expected)
        assert validation_of(dac, answer)["mode"] == ("flag" if stream else "whole")
        assert "validation" not in dac.record(ask(dac, path, stream=stream))
    wrong = ask(dac, MESSAGES, {"x-dac-validation": "maybe"})
    assert wrong.status_code == 400 and "on or off" in wrong.text


def test_nothing_is_touched_where_nothing_is_checked(dac: Dac, upstream_process: UpstreamProcess) -> None:
    for stream in (False, True):
        messages = [{"role": "user", "content": "Say it."}]
        plain = ask(dac, stream=stream, messages=messages)
        off = ask(dac, stream=stream, messages=messages, enable_validation=False)
        held = ask(dac, stream=stream, messages=messages, **HOLD)
        refused = ask(dac, stream=stream, messages=messages, enable_validation=False, **HOLD)
        contents = [re.sub(rb"chatcmpl-[0-9a-z-]+", b"", one.content) for one in (plain, off, held, refused)]
        assert len(set(contents)) == 1 and len(contents[0]) > 400
        for answer in (plain, off, refused):
            assert "x-dac-validation" not in answer.headers and "validation" not in dac.record(answer)
    sent = upstream_process.requests()[-1]["body"]
    assert "enable_validation" not in json.dumps(sent)


def test_a_validator_that_fails_loses_no_answer(dac: Dac, upstream_process: UpstreamProcess) -> None:
    upstream_process.script(text=GOOD, times=1)
    answer = ask(dac, **BROKEN)
    assert text_of(answer) == GOOD and answer.status_code == 200
    assert validation_of(dac, answer)["checks"]["webhook"] == "not_checked"
    upstream_process.script(text="BROKEN", times=1)
    answer = ask(dac, **BLOCK)
    assert answer.status_code == 200 and validation_of(dac, answer)["checks"]["webhook"] == "not_checked"


def test_the_cache_keeps_only_what_passes(dac: Dac, upstream_process: UpstreamProcess) -> None:
    for text, kept in ((BAD, False), (MEH, False), (GOOD, True)):
        messages = [{"role": "user", "content": f"What is kept? {time.time_ns()}"}]
        upstream_process.script(text=text, times=2)
        asked = [ask(dac, messages=messages, enable_cache=True, **HOLD) for _ in range(2)]
        upstream_process.clear()
        assert [one.headers["x-dac-cache"] for one in asked] == ["miss", "hit" if kept else "miss"], text
        if kept:
            assert asked[1].headers["x-dac-validation"] == "passed; mode=cache"
            assert validation_of(dac, asked[1])["mode"] == "cache"
            other = ask(dac, messages=messages, enable_cache=True, validation_context=["It is good."], **HOLD)
            assert other.headers["x-dac-cache"] == "miss", "other sources, another verdict"


@pytest.mark.parametrize("rules", [HOLD, BLOCK])
def test_followers_of_one_call_get_the_same_verdict(
    dac: Dac, upstream_process: UpstreamProcess, rules: dict[str, str]
) -> None:
    upstream_process.script(text=BAD, times=1, first_token_delay_s=0.5)
    messages = [{"role": "user", "content": f"Together? {time.time_ns()}"}]
    found: list[httpx.Response] = []
    threads = [
        threading.Thread(
            target=lambda stream=stream: found.append(
                ask(dac, messages=messages, enable_cache=True, stream=stream, **rules)
            )
        )
        for stream in (False, False, True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(upstream_process.requests()) == 1
    expected = "blocked" if rules is BLOCK else "flagged"
    assert {one.headers["x-dac-validation"].split(";")[0] for one in found} == {expected}
    assert {validation_of(dac, one)["status"] for one in found} == {expected}


def test_a_judge_is_a_chat_of_its_own(dac: Dac, upstream_process: UpstreamProcess) -> None:
    upstream_process.script(text=GOOD, times=1, model="gpt-4o-mini")
    said = json.dumps({"verdict": "fail", "quality": 0.2, "reason": "It is wrong."})
    upstream_process.script(text=f"Here it is: {said}", times=1, model="small")
    answer = ask(dac, **JUDGED)
    assert text_of(answer) == GOOD
    record = validation_of(dac, answer)
    assert record["checks"]["judge"] == "failed" and record["status"] == "flagged" and record["quality"] <= 0.2
    assert "wrong" not in json.dumps(record), "no text stands on the record"
    sent = upstream_process.requests()[-1]["body"]
    told: Any = json.loads(sent["messages"][1]["content"])  # type: ignore[index,call-overload]
    assert told["answer"] == GOOD and told["question"].startswith("What is it?")
    listed = dac.get("/v1/requests", params={"page_size": 5}).json()["requests"]
    judged = [one for one in listed if one.get("operation") == "judge"]
    assert judged and judged[0]["attempts"][0]["model"] == "second/small" and int(judged[0]["cost_nano_usd"]) > 0
    assert judged[0]["tags"]["judged_request_id"] == answer.headers["x-dac-request-id"]
    assert "validation" not in judged[0], "a judge is not judged"
    upstream_process.script(text=GOOD, times=1, model="gpt-4o-mini")
    upstream_process.script(text="No idea.", times=1, model="small")
    assert validation_of(dac, ask(dac, **JUDGED))["checks"]["judge"] == "not_checked"


def test_texts_of_others_are_checked(dac: Dac) -> None:
    def checked(code: int = 200, **body: Any) -> Any:
        answer = httpx.post(dac.url + "/v2/validate", json=body, headers=dac.headers, timeout=30)
        assert answer.status_code == code, answer.text
        return answer.json()

    text = "As we know, 12 + 30 = 43, and so on."
    found = checked(text=text, checks=["arithmetic"])
    assert found["status"] == "flagged" and 0 <= found["quality"] < 1
    place = found["findings"][0]
    assert place["check"] == "arithmetic" and "12 + 30" in text[place["start"] : place["end"]]
    schema = {"type": "object", "properties": {"name": {"type": "string", "minLength": 2}}}
    assert checked(text='{"name": "A"}', schema=schema, checks=["schema"])["checks"] == {"schema": "failed"}
    assert checked(text='{"name": "Ada"}', schema=schema, checks=["schema"])["status"] == "passed"
    nothing = checked(text="Paris.", checks=["support"])
    assert nothing["status"] == "not_checked" and "quality" not in nothing
    low = checked(text="Paris.", checks=["shape"], min_quality=1.0)
    assert low["status"] in ("passed", "flagged")
    for wrong, field in (({}, "text"), ({"text": "x", "checks": ["grammar"]}, "checks")):
        assert checked(400, **wrong)["error"]["param"] == field
    assert checked(413, text="x" * 1_000_001)["error"]["code"] == "too_large"


def test_the_command_line_checks_a_file(dac: Dac, tmp_path: pathlib.Path) -> None:
    env = {**dac.env, "DAC_BASE_URL": dac.url, "DAC_API_KEY": dac.key}
    answer, schema = tmp_path / "answer.json", tmp_path / "schema.json"
    answer.write_text("{}")
    schema.write_text('{"type": "object", "required": ["name"]}')
    arguments = ["validate", str(answer), "--schema", str(schema), "--checks", "schema"]
    bad = programs.run(arguments, env)
    assert bad.returncode == 1 and "schema" in bad.stdout and "failed" in bad.stdout, bad.stderr
    answer.write_text('{"name": "Ada"}')
    good = programs.run([*arguments, "--json"], env)
    assert good.returncode == 0 and json.loads(good.stdout)["checks"] == {"schema": "passed"}


def test_private_values_reach_neither_provider_nor_judge(dac: Dac, upstream_process: UpstreamProcess) -> None:
    email = "ada.lovelace@example.org"
    messages = [{"role": "user", "content": f"Write to {email}, please."}]
    upstream_process.script(fault="ok", model="small", text="No idea.", times=2)
    for stream in (False, True):
        upstream_process.script(fault="ok", model="gpt-4o-mini", text="Done.", times=1)
        answer = ask(dac, messages=messages, redaction=True, stream=stream, **JUDGED)
        assert answer.status_code == 200 and "x-dac-redaction" in answer.headers, answer.text
    sent = upstream_process.requests()
    assert len(sent) == 4 and email not in json.dumps(sent)


def test_a_judge_gets_what_the_judged_requests_own_intent_lets_through(
    dac: Dac, upstream_process: UpstreamProcess
) -> None:
    def call(method: str, path: str, body: Any = None) -> Any:
        answer = httpx.request(method, dac.url + path, json=body, headers=dac.headers, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()

    judged = {"validation": {"enabled": True, "judge_model": "second/small"}, "redaction": {"enabled": True}}
    rules = {"exploration": 0, "intents": {"reasoning_math": {"answers": judged}}}
    call("POST", "/v2/policies", {"name": "mathematics", "rules": rules})
    made = call("POST", "/v1/keys", {"name": "mathematics"})
    level = {"kind": "KIND_KEY", "id": made["key"]["key_id"]}
    call("PUT", "/v2/policy-assignments", {"level": level, "policy": "mathematics"})
    own = {"authorization": f"Bearer {made['token']}"}
    email = "ada.lovelace@example.org"
    # Without the judged request's own rules, the judge's prompt would be of another intent, which has none.
    messages = [{"role": "user", "content": f"Hello {email}, how are you today? Nice to meet you!"}]
    upstream_process.script(text=f"Hello {email}, I am fine.", times=1, model="gpt-4o-mini")
    upstream_process.script(text="No idea.", times=1, model="small")
    assert "x-dac-redaction" in ask(dac, CHAT, own, messages=messages, **JUDGED).headers
    sent = upstream_process.requests()
    assert len(sent) == 2 and email not in json.dumps(sent)
    call("DELETE", f"/v2/policy-assignments/{level['id']}")
    call("DELETE", "/v2/policies/mathematics")


def test_a_retry_restores_private_values_as_the_first_answer_does(dac: Dac, upstream_process: UpstreamProcess) -> None:
    email = "ada.lovelace@example.org"
    messages = [{"role": "user", "content": f"Repeat {email} GOOD."}]
    echo = {"model": "mock/gpt-4o-mini", "messages": messages, "redaction": True, **RETRY}
    first = ask(dac, **{**echo, "task_type": "editing_writing"})
    placeholder = upstream_process.requests()[-1]["body"]["messages"][-1]["content"].split()[1]  # type: ignore[index]
    assert "@" not in placeholder and first.status_code == 200
    upstream_process.script(text=f"BAD {placeholder}", times=1)
    upstream_process.script(text=f"It is {placeholder}.", times=1)
    answer = ask(dac, **echo)
    assert text_of(answer) in (f"It is {email}.", f"It is {placeholder}.") and len(dac.record(answer)["attempts"]) == 2  # type: ignore[arg-type]
