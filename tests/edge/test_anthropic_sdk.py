"""The official anthropic SDK works with only base_url and api_key changed, whichever dialect the provider speaks."""

import json
import pathlib
import re
import subprocess
import sys
import time

import anthropic
import httpx
import pytest

from tests.edge.conftest import make_dac
from tests.upstream.answers import WORDS

TOOL = {
    "name": "weather",
    "description": "The weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
MORE = """
  - {id: claude/claude-sonnet-4-5, provider: claude, name: claude-sonnet-4-5, context_tokens: 200000, quality: 0.1,
     capabilities: [tools, images], price: {input_usd_per_mtok: "3", output_usd_per_mtok: "15"}}
"""
TRANSLATED, PASSED = "mock/gpt-4o-mini", "claude/sonnet"
PRICES = {TRANSLATED: (150, 600), PASSED: (3000, 15000)}
BOTH = pytest.mark.parametrize("model", [TRANSLATED, PASSED])
HI = [{"role": "user", "content": "Hello"}]
PIXEL = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}


@pytest.fixture(scope="module")
def dac(tmp_path_factory, upstream_process):
    running = make_dac(tmp_path_factory.mktemp("messages"), upstream_process, more=MORE)
    running.start()
    yield running
    assert running.stop() == 0, running.log()


@pytest.fixture(scope="module")
def client(dac):
    return anthropic.Anthropic(base_url=dac.url, api_key=dac.key, max_retries=0)


def ask(client, **fields):
    return client.messages.create(**{"model": TRANSLATED, "max_tokens": 1000, "messages": HI, **fields})


def post(dac, path="/v1/messages", **fields):
    body = {"model": TRANSLATED, "max_tokens": 1000, "messages": HI, **fields}
    return httpx.post(dac.url + path, json=body, headers={"x-api-key": dac.key}, timeout=30)


@BOTH
def test_a_message(client, model):
    answer = ask(client, model=model)
    assert answer.id.startswith("msg_") and answer.type == "message" and answer.role == "assistant"
    assert answer.content[0].text.startswith("one two") and answer.stop_reason == "end_turn"
    assert answer.usage.input_tokens > 0 and answer.usage.output_tokens == 60
    assert answer._request_id


@BOTH
def test_a_stream_is_the_whole_message(client, model):
    whole = ask(client, model=model)
    with client.messages.stream(model=model, max_tokens=1000, messages=HI) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    assert len(pieces) > 10 and "".join(pieces) == whole.content[0].text == final.content[0].text
    assert final.stop_reason == "end_turn"
    assert (final.usage.input_tokens, final.usage.output_tokens) == (whole.usage.input_tokens, 60)


@BOTH
def test_a_stream_ends_with_message_stop_once_and_nothing_behind(dac, model):
    text = post(dac, model=model, stream=True).text
    events = [line for line in text.splitlines() if line.startswith("event: ")]
    assert events[0] == "event: message_start" and events[-1] == "event: message_stop"
    assert text.count('"message_stop"') == 1 and "[DONE]" not in text


@BOTH
def test_a_round_with_a_tool(client, model):
    first = ask(client, model=model, tools=[TOOL], tool_choice={"type": "any"})
    call = first.content[-1]
    assert first.stop_reason == "tool_use" and call.type == "tool_use" and call.name == "weather"
    assert isinstance(call.input["city"], str)
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
    history = [
        *HI,
        {"role": "assistant", "content": [one.model_dump() for one in first.content]},
        {"role": "user", "content": [result]},
    ]
    assert ask(client, model=model, tools=[TOOL], messages=history).stop_reason == "end_turn"


@BOTH
def test_a_streamed_tool(client, model):
    with client.messages.stream(model=model, max_tokens=1000, messages=HI, tools=[TOOL]) as stream:
        final = stream.get_final_message()
    assert final.stop_reason == "tool_use" and isinstance(final.content[-1].input["city"], str)


