"""The judge of the fault bench: every verdict is reachable, and a truncated answer never passes."""

import asyncio
import dataclasses
import json

import aiohttp
import pytest

from bench.faults import judge
from bench.faults.calls import Client
from bench.faults.judge import Observed, Outcome, verdict
from bench.faults.scenarios import FAST, FULL, scenarios
from bench.faults.upstream import ANSWER, WORDS, Timing, Wall

WHOLE = Outcome("success", ANSWER, status=200, took_s=1.0, model="reserve/fb-ok", usage={"total_tokens": 80})
ERROR = Outcome("error", error="error event: provider_cut", status=200, took_s=1.0)
REFUSED = Outcome("error", error='400: {"error": {"code": "content_policy_violation"}}', status=400)
BILLED = {"cost_nano_usd": "80", "attempts": [{"cost_nano_usd": "0"}, {"cost_nano_usd": "80"}]}
BY_ID = {one.id: one for one in scenarios(FULL)}


def seen(*calls: Outcome, **fields) -> Observed:
    """A run that nothing is wrong with, but for `fields`."""
    good = {"primary_s": [0.0], "fallback_s": [1.0], "fallback": "fb-ok", "record": BILLED}
    return Observed(list(calls), ANSWER, **{**good, **fields})


def judged(scenario_id: str, observed: Observed) -> str:
    scenario = BY_ID[scenario_id]
    return verdict(observed, scenario.checks, wants_error=scenario.wants_error).result


def test_there_are_sixteen_in_order_and_the_answer_has_sixty_words():
    assert [one.id for one in scenarios(FAST)] == [f"S{number:02}" for number in range(1, 17)]
    assert len(WORDS) == 60


@pytest.mark.parametrize("scenario_id", [one for one in BY_ID if one != "S13"])
def test_a_truncated_answer_shown_as_success_fails_everywhere(scenario_id):
    short = dataclasses.replace(WHOLE, text=" ".join(WORDS[:40]))
    assert judged(scenario_id, seen(short)) == "fail"


@pytest.mark.parametrize("scenario_id", list(BY_ID))
@pytest.mark.parametrize("kind", ["hang", "broken"])
def test_a_hang_and_a_connection_that_just_ends_fail_everywhere(scenario_id, kind):
    assert judged(scenario_id, seen(Outcome(kind, error="x"))) == "fail"


@pytest.mark.parametrize(
    ("scenario_id", "observed", "wanted"),
    [
        ("S01", seen(WHOLE, primary_s=[0.0, 2.0]), "pass"),
        ("S01", seen(WHOLE, primary_s=[0.0]), "partial"),
        ("S01", seen(WHOLE, primary_s=[0.0, 1.0]), "partial"),
        ("S01", seen(WHOLE, primary_s=[0.0, 0.1, 0.2]), "fail"),
        ("S02", seen(WHOLE), "pass"),
        ("S02", seen(WHOLE, primary_s=[0.0, 0.5, 1.0, 1.5, 2.0]), "fail"),
        ("S02", seen(WHOLE, primary_s=[0.0, 3.0, 6.0, 9.0, 12.0, 15.0, 18.0]), "fail"),
        ("S02", seen(ERROR), "safe"),
        ("S03", seen(WHOLE, primary_s=[0.0, 0.2]), "pass"),
        ("S03", seen(WHOLE), "partial"),
        ("S04", seen(WHOLE, primary_s=[0.0] * 7), "fail"),
        ("S06", seen(WHOLE), "pass"),
        ("S06", seen(WHOLE, primary_s=[0.0, 30.0]), "partial"),
        ("S06", seen(dataclasses.replace(ERROR, took_s=101.0)), "fail"),
        ("S07", seen(WHOLE), "pass"),
        ("S07", seen(dataclasses.replace(WHOLE, took_s=20.9)), "partial"),
        ("S08", seen(WHOLE), "pass"),
        ("S08", seen(ERROR), "safe"),
        ("S09", seen(dataclasses.replace(ERROR, took_s=46.0)), "fail"),
        ("S09", seen(ERROR, alive=False), "fail"),
        ("S10", seen(WHOLE), "pass"),
        ("S10", seen(ERROR), "safe"),
        ("S11", seen(dataclasses.replace(WHOLE, usage=None)), "partial"),
        ("S11", seen(dataclasses.replace(WHOLE, took_s=9.0)), "fail"),
        ("S12", seen(WHOLE), "pass"),
        ("S12", seen(ERROR), "safe"),
        ("S12", seen(WHOLE, primary_s=[0.0, 0.2]), "fail"),
        ("S13", seen(REFUSED), "pass"),
        ("S13", seen(ERROR), "partial"),
        ("S13", seen(WHOLE), "partial"),
        ("S13", seen(REFUSED, primary_s=[0.0, 0.2]), "fail"),
        ("S14", seen(WHOLE, prefill_refused=1), "pass"),
        ("S14", seen(ERROR), "safe"),
        ("S14", seen(ERROR, prefill_refused=1), "fail"),
        ("S16", seen(WHOLE), "pass"),
        ("S16", seen(dataclasses.replace(WHOLE, usage=None)), "partial"),
        ("S16", seen(dataclasses.replace(WHOLE, model="wall/s16")), "fail"),
        ("S16", seen(WHOLE, record={**BILLED, "attempts": [{"cost_nano_usd": "9"}, {"cost_nano_usd": "71"}]}), "fail"),
        ("S16", seen(WHOLE, record=None), "fail"),
    ],
)
def test_each_verdict(scenario_id, observed, wanted):
    assert judged(scenario_id, observed) == wanted


