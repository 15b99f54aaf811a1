"""Turns of threads over HTTP: one context over many providers, branches, cut answers, events, answers once more."""

import concurrent.futures
import json
import time

import httpx
import openai
import pytest

from tests.edge.conftest import make_dac
from tests.edge.test_dialects import MODELS, PROVIDERS
from tests.upstream.dialects import SOURCES

MOCK, SMALL, CLAUDE = "mock/gpt-4o-mini", "second/small", "claude/sonnet"


@pytest.fixture(scope="module")
def dac(tmp_path_factory, upstream_process):
    """A `dac up` of its own: with a provider that cites."""
    running = make_dac(tmp_path_factory.mktemp("dac"), upstream_process, more=MODELS)
    shared = running.config.read_text()
    running.config.write_text(shared.replace("providers:", PROVIDERS.format(origin=upstream_process.origin), 1))
    running.start()
    yield running
    assert running.stop() == 0, running.log()


@pytest.fixture(scope="module")
def client(dac):
    return openai.OpenAI(base_url=f"{dac.url}/v1", api_key=dac.key, max_retries=0)


@pytest.fixture
def thread(dac):
    """A new thread's id."""
    return post(dac, "/api/threads", {}).json()["thread"]["thread_id"]


def post(dac, path, body, verb="POST", **more):
    headers = {**dac.headers, **more}
    answer = httpx.request(verb, dac.url + path, json=body, headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer


def turn(dac, thread, text, **fields):
    """A turn in family A, whole."""
    return post(dac, f"/api/threads/{thread}/messages", {"content": text, **fields}).json()


def said(text):
    return [{"role": "user", "content": text}]


def saved(dac, thread, *, everything=False):
    query = "?page_size=1000" + ("&all=true" if everything else "")
    return dac.get(f"/api/threads/{thread}/messages{query}").json()["messages"]


def until(found, what):
    """What `found` gives once it gives something."""
    end = time.monotonic() + 10
    while not (value := found()):
        assert time.monotonic() < end, what
        time.sleep(0.02)
    return value


def events_of(text):
    """(name, data) of every event."""
    return [
        (head.removeprefix("event: "), json.loads(data.removeprefix("data: ")))
        for head, data in (block.split("\n", 1) for block in text.strip().split("\n\n"))
    ]


def streamed(dac, path, body):
    return events_of(post(dac, path, body).text)


def texts_sent(upstream_process):
    """What the provider was shown last, in its order."""
    messages = upstream_process.requests()[-1]["body"]["messages"]
    return [part if isinstance(part := one["content"], str) else part[0]["text"] for one in messages]


def test_a_thread_goes_on_at_another_provider_with_the_same_context(dac, upstream_process):
    thread = f"over-{time.time_ns()}"
    body = {"model": MOCK, "conversation_id": thread, "message": {"role": "user", "content": "My name is Ada."}}
    first = post(dac, "/v1/chat/completions", body)
    assert first.headers["x-dac-thread-id"] == thread
    answer = first.json()["choices"][0]["message"]["content"]
    shown = []
    for model in (SMALL, CLAUDE):
        again = dac.chat(model=model, thread_id=thread, messages=said("Who am I?"), parent_message_id=parent_of(first))
        assert again.status_code == 200 and again.headers["x-dac-context"].startswith("memory; messages=2")
        shown.append(texts_sent(upstream_process))
    assert shown[0] == shown[1] == ["My name is Ada.", answer, "Who am I?"]


def parent_of(answer):
    return answer.headers["x-dac-message-id"]


def test_ids_tell_where_to_branch(dac, thread, upstream_process):
    first = turn(dac, thread, "one", model=MOCK)
    turn(dac, thread, "two", model=MOCK)
    beside = turn(dac, thread, "instead of two", model=MOCK, parent_message_id=first["message"]["message_id"])
    assert texts_sent(upstream_process) == ["one", first["message"]["content"], "instead of two"]
    assert [one["text"] for one in saved(dac, thread) if one["role"] == "user"] == ["one", "instead of two"]
    every = saved(dac, thread, everything=True)
    assert len(every) == 6
    children = [one["message_id"] for one in every if one["parent_message_id"] == first["message"]["message_id"]]
    assert len(children) == 2 and beside["user_message_id"] in children


def test_turns_at_once_are_put_in_a_row(dac, thread):
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda number: turn(dac, thread, f"number {number}", model=MOCK), range(6)))
    row = saved(dac, thread)
    assert sorted(one["text"] for one in row if one["role"] == "user") == [f"number {number}" for number in range(6)]
    assert len(row) == 12 and len(saved(dac, thread, everything=True)) == 12
    assert [one["parent_message_id"] for one in row] == ["", *(one["message_id"] for one in row[:-1])]
    assert {one["message"]["message_id"] for one in answers} < {one["message_id"] for one in row}


