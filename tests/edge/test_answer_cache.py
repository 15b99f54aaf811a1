"""The response cache as callers see it: headers, what a request may say of it, and replays like the live answer."""

import json
import time

import httpx
import pytest

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
ON = {"x-dac-cache-mode": "default"}


def question():
    return [{"role": "user", "content": f"What is it? {time.time_ns()}"}]


def body_of(path, messages, **fields):
    body = {"model": "mock/gpt-4o-mini", **fields}
    if path == RESPONSES:
        return {**body, "input": messages}
    return {**body, "messages": messages, **({"max_tokens": 500} if path == MESSAGES else {})}


def post(dac, messages, path=CHAT, headers=None, **fields):
    own = {**dac.headers, **(ON if headers is None else headers)}
    return httpx.post(dac.url + path, json=body_of(path, messages, **fields), headers=own, timeout=30)


def events(answer):
    return [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]


def test_every_chat_says_what_the_cache_did(dac):
    messages = question()
    assert dac.chat(messages=messages).headers["x-dac-cache"] == "bypass"
    first = post(dac, messages)
    assert first.headers["x-dac-cache"] == "miss" and "x-dac-cache-similarity" not in first.headers
    hit = post(dac, messages)
    assert hit.headers["x-dac-cache"] == "hit" and hit.headers["x-dac-cache-similarity"] == "1.0000"
    assert 0 <= int(hit.headers["age"]) < 60 and hit.headers["x-dac-cost-usd"] == "0.0"
    assert hit.headers["x-dac-route"] == "cache: exact hit" and hit.json() == first.json()
    cache = dac.record(hit)["cache"]
    assert cache["status"] == "STATUS_HIT" and cache["kind"] == "exact" and cache["similarity"] == 1.0
    assert cache["saved_nano_usd"] == dac.record(first)["cost_nano_usd"] != "0"


def test_what_a_request_says_of_the_cache_is_kept(dac, upstream_process):
    messages = question()

    def asked(control, **fields):
        return post(dac, messages, headers={**ON, "cache-control": control}, **fields)

    nothing = asked("only-if-cached")
    assert nothing.status_code == 404 and nothing.json()["error"]["param"] == "cache-control"
    assert asked("no-store").headers["x-dac-cache"] == "bypass"
    assert asked("only-if-cached").status_code == 404, "no-store stored nothing"
    assert asked("no-cache").headers["x-dac-cache"] == "miss"
    assert asked("only-if-cached").headers["x-dac-cache"] == "hit", "no-cache takes nothing, and stores"
    calls = len(upstream_process.requests())
    assert asked("no-cache").headers["x-dac-cache"] == "miss" and len(upstream_process.requests()) == calls + 1
    assert asked("max-age=3600").headers["x-dac-cache"] == "hit"
    assert asked("max-age=0").headers["x-dac-cache"] == "miss"
    assert post(dac, messages, enable_cache=False).headers["x-dac-cache"] == "bypass"
    wrong = post(dac, messages, headers={"x-dac-cache-mode": "fuzzy"})
    assert wrong.status_code == 400 and "exact, default or balanced" in wrong.json()["error"]["message"]


@pytest.mark.parametrize("path", [CHAT, MESSAGES, RESPONSES])
@pytest.mark.parametrize("model", ["mock/gpt-4o-mini", "claude/sonnet"])
@pytest.mark.parametrize("first_streams", [True, False])
def test_a_replay_is_like_the_live_answer(dac, upstream_process, path, model, first_streams):
    messages = question()
    stored = post(dac, messages, path, model=model, stream=first_streams)
    assert stored.status_code == 200, stored.text
    calls = len(upstream_process.requests())
    again = {stream: post(dac, messages, path, model=model, stream=stream) for stream in (True, False)}
    assert {one.headers["x-dac-cache"] for one in again.values()} == {"hit"}
    assert len(upstream_process.requests()) == calls
    assert again[first_streams].text == stored.text, "in the form it was made in it is the same, byte for byte"
    # No-cache: the same question to the provider, in the other form.
    live = post(dac, messages, path, {**ON, "cache-control": "no-cache"}, model=model, stream=not first_streams)
    other = again[not first_streams]
    assert other.headers["content-type"] == live.headers["content-type"]
    if first_streams:
        assert set(other.json()) >= set(live.json()) - {"usage"}
        assert said(other.json(), path) == said(live.json(), path) != ""
    else:
        assert [one.get("type") for one in events(other)][:1] == [one.get("type") for one in events(live)][:1]
        assert other.text[-60:].split("\n\n")[-2][:20] == live.text[-60:].split("\n\n")[-2][:20], "the same end mark"
        assert streamed(other, path) == streamed(live, path) != ""
        assert {one.get("type") for one in events(live)} - {"ping"} == {one.get("type") for one in events(other)}


def said(document, path):
    if path == CHAT:
        return document["choices"][0]["message"]["content"]
    items = document["content"] if path == MESSAGES else document["output"][-1]["content"]
    return "".join(item["text"] for item in items)


