"""Prompts and answers on the record, through a real `dac up`: off by default, behind redaction, by HTTP and gRPC."""

import json
import signal
import time

import grpc
import httpx
import pytest

from dac.gateway.v1 import chat_pb2, chat_pb2_grpc
from mesh.app import load_settings
from mesh.config import ConfigError
from tests.edge.conftest import make_dac
from tests.edge.test_cli import run

SAID = "The canary is called Harbouvelle."
MAIL = "canary.person@corp-mail.org"
PRIVATE = [{"role": "user", "content": f"Write to {MAIL}."}]


def asked(dac, path, key="", method="GET", **fields):
    headers = {"authorization": f"Bearer {key or dac.key}"}
    answer = httpx.request(method, dac.url + path, headers=headers, timeout=30, **fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture(scope="module")
def two(tmp_path_factory, upstream_process):
    """A DAC that records what the first organisation says, and another organisation's key."""
    dac = make_dac(tmp_path_factory.mktemp("texts"), upstream_process)
    dac.start()
    try:
        org_id = dac.record(dac.chat())["org_id"]
        token = dac.operator_headers["authorization"].removeprefix("Bearer ")
        made = asked(dac, "/v1/organisations", token, "POST", json={"name": "other"})["organisation"]
        key = {"name": "admin", "scopes": ["chat", "admin", "read"], "org_id": made["org_id"]}
        other = asked(dac, "/v1/keys", token, "POST", json=key)
        assert dac.stop() == 0, dac.log()
        dac.env |= {"DAC_AUDIT_SEAL_PAYLOADS": "true", "DAC_GATEWAY_RECORD_PROMPTS": org_id}
        dac.env["DAC_GATEWAY_RECORD_PROMPTS_KIB"] = "4"
        dac.start()
        yield dac, other["token"]
        assert dac.stop() == 0, dac.log()
    finally:
        dac.stop(signal.SIGKILL)


@pytest.fixture(autouse=True)
def calm(upstream_process):
    yield
    upstream_process.clear()


def text_of(dac, answer, key=""):
    """What was recorded of an answered request, when it has arrived."""
    request_id = answer if isinstance(answer, str) else answer.headers["x-dac-request-id"]
    end = time.monotonic() + 60
    while True:
        headers = {"authorization": f"Bearer {key or dac.key}"}
        found = httpx.get(f"{dac.url}/v1/requests/{request_id}/text", headers=headers, timeout=30)
        if found.status_code == 200:
            return found.json()["text"]
        assert time.monotonic() < end, found.text
        time.sleep(0.05)


def ask(dac, path="/v1/chat/completions", key="", **fields):
    body = {"model": "mock/gpt-4o-mini", **fields}
    headers = {"authorization": f"Bearer {key or dac.key}"}
    answer = httpx.post(dac.url + path, json=body, headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer


MESSAGES = [{"role": "user", "content": SAID}]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/chat/completions", {"messages": MESSAGES}),
        ("/v1/messages", {"messages": MESSAGES, "max_tokens": 50}),
        ("/v1/responses", {"input": SAID}),
        ("/v2/chat", {"messages": MESSAGES}),
    ],
)
def test_prompt_and_answer_stand_beside_the_record(two, upstream_process, path, fields, stream):
    dac, _ = two
    upstream_process.script(text="Harbouvelle answers.")
    answer = ask(dac, path, stream=stream, **fields)
    found = text_of(dac, answer)
    assert SAID in json.dumps(json.loads(found["request"])) and found["answer"] == "Harbouvelle answers."
    record = dac.record(answer)
    assert record["text_commitment"] and "Harbouvelle" not in json.dumps(record)


def test_chats_by_grpc_are_recorded_too(two, upstream_process):
    dac, _ = two
    upstream_process.script(text="By gRPC.")
    with grpc.insecure_channel(dac.grpc_address) as channel:
        message = chat_pb2.TypedMessage(role="user", content=SAID)
        typed = chat_pb2.TypedChat(model="mock/gpt-4o-mini", messages=[message])
        metadata = (("authorization", f"Bearer {dac.key}"),)
        stub = chat_pb2_grpc.ChatServiceStub(channel)
        heads = [one.head.request_id for one in stub.Chat(chat_pb2.ChatRequest(typed=typed), metadata=metadata)]
    found = text_of(dac, next(one for one in heads if one))
    assert SAID in found["request"] and found["answer"] == "By gRPC."


