"""What a memory is: its values, what may be asked of memories, and whose they are."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

TURN, FACT, NOTE = 1, 2, 3
"""The kinds of memories, as the contract numbers them."""
KINDS = (TURN, FACT, NOTE)
Vector = NDArray[np.float32]
VECTOR_ITEM_BYTES = 2
"""Of a number of a vector as it is stored."""


@dataclass(frozen=True, slots=True)
class Memory:
    """One memory."""

    memory_id: str
    kind: int
    text: str
    occurred_at: dt.datetime
    created_at: dt.datetime
    updated_at: dt.datetime
    user_id: str = ""
    agent_id: str = ""
    thread_id: str = ""
    speaker: str = ""
    role: str = ""
    valid_from: dt.datetime | None = None
    valid_to: dt.datetime | None = None
    superseded_by: str = ""
    source_ids: tuple[str, ...] = ()
    confidence: float = 0.0
    pinned: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def said(self) -> str:
        """What is searched: who said it, and what."""
        return f"{self.speaker}: {self.text}" if self.speaker else self.text


@dataclass(frozen=True, slots=True)
class Keeping:
    """A memory to insert, with what finds it again."""

    memory: Memory
    ordinal: int = 0
    vector: Vector | None = None
    previous_id: str = ""
    """The turn before it in its thread; empty = the store looks for it."""
    supersedes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of one."""

    memory_id: str
    stored: bool
    why: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """Whose memories a call may touch: a filter on columns."""

    org_id: str
    user_id: str = ""
    everyone: bool = False
    """An administrator's: of every user of the organisation."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which memories; every field that is set narrows."""

    user_id: str = ""
    agent_id: str = ""
    thread_id: str = ""
    kinds: tuple[int, ...] = ()
    occurred_from: dt.datetime | None = None
    occurred_before: dt.datetime | None = None
    valid_at: dt.datetime | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    memory_ids: tuple[str, ...] = ()

    @property
    def narrows(self) -> bool:
        """Whether anything is set."""
        return bool(
            self.user_id
            or self.agent_id
            or self.thread_id
            or self.kinds
            or self.occurred_from
            or self.occurred_before
            or self.valid_at
            or self.metadata
            or self.memory_ids
        )


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One thing that happened to a memory."""

    changed_at: dt.datetime
    action: str
    memory: Memory | None
    key_id: str


def to_bytes(vector: Vector | None) -> bytes | None:
    """A vector as it is stored: half precision, little endian."""
    return None if vector is None else vector.astype("<f2").tobytes()
