"""The index at five thousand memories against a plain implementation of what docs/recall.md says, memory by memory."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from services.memory.recall import ranking
from services.memory.recall.index import Query, RecallIndex
from services.memory.recall.memory import FACT, NOTE, TURN
from tests.unit.memory.columns import Row, columns, number_of

COUNT, DIMENSIONS, PAGE = 5200, 16, 700
Numbers = dict[int, float]


def made() -> list[Row]:
    """Two users' turns in threads, some of them branched, and facts; some without vectors."""
    chance = np.random.default_rng(5)
    rows: list[Row] = []
    last: dict[str, int] = {}
    for number in range(COUNT):
        thread = f"t{chance.integers(120)}"
        kind = (TURN, TURN, TURN, TURN, TURN, TURN, TURN, FACT, NOTE)[chance.integers(9)]
        vector, window = (
            one / np.linalg.norm(one) for one in chance.standard_normal((2, DIMENSIONS)).astype(np.float32)
        )
        previous = last.get(thread) if kind == TURN else None
        rows.append(
            Row(
                number, number + 1, kind=kind, user_id="other" if number % 19 == 0 else "u", thread_id=thread,
                terms=[int(one) for one in np.minimum(chance.zipf(1.4, chance.integers(1, 14)), 400)],
                metadata_terms=[7] if number % 5 == 0 else [], previous=previous,
                valid_to_s=50.0 if kind == FACT and number % 2 else math.inf,
                vector=None if number % 11 == 0 else vector,
                window=window if previous is not None and number % 11 else None,
            )
        )  # fmt: skip
        # Now and then the next turn follows an earlier one: a branch.
        if kind == TURN and chance.random() > 0.1:
            last[thread] = number
    return rows


def changed(rows: list[Row]) -> tuple[list[Row], list[list[Row]]]:
    """What is left after deletions, other texts and vectors that came later; and all of it as pages."""
    kept, later, seq = {row.number: row for row in rows}, [], COUNT
    for row in rows[::13]:
        seq += 1
        later.append(Row(row.number, seq, gone=True))
        del kept[row.number]
    for row in [kept[row.number] for row in rows[1::17] if row.number in kept]:
        seq += 1
        vector = np.eye(DIMENSIONS, dtype=np.float32)[row.number % DIMENSIONS]
        new = replace(row, seq=seq, vector=vector, metadata_terms=[8])
        if row.kind == NOTE:
            new = replace(new, terms=[3, 3, 9], text=COUNT + row.number)
        kept[row.number] = new
        later.append(new)
    kept = {
        number: replace(row, previous=row.previous if row.previous in kept else None) for number, row in kept.items()
    }
    return list(kept.values()), [rows[at : at + PAGE] for at in range(0, COUNT, PAGE)] + [later[:40], later[40:]]


def standing_out(scores: Numbers, known: set[int]) -> Numbers:
    mean = statistics.fmean(scores[one] for one in known)
    spread = statistics.pstdev([scores[one] for one in known], mean)
    return {one: (score - mean) / spread if one in known else 0.0 for one, score in scores.items()}


def bm25(texts: dict[int, list[int]], terms: list[int]) -> Numbers:
    mean, scores = statistics.fmean(map(len, texts.values())), dict.fromkeys(texts, 0.0)
    counts = {one: Counter(text) for one, text in texts.items()}
    for term in dict.fromkeys(terms):
        holding = [one for one, count in counts.items() if count[term]]
        rarity = math.log(1 + (len(texts) - len(holding) + 0.5) / (len(holding) + 0.5))
        for one in holding:
            often = counts[one][term]
            discount = ranking.K1 * (1 - ranking.B + ranking.B * len(texts[one]) / mean)
            scores[one] += rarity * often * (ranking.K1 + 1) / (often + discount)
    return scores


def best_of(scores: Numbers, many: int) -> set[int]:
    return set(sorted(scores, key=lambda one: -scores[one])[:many])


