"""OpenAI's chat form: what DAC reads of a body, and messages put between what it holds."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from dac.type.v1 import chat_pb2
from mesh.errors import MeshError, Reason, invalid
from mesh.tokens import IMAGE_TOKENS, estimate_tokens, upper_bound_tokens
from services.gateway.gating.sources import read_sources
from services.gateway.identity.places import named_id
from services.gateway.sharing.cache_control import NOTHING, Said
from services.gateway.wire.openai_documents import plain_message
from services.gateway.wire.raw_bodies import join_fields, model_of, read_field, top_level

DAC_FIELDS = frozenset(
    {
        "routing_profile",
        "conversation_id",
        "thread_id",
        "message",
        "parent_message_id",
        "enable_memory",
        "agent_id",
        "enable_cache",
        "enable_rescue",
        "enable_validation",
        "persona",
        "redaction",
        "task_type",
        "validation_context",
        "team_id",
        "project_id",
    }
)
"""DAC's own fields: read here, never sent to a provider."""
IMAGE_TOKENS_MAX = 20_000
PROMPT_HALF_CHARS = 4_000
"""How much of a prompt's beginning, and of its end, the router reads."""
MOST_TOKENS = 100_000_000
"""More than any model writes."""
ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
SHAPES_NOTHING = frozenset({"stream", "stream_options", "user", "metadata", "store", "model"}) | DAC_FIELDS
"""Fields that say how an answer is delivered or filed, not what it is."""


class ChatMessage(msgspec.Struct):
    """One message as far as DAC looks into it."""

    role: str
    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None


class StreamOptions(msgspec.Struct):
    """What a stream's caller asked for."""

    include_usage: bool | None = None
    include_dac: bool | None = None


@dataclasses.dataclass(slots=True)
class ChatAsk:
    """A chat body, read."""

    model: str
    messages: list[ChatMessage]
    fields: dict[str, msgspec.Raw]
    """The top level as raw slices, without DAC's own fields."""
    body: bytes
    """What goes to the provider unless a splice changes it."""
    stream: bool = False
    include_usage: bool = False
    include_dac: bool = False
    max_output_tokens: int = 0
    choices: int = 1
    needs_tools: bool = False
    needs_images: bool = False
    needs_json: bool = False
    needs_text: bool = False
    """Its caller reads no wire format: the whole text is told at the end."""
    profile: str = ""
    task_type: str = ""
    """What the caller says it is for."""
    prompt: str = ""
    """What the user said last, or its beginning and end; only where the router chooses the model."""
    turns: int = 0
    """How many messages of the user there are; only there."""
    thread_id: str = ""
    redaction: bool | None = None
    """Whether private values are to be kept from the provider; None = as its policy says."""
    enable_cache: bool | None = None
    """None = the body does not say."""
    cache_said: Said = NOTHING
    """What the headers say of the cache."""
    parent_message_id: str = ""
    """The saved message that the new ones answer; empty = the head of the thread's active branch."""
    question_id: str = ""
    """The saved message that is answered once more: the body's own messages are in the thread already."""
    replaces_message_id: str = ""
    """The saved answer that the new one is another version of."""
    begins_anew: bool = False
    """What is answered once more is the thread's first turn: nothing of the thread is earlier."""
    enable_memory: bool | None = None
    """What may be recalled besides the window; None = as the caller's identity says."""
    agent_id: str = ""
    """The agent whose memories these are."""
    enable_rescue: bool = True
    enable_validation: bool | None = None
    """None = as the policy says."""
    validation_context: tuple[str, ...] = ()
    """What the answer should rest on."""
    persona: bool | None = None
    """False = without the policy's persona; None = neither body nor header say."""
    team_id: str = ""
    """Whom it is for, when the body says so."""
    project_id: str = ""
    input_tokens: int = 0
    input_tokens_max: int = 0
    unseen_input: bool = False
    """The model may read more than the body holds: as much as its context."""
    dialect: chat_pb2.Dialect = chat_pb2.DIALECT_OPENAI_CHAT
    anthropic_beta: str = ""
    """Anthropic's form only: the header of that name."""


PLAIN_TIERS = frozenset({b"null", b'"auto"', b'"default"', b'"standard"', b'"standard_only"'})
"""What `service_tier` (and Anthropic's `speed`) may say without asking for more than the plain one."""


def names_service_tier(ask: ChatAsk) -> bool:
    """Whether the body asks to be served otherwise than usual, which may cost more."""
    named = (ask.fields.get("service_tier"), ask.fields.get("speed"))
    return any(one is not None and bytes(one).strip() not in PLAIN_TIERS for one in named)


_top = msgspec.json.Decoder(dict[str, msgspec.Raw])
_raw_messages = msgspec.json.Decoder(list[msgspec.Raw])
CHAT_EXAMPLE = '{"model": "auto", "messages": […]}'
MODEL_MISSING = 'Say which model: a model id, "auto", or a profile such as "auto:quality".'


