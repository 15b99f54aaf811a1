"""Changes of memories for tests of the index: row by row in, columns out."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.memory.recall.changes import NO_ID, Changes
from services.memory.recall.memory import TURN


@dataclass(frozen=True)
class Row:
    """A memory by its number."""

    number: int
    seq: int
    gone: bool = False
    kind: int = TURN
    user_id: str = "u"
    agent_id: str = ""
    thread_id: str = ""
    terms: Sequence[int] = ()
    metadata_terms: Sequence[int] = ()
    previous: int | None = None
    valid_from_s: float = -np.inf
    valid_to_s: float = np.inf
    vector: NDArray[np.float32] | None = None
    window: NDArray[np.float32] | None = None
    text: int | None = None
    """Which text it has, when it is not that of its number."""


def id_of(number: int) -> str:
    return str(uuid.UUID(int=number + 1))


def number_of(memory_id: str) -> int:
    return uuid.UUID(memory_id).int - 1


def columns(rows: Sequence[Row], dimensions: int = 0) -> Changes:
    """As a page of the database."""

    def flat(lists: list[Sequence[int]]) -> NDArray[np.int64]:
        return np.array([one for each in lists for one in each], np.int64)

    def stacked(vectors: list[NDArray[np.float32] | None]) -> NDArray[np.float16]:
        there = [one.astype(np.float16) for one in vectors if one is not None]
        return np.array(there, np.float16).reshape(len(there), dimensions)

    return Changes(
        seqs=np.array([row.seq for row in rows], np.int64),
        ids=[uuid.UUID(id_of(row.number)).bytes for row in rows],
        gone=np.array([row.gone for row in rows], np.bool_),
        kinds=np.array([row.kind for row in rows], np.int8),
        users=[row.user_id for row in rows],
        agents=[row.agent_id for row in rows],
        threads=[row.thread_id for row in rows],
        text_ids=np.array([row.number if row.text is None else row.text for row in rows], np.int64),
        lengths=np.array([len(row.terms) for row in rows], np.int32),
        terms=flat([row.terms for row in rows]),
        metadata_lengths=np.array([len(row.metadata_terms) for row in rows], np.int32),
        metadata_terms=flat([row.metadata_terms for row in rows]),
        previous=[NO_ID if row.previous is None else uuid.UUID(id_of(row.previous)).bytes for row in rows],
        occurred_s=np.zeros(len(rows)),
        valid_from_s=np.array([row.valid_from_s for row in rows], np.float64),
        valid_to_s=np.array([row.valid_to_s for row in rows], np.float64),
        embedded=np.array([row.vector is not None for row in rows], np.bool_),
        vectors=stacked([row.vector for row in rows]),
        windowed=np.array([row.window is not None for row in rows], np.bool_),
        windows=stacked([row.window for row in rows]),
    )
