"""Memories as rows: what is stored in which column, sealed or not, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from services.memory.conversations.terms import terms_of
from services.memory.recall.memory import Filter, Keeping, Memory, Seen, to_bytes
from services.memory.sealing.sealing import OrgKey


def normalised(text: str) -> str:
    """A text as it is compared with others: the same words are the same text."""
    return " ".join(text.lower().split())


def text_id_of(key: OrgKey, memory: Memory) -> int:
    """The number of a memory's whole text."""
    return key.term_id(f"text\x00{normalised(memory.said)}")


def terms_ids(key: OrgKey, text: str) -> list[int]:
    """The numbers of a text's words, in order, with repeats."""
    numbers: dict[str, int] = {}
    found = terms_of(text)
    for term in found:
        if term not in numbers:
            numbers[term] = key.term_id(term)
    return [numbers[term] for term in found]


def metadata_ids(key: OrgKey, metadata: Mapping[str, str]) -> list[int]:
    """The numbers of metadata's entries."""
    return sorted(key.term_id(f"metadata\x00{name}\x00{value}") for name, value in metadata.items())


def sealable(key: OrgKey, memory: Memory) -> tuple[str, str, str, bytes | None]:
    """speaker, text, metadata and sealed, as they are stored."""
    metadata = msgspec.json.encode(dict(memory.metadata)).decode() if memory.metadata else ""
    fields = {"speaker": memory.speaker, "text": memory.text, "metadata": metadata}
    sealed = key.seal(f"memories/{memory.memory_id}", fields)
    return (memory.speaker, memory.text, metadata, None) if sealed is None else ("", "", "", sealed)


def inserted(
    org_id: str, key: OrgKey, keeping: Keeping, seq: int, previous_id: str, request_id: str, embedder_id: str
) -> tuple[Any, ...]:
    """The values of the statement INSERT."""
    memory = keeping.memory
    speaker, text, metadata, sealed = sealable(key, memory)
    return (
        org_id,
        memory.memory_id,
        seq,
        memory.kind,
        memory.user_id,
        memory.agent_id,
        memory.thread_id,
        memory.role,
        speaker,
        text,
        metadata,
        sealed,
        text_id_of(key, memory),
        terms_ids(key, memory.said),
        metadata_ids(key, memory.metadata),
        previous_id or None,
        request_id,
        keeping.ordinal,
        memory.occurred_at,
        memory.created_at,
        memory.updated_at,
        memory.valid_from,
        memory.valid_to,
        memory.superseded_by or None,
        list(memory.source_ids),
        memory.confidence,
        memory.pinned,
        "" if keeping.vector is None else embedder_id,
        to_bytes(keeping.vector),
    )


def memory_of(key: OrgKey, row: Any) -> Memory:
    """A row that the statement READ gives, opened."""
    memory_id = str(row["memory_id"])
    speaker, text, metadata = row["speaker"], row["text"], row["metadata"]
    if row["sealed"] is not None:
        fields = key.open(f"memories/{memory_id}", row["sealed"])
        speaker, text, metadata = fields["speaker"], fields["text"], fields["metadata"]
    return Memory(
        memory_id=memory_id,
        kind=row["kind"],
        text=text,
        occurred_at=row["occurred_at"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        user_id=row["user_id"],
        agent_id=row["agent_id"],
        thread_id=row["thread_id"],
        speaker=speaker,
        role=row["role"],
        valid_from=row["valid_from"],
        valid_to=row["valid_to"],
        superseded_by=str(row["superseded_by"] or ""),
        source_ids=tuple(row["source_ids"]),
        confidence=row["confidence"],
        pinned=row["pinned"],
        metadata=msgspec.json.decode(metadata, type=dict[str, str]) if metadata else {},
    )


def snapshot_of(key: OrgKey, memory: Memory) -> tuple[str, bytes | None]:
    """snapshot and sealed of a row of history."""
    text = msgspec.json.encode(memory).decode()
    sealed = key.seal(f"memory_history/{memory.memory_id}", {"snapshot": text})
    return (text, None) if sealed is None else ("", sealed)


def remembered_in(key: OrgKey, memory_id: str, snapshot: str, sealed: bytes | None) -> Memory | None:
    """The memory of a row of history; None once its texts are gone."""
    if sealed is not None:
        snapshot = key.open(f"memory_history/{memory_id}", sealed)["snapshot"]
    return msgspec.json.decode(snapshot, type=Memory) if snapshot else None


def filter_values(key: OrgKey, seen: Seen, wanted: Filter) -> tuple[Any, ...]:
    """What the database's function memories_that_fit is given."""
    return (
        seen.org_id,
        seen.everyone,
        seen.user_id,
        wanted.user_id,
        wanted.agent_id,
        wanted.thread_id,
        list(wanted.kinds),
        wanted.occurred_from,
        wanted.occurred_before,
        wanted.valid_at,
        metadata_ids(key, wanted.metadata),
        list(wanted.memory_ids),
    )
