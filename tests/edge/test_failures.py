"""Bad days of providers and clients: fallback or an honest error, and the charge follows what was used."""

import socket
import time

import httpx
import pytest


def until(condition, timeout_s=5.0):
    """Waits until `condition()` is true."""
    end = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)
    return value


def test_auto_falls_back_before_the_first_token(dac, upstream_process):
    upstream_process.script("503", model="gpt-4o-mini")
    upstream_process.script("503", model="sonnet")
    answer = dac.chat(model="auto:quality")
    assert answer.status_code == 200 and answer.headers["x-dac-model"] == "second/small"
    record = dac.record(answer)
    statuses = [(attempt["model"], attempt["status_code"]) for attempt in record["attempts"]]
    assert statuses[-1] == ("second/small", 200) and all(code == 503 for _, code in statuses[:-1])
    assert record["attempts"][-1]["cost_nano_usd"] == record["cost_nano_usd"] != "0"


@pytest.mark.parametrize("fault", ["500", "429", "garbage_body", "html", "empty_body", "reset", "401"])
def test_a_named_model_that_fails_is_an_honest_error(dac, upstream_process, fault):
    upstream_process.script(fault)
    answer = dac.chat()
    assert answer.status_code in (429, 502, 503), answer.text
    error = answer.json()["error"]
    assert error["message"] and "mock-secret-canary" not in answer.text
    record = dac.record(answer)
    assert record["outcome"] == "OUTCOME_FAILED" and record["attempts"]


def test_what_the_provider_refuses_passes_with_its_own_words(dac, upstream_process):
    upstream_process.script("context_length")
    answer = dac.chat()
    assert answer.status_code == 400 and "context" in answer.text


@pytest.mark.parametrize("fault", ["cut", "end_early", "error_event"])
def test_a_broken_stream_ends_with_an_error_event_and_no_done(dac, upstream_process, fault):
    upstream_process.script(fault, after_tokens=10)
    answer = dac.chat(stream=True)
    events = [line for line in answer.text.split("\n\n") if line]
    assert answer.status_code == 200 and "[DONE]" not in answer.text
    assert '"error"' in events[-1] and '"content"' in events[0] + events[1]
    record = dac.record(answer)
    assert record["outcome"] == "OUTCOME_FAILED" and int(record["cost_nano_usd"]) > 0


def test_a_stream_that_fails_before_its_first_token_is_a_plain_error(dac, upstream_process):
    upstream_process.script("500")
    answer = dac.chat(stream=True)
    assert answer.status_code == 502 and answer.headers["content-type"] == "application/json"


def test_a_client_that_leaves_stops_the_provider_and_is_charged(dac, upstream_process):
    upstream_process.script("ok", token_delay_s=0.05)
    host, port = dac.url.removeprefix("http://").split(":")
    body = b'{"model":"mock/gpt-4o-mini","stream":true,"messages":[{"role":"user","content":"Hello there"}]}'
    with socket.create_connection((host, int(port))) as client:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {dac.key}\r\n"
        client.sendall(head.encode() + f"content-length: {len(body)}\r\n\r\n".encode() + body)
        received = b""
        while received.count(b"data: ") < 4:
            received += client.recv(65536)
    left = time.monotonic()
    seen = until(lambda: [one for one in upstream_process.requests() if one["disconnected_s"]])
    assert seen[-1]["disconnected_s"] - left < 0.1
    request_id = received.split(b"x-dac-request-id: ")[1].split(b"\r\n")[0].decode()
    record = until(lambda: dac.get(f"/v1/requests/{request_id}").json().get("request"))
    assert record["outcome"] == "OUTCOME_CLIENT_GONE" and int(record["cost_nano_usd"]) > 0
    attempt = record["attempts"][-1]
    assert attempt["usage_source"] == "USAGE_SOURCE_COUNTED" and int(attempt["usage"]["output_tokens"]) > 0


def test_a_client_that_leaves_before_the_first_token_stops_the_provider(dac, upstream_process):
    upstream_process.script("hang")
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{dac.url}/v1/chat/completions",
            json={"model": "mock/gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]},
            headers=dac.headers,
            timeout=0.5,
        )
    left = time.monotonic()
    seen = until(lambda: [one for one in upstream_process.requests() if one["disconnected_s"]])
    assert seen[-1]["disconnected_s"] - left < 0.1


def test_the_breaker_takes_a_broken_model_out_of_auto(dac, upstream_process):
    upstream_process.script("503", model="sonnet")
    for _ in range(4):
        dac.chat(model="claude/sonnet")
    status = dac.get("/v1/status").json()
    assert any(one["model"] == "claude/sonnet" and one["state"] == "STATE_OPEN" for one in status["breakers"])
    record = dac.record(dac.chat(model="auto:quality"))
    assert "claude/sonnet" not in [attempt["model"] for attempt in record["attempts"]]


def test_usage_missing_is_counted_and_zero_is_zero(dac, upstream_process):
    upstream_process.script("usage_missing", times=1)
    counted = dac.record(dac.chat())["attempts"][-1]
    assert counted["usage_source"] == "USAGE_SOURCE_COUNTED" and int(counted["cost_nano_usd"]) > 0
    upstream_process.script("usage_zero", times=1)
    zero = dac.record(dac.chat())["attempts"][-1]
    assert zero["usage_source"] == "USAGE_SOURCE_PROVIDER" and zero["cost_nano_usd"] == "0"


def test_no_secret_is_in_the_log(dac, upstream_process):
    upstream_process.script("500")
    dac.chat(messages=[{"role": "user", "content": "prompt-canary-77"}])
    log = (dac.data_dir.parent / "dac.log").read_text()
    assert "mock-secret-canary" not in log and "prompt-canary-77" not in log and dac.key not in log
