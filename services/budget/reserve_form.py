"""What comes again with every reserve of a caller, made once: its path; and times in messages."""

from __future__ import annotations

import datetime as dt
import functools
from typing import NamedTuple

from google.protobuf import timestamp_pb2

from dac.type.v1 import principal_pb2, record_pb2
from mesh.ids import is_uuid
from services.budget import errors
from services.budget.ledger.rows import Level

MAX_LEVELS = 32


class Caller(NamedTuple):
    """Who reserves."""

    levels: tuple[Level, ...]
    path: bytes
    """The same in a record's form, to be put behind a serialised one."""


@functools.lru_cache(maxsize=4096)
def caller_of(principal: bytes) -> Caller:
    """A serialised principal's place. Raises INVALID_REQUEST."""
    read = principal_pb2.Principal.FromString(principal)
    if not is_uuid(read.org_id):
        raise errors.invalid("org_id", "the principal has no organisation; reserve with an organisation's key")
    if len(read.path) > MAX_LEVELS or not all(is_uuid(level.id) for level in read.path):
        raise errors.invalid(
            "path", f"at most {MAX_LEVELS} levels with UUIDs; the principal must come from the gateway"
        )
    levels = tuple(Level(read.org_id, int(level.kind), level.id) for level in read.path)
    return Caller(levels, record_pb2.RequestRecord(path=read.path).SerializeToString())


def set_time(timestamp: timestamp_pb2.Timestamp, at: dt.datetime) -> None:
    """What FromDatetime does, in a fifth of the time."""
    timestamp.seconds, timestamp.nanos = int(at.timestamp()), at.microsecond * 1000
