"""Gemini through Vertex AI: the SDK's own request, and tokens that are fetched once, kept, and fetched anew in time."""

import asyncio
import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from google import genai
from google.auth import jwt
from google.genai import types
from google.oauth2.credentials import Credentials

from mesh.errors import Reason
from services.provider.adapters.vertex import VertexExchange
from services.provider.calling.events import Ask, Candidate
from services.provider.errors import ProviderFault
from services.provider.keys.google_token import AUDIENCE, SCOPE, GoogleToken
from tests.unit.provider.listening import Sent, listening
from tests.unit.provider.test_gemini_fidelity import ANSWER, CASES, normal

KEY = rsa.generate_private_key(65537, 2048)
EMAIL = "dac@p1.iam.gserviceaccount.com"


def account(key: Any = KEY, **fields: Any) -> str:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    made = {"type": "service_account", "client_email": EMAIL, "private_key": pem, "private_key_id": "k1"}
    # An address in the account's own JSON is not believed.
    return json.dumps({**made, "token_uri": "http://169.254.169.254/token", **fields})


def reply(sent: Sent) -> tuple[str, bytes]:
    if "alt=sse" in sent.path:
        return "text/event-stream", b"data: " + ANSWER + b"\r\n\r\n"
    return "application/json", ANSWER


@pytest.fixture(scope="module")
def sdk() -> Iterator[tuple[genai.Client, list[Sent]]]:
    """Google's SDK for Vertex in front of a server that only listens, and what it sent."""
    with listening(reply) as (address, sent):
        options = types.HttpOptions(base_url=address, api_version="v1")
        credentials = Credentials("token")  # type: ignore[no-untyped-call]
        with genai.Client(
            vertexai=True, project="p1", location="l1", credentials=credentials, http_options=options
        ) as client:
            yield client, sent


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_the_request_is_the_sdks(sdk: tuple[genai.Client, list[Sent]], case: str, stream: bool) -> None:
    body, contents, config = CASES[case]
    client, sent = sdk
    asked = {"model": "gemini-2.5-flash", "contents": contents, "config": types.GenerateContentConfig(**config)}
    if case == "thinking by level":
        asked["model"] = "gemini-3.5-flash"
    if stream:
        list(client.models.generate_content_stream(**asked))
    else:
        client.models.generate_content(**asked)
    ask = Ask(json.dumps(body).encode(), [], stream=stream)
    out = VertexExchange(ask, Candidate("m", "v", asked["model"]), "v", "token").outgoing()
    wanted = {name: value for name, value in normal(sent[-1].body).items() if value != {}}
    assert normal(json.loads(out.body)) == wanted
    assert "/v1/projects/p1/locations/l1" + out.path == sent[-1].path
    assert out.headers["Authorization"] == sent[-1].headers["authorization"] == "Bearer token"
    assert "x-goog-api-key" not in out.headers


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("gemini-x", "/publishers/google/models/gemini-x"),
        ("models/gemini-x", "/publishers/google/models/gemini-x"),
        ("publishers/meta/models/llama", "/publishers/meta/models/llama"),
        ("endpoints/123", "/endpoints/123"),
        ("x?key=1#z", "/publishers/google/models/x%3Fkey%3D1%23z"),
    ],
)
def test_names_and_paths(name: str, path: str) -> None:
    ask = Ask(b'{"messages":[{"role":"user","content":"hi"}]}', [])
    assert VertexExchange(ask, Candidate("m", "v", name), "v", "t").outgoing().path == f"{path}:generateContent"


class Clock:
    now_s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s


class Tokens:
    """Google's end: counts, and answers what is set."""

    def __init__(self) -> None:
        self.given = 0
        self.answer: bytes | None = None

    def __call__(self, sent: Sent) -> tuple[str, bytes]:
        self.given += 1
        made = {"access_token": f"t{self.given}", "expires_in": 3599, "token_type": "Bearer"}
        return "application/json", json.dumps(made).encode() if self.answer is None else self.answer


async def test_a_token_is_fetched_once_and_anew_before_it_ends() -> None:
    clock, tokens = Clock(), Tokens()
    with listening(tokens) as (address, sent):
        token = GoogleToken("vertex", account(), url=address + "/token", now=clock)
        assert set(await asyncio.gather(*(token.current(5) for _ in range(20)))) == {"t1"}
        assert tokens.given == 1
        form = dict(pair.split("=") for pair in sent[0].raw.decode().split("&"))
        public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        payload = jwt.decode(form["assertion"], certs=public, verify=False)  # type: ignore[no-untyped-call]
        assert payload == {
            "iat": int(clock.now_s),
            "exp": int(clock.now_s) + 3600,
            "iss": EMAIL,
            "aud": AUDIENCE,
            "scope": SCOPE,
        }
        clock.now_s += 3599 - 301
        assert await token.current(5) == "t1"
        clock.now_s += 2
        assert await token.current(5) == "t2"
        # While it cannot be fetched, the old one is used to its end.
        clock.now_s += 3599 - 200
        tokens.answer = b"<html>"
        assert await token.current(5) == "t2"
        clock.now_s += 195
        with pytest.raises(ProviderFault, match="no access token") as caught:
            await token.current(5)
        assert caught.value.reason is Reason.PROVIDER_FAILED
        await token.close()


def test_the_signature_is_right() -> None:
    made = GoogleToken("vertex", account())._assertion()
    signed, _, signature = made.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    KEY.public_key().verify(raw, signed.encode(), PKCS1v15(), hashes.SHA256())
    head = json.loads(base64.urlsafe_b64decode(signed.split(".")[0] + "=="))
    assert head == {"typ": "JWT", "alg": "RS256", "kid": "k1"}


@pytest.mark.parametrize(
    "given",
    [
        *("", "not json", "[]", "{}", '{"client_email":"x","private_key":"no key"}'),
        account(ec.generate_private_key(ec.SECP256R1())),
    ],
)
async def test_a_key_that_is_no_service_account_is_named_and_not_repeated(given: str) -> None:
    token = GoogleToken("vertex", given, url="http://127.0.0.1:1/token")
    with pytest.raises(ProviderFault, match="service account") as caught:
        await token.current(1)
    assert caught.value.reason is Reason.PROVIDER_FAILED and "no key" not in caught.value.message
    await token.close()


async def test_an_address_that_does_not_answer_is_a_named_fault() -> None:
    token = GoogleToken("vertex", account(), url="http://127.0.0.1:1/token")
    with pytest.raises(ProviderFault, match="no access token"):
        await token.current(2)
    await token.close()


@pytest.mark.parametrize("answer", [b"{}", b"[]", b'{"access_token":5,"expires_in":1}', b'{"access_token":"x"}'])
async def test_an_answer_that_is_no_token(answer: bytes) -> None:
    tokens = Tokens()
    tokens.answer = answer
    with listening(tokens) as (address, _):
        token = GoogleToken("vertex", account(), url=address)
        with pytest.raises(ProviderFault, match="the answer is none"):
            await token.current(5)
        await token.close()
