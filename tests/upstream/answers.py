"""The mock's right answers, plain and as stream events, in both dialects."""

import dataclasses
import json
from typing import Any

from tests.upstream.behaviour import Behaviour

WORDS = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty alpha bravo charlie delta echo foxtrot golf hotel india juliett kilo lima mike november "
    "oscar papa quebec romeo sierra tango uniform victor whiskey xray yankee zulu red orange yellow green blue indigo "
    "violet north east south west spring summer autumn"
)
"""The fixed answer: 60 words, so that a truncated one cannot pass as whole."""
CREATED = 1_700_000_000


@dataclasses.dataclass
class Answer:
    """What the mock says to one request, before it is put in a dialect."""

    model: str
    tokens: list[str]
    finish: str
    tool_name: str
    tool_arguments: str
    input_tokens: int
    behaviour: Behaviour
    thinks: bool = False
    """Anthropic's thinking, or OpenAI's reasoning_effort, was asked for."""

    @property
    def output_tokens(self) -> int:
        """Visible tokens."""
        return len(self.tokens) or len(self.tool_arguments.split())


def text_of(content: Any) -> str:
    """The text of a message's content, string or parts."""
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", "") for part in content or [] if isinstance(part, dict))


def sample(schema: Any, text: str) -> Any:
    """A value that fits a JSON schema."""
    if not isinstance(schema, dict):
        return text
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if kind == "object":
        return {name: sample(part, text) for name, part in schema.get("properties", {}).items()}
    if kind == "array":
        return [sample(schema.get("items", {}), text)]
    return {"integer": 1, "number": 1.5, "boolean": True, "null": None}.get(kind, text)


def compose(body: dict[str, Any], behaviour: Behaviour) -> Answer:
    """The answer to a checked request."""
    messages = body["messages"]
    newest = messages[max((n for n, m in enumerate(messages) if m["role"] == "assistant"), default=0) :]
    asked = next((text_of(m.get("content")) for m in reversed(messages) if m["role"] == "user"), "")
    text = behaviour.text or (f"echo: {asked}" if "echo" in body["model"] else WORDS)
    prompt = " ".join(text_of(m.get("content")) for m in messages) + " " + text_of(body.get("system"))
    tools, choice = body.get("tools") or [], body.get("tool_choice")
    answered = any(m["role"] == "tool" or "tool_result" in json.dumps(m) for m in newest)
    tool_name = arguments = ""
    if tools and not answered and choice not in ("none", {"type": "none"}) and behaviour.tool != "none":
        named = (choice.get("function") or choice).get("name") if isinstance(choice, dict) else behaviour.tool
        shapes = [tool.get("function") or tool for tool in tools]
        shape = next((s for s in shapes if s["name"] == named), shapes[0])
        tool_name = shape["name"]
        arguments = behaviour.arguments or json.dumps(
            sample(shape.get("parameters") or shape.get("input_schema"), asked[:40])
        )
    format_ = body.get("response_format") or {}
    if format_.get("type") == "json_schema":
        text = behaviour.text or json.dumps(sample(format_["json_schema"].get("schema"), "text"))
    elif format_.get("type") == "json_object":
        text = behaviour.text or '{"answer": "text"}'
    elif wanted := (body.get("output_config") or {}).get("format"):
        text = json.dumps(sample(wanted["schema"], "text"))
    words = text.split(" ")
    tokens = [word if index == 0 else f" {word}" for index, word in enumerate(words)]
    limit = body.get("max_completion_tokens") or body.get("max_tokens") or len(tokens)
    finish = "tool_calls" if tool_name else "length" if limit < len(tokens) else "stop"
    shown = [] if tool_name else tokens[:limit]
    thinks = (body.get("thinking") or {}).get("type") in ("enabled", "adaptive")
    thinks = thinks or body.get("reasoning_effort") not in (None, "none")
    return Answer(body["model"], shown, finish, tool_name, arguments, len(prompt.split()), behaviour, thinks)


def openai_usage(answer: Answer) -> dict[str, Any] | None:
    """OpenAI's usage object: totals include the cached and the reasoning tokens."""
    b = answer.behaviour
    if b.usage == "missing":
        return None
    zero = b.usage == "zero"
    prompt = 0 if zero else answer.input_tokens + b.cached_tokens
    completion = 0 if zero else answer.output_tokens + b.reasoning_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": b.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": b.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def openai_plain(answer: Answer, number: int, choices: int = 1) -> dict[str, Any]:
    """A chat.completion object."""
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(answer.tokens) if not answer.tool_name else None,
        "refusal": None,
        "annotations": [],
    }
    if answer.thinks:
        message["reasoning_content"] = "Let me think."
    if answer.tool_name:
        function = {"name": answer.tool_name, "arguments": answer.tool_arguments}
        message["tool_calls"] = [{"id": f"call_{number:08d}", "type": "function", "function": function}]
    made: dict[str, Any] = {
        "id": f"chatcmpl-{number:08d}",
        "object": "chat.completion",
        "created": CREATED,
        "model": answer.model,
        "choices": [
            {"index": index, "message": message, "logprobs": None, "finish_reason": answer.finish}
            for index in range(choices)
        ],
        "service_tier": "default",
        "system_fingerprint": "fp_mock",
    }
    usage = openai_usage(answer)
    if usage is not None:
        made["usage"] = usage
    return made


