"""What a request leaves behind: headers, its record, its charge; threads, cache, keys, and who may see them."""

import json
import time

import grpc
import httpx
import pytest

from dac.gateway.v1 import chat_pb2, chat_pb2_grpc
from dac.router.v1 import router_pb2, router_pb2_grpc


def test_headers_tell_the_route_and_the_cost(dac):
    answer = dac.chat()
    usage = answer.json()["usage"]
    nano = usage["prompt_tokens"] * 150 + usage["completion_tokens"] * 600
    assert answer.headers["x-dac-model"] == "mock/gpt-4o-mini" and answer.headers["x-dac-route"]
    assert round(float(answer.headers["x-dac-cost-usd"]) * 1e9) == nano
    record = dac.record(answer)
    assert record["cost_nano_usd"] == str(nano) and int(record["reserved_nano_usd"]) >= nano


def test_a_record_tells_the_whole_story(dac):
    record = dac.record(dac.chat(model="auto"))
    assert record["outcome"] == "OUTCOME_OK" and record["finish_reason"] == "stop" and record["http_status"] == 200
    assert record["route"]["profile"] == "balanced" and len(record["route"]["candidates"]) > 2
    assert {"route", "reserve", "first_token", "generate"} <= set(record["stage_ms"])
    attempt = record["attempts"][-1]
    assert attempt["status_code"] == 200 and float(attempt["first_token_ms"]) > 0
    assert {line["bucket"] for line in attempt["price_lines"]} >= {"input", "output"}
    assert sum(int(line["cost_nano_usd"]) for line in attempt["price_lines"]) == int(attempt["cost_nano_usd"])
    listed = dac.get("/v1/requests").json()["requests"]
    assert record["request_id"] in [one["request_id"] for one in listed]


def test_the_ledger_adds_up(dac):
    for _ in range(5):
        dac.chat()
    verified = dac.get("/v1/budgets:verify").json()
    assert verified["differences"] == [] and int(verified["ledger_rows"]) >= 5


def test_a_thread_remembers_in_order(dac, upstream_process):
    thread = f"t-{time.time_ns()}"
    dac.chat(thread_id=thread, messages=[{"role": "user", "content": "My name is Ada."}])
    streamed = dac.chat(thread_id=thread, messages=[{"role": "user", "content": "And now?"}], stream=True)
    assert streamed.text.endswith("data: [DONE]\n\n")
    sent = upstream_process.requests()[-1]["body"]["messages"]
    assert [one["role"] for one in sent] == ["user", "assistant", "user"]
    assert sent[0]["content"] == "My name is Ada." and sent[2]["content"] == "And now?"
    assert "thread_id" not in upstream_process.requests()[-1]["body"]
    saved = dac.get(f"/api/threads/{thread}/messages").json()["messages"]
    assert [one["role"] for one in saved] == ["user", "assistant", "user", "assistant"]
    assert saved[3]["text"] == saved[1]["text"] != ""


def test_the_cache_answers_the_same_only_when_asked(dac, upstream_process):
    prompt = [{"role": "user", "content": f"cache me {time.time_ns()}"}]
    first = dac.chat(messages=prompt, enable_cache=True)
    assert dac.record(first)["cache"]["status"] == "STATUS_STORED"
    second = dac.chat(messages=prompt, enable_cache=True)
    assert len(upstream_process.requests()) == 1
    assert second.json()["choices"] == first.json()["choices"] and second.headers["x-dac-cost-usd"] == "0.0"
    record = dac.record(second)
    assert record["cache"]["status"] == "STATUS_HIT" and record["cost_nano_usd"] == "0"
    assert record["cache"]["saved_nano_usd"] == dac.record(first)["cost_nano_usd"]
    streamed = dac.chat(messages=prompt, enable_cache=True, stream=True)
    events = [json.loads(line[6:]) for line in streamed.text.splitlines() if line.startswith("data: {")]
    said = "".join(event["choices"][0]["delta"].get("content") or "" for event in events)
    assert first.json()["choices"][0]["message"]["content"] == said and len(events) > 3, "shaped like a live stream"
    assert streamed.text.endswith("data: [DONE]\n\n") and len(upstream_process.requests()) == 1
    dac.chat(messages=prompt)
    dac.chat(messages=prompt, enable_cache=True, temperature=0.5)
    assert len(upstream_process.requests()) == 3


