"""Providers that answer oddly or with ill intent: every attempt ends by name, and no broken answer as a good one."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mesh.errors import Reason
from mesh.sse import events_in
from services.provider.calling.events import Dialect, Failure, Finish, Frames, UsageSource
from tests.integration.provider.scripted import KEY, Play, Stage, chunk, shown, sse, staged

DEEP = b'{"error":' * 1500 + b"1" + b"}" * 1500
GOOD = Play(sse(chunk("fine"), chunk(None, "stop"), "[DONE]"))


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with staged() as running:
        yield running


@pytest.mark.parametrize("status", [400, 404, 500])
async def test_a_refusal_nested_too_deep_is_a_refusal_like_any_other(stage: Stage, status: int) -> None:
    bad = Play(DEEP, status, "application/json")
    got = await stage.run(bad, bad, GOOD, candidates=2)
    first = got[-1].attempts[0]  # type: ignore[union-attr]
    assert first.status_code == status and first.reason is not Reason.INTERNAL


async def test_an_error_after_the_end_of_the_answer_begins_no_second_one(stage: Stage) -> None:
    broken = Play(sse(chunk("whole answer"), chunk(None, "stop"), {"error": {"code": "overloaded"}}))
    got = await stage.run(broken, GOOD, rescues=1)
    assert len(stage.bodies) == 1 and shown(got) == "whole answer"


@pytest.mark.parametrize("choices", [[], None])
async def test_a_whole_answer_that_holds_an_error_is_none(stage: Stage, choices: list[str] | None) -> None:
    body = {"error": {"message": "no", "code": "upstream_failed"}, "choices": choices}
    whole = {"id": "c", "choices": [{"index": 0, "message": {"content": "fine"}, "finish_reason": "stop"}]}
    bad = Play(json.dumps(body).encode(), content_type="application/json")
    good = Play(json.dumps(whole).encode(), content_type="application/json")
    got = await stage.run(bad, bad, good, candidates=2, stream=False)
    assert isinstance(got[-1], Finish) and got[-1].finish_reason == "stop"


async def test_an_early_usage_is_not_the_whole_usage_of_a_broken_answer(stage: Stage) -> None:
    """Some tell a usage in the first chunk; what came behind it was paid for, too."""
    early = {"prompt_tokens": 9, "completion_tokens": 0}
    said = [chunk("", usage=early), *[chunk("word " * 20) for _ in range(10)]]
    got = await stage.run(Play(sse(*said), cut=True))
    attempt = got[-1].attempts[0]  # type: ignore[union-attr]
    assert attempt.usage.output_tokens == 250 and attempt.usage.input_tokens == 9
    assert attempt.usage_source is UsageSource.COUNTED


@pytest.mark.parametrize("status", [400, 404])
async def test_a_key_that_a_provider_says_back_stays_here(stage: Stage, status: int) -> None:
    body = {"error": {"message": f"bad header Authorization: Bearer {KEY}", "type": "x"}}
    got = await stage.run(Play(json.dumps(body).encode(), status, "application/json"))
    assert KEY.encode() not in got[-1].provider_error_json  # type: ignore[union-attr]
    assert b"bad header" in got[-1].provider_error_json  # type: ignore[union-attr]


async def test_what_is_held_back_at_the_seam_is_never_lost(stage: Stage) -> None:
    """Some end with a reason and without a delta: the held words come first."""
    text = "The quick brown fox jumps over the dog"
    bare = {"id": "c", "choices": [{"index": 0, "delta": None, "finish_reason": "stop"}]}
    rest = Play(sse(chunk("dog"), bare, "[DONE]"))
    got = await stage.run(Play(sse(chunk(text)), cut=True), rest, rescues=1)
    assert isinstance(got[-1], Finish) and shown(got) == text + " dog"


async def test_an_end_mark_without_a_reason_ends_no_good_answer(stage: Stage) -> None:
    """Some servers send the mark whatever happened; callers of other wire formats would be told a made-up reason."""
    got = await stage.run(Play(sse(chunk("half an"), "[DONE]")))
    assert isinstance(got[-1], Failure) and got[-1].reason is Reason.PROVIDER_CUT
    wire = {"dialect_in": Dialect.ANTHROPIC_MESSAGES, "dialect_out": Dialect.ANTHROPIC_MESSAGES}
    begun: list[dict[str, Any] | str] = [
        {"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 1, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "half an"}},
        {"type": "message_stop"},
    ]
    async with staged("anthropic") as claude:
        for fields in ({}, wire):
            ended = await claude.run(Play(sse(*begun)), body={"max_tokens": 9}, **fields)
            assert isinstance(ended[-1], Failure) and ended[-1].reason is Reason.PROVIDER_CUT


async def test_another_answer_is_no_sign_of_ill_health(stage: Stage) -> None:
    """Where one provider breaks, those that take up its answers in other words must not be taken for broken as well."""
    other = Play(sse(chunk('{"b": 2}'), chunk(None, "stop"), "[DONE]"))
    for _ in range(4):
        got = await stage.run(
            Play(sse(chunk('{"a": ')), cut=True),
            other,
            rescues=1,
            candidates=2,
            body={"response_format": {"type": "json_object"}},
        )
        assert isinstance(got[-1], Failure) and got[-1].reason is Reason.PROVIDER_CUT
        assert got[-1].attempts[-1].reason is Reason.PROVIDER_REFUSED
    assert not stage.generator.health.failing("up", "m1")


@pytest.mark.parametrize("dialect", ["llamacpp", "mistral", "moonshot", "vllm", "openrouter"])
async def test_a_message_is_taken_up_where_a_begun_chat_would_be_gone_on_with(dialect: str) -> None:
    """Messages are said as chats there, and no begun answer can be: then the wish to go on is."""
    wire = {"dialect_in": Dialect.ANTHROPIC_MESSAGES, "dialect_out": Dialect.ANTHROPIC_MESSAGES}
    async with staged(dialect=dialect) as stage:
        rest = Play(sse(chunk("brown fox jumps over"), chunk(None, "stop"), "[DONE]"))
        got = await stage.run(
            Play(sse(chunk("The quick brown fox")), cut=True), rest, rescues=1, body={"max_tokens": 99}, **wire
        )
    assert isinstance(got[-1], Finish), got[-1]
    texts = [json.loads(one) for event in got if isinstance(event, Frames) for one in events_in(event.data)]
    said = "".join(one["delta"].get("text", "") for one in texts if one["type"] == "content_block_delta")
    assert said == "The quick brown fox jumps over"


async def test_a_key_with_a_line_break_is_named_and_the_next_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it comes out of many a file or secret store."""
    monkeypatch.setattr("tests.integration.provider.scripted.KEY", KEY + "\n")
    async with staged() as stage:
        got = await stage.run(candidates=2)
    assert isinstance(got[-1], Failure) and got[-1].reason is Reason.PROVIDER_FAILED and len(got[-1].attempts) == 2
    assert "api_key" in got[-1].message and KEY not in repr(got)


