"""What providers tell of audio: tokens, seconds, subtitles' ends; and which of them have which path."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.catalog import ProviderEntry
from mesh.errors import Reason
from mesh.known_providers import KINDS
from services.provider.adapters.dialects import AUDIO
from services.provider.audio import heard, last_cue_s, seconds_of, tokens_of
from services.provider.calling.events import Ask, Candidate, Operation, Usage
from services.provider.errors import ProviderFault
from services.provider.kinds import Account, audio_of, exchange_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"type": "tokens", "input_tokens": 14, "output_tokens": 45, "total_tokens": 59}, (14, 45)),
        ({"prompt_tokens": 3, "completion_tokens": 4}, (3, 4)),
        # Mistral, "Audio & Transcription": the audio's own tokens are in the total alone.
        (
            {"prompt_audio_seconds": 203, "prompt_tokens": 4, "total_tokens": 3264, "completion_tokens": 635},
            (2629, 635),
        ),
        ({"input_tokens": 0, "output_tokens": 0}, (0, 0)),
        ({"type": "duration", "seconds": 9}, None),
        ({"input_tokens": True, "output_tokens": 1}, None),
        ({"input_tokens": -1, "output_tokens": 1}, None),
        (None, None),
    ],
)
def test_tokens_are_read_under_every_name(usage: Any, tokens: tuple[int, int] | None) -> None:
    assert tokens_of(usage) == (None if tokens is None else Usage(input_tokens=tokens[0], output_tokens=tokens[1]))


@pytest.mark.parametrize(
    ("document", "seconds"),
    [
        ({"usage": {"type": "duration", "seconds": 9}, "duration": 8.2}, 9),
        ({"duration": "8.47"}, 8.47),
        ({"usage": {"prompt_audio_seconds": 203}}, 203),
        ({"duration": -1}, None),
        ({"duration": float("nan")}, None),
        ({"duration": 10**400}, None),
        ({"duration": True}, None),
        ({"usage": [], "duration": "long"}, None),
        ({}, None),
    ],
)
def test_seconds_are_read_where_providers_tell_them(document: dict[str, Any], seconds: float | None) -> None:
    assert seconds_of(document) == seconds


@given(JSON)
def test_nonsense_is_no_usage_and_breaks_nothing(value: Any) -> None:
    for document in ({"usage": value}, {"usage": {"seconds": value, "input_tokens": value}}, {"duration": value}):
        seconds = seconds_of(document)
        assert seconds is None or 0 <= seconds <= 10**6
        assert tokens_of(document.get("usage")) is None


def test_one_measure_follows_from_the_other() -> None:
    assert heard(8.2, None) == Usage(input_audio_tokens=90, audio_seconds=9)
    assert heard(None, Usage(input_tokens=14, output_tokens=3)) == Usage(14, output_tokens=3, audio_seconds=2)
    assert heard(203, Usage(input_tokens=2629)) == Usage(2629, audio_seconds=203)
    assert heard(None, Usage(4, input_audio_tokens=80)) == Usage(4, input_audio_tokens=80, audio_seconds=8)
    assert heard(0, None) == Usage()


def test_the_tokens_of_sound_are_told_apart_from_those_of_a_prompt() -> None:
    told = {"input_tokens": 94, "output_tokens": 3, "input_token_details": {"text_tokens": 14, "audio_tokens": 80}}
    assert tokens_of(told) == Usage(14, output_tokens=3, input_audio_tokens=80)
    for odd in ({"audio_tokens": -1}, {"audio_tokens": "9"}, [80], None):
        assert tokens_of({**told, "input_token_details": odd}) == Usage(94, output_tokens=3)
    assert tokens_of({**told, "input_token_details": {"audio_tokens": 200}}) == Usage(
        0, output_tokens=3, input_audio_tokens=94
    )


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("1\n00:00:00,000 --> 00:00:04,320\nHi\n\n2\n00:01:00,000 --> 01:02:03,500\nBye\n", 3723.5),
        ("WEBVTT\n\n00:00.000 --> 00:04.320 align:start\nHi\n", 4.32),
        ("Nobody said --> anything", None),
        ("00:00:00,000 --> 9999:00:00,000", None),
        ("", None),
    ],
)
def test_subtitles_end_with_the_audio(text: str, end: float | None) -> None:
    assert last_cue_s(text) == end


def entry(name: str, kind: str = "openai", base_url: str = "https://llm.example.com/v1", **more: Any) -> ProviderEntry:
    return ProviderEntry(name, kind, base_url, **more)


def test_who_has_which_path() -> None:
    assert {str(one) for one in Operation} >= AUDIO
    everything = sorted(AUDIO)
    assert audio_of(entry("mine")) == audio_of(entry("openai")) == audio_of(entry("azure")) == everything
    assert audio_of(entry("x", base_url="https://api.groq.com/openai/v1")) == everything
    assert audio_of(entry("x", base_url="https://api.mistral.ai/v1")) == ["transcription"]
    assert audio_of(entry("openrouter")) == ["speech"] and audio_of(entry("x", dialect="llamacpp")) == []
    assert audio_of(entry("x", dialect="vllm")) == ["transcription", "translation"]
    assert audio_of(entry("fireworks")) == [] and audio_of(entry("fireworks", dialect="plain")) == everything
    for kind in {*KINDS, "a-plug-in"} - {"openai"}:
        assert audio_of(entry("x", kind)) == []


def test_a_voice_of_the_accounts_own_needs_an_account_of_ones_own() -> None:
    def exchange(voice: Any, **account: Any) -> Any:
        ask = Ask(json.dumps({"voice": voice, "input": "a"}).encode(), [], operation=Operation.SPEECH)
        return exchange_of(ask, Candidate("m", "p", "tts"), Account("p", "openai", **account))

    assert exchange("alloy") and exchange({"id": "voice_1"}, shares_store=True)
    with pytest.raises(ProviderFault) as caught:
        exchange({"id": "voice_1"})
    assert caught.value.reason is Reason.INVALID_REQUEST and caught.value.message.startswith("voice.id: ")
