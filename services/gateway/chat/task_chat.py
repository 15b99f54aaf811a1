"""POST /v2/chat: the same chat for clients that name a task and no model. The answer is OpenAI's."""

import dataclasses

import msgspec

from mesh.errors import MeshError, Reason, invalid
from services.gateway.api.json_bodies import unknown_field
from services.gateway.identity.callers import Caller
from services.gateway.threads.thread_paths import PARAMETERS
from services.gateway.wire import openai_wire
from services.gateway.wire.openai_wire import DAC_FIELDS, ChatAsk
from services.gateway.wire.raw_bodies import join_fields, top_level
from services.gateway.wire.wires import OPENAI

PATH = "/v2/chat"
EXAMPLE = '{"messages": [{"role": "user", "content": "Hi"}], "task_type": "qa_retrieval"}'
TENANT_HEADER = b"x-tenant-id"
_KNOWN = DAC_FIELDS | PARAMETERS | {"messages", "model", "stream", "stream_options"}


def parse_task_chat(body: bytes, *, max_depth: int = 64) -> ChatAsk:
    """Reads and checks a body; without a model the router chooses. Raises INVALID_REQUEST."""
    fields = top_level(body, max_depth, EXAMPLE)
    for name in fields:
        if name not in _KNOWN:
            raise unknown_field(name, sorted(_KNOWN))
    if "model" in fields:
        return openai_wire.parse_chat(body, max_depth=max_depth)
    named = join_fields({"model": msgspec.Raw(b'"auto"'), **fields})
    return openai_wire.parse_chat(named, max_depth=max_depth)


TASK_CHAT = dataclasses.replace(OPENAI, parse=parse_task_chat)
"""The wire format of this path."""


def check_tenant(named: str, caller: Caller) -> None:
    """The tenant that a header names is the one of the key. Raises PERMISSION_DENIED or INVALID_REQUEST."""
    if len(named) > 128:
        raise invalid("x-tenant-id", "The header x-tenant-id has at most 128 characters.")
    if named and named.lower() != caller.principal.org_id.lower():
        raise MeshError(
            Reason.PERMISSION_DENIED,
            f'This key is not of the tenant "{named}": leave the header x-tenant-id out, or send a key of that tenant.',
            metadata={"field": "x-tenant-id"},
        )
