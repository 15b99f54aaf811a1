"""Sketches: as the library's own, additive by concatenation, the same bytes in any order."""

from ddsketch import DDSketch
from hypothesis import given
from hypothesis import strategies as st

from services.audit.analytics import sketch

SHARES = (0.0, 0.5, 0.95, 0.99, 1.0)
durations = st.lists(st.floats(0.01, 600_000), min_size=1, max_size=60)


def of(values: list[float]) -> bytes:
    return sketch.added(b"", map(sketch.key_of, values))


@given(durations)
def test_percentiles_are_the_library_s(values: list[float]) -> None:
    library = DDSketch(sketch.ACCURACY)
    for value in values:
        library.add(value)
    assert sketch.percentiles(of(values), SHARES) == (len(values), [library.get_quantile_value(one) for one in SHARES])


@given(durations, durations)
def test_concatenation_is_the_sum_and_order_changes_no_byte(first: list[float], second: list[float]) -> None:
    together = of([*first, *second])
    assert sketch.added(of(first), map(sketch.key_of, second)) == together == of([*reversed(second), *reversed(first)])
    assert sketch.percentiles(of(first) + of(second), SHARES) == sketch.percentiles(together, SHARES)


def test_a_bin_holds_more_than_an_entry_does() -> None:
    bins = sketch.added(sketch.added(b"", [7] * 70_000), [7] * 70_000)
    assert sketch.percentiles(bins, (0.5,))[0] == 140_000 and len(bins) == 3 * sketch.BIN.itemsize


def test_nothing_has_no_percentile_and_strange_times_are_bounded() -> None:
    assert sketch.percentiles(b"", SHARES) == (0, [0.0] * len(SHARES))
    for strange in (0.0, -5.0, 1e300, float("inf")):
        assert sketch.percentiles(of([strange]), (0.5,))[1][0] <= sketch.MOST_MS * 1.01
