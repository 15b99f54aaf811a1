"""Amazon's own SDK as oracle: requests, signatures, frames and answers are the same as boto3's."""

import base64
import binascii
import json
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from botocore import auth, awsrequest, credentials
from botocore.config import Config
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from services.provider.adapters.aws_events import read_frame
from services.provider.adapters.aws_signature import AccessKey, access_key_of, region_of, signed
from services.provider.adapters.bedrock import BedrockExchange
from services.provider.adapters.bedrock_request import to_converse
from services.provider.calling.events import Ask, Candidate, Usage
from tests.unit.provider.listening import Sent, listening
from tests.upstream.bedrock import Bedrock, event, frame

PNG = b"\x89PNG\xff\xfe\xfd"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION = {"name": "weather", "description": "now", "parameters": SCHEMA}
USER = {"role": "user", "content": "hi"}
HI = {"role": "user", "content": [{"text": "hi"}]}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Köln"}'}}
SPEC = {"toolSpec": {"name": "weather", "description": "now", "inputSchema": {"json": SCHEMA}}}
CLAUDE = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
TOOLS = [{"type": "function", "function": FUNCTION}]
ANSWER = {
    "output": {"message": {"role": "assistant", "content": [{"text": "ok"}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2},
    "metrics": {"latencyMs": 1},
}


def reply(sent: Sent) -> tuple[str, bytes]:
    if sent.path.endswith("converse-stream"):
        return "application/vnd.amazon.eventstream", event("messageStop", stopReason="end_turn")
    return "application/json", json.dumps(ANSWER).encode()


@pytest.fixture(scope="module")
def sdk() -> Iterator[tuple[Any, list[Sent], str]]:
    import boto3

    with listening(reply) as (address, sent):
        client = boto3.client(
            "bedrock-runtime",
            region_name="eu-west-1",
            endpoint_url=address,
            aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
            aws_secret_access_key="secret/+",
            config=Config(retries={"total_max_attempts": 1}),
        )
        yield client, sent, address


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({"messages": [USER]}, {"messages": [HI]}),
    "system": (
        {"messages": [{"role": "developer", "content": "brief"}, USER]},
        {"system": [{"text": "brief"}], "messages": [HI]},
    ),
    "images": (
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "what?"},
                        {
                            "type": "image_url",
                            "image_url": {"url": "data:image/png;base64," + base64.b64encode(PNG).decode()},
                        },
                    ],
                }
            ]
        },
        {
            "messages": [
                {"role": "user", "content": [{"text": "what?"}, {"image": {"format": "png", "source": {"bytes": PNG}}}]}
            ]
        },
    ),
    "tools": (
        {
            "messages": [
                USER,
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [CALL],
                    "extra_content": {"bedrock": {"reasoning": [{"reasoningText": {"text": "hm", "signature": "s"}}]}},
                },
                {"role": "tool", "tool_call_id": "c1", "content": "grey"},
                {"role": "user", "content": "so?"},
            ],
            "tools": TOOLS,
            "tool_choice": "required",
        },
        {
            "messages": [
                HI,
                {
                    "role": "assistant",
                    "content": [
                        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}},
                        {"toolUse": {"toolUseId": "c1", "name": "weather", "input": {"city": "Köln"}}},
                    ],
                },
                {
                    "role": "user",
                    "content": [{"toolResult": {"toolUseId": "c1", "content": [{"text": "grey"}]}}, {"text": "so?"}],
                },
            ],
            "toolConfig": {"tools": [SPEC], "toolChoice": {"any": {}}},
        },
    ),
    "one function": (
        {"messages": [USER], "tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "weather"}}},
        {"messages": [HI], "toolConfig": {"tools": [SPEC], "toolChoice": {"tool": {"name": "weather"}}}},
    ),
    "a schema": (
        {
            "messages": [USER],
            "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
        },
        {
            "messages": [HI],
            "outputConfig": {
                "textFormat": {
                    "type": "json_schema",
                    "structure": {"jsonSchema": {"schema": json.dumps(SCHEMA, separators=(",", ":")), "name": "x"}},
                }
            },
        },
    ),
    "thinking": (
        {"messages": [USER], "reasoning_effort": "medium", "max_tokens": 5000},
        {
            "messages": [HI],
            "inferenceConfig": {"maxTokens": 5000},
            "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 2500}},
        },
    ),
    "numbers": (
        {"messages": [USER], "stop": "A", "temperature": 0.25, "top_p": 0.5, "max_completion_tokens": 77, "seed": 7},
        {
            "messages": [HI],
            "inferenceConfig": {"stopSequences": ["A"], "temperature": 0.25, "topP": 0.5, "maxTokens": 77},
        },
    ),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_the_request_is_the_sdks(sdk: Any, case: str, stream: bool) -> None:
    body, theirs = CASES[case]
    client, sent, address = sdk
    if stream:
        list(client.converse_stream(modelId=CLAUDE, **theirs)["stream"])
    else:
        client.converse(modelId=CLAUDE, **theirs)
    ask = Ask(json.dumps(body).encode(), [], stream=stream)
    key = "AKIAIOSFODNN7EXAMPLE:secret/+"
    options = {"base_url": address, "region": "eu-west-1", "now_s": 1_800_000_000}
    out = BedrockExchange(ask, Candidate("m", "b", CLAUDE), "b", key, **options).outgoing()  # type: ignore[arg-type]
    assert json.loads(out.body) == sent[-1].body and Bedrock().check(sent[-1].body) is None
    assert out.path == sent[-1].path
    scope = "Credential=AKIAIOSFODNN7EXAMPLE/20270115/eu-west-1/bedrock/aws4_request"
    assert scope in out.headers["Authorization"]
    theirs_scope = sent[-1].headers["authorization"].split("Credential=")[1].split(",")[0].split("/")
    assert theirs_scope[2:] == ["eu-west-1", "bedrock", "aws4_request"]


@given(
    st.sampled_from(
        ["/model/a.b-v1%3A0/converse", "/model/x/converse", "/p/model/arn%3Aaws%3Abedrock%2Fy~_/converse-stream"]
    ),
    st.binary(max_size=40),
    st.sampled_from(["", "token//=="]),
    st.sampled_from(["https://bedrock-runtime.eu-west-1.amazonaws.com", "http://127.0.0.1:8080"]),
    st.integers(1, 2_000_000_000),
)
def test_the_signature_is_botocores(path: str, body: bytes, token: str, root: str, now_s: int) -> None:
    headers = {"Content-Type": "application/json"}
    key = AccessKey("AKIAIOSFODNN7EXAMPLE", "wJalr/XUtn+EXAMPLEKEY", token)
    ours = signed(root + path, headers, body, key, region="eu-west-1", service="bedrock", now_s=now_s)
    request = awsrequest.AWSRequest(method="POST", url=root + path, data=body, headers=dict(headers))
    signer = auth.SigV4Auth(credentials.Credentials(key.key_id, key.secret, token or None), "bedrock", "eu-west-1")
    request.context["timestamp"] = ours["X-Amz-Date"]
    request.headers["X-Amz-Date"] = ours["X-Amz-Date"]
    if token:
        request.headers["X-Amz-Security-Token"] = token
    canonical = signer.canonical_request(request)
    signature = signer.signature(signer.string_to_sign(request, canonical), request)
    assert ours["Authorization"].endswith(f"Signature={signature}")
    assert f"SignedHeaders={signer.signed_headers(signer.headers_to_sign(request))}," in ours["Authorization"]
    assert ours.get("X-Amz-Security-Token", "") == token


def test_keys_and_regions() -> None:
    assert access_key_of("AKIAIOSFODNN7EXAMPLE:s/+:t:1") == AccessKey("AKIAIOSFODNN7EXAMPLE", "s/+", "t:1")
    assert access_key_of("ABSKQmVkcm9ja0FQSUtleS1leGFtcGxl") is None and access_key_of("") is None
    assert region_of("bedrock-runtime.us-east-1.amazonaws.com") == "us-east-1"
    assert region_of("bedrock-runtime-fips.us-gov-west-1.amazonaws.com") == "us-gov-west-1"
    assert region_of("vpce-1-2.bedrock-runtime.eu-central-1.vpce.amazonaws.com") == "eu-central-1"
    assert region_of("proxy.example.com") == ""


names = st.text(st.characters(codec="ascii", min_codepoint=97, max_codepoint=122), min_size=1, max_size=12)


@given(st.dictionaries(names, st.text(max_size=20), max_size=4), st.binary(max_size=200))
def test_a_frame_is_read_as_botocore_reads_it(headers: dict[str, str], payload: bytes) -> None:
    raw = frame(payload, **headers)
    buffer = EventStreamBuffer()
    buffer.add_data(raw)
    theirs, ours = buffer.next(), read_frame(raw)
    assert ours.headers == dict(theirs.headers) and ours.payload == theirs.payload


def test_headers_of_every_type() -> None:
    kinds = [
        *(bytes([kind]) for kind in (0, 1)),
        *(bytes([kind]) + b"\x01" * size for kind, size in ((2, 1), (3, 2), (4, 4), (5, 8), (8, 8), (9, 16))),
        b"\x06\x00\x03abc",
        b"\x07\x00\x02hi",
    ]
    made = b"".join(b"\x01" + bytes([97 + index]) + kind for index, kind in enumerate(kinds))
    lengths = struct.pack(">II", 16 + len(made) + 2, len(made))
    checked = lengths + struct.pack(">I", binascii.crc32(lengths)) + made + b"{}"
    raw = checked + struct.pack(">I", binascii.crc32(checked))
    buffer = EventStreamBuffer()
    buffer.add_data(raw)
    theirs, ours = buffer.next(), read_frame(raw)
    assert ours.payload == theirs.payload == b"{}"
    assert ours.headers == {
        name: value for name, value in theirs.headers.items() if isinstance(value, str) and name == "j"
    }


def test_an_answer_is_read_as_the_sdk_reads_it(sdk: Any) -> None:
    content = [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}},
        {"text": "Hallo ü"},
        {"toolUse": {"toolUseId": "t", "name": "f", "input": {"x": [1, 2.5, None, "ü"]}}},
    ]
    usage = {
        "inputTokens": 11,
        "outputTokens": 0,
        "totalTokens": 18,
        "cacheReadInputTokens": 4,
        "cacheWriteInputTokens": 3,
    }
    raw = {
        **ANSWER,
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": "tool_use",
        "usage": usage,
    }
    ours = BedrockExchange(Ask(json.dumps({"messages": [USER]}).encode(), []), Candidate("m", "b", "q"), "b", "")
    shown = json.loads(ours.plain(json.dumps(raw).encode()))["choices"][0]["message"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ANSWER, "output", raw["output"])
        patch.setitem(ANSWER, "usage", usage)
        theirs = sdk[0].converse(modelId="q", messages=[HI])
    blocks = theirs["output"]["message"]["content"]
    got = ours.result(need_text=True)
    assert (
        got.text == blocks[1]["text"]
        and shown["reasoning_content"] == blocks[0]["reasoningContent"]["reasoningText"]["text"]
    )
    assert shown["extra_content"]["bedrock"]["reasoning"] == [blocks[0]["reasoningContent"]]
    (call,) = json.loads(got.tool_calls_json)
    assert (call["id"], json.loads(call["function"]["arguments"])) == ("t", blocks[2]["toolUse"]["input"])
    told = theirs["usage"]
    assert got.usage == Usage(told["inputTokens"], told["cacheReadInputTokens"], told["cacheWriteInputTokens"], 0)
    assert got.finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("model", "effort", "sent"),
    [
        (
            "us.anthropic.claude-opus-4-6-v1",
            "high",
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
        ),
        (
            "anthropic.claude-opus-4-7",
            "minimal",
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
        ),
        ("global.anthropic.claude-opus-5", "none", {"thinking": {"type": "disabled"}}),
        ("anthropic.claude-fable-5", "none", {"output_config": {"effort": "low"}}),
        ("anthropic.claude-3-5-sonnet-20241022-v2:0", "high", None),
        ("openai.gpt-oss-120b-1:0", "xhigh", {"reasoning_effort": "high"}),
        ("openai.gpt-oss-120b-1:0", "none", None),
        ("amazon.nova-pro-v1:0", "high", None),
    ],
)
def test_the_effort_is_said_as_each_generation_takes_it(model: str, effort: str, sent: dict[str, Any] | None) -> None:
    body = {"messages": [USER], "reasoning_effort": effort, "max_tokens": 5000}
    assert to_converse(body, model, 0).get("additionalModelRequestFields") == sent
