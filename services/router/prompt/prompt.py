"""What a prompt wants, in one pass of one small linear model: intent, the web, complexity, and beside them language.

The features are the hashed n-grams of `ngrams.py` and the row of `structure.py`; the weights are shipped
(`weights/intent.npz`, made by `python -m bench.intent.train`, described in `weights/README.md`). Nothing of a prompt is
kept: it comes in as text and goes out as figures.
"""

from __future__ import annotations

import functools
import math
import pathlib
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from services.router.prompt.language import language
from services.router.prompt.ngrams import MOST_IDS, Places, Sought, capped
from services.router.prompt.pieces import PIECES
from services.router.prompt.quality_features import PHRASES
from services.router.prompt.reading import Reading, reading
from services.router.prompt.structure import NAMES, Row, structure

INTENTS = ("coding_help", "reasoning_math", "editing_writing", "qa_retrieval", "social_chat")
"""The intents, in the order of the weights' columns."""
COLUMNS = (*INTENTS, "needs_web", "complexity", "spare")
"""The columns of the weights; a power of two, so that a row of them is read at once."""
BUCKETS = 1 << 16
"""How many of the n-grams' buckets the weights tell apart."""
LONG_CONTEXT_TOKENS = 24_000
"""From here on a conversation is one for models of a long context."""
LONG_TURNS = 40
COMPLEX_FROM = 0.5
WEB_FROM = 0.5
_ONES = np.ones(MOST_IDS, np.float32)
_LOW = BUCKETS - 1
_SOUGHT = Sought((*PIECES, *(phrase.lower() for phrase in PHRASES)))
WEIGHTS = pathlib.Path(__file__).parent / "weights" / "intent.npz"


class Understanding(msgspec.Struct, frozen=True):
    """What is known of one prompt."""

    intent: str
    """The likeliest of `INTENTS`."""
    intent_confidence: float
    """Its probability, 0 to 1."""
    probabilities: tuple[float, ...]
    """The probability of each intent, in the order of `INTENTS`; their sum is 1."""
    needs_web: bool
    """Whether the answer is news: weather, prices, results, what is so today."""
    web_probability: float
    complexity: float
    """0 (a greeting) to 1 (a proof, the design of a system)."""
    complex: bool
    """Whether `complexity` is at least `COMPLEX_FROM`."""
    language: str
    """ISO 639-1, or `und`."""
    words: int
    """Words of the prompt; of a very long one, of its beginning in proportion to its length."""
    long_context: bool
    needs_tools: bool
    needs_images: bool
    needs_json: bool
    turns: int


@dataclass(frozen=True, slots=True)
class Weights:
    """What was learned: one row of `COLUMNS` for each feature."""

    grams: npt.NDArray[np.int8]
    """Of each bucket, in steps: a table four times as small as in floats stays nearer to the processor."""
    steps: npt.NDArray[np.float32]
    """Of each column."""
    rows: npt.NDArray[np.float32]
    """Of each feature of `structure.NAMES`."""
    bias: npt.NDArray[np.float32]


def read(path: pathlib.Path) -> Weights:
    """Reads weights and refuses those that were trained on other features."""
    with np.load(path, allow_pickle=False) as stored:
        weights = Weights(
            grams=np.ascontiguousarray(stored["grams"]),
            steps=stored["steps"].astype(np.float32),
            rows=stored["rows"].astype(np.float32),
            bias=stored["bias"].astype(np.float32),
        )
        names = tuple(str(name) for name in stored["names"])
    if names != NAMES or weights.grams.shape != (BUCKETS, len(COLUMNS)):
        raise ValueError(f"{path.name} was trained on other features: run python -m bench.intent.train --data DIR")
    return weights


@functools.cache
def shipped() -> Weights:
    """The weights in `weights/`, read once."""
    return read(WEIGHTS)


def features(text: str) -> tuple[Places, Row]:
    """The n-gram buckets and the row of structure of a text: what training and `understand` both read."""
    said = read_once(text)
    return said.ids & _LOW, structure(said)


def read_once(text: str) -> Reading:
    """A prompt read for `understand` and for the quality predictor."""
    return reading(capped(text), _SOUGHT)


def scores(weights: Weights, ids: Places, row: Row) -> npt.NDArray[np.float32]:
    """One number per column: logits, not probabilities."""
    each: npt.NDArray[np.float32] = _ONES[: len(ids)] @ weights.grams.take(ids, axis=0).astype(np.float32)
    each *= weights.steps
    each /= math.sqrt(max(1, len(ids)))
    each += row @ weights.rows
    each += weights.bias
    return each


def understand(
    text: str,
    *,
    needs_tools: bool = False,
    needs_images: bool = False,
    needs_json: bool = False,
    turns: int = 1,
    input_tokens: int = 0,
    weights: Weights | None = None,
    said: Reading | None = None,
) -> Understanding:
    """What the last prompt of a conversation wants. Never raises for any text; reads at most its head and tail.

    `said`: `read_once(text)`, where that is known already.
    """
    said = said or read_once(text)
    part = said.text
    logits: list[Any] = scores(weights or shipped(), said.ids & _LOW, structure(said)).tolist()
    intents = _softmax(logits[: len(INTENTS)])
    best = max(range(len(INTENTS)), key=intents.__getitem__)
    web, complexity = _sigmoid(logits[len(INTENTS)]), _sigmoid(logits[len(INTENTS) + 1])
    if not part.strip():
        complexity = 0.0
    return Understanding(
        intent=INTENTS[best],
        intent_confidence=intents[best],
        probabilities=tuple(intents),
        needs_web=web >= WEB_FROM,
        web_probability=web,
        complexity=complexity,
        complex=complexity >= COMPLEX_FROM,
        language=language(said),
        words=len(said.words) if len(part) >= len(text) else len(said.words) * len(text) // len(part),
        long_context=max(input_tokens, len(text) // 4) >= LONG_CONTEXT_TOKENS or turns >= LONG_TURNS,
        needs_tools=needs_tools,
        needs_images=needs_images,
        needs_json=needs_json,
        turns=turns,
    )


def _softmax(logits: list[float]) -> list[float]:
    top = max(logits)
    raised = [math.exp(logit - top) for logit in logits]
    total = sum(raised)
    return [one / total for one in raised]


def _sigmoid(logit: float) -> float:
    return 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, logit))))
