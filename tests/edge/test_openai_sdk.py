"""The official openai SDK works with only base_url and api_key changed."""

import json

import openai
import pytest

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture(scope="session")
def client(dac):
    return openai.OpenAI(base_url=f"{dac.url}/v1", api_key=dac.key, max_retries=0)


def ask(client, **fields):
    body = {"model": "mock/gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}], **fields}
    return client.chat.completions.create(**body)


def test_chat(client):
    answer = ask(client)
    assert answer.choices[0].message.content and answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer._request_id


def test_stream_is_the_whole_answer(client):
    whole = ask(client).choices[0].message.content
    chunks = list(ask(client, stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)


def test_stream_usage_comes_when_asked_for(client):
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens > 0
    assert sum(chunk.usage is not None for chunk in chunks) == 1


def test_stream_cost_comes_when_asked_for(client):
    options = {"include_usage": True, "include_dac": True}
    chunks = list(ask(client, stream=True, stream_options=options))
    own = chunks[-1].model_extra["dac"]
    usage = chunks[-1].usage
    nano = usage.prompt_tokens * 150 + usage.completion_tokens * 600
    assert own["model"] == "mock/gpt-4o-mini" and round(float(own["cost_usd"]) * 1e9) == nano


@pytest.mark.parametrize(
    "model", ["auto", "auto:quality", "auto:balanced", "auto:speed", "auto:budget", "auto:long_context"]
)
def test_every_profile_answers(client, model):
    raw = client.chat.completions.with_raw_response.create(model=model, messages=[{"role": "user", "content": "Hi"}])
    assert raw.parse().choices[0].message.content
    assert not raw.headers["x-dac-model"].startswith("local/") and raw.headers["x-dac-route"]


def test_tools_pass_through(client):
    answer = ask(client, tools=[TOOL], tool_choice="required")
    call = answer.choices[0].message.tool_calls[0]
    assert call.function.name == "weather" and isinstance(json.loads(call.function.arguments), dict)
    assert answer.choices[0].finish_reason == "tool_calls"


def test_streamed_tools_pass_through(client):
    chunks = list(ask(client, tools=[TOOL], tool_choice="required", stream=True))
    parts = [c.choices[0].delta.tool_calls[0] for c in chunks if c.choices and c.choices[0].delta.tool_calls]
    assert parts[0].function.name == "weather"
    assert isinstance(json.loads("".join(part.function.arguments or "" for part in parts)), dict)


def test_images_and_json_pass_through(client, dac, upstream_process):
    content = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
    ]
    ask(client, messages=[{"role": "user", "content": content}], response_format={"type": "json_object"})
    sent = upstream_process.requests()[-1]["body"]
    assert sent["messages"][0]["content"] == content and sent["response_format"] == {"type": "json_object"}


def test_unknown_fields_reach_the_provider_untouched(client, upstream_process):
    ask(client, extra_body={"web_search_options": {"deep": [1, 2.50, "ü"], "new": None}}, seed=7)
    raw = upstream_process.requests()[-1]["raw"]
    assert '"web_search_options":{"deep":[1,2.5,"ü"],"new":null}' in raw.replace("\\u00fc", "ü")


def test_anthropic_models_answer_in_openais_form(client):
    answer = ask(client, model="claude/sonnet")
    assert answer.choices[0].message.content and answer.usage.prompt_tokens > 0
    chunks = list(ask(client, model="claude/sonnet", stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == answer.choices[0].message.content


def test_models(client):
    ids = [model.id for model in client.models.list()]
    assert "mock/gpt-4o-mini" in ids
    assert client.models.retrieve("mock/gpt-4o-mini").owned_by == "mock"


@pytest.mark.parametrize("name", ["auto", "auto:speed"])
def test_what_chooses_a_model_is_none_and_says_so(client, name):
    with pytest.raises(openai.NotFoundError) as refused:
        client.models.retrieve(name)
    assert refused.value.code == "model_not_found"
    assert f'"{name}" is no model but chooses one' in refused.value.message


def test_errors_are_the_sdks_classes(client, dac):
    with pytest.raises(openai.NotFoundError) as unknown:
        ask(client, model="mock/gpt-4o-minni")
    assert "mock/gpt-4o-mini" in unknown.value.message and unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError):
        ask(client, messages=[])
    stranger = openai.OpenAI(base_url=f"{dac.url}/v1", api_key="dac_live_abcdefghijkl_" + "x7" * 20, max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        ask(stranger)


def test_a_provider_that_fails_once_is_not_noticed(client, upstream_process):
    upstream_process.script("500", times=1)
    assert ask(client).choices[0].message.content


def test_a_cut_stream_raises(client, upstream_process):
    upstream_process.script("cut")
    with pytest.raises(openai.APIError):
        list(ask(client, stream=True))


def test_the_sdk_does_not_retry_an_empty_budget(client, dac):
    import httpx

    made = httpx.post(f"{dac.url}/v1/keys", headers=dac.headers, json={"name": "poor"}).json()
    level = {"kind": "KIND_KEY", "id": made["key"]["key_id"]}
    body = {"level": level, "window": "WINDOW_DAY", "limit_nano_usd": "10"}
    assert httpx.put(f"{dac.url}/v1/budgets", headers=dac.headers, json=body).status_code == 200
    poor = openai.OpenAI(base_url=f"{dac.url}/v1", api_key=made["token"])
    with pytest.raises(openai.RateLimitError) as refused:
        ask(poor)
    assert refused.value.code == "insufficient_quota"
    assert refused.value.response.headers["x-should-retry"] == "false"
