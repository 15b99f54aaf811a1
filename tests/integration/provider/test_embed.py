"""Embeddings through the provider: bytes in and out, the rules of the retry loop, usage, and what is no answer."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from dac.provider.v1 import provider_pb2
from mesh.errors import Reason
from services.provider.calling.events import Ask, Candidate, Failure, Operation, UsageSource
from services.provider.config import ProviderConfig
from services.provider.embedding import Vectors, embed
from services.provider.server import ProviderServicer
from tests.integration.provider.conftest import Bench

MODEL = "text-embedding-3-small"


def servicer_of(bench: Bench) -> ProviderServicer:
    """Without a desk for discovery, which these tests do not ask."""
    return ProviderServicer(bench.generator, bench.registry, desk=None, interval_s=0, frame_bytes=0)  # type: ignore[arg-type]


def ask(*models: str, provider: str = "up", given: Any = "hello there", vectors: int = 1, **body: Any) -> Ask:
    named = [model.rsplit("@", 1) if "@" in model else [model, provider] for model in models]
    return Ask(
        input=msgspec.json.encode({"model": "dac/any", "input": given, **body}),
        candidates=[Candidate(f"dac/{name}", where, name) for name, where in named],
        operation=Operation.EMBEDDINGS,
        vectors=vectors,
        input_tokens=77,
    )


async def good(bench: Bench, *models: str, **fields: Any) -> Vectors:
    ended = await embed(bench.generator, ask(*models, **fields))
    assert isinstance(ended, Vectors), ended
    return ended


async def bad(bench: Bench, *models: str, **fields: Any) -> Failure:
    ended = await embed(bench.generator, ask(*models, **fields))
    assert isinstance(ended, Failure), ended
    return ended


async def test_only_the_models_name_is_changed(bench: Bench) -> None:
    body = b'{ "input" : ["a", "b \\u00fc"],"dimensions":4 , "model":"dac/any","user":"u" }'
    made = Ask(body, [Candidate("dac/x", "up", MODEL)], operation=Operation.EMBEDDINGS, vectors=2)
    ended = await embed(bench.generator, made)
    assert isinstance(ended, Vectors)
    sent = bench.upstream.requests[-1]
    assert sent.path == "/v1/embeddings" and sent.headers["authorization"] == "Bearer sk-test-0123456789abcd"
    assert sent.raw == b'{"input":["a", "b \\u00fc"],"dimensions":4,"model":"text-embedding-3-small","user":"u"}'
    answer = json.loads(ended.body)
    assert [len(one["embedding"]) for one in answer["data"]] == [4, 4]
    assert answer["usage"]["prompt_tokens"] == ended.usage.input_tokens == 3
    assert ended.usage_source is UsageSource.PROVIDER and ended.usage.output_tokens == 0
    assert [(one.status_code, one.reason) for one in ended.attempts] == [(200, Reason.UNSPECIFIED)]


async def test_a_zero_is_a_zero_and_what_is_not_told_is_what_was_counted(bench: Bench) -> None:
    zero = await good(bench, f"{MODEL}fault:usage_zero")
    assert (zero.usage.input_tokens, zero.usage_source) == (0, UsageSource.PROVIDER)
    missing = await good(bench, f"{MODEL}fault:usage_missing")
    assert (missing.usage.input_tokens, missing.usage_source) == (77, UsageSource.COUNTED)


@pytest.mark.parametrize("fault", ["500", "502", "503", "529", "reset"])
async def test_what_may_pass_is_asked_once_more(bench: Bench, fault: str) -> None:
    ended = await good(bench, f"fault:{fault},times=1")
    assert len(ended.attempts) == 2 and ended.attempts[0].reason is Reason.PROVIDER_FAILED
    assert ended.attempts[0].usage_source is UsageSource.UNSPECIFIED, "a failed attempt is not billed"


@pytest.mark.parametrize(
    "fault", ["500", "429", "401", "404", "hang", "html", "redirect", "garbage_body", "empty_body", "end_early"]
)
async def test_the_next_candidate_is_asked(bench: Bench, fault: str) -> None:
    ended = await good(bench, f"fault:{fault}", MODEL, given=["a", "b"], vectors=2)
    assert ended.attempts[-1].model == f"dac/{MODEL}" and ended.attempts[0].reason is not Reason.UNSPECIFIED


@pytest.mark.parametrize(
    ("fault", "reason", "attempts"),
    [
        ("429,retry_after=60", Reason.PROVIDER_RATE_LIMITED, 1),
        ("500", Reason.PROVIDER_FAILED, 2),
        ("401", Reason.PROVIDER_FAILED, 1),
        ("hang", Reason.PROVIDER_TIMEOUT, 1),
        ("garbage_body", Reason.PROVIDER_FAILED, 1),
        ("error_event", Reason.PROVIDER_FAILED, 2),
        ("big_body", Reason.PROVIDER_FAILED, 1),
        ("context_length", Reason.CONTEXT_TOO_LONG, 1),
    ],
)
async def test_failures_keep_their_names(bench: Bench, fault: str, reason: Reason, attempts: int) -> None:
    ended = await bad(bench, f"fault:{fault}")
    assert ended.reason is reason and len(ended.attempts) == attempts, ended
    assert ended.retry_after_s == (60 if fault.startswith("429") else 0)


async def test_a_vector_too_few_is_a_failure(bench: Bench) -> None:
    ended = await bad(bench, f"{MODEL}fault:end_early", given=["a", "b", "c"], vectors=3)
    assert ended.reason is Reason.PROVIDER_FAILED and "2 vectors came for 3 inputs" in ended.message


async def test_the_callers_fault_is_told_in_the_providers_words(bench: Bench) -> None:
    ended = await bad(bench, MODEL, MODEL, encoding_format="hex")
    assert ended.reason is Reason.PROVIDER_REFUSED and ended.status_code == 400 and len(ended.attempts) == 1
    assert json.loads(ended.provider_error_json)["error"]["param"] == "encoding_format"


async def test_other_kinds_of_provider_cannot_embed(bench: Bench) -> None:
    ended = await bad(bench, "sonnet@claude")
    assert ended.reason is Reason.INVALID_REQUEST and "dac/sonnet cannot embed" in ended.message
    assert not bench.upstream.requests
    assert isinstance(await embed(bench.generator, ask("sonnet@claude", MODEL)), Vectors)


async def test_a_model_that_keeps_failing_is_skipped(make_bench: Callable[..., Awaitable[Bench]]) -> None:
    bench = await make_bench(ProviderConfig(retry_delay_s=0.01, failing_after=2, plain_wait_factor=1.0))
    await bad(bench, "fault:500")
    asked = len(bench.upstream.requests)
    ended = await good(bench, "fault:500", MODEL)
    assert len(ended.attempts) == 1 and len(bench.upstream.requests) == asked + 1


async def test_a_caller_that_leaves_stops_the_provider(make_bench: Callable[..., Awaitable[Bench]]) -> None:
    bench = await make_bench(first_token_timeout_s=20.0)
    servicer = servicer_of(bench)
    candidate = provider_pb2.GenerateCandidate(model="dac/x", provider="up", upstream_name="fault:hang")
    request = provider_pb2.EmbedRequest(input=b'{"model":"x","input":"a"}', candidates=[candidate], vectors=1)
    call = asyncio.create_task(servicer.Embed(request, None))
    async with asyncio.timeout(5):
        while not bench.upstream.requests:
            await asyncio.sleep(0.01)
        call.cancel()
        await bench.upstream.requests[0].left.wait()


async def test_the_rpc_tells_a_failure_with_its_attempts(bench: Bench) -> None:
    servicer = servicer_of(bench)
    names = ["fault:500", MODEL]
    candidates = [provider_pb2.GenerateCandidate(model=f"dac/{one}", provider="up", upstream_name=one) for one in names]
    request = provider_pb2.EmbedRequest(input=b'{"model":"x","input":"a"}', candidates=candidates, vectors=1)
    answer = (await servicer.Embed(request, None)).answer
    assert len(answer.attempts) == 3 and answer.usage.input_tokens == 1 and json.loads(answer.body)["data"]
    del request.candidates[1]
    failure = (await servicer.Embed(request, None)).failure
    assert failure.reason == int(Reason.PROVIDER_FAILED) and len(failure.attempts) == 2
