"""The mock's Mistral and Perplexity sides: as strict as their pages say, answering as their pages show."""

import json
import re
import time
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from tests.upstream.server import Upstream

MISTRAL_FIELDS = frozenset(
    """model messages temperature top_p max_tokens stream stop random_seed metadata response_format tools tool_choice
    presence_penalty frequency_penalty n prediction parallel_tool_calls reasoning_effort prompt_mode
    prompt_cache_key safe_prompt""".split()  # noqa: SIM905
)
MESSAGE_FIELDS = {
    "system": {"role", "content"},
    "user": {"role", "content"},
    "assistant": {"role", "content", "tool_calls", "prefix"},
    "tool": {"role", "content", "tool_call_id", "name"},
}
SOURCES = {
    "citations": ["https://example.org/a", "https://example.org/b"],
    "search_results": [{"title": "A", "url": "https://example.org/a", "date": "2026-01-02", "snippet": "a"}],
}
THINKING = {"type": "thinking", "thinking": [{"type": "text", "text": "Let me see."}]}
USAGE = {"prompt_tokens": 30, "completion_tokens": 5, "total_tokens": 35}


def add_routes(app: web.Application, upstream: "Upstream") -> None:
    """Puts them beside the others."""

    async def mistral(request: web.Request) -> web.StreamResponse:
        body = (await upstream._record(request)).body
        if "bad" in request.headers.get("authorization", "bad"):
            return web.json_response({"detail": "Unauthorized"}, status=401)
        wrong = check_mistral(body)
        return wrong if wrong is not None else await _answer(request, body, mistral_answer(body))

    async def perplexity(request: web.Request) -> web.StreamResponse:
        body = (await upstream._record(request)).body
        if "stream_options" in body or "tools" in body:
            error = {"message": "unknown field", "type": "invalid_request", "code": 400}
            return web.json_response({"error": error}, status=400)
        return await _answer(request, body, PERPLEXITY)

    app.router.add_post("/mistral/v1/chat/completions", mistral)
    app.router.add_post("/perplexity/chat/completions", perplexity)


def check_mistral(body: dict[str, Any]) -> web.Response | None:
    """None, or the first thing that the API would refuse."""
    extra = [("body", name) for name in body if name not in MISTRAL_FIELDS]
    for index, message in enumerate(body["messages"]):
        known = MESSAGE_FIELDS.get(message["role"], {"role"})
        extra += [("body", "messages", index, name) for name in message if name not in known]
        given = [call["id"] for call in message.get("tool_calls") or []]
        for one in [*given, *([message["tool_call_id"]] if "tool_call_id" in message else [])]:
            if not re.fullmatch("[a-zA-Z0-9]{9}", one):
                told = f"Tool call id was {one} but must be a-z, A-Z, 0-9, with a length of 9."
                error = {"object": "error", "message": told, "type": "invalid_function_call", "code": "3280"}
                return web.json_response({**error, "param": None}, status=400)
    if body.get("temperature", 0) > 1.5:
        error = {"type": "less_than_equal", "loc": ["body", "temperature"], "msg": "Input should be at most 1.5"}
        return web.json_response({"object": "error", "message": {"detail": [error]}, "type": "t"}, status=422)
    if extra:
        detail = [{"type": "extra_forbidden", "loc": loc, "msg": "Extra inputs are not permitted"} for loc in extra]
        return web.json_response({"detail": detail}, status=422)
    return None


def mistral_answer(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The deltas of an answer, each with what stands beside it."""
    if body.get("tools") and body.get("tool_choice") == "any":
        call = {"id": "gSIMJiOkT", "function": {"name": body["tools"][0]["function"]["name"], "arguments": "{}"}}
        said = {"content": "", "tool_calls": [call]}
        return [{"delta": said, "finish_reason": "tool_calls", "usage": USAGE}]
    end = "model_length" if body.get("max_tokens") == 1 else "stop"
    return [
        {"delta": {"role": "assistant", "content": [THINKING]}},
        {"delta": {"content": [{"type": "text", "text": "Bonjour"}]}},
        {"delta": {"content": " !"}, "finish_reason": end, "usage": {**USAGE, "num_cached_tokens": 10}},
    ]


PERPLEXITY: list[dict[str, Any]] = [
    {"delta": {"role": "assistant", "content": "It is"}, "usage": {**USAGE, "completion_tokens": 2}},
    {"delta": {"content": " so.[1]"}, "usage": {**USAGE, "completion_tokens": 4}},
    {"delta": {"content": ""}, "finish_reason": "stop", "usage": USAGE, **SOURCES},
]


async def _answer(request: web.Request, body: dict[str, Any], pieces: list[dict[str, Any]]) -> web.StreamResponse:
    rest = {"id": "1", "created": int(time.time()), "model": body["model"]}
    if not body.get("stream"):
        return web.json_response({**rest, "object": "chat.completion", **_whole(pieces)})
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for piece in pieces:
        more = {name: value for name, value in piece.items() if name not in ("delta", "finish_reason")}
        choice = {"index": 0, "delta": piece["delta"], "finish_reason": piece.get("finish_reason")}
        made = {**rest, "object": "chat.completion.chunk", "choices": [choice], **more}
        await response.write(f"data: {json.dumps(made)}\n\n".encode())
    await response.write(b"data: [DONE]\n\n")
    return response


def _whole(pieces: list[dict[str, Any]]) -> dict[str, Any]:
    """The same in one piece: a content in parts as soon as one piece has parts."""
    message: dict[str, Any] = {"role": "assistant"}
    contents = [piece["delta"].get("content") for piece in pieces]
    if any(isinstance(one, list) for one in contents):
        parts = [one if isinstance(one, list) else [{"type": "text", "text": one}] for one in contents]
        message["content"] = [part for some in parts for part in some]
    else:
        message["content"] = "".join(contents)
    calls = [call for piece in pieces for call in piece["delta"].get("tool_calls") or []]
    if calls:
        message["tool_calls"] = calls
    last = {name: value for name, value in pieces[-1].items() if name != "delta"}
    choice = {"index": 0, "message": message, "finish_reason": last.pop("finish_reason")}
    return {"choices": [choice], **last}
