"""OpenAI's responses form: reading a body as far as DAC looks into it, and the few documents DAC makes itself.

The result of reading is the same `ChatAsk` that a chat body gives, so that everything behind the edge is shared.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from dac.type.v1 import chat_pb2
from mesh.errors import MeshError, invalid
from mesh.sse import Splitter, data_of, read_json
from mesh.tokens import IMAGE_TOKENS, estimate_tokens, upper_bound_tokens
from services.gateway.chat.labels import BODY_FIELDS, only_a_header
from services.gateway.edge import failures
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

RESPONSES_EXAMPLE = '{"model": "auto", "input": "Hi"}'
FILE_BYTES_PER_TOKEN = 20
"""How much of a base64 file one token is estimated at: about 3,000 tokens for a page of 60 kB."""
STORED = ("previous_response_id", "conversation", "prompt")
"""Fields that name what one provider stores."""
_TEXTS = ("input", "instructions", "tools", "text", "prompt")
_CALLERS_TOOLS = frozenset({"function", "custom", "namespace"})
"""The types of tools that the caller runs."""
_ENDS = ("response.completed", "response.incomplete")
_MARKS = tuple(end.encode() for end in _ENDS)


def parse_responses(body: bytes, *, max_depth: int = 64) -> ChatAsk:
    """Reads and checks a responses body. Raises INVALID_REQUEST naming the field and the mend."""
    fields = top_level(body, max_depth, RESPONSES_EXAMPLE)
    ask = ChatAsk(model_of(fields, MODEL_MISSING), [], fields, body, dialect=chat_pb2.DIALECT_OPENAI_RESPONSES)
    for name in fields:
        if name in BODY_FIELDS:
            raise only_a_header(name)
        if name in DAC_FIELDS:
            raise invalid(
                name,
                f'"{name}" is not offered in the responses form: use POST /v1/chat/completions for threads, the '
                "header x-dac-cache-mode for the cache, x-dac-validation for checks, x-dac-persona for the persona, "
                'and a model such as "auto:quality" for a profile.',
            )
    _read_stored(ask)
    _read_input(ask)
    _read_options(ask)
    return ask


def _read_stored(ask: ChatAsk) -> None:
    if read_field(ask.fields, "background", bool, False):
        raise invalid(
            "background", '"background" is not offered: DAC keeps no answers to be fetched later. Leave it out.'
        )
    for name in STORED:
        if _given(ask, name) and ask.model.partition(":")[0] == "auto":
            raise invalid(
                name,
                f'"{name}" names what one provider stores: name a model of that provider instead of "{ask.model}", or '
                "send the whole conversation as input.",
            )


def _given(ask: ChatAsk, name: str) -> bool:
    return name in ask.fields and bytes(ask.fields[name]) != b"null"


def _read_input(ask: ChatAsk) -> None:
    fields = ask.fields
    given: str | list[dict[str, Any]] = read_field(fields, "input", str | list[dict[str, Any]], "")
    stored = any(_given(ask, name) for name in STORED)
    if not _given(ask, "input") and not stored:
        raise invalid(
            "input", '"input" is missing: send a text, or a list such as [{"role": "user", "content": "Hi"}].'
        )
    if isinstance(given, list) and not given and not stored:
        raise invalid("input", '"input" is empty: send at least one item.')
    sizes = _Sizes()
    if isinstance(given, list):
        for index, item in enumerate(given):
            if "type" not in item and "role" not in item:
                raise invalid(f"input[{index}].type", "Every item needs a type, e.g. message, or a role.")
            for name in ("content", "output"):
                if isinstance(item.get(name), list):
                    sizes.add(item[name], f"input[{index}].{name}")
            sizes.unseen |= item.get("type") == "item_reference"
            if item.get("type") == "additional_tools":
                _note_tools(ask, item.get("tools"), f"input[{index}].tools")
    if lets_choose(ask.model):
        note_prompt(ask, [_Turn(given)] if isinstance(given, str) else [_turn(item) for item in given])
    text_bytes = sum(len(bytes(fields.get(name) or b"")) for name in _TEXTS) - sizes.image_bytes - sizes.file_bytes
    ask.needs_images = sizes.images > 0
    ask.unseen_input |= stored or sizes.unseen
    files = sizes.file_bytes // FILE_BYTES_PER_TOKEN
    ask.input_tokens = estimate_tokens(text_bytes) + sizes.images * IMAGE_TOKENS + files
    ask.input_tokens_max = upper_bound_tokens(text_bytes) + sizes.images * IMAGE_TOKENS_MAX + sizes.file_bytes


class _Turn(NamedTuple):
    """An item as one who speaks."""

    content: Any
    role: str = "user"


def _turn(item: dict[str, Any]) -> _Turn:
    content = item.get("content")
    return _Turn(content if isinstance(content, str | list) else "", str(item.get("role", "")))


class _Sizes:
    """What in the content is no text."""

    def __init__(self) -> None:
        self.images = self.image_bytes = self.file_bytes = 0
        self.unseen = False
        """Something is named that only the provider has."""

    def add(self, parts: Sequence[Any], where: str) -> None:
        """Takes in a list of content parts. Raises INVALID_REQUEST for one without a type."""
        for number, part in enumerate(parts):
            kind = part.get("type") if isinstance(part, dict) else None
            if not isinstance(kind, str):
                raise invalid(f"{where}[{number}].type", "Every content part needs a type, e.g. input_text.")
            if kind == "input_image":
                self.images += 1
                self.image_bytes += _length(part.get("image_url"))
            elif kind == "input_file":
                self.file_bytes += _length(part.get("file_data"))
                self.unseen |= not part.get("file_data")


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str) else 0


def _read_options(ask: ChatAsk) -> None:
    fields, nothing = ask.fields, dict[str, Any]()
    ask.stream = read_field(fields, "stream", bool, False)
    asked = read_field(fields, "max_output_tokens", int, 0)
    if _given(ask, "max_output_tokens") and not 1 <= asked <= MOST_TOKENS:
        raise invalid("max_output_tokens", f'"max_output_tokens" must be between 1 and {MOST_TOKENS}, not {asked}.')
    ask.max_output_tokens = asked
    for name, high in (("temperature", 2), ("top_p", 1)):
        value: float | None = read_field(fields, name, float | None, None)
        if value is not None and not 0 <= value <= high:
            raise invalid(name, f'"{name}" must be between 0 and {high}, not {value:g}.')
    read_field(fields, "instructions", str, "")
    read_field(fields, "reasoning", dict[str, Any], nothing)
    tools: list[dict[str, Any]] = read_field(fields, "tools", list[dict[str, Any]], [])
    _note_tools(ask, tools, "tools")
    text = read_field(fields, "text", dict[str, Any], nothing)
    wanted = text.get("format")
    ask.needs_json = isinstance(wanted, dict) and wanted.get("type") in ("json_object", "json_schema")


def _note_tools(ask: ChatAsk, tools: Any, where: str) -> None:
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise invalid(where, f'"{where}" must be a list of tools.')
    ask.needs_tools |= bool(tools)
    # What a provider's own tool finds is read by the model.
    ask.unseen_input |= any(str(tool.get("type")) not in _CALLERS_TOOLS for tool in tools)


def cut_end(data: bytes) -> tuple[bytes, bytes]:
    """(what comes before, the stream's last event as it was sent): it waits until the record is handed over."""
    if not any(mark in data for mark in _MARKS):
        return data, b""
    events = Splitter(max_event_bytes=len(data) + 1).feed(data)
    last = events[-1] if events else b""
    document = read_json(data_of(last) or b"null")
    if not isinstance(document, dict) or document.get("type") not in _ENDS:
        return data, b""
    return data[: -len(last)], last


def answer_bytes(frames: Iterable[bytes]) -> int:
    """How many bytes of answer the frames of a stream carry: texts, thoughts, names and arguments of tool calls."""
    total = 0
    whole = b"".join(frames)
    for event in Splitter(max_event_bytes=len(whole) + 1).feed(whole):
        document = read_json(data_of(event) or b"null")
        if not isinstance(document, dict):
            continue
        said = document.get("delta")
        if document.get("type") == "response.output_item.added" and isinstance(document.get("item"), dict):
            said = document["item"].get("name")
        total += len(said.encode("utf-8", "replace")) if isinstance(said, str) else 0
    return total


def error_event(error: MeshError, sent: bytes) -> bytes:
    """The server-sent event that ends a broken stream after `sent`; no response.completed follows it."""
    told = failures.error_object(error)
    events = Splitter(max_event_bytes=len(sent) + 1).feed(sent)
    before = read_json(data_of(events[-1]) or b"null") if events else None
    number = before.get("sequence_number") if isinstance(before, dict) else None
    flat = {name: told[name] for name in ("code", "message", "param")}
    # Both as OpenAI documents it (flat) and as its servers send it (in "error").
    made = {"type": "error", "sequence_number": number + 1 if isinstance(number, int) else 0, **flat, "error": told}
    return b"event: error\ndata: " + msgspec.json.encode(made) + b"\n\n"
