"""What the cache did: counted in memory, added to the store now and then; and how sure an observed error is."""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from collections.abc import Callable

from services.memory.answers.store import CacheStore

EXACT, SEMANTIC, MISS, STORED, FEEDBACK = "hit:exact", "hit:semantic", "miss", "stored", "feedback"
FEEDBACK_SEMANTIC = "feedback:semantic"
SAVED_NANO_USD, SAVED_US = "saved_nano_usd", "saved_us"
BLOCKED, NOT_STORED = "blocked:", "not_stored:"


class Counts:
    """Counts of every organisation since they were last written."""

    def __init__(self, store: CacheStore, *, clock: Callable[[], dt.datetime]) -> None:
        self._store, self._clock = store, clock
        self._counts: dict[str, Counter[str]] = {}
        self._used: dict[str, Counter[str]] = {}

    def add(self, org_id: str, name: str, amount: int = 1) -> None:
        """Counts something."""
        self._of(org_id)[name] += amount

    def hit(self, org_id: str, kind: str, entry_id: str, nano_usd: int, ms: float) -> None:
        """Counts a hit and what it saved."""
        counter = self._of(org_id)
        counter[kind] += 1
        if nano_usd > 0:
            counter[SAVED_NANO_USD] += nano_usd
        if 0 < ms < math.inf:
            counter[SAVED_US] += int(ms * 1000)
        used = self._used.get(org_id)
        if used is None:
            used = self._used[org_id] = Counter()
        used[entry_id] += 1

    def _of(self, org_id: str) -> Counter[str]:
        counter = self._counts.get(org_id)
        if counter is None:
            counter = self._counts[org_id] = Counter()
        return counter

    def forget(self, org_id: str) -> None:
        """Drops what was counted of an organisation and is not written yet."""
        self._counts.pop(org_id, None)
        self._used.pop(org_id, None)

    async def write(self) -> None:
        """Adds what was counted to the store. What cannot be written stays for the next time. Raises as the store."""
        for org_id in list(self._counts):
            await self.write_of(org_id)

    async def write_of(self, org_id: str) -> None:
        """The same for one organisation."""
        counts, used = self._counts.pop(org_id, None), self._used.pop(org_id, Counter())
        if counts is None:
            return
        now = self._clock()
        try:
            await self._store.count(org_id, now.date(), counts, used, now)
        except BaseException:
            self._counts.setdefault(org_id, Counter()).update(counts)
            self._used.setdefault(org_id, Counter()).update(used)
            raise


def error_bounds(errors: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """The two-sided Clopper-Pearson bounds of a share."""
    if trials <= 0:
        return 0.0, 1.0
    errors = min(errors, trials)
    tail = (1 - confidence) / 2
    low = 0.0 if errors == 0 else _solve(lambda p: _at_least(errors, trials, p) - tail)
    high = 1.0 if errors == trials else _solve(lambda p: tail - (1 - _at_least(errors + 1, trials, p)))
    return low, high


def _solve(rising: Callable[[float], float]) -> float:
    """Where a rising function of a probability is 0."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)
    return (low + high) / 2


def _at_least(successes: int, trials: int, p: float) -> float:
    """P(X >= successes) of a binomial: the regularised incomplete beta function."""
    return _incomplete_beta(successes, trials - successes + 1, p)


def _incomplete_beta(a: float, b: float, x: float) -> float:
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(b, a, 1 - x)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    ) / a  # fmt: skip
    # The continued fraction of Lentz.
    tiny = 1e-300
    c, d = 1.0, 1 / _off_zero(1 - (a + b) * x / (a + 1), tiny)
    total = d
    for m in range(1, 400):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for step in (even, odd):
            d = 1 / _off_zero(1 + step * d, tiny)
            c = _off_zero(1 + step / c, tiny)
            total *= c * d
        if abs(c * d - 1) < 1e-13:
            break
    return front * total


def _off_zero(value: float, tiny: float) -> float:
    return value if abs(value) > tiny else tiny
