"""What a leaf says of a stored record: ids, time, outcome and cost, and no content."""

from __future__ import annotations

import datetime as dt
import functools
from typing import NamedTuple

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from dac.type.v1 import record_pb2
from dac.type.v1.principal_pb2 import Level
from mesh.tlog.leaves import CHANGE, DECISIONS, DONE, KINDS, MAX_FIELD, REQUEST, Leaf, commit

_EPOCH = dt.datetime(1970, 1, 1)
NEVER = "1970-01-01T00:00:00.000000Z"
"""The time of a record with an impossible one."""


class Stored(NamedTuple):
    """A row that waits for its leaf."""

    kind: int
    position: int
    org_id: str
    record_id: str
    record: bytes


@functools.lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    """A second since 1970: records that follow each other are mostly of a few."""
    return (_EPOCH + dt.timedelta(seconds=seconds)).isoformat()


def _time(stamp: Timestamp) -> str:
    try:
        return f"{_second(stamp.seconds)}.{stamp.nanos // 1000:06d}Z" if 0 <= stamp.nanos < 10**9 else NEVER
    except OverflowError:
        return NEVER


def asked_by(record: record_pb2.RequestRecord) -> str:
    """Who asked: the last step of the caller's path that is a key or a user."""
    for level in reversed(record.path):
        if level.kind == Level.KIND_KEY:
            return f"key:{level.id}"
        if level.kind == Level.KIND_USER:
            return f"user:{level.id}"
    return ""


def operation_of(record: record_pb2.RequestRecord) -> str:
    """What was asked for."""
    return record.operation or "chat"


def answered_by(record: record_pb2.RequestRecord) -> str:
    """The model that answered; empty when none was asked."""
    return record.attempts[-1].model if record.attempts else ""


def _of_request(stored: Stored, org_seq: int, salt: bytes) -> Leaf:
    try:
        record = record_pb2.RequestRecord.FromString(stored.record)
    except DecodeError:
        # What nobody can read is committed to all the same: no record stops the log.
        record = record_pb2.RequestRecord()
    model = answered_by(record)
    return Leaf(
        action=operation_of(record)[:MAX_FIELD],
        actor=asked_by(record)[:MAX_FIELD],
        commitment=commit(salt, stored.record),
        cost_nano_usd=str(record.cost_nano_usd),
        decision=DECISIONS[record.outcome if 0 <= record.outcome < len(DECISIONS) else 0],
        id=stored.record_id,
        kind=REQUEST,
        org_id=stored.org_id,
        org_seq=str(org_seq),
        target=f"model:{model}"[:MAX_FIELD] if model else "",
        time=_time(record.started_at),
        trace_id=record.trace_id[:MAX_FIELD],
    )


def _of_change(stored: Stored, org_seq: int, salt: bytes) -> Leaf:
    try:
        record = record_pb2.AdminRecord.FromString(stored.record)
    except DecodeError:
        record = record_pb2.AdminRecord()
    return Leaf(
        action=record.action[:MAX_FIELD],
        actor=record.actor[:MAX_FIELD],
        commitment=commit(salt, stored.record),
        cost_nano_usd="0",
        decision=DONE,
        id=stored.record_id,
        kind=CHANGE,
        org_id=stored.org_id,
        org_seq=str(org_seq),
        target=record.target[:MAX_FIELD],
        time=_time(record.at),
        trace_id="",
    )


def leaf_of(stored: Stored, org_seq: int, salt: bytes) -> Leaf:
    """The leaf of a stored row."""
    return (_of_request if KINDS[stored.kind] == REQUEST else _of_change)(stored, org_seq, salt)
