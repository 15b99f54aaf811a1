"""What a log declares gone against what it lacks."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.tlog import standalone
from mesh.tlog.redactions import Missing, Redactions, declared_by, joined, read_spans, spans_of, write_spans


@given(st.sets(st.integers(1, 400)))
def test_spans_are_read_as_they_were_written(numbers: set[int]) -> None:
    text = write_spans(spans_of(sorted(numbers)))
    spans = read_spans(text)
    assert {number for first, last in spans for number in range(first, last + 1)} == numbers


@pytest.mark.parametrize(
    "text", ["0", "3-1", "2,1", "1,2", "1-3,3", "1-", "-1", "a", "1,,3", "01", "1-1", "+1", "1 ", "١", ",", "1-2-3"]
)
def test_there_is_one_way_to_write_spans(text: str) -> None:
    with pytest.raises(ValueError):
        read_spans(text)


@pytest.mark.parametrize("after", ["", "[]", "{}", '{"entries": 3}', '{"entries": "1-7"}', '{"entries": "9"}'])
def test_a_declaration_speaks_only_of_what_is_before_it(after: str) -> None:
    assert declared_by('{"entries": "1-6"}', 7) == [(1, 6)]
    with pytest.raises(ValueError):
        declared_by(after, 7)


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 9))), st.sets(st.integers(1, 60)))
def test_what_is_missing_and_not_declared_is_found(declared: list[tuple[int, int]], missing: set[int]) -> None:
    redactions = Redactions()
    spans = [(first, first + more) for first, more in declared]
    for number in sorted(missing):
        redactions.miss("here", [number], [number + 1000])
        redactions.declare("elsewhere", [(number, number)])
    redactions.declare("here", spans)
    known = {number for first, last in spans for number in range(first, last + 1)}
    assert list(redactions.undeclared()) == [Missing(one + 1000, "here", one) for one in sorted(missing - known)]
    assert redactions.declared() == len(known) + len(missing)
    assert joined(spans) == spans_of(sorted(known))


def test_the_standalone_verifier_reads_declarations_alike() -> None:
    from dac.type.v1.record_pb2 import AdminRecord

    record = AdminRecord(action="audit.erase", after_json=json.dumps({"entries": "1-3,5"}))
    record.at.GetCurrentTime()
    assert standalone.declared_by(record.SerializeToString(), 6) == {1, 2, 3, 5}
    for entries in ("1-3,6", "0", "x", "4-2"):
        record.after_json = json.dumps({"entries": entries})
        with pytest.raises(standalone.Wrong):
            standalone.declared_by(record.SerializeToString(), 6)
    for odd in (b"\x08", b"\x3a\xff", b"\xff", b""):
        with pytest.raises(standalone.Wrong):
            standalone.declared_by(odd, 6)