def test_an_answer_whose_client_leaves_is_saved_as_partial_and_goes_along(dac, thread, upstream_process):
    upstream_process.script("stall", after_tokens=5, times=1)
    body = {"model": MOCK, "messages": said("Count."), "thread_id": thread, "stream": True}
    with httpx.stream("POST", f"{dac.url}/v1/chat/completions", json=body, headers=dac.headers, timeout=30) as answer:
        assert answer.headers["x-dac-user-message-id"]
        next(line for line in answer.iter_lines() if "five" in line)
    cut = until(lambda: saved(dac, thread)[1:], "the partial answer")[0]
    assert (cut["status"], cut["text"], cut["role"]) == ("STATUS_PARTIAL", "one two three four five", "assistant")
    record = dac.record(answer)
    assert record["outcome"] == "OUTCOME_CLIENT_GONE" and record["context"]["saved"] == "SAVED_PARTIAL"
    turn(dac, thread, "Go on.", model=MOCK)
    assert texts_sent(upstream_process) == ["Count.", "one two three four five", "Go on."]


def test_an_answer_that_its_provider_cuts_is_saved_as_partial(dac, thread, upstream_process):
    upstream_process.script("cut", after_tokens=5, times=1)
    body = {"content": "Count.", "model": MOCK, "enable_rescue": False}
    *_, (name, error) = streamed(dac, f"/api/threads/{thread}/messages/stream", body)
    assert name == "error" and error["code"] == "provider_cut" and error["saved"] == "partial"
    cut = until(lambda: saved(dac, thread)[1:], "the partial answer")[0]
    assert cut["status"] == "STATUS_PARTIAL" and "one two three four five".startswith(cut["text"])
    assert saved(dac, thread)[0]["message_id"] == error["user_message_id"]


def test_calls_of_tools_that_are_cut_are_not_saved(dac, thread, upstream_process):
    upstream_process.script("cut", after_tokens=1, times=1, arguments='{"city": "' + "x" * 60 + '"}')
    function = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
    tools = [{"type": "function", "function": function}]
    answer = dac.chat(thread_id=thread, stream=True, tools=tools, enable_rescue=False)
    assert '"tool_calls"' in answer.text and "provider_cut" in answer.text
    assert dac.record(answer)["context"]["saved"] == "SAVED_QUESTION"
    assert [one["role"] for one in saved(dac, thread)] == ["user"]


def test_a_whole_answer_has_ids_usage_and_cost(dac, thread):
    made = turn(dac, thread, "Hello", model=MOCK)
    assert made["message"]["role"] == "assistant" and made["message"]["content"].startswith("one two")
    assert [one["message_id"] for one in saved(dac, thread)] == [made["user_message_id"], made["message"]["message_id"]]
    usage = made["usage"]
    nano = usage["prompt_tokens"] * 150 + usage["completion_tokens"] * 600
    assert made["cost"] == {"usd": f"{nano / 1e9:.9f}".rstrip("0"), "nano_usd": str(nano)}
    assert (made["model"], made["provider"], made["thread_id"], made["saved"]) == (MOCK, "mock", thread, "whole")
    assert dac.get(f"/v1/requests/{made['request_id']}").json()["request"]["thread_id"] == thread


