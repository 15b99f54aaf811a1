"""What fell out of a window, in short: the sentences that are nearest to all the others. Pure; no model writes it."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mesh.tokens import estimate_tokens
from services.memory.contexts.recalled_text import without_recalled
from services.memory.conversations.window import Message

MAX_SENTENCES = 120
"""Only the last so many are compared."""
MIN_CHARS, MAX_CHARS = 20, 300
_END = re.compile(r"(?<=[.!?。！？])\s+|\n+")


def sentences_of(messages: Sequence[Message]) -> list[str]:
    """What users and assistants said, sentence by sentence, each with who said it."""
    found: list[str] = []
    for message in messages:
        if message.role in ("user", "assistant"):
            for sentence in _END.split(without_recalled(message.text)):
                plain = " ".join(sentence.split())
                if len(plain) >= MIN_CHARS:
                    found.append(f"{message.role}: {plain[:MAX_CHARS]}")
    return list(dict.fromkeys(found))[-MAX_SENTENCES:]


def central(sentences: Sequence[str], vectors: NDArray[np.float32], max_tokens: int) -> str:
    """The most central sentences that fit, in the order in which they were said."""
    if not len(sentences):
        return ""
    centrality = vectors @ vectors.mean(axis=0)
    chosen: list[int] = []
    tokens = 0
    for at in sorted(range(len(sentences)), key=lambda one: (-round(float(centrality[one]), 5), one)):
        cost = estimate_tokens(len(sentences[at].encode()) + 1)
        if tokens + cost > max_tokens:
            continue
        tokens += cost
        chosen.append(at)
    return "\n".join(sentences[at] for at in sorted(chosen))
