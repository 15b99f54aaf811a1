"""Audio: a form or a text to an OpenAI-compatible provider and its bytes back, by the retry loop of chats."""

import dataclasses
import math
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, NamedTuple

import msgspec

from mesh import sse
from mesh.tokens import estimate_tokens
from services.provider.adapters import MAX_KEPT_BYTES, Outgoing, Result
from services.provider.adapters.dialects import PLAIN, ChatDialect, key_headers
from services.provider.adapters.framing import Framing
from services.provider.adapters.usage import is_count
from services.provider.calling.events import Ask, Candidate, Event, Failure, Finish, Frames, Operation, Started, Usage
from services.provider.calling.events import UsageSource as Source
from services.provider.calling.generation import Generator
from services.provider.error_bodies import openai_error
from services.provider.errors import cut, garbage, not_translatable, stream_error
from services.provider.form import FormPart, written
from services.provider.splice import splice

PATHS = {
    Operation.TRANSCRIPTION: "/audio/transcriptions",
    Operation.TRANSLATION: "/audio/translations",
    Operation.SPEECH: "/audio/speech",
}
TOKENS_PER_SECOND = 10
"""What a second of audio counts where a provider tells seconds: OpenAI's own rate where it tells tokens."""
MAX_SECONDS = 1_000_000
"""More than any upload lasts: a provider that says more is not believed."""
PIECE_BYTES = 1 << 20
EVENTS, JSON = "text/event-stream", "application/json"
_TEXTS = re.compile(r"text/(?:plain|vtt|srt|x-srt)|application/(?:x-)?(?:subrip|srt)")
_SOUNDS = re.compile(r"audio/[\w.+-]{1,64}|application/(?:octet-stream|ogg)|video/(?:webm|mp4)", re.A)

_CUE_END = re.compile(r"-->[ \t]+(?:(\d{2,4}):)?([0-5]\d):([0-5]\d[.,]\d{3})", re.A)

_encode = msgspec.json.encode


class Heard(NamedTuple):
    """A piece of the answer."""

    data: bytes
    content_type: str
    """With the first piece only."""


class AudioExchange:
    """Pass-through: only the model's name differs from what the caller sent."""

    def __init__(
        self, ask: Ask, candidate: Candidate, provider: str, key: str, *, dialect: ChatDialect = PLAIN
    ) -> None:
        self._ask, self._candidate, self._provider, self._key = ask, candidate, provider, key
        self._dialect = dialect
        self._kind = ""
        self._usage: Usage | None = None
        self._source = Source.ESTIMATED
        self._last_cue_s: float | None = None
        self._text_bytes = self._kept_bytes = 0
        self._kept: list[bytes] = []
        self.first = self.finished = self.done = False

    def outgoing(self) -> Outgoing:
        """The caller's form or body with the provider's own name of the model."""
        ask, name = self._ask, self._candidate.upstream_name
        if ask.operation is Operation.SPEECH:
            kind = JSON
            try:
                body = splice(ask.input, {"model": _encode(name)})
            except (ValueError, RecursionError):
                raise not_translatable("The request body is not a JSON object of a speech.") from None
        else:
            kind, body = written(
                FormPart("model", name.encode()) if part.name == "model" else part for part in ask.form
            )
        accepted = "audio/*, application/octet-stream" if ask.operation is Operation.SPEECH else f"{JSON}, text/*"
        if ask.stream:
            accepted += f", {EVENTS}"
        headers = {"Content-Type": kind, **key_headers(self._dialect, self._key)}
        path = PATHS[ask.operation] + self._dialect.audio_query
        return Outgoing(path, headers, body, Framing(accepted, self._splitter, fits=self._fits))

    def _fits(self, kind: str) -> bool:
        """Whether an answer of that content type is one; a page, for instance, is not."""
        self._kind, ask = kind, self._ask
        if ask.operation is Operation.SPEECH:
            fits = bool(_SOUNDS.fullmatch(kind)) or kind == EVENTS
        else:
            # Models that cannot stream leave the wish out and answer whole.
            fits = kind == JSON or bool(_TEXTS.fullmatch(kind)) or (ask.stream and kind == EVENTS)
        if fits:
            ask.heard(kind)
        return fits

    def _splitter(self, max_event_bytes: int) -> "_Pieces | _Events":
        return _Events(max_event_bytes) if self._kind == EVENTS else _Pieces()

    def plain(self, raw: bytes) -> bytes:
        """The answer's own bytes."""
        self._read_whole(raw)
        self.first = self.finished = self.done = True
        return raw

    def event(self, event: bytes) -> bytes:
        """An event's or a piece's own bytes. Raises ProviderFault for an error event."""
        if self._kind == EVENTS:
            self._read_event(event)
            return event
        self.first = True
        if self._ask.operation is not Operation.SPEECH and self._kept_bytes < MAX_KEPT_BYTES:
            self._kept.append(event)
            self._kept_bytes += len(event)
        return event

    def _read_event(self, event: bytes) -> None:
        data = sse.data_of(event)
        if data == b"[DONE]":
            self.finished = True
            return
        document = sse.read_json(data) if data else None
        if not isinstance(document, dict):
            return
        kind, error = str(document.get("type") or ""), document.get("error")
        if error or kind == "error":
            told = error if isinstance(error, dict) else document
            raise stream_error(self._provider, str(told.get("code") or told.get("type") or ""))
        delta = document.get("delta")
        if isinstance(delta, str):
            self._text_bytes += len(delta.encode("utf-8", "replace"))
        self.first = True
        if kind.endswith(".done"):
            self.finished = True
        self._take_usage(document)

    def _read_whole(self, raw: bytes) -> None:
        if self._kind != JSON:
            self._text_bytes = len(raw)
            self._last_cue_s = last_cue_s(raw.decode("utf-8", "replace"))
            return
        document = sse.read_json(raw)
        if not isinstance(document, dict):
            raise garbage(self._provider, "the body is no transcription")
        if error := document.get("error"):
            # Some compatible servers report failures with status 200.
            told = error if isinstance(error, dict) else {}
            raise stream_error(self._provider, str(told.get("code") or told.get("type") or ""))
        text = document.get("text")
        if not isinstance(text, str):
            raise garbage(self._provider, "the body has no text")
        self._text_bytes = len(text.encode("utf-8", "replace"))
        self._take_usage(document)

    def _take_usage(self, document: dict[str, Any]) -> None:
        seconds, tokens = seconds_of(document), tokens_of(document.get("usage"))
        if seconds is None and tokens is None:
            return
        if self._ask.operation is Operation.SPEECH:
            self._usage = tokens and dataclasses.replace(tokens, input_characters=self._ask.bound.input_characters)
        else:
            self._usage = heard(seconds, tokens)
        self._source = Source.PROVIDER

    def end(self) -> bytes:
        """Nothing is owed. Raises ProviderFault when nothing came, or events without their last."""
        if not self.first:
            raise garbage(self._provider, "it is empty")
        if self._kind == EVENTS and not self.finished:
            raise cut(self._provider, "the last event did not come")
        if self._kept and self._kept_bytes < MAX_KEPT_BYTES:
            self._read_whole(b"".join(self._kept))
        return b""

    def error_body(self, body: bytes) -> bytes:
        """See OpenAIExchange."""
        return openai_error(body)

    def result(self, *, need_text: bool) -> Result:
        """What the provider said; else what its answer shows (subtitles end with the audio); else the bound."""
        if self._usage is not None:
            return Result(self._usage, self._source, "")
        bound = self._ask.bound
        if self._ask.operation is Operation.SPEECH:
            return Result(bound, Source.ESTIMATED, "")
        wrote = estimate_tokens(self._text_bytes)
        if self._last_cue_s is not None:
            usage = heard(self._last_cue_s, None)
            return Result(dataclasses.replace(usage, output_tokens=wrote), Source.COUNTED, "")
        return Result(dataclasses.replace(bound, output_tokens=wrote), Source.ESTIMATED, "")