@pytest.mark.parametrize("stream", [False, True])
def test_what_redaction_kept_back_is_not_on_the_record(two, upstream_process, stream):
    """Neither in the prompt nor in the answer, whose caller gets it back."""
    dac, _ = two
    upstream_process.script(text="I wrote to [EMAIL_1].")
    answer = ask(dac, messages=PRIVATE, redaction=True, stream=stream)
    assert MAIL in answer.text.replace("\\", "") or stream
    found = text_of(dac, answer)
    assert "[EMAIL_1]" in found["request"] and found["answer"] == "I wrote to [EMAIL_1]."
    assert MAIL not in json.dumps(found)


def test_a_request_that_went_to_no_provider_leaves_no_text(two):
    """Refused for what it holds: what it holds is on no record."""
    dac, _ = two
    rules = {"answers": {"redaction": {"enabled": True, "action": "block", "kinds": ["email"]}}}
    asked(dac, "/v2/policies", method="POST", json={"name": "block", "rules": rules})
    made = asked(dac, "/v1/keys", method="POST", json={"name": "block", "scopes": ["chat"]})
    level = {"kind": "KIND_KEY", "id": made["key"]["key_id"]}
    asked(dac, "/v2/policy-assignments", method="PUT", json={"level": level, "policy": "block"})
    body = {"model": "mock/gpt-4o-mini", "messages": PRIVATE}
    headers = {"authorization": f"Bearer {made['token']}"}
    refused = httpx.post(f"{dac.url}/v1/chat/completions", json=body, headers=headers, timeout=30)
    assert refused.status_code == 400, refused.text
    assert not dac.record(refused)["text_commitment"]


def test_a_stream_that_breaks_off_is_recorded_as_far_as_it_came(two, upstream_process):
    dac, _ = two
    upstream_process.script("cut", times=1)
    answer = ask(dac, messages=MESSAGES, stream=True, enable_rescue=False)
    found = text_of(dac, answer)
    assert SAID in found["request"] and found["answer"].startswith("data: {")


def test_a_long_prompt_loses_its_middle_and_says_so(two):
    dac, _ = two
    messages = [{"role": "user", "content": f"First. {'é' * 20_000} Last."}]
    found = text_of(dac, ask(dac, messages=messages))
    left_out = int(found["request_bytes_left_out"])
    assert f"[… {left_out} bytes left out …]" in found["request"] and left_out > 30_000
    assert "First. " in found["request"] and " Last." in found["request"] and "\ufffd" not in found["request"]
    assert len(found["request"].encode()) < 4 * 1024 + 60


def test_other_organisations_are_neither_recorded_nor_do_they_read(two):
    dac, other = two
    mine = ask(dac, messages=MESSAGES)
    assert text_of(dac, mine)
    path = f"{dac.url}/v1/requests/{mine.headers['x-dac-request-id']}/text"
    assert httpx.get(path, headers={"authorization": f"Bearer {other}"}).status_code == 404
    reader = asked(dac, "/v1/keys", method="POST", json={"name": "reader", "scopes": ["chat", "read"]})["token"]
    assert httpx.get(path, headers={"authorization": f"Bearer {reader}"}).status_code == 403
    (read,) = asked(dac, f"/v1/changes?action=text.read&target=request:{mine.headers['x-dac-request-id']}")["changes"]
    assert read["actor"].startswith("key:")
    theirs = ask(dac, key=other, messages=MESSAGES)
    record = f"/v1/requests/{theirs.headers['x-dac-request-id']}"
    end = time.monotonic() + 10
    while httpx.get(dac.url + record, headers={"authorization": f"Bearer {other}"}).status_code != 200:
        assert time.monotonic() < end
    assert not asked(dac, record, other)["request"]["text_commitment"]


