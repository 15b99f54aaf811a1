"""Embeddings through a real `dac up`: the official SDK, what is refused, what it costs, and what is left on record."""

import base64
import struct
import time

import httpx
import openai
import pytest

from tests.edge.conftest import make_dac
from tests.edge.test_cli import run
from tests.upstream.embeddings import vector

MODEL = "mock/embed"
RATE = 20
"""What mock/embed costs: nano-USD a token."""


@pytest.fixture(scope="session")
def client(dac):
    return openai.OpenAI(base_url=f"{dac.url}/v1", api_key=dac.key, max_retries=0)


def embed(dac, key="", **fields):
    headers = {"authorization": f"Bearer {key or dac.key}"}
    body = {"model": MODEL, "input": "one two three", **fields}
    return httpx.post(f"{dac.url}/v1/embeddings", json=body, headers=headers, timeout=30)


def vectors(answer):
    return [one.embedding for one in answer.data]


def test_the_sdk_gets_vectors_in_either_encoding(client, upstream_process):
    # The SDK asks for base64 of itself and decodes it.
    answer = client.embeddings.create(model=MODEL, input="hello there")
    assert upstream_process.requests()[-1]["body"]["encoding_format"] == "base64"
    plain = client.embeddings.create(model=MODEL, input="hello there", encoding_format="float")
    assert vectors(answer) == vectors(plain) == [vector("hello there", 8)]
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 2
    raw = client.embeddings.with_raw_response.create(model=MODEL, input="hello there", encoding_format="base64")
    coded = raw.http_response.json()["data"][0]["embedding"]
    assert list(struct.unpack("<8f", base64.b64decode(coded))) == vector("hello there", 8)


@pytest.mark.parametrize("given", [["a", "b c"], [1, 2, 3], [[1, 2], [3]]])
def test_every_form_of_input_passes_through(client, upstream_process, given):
    answer = client.embeddings.create(model=MODEL, input=given, dimensions=4, encoding_format="float")
    inputs = [given] if isinstance(given[0], int) else given
    assert vectors(answer) == [vector(one, 4) for one in inputs] and [one.index for one in answer.data] == [
        *range(len(inputs))
    ]
    sent = upstream_process.requests()[-1]
    assert sent["path"] == "/v1/embeddings"
    assert sent["body"] == {"model": "embed", "input": given, "dimensions": 4, "encoding_format": "float"}


def test_headers_record_and_ledger_say_the_same(dac):
    before = int(dac.get("/v1/budgets:verify").json()["ledger_rows"])
    answer = embed(dac, input=["one two three", "four"])
    assert answer.status_code == 200 and answer.headers["x-dac-model"] == MODEL
    assert "was named by the request" in answer.headers["x-dac-route"]
    assert round(float(answer.headers["x-dac-cost-usd"]) * 1e9) == 4 * RATE
    record = dac.record(answer)
    assert record["operation"] == "embeddings" and record["outcome"] == "OUTCOME_OK" and record["http_status"] == 200
    assert record["cost_nano_usd"] == str(4 * RATE) and record["asked_model"] == MODEL
    assert int(record["reserved_nano_usd"]) >= 4 * RATE
    assert {"route", "reserve", "embed"} <= set(record["stage_ms"])
    (attempt,) = record["attempts"]
    assert attempt["usage"]["input_tokens"] == "4" and attempt["usage_source"] == "USAGE_SOURCE_PROVIDER"
    assert {line["bucket"]: line["cost_nano_usd"] for line in attempt["price_lines"]}["input"] == str(4 * RATE)
    verified = dac.get("/v1/budgets:verify").json()
    assert verified["differences"] == [] and int(verified["ledger_rows"]) > before
    assert dac.record(dac.chat())["operation"] == "chat"


def test_usage_of_zero_costs_nothing_and_none_is_counted(dac, upstream_process):
    upstream_process.script("usage_zero", times=1)
    answer = embed(dac)
    assert answer.headers["x-dac-cost-usd"] == "0.0" and dac.record(answer)["cost_nano_usd"] == "0"
    upstream_process.script("usage_missing", times=1)
    record = dac.record(embed(dac, input="x" * 400))
    assert record["cost_nano_usd"] == str(100 * RATE)
    assert record["attempts"][0]["usage_source"] == "USAGE_SOURCE_COUNTED"


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"input": ""}, 400, "input"),
        ({"input": []}, 400, "input"),
        ({"input": None}, 400, "input"),
        ({"input": {"a": 1}}, 400, "input"),
        ({"input": ["a", ""]}, 400, "input[1]"),
        ({"input": ["a", 1]}, 400, "input"),
        ({"input": [1.5]}, 400, "input"),
        ({"model": ""}, 400, "model"),
        ({"model": "auto"}, 400, "model"),
        ({"model": "auto:quality"}, 400, "model"),
        ({"model": "mock/gpt-4o-mini"}, 400, "model"),
        ({"model": "mock/embedd"}, 404, None),
        ({"encoding_format": "hex"}, 400, "encoding_format"),
    ],
)
def test_what_is_wrong_is_named_and_recorded(dac, upstream_process, fields, status, param):
    answer = embed(dac, **fields)
    error = answer.json()["error"]
    assert answer.status_code == status and error["param"] == param, answer.text
    record = dac.record(answer)
    assert record["operation"] == "embeddings" and int(record["cost_nano_usd"]) == 0
    if param != "encoding_format":
        assert record["outcome"] == "OUTCOME_REFUSED" and not upstream_process.requests()