def make_key(dac, **fields):
    made = httpx.post(f"{dac.url}/v1/keys", headers=dac.headers, json={"name": "test", **fields})
    assert made.status_code == 200, made.text
    return made.json()


def chat_with(dac, token, **fields):
    body = {"model": "mock/gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}], **fields}
    return httpx.post(
        f"{dac.url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {token}"}, timeout=30
    )


def test_a_revoked_key_is_refused_within_a_second(dac):
    made = make_key(dac)
    assert chat_with(dac, made["token"]).status_code == 200
    revoked = httpx.delete(f"{dac.url}/v1/keys/{made['key']['key_id']}", headers=dac.headers)
    assert revoked.status_code == 200
    end = time.monotonic() + 1.0
    while chat_with(dac, made["token"]).status_code != 401:
        assert time.monotonic() < end


def test_a_key_keeps_to_its_scopes_and_models(dac):
    reader = make_key(dac, scopes=["read"])
    assert chat_with(dac, reader["token"]).status_code == 403
    chatter = make_key(dac, scopes=["chat"], models=["second/*"])
    assert chat_with(dac, chatter["token"], model="second/small").status_code == 200
    assert chat_with(dac, chatter["token"]).status_code == 403
    assert chat_with(dac, chatter["token"], model="auto").headers["x-dac-model"] == "second/small"
    refused = httpx.get(f"{dac.url}/v1/keys", headers={"authorization": f"Bearer {chatter['token']}"})
    assert refused.status_code == 403


def test_organisations_do_not_see_each_other(dac):
    name = f"other-{time.time_ns()}"
    made = httpx.post(f"{dac.url}/v1/organisations", headers=dac.operator_headers, json={"name": name}).json()
    org_id = made["organisation"]["org_id"]
    key = httpx.post(
        f"{dac.url}/v1/keys",
        headers=dac.operator_headers,
        json={"name": "admin", "scopes": ["chat", "admin"], "org_id": org_id},
    ).json()
    theirs = {"authorization": f"Bearer {key['token']}"}
    thread = f"private-{time.time_ns()}"
    mine = dac.chat(thread_id=thread)
    request_id = dac.record(mine)["request_id"]
    for path in (f"/v1/requests/{request_id}", f"/api/threads/{thread}", f"/api/threads/{thread}/messages"):
        assert httpx.get(dac.url + path, headers=theirs).status_code == 404, path
    assert httpx.get(f"{dac.url}/v1/requests", headers=theirs).json()["requests"] == []
    assert httpx.get(f"{dac.url}/v1/budgets", headers=theirs).json()["budgets"] == []
    keys = httpx.get(f"{dac.url}/v1/keys", headers=theirs).json()["keys"]
    assert [one["key_id"] for one in keys] == [key["key"]["key_id"]]


def test_changes_are_on_the_record_without_secrets(dac):
    made = make_key(dac)
    end = time.monotonic() + 5
    while True:
        changes = httpx.get(f"{dac.url}/v1/changes", headers=dac.headers).json()["changes"]
        if any(made["key"]["key_id"] in one["target"] for one in changes):
            break
        assert time.monotonic() < end
        time.sleep(0.02)
    assert made["token"] not in str(changes) and made["token"].split("_")[3] not in str(changes)


