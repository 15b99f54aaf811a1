"""Circuit breakers: a model at a provider that failed several times in a row is left alone for a while.

Closed → (failures in a row) → open → (time passes) → half-open, one trial → closed again, or open again.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass


class State(enum.Enum):
    """What a breaker lets through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(slots=True)
class _Breaker:
    failures: int = 0
    opened_at_s: float | None = None
    trial_at_s: float | None = None
    hinted: bool = False
    """Opened on another replica's word, without a failure seen here."""


@dataclass(frozen=True)
class BreakerStatus:
    """A breaker as others may see it."""

    model: str
    provider: str
    state: State
    failures: int
    retry_in_s: float


class Breakers:
    """One breaker for each (model, provider) that ever failed; the clock is passed in (monotonic seconds)."""

    def __init__(self, clock: Callable[[], float], *, failures: int = 3, open_s: float = 60.0) -> None:
        self._clock, self._limit, self._open_s = clock, failures, open_s
        self._breakers: dict[tuple[str, str], _Breaker] = {}
        self.on_open: Callable[[str, str], None] | None = None
        """Called with model and provider when a closed breaker opens by its own count."""

    @property
    def quiet(self) -> bool:
        """Whether nothing has failed lately: no breaker needs to be asked."""
        return not self._breakers

    def state(self, model: str, provider: str) -> State:
        """What the breaker would let through now. Half-open while its one trial has not been given out."""
        breaker = self._breakers.get((model, provider))
        return State.CLOSED if breaker is None else self._state(breaker)

    def _state(self, breaker: _Breaker) -> State:
        if breaker.opened_at_s is None:
            return State.CLOSED
        # A trial whose outcome never came (its caller died) must not shut the model out for good.
        since = breaker.opened_at_s if breaker.trial_at_s is None else breaker.trial_at_s
        if self._clock() - since < self._open_s:
            return State.OPEN
        # Successes are told only after a failure; where there was none, a trial without news went well.
        return State.CLOSED if breaker.hinted and breaker.trial_at_s is not None else State.HALF_OPEN

    def of_model(self, model: str, providers: Iterable[str]) -> State:
        """The same for a model that stands at several providers: open only when it is open at all of them."""
        states = {self.state(model, provider) for provider in providers}
        return next(state for state in (State.CLOSED, State.HALF_OPEN, State.OPEN) if state in states)

    def begin_trial(self, model: str, provider: str) -> None:
        """Gives out the one trial of a half-open breaker; until its outcome the breaker is open to others."""
        breaker = self._breakers.get((model, provider))
        if breaker is not None and self._state(breaker) is State.HALF_OPEN:
            breaker.trial_at_s = self._clock()

    def record(self, model: str, provider: str, *, ok: bool, provider_fault: bool) -> None:
        """How an attempt ended. A failure that is not the provider's fault says nothing about its health."""
        key = (model, provider)
        if ok:
            self._breakers.pop(key, None)
            return
        breaker = self._breakers.get(key)
        if breaker is not None and breaker.hinted and self._state(breaker) is State.CLOSED:
            del self._breakers[key]
            breaker = None
        if not provider_fault:
            if breaker is not None:
                breaker.trial_at_s = None
            return
        if breaker is None:
            breaker = self._breakers[key] = _Breaker()
        breaker.failures += 1
        breaker.hinted = False
        # Late failures of calls begun before it opened must not push the trial further away.
        already_open = breaker.opened_at_s is not None and breaker.trial_at_s is None
        if already_open and self._state(breaker) is State.OPEN:
            return
        if breaker.failures >= self._limit:
            # A failed trial is no news: told again and again, one sick replica would shut the model out for all.
            news = breaker.opened_at_s is None
            breaker.opened_at_s, breaker.trial_at_s = self._clock(), None
            if news and self.on_open is not None:
                self.on_open(model, provider)

    def hear_open(self, model: str, provider: str) -> None:
        """Another replica's breaker opened: open here too, as if by the own count. One that is open stays as it is."""
        if self.state(model, provider) is not State.OPEN:
            self._breakers[model, provider] = _Breaker(self._limit, self._clock(), hinted=True)

    def retry_in_s(self, model: str, provider: str) -> float:
        """Seconds until a trial may be given out; 0 when the breaker is not open."""
        breaker = self._breakers.get((model, provider))
        if breaker is None or self._state(breaker) is not State.OPEN or breaker.opened_at_s is None:
            return 0.0
        since = breaker.opened_at_s if breaker.trial_at_s is None else breaker.trial_at_s
        return max(0.0, since + self._open_s - self._clock())

    def badness(self, model: str, provider: str) -> tuple[int, float]:
        """Orders open breakers, the least bad first: fewest failures, then nearest to its trial."""
        breaker = self._breakers.get((model, provider))
        return (breaker.failures if breaker else 0, self.retry_in_s(model, provider))

    def statuses(self) -> list[BreakerStatus]:
        """Every breaker that has counted a failure or heard of one, in order of model."""
        return [
            BreakerStatus(model, provider, self._state(breaker), breaker.failures, self.retry_in_s(model, provider))
            for (model, provider), breaker in sorted(self._breakers.items(), key=lambda item: item[0])
            if not breaker.hinted or self._state(breaker) is not State.CLOSED
        ]

    def keep_only(self, known: set[tuple[str, str]]) -> None:
        """Forgets models that are gone, so that made-up names cannot grow the table."""
        for key in [key for key in self._breakers if key not in known]:
            del self._breakers[key]
