"""Every adapter reads its forms, leaves out what cannot be true, and refuses an answer that is none, by name."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.router.sources import (
    BrokenAnswer,
    Elo,
    SourceRecord,
    genai_prices,
    hugging_face,
    litellm,
    lmarena,
    models_dev,
    ollama,
    openrouter,
)
from services.router.sources.values import MAX_ROWS
from tests.unit.router.sources.answers import (
    GENAI_PRICES,
    GOOD,
    HUB,
    HUB_ROUTER,
    LITELLM,
    LMARENA_FILE,
    LMARENA_ROWS,
    MODELS_DEV,
    OLLAMA_LIBRARY,
    OLLAMA_TAGS,
    OPENROUTER,
    encoded,
)

FORMS = pytest.mark.parametrize(
    ("adapter", "document"), GOOD, ids=[f"{one.NAME}-{at}" for at, (one, _) in enumerate(GOOD)]
)


def by_id(adapter: Any, *documents: Any) -> dict[str, SourceRecord]:
    return {one.id: one for one in adapter.parse([encoded(one) for one in documents], 7.0).records}


def test_openrouter() -> None:
    found = by_id(openrouter, OPENROUTER)
    large = found["acme/large-2"]
    assert (large.author, large.provider, large.name) == ("acme", "openrouter", "Acme: Large 2")
    assert (large.context_tokens, large.max_output_tokens) == (131072, 16384)
    assert large.capabilities == ("tools", "images", "json", "reasoning") and large.available
    assert large.nano_usd_per_mtok == {"input": 400_000_000, "output": 1_600_000_000, "input_cached": 100_000_000}
    assert (large.hugging_face_id, large.open_weights, large.seen_at_s) == ("Acme/Large-2-70B", True, 7.0)
    free = found["acme/large-2:free"]
    assert (free.nano_usd_per_mtok, free.max_output_tokens, free.open_weights) == ({}, 0, None)


@pytest.mark.parametrize("document", [LMARENA_ROWS, LMARENA_FILE], ids=["rows", "file"])
def test_lmarena(document: Any) -> None:
    one = by_id(lmarena, document)["acme-large-2"]
    assert one.elo == {"overall": Elo(1400.2, 1395.2, 1405.2), "coding": Elo(1450.0, 1445.0, 1455.0)}
    assert one.elo["overall"].half_width == pytest.approx(5.0)


def test_lmarena_without_an_interval_is_unsure_and_pages_end() -> None:
    bare = {"full": {"one": {"rating": 1300}}}
    assert by_id(lmarena, bare)["one"].elo["overall"].half_width == lmarena.UNKNOWN_HALF_WIDTH
    full = {"rows": [LMARENA_ROWS["rows"][0]] * lmarena.PAGE_ROWS}
    assert lmarena.is_last(encoded(LMARENA_ROWS)) and not lmarena.is_last(encoded(full))
    assert lmarena.is_last(encoded(LMARENA_FILE))


def test_hugging_face() -> None:
    found = by_id(hugging_face, HUB_ROUTER, HUB)
    large = found["Acme/Large-2-70B"]
    assert (large.context_tokens, large.capabilities, large.available) == (131072, ("tools",), True)
    assert (large.licence, large.parameters, large.open_weights) == ("apache-2.0", 70_000_000_000, True)
    assert found["Acme/Sees"].input_modalities == ("text", "image") and found["Acme/Sees"].capabilities is None


def test_models_dev() -> None:
    one = by_id(models_dev, MODELS_DEV)["acme/large-2"]
    assert (one.provider, one.author, one.context_tokens, one.max_output_tokens) == ("acme", "acme", 131072, 16384)
    assert one.capabilities == ("tools", "images", "json") and one.available is False
    assert one.nano_usd_per_mtok == {"input": 400_000_000, "output": 1_600_000_000, "input_cached": 100_000_000}
    assert one.input_modalities == ("text", "image", "pdf")


def test_ollama() -> None:
    tags = by_id(ollama, OLLAMA_TAGS)["large2"]
    assert (tags.parameters, tags.quantization, tags.capabilities) == (70_600_000_000, "q4_k_m", None)
    found = by_id(ollama, OLLAMA_LIBRARY)
    assert found["large2"].parameters == found["large2:70b"].parameters == 70_000_000_000
    assert found["large2"].context_tokens == 131072 and found["large2:70b-q8_0"].context_tokens == 0
    assert found["large2"].capabilities == ("tools", "json", "reasoning")
    assert found["vectors"].capabilities == ("embeddings",)


def test_litellm() -> None:
    found = by_id(litellm, LITELLM)
    assert list(found) == ["acme/large-2"]
    one = found["acme/large-2"]
    assert (one.context_tokens, one.capabilities, one.provider) == (131072, ("tools",), "acme")
    assert one.nano_usd_per_mtok == {"input": 400_000_000, "output": 1_600_000_000}


def test_genai_prices() -> None:
    found = by_id(genai_prices, GENAI_PRICES)
    large, small = found["acme/large-2"], found["acme/small-2"]
    assert (large.context_tokens, large.provider, large.available) == (131072, "acme", None)
    assert large.nano_usd_per_mtok == {"input": 400_000_000, "output": 1_600_000_000}
    assert small.nano_usd_per_mtok == {"input": 100_000_000, "output": 200_000_000, "input_cached": 10_000_000}
    assert small.available is False


BROKEN = {
    "nothing": (b"", "empty"),
    "spaces": (b" \n\t", "empty"),
    "a page": (b"<!DOCTYPE html><html><body>502 Bad Gateway</body></html>", "HTML"),
    "text": (b"rate limit exceeded", "not JSON"),
    "bytes": (b"\xff\xfe\x00garbage", "not JSON"),
    "not a number": (b'{"data": [NaN]}', "not JSON"),
    "deep": (b"[" * 100_000 + b"]" * 100_000, "not JSON"),
    "null": (b"null", ""),
    "a number": (b"7", ""),
    "a word": (b'"data"', ""),
    "an error": (b'{"error": {"message": "no"}}', ""),
    "empty list": (b"[]", ""),
    "empty object": (b"{}", ""),
    "no rows": (b'{"data": [], "models": [], "rows": []}', ""),
    "rows of nothing": (b'{"data": [null, 1, "x", []], "models": [null, 1], "rows": [null, 2]}', ""),
}


@FORMS
@pytest.mark.parametrize("name", BROKEN)
def test_an_answer_that_is_none_is_refused_by_name(adapter: Any, document: Any, name: str) -> None:
    body, why = BROKEN[name]
    with pytest.raises(BrokenAnswer, match=why or "[a-z]"):
        adapter.parse([body], 7.0)


@FORMS
def test_an_answer_that_ends_too_early_is_refused(adapter: Any, document: Any) -> None:
    body = encoded(document)
    for end in (1, len(body) // 3, len(body) // 2, len(body) - 1):
        with pytest.raises(BrokenAnswer):
            adapter.parse([body[:end]], 7.0)


@FORMS
def test_an_answer_in_several_pages_is_one(adapter: Any, document: Any) -> None:
    once, twice = adapter.parse([encoded(document)], 7.0), adapter.parse([encoded(document)] * 2, 7.0)
    assert sorted(one.id for one in twice.records) == sorted(one.id for one in once.records)


def test_too_many_rows_are_no_list() -> None:
    with pytest.raises(BrokenAnswer, match="more than"):
        openrouter.parse([b'{"data": [' + b"0," * MAX_ROWS + b"0]}"], 7.0)


def with_row(**changes: Any) -> bytes:
    """OpenRouter's answer with a third row: the first with changes."""
    row = copy.deepcopy(OPENROUTER["data"][0]) | {"id": "acme/third"}
    for path, value in changes.items():
        *steps, last = path.split("__")
        into = row
        for step in steps:
            into = into[step]
        into[last] = value
    return encoded({"data": [*OPENROUTER["data"], row]})


