"""The words that are no slips of the pen: whole words of the embedder's vocabulary."""

from __future__ import annotations

import gzip
from functools import lru_cache

from services.memory.embedding.wordpiece import VOCABULARY


@lru_cache(maxsize=1)
def known_words() -> frozenset[str]:
    """Read once; about 20,000 words."""
    lines = gzip.decompress(VOCABULARY.read_bytes()).decode().split("\n")
    return frozenset(line for line in lines if line.isalpha() and len(line) > 1)