def lets_choose(model: str) -> bool:
    """Whether the router is to choose the model."""
    return model == "auto" or model.startswith("auto:")


def bounded_prompt(text: str) -> str:
    """As much of a prompt as is read to choose a model: a long one's beginning and end."""
    if len(text) <= 2 * PROMPT_HALF_CHARS:
        return text
    return f"{text[:PROMPT_HALF_CHARS]}\n{text[-PROMPT_HALF_CHARS:]}"


def note_prompt(ask: ChatAsk, messages: Sequence[Any]) -> None:
    """Keeps what the user said last, and how often the user spoke; a part that is no text is passed over."""
    for message in reversed(messages):
        if message.role == "user":
            ask.turns += 1
            if not ask.prompt:
                content = message.content
                if not isinstance(content, str):
                    content = "\n".join(text for part in content or () if isinstance(text := part.get("text"), str))
                ask.prompt = bounded_prompt(content)


def parse_chat(body: bytes, *, max_depth: int = 64) -> ChatAsk:
    """Reads and checks a chat body. Raises INVALID_REQUEST naming the field and the mend."""
    fields = top_level(body, max_depth, CHAT_EXAMPLE)
    ask = ChatAsk(model_of(fields, MODEL_MISSING), [], fields, body)
    if "message" in fields and "messages" not in fields:
        fields["messages"] = _of_one(fields)
    _read_messages(ask)
    _read_options(ask)
    if not DAC_FIELDS.isdisjoint(fields) or ask.include_dac:
        _read_own(ask)
        ask.fields = {key: value for key, value in fields.items() if key not in DAC_FIELDS}
        if ask.include_dac:
            ask.fields["stream_options"] = msgspec.Raw(b'{"include_usage":true}' if ask.include_usage else b"{}")
        ask.body = join_fields(ask.fields)
    return ask


def _of_one(fields: Mapping[str, msgspec.Raw]) -> msgspec.Raw:
    """`messages` from its short form: a text of the user, or one message."""
    said: str | dict[str, Any] = read_field(fields, "message", str | dict[str, Any], "")
    one = fields["message"] if isinstance(said, dict) else plain_message("user", said)
    return msgspec.Raw(b"[" + bytes(one) + b"]")


def _read_own(ask: ChatAsk) -> None:
    fields = ask.fields
    ask.enable_validation = read_field(fields, "enable_validation", bool | None, None)
    nothing: list[str] = []
    ask.validation_context = read_sources(
        read_field(fields, "validation_context", list[str], nothing), "validation_context"
    )
    thread, other = read_field(fields, "thread_id", str, ""), read_field(fields, "conversation_id", str, "")
    if thread and other and thread != other:
        raise invalid("conversation_id", '"thread_id" and "conversation_id" are two names of one thing: send one.')
    ask.thread_id = thread or other
    ask.parent_message_id = read_field(fields, "parent_message_id", str, "")
    ask.agent_id = read_field(fields, "agent_id", str, "")
    for name in ("thread_id", "parent_message_id", "agent_id"):
        given: str = getattr(ask, name)
        if len(given) > 128 or not given.isprintable():
            raise invalid(name, f'"{name}" has at most 128 printable characters.')
    if ask.parent_message_id and not ask.thread_id:
        raise invalid("parent_message_id", '"parent_message_id" is a message of a thread: send thread_id as well.')
    ask.enable_memory = read_field(fields, "enable_memory", bool | None, None)


def _read_messages(ask: ChatAsk) -> None:
    if "messages" not in ask.fields:
        raise invalid("messages", '"messages" is missing: send a list such as [{"role": "user", "content": "Hi"}].')
    ask.messages = read_field(ask.fields, "messages", list[ChatMessage], [])
    if not ask.messages:
        raise invalid("messages", '"messages" is empty: send at least one message.')
    images = image_bytes = 0
    for index, message in enumerate(ask.messages):
        where = f"messages[{index}]"
        if message.role not in ROLES:
            raise invalid(
                f"{where}.role", f'"{message.role[:40]}" is not a role: use system, user, assistant, tool or developer.'
            )
        if message.content is None and not message.tool_calls and message.refusal is None:
            raise invalid(f"{where}.content", f'"{where}.content" is missing: send text or a list of parts.')
        if message.role == "tool" and not message.tool_call_id:
            raise invalid(f"{where}.tool_call_id", "A tool message names the call it answers in tool_call_id.")
        if isinstance(message.content, list):
            for number, part in enumerate(message.content):
                kind = part.get("type")
                if not isinstance(kind, str):
                    raise invalid(f"{where}.content[{number}].type", "Every content part needs a type, e.g. text.")
                if kind == "image_url":
                    images += 1
                    url = part.get("image_url")
                    image_bytes += len(str(url.get("url", ""))) if isinstance(url, dict) else 0
    ask.needs_images = images > 0
    if lets_choose(ask.model):
        note_prompt(ask, ask.messages)
    text_bytes = len(bytes(ask.fields["messages"])) - image_bytes + len(bytes(ask.fields.get("tools") or b""))
    ask.input_tokens = estimate_tokens(text_bytes) + images * IMAGE_TOKENS
    ask.input_tokens_max = upper_bound_tokens(text_bytes) + images * IMAGE_TOKENS_MAX