async def test_grpc_callers_chat_with_a_key(dac):
    async with grpc.aio.insecure_channel(dac.grpc_address) as channel:
        stub = chat_pb2_grpc.ChatServiceStub(channel)
        typed = chat_pb2.TypedChat(
            model="mock/gpt-4o-mini", messages=[chat_pb2.TypedMessage(role="user", content="Hi")], stream=True
        )
        metadata = (("authorization", f"Bearer {dac.key}"),)
        events = [e async for e in stub.Chat(chat_pb2.ChatRequest(typed=typed), metadata=metadata, timeout=20)]
        assert events[0].head.model == "mock/gpt-4o-mini" and events[-1].WhichOneof("event") == "finish"
        assert b"".join(e.frames.data for e in events).endswith(b"data: [DONE]\n\n")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Chat(chat_pb2.ChatRequest(typed=typed), timeout=20).read()
        assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
        router = router_pb2_grpc.RouterServiceStub(channel)
        routed = await router.Route(router_pb2.RouteRequest(model="auto"), metadata=metadata, timeout=5)
        assert routed.candidates and routed.route.reason


def test_the_api_describes_itself(dac):
    document = dac.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1") and "/v1/chat/completions" in document["paths"]
    assert "/v1/keys/{key_id}" in document["paths"]
    assert "/v1/requests" in dac.get("/docs").text


def test_health_names_every_part(dac):
    health = dac.get("/health").json()
    assert health["status"] == "healthy" and {"router", "provider", "budget", "memory", "audit"} <= set(health["parts"])
    assert dac.get("/live").status_code == dac.get("/ready").status_code == 200
    assert "chat_completions_total" in dac.get("/metrics").text
    assert dac.get("/info").json()["name"] == "DAC"


def budget_for(dac, made, limit_nano_usd):
    """Sets a key's daily budget."""
    level = {"kind": "KIND_KEY", "id": made["key"]["key_id"]}
    body = {"level": level, "window": "WINDOW_DAY", "limit_nano_usd": str(limit_nano_usd)}
    assert httpx.put(f"{dac.url}/v1/budgets", headers=dac.headers, json=body).status_code == 200


def test_many_choices_do_not_pass_a_budget(dac, upstream_process):
    made = make_key(dac, scopes=["chat", "read"])
    budget_for(dac, made, 60_000)
    refused = chat_with(dac, made["token"], n=128, max_tokens=2000)
    assert refused.status_code == 429 and refused.json()["error"]["code"] == "insufficient_quota"
    assert upstream_process.requests() == []
    both = chat_with(dac, made["token"], max_tokens=1, max_completion_tokens=100_000)
    sent = upstream_process.requests()[-1]["body"] if both.status_code == 200 else {}
    assert sent.get("max_completion_tokens", 0) <= 100


def test_a_refused_turn_stays_out_of_its_thread(dac):
    thread = f"refused-{time.time_ns()}"
    assert dac.chat(model="mock/nothing", thread_id=thread).status_code == 404
    assert dac.get(f"/api/threads/{thread}/messages").status_code == 404
    assert dac.chat(thread_id=thread).status_code == 200
    saved = dac.get(f"/api/threads/{thread}/messages").json()["messages"]
    assert [one["role"] for one in saved] == ["user", "assistant"]


def test_an_answer_is_saved_also_behind_a_given_one_and_from_the_cache(dac):
    thread, prompt = f"given-{time.time_ns()}", f"given {time.time_ns()}"
    given = [{"role": "assistant", "content": "Hi"}, {"role": "user", "content": prompt}]
    for _ in range(2):
        assert dac.chat(thread_id=thread, messages=given).status_code == 200
    saved = dac.get(f"/api/threads/{thread}/messages").json()["messages"]
    assert [one["role"] for one in saved] == ["assistant", "user", "assistant"] * 2
    once = [{"role": "user", "content": prompt}]
    dac.chat(messages=once, enable_cache=True)
    cached = f"cached-{time.time_ns()}"
    assert dac.record(dac.chat(thread_id=cached, messages=once, enable_cache=True))["cache"]["status"] == "STATUS_HIT"
    saved = dac.get(f"/api/threads/{cached}/messages").json()["messages"]
    assert [one["role"] for one in saved] == ["user", "assistant"]


