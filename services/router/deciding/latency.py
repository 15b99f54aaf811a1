"""How fast models really answer: live figures for each model at a provider, from what attempts took.

The figures are quantiles of the last answers in which newer ones weigh more. They replace the catalog's only when there
are enough of them and none too old, and change only when they moved: a decision asks a small table that stands still.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

KEPT = 64
"""Answers that are remembered of each."""
DECAY = 0.96
"""What an answer weighs beside the next newer one."""
ENOUGH = 8
"""Answers before the figures count."""
STALE_S = 600.0
"""Age at which an answer counts no more: a model that was slow gets another chance."""
MOVED = 0.05
"""A figure is told anew when it moved by this share."""
TOLD_EVERY = 8
"""With many answers, only every so many change the figures."""
SHORTEST_ANSWER_TOKENS = 16
"""Answers below this say nothing of the speed of writing."""


@dataclass(frozen=True, slots=True)
class Speed:
    """What is known of one model at one provider."""

    first_token_ms: float
    """The median wait for the first token."""
    first_token_p95_ms: float
    tokens_per_s: float
    """The median speed of writing; 0 = unknown."""
    answers: int
    """How many it rests on."""

    def is_near(self, other: Speed) -> bool:
        """Whether telling the other one instead would change nothing."""
        pairs = (
            (self.first_token_ms, other.first_token_ms),
            (self.first_token_p95_ms, other.first_token_p95_ms),
            (self.tokens_per_s, other.tokens_per_s),
        )
        return all(abs(mine - others) <= MOVED * max(mine, others) for mine, others in pairs)


@dataclass(slots=True)
class _Seen:
    first_tokens: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=KEPT))
    """(when, milliseconds)"""
    speeds: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=KEPT))
    """(when, tokens a second)"""
    observed: int = 0


def quantiles(values: Iterable[float], *shares: float) -> list[float]:
    """Weighted quantiles of values in order of age, oldest first; each weighs `DECAY` times the next newer one."""
    listed = list(values)
    weighted, weight = [], 1.0
    for value in reversed(listed):
        weighted.append((value, weight))
        weight *= DECAY
    weighted.sort()
    sums, total = [], 0.0
    for _, weight in weighted:
        total += weight
        sums.append(total)
    return [weighted[min(bisect_left(sums, share * total), len(weighted) - 1)][0] for share in shares]


class Speeds:
    """The live figures; the clock is passed in (monotonic seconds)."""

    def __init__(self, clock: Callable[[], float], *, stale_s: float = STALE_S, enough: int = ENOUGH) -> None:
        self._clock, self._stale_s, self._enough = clock, stale_s, enough
        self._seen: dict[tuple[str, str], _Seen] = {}
        self._told: dict[tuple[str, str], Speed] = {}
        self._next_look_s = 0.0
        self._version = 0

    @property
    def version(self) -> int:
        """Changes whenever a figure changes."""
        now = self._clock()
        if self._told and now >= self._next_look_s:
            self._next_look_s = now + self._stale_s / 10
            for key in list(self._told):
                self._tell(key)
        return self._version

    def of(self, model: str, provider: str) -> Speed | None:
        """What is known; None = not enough answers lately."""
        return self._told.get((model, provider))

    def all(self) -> dict[tuple[str, str], Speed]:
        """Everything that is known, by (model, provider)."""
        return dict(self._told)

    def observe(self, model: str, provider: str, *, first_token_ms: float, total_ms: float, output_tokens: int) -> None:
        """A good answer: when its first token came, when it ended, how long it was."""
        if first_token_ms <= 0:
            return
        key, now = (model, provider), self._clock()
        seen = self._seen.get(key)
        if seen is None:
            seen = self._seen[key] = _Seen()
        seen.first_tokens.append((now, first_token_ms))
        writing_ms = total_ms - first_token_ms
        if output_tokens >= SHORTEST_ANSWER_TOKENS and writing_ms > 0:
            seen.speeds.append((now, output_tokens * 1000 / writing_ms))
        seen.observed += 1
        # One answer among many moves little, and working the quantiles out costs more than remembering it.
        if len(seen.first_tokens) <= 2 * self._enough or not seen.observed % TOLD_EVERY:
            self._tell(key)

    def _tell(self, key: tuple[str, str]) -> None:
        seen, oldest = self._seen[key], self._clock() - self._stale_s
        for answers in (seen.first_tokens, seen.speeds):
            while answers and answers[0][0] < oldest:
                answers.popleft()
        before = self._told.get(key)
        if len(seen.first_tokens) < self._enough:
            if before is not None:
                del self._told[key]
                self._version += 1
            return
        middle, high = quantiles((value for _, value in seen.first_tokens), 0.5, 0.95)
        writing = quantiles((value for _, value in seen.speeds), 0.5)[0] if seen.speeds else 0.0
        now = Speed(middle, high, writing, len(seen.first_tokens))
        if before is not None and before.is_near(now):
            self._told[key] = replace(before, answers=now.answers)
            return
        self._told[key] = now
        self._version += 1

    def keep_only(self, known: set[tuple[str, str]]) -> None:
        """Forgets models that are gone."""
        for key in [key for key in self._seen if key not in known]:
            del self._seen[key]
            if self._told.pop(key, None) is not None:
                self._version += 1
