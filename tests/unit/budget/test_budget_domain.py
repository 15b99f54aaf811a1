"""Money, windows and prices: pure arithmetic, tested by property."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from mesh.model_prices import bucket_name
from services.budget.ledger.ledger import Book
from services.budget.ledger.operations import Reserve
from services.budget.ledger.rows import Counter, Level, Limit
from services.budget.ledger.windows import Window, end_of, start_of
from services.budget.prices.book import PriceBook, Proposal, divided
from services.budget.prices.money import (
    SEAM_TOKENS,
    Input,
    Price,
    Usage,
    affordable_output,
    charge,
    worst_case,
    worst_case_rescued,
)
from services.budget.prices.rates import BUCKETS, INPUT, OUTPUT, rates_of

RATE = st.integers(0, 10**12)
TOKENS = st.integers(0, 10**7)
LENGTHS = (1000, 200_000, 5_000_000)
TIERS = ("batch", "flex", "priority")
NAMES = st.builds(
    bucket_name, st.sampled_from(["", "", "", *TIERS]), st.sampled_from(BUCKETS), st.sampled_from([0, 0, 0, *LENGTHS])
)
PLAIN = st.dictionaries(st.sampled_from(BUCKETS), RATE).map(lambda buckets: Price(1, "p", "m", buckets, "config"))
PRICES = PLAIN | st.dictionaries(NAMES, RATE).map(lambda buckets: Price(1, "p", "m", buckets, "config"))
USAGES = st.builds(
    lambda counts, tier: Usage(*counts, service_tier=tier),
    st.tuples(*[TOKENS | st.just(0)] * (len(BUCKETS) - 1)),
    st.sampled_from(["", *TIERS, "scale"]),
)
FIELDS = dict(zip(BUCKETS, Usage._fields, strict=True)) | {"request": ""}
MOMENTS = st.datetimes(dt.datetime(1975, 1, 1), dt.datetime(2090, 1, 1), timezones=st.timezones())


def counts(usage: Usage) -> tuple[int, ...]:
    return usage[:-1]  # type: ignore[return-value]


def spent(usage: Usage, names: tuple[str, ...]) -> int:
    return sum(getattr(usage, FIELDS[name]) for name in names)


def named_rate(price: Price, tier: str, bucket: str, prompt: int) -> int | None:
    """What the price itself names for a bucket, looked up as the documentation says: the longest length that the prompt
    is above, of the tier if it names anything for that length, else of the standard one; then what is under it."""
    lengths = [0, *(one for one in LENGTHS if prompt > one)]
    has_tier = any(name.startswith(f"{tier}:") for name in price.buckets) if tier else False

    def names(who: str, length: int) -> bool:
        return any(bucket_name(who, each, length) in price.buckets for each in BUCKETS)

    tier = tier if has_tier else ""
    # The lengths for which this tier has a price of its own, or the standard one has.
    lengths = [one for one in lengths if one == 0 or names("", one) or (tier and names(tier, one))]
    return _under(price, tier, bucket, lengths, names)


def _under(price: Price, tier: str, bucket: str, lengths: list[int], names: object) -> int | None:
    length = lengths[-1]
    own = price.buckets.get(bucket_name(tier, bucket, length))
    if own is not None:
        return own
    if tier and (length == 0 or names("", length)):  # type: ignore[operator]
        return _under(price, "", bucket, [one for one in lengths if one == 0 or names("", one)], names)  # type: ignore[operator]
    return _under(price, tier, bucket, lengths[:-1], names) if length else None


@given(PRICES, USAGES, st.booleans())
def test_a_charge_is_the_exact_cost_rounded_up_once_and_its_lines_add_up(
    price: Price, used: Usage, answered: bool
) -> None:
    made = charge(price, used, answered=answered)
    said = {name: named_rate(price, used.service_tier, name, used.prompt_tokens) for name in BUCKETS}
    rates = rates_of({name: rate for name, rate in said.items() if rate is not None})
    exact = sum(Fraction(n * rate, 1_000_000) for n, rate in zip(counts(used), rates, strict=False))
    assert made.cost_nano_usd == math.ceil(exact + (rates.request if answered else 0))
    assert sum(line.cost_nano_usd for line in made.lines) == made.cost_nano_usd
    assert all(line.cost_nano_usd >= 0 and line.tokens > 0 for line in made.lines)


@given(st.lists(PRICES, min_size=1, max_size=4), USAGES, st.integers(0, 3))
def test_nothing_within_the_bounds_costs_more_than_the_worst_case(prices: list[Price], used: Usage, which: int) -> None:
    given_ = Input(used.prompt_tokens, used.audio_seconds, used.input_characters)
    bounding = [price.in_any_tier for price in prices] if used.service_tier else prices
    bound = worst_case(bounding, given_, spent(used, OUTPUT))
    assert used.prompt_tokens == spent(used, INPUT)
    assert charge(prices[which % len(prices)], used, answered=True).cost_nano_usd <= bound


@given(st.lists(PRICES, min_size=1, max_size=3), TOKENS, TOKENS, TOKENS)
def test_a_shorter_prompt_or_answer_is_never_held_dearer(prices: list[Price], one: int, other: int, wrote: int) -> None:
    short, long = sorted((one, other))
    assert worst_case(prices, Input(short), wrote) <= worst_case(prices, Input(long), wrote)
    assert worst_case(prices, Input(long), wrote) <= worst_case(prices, Input(long), wrote + 1)


def test_the_whole_request_is_charged_by_the_length_of_its_prompt() -> None:
    price = Price(1, "p", "m", {"input": 10**6, "output": 10**7, "input>200": 2 * 10**6, "output>200": 10**8}, "config")
    for read, cached, written, cost in ((200, 0, 0, 210), (201, 0, 0, 502), (100, 100, 0, 210), (100, 50, 51, 502)):
        used = Usage(input=read, input_cached=cached, cache_write=written, output=1)
        assert charge(price, used, answered=True).cost_nano_usd == cost, used
    assert [line.bucket for line in charge(price, Usage(input=201), answered=True).lines] == ["input>200"]
    assert worst_case([price], Input(200), 1) == 210 and worst_case([price], Input(201), 1) == 502
    assert affordable_output([price], Input(201), 600, 10) == 1, "not the four that the short price would pay for"


def test_a_service_tier_has_its_own_rates_and_a_discount_is_never_counted_on() -> None:
    buckets = {
        "input": 10**6,
        "output": 2 * 10**6,
        "flex:input": 500_000,
        "flex:output": 10**6,
        "priority:input": 10**7,
    }
    price = Price(1, "p", "m", buckets, "config")
    used = Usage(input=100, output=100)
    for tier, cost in (("", 300), ("flex", 150), ("priority", 1200), ("scale", 300)):
        assert charge(price, used._replace(service_tier=tier), answered=True).cost_nano_usd == cost, tier
    assert worst_case([price.in_any_tier], Input(100), 100) == 1200
    assert worst_case([price], Input(100), 100) == 300
    book = Book(PriceBook([price]), 100)
    op = Reserve("r", "o", "q", (), (("p", "m"),), 100, 100, b"", dt.datetime(2026, 1, 1, tzinfo=dt.UTC), 60)
    assert book.reserve(op).amount_nano_usd == 300
    named = dataclasses.replace(op, reservation_id="r2", request_id="q2", names_service_tier=True)
    assert book.reserve(named).amount_nano_usd == 1200
    cheaper = Price(1, "p", "m", {name: rate for name, rate in buckets.items() if "priority" not in name}, "config")
    assert worst_case([cheaper.in_any_tier], Input(100), 100) == 300


def test_a_tier_without_a_price_for_long_prompts_pays_the_standard_one() -> None:
    price = Price(1, "p", "m", {"input": 4, "output": 4, "input>9": 8, "flex:input": 2, "flex:output": 2}, "config")
    long, short = Usage(input=10, service_tier="flex"), Usage(input=9, service_tier="flex")
    assert [price.tariff_for(one).rates.input for one in (long, short)] == [8, 2]


def test_names_from_a_newer_program_are_left_alone() -> None:
    odd = {"input": 3, "output": 5, "video": 7, "input>": 9, "input>2>3": 9, "Flex:input": 9, "input<9": 9}
    price = Price(1, "p", "m", odd, "config")
    assert len(price.tariffs) == 1 and price.rates == rates_of({"input": 3, "output": 5})


@given(
    st.lists(PRICES, min_size=1, max_size=4),
    TOKENS,
    st.lists(st.tuples(TOKENS, st.integers(0, 3)), min_size=1, max_size=4),
    st.sampled_from(["", *TIERS]),
)
def test_an_answer_in_parts_from_any_candidates_costs_no_more_than_its_bound(
    prices: list[Price], input_tokens: int, parts: list[tuple[int, int]], tier: str
) -> None:
    """Every part sends the input and what was shown before it, and adds its own output. Each but the first also says
    what is wished, and is given one token where nothing is left of the limit."""
    bounding = [price.in_any_tier for price in prices] if tier else prices
    bound = worst_case_rescued(bounding, Input(input_tokens), sum(tokens for tokens, _ in parts), len(parts) - 1)
    cost = shown = 0
    for number, (tokens, which) in enumerate(parts):
        later = min(number, 1)
        used = Usage(input=input_tokens + shown + later * SEAM_TOKENS, output=tokens + later, service_tier=tier)
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
        assert worst_case(prices, Input(tokens), cap) <= left or all(p.is_free for p in prices)
    if cap < wanted:
        assert worst_case(prices, Input(tokens), max(cap, 0) + 1) > left


def test_missing_buckets_fall_back_to_their_direction() -> None:
    assert rates_of({"input": 10, "output": 30}) == (10, 10, 10, 30, 30, 0, 0, 10, 10, 10, 10, 30, 30, 0)
    assert rates_of({"cache_write": 7, "input_cached": 1}).input == 7
    assert rates_of({"input": 10}).output == 10
    assert rates_of({}) == (0,) * len(BUCKETS)
    assert rates_of({"input": 10, "cache_write": 12}).cache_write_1h == 12
    assert rates_of({"input_audio": 9}).input == 9 and rates_of({"input": 3, "input_audio": 9}).input_audio_cached == 9


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
    assert rates_of({"input": 10, "input_cached": 0, "output": 0}) == (10, 0, 10, 0, 0, 0, 0, 10, 10, 0, 10, 0, 0, 0)


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


NOW = dt.datetime(2026, 11, 21, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)


def proposal(source: str, rate: int | None, valid_from: dt.datetime | None = None, model: str = "m") -> Proposal:
    return Proposal("p", model, None if rate is None else {"input": rate}, source, valid_from)


def test_of_dated_prices_the_last_that_has_begun_counts_and_the_rest_are_to_come() -> None:
    said = [proposal("config", 1), proposal("config", 2, NOW), proposal("config", 3, NOW + DAY)]
    assert divided(said, NOW) == ([proposal("config", 2)], [said[2]])
    assert divided(said, NOW - DAY) == ([proposal("config", 1)], said[1:])
    assert divided(said, NOW + DAY) == ([proposal("config", 3)], [])
    assert divided(said[2:], NOW) == ([proposal("config", None)], said[2:]), "nothing has begun: none is known"


def test_on_its_day_a_price_counts_in_the_order_of_the_sources() -> None:
    for now, due, counts in (
        ("catalog", "operator", True),
        ("catalog", "config", True),
        ("catalog", "catalog", True),
        ("operator", "operator", True),
        ("operator", "config", True),
        ("operator", "catalog", False),
        ("config", "operator", False),
        ("config", "catalog", False),
        ("config", "config", True),
        ("fetched", "catalog", True),
    ):
        book = PriceBook([Price(1, "p", "m", {"input": 1}, now)])
        assert bool(book.begun([proposal(due, 2, NOW)])) == counts, (now, due)
    empty = PriceBook([])
    assert empty.begun([proposal("catalog", 2, NOW)]) == [proposal("catalog", 2, NOW)]


def test_of_several_that_are_due_the_last_of_the_first_source_counts() -> None:
    book = PriceBook([Price(1, "p", "m", {"input": 1}, "catalog")])
    due = [proposal("operator", 4, NOW + DAY), proposal("catalog", 5, NOW + 2 * DAY), proposal("operator", 3, NOW)]
    assert book.begun(due) == [due[0]]
    assert book.begun([proposal("catalog", 1, NOW)]) == [], "what counts already is no change"


def test_a_file_without_a_price_takes_nothing_from_the_operator() -> None:
    book = PriceBook([Price(1, "p", "m", {"input": 1}, "operator")])
    assert book.changes([proposal("config", None)]) == []
    assert book.changes([proposal("config", 2)]) == [proposal("config", 2)]


def test_the_next_change_is_the_first_of_those_to_come() -> None:
    book = PriceBook()
    assert book.next_change is None
    book.scheduled = [proposal("config", 1, NOW + DAY), proposal("operator", 1, NOW)]
    assert book.next_change == NOW
