"""Equal chats at the same time make one call: who gets what, who pays, and what happens when somebody fails."""

import asyncio
import contextlib
import json
import time

import aiohttp
import httpx
import pytest

from tests.edge.conftest import make_dac

MANY = 1000


def question(text=""):
    return [{"role": "user", "content": f"{text or 'What is the same?'} {time.time_ns()}"}]


@contextlib.asynccontextmanager
async def client():
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        yield session


def posting(session, dac, messages, token="", headers=None, path="/v1/chat/completions", **fields):
    body = {"model": "mock/gpt-4o-mini", "messages": messages, "enable_cache": True, **fields}
    own = {"authorization": f"Bearer {token or dac.key}", **(headers or {})}
    return session.post(dac.url + path, json=body, headers=own)


async def chat(session, dac, messages, **more):
    async with posting(session, dac, messages, **more) as answer:
        return answer.status, answer.headers, await answer.read()


async def asked(upstream, count, timeout_s=10):
    """Waits until so many requests have reached the provider."""
    end = time.monotonic() + timeout_s
    while len(upstream.requests()) < count:
        assert time.monotonic() < end, "the provider was not asked"
        await asyncio.sleep(0.02)


def texts_of(stream):
    """What a stream says, put together."""
    events = [line[6:] for line in stream.decode().splitlines() if line.startswith("data: {")]
    found = [json.loads(event)["choices"] for event in events]
    return "".join(choices[0]["delta"].get("content") or "" for choices in found if choices)


def manage(dac, verb, path, headers=None, **fields):
    """One call to the management API."""
    done = httpx.request(verb, dac.url + path, headers=headers or dac.headers, json=fields or None)
    assert done.status_code == 200, done.text
    return done.json()


def make_key(dac, headers=None, **fields):
    return manage(dac, "POST", "/v1/keys", headers, name="test", **fields)


async def test_a_thousand_equal_chats_make_one_call(dac, upstream_process):
    upstream_process.script("ok", text="The one answer.", first_token_delay_s=1.0, delay_s=0.5)
    messages = question()
    async with client() as session:
        found = await asyncio.gather(*(chat(session, dac, messages) for _ in range(MANY)))
    assert {status for status, _, _ in found} == {200}, {body for status, _, body in found if status != 200}
    assert len({body for _, _, body in found}) == 1 and b"The one answer." in found[0][2]
    assert len(upstream_process.requests()) == 1
    costs = [headers["x-dac-cost-usd"] for _, headers, _ in found]
    assert sum(cost != "0.0" for cost in costs) == 1, "the one who made the call pays"
    assert len({headers["x-dac-request-id"] for _, headers, _ in found}) == MANY


async def test_streams_are_shown_as_they_come_and_are_the_same(dac, upstream_process):
    upstream_process.script("ok", text="one two three four five", delay_s=0.3, token_delay_s=0.1)
    messages = question()
    async with client() as session:
        found = await asyncio.gather(*(chat(session, dac, messages, stream=True) for _ in range(50)))
    assert {body for _, _, body in found} == {found[0][2]} and len(upstream_process.requests()) == 1
    assert texts_of(found[0][2]) == "one two three four five" and found[0][2].endswith(b"data: [DONE]\n\n")
    told = [headers.get("x-dac-coalesced") for _, headers, _ in found]
    leader = next(headers["x-dac-request-id"] for _, headers, _ in found if "x-dac-coalesced" not in headers)
    assert told.count(leader) == 49
    assert {headers["x-dac-cache"] for _, headers, _ in found} == {"miss"}


async def test_a_follower_is_on_the_record_with_its_leader_and_what_it_saved(dac, upstream_process):
    upstream_process.script("ok", text="Short.", delay_s=0.4)
    messages = question()
    async with client() as session:
        leading = asyncio.create_task(chat(session, dac, messages))
        await asked(upstream_process, 1)
        (_, second, _), (_, first, _) = await asyncio.gather(chat(session, dac, messages), leading)
    mine, theirs = record(dac, second), record(dac, first)
    assert mine["cache"]["status"] == "STATUS_COALESCED"
    assert mine["cache"]["leader_request_id"] == theirs["request_id"] == second["x-dac-coalesced"]
    assert mine["cache"]["saved_nano_usd"] == theirs["cost_nano_usd"] != "0" and mine["cost_nano_usd"] == "0"
    assert mine["outcome"] == "OUTCOME_OK" and not mine.get("attempts") and theirs["cache"]["status"] == "STATUS_STORED"


def record(dac, headers, timeout_s=5):
    end = time.monotonic() + timeout_s
    while True:
        found = dac.get(f"/v1/requests/{headers['x-dac-request-id']}")
        if found.status_code == 200:
            return found.json()["request"]
        assert time.monotonic() < end, found.text
        time.sleep(0.02)


