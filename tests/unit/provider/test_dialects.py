"""The table of dialects: whose a provider is, what its requests leave out or refuse, and how its tokens are read."""

import json
from typing import Any

import pytest

from mesh.catalog import parse_catalog, parse_provider
from mesh.config import ConfigError
from mesh.errors import Reason
from mesh.known_providers import DIALECTS, KNOWN
from services.provider.adapters.dialects import PLAIN, TABLE, dialect_of, key_headers
from services.provider.adapters.openai import OpenAIExchange
from services.provider.adapters.usage import usage_of
from services.provider.calling.events import Ask, Candidate, Operation, Usage
from services.provider.errors import ProviderFault, openai_error, refused_status
from services.provider.kinds import MENDED, Account, exchange_of, prefill_of

HI = [{"role": "user", "content": "hi"}]
BOTH = {"max_tokens", "max_completion_tokens"}


def account(dialect: str, **more: Any) -> Account:
    return Account("p", "openai", "key", said_dialect=dialect, **more)


def sent(dialect: str, body: dict[str, Any] | None = None, *, cap: int = 0, stream: bool = False) -> dict[str, Any]:
    ask = Ask(json.dumps({"messages": HI, **(body or {})}).encode(), [], stream=stream)
    made = exchange_of(ask, Candidate("m", "p", "up", cap), account(dialect))
    decoded: dict[str, Any] = json.loads(made.outgoing().body)
    return decoded


def test_both_tables_have_the_same_names() -> None:
    assert set(DIALECTS) == set(TABLE) and set(MENDED) <= set(TABLE)


def test_every_known_provider_of_openais_kind_has_a_dialect() -> None:
    known = {name for name, one in KNOWN.items() if one.kind == "openai"}
    assert known - {"ollama"} <= set(TABLE)
    for name in known - {"ollama", "azure"}:
        host = KNOWN[name].base_url.split("/")[2]
        assert dialect_of("another-name", host).name == name


@pytest.mark.parametrize(
    ("provider", "host", "said", "name"),
    [
        ("mine", "llm.example.com", "", "plain"),
        ("groq", "llm.example.com", "", "groq"),
        ("groq", "api.mistral.ai", "", "mistral"),
        ("groq", "api.mistral.ai", "plain", "plain"),
        ("mine", "me.openai.azure.com", "", "azure"),
        ("mine", "openai.azure.com", "", "plain"),
        ("mine", "evil-api.mistral.ai.example.com", "", "plain"),
        ("vllm", "10.0.0.7", "", "vllm"),
    ],
)
def test_whose_dialect_it_is(provider: str, host: str, said: str, name: str) -> None:
    assert dialect_of(provider, host, said).name == name


def test_the_operator_may_say_it() -> None:
    raw = {"base_url": "http://10.0.0.7/v1", "dialect": "vllm"}
    assert parse_provider("mine", raw, {}).dialect == "vllm"
    with pytest.raises(ConfigError, match="dialect"):
        parse_provider("mine", {**raw, "dialect": "klingon"}, {})
    with pytest.raises(ConfigError, match="dialect"):
        parse_provider("anthropic", {"dialect": "vllm"}, {})


@pytest.mark.parametrize("root", ["https://me.openai.azure.com/", "https://me.openai.azure.com/openai/v1"])
def test_azures_address_comes_from_the_environment(root: str) -> None:
    env = {"AZURE_OPENAI_API_KEY": "k", "AZURE_OPENAI_ENDPOINT": root}
    (azure,) = [one for one in parse_catalog({}, {}, env)[0] if one.provider == "azure"]
    assert azure.base_url == "https://me.openai.azure.com/openai/v1"
    env.pop("AZURE_OPENAI_ENDPOINT")
    assert not [one for one in parse_catalog({}, {}, env)[0] if one.provider == "azure"]


@pytest.mark.parametrize("name", TABLE)
def test_a_simple_request_differs_only_by_the_models_name(name: str) -> None:
    body = {"temperature": 0.5, "stop": ["a"], "stream": False, "tool_choice": "auto"}
    body |= {} if "tools" in TABLE[name].refused else {"tools": [], "n": 1}
    made = sent(name, body)
    wanted = {"messages": HI, **body, "model": "up"}
    assert made == {key: value for key, value in wanted.items() if key not in TABLE[name].refused}


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("limit", sorted(BOTH))
def test_the_limit_has_a_name_that_is_known_there(name: str, limit: str) -> None:
    made = sent(name, {limit: 50})
    assert {key: made[key] for key in BOTH & made.keys()} == {
        limit if limit in TABLE[name].limits else TABLE[name].limits[0]: 50
    }
    made = sent(name, {limit: 50}, cap=20)
    assert [made[key] for key in BOTH & made.keys()] == [20]
    assert sent(name, cap=20)[TABLE[name].limits[0]] == 20


