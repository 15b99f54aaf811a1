"""Private values through a real `dac up`: no provider and no log gets them, and their owner gets them back."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests import programs
from tests.edge.conftest import Dac, UpstreamProcess

MAIL, CARD, PHONE = "canary.person@corp-mail.org", "4111 1111 1111 1111", "+44 20 7946 0958"
ASKED = f"Write to {MAIL}, pay with {CARD}, call {PHONE}, or {MAIL} again."
SENT = "Write to [EMAIL_1], pay with [CARD_1], call [PHONE_1], or [EMAIL_1] again."
MESSAGES = [{"role": "user", "content": ASKED}]
ANSWER = "I wrote to [EMAIL_1] and called [PHONE_1]; [EMAIL_7] is nobody."
TOLD = f"I wrote to {MAIL} and called {PHONE}; [EMAIL_7] is nobody."
TOOL = {"type": "function", "function": {"name": "mail", "parameters": {"type": "object", "properties": {}}}}


def call(dac: Dac, method: str, path: str, body: Any = None, key: str = "") -> Any:
    answer = httpx.request(
        method, dac.url + path, json=body, headers={"authorization": f"Bearer {key or dac.key}"}, timeout=30
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture(scope="module")
def keys(dac: Dac) -> Iterator[Callable[[str], str]]:
    """Keys whose policies redact in several ways; the shared DAC is left as it was."""
    made: dict[str, tuple[str, str]] = {}
    rules = {
        "restore": {"enabled": True, "restore": True},
        "leave": {"enabled": True},
        "block": {"enabled": True, "action": "block", "kinds": ["email", "card"]},
        "flag": {"enabled": True, "action": "flag"},
    }

    def key(name: str) -> str:
        if name not in made:
            policy = {"name": f"redaction-{name}", "rules": {"answers": {"redaction": rules[name]}}}
            call(dac, "POST", "/v2/policies", policy)
            one = call(dac, "POST", "/v1/keys", {"name": name, "scopes": ["chat", "read"]})
            made[name] = (one["token"], one["key"]["key_id"])
            level = {"kind": "KIND_KEY", "id": made[name][1]}
            call(dac, "PUT", "/v2/policy-assignments", {"level": level, "policy": f"redaction-{name}"})
        return made[name][0]

    yield key
    for name, (_, key_id) in made.items():
        call(dac, "DELETE", f"/v2/policy-assignments/{key_id}")
        call(dac, "DELETE", f"/v2/policies/redaction-{name}")
        call(dac, "DELETE", f"/v1/keys/{key_id}")


def ask(dac: Dac, key: str, path: str = "/v1/chat/completions", **fields: Any) -> httpx.Response:
    body = {"model": "mock/gpt-4o-mini", "messages": MESSAGES, **fields}
    return httpx.post(dac.url + path, json=body, headers={"authorization": f"Bearer {key}"}, timeout=30)


def got(upstream: UpstreamProcess) -> str:
    return json.dumps([one["body"] for one in upstream.requests()])


def test_the_provider_never_sees_what_the_caller_gets_back(dac, keys, upstream_process) -> None:
    upstream_process.script(text=ANSWER)
    answer = ask(dac, keys("restore"))
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"] == TOLD
    assert upstream_process.requests()[-1]["body"]["messages"] == [{"role": "user", "content": SENT}]
    assert answer.headers["x-dac-redaction"] == "card=1,email=2,phone=1"
    record = dac.record(answer)
    assert record["redaction"] == {"kinds": {"card": 1, "email": 2, "phone": 1}, "restored": True, "action": "redact"}
    assert MAIL not in json.dumps(record)
    assert 'redactions_total{action="redact",kind="email"}' in dac.get("/metrics").text


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/v1/chat/completions", {}),
        ("/v1/messages", {"max_tokens": 200}),
        ("/v1/messages", {"max_tokens": 200, "model": "claude/sonnet"}),
        ("/v1/responses", {"input": ASKED}),
    ],
)
def test_streams_of_every_form_are_restored(dac, keys, upstream_process, path, more) -> None:
    upstream_process.script(text=ANSWER)
    fields: dict[str, Any] = {"stream": True, **more}
    if path == "/v1/responses":
        body = {"model": "mock/gpt-4o-mini", **fields}
        answer = httpx.post(
            dac.url + path, json=body, headers={"authorization": f"Bearer {keys('restore')}"}, timeout=30
        )
    else:
        answer = ask(dac, keys("restore"), path, **fields)
    assert answer.status_code == 200, answer.text
    said, whole = "", ""
    for line in answer.text.splitlines():
        document = json.loads(line[5:]) if line.startswith("data: {") else {}
        for choice in document.get("choices", []):
            said += choice["delta"].get("content") or ""
        delta = document.get("delta")
        said += delta if isinstance(delta, str) else (delta or {}).get("text", "")
        if document.get("type") == "response.completed":
            whole = json.dumps(document)
    assert said == TOLD
    assert path != "/v1/responses" or MAIL in whole
    sent = got(upstream_process)
    assert MAIL not in sent and CARD not in sent and PHONE not in sent and "[EMAIL_1]" in sent


def test_tools_are_called_with_values_and_answer_without_them(dac, keys, upstream_process) -> None:
    arguments = json.dumps({"to": "[EMAIL_1]", "why": "see [CARD_1]"})
    for stream in (False, True):
        upstream_process.script(tool="mail", arguments=arguments)
        answer = ask(dac, keys("restore"), tools=[TOOL], stream=stream)
        assert answer.status_code == 200, answer.text
        said = ""
        if stream:
            for line in answer.text.splitlines():
                for choice in json.loads(line[5:])["choices"] if line.startswith("data: {") else ():
                    for one in choice["delta"].get("tool_calls") or ():
                        said += one["function"].get("arguments", "")
        else:
            said = answer.json()["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]
        assert json.loads(said) == {"to": MAIL, "why": f"see {CARD}"}
    called = {"id": "c1", "type": "function", "function": {"name": "mail", "arguments": said}}
    turns = [
        *MESSAGES,
        {"role": "assistant", "content": None, "tool_calls": [called]},
        {"role": "tool", "tool_call_id": "c1", "content": f"{MAIL} has it"},
    ]
    upstream_process.script(text="Done.", tool="none")
    assert ask(dac, keys("restore"), messages=turns, tools=[TOOL]).status_code == 200
    sent = upstream_process.requests()[-1]["body"]["messages"]
    assert json.loads(sent[1]["tool_calls"][0]["function"]["arguments"]) == json.loads(arguments)
    assert sent[2]["content"] == "[EMAIL_1] has it"


def test_without_restore_placeholders_stay_and_may_be_shared(dac, keys, upstream_process) -> None:
    def cached(mail: str) -> httpx.Response:
        messages = [{"role": "user", "content": f"How do I greet {mail}? Number 5521."}]
        return ask(dac, keys("leave"), messages=messages, enable_cache=True)

    upstream_process.script(text="Say hello to [EMAIL_1].")
    first = cached(MAIL)
    assert first.json()["choices"][0]["message"]["content"] == "Say hello to [EMAIL_1]."
    deadline = time.monotonic() + 5
    while (second := cached("someone.else@corp-mail.org")).headers["x-dac-cache"] != "hit":
        assert time.monotonic() < deadline
    assert second.json()["choices"][0]["message"]["content"] == "Say hello to [EMAIL_1]."


def test_answers_with_values_are_never_shared(dac, keys, upstream_process) -> None:
    for _ in range(2):
        upstream_process.script(text="Hello [EMAIL_1].")
        answer = ask(dac, keys("restore"), enable_cache=True)
        assert answer.headers["x-dac-cache"] == "bypass"
        assert answer.json()["choices"][0]["message"]["content"] == f"Hello {MAIL}."


def test_block_refuses_with_kinds_and_asks_nobody(dac, keys, upstream_process) -> None:
    answer = ask(dac, keys("block"))
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == "private_data_refused" and "card, email" in error["message"]
    assert MAIL not in answer.text and upstream_process.requests() == []
    record = dac.record(answer)
    assert record["redaction"] == {"kinds": {"card": 1, "email": 2}, "restored": False, "action": "block"}
    assert record["outcome"] == "OUTCOME_REFUSED"


def test_flag_only_writes_it_down(dac, keys, upstream_process) -> None:
    answer = ask(dac, keys("flag"))
    assert upstream_process.requests()[-1]["body"]["messages"] == MESSAGES
    assert answer.headers["x-dac-redaction"] == "card=1,email=2,phone=1"


def test_a_request_may_ask_for_it_but_not_refuse_it(dac, keys, upstream_process) -> None:
    upstream_process.script(text=ANSWER)
    answer = ask(dac, dac.key, redaction=True)
    assert answer.json()["choices"][0]["message"]["content"] == TOLD
    assert "redaction" not in upstream_process.requests()[-1]["body"] and MAIL not in got(upstream_process)
    upstream_process.script(text=ANSWER)
    body = {"model": "claude/sonnet", "max_tokens": 200, "messages": MESSAGES}
    headers = {**dac.headers, "x-dac-redaction": "on"}
    answer = httpx.post(f"{dac.url}/v1/messages", json=body, headers=headers, timeout=30)
    assert answer.json()["content"][0]["text"] == TOLD and MAIL not in got(upstream_process)
    refused = ask(dac, keys("restore"), redaction=False)
    assert refused.status_code == 403 and refused.json()["error"]["param"] == "redaction"
    plain = ask(dac, dac.key, redaction=False)
    assert plain.status_code == 200 and "x-dac-redaction" not in plain.headers


def test_a_thread_keeps_the_users_own_words(dac, keys, upstream_process) -> None:
    thread = call(dac, "POST", "/v1/conversations", {}, keys("restore"))
    thread_id = thread["thread"]["thread_id"]
    for turn in range(2):
        upstream_process.script(text=f"Noted [EMAIL_1] {turn}.", times=1)
        answer = ask(dac, keys("restore"), thread_id=thread_id)
        assert answer.json()["choices"][0]["message"]["content"] == f"Noted {MAIL} {turn}."
    # The earlier turns go along without values, too.
    sent = upstream_process.requests()[-1]["body"]["messages"]
    assert len(sent) >= 3 and MAIL not in json.dumps(sent) and "Noted [EMAIL_1] 0." in json.dumps(sent)
    kept = httpx.get(
        f"{dac.url}/v1/conversations/{thread_id}/messages",
        headers={"authorization": f"Bearer {keys('restore')}"},
        timeout=30,
    ).text
    assert f"Noted {MAIL} 1." in kept and ASKED in kept


def test_a_turn_below_a_thread_may_ask_for_it(dac, upstream_process) -> None:
    thread = call(dac, "POST", "/v1/conversations", {})["thread"]["thread_id"]
    upstream_process.script(text=ANSWER)
    # The second time the first turn goes along, and is counted.
    for form, counted in (("", "card=1,email=2,phone=1"), ("/stream", "card=2,email=5,phone=3")):
        body = {"content": ASKED, "model": "mock/gpt-4o-mini", "redaction": True}
        path = f"{dac.url}/v1/conversations/{thread}/messages{form}"
        answer = httpx.post(path, json=body, headers=dac.headers, timeout=30)
        assert answer.status_code == 200, answer.text
        assert MAIL in answer.text and answer.headers["x-dac-redaction"] == counted
        assert upstream_process.requests()[-1]["body"]["messages"][-1]["content"] == SENT
    assert MAIL not in got(upstream_process)


def test_what_goes_along_with_an_upload_goes_without_values(dac, keys, upstream_process) -> None:
    def upload(key: str) -> httpx.Response:
        return httpx.post(
            f"{dac.url}/v1/audio/transcriptions",
            data={"model": "mock/whisper", "prompt": ASKED},
            files={"file": ("a.mp3", b"\xff\xfb" * 4000, "audio/mpeg")},
            headers={"authorization": f"Bearer {key}"},
            timeout=30,
        )

    assert upload(keys("leave")).status_code == 200
    assert MAIL not in got(upstream_process) and "[EMAIL_1]" in got(upstream_process)
    refused = upload(keys("block"))
    assert refused.status_code == 400 and refused.json()["error"]["code"] == "private_data_refused"


def test_embeddings_and_speech_go_without_values(dac, keys, upstream_process) -> None:
    headers = {"authorization": f"Bearer {keys('leave')}"}
    body = {"model": "mock/embed", "input": [ASKED, "nothing"]}
    answer = httpx.post(f"{dac.url}/v1/embeddings", json=body, headers=headers, timeout=30)
    assert answer.status_code == 200 and answer.headers["x-dac-redaction"] == "card=1,email=2,phone=1"
    assert upstream_process.requests()[-1]["body"]["input"] == [SENT, "nothing"]
    spoken = {"model": "mock/tts", "voice": "alloy", "input": ASKED}
    answer = httpx.post(f"{dac.url}/v1/audio/speech", json=spoken, headers=headers, timeout=30)
    assert answer.status_code == 200 and MAIL not in got(upstream_process)
    blocked = {"authorization": f"Bearer {keys('block')}"}
    before = len(upstream_process.requests())
    for path, asked in (("embeddings", body), ("audio/speech", spoken)):
        refused = httpx.post(f"{dac.url}/v1/{path}", json=asked, headers=blocked, timeout=30)
        assert refused.status_code == 400 and refused.json()["error"]["code"] == "private_data_refused"
    own = httpx.post(f"{dac.url}/v1/embeddings", json={**body, "redaction": True}, headers=dac.headers, timeout=30)
    assert own.status_code == 200 and "redaction" not in upstream_process.requests()[-1]["body"]
    assert len(upstream_process.requests()) == before + 1 and MAIL not in got(upstream_process)


def test_a_dry_run_shows_what_would_be_found(dac, tmp_path) -> None:
    found = call(dac, "POST", "/v2/redact", {"text": "é " + ASKED})
    assert found["text"] == "é " + SENT and found["kinds"] == {"card": 1, "email": 2, "phone": 1}
    assert found["found"][0] == {"kind": "email", "start": 11, "end": 11 + len(MAIL), "placeholder": "[EMAIL_1]"}
    only = call(dac, "POST", "/v2/redact", {"text": ASKED, "kinds": ["phone"]})
    assert only["kinds"] == {"phone": 1}
    bad = httpx.post(f"{dac.url}/v2/redact", json={"text": "x", "kinds": ["names"]}, headers=dac.headers, timeout=30)
    assert bad.status_code == 400 and "names" in bad.json()["error"]["message"]
    letter = tmp_path / "letter.txt"
    letter.write_text(ASKED)
    env = {**dac.env, "DAC_BASE_URL": dac.url, "DAC_API_KEY": dac.key}
    done = programs.run(["redact", str(letter)], env)
    assert done.returncode == 0 and done.stdout == SENT and "email 2" in done.stderr
    shown = programs.run(["redact", str(letter), "--json", "--kind", "card"], env)
    assert json.loads(shown.stdout)["kinds"] == {"card": 1}
    assert programs.run(["redact", str(tmp_path / "none")], env).returncode == 2


def test_no_log_holds_what_requests_and_providers_said(dac, keys, upstream_process) -> None:
    secret = "sk-proj-Canary8Log4Secret2Aa77Zz"
    said = [{"role": "user", "content": f"{MAIL} {secret}"}]
    for name in ("restore", "leave", "block", "flag"):
        ask(dac, keys(name), messages=said)
    # A provider that says the request in its own error, and one whose answer is no JSON.
    for fault in ("status", "garbage_body", "cut"):
        upstream_process.script(fault, text=f"{MAIL} {secret}")
        ask(dac, dac.key, messages=said, user=MAIL, stream=fault == "cut")
    httpx.post(f"{dac.url}/v2/redact", json={"text": secret, "kinds": [MAIL]}, headers=dac.headers, timeout=30)
    httpx.get(f"{dac.url}/v1/models/{MAIL}", headers=dac.headers, timeout=30)
    log = (dac.data_dir.parent / "dac.log").read_text()
    assert log and MAIL not in log and secret not in log and CARD not in log