def test_texts_are_in_no_log_and_in_no_metric(two, upstream_process):
    dac, _ = two
    upstream_process.script(text="Harbouvelle answers.")
    text_of(dac, ask(dac, messages=MESSAGES))
    assert "Harbouvelle" not in (dac.data_dir.parent / "dac.log").read_text()
    page = httpx.get(f"{dac.url}/metrics", headers=dac.operator_headers).text
    assert 'recorded_texts_total{outcome="kept"}' in page and "Harbouvelle" not in page


def test_they_are_shown_by_command(two, upstream_process):
    dac, _ = two
    upstream_process.script(text="Harbouvelle answers.")
    answer = ask(dac, messages=MESSAGES)
    text_of(dac, answer)
    request_id = answer.headers["x-dac-request-id"]
    shown = run(dac, "audit", "text", request_id)
    assert shown.returncode == 0 and SAID in shown.stdout and "Harbouvelle answers." in shown.stdout, shown.stderr
    assert json.loads(run(dac, "audit", "text", request_id, "--json").stdout)["answer"] == "Harbouvelle answers."
    listed = json.loads(run(dac, "audit", "list", "--requests", "--texts", "--json").stdout)["requests"]
    (found,) = [one for one in listed if one["request_id"] == request_id]
    assert found["text"]["answer"] == "Harbouvelle answers."
    plain = run(dac, "audit", "list", "--requests", "--json").stdout
    assert request_id in plain and "Harbouvelle" not in plain
    assert run(dac, "audit", "list", "--texts").returncode == 2


def test_the_console_shows_them_to_administrators_alone(two, upstream_process):
    dac, _ = two
    upstream_process.script(text="<b>Harbouvelle</b> answers.")
    answer = ask(dac, messages=MESSAGES)
    text_of(dac, answer)
    reader = asked(dac, "/v1/keys", method="POST", json={"name": "looker", "scopes": ["chat", "read"]})["token"]
    pages = {}
    for key in (dac.key, reader):
        with httpx.Client(base_url=dac.url, headers={"origin": dac.url}) as browser:
            assert browser.post("/console/sign-in", data={"key": key}).status_code == 303
            pages[key] = browser.get(f"/console/requests/{answer.headers['x-dac-request-id']}").text
    assert "&lt;b&gt;Harbouvelle&lt;/b&gt; answers." in pages[dac.key] and SAID in pages[dac.key]
    assert "What happened" in pages[reader] and "Harbouvelle" not in pages[reader]
    assert "What was said" in pages[dac.key] and "What was said" not in pages[reader]


def test_an_erasure_takes_what_was_said(two):
    dac, _ = two
    made = asked(dac, "/v1/keys", method="POST", json={"name": "gone", "scopes": ["chat"]})
    answer = ask(dac, key=made["token"], messages=MESSAGES)
    assert text_of(dac, answer)
    subject = f"key:{made['key']['key_id']}"
    request_id = answer.headers["x-dac-request-id"]
    asked(dac, f"/v1/audit/proofs/{request_id}?wait_s=10")
    assert run(dac, "audit", "erase", subject, "--reason", "asked for", "--yes").returncode == 0
    assert dac.get(f"/v1/requests/{request_id}/text").status_code == 404


def test_nothing_is_recorded_by_default(dac):
    answer = dac.chat()
    assert not dac.record(answer)["text_commitment"]
    assert dac.get(f"/v1/requests/{answer.headers['x-dac-request-id']}/text").status_code == 404


def test_without_sealed_payloads_it_is_refused_before_dac_starts(tmp_path):
    env = {"DAC_GATEWAY_RECORD_PROMPTS": "*"}
    with pytest.raises(ConfigError, match=r"set audit\.seal_payloads: true"):
        load_settings(env=env)
    load_settings(env=env | {"DAC_AUDIT_SEAL_PAYLOADS": "true"})
    for wrong in ({"DAC_GATEWAY_RECORD_PROMPTS": "acme"}, {"DAC_GATEWAY_RECORD_PROMPTS_KIB": "0"}):
        with pytest.raises(ConfigError, match="record_prompts"):
            load_settings(env=wrong | {"DAC_AUDIT_SEAL_PAYLOADS": "true"})
