"""Transcriptions and speech through a real `dac up`: the official SDK, what is refused, what it costs, what breaks."""

import hashlib
import time

import httpx
import openai
import pytest

from tests.edge.test_cli import run
from tests.edge.test_embeddings import limit, make_key
from tests.upstream.audio import SOUND, TEXT

SECOND = 100_000
"""What mock/whisper costs: nano-USD a second."""
CHARACTER = 15_000
"""What mock/tts costs: nano-USD a character."""
HOSTILE = bytes(range(256)) * 40 + b"\r\n--x\r\n\r\n--\r\nContent-Disposition: form-data; name=model\r\n\r\nother\r\n"
"""No audio, and everything that a careless reader or writer of forms would trip over."""


@pytest.fixture(scope="session")
def client(dac):
    return openai.OpenAI(base_url=f"{dac.url}/v1", api_key=dac.key, max_retries=0)


def upload(dac, path="transcriptions", *, key="", model="mock/whisper", data=b"\xff\xfb" * 4000, **fields):
    headers = {"authorization": f"Bearer {key or dac.key}"}
    fields = {"model": model, **fields}
    files = {"file": ("a.mp3", data, "audio/mpeg")}
    return httpx.post(f"{dac.url}/v1/audio/{path}", data=fields, files=files, headers=headers, timeout=30)


def speak(dac, *, key="", **fields):
    headers = {"authorization": f"Bearer {key or dac.key}"}
    body = {"model": "mock/tts", "voice": "alloy", "input": "Hello there", **fields}
    return httpx.post(f"{dac.url}/v1/audio/speech", json=body, headers=headers, timeout=30)


def usage_of(record):
    return {name: int(value) for name, value in record["attempts"][-1]["usage"].items() if int(value)}