class _Pieces:
    """Bytes as they come."""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The piece, unless it is the end."""
        return [chunk] if chunk else []


class _Events:
    """Events; one that is still open when the stream is over is the last."""

    def __init__(self, max_event_bytes: int) -> None:
        self._splitter = sse.Splitter(max_event_bytes)

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that the chunk completes."""
        return self._splitter.feed(chunk or b"\n\n")


def tokens_of(raw: Any) -> Usage | None:
    """Tokens, by OpenAI's names in audio or in chats; None where none are told."""
    if not isinstance(raw, dict):
        return None
    read = raw.get("input_tokens", raw.get("prompt_tokens"))
    wrote = raw.get("output_tokens", raw.get("completion_tokens"))
    if not is_count(read) or not is_count(wrote):
        return None
    total = raw.get("total_tokens")
    if "prompt_audio_seconds" in raw and is_count(total):
        # Mistral counts the audio's tokens in the total alone.
        read = max(read, total - wrote)
    details = raw.get("input_token_details")
    sound = details.get("audio_tokens") if isinstance(details, dict) else 0
    heard = min(read, sound) if is_count(sound) else 0
    return Usage(input_tokens=read - heard, output_tokens=wrote, input_audio_tokens=heard)


def heard(seconds: float | None, tokens: Usage | None) -> Usage:
    """Both measures of what was heard; the one that is not told follows from the other."""
    usage = tokens or Usage(input_audio_tokens=math.ceil(seconds or 0) * TOKENS_PER_SECOND)
    sound = usage.input_audio_tokens or usage.input_tokens
    length = sound / TOKENS_PER_SECOND if seconds is None else seconds
    return dataclasses.replace(usage, audio_seconds=math.ceil(length))


def last_cue_s(text: str) -> float | None:
    """When the last of the subtitles (SRT or WebVTT) ends; None when there are none."""
    ends = _CUE_END.findall(text)
    if not ends:
        return None
    hours, minutes, seconds = ends[-1]
    found = int(hours or 0) * 3600 + int(minutes) * 60 + float(seconds.replace(",", "."))
    return found if found <= MAX_SECONDS else None


def seconds_of(document: dict[str, Any]) -> float | None:
    """How long the audio is, as far as a provider tells; None when it does not, or tells nonsense."""
    usage = document.get("usage")
    told = usage if isinstance(usage, dict) else {}
    for value in (told.get("seconds"), told.get("prompt_audio_seconds"), document.get("duration")):
        try:
            seconds = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else -1.0
        except (ValueError, OverflowError):
            continue
        if 0 <= seconds <= MAX_SECONDS:
            return seconds
    return None


async def audio(generator: Generator, ask: Ask, kinds: list[str]) -> AsyncGenerator[Heard | Event, None]:
    """The events of one audio request, by the rules of a generation; `kinds` is where `ask.heard` puts its news."""
    named = False
    async with aclosing(generator.run(ask)) as events:
        async for event in events:
            if not isinstance(event, Frames):
                assert isinstance(event, Started | Finish | Failure)
                yield event
                continue
            for start in range(0, len(event.data), PIECE_BYTES):
                yield Heard(event.data[start : start + PIECE_BYTES], "" if named else kinds[-1])
                named = True
