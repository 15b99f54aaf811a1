"""What changed of an organisation's memories, column by column: as the database sends it, and as a mirror takes it.

A hundred thousand memories come as some twenty arrays a page; nothing here is done row by row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

ID_BYTES = 16
NO_ID = bytes(ID_BYTES)
"""Stands for no memory."""
_EPOCH_US = 946_684_800_000_000
"""PostgreSQL counts from the year 2000."""
_NEVER, _EVER = np.iinfo(np.int64).min, np.iinfo(np.int64).max
_HEADER_WORDS, _ITEM_WORDS, _EMPTY_WORDS = 5, 3, 3
"""Of an array of bigint as PostgreSQL sends it."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Memories as a mirror of them needs them: without their texts. Each memory at most once."""

    seqs: NDArray[np.int64]
    ids: list[bytes]
    gone: NDArray[np.bool_]
    """What is to be taken out."""
    kinds: NDArray[np.int8]
    users: list[str]
    agents: list[str]
    threads: list[str]
    text_ids: NDArray[np.int64]
    lengths: NDArray[np.int32]
    terms: NDArray[np.int64]
    """Those of the first, with repeats; then those of the second; …"""
    metadata_lengths: NDArray[np.int32]
    metadata_terms: NDArray[np.int64]
    previous: list[bytes]
    """The turn before each in its thread; NO_ID = none."""
    occurred_s: NDArray[np.float64]
    valid_from_s: NDArray[np.float64]
    valid_to_s: NDArray[np.float64]
    embedded: NDArray[np.bool_]
    vectors: NDArray[np.float16]
    """Of those that are embedded."""
    windowed: NDArray[np.bool_]
    windows: NDArray[np.float16]

    def __len__(self) -> int:
        return len(self.ids)


def changes_of(page: Mapping[str, Any], dimensions: int) -> Changes | None:
    """What a page of the database's changes_of_memories holds; None when it holds nothing."""
    if page["seqs"] is None:
        return None
    seqs = np.frombuffer(page["seqs"], ">i8").astype(np.int64)
    lengths = np.frombuffer(page["term_counts"], ">i4").astype(np.int32)
    metadata_lengths = np.frombuffer(page["metadata_counts"], ">i4").astype(np.int32)
    return Changes(
        seqs=seqs,
        ids=_ids(page["ids"]),
        gone=np.frombuffer(page["gone"], np.bool_),
        kinds=np.frombuffer(page["kinds"], ">i2").astype(np.int8),
        users=page["users"],
        agents=page["agents"],
        threads=page["threads"],
        text_ids=np.frombuffer(page["text_ids"], ">i8").astype(np.int64),
        lengths=lengths,
        terms=_numbers(page["terms"], lengths),
        metadata_lengths=metadata_lengths,
        metadata_terms=_numbers(page["metadata_terms"], metadata_lengths),
        previous=_ids(page["previous"]),
        occurred_s=_seconds(page["occurred"]),
        valid_from_s=_seconds(page["valid_from"]),
        valid_to_s=_seconds(page["valid_to"]),
        embedded=np.frombuffer(page["embedded"], np.bool_),
        vectors=_vectors(page["vectors"], dimensions),
        windowed=np.frombuffer(page["windowed"], np.bool_),
        windows=_vectors(page["window_vectors"], dimensions),
    )


def _ids(data: bytes) -> list[bytes]:
    return [data[at : at + ID_BYTES] for at in range(0, len(data), ID_BYTES)]


def _vectors(data: bytes | None, dimensions: int) -> NDArray[np.float16]:
    return np.frombuffer(data or b"", "<f2").reshape(-1, dimensions) if dimensions else np.zeros((0, 0), np.float16)


def _seconds(data: bytes) -> NDArray[np.float64]:
    moments = np.frombuffer(data, ">i8").astype(np.int64)
    seconds = (moments + _EPOCH_US) / 1e6
    seconds[moments == _NEVER], seconds[moments == _EVER] = -np.inf, np.inf
    return seconds


def _numbers(data: bytes, counts: NDArray[np.int32]) -> NDArray[np.int64]:
    """The numbers of arrays that lie one behind the other: for each item, its place is counted in words of 4 bytes."""
    total = int(counts.sum())
    if not total:
        return np.zeros(0, np.int64)
    words = np.frombuffer(data, ">u4")
    sizes = np.where(counts > 0, _HEADER_WORDS + _ITEM_WORDS * counts, _EMPTY_WORDS)
    begins = np.cumsum(sizes) - sizes + _HEADER_WORDS
    within = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
    places = np.repeat(begins, counts) + _ITEM_WORDS * within
    found: NDArray[np.int64] = (words[places + 1].astype(np.int64) << 32) | words[places + 2].astype(np.int64)
    return found
