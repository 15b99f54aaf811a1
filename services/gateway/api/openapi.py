"""The OpenAPI 3.1 document, made from the same bindings as the routes; comments of the protos are its texts."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import metadata
from typing import Any

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from services.gateway.api import anthropic_form, audio_form, responses_form, thread_form
from services.gateway.api.http_forms import Binding
from services.gateway.api.keyed_calls import takes_key

DESCRIPTORS = pathlib.Path(__file__).resolve().parents[3] / "gen" / "descriptors.binpb"
_SCALARS: dict[int, dict[str, Any]] = {
    FieldDescriptor.TYPE_DOUBLE: {"type": "number"},
    FieldDescriptor.TYPE_FLOAT: {"type": "number"},
    FieldDescriptor.TYPE_INT64: {"type": "string", "format": "int64"},
    FieldDescriptor.TYPE_UINT64: {"type": "string", "format": "uint64"},
    FieldDescriptor.TYPE_INT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.TYPE_UINT32: {"type": "integer", "format": "uint32"},
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "format": "byte"},
}
_ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "message": {"type": "string", "description": "What was wrong and how to mend it."},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"], "description": "The field it is about."},
                "code": {"type": ["string", "null"], "description": "A stable reason."},
            },
        }
    },
}

_KEY: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "maxLength": 255},
    "description": "The same key with the same request again does nothing, and is answered as the first time.",
}
_FILE = {"*/*": {"schema": {"type": "string", "format": "binary"}}}


@cache
def comments() -> dict[str, str]:
    """Full name → leading comment, from the descriptor set."""
    found: dict[str, str] = {}
    if not DESCRIPTORS.exists():
        return found
    for file in descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTORS.read_bytes()).file:
        names = _names(file)
        for location in file.source_code_info.location:
            name = names.get(tuple(location.path))
            if name and location.leading_comments.strip():
                found[name] = " ".join(location.leading_comments.split())
    return found


def _names(file: descriptor_pb2.FileDescriptorProto) -> dict[tuple[int, ...], str]:
    names: dict[tuple[int, ...], str] = {}

    def message(path: tuple[int, ...], name: str, one: descriptor_pb2.DescriptorProto) -> None:
        names[path] = name
        for index, field in enumerate(one.field):
            names[(*path, 2, index)] = f"{name}.{field.name}"
        for index, nested in enumerate(one.nested_type):
            message((*path, 3, index), f"{name}.{nested.name}", nested)

    for index, one in enumerate(file.message_type):
        message((4, index), f"{file.package}.{one.name}", one)
    for index, service in enumerate(file.service):
        names[(6, index)] = f"{file.package}.{service.name}"
        for number, method in enumerate(service.method):
            names[(6, index, 2, number)] = f"{file.package}.{service.name}.{method.name}"
    return names


class _Schemas:
    """Collects the schemas that are referred to."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}

    def reference(self, descriptor: Descriptor) -> dict[str, Any]:
        """A reference to a message's schema."""
        if descriptor.full_name == "google.protobuf.Timestamp":
            return {"type": "string", "format": "date-time"}
        name = descriptor.full_name.removeprefix("dac.")
        if name not in self.found:
            self.found[name] = {}
            self.found[name] = self._schema(descriptor)
        return {"$ref": f"#/components/schemas/{name}"}

    def field(self, field: FieldDescriptor) -> dict[str, Any]:
        """The schema of one field."""
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            return {"type": "object", "additionalProperties": self.field(field.message_type.fields_by_name["value"])}
        if field.message_type is not None:
            kind = self.reference(field.message_type)
        elif field.enum_type is not None:
            kind = {"type": "string", "enum": [value.name for value in field.enum_type.values]}
        else:
            kind = dict(_SCALARS[field.type])
        if field.is_repeated:
            kind = {"type": "array", "items": kind}
        text = comments().get(field.full_name)
        return {**kind, "description": text} if text else kind

    def _schema(self, descriptor: Descriptor) -> dict[str, Any]:
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {field.name: self.field(field) for field in descriptor.fields},
        }
        text = comments().get(descriptor.full_name)
        return {**schema, "description": text} if text and not text.startswith("See ") else schema