def openai_events(answer: Answer, number: int, include_usage: bool) -> tuple[list[str], list[str], list[str]]:
    """(events before the first token, one event per token, events after the last but for [DONE])."""

    def chunk(delta: dict[str, Any], finish: str | None = None) -> str:
        made = {
            "id": f"chatcmpl-{number:08d}",
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": answer.model,
            "service_tier": "default",
            "system_fingerprint": "fp_mock",
            "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
        }
        if include_usage:
            made["usage"] = None
        return json.dumps(made, separators=(",", ":"))

    head = [chunk({"role": "assistant", "content": None if answer.tool_name else "", "refusal": None})]
    if answer.thinks:
        head.append(chunk({"reasoning_content": "Let me think."}))
    middle = [chunk({"content": token}) for token in answer.tokens]
    if answer.tool_name:
        first = {"index": 0, "id": f"call_{number:08d}", "type": "function"}
        middle.append(chunk({"tool_calls": [{**first, "function": {"name": answer.tool_name, "arguments": ""}}]}))
        for start in range(0, len(answer.tool_arguments), 7):
            piece = {"arguments": answer.tool_arguments[start : start + 7]}
            middle.append(chunk({"tool_calls": [{"index": 0, "function": piece}]}))
    tail = [chunk({}, answer.finish)]
    usage = openai_usage(answer)
    if include_usage and usage is not None:
        last = json.loads(tail[0])
        last.update(choices=[], usage=usage)
        tail.append(json.dumps(last, separators=(",", ":")))
    return head, middle, tail


USAGE_NULLS = dict.fromkeys(
    ("cache_creation", "inference_geo", "output_tokens_details", "server_tool_use", "service_tier")
)
STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


def anthropic_usage(answer: Answer) -> dict[str, Any]:
    """Anthropic's usage object: input_tokens excludes what the cache did, output_tokens holds thinking."""
    b = answer.behaviour
    if b.usage == "missing":
        return {}
    zero = b.usage == "zero"
    return {
        "input_tokens": 0 if zero else answer.input_tokens,
        "cache_creation_input_tokens": b.cache_write_tokens,
        "cache_read_input_tokens": b.cached_tokens,
        "output_tokens": 0 if zero else answer.output_tokens + b.reasoning_tokens,
        **({"output_tokens_details": {"thinking_tokens": b.reasoning_tokens}} if b.reasoning_tokens else {}),
    }


def anthropic_plain(answer: Answer, number: int) -> dict[str, Any]:
    """A message object."""
    content: list[dict[str, Any]] = [{"type": "text", "text": "".join(answer.tokens), "citations": None}]
    if answer.tool_name:
        arguments = json.loads(answer.tool_arguments)
        call = {"type": "tool_use", "id": f"toolu_{number:08d}", "name": answer.tool_name, "input": arguments}
        content = [{**call, "caller": {"type": "direct"}}]
    if answer.thinks:
        content.insert(0, {"type": "thinking", "thinking": "Let me think.", "signature": "c2lnbmVk"})
    made: dict[str, Any] = {
        "id": f"msg_{number:08d}",
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": content,
        "stop_reason": STOP_REASONS[answer.finish],
        "stop_sequence": None,
        "stop_details": None,
        "container": None,
    }
    usage = anthropic_usage(answer)
    if usage:
        made["usage"] = {**USAGE_NULLS, **usage}
    return made


def anthropic_events(answer: Answer, number: int) -> tuple[list[str], list[str], list[str]]:
    """(events before the first token, one event per token, events after the last)."""
    message = {**anthropic_plain(answer, number), "content": [], "stop_reason": None}
    usage = anthropic_usage(answer)
    if usage:
        message["usage"] = {**USAGE_NULLS, **usage, "output_tokens": 1}
    block: dict[str, Any] = {"type": "text", "text": ""}
    deltas: list[dict[str, Any]] = [{"type": "text_delta", "text": token} for token in answer.tokens]
    if answer.tool_name:
        block = {"type": "tool_use", "id": f"toolu_{number:08d}", "name": answer.tool_name, "input": {}}
        pieces = [answer.tool_arguments[start : start + 7] for start in range(0, len(answer.tool_arguments), 7)]
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    index = 1 if answer.thinks else 0
    head = [
        {"type": "message_start", "message": message},
        *(thinking_events() if answer.thinks else []),
        {"type": "content_block_start", "index": index, "content_block": block},
        {"type": "ping"},
    ]
    middle = [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
    told = {name: usage[name] for name in ("output_tokens", "output_tokens_details") if name in usage}
    end: dict[str, Any] = {
        "type": "message_delta",
        "delta": {"stop_reason": STOP_REASONS[answer.finish], "stop_sequence": None},
        "usage": told,
    }
    tail = [{"type": "content_block_stop", "index": index}, end, {"type": "message_stop"}]
    return [json.dumps(e) for e in head], [json.dumps(e) for e in middle], [json.dumps(e) for e in tail]


def thinking_events() -> list[dict[str, Any]]:
    """The block a stream begins with when thinking was asked for."""
    begun = {"type": "thinking", "thinking": "", "signature": ""}
    deltas = [
        {"type": "thinking_delta", "thinking": "Let me "},
        {"type": "thinking_delta", "thinking": "think."},
        {"type": "signature_delta", "signature": "c2lnbmVk"},
    ]
    return [
        {"type": "content_block_start", "index": 0, "content_block": begun},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
    ]