async def test_one_call_serves_whole_answers_and_streams(dac, upstream_process):
    upstream_process.script("ok", text="one two three", delay_s=0.5)
    messages = question()
    async with client() as session:
        leading = asyncio.create_task(chat(session, dac, messages, stream=True))
        await asked(upstream_process, 1)
        options = {"include_usage": True}
        found = await asyncio.gather(
            chat(session, dac, messages),
            chat(session, dac, messages, stream=True, stream_options=options),
            chat(session, dac, messages, stream=True, stream_options={**options, "include_dac": True}),
            leading,
        )
    whole, with_usage, with_dac, live = (body for _, _, body in found)
    assert len(upstream_process.requests()) == 1
    assert json.loads(whole)["choices"][0]["message"]["content"] == "one two three" == texts_of(live)
    assert (
        texts_of(with_usage) == "one two three" and b'"prompt_tokens"' in with_usage and b'"prompt_tokens"' not in live
    )
    assert texts_of(with_dac) == "one two three" and found[2][1]["x-dac-request-id"].encode() in with_dac


async def test_those_who_leave_take_nothing_from_the_others(dac, upstream_process):
    upstream_process.script("ok", text="a b c d e f g h i j", token_delay_s=0.1)
    messages = question()
    async with client() as session:
        leader = await posting(session, dac, messages, stream=True)
        assert await leader.content.readany()
        others = [asyncio.create_task(chat(session, dac, messages, stream=True)) for _ in range(3)]
        leaving = await posting(session, dac, messages, stream=True)
        assert await leaving.content.readany()
        leaving.close()
        leader.close()
        found = await asyncio.gather(*others)
    assert [texts_of(body) for _, _, body in found] == ["a b c d e f g h i j"] * 3
    assert len(upstream_process.requests()) == 1
    led = record(dac, leader.headers)
    assert led["outcome"] == "OUTCOME_CLIENT_GONE" and int(led["cost_nano_usd"]) > 0
    assert led["attempts"][0]["usage_source"] == "USAGE_SOURCE_PROVIDER", "the call went on to its end"
    assert record(dac, leaving.headers)["outcome"] == "OUTCOME_CLIENT_GONE"


async def test_when_everybody_has_left_the_call_ends(dac, upstream_process):
    upstream_process.script("ok", text=" ".join("abcdefghij" * 20), token_delay_s=0.1)
    messages = question()
    async with client() as session:
        pair = [await posting(session, dac, messages, stream=True)]
        assert await pair[0].content.readany()
        pair.append(await posting(session, dac, messages, stream=True))
        assert await pair[1].content.readany()
        for one in pair:
            one.close()
    led = record(dac, pair[0].headers)
    assert led["outcome"] == "OUTCOME_CLIENT_GONE"
    assert led["attempts"][0]["usage_source"] == "USAGE_SOURCE_COUNTED", "the provider was stopped"


async def test_an_answer_that_breaks_is_told_so_to_everybody_who_saw_a_part_of_it(dac, upstream_process):
    upstream_process.script("cut", token_delay_s=0.05, after_tokens=10, times=1)
    messages = question()
    async with client() as session:
        found = await asyncio.gather(
            *(chat(session, dac, messages, stream=True, enable_rescue=False) for _ in range(5))
        )
    assert len(upstream_process.requests()) == 1
    assert all(status == 200 and b"[DONE]" not in body and b'"error"' in body for status, _, body in found)
    records = [record(dac, headers) for _, headers, _ in found]
    assert {one["outcome"] for one in records} == {"OUTCOME_FAILED"}
    assert sum(int(one["cost_nano_usd"]) > 0 for one in records) == 1, "what was shown is charged once"
    upstream_process.script("ok", text="whole")
    async with client() as session:
        _, headers, body = await chat(session, dac, messages)
    assert headers["x-dac-cache"] == "miss" and b"whole" in body, "a part of an answer is never stored"


async def test_a_leader_without_money_is_nobody_elses_refusal(dac, upstream_process):
    poor, rich = make_key(dac), make_key(dac)
    level = {"kind": "KIND_KEY", "id": poor["key"]["key_id"]}
    manage(dac, "PUT", "/v1/budgets", level=level, window="WINDOW_DAY", limit_nano_usd="1")
    upstream_process.script("ok", text="Paid for.", delay_s=0.2)
    messages = question()
    async with client() as session:
        tokens = [poor["token"], *[rich["token"]] * 10]
        found = await asyncio.gather(*(chat(session, dac, messages, token=token) for token in tokens))
    assert found[0][0] == 429 or found[0][1].get("x-dac-coalesced"), "refused for its own budget, or it cost nothing"
    assert {status for status, _, _ in found[1:]} == {200} and len(upstream_process.requests()) == 1