@pytest.mark.parametrize("pair", [(5, 9), (9, 5)])
def test_of_two_limits_the_smaller_one_stays(pair: tuple[int, int]) -> None:
    made = sent("mistral", {"max_tokens": pair[0], "max_completion_tokens": pair[1]})
    assert made["max_tokens"] == 5 and "max_completion_tokens" not in made
    assert sent("mistral", {"max_tokens": None, "max_completion_tokens": 7})["max_tokens"] == 7


@pytest.mark.parametrize("name", TABLE)
def test_a_stream_asks_for_usage_where_it_must(name: str) -> None:
    made = sent(name, {"stream": True, "stream_options": {"include_usage": False}}, stream=True)
    assert made.get("stream_options") == ({"include_usage": True} if TABLE[name].asks_usage else None)


LACKING: list[tuple[str, dict[str, Any]]] = [
    ("perplexity", {"tools": [{"type": "function", "function": {"name": "f"}}]}),
    ("perplexity", {"tool_choice": "required"}),
    ("perplexity", {"response_format": {"type": "json_object"}}),
    ("mistral", {"logit_bias": {"5": 1}}),
    ("mistral", {"modalities": ["text", "audio"]}),
    ("llama", {"response_format": {"type": "json_object"}}),
    ("deepseek", {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}}),
    ("deepseek", {"n": 2}),
    ("groq", {"logprobs": True}),
    ("groq", {"n": 3}),
]


@pytest.mark.parametrize(("name", "fields"), LACKING)
def test_what_a_dialect_lacks_is_refused_by_name(name: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ProviderFault, match=next(iter(fields))) as caught:
        sent(name, fields)
    assert caught.value.reason is Reason.INVALID_REQUEST and caught.value.fall_back


@pytest.mark.parametrize("harmless", [{"n": 1}, {"logprobs": False}, {"logit_bias": {}}, {"top_logprobs": None}])
def test_what_asks_for_nothing_is_left_out(harmless: dict[str, Any]) -> None:
    assert sent("groq", harmless) == sent("groq")


def test_hints_are_left_out_where_they_would_be_refused() -> None:
    hints = {"user": "u", "store": True, "safety_identifier": "s", "verbosity": "low", "service_tier": "flex"}
    assert sent("mistral", {**hints, "metadata": {"a": "b"}}) == {**sent("mistral"), "metadata": {"a": "b"}}
    assert sent("deepseek", {**hints, "seed": 5}) == sent("deepseek")
    assert sent("plain", hints) == {**sent("plain"), **hints}


def test_what_no_entry_names_passes() -> None:
    own = {
        "search_domain_filter": ["a.org"],
        "web_search_options": {"search_context_size": "low"},
        "return_images": True,
    }
    assert sent("perplexity", own) == {**sent("perplexity"), **own}
    assert sent("openrouter", {"models": ["a", "b"], "provider": {"order": ["x"]}})["provider"] == {"order": ["x"]}


def test_messages_lose_only_what_is_refused() -> None:
    messages = [
        {"role": "developer", "content": "brief"},
        {"role": "user", "name": "ann", "content": "hi", "more": 1},
        {"role": "assistant", "content": "so", "reasoning_content": "hm"},
        {"role": "user", "content": "on"},
    ]
    made = sent("groq", {"messages": messages})["messages"]
    assert made[0]["role"] == "developer" and made[1] == {"role": "user", "content": "hi", "more": 1}
    assert made[2] == {"role": "assistant", "content": "so"}
    made = sent("deepseek", {"messages": messages})["messages"]
    assert made == [{**messages[0], "role": "system"}, *messages[1:]]


def test_bytes_of_messages_stay_where_nothing_must_change() -> None:
    body = b'{"messages":[ {"role":"user", "content":"h\\u0069"} ],"x":1.0}'
    for name in TABLE:
        out = exchange_of(Ask(body, []), Candidate("m", "p", "up"), account(name)).outgoing().body
        assert out == body[:-1] + b',"model":"up"}'


def test_keys_are_sent_as_each_wants_them() -> None:
    assert key_headers(TABLE["azure"], "k") == {"api-key": "k"}
    assert key_headers(PLAIN, "k") == {"Authorization": "Bearer k"} and key_headers(PLAIN, "") == {}


