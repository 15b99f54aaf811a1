"""Sealing one text: it opens only in its own row, with its own organisation's key; terms are numbers of their own."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.envelope_keys import CannotOpen, Wrapper, seal, unseal
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from services.memory.sealing.sealing import PlainSealer, SealingKeys, header_of

ORG, OTHER = uuid7(), uuid7()
KEY, EARLIER = uuid7(), uuid7()
KEYS = {KEY: b"k" * 32, EARLIER: b"e" * 32}


def keys(org_id: str = ORG, key_id: str = KEY, terms: bytes = b"t" * 32) -> SealingKeys:
    return SealingKeys(org_id, KEYS, key_id, terms=terms)


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=200), max_size=3), st.text(max_size=40))
def test_what_is_sealed_opens_and_is_not_there_to_be_read(fields: dict[str, str], about: str) -> None:
    sealed = keys().seal(about, fields)
    assert sealed is not None and sealed.startswith(header_of(KEY))
    assert keys().open(about, sealed) == fields
    assert not any(len(text) > 3 and text.encode() in sealed for text in fields.values())


def test_a_text_does_not_open_in_another_row_nor_in_another_organisation() -> None:
    sealed = keys().seal("messages/1", {"text": "x"})
    assert sealed is not None
    for other, about in ((keys(), "messages/2"), (keys(), "memories/1"), (keys(OTHER), "messages/1")):
        with pytest.raises(MeshError, match="does not open") as caught:
            other.open(about, sealed)
        assert caught.value.reason is Reason.FAILED_PRECONDITION
    with pytest.raises(MeshError, match="does not open"):
        keys().open("messages/1", sealed[:-1] + bytes([sealed[-1] ^ 1]))
    # The key's name is part of what is bound, too.
    with pytest.raises(MeshError, match="does not open"):
        keys().open("messages/1", header_of(EARLIER) + sealed[len(header_of(KEY)) :])


def test_an_earlier_key_opens_and_a_destroyed_one_does_not() -> None:
    before = keys(key_id=EARLIER).seal_data("cache/1", b"\x00answer")
    assert before is not None and keys().open_data("cache/1", before) == b"\x00answer"
    with pytest.raises(MeshError, match="destroyed"):
        SealingKeys(ORG, {KEY: KEYS[KEY]}, KEY, terms=b"").open_data("cache/1", before)
    with pytest.raises(MeshError, match="destroyed"):
        keys().open("cache/1", b"")


def test_off_seals_nothing_and_still_opens() -> None:
    off = keys(key_id="")
    assert off.seal("a", {"text": "x"}) is None and off.seal_data("a", b"x") is None
    sealed = keys().seal("a", {"text": "x"})
    assert sealed is not None and off.open("a", sealed) == {"text": "x"}


def test_terms_are_the_same_number_in_one_organisation_only() -> None:
    mine, others = keys(), keys(terms=b"o" * 32)
    assert mine.term_id("harbour") == keys(key_id=EARLIER).term_id("harbour") == keys(key_id="").term_id("harbour")
    assert mine.term_id("harbour") != others.term_id("harbour")
    assert all(0 <= mine.term_id(f"w{number}") < 2**63 for number in range(1000))
    plain = asyncio.run(PlainSealer().key_of(ORG))
    assert plain.term_id("harbour") == asyncio.run(PlainSealer().key_of(OTHER)).term_id("harbour")
    assert plain.seal("a", {}) is None


def test_a_data_key_unwraps_with_its_own_master_key_only() -> None:
    now = Wrapper(b"n" * 32, "now", former={"before": b"b" * 32})
    before, foreign = Wrapper(b"b" * 32, "before"), Wrapper(b"f" * 32, "foreign")
    assert now.unwrap(before.wrap(b"key", b"row"), "before", b"row") == b"key"
    with pytest.raises(CannotOpen):
        now.unwrap(foreign.wrap(b"key", b"row"), "foreign", b"row")
    with pytest.raises(CannotOpen):
        now.unwrap(now.wrap(b"key", b"row"), "now", b"another row")
    with pytest.raises(CannotOpen):
        unseal(b"k" * 32, b"short", b"")
    assert seal(b"k" * 32, b"same", b"") != seal(b"k" * 32, b"same", b"")
