"""The paths in Anthropic's form as OpenAPI operations."""

from typing import Any

ERROR: dict[str, Any] = {
    "type": "object",
    "properties": {
        "type": {"const": "error"},
        "error": {
            "type": "object",
            "properties": {
                "type": {"type": "string", "description": "What kind of failure, e.g. rate_limit_error."},
                "message": {"type": "string", "description": "What was wrong and how to mend it."},
            },
        },
        "request_id": {"type": "string", "description": "DAC's id of the request."},
    },
}
_MESSAGE = {
    "type": "object",
    "required": ["role", "content"],
    "properties": {"role": {"enum": ["user", "assistant", "system"]}, "content": {"type": ["string", "array"]}},
}
_ASKED: dict[str, Any] = {
    "model": {"type": "string", "description": 'A model id, "auto", or a profile such as "auto:quality".'},
    "messages": {"type": "array", "items": _MESSAGE, "minItems": 1},
    "system": {"type": ["string", "array"], "description": "Instructions: a text or text blocks."},
    "tools": {"type": "array", "items": {"type": "object"}, "description": "Each with name and input_schema."},
}
_ANSWERED: dict[str, Any] = {
    "max_tokens": {"type": "integer", "minimum": 1, "description": "The most output; a budget may lower it."},
    "stream": {"type": "boolean"},
    "tool_choice": {"type": "object", "description": "type is auto, any, tool or none."},
    "stop_sequences": {"type": "array", "items": {"type": "string"}},
    "temperature": {"type": "number", "minimum": 0, "maximum": 1},
    "top_p": {"type": "number", "minimum": 0, "maximum": 1},
}


def _operation(name: str, summary: str, description: str, body: dict[str, Any], answer: dict[str, Any]) -> Any:
    return {
        "operationId": name,
        "summary": summary,
        "description": description,
        "tags": ["chat"],
        "security": [{"key": []}],
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object", **body}}}},
        "responses": {
            "200": answer,
            "default": {"description": "Failed.", "content": {"application/json": {"schema": ERROR}}},
        },
    }


def messages() -> Any:
    """POST /v1/messages."""
    return _operation(
        "gateway.messages",
        "A message in Anthropic's form",
        "Anthropic's fields, for any model. Streams end with message_stop, broken ones with an error event.",
        {"required": ["model", "max_tokens", "messages"], "properties": {**_ASKED, **_ANSWERED}},
        {
            "description": "The message, whole or as events.",
            "content": {"application/json": {}, "text/event-stream": {}},
        },
    )


def count_tokens() -> Any:
    """POST /v1/messages/count_tokens."""
    counted = {"type": "integer", "description": "An estimate from the size; no provider is asked."}
    schema = {"type": "object", "properties": {"input_tokens": counted}}
    return _operation(
        "gateway.count_tokens",
        "The size of a message in Anthropic's form",
        "DAC's own estimate of the input, the one that budgets reserve by.",
        {"required": ["model", "messages"], "properties": _ASKED},
        {"description": "Counted.", "content": {"application/json": {"schema": schema}}},
    )
