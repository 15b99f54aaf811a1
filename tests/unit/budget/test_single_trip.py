"""What is held without asking the ledger is what the ledger would hold."""

from __future__ import annotations

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from services.budget.ledger.ledger import Book
from services.budget.ledger.operations import Reserve
from services.budget.ledger.rows import Counter, Level, Limit
from services.budget.ledger.single_trip import SingleTripStore
from services.budget.ledger.windows import Window
from services.budget.prices.book import PriceBook
from services.budget.prices.money import Price

NOW = dt.datetime(2026, 11, 21, 12, 0, 30, tzinfo=dt.UTC)
LEVEL = Level("org", 1, "org")
PRICES = PriceBook(
    [
        Price(1, "p", "dear", {"input": 10**6, "output": 3 * 10**6, "request": 7}, "config"),
        Price(2, "p", "cheap", {"input": 10**5, "output": 10**5}, "config"),
        Price(3, "p", "free", {}, "config"),
    ]
)
DEFAULT_TOKENS = 64


@given(
    names=st.lists(st.sampled_from(["dear", "cheap", "free"]), min_size=1, max_size=3, unique=True),
    tokens=st.integers(0, 500),
    output=st.sampled_from([0, 1, DEFAULT_TOKENS, DEFAULT_TOKENS + 1, 5000]),
    rescues=st.integers(0, 3),
    in_steps=st.booleans(),
)
def test_a_reservation_that_fits_whole_is_the_one_the_ledger_makes(
    names: list[str], tokens: int, output: int, rescues: int, in_steps: bool
) -> None:
    candidates = tuple(("p", name) for name in names)
    op = Reserve(
        *("r", "org", "q", (LEVEL,), candidates, tokens, output, b"body", NOW, 60.0, b"draft", rescues),
        covers_in_steps=in_steps,
    )
    limit = Limit("b", LEVEL, Window.NONE, 10**15)
    book = Book(PRICES, DEFAULT_TOKENS, {LEVEL: [limit]}, {limit.key_at(NOW): Counter()})
    wanted = book.reserve(op)
    store = SingleTripStore(None, PRICES, DEFAULT_TOKENS, None)  # type: ignore[arg-type]
    prices = [price for candidate in candidates if (price := PRICES.in_force(*candidate)) is not None]
    made = store._whole(op, prices)
    made.counters, made.selectors = wanted.counters, wanted.selectors  # The statement's to say.
    assert made == wanted
