"""What Anthropic is asked and what it answers: requests in both forms, answers as its documentation has them."""

import base64
import json
from typing import Any

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CLOSED = {**SCHEMA, "additionalProperties": False}
FUNCTION = {"name": "weather", "description": "now", "parameters": SCHEMA}
TOOLS = [{"type": "function", "function": FUNCTION}]
TOOL = {"name": "weather", "description": "now", "input_schema": SCHEMA}
USER = {"role": "user", "content": "hi"}
TEXT_HI = {"type": "text", "text": "hi"}
HI = {"role": "user", "content": [TEXT_HI]}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Köln"}'}}
USE = {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Köln"}}
MARK = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}
PNG = base64.b64encode(b"\x89PNG\xff\xfe\xfd").decode()
PDF = base64.b64encode(b"%PDF-1.7 \xff").decode()
NOTE = base64.b64encode("Grüße\n".encode()).decode()
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
HIDDEN = {"type": "redacted_thinking", "data": "ZW5j"}
ADAPTIVE = {"type": "adaptive", "display": "summarized"}

OLD, BUDGET, FIRST, NEW, LATEST = (
    "claude-3-5-haiku-20241022",
    "claude-sonnet-4-5-20250929",
    "claude-opus-4-6",
    "claude-opus-5",
    "claude-opus-5-5",
)


def part(kind: str, value: Any, **more: Any) -> dict[str, Any]:
    return {"type": kind, kind: value, **more}


def file(media_type: str, data: str, **more: str) -> dict[str, Any]:
    return part("file", {"file_data": f"data:{media_type};base64,{data}", **more})


CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "plain": (NEW, {"messages": [USER]}, {"messages": [HI]}),
    "system": (
        NEW,
        {"messages": [{"role": "developer", "content": "brief"}, USER, {"role": "system", "content": "very"}]},
        {"messages": [HI], "system": [{"type": "text", "text": "brief"}, {"type": "text", "text": "very"}]},
    ),
    "turns": (
        NEW,
        {"messages": [USER, {"role": "assistant", "content": "yes?"}, USER, USER]},
        {
            "messages": [
                HI,
                {"role": "assistant", "content": [{"type": "text", "text": "yes?"}]},
                {"role": "user", "content": [TEXT_HI, TEXT_HI]},
            ]
        },
    ),
    "images": (
        NEW,
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "hi"},
                        part("image_url", {"url": f"data:image/png;base64,{PNG}"}),
                        part("image_url", {"url": "https://example.com/a.png", "detail": "low"}),
                    ],
                }
            ]
        },
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        TEXT_HI,
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
                        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
                    ],
                }
            ]
        },
    ),
    "files": (
        NEW,
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        file("application/pdf", PDF, filename="a.pdf"),
                        file("text/markdown", NOTE),
                        file("image/png", PNG),
                    ],
                }
            ]
        },
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "document",
                            "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
                            "title": "a.pdf",
                        },
                        {
                            "type": "document",
                            "source": {"type": "text", "media_type": "text/plain", "data": "Grüße\n"},
                        },
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
                    ],
                }
            ]
        },
    ),
    "a tool loop with thoughts": (
        NEW,
        {
            "messages": [
                USER,
                {
                    "role": "assistant",
                    "content": "Let me see.",
                    "tool_calls": [CALL, {**CALL, "id": "c2"}],
                    "reasoning_content": "hm",
                    "extra_content": {
                        "anthropic": {
                            "thinking": [{"index": 0, **THOUGHT}, {"index": 1, **HIDDEN}, {**THOUGHT, "index": 4}]
                        }
                    },
                },
                {"role": "tool", "tool_call_id": "c1", "content": "grey"},
                {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "green"}]},
            ],
            "tools": TOOLS,
            "reasoning_effort": "high",
        },
        {
            "messages": [
                HI,
                {
                    "role": "assistant",
                    "content": [
                        THOUGHT,
                        HIDDEN,
                        {"type": "text", "text": "Let me see."},
                        USE,
                        THOUGHT,
                        {**USE, "id": "c2"},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "grey"}]},
                        {"type": "tool_result", "tool_use_id": "c2", "content": [{"type": "text", "text": "green"}]},
                    ],
                },
            ],
            "tools": [TOOL],
            "thinking": ADAPTIVE,
            "output_config": {"effort": "high"},
        },
    ),
    "any tool, one at a time": (
        NEW,
        {"messages": [USER], "tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": False},
        {"messages": [HI], "tools": [TOOL], "tool_choice": {"type": "any", "disable_parallel_tool_use": True}},
    ),
    "one function": (
        NEW,
        {"messages": [USER], "tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "weather"}}},
        {"messages": [HI], "tools": [TOOL], "tool_choice": {"type": "tool", "name": "weather"}},
    ),
    "no tool": (
        LATEST,
        {"messages": [USER], "tools": TOOLS, "tool_choice": "none"},
        {"messages": [HI], "tools": [TOOL], "tool_choice": {"type": "none"}},
    ),
    "a strict tool": (
        LATEST,
        {"messages": [USER], "tools": [part("function", {**FUNCTION, "strict": True})]},
        {"messages": [HI], "tools": [{**TOOL, "input_schema": CLOSED, "strict": True}]},
    ),
    "a budget": (
        BUDGET,
        {"messages": [USER], "reasoning_effort": "medium", "max_tokens": 20000},
        {"messages": [HI], "thinking": {"type": "enabled", "budget_tokens": 8192}, "max_tokens": 20000},
    ),
    "an effort": (
        LATEST,
        {"messages": [USER], "reasoning_effort": "xhigh"},
        {"messages": [HI], "thinking": ADAPTIVE, "output_config": {"effort": "xhigh"}},
    ),
    "no thinking": (
        NEW,
        {"messages": [USER], "reasoning_effort": "none"},
        {"messages": [HI], "thinking": {"type": "disabled"}},
    ),
    "no thinking before the first tool": (
        "claude-sonnet-5-5",
        {"messages": [USER], "reasoning_effort": "none"},
        {"messages": [HI], "thinking": {"type": "between_tools"}},
    ),
    "a schema, with an effort": (
        FIRST,
        {
            "messages": [USER],
            "reasoning_effort": "minimal",
            "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}},
        },
        {
            "messages": [HI],
            "thinking": ADAPTIVE,
            "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": CLOSED}},
        },
    ),
    "stops, a user, a temperature": (
        BUDGET,
        {"messages": [USER], "stop": ["A", "B"], "user": "u1", "temperature": 0.25, "top_p": 1, "seed": 7},
        {"messages": [HI], "stop_sequences": ["A", "B"], "metadata": {"user_id": "u1"}, "temperature": 0.25},
    ),
    "both ways of sampling": (
        OLD,
        {"messages": [USER], "temperature": 0.25, "top_p": 0.5, "reasoning_effort": "high"},
        {"messages": [HI], "temperature": 0.25, "top_p": 0.5},
    ),
    "marks for the cache": (
        NEW,
        {
            "messages": [
                {
                    "role": "system",
                    "content": [
                        {"type": "text", "text": "long", "cache_control": HOUR},
                        {"type": "text", "text": "short"},
                    ],
                },
                {**USER, "cache_control": MARK},
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "c1", "content": "grey", "cache_control": MARK},
                {"role": "user", "content": [{**file("application/pdf", PDF), "cache_control": MARK}]},
            ],
            "tools": [{**TOOLS[0], "cache_control": MARK}],
            "cache_control": MARK,
        },
        {
            "system": [{"type": "text", "text": "long", "cache_control": HOUR}, {"type": "text", "text": "short"}],
            "messages": [
                {"role": "user", "content": [{**TEXT_HI, "cache_control": MARK}]},
                {"role": "assistant", "content": [USE]},
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "tool_result",
                            "tool_use_id": "c1",
                            "content": [{"type": "text", "text": "grey"}],
                            "cache_control": MARK,
                        },
                        {
                            "type": "document",
                            "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
                            "cache_control": MARK,
                        },
                    ],
                },
            ],
            "tools": [{**TOOL, "cache_control": MARK}],
            "cache_control": MARK,
        },
    ),
}