@BOTH
def test_images_system_and_stop_sequences_arrive(client, upstream_process, model):
    content = [{"type": "text", "text": "What is this?"}, PIXEL]
    ask(
        client,
        model=model,
        system="Be brief.",
        stop_sequences=["END"],
        extra_body={"temperature": 0.5},
        messages=[{"role": "user", "content": content}],
    )
    sent = upstream_process.requests()[-1]["body"]
    assert sent["temperature"] == 0.5
    if model == PASSED:
        assert sent["system"] == "Be brief." and sent["stop_sequences"] == ["END"]
        assert sent["messages"][0]["content"] == content
    else:
        assert sent["messages"][0] == {"role": "system", "content": "Be brief."} and sent["stop"] == ["END"]
        assert sent["messages"][1]["content"][1]["image_url"]["url"] == "data:image/png;base64,iVBORw0KGgo="


def test_what_is_not_offered_is_refused_in_anthropics_form(client):
    with pytest.raises(anthropic.NotFoundError) as refused:
        client.messages.batches.list()
    assert refused.value.body["type"] == "error" and refused.value.body["request_id"]
    assert "/v1/messages/batches is not served here" in refused.value.body["error"]["message"]


def test_max_tokens_ends_an_answer(client):
    answer = ask(client, max_tokens=3)
    assert answer.stop_reason == "max_tokens" and answer.content[0].text == "one two three"


@pytest.mark.parametrize("stream", [False, True])
def test_bytes_to_and_from_an_anthropic_provider_pass_untouched(dac, upstream_process, stream):
    """Only the model's name differs in the request; nothing in the answer."""
    raw = (
        '{"model":"%s","max_tokens":1000,"top_k":  7,"messages":[{"role":"user","content":[{"type":"text",'
        '"text":"a \\u00fc  b","cache_control":{"type":"ephemeral"}}]}],"stream":%s}'
    )
    flag = json.dumps(stream)
    headers = {"x-api-key": dac.key, "content-type": "application/json"}
    got = httpx.post(dac.url + "/v1/messages", content=raw % (PASSED, flag), headers=headers, timeout=30)
    assert got.status_code == 200, got.text
    sent = upstream_process.requests()[-1]["raw"]
    assert '"top_k":7' in sent.replace(" ", "") and '"text":"a \\u00fc  b","cache_control":{"type":"ephemeral"}' in sent
    straight = httpx.post(
        upstream_process.origin + "/v1/messages",
        content=sent,
        headers={"x-api-key": "k", "anthropic-version": "2023-06-01", "content-type": "application/json"},
    )
    # The mock numbers its answers.
    assert _unnumbered(got.content) == _unnumbered(straight.content)


def _unnumbered(body: bytes) -> bytes:
    return re.sub(rb"(msg|toolu)_\d{8}", rb"\1_N", body)


AGENT = {
    "stream": True,
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "thinking": {"type": "adaptive"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "output_config": {"effort": "high"},
    "metadata": {"user_id": json.dumps({"session": "s" * 80})},
    "tools": [TOOL],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}]},
        {"role": "system", "content": "Tools may be slow."},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": [PIXEL]}]},
    ],
}
"""A request with what Claude Code 2.1 sends."""
BETAS = "context-management-2025-06-27,mid-conversation-system-2026-04-07"


def ask_as_agent(dac, model, betas=BETAS, path="/v1/messages"):
    headers = {"authorization": f"Bearer {dac.key}", "anthropic-beta": betas, "anthropic-version": "2023-06-01"}
    body = {"model": model, "max_tokens": 32000, **AGENT}
    return httpx.post(f"{dac.url}{path}?beta=true", json=body, headers=headers, timeout=30)


@BOTH
def test_an_agents_request_is_answered(dac, upstream_process, model):
    answer = ask_as_agent(dac, model)
    assert answer.status_code == 200 and answer.text.endswith('"message_stop"}\n\n'), answer.text
    sent = upstream_process.requests()[-1]
    if model == PASSED:
        assert sent["headers"]["anthropic-beta"] == BETAS and sent["body"]["messages"] == AGENT["messages"]
        assert sent["body"]["context_management"] == AGENT["context_management"]
    else:
        assert "anthropic-beta" not in sent["headers"]
        roles = [message["role"] for message in sent["body"]["messages"]]
        assert roles == ["system", "user", "system", "assistant", "tool", "user"]
        assert sent["body"]["messages"][-1]["content"][1]["type"] == "image_url"
        assert len(sent["body"]["user"]) == 64


