"""Anthropic's messages form: reading a body as far as DAC looks into it, and the few documents DAC makes itself.

The result of reading is the same `ChatAsk` that a chat body gives, so that everything behind the edge is shared.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from dac.type.v1 import chat_pb2
from mesh.errors import MeshError, invalid
from mesh.sse import Splitter, data_of, read_json
from mesh.tokens import IMAGE_TOKENS, estimate_tokens, upper_bound_tokens
from services.gateway.chat.labels import BODY_FIELDS, only_a_header
from services.gateway.edge.failures import http_status
from services.gateway.wire.openai_wire import (
    DAC_FIELDS,
    IMAGE_TOKENS_MAX,
    MODEL_MISSING,
    MOST_TOKENS,
    ChatAsk,
    lets_choose,
    note_prompt,
)
from services.gateway.wire.raw_bodies import model_of, read_field, top_level

MESSAGES_EXAMPLE = '{"model": "auto", "max_tokens": 100, "messages": […]}'
STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
"""The end of a good stream."""
DOCUMENT_BYTES_PER_TOKEN = 20
"""How much of a base64 document one token is estimated at: about 3,000 tokens for a page of 60 kB."""
_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_ROLES = frozenset({"user", "assistant", "system"})
_ELSEWHERE = frozenset({"url", "file"})
_RUN_BY_CALLER = ("bash_", "text_editor_", "computer_", "memory_")
"""Anthropic's tools that the caller runs itself."""
_NOTHING = frozenset({b"null", b"[]"})
_BETA = re.compile(r"[A-Za-z0-9._-]{1,64}")
MOST_BETAS = 32
"""How many names a request may have in anthropic-beta."""
_SAID = ("text", "partial_json", "thinking")


class Message(msgspec.Struct):
    """One message as far as DAC looks into it."""

    role: str
    content: str | list[dict[str, Any]]


def parse_messages(body: bytes, *, max_depth: int = 64, counting: bool = False) -> ChatAsk:
    """Reads and checks a messages body. Raises INVALID_REQUEST naming the field and the mend.

    `counting`: for count_tokens, which takes no max_tokens.
    """
    fields = top_level(body, max_depth, MESSAGES_EXAMPLE)
    ask = ChatAsk(model_of(fields, MODEL_MISSING), [], fields, body, dialect=chat_pb2.DIALECT_ANTHROPIC_MESSAGES)
    for name in fields:
        if name in BODY_FIELDS:
            raise only_a_header(name)
        if name in DAC_FIELDS:
            raise invalid(
                name,
                f'"{name}" is not offered in Anthropic\'s form: use POST /v1/chat/completions for threads, the '
                "header x-dac-cache-mode for the cache, x-dac-validation for checks, x-dac-persona for the persona, "
                'and a model such as "auto:quality" for a profile.',
            )
    _read_messages(ask)
    _read_options(ask, counting=counting)
    return ask


def _read_messages(ask: ChatAsk) -> None:
    fields = ask.fields
    if "messages" not in fields:
        raise invalid("messages", '"messages" is missing: send a list such as [{"role": "user", "content": "Hi"}].')
    messages: list[Message] = read_field(fields, "messages", list[Message], [])
    if not messages:
        raise invalid("messages", '"messages" is empty: send at least one message.')
    sizes = _Sizes()
    for index, message in enumerate(messages):
        if message.role not in _ROLES:
            raise invalid(
                f"messages.{index}.role",
                f'"{message.role[:40]}" is not a role here: use user, assistant, or system for instructions in the '
                "middle of a conversation.",
            )
        if isinstance(message.content, list):
            sizes.add(message.content, f"messages.{index}.content")
    system: str | list[dict[str, Any]] = read_field(fields, "system", str | list[dict[str, Any]], "")
    if isinstance(system, list):
        sizes.add(system, "system")
    text_bytes = sum(len(bytes(fields.get(name) or b"")) for name in ("messages", "system", "tools"))
    text_bytes -= sizes.image_bytes + sizes.document_bytes
    ask.needs_images, ask.unseen_input = sizes.images > 0, sizes.unseen
    if lets_choose(ask.model):
        note_prompt(ask, messages)
    documents = sizes.document_bytes // DOCUMENT_BYTES_PER_TOKEN
    ask.input_tokens = estimate_tokens(text_bytes) + sizes.images * IMAGE_TOKENS + documents
    ask.input_tokens_max = upper_bound_tokens(text_bytes) + sizes.images * IMAGE_TOKENS_MAX + sizes.document_bytes


