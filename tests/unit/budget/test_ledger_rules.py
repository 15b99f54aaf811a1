"""What the ledger's rules say beside the sums: refusals, the lines of the ledger, records, warnings."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

from dac.budget.v1 import budget_pb2
from dac.type.v1 import principal_pb2
from mesh.errors import MeshError, Reason
from services.budget.ledger.ledger import Book, apply
from services.budget.ledger.operations import About, Adjust, Adjusted, Attempt, Extend, Reserve, Resolve, Settlement
from services.budget.ledger.rows import (
    STOP,
    Alert,
    Counter,
    CounterKey,
    Level,
    LevelKind,
    Limit,
    Reservation,
    State,
    model_selectors,
    thresholds_crossed,
)
from services.budget.ledger.windows import EPOCH, Window
from services.budget.prices.book import PriceBook
from services.budget.prices.money import Price, Usage

NOW = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
ORG, KEY = Level("o", LevelKind.ORG, "o"), Level("o", LevelKind.KEY, "k")
SMALL, LARGE, UNKNOWN, FREE = ("a", "a/small"), ("b", "b/large"), ("c", "c/new"), ("f", "f/free")


def book(*limits: Limit) -> Book:
    prices = [
        Price(1, *SMALL, {"input": 10**6, "output": 2 * 10**6}, "config"),
        Price(4, *LARGE, {"input": 3 * 10**6, "output": 5 * 10**6}, "config"),
    ]
    made = Book(PriceBook(prices), 8)
    for limit in limits:
        made.limits.setdefault(limit.level, []).append(limit)
        made.counters[limit.key_at(NOW)] = Counter(limit=limit)
    return made


def asking(**fields: Any) -> Reserve:
    op = Reserve("r", "o", "q", (ORG, KEY), (SMALL,), 10, 5, b"h", NOW, 60.0, draft=b"draft")
    return dataclasses.replace(op, **fields)


def resolving(to: State, *attempts: Attempt, **fields: Any) -> Resolve:
    return dataclasses.replace(Resolve("o", "q", "r", to, NOW, attempts), **fields)


def hold(made: Book, **fields: Any) -> Reservation:
    held = apply(made, asking(**fields))
    assert isinstance(held, Reservation), held
    return held


def refused(decision: object, reason: Reason) -> MeshError:
    assert isinstance(decision, MeshError) and decision.reason is reason, decision
    return decision


def test_a_reservation_carries_what_is_needed_to_end_it() -> None:
    limit = Limit("b", ORG, Window.DAY, 1000)
    made = book(limit, Limit("m", KEY, Window.NONE, None, selector="model:a/*"))
    held = hold(made, candidates=(SMALL, LARGE, UNKNOWN), rescues=1)
    assert (held.state, held.expires_at, held.draft, held.body_hash) == (
        State.OPEN,
        NOW + dt.timedelta(minutes=1),
        b"draft",
        b"h",
    )
    assert (held.price_version, held.is_hard, held.rescues) == (4, True, 1)
    assert held.counters == (limit.key_at(NOW), CounterKey("o", "m", EPOCH))
    assert held.selectors == ("", "model:a/*")
    assert held.soft_excess == ()
    assert made.made == [held] and made.touched == set(held.counters)


def test_without_a_hard_limit_nothing_is_capped_and_no_price_is_needed() -> None:
    for limits in ((), (Limit("b", ORG, Window.DAY, None),), (Limit("b", ORG, Window.DAY, 1, is_hard=False),)):
        held = hold(book(*limits), candidates=(UNKNOWN, SMALL))
        assert (held.is_hard, held.output_cap_tokens, held.covered_output_tokens) == (False, 0, 0)
        assert held.amount_nano_usd == 20
        held = hold(book(*limits), candidates=(UNKNOWN,))
        assert (held.amount_nano_usd, held.price_version) == (0, 0)
    found = refused(apply(book(Limit("b", ORG, Window.DAY, 1)), asking(candidates=(UNKNOWN,))), Reason.PRICE_UNKNOWN)
    assert found.metadata["model"] == "c/new"


def test_a_soft_limit_says_by_how_much_it_is_exceeded() -> None:
    soft = Limit("b", ORG, Window.DAY, 30, is_hard=False)
    made = book(soft)
    assert hold(made).soft_excess == ()
    (excess,) = hold(made, request_id="q2", reservation_id="r2").soft_excess
    assert (excess.limit, excess.used_nano_usd) == (soft, 40)
    exact = book(dataclasses.replace(soft, limit_nano_usd=20))
    assert hold(exact).soft_excess == (), "up to the limit is not beyond it"


def test_a_refusal_names_the_level_what_is_left_and_when_it_begins_anew() -> None:
    made = book(Limit("b", ORG, Window.NONE, 10**6), Limit("d", KEY, Window.DAY, 21, "UTC", "model:a/small"))
    hold(made)
    found = refused(apply(made, asking(request_id="q2", reservation_id="r2")), Reason.BUDGET_EXHAUSTED)
    assert found.metadata == {
        "level": "key",
        "level_id": "k",
        "limit_nano_usd": "21",
        "remaining_nano_usd": "1",
        "model": "a/small",
        "resets_at": "2026-11-22T00:00:00Z",
    }
    assert found.retry_after_s == 12 * 3600
    made.counters[CounterKey("o", "d", NOW.replace(hour=0))].committed = 100
    found = refused(apply(made, asking(request_id="q2", reservation_id="r2")), Reason.BUDGET_EXHAUSTED)
    assert found.metadata["remaining_nano_usd"] == "0", "never less than nothing"
    never = refused(apply(book(Limit("b", ORG, Window.NONE, 0)), asking()), Reason.BUDGET_EXHAUSTED)
    assert never.retry_after_s is None and "never resets" in never.message


def test_the_emergency_stop_refuses_reservations_and_extensions_and_says_why() -> None:
    stop = Limit("s", ORG, Window.NONE, 0, selector=STOP, note="a leak")
    found = refused(apply(book(stop), asking()), Reason.SPENDING_STOPPED)
    assert "(a leak)" in found.message
    made = book(Limit("b", ORG, Window.DAY, 1000))
    held = hold(made, max_output_tokens=0, covers_in_steps=True)
    made.limits[ORG].append(stop)
    more = Extend("o", "q", "r", *SMALL, 20, NOW, 600.0)
    refused(apply(made, more), Reason.SPENDING_STOPPED)
    assert (held.covered_output_tokens, made.extended) == (8, {})
    made.limits[ORG].remove(stop)
    assert apply(made, more) is held and held.covered_output_tokens == 20
    assert made.extended == {"r": held} and held.expires_at == NOW + dt.timedelta(minutes=10)


def test_an_extension_never_shortens_a_life_and_is_of_no_use_where_all_is_covered() -> None:
    made = book(Limit("b", ORG, Window.DAY, 1000))
    held = hold(made)
    before = (held.amount_nano_usd, held.expires_at)
    assert apply(made, Extend("o", "q", "r", *SMALL, 5000, NOW, 1.0)) is held
    assert (held.amount_nano_usd, held.expires_at) == before
    refused(apply(made, Extend("o", "q2", "r", *SMALL, 5000, NOW)), Reason.RESERVATION_INVALID)
    apply(made, resolving(State.RELEASED))
    refused(apply(made, Extend("o", "q", "r", *SMALL, 5000, NOW)), Reason.RESERVATION_INVALID)
    made = book(Limit("b", ORG, Window.DAY, 1000))
    hold(made, max_output_tokens=0, covers_in_steps=True)
    refused(apply(made, Extend("o", "q", "r", *UNKNOWN, 9, NOW)), Reason.PRICE_UNKNOWN)


def test_an_extension_goes_down_to_one_token_and_a_limit_of_nought_stops_even_a_free_one() -> None:
    free = Price(9, "f", "f/free", {}, "config")
    for limit, covered in ((22, 8), (23, 9), (24, 9), (25, 10)):
        made = book(Limit("b", ORG, Window.DAY, limit))
        made.prices.add([free])
        held = hold(made, max_output_tokens=0, covers_in_steps=True, input_tokens_max=5, candidates=(SMALL, FREE))
        answer = apply(made, Extend("o", "q", "r", *SMALL, 10, NOW))
        assert held.covered_output_tokens == covered, limit
        if covered == 8:
            assert refused(answer, Reason.BUDGET_EXHAUSTED).metadata["remaining_nano_usd"] == "1"
    assert apply(made, Extend("o", "q", "r", *FREE, 100, NOW)) is held and held.covered_output_tokens == 100
    (counter,) = made.counters.values()
    counter.limit = Limit("b", ORG, Window.DAY, 0)
    refused(apply(made, Extend("o", "q", "r", *FREE, 200, NOW)), Reason.BUDGET_EXHAUSTED)


def test_another_whole_answer_is_held_besides_at_every_level_or_nowhere() -> None:
    organisation, key = Limit("b", ORG, Window.DAY, 1000), Limit("d", KEY, Window.DAY, 59)
    made = book(organisation, key)
    held = hold(made)
    first = held.amount_nano_usd
    again = Extend("o", "q", "r", "", "", 10, NOW, again=(SMALL,), input_tokens_max=first - 20)
    assert apply(made, again) is held and held.amount_nano_usd == 2 * first == 40
    assert [one.reserved for one in made.counters.values()] == [40, 40] and made.extended == {"r": held}
    found = refused(apply(made, again), Reason.BUDGET_EXHAUSTED)
    assert found.metadata["level"] == "key" and [one.reserved for one in made.counters.values()] == [40, 40]
    refused(apply(made, dataclasses.replace(again, again=(SMALL, UNKNOWN))), Reason.PRICE_UNKNOWN)
    apply(made, resolving(State.COMMITTED, Attempt("x", *SMALL, Usage(output=3), True)))
    assert [(one.committed, one.reserved) for one in made.counters.values()] == [(6, 0), (6, 0)]


def test_a_budget_that_was_deleted_meanwhile_counts_nothing_more() -> None:
    kept, gone = Limit("b", ORG, Window.DAY, 1000), Limit("d", KEY, Window.DAY, 21)
    made = book(kept, gone)
    held = hold(made, max_output_tokens=0, covers_in_steps=True, input_tokens_max=1)
    del made.counters[gone.key_at(NOW)]
    apply(made, Extend("o", "q", "r", *SMALL, 50, NOW))
    assert (held.covered_output_tokens, made.counters[kept.key_at(NOW)].reserved) == (50, 101)
    apply(made, resolving(State.COMMITTED, Attempt("x", *SMALL, Usage(output=30), True)))
    counter = made.counters[kept.key_at(NOW)]
    assert (counter.committed, counter.reserved, held.state) == (60, 0, State.COMMITTED)


def test_two_corrections_in_one_batch_know_of_each_other() -> None:
    made = book(Limit("b", ORG, Window.DAY, 1000))
    hold(made)
    apply(made, resolving(State.COMMITTED, Attempt("x", *SMALL, Usage(output=5), True)))
    made.charged["o", "r"] = list(made.entries)
    change = Adjust("o", "q", "c1", -6, "", NOW, ("record", b""))
    assert apply(made, change) == Adjusted(4)
    refused(apply(made, dataclasses.replace(change, adjustment_id="c2")), Reason.INVALID_REQUEST)
    assert apply(made, change) == Adjusted(4, is_repeat=True)


def test_the_ledgers_lines_say_what_they_were_for() -> None:
    limit = Limit("b", ORG, Window.DAY, 1000)
    made = book(limit)
    hold(made, candidates=(SMALL, LARGE))
    first = Attempt("x", *SMALL, Usage(input=3, input_cached=1, output=2), answered=True)
    second = Attempt("x", *LARGE, Usage(input=10, output=9), answered=True)
    seen: list[Settlement] = []

    def seal(settlement: Settlement) -> bytes:
        seen.append(settlement)
        return b"sealed"

    told = About("chat", ("org:o",), ("env=prod",))
    made_of_it = apply(made, resolving(State.COMMITTED, first, second, seal=seal, about=told))
    assert isinstance(made_of_it, Settlement) and seen == [made_of_it]
    assert (made_of_it.cost_nano_usd, made_of_it.reserved_nano_usd, made_of_it.is_repeat) == (83, 55, False)
    one, other, overrun = made.entries
    assert (one.attempt_id, one.kind, one.amount_nano_usd, one.price_version) == ("0:x", "commit", 8, 1)
    assert (one.provider, one.model, one.tokens) == (*SMALL, (3, 1, 0, 2, 0))
    assert (one.operation, one.path, one.tags, one.counters) == (
        "chat",
        ("org:o",),
        ("env=prod",),
        (limit.key_at(NOW),),
    )
    assert (other.attempt_id, other.amount_nano_usd, other.price_version) == ("1:x", 75, 4)
    assert (overrun.attempt_id, overrun.kind, overrun.amount_nano_usd) == ("", "overrun", 28)
    assert (overrun.provider, overrun.tokens, overrun.operation) == ("", (0, 0, 0, 0, 0), "chat")
    assert [(r.org_id, r.request_id, r.sealed) for r in made.records] == [("o", "q", b"sealed")]
    again = apply(made, resolving(State.RELEASED, seal=seal))
    assert isinstance(again, Settlement) and (again.is_repeat, again.state, again.cost_nano_usd) == (
        True,
        State.COMMITTED,
        83,
    )
    assert again.reserved_nano_usd == 55 and len(made.records) == len(seen) == 1


def test_a_charge_of_exactly_what_was_held_is_no_overrun() -> None:
    made = book(Limit("b", ORG, Window.DAY, 1000))
    hold(made)
    apply(made, resolving(State.COMMITTED, Attempt("x", *SMALL, Usage(input=10, output=5), answered=True)))
    assert [entry.kind for entry in made.entries] == ["commit"]


def test_a_record_that_cannot_be_sealed_changes_nothing() -> None:
    made = book(Limit("b", ORG, Window.DAY, 1000))
    held = hold(made)

    def broken(settlement: Settlement) -> bytes:
        raise ValueError("broken record")

    try:
        apply(made, resolving(State.COMMITTED, seal=broken))
    except ValueError:
        pass
    assert held.state is State.OPEN and not made.entries and not made.resolved


def test_a_correction_is_a_line_like_the_one_it_corrects() -> None:
    limit = Limit("b", ORG, Window.DAY, 1000, thresholds_percent=(5, 10))
    made = book(limit)
    hold(made, candidates=(SMALL, LARGE))
    used = [Attempt("x", *SMALL, Usage(output=4), True), Attempt("y", *LARGE, Usage(output=8), True)]
    apply(made, resolving(State.COMMITTED, *used))
    assert made.alerts == []
    made.charged["o", "r"] = list(made.entries)
    change = Adjust("o", "q", "c1", 60, "y", NOW, ("record", b"admin"))
    assert apply(made, change) == Adjusted(108)
    line = made.entries[-1]
    assert (line.kind, line.attempt_id, line.amount_nano_usd, line.model, line.tokens) == (
        *("adjust", "c1", 60, "b/large"),
        (0, 0, 0, 0, 0),
    )
    assert made.alerts == [Alert(limit.key_at(NOW), 5, 108, 1000), Alert(limit.key_at(NOW), 10, 108, 1000)]
    assert [(r.org_id, r.request_id, r.sealed) for r in made.admin_records] == [("o", "record", b"admin")]
    assert apply(made, change) == Adjusted(108, is_repeat=True)
    refused(apply(made, dataclasses.replace(change, amount_nano_usd=61)), Reason.REQUEST_ID_CONFLICT)
    unclear = refused(
        apply(made, dataclasses.replace(change, adjustment_id="c2", attempt_id="")), Reason.INVALID_REQUEST
    )
    assert "x, y" in unclear.message
    too_much = dataclasses.replace(change, adjustment_id="c3", amount_nano_usd=-101)
    assert refused(apply(made, too_much), Reason.INVALID_REQUEST).metadata == {"field": "amount_nano_usd"}
    assert apply(made, dataclasses.replace(too_much, amount_nano_usd=-100)) == Adjusted(8)
    assert len(made.admin_records) == 2


def test_what_was_not_charged_is_not_corrected() -> None:
    made = book()
    change = Adjust("o", "q", "c1", 5, "", NOW, ("record", b""))
    refused(apply(made, change), Reason.NOT_FOUND)
    hold(made)
    refused(apply(made, change), Reason.NOT_FOUND)
    apply(made, resolving(State.RELEASED))
    refused(apply(made, change), Reason.NOT_FOUND)


def test_thresholds_are_asked_for_only_where_one_may_be_crossed() -> None:
    key = CounterKey("o", "b", EPOCH)
    counter = Counter(committed=49, limit=Limit("b", ORG, Window.NONE, 99))
    assert thresholds_crossed(key, counter) == [] and counter.next_alert == 50
    counter.committed = 50
    assert thresholds_crossed(key, counter) == [Alert(key, 50, 50, 99)] and counter.next_alert == 80
    counter.committed = 99
    assert [one.threshold_percent for one in thresholds_crossed(key, counter)] == [50, 80, 95, 100]
    assert counter.next_alert is None
    counter.committed = 10**6
    assert thresholds_crossed(key, counter) == []
    for limit in (None, 0):
        counter = Counter(committed=5, limit=Limit("b", ORG, Window.NONE, limit))
        assert thresholds_crossed(key, counter) == [] and counter.next_alert is None
    unread = Counter(committed=5)
    assert thresholds_crossed(key, unread) == [] and unread.next_alert == 0, "of a budget that is gone nothing is said"


def test_numbers_that_are_stored_are_those_of_the_contract() -> None:
    assert {f"KIND_{one.name}": one for one in LevelKind}.items() <= dict(principal_pb2.Level.Kind.items()).items()
    assert {f"WINDOW_{one.name}": one for one in Window}.items() <= dict(budget_pb2.Window.items()).items()
    assert [(one.name, int(one)) for one in State] == [
        *(("OPEN", 0), ("COMMITTED", 1), ("RELEASED", 2), ("INDETERMINATE", 3))
    ]


def test_a_model_is_matched_by_itself_and_by_every_beginning_that_ends_with_a_slash() -> None:
    assert model_selectors("a/b/c") == ("model:a/b/c", "model:a/*", "model:a/b/*")
    assert model_selectors("plain") == ("model:plain",)
    key = CounterKey("o", "b", EPOCH)
    held = Reservation(
        "r", "o", "q", 1, State.OPEN, NOW, b"", 1, 0, (key, key._replace(budget_id="all")), ("model:a/*",)
    )
    assert held.counters_of("a/b") == held.counters, "a counter without a selector counts everything"
    assert held.counters_of("b/a") == held.counters[1:]
    assert dataclasses.replace(held, selectors=()).counters_of("b/a") == held.counters


def test_a_price_that_was_withdrawn_charges_nothing_beside_one_that_counts() -> None:
    """The version of a reservation is not older than the withdrawal: as of an older one the candidate had a price."""
    made = book()
    made.prices.add([Price(5, *LARGE, {}, "config", known=False)])
    held = hold(made, candidates=(SMALL, LARGE))
    assert held.price_version == 5
    used = Attempt("a", *LARGE, Usage(input=10, output=5), answered=True)
    ended = apply(made, resolving(State.COMMITTED, used))
    assert isinstance(ended, Settlement) and ended.cost_nano_usd == 0