async def test_a_prompt_that_moderation_flagged_is_no_sign_of_ill_health(stage: Stage) -> None:
    """As OpenRouter says it, with a 403: one caller's prompts must not take a model from all others."""
    metadata = {"reasons": ["violence"], "flagged_input": "hel…", "provider_name": "x", "model_slug": "y"}
    body = {"error": {"code": 403, "message": "your input was flagged", "metadata": metadata}}
    for _ in range(4):
        got = await stage.run(Play(json.dumps(body).encode(), 403, "application/json"))
        assert isinstance(got[-1], Failure) and got[-1].reason is Reason.PROVIDER_REFUSED
        assert got[-1].status_code == 403 and b"flagged" in got[-1].provider_error_json
    assert not stage.generator.health.failing("up", "m0")
    refused = await stage.run(Play(b'{"error":{"code":403,"message":"no"}}', 403, "application/json"))
    assert isinstance(refused[-1], Failure) and "own key" in refused[-1].message


@pytest.mark.parametrize("field", ["guided_json", "structured_outputs", "grammar", "json_schema", "ebnf"])
async def test_an_answer_held_to_a_form_is_never_gone_on_with_from_its_middle(field: str) -> None:
    """Its continuation begins the form anew: joined to what was shown it would be broken and end as good."""
    async with staged(dialect="vllm") as stage:
        whole = Play(sse(chunk('{"b": 2}'), chunk(None, "stop"), "[DONE]"))
        got = await stage.run(Play(sse(chunk('{"a": [')), cut=True), whole, rescues=1, body={field: "x"})
    assert isinstance(got[-1], Failure) and shown(got) == '{"a": ['
    assert stage.bodies[0]["messages"] == stage.bodies[1]["messages"]