def test_a_beta_that_is_not_sent_is_not_invented(dac):
    refused = ask_as_agent(dac, PASSED, betas="")
    assert refused.status_code == 400 and "context_management" in refused.json()["error"]["message"]


def test_names_of_betas_are_checked(dac):
    refused = ask_as_agent(dac, PASSED, betas="a b")
    assert refused.status_code == 400 and "anthropic-beta" in refused.json()["error"]["message"]


def test_an_agents_request_is_counted(dac):
    counted = ask_as_agent(dac, PASSED, path="/v1/messages/count_tokens")
    assert counted.status_code == 200 and counted.json()["input_tokens"] > 1100


def test_the_models_are_listed_in_pages(client, dac):
    listed = list(client.models.list(limit=2))
    others = {"embeddings", "transcription", "speech"}
    ours = [one["id"] for one in dac.get("/v1/models").json()["data"] if not others & set(one["capabilities"])]
    assert [one.id for one in listed] == ours and len(ours) > 3
    assert {one.type for one in listed} == {"model"} and listed[0].max_input_tokens > 0
    last = client.models.list(before_id=ours[-1], limit=2)
    assert [one.id for one in last.data] == ours[-3:-1] and last.has_more


def test_one_model_is_told(client):
    assert client.models.retrieve(PASSED).display_name == PASSED
    for other in ("mock/embed", "mock/tts", "mock/none"):
        with pytest.raises(anthropic.NotFoundError) as refused:
            client.models.retrieve(other)
        assert refused.value.body["type"] == "error" and refused.value.body["error"]["type"] == "not_found_error"


@pytest.mark.parametrize("query", [{"limit": 0}, {"after_id": "no/such"}, {"colour": "red"}])
def test_what_is_wrong_with_a_list_is_named(client, query):
    with pytest.raises(anthropic.BadRequestError, match=next(iter(query))):
        client.get("/v1/models", cast_to=object, options={"params": query})


def test_a_list_needs_a_key(dac):
    with pytest.raises(anthropic.AuthenticationError):
        anthropic.Anthropic(base_url=dac.url, api_key="dac_live_nope", max_retries=0).models.list()


def test_the_key_may_be_a_bearer_token(dac):
    bearer = anthropic.Anthropic(base_url=dac.url, auth_token=dac.key, api_key=None, max_retries=0)
    assert ask(bearer).content


def test_errors_are_the_sdks_classes(client, dac):
    with pytest.raises(anthropic.NotFoundError) as unknown:
        ask(client, model="mock/gpt-4o-minni")
    assert unknown.value.body["type"] == "error" and unknown.value.body["error"]["type"] == "not_found_error"
    assert "mock/gpt-4o-mini" in unknown.value.body["error"]["message"]
    assert unknown.value.body["request_id"] == unknown.value.request_id
    with pytest.raises(anthropic.BadRequestError) as bad:
        ask(client, messages=[])
    assert bad.value.body["error"]["type"] == "invalid_request_error"
    stranger = anthropic.Anthropic(base_url=dac.url, api_key="dac_live_abcdefghijkl_" + "x7" * 20, max_retries=0)
    with pytest.raises(anthropic.AuthenticationError) as refused:
        ask(stranger)
    assert refused.value.body["error"]["type"] == "authentication_error"


def test_what_openai_cannot_say_is_refused_by_its_name(client):
    with pytest.raises(anthropic.BadRequestError) as refused:
        ask(client, extra_body={"top_k": 5})
    assert "top_k" in refused.value.message


@pytest.mark.parametrize("field", ["thread_id", "enable_cache", "routing_profile"])
def test_fields_of_dacs_chat_form_are_refused(dac, field):
    got = post(dac, **{field: "x"})
    assert got.status_code == 400 and f'"{field}" is not offered' in got.json()["error"]["message"].replace("\\", "")


