"""The index of memories against a naive one: words, windows, meaning, masks, changes in any order."""

import math
from collections import Counter
from random import Random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.memory.recall import ranking
from services.memory.recall.index import Query, RecallIndex
from tests.unit.memory.columns import Row, columns, id_of, number_of

Texts = list[tuple[int, list[int]]]


def change(at: int, thread: int, terms: list[int], previous: int | None, seq: int) -> Row:
    return Row(at, seq, thread_id=f"t{thread}", terms=terms, previous=previous)


def previous_of(texts: Texts, at: int) -> int | None:
    return next((one for one in range(at - 1, -1, -1) if texts[one][0] == texts[at][0]), None)


def naive_bm25(texts: list[list[int]], query: list[int]) -> list[float]:
    mean = sum(map(len, texts)) / len(texts) or 1.0
    scores = [0.0] * len(texts)
    for term in dict.fromkeys(query):
        holding = sum(term in text for text in texts)
        rarity = math.log(1 + (len(texts) - holding + 0.5) / (holding + 0.5))
        for at, text in enumerate(texts):
            often = Counter(text)[term]
            scores[at] += rarity * often * 2.2 / (often + 1.2 * (0.25 + 0.75 * len(text) / mean))
    return scores


words_of = st.lists(st.integers(0, 6), min_size=1, max_size=6)
texts_of = st.lists(st.tuples(st.integers(0, 2), words_of), min_size=1, max_size=12)


@given(texts=texts_of, query=st.lists(st.integers(0, 7), min_size=1, max_size=4), order=st.randoms())
@settings(max_examples=60, deadline=None)
def test_words_are_scored_as_the_formula_says_in_any_order_of_rows(
    texts: Texts, query: list[int], order: Random
) -> None:
    index = RecallIndex(0, "")
    places = list(range(len(texts)))
    order.shuffle(places)
    index.apply(columns([change(at, *texts[at], previous_of(texts, at), seq) for seq, at in enumerate(places, 1)]))
    own = naive_bm25([terms for _, terms in texts], query)
    before = [previous_of(texts, at) for at in range(len(texts))]
    windows = [(texts[one][1] if (one := before[at]) is not None else []) + texts[at][1] for at in range(len(texts))]
    expected = [a + ranking.WINDOW_WEIGHT * b for a, b in zip(own, naive_bm25(windows, query), strict=True)]
    found = index.search(Query(terms=query, vector=None, k=50, user_id="u")).found
    assert {number_of(one.memory_id) for one in found} == {at for at, score in enumerate(expected) if score > 0}
    for hit in found:
        assert math.isclose(hit.bm25, expected[number_of(hit.memory_id)], rel_tol=1e-3, abs_tol=1e-4)


def test_of_very_many_the_best_are_those_that_an_exact_search_gives() -> None:
    chance = np.random.default_rng(3)
    count = 3 * ranking.CANDIDATES
    vectors = chance.standard_normal((count, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = RecallIndex(8, "e")
    index.apply(columns([Row(at, at + 1, terms=[at % 50], vector=vectors[at]) for at in range(count)], 8))
    found = index.search(Query(terms=[7], vector=vectors[11], k=5, user_id="u")).found
    nearest = np.argsort(-(vectors @ vectors[11]))[:200]
    assert number_of(found[0].memory_id) in {11, *(one for one in nearest if one % 50 == 7)}
    assert {number_of(one.memory_id) for one in found} <= {*map(int, nearest), *range(7, count, 50)}


def test_what_is_gone_is_found_by_nothing() -> None:
    index = RecallIndex(0, "")
    index.apply(columns([change(0, 0, [1, 2], None, 1), change(1, 0, [3], 0, 2)]))
    index.apply(columns([Row(0, 3, gone=True)]))
    assert index.search(Query(terms=[1, 2], vector=None, k=9, user_id="u")).found == []
    (found,) = index.search(Query(terms=[3], vector=None, k=9, user_id="u")).found
    assert found.memory_id == id_of(1)
    assert index.search(Query(terms=[3], vector=None, k=9, user_id="other")).found == []
    assert (index.seq, len(index)) == (3, 1)
