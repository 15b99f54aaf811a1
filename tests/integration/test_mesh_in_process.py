"""The whole mesh in the tests' own process: one chat through all six services by generated stubs alone."""

import asyncio

import pytest

from dac.audit.v1.audit_pb2 import GetRequestRequest
from dac.audit.v1.audit_pb2_grpc import AuditServiceStub
from dac.gateway.v1 import chat_pb2
from dac.gateway.v1.chat_pb2_grpc import ChatServiceStub
from dac.type.v1 import record_pb2
from mesh.call import serving
from mesh.errors import MeshError, Reason
from mesh.testing import FakeClock, mesh_in_process
from mesh.transport import reading
from tests.upstream import Upstream

CONFIG = """
providers:
  mock: {{kind: openai, base_url: "{base}", allow_private_address: true}}
  local: {{enabled: false}}
models:
  - {{id: mock/small, provider: mock, name: small, context_tokens: 8000, price: free}}
"""


async def test_a_chat_goes_through_all_services_in_process(tmp_path):
    async with Upstream() as upstream, mesh_in_process(tmp_path, config=CONFIG.format(base=upstream.base_url)) as mesh:
        message = chat_pb2.TypedMessage(role="user", content="Hi")
        request = chat_pb2.ChatRequest(typed=chat_pb2.TypedChat(model="auto", messages=[message], stream=True))
        call = mesh.caller("chat", "read")
        with serving(call):
            async with reading(ChatServiceStub(mesh.channel_to("gateway")).Chat(request)) as events:
                got = [event async for event in events]
            assert got[0].head.model == "mock/small" and got[-1].finish.finish_reason == "stop"
            story = AuditServiceStub(mesh.channel_to("audit"))
            async with asyncio.timeout(10):
                while True:
                    try:
                        found = await story.GetRequest(GetRequestRequest(request_id=got[0].head.request_id))
                        break
                    except MeshError as error:
                        assert error.reason is Reason.NOT_FOUND
        assert found.request.outcome == record_pb2.OUTCOME_OK
        with serving(mesh.caller("read")), pytest.raises(MeshError):
            await story.GetRequest(GetRequestRequest(request_id=got[0].head.request_id))


def test_a_fake_clock_moves_only_when_told():
    clock = FakeClock(5)
    assert clock() == clock() == 5
    clock.advance(2.5)
    assert clock() == 7.5
