"""The mock's responses API: POST /v1/responses and its stream, on the same scripts as the other dialects."""

import asyncio
import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.upstream import answers

if TYPE_CHECKING:
    from tests.upstream.server import Recorded, Upstream

FIELDS = frozenset(
    """model input instructions tools tool_choice parallel_tool_calls text reasoning max_output_tokens temperature top_p
    user stream include top_logprobs truncation background previous_response_id conversation prompt metadata store
    service_tier safety_identifier prompt_cache_key max_tool_calls stream_options client_metadata""".split()  # noqa: SIM905
)
BUILT_IN = frozenset({"web_search", "file_search"})


def add_routes(app: web.Application, upstream: "Upstream") -> None:
    """Puts the API beside the others."""

    async def respond(request: web.Request) -> web.StreamResponse:
        recorded = await upstream._record(request)
        try:
            return await _answer(upstream, request, recorded)
        except (asyncio.CancelledError, ConnectionResetError):
            recorded.disconnected_s = time.monotonic()
            recorded.left.set()
            raise
        finally:
            recorded.finished_s = time.monotonic()

    app.router.add_post("/v1/responses", respond)


def check(body: Any) -> tuple[str, str] | None:
    """None, or (message, param) of the first thing OpenAI would refuse."""
    if not isinstance(body, dict):
        return "We could not parse the JSON body of your request.", ""
    for field in body:
        if field not in FIELDS:
            return f"Unknown parameter: '{field}'.", field
    if not body.get("input") and not body.get("previous_response_id"):
        return "Missing required parameter: 'input'.", "input"
    for index, item in enumerate(body["input"] if isinstance(body.get("input"), list) else []):
        if item.get("type", "message") == "message" and item.get("role") not in (
            "user",
            "assistant",
            "system",
            "developer",
        ):
            return f"Invalid value: '{item.get('role')}'.", f"input[{index}]"
    return None


def _as_chat(body: dict[str, Any]) -> dict[str, Any]:
    """The body as answers.compose reads it."""
    given = body.get("input") or ""
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    messages = []
    if body.get("instructions"):
        messages.append({"role": "system", "content": body["instructions"]})
    for item in items:
        if item.get("type") == "function_call_output":
            messages.append({"role": "tool", "content": str(item["output"])})
        elif item.get("type", "message") == "message":
            messages.append({"role": item["role"], "content": item["content"]})
    made = {"model": body["model"], "messages": messages, "max_tokens": body.get("max_output_tokens")}
    made["tools"] = [tool for tool in body.get("tools") or [] if tool["type"] == "function"]
    made["tool_choice"] = body.get("tool_choice")
    wanted = (body.get("text") or {}).get("format") or {}
    if wanted.get("type") == "json_schema":
        made["response_format"] = {"type": "json_schema", "json_schema": {"schema": wanted["schema"]}}
    return made


def usage(answer: answers.Answer) -> dict[str, Any] | None:
    """Totals that include the cached and the reasoning tokens."""
    b = answer.behaviour
    if b.usage == "missing":
        return None
    read, written = answer.input_tokens + b.cached_tokens, answer.output_tokens + b.reasoning_tokens
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": b.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": b.reasoning_tokens},
        "total_tokens": read + written,
    }


def _frame(body: dict[str, Any], number: int) -> dict[str, Any]:
    return {
        "id": f"resp_{number:08d}",
        "object": "response",
        "created_at": answers.CREATED,
        "completed_at": None,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "metadata": body.get("metadata") or {},
        "model": body["model"],
        "output": [],
        "parallel_tool_calls": True,
        "previous_response_id": body.get("previous_response_id"),
        "store": body.get("store", True),
        "text": body.get("text") or {"format": {"type": "text"}},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "usage": None,
    }


def _items(body: dict[str, Any], answer: answers.Answer, number: int) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    for tool in body.get("tools") or []:
        if tool["type"] in BUILT_IN:
            action = {"type": "search", "query": "q"}
            items.append({"id": "ws_1", "type": f"{tool['type']}_call", "status": "completed", "action": action})
    status = "incomplete" if answer.finish == "length" else "completed"
    if answer.tool_name:
        call = {"id": f"fc_{number:08d}", "type": "function_call", "status": status, "call_id": f"call_{number:08d}"}
        items.append({**call, "name": answer.tool_name, "arguments": answer.tool_arguments})
    else:
        part = {"type": "output_text", "text": "".join(answer.tokens), "annotations": [], "logprobs": []}
        message = {"id": f"msg_{number:08d}", "type": "message", "status": status, "role": "assistant"}
        items.append({**message, "content": [part]})
    return items


