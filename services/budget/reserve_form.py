"""What comes again with every reserve of a caller, made once: its path; and times in messages."""

from __future__ import annotations

import datetime as dt
import functools

from google.protobuf import timestamp_pb2

from mesh.ids import is_uuid
from services.budget import errors
from services.budget.rows import Level

MAX_LEVELS = 32


@functools.lru_cache(maxsize=8192)
def levels_of(org_id: str, path: tuple[tuple[int, str], ...]) -> tuple[Level, ...]:
    """A caller's path, given as kinds and ids. Raises INVALID_REQUEST."""
    if len(path) > MAX_LEVELS or not all(is_uuid(level_id) for _, level_id in path):
        raise errors.invalid(
            "path", f"at most {MAX_LEVELS} levels with UUIDs; the principal must come from the gateway"
        )
    return tuple(Level(org_id, kind, level_id) for kind, level_id in path)


def set_time(timestamp: timestamp_pb2.Timestamp, at: dt.datetime) -> None:
    """What FromDatetime does, in a fifth of the time."""
    timestamp.seconds, timestamp.nanos = int(at.timestamp()), at.microsecond * 1000
