"""A stream that breaks is taken up by another attempt: its caller gets the whole answer once, and pays for both."""

import dataclasses
import json
import socket
from typing import Any

import httpx
import openai
import pytest

from tests.edge.test_failures import until
from tests.upstream.answers import WORDS


def chunks_of(text: str) -> list[dict[str, Any]]:
    """The chunks of a stream."""
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line.startswith("data: {")]
    return [json.loads(line) for line in lines]


def said(chunks: list[dict[str, Any]]) -> str:
    """The text a client puts together."""
    return "".join(one["choices"][0]["delta"].get("content") or "" for one in chunks if one["choices"])


def seams(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the stream tells of rescues."""
    return [one["dac"]["rescue"] for one in chunks if "rescue" in (one.get("dac") or {})]


@pytest.mark.parametrize("fault", ["cut", "end_early", "error_event"])
def test_the_caller_gets_the_whole_answer_once(dac, upstream_process, fault):
    upstream_process.script(fault, after_tokens=40, times=1)
    answer = dac.chat(stream=True, stream_options={"include_usage": True, "include_dac": True})
    chunks = chunks_of(answer.text)
    assert said(chunks) == WORDS and answer.text.endswith("data: [DONE]\n\n")
    assert len({one["id"] for one in chunks if one["choices"]}) == 1
    assert [one["choices"][0]["delta"].get("role") for one in chunks if one["choices"]].count("assistant") == 1
    assert [one["way"] for one in seams(chunks)] == ["instruction"]
    record = dac.record(answer)
    assert record["outcome"] == "OUTCOME_OK"
    broken, whole = record["attempts"]
    assert broken["reason"] != "ERROR_REASON_UNSPECIFIED" and whole["rescue"] == "RESCUE_INSTRUCTION"
    assert int(broken["usage"]["output_tokens"]) > 0
    assert int(record["cost_nano_usd"]) == sum(int(one["cost_nano_usd"]) for one in record["attempts"])
    usage = chunks[-1]["usage"]
    outputs = [int(one["usage"]["output_tokens"]) for one in record["attempts"]]
    assert usage["completion_tokens"] == sum(outputs)
    assert 'chat_rescues_total{reason="ok",way="instruction"}' in dac.get("/metrics").text
    assert chunks[-1]["dac"]["cost_usd"] == f"{int(record['cost_nano_usd']) / 1e9:.9f}".rstrip("0")


def test_the_shown_part_goes_along_and_its_repeated_words_are_taken_out(dac, upstream_process):
    upstream_process.script("cut", after_tokens=20, times=1)
    upstream_process.script("ok", text="eighteen nineteen twenty and that is all")
    chunks = chunks_of(dac.chat(stream=True, max_tokens=100).text)
    assert said(chunks) == " ".join(WORDS.split()[:20]) + " and that is all"
    body = upstream_process.requests()[-1]["body"]
    shown, wish = body["messages"][-2:]
    assert shown == {"role": "assistant", "content": " ".join(WORDS.split()[:20])}
    assert wish["role"] == "user" and wish["content"].endswith("eighteen nineteen twenty")
    assert 0 < body["max_tokens"] < 100


def test_a_provider_that_refuses_the_shown_part_is_asked_from_the_start(dac, upstream_process):
    upstream_process.script("cut", after_tokens=40, times=1)
    upstream_process.script("400", times=1)
    answer = dac.chat(stream=True)
    chunks = chunks_of(answer.text)
    assert said(chunks) == WORDS and [one["way"] for one in seams(chunks)] == ["restart"]
    assert [one["status_code"] for one in dac.record(answer)["attempts"]] == [200, 400, 200]


def test_an_answer_in_json_is_asked_for_anew(dac, upstream_process):
    """A model held to a grammar cannot begin in the middle."""
    upstream_process.script("cut", after_tokens=1, times=1)
    chunks = chunks_of(dac.chat(stream=True, response_format={"type": "json_object"}).text)
    assert json.loads(said(chunks)) == {"answer": "text"} and [one["way"] for one in seams(chunks)] == ["restart"]
    first, again = (one["body"]["messages"] for one in upstream_process.requests())
    assert first == again


@pytest.mark.parametrize("refusal", [{"enable_rescue": False}, {"n": 2}, {"logprobs": True}])
def test_what_must_not_or_cannot_be_taken_up_ends_with_an_error(dac, upstream_process, refusal):
    upstream_process.script("cut", after_tokens=10, times=1)
    answer = dac.chat(stream=True, **refusal)
    assert "[DONE]" not in answer.text and '"error"' in answer.text.split("\n\n")[-2]
    assert len(upstream_process.requests()) == 1
    assert "enable_rescue" not in upstream_process.requests()[0]["body"]


def test_tool_calls_that_broke_off_are_not_taken_up(dac, upstream_process):
    upstream_process.script("cut", after_tokens=1, times=1)
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
    answer = dac.chat(stream=True, tools=[tool], tool_choice="required")
    assert "[DONE]" not in answer.text and '"error"' in answer.text


def test_the_first_fault_is_told_when_nobody_can_go_on(dac, upstream_process):
    upstream_process.script("cut", after_tokens=10, times=1)
    upstream_process.script("400")
    answer = dac.chat(stream=True)
    error = json.loads(answer.text.split("\n\n")[-2].removeprefix("data: "))["error"]
    assert error["code"] == "provider_cut" and "[DONE]" not in answer.text


def test_the_official_client_reads_a_mended_stream(dac, upstream_process):
    upstream_process.script("cut", after_tokens=30, times=1)
    client = openai.OpenAI(base_url=f"{dac.url}/v1", api_key=dac.key, max_retries=0)
    messages: Any = [{"role": "user", "content": "Hello"}]
    with client.chat.completions.stream(model="mock/gpt-4o-mini", messages=messages) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content == WORDS and final.choices[0].finish_reason == "stop"


def test_a_budget_that_cannot_pay_for_two_parts_is_not_overspent(dac, upstream_process):
    """Where the hold covers one attempt only, the answer breaks honestly and nothing more is sent."""
    upstream_process.script("cut", after_tokens=10, times=1)
    fields = {"stream": True, "max_tokens": 60}
    answers = {rescue: dac.chat(**fields, enable_rescue=rescue) for rescue in (True, False)}
    held = {rescue: int(dac.record(answer)["reserved_nano_usd"]) for rescue, answer in answers.items()}
    assert held[True] > held[False]
    for left, parts in ((held[True], 2), (held[True] - 1, 1), (held[False], 1)):
        made = httpx.post(f"{dac.url}/v1/keys", headers=dac.headers, json={"name": "poor"}).json()
        level = {"kind": "KIND_KEY", "id": made["key"]["key_id"]}
        body = {"level": level, "window": "WINDOW_DAY", "limit_nano_usd": left}
        assert httpx.put(f"{dac.url}/v1/budgets", headers=dac.headers, json=body).status_code == 200
        upstream_process.clear()
        upstream_process.script("cut", after_tokens=10, times=1)
        poor = dataclasses.replace(dac, key=made["token"])
        answer = poor.chat(**fields)
        assert len(upstream_process.requests()) == parts, left
        assert ("[DONE]" in answer.text) == (parts == 2)
        assert int(poor.record(answer)["cost_nano_usd"]) <= left


def test_a_caller_that_leaves_a_mended_stream_pays_for_both_parts(dac, upstream_process):
    upstream_process.script("cut", after_tokens=20, times=1)
    upstream_process.script("ok", token_delay_s=0.05, text="and some more words that come very slowly " * 5)
    host, port = dac.url.removeprefix("http://").split(":")
    body = b'{"model":"mock/gpt-4o-mini","stream":true,"messages":[{"role":"user","content":"Hello there"}]}'
    with socket.create_connection((host, int(port))) as client:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {dac.key}\r\n"
        client.sendall(head.encode() + f"content-length: {len(body)}\r\n\r\n".encode() + body)
        received = b""
        while b"rescue" not in received or received.count(b"data: ") < 26:
            received += client.recv(65536)
    request_id = received.split(b"x-dac-request-id: ")[1].split(b"\r\n")[0].decode()
    record = until(lambda: dac.get(f"/v1/requests/{request_id}").json().get("request"))
    broken, open_one = record["attempts"]
    assert record["outcome"] == "OUTCOME_CLIENT_GONE"
    assert int(broken["cost_nano_usd"]) > 0 and int(open_one["cost_nano_usd"]) > 0
    assert int(open_one["usage"]["input_tokens"]) > 0 and open_one["rescue"] == "RESCUE_INSTRUCTION"