def test_a_key_gets_no_cached_answer_of_a_model_it_may_not_use(dac):
    prompt = [{"role": "user", "content": f"restricted {time.time_ns()}"}]
    first = dac.chat(model="auto:quality", messages=prompt, enable_cache=True)
    other = "second/small" if first.headers["x-dac-model"] != "second/small" else "mock/gpt-4o-mini"
    made = make_key(dac, scopes=["chat"], models=[other])
    second = chat_with(dac, made["token"], model="auto:quality", messages=prompt, enable_cache=True)
    assert second.headers["x-dac-model"] == other


def test_a_key_is_shown_the_models_that_it_may_use(dac):
    made = make_key(dac, models=["second/*", "claude/sonnet"])
    headers = {"authorization": f"Bearer {made['token']}"}
    for more in ({}, {"anthropic-version": "2023-06-01"}):
        listed = httpx.get(f"{dac.url}/v1/models", headers={**headers, **more}).json()["data"]
        assert {one["id"] for one in listed} == {"second/small", "claude/sonnet"}
    assert len(dac.get("/v1/models").json()["data"]) > 2


def test_a_restricted_administrator_makes_only_restricted_keys(dac):
    admin = make_key(dac, scopes=["chat", "admin"], models=["second/small"])
    theirs = {"authorization": f"Bearer {admin['token']}"}
    refused = httpx.post(f"{dac.url}/v1/keys", headers=theirs, json={"name": "wide"})
    assert refused.status_code == 403 and refused.json()["error"]["param"] == "models"
    allowed = httpx.post(f"{dac.url}/v1/keys", headers=theirs, json={"name": "narrow", "models": ["second/small"]})
    assert allowed.status_code == 200


async def test_a_grpc_caller_whose_deadline_passes_is_charged(dac, upstream_process):
    upstream_process.script("ok", token_delay_s=0.1)
    async with grpc.aio.insecure_channel(dac.grpc_address) as channel:
        stub = chat_pb2_grpc.ChatServiceStub(channel)
        typed = chat_pb2.TypedChat(
            model="mock/gpt-4o-mini", messages=[chat_pb2.TypedMessage(role="user", content="Hi")], stream=True
        )
        metadata = (("authorization", f"Bearer {dac.key}"),)
        call = stub.Chat(chat_pb2.ChatRequest(typed=typed), metadata=metadata, timeout=1.5)
        request_id = ""
        with pytest.raises(grpc.aio.AioRpcError) as late:
            async for event in call:
                request_id = event.head.request_id or request_id
        assert late.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    end = time.monotonic() + 10
    while (found := dac.get(f"/v1/requests/{request_id}")).status_code != 200:
        assert time.monotonic() < end
    record = found.json()["request"]
    assert int(record["cost_nano_usd"]) > 0 and record["attempts"][-1]["usage_source"] == "USAGE_SOURCE_COUNTED"


def test_a_followed_stream_shows_new_requests(dac):
    with httpx.stream("GET", f"{dac.url}/v1/requests:follow", headers=dac.headers, timeout=20) as followed:
        lines = followed.iter_lines()
        assert next(lines) == ": open"
        answer = dac.chat()
        for line in lines:
            if answer.headers["x-dac-request-id"] in line:
                break
        else:
            raise AssertionError("the request was not shown")


def test_a_reader_without_scope_is_refused_before_the_stream(dac):
    made = make_key(dac, scopes=["chat"])
    refused = httpx.get(f"{dac.url}/v1/requests:follow", headers={"authorization": f"Bearer {made['token']}"})
    assert refused.status_code == 403


def test_under_a_budget_auto_leaves_out_models_without_a_price(dac, upstream_process):
    made = make_key(dac, scopes=["chat", "read"], models=["mock/*"])
    budget_for(dac, made, 1_000_000_000)
    upstream_process.script("503", model="gpt-4o-mini")
    answer = chat_with(dac, made["token"], model="auto:quality")
    assert answer.status_code == 502
    assert {one["model"] for one in upstream_process.requests()} == {"gpt-4o-mini"}
    refused = chat_with(dac, made["token"], model="mock/unpriced")
    assert refused.status_code == 400 and "price" in refused.json()["error"]["message"]