_SELDOM = frozenset(
    """n temperature top_p presence_penalty frequency_penalty tools response_format routing_profile task_type
    enable_cache persona redaction enable_rescue team_id project_id""".split()  # noqa: SIM905
)
"""What `_read_options` reads beside what nearly every body holds."""


def _read_options(ask: ChatAsk) -> None:
    fields = ask.fields
    ask.stream = read_field(fields, "stream", bool, False)
    options = read_field(fields, "stream_options", StreamOptions, StreamOptions())
    ask.include_usage, ask.include_dac = bool(options.include_usage), bool(options.include_dac)
    if "stream_options" in fields and not ask.stream and bytes(fields["stream_options"]) != b"null":
        raise invalid("stream_options", '"stream_options" goes with "stream": true only.')
    for name in ("max_completion_tokens", "max_tokens"):
        asked = read_field(fields, name, int, 0)
        if name in fields and not 1 <= asked <= MOST_TOKENS and bytes(fields[name]) != b"null":
            raise invalid(name, f'"{name}" must be between 1 and {MOST_TOKENS}, not {asked}.')
        ask.max_output_tokens = ask.max_output_tokens or asked
    if _SELDOM.isdisjoint(fields):
        return
    ask.choices = read_field(fields, "n", int, 1)
    if not 1 <= ask.choices <= 128:
        raise invalid("n", f'"n" must be between 1 and 128, not {ask.choices}.')
    for name, low, high in (
        ("temperature", 0, 2),
        ("top_p", 0, 1),
        ("presence_penalty", -2, 2),
        ("frequency_penalty", -2, 2),
    ):
        value: float | None = read_field(fields, name, float | None, None)
        if value is not None and not low <= value <= high:
            raise invalid(name, f'"{name}" must be between {low} and {high}, not {value:g}.')
    ask.needs_tools = bool(read_field(fields, "tools", list[dict[str, Any]], []))
    nothing: dict[str, Any] = {}
    form = read_field(fields, "response_format", dict[str, Any], nothing)
    ask.needs_json = form.get("type") in ("json_object", "json_schema")
    ask.profile = read_field(fields, "routing_profile", str, "")
    ask.task_type = read_field(fields, "task_type", str, "")[:64]
    ask.enable_cache = read_field(fields, "enable_cache", bool | None, None)
    ask.persona = read_field(fields, "persona", bool | None, None)
    ask.redaction = read_field(fields, "redaction", bool | None, None)
    ask.enable_rescue = read_field(fields, "enable_rescue", bool, True)
    if "team_id" in fields or "project_id" in fields:
        ask.team_id = named_id("team_id", read_field(fields, "team_id", str, ""))
        ask.project_id = named_id("project_id", read_field(fields, "project_id", str, ""))


def with_messages(ask: ChatAsk, earlier: Iterable[bytes]) -> bytes:
    """The body with `earlier` messages put behind its system messages and before its own."""
    own = [bytes(raw) for raw in _raw_messages.decode(ask.fields["messages"])]
    heads = 0
    while heads < len(own) and ask.messages[heads].role in ("system", "developer"):
        heads += 1
    joined = b"[" + b",".join([*own[:heads], *earlier, *own[heads:]]) + b"]"
    return join_fields({**ask.fields, "messages": msgspec.Raw(joined)})


def with_system(body: bytes, text: str) -> bytes:
    """The body with a system message put first; the others stay byte for byte."""
    fields = _top.decode(body)
    own = bytes(fields["messages"]).lstrip()[1:]
    line = msgspec.json.encode({"role": "system", "content": text})
    comma = b"" if own.lstrip()[:1] == b"]" else b","
    return join_fields({**fields, "messages": msgspec.Raw(b"[" + line + comma + own)})


def raw_messages(ask: ChatAsk) -> list[bytes]:
    """Every message as it was sent."""
    return [bytes(raw) for raw in _raw_messages.decode(ask.fields["messages"])]


def text_of(message: ChatMessage) -> str:
    """The readable text of a message."""
    if isinstance(message.content, str):
        return message.content
    parts = message.content or ()
    return "\n".join(str(part.get("text", "")) for part in parts if part.get("type") == "text")


def is_plain(message: ChatMessage) -> bool:
    """Whether role and text say all of a message."""
    return isinstance(message.content, str) and not message.tool_calls and not message.tool_call_id


def too_large(limit: int) -> MeshError:
    """TOO_LARGE for a body over `limit` bytes."""
    return MeshError(
        Reason.TOO_LARGE,
        f"The body is larger than {limit / 1048576:g} MiB. Send less, or raise gateway.max_body_bytes.",
        metadata={"field": "body"},
    )
