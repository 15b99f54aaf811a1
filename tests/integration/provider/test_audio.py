"""Audio through the provider: what is sent, pieces as they come, the retry loop, usage, and what is no answer."""

import asyncio
import dataclasses
import hashlib
from typing import Any

import msgspec
import pytest

from dac.provider.v1 import provider_pb2
from dac.type.v1.usage_pb2 import Usage as UsageMessage
from mesh.errors import MeshError, Reason
from services.provider.audio import PIECE_BYTES, Heard, audio
from services.provider.calling.events import Ask, Candidate, Event, Failure, Finish, Operation, Usage, UsageSource
from services.provider.form import FormPart
from services.provider.server import ProviderServicer
from tests.integration.provider.conftest import Bench
from tests.upstream.audio import SOUND, TEXT

BOUND = Usage(input_tokens=400, output_tokens=200, audio_seconds=40, input_characters=5)
FILE = bytes(range(256)) * 3 + b"\r\n--dac-"


def hears(*models: str, provider: str = "up", data: bytes = FILE, **fields: str) -> Ask:
    plain = [FormPart(name, value.encode()) for name, value in fields.items()]
    return Ask(
        b"",
        [Candidate(f"dac/{name}", provider, name) for name in models],
        stream=fields.get("stream") == "true",
        operation=Operation.TRANSCRIPTION,
        bound=BOUND,
        form=[FormPart("model", b"dac/any"), *plain, FormPart("file", data, "a.mp3", "audio/mpeg")],
    )


def speaks(*models: str, provider: str = "up", **fields: Any) -> Ask:
    body = {"model": "dac/any", "input": "Hello", "voice": "alloy", **fields}
    candidates = [Candidate(f"dac/{name}", provider, name) for name in models]
    return Ask(msgspec.json.encode(body), candidates, stream=True, operation=Operation.SPEECH, bound=BOUND)


async def run(bench: Bench, ask: Ask) -> tuple[bytes, list[str], Finish | Failure]:
    kinds: list[str] = []
    events: list[Heard | Event] = []
    async for event in audio(bench.generator, dataclasses.replace(ask, heard=kinds.append), kinds):
        events.append(event)
    last = events[-1]
    assert isinstance(last, Finish | Failure)
    pieces = [one for one in events if isinstance(one, Heard)]
    assert all(len(one.data) <= PIECE_BYTES for one in pieces)
    assert [bool(one.content_type) for one in pieces] == [index == 0 for index in range(len(pieces))]
    return b"".join(one.data for one in pieces), [one.content_type for one in pieces[:1]], last


async def good(bench: Bench, ask: Ask) -> tuple[bytes, Finish]:
    data, _, last = await run(bench, ask)
    assert isinstance(last, Finish), last
    return data, last


async def bad(bench: Bench, ask: Ask) -> tuple[bytes, Failure]:
    data, _, last = await run(bench, ask)
    assert isinstance(last, Failure), last
    return data, last


async def test_only_the_models_name_is_changed(bench: Bench) -> None:
    data, finish = await good(bench, hears("gpt-4o-transcribe", language="en"))
    sent = bench.upstream.requests[-1]
    assert sent.path == "/v1/audio/transcriptions" and sent.headers["authorization"] == "Bearer sk-test-0123456789abcd"
    assert sent.body["sha256"]["file"] == hashlib.sha256(FILE).hexdigest()
    assert sent.body["parts"] == [["model", "", ""], ["language", "", ""], ["file", "a.mp3", "audio/mpeg"]]
    assert sent.body["model"] == "gpt-4o-transcribe" and msgspec.json.decode(data)["text"] == TEXT
    assert finish.usage == Usage(14, output_tokens=11, audio_seconds=2)
    assert finish.usage_source is UsageSource.PROVIDER
    await good(bench, speaks("tts-1", speed=2))
    assert bench.upstream.requests[-1].raw == b'{"model":"tts-1","input":"Hello","voice":"alloy","speed":2}'


