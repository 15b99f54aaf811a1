"""The official openai SDK's responses work with only base_url and api_key changed, whatever the provider speaks."""

import json
import re
import time

import anthropic
import httpx
import openai
import pydantic
import pytest

from tests.edge.conftest import make_dac

TOOL = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a city.",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
PROVIDERS = """providers:
  native: {{kind: openai, base_url: "{origin}/v1", api_key: {{env: MOCK_API_KEY}}, allow_private_address: true,
     responses: true, shared_store: true}}
  gemini: {{kind: gemini, base_url: "{origin}/v1beta", api_key: {{env: MOCK_API_KEY}}, allow_private_address: true}}"""
MORE = """
  - {id: native/gpt-5, provider: native, name: gpt-5, context_tokens: 200000, quality: 0.1,
     capabilities: [tools, images, json], price: {input_usd_per_mtok: "3", output_usd_per_mtok: "15"}}
  - {id: mock/gpt-5-mini, provider: mock, name: gpt-5-mini, context_tokens: 200000, quality: 0.1,
     capabilities: [tools, images, json], price: {input_usd_per_mtok: "1", output_usd_per_mtok: "5"}}
  - {id: gemini/pro, provider: gemini, name: gemini-2.5-pro, context_tokens: 100000, quality: 0.1,
     capabilities: [tools, images, json], price: {input_usd_per_mtok: "1", output_usd_per_mtok: "10"}}
"""
TRANSLATED, PASSED, CLAUDE, GEMINI = "mock/gpt-4o-mini", "native/gpt-5", "claude/sonnet", "gemini/pro"
BOTH = pytest.mark.parametrize("model", [TRANSLATED, PASSED])
EVERY = pytest.mark.parametrize("model", [TRANSLATED, PASSED, CLAUDE, GEMINI])
PIXEL = {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo=", "detail": "auto"}


@pytest.fixture(scope="module")
def dac(tmp_path_factory, upstream_process):
    running = make_dac(tmp_path_factory.mktemp("responses"), upstream_process, more=MORE)
    shared = running.config.read_text()
    running.config.write_text(shared.replace("providers:", PROVIDERS.format(origin=upstream_process.origin), 1))
    running.start()
    yield running
    assert running.stop() == 0, running.log()


@pytest.fixture(scope="module")
def client(dac):
    return openai.OpenAI(base_url=f"{dac.url}/v1", api_key=dac.key, max_retries=0)


def ask(client, **fields):
    return client.responses.create(**{"model": TRANSLATED, "input": "Hello", **fields})


def post(dac, path="/v1/responses", **fields):
    body = {"model": TRANSLATED, "input": "Hello", **fields}
    return httpx.post(dac.url + path, json=body, headers=dac.headers, timeout=30)


def events_of(text):
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


@EVERY
def test_a_response(client, model):
    answer = ask(client, model=model, instructions="Be brief.", metadata={"a": "b"})
    assert answer.id.startswith("resp_") and answer.object == "response" and answer.status == "completed"
    assert answer.output_text.startswith("one two") and answer.output[0].content[0].annotations == []
    assert answer.usage.input_tokens > 0 and answer.usage.output_tokens == 60
    assert answer.usage.total_tokens == answer.usage.input_tokens + 60
    assert answer.instructions == "Be brief." and answer.metadata == {"a": "b"} and answer._request_id
    assert answer.store is (model == PASSED)


@EVERY
def test_a_stream_is_the_whole_response(client, model):
    whole = ask(client, model=model)
    with client.responses.stream(model=model, input="Hello") as stream:
        events = list(stream)
        final = stream.get_final_response()
    pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(pieces) > 10 and "".join(pieces) == whole.output_text == final.output_text
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert final.status == "completed" and final.usage.output_tokens == 60
    assert final.output[0].id == next(e.item.id for e in events if e.type == "response.output_item.added")


@BOTH
def test_a_stream_ends_with_its_last_event_once_and_nothing_behind(dac, model):
    got = post(dac, model=model, stream=True)
    events = events_of(got.text)
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1]["type"] == "response.completed" and "[DONE]" not in got.text
    assert got.text.count("event: response.completed\n") == 1 and got.headers["x-dac-model"] == model
    names = [line[7:] for line in got.text.splitlines() if line.startswith("event: ")]
    assert names == [event["type"] for event in events]


