"""Percentiles that can be added up: DDSketch's bins, in a form whose concatenation is their sum.

A value falls into the bin of its logarithm, so a percentile read from the bins is within 1 % of the exact one. Bins are
counts, and counts do not mind in which order, batches or processes they are added: counting anew gives the same bytes.
The library's own serialised form holds every bin between the lowest and the highest as a float (3 kB); here only those
in use are written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
from ddsketch.mapping import LogarithmicMapping

ACCURACY = 0.01
"""How far a percentile may be from the exact one, as a share of it."""
LEAST_MS, MOST_MS = 0.001, 1e9
"""What is shorter or longer counts as this."""
BIN = np.dtype([("key", "<i2"), ("count", "<u2")])
MOST_COUNT = 2**16 - 1
"""Of one entry; a bin with more has several."""

_mapping = LogarithmicMapping(ACCURACY)


def key_of(value_ms: float) -> int:
    """The bin of a duration."""
    key: int = _mapping.key(min(max(value_ms, LEAST_MS), MOST_MS))
    return key


def added(stored: bytes, keys: Iterable[int]) -> bytes:
    """Bins with more values, in order."""
    counts = Counter(keys)
    if stored:
        for key, count in np.frombuffer(stored, BIN).tolist():
            counts[key] += count
    entries: list[tuple[int, int]] = []
    for key in sorted(counts):
        whole, rest = divmod(counts[key], MOST_COUNT)
        entries += [(key, MOST_COUNT)] * whole
        if rest:
            entries.append((key, rest))
    return np.array(entries, BIN).tobytes()


def percentiles(bins: bytes, shares: Iterable[float]) -> tuple[int, list[float]]:
    """How many values the bins hold, and the value that each share is not above; `bins` may be several in a row."""
    found = np.frombuffer(bins, BIN)
    if not found.size:
        return 0, [0.0 for _ in shares]
    lowest = int(found["key"].min())
    counts = np.bincount(found["key"].astype(np.int64) - lowest, weights=found["count"]).cumsum()
    total = int(counts[-1])
    # The rank as the library's own sketches have it: `test_sketch.py` holds the two together.
    ranks = counts.searchsorted([share * (total - 1) for share in shares], side="right")
    return total, [float(_mapping.value(int(rank) + lowest)) for rank in ranks]