def record_named(dac, client_id):
    end = time.monotonic() + 5
    while True:
        found = [one for one in dac.get("/v1/requests").json()["requests"] if one["client_request_id"] == client_id]
        if found:
            return found[0]
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_sdk_transcribes_and_the_upload_arrives_unchanged(client, upstream_process):
    answer = client.audio.transcriptions.create(
        model="mock/whisper",
        file=('na"me\u00e9.mp3', HOSTILE, "audio/mpeg"),
        language="en",
        prompt="fox, dog",
        temperature=0.2,
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
    assert answer.text == TEXT and answer.duration == 8.2
    sent = upstream_process.requests()[-1]
    assert sent["path"] == "/v1/audio/transcriptions" and sent["headers"]["authorization"].startswith("Bearer mock-")
    body = sent["body"]
    assert body["sha256"]["file"] == hashlib.sha256(HOSTILE).hexdigest()
    assert body["model"] == "whisper-1" and body["prompt"] == "fox, dog" and body["temperature"] == "0.2"
    names = [name for name, _, _ in body["parts"]]
    assert names.count("timestamp_granularities[]") == 2 and names.count("model") == 1
    assert ["file", "na%22me\u00e9.mp3", "audio/mpeg"] in body["parts"]


def test_every_form_of_answer_passes_as_it_is(client, upstream_process):
    audio = ("a.wav", b"RIFF" * 100)
    assert client.audio.transcriptions.create(model="mock/transcribe", file=audio).usage.input_tokens == 14
    for form in ("text", "srt", "vtt"):
        assert TEXT in client.audio.transcriptions.create(model="mock/whisper", file=audio, response_format=form)
    raw = client.audio.transcriptions.with_raw_response.create(model="mock/whisper", file=audio, response_format="srt")
    assert raw.headers["content-type"].startswith("text/plain")
    assert client.audio.translations.create(model="mock/whisper", file=audio).text == TEXT
    assert upstream_process.requests()[-1]["path"] == "/v1/audio/translations"


def test_a_transcription_streams(dac, client):
    events = list(client.audio.transcriptions.create(model="mock/transcribe", file=("a.mp3", b"x" * 99), stream=True))
    assert "".join(one.delta for one in events[:-1]).strip() == TEXT and events[-1].text == TEXT
    streamed = upload(dac, model="mock/transcribe", stream="true")
    assert streamed.headers["content-type"].startswith("text/event-stream") and streamed.headers["x-dac-model"]
    record = dac.record(streamed)
    assert record["stream"] and usage_of(record)["output_tokens"] == 11
    # A model that cannot stream answers whole.
    assert upload(dac, model="mock/whisper", stream="true").json()["text"] == TEXT


def test_the_sdk_gets_speech_as_it_comes(client, upstream_process):
    answer = client.audio.speech.create(
        model="mock/tts", voice="alloy", input="Hello there", response_format="opus", speed=1.5
    )
    assert answer.content == SOUND and answer.response.headers["content-type"] == "audio/opus"
    sent = upstream_process.requests()[-1]["body"]
    assert sent == {"model": "tts-1", "voice": "alloy", "input": "Hello there", "response_format": "opus", "speed": 1.5}
    upstream_process.script("ok", token_delay_s=0.05)
    begun, first = time.monotonic(), 0.0
    with client.audio.speech.with_streaming_response.create(model="mock/tts", voice="alloy", input="Hi") as streamed:
        parts = []
        for part in streamed.iter_bytes():
            first = first or time.monotonic() - begun
            parts.append(part)
    assert b"".join(parts) == SOUND and first < (time.monotonic() - begun) / 2


def test_speech_as_events_tells_its_usage(dac):
    answer = speak(dac, model="mock/voice", stream_format="sse", instructions="Slowly")
    assert answer.headers["content-type"].startswith("text/event-stream") and "speech.audio.done" in answer.text
    record = dac.record(answer)
    assert usage_of(record) == {"input_tokens": 14, "output_tokens": 11, "input_characters": 11}
    assert record["attempts"][0]["usage_source"] == "USAGE_SOURCE_PROVIDER"
    assert int(record["cost_nano_usd"]) == 14 * 600 + 11 * 12_000


@pytest.mark.parametrize(
    ("model", "fields", "cost", "source"),
    [
        ("mock/whisper", {}, 9 * SECOND, "PROVIDER"),
        ("mock/whisper", {"response_format": "verbose_json"}, 9 * SECOND, "PROVIDER"),
        # 8000 bytes are at most 8 seconds.
        ("mock/whisper", {"response_format": "text"}, 8 * SECOND, "ESTIMATED"),
        # Subtitles end with the audio.
        ("mock/whisper", {"response_format": "srt"}, 5 * SECOND, "COUNTED"),
        ("mock/transcribe", {}, 14 * 2500 + 11 * 10_000, "PROVIDER"),
        ("mock/transcribe", {"stream": "true"}, 14 * 2500 + 11 * 10_000, "PROVIDER"),
    ],
)
def test_a_transcription_is_priced_by_what_its_model_is_priced_by(dac, model, fields, cost, source):
    answer = upload(dac, model=model, **fields)
    assert answer.status_code == 200 and answer.headers["x-dac-model"] == model
    record = dac.record(answer)
    assert record["operation"] == "transcription" and record["outcome"] == "OUTCOME_OK" and record["http_status"] == 200
    assert int(record["cost_nano_usd"]) == cost and record["attempts"][0]["usage_source"] == f"USAGE_SOURCE_{source}"
    assert int(record["reserved_nano_usd"]) >= min(cost, 8 * SECOND)
    if not fields.get("stream"):
        assert round(float(answer.headers["x-dac-cost-usd"]) * 1e9) == cost
    assert {"route", "reserve", "generate"} <= set(record["stage_ms"])
    assert dac.get("/v1/budgets:verify").json()["differences"] == []


def test_speech_is_priced_by_character_or_by_its_bound(dac):
    record = dac.record(speak(dac, input="H\u00e4llo"))
    assert record["operation"] == "speech" and int(record["cost_nano_usd"]) == 5 * CHARACTER
    (line,) = [one for one in record["attempts"][0]["price_lines"] if int(one["cost_nano_usd"])]
    assert line["bucket"] == "input_character" and line["tokens"] == "5"
    assert record["reserved_nano_usd"] == record["cost_nano_usd"]
    # A binary answer tells no tokens: two for each byte of the text and a hundred, marked as a bound.
    record = dac.record(speak(dac, model="mock/voice", input="x" * 50))
    assert usage_of(record) == {"input_tokens": 50, "output_tokens": 200, "input_characters": 50}
    assert record["attempts"][0]["usage_source"] == "USAGE_SOURCE_ESTIMATED"
    assert record["cost_nano_usd"] == record["reserved_nano_usd"] == str(50 * 600 + 200 * 12_000)


def test_the_commands_tell_of_audio(dac):
    answer = upload(dac)
    dac.record(answer)
    told = run(dac, "explain", answer.headers["x-dac-request-id"]).stdout
    assert "transcription" in told and "audio_second" in told and "audio_seconds 9" in told
    assert "(transcription)" in run(dac, "logs").stdout


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"model": ""}, 400, "model"),
        ({"model": "auto"}, 400, "model"),
        ({"model": "mock/gpt-4o-mini"}, 400, "model"),
        ({"model": "mock/tts"}, 400, "model"),
        ({"model": "mock/whisperr"}, 404, None),
        ({"data": b""}, 400, "file"),
    ],
)
def test_what_is_wrong_is_named_and_recorded(dac, upstream_process, fields, status, param):
    answer = upload(dac, **fields)
    assert answer.status_code == status and answer.json()["error"]["param"] == param, answer.text
    record = dac.record(answer)
    assert record["operation"] == "transcription" and record["outcome"] == "OUTCOME_REFUSED"
    assert not upstream_process.requests() and not int(record["cost_nano_usd"])


