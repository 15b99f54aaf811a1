"""The mock's audio: OpenAI's three paths, with what they check and how they answer."""

import asyncio
import hashlib
import json
import re
import time
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.upstream.behaviour import Behaviour

if TYPE_CHECKING:
    from tests.upstream.server import Recorded, Upstream

TEXT = "The quick brown fox jumps over the lazy dog."
SOUND = bytes(range(256)) * 64
"""What the mock speaks: 16 KiB."""
SUBTITLES = {
    "text": "",
    "srt": "1\n00:00:00,000 --> 00:00:04,320\n",
    "vtt": "WEBVTT\n\n00:00:00.000 --> 00:00:04.320\n",
}
"""What stands before the text in these formats."""
TOKENS = {"input_tokens": 14, "output_tokens": 11, "total_tokens": 25}
KEPT_BYTES = 1 << 20
"""Larger uploads are not shown whole."""
TYPES = {"mp3": "audio/mpeg", "opus": "audio/opus", "aac": "audio/aac", "flac": "audio/flac", "wav": "audio/wav"}
FIELDS = frozenset(
    """file model language prompt response_format temperature stream include[] chunking_strategy
    timestamp_granularities[] known_speaker_names[]""".split()  # noqa: SIM905
)


def form_of(raw: bytes, content_type: str) -> list[dict[str, Any]]:
    """The parts as a lenient reader sees them: name, filename, type and data of each."""
    found = re.fullmatch(r"multipart/form-data; boundary=([\w-]+)", content_type)
    assert found, content_type
    pieces = raw.split(b"--" + found[1].encode())
    assert pieces[0] == b"" and pieces[-1].strip() == b"--", raw[:200]
    parts = []
    for piece in pieces[1:-1]:
        head, _, data = piece.partition(b"\r\n\r\n")
        told = head.decode()
        name, filename = re.search(r' name="([^"]*)"', told), re.search(r'filename="([^"]*)"', told)
        kind = re.search(r"Content-Type: (.*)", told)
        assert name, told
        parts.append(
            {
                "name": name[1],
                "filename": filename[1] if filename else "",
                "type": kind[1].strip() if kind else "",
                "data": data[:-2],
            }
        )
    return parts


def add_routes(app: web.Application, up: "Upstream") -> None:
    """Mounts the three paths."""

    async def serve(request: web.Request) -> web.StreamResponse:
        recorded = await up._record(request)
        uploads = not request.path.endswith("/speech")
        if uploads:
            parts = form_of(recorded.raw, request.headers["content-type"])
            recorded.body = {part["name"]: part["data"].decode("latin-1") for part in parts}
            recorded.body["sha256"] = {part["name"]: hashlib.sha256(part["data"]).hexdigest() for part in parts}
            recorded.body["parts"] = [[part["name"], part["filename"], part["type"]] for part in parts]
            recorded.model = recorded.body.get("model", "")
            if len(recorded.raw) > KEPT_BYTES:
                # Its hash says enough.
                recorded.raw, recorded.body["file"] = b"", "…"
        try:
            return await _answer(up, request, recorded, uploads)
        except (asyncio.CancelledError, ConnectionResetError):
            recorded.disconnected_s = time.monotonic()
            recorded.left.set()
            raise

    for path in ("transcriptions", "translations", "speech"):
        app.router.add_post(f"/v1/audio/{path}", serve)


async def _answer(up: "Upstream", request: web.Request, recorded: "Recorded", uploads: bool) -> web.StreamResponse:
    behaviour = up._behaviour(recorded.model, request)
    if (refused := up._check_key(request, False)) is not None:
        return refused
    if (early := await up._before_headers(request, behaviour, False)) is not None:
        return early
    body = recorded.body
    if uploads:
        for name in body:
            if name not in FIELDS | {"parts", "sha256"}:
                return up._error(400, f"Unrecognized request argument supplied: {name}", False, param=name)
        if not body.get("file"):
            return up._error(400, "Missing required parameter: 'file'.", False, param="file")
        return await _transcribed(request, body, behaviour)
    if not body.get("voice"):
        return up._error(400, "Missing required parameter: 'voice'.", False, param="voice")
    return await _spoken(request, body, behaviour)


async def _transcribed(request: web.Request, body: dict[str, Any], behaviour: Behaviour) -> web.StreamResponse:
    form = body.get("response_format", "json")
    if body.get("stream") == "true" and "whisper" not in body["model"]:
        words = TEXT.split(" ")
        events: list[dict[str, Any]] = [{"type": "transcript.text.delta", "delta": word + " "} for word in words]
        done: dict[str, Any] = {"type": "transcript.text.done", "text": TEXT}
        if behaviour.usage != "missing":
            done["usage"] = {"type": "tokens", **TOKENS}
        return await _events(request, [*events, done], behaviour)
    if behaviour.fault == "garbage_body":
        return web.Response(body=b'{"tex', content_type="application/json")
    if behaviour.fault == "error_event":
        return web.json_response({"error": {"message": "The server had an error", "type": "server_error"}})
    if form in SUBTITLES:
        return web.Response(text=SUBTITLES[form] + TEXT + "\n\n", content_type="text/plain")
    made: dict[str, Any] = {"text": behaviour.text or TEXT}
    if form == "verbose_json":
        made |= {"task": "transcribe", "language": "english", "duration": 8.2, "segments": []}
    if behaviour.usage != "missing":
        seconds = "whisper" in body["model"]
        made["usage"] = {"type": "duration", "seconds": 9} if seconds else {"type": "tokens", **TOKENS}
    return web.json_response(made)


async def _spoken(request: web.Request, body: dict[str, Any], behaviour: Behaviour) -> web.StreamResponse:
    if body.get("stream_format") == "sse":
        events: list[dict[str, Any]] = [{"type": "speech.audio.delta", "audio": "AAAA"}] * 5
        return await _events(request, [*events, {"type": "speech.audio.done", "usage": TOKENS}], behaviour)
    if behaviour.fault == "garbage_body":
        return web.json_response({"id": "no audio"})
    response = web.StreamResponse(headers={"Content-Type": TYPES[body.get("response_format", "mp3")]})
    await response.prepare(request)
    if behaviour.fault == "end_early":
        return response
    for start in range(0, len(SOUND), 1024):
        if start == 4096 and await _strikes(request, behaviour):
            break
        await response.write(SOUND[start : start + 1024])
        await asyncio.sleep(behaviour.token_delay_s)
    return response


async def _events(request: web.Request, events: list[dict[str, Any]], behaviour: Behaviour) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for index, event in enumerate(events):
        if index == 3 and await _strikes(request, behaviour):
            break
        if index == 3 and behaviour.fault == "error_event":
            await response.write(b'data: {"type":"error","error":{"code":"server_error"}}\n\n')
            break
        await response.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        await asyncio.sleep(behaviour.token_delay_s)
    return response


async def _strikes(request: web.Request, behaviour: Behaviour) -> bool:
    """The fault in mid-answer; True when the answer is over."""
    if behaviour.fault == "stall":
        await asyncio.Event().wait()
    if behaviour.fault == "cut":
        assert request.transport is not None
        await asyncio.sleep(0.01)
        request.transport.close()
        await asyncio.Event().wait()
    return behaviour.fault == "end_early"
