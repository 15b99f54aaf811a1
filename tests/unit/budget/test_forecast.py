"""The forecast: steady spending is foretold exactly, and nothing is said that is not known."""

from __future__ import annotations

import datetime as dt

from hypothesis import assume, given
from hypothesis import strategies as st

from services.budget.alerts.forecast import DAY, MOST_NANO_USD, Forecast, forecast

START = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
END = dt.datetime(2026, 12, 1, tzinfo=dt.UTC)
MONEY = st.integers(0, 10**15)


def foretold(
    *,
    days: float,
    spent: int,
    recent: int = 0,
    limit: int | None = 10**12,
    end: dt.datetime | None = END,
    since: dt.datetime = START,
) -> Forecast | None:
    return forecast(
        start=START,
        end=end,
        counted_since=since,
        now=START + dt.timedelta(days=days),
        spent_nano_usd=spent,
        recent_nano_usd=recent,
        limit_nano_usd=limit,
    )


def test_steady_spending_is_foretold_exactly() -> None:
    found = foretold(days=10, spent=10 * 10**9, recent=10**9, limit=20 * 10**9)
    assert found == Forecast(30 * 10**9, START + dt.timedelta(days=20))
    assert foretold(days=10, spent=10 * 10**9, recent=10**9, limit=30 * 10**9) == Forecast(30 * 10**9, None)


def test_the_last_day_counts_as_much_as_all_before() -> None:
    calm_then_busy = foretold(days=10, spent=10 * 10**9, recent=5 * 10**9, limit=None)
    assert calm_then_busy == Forecast(10 * 10**9 + 20 * 3 * 10**9, None)
    assert foretold(days=10, spent=10 * 10**9, recent=0, limit=None) == Forecast(20 * 10**9, None)


def test_nothing_is_said_while_too_little_is_known() -> None:
    assert foretold(days=0.99, spent=10**9) is None
    assert foretold(days=1, spent=10**9) is not None
    # Counting began with the budget, not with the window.
    assert foretold(days=10, spent=10**9, since=START + dt.timedelta(days=9.5)) is None
    an_hour = START + dt.timedelta(hours=1)
    assert foretold(days=5 / 1440, spent=10**9, end=an_hour) is None
    assert foretold(days=6 / 1440, spent=10**9, end=an_hour) == Forecast(10 * 10**9, None)
    assert foretold(days=30, spent=10**9) is None, "the window is over"


def test_what_is_used_up_is_used_up_now() -> None:
    found = foretold(days=3, spent=10**9, limit=10**9)
    assert found is not None and found.exhausted_at == START + dt.timedelta(days=3)
    blocked = foretold(days=3, spent=0, limit=0)
    assert blocked == Forecast(0, START + dt.timedelta(days=3))


def test_a_window_that_never_ends_is_looked_at_for_a_month() -> None:
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    now = START + dt.timedelta(days=10)
    asked = {"start": epoch, "end": None, "counted_since": START, "now": now, "recent_nano_usd": 10**9}
    assert forecast(**asked, spent_nano_usd=10**10, limit_nano_usd=10**12) == Forecast(4 * 10**10, None)  # type: ignore[arg-type]
    found = forecast(**asked, spent_nano_usd=10**10, limit_nano_usd=2 * 10**10)  # type: ignore[arg-type]
    assert found is not None and found.exhausted_at == now + dt.timedelta(days=10)


def test_what_was_given_back_is_no_pace() -> None:
    assert foretold(days=10, spent=10**9, recent=-(10**9), limit=None) == Forecast(2 * 10**9, None)


@given(st.floats(1, 29.9), MONEY, MONEY, st.none() | MONEY)
def test_what_holds_of_every_forecast(days: float, spent: int, recent: int, limit: int | None) -> None:
    recent = min(recent, spent)
    found = foretold(days=days, spent=spent, recent=recent, limit=limit)
    now = START + dt.timedelta(days=days)
    assert found is not None and spent <= found.spent_nano_usd <= MOST_NANO_USD
    left = (END - now) / DAY
    mean, last = spent / days, recent if days > 1 else spent / days
    assert min(mean, last) * left * 0.999 - 2 <= found.spent_nano_usd - spent <= max(mean, last) * left * 1.001 + 2
    if found.exhausted_at is not None:
        assert limit is not None and now <= found.exhausted_at < END
        assert spent >= limit or found.spent_nano_usd >= limit - 1
    elif limit is not None:
        assert found.spent_nano_usd <= limit


@given(st.floats(1, 29.9), MONEY, MONEY, st.integers(0, 10**14), MONEY)
def test_more_spending_never_foretells_less(days: float, spent: int, recent: int, more: int, limit: int) -> None:
    recent = min(recent, spent)
    one = foretold(days=days, spent=spent, recent=recent, limit=limit)
    other = foretold(days=days, spent=spent + more, recent=recent + more, limit=limit)
    assert one is not None and other is not None and other.spent_nano_usd >= one.spent_nano_usd
    assume(one.exhausted_at is not None)
    assert other.exhausted_at is not None and one.exhausted_at is not None
    assert other.exhausted_at <= one.exhausted_at