@EVERY
@pytest.mark.parametrize("stream", [False, True])
def test_a_round_with_a_tool(client, model, stream):
    question = [{"role": "user", "content": "Weather in Ulm?"}]
    fields = {"model": model, "tools": [TOOL], "tool_choice": "required", "input": question}
    if stream:
        with client.responses.stream(**fields) as going:
            first = going.get_final_response()
    else:
        first = client.responses.create(**fields)
    call = first.output[-1]
    assert call.type == "function_call" and call.name == "weather" and call.status == "completed"
    assert isinstance(json.loads(call.arguments)["city"], str)
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    again = client.responses.create(model=model, tools=[TOOL], input=[*question, *first.output, result])
    assert again.status == "completed" and again.output_text


AGENT = {
    "stream": True,
    "store": False,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "01a1fe9f-a6f6-7013-a726-790635173ce7",
    "client_metadata": {"session_id": "s"},
    "parallel_tool_calls": True,
    "reasoning": {"summary": "auto"},
    "tools": [
        TOOL,
        {"type": "custom", "name": "apply_patch", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}},
        {"type": "namespace", "name": "agents", "description": "Others.", "tools": [{**TOOL, "name": "close"}]},
    ],
}
"""A request with what Codex 0.169 sends."""


@EVERY
@pytest.mark.parametrize(("chosen", "kind"), [("apply_patch", "custom_tool_call"), ("agents__close", "function_call")])
def test_an_agents_round_is_answered(dac, upstream_process, model, chosen, kind):
    question = [
        {"type": "message", "id": "msg_1", "role": "developer", "content": [{"type": "input_text", "text": "Brief."}]},
        {"type": "message", "id": "msg_2", "role": "user", "content": [{"type": "input_text", "text": "Close it."}]},
    ]
    upstream_process.script(tool=chosen, times=1, arguments='{"input":"a patch","city":"Ulm"}')
    first = post(dac, model=model, input=question, **AGENT)
    assert first.status_code == 200, first.text
    made = [event["item"] for event in events_of(first.text) if event["type"] == "response.output_item.done"]
    call = made[-1]
    if model != PASSED:
        # The stand-in for OpenAI knows functions only.
        assert call["type"] == kind and call["call_id"] and call["name"] == chosen.removeprefix("agents__")
        assert call.get("namespace") == ("agents" if "agents" in chosen else None)
        assert kind != "custom_tool_call" or call["input"] == "a patch"
    output = {"type": f"{call['type']}_output", "call_id": call["call_id"], "output": [PIXEL]}
    again = post(dac, model=model, input=[*question, *made, output], **AGENT)
    assert again.status_code == 200 and events_of(again.text)[-1]["response"]["status"] == "completed", again.text
    sent = upstream_process.requests()[-1]["raw"]
    assert "iVBORw0KGgo=" in sent and (model == PASSED or "prompt_cache_key" not in sent)


@pytest.mark.parametrize("model", [TRANSLATED, PASSED, GEMINI])
def test_parse_gives_a_model(client, model):
    class Person(pydantic.BaseModel):
        name: str
        age: int

    parsed = client.responses.parse(model=model, input="Who?", text_format=Person)
    assert isinstance(parsed.output_parsed, Person) and parsed.output_parsed.age == 1
    with client.responses.stream(model=model, input="Who?", text_format=Person) as stream:
        assert isinstance(stream.get_final_response().output_parsed, Person)


def test_what_is_asked_arrives_as_a_chat(client, upstream_process):
    content = [{"type": "input_text", "text": "What is this?"}, PIXEL]
    ask(
        client,
        instructions="Be brief.",
        input=[{"role": "developer", "content": "In English."}, {"role": "user", "content": content}],
        temperature=0.5,
        top_p=0.9,
        max_output_tokens=70,
        reasoning={"effort": "low"},
        tools=[TOOL],
        tool_choice={"type": "function", "name": "weather"},
        parallel_tool_calls=False,
    )
    seen = upstream_process.requests()[-1]
    sent = seen["body"]
    assert seen["path"] == "/v1/chat/completions"
    assert sent["messages"][0] == {"role": "system", "content": "Be brief.\n\nIn English."}
    assert sent["messages"][1]["content"][1] == {
        "type": "image_url",
        "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="},
    }
    assert (sent["temperature"], sent["top_p"], sent["max_tokens"]) == (0.5, 0.9, 70)
    assert sent["reasoning_effort"] == "low" and sent["parallel_tool_calls"] is False
    function = {name: value for name, value in TOOL.items() if name != "type"}
    assert sent["tools"] == [{"type": "function", "function": function}]
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "weather"}}


