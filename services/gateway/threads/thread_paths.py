"""The paths below a thread that ask a model: which there are, what their bodies say, and the chat body they become."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from dac.memory.v1.conversation_pb2 import Message, Thread
from mesh.errors import invalid
from mesh.structs import plain
from services.gateway.api.json_bodies import unknown_field
from services.gateway.wire import openai_documents, openai_wire, raw_bodies
from services.gateway.wire.openai_wire import ChatAsk
from services.gateway.wire.raw_bodies import read_field, top_level

SAID = ("content", "message", "messages")
"""The names under which a turn's own words may stand; one of them."""
_OWN = frozenset(
    {
        "routing_profile",
        "task_type",
        "enable_memory",
        "agent_id",
        "enable_cache",
        "enable_rescue",
        "enable_validation",
        "validation_context",
        "persona",
        "redaction",
        "team_id",
        "project_id",
    }
)
PARAMETERS = frozenset(
    {
        "frequency_penalty",
        "logit_bias",
        "max_completion_tokens",
        "max_tokens",
        "metadata",
        "parallel_tool_calls",
        "presence_penalty",
        "reasoning_effort",
        "response_format",
        "seed",
        "stop",
        "temperature",
        "tool_choice",
        "tools",
        "top_p",
        "user",
    }
)
"""OpenAI's parameters that a turn, or its thread, may name."""
_OF_THREAD = PARAMETERS | {
    "routing_profile",
    "task_type",
    "enable_memory",
    "agent_id",
    "enable_cache",
    "enable_rescue",
    "persona",
    "redaction",
}
_OUTPUT = frozenset({"max_tokens", "max_completion_tokens"})
_TURN = _OWN | PARAMETERS | {*SAID, "role", "model", "parent_message_id", "stream"}
_AGAIN = _OWN | PARAMETERS | {"model", "stream"}
_EDIT = _AGAIN | {"content", "text", "regenerate", "branch_name"}
_TURN_PATH = re.compile(r"/(?P<family>api/threads|v1/conversations)/(?P<thread>[^/]+)/messages(?P<stream>/stream)?")
_AGAIN_PATH = re.compile(
    r"/(?P<family>api/threads|v1/conversations)/(?P<thread>[^/]+)/messages/(?P<message>[^/]+)(?P<again>/regenerate)?"
)
_EXAMPLE = '{"content": "Hello"}'


@dataclasses.dataclass(frozen=True, slots=True)
class ThreadPath:
    """A request below a thread that asks a model."""

    template: str
    thread_id: str
    message_id: str = ""
    """What is answered once more, or edited."""
    streams: bool = False
    """Whether the path itself says that the answer streams."""
    edits: bool = False


def found(method: str, path: str) -> ThreadPath | None:
    """What a path asks for; None = it is not one of these. A GET on the same path is none."""
    if method == "POST":
        turn = _TURN_PATH.fullmatch(path)
        if turn is not None:
            template = f"/{turn['family']}/{{thread_id}}/messages{turn['stream'] or ''}"
            return ThreadPath(template, turn["thread"], streams=bool(turn["stream"]))
    again = _AGAIN_PATH.fullmatch(path)
    if again is None or (method, bool(again["again"])) not in (("POST", True), ("PATCH", False)):
        return None
    template = f"/{again['family']}/{{thread_id}}/messages/{{message_id}}{again['again'] or ''}"
    return ThreadPath(template, again["thread"], again["message"], edits=method == "PATCH")


def edits_only(body: bytes) -> bool:
    """Whether the body of an edit asks for no answer to it."""
    return b'"regenerate"' not in body or not _Regenerate.of(body)


class _Regenerate(msgspec.Struct):
    regenerate: bool = False

    @staticmethod
    def of(body: bytes) -> bool:
        try:
            return msgspec.json.decode(body, type=_Regenerate).regenerate
        except (msgspec.DecodeError, UnicodeDecodeError):
            return False


@dataclasses.dataclass(slots=True)
class ThreadAsk:
    """A body, read as far as it can be without the thread."""

    path: ThreadPath
    fields: dict[str, msgspec.Raw]
    stream: bool
    max_depth: int
    text: str = ""
    """What an edit says."""


