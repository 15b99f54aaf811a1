"""Vectors without a model: signed hashes of words, word pairs and short runs of characters.

Two texts are near when they share words or parts of words. That finds near repeats and spelling variants; it knows
nothing of meaning.
"""

from __future__ import annotations

import asyncio
import re
import unicodedata
import zlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

DIMENSIONS = 384
CHARACTERS_MAX = 4096
"""What a vector is made of at most: the beginning of a text."""
INLINE_CHARACTERS = 4096
"""More than this goes to a thread, so that the event loop stays free."""
WORD = re.compile(r"\w+", re.UNICODE)
_PRIME = np.uint64(0x100000001B3)
_MIX = np.uint64(0x9E3779B97F4A7C15)


class HashedEmbedder:
    """See `services.memory.embedding.embedder.Embedder`."""

    embedder_id = "hashed-ngrams:1"
    dimensions = DIMENSIONS
    semantic = False

    def __init__(self, note: str = "hashed n-grams: searches find words, not meanings") -> None:
        self.note = note

    async def embed(self, texts: Sequence[str], *, background: bool = False) -> NDArray[np.float32]:
        """One row of length 1 for each text; zeros for a text without a letter or digit."""
        if sum(map(len, texts)) > INLINE_CHARACTERS:
            return await asyncio.to_thread(rows_of, texts)
        return rows_of(texts)

    async def close(self) -> None:
        """Nothing to end."""


def rows_of(texts: Sequence[str]) -> NDArray[np.float32]:
    """The vectors of the texts."""
    rows = np.zeros((len(texts), DIMENSIONS), np.float32)
    for row, text in zip(rows, texts, strict=True):
        row[:] = _row(text)
    return rows


def _row(text: str) -> NDArray[np.float32]:
    words = WORD.findall(unicodedata.normalize("NFKC", text[:CHARACTERS_MAX]).lower())
    if not words:
        return np.zeros(DIMENSIONS, np.float32)
    grams = [zlib.crc32(word.encode()) for word in words]
    grams += [zlib.crc32(f"{first} {second}".encode(), 1) for first, second in pairwise(words)]
    codes = np.frombuffer(f" {' '.join(words)} ".encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    hashes = np.concatenate([np.array(grams, np.uint64), *(_runs(codes, length) for length in (3, 4, 5))])
    hashes = hashes * _MIX
    hashes ^= hashes >> np.uint64(32)
    signs = np.where(hashes & np.uint64(1 << 40), 1.0, -1.0)
    row = np.bincount((hashes & np.uint64(0xFFFFFFFF)) % DIMENSIONS, weights=signs, minlength=DIMENSIONS)
    length = float(np.sqrt(row @ row))
    return (row / length if length else row).astype(np.float32)


def _runs(codes: NDArray[np.uint64], length: int) -> NDArray[np.uint64]:
    """A hash of every run of `length` characters."""
    count = max(len(codes) - length + 1, 0)
    found = np.full(count, length, np.uint64)
    for offset in range(length):
        found = found * _PRIME + codes[offset : offset + count]
    return found