@pytest.mark.parametrize("stream", [False, True])
def test_reasoning_is_a_summary(client, stream):
    fields = {"model": "mock/gpt-5-mini", "input": "Hello", "reasoning": {"effort": "low", "summary": "auto"}}
    if stream:
        with client.responses.stream(**fields) as going:
            kinds = [event.type for event in going]
            answer = going.get_final_response()
        assert kinds.index("response.reasoning_summary_text.done") < kinds.index("response.output_text.delta")
    else:
        answer = client.responses.create(**fields)
    thought, message = answer.output
    assert thought.type == "reasoning" and thought.summary[0].text == "Let me think."
    assert message.content[0].text.startswith("one") and answer.reasoning.effort == "low"


@BOTH
@pytest.mark.parametrize("stream", [False, True])
def test_a_limit_makes_an_answer_incomplete(dac, model, stream):
    got = post(dac, model=model, max_output_tokens=16, stream=stream)
    if stream:
        last = events_of(got.text)[-1]
        assert last["type"] == "response.incomplete"
        answer = last["response"]
    else:
        answer = got.json()
    assert answer["status"] == "incomplete" and answer["incomplete_details"] == {"reason": "max_output_tokens"}
    assert answer["output"][0]["status"] == "incomplete"
    assert dac.record(got)["finish_reason"] == "length"


@pytest.mark.parametrize("stream", [False, True])
def test_bytes_to_and_from_a_provider_that_speaks_it_pass_untouched(dac, upstream_process, stream):
    """Only the model's name differs in the request; nothing in the answer."""
    raw = '{"model":"%s","max_output_tokens":1000,"service_tier":  "flex","input":"a \\u00fc  b","stream":%s}'
    headers = {**dac.headers, "content-type": "application/json"}
    sent = raw % (PASSED, json.dumps(stream))
    got = httpx.post(dac.url + "/v1/responses", content=sent, headers=headers, timeout=30)
    assert got.status_code == 200, got.text
    seen = upstream_process.requests()[-1]
    assert seen["path"] == "/v1/responses" and '"input":"a \\u00fc  b"' in seen["raw"]
    assert seen["body"]["model"] == "gpt-5" and seen["body"]["service_tier"] == "flex"
    straight = httpx.post(
        upstream_process.origin + "/v1/responses", content=seen["raw"], headers={"content-type": "application/json"}
    )
    # The mock numbers its answers.
    assert _unnumbered(got.content) == _unnumbered(straight.content)


def _unnumbered(body: bytes) -> bytes:
    return re.sub(rb"(resp|msg)_\d{8}", rb"\1_N", body)


def test_a_provider_that_speaks_it_takes_its_own_tools_and_what_it_stores(client, upstream_process):
    first = ask(client, model=PASSED, tools=[{"type": "web_search"}])
    assert first.output[0].type == "web_search_call" and first.output_text
    ask(client, model=PASSED, previous_response_id=first.id, input="And then?")
    assert upstream_process.requests()[-1]["body"]["previous_response_id"] == first.id


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools[0]"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
        ({"truncation": "auto"}, "truncation"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]}, "input[0].content[0]"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_what_a_chat_cannot_say_is_refused_by_its_name(dac, upstream_process, fields, field):
    got = post(dac, **fields)
    assert got.status_code == 400 and got.json()["error"]["message"].startswith(f"{field}: ")
    assert upstream_process.requests() == []


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"background": True, "model": PASSED}, "background"),
        ({"previous_response_id": "resp_1", "model": "auto"}, "previous_response_id"),
        ({"conversation": "conv_1", "model": "auto:quality"}, "conversation"),
        ({"thread_id": "t"}, "thread_id"),
        ({"enable_cache": True}, "enable_cache"),
        ({"routing_profile": "quality"}, "routing_profile"),
        ({"input": None}, "input"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
    ],
)
def test_what_dac_does_not_offer_is_refused_by_its_name(dac, fields, field):
    got = post(dac, **fields)
    assert got.status_code == 400 and got.json()["error"]["param"] == field
    assert got.json()["error"]["message"].startswith(f'"{field}"')


