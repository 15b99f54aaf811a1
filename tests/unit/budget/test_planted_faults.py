"""Each guard is taken away once, and the campaigns must find it: a campaign that cannot fail is worthless."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis.stateful import run_state_machine_as_test

from mesh.errors import MeshError
from services.budget.ledger import ledger, rows, store
from services.budget.ledger.ledger import Book
from services.budget.ledger.operations import Adjust, Extend, Reserve, Resolve
from services.budget.ledger.rows import LevelKind, Limit, Reservation, State
from services.budget.ledger.writer import Writer
from services.budget.prices import money
from tests.unit.budget.simulation.ledger_machine import LedgerMachine
from tests.unit.budget.simulation.replicas import play
from tests.unit.budget.simulation.rows_in_memory import Login, Session

pytestmark = pytest.mark.timeout(240)

HISTORIES = 400
SEEDS = 400
Patch = pytest.MonkeyPatch


def nothing_held_counts(patch: Patch) -> None:
    real = Book._affordable

    def unreserved(self: Book, op: Reserve, limit: Limit, *rest: Any) -> int:
        counter = self.counters[limit.key_at(op.now)]
        held, counter.reserved = counter.reserved, 0
        try:
            return real(self, op, limit, *rest)
        finally:
            counter.reserved = held

    patch.setattr(Book, "_affordable", unreserved)


def only_the_first_limit_is_asked(patch: Patch) -> None:
    real = Book.limits_of
    patch.setattr(Book, "limits_of", lambda self, op: real(self, op)[:1])


def a_retry_is_held_again(patch: Patch) -> None:
    real = Book.reserve

    def forgetful(self: Book, op: Reserve) -> Reservation:
        self.by_request.pop((op.org_id, op.request_id), None)
        return real(self, op)

    patch.setattr(Book, "reserve", forgetful)


def another_body_is_the_same_request(patch: Patch) -> None:
    real = Book.reserve

    def trusting(self: Book, op: Reserve) -> Reservation:
        known = self.by_request.get((op.org_id, op.request_id))
        return known if known is not None else real(self, op)

    patch.setattr(Book, "reserve", trusting)


def a_second_commit_charges_again(patch: Patch) -> None:
    real = Book.resolve

    def again(self: Book, op: Resolve) -> Any:
        held = self.reservations.get((op.org_id, op.reservation_id))
        if held is not None and held.state is State.COMMITTED:
            held.state = State.OPEN
        return real(self, op)

    patch.setattr(Book, "resolve", again)


def the_sweeper_gives_back(patch: Patch) -> None:
    real = Book.resolve

    def generous(self: Book, op: Resolve) -> Any:
        if op.to is State.INDETERMINATE:
            op = dataclasses.replace(op, to=State.RELEASED)
        return real(self, op)

    patch.setattr(Book, "resolve", generous)


def what_was_used_is_released(patch: Patch) -> None:
    real = Book.resolve

    def careless(self: Book, op: Resolve) -> Any:
        return real(self, dataclasses.replace(op, attempts=()) if op.to is State.RELEASED else op)

    patch.setattr(Book, "resolve", careless)


def the_window_is_that_of_the_commit(patch: Patch) -> None:
    real = Book.resolve

    def late(self: Book, op: Resolve) -> Any:
        held = self.reservations.get((op.org_id, op.reservation_id))
        if held is not None and held.state is State.OPEN:
            limits = [self.counters[key].limit for key in held.counters if key in self.counters]
            held.counters = tuple(limit.key_at(op.now) for limit in limits if limit is not None)
        return real(self, op)

    patch.setattr(Book, "resolve", late)


def windows_are_utc(patch: Patch) -> None:
    real = Limit.key_at
    patch.setattr(Limit, "key_at", lambda self, now: real(dataclasses.replace(self, zone="UTC"), now))


def an_extension_is_not_asked_of_the_organisation(patch: Patch) -> None:
    real = Book._affordable_more

    def lax(self: Book, key: Any, price: Any, wanted: int, now: Any) -> int:
        counter = self.counters.get(key)
        if counter is not None and counter.limit is not None and counter.limit.level.kind == LevelKind.ORG:
            return wanted
        return real(self, key, price, wanted, now)

    patch.setattr(Book, "_affordable_more", lax)


def a_correction_is_made_again(patch: Patch) -> None:
    real, numbers = Book.adjust, itertools.count(1)
    patch.setattr(
        Book,
        "adjust",
        lambda self, op: real(self, dataclasses.replace(op, adjustment_id=f"{op.adjustment_id}-{next(numbers)}")),
    )


def more_is_given_back_than_was_charged(patch: Patch) -> None:
    real = Book.adjust

    def rich(self: Book, op: Adjust) -> Any:
        try:
            return real(self, op)
        except MeshError as refusal:
            if "given back" not in refusal.message:
                raise
            return ledger.Adjusted(0)

    patch.setattr(Book, "adjust", rich)


def every_attempt_counts_for_every_model(patch: Patch) -> None:
    patch.setattr(Reservation, "counters_of", lambda self, model: self.counters)


def a_selector_takes_everything(patch: Patch) -> None:
    def all_of(self: Book, op: Reserve) -> list[Limit]:
        return [limit for level in op.levels for limit in self.limits.get(level, ())]

    patch.setattr(Book, "limits_of", all_of)


def prefixes_do_not_match(patch: Patch) -> None:
    patch.setattr("services.budget.ledger.operations.model_selectors", lambda model: (f"model:{model}",))


def the_stop_is_not_seen(patch: Patch) -> None:
    patch.setattr(ledger, "_refuse_when_stopped", lambda limits: None)


def the_stop_counts_nothing(patch: Patch) -> None:
    real = Book.limits_of
    patch.setattr(Book, "limits_of", lambda self, op: [x for x in real(self, op) if x.selector != rows.STOP])


def nought_is_no_limit(patch: Patch) -> None:
    real = Book.reserve

    def lax(self: Book, op: Reserve) -> Reservation:
        for level, limits in self.limits.items():
            self.limits[level] = [
                x if x.limit_nano_usd else dataclasses.replace(x, limit_nano_usd=None) for x in limits
            ]
        return real(self, op)

    patch.setattr(Book, "reserve", lax)


def soft_is_hard(patch: Patch) -> None:
    real = Book.limits_of
    patch.setattr(Book, "limits_of", lambda self, op: [dataclasses.replace(x, is_hard=True) for x in real(self, op)])


def charges_are_one_short(patch: Patch) -> None:
    def short(*values: Any, **more: Any) -> money.Charge:
        made = money.charge(*values, **more)
        return dataclasses.replace(made, cost_nano_usd=max(0, made.cost_nano_usd - 1))

    patch.setattr(ledger, "charge", short)


def todays_price_is_charged(patch: Patch) -> None:
    real = Book._charge
    patch.setattr(Book, "_charge", lambda self, attempt, version: real(self, attempt, 10**9))


def no_threshold_is_told(patch: Patch) -> None:
    patch.setattr(ledger, "thresholds_crossed", lambda key, counter: [])


def a_threshold_is_told_before_it_is_reached(patch: Patch) -> None:
    real = rows.thresholds_crossed

    def early(key: Any, counter: Any) -> Any:
        counter.next_alert, spent = 0, counter.committed
        counter.committed += 10
        try:
            return real(key, counter)
        finally:
            counter.committed = spent

    patch.setattr(ledger, "thresholds_crossed", early)


def a_lost_reservation_stays(patch: Patch) -> None:
    patch.setattr(Resolve, "may_free_unanswered", property(lambda self: False))


def a_refused_extension_lives_longer(patch: Patch) -> None:
    real = Book.extend

    def living(self: Book, op: Extend) -> Reservation:
        held = self.reservations.get((op.org_id, op.reservation_id))
        if held is not None and held.state is State.OPEN and op.ttl_s:
            real(self, dataclasses.replace(op, output_tokens=0))
        return real(self, op)

    patch.setattr(Book, "extend", living)


FOUND_BY_HISTORIES: list[Callable[[Patch], None]] = [
    *(nothing_held_counts, only_the_first_limit_is_asked, a_retry_is_held_again, another_body_is_the_same_request),
    *(a_second_commit_charges_again, the_sweeper_gives_back, what_was_used_is_released),
    *(
        the_window_is_that_of_the_commit,
        windows_are_utc,
        a_correction_is_made_again,
        more_is_given_back_than_was_charged,
    ),
    *(every_attempt_counts_for_every_model, a_selector_takes_everything, prefixes_do_not_match, the_stop_is_not_seen),
    *(nought_is_no_limit, soft_is_hard, charges_are_one_short, todays_price_is_charged),
    *(no_threshold_is_told, a_threshold_is_told_before_it_is_reached),
    *(a_lost_reservation_stays, a_refused_extension_lives_longer),
]


@pytest.mark.parametrize("plant", FOUND_BY_HISTORIES, ids=lambda plant: plant.__name__)
def test_histories_find_a_rule_that_is_gone(plant: Callable[[Patch], None], monkeypatch: Patch) -> None:
    plant(monkeypatch)
    quick = settings(
        max_examples=HISTORIES,
        stateful_step_count=50,
        deadline=None,
        database=None,
        derandomize=True,
        phases=(Phase.generate,),
        verbosity=Verbosity.quiet,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    with pytest.raises(Exception):  # noqa: B017
        run_state_machine_as_test(LedgerMachine, settings=quick)


def rows_are_not_locked(patch: Patch) -> None:
    async def unlocked(self: Session, key: Any) -> None:
        return None

    patch.setattr(Session, "lock", unlocked)
    patch.setattr(Session, "_must_hold", lambda self, table, key: None)


def counters_are_locked_in_any_order(patch: Patch) -> None:
    turns = itertools.count()

    def any_order(keys: Any) -> Any:
        ordered = sorted(keys, reverse=next(turns) % 2 == 0)
        return [[k.org_id for k in ordered], [k.budget_id for k in ordered], [k.window_start for k in ordered]]

    patch.setattr(store, "key_columns", any_order)


def the_reply_comes_before_the_commit(patch: Patch) -> None:
    @contextlib.asynccontextmanager
    async def hasty(self: Login, *org_ids: str) -> AsyncIterator[Session]:
        session = Session(self.server, self._pause, frozenset(org_ids))
        try:
            await self._pause("begin")
            yield session
            try:
                await self._pause("commit")
            except MeshError:
                return
            session.commit()
        finally:
            session.end()

    patch.setattr(Login, "transaction", hasty)


def an_id_that_is_taken_is_not_noticed(patch: Patch) -> None:
    real = Session.fetchval

    async def satisfied(self: Session, statement: str, *columns: list[Any]) -> int:
        await real(self, statement, *columns)
        return len(columns[0]) if statement.startswith("WITH made") else 0

    patch.setattr(Session, "fetchval", satisfied)


def acknowledged_writes_are_kept_in_memory(patch: Patch) -> None:
    """A writer that answers at once and writes when it comes to it: what it has not written dies with it."""
    real = Writer.submit

    async def hasty(self: Writer, op: Any) -> Any:
        if isinstance(op, Resolve) and op.to is State.COMMITTED and op.reservation_id:
            task = asyncio.ensure_future(real(self, op))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            return ledger.Settlement(0, 0, (), State.COMMITTED)
        return await real(self, op)

    patch.setattr(Writer, "submit", hasty)


FOUND_BY_SEEDS: list[Callable[[Patch], None]] = [
    *(rows_are_not_locked, counters_are_locked_in_any_order, the_reply_comes_before_the_commit),
    *(an_id_that_is_taken_is_not_noticed, acknowledged_writes_are_kept_in_memory),
    *(nothing_held_counts, a_retry_is_held_again, a_second_commit_charges_again, the_sweeper_gives_back),
    *(an_extension_is_not_asked_of_the_organisation, a_correction_is_made_again, the_stop_counts_nothing),
]


@pytest.mark.parametrize("plant", FOUND_BY_SEEDS, ids=lambda plant: plant.__name__)
def test_seeds_find_a_guard_that_is_gone(plant: Callable[[Patch], None], monkeypatch: Patch) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError, match="DAC_SEED="):
        for seed in range(SEEDS):
            play(seed)
