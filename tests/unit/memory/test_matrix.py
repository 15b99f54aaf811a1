"""Matrix: the same answers as the plainest search, whatever was added, replaced and removed before."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.memory.vectors.matrix import REMOVED, Matrix

IDS = st.integers(0, 60)
VECTORS = st.lists(st.integers(-3, 3), min_size=4, max_size=4)
STEPS = st.lists(st.one_of(st.tuples(IDS, VECTORS), st.lists(IDS, max_size=40)), max_size=120)


def plain(kept, vector, k, allowed=lambda one: True):
    scored = [(one, float(np.dot(row, vector))) for one, row in kept.items() if allowed(one)]
    return sorted(scored, key=lambda one: (-one[1], one[0]))[:k]


@settings(max_examples=150, deadline=None)
@given(STEPS, VECTORS, st.integers(0, 70))
def test_it_finds_what_a_plain_search_finds(steps, vector, k):
    matrix, kept = Matrix(4), {}
    for step in steps:
        if isinstance(step, tuple):
            matrix.add([step[0]], [step[1]])
            kept[step[0]] = step[1]
        else:
            matrix.remove(step)
            for one in step:
                kept.pop(one, None)
    assert len(matrix) == len(kept)
    assert matrix.top(vector, k) == plain(kept, vector, k)
    even = [one for one in range(61) if one % 2 == 0]
    assert matrix.top(vector, k, allowed=matrix.mask(even)) == plain(kept, vector, k, lambda one: one % 2 == 0)
    assert sorted(one for one in matrix.ids if one != REMOVED) == sorted(kept)


def test_many_at_once_also_the_same_twice():
    matrix = Matrix(2)
    matrix.add([5, 7, 5], [[1, 0], [0, 1], [0, 2]])
    assert matrix.top([0, 1], 5) == [(5, 2.0), (7, 1.0)] and len(matrix) == 2 and 5 in matrix


def test_what_was_removed_is_not_in_the_array_any_more():
    matrix = Matrix(2)
    matrix.add(range(100), np.ones((100, 2)))
    matrix.remove(range(10))
    assert matrix.scores([1, 1])[:10].sum() == 0
    matrix.remove(range(10, 90))
    # Half is empty: the array shrinks.
    assert len(matrix.ids) < 50 and len(matrix.top([1, 1], 100)) == 10


def test_what_does_not_fit_is_refused():
    matrix = Matrix(3)
    with pytest.raises(ValueError, match="vectors of 2 numbers do not go with those of 3"):
        matrix.add([1], [[1, 2]])
    with pytest.raises(ValueError, match="a vector of 4 numbers"):
        matrix.scores([1, 2, 3, 4])
    with pytest.raises(ValueError, match="0 or more"):
        matrix.add([-1], [[1, 2, 3]])
    matrix.add([], [])
    assert matrix.top([1, 2, 3], 4) == []