def test_speech_is_checked_before_anything_is_held(dac, upstream_process):
    for fields, param in (({"input": ""}, "input"), ({"input": 7}, "input"), ({"model": "mock/whisper"}, "model")):
        answer = speak(dac, **fields)
        assert answer.status_code == 400 and answer.json()["error"]["param"] == param, answer.text
    assert not upstream_process.requests()
    # What DAC does not read is the provider's to judge.
    refused = speak(dac, voice="")
    assert refused.status_code == 400 and refused.json()["error"]["message"] == "Missing required parameter: 'voice'."
    assert dac.record(refused)["cost_nano_usd"] == "0"


def test_hostile_forms_are_refused(dac, upstream_process):
    def post(body, kind):
        return httpx.post(
            f"{dac.url}/v1/audio/transcriptions", content=body, headers={**dac.headers, "content-type": kind}
        )

    def part(name, data):
        return b'--b\r\nContent-Disposition: form-data; name="' + name + b'"\r\n\r\n' + data + b"\r\n"

    file = part(b'file"; filename="a.mp3', b"x" * 9)
    good = part(b"model", b"mock/whisper") + file + b"--b--\r\n"
    form = "multipart/form-data; boundary=b"
    assert post(good, form).status_code == 200
    asked = len(upstream_process.requests())
    for body, kind in (
        (good, "application/json"),
        (good, "multipart/form-data"),
        (good[:-6], form),
        (part(b"model", b"mock/tts") + good, form),
        (part(b"model", b"mock/whisper") + b"--b--\r\n", form),
        (b"--b\r\nX: " + b"y" * 5000 + b"\r\n\r\n\r\n" + good, form),
        (part(b"a", b"") * 70 + good, form),
        (b"", form),
    ):
        refused = post(body, kind)
        assert refused.status_code == 400 and refused.json()["error"]["type"] == "invalid_request_error", refused.text
    assert len(upstream_process.requests()) == asked
    large = upload(dac, data=b"x" * (10 << 20))
    assert large.status_code == 413 and "gateway.max_body_bytes" in large.json()["error"]["message"]