@BOTH
def test_a_providers_refusal_is_in_anthropics_shape(client, upstream_process, model):
    upstream_process.script("400", times=1)
    with pytest.raises(anthropic.BadRequestError) as refused:
        ask(client, model=model)
    assert refused.value.body["type"] == "error" and "scripted 400" in refused.value.body["error"]["message"]


def test_a_provider_that_fails_is_named_in_anthropics_shape(client, upstream_process):
    upstream_process.script("500", times=9)
    with pytest.raises(anthropic.InternalServerError) as failed:
        ask(client)
    assert failed.value.body["error"]["type"] == "api_error"


@BOTH
@pytest.mark.parametrize("fault", ["cut", "end_early", "error_event"])
def test_a_broken_stream_ends_with_an_error_and_never_with_message_stop(dac, upstream_process, model, fault):
    upstream_process.script(fault)
    got = post(dac, model=model, stream=True)
    last = got.text.strip().split("\n\n")[-1]
    assert got.status_code == 200 and "message_stop" not in got.text
    assert last.startswith("event: error\ndata: ")
    told = json.loads(last.split("data: ", 1)[1])
    assert told["type"] == "error" and told["error"]["type"] == "api_error"
    assert told["request_id"] == got.headers["request-id"] == got.headers["x-dac-request-id"]
    record = dac.record(got)
    assert record["outcome"] == "OUTCOME_FAILED"


@BOTH
@pytest.mark.parametrize("text", ["", "eighteen nineteen twenty and that is all"])
def test_a_broken_stream_is_taken_up_in_the_same_block(client, dac, upstream_process, model, text):
    upstream_process.script("cut", after_tokens=20, times=1)
    upstream_process.script("ok", text=text)
    with client.messages.stream(model=model, max_tokens=1000, messages=HI) as stream:
        events = list(stream)
        final = stream.get_final_message()
    shown = " ".join(WORDS.split()[:20])
    assert [block.type for block in final.content] == ["text"] and final.stop_reason == "end_turn"
    assert final.content[0].text == (f"{shown} and that is all" if text else WORDS)
    kinds = [event.type for event in events]
    assert kinds.count("message_start") == kinds.count("content_block_start") == kinds.count("message_stop") == 1
    marked = [event.dac["rescue"]["way"] for event in events if getattr(event, "dac", None)]
    assert marked == ["instruction"]
    body = upstream_process.requests()[-1]["body"]
    assert [one["role"] for one in body["messages"][-2:]] == ["assistant", "user"]
    assert body["messages"][-2]["content"] == shown and 0 < body["max_tokens"] < 1000


def test_a_broken_stream_raises_in_the_sdk(client, upstream_process):
    upstream_process.script("cut")
    with (
        pytest.raises(anthropic.APIError),
        client.messages.stream(model=TRANSLATED, max_tokens=1000, messages=HI) as stream,
    ):
        list(stream.text_stream)


@BOTH
@pytest.mark.parametrize("stream", [False, True])
def test_the_record_has_dialect_usage_and_cost_exactly(dac, upstream_process, model, stream):
    upstream_process.script(cached_tokens=7, times=1)
    got = post(dac, model=model, stream=stream)
    record = dac.record(got)
    assert record["dialect_in"] == record["dialect_out"] == "DIALECT_ANTHROPIC_MESSAGES"
    assert record["outcome"] == "OUTCOME_OK" and record["attempts"][-1]["model"] == model
    usage = {name: int(value) for name, value in record["attempts"][-1]["usage"].items() if int(value)}
    assert usage == {"input_tokens": 1, "input_cached_tokens": 7, "output_tokens": 60}
    if not stream:
        told = got.json()["usage"]
        assert (told["input_tokens"], told["cache_read_input_tokens"], told["output_tokens"]) == (1, 7, 60)
        assert float(got.headers["x-dac-cost-usd"]) > 0


