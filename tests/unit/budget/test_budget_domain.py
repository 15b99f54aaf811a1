"""Money, windows and prices: pure arithmetic, tested by property."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from services.budget.ledger import Book
from services.budget.money import (
    BUCKETS,
    SEAM_TOKENS,
    Input,
    Price,
    Usage,
    affordable_output,
    charge,
    rates_of,
    worst_case,
    worst_case_rescued,
)
from services.budget.operations import Reserve
from services.budget.price_book import PriceBook, Proposal
from services.budget.rows import Counter, Level, Limit
from services.budget.windows import Window, end_of, start_of

RATE = st.integers(0, 10**12)
TOKENS = st.integers(0, 10**7)
PRICES = st.dictionaries(st.sampled_from(BUCKETS), RATE).map(lambda buckets: Price(1, "p", "m", buckets, "config"))
MOMENTS = st.datetimes(dt.datetime(1975, 1, 1), dt.datetime(2090, 1, 1), timezones=st.timezones())


@given(PRICES, st.tuples(*[TOKENS] * 7))
def test_a_charge_is_the_exact_cost_rounded_up_once_and_its_lines_add_up(price: Price, used: tuple[int, ...]) -> None:
    made = charge(price, Usage(*used), answered=True)
    exact = sum(Fraction(n * rate, 1_000_000) for n, rate in zip(used, price.rates[:7], strict=True))
    assert made.cost_nano_usd == math.ceil(exact + price.rates.request)
    assert sum(line.cost_nano_usd for line in made.lines) == made.cost_nano_usd


@given(st.lists(PRICES, min_size=1, max_size=4), st.lists(TOKENS, min_size=7, max_size=7), st.integers(0, 3))
def test_nothing_within_the_bounds_costs_more_than_the_worst_case(
    prices: list[Price], used: list[int], which: int
) -> None:
    usage = Usage(*used)
    bound = worst_case(prices, Input(sum(used[:3]), used[5], used[6]), sum(used[3:5]))
    assert charge(prices[which % len(prices)], usage, answered=True).cost_nano_usd <= bound


@given(
    st.lists(PRICES, min_size=1, max_size=4),
    TOKENS,
    st.lists(st.tuples(TOKENS, st.integers(0, 3)), min_size=1, max_size=4),
)
def test_an_answer_in_parts_from_any_candidates_costs_no_more_than_its_bound(
    prices: list[Price], input_tokens: int, parts: list[tuple[int, int]]
) -> None:
    """Every part sends the input and what was shown before it, and adds its own output. Each but the first also says
    what is wished, and is given one token where nothing is left of the limit."""
    bound = worst_case_rescued(prices, Input(input_tokens), sum(tokens for tokens, _ in parts), len(parts) - 1)
    cost = shown = 0
    for number, (tokens, which) in enumerate(parts):
        later = min(number, 1)
        used = Usage(input=input_tokens + shown + later * SEAM_TOKENS, output=tokens + later)
        cost += charge(prices[which % len(prices)], used, answered=True).cost_nano_usd
        shown += tokens
    assert cost <= bound


def test_rescues_are_held_when_they_fit_and_never_refuse_what_fits_without_them() -> None:
    level = Level("o", 1, "o")
    for left, granted, amount in ((400, 1, 343), (343, 1, 343), (342, 0, 90), (90, 0, 90)):
        book = Book(PriceBook([Price(1, "p", "m", {"input": 10**6, "output": 2 * 10**6}, "config")]), 8)
        limit = Limit("b", level, Window.NONE, left)
        now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
        book.limits, book.counters = {level: [limit]}, {limit.key_at(now): Counter()}
        op = Reserve("r", "o", "q", (level,), (("p", "m"),), 10, 40, b"", now, 60, rescues=1)
        made = book.reserve(op)
        assert (made.rescues, made.amount_nano_usd) == (granted, amount), left
        assert made.output_cap_tokens == 40


@given(st.lists(PRICES, min_size=1, max_size=4), TOKENS, st.integers(0, 10**13), st.integers(1, 10**6))
def test_the_cap_is_the_largest_that_is_affordable(prices: list[Price], tokens: int, left: int, wanted: int) -> None:
    cap = affordable_output(prices, Input(tokens), left, wanted)
    assert cap <= wanted
    if cap >= 1:
        assert worst_case(prices, Input(tokens), cap) <= left or not any(any(p.rates) for p in prices)
    if cap < wanted:
        assert worst_case(prices, Input(tokens), max(cap, 0) + 1) > left


def test_missing_buckets_fall_back_to_their_direction() -> None:
    assert rates_of({"input": 10, "output": 30}) == (10, 10, 10, 30, 30, 0, 0, 0)
    assert rates_of({"cache_write": 7, "input_cached": 1}).input == 7
    assert rates_of({"input": 10}).output == 10
    assert rates_of({}) == (0,) * 8


def test_only_what_a_price_names_is_charged_by_other_measures_than_tokens() -> None:
    whisper = Price(1, "p", "m", {"audio_second": 10**11}, "config")
    used = Usage(input=90, output=11, audio_seconds=9)
    assert charge(whisper, used, answered=True).cost_nano_usd == 900_000
    assert [line.bucket for line in charge(whisper, used, answered=True).lines if line.cost_nano_usd] == [
        "audio_second"
    ]
    tokens = Price(1, "p", "m", {"input": 10**6, "output": 2 * 10**6}, "config")
    made = charge(tokens, used, answered=True)
    assert made.cost_nano_usd == 112 and [line.bucket for line in made.lines] == ["input", "output"]
    book = Book(PriceBook([whisper]), 8)
    op = Reserve("r", "o", "q", (), (("p", "m"),), 900, 40, b"", dt.datetime(2026, 1, 1, tzinfo=dt.UTC), 60)
    assert book.reserve(op).amount_nano_usd == 0
    again = dataclasses.replace(op, reservation_id="r2", request_id="q2", audio_seconds_max=90)
    assert book.reserve(again).amount_nano_usd == 9_000_000


def test_an_explicit_zero_is_a_price_and_not_a_gap() -> None:
    assert rates_of({"input": 10, "input_cached": 0, "output": 0}) == (10, 0, 10, 0, 0, 0, 0, 0)


@given(st.sampled_from(list(Window)), MOMENTS)
def test_windows_tile_time(window: Window, moment: dt.datetime) -> None:
    start = start_of(window, moment)
    end = end_of(window, start)
    assert start <= moment
    if end is None:
        return
    assert moment < end
    assert start_of(window, end) == end, "the next window begins where this one ends"
    assert start_of(window, end - dt.timedelta(microseconds=1)) == start


def test_a_price_is_found_as_of_a_version() -> None:
    book = PriceBook([Price(1, "p", "m", {"input": 1}, "catalog"), Price(4, "p", "m", {"input": 2}, "catalog")])
    assert [book.in_force("p", "m", version) and book.in_force("p", "m", version).buckets for version in (0, 3, 4)] == [  # type: ignore[union-attr]
        None,
        {"input": 1},
        {"input": 2},
    ]


def test_config_beats_operator_beats_catalog() -> None:
    book = PriceBook([Price(1, "p", "m", {"input": 1}, "operator")])
    assert book.changes([Proposal("p", "m", {"input": 2}, "catalog")]) == []
    assert book.changes([]) == []
    proposal = Proposal("p", "m", {"input": 2}, "config")
    assert book.changes([proposal]) == [proposal]


def test_a_model_that_files_no_longer_price_becomes_unknown() -> None:
    book = PriceBook([Price(1, "p", "m", {"input": 1}, "config")])
    assert book.changes([]) == [Proposal("p", "m", None, "config")]
    book.add([Price(2, "p", "m", {}, "config", known=False)])
    assert book.in_force("p", "m") is None
    assert book.changes([]) == []


def test_a_published_price_fills_only_what_nobody_priced() -> None:
    book = PriceBook([Price(1, "p", "mine", {"input": 1}, "config"), Price(2, "p", "none", {}, "config", known=False)])
    published = [Proposal("p", name, {"input": 9, "output": 9}, "fetched") for name in ("mine", "none", "new")]
    assert [one.model for one in book.fetched(published)] == ["none", "new"]
    assert book.fetched([Proposal("p", "new", None, "fetched")]) == []
    book.add([Price(3, "p", "new", {"input": 9, "output": 9}, "fetched")])
    assert [one.model for one in book.fetched(published)] == ["none"], "the same price is no news"
    assert [one.model for one in book.fetched([Proposal("p", "new", {}, "fetched")])] == ["new"]


def test_a_start_keeps_published_prices_and_files_win_over_them() -> None:
    book = PriceBook([Price(1, "p", "m", {"input": 9, "output": 9}, "fetched")])
    assert book.changes([]) == [], "files say nothing of it"
    assert book.changes([Proposal("p", "m", None, "catalog")]) == [], "nor here"
    written = Proposal("p", "m", {"input": 9, "output": 9}, "config")
    assert book.changes([written]) == [written]
    book.add([Price(2, "p", "m", {"input": 1, "output": 1}, "catalog")])
    assert book.fetched([Proposal("p", "m", {"input": 9, "output": 9}, "fetched")]) == []
