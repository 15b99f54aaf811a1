"""The mock's Bedrock side: Converse and ConverseStream with its binary frames."""

import binascii
import itertools
import json
import struct
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from aiohttp import web

from tests.upstream import answers, native

if TYPE_CHECKING:
    from tests.upstream.server import Upstream

FIELDS = frozenset("messages system inferenceConfig toolConfig additionalModelRequestFields outputConfig".split())  # noqa: SIM905
FINISH = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


def frame(payload: bytes, **headers: str) -> bytes:
    """A frame: `event_type` is the header ":event-type"."""
    made = b""
    for name, value in headers.items():
        named = (":" + name.replace("_", "-")).encode()
        made += bytes([len(named)]) + named + b"\x07" + struct.pack(">H", len(value.encode())) + value.encode()
    lengths = struct.pack(">II", 16 + len(made) + len(payload), len(made))
    checked = lengths + struct.pack(">I", binascii.crc32(lengths)) + made + payload
    return checked + struct.pack(">I", binascii.crc32(checked))


def event(kind: str, **fields: Any) -> bytes:
    """An event's frame."""
    payload = json.dumps(fields, ensure_ascii=False).encode()
    return frame(payload, event_type=kind, content_type="application/json", message_type="event")


def failed(kind: str) -> bytes:
    """An exception's frame."""
    return frame(
        b'{"message":"scripted"}', exception_type=kind, content_type="application/json", message_type="exception"
    )


class Bedrock:
    """See native.Dialect."""

    content_type = "application/vnd.amazon.eventstream"
    garbage_event = b"\x00" * 16
    error_event = failed("modelStreamErrorException")

    def refused(self, request: web.Request) -> web.Response | None:
        """A bearer key, or a signature that names all it must cover."""
        said = request.headers.get("authorization", "")
        if said.startswith("Bearer ") and "bad" not in said:
            return None
        covered = "SignedHeaders=content-type;host;x-amz-date"
        if said.startswith("AWS4-HMAC-SHA256 Credential=AKIA") and covered in said and "x-amz-date" in request.headers:
            return None
        return self.error(403, "The security token included in the request is invalid.")

    def error(self, status: int, message: str, after: str = "") -> web.Response:
        """Amazon's error."""
        headers = {"x-amzn-ErrorType": "ValidationException", **({"Retry-After": after} if after else {})}
        return web.json_response({"message": message}, status=status, headers=headers)

    def check(self, body: Any) -> str | None:
        """See native.Dialect."""
        if unknown := set(body) - FIELDS:
            return f"unknown fields {sorted(unknown)}"
        if not body.get("messages"):
            return "messages must not be empty"
        roles = [message["role"] for message in body["messages"]]
        if any(role not in ("user", "assistant") for role in roles):
            return "a role is neither user nor assistant"
        if any(one == other for one, other in itertools.pairwise(roles)):
            return "roles must alternate"
        for message in body["messages"]:
            if not message["content"] or any(
                len(block) != 1 or block.get("text") == "" for block in message["content"]
            ):
                return "a content block is blank"
        return None

    def as_openai(self, model: str, body: dict[str, Any]) -> dict[str, Any]:
        """See native.Dialect."""
        messages = []
        for message in body["messages"]:
            answered = any("toolResult" in block for block in message["content"])
            messages.append({"role": "tool" if answered else message["role"], "content": message["content"]})
        made: dict[str, Any] = {"model": model, "messages": messages, "system": body.get("system")}
        made["max_tokens"] = (body.get("inferenceConfig") or {}).get("maxTokens")
        specs = [tool["toolSpec"] for tool in (body.get("toolConfig") or {}).get("tools") or []]
        made["tools"] = [{"name": spec["name"], "parameters": spec["inputSchema"]["json"]} for spec in specs]
        made["thinking"] = (body.get("additionalModelRequestFields") or {}).get("thinking") or {}
        if body.get("outputConfig"):
            schema = json.loads(body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"])
            made["response_format"] = {"type": "json_schema", "json_schema": {"schema": schema}}
        return made

    def plain(self, answer: answers.Answer, number: int) -> dict[str, Any]:
        """See native.Dialect."""
        content: list[Any] = []
        if answer.thinks:
            content.append({"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}})
        if answer.tool_name:
            use = {"toolUseId": "tooluse_mock", "name": answer.tool_name, "input": json.loads(answer.tool_arguments)}
            content.append({"toolUse": use})
        else:
            content.append({"text": "".join(answer.tokens)})
        message = {"role": "assistant", "content": content}
        stop, metrics = FINISH[answer.finish], {"latencyMs": 5}
        return {"output": {"message": message}, "stopReason": stop, "metrics": metrics, **_usage(answer)}

    def events(self, answer: answers.Answer, number: int) -> tuple[list[bytes], list[bytes], list[bytes]]:
        """See native.Dialect."""

        def delta(index: int, **said: Any) -> bytes:
            return event("contentBlockDelta", contentBlockIndex=index, delta=said, p="abcdefgh")

        head = [event("messageStart", role="assistant")]
        if answer.thinks:
            head += [delta(0, reasoningContent={"text": "h"}), delta(0, reasoningContent={"text": "m"})]
            head += [delta(0, reasoningContent={"signature": "c2ln"}), event("contentBlockStop", contentBlockIndex=0)]
        if answer.tool_name:
            use = {"toolUseId": "tooluse_mock", "name": answer.tool_name}
            middle = [event("contentBlockStart", contentBlockIndex=1, start={"toolUse": use})]
            middle += [delta(1, toolUse={"input": one}) for one in answer.tool_arguments]
        else:
            middle = [delta(1, text=token) for token in answer.tokens]
        stop = event("messageStop", stopReason=FINISH[answer.finish])
        end = event("metadata", metrics={"latencyMs": 5}, **_usage(answer))
        return head, middle, [event("contentBlockStop", contentBlockIndex=1), stop, end]


def _usage(answer: answers.Answer) -> dict[str, Any]:
    b = answer.behaviour
    if b.usage == "missing":
        return {}
    zero = b.usage == "zero"
    read, wrote = (0, 0) if zero else (answer.input_tokens, answer.output_tokens)
    made = {"inputTokens": read, "outputTokens": wrote, "totalTokens": read + wrote}
    return {"usage": {**made, "cacheReadInputTokens": b.cached_tokens, "cacheWriteInputTokens": b.cache_write_tokens}}


def add_routes(app: web.Application, upstream: "Upstream") -> None:
    """Puts the API beside the others."""
    dialect = Bedrock()

    async def converse(request: web.Request) -> web.StreamResponse:
        model, stream = unquote(request.match_info["model"]), request.path.endswith("-stream")
        return await native.serve(upstream, request, dialect, model=model, stream=stream)

    app.router.add_post("/model/{model}/converse", converse)
    app.router.add_post("/model/{model}/converse-stream", converse)
