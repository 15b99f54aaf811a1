"""Gemini through Vertex AI behind the official openai SDK: a token by a service account, answers, streams, tools."""

import json

import openai
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.edge import native
from tests.upstream.answers import WORDS

PROVIDER = """{kind: vertex, base_url: "ORIGIN/v1/projects/p1/locations/l1", api_key: {env: ACCOUNT},
    allow_private_address: true}"""


@pytest.fixture(scope="module")
def dac(tmp_path_factory, upstream_process):
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    account = json.dumps({"client_email": "dac@p1.iam.gserviceaccount.com", "private_key": pem})
    env = {"ACCOUNT": account, "DAC_PROVIDER_GOOGLE_TOKEN_ADDRESS": f"{upstream_process.origin}/token"}
    yield from native.running(tmp_path_factory, upstream_process, "vertex", PROVIDER, name="gemini-2.5-pro", env=env)


def ask(dac, **fields):
    return native.ask(dac, "vertex", **fields)


def test_plain_and_stream_are_the_same_answer(dac, upstream_process):
    answer = ask(dac)
    assert answer.choices[0].message.content == WORDS and answer.choices[0].finish_reason == "stop"
    assert native.said(ask(dac, stream=True)) == WORDS
    seen = upstream_process.requests()[-1]
    assert seen["path"] == "/v1/projects/p1/locations/l1/publishers/google/models/gemini-2.5-pro:streamGenerateContent"
    assert seen["headers"]["authorization"] == "Bearer ya29.mock" and "x-goog-api-key" not in seen["headers"]
    assert "PRIVATE KEY" not in json.dumps(upstream_process.requests())


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_called_and_answered(dac, stream):
    call_id, name, arguments = native.call_of(dac, "vertex", stream=stream, tool_choice="required")
    assert (name, arguments) == ("weather", {"city": "Hello"})
    assert native.answered(dac, "vertex", call_id) == WORDS


@pytest.mark.parametrize("stream", [False, True])
def test_usage_and_cost_are_on_the_record(dac, upstream_process, stream):
    upstream_process.script(times=1, cached_tokens=30, reasoning_tokens=9)
    usage, cost = native.counted(dac, "vertex", stream=stream)
    assert (usage["input"], usage["input_cached"], usage["output"], usage["reasoning"]) == (2, 30, 60, 9)
    assert cost == 2 * 1250 + 30 * 125 + 60 * 10_000 + 9 * 11_000


@pytest.mark.parametrize("stream", [False, True])
def test_callers_of_messages_are_served(dac, stream):
    response = native.in_anthropics_words(dac, "vertex", stream=stream)
    assert response.status_code == 200, response.text
    assert "autumn" in response.text


def test_googles_own_words_reach_the_caller(dac, upstream_process):
    upstream_process.script("400", times=1)
    with pytest.raises(openai.BadRequestError, match="scripted 400"):
        ask(dac)


def test_a_broken_stream_raises(dac, upstream_process):
    upstream_process.script("end_early")
    with pytest.raises(openai.APIError):
        list(ask(dac, stream=True))