async def test_usage_is_told_shown_or_the_bound(bench: Bench) -> None:
    _, told = await good(bench, hears("whisper-1"))
    assert (told.usage, told.usage_source) == (Usage(input_audio_tokens=90, audio_seconds=9), UsageSource.PROVIDER)
    _, shown = await good(bench, hears("whisper-1", response_format="vtt"))
    assert (shown.usage.audio_seconds, shown.usage_source) == (5, UsageSource.COUNTED)
    for ask in (hears("whisper-1", response_format="text"), hears("gpt-4o-transcribefault:usage_missing")):
        _, held = await good(bench, ask)
        assert (held.usage.input_tokens, held.usage.audio_seconds) == (400, 40) and held.usage.output_tokens < 20
        assert held.usage_source is UsageSource.ESTIMATED
    _, spoken = await good(bench, speaks("tts-1"))
    assert (spoken.usage, spoken.usage_source) == (BOUND, UsageSource.ESTIMATED)
    _, events = await good(bench, speaks("tts-1", stream_format="sse"))
    assert events.usage == Usage(14, output_tokens=11, input_characters=5)


@pytest.mark.parametrize("fault", ["500", "503", "reset"])
async def test_what_may_pass_is_asked_once_more(bench: Bench, fault: str) -> None:
    for make in (hears, speaks):
        data, finish = await good(bench, make(f"fault:{fault},times=1"))
        assert data and [one.reason for one in finish.attempts] == [Reason.PROVIDER_FAILED, Reason.UNSPECIFIED]
        bench.upstream.clear()


@pytest.mark.parametrize("fault", ["garbage_body", "html", "empty_body", "end_early"])
async def test_what_is_no_sound_is_no_answer(bench: Bench, fault: str) -> None:
    data, failure = await bad(bench, speaks(f"fault:{fault}"))
    assert not data and failure.reason is Reason.PROVIDER_FAILED and failure.attempts[0].usage == Usage()


@pytest.mark.parametrize("fault", ["cut", "stall"])
async def test_sound_that_breaks_is_a_failure_and_is_charged_the_bound(bench: Bench, fault: str) -> None:
    data, failure = await bad(bench, speaks(f"fault:{fault}"))
    assert data == SOUND[:4096] and failure.after_first_token
    assert len(failure.attempts) == 1 and failure.attempts[0].usage == BOUND


async def test_a_stream_of_text_that_ends_without_its_end_is_cut(bench: Bench) -> None:
    data, failure = await bad(bench, hears("fault:end_early", stream="true"))
    assert b"transcript.text.delta" in data and failure.reason is Reason.PROVIDER_CUT
    data, failure = await bad(bench, hears("fault:error_event", stream="true"))
    assert failure.reason is Reason.PROVIDER_FAILED


async def test_a_long_answer_comes_in_pieces(bench: Bench) -> None:
    bench.upstream.script("ok", text="x" * (2 * PIECE_BYTES))
    data, _ = await good(bench, hears("whisper-1"))
    assert len(data) > 2 * PIECE_BYTES


async def test_a_kind_without_audio_is_refused_before_anything_is_sent(bench: Bench) -> None:
    data, failure = await bad(bench, hears("whisper-1", provider="claude"))
    assert not data and failure.reason is Reason.INVALID_REQUEST and "kind anthropic" in failure.message
    assert not bench.upstream.requests


async def test_a_caller_that_leaves_stops_the_provider(bench: Bench) -> None:
    bench.upstream.script("ok", token_delay_s=0.05)
    kinds: list[str] = []
    events = audio(bench.generator, dataclasses.replace(speaks("tts-1"), heard=kinds.append), kinds)
    async for event in events:
        if isinstance(event, Heard):
            break
    await events.aclose()
    async with asyncio.timeout(3):
        await bench.upstream.requests[-1].left.wait()


async def test_the_rpc_says_the_same(bench: Bench) -> None:
    servicer = ProviderServicer(bench.generator, bench.registry, desk=None, interval_s=0, frame_bytes=0)  # type: ignore[arg-type]
    request = provider_pb2.AudioRequest(
        task=provider_pb2.AUDIO_TASK_SPEECH,
        input=b'{"model":"any","input":"Hello","voice":"alloy"}',
        candidates=[provider_pb2.GenerateCandidate(model="dac/tts", provider="up", upstream_name="tts-1")],
        stream=True,
        bound=UsageMessage(input_characters=5, output_tokens=-3),
    )
    events = [event async for event in servicer.Audio(request, None)]
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds[0] == "attempt" and kinds[-1] == "finish" and set(kinds[1:-1]) == {"bytes"}
    assert events[1].bytes.content_type == "audio/mpeg" and events[-1].finish.usage == UsageMessage(input_characters=5)
    assert b"".join(event.bytes.data for event in events[1:-1]) == SOUND
    with pytest.raises(MeshError) as caught:
        [event async for event in servicer.Audio(provider_pb2.AudioRequest(), None)]
    assert caught.value.metadata["field"] == "task"
