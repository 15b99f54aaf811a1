"""What a policy does to answers holds over gRPC as over HTTP: persona, with its ways around it, and redaction."""

import json
import time
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest

from dac.gateway.v1 import chat_pb2, chat_pb2_grpc
from tests.edge.conftest import Dac, UpstreamProcess

CLAIM, SHOWN = "I am ChatGPT, a large language model trained by OpenAI.", "I am Acme, an AI assistant."
MAIL = "canary.person@corp-mail.org"
ASKED, SENT = f"Write to {MAIL}, or {MAIL}.", "Write to [EMAIL_1], or [EMAIL_1]."
ANSWER = "I wrote to [EMAIL_1]; [EMAIL_7] is nobody."
TOLD = ANSWER.replace("[EMAIL_1]", MAIL)
POLICIES = {
    "voice": {"persona": {"enabled": True, "name": "Acme"}},
    "restored": {"redaction": {"enabled": True, "restore": True}},
    "redacted": {"redaction": {"enabled": True}},
    "blocked": {"redaction": {"enabled": True, "action": "block"}},
    "both": {"persona": {"enabled": True, "name": "Acme"}, "redaction": {"enabled": True, "restore": True}},
}
STREAMED = pytest.mark.parametrize("stream", [False, True])


class Keys:
    """Keys under policies of their own; `close` leaves the shared DAC as it was."""

    def __init__(self, dac: Dac) -> None:
        self._dac, self._made = dac, dict[str, tuple[str, str]]()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """An administrator's call."""
        answer = httpx.request(method, self._dac.url + path, json=body, headers=self._dac.headers, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def of(self, policy: str, **fields: Any) -> str:
        """A key's token."""
        name = f"grpc-{policy}-{len(fields)}"
        if name not in self._made:
            self.call("POST", "/v2/policies", {"name": name, "rules": {"answers": POLICIES[policy]}})
            made = self.call("POST", "/v1/keys", {"name": name, **fields})
            key_id = made["key"]["key_id"]
            self._made[name] = made["token"], key_id
            level = {"kind": "KIND_KEY", "id": key_id}
            self.call("PUT", "/v2/policy-assignments", {"level": level, "policy": name})
        return self._made[name][0]

    def close(self) -> None:
        """Takes all of it away."""
        for name, (_, key_id) in self._made.items():
            self.call("DELETE", f"/v2/policy-assignments/{key_id}")
            self.call("DELETE", f"/v2/policies/{name}")
            self.call("DELETE", f"/v1/keys/{key_id}")


@pytest.fixture(scope="module")
def keys(dac: Dac) -> Iterator[Keys]:
    made = Keys(dac)
    yield made
    made.close()


class Answer:
    """What came of a chat over gRPC."""

    def __init__(self, dac: Dac, token: str, request: chat_pb2.ChatRequest) -> None:
        with grpc.insecure_channel(dac.grpc_address) as channel:
            chat = chat_pb2_grpc.ChatServiceStub(channel).Chat
            came = list(chat(request, metadata=(("authorization", f"Bearer {token}"),), timeout=30))
        self._dac, self.request_id = dac, came[0].head.request_id
        self.body = b"".join(one.frames.data for one in came if one.HasField("frames"))
        self.text = came[-1].finish.text

    @property
    def said(self) -> str:
        """The text as the caller's frames have it."""
        if self.body.startswith(b"{"):
            return str(json.loads(self.body)["choices"][0]["message"]["content"])
        lines = [json.loads(line[6:]) for line in self.body.split(b"\n") if line.startswith(b"data: {")]
        return "".join(one["choices"][0]["delta"].get("content") or "" for one in lines if one["choices"])

    @property
    def record(self) -> Any:
        """The request's record."""
        end = time.monotonic() + 5
        while (found := self._dac.get(f"/v1/requests/{self.request_id}")).status_code != 200:
            assert time.monotonic() < end, found.text
            time.sleep(0.02)
        return found.json()["request"]


def chat(dac: Dac, token: str, **fields: Any) -> Answer:
    messages = [{"role": "user", "content": f"Who are you? {time.time_ns()}"}]
    body = {"model": "mock/gpt-4o-mini", "messages": messages, **fields}
    return Answer(dac, token, chat_pb2.ChatRequest(openai_json=json.dumps(body).encode()))


@STREAMED
def test_a_claim_is_put_in_the_name(dac: Dac, keys: Keys, upstream_process: UpstreamProcess, stream: bool) -> None:
    upstream_process.script(text=CLAIM, times=1)
    answer = chat(dac, keys.of("voice"), stream=stream)
    assert answer.said == SHOWN and b"fp_mock" not in answer.body and b"ChatGPT" not in answer.body
    assert answer.text in ("", SHOWN), "what is told besides is what was shown"
    assert answer.record["persona"] == {"applied": True, "rewritten": 1}
    assert "You are Acme" in json.dumps(upstream_process.requests()[-1]["body"])
    typed = chat_pb2.TypedChat(model="mock/gpt-4o-mini", stream=stream)
    typed.messages.add(role="user", content="Who are you?")
    for token, told in ((keys.of("voice"), SHOWN), (dac.key, CLAIM)):
        upstream_process.script(text=CLAIM, times=1)
        answer = Answer(dac, token, chat_pb2.ChatRequest(typed=typed))
        assert answer.said == answer.text == told, "a typed caller need not read a wire format"


@STREAMED
def test_a_request_and_a_key_go_without(dac: Dac, keys: Keys, upstream_process: UpstreamProcess, stream: bool) -> None:
    for token, more in ((keys.of("voice"), {"persona": False}), (keys.of("voice", without_persona=True), {})):
        upstream_process.script(text=CLAIM, times=1)
        answer = chat(dac, token, stream=stream, **more)
        assert answer.said == CLAIM and "persona" not in answer.record, more
        sent = upstream_process.requests()[-1]["body"]
        assert "Acme" not in json.dumps(sent) and "persona" not in sent  # type: ignore[operator]
        own = {"authorization": f"Bearer {token}"}
        body = {
            "model": "mock/gpt-4o-mini",
            "messages": [{"role": "user", "content": "Who?"}],
            "stream": stream,
            **more,
        }
        upstream_process.script(text=CLAIM, times=1)
        http = httpx.post(f"{dac.url}/v1/chat/completions", json=body, headers=own, timeout=30)
        assert http.status_code == 200 and "Acme" not in http.text and "ChatGPT" in http.text
    project = keys.call("POST", "/v1/teams", {"name": f"team-{time.time_ns()}"})["team"]["team_id"]
    upstream_process.script(text=CLAIM, times=1)
    acting = chat(dac, keys.of("voice", without_persona=True, team_id=project), stream=stream)
    assert acting.said == CLAIM, "also where it stands in a team"


@STREAMED
def test_redaction_holds_and_values_come_back_only_where_they_may(
    dac: Dac, keys: Keys, upstream_process: UpstreamProcess, stream: bool
) -> None:
    messages = [{"role": "user", "content": ASKED}]
    for policy, told in (("restored", TOLD), ("redacted", ANSWER)):
        upstream_process.clear()
        upstream_process.script(text=ANSWER, times=1)
        answer = chat(dac, keys.of(policy), stream=stream, messages=messages)
        assert answer.said == told and answer.text in ("", told)
        (sent,) = upstream_process.requests()
        assert sent["body"]["messages"] == [{"role": "user", "content": SENT}]  # type: ignore[index,call-overload]
        record = answer.record
        assert record["redaction"]["kinds"] == {"email": 2} and MAIL not in json.dumps(record)
        assert record["redaction"].get("restored", False) == (policy == "restored")
    # Asked for by the request itself.
    upstream_process.script(text=ANSWER, times=1)
    assert chat(dac, dac.key, stream=stream, messages=messages, redaction=True).said == TOLD
    for token, code in ((keys.of("blocked"), "INVALID_ARGUMENT"), (keys.of("restored"), "PERMISSION_DENIED")):
        before = len(upstream_process.requests())
        with pytest.raises(grpc.RpcError) as refused:
            chat(dac, token, stream=stream, messages=messages, **({"redaction": False} if "PERM" in code else {}))
        assert refused.value.code().name in (code, "FAILED_PRECONDITION") and MAIL not in str(refused.value.details())
        assert len(upstream_process.requests()) == before


@STREAMED
def test_values_come_back_in_the_organisations_voice(
    dac: Dac, keys: Keys, upstream_process: UpstreamProcess, stream: bool
) -> None:
    upstream_process.script(text=f"{CLAIM} {ANSWER}", times=1)
    answer = chat(dac, keys.of("both"), stream=stream, messages=[{"role": "user", "content": ASKED}])
    assert answer.said == f"{SHOWN} {TOLD}"