def test_a_chat_cannot_ask_an_embedding_model(dac):
    refused = dac.chat(model=MODEL)
    assert refused.status_code == 400 and "POST /v1/embeddings" in refused.json()["error"]["message"]
    assert MODEL in embed(dac, model="auto").json()["error"]["message"]
    found = dac.get("/v1/models?capability=embeddings").json()["data"]
    assert MODEL in [one["id"] for one in found]
    assert dac.chat(model="auto").headers["x-dac-model"] != MODEL


def test_models_of_anthropic_cannot_embed(dac, upstream_process):
    answer = embed(dac, model="claude/embed")
    assert answer.status_code == 400 and "claude/embed cannot embed" in answer.json()["error"]["message"]
    assert not upstream_process.requests() and dac.record(answer)["cost_nano_usd"] == "0"


@pytest.mark.parametrize(
    ("fault", "status", "code", "attempts"),
    [
        ("429", 429, "provider_rate_limited", 2),
        ("500", 502, "provider_failed", 2),
        ("garbage_body", 502, "provider_failed", 1),
        ("end_early", 502, "provider_failed", 1),
        ("401", 502, "provider_failed", 1),
        ("html", 502, "provider_failed", 1),
        ("context_length", 400, "context_length_exceeded", 1),
        ("hang", 504, "provider_timeout", 1),
    ],
)
def test_a_providers_failure_is_told_and_costs_nothing(dac, upstream_process, fault, status, code, attempts):
    upstream_process.script(fault)
    answer = embed(dac, model="quick/embed")
    assert answer.status_code == status and answer.json()["error"]["code"] == code, answer.text
    record = dac.record(answer)
    assert record["outcome"] == "OUTCOME_FAILED" and record["cost_nano_usd"] == "0"
    assert len(record["attempts"]) == attempts and not int(record["attempts"][-1]["usage"].get("input_tokens", 0))
    assert dac.get("/v1/budgets:verify").json()["differences"] == []


def test_a_failure_that_passes_is_not_noticed(dac, upstream_process):
    upstream_process.script("500", times=1)
    answer = embed(dac)
    assert answer.status_code == 200 and len(dac.record(answer)["attempts"]) == 2
    assert dac.record(answer)["cost_nano_usd"] == str(3 * RATE)


def make_key(dac, **fields):
    made = httpx.post(f"{dac.url}/v1/keys", headers=dac.headers, json={"name": "test", **fields})
    assert made.status_code == 200, made.text
    return made.json()


def limit(dac, made, nano):
    level = {"kind": "KIND_KEY", "id": made["key"]["key_id"]}
    body = {"level": level, "window": "WINDOW_DAY", "limit_nano_usd": str(nano)}
    assert httpx.put(f"{dac.url}/v1/budgets", headers=dac.headers, json=body).status_code == 200


def test_a_budget_holds_for_embeddings(dac, upstream_process):
    made = make_key(dac)
    # The bound of "one two three" is 13 bytes and 2 marks: 300 nano-USD; the charge is 60.
    limit(dac, made, 350)
    assert embed(dac, made["token"]).status_code == 200
    end = time.monotonic() + 5
    while (last := embed(dac, made["token"], input="x" * 15)).status_code == 200:
        assert time.monotonic() < end
    assert last.status_code == 429 and last.json()["error"]["code"] == "insufficient_quota"
    assert last.headers["x-should-retry"] == "false"
    asked = len(upstream_process.requests())
    poor = openai.OpenAI(base_url=f"{dac.url}/v1", api_key=made["token"])
    with pytest.raises(openai.RateLimitError):
        poor.embeddings.create(model=MODEL, input="x" * 4000)
    assert len(upstream_process.requests()) == asked
    assert dac.get("/v1/budgets:verify").json()["differences"] == []


def test_an_unknown_price_is_refused_under_a_budget_only(dac):
    made = make_key(dac)
    free = embed(dac, made["token"], model="mock/embed-unpriced")
    assert free.status_code == 200 and "x-dac-cost-usd" not in free.headers
    limit(dac, made, 10**9)
    refused = embed(dac, made["token"], model="mock/embed-unpriced")
    assert refused.status_code == 400 and refused.json()["error"]["code"] == "price_unknown"


