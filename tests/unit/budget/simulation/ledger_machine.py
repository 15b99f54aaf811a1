"""Arbitrary histories of one organisation: every operation, budgets, keys and time, as rules of a state machine."""

from __future__ import annotations

import dataclasses
import datetime as dt
import random
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from services.budget.ledger.operations import Adjust, Attempt, Extend, Reserve, Resolve
from services.budget.ledger.rows import STOP, Level, LevelKind, Limit, State
from services.budget.ledger.windows import Window
from services.budget.prices.money import Usage
from tests.unit.budget.simulation.plain_model import Asked
from tests.unit.budget.simulation.side_by_side import ORG, SideBySide

RATES = {
    ("a", "a/small"): (Fraction(1), Fraction(2), 3),
    ("a", "a/x/large"): (Fraction(4), Fraction(13, 2), 0),
    ("b", "b/half"): (Fraction(1, 2), Fraction(3, 10), 0),
    ("b", "b/free"): (Fraction(0), Fraction(0), 0),
}
CANDIDATES = (*RATES, ("c", "c/unknown"))
SELECTORS = ("", "", "", "model:a/small", "model:a/*", "model:a/x/*", "model:b/free", "tag:env=prod", "tag:env=test")
STANDING = "tag:all=1"
"""Of the budgets that stay from the beginning."""
KEYS = ("k1", "k2", "k3")
TEAMS = ((), ("t1",), ("t1", "t2"), ("t3",), ("t1", "t2", "t4", "t5"))
PROJECTS = ("p1", "p2")
STARTS = {
    "UTC": dt.datetime(2026, 2, 28, 23, 58, tzinfo=dt.UTC),
    "America/New_York": dt.datetime(2026, 11, 1, 4, 30, tzinfo=dt.UTC),
    "Australia/Lord_Howe": dt.datetime(2026, 4, 4, 13, 30, tzinfo=dt.UTC),
    "Pacific/Apia": dt.datetime(2011, 12, 30, 9, 30, tzinfo=dt.UTC),
    "Africa/Casablanca": dt.datetime(2026, 2, 15, 0, 30, tzinfo=dt.UTC),
}
"""Zones, each with a moment shortly before its clock changes."""
LEVELS = (
    Level(ORG, LevelKind.ORG, ORG),
    *(Level(ORG, LevelKind.TEAM, one) for one in ("t1", "t2", "t3", "t4", "t5")),
    *(Level(ORG, LevelKind.PROJECT, one) for one in PROJECTS),
    Level(ORG, LevelKind.USER, "u1"),
    *(Level(ORG, LevelKind.KEY, one) for one in KEYS),
)
THRESHOLDS = ((50, 80, 95, 100), (), (1, 100, 120), (33,))
TIMES_S = (1, 7, 60, 61, 1800, 3600, 86_400, 7 * 86_400, 31 * 86_400)
DICE = st.integers(0, 2**20).map(random.Random)
"""One number a step: what a step does follows from it, and Hypothesis finds fewer steps that still fail."""
Used = list[tuple[int, int, int, bool]]


def a_limit(dice: random.Random) -> int | None:
    """Small ones that are reached, none, and nought."""
    return dice.choice([dice.randint(1, 90), dice.randint(50, 600), dice.randint(50, 600), 0, None])


def a_budget(dice: random.Random) -> dict[str, Any]:
    return {
        "level": dice.choice(LEVELS),
        "window": dice.choice(list(Window)),
        "selector": dice.choice(SELECTORS),
        "limit_nano_usd": a_limit(dice),
        "is_hard": dice.random() < 0.75,
        "thresholds_percent": dice.choice(THRESHOLDS),
    }


def a_request(dice: random.Random) -> dict[str, Any]:
    return {
        "key": dice.choice(KEYS),
        "candidates": tuple(dice.sample(CANDIDATES, dice.randint(1, 3))),
        "input_tokens_max": dice.randint(0, 25),
        "max_output_tokens": dice.choice([0, dice.randint(1, 20)]),
        "tags": ("all=1", *dice.choice([(), ("env=prod",), ("env=test", "team=red")])),
        "covers_in_steps": dice.random() < 0.5,
        "rescues": dice.choice([0, 0, 0, 1, 2]),
        "ttl_s": dice.choice([1.0, 60.0, 86_400.0]),
    }


def some_use(dice: random.Random) -> Used:
    return [
        (dice.randint(0, 2), dice.randint(0, 25), dice.randint(0, 20), dice.random() < 0.8)
        for _ in range(dice.choice([0, 1, 1, 1, 2, 3]))
    ]