@pytest.mark.parametrize(
    "change",
    [
        {"id": 7},
        {"id": ""},
        {"id": "acme/\x1b[31mred"},
        {"id": "acme/large‑2"},
        {"id": "a" * 201},
        {"context_length": -1},
        {"context_length": 10**12},
        {"context_length": 10**400},
        {"context_length": "131072"},
        {"context_length": True},
        {"pricing__prompt": "-0.000001"},
        {"pricing__prompt": "NaN"},
        {"pricing__prompt": "Infinity"},
        {"pricing__prompt": "1e999999999"},
        {"pricing__prompt": "free"},
        {"pricing__prompt": "9" * 100},
        {"pricing__prompt": 5},
        {"pricing__completion": ["0"]},
        {"pricing": "0.5"},
        {"architecture": []},
        {"architecture__input_modalities": "text"},
        {"supported_parameters": {"tools": True}},
        {"supported_parameters": [["tools"]]},
        {"top_provider__max_completion_tokens": 1e300},
    ],
    ids=str,
)
def test_a_row_that_cannot_be_true_is_dropped_and_counted(change: dict[str, Any]) -> None:
    found = openrouter.parse([with_row(**change)], 7.0)
    assert len(found.records) == 2 and found.dropped == 1
    assert len(openrouter.parse([with_row()], 7.0).records) == 3


