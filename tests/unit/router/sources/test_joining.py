"""Records are joined to models by place, by rule and by hand, with the reason, and taken apart again."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import pytest

from mesh.app import load_settings
from mesh.catalog import DeploymentEntry, ModelEntry
from services.router.resolving.overrides import Overrides, overrides_of
from services.router.sources import Elo, SourceRecord, last_good
from services.router.sources.facts import Facts
from services.router.sources.joining import join, wanted_of
from services.router.sources.kept import SHIPPED


def entry(model: str, provider: str, name: str, **fields: Any) -> ModelEntry:
    return ModelEntry(model=model, provider=provider, name=name, context_tokens=1, **fields)


def facts_of(
    entries: Iterable[ModelEntry], *records: SourceRecord, overrides: Overrides | None = None
) -> Mapping[str, Facts]:
    by_source: dict[str, list[SourceRecord]] = {}
    for one in records:
        by_source.setdefault(one.source, []).append(one)
    load = {name: (lambda rows=rows: rows) for name, rows in by_source.items()}
    return join(wanted_of(entries), load, overrides)


def elo(rating: float) -> dict[str, Elo]:
    return {"overall": Elo(rating, rating - 5, rating + 5)}


MINI = entry("openai/gpt-4o-mini", "openai", "gpt-4o-mini")
DEV = SourceRecord("models_dev", "openai/gpt-4o-mini", provider="openai", author="openai", context_tokens=128000)


def test_the_same_name_at_the_same_place_is_the_same_model() -> None:
    found = facts_of([MINI], DEV, SourceRecord("litellm", "gpt-4o-mini", provider="openai", max_output_tokens=9))
    facts = found["openai/gpt-4o-mini"]
    assert (facts.context_tokens, facts.max_output_tokens) == (128000, 9)
    assert [(one.source, one.why) for one in facts.said] == [
        ("models_dev", "it is gpt-4o-mini at openai"),
        ("litellm", "it is gpt-4o-mini at openai"),
    ]


def test_the_same_name_at_another_place_is_not() -> None:
    other = SourceRecord("litellm", "gpt-4o-mini", provider="elsewhere", max_output_tokens=9)
    assert facts_of([MINI], other) == {}


def test_a_price_is_only_that_of_the_place() -> None:
    here = msgspec.structs.replace(DEV, nano_usd_per_mtok={"input": 1})
    there = SourceRecord("openrouter", "openai/gpt-4o-mini", provider="openrouter", nano_usd_per_mtok={"input": 2})
    assert facts_of([MINI], here, there)["openai/gpt-4o-mini"].nano_usd_per_mtok == {"input": 1}
    assert facts_of([MINI], there)["openai/gpt-4o-mini"].nano_usd_per_mtok is None
    resold = entry("openrouter/openai/gpt-4o-mini", "openrouter", "openai/gpt-4o-mini")
    assert facts_of([resold], here, there)[resold.model].nano_usd_per_mtok == {"input": 2}


def test_what_is_nearer_counts_first() -> None:
    far = SourceRecord("openrouter", "openai/gpt-4o-mini", provider="openrouter", context_tokens=5, licence="x")
    facts = facts_of([MINI], far, DEV)["openai/gpt-4o-mini"]
    assert (facts.context_tokens, facts.licence) == (128000, "x")


def test_ratings_find_their_model_without_a_maker() -> None:
    rows = [
        SourceRecord("lmarena", "gpt-4o-mini-2024-07-18", elo=elo(1300)),
        SourceRecord("lmarena", "gpt-4o-2024-08-06", elo=elo(1350)),
        SourceRecord("lmarena", "claude-sonnet-4-5-20250929-thinking-32k", elo=elo(1450)),
        SourceRecord("lmarena", "claude-sonnet-4-5-20250929", elo=elo(1440)),
    ]
    sonnet = entry("anthropic/claude-sonnet-4-5", "anthropic", "claude-sonnet-4-5")
    found = facts_of([MINI, sonnet], *rows)
    assert found["openai/gpt-4o-mini"].elo["overall"].rating == 1300
    assert found["anthropic/claude-sonnet-4-5"].elo["overall"].rating == 1440
    assert 0 < (found["openai/gpt-4o-mini"].quality or 0) < (found["anthropic/claude-sonnet-4-5"].quality or 0)


def test_of_two_dates_that_are_as_near_the_later_counts() -> None:
    rows = [
        SourceRecord("lmarena", f"gpt-4o-{date}", elo=elo(rating))
        for date, rating in (("2024-05-13", 1280), ("2024-11-20", 1290), ("2024-08-06", 1270))
    ]
    found = facts_of([entry("openai/gpt-4o", "openai", "gpt-4o")], *rows)
    assert found["openai/gpt-4o"].elo["overall"].rating == 1290


def test_a_model_at_an_unknown_place_is_found_by_what_it_is_called_elsewhere() -> None:
    mine = entry("mine/gpt-4o-mini", "mine", "gpt-4o-mini")
    found = facts_of([mine, MINI], DEV, SourceRecord("lmarena", "gpt-4o-mini-2024-07-18", elo=elo(1300)))
    assert found["mine/gpt-4o-mini"].context_tokens == 128000
    assert found["mine/gpt-4o-mini"].elo == found["openai/gpt-4o-mini"].elo != {}


@pytest.mark.parametrize(
    "name", ["gpt-4o", "gpt-4.1-mini", "gpt-4o-mini-search-preview", "gpt-5-mini", "my-own-model", "gpt-4o-mini-tts"]
)
def test_a_like_name_is_not_the_same_model(name: str) -> None:
    assert facts_of([entry(f"mine/{name}", "mine", name)], DEV) == {}


def test_a_source_may_say_what_a_model_is_called_elsewhere() -> None:
    resold = entry("openrouter/acme/large", "openrouter", "acme/large")
    said = SourceRecord("openrouter", "acme/large", provider="openrouter", hugging_face_id="Acme-Labs/Big-70B")
    held = SourceRecord("open_llm_leaderboard", "acme-labs/big-70b", benchmarks={"open_llm_bbh": 0.6}, licence="mit")
    facts = facts_of([resold], said, held)["openrouter/acme/large"]
    assert facts.licence == "mit" and facts.quality is not None
    assert facts.said[1].why == "openrouter says that it is Acme-Labs/Big-70B"


def test_the_operators_word_comes_first_and_can_be_taken_back() -> None:
    rating = SourceRecord("lmarena", "Secret-Otter", elo=elo(1400))
    named = entry("mine/otter", "mine", "otter-v1", identities={"lmarena": "secret-otter"})
    assert facts_of([named], rating) == {}
    found = facts_of([named], rating, overrides=overrides_of([named]))
    assert found["mine/otter"].said[0].why == "the operator says so"
    assert facts_of([named], rating, overrides=Overrides()) == {}
    barred = overrides_of([MINI], ["models_dev:openai/gpt-4o-mini != openai/gpt-4o-mini"])
    assert facts_of([MINI], DEV, overrides=barred) == {}
    absent = overrides_of([entry(MINI.model, "openai", "gpt-4o-mini", identities={"models_dev": ""})])
    assert facts_of([MINI], DEV, overrides=absent) == {}


def test_every_place_of_a_model_counts() -> None:
    places = (DeploymentEntry("mine", "prod"), DeploymentEntry("openai", "gpt-4o-mini"))
    assert facts_of([entry("fast", "mine", "prod", deployments=places)], DEV)["fast"].context_tokens == 128000


def test_ways_of_being_served_are_no_models() -> None:
    rows = [
        SourceRecord("openrouter", "openai/gpt-4o-mini:extended", provider="openrouter", context_tokens=1),
        SourceRecord("openrouter", "openai/gpt-4o-mini", provider="openrouter", context_tokens=2),
    ]
    assert facts_of([MINI], *rows)["openai/gpt-4o-mini"].context_tokens == 2
    assert facts_of([MINI], rows[0]) == {}


def test_benchmarks_of_several_sources_add_up_and_one_speed_is_taken() -> None:
    rows = [
        SourceRecord(
            "benchmarks", "openai/gpt-4o-mini", benchmarks={"gpqa": 0.4}, speed_tokens_per_s=80, first_token_ms=9
        ),
        SourceRecord("open_llm_leaderboard", "openai/gpt-4o-mini", benchmarks={"gpqa": 0.9, "open_llm_bbh": 0.5}),
    ]
    facts = facts_of([MINI], *rows)["openai/gpt-4o-mini"]
    assert facts.benchmarks == {"gpqa": 0.4, "open_llm_bbh": 0.5}
    assert (facts.speed_tokens_per_s, facts.first_token_ms) == (80, 9)


def test_the_snapshot_speaks_of_the_shipped_catalog_and_agrees_with_it() -> None:
    entries = [one for one in load_settings(env={}).models if not {"speech", "transcription"} & set(one.capabilities)]
    files = {one.name.removesuffix(last_good.SUFFIX): one for one in SHIPPED.glob(f"*{last_good.SUFFIX}")}
    load = {name: (lambda file=file: last_good.read(file).records) for name, file in files.items()}
    found = join(wanted_of(entries), load)
    assert {one.model for one in entries} - set(found) == set()
    described = {one.model: one for one in entries}
    known = {model: one.quality for model, one in found.items() if one.quality is not None}
    assert len(known) >= 24
    apart = [abs(quality - described[model].quality) for model, quality in known.items()]
    assert sum(apart) / len(apart) < 0.04 and max(apart) < 0.1
    wrong = [
        model
        for model, one in found.items()
        if described[model].quality and not 0.4 <= one.context_tokens / described[model].context_tokens <= 2.5
    ]
    assert len(wrong) <= len(found) // 10, wrong
