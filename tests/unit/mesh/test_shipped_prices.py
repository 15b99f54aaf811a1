"""The shipped catalog costs what its source says: every figure of golden/genai_prices.json is in config/models.yaml."""

import datetime as dt
import json
import pathlib
from decimal import Decimal

import pytest
import yaml

from mesh.catalog import ModelEntry, parse_catalog
from mesh.model_prices import PriceEntry
from services.budget.prices.money import Price

ROOT = pathlib.Path(__file__).resolve().parents[3]
SAID = json.loads((pathlib.Path(__file__).parent / "golden" / "genai_prices.json").read_text(encoding="utf-8"))
SHIPPED = yaml.safe_load((ROOT / "config" / "models.yaml").read_text(encoding="utf-8"))
MODELS: dict[str, ModelEntry] = {one.model: one for one in parse_catalog({}, SHIPPED, {})[1]}


def nano(bucket: str, usd: str) -> tuple[str, int]:
    """A figure of the source as DAC keeps it."""
    amount = Decimal(usd).scaleb(9)
    if bucket == "audio_hour":
        return "audio_second", int(-(-amount * 1_000_000 // 3600))
    assert amount == int(amount)
    return bucket, int(amount)


def differences(entry: PriceEntry, said: dict[str, dict[str, dict[str, str]]]) -> list[str]:
    price = Price(1, "p", "m", entry.buckets, "catalog")
    tariffs = {(one.service_tier, one.above_tokens): one.rates for one in price.tariffs}
    wrong = []
    for tier, lengths in said.items():
        for above, figures in lengths.items():
            rates = tariffs.get(("" if tier == "standard" else tier, int(above)))
            for bucket, usd in figures.items():
                name, wanted = nano(bucket, usd)
                if rates is None or getattr(rates, name) != wanted:
                    wrong.append(f"{tier} above {above}: {bucket} is {rates and getattr(rates, name)}, not {usd}")
    wrong += [f"{key}: in the catalog alone" for key in tariffs if not _is_said(key, said)]
    return wrong


def _is_said(key: tuple[str, int], said: dict[str, dict[str, dict[str, str]]]) -> bool:
    tier, above = key
    # A tier that says nothing of long prompts pays the standard price there.
    return str(above) in said.get(tier or "standard", {}) or (tier in said and str(above) in said["standard"])


def test_every_model_is_either_held_to_the_source_or_says_why_not() -> None:
    assert set(SAID["prices"]) | set(SAID["left_out"]) == set(MODELS)
    assert not set(SAID["prices"]) & set(SAID["left_out"])


@pytest.mark.parametrize("model", sorted(SAID["prices"]))
def test_a_shipped_model_costs_what_its_source_says(model: str) -> None:
    entry, said = MODELS[model].price, dict(SAID["prices"][model])
    later = said.pop("from", [])
    assert entry is not None
    assert differences(entry, said) == []
    assert [one.valid_from for one in entry.later] == [
        dt.datetime.combine(dt.date.fromisoformat(day), dt.time(), dt.UTC) for day, _ in later
    ]
    for one, (_, figures) in zip(entry.later, later, strict=True):
        assert differences(one, {"standard": figures, **{tier: {} for tier in said if tier != "standard"}}) == []


def test_the_comparison_finds_a_wrong_price_and_a_missing_tier() -> None:
    right = MODELS["google/gemini-2.5-pro"].price
    said = SAID["prices"]["google/gemini-2.5-pro"]
    assert right is not None and differences(right, said) == []
    for gone in ("input>200000", "output"):
        buckets = {name: rate for name, rate in right.buckets.items() if name != gone} | (
            {"output": 1} if gone == "output" else {}
        )
        assert differences(PriceEntry(False, buckets), said), gone
