"""Fallbacks and aliases in a running DAC: who answers, what clients see listed, and what the check says."""

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests import programs
from tests.edge.conftest import Dac, UpstreamProcess, make_dac

MORE = """
  - {id: mock/first, provider: mock, name: first, context_tokens: 8000, quality: 0.6, capabilities: [tools],
     fallbacks: [dead/one, mock/tiny, claude/sonnet, second/small], price: free}
  - {id: dead/one, provider: dead, name: one, context_tokens: 64000, quality: 0.1, price: free}
  - {id: mock/old, provider: mock, name: old, context_tokens: 64000, quality: 1.0, price: free, retires_on: 2020-01-31}
  - {id: mock/tiny, provider: mock, name: tiny, context_tokens: 4000, quality: 0.1, price: free}
  - {id: off/one, provider: openai, name: off-one, context_tokens: 4000, quality: 0.1, price: free}
aliases: {gpt-4: mock/first, mini: mock/gpt-4o-mini, away: off/one}
"""


@pytest.fixture(scope="module")
def linked(upstream_process: UpstreamProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dac]:
    running = make_dac(tmp_path_factory.mktemp("linked"), upstream_process, more=MORE)  # type: ignore[arg-type]
    running.start()
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def _clean(upstream_process: UpstreamProcess) -> Iterator[None]:
    yield
    upstream_process.clear()


def attempts_of(record: dict[str, Any]) -> list[dict[str, Any]]:
    return list(record["attempts"])


def test_a_named_model_falls_back_in_the_written_order(linked: Dac, upstream_process: UpstreamProcess) -> None:
    upstream_process.script("503", model="first")
    upstream_process.script("404", model="tiny")
    answer = linked.chat(model="gpt-4")
    assert answer.status_code == 200 and answer.headers["x-dac-model"] == "claude/sonnet"
    record = linked.record(answer)
    assert record["asked_model"] == "gpt-4"
    models = [attempt["model"] for attempt in attempts_of(record)]
    assert list(dict.fromkeys(models)) == ["mock/first", "dead/one", "mock/tiny", "claude/sonnet"]


def test_a_prompt_too_long_goes_only_to_larger_windows(linked: Dac, upstream_process: UpstreamProcess) -> None:
    upstream_process.script("context_length", model="first")
    answer = linked.chat(model="mock/first")
    models = [attempt["model"] for attempt in attempts_of(linked.record(answer))]
    assert answer.status_code == 200 and "mock/tiny" not in models and models[-1] == "claude/sonnet"


def test_clients_see_aliases_beside_the_ids(linked: Dac) -> None:
    listed = {one["id"]: one for one in linked.get("/v1/models").json()["data"]}
    assert listed["gpt-4"]["owned_by"] == "mock" and listed["gpt-4"]["alias_of"] == "mock/first"
    assert "alias_of" not in listed["mock/first"] and "away" not in listed
    assert linked.get("/v1/models/mini").json()["id"] == "mini"
    assert linked.get("/v1/models/mock/gpt-4o-mini").json()["id"] == "mock/gpt-4o-mini"


def test_a_retired_model_is_listed_with_its_day_and_left_to_those_who_name_it(linked: Dac) -> None:
    listed = {one["id"]: one for one in linked.get("/v1/models").json()["data"]}
    assert listed["mock/old"]["retires_on"] == "2020-01-31" and listed["mock/tiny"]["retires_on"] is None
    shown = programs.run(
        ["model", "list"], {**linked.env, "DAC_BASE_URL": linked.url, "DAC_API_KEY": linked.key}
    ).stdout
    assert [line for line in shown.splitlines() if "mock/old" in line and "retired 2020-01-31" in line], shown
    assert linked.chat(model="auto:quality").headers["x-dac-model"] != "mock/old"
    assert linked.chat(model="mock/old").headers["x-dac-model"] == "mock/old"


def test_the_check_names_a_wrong_fallback(linked: Dac, tmp_path: pathlib.Path) -> None:
    config = tmp_path / "wrong.yaml"
    config.write_text(linked.config.read_text().replace("[dead/one, ", "[dead/onne, "))
    done = programs.run(["config", "check", "--json", "--config", str(config)], linked.env)
    assert done.returncode == 2
    assert 'there is no model "dead/onne" (did you mean "dead/one"?)' in json.loads(done.stdout)["error"]
