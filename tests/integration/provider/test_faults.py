"""Every fault of the mock, and what must come of it."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable

import pytest

from mesh.errors import Reason
from services.provider.calling.events import Deadlines, Frames, Started, UsageSource
from services.provider.config import ProviderConfig
from tests.integration.provider.conftest import Bench
from tests.upstream.answers import WORDS

BEFORE_HEADERS = ["500", "502", "503", "529", "reset", "hang", "429", "401", "403", "404", "html", "redirect"]
BEFORE_TOKENS_STREAM = ["headers_only", "garbage_stream", "end_early,after_tokens=0", "cut,after_tokens=0"]
BEFORE_TOKENS_PLAIN = ["garbage_body", "empty_body", "cut", "stall", "headers_only", "big_body"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", BEFORE_HEADERS)
async def test_falls_back_before_the_headers(bench: Bench, fault: str, stream: bool) -> None:
    got = await bench.run(f"fault:{fault}", "gpt-4o-mini", stream=stream, need_text=True)
    assert got.finish.text == WORDS
    assert got.finish.attempts[0].reason is not Reason.UNSPECIFIED
    assert got.finish.attempts[-1].model == "dac/gpt-4o-mini"
    assert got.finish.attempts[0].usage_source is UsageSource.UNSPECIFIED, "a failed attempt is not billed"
    started = [event.attempt_id for event in got.events if isinstance(event, Started)]
    assert started == [attempt.attempt_id for attempt in got.finish.attempts]


@pytest.mark.parametrize("fault", BEFORE_TOKENS_STREAM)
async def test_falls_back_before_the_first_token(bench: Bench, fault: str) -> None:
    got = await bench.run(f"fault:{fault}", "gpt-4o-mini", stream=True, need_text=True)
    assert got.finish.text == WORDS
    assert got.data.count(b'"role"') == 1, "nothing of the failed attempt was shown"


@pytest.mark.parametrize("fault", BEFORE_TOKENS_PLAIN)
async def test_falls_back_when_a_plain_answer_breaks(bench: Bench, fault: str) -> None:
    got = await bench.run(f"fault:{fault}", "gpt-4o-mini", need_text=True)
    assert got.finish.text == WORDS


@pytest.mark.parametrize("provider", ["up", "claude", "gemini"])
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("cut", Reason.PROVIDER_CUT),
        ("end_early", Reason.PROVIDER_CUT),
        ("stall", Reason.PROVIDER_TIMEOUT),
        ("error_event", Reason.PROVIDER_FAILED),
        ("big_event", Reason.PROVIDER_FAILED),
    ],
)
async def test_never_falls_back_in_mid_stream(bench: Bench, provider: str, fault: str, reason: Reason) -> None:
    got = await bench.run(f"fault:{fault}", "gpt-4o-mini@up", provider=provider, stream=True)
    assert got.failure.reason is reason and got.failure.after_first_token
    assert len(got.failure.attempts) == 1 and b"[DONE]" not in got.data and b"twenty" in got.data
    assert b"alpha" not in got.data
    attempt = got.failure.attempts[0]
    assert attempt.usage_source is UsageSource.COUNTED
    # 20 words of 113 bytes with their spaces.
    assert attempt.usage.output_tokens == round(len(" ".join(WORDS.split()[:20])) / 4)


@pytest.mark.parametrize(("status", "reason"), [("400", Reason.PROVIDER_REFUSED), ("422", Reason.PROVIDER_REFUSED)])
@pytest.mark.parametrize("provider", ["up", "claude", "gemini"])
async def test_the_callers_faults_go_to_the_caller(bench: Bench, provider: str, status: str, reason: Reason) -> None:
    got = await bench.run(f"fault:{status}", "gpt-4o-mini", provider=provider)
    assert (got.failure.reason, got.failure.status_code) == (reason, int(status))
    assert len(got.failure.attempts) == 1 and len(bench.upstream.requests) == 1
    error = json.loads(got.failure.provider_error_json)["error"]
    assert {"message", "type", "param", "code"} == set(error) and f"scripted {status}" in error["message"]
    assert not got.failure.after_first_token


async def test_content_policy_is_passed_on(bench: Bench) -> None:
    got = await bench.run("fault:content_policy", "gpt-4o-mini")
    assert json.loads(got.failure.provider_error_json)["error"]["code"] == "content_policy_violation"


@pytest.mark.parametrize("provider", ["up", "claude", "gemini"])
async def test_a_prompt_too_long_goes_to_a_larger_model(bench: Bench, provider: str) -> None:
    got = await bench.run("fault:context_length", "gpt-4o-mini", provider=provider)
    assert [a.reason for a in got.finish.attempts] == [Reason.CONTEXT_TOO_LONG, Reason.UNSPECIFIED]
    alone = await bench.run("fault:context_length", provider=provider)
    assert alone.failure.reason is Reason.CONTEXT_TOO_LONG and len(alone.failure.attempts) == 1


async def test_500_once_is_asked_again_at_the_same_provider(bench: Bench) -> None:
    got = await bench.run("fault:500,times=1", "gpt-4o-mini")
    assert [a.model for a in got.finish.attempts] == ["dac/fault:500,times=1"] * 2


async def test_429_with_a_short_retry_after_is_waited_for(bench: Bench) -> None:
    started = time.monotonic()
    got = await bench.run("fault:429,times=1,retry_after=1", "gpt-4o-mini")
    assert time.monotonic() - started >= 0.95
    assert [a.model for a in got.finish.attempts] == ["dac/fault:429,times=1,retry_after=1"] * 2


async def test_429_with_a_long_retry_after_is_not(bench: Bench) -> None:
    started = time.monotonic()
    alone = await bench.run("fault:429,retry_after=30")
    assert time.monotonic() - started < 1
    assert (alone.failure.status_code, alone.failure.retry_after_s) == (429, 30)
    assert alone.failure.reason is Reason.PROVIDER_RATE_LIMITED
    assert alone.failure.attempts[0].reason is Reason.PROVIDER_RATE_LIMITED


async def test_when_all_are_limited_the_shortest_wait_is_told(bench: Bench) -> None:
    got = await bench.run("fault:429,retry_after=30", "fault:429,retry_after=7", "fault:429,retry_after=20")
    assert (got.failure.reason, got.failure.retry_after_s) == (Reason.PROVIDER_RATE_LIMITED, 7)
    assert len(got.failure.attempts) == 3 and "rate limit" in got.failure.message


@pytest.mark.parametrize("order", [1, -1])
async def test_when_one_failed_otherwise_waiting_is_not_promised(bench: Bench, order: int) -> None:
    got = await bench.run(*("fault:429,retry_after=30", "fault:401")[::order])
    assert got.failure.reason is Reason.PROVIDER_FAILED
    assert {a.reason for a in got.failure.attempts} == {Reason.PROVIDER_RATE_LIMITED, Reason.PROVIDER_FAILED}


async def test_a_limit_is_not_hidden_by_who_refuses_the_request(bench: Bench) -> None:
    got = await bench.run("fault:429,retry_after=30", "fault:404")
    assert (got.failure.reason, got.failure.retry_after_s) == (Reason.PROVIDER_RATE_LIMITED, 30)


async def test_a_refused_key_says_whose(bench: Bench) -> None:
    got = await bench.run("gpt-4o-mini@badkey")
    assert got.failure.status_code == 401 and "DAC's own key" in got.failure.message
    assert not got.failure.provider_error_json


async def test_nothing_listens_there(bench: Bench) -> None:
    got = await bench.run("gpt-4o-mini@gone", "gpt-4o-mini")
    assert got.finish.attempts[0].status_code == 0 and "refused" in got.finish.attempts[0].message
    unknown = await bench.run("gpt-4o-mini@nobody")
    assert "not configured" in unknown.failure.message


async def test_a_fallback_that_refuses_does_not_hide_the_cause(bench: Bench) -> None:
    got = await bench.run("fault:503", "fault:400")
    assert (got.failure.reason, got.failure.status_code) == (Reason.PROVIDER_FAILED, 503)


async def test_no_end_mark_and_an_open_connection(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.provider.calling.answer_reading.AFTER_FINISH_S", 0.1)
    got = await bench.run("fault:no_done", stream=True)
    assert got.data.endswith(b"data: [DONE]\n\n") and got.finish.finish_reason == "stop"


async def test_a_filtered_prompt_goes_on_only_where_config_says_so(
    make_bench: Callable[..., Awaitable[Bench]],
) -> None:
    strict, open_minded = await make_bench(), await make_bench(ProviderConfig(content_filter_fallback=True))
    refused = await strict.run("fault:content_policy", "gpt-4o-mini")
    assert refused.failure.reason is Reason.PROVIDER_REFUSED and len(refused.failure.attempts) == 1
    answered = await open_minded.run("fault:content_policy", "gpt-4o-mini")
    assert [attempt.status_code for attempt in answered.finish.attempts] == [400, 200]
    wrong = await open_minded.run("fault:400", "gpt-4o-mini")
    assert len(wrong.failure.attempts) == 1


async def test_the_total_limit_ends_an_endless_stream(bench: Bench) -> None:
    model = "fault:endless,token_delay_s=0.01"
    got = await bench.run(model, stream=True, deadlines=Deadlines(total_s=0.6))
    assert got.failure.reason is Reason.PROVIDER_TIMEOUT and got.failure.after_first_token
    await asyncio.wait_for(bench.upstream.requests[-1].left.wait(), 1)


async def test_a_failing_model_is_skipped_until_it_may_have_recovered(
    make_bench: Callable[..., Awaitable[Bench]],
) -> None:
    config = ProviderConfig(retry_delay_s=0.001, failing_after=3, failing_window_s=0.3)
    bench = await make_bench(config)
    for _ in range(2):
        await bench.run("fault:503", "gpt-4o-mini")
    asked = len(bench.upstream.requests)
    skipped = await bench.run("fault:503", "gpt-4o-mini")
    assert len(skipped.finish.attempts) == 1 and len(bench.upstream.requests) == asked + 1
    alone = await bench.run("fault:503")
    assert alone.failure.status_code == 503, "the only candidate is still asked"
    await asyncio.sleep(0.35)
    again = await bench.run("fault:503", "gpt-4o-mini")
    assert len(again.finish.attempts) > 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["hang", "stall", "endless,token_delay_s=0.01", "headers_only"])
async def test_leaving_stops_the_provider_within_100_ms(
    make_bench: Callable[..., Awaitable[Bench]], fault: str, stream: bool
) -> None:
    if fault.startswith("endless") and not stream:
        return
    bench = await make_bench(first_token_timeout_s=10.0, idle_timeout_s=10.0)
    seen = asyncio.Event()

    async def use() -> None:
        async for event in bench.generator.run(bench.ask(f"fault:{fault}", stream=stream)):
            if isinstance(event, Frames):
                seen.set()

    task = asyncio.create_task(use())
    if stream and fault not in ("hang", "headers_only"):
        await asyncio.wait_for(seen.wait(), 2)
    else:
        while not bench.upstream.requests:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.02)
    left = time.monotonic()
    task.cancel()
    await asyncio.wait_for(bench.upstream.requests[-1].left.wait(), 1)
    at = bench.upstream.requests[-1].disconnected_s
    assert at is not None and at - left < 0.1
    assert len(bench.upstream.requests) == 1, "a call that was given up is not tried again"


async def test_closing_the_generator_at_a_yield_stops_the_provider(bench: Bench) -> None:
    run = bench.generator.run(bench.ask("fault:endless,token_delay_s=0.01", stream=True))
    async for event in run:
        if isinstance(event, Frames):
            break
    left = time.monotonic()
    await run.aclose()
    await asyncio.wait_for(bench.upstream.requests[-1].left.wait(), 1)
    at = bench.upstream.requests[-1].disconnected_s
    assert at is not None and at - left < 0.1


async def test_a_full_provider_is_busy(make_bench: Callable[..., Awaitable[Bench]]) -> None:
    bench = await make_bench(ProviderConfig(max_waiting=1), max_concurrent=1, first_token_timeout_s=5.0)
    model = "fault:stall,after_tokens=0"
    tasks = [asyncio.create_task(bench.run(model)) for _ in range(2)]
    bulkhead = bench.registry.find("up").endpoint.bulkhead
    while bulkhead.free or not bench.upstream.requests or not bulkhead._waiting:
        await asyncio.sleep(0.005)
    full = await bench.run("gpt-4o-mini")
    assert full.failure.reason is Reason.PROVIDER_BUSY
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert bool(bulkhead.free)


async def test_an_answer_that_grows_in_translation_keeps_to_the_limit(
    make_bench: Callable[..., Awaitable[Bench]],
) -> None:
    bench = await make_bench(ProviderConfig(max_answer_bytes=25_000))
    parameters = {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(200)}}
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    # Two bytes each in the provider's JSON, four in a JSON string that holds JSON: 18 kB become 35 kB.
    messages = [{"role": "user", "content": '"' * 40}]
    got = await bench.run("m", provider="claude", body={"tools": [tool], "messages": messages})
    assert got.failure.message.endswith("it is larger than 25000 bytes.") and not got.data


async def test_waiting_for_a_place_is_no_attempt_yet(make_bench: Callable[..., Awaitable[Bench]]) -> None:
    bench = await make_bench(ProviderConfig(max_waiting=1), max_concurrent=1, first_token_timeout_s=5.0)
    first = asyncio.create_task(bench.run("fault:stall,after_tokens=0"))
    while not bench.upstream.requests:
        await asyncio.sleep(0.005)
    seen: list[object] = []

    async def wait() -> None:
        async for event in bench.generator.run(bench.ask("gpt-4o-mini")):
            seen.append(event)

    second = asyncio.create_task(wait())
    bulkhead = bench.registry.find("up").endpoint.bulkhead
    while not bulkhead._waiting:
        await asyncio.sleep(0.005)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    assert not seen, "nothing was sent, so nothing may be charged"
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert len(bench.upstream.requests) == 1


async def test_a_full_waiting_line_is_not_the_models_failure(make_bench: Callable[..., Awaitable[Bench]]) -> None:
    config = ProviderConfig(max_waiting=0, failing_after=1, failing_window_s=60)
    bench = await make_bench(config, max_concurrent=1, first_token_timeout_s=5.0)
    first = asyncio.create_task(bench.run("fault:stall,after_tokens=0"))
    while not bench.upstream.requests:
        await asyncio.sleep(0.005)
    busy = await bench.run("gpt-4o-mini", "gpt-4o-mini@claude")
    assert [a.reason for a in busy.finish.attempts] == [Reason.PROVIDER_BUSY, Reason.UNSPECIFIED]
    assert [event.provider for event in busy.events if isinstance(event, Started)] == ["claude"]
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    after = await bench.run("gpt-4o-mini", "gpt-4o-mini@claude")
    assert [a.provider for a in after.finish.attempts] == ["up"]


async def test_redirects_are_not_followed(bench: Bench) -> None:
    got = await bench.run("fault:redirect")
    assert got.failure.status_code == 307 and "redirects" in got.failure.message
    assert len(bench.upstream.requests) == 1, "the key went to one address only"