async def test_a_key_that_is_revoked_or_may_not_use_the_model_is_not_served(dac, upstream_process):
    upstream_process.script("ok", text="Not for everybody.", delay_s=0.6)
    gone, narrow = make_key(dac), make_key(dac, scopes=["chat"], models=["second/*"])
    manage(dac, "DELETE", f"/v1/keys/{gone['key']['key_id']}")
    await asyncio.sleep(1.0)
    messages = question()
    async with client() as session:
        leading = asyncio.create_task(chat(session, dac, messages))
        await asked(upstream_process, 1)
        refused, forbidden, (status, _, _) = await asyncio.gather(
            chat(session, dac, messages, token=gone["token"]),
            chat(session, dac, messages, token=narrow["token"]),
            leading,
        )
    assert status == 200 and refused[0] == 401 and forbidden[0] == 403
    assert b"Not for everybody" not in refused[2] + forbidden[2]


async def test_a_follower_over_its_rate_limit_is_refused_alone(dac, upstream_process):
    slow = make_key(dac)
    level = {"kind": "KIND_KEY", "id": slow["key"]["key_id"]}
    manage(dac, "PUT", "/v1/rate-limits", level=level, requests_per_minute="1")
    upstream_process.script("ok", text="For those within.", delay_s=0.5)
    messages = question()
    async with client() as session:
        leading = asyncio.create_task(chat(session, dac, messages))
        await asked(upstream_process, 1)
        found = await asyncio.gather(*(chat(session, dac, messages, token=slow["token"]) for _ in range(3)), leading)
    assert sorted(status for status, _, _ in found) == [200, 200, 429, 429]


async def test_organisations_never_share_a_call(dac, upstream_process):
    made = manage(dac, "POST", "/v1/organisations", dac.operator_headers, name=f"other-{time.time_ns()}")
    key = make_key(dac, dac.operator_headers, scopes=["chat"], org_id=made["organisation"]["org_id"])
    upstream_process.script("ok", delay_s=0.3)
    messages = question()
    async with client() as session:
        found = await asyncio.gather(chat(session, dac, messages), chat(session, dac, messages, token=key["token"]))
        again = await chat(session, dac, messages, token=key["token"])
    assert len(upstream_process.requests()) == 2
    assert all("x-dac-coalesced" not in headers for _, headers, _ in found)
    assert again[1]["x-dac-cache"] == "hit" and len(upstream_process.requests()) == 2


@pytest.mark.parametrize(
    "more",
    [{"enable_cache": False}, {"headers": {"cache-control": "no-cache"}}, {"headers": {"cache-control": "no-store"}}],
    ids=str,
)
async def test_who_wants_no_stored_answer_makes_a_call_of_its_own(dac, upstream_process, more):
    upstream_process.script("ok", delay_s=0.2)
    messages = question()
    async with client() as session:
        await asyncio.gather(*(chat(session, dac, messages, **more) for _ in range(2)))
    assert len(upstream_process.requests()) == 2


async def test_different_questions_never_share_a_call(dac, upstream_process):
    async with client() as session:
        asks = [question(str(number % 5)) for number in range(5)]
        await asyncio.gather(*(chat(session, dac, asks[number % 5]) for number in range(15)))
    sent = [one["body"]["messages"][0]["content"] for one in upstream_process.requests()]
    assert sorted(sent) == sorted(ask[0]["content"] for ask in asks)


@pytest.fixture(scope="module")
def each(tmp_path_factory, upstream_process):
    """A `dac up` where everybody pays for a shared call."""
    running = make_dac(tmp_path_factory.mktemp("each"), upstream_process, more="gateway: {coalescing_charge: each}")
    running.start()
    yield running
    assert running.stop() == 0, running.log()


async def test_everybody_pays_where_the_operator_says_so(each, upstream_process):
    upstream_process.script("ok", text="Dear.", delay_s=0.4)
    messages = question()
    async with client() as session:
        found = await asyncio.gather(*(chat(session, each, messages, stream=True) for _ in range(5)))
    assert len(upstream_process.requests()) == 1
    records = [record(each, headers) for _, headers, _ in found]
    assert len({one["cost_nano_usd"] for one in records}) == 1 and int(records[0]["cost_nano_usd"]) > 0
    assert sum(one["cache"]["status"] == "STATUS_COALESCED" for one in records) == 4
    verified = each.get("/v1/budgets:verify").json()
    assert verified["differences"] == []


async def test_a_leader_that_fails_is_followed_by_one_other(each, upstream_process):
    upstream_process.script("500", times=99)
    async with client() as session:
        assert (await chat(session, each, question(), model="second/small", enable_cache=False))[0] >= 500
        tries = len(upstream_process.requests())
        upstream_process.clear()
        upstream_process.script("500", times=tries, delay_s=0.2)
        upstream_process.script("ok", text="Second try.", delay_s=0.3)
        messages = question()
        found = await asyncio.gather(*(chat(session, each, messages) for _ in range(20)))
    answered = [body for status, _, body in found if status == 200]
    assert len(answered) == 19 and len(set(answered)) == 1, "only who made the call that failed is told so"
    told = {headers.get("x-dac-coalesced") for status, headers, _ in found if status == 200}
    assert len(told) == 2 and len(upstream_process.requests()) == tries + 1, "one took over, the others followed it"