@pytest.mark.parametrize("family", ["api/threads", "v1/conversations"])
def test_a_stream_has_events_of_every_kind(dac, thread, family, upstream_process):
    path = f"/{family}/{thread}/messages"
    path, body = (f"{path}/stream", {}) if family == "api/threads" else (path, {"stream": True})
    found = streamed(dac, path, {**body, "content": "Think.", "model": MOCK, "reasoning_effort": "low"})
    names = [name for name, _ in found]
    assert names[-2:] == ["usage", "done"] and names.index("thinking") < names.index("delta")
    by_name = dict(found)
    assert by_name["thinking"] == {"text": "Let me think."} and by_name["searching"]["source"] == "memory"
    text = "".join(data["text"] for name, data in found if name == "delta")
    answer = saved(dac, thread)[-1]
    assert answer["text"] == text and by_name["done"]["message_id"] == answer["message_id"]
    assert by_name["usage"]["completion_tokens"] > 0 and by_name["usage"]["cost"]["nano_usd"] != "0"
    assert (by_name["done"]["finish_reason"], by_name["done"]["model"]) == ("stop", MOCK)


def test_what_a_provider_cites_becomes_events_and_stands_in_a_whole_answer(dac, thread):
    body = {"content": "Is it so?", "model": "perplexity/sonar"}
    found = streamed(dac, f"/api/threads/{thread}/messages/stream", body)
    cited = [data for name, data in found if name == "citation"]
    assert [one["url"] for one in cited] == SOURCES["citations"]
    assert [one["index"] for one in cited] == list(range(1, len(cited) + 1))
    whole = turn(dac, thread, "Is it so?", model="perplexity/sonar")
    assert [one["url"] for one in whole["message"]["citations"]] == [one["url"] for one in cited]


def test_an_answer_once_more_stands_beside_the_first(dac, thread, upstream_process):
    turn(dac, thread, "one", model=MOCK)
    first = turn(dac, thread, "two", model=MOCK)
    path = f"/v1/conversations/{thread}/messages/{first['message']['message_id']}/regenerate"
    again = post(dac, path, {"model": CLAUDE}).json()
    assert again["user_message_id"] == first["user_message_id"] and again["model"] == CLAUDE
    assert [text for text in texts_sent(upstream_process) if text in ("one", "two")] == ["one", "two"]
    every = {one["message_id"]: one for one in saved(dac, thread, everything=True)}
    new, old = every[again["message"]["message_id"]], every[first["message"]["message_id"]]
    assert new["parent_message_id"] == old["parent_message_id"] == first["user_message_id"]
    assert new["replaces_message_id"] == old["message_id"] and len(every) == 5
    assert saved(dac, thread)[-1]["message_id"] == new["message_id"]
    events = streamed(dac, path, {"stream": True, "model": MOCK})
    assert events[-1][0] == "done" and events[-1][1]["user_message_id"] == first["user_message_id"]


def test_the_first_answer_once_more_sees_nothing_that_came_later(dac, thread, upstream_process):
    first = turn(dac, thread, "one", model=MOCK)
    turn(dac, thread, "two", model=MOCK)
    post(dac, f"/v1/conversations/{thread}/messages/{first['user_message_id']}/regenerate", {"model": MOCK})
    assert texts_sent(upstream_process) == ["one"]


def test_an_edited_question_is_answered_when_asked_for(dac, thread, upstream_process):
    first = turn(dac, thread, "My name is Ada.", model=MOCK)
    path = f"/v1/conversations/{thread}/messages/{first['user_message_id']}"
    edited = post(dac, path, {"content": "My name is Bob.", "regenerate": True, "model": MOCK}, "PATCH").json()
    assert texts_sent(upstream_process) == ["My name is Bob."]
    row = saved(dac, thread)
    assert [one["text"] for one in row] == ["My name is Bob.", edited["message"]["content"]]
    assert row[0]["replaces_message_id"] == first["user_message_id"] and len(saved(dac, thread, everything=True)) == 4
    only = post(dac, path, {"content": "My name is Eve."}, "PATCH").json()
    assert only["message"]["text"] == "My name is Eve." and [one["role"] for one in saved(dac, thread)] == ["user"]


