"""The mock's Gemini side: generateContent and its stream, on the same scripts and answers as the other dialects."""

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.upstream import answers
from tests.upstream.behaviour import Behaviour

if TYPE_CHECKING:
    from tests.upstream.server import Recorded, Upstream

MODELS = ("gemini-3.5-flash-lite", "gemini-2.5-pro")
FIELDS = frozenset("contents systemInstruction generationConfig tools toolConfig safetySettings".split())  # noqa: SIM905
GENERATION = frozenset(
    """temperature topP topK candidateCount maxOutputTokens stopSequences responseMimeType responseJsonSchema
    presencePenalty frequencyPenalty seed thinkingConfig""".split()  # noqa: SIM905
)
PARTS = frozenset("text inlineData fileData functionCall functionResponse".split())  # noqa: SIM905
FINISH = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP"}
STATUS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}
STATUS |= {429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}


def add_routes(app: web.Application, upstream: "Upstream") -> None:
    """Puts the API beside the others."""

    async def generate(request: web.Request) -> web.StreamResponse:
        recorded = await upstream._record(request)
        recorded.model, _, verb = request.match_info["call"].rpartition(":")
        try:
            return await _answer(upstream, request, recorded, stream=verb == "streamGenerateContent")
        except (asyncio.CancelledError, ConnectionResetError):
            recorded.disconnected_s = time.monotonic()
            recorded.left.set()
            raise
        finally:
            recorded.finished_s = time.monotonic()

    async def models(request: web.Request) -> web.StreamResponse:
        refused = _check_key(request)
        rows = [{"name": f"models/{name}", "displayName": name} for name in MODELS]
        return refused or web.json_response({"models": rows})

    app.router.add_post("/v1beta/models/{call}", generate)
    app.router.add_get("/v1beta/models", models)
    app.router.add_post("/v1/projects/p1/locations/l1/publishers/google/models/{call}", generate)
    app.router.add_post("/token", token)


def error(status: int, message: str, *details: dict[str, Any]) -> web.Response:
    """A google.rpc.Status."""
    made = {"code": status, "message": message, "status": STATUS.get(status, "UNKNOWN"), "details": list(details)}
    return web.json_response({"error": made}, status=status)


async def token(request: web.Request) -> web.Response:
    """An access token for a signed assertion, as Vertex wants it."""
    form = await request.post()
    parts = str(form.get("assertion")).split(".")
    if form.get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" or len(parts) != 3:
        return web.json_response({"error": "invalid_grant", "error_description": "Invalid JWT."}, status=400)
    return web.json_response({"access_token": "ya29.mock", "expires_in": 3599, "token_type": "Bearer"})


def _check_key(request: web.Request) -> web.Response | None:
    if request.path.startswith("/v1/projects/"):
        good = request.headers.get("authorization") == "Bearer ya29.mock"
        return None if good else error(401, "Request had invalid authentication credentials.")
    key = request.headers.get("x-goog-api-key", "")
    if not key or "bad" in key or "key" in request.query or "authorization" in request.headers:
        info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
        return error(400, "API key not valid.", info)
    return None


def check(body: Any) -> str | None:
    """None, or the message of the first thing the API would refuse."""
    for where, given, known in (
        ("", body, FIELDS),
        ("generation_config", body.get("generationConfig") or {}, GENERATION),
    ):
        for field in given:
            if field not in known:
                return f"Invalid JSON payload received. Unknown name \"{field}\" at '{where}': Cannot find field."
    if not body.get("contents"):
        return "contents is not specified"
    calls = 0
    for content in body["contents"]:
        if content["role"] not in ("user", "model") or not content["parts"]:
            return "Please use a valid role: user, model."
        if any(len(PARTS & part.keys()) != 1 for part in content["parts"]):
            return "a part must have exactly one initialized field"
        answered = sum("functionResponse" in part for part in content["parts"])
        if answered != calls and content["role"] == "user":
            return "the number of function response parts must equal that of the function call parts"
        calls = sum("functionCall" in part for part in content["parts"])
    return None


def _as_openai(model: str, body: dict[str, Any]) -> dict[str, Any]:
    """What answers.compose reads."""
    messages = []
    for content in body["contents"]:
        answered = any("functionResponse" in part for part in content["parts"])
        role = "tool" if answered else "assistant" if content["role"] == "model" else "user"
        messages.append({"role": role, "content": content["parts"]})
    config = body.get("generationConfig") or {}
    made: dict[str, Any] = {"model": model, "messages": messages, "max_tokens": config.get("maxOutputTokens")}
    made["system"] = (body.get("systemInstruction") or {}).get("parts")
    declared = [one for tool in body.get("tools") or [] for one in tool["functionDeclarations"]]
    made["tools"] = [{"name": one["name"], "parameters": one.get("parametersJsonSchema") or {}} for one in declared]
    chosen = ((body.get("toolConfig") or {}).get("functionCallingConfig")) or {}
    names = chosen.get("allowedFunctionNames")
    made["tool_choice"] = {"name": names[0]} if names else "none" if chosen.get("mode") == "NONE" else None
    if config.get("responseJsonSchema"):
        made["response_format"] = {"type": "json_schema", "json_schema": {"schema": config["responseJsonSchema"]}}
    elif config.get("responseMimeType") == "application/json":
        made["response_format"] = {"type": "json_object"}
    return made


