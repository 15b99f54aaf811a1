"""A revoked key: what is begun with it is refused within a second, what runs ends within a minute, on every port."""

import concurrent.futures
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import httpx
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from dac.audit.v1 import audit_pb2, audit_pb2_grpc
from dac.gateway.v1 import chat_pb2, chat_pb2_grpc
from tests.edge.conftest import Dac, UpstreamProcess

ASK = {"model": "mock/gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": "Say it slowly."}]}
LONG_S = 100.0
"""How long a stream would take by itself."""


class Key:
    """A key, and the streams that it began."""

    def __init__(self, dac: Dac) -> None:
        made = httpx.post(f"{dac.url}/v1/keys", json={"name": "short", "scopes": ["chat", "read"]}, headers=dac.headers)
        assert made.status_code == 200, made.text
        self.dac, self.secret, self.key_id = dac, made.json()["token"], made.json()["key"]["key_id"]
        self.headers = {"authorization": f"Bearer {self.secret}"}
        self.begun = threading.Semaphore(0)

    def revoke(self) -> None:
        gone = httpx.delete(f"{self.dac.url}/v1/keys/{self.key_id}", headers=self.dac.headers)
        assert gone.status_code == 200, gone.text

    def events(self, verb: str, path: str, body: dict[str, Any] | None = None) -> str:
        """All that a stream says until it ends."""
        said = ""
        with httpx.stream(verb, self.dac.url + path, json=body, headers=self.headers, timeout=90) as answer:
            assert answer.status_code == 200, answer.read()
            for part in answer.iter_text():
                if not said:
                    self.begun.release()
                said += part
        return said

    def waits(self) -> int:
        """The status of an answer that is not streamed."""
        self.begun.release()
        whole = {**ASK, "model": "second/small", "stream": False}
        return httpx.post(
            self.dac.url + "/v1/chat/completions", json=whole, headers=self.headers, timeout=90
        ).status_code

    def grpc_stream(self, calling: Callable[..., Iterator[Any]], request: Any) -> grpc.RpcError:
        """How a stream of the gRPC port fails."""
        with pytest.raises(grpc.RpcError) as failed:
            for number, _ in enumerate(
                calling(request, metadata=[("authorization", f"Bearer {self.secret}")], timeout=90)
            ):
                if number == 0:
                    self.begun.release()
        return failed.value


def reason_of(error: grpc.RpcError) -> str:
    info = error_details_pb2.ErrorInfo()
    assert rpc_status.from_call(error).details[0].Unpack(info)
    return str(info.reason)


def test_what_runs_under_a_key_ends_with_it(dac: Dac, upstream_process: UpstreamProcess) -> None:
    upstream_process.script("hang", model="small")
    upstream_process.script("ok", text=" ".join(["word"] * 1000), token_delay_s=LONG_S / 1000)
    key = Key(dac)
    began = httpx.post(dac.url + "/api/threads", json={"thread_id": "revoked"}, headers=key.headers, timeout=20)
    assert began.status_code == 200, began.text
    asked = chat_pb2.ChatRequest(openai_json=json.dumps(ASK).encode())
    with grpc.insecure_channel(dac.grpc_address) as channel, concurrent.futures.ThreadPoolExecutor(6) as pool:
        chats = chat_pb2_grpc.ChatServiceStub(channel)  # type: ignore[no-untyped-call]
        records = audit_pb2_grpc.AuditServiceStub(channel)  # type: ignore[no-untyped-call]
        running = {
            "chat": pool.submit(key.events, "POST", "/v1/chat/completions", ASK),
            "thread": pool.submit(
                key.events,
                "POST",
                "/api/threads/revoked/messages",
                {"content": "Hi", "stream": True, "model": ASK["model"]},
            ),
            "whole": pool.submit(key.waits),
            "grpc chat": pool.submit(key.grpc_stream, chats.Chat, asked),
        }
        followed = pool.submit(key.grpc_stream, records.FollowRequests, audit_pb2.FollowRequestsRequest())
        for _ in running:
            assert key.begun.acquire(timeout=20)
        key.revoke()
        revoked_at = time.monotonic()
        time.sleep(1.0)
        refused = httpx.post(dac.url + "/v1/chat/completions", json=ASK, headers=key.headers, timeout=20)
        assert refused.status_code == 401
        with pytest.raises(grpc.RpcError) as new:
            list(chats.Chat(asked, metadata=[("authorization", f"Bearer {key.secret}")]))
        assert new.value.code() == grpc.StatusCode.UNAUTHENTICATED
        ended = {name: work.result(timeout=60) for name, work in running.items()}
        assert reason_of(followed.result(timeout=60)) == "INVALID_CREDENTIAL"
    assert time.monotonic() - revoked_at < 60
    last = json.loads(ended["chat"].strip().rsplit("data: ", 1)[1])
    assert last["error"]["code"] == "invalid_api_key" and "revoked" in last["error"]["message"]
    assert "event: error" in ended["thread"] and "revoked" in ended["thread"]
    assert ended["whole"] == 401
    assert reason_of(ended["grpc chat"]) == "INVALID_CREDENTIAL"
    found: list[dict[str, Any]] = []
    end = time.monotonic() + 10
    while len(found) < 4:
        assert time.monotonic() < end, found
        listed = dac.get("/v1/requests", params={"page_size": "20"}).json()["requests"]
        found = [one for one in listed if key.key_id in str(one["path"]) and one["attempts"]]
    streamed = [one for one in found if one["asked_model"] == ASK["model"]]
    assert all(int(one["cost_nano_usd"]) > 0 for one in streamed), "what was used is charged"
