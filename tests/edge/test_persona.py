"""One voice at the edge: in all forms, whole and streamed, in threads and in the cache; nothing without a policy."""

import json
import time

import httpx
import pytest

CLAIM = 'I am ChatGPT, a large language model trained by OpenAI. He said "I am ChatGPT" and `I am ChatGPT` of it.'
SHOWN = 'I am Acme, an AI assistant. He said "I am ChatGPT" and `I am ChatGPT` of it.'
CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
RULES = {"answers": {"persona": {"enabled": True, "name": "Acme", "tone": "warm"}}}
FORMS = pytest.mark.parametrize("path", [CHAT, MESSAGES, RESPONSES])


def call(dac, verb, path, body=None, key=""):
    headers = {"authorization": f"Bearer {key}"} if key else dac.headers
    answer = httpx.request(verb, dac.url + path, json=body, headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture(scope="module")
def key(dac):
    """A key under a policy with a persona."""
    call(dac, "POST", "/v2/policies", {"name": "acme", "rules": RULES})
    made = call(dac, "POST", "/v1/keys", {"name": "acme"})
    place = made["key"]["key_id"]
    call(dac, "PUT", "/v2/policy-assignments", {"level": {"kind": "KIND_KEY", "id": place}, "policy": "acme"})
    end = time.monotonic() + 10
    while not dac.record(post(dac, made["token"])).get("persona") and time.monotonic() < end:
        time.sleep(0.05)
    yield made["token"]
    call(dac, "DELETE", f"/v2/policy-assignments/{place}")
    call(dac, "DELETE", f"/v1/keys/{place}")
    call(dac, "DELETE", "/v2/policies/acme")


def post(dac, token, path=CHAT, headers=(), **fields):
    said = [{"role": "user", "content": f"Who are you? {time.time_ns()}"}]
    body = {"model": "mock/gpt-4o-mini", ("input" if path == RESPONSES else "messages"): said, **fields}
    body |= {"max_tokens": 500} if path == MESSAGES else {}
    own = {"authorization": f"Bearer {token}", **dict(headers)}
    answer = httpx.post(dac.url + path, json=body, headers=own, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer


def events(answer):
    return [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]


def text_of(path, answer, stream):
    """The text as a client of that form puts it together."""
    if not stream:
        body = answer.json()
        if path == CHAT:
            return body["choices"][0]["message"]["content"]
        content = body["content"] if path == MESSAGES else body["output"][-1]["content"]
        return "".join(part["text"] for part in content)
    if path == CHAT:
        return "".join(one["choices"][0]["delta"].get("content") or "" for one in events(answer) if one["choices"])
    if path == MESSAGES:
        return "".join(one["delta"].get("text", "") for one in events(answer) if one["type"] == "content_block_delta")
    said = events(answer)
    deltas = "".join(one["delta"] for one in said if one["type"] == "response.output_text.delta")
    assert said[-1]["type"] == "response.completed"
    assert said[-1]["response"]["output"][-1]["content"][0]["text"] == deltas
    assert [one["text"] for one in said if one["type"] == "response.output_text.done"] == [deltas]
    assert [one["sequence_number"] for one in said] == list(range(len(said)))
    return deltas


@FORMS
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["mock/gpt-4o-mini", "claude/sonnet"])
def test_a_claim_is_put_in_the_organisations_name_in_every_form(dac, key, upstream_process, path, stream, model):
    upstream_process.script(text=CLAIM)
    answer = post(dac, key, path, model=model, stream=stream)
    assert text_of(path, answer, stream) == SHOWN
    assert "gpt-4o-mini-" not in answer.text and "fp_mock" not in answer.text
    heads = events(answer) if stream else [answer.json()]
    named = [one.get("model") or one.get("message", one.get("response", {})).get("model") for one in heads]
    assert {name for name in named if name} <= {model}
    sent = json.dumps(upstream_process.requests()[-1]["body"])
    assert "You are Acme, an AI assistant. Your tone is warm." in sent
    assert dac.record(answer)["persona"] == {"applied": True, "rewritten": 1}


@FORMS
def test_request_and_header_can_go_without(dac, key, upstream_process, path):
    upstream_process.script(text=CLAIM)
    answer = post(dac, key, path, headers={"x-dac-persona": "off"})
    assert text_of(path, answer, False) == CLAIM and "persona" not in dac.record(answer)
    assert "Acme" not in json.dumps(upstream_process.requests()[-1]["body"])
    if path == CHAT:
        upstream_process.script(text=CLAIM)
        assert text_of(path, post(dac, key, persona=False, stream=True), True) == CLAIM
        assert "persona" not in upstream_process.requests()[-1]["body"]
    body = {"model": "mock/gpt-4o-mini", "messages": [], "input": "Hi", "max_tokens": 5}
    own = {"authorization": f"Bearer {key}", "x-dac-persona": "perhaps"}
    refused = httpx.post(dac.url + path, json=body, headers=own, timeout=30)
    assert refused.status_code == 400


def test_a_key_can_go_without(dac, key, upstream_process):
    made = call(dac, "POST", "/v1/keys", {"name": "plain", "without_persona": True})
    place, token = made["key"]["key_id"], made["token"]
    assert made["key"]["without_persona"]
    call(dac, "PUT", "/v2/policy-assignments", {"level": {"kind": "KIND_KEY", "id": place}, "policy": "acme"})
    try:
        call(dac, "PATCH", f"/v1/keys/{place}", {"without_persona": False})
        end = time.monotonic() + 10
        while not dac.record(post(dac, token)).get("persona") and time.monotonic() < end:
            time.sleep(0.05)
        changed = call(dac, "PATCH", f"/v1/keys/{place}", {"without_persona": True})["key"]
        assert changed["without_persona"] and changed["name"] == "plain"
        # Another replica would know within a second; this one does at once.
        upstream_process.script(text=CLAIM)
        answer = post(dac, token)
        assert text_of(CHAT, answer, False) == CLAIM and "persona" not in dac.record(answer)
    finally:
        call(dac, "DELETE", f"/v2/policy-assignments/{place}")
        call(dac, "DELETE", f"/v1/keys/{place}")


def test_without_a_policy_bytes_are_the_providers(dac, upstream_process):
    upstream_process.script(text=CLAIM)
    answer = dac.chat(stream=True)
    assert text_of(CHAT, answer, True) == CLAIM and "fp_mock" in answer.text
    assert upstream_process.requests()[-1]["body"]["messages"] == [{"role": "user", "content": "Say hello."}]
    assert "persona" not in dac.record(answer)


@pytest.mark.parametrize("stream", [False, True])
def test_thread_and_cache_hold_what_was_shown(dac, key, upstream_process, stream):
    thread = call(dac, "POST", "/api/threads", {}, key)["thread"]["thread_id"]
    upstream_process.script(text=CLAIM)
    asked = {"messages": [{"role": "user", "content": f"Who? {time.time_ns()}"}], "enable_cache": True}
    first = post(dac, key, thread_id=thread, stream=stream, **asked)
    assert text_of(CHAT, first, stream) == SHOWN
    saved = call(dac, "GET", f"/api/threads/{thread}/messages", key=key)["messages"]
    assert [one["text"] for one in saved if one["role"] == "assistant"] == [SHOWN]
    other = {"messages": [{"role": "user", "content": f"Which? {time.time_ns()}"}], "enable_cache": True}
    upstream_process.script(text=CLAIM)
    assert post(dac, key, stream=stream, **other).headers["x-dac-cache"] == "miss"
    hit = post(dac, key, stream=not stream, **other)
    assert hit.headers["x-dac-cache"] == "hit" and text_of(CHAT, hit, not stream) == SHOWN
    # Who goes without the persona takes nothing of what it said.
    assert post(dac, key, persona=False, **other).headers["x-dac-cache"] == "miss"


def test_a_thread_stream_says_who_is_at_it_before_the_first_word(dac, key, upstream_process):
    thread = call(dac, "POST", "/api/threads", {}, key)["thread"]["thread_id"]
    upstream_process.script(text=CLAIM)
    own = {"authorization": f"Bearer {key}"}
    asked = {"content": "Who are you?", "model": "mock/gpt-4o-mini"}
    answer = httpx.post(f"{dac.url}/api/threads/{thread}/messages/stream", json=asked, headers=own, timeout=30)
    names = [line[7:] for line in answer.text.splitlines() if line.startswith("event: ")]
    assert names[0] == "thinking" and names.index("thinking") < names.index("delta") and names[-1] == "done"
    assert events(answer)[0] == {"text": "Acme is thinking.", "preamble": True}
    assert "".join(one.get("text", "") for one in events(answer)[1:]) == SHOWN


def test_json_stays(dac, key, upstream_process):
    said = json.dumps({"who": "I am ChatGPT, made by OpenAI"})
    upstream_process.script(text=said)
    assert text_of(CHAT, post(dac, key, stream=True), True) == said


def test_a_system_message_of_the_caller_stays_behind_the_preamble(dac, key, upstream_process):
    own = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    post(dac, key, messages=own)
    sent = upstream_process.requests()[-1]["body"]["messages"]
    assert sent[1:] == own and sent[0]["role"] == "system" and "Acme" in sent[0]["content"]
    post(dac, key, MESSAGES, model="claude/sonnet", system="Be brief.")
    assert upstream_process.requests()[-1]["body"]["system"].endswith("\n\nBe brief.")


AUTO_LINE = "You are DAC, a helpful AI assistant."


@FORMS
def test_a_model_that_was_chosen_is_told_who_it_is(dac, upstream_process, path):
    token = dac.headers["authorization"].removeprefix("Bearer ")

    def sent(**fields):
        post(dac, token, path, **fields)
        return json.dumps(upstream_process.requests()[-1]["body"])

    assert AUTO_LINE in sent(model="auto")
    # A model that is named, another line, and who wants none, are left alone.
    assert AUTO_LINE not in sent()
    own = {CHAT: {}, MESSAGES: {"system": "You are Bo."}, RESPONSES: {"instructions": "You are Bo."}}[path]
    if path == CHAT:
        own = {"messages": [{"role": "system", "content": "You are Bo."}, {"role": "user", "content": "Hi"}]}
    said = sent(model="auto", **own)
    assert AUTO_LINE not in said and "You are Bo." in said
    assert AUTO_LINE not in sent(model="auto", headers={"x-dac-persona": "off"})