TOTALS = {"prompt_tokens": 100, "completion_tokens": 40, "total_tokens": 140}
USAGES: list[tuple[str, dict[str, Any], Usage]] = [
    ("plain", {**TOTALS, "prompt_tokens_details": {"cached_tokens": 30}}, Usage(70, 30, 0, 40, 0)),
    ("plain", {**TOTALS, "completion_tokens_details": {"reasoning_tokens": 15}}, Usage(100, 0, 0, 25, 15)),
    ("deepseek", {**TOTALS, "prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 36}, Usage(36, 64, 0, 40, 0)),
    ("moonshot", {**TOTALS, "cached_tokens": 80}, Usage(20, 80, 0, 40, 0)),
    ("mistral", {**TOTALS, "num_cached_tokens": 10}, Usage(90, 10, 0, 40, 0)),
    ("mistral", {**TOTALS, "prompt_tokens_details": {"cached_tokens": 10}}, Usage(90, 10, 0, 40, 0)),
    (
        "openrouter",
        {**TOTALS, "cost": 0.01, "prompt_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 20}},
        Usage(70, 10, 20, 40, 0),
    ),
    (
        "xai",
        {
            "prompt_tokens": 12,
            "completion_tokens": 1,
            "total_tokens": 303,
            "prompt_tokens_details": {"cached_tokens": 11},
            "completion_tokens_details": {"reasoning_tokens": 290},
        },
        Usage(1, 11, 0, 1, 290),
    ),
    ("xai", {**TOTALS, "completion_tokens_details": {"reasoning_tokens": 15}}, Usage(100, 0, 0, 25, 15)),
    (
        "perplexity",
        {
            "prompt_tokens": 33,
            "completion_tokens": 7163,
            "total_tokens": 7196,
            "citation_tokens": 20016,
            "num_search_queries": 18,
            "reasoning_tokens": 73997,
        },
        Usage(33 + 20016, 0, 0, 7163, 73997),
    ),
    ("perplexity", TOTALS, Usage(100, 0, 0, 40, 0)),
]


@pytest.mark.parametrize(("name", "raw", "usage"), USAGES)
def test_tokens_end_in_disjoint_buckets(name: str, raw: dict[str, Any], usage: Usage) -> None:
    assert usage_of(raw, added=TABLE[name].adds_reasoning) == usage
    answer = {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "usage": raw}
    made = OpenAIExchange(Ask(b"{}", []), Candidate("m", "p", "u"), "p", "k", dialect=TABLE[name])
    made.plain(json.dumps(answer).encode())
    assert made.result(need_text=False).usage == usage


OWN_ERRORS: list[tuple[dict[str, Any], str, Any]] = [
    (
        {"object": "error", "message": "Tool call id", "type": "invalid_function_call", "param": None, "code": "3280"},
        "Tool call id",
        "3280",
    ),
    (
        {"detail": [{"loc": ["body", "seed"], "msg": "Extra"}, {"loc": ["body", "x"], "msg": "No"}]},
        "body.seed: Extra",
        None,
    ),
    (
        {"object": "error", "message": {"detail": [{"loc": ["body", "y"], "msg": "Extra"}]}, "type": "t", "code": None},
        "body.y: Extra",
        None,
    ),
    ({"error": "Model not supported by provider"}, "Model not supported", None),
    ({"code": "Client specified an invalid argument", "error": "bad"}, "bad", "Client specified an invalid argument"),
]


@pytest.mark.parametrize(("body", "message", "code"), OWN_ERRORS)
def test_own_forms_of_errors_become_openais(body: dict[str, Any], message: str, code: Any) -> None:
    made = json.loads(openai_error(json.dumps(body).encode()))["error"]
    assert made["message"].startswith(message) and made["code"] == code and made["type"]


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'{"error":{"message":"m"}}', b'{"x":1}', b"[" * 9999])
def test_other_error_bodies_stay(body: bytes) -> None:
    assert openai_error(body) == body


def test_a_400_about_the_key_is_dacs_and_one_about_the_models_words_is_the_models() -> None:
    xai = b'{"code":"Client specified an invalid argument","error":"Incorrect API key provided: x***y."}'
    fault = refused_status("xai", 400, {}, xai)
    assert fault.reason is Reason.PROVIDER_FAILED and "key" in fault.message
    fault = refused_status(
        "groq", 400, {}, b'{"error":{"code":"tool_use_failed","message":"m","failed_generation":"x"}}'
    )
    assert fault.reason is Reason.PROVIDER_FAILED and fault.fall_back and fault.retry
    azure = b'{"error":{"code":"content_filter","message":"m","status":400,"innererror":{"code":"ResponsibleAI"}}}'
    fault = refused_status("azure", 400, {}, azure)
    assert fault.reason is Reason.PROVIDER_REFUSED and "(content_filter)" in fault.message and fault.body == azure


@pytest.mark.parametrize(
    "said",
    [
        "This model's maximum prompt length is 131072 but the request contains 200000 tokens.",
        "Invalid request: Your request exceeded model token limit: 8192",
        "Prompt contains 40000 tokens, too large for model with 32768 maximum context length",
    ],
)
def test_too_long_is_known_by_each_ones_words(said: str) -> None:
    assert refused_status("p", 400, {}, json.dumps({"error": said}).encode()).reason is Reason.CONTEXT_TOO_LONG


def test_embeddings_where_they_are_offered() -> None:
    ask = Ask(b'{"input":"a","dimensions":8,"user":"u"}', [], operation=Operation.EMBEDDINGS)
    out = exchange_of(ask, Candidate("m", "p", "up"), account("mistral")).outgoing()
    assert json.loads(out.body) == {"input": "a", "output_dimension": 8, "model": "up"}
    out = exchange_of(ask, Candidate("m", "p", "up"), account("azure")).outgoing()
    assert out.headers["api-key"] == "key" and out.body == ask.input[:-1] + b',"model":"up"}'
    for name in ("perplexity", "groq", "deepseek", "xai", "moonshot", "llama", "huggingface"):
        with pytest.raises(ProviderFault, match="cannot embed"):
            exchange_of(ask, Candidate("m", "p", "up"), account(name))


@pytest.mark.parametrize(
    ("made", "model", "how"),
    [
        (account("mistral"), "m", "prefix"),
        (account("moonshot"), "m", "partial"),
        (account("deepseek"), "m", ""),
        (account("deepseek", base_url="https://api.deepseek.com/beta"), "m", "prefix"),
        (account("openrouter"), "m", "last_message"),
        (account("vllm"), "m", "prefix"),
        (account("llamacpp"), "m", "last_message"),
        (account("openai"), "m", ""),
        (account("plain"), "m", ""),
        (Account("anthropic", "anthropic"), "claude-3-5-haiku-20241022", "last_message"),
        (Account("anthropic", "anthropic"), "claude-sonnet-4-20250514", "last_message"),
        (Account("anthropic", "anthropic"), "claude-opus-4-5-20251101", "last_message"),
        (Account("anthropic", "anthropic"), "claude-opus-4-6", ""),
        (Account("anthropic", "anthropic"), "claude-sonnet-5", ""),
        (Account("anthropic", "anthropic"), "claude-haiku-5-5", ""),
        (Account("anthropic", "anthropic"), "claude-fable-5-1", ""),
        (Account("anthropic", "anthropic"), "anthropic.claude-haiku-4-5-20251001-v1:0", "last_message"),
        (Account("anthropic", "anthropic"), "something", ""),
        (Account("google", "gemini"), "gemini-3", ""),
        (Account("anthropic", "anthropic"), "", ""),
        (Account("local", "local"), "smollm2", "last_message"),
    ],
)
def test_how_a_begun_answer_is_gone_on_with(made: Account, model: str, how: str) -> None:
    assert prefill_of(made, model) == how


def test_vllm_is_told_in_its_own_words_to_go_on() -> None:
    begun = {"role": "assistant", "content": "Well", "prefix": True}
    made = sent("vllm", {"messages": [*HI, begun]})
    assert made["messages"] == [*HI, {"role": "assistant", "content": "Well"}]
    assert made["continue_final_message"] is True and made["add_generation_prompt"] is False
    assert sent("plain", {"messages": [*HI, begun]})["messages"] == [*HI, begun]
    assert "continue_final_message" not in sent("vllm", {"messages": [*HI, {**begun, "prefix": False}]})


@pytest.mark.parametrize("odd", [True, -5, "9", 10**30, {}, None])
def test_parts_that_are_no_counts_are_none(odd: Any) -> None:
    raw = {**TOTALS, "cached_tokens": odd, "citation_tokens": odd, "prompt_tokens_details": odd}
    raw["completion_tokens_details"] = {"reasoning_tokens": odd}
    assert usage_of(raw, added=True) == Usage(100, 0, 0, 40, 0)


def test_parts_beside_the_totals_can_make_them_absurd() -> None:
    assert usage_of({**TOTALS, "citation_tokens": 10**9}, added=True) is None
    assert usage_of({**TOTALS, "reasoning_tokens": 10**9}, added=True) is None