class _Sizes:
    """What in the content is no text."""

    def __init__(self) -> None:
        self.images = self.image_bytes = self.document_bytes = 0
        self.unseen = False
        """Something is named that the provider stores or fetches."""

    def add(self, blocks: Sequence[Any], where: str) -> None:
        """Takes in a list of content blocks. Raises INVALID_REQUEST for one without a type."""
        for number, block in enumerate(blocks):
            kind = block.get("type") if isinstance(block, dict) else None
            if not isinstance(kind, str):
                raise invalid(f"{where}.{number}.type", "Every content block needs a type, e.g. text.")
            source = block.get("source")
            data = source.get("data") if isinstance(source, dict) and source.get("type") == "base64" else ""
            size = len(data) if isinstance(data, str) else 0
            if kind == "image":
                self.images += 1
                self.image_bytes += size
            elif kind in ("document", "container_upload"):
                self.document_bytes += size
                self.unseen |= kind != "document" or (isinstance(source, dict) and source.get("type") in _ELSEWHERE)
            elif kind == "tool_result" and isinstance(block.get("content"), list):
                self.add(block["content"], f"{where}.{number}.content")


def _read_options(ask: ChatAsk, *, counting: bool) -> None:
    fields = ask.fields
    ask.stream = read_field(fields, "stream", bool, False)
    asked = read_field(fields, "max_tokens", int, 0)
    if not counting and not 1 <= asked <= MOST_TOKENS:
        told = f"not {asked}" if "max_tokens" in fields else "and must be given"
        raise invalid("max_tokens", f'"max_tokens" must be between 1 and {MOST_TOKENS}, {told}.')
    ask.max_output_tokens = asked
    for name in ("temperature", "top_p"):
        value: float | None = read_field(fields, name, float | None, None)
        if value is not None and not 0 <= value <= 1:
            raise invalid(name, f'"{name}" must be between 0 and 1, not {value:g}.')
    read_field(fields, "stop_sequences", list[str], list[str]())
    tools: list[dict[str, Any]] = read_field(fields, "tools", list[dict[str, Any]], [])
    ask.needs_tools = bool(tools)
    # What a tool of the provider's own servers finds is read by the model.
    ask.unseen_input |= any(_runs_there(tool.get("type")) for tool in tools)
    ask.unseen_input |= any(bytes(fields.get(name) or b"null") not in _NOTHING for name in ("mcp_servers", "container"))


def _runs_there(kind: Any) -> bool:
    return isinstance(kind, str) and kind != "custom" and not kind.startswith(_RUN_BY_CALLER)


def read_beta(headers: Sequence[str]) -> str:
    """The anthropic-beta header as it is sent on: its names, once each. Raises INVALID_REQUEST."""
    names = [name.strip() for header in headers for name in header.split(",")]
    names = list(dict.fromkeys(name for name in names if name))
    if len(names) > MOST_BETAS or not all(_BETA.fullmatch(name) for name in names):
        raise invalid(
            "anthropic-beta",
            f"The header anthropic-beta takes at most {MOST_BETAS} names of letters, digits, dots, dashes and "
            "underscores, with commas between them.",
        )
    return ",".join(names)


def cut_end(data: bytes) -> tuple[bytes, bytes]:
    """(what comes before, the stream's end event as it was sent): the end waits until the record is handed over."""
    if b"message_stop" not in data[-512:]:
        return data, b""
    events = Splitter(max_event_bytes=len(data) + 1).feed(data)
    last = events[-1] if events else b""
    document = read_json(data_of(last) or b"null")
    if not isinstance(document, dict) or document.get("type") != "message_stop":
        return data, b""
    return data[: -len(last)], last


def answer_bytes(frames: Iterable[bytes]) -> int:
    """How many bytes of answer the frames of a stream carry: texts, thoughts, names and arguments of tool calls."""
    total = 0
    whole = b"".join(frames)
    for event in Splitter(max_event_bytes=len(whole) + 1).feed(whole):
        document = read_json(data_of(event) or b"null")
        if isinstance(document, dict):
            said = document.get("delta") or document.get("content_block")
            values = [said.get(name) for name in (*_SAID, "name")] if isinstance(said, dict) else []
            total += sum(len(value.encode("utf-8", "replace")) for value in values if isinstance(value, str))
    return total


def error_type(status: int) -> str:
    """Anthropic's `type` for a status."""
    return _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")


def error_body(error: MeshError, request_id: str) -> bytes:
    """The JSON body of a failed request."""
    told = {"type": error_type(http_status(error)), "message": error.message}
    return msgspec.json.encode({"type": "error", "error": told, "request_id": request_id})


def error_event(error: MeshError, request_id: str) -> bytes:
    """The server-sent event that ends a broken stream; no message_stop follows it."""
    return b"event: error\ndata: " + error_body(error, request_id) + b"\n\n"
