"""What a memory may be: as it comes in, and as it is amended."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from mesh.ids import is_uuid
from services.memory import errors
from services.memory.contexts.recalled_text import without_recalled
from services.memory.recall.memory import FACT, KINDS, NOTE, TURN, Memory, Seen

MAX_ID_CHARS = 128
MAX_METADATA_CHARS = 8192
MAX_SOURCES = 1000


@dataclass(frozen=True, slots=True)
class NewMemory:
    """A memory as it comes in."""

    text: str
    kind: int = NOTE
    speaker: str = ""
    role: str = ""
    user_id: str = ""
    agent_id: str = ""
    thread_id: str = ""
    occurred_at: dt.datetime | None = None
    valid_from: dt.datetime | None = None
    valid_to: dt.datetime | None = None
    source_ids: tuple[str, ...] = ()
    confidence: float = 0.0
    pinned: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)
    supersedes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Amendment:
    """What is to be changed; None = stays."""

    text: str | None = None
    valid_from: dt.datetime | None = None
    valid_to: dt.datetime | None = None
    superseded_by: str | None = None
    confidence: float | None = None
    pinned: bool | None = None
    metadata: Mapping[str, str] | None = None


def made(seen: Seen, one: NewMemory, at: int, memory_id: str, now: dt.datetime, max_text_bytes: int) -> Memory:
    """The memory that comes in at place `at`. Raises INVALID_REQUEST, TOO_LARGE or PERMISSION_DENIED."""
    where = f"memories[{at}]"
    kind = one.kind or NOTE
    if kind not in KINDS:
        raise errors.invalid(f"{where}.kind", f"{kind} is no kind of memory")
    if not one.text.strip():
        raise errors.invalid(f"{where}.text", "is empty")
    size_bytes = len(one.text.encode())
    if size_bytes > max_text_bytes:
        raise errors.message_too_large(size_bytes, max_text_bytes)
    if one.user_id not in ("", seen.user_id) and not seen.everyone:
        raise errors.not_yours(one.user_id)
    if not 0 <= one.confidence <= 1 or math.isnan(one.confidence):
        raise errors.invalid(f"{where}.confidence", f"must be from 0 to 1, not {one.confidence}")
    if kind != FACT and (one.valid_from or one.valid_to or one.supersedes or one.confidence):
        raise errors.invalid(f"{where}.kind", "only facts have valid_from, valid_to, confidence or supersedes")
    _check_span(one.valid_from, one.valid_to, where)
    for name, value in (
        ("speaker", one.speaker),
        ("role", one.role),
        ("user_id", one.user_id),
        ("agent_id", one.agent_id),
        ("thread_id", one.thread_id),
        *(("source_ids", source) for source in one.source_ids[:MAX_SOURCES]),
    ):
        check_id(f"{where}.{name}", value)
    if not all(map(is_uuid, one.supersedes)):
        raise errors.invalid(f"{where}.supersedes", "must be ids of memories")
    _check_metadata(where, one.metadata)
    return Memory(
        memory_id=memory_id,
        kind=kind,
        text=_storable(without_recalled(one.text)),
        occurred_at=one.occurred_at or now,
        created_at=now,
        updated_at=now,
        user_id=one.user_id or seen.user_id,
        agent_id=one.agent_id,
        thread_id=one.thread_id,
        speaker=one.speaker,
        role=one.role,
        valid_from=one.valid_from,
        valid_to=one.valid_to,
        source_ids=one.source_ids[:MAX_SOURCES],
        confidence=one.confidence,
        pinned=one.pinned,
        metadata=dict(one.metadata),
    )


def amended(memory: Memory, amendment: Amendment, now: dt.datetime, max_text_bytes: int) -> Memory:
    """The memory as it is then. Raises INVALID_REQUEST or TOO_LARGE."""
    changes: dict[str, object] = {
        name: value
        for name in ("valid_from", "valid_to", "superseded_by", "confidence", "pinned", "metadata")
        if (value := getattr(amendment, name)) is not None
    }
    if amendment.text is not None and amendment.text != memory.text:
        if memory.kind == TURN:
            raise errors.invalid("text", "is what was said: turns keep theirs; delete it, or keep a note")
        text = _storable(without_recalled(amendment.text))
        if not text.strip():
            raise errors.invalid("text", "is empty")
        if len(text.encode()) > max_text_bytes:
            raise errors.message_too_large(len(text.encode()), max_text_bytes)
        changes["text"] = text
    if memory.kind != FACT and changes.keys() & {"valid_from", "valid_to", "superseded_by", "confidence"}:
        raise errors.invalid("kind", "only facts have valid_from, valid_to, superseded_by or confidence")
    if amendment.superseded_by and not is_uuid(amendment.superseded_by):
        raise errors.invalid("superseded_by", "must be the id of a memory")
    if amendment.confidence is not None and not 0 <= amendment.confidence <= 1:
        raise errors.invalid("confidence", f"must be from 0 to 1, not {amendment.confidence}")
    if amendment.metadata is not None:
        _check_metadata("memory", amendment.metadata)
    changed = dataclasses.replace(memory, updated_at=now, **changes)  # type: ignore[arg-type]
    _check_span(changed.valid_from, changed.valid_to, "memory")
    return changed


def _storable(text: str) -> str:
    """PostgreSQL's text holds every character but NUL."""
    return text.replace("\x00", "\ufffd")


def check_id(name: str, value: str) -> None:
    """Raises INVALID_REQUEST for an id or a name that is too long or not printable."""
    if len(value) > MAX_ID_CHARS or not value.isprintable():
        raise errors.invalid(name, f"must be at most {MAX_ID_CHARS} printable characters")


def _check_span(since: dt.datetime | None, until: dt.datetime | None, where: str) -> None:
    if since is not None and until is not None and until < since:
        raise errors.invalid(f"{where}.valid_to", f"{until.isoformat()} is before valid_from, {since.isoformat()}")


def _check_metadata(where: str, metadata: Mapping[str, str]) -> None:
    chars = sum(len(name) + len(value) for name, value in metadata.items())
    if chars > MAX_METADATA_CHARS or any("\x00" in one for pair in metadata.items() for one in pair):
        raise errors.invalid(f"{where}.metadata", f"must be at most {MAX_METADATA_CHARS} characters, none of them NUL")
