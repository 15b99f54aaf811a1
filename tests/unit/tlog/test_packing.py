"""Packed entries come back to the byte, whatever their leaves say; damage is an error and never another leaf."""

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.ids import uuid7
from mesh.tlog.leaves import Leaf, write_leaf
from mesh.tlog.packing import PackedEntry, pack, unpack

ORG = uuid7()
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def entry(number: int, org_id: str = ORG, **fields: str) -> PackedEntry:
    """An entry with the usual leaf, but for some fields."""
    usual = Leaf(
        action="chat",
        actor=f"key:{uuid7()}",
        commitment=secrets.token_hex(32),
        cost_nano_usd="123456",
        decision="ok",
        id=uuid7(),
        kind="request",
        org_id=org_id,
        org_seq=str(number),
        target="model:openai/gpt-4o-mini",
        time=f"2026-11-22T03:{number // 60 % 60:02d}:{number % 60:02d}.678901Z",
        trace_id=secrets.token_hex(16),
    )
    leaf = Leaf(**{**{name: getattr(usual, name) for name in usual.__struct_fields__}, **fields})
    return PackedEntry(number * 3, number, 1, usual.id, number * 5 - 2, write_leaf(leaf))


def test_an_entry_takes_a_fifth_of_its_place() -> None:
    entries = [entry(number) for number in range(1, 257)]
    packed = pack(ORG, entries)
    assert unpack(packed) == entries
    assert len(packed) / 256 < 100 < sum(len(one.leaf) for one in entries) / 256 / 4


@given(st.lists(st.dictionaries(st.sampled_from(Leaf.__struct_fields__), TEXT, max_size=3), max_size=5))
def test_leaves_with_any_texts_come_back(changes: list[dict[str, str]]) -> None:
    entries = [entry(number, **fields) for number, fields in enumerate(changes, 7)]
    assert unpack(pack(ORG, entries)) == entries


@pytest.mark.parametrize(
    "fields",
    [
        {"time": "1970-01-01T00:00:00.000000Z"},
        {"time": "9999-12-31T23:59:59.999999Z"},
        {"time": "2026-11-22T03:04:05Z"},
        {"cost_nano_usd": str(-(2**63))},
        {"cost_nano_usd": "007"},
        {"commitment": "AB" * 32},
        {"trace_id": "AB" * 16},
        {"trace_id": ""},
        {"org_id": "another"},
        {"kind": "change"},
    ],
)
def test_what_does_not_fit_the_columns_is_kept_as_it_is(fields: dict[str, str]) -> None:
    entries = [entry(1), entry(2, **fields), entry(3)]
    assert unpack(pack(ORG, entries)) == entries


def test_bytes_that_are_no_leaf_come_back() -> None:
    entries = [entry(1), entry(2)._replace(leaf=b"\x00\xff no leaf"), entry(3)._replace(leaf=b"")]
    assert unpack(pack(ORG, entries)) == entries


def test_damage_is_an_error_or_another_leaf() -> None:
    entries = [entry(number) for number in range(1, 6)]
    packed, unseen = pack(ORG, entries), []
    for at in range(len(packed)):
        try:
            if unpack(packed[:at] + bytes([packed[at] ^ 4]) + packed[at + 1 :]) == entries:
                unseen.append(at)
        except ValueError:
            pass
    # Behind the deflated columns every bit is part of an entry. Within them a few say nothing, or the same otherwise.
    assert all(at < len(packed) - len(entries) * (32 + 16 + 16) for at in unseen) and len(unseen) < 10
    for cut in (b"", packed[:5], packed[:40], b"\x02" + packed[1:]):
        with pytest.raises(ValueError):
            unpack(cut)