def streamed(answer, path):
    if path == CHAT:
        return "".join(one["choices"][0]["delta"].get("content") or "" for one in events(answer) if one["choices"])
    deltas = [one["delta"] for one in events(answer) if one["type"].endswith("delta") and "delta" in one]
    return "".join(one if isinstance(one, str) else one.get("text", "") for one in deltas)


def test_usage_comes_with_a_replay_for_those_who_ask(dac, upstream_process):
    upstream_process.script("ok", reasoning_tokens=7, cached_tokens=3)
    messages, options = question(), {"include_usage": True}
    live = events(post(dac, messages, stream=True, stream_options=options))
    plain = events(post(dac, messages, stream=True))
    assert not any(one.get("usage") for one in plain) and all(one["choices"] for one in plain)
    again = events(post(dac, messages, stream=True, stream_options=options))
    assert again == live and again[-1]["usage"]["completion_tokens_details"]["reasoning_tokens"] == 7
    own = events(post(dac, messages, stream=True, stream_options={**options, "include_dac": True}))
    assert own[-1]["dac"]["cost_usd"] == "0.0"


def test_reasoning_survives(dac):
    messages = question()
    answers = [post(dac, messages, reasoning_effort="high", stream=stream) for stream in (True, True, False)]
    assert [one.headers["x-dac-cache"] for one in answers] == ["miss", "hit", "hit"]
    thought = "".join(one["choices"][0]["delta"].get("reasoning_content") or "" for one in events(answers[1]))
    assert thought == (answers[2].json()["choices"][0]["message"].get("reasoning_content") or "")
    assert answers[1].text == answers[0].text


@pytest.mark.parametrize("fault", ["cut", "end_early", "error_event"])
def test_a_broken_or_mended_answer_is_never_stored(dac, upstream_process, fault):
    messages = question()
    upstream_process.script(fault, times=1)
    post(dac, messages, stream=True)
    assert post(dac, messages).headers["x-dac-cache"] == "miss"


def test_a_short_answer_is_not_stored(dac):
    messages = question()
    assert [post(dac, messages, max_tokens=3).headers["x-dac-cache"] for _ in range(2)] == ["miss", "miss"]


def test_a_thread_is_answered_from_the_cache_only_after_the_same_turns(dac, upstream_process):
    thread = {"thread_id": f"cached-{time.time_ns()}"}
    messages = question()
    assert post(dac, messages).headers["x-dac-cache"] == "miss"
    assert post(dac, messages, **thread).headers["x-dac-cache"] == "hit"
    assert post(dac, messages, **thread).headers["x-dac-cache"] == "miss", "now there is an earlier turn"


def test_a_question_that_means_the_same_is_answered_and_says_how_alike_it_is(dac, upstream_process):
    system = {"role": "system", "content": f"Answer briefly. {time.time_ns()}"}

    def asked(text, **more):
        return post(dac, [system, {"role": "user", "content": text}], **more)

    # The first question of all loads the embedder, which nobody waits for long.
    messages, end = question(), time.monotonic() + 20
    while post(dac, messages).headers["x-dac-cache"] != "hit":
        assert time.monotonic() < end
    first = asked("How do I reset my password?")
    close = asked("How can I reset my password?")
    assert close.headers["x-dac-cache"] == "hit" and close.headers["x-dac-route"] == "cache: semantic hit"
    assert 0.9 < float(close.headers["x-dac-cache-similarity"]) < 1 and close.json() == first.json()
    cache = dac.record(close)["cache"]
    assert cache["kind"] == "semantic" and cache["entry_id"] == close.headers["x-dac-cache-entry"]
    assert asked("How can I reset my password?", headers={"x-dac-cache-mode": "exact"}).headers["x-dac-cache"] == "miss"
    other = [system, {"role": "user", "content": "How do I reset my 2 passwords?"}]
    assert post(dac, other).headers["x-dac-cache"] == "miss"
    higher = {**ON, "x-dac-cache-similarity": "0.9999"}
    assert asked("How would I reset my password?", headers=higher).headers["x-dac-cache"] == "miss"
    assert len(upstream_process.requests()) >= 4


def test_a_bad_rating_takes_a_stored_answer_out(dac):
    messages = question()
    post(dac, messages)
    hit = post(dac, messages)
    assert hit.headers["x-dac-cache"] == "hit"

    def rated(answer, rating):
        body = {"request_id": answer.headers["x-dac-request-id"], "rating": rating}
        return httpx.post(f"{dac.url}/v1/feedback", json=body, headers=dac.headers, timeout=30)

    assert rated(hit, 1).status_code == 200 and post(dac, messages).headers["x-dac-cache"] == "hit"
    told = rated(hit, -1)
    assert told.status_code == 200 and told.json()["model"] == "mock/gpt-4o-mini"
    assert post(dac, messages).headers["x-dac-cache"] == "miss"
