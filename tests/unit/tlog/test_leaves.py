"""Leaves are canonical JSON as RFC 8785 has it, written one way only, and say nothing of the record's content."""

import hashlib

import msgspec
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from dac.type.v1 import record_pb2
from dac.type.v1.principal_pb2 import Level
from mesh.ids import uuid7
from mesh.tlog.leaves import HEADER, Leaf, commit, read_leaf, write_leaf
from services.audit.log.events import NEVER, Stored, leaf_of

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(st.lists(TEXT, min_size=12, max_size=12))
def test_a_leaf_is_canonical_json(texts: list[str]) -> None:
    leaf = Leaf(*texts)
    data = write_leaf(leaf)
    assert data == HEADER + rfc8785.dumps(msgspec.structs.asdict(leaf))
    assert read_leaf(data) == leaf


@pytest.mark.parametrize(
    "change", [(b"{", b"{ "), (b"dac-audit/v1", b"dac-audit/v2"), (b'"x"', b'"\\u0078"'), (b"}", b',"more":"y"}')]
)
def test_no_other_way_of_writing_it_is_read(change: tuple[bytes, bytes]) -> None:
    data = write_leaf(Leaf(*["x"] * 12))
    with pytest.raises(ValueError):
        read_leaf(data.replace(*change, 1))


def test_a_commitment_is_the_salted_hash() -> None:
    assert commit(b"s" * 32, b"record") == hashlib.sha256(b"c/v1" + b"s" * 32 + b"record").hexdigest()


def test_a_leaf_says_who_what_when_and_no_content() -> None:
    key_id, org_id, request_id = uuid7(), uuid7(), uuid7()
    record = record_pb2.RequestRecord(
        request_id=request_id,
        org_id=org_id,
        asked_model="auto",
        outcome=record_pb2.OUTCOME_OK,
        cost_nano_usd=2**60,
        message="secret words",
        tags={"note": "secret words"},
        trace_id="t" * 32,
        client_request_id="secret words",
    )
    record.path.add(kind=Level.KIND_ORG, id=org_id)
    record.path.add(kind=Level.KIND_KEY, id=key_id)
    record.attempts.add(model="openai/gpt-4o-mini", message="secret words")
    record.started_at.FromJsonString("2026-11-22T03:04:05.678901999Z")
    raw = record.SerializeToString()
    leaf = leaf_of(Stored(1, 5, org_id, request_id, raw), 17, b"s" * 32)
    assert leaf == Leaf(
        action="chat",
        actor=f"key:{key_id}",
        commitment=commit(b"s" * 32, raw),
        cost_nano_usd=str(2**60),
        decision="ok",
        id=request_id,
        kind="request",
        org_id=org_id,
        org_seq="17",
        target="model:openai/gpt-4o-mini",
        time="2026-11-22T03:04:05.678901Z",
        trace_id="t" * 32,
    )
    assert b"secret" not in write_leaf(leaf)


def test_no_record_stops_the_log() -> None:
    odd = record_pb2.RequestRecord(outcome=70, operation="x" * 1000)  # type: ignore[arg-type]
    odd.started_at.seconds = 2**62
    leaf = leaf_of(Stored(1, 1, uuid7(), uuid7(), odd.SerializeToString()), 1, b"")
    assert (leaf.time, leaf.decision, leaf.actor) == (NEVER, "unknown", "")
    assert len(write_leaf(leaf)) < 8192
    for kind in (1, 2):
        assert leaf_of(Stored(kind, 1, uuid7(), uuid7(), b"\xff\xff"), 1, b"").commitment == commit(b"", b"\xff\xff")
