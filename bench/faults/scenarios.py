"""The sixteen scenarios: model, fallback, checks, limits; and the two profiles of their times."""

from __future__ import annotations

from dataclasses import dataclass

from bench.faults import judge
from bench.faults.judge import Check
from bench.faults.upstream import Timing


@dataclass(frozen=True)
class Scenario:
    """One fault."""

    id: str
    name: str
    checks: tuple[Check, ...]
    max_s: float
    """A call that takes longer is a hang."""
    fallback: str = "fb-ok"
    wants_error: bool = False
    count: int = 1
    interval_s: float = 0.0

    @property
    def model(self) -> str:
        """What the wall knows it by."""
        return self.id.lower()


@dataclass(frozen=True)
class Profile:
    """Times of the wall, of DAC, and the limits that follow from them."""

    name: str
    timing: Timing
    first_token_s: float
    """DAC's limit for the first token, and for the next piece."""
    silent_limit_s: float
    """S06: two retries of a 30 s timeout and slack, as the method has it."""
    first_limit_s: float
    stall_limit_s: float
    finish_limit_s: float
    back_limit_s: float
    count: int
    interval_s: float
    max_factor: float = 1.0
    """On what counts as a hang."""
    skip_failing_s: float = 10.0
    """provider.failing_window_s and router.breaker_open_s: how long DAC leaves a failing model alone."""


FULL = Profile(
    "full",
    Timing(),
    first_token_s=10.0,
    silent_limit_s=100.0,
    first_limit_s=15.0,
    stall_limit_s=45.0,
    finish_limit_s=8.0,
    back_limit_s=30.0,
    count=20,
    interval_s=4.0,
)
FAST = Profile(
    "fast",
    Timing(token_s=0.003, silence_s=20.0, slow_first_s=8.0, stall_s=8.0, down_s=5.0),
    first_token_s=1.5,
    silent_limit_s=10.0,
    first_limit_s=5.0,
    stall_limit_s=6.0,
    finish_limit_s=6.0,
    back_limit_s=5.0,
    count=12,
    interval_s=0.8,
    max_factor=0.5,
    skip_failing_s=1.5,
)
PROFILES = {one.name: one for one in (FULL, FAST)}


def scenarios(profile: Profile) -> tuple[Scenario, ...]:
    """All sixteen in order."""
    limit, twice = profile.max_factor, judge.primary_at_least(2)
    most = judge.primary_at_most(6)
    return (
        Scenario(
            "S01",
            "429 once, with Retry-After",
            (twice, judge.first_gap_at_least(0.9 * profile.timing.retry_after_s), judge.primary_within(1.5, 2)),
            20 * limit,
        ),
        Scenario("S02", "429 for ever, no Retry-After", (judge.primary_within(3.0, 4), most), 40 * limit),
        Scenario("S03", "500 once", (twice,), 20 * limit),
        Scenario("S04", "503 for ever", (most,), 40 * limit),
        Scenario("S05", "reset before the headers, once", (), 20 * limit),
        Scenario(
            "S06",
            "no answer at all",
            (judge.ends_within(profile.silent_limit_s), judge.primary_at_most(1, advisory=True)),
            130 * limit,
        ),
        Scenario("S07", "slow first token", (judge.ends_within(profile.first_limit_s, advisory=True),), 60 * limit),
        Scenario("S08", "stream cut after 40 of 60 tokens", (), 40 * limit),
        Scenario(
            "S09",
            "stream stalls after 20 tokens",
            (judge.ends_within(profile.stall_limit_s), judge.stays_alive()),
            70 * limit,
        ),
        Scenario(
            "S10",
            "malformed event in the stream",
            (judge.stays_alive(), judge.answers_whole(advisory=True)),
            30 * limit,
        ),
        Scenario("S11", "no [DONE]", (judge.ends_within(profile.finish_limit_s), judge.tells_usage()), 30 * limit),
        Scenario("S12", "context too long", (judge.primary_exactly(1),), 20 * limit),
        Scenario(
            "S13",
            "content refused",
            (judge.primary_exactly(1), judge.passes_reason_on("content_policy_violation")),
            20 * limit,
            wants_error=True,
        ),
        Scenario(
            "S14",
            "stream cut, the fallback refuses prefill",
            (judge.shows_no_prefill_refusal(),),
            40 * limit,
            fallback="fb-no-prefill",
        ),
        Scenario(
            "S15",
            "primary down, then healthy",
            (judge.serves_while_down(), judge.back_within(profile.back_limit_s)),
            30 * limit,
            count=profile.count,
            interval_s=profile.interval_s,
        ),
        Scenario(
            "S16",
            "accounts of a failover",
            (judge.names_fallback(), judge.tells_usage(), judge.bills_fallback_only(), most),
            40 * limit,
        ),
    )
