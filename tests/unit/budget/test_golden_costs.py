"""300 charges that were worked out apart from the program (golden/make_costs.py), to the nano-USD and line by line; the
gateway shows the same cost before it is charged."""

import json
import pathlib
import subprocess
import sys
from typing import Any

import pytest

from dac.type.v1 import record_pb2
from dac.type.v1.usage_pb2 import Usage
from mesh.model_prices import parse_price
from services.budget.prices.messages import rates_message
from services.budget.prices.money import Input, Price, charge, worst_case
from services.budget.request_records import attempts_of
from services.gateway.chat.reserved_run import cost_nano_usd

FOLDER = pathlib.Path(__file__).parent / "golden"
GOLDEN = json.loads((FOLDER / "costs.json").read_text(encoding="utf-8"))


def price_of(model: str) -> Price:
    entry = parse_price(GOLDEN["prices"][model], model)
    assert entry is not None
    return Price(1, model.partition("/")[0], model, entry.buckets, "config")


PRICES = {model: price_of(model) for model in GOLDEN["prices"]}


@pytest.mark.parametrize("number", range(len(GOLDEN["cases"])))
def test_a_golden_case_is_charged_to_the_nano_usd(number: int) -> None:
    case: dict[str, Any] = GOLDEN["cases"][number]
    price, used = PRICES[case["model"]], Usage(**case["usage"])
    (attempt,) = attempts_of(record_pb2.RequestRecord(attempts=[record_pb2.AttemptRecord(usage=used)]))
    made = charge(price, attempt.usage, answered=case["answered"])
    assert made.cost_nano_usd == case["cost_nano_usd"]
    assert [list(line) for line in made.lines] == case["lines"]
    assert cost_nano_usd(rates_message(price), used, answered=case["answered"]) == case["cost_nano_usd"]
    usage = attempt.usage
    given = Input(usage.prompt_tokens, usage.audio_seconds, usage.input_characters)
    wrote = usage.output + usage.reasoning + usage.output_audio + usage.output_image
    bounding = price.in_any_tier if usage.service_tier else price
    assert case["cost_nano_usd"] <= worst_case([bounding], given, wrote)


def test_there_are_300_and_they_are_those_that_are_made() -> None:
    assert len(GOLDEN["cases"]) == 300
    made = subprocess.run(
        [sys.executable, "make_costs.py"], cwd=FOLDER, capture_output=True, text=True, check=True, timeout=60
    )
    assert json.loads(made.stdout) == GOLDEN


def test_they_are_of_every_kind() -> None:
    lines = {line[0] for case in GOLDEN["cases"] for line in case["lines"]}
    for kind in ("input_cached", "cache_write", "cache_write_1h", "reasoning", "audio_second", "input_character"):
        assert kind in lines, kind
    for kind in ("input_audio", "input_audio_cached", "input_image", "output_audio", "output_image", "request"):
        assert kind in lines, kind
    for start in ("flex:", "batch:", "priority:", "fast:"):
        assert any(line.startswith(start) for line in lines), start
    assert any(">" in line and ":" in line for line in lines) and any(">" in line and ":" not in line for line in lines)
    assert any(not case["answered"] for case in GOLDEN["cases"])
