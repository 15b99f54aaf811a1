"""The mock model server: answers at once and spends as little CPU as Python can, so that the gateway is measured.

Run as its own process (`python -m bench.upstream --port 0 --gap-ms 1`); prints `{"port": N}` when it listens.
It refuses what is not a chat request, so a gateway that mangles bodies shows as errors and not as speed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import signal
from typing import Any

import httptools
import msgspec
import uvloop

WORD = "mauve"
"""Each content delta holds this word once; the load generator counts it."""
STREAM_EVENTS = 31
"""Events of one stream before `[DONE]`: content deltas, one with the finish reason, and the usage when asked for."""
TEXT_EVENTS = STREAM_EVENTS - 2
"""Content deltas in a stream that asked for usage (what the load generator always does)."""
USAGE = {"prompt_tokens": 25, "completion_tokens": TEXT_EVENTS, "total_tokens": 25 + TEXT_EVENTS}
_CREATED = 1_767_225_600


class _StreamOptions(msgspec.Struct):
    include_usage: bool = False


class _ChatRequest(msgspec.Struct):
    model: str
    messages: list[dict[str, Any]]
    stream: bool = False
    stream_options: _StreamOptions | None = None


_DECODER = msgspec.json.Decoder(_ChatRequest)


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _reply(status: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def answer_body() -> bytes:
    """The whole answer of a request without streaming (about 400 bytes)."""
    message = {"role": "assistant", "content": f"{WORD} is a colour between violet and grey.", "refusal": None}
    return _compact(
        {
            "id": "chatcmpl-bench0000000000000000000001",
            "object": "chat.completion",
            "created": _CREATED,
            "model": "gpt-4o-mini",
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": USAGE,
            "system_fingerprint": "fp_bench00000001",
        }
    )


def stream_events(include_usage: bool) -> list[bytes]:
    """The events of one stream as SSE bytes, without the closing `[DONE]`."""
    fixed: dict[str, object] = {
        "id": "chatcmpl-bench0000000000000000000002",
        "object": "chat.completion.chunk",
        "created": _CREATED,
        "model": "gpt-4o-mini",
    }
    texts = TEXT_EVENTS if include_usage else TEXT_EVENTS + 1
    bodies: list[dict[str, object]] = []
    for index in range(texts):
        delta = {"role": "assistant", "content": f"{WORD} "} if index == 0 else {"content": f"{WORD} "}
        bodies.append(fixed | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    bodies.append(fixed | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    if include_usage:
        bodies.append(fixed | {"choices": [], "usage": USAGE})
    return [b"data: " + _compact(body) + b"\n\n" for body in bodies]


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
    b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
)
_STREAM_END = _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
_ANSWER = _reply("200 OK", answer_body())
_MODEL = {"id": "gpt-4o-mini", "object": "model", "created": _CREATED, "owned_by": "bench"}
_MODELS = _reply("200 OK", _compact({"object": "list", "data": [_MODEL]}))
_BAD = _reply("400 Bad Request", _compact({"error": {"message": "not a chat request", "type": "bad_request"}}))
_MISSING = _reply("404 Not Found", _compact({"error": {"message": "no such path", "type": "invalid_request_error"}}))


def _chunked(include_usage: bool) -> list[bytes]:
    chunks = [_chunk(event) for event in stream_events(include_usage)]
    return [_STREAM_HEAD + chunks[0], *chunks[1:], _STREAM_END]


_STREAMS = {usage: _chunked(usage) for usage in (True, False)}


class Tally:
    """What this server has seen (`GET /bench/stats`): a run can prove that nothing was answered from a cache."""

    def __init__(self) -> None:
        self.requests = 0
        self.streams = 0
        self.invalid = 0
        self.cut = 0

    def reply(self) -> bytes:
        return _reply("200 OK", _compact(vars(self)))


class Upstream(asyncio.Protocol):
    """One connection: HTTP/1.1 keep-alive, one request at a time."""

    def __init__(self, tally: Tally, gap_s: float) -> None:
        self._tally = tally
        self._gap_s = gap_s
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._body = b""
        self._sending = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        if self._sending:
            self._tally.cut += 1
        self._transport = None

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            if self._transport is not None:
                self._transport.close()

    def on_message_begin(self) -> None:
        self._url = self._body = b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        transport = self._transport
        if transport is None:
            return
        path = self._url.partition(b"?")[0]
        if path.endswith(b"/chat/completions"):
            self._chat(transport)
        elif path.endswith(b"/models"):
            transport.write(_MODELS)
        elif path == b"/bench/stats":
            transport.write(self._tally.reply())
        else:
            transport.write(_MISSING)

    def _chat(self, transport: asyncio.Transport) -> None:
        try:
            request = _DECODER.decode(self._body)
            valid = bool(request.messages) and bool(request.model)
        except msgspec.MsgspecError:
            valid = False
        if not valid:
            self._tally.invalid += 1
            transport.write(_BAD)
            return
        self._tally.requests += 1
        if not request.stream:
            transport.write(_ANSWER)
            return
        self._tally.streams += 1
        chunks = _STREAMS[request.stream_options is not None and request.stream_options.include_usage]
        if self._gap_s <= 0:
            for chunk in chunks:
                transport.write(chunk)
            return
        self._sending = True
        self._step(chunks, 0)

    def _step(self, chunks: list[bytes], index: int) -> None:
        if self._transport is None:
            return
        self._transport.write(chunks[index])
        if index + 2 < len(chunks):
            self._loop.call_later(self._gap_s, self._step, chunks, index + 1)
            return
        # [DONE] follows the last event at once, as providers do.
        self._sending = False
        self._transport.write(chunks[index + 1])


async def serve(port: int, gap_s: float) -> None:
    """Listen on loopback until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    tally = Tally()
    server = await loop.create_server(lambda: Upstream(tally, gap_s), "127.0.0.1", port, backlog=1024)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Zero-delay mock of an OpenAI-compatible server, on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=0, help="0 = any free port (printed)")
    parser.add_argument("--gap-ms", type=float, default=1.0, help="pause between two stream events; 0 = none")
    options = parser.parse_args()
    gc.freeze()
    uvloop.run(serve(options.port, options.gap_ms / 1000))


if __name__ == "__main__":
    main()