def test_a_thread_says_which_model_and_how(dac, upstream_process):
    wants = {"model": SMALL, "parameters": {"temperature": 0.5, "max_tokens": 7}}
    thread = post(dac, "/v1/conversations", wants).json()["thread"]["thread_id"]
    made = turn(dac, thread, "Hello")
    sent = upstream_process.requests()[-1]["body"]
    assert made["model"] == SMALL and sent["temperature"] == 0.5
    assert 7 in (sent.get("max_tokens"), sent.get("max_completion_tokens"))
    other = turn(dac, thread, "Hello", model=MOCK, temperature=1)
    assert other["model"] == MOCK and upstream_process.requests()[-1]["body"]["temperature"] == 1


def test_another_users_thread_is_not_there(dac):
    keys = []
    for name in ("ann", "bob"):
        user = post(dac, "/v1/users", {"name": f"{name}-{time.time_ns()}"}).json()["user"]["user_id"]
        made = {"name": name, "scopes": ["chat", "read"], "user_id": user}
        keys.append({"authorization": f"Bearer {post(dac, '/v1/keys', made).json()['token']}"})
    ann, bob = keys
    thread = post(dac, "/api/threads", {}, **ann).json()["thread"]["thread_id"]
    mine = post(dac, f"/api/threads/{thread}/messages", {"content": "secret", "model": MOCK}, **ann).json()
    tries = [
        ("/v1/chat/completions", {"model": MOCK, "messages": said("Hi"), "thread_id": thread}),
        (f"/api/threads/{thread}/messages", {"content": "Hi", "model": MOCK}),
        (f"/api/threads/{thread}/messages/stream", {"content": "Hi", "model": MOCK}),
        (f"/v1/conversations/{thread}/messages/{mine['message']['message_id']}/regenerate", {"model": MOCK}),
    ]
    for path, body in tries:
        refused = httpx.post(dac.url + path, json=body, headers=bob, timeout=30)
        assert refused.status_code == 404 and "secret" not in refused.text, path
    listed = httpx.get(f"{dac.url}/api/threads/{thread}/messages", headers=ann).json()["messages"]
    assert [one["text"] for one in listed] == ["secret", mine["message"]["content"]]


def test_the_official_client_goes_on_in_a_conversation(client, upstream_process):
    thread = f"sdk-{time.time_ns()}"
    own = {"conversation_id": thread}
    first = client.chat.completions.with_raw_response.create(model=MOCK, messages=said("one"), extra_body=own)
    answer = first.parse().choices[0].message.content
    options = {"include_usage": True, "include_dac": True}
    chunks = list(
        client.chat.completions.create(
            model=MOCK, messages=said("two"), extra_body=own, stream=True, stream_options=options
        )
    )
    told = chunks[-1].model_extra["dac"]
    assert texts_sent(upstream_process) == ["one", answer, "two"]
    assert told["thread_id"] == thread and told["message_id"] and told["saved"] == "whole"
    assert told["context"]["source"] == "memory" and told["context"]["messages"] == 2
    beside = {**own, "parent_message_id": first.headers["x-dac-message-id"]}
    client.chat.completions.create(model=MOCK, messages=said("beside"), extra_body=beside)
    assert texts_sent(upstream_process) == ["one", answer, "beside"]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("messages", {"contents": "Hi"}, "contents"),
        ("messages", {"content": "Hi", "message": "Hi"}, "content"),
        ("messages", {"content": ""}, "content"),
        ("messages", {}, "content"),
        ("messages", {"content": "Hi", "temperature": 9}, "temperature"),
        ("messages/stream", {"content": "Hi", "stream": False}, "stream"),
    ],
)
def test_a_body_that_does_not_fit_is_refused_by_name(dac, thread, path, body, param):
    url = f"{dac.url}/api/threads/{thread}/{path}"
    refused = httpx.post(url, json=body, headers=dac.headers, timeout=30)
    assert refused.status_code == 400 and refused.json()["error"]["param"] == param
    assert saved(dac, thread) == []


def test_a_turn_in_no_thread_is_not_found(dac):
    refused = httpx.post(f"{dac.url}/api/threads/nowhere/messages", json={"content": "Hi"}, headers=dac.headers)
    assert refused.status_code == 404 and refused.json()["error"]["code"] == "not_found"