def test_a_caller_that_leaves_is_charged_for_what_came(dac, upstream_process):
    upstream_process.script("ok", token_delay_s=0.1, times=1)
    body = {"model": TRANSLATED, "max_tokens": 1000, "messages": HI, "stream": True}
    with httpx.stream("POST", dac.url + "/v1/messages", json=body, headers={"x-api-key": dac.key}, timeout=30) as left:
        seen = b""
        for piece in left.iter_bytes():
            seen += piece
            if b"three" in seen:
                break
    record = dac.record(left)
    assert record["outcome"] == "OUTCOME_CLIENT_GONE"
    assert 0 < int(record["attempts"][-1]["usage"]["output_tokens"]) < 60
    end = time.monotonic() + 5
    while not upstream_process.requests()[-1]["disconnected_s"] and time.monotonic() < end:
        time.sleep(0.02)
    assert upstream_process.requests()[-1]["disconnected_s"]


def test_the_sdk_does_not_retry_an_empty_budget(client, dac):
    made = httpx.post(f"{dac.url}/v1/keys", headers=dac.headers, json={"name": "poor"}).json()
    level = {"kind": "KIND_KEY", "id": made["key"]["key_id"]}
    body = {"level": level, "window": "WINDOW_DAY", "limit_nano_usd": "10"}
    assert httpx.put(f"{dac.url}/v1/budgets", headers=dac.headers, json=body).status_code == 200
    poor = anthropic.Anthropic(base_url=dac.url, api_key=made["token"])
    with pytest.raises(anthropic.RateLimitError) as refused:
        ask(poor)
    assert refused.value.body["error"]["type"] == "rate_limit_error"
    assert refused.value.response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("profile", ["auto", "auto:quality", "auto:budget"])
def test_profiles_answer(client, profile):
    raw = client.messages.with_raw_response.create(model=profile, max_tokens=1000, messages=HI)
    assert raw.parse().content[0].text and raw.headers["x-dac-model"] and raw.headers["x-dac-route"]


def test_a_fallback_may_speak_the_other_dialect(client, upstream_process):
    raw = client.messages.with_raw_response.create(model="auto:quality", max_tokens=1000, messages=HI)
    first = raw.headers["x-dac-model"]
    upstream_process.script("503", model=first.split("/")[1])
    again = client.messages.with_raw_response.create(model="auto:quality", max_tokens=1000, messages=HI)
    assert again.parse().content[0].text == raw.parse().content[0].text
    assert again.headers["x-dac-model"] != first


def test_count_tokens_is_dacs_estimate_and_reserves_nothing(client, dac, upstream_process):
    count = client.messages.count_tokens(model=TRANSLATED, system="Be brief.", messages=HI, tools=[TOOL])
    assert 20 < count.input_tokens < 100 and upstream_process.requests() == []
    refused = httpx.post(dac.url + "/v1/messages/count_tokens", json={"model": "m", "messages": HI})
    assert refused.status_code == 401 and refused.json()["error"]["type"] == "authentication_error"
    assert post(dac, "/v1/messages/count_tokens", messages=[]).status_code == 400


def test_other_methods_are_refused_in_anthropics_shape(dac):
    got = httpx.get(dac.url + "/v1/messages", headers={"x-api-key": dac.key})
    assert got.status_code == 405 and got.headers["allow"] == "POST, OPTIONS" and got.json()["type"] == "error"


@pytest.mark.parametrize(("model", "passed"), [(TRANSLATED, 8), ("claude/claude-sonnet-4-5", 9)])
def test_llm_comply_finds_nothing(dac, model, passed):
    """Its test of thinking is for Claude's names only: the other model has one test less."""
    command = [str(pathlib.Path(sys.executable).with_name("llm-comply")), "run", "-u", f"{dac.url}/v1", "-k", dac.key]
    done = subprocess.run(
        [*command, "-m", model, "--format", "anthropic", "--json"], capture_output=True, text=True, timeout=60
    )
    report = json.loads(done.stdout)
    assert done.returncode == 0, json.dumps(report, indent=1)[:4000]
    assert report["summary"]["passed"] == passed and report["summary"]["failed"] == 0


def test_the_ledger_verifies_afterwards(dac):
    """Last in this file: everything above was charged, and the sums hold."""
    verified = httpx.get(f"{dac.url}/v1/budgets:verify", headers=dac.operator_headers, timeout=30).json()
    assert verified["differences"] == []
