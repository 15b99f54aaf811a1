"""Rate limits as a domain: which hold for a request, the sliding window, and the verdict over all of them.

A window is cut into steps of a second. What was counted in a step is held until 60 whole seconds have passed since
the step's end, so within any 60 seconds, wherever they begin, never more than the limit is let through.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

STEPS = 60
"""How many whole steps what was counted is held, beside the step it was counted in."""
NEVER = math.inf


class Measure(enum.StrEnum):
    """What a limit counts."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    CONCURRENT = "concurrent"


@dataclass(frozen=True, slots=True)
class RateLimit:
    """What a level may ask; None = unlimited, 0 = none."""

    rate_limit_id: str
    org_id: str
    level_kind: int
    level_id: str
    model: str = ""
    """Counts only this model: an id, or the beginning of ids ("openai/*")."""
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None
    step_s: int = 1
    """How long a step is; the window has 60 of them, or `steps`."""
    steps: int = STEPS

    def divided(self, replicas: int) -> RateLimit:
        """This replica's part, where replicas cannot count together: never more in all than the limit."""
        if replicas <= 1:
            return self
        parts = (self.requests_per_minute, self.tokens_per_minute, self.concurrent_requests)
        requests, tokens, at_once = (None if whole is None else whole // replicas for whole in parts)
        return replace(self, requests_per_minute=requests, tokens_per_minute=tokens, concurrent_requests=at_once)

    def step_of(self, now_s: float) -> int:
        """The step that holds this moment."""
        return int(now_s // self.step_s)

    def until(self, step: int, now_s: float) -> float:
        """Seconds until a step begins."""
        return step * self.step_s - now_s


def matches(pattern: str, model: str) -> bool:
    """Whether a model is the one named, or begins as named before the star. Empty = all."""
    return not pattern or pattern == model or (pattern.endswith("*") and model.startswith(pattern[:-1]))


class Asked(NamedTuple):
    """A limit on a request's path."""

    limit: RateLimit
    models: tuple[int, ...] | None = None
    """Which of the request's models it counts; None = the request, whatever the model."""


class LimitBook:
    """All rate limits of all organisations, found by level."""

    def __init__(self, limits: Iterable[RateLimit] = ()) -> None:
        self._orgs: dict[str, dict[tuple[int, str], list[RateLimit]]] = {}
        for limit in limits:
            levels = self._orgs.setdefault(limit.org_id, {})
            levels.setdefault((limit.level_kind, limit.level_id), []).append(limit)

    def __contains__(self, org_id: str) -> bool:
        """Whether an organisation has any."""
        return org_id in self._orgs

    def asked(self, org_id: str, path: Iterable[tuple[int, str]], models: Sequence[str]) -> tuple[Asked, ...]:
        """The limits that hold for a request of this path that may end at these models."""
        levels = self._orgs.get(org_id)
        if levels is None:
            return ()
        found = []
        for level in path:
            for limit in levels.get(level, ()):
                if not limit.model:
                    found.append(Asked(limit))
                elif counted := tuple(i for i, model in enumerate(models) if matches(limit.model, model)):
                    found.append(Asked(limit, counted))
        return tuple(found)


class Reading(NamedTuple):
    """What one limit says at one moment, before the request is counted."""

    requests: int = 0
    """Let through within the window."""
    tokens: int = 0
    concurrent: int = 0
    """Under way."""
    requests_free_s: float = 0.0
    """Until the request fits; 0 = now, NEVER = not at all."""
    tokens_free_s: float = 0.0
    concurrent_free_s: float = 0.0
    requests_reset_s: float = 0.0
    """Until nothing counts any more."""
    tokens_reset_s: float = 0.0

    @property
    def free_s(self) -> float:
        """Until everything fits."""
        return max(self.requests_free_s, self.tokens_free_s, self.concurrent_free_s)


class Wish(NamedTuple):
    """What a request asks of every limit on its path."""

    tokens: int = 0
    requests: int = 1
    is_held: bool = True
    """Whether it takes a place among the concurrent ones until it ends."""


class LimitState(NamedTuple):
    """What is left after a request, of the tightest limit of each kind. A limit of None = there is none."""

    requests_limit: int | None = None
    requests_remaining: int = 0
    requests_reset_s: float = 0.0
    tokens_limit: int | None = None
    tokens_remaining: int = 0
    tokens_reset_s: float = 0.0


class Refusal(NamedTuple):
    """Which limit a request does not fit in."""

    limit: RateLimit
    measure: Measure
    retry_after_s: float
    """NEVER = waiting does not help."""

    @property
    def most(self) -> int:
        """The limit's value."""
        limit = self.limit
        return {
            Measure.REQUESTS: limit.requests_per_minute,
            Measure.TOKENS: limit.tokens_per_minute,
            Measure.CONCURRENT: limit.concurrent_requests,
        }[self.measure] or 0


class Verdict(NamedTuple):
    """What becomes of a request."""

    state: LimitState = LimitState()
    refusal: Refusal | None = None
    barred: frozenset[int] = frozenset()
    """Models whose own limits are used up: the request goes to the others."""
    taken: tuple[int, ...] = ()
    """Which of the asked limits it counts in."""
    is_repeat: bool = False
    """It was counted before, by the same id."""


def decide(asked: Sequence[Asked], readings: Sequence[Reading], models: int, wish: Wish, now_s: float) -> Verdict:
    """All limits or none: those of every model must have room, and at least one model must be left."""
    blocked: dict[int, tuple[float, int]] = {}
    worst: tuple[float, int] | None = None
    for index, (one, reading) in enumerate(zip(asked, readings, strict=True)):
        free_s = reading.free_s
        if not free_s:
            continue
        if one.models is None:
            worst = max(worst or (0.0, index), (free_s, index), key=_wait)
        else:
            for model in one.models:
                blocked[model] = max(blocked.get(model, (0.0, index)), (free_s, index), key=_wait)
    if worst is None and models and len(blocked) == models:
        # The first model that is free again will do.
        worst = min(blocked.values(), key=_wait)
    if worst is not None:
        state = _state(asked, readings, range(len(asked)), None, now_s)
        return Verdict(state, _refusal(asked, readings, worst))
    if not blocked:
        taken = tuple(range(len(asked)))
        return Verdict(_state(asked, readings, taken, wish, now_s), None, frozenset(), taken)
    taken = tuple(
        index
        for index, one in enumerate(asked)
        if not readings[index].free_s and (one.models is None or any(model not in blocked for model in one.models))
    )
    return Verdict(_state(asked, readings, taken, wish, now_s), None, frozenset(blocked), taken)


def _wait(found: tuple[float, int]) -> float:
    return found[0]


def _refusal(asked: Sequence[Asked], readings: Sequence[Reading], worst: tuple[float, int]) -> Refusal:
    free_s, index = worst
    reading = readings[index]
    measures = (
        (reading.requests_free_s, Measure.REQUESTS),
        (reading.tokens_free_s, Measure.TOKENS),
        (reading.concurrent_free_s, Measure.CONCURRENT),
    )
    return Refusal(asked[index].limit, next(kind for wait_s, kind in measures if wait_s == free_s), free_s)


def _state(
    asked: Sequence[Asked], readings: Sequence[Reading], of: Iterable[int], wish: Wish | None, now_s: float
) -> LimitState:
    """The tightest of each kind; `wish` is what was just counted, None = nothing was."""
    more, more_tokens = (wish.requests, wish.tokens) if wish is not None else (0, 0)
    requests: tuple[int, int, float] | None = None
    tokens: tuple[int, int, float] | None = None
    for index in of:
        limit, reading = asked[index].limit, readings[index]
        full_s = (int(now_s // limit.step_s) + limit.steps + 1) * limit.step_s - now_s if wish is not None else 0.0
        if (most := limit.requests_per_minute) is not None:
            found = (max(0, most - reading.requests - more), most, full_s if more else reading.requests_reset_s)
            requests = found if requests is None or found < requests else requests
        if (most := limit.tokens_per_minute) is not None:
            found = (
                max(0, most - reading.tokens - more_tokens),
                most,
                full_s if more_tokens else reading.tokens_reset_s,
            )
            tokens = found if tokens is None or found < tokens else tokens
    return LimitState(*_turned(requests), *_turned(tokens))


def _turned(found: tuple[int, int, float] | None) -> tuple[int | None, int, float]:
    return (None, 0, 0.0) if found is None else (found[1], found[0], found[2])


class SlidingWindow:
    """What was counted in the last steps: requests and tokens side by side, oldest first."""

    __slots__ = ("_rows", "requests", "steps", "tokens")

    def __init__(self, steps: int = STEPS) -> None:
        self.steps = steps
        self.requests = self.tokens = 0
        self._rows: list[list[int]] = []

    def forget(self, step: int) -> None:
        """Lets go of what is older than the window."""
        rows, gone = self._rows, 0
        while gone < len(rows) and rows[gone][0] < step - self.steps:
            self.requests -= rows[gone][1]
            self.tokens -= rows[gone][2]
            gone += 1
        if gone:
            del rows[:gone]

    def add(self, step: int, requests: int, tokens: int) -> int:
        """Counts in this step, or in the newest when the clock went back; returns where."""
        rows = self._rows
        if not rows or rows[-1][0] < step:
            rows.append([step, 0, 0])
        rows[-1][1] += requests
        rows[-1][2] += tokens
        self.requests += requests
        self.tokens += tokens
        return rows[-1][0]

    def take_back(self, step: int, requests: int, tokens: int) -> None:
        """Undoes what was counted in a step; nothing, when it left the window."""
        for row in self._rows:
            if row[0] == step:
                requests, tokens = min(requests, row[1]), min(tokens, row[2])
                row[1] -= requests
                row[2] -= tokens
                self.requests -= requests
                self.tokens -= tokens
                return

    def free_step(self, column: int, excess: int) -> int | None:
        """At which step at least `excess` of the requests (1) or tokens (2) is gone; None = never."""
        for row in self._rows:
            excess -= row[column]
            if excess <= 0:
                return row[0] + self.steps + 1
        return None

    def empty_step(self, column: int) -> int:
        """At which step nothing of it is left; 0 = now."""
        return next((row[0] + self.steps + 1 for row in reversed(self._rows) if row[column]), 0)

    def is_empty(self) -> bool:
        """Whether nothing counts."""
        return not self._rows