def test_a_long_thread_is_cut_to_what_the_model_holds(dac, upstream_process):
    """mock/unpriced holds 8000 tokens; so much goes along with a model that holds more."""
    thread = f"long-{time.time_ns()}"
    for number in range(4):
        made = dac.chat(thread_id=thread, messages=said(f"{number} " + "word " * 1500))
        assert made.status_code == 200
    wide = dac.chat(thread_id=thread, messages=said("And?"), parent_message_id=parent_of(made))
    narrow_model = {"model": "mock/unpriced", "max_tokens": 6000, "parent_message_id": parent_of(made)}
    narrow = dac.chat(thread_id=thread, messages=said("And?"), **narrow_model)
    assert narrow.status_code == 200, narrow.text
    contexts = [dac.record(one)["context"] for one in (wide, narrow)]
    assert int(contexts[0]["tokens"]) > int(contexts[1]["tokens"])
    assert int(contexts[1]["tokens"]) <= 2000 and contexts[1]["left_out"]


def test_family_d_asks_the_same_chat(dac, upstream_process):
    body = {"messages": said("Hi"), "task_type": "coding_help", "enable_validation": True}
    answer = post(dac, "/v2/chat", body)
    assert answer.json()["choices"][0]["message"]["content"] and "x-dac-validation" in answer.headers
    record = dac.record(answer)
    assert record["asked_model"] == "auto" and record["features"]["intent"] == "coding_help"
    assert "task_type" not in upstream_process.requests()[-1]["body"]
    refused = httpx.post(f"{dac.url}/v2/chat", json={**body, "task_typ": "x"}, headers=dac.headers)
    assert refused.status_code == 400 and 'mean "task_type"?' in refused.json()["error"]["message"]
    elsewhere = httpx.post(f"{dac.url}/v2/chat", json=body, headers={**dac.headers, "x-tenant-id": "another"})
    assert elsewhere.status_code == 403


def test_the_results_of_tools_follow_their_calls_in_the_next_turn(dac, thread, upstream_process):
    function = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
    tools = [{"type": "function", "function": function}]
    called = turn(dac, thread, "How is the weather?", model=MOCK, tools=tools)
    (call,) = called["message"]["tool_calls"]
    result = {"role": "tool", "tool_call_id": call["id"], "content": "sunny"}
    body = {"messages": [result], "model": MOCK, "tools": tools}
    answer = post(dac, f"/api/threads/{thread}/messages", body).json()
    assert answer["message"]["content"].startswith("one two")
    sent = upstream_process.requests()[-1]["body"]["messages"]
    assert [one["role"] for one in sent] == ["user", "assistant", "tool"]
    assert sent[1]["tool_calls"][0]["id"] == sent[2]["tool_call_id"]
    assert [one["role"] for one in saved(dac, thread)] == ["user", "assistant", "tool", "assistant"]


@pytest.mark.parametrize("answered", [False, True])
def test_an_answer_that_called_tools_is_made_once_more(dac, thread, upstream_process, answered):
    function = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
    body = {"model": MOCK, "tools": [{"type": "function", "function": function}]}
    called = turn(dac, thread, "How is the weather?", **body)
    (call,) = called["message"]["tool_calls"]
    if answered:
        result = {"role": "tool", "tool_call_id": call["id"], "content": "sunny"}
        post(dac, f"/api/threads/{thread}/messages", {"messages": [result], **body})
    message = called["message"]["message_id"]
    again = post(dac, f"/v1/conversations/{thread}/messages/{message}/regenerate", {**body, "model": CLAUDE}).json()
    assert again["message"]["tool_calls"] and again["user_message_id"] == called["user_message_id"]
    assert texts_sent(upstream_process) == ["How is the weather?"]
    made = saved(dac, thread)[-1]
    assert made["replaces_message_id"] == message and made["parent_message_id"] == called["user_message_id"]


@pytest.mark.parametrize("message, status", [("nope", 400), ("01a20463-25f9-737b-9c37-53756f3e116c", 404)])
def test_an_answer_that_is_not_there_is_not_made_once_more(dac, thread, message, status):
    turn(dac, thread, "one", model=MOCK)
    path = f"{dac.url}/v1/conversations/{thread}/messages/{message}/regenerate"
    refused = httpx.post(path, json={"model": MOCK}, headers=dac.headers)
    error = refused.json()["error"]
    assert refused.status_code == status and message in error["message"]
    assert "parent_message_id" not in error["message"] and error["param"] in ("message_id", None)