USAGE = {
    "input_tokens": 11,
    "cache_creation_input_tokens": 3,
    "cache_read_input_tokens": 4,
    "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 0},
    "output_tokens": 50,
    "output_tokens_details": {"thinking_tokens": 20},
    "service_tier": "standard",
}
ANSWERS: dict[str, tuple[list[dict[str, Any]], str, dict[str, Any]]] = {
    "text": ([{"type": "text", "text": "Hallo ü"}], "end_turn", USAGE),
    "no usage of a cache": ([{"type": "text", "text": "Hi"}], "stop_sequence", {"input_tokens": 5, "output_tokens": 0}),
    "cut short": ([THOUGHT, {"type": "text", "text": "Hal"}], "max_tokens", USAGE),
    "refused": ([], "refusal", {"input_tokens": 5, "output_tokens": 1}),
    "refused with a word": (
        [{"type": "text", "text": "I"}],
        "refusal",
        {"input_tokens": 5, "output_tokens": 1, "cache_read_input_tokens": None},
    ),
    "everything": (
        [
            THOUGHT,
            HIDDEN,
            {"type": "text", "text": "Let me see."},
            {"type": "tool_use", "id": "t1", "name": "f", "input": {"x": [1, 2.5, None, "ü"]}},
            {"type": "thinking", "thinking": "", "signature": "dW5zZWVu"},
            {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
        ],
        "tool_use",
        USAGE,
    ),
}
DETAILS = {"refused with a word": {"type": "refusal", "category": "cyber", "explanation": "Not this."}}
FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "refusal": "content_filter",
    "tool_use": "tool_calls",
}


def whole(name: str) -> bytes:
    content, stop, usage = ANSWERS[name]
    made = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": content}
    end = {"stop_reason": stop, "stop_sequence": None, "stop_details": DETAILS.get(name)}
    return json.dumps({**made, **end, "usage": usage}).encode()


def streamed(name: str) -> bytes:
    """The same answer in pieces, as Anthropic's documentation shows them ("Streaming messages")."""
    content, stop, usage = ANSWERS[name]
    begun = {"content": [], "stop_reason": None, "stop_details": None, "usage": {**usage, "output_tokens": 1}}
    message = {**json.loads(whole(name)), **begun}
    message["usage"].pop("output_tokens_details", None)
    events: list[dict[str, Any]] = [{"type": "message_start", "message": message}, {"type": "ping"}]
    for index, block in enumerate(content):
        begun, deltas = pieces(block)
        events.append({"type": "content_block_start", "index": index, "content_block": begun})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    told = {key: usage[key] for key in ("output_tokens", "output_tokens_details") if key in usage}
    end = {"stop_reason": stop, "stop_sequence": None, "stop_details": DETAILS.get(name)}
    events += [
        {"type": "message_delta", "delta": end, "usage": told},
        {"type": "message_stop"},
    ]
    return b"".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in events)


def pieces(block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    if block["type"] == "text":
        return {**block, "text": ""}, [{"type": "text_delta", "text": letter} for letter in block["text"]]
    if block["type"] == "thinking":
        thoughts = [{"type": "thinking_delta", "thinking": letter} for letter in block["thinking"]]
        return {**block, "thinking": "", "signature": ""}, [
            *thoughts,
            {"type": "signature_delta", "signature": block["signature"]},
        ]
    if block["type"] == "tool_use":
        said = json.dumps(block["input"]) if block["input"] else ""
        cuts = [said[:3], said[3:]] if said else [""]
        return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": cut} for cut in cuts]
    return block, []
