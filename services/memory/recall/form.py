"""MemoryService's messages and the values of the domain: one into the other."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
from google.protobuf.json_format import MessageToDict
from google.protobuf.timestamp_pb2 import Timestamp

from dac.memory.v1 import memory_pb2
from services.memory import errors
from services.memory.recall.memory import Filter, HistoryEntry, Memory
from services.memory.recall.rules import Amendment, NewMemory


def moment(message: Any, name: str) -> dt.datetime | None:
    """A field's time; None when it is unset. Raises INVALID_REQUEST."""
    if not message.HasField(name):
        return None
    try:
        found: dt.datetime = getattr(message, name).ToDatetime(tzinfo=dt.UTC)
    except (ValueError, OverflowError):
        raise errors.invalid(name, "is no time between the years 1 and 9999") from None
    return found


def new_memory(one: memory_pb2.NewMemory) -> NewMemory:
    """A memory as it comes in."""
    return NewMemory(
        text=one.text,
        kind=one.kind,
        speaker=one.speaker,
        role=one.role,
        user_id=one.user_id,
        agent_id=one.agent_id,
        thread_id=one.thread_id,
        occurred_at=moment(one, "occurred_at"),
        valid_from=moment(one, "valid_from"),
        valid_to=moment(one, "valid_to"),
        source_ids=tuple(one.source_ids),
        confidence=one.confidence,
        pinned=one.pinned,
        metadata=dict(one.metadata),
        supersedes=tuple(one.supersedes),
    )


def filter_of(one: memory_pb2.MemoryFilter) -> Filter:
    """Which memories."""
    return Filter(
        user_id=one.user_id,
        agent_id=one.agent_id,
        thread_id=one.thread_id,
        kinds=tuple(one.kinds),
        occurred_from=moment(one, "occurred_from"),
        occurred_before=moment(one, "occurred_before"),
        valid_at=moment(one, "valid_at"),
        metadata=dict(one.metadata),
        memory_ids=tuple(one.memory_ids),
    )


def amendment(one: memory_pb2.UpdateMemoryRequest) -> Amendment:
    """What is to be changed."""
    return Amendment(
        text=one.text if one.HasField("text") else None,
        valid_from=moment(one, "valid_from"),
        valid_to=moment(one, "valid_to"),
        superseded_by=one.superseded_by if one.HasField("superseded_by") else None,
        confidence=one.confidence if one.HasField("confidence") else None,
        pinned=one.pinned if one.HasField("pinned") else None,
        metadata=dict(one.metadata) if one.metadata else None,
    )


def memory_message(one: Memory) -> memory_pb2.Memory:
    """A memory as it goes out."""
    return memory_pb2.Memory(
        memory_id=one.memory_id,
        kind=one.kind,  # type: ignore[arg-type]
        text=one.text,
        speaker=one.speaker,
        role=one.role,
        user_id=one.user_id,
        agent_id=one.agent_id,
        thread_id=one.thread_id,
        occurred_at=stamp(one.occurred_at),
        created_at=stamp(one.created_at),
        updated_at=stamp(one.updated_at),
        valid_from=None if one.valid_from is None else stamp(one.valid_from),
        valid_to=None if one.valid_to is None else stamp(one.valid_to),
        superseded_by=one.superseded_by,
        source_ids=one.source_ids,
        confidence=one.confidence,
        pinned=one.pinned,
        metadata=dict(one.metadata),
    )


def stamp(value: dt.datetime) -> Timestamp:
    """A time on the wire."""
    found = Timestamp()
    found.FromDatetime(value)
    return found


def change_message(one: HistoryEntry) -> memory_pb2.MemoryChange:
    """One thing that happened."""
    return memory_pb2.MemoryChange(
        changed_at=stamp(one.changed_at),
        action=one.action,
        memory=None if one.memory is None else memory_message(one.memory),
        key_id=one.key_id,
    )


def json_line(one: Memory) -> str:
    """A memory as a line of an export."""
    values = MessageToDict(memory_message(one), preserving_proto_field_name=True)
    return msgspec.json.encode(values).decode() + "\n"
