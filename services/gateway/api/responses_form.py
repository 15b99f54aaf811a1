"""The path in OpenAI's responses form as an OpenAPI operation."""

from collections.abc import Mapping
from typing import Any

_ASKED: dict[str, Any] = {
    "model": {"type": "string", "description": 'A model id, "auto", or a profile such as "auto:quality".'},
    "input": {"type": ["string", "array"], "description": "A text, or items: messages, calls and their outputs."},
    "instructions": {"type": "string", "description": "A system message, put first."},
    "stream": {"type": "boolean"},
    "max_output_tokens": {"type": "integer", "minimum": 1, "description": "The most output; a budget may lower it."},
    "tools": {
        "type": "array",
        "items": {"type": "object"},
        "description": "Functions, custom tools, namespaces; others pass.",
    },
    "tool_choice": {"type": ["string", "object"]},
    "parallel_tool_calls": {"type": "boolean"},
    "text": {"type": "object", "description": "format: text, json_object or json_schema."},
    "reasoning": {"type": "object", "description": "effort, and summary where the model gives one."},
    "temperature": {"type": "number", "minimum": 0, "maximum": 2},
    "top_p": {"type": "number", "minimum": 0, "maximum": 1},
    "metadata": {"type": "object", "description": "Comes back in the answer."},
    "previous_response_id": {"type": "string", "description": "Only with a named model that is passed through."},
}


def responses(error: Mapping[str, Any]) -> Any:
    """POST /v1/responses; `error` is the schema of a failure."""
    return {
        "operationId": "gateway.responses",
        "summary": "A response in OpenAI's newer form",
        "description": "OpenAI's responses API, for any model. Streams end with response.completed or "
        "response.incomplete, broken ones with an error event.",
        "tags": ["chat"],
        "security": [{"key": []}],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"type": "object", "required": ["model", "input"], "properties": _ASKED}}
            },
        },
        "responses": {
            "200": {
                "description": "The response, whole or as events.",
                "content": {"application/json": {}, "text/event-stream": {}},
            },
            "default": {"description": "Failed.", "content": {"application/json": {"schema": error}}},
        },
    }
