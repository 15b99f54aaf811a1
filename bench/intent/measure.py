"""The measurements: the shipped weights on unseen prompts, topics held out, MT-Bench, and how long a prompt takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bench.intent.data import Labelled
from bench.intent.examples import Example, typical
from bench.intent.matrix import matrix
from bench.intent.train import SEED, balanced
from services.router.prompt.prompt import INTENTS, Weights, features, scores, understand

if TYPE_CHECKING:
    import scipy.sparse
    from sklearn.svm import LinearSVC

FOLDS = 5
STRENGTH = 0.3
"""Inverse regularisation of the held-out classifier."""
BESIDE = 1.0
"""The weight of all examples that may be shipped, beside all prompts of the training topics."""
WORDS = (12, 250)
"""Prompts of so many words are timed."""
TIMED = 2000

Names = npt.NDArray[np.str_]


def shipped(weights: Weights, prompts: Sequence[Labelled]) -> tuple[Names, npt.NDArray[np.bool_]]:
    """What the shipped weights say: intents, and whether the web is needed."""
    said, web = [], []
    for one in prompts:
        each = scores(weights, *features(one.text))
        said.append(INTENTS[int(each[: len(INTENTS)].argmax())])
        web.append(bool(each[len(INTENTS)] > 0))
    return np.array(said), np.array(web)


class HeldOut:
    """A classifier trained on labelled prompts and, beside them, on the examples that may be shipped."""

    def __init__(self, beside: Sequence[Example], beside_weight: float = BESIDE) -> None:
        known = [one for one in beside if one.intent]
        self._rows = matrix([one.text for one in known])
        self._labels = np.array([str(one.intent) for one in known])
        self._weights = balanced(list(self._labels), [one.weight for one in known]) if known else np.empty(0)
        self._share = beside_weight

    def fit(self, rows: scipy.sparse.csr_matrix, labels: Names) -> LinearSVC:
        """Trained on `rows`; the same rows give the same classifier."""
        import scipy.sparse
        from sklearn.svm import LinearSVC

        weights = np.ones(len(labels))
        if len(self._labels):
            each = self._weights * self._share * len(labels) / len(self._labels)
            rows = scipy.sparse.vstack([rows, self._rows]).tocsr()
            labels, weights = np.concatenate([labels, self._labels]), np.concatenate([weights, each])
        return LinearSVC(C=STRENGTH, tol=1e-2, random_state=SEED, max_iter=3000).fit(rows, labels, weights)


def topics_held_out(model: HeldOut, prompts: Sequence[Labelled], say: Callable[[str], None]) -> Names:
    """The intents of `prompts`, each told by a classifier that saw no prompt of its topic."""
    from sklearn.model_selection import GroupKFold

    rows, labels = matrix([one.text for one in prompts]), np.array([one.intent for one in prompts])
    topics = [one.topic for one in prompts]
    said = np.empty(len(prompts), object)
    for number, (seen, unseen) in enumerate(GroupKFold(min(FOLDS, len(set(topics)))).split(rows, labels, topics)):
        said[unseen] = model.fit(rows[seen], labels[seen]).predict(rows[unseen])
        say(f"  fold {number + 1}: {np.mean(said[unseen] == labels[unseen]):.3f}")
    return said.astype(str)


def external(model: HeldOut, prompts: Sequence[Labelled], questions: Sequence[Labelled]) -> Names:
    """The intents of `questions`, told by a classifier trained on all of `prompts`."""
    fitted = model.fit(matrix([one.text for one in prompts]), np.array([one.intent for one in prompts]))
    told: Names = fitted.predict(matrix([one.text for one in questions])).astype(str)
    return told


def figures(prompts: Sequence[Labelled], said: Names) -> dict[str, Any]:
    """Accuracy, macro-F1 and each intent's recall."""
    truth = np.array([one.intent for one in prompts])
    recalls, scored = {}, []
    for name in INTENTS:
        of_it, told = truth == name, said == name
        if of_it.any():
            right = int((of_it & told).sum())
            recalls[name] = round(right / int(of_it.sum()), 4)
            scored.append(2 * right / int(of_it.sum() + told.sum()))
    return {
        "prompts": len(truth),
        "accuracy": round(float(np.mean(truth == said)), 4),
        "macro_f1": round(float(np.mean(scored)), 4),
        "recall": recalls,
    }


def latency_ms(weights: Weights) -> dict[str, float]:
    """How long `understand` takes, of prompts of our own from 12 to 250 words in equal parts, each met once.

    `p50` and `p99` are by the clock on the wall, waiting for a busy machine included; `cpu_*` count this thread alone.
    """
    words = [word for one in typical(80, SEED) for word in one.text.split()]
    lengths = np.linspace(*WORDS, 40).astype(int)
    texts, place = [], 0
    for number in range(TIMED):
        length = int(lengths[number % len(lengths)])
        place = (place + length) % max(1, len(words) - WORDS[1])
        texts.append(" ".join(words[place : place + length]))
    for text in texts[:200]:
        understand(text, weights=weights)
    taken, worked = [], []
    for text in texts:
        began, cpu = time.perf_counter(), time.thread_time()
        understand(text, weights=weights)
        taken.append(1000 * (time.perf_counter() - began))
        worked.append(1000 * (time.thread_time() - cpu))
    quantiles = {"p50": (taken, 0.5), "p99": (taken, 0.99), "cpu_p50": (worked, 0.5), "cpu_p99": (worked, 0.99)}
    return {name: round(float(np.quantile(*of)), 4) for name, of in quantiles.items()}
