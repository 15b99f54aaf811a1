"""Examples as one sparse matrix: the same features, from the same function, as when a prompt is routed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from services.router.prompt.prompt import BUCKETS, features
from services.router.prompt.structure import NAMES

if TYPE_CHECKING:
    import scipy.sparse

WIDTH = BUCKETS + len(NAMES)


def matrix(texts: Sequence[str]) -> scipy.sparse.csr_matrix:
    """One row per text: `BUCKETS` columns of n-grams of length 1 together, then the columns of structure."""
    import scipy.sparse

    columns, values, ends = [], [], [0]
    structured = np.arange(BUCKETS, WIDTH, dtype=np.int64)
    for text in texts:
        ids, row = features(text)
        columns += [ids.astype(np.int64), structured]
        values += [np.full(len(ids), 1.0 / math.sqrt(max(1, len(ids))), np.float32), row]
        ends.append(ends[-1] + len(ids) + len(row))
    stacked: npt.NDArray[np.float32] = np.concatenate(values) if values else np.empty(0, np.float32)
    places = np.concatenate(columns) if columns else np.empty(0, np.int64)
    made = scipy.sparse.csr_matrix((stacked, places, np.array(ends)), shape=(len(texts), WIDTH))
    # Folding the buckets makes two n-grams meet: at run time both are added, so here too.
    made.sum_duplicates()
    return made