def test_the_outage_wants_every_request_answered_and_the_primary_back():
    calls = [dataclasses.replace(WHOLE, sent_s=4.0 * number) for number in range(20)]
    run = {"down_s": 60.0, "primary_s": [0.0, 30.0, 64.0], "answered_s": [64.0]}
    assert judged("S15", seen(*calls, **run)) == "pass"
    assert judged("S15", seen(*calls, **{**run, "answered_s": [91.0]})) == "fail"
    assert judged("S15", seen(*calls, **{**run, "answered_s": []})) == "fail"
    assert judged("S15", seen(ERROR, *calls, **run)) == "fail"
    late_error = dataclasses.replace(ERROR, sent_s=70.0)
    assert judged("S15", seen(*calls, late_error, **run)) == "safe"


def test_the_worst_of_several_calls_is_judged():
    short = dataclasses.replace(WHOLE, text="Trust")
    assert seen(WHOLE, short, WHOLE).call is short
    assert seen(WHOLE, ERROR, short).call is ERROR
    assert judge.verdict(seen(WHOLE, Outcome("hang")), ()).result == "fail"


QUICK = Timing(token_s=0.0, retry_after_s=0, silence_s=0.05, slow_first_s=0.05, stall_s=0.05, down_s=60.0)


@pytest.mark.parametrize(
    ("model", "kind", "words", "told"),
    [
        ("fb-ok", "success", 60, ""),
        ("s01", "error", 0, "429"),
        ("s03", "error", 0, "500"),
        ("s05", "broken", 0, ""),
        ("s06", "broken", 0, ""),
        ("s07", "success", 60, ""),
        ("s08", "broken", 0, ""),
        ("s09", "broken", 0, ""),
        ("s10", "broken", 0, ""),
        ("s11", "success", 60, ""),
        ("s12", "error", 0, "context_length_exceeded"),
        ("s13", "error", 0, "content_policy_violation"),
        ("s14", "broken", 0, ""),
        ("s15", "error", 0, "overloaded"),
    ],
)
async def test_the_wall_does_what_its_model_names_say(model, kind, words, told):
    async with Wall(QUICK).server() as server, aiohttp.ClientSession() as session:
        client = Client(session, int(server.origin.rpartition(":")[2]), {})
        outcome = await client.ask(model, 5.0)
        assert (outcome.kind, len(outcome.text.split())) == (kind, words), outcome
        assert told in outcome.error


async def test_a_prefill_is_refused_by_one_fallback_and_continued_by_the_other():
    wall = Wall(QUICK)
    said = " ".join(WORDS[:40])
    async with wall.server() as server, aiohttp.ClientSession() as session:

        async def ask(model):
            messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": said}]
            body = {"model": model, "messages": messages, "stream": True}
            async with session.post(f"{server.origin}/v1/chat/completions", json=body) as answer:
                return answer.status, await answer.text()

        status, text = await ask("fb-no-prefill")
        assert status == 400 and "invalid_prefill" in text
        status, text = await ask("fb-ok")
        said = [json.loads(line[6:])["choices"][0]["delta"].get("content", "") for line in text.split("\n\n")[:-2]]
        assert status == 200 and "".join(said).split() == WORDS[40:]
    assert [one.did for one in wall.seen] == ["400 invalid_prefill", "200"]


async def test_a_call_that_does_not_end_is_a_hang():
    async with Wall(Timing(silence_s=30.0)).server() as server, aiohttp.ClientSession() as session:
        client = Client(session, int(server.origin.rpartition(":")[2]), {})
        async with asyncio.timeout(5):
            assert (await client.ask("s06", 0.2)).kind == "hang"
