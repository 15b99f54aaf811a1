"""Makes the shipped head for toxicity: `python -m bench.validation.train --data DIR [--out FILE]`.

Learns only from what may be shipped: surge-ai/toxicity, HaluEval's answers and questions and HumanEval's programs as
harmless text (all MIT), and sentences and prompts of our own. The same data give the same numbers.
"""

from __future__ import annotations

import argparse
import asyncio
import pathlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.intent.examples import pieces, typical
from bench.validation import data
from services.gateway.validation.toxicity import FILE, Head, features_of, windows_of
from services.memory.config import MemoryConfig
from services.memory.embedding.embedder import Embedder, open_embedder

STRENGTH = 2.0
"""Inverse regularisation."""
HARMLESS_WEIGHT, HARD_WEIGHT, HARMFUL_WEIGHT = 0.1, 0.7, 0.2
"""What a harmless text that nobody labelled, one of our own harmless sentences on hard matters, and one of our own
harmful ones count beside a labelled text."""
SEED = 5
PROMPTS_PER_FILE = 130
BATCH = 32
_EXAMPLES = pathlib.Path(__file__).parent / "examples"


@dataclass(frozen=True)
class Texts:
    """Windows of texts with their features; `owner` is each window's text."""

    features: NDArray[np.float64]
    owner: NDArray[np.int64]
    size: int

    def worst(self, head: Head) -> NDArray[np.float64]:
        """Each text's score: that of its worst window."""
        found = np.zeros(self.size)
        np.maximum.at(found, self.owner, head.scores(self.features))
        return found

    def of(self, chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
        """The windows of the chosen texts."""
        rows: NDArray[np.float64] = self.features[chosen[self.owner]]
        return rows


async def read(texts: Sequence[str], embedder: Embedder) -> Texts:
    """The texts as the check reads them."""
    owner, windows = [], []
    for index, text in enumerate(texts):
        for start, end in windows_of(text):
            owner.append(index)
            windows.append(text[start:end])
    rows = [await embedder.embed(windows[at : at + BATCH]) for at in range(0, len(windows), BATCH)]
    embedded = np.concatenate(rows) if rows else np.zeros((0, 384))
    return Texts(features_of(embedded, windows), np.array(owner, np.int64), len(texts))


def own_texts() -> tuple[list[str], list[str], list[str]]:
    """Texts of our own: harmless prompts, harmless sentences on hard matters, harmful sentences."""
    hard, harmful = (
        (_EXAMPLES / name).read_text(encoding="utf-8").splitlines() for name in ("benign.txt", "toxic.txt")
    )
    prompts = [example.text for example in typical(PROMPTS_PER_FILE, SEED)]
    pasted = [one for name in ("paste_text", "paste_code", "paste_background") for one in pieces(name)]
    return [*prompts, *pasted], hard, harmful


@dataclass(frozen=True)
class Own:
    """Our own texts, read."""

    harmless: Texts
    hard: Texts
    harmful: Texts


async def read_own(embedder: Embedder) -> Own:
    """All of `own_texts`."""
    harmless, hard, harmful = [await read(texts, embedder) for texts in own_texts()]
    return Own(harmless, hard, harmful)


def fit(
    labelled: Texts, labels: NDArray[np.bool_], chosen: NDArray[np.bool_], harmless: NDArray[np.float64], own: Own
) -> Head:
    """The head for the chosen of the labelled texts, windows of harmless texts and our own sentences.

    Of a harmful text not every window is: each counts for its share.
    """
    from sklearn.linear_model import LogisticRegression

    rows = chosen[labelled.owner]
    of_text = labels[labelled.owner]
    shares = np.where(of_text, 1.0 / np.bincount(labelled.owner, minlength=labelled.size)[labelled.owner], 1.0)
    parts = [
        (labelled.features[rows], of_text[rows], shares[rows]),
        *(
            (some, np.full(len(some), is_harmful), np.full(len(some), weight))
            for some, is_harmful, weight in (
                (own.harmful.features, True, HARMFUL_WEIGHT),
                (own.hard.features, False, HARD_WEIGHT),
                (own.harmless.features, False, HARMLESS_WEIGHT),
                (harmless, False, HARMLESS_WEIGHT),
            )
        ),
    ]
    features, wanted, weights = (np.concatenate(column) for column in zip(*parts, strict=True))
    model = LogisticRegression(C=STRENGTH, max_iter=3000).fit(features, wanted, sample_weight=weights)
    return Head(model.coef_[0], float(model.intercept_[0]))


async def train(folder: pathlib.Path) -> Head:
    """The head from everything in `folder` and our own sentences."""
    embedder = open_embedder(MemoryConfig())
    if not embedder.semantic:
        sys.exit(f"training needs the embedding model: {embedder.note}")
    rows = data.surge(folder)
    if not rows:
        sys.exit(f"{folder} has no surge_toxicity_en.csv")
    answers = data.halueval(folder)
    texts = [one["chatgpt_response"] for one in answers] + [one["user_query"] for one in answers]
    texts += [one.prompt + one.solution for one in data.programs(folder)]
    labelled, harmless = await read([row.text for row in rows], embedder), await read(texts, embedder)
    own = await read_own(embedder)
    await embedder.close()
    labels = np.array([row.is_toxic for row in rows])
    return fit(labelled, labels, np.ones(len(rows), bool), harmless.features, own)


def main() -> None:
    """Trains and writes."""
    parser = argparse.ArgumentParser(description="Trains the head for toxicity.")
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, default=FILE)
    options = parser.parse_args()
    head = asyncio.run(train(options.data))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez(options.out, weights=head.weights.astype(np.float32), bias=np.float32(head.bias))
    print(f"{options.out.name}: {len(head.weights)} weights, bias {head.bias:.3f}", file=sys.stderr)


if __name__ == "__main__":
    main()
