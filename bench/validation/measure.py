"""What the checks reach: each figure through the validator that ships, with the embedder that memory ships."""

from __future__ import annotations

import pathlib
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.validation import data
from bench.validation.benign import answers
from bench.validation.breakages import KINDS, without_a_sign
from bench.validation.train import Texts, fit, read, read_own
from services.gateway.validation.subject import FAILED, PASSED, Subject
from services.gateway.validation.toxicity import BLOCK, FLAG, load_head
from services.gateway.validation.validator import Validator
from services.memory.embedding.embedder import Embedder

FOLDS, FOLD_SEED = 5, 7
CORRUPTION_SEED = 4
BENIGN_PER_KIND, BENIGN_SEED = 1_000, 11
OTHERS_MAX = 5_000
GOOD_MAX = 200
CONTEXT = "support"
Scores = NDArray[np.float64]


def auc(labels: Sequence[bool] | NDArray[np.bool_], scores: Sequence[float] | Scores) -> float:
    """The chance that a positive one scores above a negative one."""
    from sklearn.metrics import roc_auc_score

    return round(float(roc_auc_score(np.asarray(labels), np.asarray(scores))), 4)


async def toxicity(folder: pathlib.Path, embedder: Embedder) -> tuple[dict[str, Any], dict[str, Any]]:
    """The figures, and what they are made of.

    Five times a head is trained by the shipped recipe without a fifth of the labelled texts and of the harmless
    answers; each text is judged by the head that did not see it. Texts that no training sees are judged by the shipped
    head. False flags are counted over both.
    """
    rows = data.surge(folder)
    figures: dict[str, Any] = {"auc_5fold": None, "auc_other": None, "false_flag_rate": None}
    details: dict[str, Any] = {"false_flags": {}, "other": {}}
    shipped = load_head()
    harmless_rows = await _harmless(folder, embedder)
    if rows:
        labelled = await read([row.text for row in rows], embedder)
        labels = np.array([row.is_toxic for row in rows])
        scores, harmless_scores = await _five_fold(labelled, labels, harmless_rows, embedder)
        figures["auc_5fold"] = auc(labels, scores)
        details["five_fold"] = {str(one): _at(labels, scores, one) for one in (FLAG, BLOCK)}
    else:
        harmless_scores = {name: texts.worst(shipped) for name, texts in harmless_rows.items()}
    unseen = dict(answers(BENIGN_PER_KIND, BENIGN_SEED))
    if questions := data.questions(folder):
        unseen["mtbench"] = questions
    for name, texts in unseen.items():
        harmless_scores[name] = (await read(texts, embedder)).worst(shipped)
    details["false_flags"] = {
        name: {"flagged": int((one >= FLAG).sum()), "blocked": int((one >= BLOCK).sum()), "of": len(one)}
        for name, one in harmless_scores.items()
    }
    everything = np.concatenate(list(harmless_scores.values()))
    figures["false_flag_rate"] = round(float((everything >= FLAG).mean()), 5)
    for name, others in data.others(folder).items():
        chosen = random.Random(CORRUPTION_SEED).sample(others, min(len(others), OTHERS_MAX))
        found = (await read([row.text for row in chosen], embedder)).worst(shipped)
        truth = np.array([row.is_toxic for row in chosen])
        details["other"][name] = {"auc": auc(truth, found), "of": len(chosen), "at": _at(truth, found, FLAG)}
    if details["other"]:
        figures["auc_other"] = round(float(np.mean([one["auc"] for one in details["other"].values()])), 4)
    return figures, details


async def _harmless(folder: pathlib.Path, embedder: Embedder) -> dict[str, Texts]:
    given = data.halueval(folder)
    texts = {
        "halueval_answers": [one["chatgpt_response"] for one in given],
        "halueval_questions": [one["user_query"] for one in given],
        "humaneval": [one.prompt + one.solution for one in data.programs(folder)],
    }
    return {name: await read(some, embedder) for name, some in texts.items() if some}