def parse_turn(path: ThreadPath, body: bytes, *, max_depth: int) -> ThreadAsk:
    """Reads a body. Raises INVALID_REQUEST naming the field and the mend."""
    fields = top_level(body.strip() or b"{}", max_depth, _EXAMPLE)
    known = _EDIT if path.edits else _AGAIN if path.message_id else _TURN
    for name in fields:
        if name not in known:
            raise unknown_field(name, sorted(known))
    ask = ThreadAsk(path, fields, read_field(fields, "stream", bool, path.streams), max_depth)
    if path.streams and not ask.stream:
        raise invalid("stream", f"{path.template} streams: leave stream out, or ask {path.template[:-7]}.")
    if path.edits:
        ask.text = read_field(fields, "content", str, "") or read_field(fields, "text", str, "")
        if not ask.text:
            raise invalid("content", '"content" is missing: send what the message is to say.')
    elif not path.message_id:
        _join_said(fields)
    return ask


def _join_said(fields: dict[str, msgspec.Raw]) -> None:
    """Puts what the turn says under `messages`."""
    named = [name for name in SAID if name in fields]
    if len(named) != 1:
        raise invalid("content", f"Send one of content, message or messages, such as {_EXAMPLE}.")
    role = read_field(fields, "role", str, "user")
    if named[0] == "content":
        content: str | list[dict[str, Any]] = read_field(fields, "content", str | list[dict[str, Any]], "")
        if not content:
            raise invalid("content", '"content" is empty: send a text, or a list of parts.')
        one = b'{"role":' + msgspec.json.encode(role) + b',"content":' + bytes(fields.pop("content")) + b"}"
        fields["messages"] = msgspec.Raw(b"[" + one + b"]")
    elif "role" in fields:
        raise invalid("role", '"role" goes with content only: a message has its own.')
    fields.pop("role", None)


def ask_of(turn: ThreadAsk, thread: Thread, earlier: Sequence[Message] = ()) -> ChatAsk:
    """The chat body: what the request names, then what its thread does, then `auto`.

    `earlier`: where a message is answered once more, the path to it, itself last. Raises INVALID_REQUEST.
    """
    fields = {name: raw for name, raw in turn.fields.items() if name in _TURN}
    for name, raw in _parameters_of(thread).items():
        if name not in fields and not (name in _OUTPUT and not _OUTPUT.isdisjoint(turn.fields)):
            fields[name] = raw
    fields.setdefault("model", msgspec.Raw(msgspec.json.encode(thread.model or "auto")))
    fields["stream"] = msgspec.Raw(b"true" if turn.stream else b"false")
    fields["thread_id"] = msgspec.Raw(msgspec.json.encode(thread.thread_id))
    question = _question(earlier) if earlier else []
    if question:
        fields.pop("content", None)
        said = [one.openai_json.encode() or openai_documents.plain_message(one.role, one.text) for one in question]
        fields["messages"] = msgspec.Raw(b"[" + b",".join(said) + b"]")
    ask = openai_wire.parse_chat(raw_bodies.join_fields(fields), max_depth=turn.max_depth + 2)
    if question:
        ask.question_id, ask.parent_message_id = question[-1].message_id, question[0].parent_message_id
        ask.begins_anew = not ask.parent_message_id
        if earlier[-1].role == "assistant":
            ask.replaces_message_id = earlier[-1].message_id
    return ask


def _question(earlier: Sequence[Message]) -> Sequence[Message]:
    """What is answered: the user's last message before the answer, and the calls and results between them."""
    end = len(earlier) - (earlier[-1].role == "assistant")
    begin = next((index for index in range(end - 1, -1, -1) if earlier[index].role == "user"), None)
    if begin is None:
        raise invalid("message_id", "There is no question before this message that could be answered once more.")
    return earlier[begin:end]


def _parameters_of(thread: Thread) -> Mapping[str, msgspec.Raw]:
    if not thread.HasField("parameters"):
        return {}
    found = plain(thread.parameters)
    return {name: msgspec.Raw(msgspec.json.encode(one)) for name, one in found.items() if name in _OF_THREAD}
