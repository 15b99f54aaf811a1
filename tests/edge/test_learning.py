"""Ratings and what is learned, as people reach them: over HTTP, through a kill -9."""

import pathlib
import signal
import time
from typing import Any

import httpx
import pytest

from tests.edge.conftest import Dac, UpstreamProcess, make_dac


def rate(dac: Dac, request_id: str, rating: float, **more: object) -> httpx.Response:
    body = {"request_id": request_id, "rating": rating, "comment": "a word that nobody keeps", **more}
    return httpx.post(f"{dac.url}/v1/feedback", json=body, headers=dac.headers, timeout=30)


def learned(dac: Dac, **params: str) -> dict[str, Any]:
    answer = dac.get("/v2/learned", params=params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = {}
    for one in answer.json()["models"]:
        found.setdefault(one["model"], one)
    return found


def until_learned(dac: Dac, model: str, outcomes: float) -> dict[str, Any]:
    """What is known of the model once so many outcomes are."""
    ends_at = time.monotonic() + 20
    while True:
        found: dict[str, Any] = learned(dac).get(model, {"n": 0})
        if found["n"] >= outcomes * 0.98:
            return found
        assert time.monotonic() < ends_at, found
        time.sleep(0.1)


def status(dac: Dac, *, operator: bool = False) -> dict[str, Any]:
    """What GET /v1/status says of learning."""
    headers = dac.operator_headers if operator else dac.headers
    return httpx.get(f"{dac.url}/v1/status", headers=headers, timeout=30).json()["learned"]  # type: ignore[no-any-return]


@pytest.fixture
def alone(tmp_path: pathlib.Path, upstream_process: UpstreamProcess) -> Any:
    running = make_dac(tmp_path, upstream_process)  # type: ignore[arg-type]
    running.start()
    yield running
    running.stop()


def test_ratings_teach_and_survive_kill_9(alone: Dac) -> None:
    model = "second/small"
    asked = [alone.chat(model=model) for _ in range(8)]
    assert [one.status_code for one in asked] == [200] * 8
    ids = [one.headers["x-dac-request-id"] for one in asked]
    answer = rate(alone, ids[0], -1)
    assert answer.status_code == 200, answer.text
    assert answer.json()["model"] == model
    for request_id in ids[1:]:
        assert rate(alone, request_id, 1, scale="stars").status_code == 200
    before = until_learned(alone, model, 8)
    assert before["expected_quality"] < before["catalog_quality"] == 0.7
    told = status(alone)
    assert (told["models"], told["task_types"], told["organisations"]) == (1, 1, 0)
    assert told["n"] == pytest.approx(8, rel=0.01) and 0 <= told["age_s"] < 6
    everybodys = status(alone, operator=True)
    assert (everybodys["models"], everybodys["organisations"], everybodys["n"]) == (1, 1, told["n"])
    assert 0 < before["confidence"] < 1 and 0 <= before["efficiency_score"] <= before["expected_quality"]
    assert alone.process is not None
    alone.process.send_signal(signal.SIGKILL)
    alone.process.wait(20)
    alone.start()
    after = until_learned(alone, model, 8)
    assert after == before
    assert status(alone)["n"] == told["n"]
    assert [alone.chat(model=model).status_code for _ in range(2)] == [200, 200]
    assert until_learned(alone, model, 10)["n"] == pytest.approx(10, rel=0.01)


def test_feedback_says_what_is_wrong_with_it(dac: Dac) -> None:
    asked = dac.chat()
    request_id = asked.headers["x-dac-request-id"]
    wrong = rate(dac, request_id, 9)
    assert wrong.status_code == 400 and "1 to 5 stars" in wrong.json()["error"]["message"]
    assert rate(dac, "no-id", 1).status_code == 404
    assert dac.get("/v2/learned", params={"task_type": "cooking"}).status_code == 400
    assert rate(dac, request_id, 5).status_code == 200
    assert httpx.post(f"{dac.url}/v1/feedback", json={"request_id": request_id, "rating": 1}).status_code == 401
    reset = httpx.post(f"{dac.url}/v2/learned:reset", json={}, headers=dac.headers, timeout=30)
    assert reset.status_code == 200 and reset.json()["forgotten"] >= 1
    assert not learned(dac)
