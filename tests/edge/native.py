"""A `dac up` in front of one provider of a kind of its own, and what is asked of every kind."""

import json
from collections.abc import Iterator

import httpx
import openai

from tests.edge.conftest import Dac, UpstreamProcess, make_dac

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name"],
}
MODEL = """  - {{id: {kind}/model, provider: {kind}, name: {name}, context_tokens: 100000, quality: 0.2,
     capabilities: [tools, json, images], price: {{input_usd_per_mtok: "1.25", input_cached_usd_per_mtok: "0.125",
     cache_write_usd_per_mtok: "2", output_usd_per_mtok: "10", reasoning_usd_per_mtok: "11"}}}}
  - {{id: {kind}/embed, provider: {kind}, name: {embed}, context_tokens: 8192, capabilities: [embeddings],
     price: {{input_usd_per_mtok: "0.02", output_usd_per_mtok: "0"}}}}"""


def running(tmp_path_factory, upstream: UpstreamProcess, kind: str, provider: str, **more) -> Iterator[Dac]:
    """A `dac up` of its own, ended with an exit code of 0. `provider`: the entry under `providers:`."""
    names = {"name": "m-1", "embed": "e-1", **more}
    env = names.pop("env", {})
    made = make_dac(tmp_path_factory.mktemp("dac"), upstream, more=MODEL.format(kind=kind, **names))
    made.env.update(env)
    shared = made.config.read_text()
    entry = f"providers:\n  {kind}: {provider.replace('ORIGIN', upstream.origin)}"
    made.config.write_text(shared.replace("providers:", entry, 1))
    made.start()
    yield made
    assert made.stop() == 0, made.log()


def ask(dac: Dac, kind: str, **fields):
    """A chat through the official openai SDK."""
    client = openai.OpenAI(base_url=f"{dac.url}/v1", api_key=dac.key, max_retries=0)
    body = {"model": f"{kind}/model", "messages": [{"role": "user", "content": "Hello"}], **fields}
    return client.chat.completions.create(**body)


def said(chunks) -> str:
    """The text of a stream."""
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


def call_of(dac: Dac, kind: str, *, stream: bool, **fields):
    """The tool call of an answer; its end is checked."""
    if stream:
        chunks = list(ask(dac, kind, tools=[TOOL], stream=True, **fields))
        pieces = [one for c in chunks if c.choices for one in c.choices[0].delta.tool_calls or []]
        arguments = "".join(piece.function.arguments or "" for piece in pieces)
        first = pieces[0]
        assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "tool_calls"
        return first.id, first.function.name, json.loads(arguments)
    choice = ask(dac, kind, tools=[TOOL], **fields).choices[0]
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls
    return call.id, call.function.name, json.loads(call.function.arguments)


def answered(dac: Dac, kind: str, call_id: str) -> str:
    """What a model says to a tool's result."""
    function = {"name": "weather", "arguments": '{"city":"Hello"}'}
    messages = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "tool_calls": [{"id": call_id, "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": call_id, "content": "sunny"},
    ]
    return ask(dac, kind, messages=messages, tools=[TOOL]).choices[0].message.content


def counted(dac: Dac, kind: str, *, stream: bool) -> tuple[dict[str, int], int]:
    """(the buckets on the record, the cost in nano-USD) of one request that the provider counted."""
    options = {"include_usage": True} if stream else None
    response = dac.chat(model=f"{kind}/model", stream=stream, stream_options=options)
    assert response.status_code == 200, response.text
    record = dac.record(response)
    (attempt,) = record["attempts"]
    assert attempt["usage_source"] == "USAGE_SOURCE_PROVIDER"
    usage = {name.removesuffix("_tokens"): int(count) for name, count in attempt["usage"].items()}
    return usage, int(record["cost_nano_usd"])


def in_anthropics_words(dac: Dac, kind: str, *, stream: bool, model: str = "") -> httpx.Response:
    """The same model for a caller of /v1/messages."""
    body = {"model": model or f"{kind}/model", "max_tokens": 100, "stream": stream}
    body["messages"] = [{"role": "user", "content": "Hello"}]
    return httpx.post(dac.url + "/v1/messages", json=body, headers=dac.headers, timeout=30)
