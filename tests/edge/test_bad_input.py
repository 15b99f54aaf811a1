"""Every wrong body, header, key, model, size, depth, encoding: OpenAI's error shape, nothing sent, nothing charged."""

import concurrent.futures
import json
import threading
import time

import httpx
import pytest

GOOD = {"model": "mock/gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]}


def post(dac, body, **headers):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {**dac.headers, "content-type": "application/json", **headers}
    return httpx.post(f"{dac.url}/v1/chat/completions", content=content, headers=given, timeout=30)


WRONG = {
    "empty": (b"", "body"),
    "not json": (b"{model: auto}", "body"),
    "a list": (b"[]", "body"),
    "cut": (b'{"model": "auto"', "body"),
    "not utf-8": (b'{"model": "\xff\xfe"}', "body"),
    "no model": ({"messages": GOOD["messages"]}, "model"),
    "model is a number": ({**GOOD, "model": 5}, "model"),
    "no messages": ({"model": "auto"}, "messages"),
    "no message": ({**GOOD, "messages": []}, "messages"),
    "messages is text": ({**GOOD, "messages": "Hi"}, "messages"),
    "a message is text": ({**GOOD, "messages": ["Hi"]}, "messages[0]"),
    "no role": ({**GOOD, "messages": [{"content": "Hi"}]}, "messages[0]"),
    "wrong role": ({**GOOD, "messages": [{"role": "robot", "content": "Hi"}]}, "messages[0].role"),
    "no content": ({**GOOD, "messages": [{"role": "user"}]}, "messages[0].content"),
    "content is a number": ({**GOOD, "messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    "part without type": ({**GOOD, "messages": [{"role": "user", "content": [{}]}]}, "messages[0].content[0].type"),
    "tool without id": ({**GOOD, "messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
    "temperature": ({**GOOD, "temperature": 3}, "temperature"),
    "max_tokens": ({**GOOD, "max_tokens": 0}, "max_tokens"),
    "max_tokens is text": ({**GOOD, "max_tokens": "many"}, "max_tokens"),
    "n": ({**GOOD, "n": 0}, "n"),
    "stream is text": ({**GOOD, "stream": "yes"}, "stream"),
    "stream_options without stream": ({**GOOD, "stream_options": {"include_usage": True}}, "stream_options"),
    "tools is a mapping": ({**GOOD, "tools": {}}, "tools"),
    "a profile nobody has": ({**GOOD, "model": "auto:cheapest"}, None),
    "an endless role": ({**GOOD, "messages": [{"role": "r" * 100_000, "content": "x"}]}, "messages[0].role"),
    "a number nobody can compare": (
        b'{"model": "auto", "messages": [{"role": "user", "content": "Hi"}], "enable_cache": true, "seed": %s}'
        % (b"9" * 5000),
        "body",
    ),
    "more for a thread than is saved at once": (
        {**GOOD, "thread_id": "t", "messages": GOOD["messages"] * 10_001},
        "messages",
    ),
    "more than goes along with memories": (
        {**GOOD, "enable_memory": True, "messages": GOOD["messages"] * 10_001},
        "messages",
    ),
    "deep": (b'{"model": "auto", "messages": ' + b"[" * 100 + b"]" * 100 + b"}", "body"),
    "very deep": (b"[" * 200_000, "body"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_body_is_named(dac, upstream_process, name):
    body, param = WRONG[name]
    answer = post(dac, body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["type"] == "invalid_request_error"
    assert 10 < len(error["message"]) < 1000
    if param is not None:
        assert error["param"] == param
    assert answer.headers["x-request-id"] and answer.headers["content-type"] == "application/json"
    assert upstream_process.requests() == []


def test_too_large_is_413(dac):
    body = {**GOOD, "messages": [{"role": "user", "content": "x" * (10 * 1024 * 1024)}]}
    answer = post(dac, body)
    assert answer.status_code == 413 and "10 MiB" in answer.json()["error"]["message"]


def test_too_large_without_a_length_is_413(dac):
    def chunks():
        for _ in range(12):
            yield b"x" * 1024 * 1024

    answer = httpx.post(f"{dac.url}/v1/chat/completions", content=chunks(), headers=dac.headers, timeout=30)
    assert answer.status_code == 413


def test_compressed_bodies_are_refused(dac):
    answer = post(dac, b"\x1f\x8b", **{"content-encoding": "gzip"})
    assert answer.status_code == 400 and "gzip" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Basic abc",
        "Bearer sk-1234",
        "Bearer dac_live_short_x",
        "Bearer ' OR 1=1 --",
        "Bearer " + "a" * 5000,
    ],
)
def test_a_wrong_key_is_401(dac, authorization):
    headers = {"authorization": authorization} if authorization else {}
    answer = httpx.post(f"{dac.url}/v1/chat/completions", json=GOOD, headers=headers)
    assert answer.status_code == 401, answer.text
    error = answer.json()["error"]
    assert error["type"] == "authentication_error" and error["code"] == "invalid_api_key"
    assert len(authorization) < 12 or authorization[7:] not in answer.text


def test_an_unknown_model_says_the_nearest(dac):
    answer = post(dac, {**GOOD, "model": "mock/gpt4o-mini"})
    assert answer.status_code == 404 and "mock/gpt-4o-mini" in answer.json()["error"]["message"]


def test_a_known_model_without_a_provider_says_how_to_add_it(dac):
    answer = post(dac, {**GOOD, "model": "openai/gpt-4o-mini"})
    assert answer.status_code == 503 and "dac provider add openai" in answer.json()["error"]["message"]


def test_a_get_is_told_to_post(dac):
    answer = dac.get("/v1/chat/completions")
    assert answer.status_code == 405 and answer.headers["allow"].startswith("POST")
    assert "POST" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/v1/keys/", "/v1/models/", "//v1/keys/", "/console/"])
def test_no_redirect_sends_a_key_to_the_host_that_a_request_named(dac, path):
    headers = {**dac.headers, "host": "evil.example", "x-forwarded-proto": "https"}
    answer = httpx.get(dac.url + path, headers=headers, timeout=30)
    assert answer.status_code == 404 and "location" not in answer.headers, answer.headers


def test_an_unknown_path_points_to_the_docs(dac):
    answer = dac.get("/v1/nothing")
    assert answer.status_code == 404 and "/docs" in answer.json()["error"]["message"]


def test_the_clients_request_id_is_echoed_and_never_a_key(dac):
    first = post(dac, GOOD, **{"x-request-id": "mine-1"})
    second = post(dac, GOOD, **{"x-request-id": "mine-1"})
    assert first.headers["x-request-id"] == second.headers["x-request-id"] == "mine-1"
    assert first.headers["x-dac-request-id"] != second.headers["x-dac-request-id"]
    assert dac.record(first)["client_request_id"] == "mine-1"
    long = post(dac, GOOD, **{"x-request-id": "x" * 200})
    assert long.headers["x-request-id"] == long.headers["x-dac-request-id"]


def test_a_refused_request_is_recorded_and_costs_nothing(dac):
    answer = post(dac, {**GOOD, "temperature": 9})
    record = dac.record(answer)
    assert record["outcome"] == "OUTCOME_REFUSED" and record["cost_nano_usd"] == "0"
    assert record["reason"] == "ERROR_REASON_INVALID_REQUEST" and record["http_status"] == 400


def test_secure_headers_are_on_every_answer(dac):
    for answer in (post(dac, GOOD), post(dac, b""), dac.get("/health"), dac.get("/docs")):
        assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-request-id"]


def test_endless_headers_are_refused(dac):
    import socket

    host, port = dac.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(b"GET /live HTTP/1.1\r\nhost: x\r\nx-long: ")
        answer = b""
        try:
            for _ in range(64):
                client.sendall(b"a" * 65536)
            answer = client.recv(1000)
        except (BrokenPipeError, ConnectionResetError):
            pass
    assert answer == b"" or b" 431 " in answer
    assert dac.get("/live").status_code == 200


def test_a_nul_in_a_model_name_is_refused_and_audit_goes_on(dac):
    assert post(dac, {**GOOD, "model": "a\u0000b"}).status_code == 400
    assert dac.get("/v1/requests?model=%00").status_code == 400
    assert dac.record(post(dac, GOOD))["outcome"] == "OUTCOME_OK"


NULS = (
    ("GET", "/api/threads?model=a%00b", None),
    ("GET", "/api/threads?search=a%00b", None),
    ("GET", "/v1/memories/profile?user_id=a%00b", None),
    ("GET", "/v1/memories/summaries/a%00b", None),
    ("GET", "/v2/policies/a%00b/versions", None),
    ("DELETE", "/v2/policies/a%00b", None),
    ("POST", "/v2/cache/purge", {"user_id": "a\u0000b"}),
    ("POST", "/v2/learned:reset", {"model": "a\u0000b"}),
    ("POST", "/v1/memories/context", {"thread_id": "a\u0000b"}),
    ("POST", "/vector/collections", {"collection": "abc", "dimensions": 1, "embedder_id": "a\u0000b"}),
)


@pytest.mark.parametrize(("verb", "path", "body"), NULS)
def test_a_nul_is_the_callers_mistake_and_no_error_of_the_database(dac, verb, path, body):
    before = (dac.data_dir.parent / "dac.log").read_text().count("PostgreSQL refused")
    answer = httpx.request(verb, dac.url + path, json=body, headers=dac.headers, timeout=30)
    assert answer.status_code == 400 and answer.json()["error"]["type"] == "invalid_request_error", answer.text
    assert (dac.data_dir.parent / "dac.log").read_text().count("PostgreSQL refused") == before


ODD = (
    ("POST", "/api/threads/search", {"query": "a", "mode": 9999}, "mode"),
    ("GET", "/v2/analytics/dashboard?end_at=0001-01-01T00:00:00Z", None, "end_at"),
    ("POST", "/v2/policies:test", {"requests": [{"output_tokens": 2**63 - 1}]}, "requests.output_tokens"),
    ("GET", "/v1/models?min_context=99999999999999999999", None, "min_context"),
    ("GET", "/v1/models?max_price=-1e300", None, "max_price"),
    ("POST", "/v1/keys", {"name": "many", "models": ["mock/*"] * 201}, "models"),
    ("POST", "/v1/route", {"model": "auto", "prompt": "Hi", "allowed_models": ["mock/*"] * 1001}, "allowed_models"),
    ("POST", "/api/threads/search", {"query": "a", "tag": ["a"] * 101}, "tag"),
    ("POST", "/api/threads/batch", {"operations": [{"delete": {"thread_id": "a"}}] * 101}, "operations"),
    ("POST", "/vector/upsert", {"collection": "abc", "items": [{"id": "a"}] * 1001}, "items"),
)


@pytest.mark.parametrize(("verb", "path", "body", "field"), ODD)
def test_what_no_service_can_reckon_with_is_refused_by_name(dac, verb, path, body, field):
    answer = httpx.request(verb, dac.url + path, json=body, headers=dac.headers, timeout=30)
    assert answer.status_code == 400 and answer.json()["error"]["param"] == field, answer.text


def test_a_large_body_of_one_caller_holds_up_nobody_else(dac):
    body = b'{"memories": [' + b'{"text": "a few words"},' * 90_000 + b"{}]}"
    waits, ended = [], threading.Event()

    def look():
        with httpx.Client() as other:
            other.get(dac.url + "/live")
            while not ended.is_set():
                started = time.monotonic()
                other.get(dac.url + "/live", timeout=60)
                waits.append(time.monotonic() - started)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        looking, started = pool.submit(look), time.monotonic()
        answer = httpx.post(dac.url + "/v1/memories", content=body, headers=dac.headers, timeout=60)
        took = time.monotonic() - started
        ended.set()
        looking.result()
    assert answer.status_code == 400 and max(waits) < 0.4 * took, (took, max(waits))


def test_a_made_up_traceparent_is_ignored(dac):
    assert post(dac, GOOD, traceparent="00-" + "z" * 32 + "-" + "y" * 16 + "-01").status_code == 200


def test_with_auth_off_web_pages_cannot_call(tmp_path, upstream_process):
    from tests.edge.conftest import make_dac

    running = make_dac(tmp_path, upstream_process, "--auth=off")
    running.start()
    url = f"{running.url}/v1/chat/completions"
    assert httpx.post(url, json=GOOD, timeout=20).status_code == 200
    assert httpx.post(url, json=GOOD, headers={"origin": "https://evil.example"}).status_code == 403
    assert httpx.post(url, json=GOOD, headers={"host": "evil.example"}).status_code == 403
    # Only where x-api-key is read does one stand for a key, and then it is checked.
    page = {"origin": "https://evil.example"}
    assert httpx.post(url, json=GOOD, headers={**page, "x-api-key": "any"}).status_code == 403
    messages = f"{running.url}/v1/messages"
    assert httpx.post(messages, json={**GOOD, "max_tokens": 9}, timeout=20).status_code == 200
    assert httpx.post(messages, json=GOOD, headers=page).status_code == 403
    assert httpx.post(messages, json=GOOD, headers={**page, "x-api-key": "any"}).status_code == 401
    assert running.stop() == 0