def _query_fields(message: Descriptor, prefix: str = "") -> Iterator[tuple[str, FieldDescriptor]]:
    """What a query may say: plain fields and times, and those of messages one step down, as `level.id`."""
    for field in message.fields:
        kind = field.message_type
        if kind is None or kind.full_name == "google.protobuf.Timestamp":
            yield f"{prefix}{field.name}", field
        elif not prefix and not field.is_repeated:
            yield from _query_fields(kind, f"{field.name}.")


def _operation(binding: Binding, schemas: _Schemas) -> dict[str, Any]:
    text = comments().get(binding.method.full_name, "")
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in binding.parameters
    ]
    if not binding.has_body:
        for name, field in _query_fields(binding.method.input_type):
            if name not in binding.parameters:
                parameters.append({"name": name, "in": "query", "schema": schemas.field(field)})
    if takes_key(binding):
        parameters.append(_KEY)
    kind = "text/event-stream" if binding.method.server_streaming else "application/json"
    content = {kind: {"schema": schemas.reference(binding.method.output_type)}} if not binding.is_file else _FILE
    operation: dict[str, Any] = {
        "operationId": f"{binding.service}.{binding.method.name}{f'.{binding.form + 1}' if binding.form else ''}",
        "summary": text.split(". ")[0].rstrip("."),
        "description": text,
        "tags": [binding.service],
        "security": [{"key": []}],
        "responses": {
            "200": {"description": "Done.", "content": content},
            "default": {"description": "Failed.", "content": {"application/json": {"schema": _ERROR}}},
        },
    }
    if parameters:
        operation["parameters"] = parameters
    if binding.has_body:
        schema = schemas.reference(binding.method.input_type)
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation


def document(bindings: Sequence[Binding]) -> dict[str, Any]:
    """The whole document."""
    schemas = _Schemas()
    paths: dict[str, Any] = _by_hand()
    for binding in bindings:
        template = binding.template.replace("=**", "")
        paths.setdefault(template, {})[binding.verb.lower()] = _operation(binding, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "DAC",
            "version": metadata.version("dac"),
            "description": "One assistant in front of many models. 64-bit integers are strings; money is nano-USD.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas.found,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "An API key of DAC."}},
        },
    }


