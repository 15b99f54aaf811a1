"""What is read of audio requests: the most that they can cost, and what is wrong with them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dac.router.v1.router_pb2 import Candidate
from dac.type.v1.usage_pb2 import Usage
from mesh.errors import MeshError, Reason
from mesh.model_prices import bucket_name
from mesh.transport import message_limit
from services.budget.prices.messages import rates_message
from services.budget.prices.money import Price, charge
from services.budget.prices.money import Usage as Used
from services.budget.prices.rates import BUCKETS
from services.gateway.audio import AudioAsk, parse_speech, parse_upload
from services.gateway.chat.reserved_run import cost_nano_usd
from services.gateway.config import MOST_BODY_BYTES, GatewayConfig
from services.provider.audio import TOKENS_PER_SECOND, heard
from services.provider.form import FormPart, written


def uploaded(data: bytes = b"x" * 2500, *, min_bytes_per_s: int = 1000, **fields: str) -> AudioAsk:
    plain = [FormPart(name, value.encode()) for name, value in {"model": "m", **fields}.items()]
    kind, body = written([*plain, FormPart("file", data, "a.mp3", "audio/mpeg")])
    return parse_upload(body, kind, "transcription", min_bytes_per_s=min_bytes_per_s)


def spoken(**fields: Any) -> AudioAsk:
    return parse_speech(json.dumps({"model": "m", "voice": "v", **fields}, ensure_ascii=False).encode())


def test_an_upload_is_as_long_as_its_size_allows() -> None:
    ask = uploaded(prompt="four")
    assert ask.audio_seconds_max == 3 and ask.operation == "transcription" and not ask.stream
    assert uploaded(min_bytes_per_s=1).audio_seconds_max == 2500
    whisper = Candidate(context_tokens=448)
    assert ask.bound([whisper]) == Usage(input_audio_tokens=448, output_tokens=4096, audio_seconds=3)
    long = Candidate(context_tokens=16000, max_output_tokens=2000)
    assert ask.bound([whisper, long]) == Usage(input_audio_tokens=2504, output_tokens=2000, audio_seconds=3)
    assert ask.bound([Candidate()]).input_audio_tokens == 2504
    assert [uploaded(stream=one).stream for one in ("true", "True", "1", "false", "")] == [
        True,
        True,
        True,
        False,
        False,
    ]


@given(st.floats(0.01, 3600), st.integers(1000, 40_000))
def test_no_upload_above_the_lowest_rate_is_longer_than_its_bound(seconds: float, bytes_per_s: int) -> None:
    size = int(seconds * bytes_per_s) + 1
    ask = AudioAsk("transcription", "m", b"", 1, size, False, audio_seconds_max=-(-size // 1000))
    used, most = heard(seconds, None), ask.bound([Candidate(context_tokens=0)])
    assert used.audio_seconds <= most.audio_seconds
    assert used.input_audio_tokens <= most.input_audio_tokens + TOKENS_PER_SECOND


def test_speech_is_bounded_by_its_text() -> None:
    ask = spoken(input="H\u00e4llo", instructions="Slow")
    assert ask.input_characters == 5 and ask.stream and ask.input_tokens_max == 10
    assert ask.bound([Candidate()]) == Usage(input_tokens=10, output_tokens=112, input_characters=5)
    assert ask.bound([Candidate(max_output_tokens=50)]).output_tokens == 50


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"input": ""}, "input"),
        ({"input": ["a"]}, "input"),
        ({"model": 1}, "model"),
        ({"instructions": 1}, "instructions"),
    ],
)
def test_what_is_wrong_with_speech_is_named(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(MeshError) as caught:
        spoken(**{"input": "a", **fields})
    assert caught.value.reason is Reason.INVALID_REQUEST and caught.value.metadata["field"] == field


@pytest.mark.parametrize("model", ["", " ", "x" * 201, "a\nb", "\u202e"])
def test_an_upload_names_a_model(model: str) -> None:
    with pytest.raises(MeshError) as caught:
        uploaded(model=model)
    assert caught.value.metadata["field"] == "model"


def test_an_upload_has_one_file_with_a_name() -> None:
    model = FormPart("model", b"m")
    for files in ([], [FormPart("file", b"x")], [FormPart("file", b"", "a")], [FormPart("file", b"x", "a")] * 2):
        kind, body = written([model, *files])
        with pytest.raises(MeshError) as caught:
            parse_upload(body, kind, "transcription", min_bytes_per_s=1000)
        assert caught.value.metadata["field"] == "file"


def test_limits_that_cannot_work_are_refused() -> None:
    assert GatewayConfig(max_body_bytes=27_262_976)
    assert message_limit("provider") > MOST_BODY_BYTES + 65536
    with pytest.raises(ValueError, match="max_body_bytes"):
        GatewayConfig(max_body_bytes=MOST_BODY_BYTES + 1)
    with pytest.raises(ValueError, match="audio_min_bytes_per_s"):
        GatewayConfig(audio_min_bytes_per_s=0)


COUNTS = (
    *("input_tokens", "input_cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens"),
    *("audio_seconds", "input_characters", "cache_write_1h_tokens", "input_audio_tokens"),
    *("input_audio_cached_tokens", "input_image_tokens", "output_audio_tokens", "output_image_tokens"),
)
NAMES = st.builds(
    lambda tier, bucket, above: bucket_name(tier, bucket, above),
    st.sampled_from(["", "", "flex", "priority"]),
    st.sampled_from(BUCKETS),
    st.sampled_from([0, 0, 1000, 200_000]),
)


@given(
    st.dictionaries(NAMES, st.integers(0, 10**12), max_size=20),
    st.tuples(*[st.integers(0, 10**5)] * len(COUNTS)),
    st.sampled_from(["", "flex", "priority", "batch"]),
    st.booleans(),
)
def test_the_cost_in_the_header_is_budgets(
    buckets: dict[str, int], used: tuple[int, ...], tier: str, answered: bool
) -> None:
    price = Price(1, "p", "m", buckets, "config")
    usage = Usage(**dict(zip(COUNTS, used, strict=True)), service_tier=tier)
    shown = cost_nano_usd(rates_message(price), usage, answered=answered)
    assert shown == charge(price, Used(*used, service_tier=tier), answered=answered).cost_nano_usd
