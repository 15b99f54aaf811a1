"""Perplexity and Mistral behind the official openai and anthropic SDKs: sources, thinking, tools, errors, costs."""

import json

import anthropic
import openai
import pytest

from tests.edge.conftest import make_dac
from tests.upstream.dialects import SOURCES

TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
PROVIDERS = """providers:
  perplexity: {{base_url: "{origin}/perplexity", api_key: {{env: MOCK_API_KEY}}, allow_private_address: true}}
  european: {{base_url: "{origin}/mistral/v1", dialect: mistral, api_key: {{env: MOCK_API_KEY}},
     allow_private_address: true}}"""
PRICE = 'price: {input_usd_per_mtok: "1", input_cached_usd_per_mtok: "0.1", output_usd_per_mtok: "10"}'
MODELS = f"""  - {{id: perplexity/sonar, provider: perplexity, name: sonar, context_tokens: 100000, quality: 0.2,
     {PRICE}}}
  - {{id: european/large, provider: european, name: large, context_tokens: 100000, quality: 0.2,
     capabilities: [tools, json], {PRICE}}}"""


@pytest.fixture(scope="module")
def dac(tmp_path_factory, upstream_process):
    """A `dac up` of its own: the shared configuration is read by older programs, too."""
    running = make_dac(tmp_path_factory.mktemp("dac"), upstream_process, more=MODELS)
    shared = running.config.read_text()
    running.config.write_text(shared.replace("providers:", PROVIDERS.format(origin=upstream_process.origin), 1))
    running.start()
    yield running
    assert running.stop() == 0, running.log()


@pytest.fixture(scope="module")
def client(dac):
    return openai.OpenAI(base_url=f"{dac.url}/v1", api_key=dac.key, max_retries=0)


def ask(client, model, **fields):
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], **fields}
    return client.chat.completions.create(**body)


def test_perplexitys_sources_are_in_a_whole_answer(client, upstream_process):
    own = {"search_domain_filter": ["example.org"], "web_search_options": {"search_context_size": "low"}}
    answer = ask(client, "perplexity/sonar", max_completion_tokens=50, extra_body=own)
    assert answer.choices[0].message.content == "It is so.[1]"
    assert {name: answer.model_extra[name] for name in SOURCES} == SOURCES
    sent = upstream_process.requests()[-1]["body"]
    assert sent["max_tokens"] == 50 and {name: sent[name] for name in own} == own


@pytest.mark.parametrize("more", [{}, {"stream_options": {"include_usage": True}}])
def test_perplexitys_sources_come_with_the_last_chunk_of_a_stream(client, more):
    chunks = list(ask(client, "perplexity/sonar", stream=True, **more))
    assert "".join(c.choices[0].delta.content for c in chunks if c.choices) == "It is so.[1]"
    assert [one.model_extra for one in chunks if one.model_extra.get("citations")][-1].items() >= SOURCES.items()


@pytest.mark.parametrize(("model", "cached"), [("perplexity/sonar", 0), ("european/large", 10)])
@pytest.mark.parametrize("stream", [False, True])
def test_usage_and_cost_are_on_the_record(dac, model, cached, stream):
    response = dac.chat(model=model, stream=stream)
    assert response.status_code == 200, response.text
    record = dac.record(response)
    (attempt,) = record["attempts"]
    counted = {name.removesuffix("_tokens"): int(count) for name, count in attempt["usage"].items()}
    assert (counted["input"], counted["input_cached"], counted["output"]) == (30 - cached, cached, 5)
    assert int(record["cost_nano_usd"]) == (30 - cached) * 1000 + cached * 100 + 5 * 10_000
    assert attempt["usage_source"] == "USAGE_SOURCE_PROVIDER"


def test_perplexity_is_not_asked_for_tools(client):
    with pytest.raises(openai.BadRequestError, match="tools: perplexity has no such thing"):
        ask(client, "perplexity/sonar", tools=[TOOL])


def test_mistrals_thinking_is_beside_the_text(client):
    message = ask(client, "european/large").choices[0].message
    assert message.content == "Bonjour !" and message.model_extra["reasoning_content"] == "Let me see."
    deltas = [chunk.choices[0].delta for chunk in ask(client, "european/large", stream=True) if chunk.choices]
    assert "".join(delta.content for delta in deltas) == "Bonjour !"
    assert "".join((delta.model_extra or {}).get("reasoning_content", "") for delta in deltas) == "Let me see."


@pytest.mark.parametrize("stream", [False, True])
def test_what_mistral_would_refuse_is_said_in_its_words(client, stream):
    call = {"id": "call_0123456789abcdef", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Hello", "name": "ann"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": "grey"},
        {"role": "assistant", "content": "Grey.", "refusal": None},
        {"role": "user", "content": "And now?"},
    ]
    told = {"seed": 5, "user": "u", "max_completion_tokens": 50, "tools": [TOOL], "tool_choice": "required"}
    answer = ask(client, "european/large", messages=messages, stream=stream, **told)
    if stream:
        choice = next(chunk.choices[0] for chunk in answer if chunk.choices)
        calls = choice.delta.tool_calls
    else:
        choice = answer.choices[0]
        calls = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls" and calls[0].function.name == "weather"
    assert calls[0].type == "function" and len(calls[0].id) == 9


def test_mistrals_own_end_is_openais(client):
    assert ask(client, "european/large", max_tokens=1).choices[0].finish_reason == "length"


def test_mistrals_words_about_a_wrong_field_reach_the_caller(client):
    with pytest.raises(openai.UnprocessableEntityError, match=r"body\.temperature: Input should be at most 1.5"):
        ask(client, "european/large", temperature=1.9)


@pytest.mark.parametrize("stream", [False, True])
def test_anthropics_callers_reach_them_too(dac, stream):
    client = anthropic.Anthropic(base_url=dac.url, api_key=dac.key, max_retries=0)
    told = {"model": "european/large", "max_tokens": 50, "messages": [{"role": "user", "content": "Hello"}]}
    if stream:
        with client.messages.stream(**told) as events:
            message = events.get_final_message()
    else:
        message = client.messages.create(**told)
    assert [block.text for block in message.content] == ["Bonjour !"]
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens) == (20, 10), json.dumps(told)
