"""A real `dac`: changes sent twice with an Idempotency-Key are made once, by HTTP and by gRPC."""

from __future__ import annotations

import grpc
import httpx
import pytest

from dac.gateway.v1 import identity_pb2, identity_pb2_grpc
from mesh.ids import uuid7
from tests.edge.conftest import Dac


def post(dac: Dac, path: str, key: str = "", *, bearer: str = "", **body: object) -> httpx.Response:
    """A change, with an Idempotency-Key if one is given."""
    headers = {"authorization": f"Bearer {bearer or dac.key}"} | ({"idempotency-key": key} if key else {})
    return httpx.post(dac.url + path, json=body, headers=headers, timeout=30)


def named(dac: Dac, name: str) -> int:
    """How many keys have that name."""
    return sum(one["name"] == name for one in dac.get("/v1/keys?page_size=1000").json()["keys"])


def test_a_key_is_made_once_and_shown_again(dac: Dac) -> None:
    name, key = f"once {uuid7()}", uuid7()
    first, again = post(dac, "/v1/keys", key, name=name), post(dac, "/v1/keys", f'"{key}"', name=name)
    assert (first.status_code, again.status_code) == (200, 200) and first.json() == again.json()
    assert "idempotent-replayed" not in first.headers and again.headers["idempotent-replayed"] == "true"
    assert first.headers["x-dac-request-id"] != again.headers["x-dac-request-id"]
    assert named(dac, name) == 1
    other = post(dac, "/v1/keys", key, name=name + "!")
    assert (other.status_code, other.json()["error"]["code"]) == (409, "request_id_conflict")
    assert other.headers["x-should-retry"] == "false"
    # Another path with the same body is another request; another caller's keys are its own.
    assert post(dac, "/v1/teams", key, name=name).status_code == 409
    made = post(dac, "/v1/keys", name=f"admin {uuid7()}", scopes=["admin"]).json()["token"]
    assert post(dac, "/v1/users", key, bearer=made, name=name).status_code == 200


def test_without_the_header_each_request_is_a_new_one(dac: Dac) -> None:
    name = f"twice {uuid7()}"
    tokens = {post(dac, "/v1/keys", name=name).json()["token"] for _ in range(2)}
    assert len(tokens) == 2 and named(dac, name) == 2


def test_a_refused_request_may_be_mended_under_its_key(dac: Dac) -> None:
    key = uuid7()
    assert post(dac, "/v1/keys", key, name="x", scopes=["nothing"]).status_code == 400
    assert post(dac, "/v1/keys", key, name="x").status_code == 200
    assert post(dac, "/v1/keys", "x" * 300, name="x").json()["error"]["param"] == "idempotency-key"


def test_who_may_not_gets_no_answer_of_before(dac: Dac) -> None:
    weak = post(dac, "/v1/keys", name="weak").json()["token"]
    refused = post(dac, "/v1/keys", uuid7(), bearer=weak, name="x")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "permission_denied")


def test_a_deletion_sent_again_is_no_404(dac: Dac) -> None:
    made = post(dac, "/v1/teams", name=f"team {uuid7()}").json()["team"]["team_id"]
    headers = {**dac.headers, "idempotency-key": uuid7()}
    for _ in range(2):
        assert httpx.delete(f"{dac.url}/v1/teams/{made}", headers=headers).status_code == 200
    assert httpx.delete(f"{dac.url}/v1/teams/{made}", headers=dac.headers).status_code == 404


def test_reads_and_chats_take_no_key(dac: Dac) -> None:
    key = {"idempotency-key": uuid7()}
    for _ in range(2):
        answer = httpx.get(dac.url + "/v1/keys", headers={**dac.headers, **key})
        assert answer.status_code == 200 and "idempotent-replayed" not in answer.headers
    body = {"model": "mock/gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello."}]}
    ids = set()
    for _ in range(2):
        chat = httpx.post(dac.url + "/v1/chat/completions", json=body, headers={**dac.headers, **key}, timeout=30)
        assert chat.status_code == 200
        ids.add(chat.headers["x-dac-request-id"])
    assert len(ids) == 2 and dac.record(chat)["outcome"] == "OUTCOME_OK"


def test_by_grpc_the_same_key_stands_for_the_same_request(dac: Dac) -> None:
    name, key = f"by gRPC {uuid7()}", uuid7()
    metadata = [("authorization", f"Bearer {dac.key}"), ("idempotency-key", key)]
    with grpc.insecure_channel(dac.grpc_address) as channel:
        stub = identity_pb2_grpc.IdentityServiceStub(channel)  # type: ignore[no-untyped-call]
        asked = identity_pb2.CreateApiKeyRequest(name=name)
        first, call = stub.CreateApiKey.with_call(asked, metadata=metadata, timeout=20)
        assert "idempotent-replayed" not in dict(call.initial_metadata())
        again, call = stub.CreateApiKey.with_call(asked, metadata=metadata, timeout=20)
        assert dict(call.initial_metadata())["idempotent-replayed"] == "true" and again == first
        with pytest.raises(grpc.RpcError) as refused:
            stub.CreateApiKey(identity_pb2.CreateApiKeyRequest(name="y"), metadata=metadata, timeout=20)
        assert refused.value.code() == grpc.StatusCode.ALREADY_EXISTS
    assert post(dac, "/v1/keys", key, name=name).json()["token"] == first.token and named(dac, name) == 1
