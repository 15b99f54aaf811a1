"""What the OpenAPI document says of the paths that ask a model below a thread, and of POST /v2/chat."""

from collections.abc import Mapping
from typing import Any

_COMMON: Mapping[str, Any] = {
    "model": {
        "type": "string",
        "description": 'A model id, "auto", or a profile such as "auto:quality". Unset: the thread\'s own, else auto.',
    },
    "routing_profile": {"type": "string", "description": "As in a chat completion."},
    "task_type": {"type": "string", "description": "What it is for, where the router chooses."},
    "enable_memory": {
        "type": "boolean",
        "description": "false: the window only. true: memories of other threads too, as for every caller with a user.",
    },
    "agent_id": {"type": "string", "maxLength": 128, "description": "As in a chat completion."},
    "enable_cache": {"type": "boolean", "description": "As in a chat completion."},
    "temperature": {"type": "number", "description": "This and OpenAI's other parameters; unset: the thread's own."},
    "max_tokens": {"type": "integer", "minimum": 1},
    "tools": {"type": "array", "items": {"type": "object"}},
}
_SAID: Mapping[str, Any] = {
    "content": {"type": ["string", "array"], "description": "What the user says: a text, or a list of parts."},
    "message": {"type": ["string", "object"], "description": "In place of content: a text, or a message."},
    "messages": {
        "type": "array",
        "items": {"type": "object"},
        "description": "In place of content: several messages, such as the results of tools.",
    },
    "parent_message_id": {
        "type": "string",
        "description": "The message that it answers; any but a branch's head begins a branch. Unset: the active head.",
    },
}
_STREAM: Mapping[str, Any] = {
    "stream": {"type": "boolean", "description": "Answer with the events of …/messages/stream."}
}
_EVENTS = "Events: thinking, searching, delta, citation, usage, and at the end done or error; each with JSON data."


def paths(error: Mapping[str, Any]) -> dict[str, Any]:
    """The paths, by their template."""
    turn, again = {**_SAID, **_COMMON}, {**_COMMON, **_STREAM}
    found: dict[str, Any] = {}
    for family, number in (("/api/threads", ""), ("/v1/conversations", ".2")):
        messages = f"{family}/{{thread_id}}/messages"
        summary = "A turn: the question is saved, a model answers, the answer is saved"
        text = f"{summary}. The chat behind it is that of /v1/chat/completions: same keys, budgets, limits, records."
        found[messages] = _operation(
            f"gateway.turn{number}", (summary, text), {**turn, **_STREAM}, error, streams=False
        )
        text = f"The same turn, answered as events. {_EVENTS}"
        found[f"{messages}/stream"] = _operation(
            f"gateway.streamTurn{number}", ("A turn, answered as events", text), turn, error, streams=True
        )
        text = "Answers a question once more, by another model if you like. The new answer stands beside the old one, "
        text += "on a branch of its own that becomes active; nothing is overwritten."
        found[f"{messages}/{{message_id}}/regenerate"] = _operation(
            f"gateway.regenerate{number}", ("A question answered once more", text), again, error, streams=False
        )
    return {**found, "/v2/chat": _task_chat(error)}


def _operation(
    identity: str, texts: tuple[str, str], properties: Mapping[str, Any], error: Mapping[str, Any], *, streams: bool
) -> dict[str, Any]:
    kinds: dict[str, Any] = {"text/event-stream": {}} if streams else {"application/json": {}, "text/event-stream": {}}
    names = ["thread_id", "message_id"] if "regenerate" in identity else ["thread_id"]
    schema = {"type": "object", "properties": dict(properties)}
    return {
        "post": {
            "operationId": identity,
            "summary": texts[0],
            "description": texts[1],
            "tags": ["memory"],
            "security": [{"key": []}],
            "parameters": [
                {"name": one, "in": "path", "required": True, "schema": {"type": "string"}} for one in names
            ],
            "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
            "responses": _responses(kinds, error),
        }
    }


def _responses(kinds: Mapping[str, Any], error: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "200": {"description": "The answer.", "content": dict(kinds)},
        "default": {"description": "Failed.", "content": {"application/json": {"schema": error}}},
    }


def _task_chat(error: Mapping[str, Any]) -> dict[str, Any]:
    properties = {
        "messages": {"type": "array", "items": {"type": "object"}, "minItems": 1},
        "task_type": {"type": "string", "description": "What it is for, where the router chooses the model."},
        "model": {"type": "string", "description": "Unset: auto."},
        "team_id": {"type": "string", "description": "The team it is for."},
        "project_id": {"type": "string", "description": "The project it is for."},
        "enable_cache": {"type": "boolean", "description": "As in a chat completion."},
        "enable_validation": {"type": "boolean", "description": "As in a chat completion."},
        "validation_context": {
            "type": "array",
            "items": {"type": "string"},
            "description": "What the answer should rest on, when it is checked.",
        },
        "stream": {"type": "boolean"},
    }
    schema = {"type": "object", "required": ["messages"], "properties": properties}
    return {
        "post": {
            "operationId": "gateway.taskChat",
            "summary": "A chat that names its task and no model",
            "description": "The chat of /v1/chat/completions with its answer, where the router chooses the model. The "
            "header x-tenant-id may name the key's own tenant and no other. Fields that DAC does not know are refused.",
            "tags": ["chat"],
            "security": [{"key": []}],
            "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
            "responses": _responses({"application/json": {}, "text/event-stream": {}}, error),
        }
    }
