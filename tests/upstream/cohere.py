"""The mock's Cohere side: /v2/chat with its typed events, /v2/embed and /v1/models is OpenAI's list."""

import json
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.upstream import answers, embeddings, native

if TYPE_CHECKING:
    from tests.upstream.server import Upstream

FIELDS = frozenset(
    """model messages tools strict_tools response_format stream max_tokens stop_sequences temperature seed p k
    presence_penalty frequency_penalty tool_choice thinking""".split()  # noqa: SIM905
)
MESSAGES = {
    "system": {"role", "content"},
    "user": {"role", "content"},
    "assistant": {"role", "content", "tool_calls", "tool_plan"},
    "tool": {"role", "content", "tool_call_id"},
}
FINISH = {"stop": "COMPLETE", "length": "MAX_TOKENS", "tool_calls": "TOOL_CALL"}


def event(kind: str, **fields: Any) -> bytes:
    """One typed event."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


class Cohere:
    """See native.Dialect."""

    content_type = "text/event-stream"
    garbage_event = b"data: {not json at all\n\n"
    error_event = event("message-end", delta={"error": "boom", "finish_reason": "ERROR"})

    def refused(self, request: web.Request) -> web.Response | None:
        """Cohere's words for a wrong key."""
        key = request.headers.get("authorization", "")
        return self.error(401, "invalid api token") if not key.startswith("Bearer ") or "bad" in key else None

    def error(self, status: int, message: str, after: str = "") -> web.Response:
        """Cohere's error."""
        headers = {"Retry-After": after} if after else {}
        return web.json_response({"id": "e1", "message": message}, status=status, headers=headers)

    def check(self, body: Any) -> str | None:
        """See native.Dialect."""
        if unknown := set(body) - FIELDS:
            return f"unknown field: parameter {sorted(unknown)[0]!r} is not a valid field"
        if not body.get("messages"):
            return "messages must be at least 1 element"
        for message in body["messages"]:
            if message["role"] not in MESSAGES or set(message) - MESSAGES[message["role"]]:
                return f"invalid message: {sorted(message)}"
        if body.get("tools") and body.get("response_format"):
            return "response_format is not supported with tools"
        if any(not 0 <= body.get(name, 0) <= 1 for name in ("presence_penalty", "frequency_penalty")):
            return "penalties must be between 0 and 1"
        return None

    def as_openai(self, model: str, body: dict[str, Any]) -> dict[str, Any]:
        """See native.Dialect."""
        made = {"model": model, "messages": body["messages"], "tools": body.get("tools")}
        made["max_tokens"] = body.get("max_tokens")
        made["tool_choice"] = "none" if body.get("tool_choice") == "NONE" else None
        made["thinking"] = body.get("thinking") or {}
        wanted = body.get("response_format") or {}
        if wanted.get("json_schema"):
            made["response_format"] = {"type": "json_schema", "json_schema": {"schema": wanted["json_schema"]}}
        elif wanted:
            made["response_format"] = wanted
        return made

    def plain(self, answer: answers.Answer, number: int) -> dict[str, Any]:
        """See native.Dialect."""
        message: dict[str, Any] = {"role": "assistant"}
        if answer.tool_name:
            message |= {"tool_plan": "I will look.", "tool_calls": [_call(answer)]}
        else:
            message["content"] = [{"type": "thinking", "thinking": "hm"}] if answer.thinks else []
            message["content"].append({"type": "text", "text": "".join(answer.tokens)})
            message["citations"] = [{"start": 0, "end": 3, "text": "one", "sources": [], "type": "TEXT_CONTENT"}]
        return {"id": f"c{number}", "message": message, **_end(answer)}

    def events(self, answer: answers.Answer, number: int) -> tuple[list[bytes], list[bytes], list[bytes]]:
        """See native.Dialect."""
        start = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
        head = [event("message-start", id=f"c{number}", delta={"message": start})]
        tail = [event("message-end", delta=_end(answer))]
        if answer.tool_name:
            call = _call(answer)
            opened = {**call, "function": {"name": answer.tool_name, "arguments": ""}}
            middle = [
                event("tool-plan-delta", delta={"message": {"tool_plan": "I will look."}}),
                event("tool-call-start", index=0, delta={"message": {"tool_calls": opened}}),
                *(
                    event(
                        "tool-call-delta", index=0, delta={"message": {"tool_calls": {"function": {"arguments": one}}}}
                    )
                    for one in answer.tool_arguments
                ),
                event("tool-call-end", index=0),
            ]
            return head, middle, tail
        if answer.thinks:
            head += [
                event("content-start", index=0, delta={"message": {"content": {"type": "thinking", "thinking": "h"}}}),
                event("content-delta", index=0, delta={"message": {"content": {"thinking": "m"}}}),
            ]
        head.append(event("content-start", index=0, delta={"message": {"content": {"type": "text", "text": ""}}}))
        middle = [event("content-delta", index=0, delta={"message": {"content": {"text": t}}}) for t in answer.tokens]
        cited = {"start": 0, "end": 3, "text": "one", "sources": [], "type": "TEXT_CONTENT"}
        tail = [event("citation-start", index=0, delta={"message": {"citations": cited}}), *tail]
        return head, middle, [event("content-end", index=0), *tail]


def _call(answer: answers.Answer) -> dict[str, Any]:
    function = {"name": answer.tool_name, "arguments": answer.tool_arguments}
    return {"id": "weather_mock", "type": "function", "function": function}


def _end(answer: answers.Answer) -> dict[str, Any]:
    b = answer.behaviour
    made: dict[str, Any] = {"finish_reason": FINISH[answer.finish]}
    if b.usage != "missing":
        zero = b.usage == "zero"
        read, wrote = (
            (0.0, 0.0) if zero else (float(answer.input_tokens + b.cached_tokens), float(answer.output_tokens))
        )
        made["usage"] = {
            "billed_units": {"input_tokens": read, "output_tokens": wrote},
            "tokens": {"input_tokens": read + 60, "output_tokens": wrote + 2},
            "cached_tokens": float(b.cached_tokens),
        }
    return made


def add_routes(app: web.Application, upstream: "Upstream") -> None:
    """Puts the API beside the others."""
    dialect = Cohere()

    async def chat(request: web.Request) -> web.StreamResponse:
        return await native.serve(upstream, request, dialect)

    async def embed(request: web.Request) -> web.StreamResponse:
        recorded = await upstream._record(request)
        texts, size = recorded.body["texts"], recorded.body.get("output_dimension") or embeddings.DIMENSIONS
        vectors = {"float": [embeddings.vector(one, size) for one in texts]}
        meta = {"billed_units": {"input_tokens": float(embeddings.tokens_of(texts))}}
        made = {"id": "e1", "embeddings": vectors, "texts": texts, "meta": meta, "response_type": "embeddings_by_type"}
        return web.json_response(made)

    app.router.add_post("/v2/chat", chat)
    app.router.add_post("/v2/embed", embed)