def plain(rows: dict[int, Row], terms: list[int], vector: NDArray[np.float32] | None) -> Numbers:
    """The score of each candidate."""
    before = {one: row.previous if row.previous in rows else None for one, row in rows.items()}
    texts = {one: list(row.terms) for one, row in rows.items()}
    both = {one: texts[one] + (texts[other] if (other := before[one]) is not None else []) for one in rows}
    own, together = bm25(texts, terms), bm25(both, terms)
    words = {one: own[one] + ranking.WINDOW_WEIGHT * together[one] for one in rows}
    behind: dict[int, int] = {}
    for one in sorted(rows, key=lambda one: rows[one].seq if rows[one].text else one):
        if (other := before[one]) is not None:
            behind[other] = one
    scores = standing_out(words, set(rows))
    if vector is not None:
        embedded = {one for one, row in rows.items() if row.vector is not None}
        alone = {one: cosine(rows[one].vector, vector) for one in rows}
        asked = {one for one, row in rows.items() if row.window is not None}
        if len(rows) > 2 * ranking.CANDIDATES:
            first = mixed(scores, standing_out(alone, embedded))
            chosen = best_of(first, ranking.CANDIDATES)
            around = {other for one in chosen for other in (before[one], behind.get(one)) if other is not None}
            asked &= chosen | around
        windows = {one: cosine(rows[one].window, vector) for one in asked}
        nearest = {
            one: max(alone[one], windows.get(one, -1.0), windows.get(behind.get(one, -1), -1.0))
            if one in embedded
            else 0.0
            for one in rows
        }
        scores = mixed(scores, standing_out(nearest, embedded))
    chosen = best_of(scores, ranking.CANDIDATES)
    threads = defaultdict(list)
    for one in sorted(chosen, key=lambda one: -scores[one]):
        threads[rows[one].thread_id].append(scores[one])
    found = {}
    for one in chosen:
        near = max([0.0, *(scores[other] for other in (before[one], behind.get(one)) if other is not None)])
        company = statistics.fmean(threads[rows[one].thread_id][: ranking.THREAD_BEST])
        found[one] = scores[one] + ranking.NEIGHBOUR_WEIGHT * near + ranking.THREAD_WEIGHT * company
    return found if vector is not None else {one: score for one, score in found.items() if words[one] > 0}


def cosine(one: NDArray[np.float32] | None, other: NDArray[np.float32]) -> float:
    return 0.0 if one is None else float(one.astype(np.float16).astype(np.float32) @ other)


def mixed(words: Numbers, meaning: Numbers) -> Numbers:
    weight = ranking.DENSE_WEIGHT
    return {one: weight * meaning[one] + (1 - weight) * words[one] for one in words}


@pytest.fixture(scope="module")
def filled() -> tuple[RecallIndex, list[Row]]:
    kept, pages = changed(made())
    index = RecallIndex(DIMENSIONS, "e")
    for page in pages:
        index.apply(columns(page, DIMENSIONS))
    index.settle()
    return index, kept


NARROW = {
    "all of one user": ({"user_id": "u"}, lambda row: row.user_id == "u"),
    "everybody's": ({"user_id": None}, lambda row: True),
    "facts that hold": (
        {"user_id": "u", "kinds": frozenset({FACT}), "valid_at_s": 60.0},
        lambda row: row.user_id == "u" and row.kind == FACT and row.valid_to_s > 60,
    ),
    "metadata": ({"user_id": "u", "metadata_terms": [8]}, lambda row: row.user_id == "u" and 8 in row.metadata_terms),
    "another thread": (
        {"user_id": "u", "not_thread_id": "t3"},
        lambda row: row.user_id == "u" and row.thread_id != "t3",
    ),
}


@pytest.mark.parametrize("narrow", NARROW)
@pytest.mark.parametrize("meaning", [True, False])
def test_answers_are_those_of_a_plain_implementation(
    filled: tuple[RecallIndex, list[Row]], narrow: str, meaning: bool
) -> None:
    index, kept = filled
    fields, fits = NARROW[narrow]
    among = {row.number: row for row in kept if fits(row)}
    terms = [1, 17, 60, 3]
    vector = np.ones(DIMENSIONS, np.float32) / np.float32(4) if meaning else None
    expected = plain(among, terms, vector)
    findings = index.search(Query(terms=terms, vector=vector, k=20, **fields))
    assert len(findings.found) == min(20, len(expected))
    assert findings.not_embedded == sum(row.vector is None for row in among.values())
    best = sorted(expected.values(), reverse=True)
    for place, one in enumerate(findings.found):
        assert one.score == pytest.approx(expected[number_of(one.memory_id)], abs=2e-3)
        assert one.score == pytest.approx(best[place], abs=2e-3)
