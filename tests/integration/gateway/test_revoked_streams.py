"""A key that is revoked while something streams for it: the stream ends, others go on, and the next call is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import grpc.aio
import httpx
import pytest
from google.rpc import error_details_pb2, status_pb2

from dac.audit.v1 import audit_pb2, audit_pb2_grpc
from dac.budget.v1 import budget_pb2, budget_pb2_grpc
from dac.gateway.v1 import chat_pb2, chat_pb2_grpc
from mesh.testing import mesh_in_process
from services.gateway.api import transcoder
from services.gateway.api.http_forms import bindings
from services.gateway.grpc_edge import GrpcEdge
from services.gateway.identity import key_watch
from tests.upstream import Upstream

CONFIG = """
providers:
  mock: {{kind: openai, base_url: "{base}", allow_private_address: true}}
  local: {{enabled: false}}
models:
  - {{id: mock/small, provider: mock, name: small, context_tokens: 8000, price: free}}
"""
FIRST = "dac_test_abcdefghijkl_" + "x7BqM2kLw9Za" * 4
QUESTION = [{"role": "user", "content": "Say hello."}]
ENDLESS = " ".join(["word"] * 5_000)


class House:
    """A mesh with both of the gateway's ports."""

    def __init__(self, http: httpx.AsyncClient, channel: grpc.aio.Channel, upstream: Upstream) -> None:
        self.http, self.channel, self.upstream = http, channel, upstream

    async def key(self) -> tuple[str, str]:
        """(key id, token) of a new one."""
        made = (await self.http.post("/v1/keys", json={"name": "k"})).json()
        return made["key"]["key_id"], made["token"]

    async def revoke(self, key_id: str) -> None:
        """Takes it back."""
        assert (await self.http.delete(f"/v1/keys/{key_id}")).status_code == 200

    async def streamed(self, path: str, token: str, first: asyncio.Event) -> list[str]:
        """The lines of a stream, to its end."""
        body = {"model": "mock/small", "stream": True, "max_tokens": 6000, "messages": QUESTION}
        headers = {"authorization": f"Bearer {token}"}
        lines = []
        async with self.http.stream("POST", path, json=body, headers=headers, timeout=30) as answer:
            assert answer.status_code == 200
            async for line in answer.aiter_lines():
                first.set()
                if line:
                    lines.append(line)
        return lines


@pytest.fixture(scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    folder = tmp_path_factory.mktemp("revoked")
    async with Upstream() as upstream:
        config = CONFIG.format(base=upstream.base_url)
        async with mesh_in_process(folder, config=config, env={"DAC_BOOTSTRAP_API_KEY": FIRST}) as mesh:
            gateway = mesh.services["gateway"]
            server = grpc.aio.server()
            server.add_generic_rpc_handlers((GrpcEdge(bindings(), mesh.channel_to, gateway.callers),))
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            address = gateway._http.servers[0].sockets[0].getsockname()
            headers = {"authorization": f"Bearer {FIRST}"}
            url = f"http://127.0.0.1:{address[1]}"
            async with (
                httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as http,
                grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
            ):
                yield House(http, channel, upstream)
            await server.stop(None)


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch, house: House) -> None:
    monkeypatch.setattr(key_watch, "CHECK_AGAIN_S", 0.05)
    monkeypatch.setattr(transcoder, "CHECK_AGAIN_S", 0.05)
    house.upstream.clear()


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """The reason of a failed call."""
    raw = dict(error.trailing_metadata())["grpc-status-details-bin"]
    info = error_details_pb2.ErrorInfo()
    assert status_pb2.Status.FromString(raw).details[0].Unpack(info)
    return info.reason


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_a_chat_that_streams_ends_with_an_error(house: House, path: str) -> None:
    house.upstream.script("ok", text=ENDLESS, token_delay_s=0.005)
    (bad_id, bad), (_, good) = await house.key(), await house.key()
    begun, others = asyncio.Event(), asyncio.Event()
    ending = asyncio.create_task(house.streamed(path, bad, begun))
    staying = asyncio.create_task(house.streamed(path, good, others))
    await asyncio.wait_for(asyncio.gather(begun.wait(), others.wait()), 20)
    await house.revoke(bad_id)
    lines = await asyncio.wait_for(ending, 10)
    last = json.loads(lines[-1].removeprefix("data: "))
    assert "revoked" in last["error"]["message"] and "word" in "".join(lines[:-1])
    assert not any("[DONE]" in line or "message_stop" in line for line in lines)
    await asyncio.sleep(0.2)
    assert not staying.done(), "only what streams for that key ends"
    staying.cancel()
    refused = await house.http.post(path, json={}, headers={"authorization": f"Bearer {bad}"})
    assert refused.status_code == 401


async def test_a_whole_answer_is_finished(house: House) -> None:
    house.upstream.script("ok", delay_s=0.5, times=1)
    key_id, token = await house.key()
    body = {"model": "mock/small", "messages": QUESTION}
    headers = {"authorization": f"Bearer {token}"}
    asking = asyncio.create_task(house.http.post("/v1/chat/completions", json=body, headers=headers))
    async with asyncio.timeout(10):
        while not house.upstream.requests:
            await asyncio.sleep(0.01)
    await house.revoke(key_id)
    assert (await asking).status_code == 200


async def test_calls_by_grpc_end_and_the_next_one_is_refused(house: House) -> None:
    house.upstream.script("ok", text=ENDLESS, token_delay_s=0.005)
    key_id, token = await house.key()
    metadata = (("authorization", f"Bearer {token}"),)
    said = [chat_pb2.TypedMessage(role="user", content="Hello")]
    typed = chat_pb2.TypedChat(model="mock/small", messages=said, stream=True)
    chat = chat_pb2_grpc.ChatServiceStub(house.channel).Chat(chat_pb2.ChatRequest(typed=typed), metadata=metadata)
    follow = audit_pb2_grpc.AuditServiceStub(house.channel).FollowRequests(
        audit_pb2.FollowRequestsRequest(), metadata=metadata
    )
    assert (await chat.read()).head.model == "mock/small"
    await house.revoke(key_id)

    async def end_of(call) -> grpc.aio.AioRpcError:
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            while await call.read() is not grpc.aio.EOF:
                pass
        return ended.value

    for ended in await asyncio.wait_for(asyncio.gather(end_of(chat), end_of(follow)), 10):
        assert ended.code() is grpc.StatusCode.UNAUTHENTICATED and reason_of(ended) == "INVALID_CREDENTIAL"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await budget_pb2_grpc.BudgetServiceStub(house.channel).ListBudgets(
            budget_pb2.ListBudgetsRequest(), metadata=metadata
        )
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_followed_list_ends(house: House) -> None:
    key_id, token = await house.key()
    lines: list[str] = []
    headers = {"authorization": f"Bearer {token}"}
    async with asyncio.timeout(20), house.http.stream("GET", "/v1/requests:follow", headers=headers) as answer:
        async for line in answer.aiter_lines():
            if not lines:
                await house.revoke(key_id)
            lines.append(line)
    assert "revoked" in [line for line in lines if line][-1]