def test_keys_are_held_to_scope_models_and_revocation(dac):
    assert embed(dac, make_key(dac, scopes=["read"])["token"]).status_code == 403
    fenced = make_key(dac, scopes=["chat"], models=["second/*"])
    assert embed(dac, fenced["token"]).status_code == 403
    assert embed(dac, "dac_live_abcdefghijkl_" + "x7" * 20).status_code == 401
    made = make_key(dac)
    assert embed(dac, made["token"]).status_code == 200
    assert httpx.delete(f"{dac.url}/v1/keys/{made['key']['key_id']}", headers=dac.headers).status_code == 200
    end = time.monotonic() + 1.0
    while embed(dac, made["token"]).status_code != 401:
        assert time.monotonic() < end


def test_a_client_that_leaves_is_charged_for_its_input(dac, upstream_process):
    upstream_process.script("hang", times=1)
    mine = f"left-{time.time_ns()}"
    headers = {**dac.headers, "x-request-id": mine}
    with pytest.raises(httpx.ReadTimeout):
        body = {"model": MODEL, "input": "x" * 400}
        httpx.post(f"{dac.url}/v1/embeddings", json=body, headers=headers, timeout=1.0)
    end, found = time.monotonic() + 5, []
    while not found:
        assert time.monotonic() < end
        listed = dac.get("/v1/requests").json()["requests"]
        found = [one for one in listed if one["client_request_id"] == mine]
        time.sleep(0.02)
    (record,) = found
    assert record["outcome"] == "OUTCOME_CLIENT_GONE" and record["cost_nano_usd"] == str(100 * RATE)
    assert upstream_process.requests()[0]["disconnected_s"] is not None
    assert dac.get("/v1/budgets:verify").json()["differences"] == []


def test_limits_of_a_body_are_a_chats(dac):
    assert httpx.get(f"{dac.url}/v1/embeddings", headers=dac.headers).status_code == 405
    deep = b'{"model":"mock/embed","input":' + b"[" * 100 + b"]" * 100 + b"}"
    refused = httpx.post(f"{dac.url}/v1/embeddings", content=deep, headers=dac.headers)
    assert refused.status_code == 400 and "levels deep" in refused.json()["error"]["message"]
    large = b'{"model":"mock/embed","input":"' + b"x" * (17 << 20) + b'"}'
    refused = httpx.post(f"{dac.url}/v1/embeddings", content=large, headers=dac.headers, timeout=30)
    assert refused.status_code == 413
    assert embed(dac, input=["lorem ipsum " * 20] * 2000).status_code == 200


def test_metrics_count_embeddings_apart_from_chats(dac):
    embed(dac)
    page = dac.get("/metrics").text
    assert f'embeddings_total{{model="{MODEL}",outcome="ok"}}' in page
    assert f'chat_completions_total{{model="{MODEL}"' not in page
    assert 'http_requests_total{method="POST",route="/v1/embeddings",status="200"}' in page


def test_the_command_tells_embeddings_from_chats(dac):
    request_id = embed(dac).headers["x-dac-request-id"]
    end = time.monotonic() + 5
    while (story := run(dac, "explain", request_id)).returncode != 0:
        assert time.monotonic() < end, story.stderr
    assert f"asked      {MODEL}, embeddings" in story.stdout and "embed " in story.stdout
    assert f"{MODEL} (embeddings)" in run(dac, "logs").stdout


@pytest.fixture(scope="module")
def split(tmp_path_factory, upstream_process):
    running = make_dac(tmp_path_factory.mktemp("split"), upstream_process, "--split")
    running.start()
    yield running
    assert running.stop() == 0, running.log()


def test_services_in_processes_of_their_own_embed_alike(split, upstream_process):
    answer = embed(split, input=["lorem ipsum " * 20] * 2000, dimensions=100)
    assert answer.status_code == 200 and len(answer.content) > 4 << 20, answer.text[:300]
    assert split.record(answer)["cost_nano_usd"] == str(2000 * 40 * RATE)
    upstream_process.clear()
    upstream_process.script("429", retry_after="60", times=1)
    refused = embed(split)
    assert refused.status_code == 429 and refused.headers["retry-after"] == "60"
    assert len(split.record(refused)["attempts"]) == 1
    upstream_process.clear()
    upstream_process.script("hang", times=1)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{split.url}/v1/embeddings", json={"model": MODEL, "input": "a"}, headers=split.headers, timeout=1.0
        )
    end = time.monotonic() + 5
    while upstream_process.requests()[0]["disconnected_s"] is None:
        assert time.monotonic() < end, "the provider was not stopped"
        time.sleep(0.02)
    while (verified := split.get("/v1/budgets:verify").json())["differences"]:
        assert time.monotonic() < end, verified