def _embeddings() -> dict[str, Any]:
    kinds = [
        {"type": "string"},
        {"type": "array", "items": {"type": "string"}},
        {"type": "array", "items": {"type": "integer"}},
        {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
    ]
    properties = {
        "model": {
            "type": "string",
            "description": "An embedding model. It must be named: vectors of different models cannot be compared.",
        },
        "input": {"type": ["string", "array"], "oneOf": kinds, "description": "A text or texts, as text or as tokens."},
        "encoding_format": {"type": "string", "enum": ["float", "base64"]},
        "dimensions": {"type": "integer", "description": "A shorter vector, from models that can."},
    }
    schema = {"type": "object", "required": ["model", "input"], "properties": properties}
    return {
        "operationId": "gateway.embeddings",
        "summary": "Embeddings in OpenAI's form",
        "description": "OpenAI's fields pass through, and the provider's answer comes back as it is.",
        "tags": ["chat"],
        "security": [{"key": []}],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {
            "200": {"description": "The vectors.", "content": {"application/json": {}}},
            "default": {"description": "Failed.", "content": {"application/json": {"schema": _ERROR}}},
        },
    }


_PROFILES = ["quality", "balanced", "speed", "budget", "long_context", "local-preferred", "performance"]
_TASK_TYPE = (
    "What it is for, where the router chooses: coding_help, reasoning_math, editing_writing, qa_retrieval or "
    "social_chat, or another usual word for one of them."
)


_MESSAGE = {
    "type": "object",
    "required": ["role"],
    "properties": {"role": {"type": "string"}, "content": {"type": ["string", "array", "null"]}},
}


_CHAT: dict[str, Any] = {
    "model": {"type": "string", "description": 'A model id, "auto", or a profile such as "auto:quality".'},
    "messages": {"type": "array", "items": _MESSAGE, "minItems": 1},
    "stream": {"type": "boolean"},
    "routing_profile": {"enum": _PROFILES},
    "task_type": {"type": "string", "description": _TASK_TYPE},
    "thread_id": {"type": "string", "maxLength": 128, "description": "Continues a conversation kept by DAC."},
    "conversation_id": {"type": "string", "description": "Another name for thread_id."},
    "team_id": {"type": "string", "description": "The team it is for; the header x-dac-team says the same."},
    "project_id": {"type": "string", "description": "The project it is for, as x-dac-project."},
    "parent_message_id": {
        "type": "string",
        "description": "The thread's message that the new ones answer; any but a branch's head begins a branch.",
    },
    "enable_memory": {
        "type": "boolean",
        "description": "false: the thread's window only. true: memories of other threads too.",
    },
    "agent_id": {
        "type": "string",
        "maxLength": 128,
        "description": "The agent that asks: what is remembered is its own, and its memories are recalled.",
    },
    "message": {
        "type": ["string", "object"],
        "description": "A short form of messages: a text of the user, or one message.",
    },
    "stream_options": {
        "type": "object",
        "properties": {"include_usage": {"type": "boolean"}, "include_dac": {"type": "boolean"}},
        "description": "include_dac adds model, cost and what was saved of the thread to the last chunk.",
    },
    "enable_cache": {"type": "boolean", "description": "Answer from and store in the response cache; share calls."},
    "redaction": {
        "type": "boolean",
        "description": "true: private values are kept from the provider and put back into the answer.",
    },
    "persona": {"type": "boolean", "description": "false: the answer goes without the policy's persona."},
    "enable_rescue": {
        "type": "boolean",
        "description": "Let another attempt take up a streamed answer that breaks (the default), or fail instead.",
    },
    "enable_validation": {
        "type": "boolean",
        "description": "Check the answer; false = not, unless the policy blocks what does not pass.",
    },
    "validation_context": {
        "type": "array",
        "items": {"type": "string"},
        "description": "What the answer should rest on, when it is checked.",
    },
}


def _by_hand() -> dict[str, Any]:
    """The paths whose wire form is somebody else's."""

    def page(summary: str, *, secured: bool = False, parameter: str = "") -> dict[str, Any]:
        made: dict[str, Any] = {"summary": summary, "tags": ["edge"], "responses": {"200": {"description": "Done."}}}
        if parameter:
            made["parameters"] = [{"name": parameter, "in": "path", "required": True, "schema": {"type": "string"}}]
        return {"get": {**made, "security": [{"key": []}]} if secured else made}

    chat = {
        "operationId": "gateway.chat",
        "summary": "Chat in OpenAI's form",
        "description": "OpenAI's fields pass through. Streams end with `data: [DONE]`, broken ones with an error.",
        "tags": ["chat"],
        "security": [{"key": []}],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"type": "object", "required": ["model", "messages"], "properties": _CHAT}
                }
            },
        },
        "responses": {
            "200": {
                "description": "The answer, whole or as events.",
                "content": {"application/json": {}, "text/event-stream": {}},
            },
            "default": {"description": "Failed.", "content": {"application/json": {"schema": _ERROR}}},
        },
    }
    return {
        "/v1/chat/completions": {"post": chat},
        "/v1/messages": {"post": anthropic_form.messages()},
        "/v1/messages/count_tokens": {"post": anthropic_form.count_tokens()},
        "/v1/responses": {"post": responses_form.responses(_ERROR)},
        "/v1/embeddings": {"post": _embeddings()},
        **audio_form.paths(_ERROR),
        **thread_form.paths(_ERROR),
        "/v1/models/{model_id}": page(
            "One model, in OpenAI's form; ids may hold slashes", secured=True, parameter="model_id"
        ),
        "/docs": page("This API on one page"),
        "/openapi.json": page("This document"),
        "/v1/models": page("The models that answer now, in OpenAI's form or in Anthropic's", secured=True),
        "/health": page("Every part with its state and latency"),
        "/ready": page("200 only when a chat would be answered"),
        "/live": page("The process answers"),
        "/info": page("What this is"),
        "/metrics": page("Metrics in Prometheus' text format"),
    }