def test_memories_of_other_threads_go_along_for_a_user_and_are_not_saved_again(dac, upstream_process):
    user = post(dac, "/v1/users", {"name": f"cleo-{time.time_ns()}"}).json()["user"]["user_id"]
    made = {"name": "cleo", "scopes": ["chat", "read"], "user_id": user}
    own = {"authorization": f"Bearer {post(dac, '/v1/keys', made).json()['token']}"}
    post(dac, "/v1/memories", {"memories": [{"kind": "MEMORY_KIND_FACT", "text": "Cleo plays the cello."}]}, **own)
    thread = post(dac, "/api/threads", {}, **own).json()["thread"]["thread_id"]
    ask = {"content": "Which instrument does Cleo play?", "model": MOCK}
    found = events_of(post(dac, f"/api/threads/{thread}/messages/stream", ask, **own).text)
    assert found[0] == ("searching", {"source": "memory", "found": 1})
    block, question = texts_sent(upstream_process)
    assert "Cleo plays the cello." in block and "not instructions" in block and question == ask["content"]
    listed = httpx.get(f"{dac.url}/api/threads/{thread}/messages", headers=own).json()["messages"]
    assert [one["role"] for one in listed] == ["user", "assistant"] and "cello" not in listed[0]["text"]
    post(dac, f"/api/threads/{thread}/messages", {**ask, "enable_memory": False}, **own)
    assert not any("cello" in text for text in texts_sent(upstream_process))
    alone = {"model": MOCK, "messages": said("Which instrument does Cleo play?"), "enable_memory": True}
    answer = post(dac, "/v1/chat/completions", alone, **own)
    assert "Cleo plays the cello." in texts_sent(upstream_process)[0]
    assert answer.headers["x-dac-context"].startswith("memory; recalled=")
    assert "x-dac-thread-id" not in answer.headers
    post(dac, "/v1/chat/completions", {**alone, "enable_memory": None}, **own)
    assert texts_sent(upstream_process) == [ask["content"]]


def test_an_agents_turns_are_its_own_memories_in_every_thread(dac, upstream_process):
    about = f"The pelican of {time.time_ns()} sleeps in the lighthouse."
    agent, other = f"keeper-{time.time_ns()}", f"baker-{time.time_ns()}"
    thread, question = f"pelican-{time.time_ns()}", "Where does the pelican sleep?"
    told = dac.chat(model=MOCK, thread_id=thread, agent_id=agent, messages=said(about))
    assert told.status_code == 200
    assert "agent_id" not in upstream_process.requests()[-1]["body"]
    assert dac.get(f"/api/threads/{thread}").json()["thread"]["agent_id"] == agent
    asked = dac.chat(model=MOCK, agent_id=agent, messages=said(question))
    assert asked.headers["x-dac-context"].startswith("memory; recalled=") and about in texts_sent(upstream_process)[0]
    for scope in ({"agent_id": other}, {"agent_id": agent, "enable_memory": False}, {"enable_memory": True}, {}):
        dac.chat(model=MOCK, messages=said(question), **scope)
        assert not any(about in text for text in texts_sent(upstream_process)), scope
    # The thread stays the agent's, whoever goes on with it, also through a file.
    dac.chat(model=MOCK, thread_id=thread, messages=said("And the walrus sleeps in the harbour."))
    mine = {"query": "Where does the walrus sleep?", "filter": {"agent_id": agent}}
    found = post(dac, "/v1/memories/search", mine).json()["memories"]
    assert any("walrus" in one["memory"]["text"] and one["memory"]["agent_id"] == agent for one in found)
    file = dac.get(f"/v1/conversations/{thread}/export").json()
    copied = post(dac, "/v1/conversations/import", {**file, "thread_id": f"{thread}-copy"}).json()
    assert copied["thread"]["agent_id"] == agent
    wrong = dac.chat(model=MOCK, agent_id="x" * 129, messages=said("Hi"))
    assert wrong.status_code == 400 and wrong.json()["error"]["param"] == "agent_id"
