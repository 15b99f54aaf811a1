"""The mock's Ollama side: /api/chat with its lines of JSON, /api/embed and /api/tags."""

import json
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.upstream import answers, embeddings, native

if TYPE_CHECKING:
    from tests.upstream.server import Upstream

MODELS = ("qwen3:4b", "nomic-embed-text:latest")
FIELDS = frozenset("model messages tools format options stream think keep_alive".split())  # noqa: SIM905
MESSAGE = frozenset("role content thinking images tool_calls tool_name".split())  # noqa: SIM905
FINISH = {"stop": "stop", "length": "length", "tool_calls": "stop"}
AT = "2026-11-01T12:00:00.000000001Z"


def line(document: Any) -> bytes:
    """One line of a stream."""
    return json.dumps(document).encode() + b"\n"


class Ollama:
    """See native.Dialect."""

    content_type = "application/x-ndjson"
    garbage_event = b"{not json at all\n"
    error_event = line({"error": "an error was encountered while running the model"})

    def refused(self, request: web.Request) -> web.Response | None:
        """Only a proxy in front of it asks for a key."""
        return self.error(401, "unauthorized") if "bad" in request.headers.get("authorization", "") else None

    def error(self, status: int, message: str, after: str = "") -> web.Response:
        """Ollama says no more than a message."""
        return web.json_response({"error": message}, status=status, headers={"Retry-After": after} if after else {})

    def check(self, body: Any) -> str | None:
        """See native.Dialect."""
        unknown = set(body) - FIELDS | {
            name for message in body.get("messages") or [] for name in set(message) - MESSAGE
        }
        if unknown:
            return f"unknown fields {sorted(unknown)}"
        if not body.get("model"):
            return "model is required"
        for message in body.get("messages") or []:
            if message["role"] not in ("system", "user", "assistant", "tool"):
                return f"invalid role {message['role']}"
            if not isinstance(message.get("content", ""), str):
                return "json: cannot unmarshal array into Go struct field ChatRequest.messages.content of type string"
            for call in message.get("tool_calls") or []:
                if not isinstance(call["function"]["arguments"], dict):
                    return "json: cannot unmarshal string into Go struct field .tool_calls.function.arguments"
        return None

    def as_openai(self, model: str, body: dict[str, Any]) -> dict[str, Any]:
        """See native.Dialect."""
        made = {"model": model, "messages": body["messages"], "tools": body.get("tools")}
        made["max_tokens"] = (body.get("options") or {}).get("num_predict")
        made["thinking"] = {"type": "enabled"} if body.get("think") else {}
        if isinstance(body.get("format"), dict):
            made["response_format"] = {"type": "json_schema", "json_schema": {"schema": body["format"]}}
        elif body.get("format") == "json":
            made["response_format"] = {"type": "json_object"}
        return made

    def plain(self, answer: answers.Answer, number: int) -> dict[str, Any]:
        """See native.Dialect."""
        message = {"role": "assistant", "content": "".join(answer.tokens), **_calls(answer)}
        if answer.thinks:
            message["thinking"] = "hm"
        return {"model": answer.model, "created_at": AT, "message": message, **_end(answer)}

    def events(self, answer: answers.Answer, number: int) -> tuple[list[bytes], list[bytes], list[bytes]]:
        """See native.Dialect."""

        def said(**message: Any) -> bytes:
            shown = {"role": "assistant", "content": "", **message}
            return line({"model": answer.model, "created_at": AT, "message": shown, "done": False})

        head = [said(thinking="h"), said(thinking="m")] if answer.thinks else []
        middle = [said(**_calls(answer))] if answer.tool_name else [said(content=token) for token in answer.tokens]
        end = {"model": answer.model, "created_at": AT, "message": {"role": "assistant", "content": ""}, **_end(answer)}
        return head, middle, [line(end)]


def _calls(answer: answers.Answer) -> dict[str, Any]:
    if not answer.tool_name:
        return {}
    function = {"index": 0, "name": answer.tool_name, "arguments": json.loads(answer.tool_arguments)}
    return {"tool_calls": [{"id": "call_mock", "function": function}]}


def _end(answer: answers.Answer) -> dict[str, Any]:
    made: dict[str, Any] = {"done": True, "done_reason": FINISH[answer.finish], "total_duration": 5, "load_duration": 1}
    if answer.behaviour.usage != "missing":
        zero = answer.behaviour.usage == "zero"
        made["prompt_eval_count"] = 0 if zero else answer.input_tokens
        made["eval_count"] = 0 if zero else answer.output_tokens
    return made


def add_routes(app: web.Application, upstream: "Upstream") -> None:
    """Puts the API beside the others."""
    dialect = Ollama()

    async def chat(request: web.Request) -> web.StreamResponse:
        return await native.serve(upstream, request, dialect)

    async def embed(request: web.Request) -> web.StreamResponse:
        recorded = await upstream._record(request)
        behaviour = upstream._behaviour(recorded.model, request)
        if behaviour.fault == "status":
            return dialect.error(behaviour.status, f"scripted {behaviour.status}")
        inputs = embeddings.inputs_of(recorded.body["input"])
        size = recorded.body.get("dimensions") or embeddings.DIMENSIONS
        made: dict[str, Any] = {"model": recorded.model, "embeddings": [embeddings.vector(one, size) for one in inputs]}
        if behaviour.fault == "end_early":
            made["embeddings"].pop()
        return web.json_response({**made, "prompt_eval_count": embeddings.tokens_of(inputs)})

    async def tags(request: web.Request) -> web.StreamResponse:
        refused = dialect.refused(request)
        return refused or web.json_response({"models": [{"name": name, "model": name} for name in MODELS]})

    app.router.add_post("/api/chat", chat)
    app.router.add_post("/api/embed", embed)
    app.router.add_get("/api/tags", tags)