def usage(answer: answers.Answer, output_tokens: int) -> dict[str, Any]:
    """The count so far; zeros are left out as Google does, but for the prompt's."""
    b = answer.behaviour
    if b.usage == "missing":
        return {}
    if b.usage == "zero":
        return {"usageMetadata": {"promptTokenCount": 0, "candidatesTokenCount": 0, "totalTokenCount": 0}}
    counts = {"cachedContentTokenCount": b.cached_tokens, "thoughtsTokenCount": b.reasoning_tokens}
    counts["candidatesTokenCount"] = output_tokens
    prompt = answer.input_tokens + b.cached_tokens
    made = {"promptTokenCount": prompt, "totalTokenCount": prompt + b.reasoning_tokens + output_tokens}
    return {"usageMetadata": {**made, **{name: count for name, count in counts.items() if count}}}


def _said(answer: answers.Answer, parts: list[dict[str, Any]], number: int, output_tokens: int, finish: str) -> Any:
    choice: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if finish:
        choice["finishReason"] = finish
    rest = {"modelVersion": answer.model, "responseId": f"resp{number:08d}"}
    return {"candidates": [choice], **usage(answer, output_tokens), **rest}


def _call(answer: answers.Answer) -> list[dict[str, Any]]:
    call = {"name": answer.tool_name, "args": json.loads(answer.tool_arguments)}
    return [{"functionCall": call, "thoughtSignature": "c2lnbmVk"}]


async def _answer(
    upstream: "Upstream", request: web.Request, recorded: "Recorded", *, stream: bool
) -> web.StreamResponse:
    refused = _check_key(request)
    if refused is not None:
        return refused
    behaviour = upstream._behaviour(recorded.model, request)
    await asyncio.sleep(behaviour.delay_s)
    if behaviour.fault == "status":
        info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{behaviour.retry_after}s"}
        return error(behaviour.status, f"scripted {behaviour.status}", *([info] if behaviour.retry_after else []))
    if behaviour.fault == "context_length":
        message = "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."
        return error(400, message)
    if (message := check(recorded.body)) is not None:
        return error(400, message)
    upstream._count += 1
    answer = answers.compose(_as_openai(recorded.model, recorded.body), behaviour)
    if stream:
        return await _stream(request, recorded, answer, upstream._count)
    if behaviour.fault == "content_policy":
        return web.json_response({"promptFeedback": {"blockReason": "SAFETY"}, **usage(answer, 0)})
    parts = _call(answer) if answer.tool_name else [{"text": "".join(answer.tokens)}]
    made = _said(answer, parts, upstream._count, answer.output_tokens, FINISH[answer.finish])
    return web.json_response(made)


async def _stream(
    request: web.Request, recorded: "Recorded", answer: answers.Answer, number: int
) -> web.StreamResponse:
    behaviour: Behaviour = answer.behaviour
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)

    async def send(event: str) -> None:
        await response.write(f"data: {event}\r\n\r\n".encode())
        recorded.written += 1

    pieces = [_call(answer)] if answer.tool_name else [[{"text": token}] for token in answer.tokens]
    for index, parts in enumerate(pieces):
        if index == behaviour.after_tokens:
            if behaviour.fault == "end_early":
                return response
            if behaviour.fault == "stall":
                await asyncio.Event().wait()
            if behaviour.fault == "big_event":
                await send("x" * (3 << 20))
            if behaviour.fault == "cut":
                assert request.transport is not None
                await asyncio.sleep(0.01)
                request.transport.close()
                await asyncio.Event().wait()
            if behaviour.fault == "error_event":
                await send(json.dumps({"error": {"code": 503, "message": "Overloaded.", "status": "UNAVAILABLE"}}))
                return response
        last = index + 1 == len(pieces)
        count = answer.output_tokens if last else index + 1
        made = json.dumps(_said(answer, parts, number, count, FINISH[answer.finish] if last else ""))
        await send("{not json at all" if behaviour.fault == "garbage_event" and index == 10 else made)
        await asyncio.sleep(behaviour.token_delay_s)
    return response