class LedgerMachine(RuleBasedStateMachine):
    """After each step SideBySide has compared every answer and every row."""

    def __init__(self) -> None:
        super().__init__()
        self.both = SideBySide()
        for (provider, model), rates in RATES.items():
            self.both.price(provider, model, rates)
        self.teams = dict.fromkeys(KEYS, TEAMS[2])
        self.projects = dict.fromkeys(KEYS, PROJECTS[0])
        self.now = STARTS["UTC"]

    def number(self) -> str:
        return f"{next(self.both.numbers):05}"

    def limit(self, zone: str, **wanted: Any) -> Limit:
        return Limit(f"b{self.number()}", wanted.pop("level"), wanted.pop("window"), zone=zone, **wanted)

    def path_of(self, key: str) -> tuple[Level, ...]:
        teams = (Level(ORG, LevelKind.TEAM, one) for one in self.teams[key])
        project, user = Level(ORG, LevelKind.PROJECT, self.projects[key]), Level(ORG, LevelKind.USER, "u1")
        return (Level(ORG, LevelKind.ORG, ORG), *teams, project, user, Level(ORG, LevelKind.KEY, key))

    def asking(self, key: str, **wanted: Any) -> Reserve:
        number = self.number()
        return Reserve(f"r{number}", ORG, f"q{number}", self.path_of(key), body_hash=b"body", now=self.now, **wanted)

    def asked(self, dice: random.Random, *states: State) -> Asked | None:
        found = [one for one in self.both.plain.asked.values() if not states or one.state in states]
        return dice.choice(found) if found else None

    def attempts(self, asked: Asked, used: Used) -> tuple[Attempt, ...]:
        names = [asked.op.candidates[which % len(asked.op.candidates)] for which, *_ in used]
        return tuple(
            Attempt("same-id" if n else "first", *name, Usage(input=i, output=o), answered)
            for n, (name, (_, i, o, answered)) in enumerate(zip(names, used, strict=True))
        )

    @initialize(zone=st.sampled_from(list(STARTS)), window=st.sampled_from(list(Window)), dice=DICE)
    def begin(self, zone: str, window: Window, dice: random.Random) -> None:
        self.now = STARTS[zone]
        for level in (LEVELS[0], *LEVELS[-3:]):
            self.both.put(Limit(f"standing-{level.level_id}", level, window, None, zone, selector=STANDING))
        for _ in range(dice.randint(0, 3)):
            self._put(a_budget(dice), zone)
        if dice.random() < 0.8:
            self._put(
                a_budget(dice) | {"level": LEVELS[0], "limit_nano_usd": dice.randint(60, 400), "is_hard": True}, zone
            )

    @rule(dice=DICE)
    def set_budget(self, dice: random.Random) -> None:
        self._put(a_budget(dice), dice.choice(list(STARTS)))
        self.both.check()

    def _put(self, wanted: dict[str, Any], zone: str) -> None:
        place = (wanted["level"], wanted["window"], wanted["selector"])
        for standing in self.both.plain.budgets.values():
            if (standing.level, standing.window, standing.selector) == place:
                self.both.put(dataclasses.replace(standing, **wanted))
                return
        self.both.put(self.limit(zone, **wanted))

    def _a_standing_budget(self, dice: random.Random) -> Limit | None:
        found = [one for one in self.both.plain.budgets.values() if one.selector not in (STOP, STANDING)]
        return dice.choice(found) if found else None

    @rule(dice=DICE)
    def change_a_limit(self, dice: random.Random) -> None:
        found = self._a_standing_budget(dice)
        if found is not None:
            self.both.put(dataclasses.replace(found, limit_nano_usd=a_limit(dice)))

    @rule(dice=DICE)
    def delete_a_budget(self, dice: random.Random) -> None:
        found = self._a_standing_budget(dice)
        if found is not None and dice.random() < 0.5:
            self.both.drop(found.budget_id)
            self.both.check()

    @rule(dice=DICE)
    def stop_or_resume(self, dice: random.Random) -> None:
        standing = [one.budget_id for one in self.both.plain.budgets.values() if one.selector == STOP]
        if standing:
            self.both.drop(standing[0])
        elif dice.random() < 0.3:
            stop = {"level": LEVELS[0], "window": Window.NONE, "selector": STOP, "limit_nano_usd": 0}
            self.both.put(self.limit("UTC", thresholds_percent=(), **stop))

    @rule(dice=DICE)
    def move_a_key(self, dice: random.Random) -> None:
        key = dice.choice(KEYS)
        self.teams[key], self.projects[key] = dice.choice(TEAMS), dice.choice(PROJECTS)

    @rule(dice=DICE)
    def change_a_price(self, dice: random.Random) -> None:
        name, factor = dice.choice(list(RATES)), dice.choice([None, 1, 1, 2, 3])
        rates = RATES[name]
        self.both.price(*name, None if factor is None else (rates[0] * factor, rates[1] * factor, rates[2] * factor))

    @rule(dice=DICE)
    def time_passes(self, dice: random.Random) -> None:
        self.now += dt.timedelta(seconds=dice.choice(TIMES_S))

    @rule(dice=DICE)
    def reserve(self, dice: random.Random) -> None:
        self.both.run(self.asking(**a_request(dice)))

    @rule(dice=DICE)
    def a_batch(self, dice: random.Random) -> None:
        batch: list[Any] = [self.asking(**a_request(dice)) for _ in range(dice.randint(2, 4))]
        batch.append(dataclasses.replace(batch[0], reservation_id=f"r{self.number()}"))
        held = self.asked(dice)
        if held is not None:
            op = self._ending(held, State.COMMITTED, some_use(dice))
            batch[1:1] = [op, dataclasses.replace(op, attempts=())]
        self.both.run(*batch)

    @rule(dice=DICE)
    def reserve_again(self, dice: random.Random) -> None:
        held = self.asked(dice)
        if held is not None:
            body, levels = dice.choice([b"other", b"body"]), self.path_of(dice.choice(KEYS))
            changed = {"body_hash": body, "now": self.now, "levels": levels, "input_tokens_max": 1}
            self.both.run(dataclasses.replace(held.op, reservation_id=f"r{self.number()}", **changed))

    def _ending(self, held: Asked, to: State, used: Used) -> Resolve:
        attempts = self.attempts(held, used)
        return Resolve(ORG, held.op.request_id, held.op.reservation_id, to, self.now, attempts)

    @rule(dice=DICE)
    def commit(self, dice: random.Random) -> None:
        held = self.asked(dice, *(() if dice.random() < 0.3 else (State.OPEN,)))
        if held is not None:
            self.both.run(self._ending(held, State.COMMITTED, some_use(dice)))

    @rule(dice=DICE)
    def release(self, dice: random.Random) -> None:
        held = self.asked(dice, State.OPEN)
        if held is not None:
            self.both.run(self._ending(held, State.RELEASED, some_use(dice) if dice.random() < 0.3 else []))

    @rule(dice=DICE)
    def extend(self, dice: random.Random) -> None:
        covered = [one for one in self.both.plain.asked.values() if one.state is State.OPEN and one.covered]
        held = dice.choice(covered) if covered and dice.random() < 0.8 else self.asked(dice)
        if held is not None:
            name, upto = dice.choice(held.op.candidates), held.covered + dice.randint(0, 20)
            ids = (ORG, held.op.request_id, held.op.reservation_id)
            op = Extend(*ids, *name, upto, self.now, dice.choice([0.0, 30.0, 7200.0]))
            if dice.random() < 0.2:
                self.stop_or_resume(dice)
            self.both.run(op)
            self.both.run(dataclasses.replace(op))

    @rule(dice=DICE)
    def adjust(self, dice: random.Random) -> None:
        held = self.asked(dice, *(() if dice.random() < 0.2 else (State.COMMITTED, State.INDETERMINATE)))
        if held is None:
            return
        amount, attempt = dice.choice([-60, -7, -1, 1, 3, 40]), dice.choice(["", "first", "0:first", "same-id"])
        op = Adjust(ORG, held.op.request_id, f"a{self.number()}", amount, attempt, self.now, (f"c{self.number()}", b""))
        self.both.run(op)
        self.both.run(op)
        self.both.run(dataclasses.replace(op, amount_nano_usd=amount * dice.choice([1, 2])))

    @rule(dice=DICE)
    def tell_a_record_without_the_reservation(self, dice: random.Random) -> None:
        held = self.asked(dice, *((State.OPEN,) if dice.random() < 0.7 else ()))
        if held is not None and dice.random() < 0.7:
            attempts = self.attempts(held, some_use(dice) if dice.random() < 0.4 else [])
            self.both.run(Resolve(ORG, held.op.request_id, "", State.COMMITTED, self.now, attempts))

    @rule(dice=DICE)
    def resolve_under_a_wrong_id(self, dice: random.Random) -> None:
        held = self.asked(dice)
        if held is not None:
            self.both.run(Resolve(ORG, "q-other", held.op.reservation_id, State.COMMITTED, self.now))
            self.both.run(Extend(ORG, held.op.request_id, "r-other", "a", "a/small", 9, self.now))

    @precondition(lambda self: self.both.plain.asked)
    @rule()
    def sweep(self) -> None:
        self.both.sweep(self.now)

    def teardown(self) -> None:
        """I5: the organisation's windows hold what its keys' hold. I7: nothing stays open."""
        sums: dict[bool, int] = {True: 0, False: 0}
        for key, counter in self.both.server.table("counters").items():
            if key[1].startswith("standing-"):
                sums[key[1] == f"standing-{ORG}"] += counter["committed"] + counter["reserved"]
        assert sums[True] >= sums[False], f"I5: {sums}"
        self.both.sweep(self.now + dt.timedelta(days=2))
        assert all(asked.state is not State.OPEN for asked in self.both.plain.asked.values()), "I7"
        assert all(counter["reserved"] == 0 for counter in self.both.server.table("counters").values()), "I7"
