"""Answers that are asked for again, or held back, while budgets hold streams in steps: each is charged once, and no
budget is overspent."""

import concurrent.futures
import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.edge.conftest import Dac, UpstreamProcess, make_dac
from tests.edge.test_budget_modes import with_limit
from tests.edge.test_validation import BAD, GOOD, PORT, SECRET, Guard, guard, text_of

__all__ = ["guard"]
STEP = 10
MORE = f"""
budget: {{reservation_mode: balanced, default_output_tokens: {STEP}, extend_output_tokens: {STEP}}}
gateway:
  validation_webhooks: ["guard=http://127.0.0.1:{PORT}/check"]
  validation_webhook_secret: "{SECRET}"
  validation_webhook_allow_private_address: true
policies:
  default:
    exploration: 0
    intents:
      qa_retrieval: {{answers: {{validation: {{enabled: true, action: block, webhook: guard}}}}}}
      coding_help: {{answers: {{validation: {{enabled: true, action: retry, webhook: guard, streams: hold}}}}}}
"""
BLOCK, RETRY = {"task_type": "qa_retrieval"}, {"task_type": "coding_help"}
LONG = (
    "The bridge was opened in spring and carries trams, bicycles and people on foot across the river. Its arches stand "
    "on piers of granite, which divers repaired last year after a flood had washed away some of the gravel below. "
    "Whoever crosses it at night sees the lamps of the old harbour, two ferries and the tower of the town hall."
)
STREAMED = pytest.mark.parametrize("stream", [False, True])


@pytest.fixture(scope="module")
def dac(
    tmp_path_factory: pytest.TempPathFactory, upstream_process: UpstreamProcess, guard: type[Guard]
) -> Iterator[Dac]:
    running = make_dac(tmp_path_factory.mktemp("checked"), upstream_process, audio=False, more=MORE)  # type: ignore[arg-type]
    running.start()
    yield running
    assert running.stop() == 0


def ask(dac: Dac, **fields: Any) -> httpx.Response:
    return dac.chat(messages=[{"role": "user", "content": f"What is it? {time.time_ns()}"}], **fields)


def account(dac: Dac, budget: dict[str, Any]) -> tuple[int, int]:
    """What the budget has spent and what it holds, once the books are shown to agree."""
    assert dac.get("/v1/budgets:verify").json()["differences"] == []
    shown = dac.get(f"/v2/budgets/{budget['budget_id']}").json()["budget"]
    return int(shown["spent_nano_usd"]), int(shown["reserved_nano_usd"])


@STREAMED
def test_another_models_answer_is_held_and_charged_beside_the_first(
    dac: Dac, upstream_process: UpstreamProcess, stream: bool
) -> None:
    caller, budget = with_limit(dac, 10**9)
    upstream_process.script(text=BAD * 8, times=1)
    upstream_process.script(text=LONG, times=1)
    # A whole answer is covered once, for as long as it may be; a stream as it grows.
    length: dict[str, Any] = {} if stream else {"max_tokens": 400}
    answer = ask(caller, model="auto", stream=stream, **length, **RETRY)
    assert text_of(answer) == LONG and answer.headers["x-dac-validation"].startswith("passed")
    record: Any = caller.record(answer)
    first, second = record["attempts"]
    assert first["model"] != second["model"] == answer.headers["x-dac-model"]
    costs = [int(one["cost_nano_usd"]) for one in (first, second)]
    assert min(costs) > 0 and int(record["cost_nano_usd"]) == sum(costs) <= int(record["reserved_nano_usd"])
    assert account(dac, budget) == (sum(costs), 0)


def test_another_answer_may_be_as_long_as_the_first_where_nobody_knows_how_long(
    dac: Dac, upstream_process: UpstreamProcess
) -> None:
    caller, budget = with_limit(dac, 10**9)
    upstream_process.script(text=BAD + LONG, times=1)
    upstream_process.script(text=LONG, times=1)
    answer = ask(caller, model="second/small", stream=True, **RETRY)
    assert text_of(answer) == LONG, answer.headers["x-dac-validation"]
    record: Any = caller.record(answer)
    assert len(record["attempts"]) == 2 and int(record["cost_nano_usd"]) <= int(record["reserved_nano_usd"])
    assert account(dac, budget) == (int(record["cost_nano_usd"]), 0)


@STREAMED
@pytest.mark.parametrize("share", [0.6, 1.2, 2.5])
def test_no_budget_is_overspent_by_another_answer(
    dac: Dac, upstream_process: UpstreamProcess, stream: bool, share: float
) -> None:
    """`share`: what the budget has, of what one whole answer holds at first."""
    fields: dict[str, Any] = {"stream": stream, "max_tokens": 400, **RETRY}
    free, _ = with_limit(dac, 10**9)
    upstream_process.script(text=GOOD, times=1)
    held = int(free.record(ask(free, **fields))["reserved_nano_usd"])  # type: ignore[call-overload]
    limit = int(held * share)
    caller, budget = with_limit(dac, limit)
    upstream_process.clear()
    upstream_process.script(text=BAD * 4, times=1)
    upstream_process.script(text=GOOD, times=1)
    answer = ask(caller, **fields)
    assert answer.status_code in (200, 429), answer.text
    if answer.status_code == 200:
        assert text_of(answer) in (BAD * 4, GOOD)
        record: Any = caller.record(answer)
        assert account(dac, budget) == (int(record["cost_nano_usd"]), 0)
        assert int(record["cost_nano_usd"]) <= int(record["reserved_nano_usd"]) <= limit
        costs = [int(one["cost_nano_usd"]) for one in record["attempts"]]
        assert min(costs) > 0 and sum(costs) == int(record["cost_nano_usd"])
        assert (text_of(answer) == GOOD) == (len(costs) == 2) == answer.headers["x-dac-validation"].startswith("passed")
    spent, reserved = account(dac, budget)
    assert spent <= limit and reserved == 0


@STREAMED
def test_what_is_blocked_is_charged_and_holds_nothing(
    dac: Dac, upstream_process: UpstreamProcess, stream: bool
) -> None:
    caller, budget = with_limit(dac, 10**9)
    upstream_process.script(text=BAD * 8, times=1)
    answer = ask(caller, stream=stream, **BLOCK)
    assert answer.status_code == 422 and "BAD" not in answer.text
    record: Any = caller.record(answer)
    assert int(record["cost_nano_usd"]) > 0 and len(record["attempts"]) == 1
    assert account(dac, budget) == (int(record["cost_nano_usd"]), 0)


def test_many_at_once_leave_the_books_as_the_records_say(dac: Dac, upstream_process: UpstreamProcess) -> None:
    caller, budget = with_limit(dac, 2_000_000)
    upstream_process.script(text=BAD, times=60)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        fields = [{"stream": at % 2 == 0, **(RETRY if at % 3 else BLOCK)} for at in range(16)]
        answers = list(pool.map(lambda more: ask(dataclasses.replace(caller), model="auto", **more), fields))
    assert {one.status_code for one in answers} <= {200, 422, 429}
    costs = [int(caller.record(one).get("cost_nano_usd", 0)) for one in answers]  # type: ignore[call-overload]
    spent, reserved = account(dac, budget)
    assert spent == sum(costs) <= 2_000_000 and reserved == 0