def whole(body: dict[str, Any], answer: answers.Answer, number: int) -> dict[str, Any]:
    """A response object."""
    made = {**_frame(body, number), "output": _items(body, answer, number), "usage": usage(answer)}
    if answer.finish == "length":
        return {**made, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    return {**made, "status": "completed", "completed_at": answers.CREATED + 1}


def events(body: dict[str, Any], answer: answers.Answer, number: int) -> Iterator[dict[str, Any]]:
    """The events of a stream, the last one included."""
    yield {"type": "response.created", "response": _frame(body, number)}
    yield {"type": "response.in_progress", "response": _frame(body, number)}
    for index, item in enumerate(_items(body, answer, number)):
        place = {"item_id": item["id"], "output_index": index}
        if item["type"] == "message":
            part = item["content"][0]
            opened = {**item, "status": "in_progress", "content": []}
            yield {"type": "response.output_item.added", "output_index": index, "item": opened}
            place["content_index"] = 0
            yield {"type": "response.content_part.added", **place, "part": {**part, "text": ""}}
            for token in answer.tokens:
                yield {"type": "response.output_text.delta", **place, "delta": token, "logprobs": []}
            yield {"type": "response.output_text.done", **place, "text": part["text"], "logprobs": []}
            yield {"type": "response.content_part.done", **place, "part": part}
        elif item["type"] == "function_call":
            opened = {**item, "status": "in_progress", "arguments": ""}
            yield {"type": "response.output_item.added", "output_index": index, "item": opened}
            for start in range(0, len(item["arguments"]), 7):
                piece = item["arguments"][start : start + 7]
                yield {"type": "response.function_call_arguments.delta", **place, "delta": piece}
            said = {"name": item["name"], "arguments": item["arguments"]}
            yield {"type": "response.function_call_arguments.done", **place, **said}
        else:
            yield {"type": "response.output_item.added", "output_index": index, "item": item}
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    response = whole(body, answer, number)
    yield {"type": f"response.{response['status']}", "response": response}


async def _answer(upstream: "Upstream", request: web.Request, recorded: "Recorded") -> web.StreamResponse:
    refused = upstream._check_key(request, False)
    if refused is not None:
        return refused
    behaviour = upstream._behaviour(recorded.model, request)
    await asyncio.sleep(behaviour.delay_s)
    early = await upstream._before_headers(request, behaviour, False)
    if early is not None:
        return early
    if (found := check(recorded.body)) is not None:
        return upstream._error(400, found[0], False, param=found[1])
    upstream._count += 1
    body, number = recorded.body, upstream._count
    answer = answers.compose(_as_chat(body), behaviour)
    if body.get("stream"):
        return await _stream(request, recorded, answer, number)
    made = whole(body, answer, number)
    if behaviour.fault == "error_event":
        made = {**made, "status": "failed", "error": {"code": "server_error", "message": "The server had an error"}}
    return web.json_response(made)


async def _stream(
    request: web.Request, recorded: "Recorded", answer: answers.Answer, number: int
) -> web.StreamResponse:
    behaviour, body = answer.behaviour, recorded.body
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    deltas = 0
    for sequence, event in enumerate(events(body, answer, number)):
        if event["type"].endswith(".delta"):
            if deltas == behaviour.after_tokens:
                if behaviour.fault == "end_early":
                    return response
                if behaviour.fault == "cut":
                    assert request.transport is not None
                    await asyncio.sleep(0.01)
                    request.transport.close()
                    await asyncio.Event().wait()
                if behaviour.fault == "error_event":
                    error = {"code": "server_error", "message": "The server had an error"}
                    event = {"type": "response.failed", "response": {**_frame(body, number), "status": "failed"}}
                    event["response"]["error"] = error
            deltas += 1
        data = json.dumps({"type": event["type"], "sequence_number": sequence, **event})
        await response.write(f"event: {event['type']}\ndata: {data}\n\n".encode())
        recorded.written += 1
        if event["type"] == "response.failed":
            return response
        await asyncio.sleep(behaviour.token_delay_s)
    return response