def test_a_provider_without_audio_is_refused_before_anything_is_held(dac, upstream_process):
    refused = upload(dac, model="claude/whisper")
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "model"
    assert "claude, which has none of OpenAI's form" in refused.json()["error"]["message"]
    record = dac.record(refused)
    assert record["outcome"] == "OUTCOME_REFUSED" and "reserve" not in record["stage_ms"]
    assert not upstream_process.requests()
    chatted = dac.chat(model="mock/tts")
    assert chatted.status_code == 400 and "POST /v1/audio/speech" in chatted.json()["error"]["message"]
    assert dac.chat(model="auto").headers["x-dac-model"] not in ("mock/tts", "mock/whisper")
    listed = dac.get("/v1/models?capability=speech").json()["data"]
    assert "mock/tts" in [one["id"] for one in listed]


def test_another_deployment_answers_when_one_is_dead(dac, upstream_process):
    answer = upload(dac, model="pair/whisper")
    assert answer.status_code == 200, answer.text
    record = dac.record(answer)
    assert record["attempts"][-1]["provider"] == "mock" and record["cost_nano_usd"] == str(9 * SECOND)
    assert "claude" not in [one["provider"] for one in record["attempts"]]


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("429", 429, "provider_rate_limited"),
        ("500", 502, "provider_failed"),
        ("reset", 502, "provider_failed"),
        ("garbage_body", 502, "provider_failed"),
        ("error_event", 502, "provider_failed"),
        ("html", 502, "provider_failed"),
        ("401", 502, "provider_failed"),
        ("empty_body", 502, "provider_failed"),
        ("hang", 504, "provider_timeout"),
    ],
)
def test_a_providers_failure_is_told_and_costs_nothing(dac, upstream_process, fault, status, code):
    upstream_process.script(fault, retry_after="0.1")
    answer = upload(dac, model="quick/whisper")
    assert answer.status_code == status and answer.json()["error"]["code"] == code, answer.text
    record = dac.record(answer)
    assert record["outcome"] == "OUTCOME_FAILED" and record["cost_nano_usd"] == "0" and not usage_of(record)
    if fault != "error_event":
        spoken = speak(dac, model="quick/tts")
        assert spoken.status_code == status and spoken.json()["error"]["code"] == code, spoken.text
        assert dac.record(spoken)["cost_nano_usd"] == "0"
    assert dac.get("/v1/budgets:verify").json()["differences"] == []


def test_a_failure_that_passes_is_not_noticed(dac, upstream_process):
    for ask in (upload, speak):
        upstream_process.script("500", times=1)
        answer = ask(dac)
        assert answer.status_code == 200 and len(dac.record(answer)["attempts"]) == 2


@pytest.mark.parametrize("fault", ["cut", "stall"])
def test_speech_that_breaks_never_ends_well(dac, upstream_process, fault):
    upstream_process.script(fault)
    mine, got = f"broke-{fault}-{time.time_ns()}", b""
    headers = {**dac.headers, "x-request-id": mine}
    body = {"model": "mock/tts", "voice": "alloy", "input": "Hello there"}
    with (
        pytest.raises(httpx.RemoteProtocolError if fault == "cut" else httpx.ReadTimeout),
        httpx.stream("POST", f"{dac.url}/v1/audio/speech", json=body, headers=headers, timeout=1) as answer,
    ):
        assert answer.status_code == 200
        for part in answer.iter_raw():
            got += part
    assert got == SOUND[: len(got)] and len(got) == 4096
    record = record_named(dac, mine)
    assert record["outcome"] == ("OUTCOME_FAILED" if fault == "cut" else "OUTCOME_CLIENT_GONE")
    assert int(record["cost_nano_usd"]) == 11 * CHARACTER
    assert dac.get("/v1/budgets:verify").json()["differences"] == []


