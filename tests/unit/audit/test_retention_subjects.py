"""Subjects of erasure and hold, and how long lists of entries are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dac.type.v1.principal_pb2 import Level
from dac.type.v1.record_pb2 import AdminRecord, RequestRecord
from mesh.ids import uuid7
from mesh.tlog.redactions import spans_of, write_spans
from services.audit.retention.keeper import Placed, in_pieces
from services.audit.retention.subjects import Subject


def test_a_subject_knows_its_records() -> None:
    user, key, other = uuid7(), uuid7(), uuid7()
    record = RequestRecord(request_id=other)
    record.path.add(kind=Level.KIND_USER, id=user)
    record.path.add(kind=Level.KIND_KEY, id=key)
    concerned = [f"user:{user}", f"key:{key}", f"request:{other}"]
    assert all(Subject.parse(text).concerns_request(record) for text in concerned)
    assert not any(Subject.parse(f"{kind}:{user}").concerns_request(record) for kind in ("key", "request"))
    change = AdminRecord(actor=f"key:{key}", target=f"user:{user}")
    assert Subject("key", key).concerns_change(change) and Subject("user", user).concerns_change(change)
    assert not Subject("user", key).concerns_change(change)
    assert (Subject("user", user).person, Subject("request", other).person) == (user, None)


@pytest.mark.parametrize("text", ["", "user", "user:", "user:x", "team:01a1fccd-d1e7-7000-8000-000000000000"])
def test_what_is_no_subject_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Subject.parse(text)


@given(st.sets(st.integers(1, 10**7), max_size=300), st.integers(20, 200))
def test_lists_are_cut_where_they_become_long(numbers: set[int], most: int) -> None:
    placed = [Placed(number, number, 1, "") for number in sorted(numbers)]
    pieces = in_pieces(placed, most)
    assert [one for piece in pieces for one in piece] == placed
    assert all(len(write_spans(spans_of(one.org_seq for one in piece))) <= most for piece in pieces)
    assert len(pieces) == 1 or all(pieces)