def test_of_doubles_the_first_stands() -> None:
    found = openrouter.parse([with_row(id="acme/large-2", context_length=5)], 7.0)
    assert (len(found.records), found.dropped, found.records[0].context_tokens) == (2, 1, 131072)


def test_more_bad_rows_than_good_ones_condemn_the_answer() -> None:
    bad = [dict(OPENROUTER["data"][0], id=f"acme/{at}", context_length=-1) for at in range(3)]
    with pytest.raises(BrokenAnswer, match="context_length"):
        openrouter.parse([encoded({"data": [*OPENROUTER["data"], *bad]})], 7.0)
    assert len(openrouter.parse([encoded({"data": [*OPENROUTER["data"], *bad[:2]]})], 7.0).records) == 2


@pytest.mark.parametrize(
    "ratings",
    [{"rating": None}, {"rating": -5}, {"rating": "1400"}, {"rating": 1400, "rating_q025": 1500}, {"rating": 10**9}],
    ids=str,
)
def test_a_rating_that_cannot_be_true_is_dropped(ratings: dict[str, Any]) -> None:
    document = copy.deepcopy(LMARENA_FILE)
    document["coding"]["other"] = ratings
    found = lmarena.parse([encoded(document)], 7.0)
    assert [one.id for one in found.records] == ["acme-large-2"] and found.dropped == 1


def mutated(draw: st.DataObject, body: bytes) -> bytes:
    """The answer with some of its bytes changed, cut out or put in twice."""
    made = bytearray(body)
    for _ in range(draw.draw(st.integers(1, 4))):
        at = draw.draw(st.integers(0, max(0, len(made) - 1)))
        how = draw.draw(st.sampled_from(["set", "cut", "twice", "put"]))
        if how == "set" and made:
            made[at] = draw.draw(st.integers(0, 255))
        elif how == "cut":
            del made[at : at + draw.draw(st.integers(1, 40))]
        elif how == "twice":
            made[at:at] = made[at : at + draw.draw(st.integers(1, 40))]
        else:
            made[at:at] = draw.draw(st.sampled_from([b"null", b"-1", b"1e400", b"[]", b"{}", b'"', b"\x00", b"true"]))
    return bytes(made)


@FORMS
@settings(max_examples=60)
@given(draw=st.data())
def test_changed_bytes_raise_nothing_but_the_named_error(adapter: Any, document: Any, draw: st.DataObject) -> None:
    try:
        found = adapter.parse([mutated(draw, encoded(document))], 7.0)
    except BrokenAnswer as error:
        assert str(error)
    else:
        assert_sane(found.records)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@FORMS
@settings(max_examples=60)
@given(draw=st.data())
def test_changed_values_raise_nothing_but_the_named_error(adapter: Any, document: Any, draw: st.DataObject) -> None:
    made = copy.deepcopy(document)
    for _ in range(draw.draw(st.integers(1, 3))):
        at, key = made, None
        while isinstance(at, dict | list) and at and draw.draw(st.integers(0, 4)):
            into = at
            key = draw.draw(st.sampled_from(sorted(at) if isinstance(at, dict) else list(range(len(at)))))
            at = into[key]
        if key is not None:
            into[key] = draw.draw(VALUES)
    try:
        found = adapter.parse([json.dumps(made, allow_nan=False).encode()], 7.0)
    except BrokenAnswer as error:
        assert str(error)
    else:
        assert_sane(found.records)


def assert_sane(records: list[SourceRecord]) -> None:
    """Whatever was sent: only what can be true comes out."""
    assert records and len({one.id for one in records}) == len(records)
    for one in records:
        assert one.id and one.id.isascii() and one.id.isprintable() and len(one.id) <= 401
        assert one.name.isprintable() and one.licence.isprintable()
        assert 0 <= one.context_tokens <= 10**8 and 0 <= one.max_output_tokens <= 10**8 and one.parameters >= 0
        assert all(value >= 0 for value in (one.nano_usd_per_mtok or {}).values())
        assert all(rating.low <= rating.rating <= rating.high for rating in one.elo.values())