@pytest.mark.parametrize("fault", ["cut", "end_early", "error_event"])
def test_a_streamed_transcription_that_breaks_ends_with_an_error(dac, client, upstream_process, fault):
    upstream_process.script(fault)
    with pytest.raises(openai.APIError):
        list(client.audio.transcriptions.create(model="mock/transcribe", file=("a.mp3", b"x" * 99), stream=True))
    upstream_process.clear()
    upstream_process.script(fault)
    answer = upload(dac, model="mock/transcribe", stream="true")
    assert answer.status_code == 200 and "transcript.text.done" not in answer.text and '"error"' in answer.text
    assert dac.record(answer)["outcome"] == "OUTCOME_FAILED"


def test_a_client_that_leaves_stops_the_provider_and_is_charged_the_bound(dac, upstream_process):
    upstream_process.script("hang", times=1)
    mine = f"left-{time.time_ns()}"
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{dac.url}/v1/audio/transcriptions",
            data={"model": "mock/whisper"},
            files={"file": ("a.mp3", b"x" * 8000)},
            headers={**dac.headers, "x-request-id": mine},
            timeout=1.0,
        )
    record = record_named(dac, mine)
    assert record["outcome"] == "OUTCOME_CLIENT_GONE" and record["cost_nano_usd"] == str(8 * SECOND)
    assert record["attempts"][0]["usage_source"] == "USAGE_SOURCE_ESTIMATED"
    assert upstream_process.requests()[0]["disconnected_s"] is not None


def test_a_budget_holds_for_audio(dac, upstream_process):
    made = make_key(dac)
    # 8000 bytes are held as 8 seconds and charged as the 9 that the provider tells.
    limit(dac, made, 10 * SECOND)
    assert upload(dac, key=made["token"]).status_code == 200
    asked = len(upstream_process.requests())
    last = upload(dac, key=made["token"])
    assert last.status_code == 429 and last.json()["error"]["code"] == "insufficient_quota"
    assert speak(dac, key=made["token"], input="x" * 100).status_code == 429
    # Sound that may take more tokens than are paid for cannot be cut short, so it is not begun.
    assert speak(dac, key=made["token"], model="mock/voice").status_code == 429
    assert len(upstream_process.requests()) == asked
    assert speak(dac, key=made["token"], input="Hello").status_code == 200
    assert dac.get("/v1/budgets:verify").json()["differences"] == []


def test_an_unknown_price_is_refused_under_a_budget_only(dac):
    made = make_key(dac)
    free = upload(dac, key=made["token"], model="mock/whisper-unpriced")
    assert free.status_code == 200 and "x-dac-cost-usd" not in free.headers
    limit(dac, made, 10**9)
    refused = upload(dac, key=made["token"], model="mock/whisper-unpriced")
    assert refused.status_code == 400 and refused.json()["error"]["code"] == "price_unknown"


def test_keys_are_held_to_scope_and_models(dac):
    assert upload(dac, key=make_key(dac, scopes=["read"])["token"]).status_code == 403
    fenced = make_key(dac, scopes=["chat"], models=["second/*"])["token"]
    assert upload(dac, key=fenced).status_code == 403 and speak(dac, key=fenced).status_code == 403
    assert upload(dac, key="dac_live_abcdefghijkl_" + "x7" * 20).status_code == 401
    assert httpx.get(f"{dac.url}/v1/audio/speech", headers=dac.headers).status_code == 405


def test_metrics_count_audio_apart_from_chats(dac):
    upload(dac)
    speak(dac)
    page = dac.get("/metrics").text
    assert 'audio_total{model="mock/whisper",operation="transcription",outcome="ok"}' in page
    assert 'audio_total{model="mock/tts",operation="speech",outcome="ok"}' in page
    assert 'chat_completions_total{model="mock/tts"' not in page
