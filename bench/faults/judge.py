"""What a row of the table says: checks on one scenario's run, seen from the caller and from the wall, and a verdict.

pass: rescued and every check kept; partial: rescued, an advisory check broken; safe: not rescued, but a bounded and
clean error and every required check kept; fail: a hang, a truncated answer shown as success, a required check broken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """One call as the caller saw it."""

    kind: str
    """success, error (a status or an error event), broken (the connection just ended in an error) or hang."""
    text: str = ""
    error: str = ""
    status: int = 0
    took_s: float = 0.0
    sent_s: float = 0.0
    """After the wall's reset."""
    model: str = ""
    """The model the answer names."""
    usage: dict[str, Any] | None = None
    request_id: str = ""


@dataclass(frozen=True)
class Observed:
    """All there is to judge by."""

    calls: list[Outcome]
    answer: str
    """What a whole answer is."""
    primary_s: list[float] = field(default_factory=list)
    """When the wall saw the primary asked."""
    answered_s: list[float] = field(default_factory=list)
    """When it answered there with 200."""
    fallback_s: list[float] = field(default_factory=list)
    fallback: str = ""
    prefill_refused: int = 0
    alive: bool = True
    """A healthy call succeeded afterwards."""
    down_s: float = 0.0
    """How long the primary was down."""
    record: dict[str, Any] | None = None
    """What DAC itself stored about the call."""

    @property
    def call(self) -> Outcome:
        """The only call, or the worst of several."""
        order = ("hang", "broken", "error", "success")
        return min(self.calls, key=lambda one: (order.index(one.kind), self.whole(one)))

    def whole(self, call: Outcome) -> bool:
        """Whether the answer is complete, spaces aside."""
        return call.text.split() == self.answer.split()


@dataclass(frozen=True)
class Check:
    """One thing a gateway should do."""

    name: str
    kept: Callable[[Observed], bool]
    advisory: bool = False


@dataclass(frozen=True)
class Verdict:
    """One cell."""

    result: str
    why: str


def verdict(seen: Observed, checks: tuple[Check, ...], *, wants_error: bool = False) -> Verdict:
    """Judges one scenario."""
    call = seen.call
    if call.kind == "hang":
        return Verdict("fail", f"hang: no end after {call.took_s:.1f} s")
    if call.kind == "success" and not wants_error and not seen.whole(call):
        return Verdict("fail", f"truncated answer shown as success: {len(call.text.split())} words")
    if call.kind == "broken":
        return Verdict("fail", f"no clean error: {call.error[:160]}")
    broken = [one for one in checks if not one.kept(seen)]
    required = [one.name for one in broken if not one.advisory]
    if required:
        return Verdict("fail", f"broken: {', '.join(required)} ({_told(seen)})")
    if wants_error and call.kind == "success":
        return Verdict("partial", f"answered by going around the refusal ({_told(seen)})")
    if (call.kind == "error") is not wants_error:
        return Verdict("safe", f"clean error: {call.error[:160]}")
    if broken:
        return Verdict("partial", f"advisory: {', '.join(one.name for one in broken)} ({_told(seen)})")
    return Verdict("pass", _told(seen))


def _told(seen: Observed) -> str:
    """The run in a few words."""
    asked = f"{len(seen.primary_s)} primary, {len(seen.fallback_s)} fallback attempts"
    if len(seen.calls) > 1:
        whole = sum(seen.whole(one) for one in seen.calls)
        return f"{whole} of {len(seen.calls)} answered, {asked}"
    return f"{'right error' if seen.call.kind == 'error' else 'whole answer'} in {seen.call.took_s:.1f} s, {asked}"


# ---- checks --------------------------------------------------------------------------------------------------------


def primary_at_least(count: int) -> Check:
    """The same provider was asked again."""
    return Check(f"at least {count} primary attempts", lambda seen: len(seen.primary_s) >= count, advisory=True)


def primary_at_most(count: int, *, advisory: bool = False) -> Check:
    """The primary was not hammered."""
    return Check(f"at most {count} primary attempts", lambda seen: len(seen.primary_s) <= count, advisory)


def primary_exactly(count: int) -> Check:
    """Neither left out nor asked again."""
    return Check(f"exactly {count} primary attempts", lambda seen: len(seen.primary_s) == count)


def first_gap_at_least(seconds: float) -> Check:
    """Retry-After was heeded."""

    def kept(seen: Observed) -> bool:
        return len(seen.primary_s) > 1 and seen.primary_s[1] - seen.primary_s[0] >= seconds

    return Check(f"{seconds:g} s before the second attempt", kept, advisory=True)


def primary_within(window_s: float, count: int) -> Check:
    """No tight loop."""

    def kept(seen: Observed) -> bool:
        return sum(at - seen.primary_s[0] < window_s for at in seen.primary_s) <= count

    return Check(f"at most {count} primary attempts in {window_s:g} s", kept)


def ends_within(seconds: float, *, advisory: bool = False) -> Check:
    """The call took no longer."""
    return Check(f"an end within {seconds:g} s", lambda seen: seen.call.took_s <= seconds, advisory)


def answers_whole(*, advisory: bool = False) -> Check:
    """The answer is complete."""
    return Check("a whole answer", lambda seen: seen.call.kind == "success" and seen.whole(seen.call), advisory)


def stays_alive() -> Check:
    """A healthy call succeeds afterwards."""
    return Check("healthy afterwards", lambda seen: seen.alive)


def tells_usage() -> Check:
    """The answer has a usage block."""
    return Check("usage told", lambda seen: bool(seen.call.usage), advisory=True)


def names_fallback() -> Check:
    """The answer names the model that answered."""

    def kept(seen: Observed) -> bool:
        return not seen.fallback_s or seen.call.model.rpartition("/")[2] == seen.fallback

    return Check("the fallback named as the model", kept)


def bills_fallback_only() -> Check:
    """DAC's own record charges the attempt that answered and no other (beyond the method: peers cannot be asked)."""

    def kept(seen: Observed) -> bool:
        if seen.record is None:
            return False
        costs = [int(one.get("cost_nano_usd", 0)) for one in seen.record.get("attempts", [])]
        total = int(seen.record.get("cost_nano_usd", 0))
        return bool(costs) and not any(costs[:-1]) and costs[-1] == total > 0

    return Check("only the fallback billed", kept)


def shows_no_prefill_refusal() -> Check:
    """The fallback's refusal of a prefill is not what the caller gets."""
    return Check("no prefill refusal shown", lambda seen: seen.call.kind != "error" or not seen.prefill_refused)


def passes_reason_on(words: str) -> Check:
    """The provider's own reason is in the error."""
    return Check("the provider's reason passed on", lambda seen: words in seen.call.error, advisory=True)


def serves_while_down() -> Check:
    """Every request of the outage is answered."""

    def kept(seen: Observed) -> bool:
        during = [one for one in seen.calls if one.sent_s < seen.down_s]
        return bool(during) and all(one.kind == "success" for one in during)

    return Check("every request of the outage answered", kept)


def back_within(seconds: float) -> Check:
    """The primary is used again soon."""

    def kept(seen: Observed) -> bool:
        return bool(seen.answered_s) and min(seen.answered_s) - seen.down_s <= seconds

    return Check(f"back on the primary within {seconds:g} s", kept)
