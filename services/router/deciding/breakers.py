"""Circuit breakers: a model at a provider that fails is left alone for a while and is then let in again by degrees.

Closed → (failures in a row, or too many in a while) → open → (time passes) → half-open, one trial → recovering, with a
growing share of the traffic → closed. A fault on the way opens it again. An operator may hold one open or closed.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field


class State(enum.Enum):
    """What a breaker lets through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"
    RECOVERING = "recovering"


_BEST_FIRST = (State.CLOSED, State.RECOVERING, State.HALF_OPEN, State.OPEN)
SLOTS = 6
"""Pieces that the window of the error rate moves by."""


@dataclass(frozen=True)
class BreakerRules:
    """When breakers open, and how they close again."""

    failures: int = 3
    """Faults in a row that open one."""
    open_s: float = 60.0
    """How long an open one lets nothing through before one trial."""
    ramp: tuple[float, ...] = (0.1, 0.5)
    """The shares of the traffic after a good trial, one stage after the other; empty = all of it at once."""
    ramp_successes: int = 3
    """Successes that end a stage."""
    ramp_s: float = 30.0
    """Time without a fault that ends a stage as well."""
    error_rate: float = 0.5
    """The share of faults within the window that opens one, whatever their order; 0 = never."""
    window_s: float = 60.0
    min_outcomes: int = 20
    """So many outcomes must lie in the window before the rate counts."""


@dataclass(slots=True)
class _Breaker:
    failures: int = 0
    opened_at_s: float | None = None
    trial_at_s: float | None = None
    hinted: bool = False
    """Opened on another replica's word, without a failure seen here."""
    stage: int = -1
    """Of the ramp; -1 = not on it."""
    stage_at_s: float = 0.0
    passed: int = 0
    """Successes in this stage."""
    forced: State | None = None
    """Held open or closed by hand."""
    slots: list[tuple[int, int, int]] = field(default_factory=list)
    """(number of the slot, successes, faults) within the window, oldest first."""


@dataclass(frozen=True)
class BreakerStatus:
    """A breaker as others may see it."""

    model: str
    provider: str
    state: State
    failures: int
    retry_in_s: float
    share: float = 1.0
    """Of the traffic that it lets through."""
    forced: bool = False
    error_rate: float = 0.0
    """Of the outcomes in the window."""
    outcomes: int = 0