@pytest.mark.parametrize(("verb", "path"), [("GET", "resp_1"), ("DELETE", "resp_1"), ("POST", "resp_1/cancel")])
def test_stored_responses_are_not_there(dac, verb, path):
    got = httpx.request(verb, f"{dac.url}/v1/responses/{path}", headers=dac.headers)
    assert got.status_code == 404 and got.json()["error"]["message"]


def test_errors_are_the_sdks_classes(client, dac):
    with pytest.raises(openai.NotFoundError, match="mock/gpt-4o-mini") as unknown:
        ask(client, model="mock/gpt-4o-minni")
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as bad:
        ask(client, input=[])
    assert bad.value.param == "input" and bad.value.type == "invalid_request_error"
    stranger = openai.OpenAI(base_url=f"{dac.url}/v1", api_key="dac_live_abcdefghijkl_" + "x7" * 20, max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        ask(stranger)


@EVERY
def test_a_providers_refusal_reaches_the_caller(client, upstream_process, model):
    upstream_process.script("400", times=1)
    with pytest.raises(openai.BadRequestError, match="scripted 400"):
        ask(client, model=model)


@EVERY
@pytest.mark.parametrize("fault", ["cut", "end_early", "error_event"])
def test_a_broken_stream_ends_with_an_error_and_is_never_completed(dac, upstream_process, model, fault):
    upstream_process.script(fault, times=1)
    got = post(dac, model=model, stream=True)
    assert got.status_code == 200 and "response.completed" not in got.text and "response.failed" not in got.text
    assert got.text.strip().split("\n\n")[-1].startswith("event: error\ndata: ")
    *before, last = events_of(got.text)
    assert last["type"] == "error" and last["message"] == last["error"]["message"] and last["code"]
    assert last["sequence_number"] == before[-1]["sequence_number"] + 1
    assert dac.record(got)["outcome"] == "OUTCOME_FAILED"


@BOTH
def test_a_broken_stream_raises_in_the_sdk(client, upstream_process, model):
    upstream_process.script("cut", times=1)
    with pytest.raises(openai.APIError), client.responses.stream(model=model, input="Hello") as stream:
        list(stream)


def test_a_failed_response_is_a_failure(client, upstream_process):
    upstream_process.script("error_event", times=9)
    with pytest.raises(openai.InternalServerError):
        ask(client, model=PASSED)


@BOTH
@pytest.mark.parametrize("stream", [False, True])
def test_the_record_has_dialect_usage_and_cost_exactly(dac, upstream_process, model, stream):
    upstream_process.script(cached_tokens=7, times=1)
    got = post(dac, model=model, stream=stream)
    record = dac.record(got)
    assert record["dialect_in"] == record["dialect_out"] == "DIALECT_OPENAI_RESPONSES"
    assert record["outcome"] == "OUTCOME_OK" and record["attempts"][-1]["model"] == model
    usage = {name: int(value) for name, value in record["attempts"][-1]["usage"].items() if int(value)}
    assert usage == {"input_tokens": 1, "input_cached_tokens": 7, "output_tokens": 60}
    assert record["attempts"][-1]["usage_source"] == "USAGE_SOURCE_PROVIDER"
    input_price, output_price = {TRANSLATED: (150, 600), PASSED: (3000, 15000)}[model]
    assert int(record["cost_nano_usd"]) == 8 * input_price + 60 * output_price
    told = events_of(got.text)[-1]["response"]["usage"] if stream else got.json()["usage"]
    assert (told["input_tokens"], told["input_tokens_details"]["cached_tokens"], told["output_tokens"]) == (8, 7, 60)


@BOTH
def test_a_caller_that_leaves_is_charged_for_what_came(dac, upstream_process, model):
    upstream_process.script("ok", token_delay_s=0.1, times=1)
    body = {"model": model, "input": "Hello", "stream": True}
    with httpx.stream("POST", dac.url + "/v1/responses", json=body, headers=dac.headers, timeout=30) as left:
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


@BOTH
def test_a_budget_lowers_the_limit(dac, upstream_process, model):
    made = httpx.post(f"{dac.url}/v1/keys", headers=dac.headers, json={"name": f"poor {model}"}).json()
    level = {"kind": "KIND_KEY", "id": made["key"]["key_id"]}
    body = {"level": level, "window": "WINDOW_DAY", "limit_nano_usd": "1000000"}
    assert httpx.put(f"{dac.url}/v1/budgets", headers=dac.headers, json=body).status_code == 200
    poor = openai.OpenAI(base_url=f"{dac.url}/v1", api_key=made["token"], max_retries=0)
    ask(poor, model=model, max_output_tokens=1_000_000)
    sent = upstream_process.requests()[-1]["body"]
    assert 0 < (sent.get("max_output_tokens") or sent["max_tokens"]) < 2_000


def test_what_a_provider_stores_is_reserved_as_the_whole_context(dac, upstream_process):
    """Nobody here knows how long that conversation is: a budget that cannot pay for the window refuses."""
    made = httpx.post(f"{dac.url}/v1/keys", headers=dac.headers, json={"name": "small"}).json()
    level = {"kind": "KIND_KEY", "id": made["key"]["key_id"]}
    body = {"level": level, "window": "WINDOW_DAY", "limit_nano_usd": "500000000"}
    assert httpx.put(f"{dac.url}/v1/budgets", headers=dac.headers, json=body).status_code == 200
    small = openai.OpenAI(base_url=f"{dac.url}/v1", api_key=made["token"], max_retries=0)
    assert ask(small, model=PASSED).output_text
    with pytest.raises(openai.RateLimitError):
        ask(small, model=PASSED, previous_response_id="resp_1")


@pytest.mark.parametrize("profile", ["auto", "auto:quality", "auto:budget"])
def test_profiles_answer(client, profile):
    raw = client.responses.with_raw_response.create(model=profile, input="Hello")
    assert raw.parse().output_text and raw.headers["x-dac-model"] and raw.headers["x-dac-route"]


def test_a_fallback_may_speak_another_dialect(client, upstream_process):
    raw = client.responses.with_raw_response.create(model="auto:quality", input="Hello")
    first = raw.headers["x-dac-model"]
    upstream_process.script("503", model=first.split("/")[1])
    again = client.responses.with_raw_response.create(model="auto:quality", input="Hello")
    assert again.parse().output_text == raw.parse().output_text and again.headers["x-dac-model"] != first


def test_other_methods_are_refused(dac):
    got = httpx.get(dac.url + "/v1/responses", headers=dac.headers)
    assert got.status_code == 405 and got.headers["allow"] == "POST, OPTIONS" and got.json()["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_gemini_models_answer_anthropics_sdk(dac, stream):
    """Any chat is translated for callers of /v1/messages, too."""
    client = anthropic.Anthropic(base_url=dac.url, api_key=dac.key, max_retries=0)
    tool = {"name": "weather", "input_schema": TOOL["parameters"]}
    fields = {"model": GEMINI, "max_tokens": 1000, "messages": [{"role": "user", "content": "Ulm"}]}

    def answer(**more):
        if not stream:
            return client.messages.create(**fields, **more)
        with client.messages.stream(**fields, **more) as going:
            return going.get_final_message()

    said = answer()
    assert said.content[0].text.startswith("one two") and said.stop_reason == "end_turn"
    assert said.usage.input_tokens > 0 and said.usage.output_tokens == 60
    called = answer(tools=[tool])
    assert called.stop_reason == "tool_use" and called.content[-1].input == {"city": "Ulm"}


def test_the_ledger_verifies_afterwards(dac):
    """Last in this file: everything above was charged, and the sums hold."""
    verified = httpx.get(f"{dac.url}/v1/budgets:verify", headers=dac.operator_headers, timeout=30).json()
    assert verified["differences"] == []
