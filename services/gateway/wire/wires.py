"""The wire formats of a chat at the edge: what the shared pipeline has to know of each, and nothing else."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Protocol

from dac.type.v1 import chat_pb2
from mesh import sse
from mesh.errors import MeshError
from services.gateway.edge import failures
from services.gateway.wire import anthropic_wire, openai_wire, responses_wire
from services.gateway.wire.openai_wire import ChatAsk


class Parse(Protocol):
    """Reads a body. Raises INVALID_REQUEST."""

    def __call__(self, body: bytes, *, max_depth: int) -> ChatAsk:
        """The ask."""


@dataclasses.dataclass(frozen=True, slots=True)
class Wire:
    """One wire format."""

    dialect: chat_pb2.Dialect
    parse: Parse
    end: bytes
    """What ends a good stream when it has no last event of its own."""
    cut_end: Callable[[bytes], tuple[bytes, bytes]]
    """(the bytes before the end, the end when it is there): it is sent by the edge itself, last of all."""
    answer_bytes: Callable[[Iterable[bytes]], int]
    """How much answer the frames of a stream carry."""
    error_body: Callable[[MeshError, str], bytes]
    """A failure and the request's id as a body."""
    error_event: Callable[[MeshError, str, bytes], bytes]
    """The same as the last event of a stream, behind the piece that was sent last."""
    key_header: bytes = b""
    """A header that may carry the key, besides Authorization."""
    id_header: bytes = b""
    """A header for the request's id, besides DAC's own."""


def _cut_done(data: bytes) -> tuple[bytes, bytes]:
    return (data[: -len(sse.DONE)], sse.DONE) if data.endswith(sse.DONE) else (data, b"")


OPENAI = Wire(
    chat_pb2.DIALECT_OPENAI_CHAT,
    openai_wire.parse_chat,
    sse.DONE,
    _cut_done,
    sse.answer_bytes,
    lambda error, _: failures.error_body(error),
    lambda error, *_: failures.error_event(error),
)
ANTHROPIC = Wire(
    chat_pb2.DIALECT_ANTHROPIC_MESSAGES,
    anthropic_wire.parse_messages,
    anthropic_wire.STOP,
    anthropic_wire.cut_end,
    anthropic_wire.answer_bytes,
    anthropic_wire.error_body,
    lambda error, request_id, _: anthropic_wire.error_event(error, request_id),
    key_header=b"x-api-key",
    id_header=b"request-id",
)
RESPONSES = Wire(
    chat_pb2.DIALECT_OPENAI_RESPONSES,
    responses_wire.parse_responses,
    b"",
    responses_wire.cut_end,
    responses_wire.answer_bytes,
    lambda error, _: failures.error_body(error),
    lambda error, _, sent: responses_wire.error_event(error, sent),
)
_BY_DIALECT = {wire.dialect: wire for wire in (OPENAI, ANTHROPIC, RESPONSES)}


def wire_of(ask: ChatAsk) -> Wire:
    """The wire format an ask came in."""
    return _BY_DIALECT[ask.dialect]
