"""Entity resolution: what is joined, what must never be, and that the operator has the last word."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.catalog import ModelEntry
from services.router.config import RouterConfig
from services.router.resolving.overrides import Overrides, overrides_of, parse_never
from services.router.resolving.resolution import UNKNOWN, Match, Resolver

POOL = (
    "acme/Spruce-3-8B-Instruct",
    "acme/Spruce-3-8B",
    "acme/Spruce-3-70B-Instruct",
    "acme/Spruce-3.1-70B-Instruct",
    "acme/Spruce-3.1-70B-Instruct-AWQ",
    "acme/Spruce-3.1-VL-70B-Instruct",
    "acme/Spruce-4-30B-A3B-Thinking-2507",
    "acme/Spruce-4-30B-A3B-Instruct-2507",
    "acme/Spruce-4-Coder-480B-A35B-Instruct",
    "acme/Spruce-R1",
    "acme/Spruce-R1-0528",
    "copycat/Spruce-3-8B-Instruct-Uncensored",
    "birch-labs/Birch-12B-v1.1",
    "birch-labs/Birch-8x7B-Instruct-v0.1",
    "birch-labs/Birch-7B-Instruct-v0.1",
    "birch-labs/Birch-7B-Instruct-v0.2",
    "birch-labs/Birch-Mini-4k-Instruct",
    "birch-labs/Birch-Mini-128k-Instruct",
    "birch-labs/Birch-Large-Instruct-2411",
    "birch-labs/Birch-Vellum-2409",
)
RESOLVER = Resolver(POOL)


def resolve(name: str, *also: str, pool: tuple[str, ...] = POOL) -> Match:
    return Resolver(pool).resolve(name, "openrouter", also)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("acme/spruce-3-8b-instruct", "acme/Spruce-3-8B-Instruct"),
        ("acme/spruce3-8b-instruct:free", "acme/Spruce-3-8B-Instruct"),
        ("ACME-AI/Spruce_3_8b_it", "acme/Spruce-3-8B-Instruct"),
        ("acme/spruce-3-1-70b-instruct", "acme/Spruce-3.1-70B-Instruct"),
        ("acme/spruce-3.1-70b-instruct", "acme/Spruce-3.1-70B-Instruct"),
        ("acme/spruce-r1", "acme/Spruce-R1"),
        ("acme/spruce-r1-0528", "acme/Spruce-R1-0528"),
    ],
)
def test_names_that_say_the_same_are_one_model(name: str, wanted: str | None) -> None:
    assert resolve(name).candidate == wanted


def test_versions_in_ids_may_be_written_with_a_dash() -> None:
    assert resolve("maker/opus-4-5", pool=("maker/opus-4.5", "maker/opus-4")).candidate == "maker/opus-4.5"
    assert resolve("maker/spruce-3-8b", pool=("maker/spruce-3.8b",)).candidate is None


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("acme/spruce-3.2-70b-instruct", "version 3.2 is not 3.1"),
        ("acme/spruce-3-13b-instruct", "size 13b is not 8b"),
        ("acme/spruce-4-30b-a5b-thinking-2507", "active size 5b is not 3b"),
        ("acme/spruce-4-30b-a3b-thinking-2512", "date 2512 is not 2507"),
        ("acme/spruce-4-30b-a3b-coder-2507", "one of them is coder instruct"),
        ("acme/spruce-3.1-70b-instruct-gptq", "quantisation gptq is not"),
        ("birch-labs/birch-mini-16k-instruct", "context 16k is not"),
        ("birch-labs/birch-maxi-128k-instruct", ""),
        ("other/spruce-3-8b-instruct", ""),
        ("acme/spruce-3-8b-uncensored", ""),
    ],
)
def test_a_typed_token_that_differs_keeps_two_models_apart(name: str, why: str) -> None:
    match = resolve(name)
    assert (match.candidate, match.rule, match.score) == (None, UNKNOWN, 0.0)
    assert why.split(" instruct")[0] in match.explanation


def test_thinking_is_no_other_word_for_instruct() -> None:
    assert resolve("acme/spruce-4-30b-a3b-thinking-2507").candidate == "acme/Spruce-4-30B-A3B-Thinking-2507"
    match = resolve("acme/spruce-4-30b-a3b-2507")
    assert (match.candidate, match.rule) == ("acme/Spruce-4-30B-A3B-Instruct-2507", "open")
    assert "left open: variant instruct" in match.explanation
    assert match.score < 1


@pytest.mark.parametrize("name", ["acme/spruce-4-30b-a3b", "birch-labs/birch-vellum", "birch-labs/birch-large"])
def test_a_name_without_date_is_no_dated_release_unless_its_version_agrees(name: str) -> None:
    found = resolve(name).candidate
    assert found == ("acme/Spruce-4-30B-A3B-Instruct-2507" if "spruce" in name else None)


def test_a_date_alone_does_not_tell_base_from_chat() -> None:
    assert resolve("birch-labs/birch-large-2411").candidate is None


def test_where_everything_chats_nobody_says_so() -> None:
    assert (
        RESOLVER.resolve("birch-labs/birch-large-2411", "lmarena").candidate == "birch-labs/Birch-Large-Instruct-2411"
    )
    assert RESOLVER.resolve("birch-labs/birch-large", "lmarena").candidate is None


def test_thinking_switched_off_is_a_mode_and_no_variant() -> None:
    pool = ("acme/Fir-3-30B-A3B", "acme/Fir-3-30B-A3B-Thinking")
    off = resolve("acme/fir-3-30b-a3b-no-thinking", pool=pool)
    assert (off.candidate, off.rule) == (pool[0], "open")
    assert off.score < resolve("acme/fir-3-30b-a3b", pool=pool).score
    assert resolve("acme/fir-3-30b-a3b-no-thinking", pool=pool[1:]).candidate is None


def test_a_release_may_be_left_open_where_there_is_only_one() -> None:
    match = resolve("birch-labs/birch-8x7b-instruct")
    assert (match.candidate, match.rule) == ("birch-labs/Birch-8x7B-Instruct-v0.1", "open")
    assert "left open: version 0.1" in match.explanation
    several = resolve("birch-labs/birch-7b-instruct")
    assert several.candidate is None
    assert "could be any of" in several.explanation


def test_a_familys_number_may_not_be_left_open() -> None:
    assert resolve("acme/spruce-14b", pool=("acme/Spruce1.5-14B",)).candidate is None
    assert resolve("llama-13b", pool=("meta-llama/Llama-2-13b-hf",)).candidate is None


def test_a_display_name_helps_and_contradicts() -> None:
    assert resolve("acme/spruce-coder").candidate is None
    said = resolve("acme/spruce-coder", "Acme: Spruce 4 Coder 480B A35B (free)")
    assert said.candidate == "acme/Spruce-4-Coder-480B-A35B-Instruct"
    pool = ("acme/Fir-2-Instruct", "acme/Fir-2-Instruct-0905")
    assert resolve("acme/fir-2", "Acme: Fir 2 0711", pool=pool).candidate == "acme/Fir-2-Instruct"
    assert resolve("acme/fir-2-0905", "Acme: Fir 2 0711", pool=pool).candidate is None


def test_spelling_may_differ_only_where_everything_typed_agrees() -> None:
    pool = ("acme/Longleaf-Pinetree-3-8B", "acme/Longleaf-Pinetree-3-13B")
    match = resolve("acme/longleaf-pinetre-3-8b", pool=pool)
    assert (match.candidate, match.rule) == (pool[0], "spelling")
    assert match.score < 1
    assert "alike" in match.explanation
    assert resolve("acme/longleaf-pinetre-3-9b", pool=pool).candidate is None
    assert resolve("acme/longleaf-pinetre-3", pool=pool[:1]).candidate is None


@pytest.mark.parametrize(
    ("name", "other"),
    [("acme/longleaf-large-3", "acme/Longleaf-Larger-3"), ("acme/longleafpine-k3", "acme/Longleafpine-m3")],
)
def test_siblings_are_not_spellings_of_each_other(name: str, other: str) -> None:
    assert resolve(name, pool=(other,)).candidate is None


def test_a_date_to_the_day_is_a_snapshot_of_the_undated_name() -> None:
    pool = ("openai/gpt-4o", "anthropic/claude-opus-4-5")
    assert resolve("gpt-4o-2024-08-06", pool=pool).candidate == "openai/gpt-4o"
    assert resolve("claude-opus-4-5-20251101", pool=pool).candidate == "anthropic/claude-opus-4-5"
    assert resolve("claude-opus-4-5-20251101-thinking-32k", pool=pool).candidate is None
    assert resolve("deepseek/deepseek-v3-0324", pool=("deepseek-ai/DeepSeek-V3",)).candidate is None


def test_without_an_organisation_a_family_is_its_own_makers() -> None:
    pool = ("google/gemma-2-9b-it", "somebody/gemma-2-9b-it", "princeton-nlp/gemma-2-9b-it-SimPO")
    assert resolve("Gemma-2-9B-it", pool=pool).candidate == "google/gemma-2-9b-it"
    assert resolve("Gemma-2-9B-it", pool=pool[1:]).candidate is None
    assert resolve("Gemma-2-9B-it-SimPO", pool=pool).candidate == "princeton-nlp/gemma-2-9b-it-SimPO"


def test_a_repository_under_two_names_is_no_ambiguity() -> None:
    pool = ("meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Meta-Llama-3.1-8B-Instruct")
    match = resolve("meta-llama/llama-3.1-8b-instruct", pool=pool)
    assert match.candidate == pool[1]
    assert f"also known as {pool[0]}" in match.explanation
    formats = ("allenai/OLMo-7B-Instruct", "allenai/OLMo-7B-Instruct-hf")
    assert resolve("OLMo-7B-instruct", pool=formats).candidate == formats[0]


def test_the_explanation_tells_what_agreed() -> None:
    match = resolve("acme/spruce-4-30b-a3b-thinking-2507")
    assert (match.rule, match.score) == ("exact", 1.0)
    for said in ("version 4", "size 30b", "active size 3b", "date 2507", "variant thinking", "family spruce"):
        assert said in match.explanation


def test_the_operator_joins_and_splits_and_it_can_be_undone() -> None:
    by_hand = Overrides(join={("lmarena", "chocolate"): "acme/Spruce-R1"})
    assert Resolver(POOL, by_hand).resolve("Chocolate", "lmarena").rule == "override"
    assert Resolver(POOL, by_hand).resolve("Chocolate", "openrouter").candidate is None
    split = Overrides(forbid=frozenset({("openrouter", "acme/spruce-r1", "acme/spruce-r1")}))
    assert Resolver(POOL, split).resolve("acme/spruce-r1", "openrouter").candidate is None
    assert Resolver(POOL, split).resolve("acme/spruce-r1", "litellm").candidate == "acme/Spruce-R1"
    assert resolve("acme/spruce-r1").candidate == "acme/Spruce-R1"
    one_of = Overrides(forbid=frozenset({("openrouter", "birch-labs/birch-7b-instruct", POOL[14].lower())}))
    assert Resolver(POOL, one_of).resolve("birch-labs/birch-7b-instruct", "openrouter").candidate == POOL[15]
    none = Overrides(forbid=frozenset({("openrouter", "acme/spruce-r1", "*")}))
    told = Resolver(POOL, none).resolve("acme/Spruce-R1", "openrouter")
    assert told.candidate is None
    assert "the operator says" in told.explanation


def test_overrides_come_from_the_configuration() -> None:
    entry = ModelEntry(
        "acme/spruce", "acme", "spruce", 8192, identities={"lmarena": "Chocolate", "openrouter": "", "litellm": "s"}
    )
    made = overrides_of([entry], ["litellm:s != acme/spruce"])
    assert made.joined("lmarena", "chocolate") == "acme/spruce"
    assert made.barred("openrouter", "anything", "acme/spruce")
    resolver = Resolver(["acme/spruce"], made)
    assert resolver.resolve("chocolate", "lmarena").candidate == "acme/spruce"
    assert resolver.resolve("acme/spruce", "openrouter").candidate is None
    # What is forbidden wins over what was joined.
    assert resolver.resolve("s", "litellm").candidate is None


@pytest.mark.parametrize("text", ["", "lmarena:x", "lmarena: != acme/m", "x != acme/m", "lmarina:x != acme/m"])
def test_a_split_that_says_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="never_join"):
        RouterConfig(never_join=(text,))


def test_a_split_names_source_name_and_model() -> None:
    assert parse_never("lmarena:Big One != acme/Spruce") == ("lmarena", "big one", "acme/spruce")


FAMILIES = st.sampled_from(["spruce", "birch", "longleaf"])
NUMBERS = st.sampled_from(["1", "1.5", "2", "3", "3.1"])
SIZES = st.sampled_from(["1b", "7b", "8x7b", "70b"])
TAILS = st.sampled_from(["", "-instruct", "-thinking", "-coder", "-instruct-2507", "-vl"])


NAMES = st.tuples(FAMILIES, NUMBERS, SIZES, TAILS)


@given(NAMES, NAMES)
def test_no_join_crosses_a_family_a_version_or_a_size(
    one: tuple[str, str, str, str], other: tuple[str, str, str, str]
) -> None:
    match = resolve("acme/{}-{}-{}{}".format(*one), pool=("acme/{}{}-{}{}".format(*other).upper(),))
    if one == other:
        assert match.rule == "exact"
    elif one[:3] != other[:3]:
        assert match.candidate is None


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_is_resolved_or_unknown(name: str, display: str) -> None:
    match = RESOLVER.resolve(name, "openrouter", (display,))
    assert (match.candidate is None) == (match.rule == UNKNOWN)
    assert 0 <= match.score <= 1
    assert match.explanation