class Breakers:
    """One breaker for each (model, provider) that failed lately; the clock is passed in (monotonic seconds)."""

    def __init__(self, clock: Callable[[], float], rules: BreakerRules | None = None) -> None:
        self._clock, self._rules = clock, rules or BreakerRules()
        self._breakers: dict[tuple[str, str], _Breaker] = {}
        self._troubled: set[tuple[str, str]] = set()
        """Those that may let less than everything through."""
        self.on_open: Callable[[str, str], None] | None = None
        """Called with model and provider when a closed breaker opens by its own count."""

    @property
    def quiet(self) -> bool:
        """Whether every breaker lets everything through: none needs to be asked."""
        return not self._troubled

    def troubled_models(self) -> set[str]:
        """Models with a breaker that may let less than everything through."""
        for key in [key for key in self._troubled if self._is_over(self._breakers[key])]:
            self._close(key)
        return {model for model, _ in self._troubled}

    def state(self, model: str, provider: str) -> State:
        """What the breaker would let through now. Half-open while its one trial has not been given out."""
        breaker = self._breakers.get((model, provider))
        return State.CLOSED if breaker is None else self._state(breaker)

    def _state(self, breaker: _Breaker) -> State:
        if breaker.forced is not None:
            return breaker.forced
        if breaker.opened_at_s is None:
            return State.RECOVERING if breaker.stage >= 0 and self._stage(breaker) >= 0 else State.CLOSED
        # A trial whose outcome never came (its caller died) must not shut the model out for good.
        since = breaker.opened_at_s if breaker.trial_at_s is None else breaker.trial_at_s
        if self._clock() - since < self._rules.open_s:
            return State.OPEN
        # A trial without news of what failed only elsewhere went well, or nobody asked.
        return State.CLOSED if breaker.hinted and breaker.trial_at_s is not None else State.HALF_OPEN

    def _stage(self, breaker: _Breaker) -> int:
        """The stage of the ramp by now; -1 when it is behind."""
        rules = self._rules
        stage = breaker.stage
        if rules.ramp_s > 0:
            stage += int((self._clock() - breaker.stage_at_s) / rules.ramp_s)
        return stage if 0 <= stage < len(rules.ramp) else -1

    def _is_over(self, breaker: _Breaker) -> bool:
        return breaker.forced is None and self._state(breaker) is State.CLOSED

    def share(self, model: str, provider: str) -> float:
        """The share of the traffic that may go there: 0 open, 1 closed, 1 for the trial of a half-open one."""
        breaker = self._breakers.get((model, provider))
        if breaker is None:
            return 1.0
        state = self._state(breaker)
        if state is State.RECOVERING:
            return self._rules.ramp[self._stage(breaker)]
        return 0.0 if state is State.OPEN else 1.0

    def of_model(self, model: str, providers: Iterable[str]) -> State:
        """The same for a model that stands at several providers: open only when it is open at all of them."""
        states = {self.state(model, provider) for provider in providers}
        return next(state for state in _BEST_FIRST if state in states)

    def share_of_model(self, model: str, providers: Iterable[str]) -> float:
        """The largest share among its providers."""
        return max(self.share(model, provider) for provider in providers)

    def begin_trial(self, model: str, provider: str) -> None:
        """Gives out the one trial of a half-open breaker; until its outcome the breaker is open to others."""
        breaker = self._breakers.get((model, provider))
        if breaker is not None and self._state(breaker) is State.HALF_OPEN:
            breaker.trial_at_s = self._clock()

    def record(self, model: str, provider: str, *, ok: bool, provider_fault: bool) -> None:
        """How an attempt ended. A failure that is not the provider's fault says nothing about its health."""
        key = (model, provider)
        breaker = self._breakers.get(key)
        if breaker is not None and self._is_over(breaker) and key in self._troubled:
            self._close(key)
            breaker = self._breakers.get(key)
        if ok:
            if breaker is not None:
                self._succeeded(key, breaker)
        elif not provider_fault:
            if breaker is not None:
                breaker.trial_at_s = None
        else:
            if breaker is None:
                breaker = self._breakers[key] = _Breaker()
            self._failed(key, breaker)

    def _succeeded(self, key: tuple[str, str], breaker: _Breaker) -> None:
        breaker.failures = 0
        self._count(breaker, ok=True)
        if breaker.forced is not None:
            return
        if breaker.opened_at_s is not None:
            breaker.opened_at_s = breaker.trial_at_s = None
            breaker.hinted, breaker.stage, breaker.stage_at_s, breaker.passed = False, 0, self._clock(), 0
            # What was before it opened must not open it again.
            breaker.slots.clear()
        elif breaker.stage >= 0:
            # The time may have ended stages that nobody asked in.
            reached = self._stage(breaker)
            if reached != breaker.stage:
                breaker.stage, breaker.stage_at_s, breaker.passed = reached, self._clock(), 0
            breaker.passed += 1
            if breaker.passed >= self._rules.ramp_successes:
                breaker.stage, breaker.stage_at_s, breaker.passed = breaker.stage + 1, self._clock(), 0
        if self._is_over(breaker) and (breaker.stage >= 0 or not any(faults for _, _, faults in breaker.slots)):
            self._close(key)

    def _failed(self, key: tuple[str, str], breaker: _Breaker) -> None:
        rules = self._rules
        breaker.failures += 1
        breaker.hinted = False
        outcomes, rate = self._count(breaker, ok=False)
        if breaker.forced is not None:
            return
        # Late failures of calls begun before it opened must not push the trial further away.
        if breaker.opened_at_s is not None and breaker.trial_at_s is None and self._state(breaker) is State.OPEN:
            return
        often = 0 < rules.error_rate <= rate and outcomes >= rules.min_outcomes
        again = breaker.stage >= 0 or breaker.opened_at_s is not None
        if again or often or breaker.failures >= rules.failures:
            breaker.opened_at_s, breaker.trial_at_s, breaker.stage = self._clock(), None, -1
            self._troubled.add(key)
            # A failed trial is no news: told again and again, one sick replica would shut the model out for all.
            if not again and self.on_open is not None:
                self.on_open(*key)

    def _count(self, breaker: _Breaker, *, ok: bool) -> tuple[int, float]:
        """Counts an outcome into the window; how many lie in it and the share of faults."""
        number = int(self._clock() / self._rules.window_s * SLOTS)
        slots = breaker.slots
        while slots and slots[0][0] <= number - SLOTS:
            slots.pop(0)
        last, good, bad = slots.pop() if slots and slots[-1][0] == number else (number, 0, 0)
        slots.append((last, good + ok, bad + (not ok)))
        return self._rate(breaker)

    def _rate(self, breaker: _Breaker) -> tuple[int, float]:
        oldest = int(self._clock() / self._rules.window_s * SLOTS) - SLOTS
        faults = sum(bad for number, _, bad in breaker.slots if number > oldest)
        outcomes = faults + sum(good for number, good, _ in breaker.slots if number > oldest)
        return outcomes, faults / outcomes if outcomes else 0.0

    def _close(self, key: tuple[str, str]) -> None:
        self._troubled.discard(key)
        self._breakers.pop(key, None)

    def force(self, model: str, provider: str, state: State | None) -> None:
        """Holds it open or closed until told otherwise; None = it decides for itself again, beginning closed."""
        key = (model, provider)
        if state is None:
            self._close(key)
            return
        breaker = self._breakers.setdefault(key, _Breaker())
        breaker.forced = state
        self._troubled.add(key)

    def held(self) -> dict[tuple[str, str], State]:
        """Those that are held, and at what."""
        return {key: one.forced for key, one in self._breakers.items() if one.forced is not None}

    def hear_open(self, model: str, provider: str) -> None:
        """Another replica's breaker opened: open here too, as if by the own count. One that is open, or held by hand,
        stays as it is."""
        key = (model, provider)
        breaker = self._breakers.get(key)
        if breaker is not None and (breaker.forced is not None or self._state(breaker) is State.OPEN):
            return
        self._breakers[key] = _Breaker(self._rules.failures, self._clock(), hinted=True)
        self._troubled.add(key)

    def retry_in_s(self, model: str, provider: str) -> float:
        """Seconds until a trial may be given out; 0 when the breaker is not open, or held open by hand."""
        breaker = self._breakers.get((model, provider))
        if breaker is None or breaker.forced is not None or breaker.opened_at_s is None:
            return 0.0
        if self._state(breaker) is not State.OPEN:
            return 0.0
        since = breaker.opened_at_s if breaker.trial_at_s is None else breaker.trial_at_s
        return max(0.0, since + self._rules.open_s - self._clock())

    def badness(self, model: str, provider: str) -> tuple[bool, int, float]:
        """Orders open breakers, the least bad first: not held open, fewest failures, nearest to its trial."""
        breaker = self._breakers.get((model, provider))
        held = breaker is not None and breaker.forced is State.OPEN
        return (held, breaker.failures if breaker else 0, self.retry_in_s(model, provider))

    def is_held_open(self, model: str, providers: Iterable[str]) -> bool:
        """Whether an operator holds it open at every provider."""
        breakers = [self._breakers.get((model, provider)) for provider in providers]
        return all(one is not None and one.forced is State.OPEN for one in breakers)

    def statuses(self) -> list[BreakerStatus]:
        """Every breaker that counts faults, has heard of one or is held, in order of model."""
        return [
            self._status(*key, breaker)
            for key, breaker in sorted(self._breakers.items(), key=lambda item: item[0])
            if not self._is_over(breaker) or (not breaker.hinted and (breaker.failures or self._rate(breaker)[1]))
        ]

    def _status(self, model: str, provider: str, breaker: _Breaker) -> BreakerStatus:
        outcomes, rate = self._rate(breaker)
        return BreakerStatus(
            model,
            provider,
            self._state(breaker),
            breaker.failures,
            self.retry_in_s(model, provider),
            self.share(model, provider),
            breaker.forced is not None,
            rate,
            outcomes,
        )

    def keep_only(self, known: set[tuple[str, str]]) -> None:
        """Forgets models that are gone, so that made-up names cannot grow the table."""
        for key in [key for key in self._breakers if key not in known]:
            self._close(key)