async def _five_fold(
    labelled: Texts, labels: NDArray[np.bool_], harmless: dict[str, Texts], embedder: Embedder
) -> tuple[Scores, dict[str, Scores]]:
    from sklearn.model_selection import StratifiedKFold

    own = await read_own(embedder)
    chance = np.random.default_rng(FOLD_SEED)
    fold_of = {name: chance.integers(0, FOLDS, texts.size) for name, texts in harmless.items()}
    scores = np.zeros(labelled.size)
    harmless_scores = {name: np.zeros(texts.size) for name, texts in harmless.items()}
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=FOLD_SEED)
    for fold, (_, held) in enumerate(folds.split(np.zeros(labelled.size), labels)):
        learned = np.ones(labelled.size, bool)
        learned[held] = False
        rest = [texts.of(fold_of[name] != fold) for name, texts in harmless.items()]
        empty = np.zeros((0, labelled.features.shape[1]))
        head = fit(labelled, labels, learned, np.vstack([empty, *rest]), own)
        scores[held] = labelled.worst(head)[held]
        for name, texts in harmless.items():
            mine = fold_of[name] == fold
            harmless_scores[name][mine] = texts.worst(head)[mine]
    return scores, harmless_scores


def _at(labels: NDArray[np.bool_], scores: Scores, threshold: float) -> dict[str, float]:
    over = scores >= threshold
    precision = float(labels[over].mean()) if over.any() else 0.0
    return {
        "recall": round(float(over[labels].mean()), 3),
        "precision": round(precision, 3),
        "false_positives": round(float(over[~labels].mean()), 4),
    }


async def support(folder: pathlib.Path, validator: Validator) -> tuple[dict[str, Any], dict[str, Any]]:
    """How well the support score tells consistent sentences of summaries from others."""
    details: dict[str, Any] = {}
    for name in ("cnndm", "xsum"):
        rows = data.summaries(folder, name)
        if rows:
            found = [await _support(validator, row) for row in rows]
            details[name] = {"auc": auc([row.is_consistent for row in rows], found), "sentences": len(rows)}
    return {"auc": details.get("cnndm", {}).get("auc")}, details


async def _support(validator: Validator, row: data.Summary) -> float:
    report = await validator.check(Subject(row.sentence, context=(row.source,)), (CONTEXT,))
    return report.scores.get(CONTEXT, 0.0)


async def code(folder: pathlib.Path, validator: Validator) -> dict[str, Any]:
    """Programs accepted, and programs with one sign missing caught."""
    chance = random.Random(CORRUPTION_SEED)
    programs = data.programs(folder)
    if not programs:
        return {"accepted": None, "total": None, "corruptions_caught": None, "corruptions": None}
    accepted = caught = corruptions = 0
    for program in programs:
        accepted += await _status(validator, program.prompt + program.solution) == PASSED
        broken = without_a_sign(program, chance)
        if broken is not None:
            corruptions += 1
            caught += await _status(validator, broken) == FAILED
    return {
        "accepted": accepted, "total": len(programs), "corruptions_caught": caught, "corruptions": corruptions,
    }  # fmt: skip


async def _status(validator: Validator, source: str) -> str:
    report = await validator.check(Subject(f"```python\n{source.rstrip()}\n```\n"), ("code",))
    return report.status["code"]


async def quality(folder: pathlib.Path, validator: Validator) -> dict[str, Any]:
    """Whether broken answers land below good ones: the shares and the medians, kind by kind."""
    chance = random.Random(CORRUPTION_SEED)
    given = [one for one in data.halueval(folder) if len(one["chatgpt_response"]) > 200][:GOOD_MAX]
    if not given:
        return {}
    good = [await _quality(validator, one["user_query"], one["chatgpt_response"], "stop") for one in given]
    details: dict[str, Any] = {"good": {"median": round(float(np.median(good)), 3), "of": len(good)}}
    details["good"]["tenth"] = round(float(np.quantile(good, 0.1)), 3)
    invented = [one["hallucination"] == "yes" for one in given]
    if len(set(invented)) == 2:
        # What no check here can know.
        details["good"]["auc_true_answers"] = auc([not one for one in invented], good)
    for name, breaks in KINDS.items():
        found = []
        for one in given:
            text, reason = breaks(one["chatgpt_response"], chance)
            found.append(await _quality(validator, one["user_query"], text, reason))
        labels = [True] * len(good) + [False] * len(found)
        details[name] = {"median": round(float(np.median(found)), 3), "auc": auc(labels, good + found)}
    return details


async def _quality(validator: Validator, question: str, text: str, reason: str) -> float:
    return (await validator.check(Subject(text, question=question, finish_reason=reason), ())).quality
