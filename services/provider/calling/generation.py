"""The one retry and fallback loop: candidates in order, each with one attempt and at most one retry.

Before the first token another attempt starts anew; after it one may take the answer up (rescue.py), as often as the
request's reservation covers. Every attempt is accounted for in the Finish or Failure that ends the stream.
"""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from mesh.errors import Reason
from services.provider.calling.answer_reading import Outlet
from services.provider.calling.attempt_run import Find, Ground, Run
from services.provider.calling.deployments import Balancer, Picks
from services.provider.calling.events import Ask, Attempt, Candidate, Event, Failure
from services.provider.calling.health import FailFast
from services.provider.calling.hedging import Race
from services.provider.calling.rescue import Rescuer
from services.provider.calling.retry_budget import RetryBudget
from services.provider.config import ProviderConfig
from services.provider.errors import ProviderFault

MAX_BY_KEY = 8
"""The most attempts of one request that may be followed by another one just because a key was refused."""


class Generator:
    """Runs generations."""

    def __init__(
        self,
        find: Find,
        config: ProviderConfig,
        *,
        new_id: Callable[[], str],
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._config, self._clock, self._jitter = config, clock, jitter
        self.health = FailFast(clock, failing_after=config.failing_after, window_s=config.failing_window_s)
        bounds = {"cooldown_min_s": config.cooldown_min_s, "cooldown_max_s": config.cooldown_max_s}
        self.balancer = Balancer(clock, jitter, **bounds)
        self._retries = RetryBudget(config.retry_ratio)
        self._ground = Ground(find, config, new_id, clock, now, self.health, self.balancer)

    async def run(self, ask: Ask, outlet: Outlet | None = None) -> AsyncGenerator[Event, None]:
        """The events of one generation; exactly one Finish or Failure is the last.

        `outlet` gets the frames behind an attempt's first as they come, and those that it takes are not yielded.
        """
        attempts, faults, cut = list[Attempt](), list[ProviderFault](), list[ProviderFault]()
        candidates, rescuer, started, too_small = self._usable(ask.candidates), Rescuer(ask), self._clock(), 0

        def left_s() -> float:
            total_s = ask.deadlines.total_s
            return total_s - (self._clock() - started) if total_s > 0 else float("inf")

        def run_at(at: Candidate) -> Run:
            return Run(self._ground, ask, at, attempts, rescuer, left_s)

        for index, candidate in enumerate(candidates):
            if 0 < candidate.context_tokens <= too_small:
                continue
            more, turn = index + 1 < len(candidates), 0
            picks = self._picks(candidate, ask)
            at = picks.next()
            self._retries.sent(at.provider)
            while True:
                alone = run_at(at)
                racing: Run | Race[Run] = alone
                if ask.hedge_after_s > 0 and not rescuer.active and (more or picks.another()):
                    beside = self._beside(ask, picks, candidates[index + 1 : index + 2], run_at)
                    racing = Race(alone, beside, ask.hedge_after_s)
                else:
                    alone.outlet = outlet
                async with aclosing(racing.events()) as events:
                    async for event in events:
                        yield event
                run = racing.last
                faults += [one.fault for one in racing.racers if one.fault is not None]
                # Whoever answered stands last.
                attempts.append(attempts.pop(attempts.index(run.attempt)))
                if run.fault is None:
                    yield run.finish(attempts)
                    return
                pause, again = None, False
                if run.sent:
                    cut.append(run.fault)
                    if not rescuer.takes_up(run.exchange, run.attempt, run.fault, run.head, run.sent_bytes):
                        yield _failure(cut[:1], attempts, after_first_token=True)
                        return
                    turn, pause = 0, self._pause_before_rescue(more, picks)
                elif rescuer.refused(run.attempt, run.candidate) or (
                    len(attempts) < MAX_BY_KEY and run.has_other_key()
                ):
                    pause, again = 0.0, True
                else:
                    pause = self._pause_before_retry(run.fault, turn, more, picks)
                    turn += 1
                if pause is None or left_s() <= pause:
                    break
                await asyncio.sleep(pause)
                at = run.candidate if again else picks.next()
            if not (self._falls_back(run.fault) or rescuer.active) or left_s() <= 0:
                break
            if run.fault.reason is Reason.CONTEXT_TOO_LONG:
                too_small = max(too_small, run.candidate.context_tokens)
        yield _failure(cut[:1] or faults, attempts, after_first_token=rescuer.active)

    def _falls_back(self, fault: ProviderFault) -> bool:
        return fault.fall_back or (fault.filtered and self._config.content_filter_fallback)

    def _picks(self, candidate: Candidate, ask: Ask) -> Picks:
        return Picks(self.balancer, candidate, self._ground.full, ask.input, stream=ask.stream)

    def _beside(
        self, ask: Ask, picks: Picks, following: Sequence[Candidate], run_at: Callable[[Candidate], Run]
    ) -> Callable[[], Run | None]:
        """Makes the attempt beside one that is slow: at another endpoint of the candidate, else at the next one."""

        def make() -> Run | None:
            chosen = picks if picks.another() else self._picks(following[0], ask) if following else None
            at = chosen.next() if chosen is not None else None
            return run_at(at) if at is not None and self._retries.spend(at.provider) else None

        return make

    def _usable(self, candidates: Sequence[Candidate]) -> Sequence[Candidate]:
        """The candidates without those known to fail now, unless none would be left."""
        healthy = [c for c in candidates if not self._failing(c)]
        return healthy or candidates

    def _failing(self, candidate: Candidate) -> bool:
        """Whether the candidate, or every endpoint of it, is known to fail now."""
        if candidate.deployments:
            return self.balancer.cooling(candidate.deployments)
        return self.health.failing(candidate.provider, candidate.upstream_name)

    def _pause_before_retry(self, fault: ProviderFault, turn: int, more: bool, picks: Picks) -> float | None:
        """Seconds before the same candidate is asked again, at another endpoint if it has one; None = not again."""
        if fault.fall_back and fault.reason is not Reason.CONTEXT_TOO_LONG and picks.another():
            return 0.0
        pause = self._pause_at_the_same(fault, more) if turn == 0 and fault.retry else None
        return pause if pause is not None and self._retries.spend(picks.provider) else None

    def _pause_at_the_same(self, fault: ProviderFault, more: bool) -> float | None:
        if fault.retry_after_s is not None:
            return fault.retry_after_s if fault.retry_after_s <= self._config.max_retry_after_s else None
        if fault.status_code == 429:
            # Without a hint another candidate is better than a guess.
            return None if more else 1.0 + self._jitter()
        # Full jitter: see "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
        return self._config.retry_delay_s * 2 * self._jitter()

    def _pause_before_rescue(self, more: bool, picks: Picks) -> float | None:
        """Another endpoint goes on at once, or the next candidate (None); without one the same is asked again."""
        if picks.another():
            return 0.0
        return None if more else self._config.retry_delay_s * (0.5 + self._jitter())


def _failure(faults: Sequence[ProviderFault], attempts: Sequence[Attempt], *, after_first_token: bool) -> Failure:
    """What to tell the caller after the last attempt."""
    if not faults:
        return Failure(Reason.NO_MODEL_AVAILABLE, "No candidate was given.", 0, 0.0, False, attempts)
    last = faults[-1]
    waits = [fault.retry_after_s for fault in faults if fault.retry_after_s is not None]
    retry_after_s = min(waits) if waits else 0.0
    tried = {attempt.model for attempt in attempts}
    theirs = [fault for fault in faults if fault.reason not in (Reason.PROVIDER_REFUSED, Reason.INVALID_REQUEST)]
    if len(tried) > 1 and last.reason in (Reason.PROVIDER_REFUSED, Reason.INVALID_REQUEST) and theirs:
        # A fallback that cannot take the request must not hide why it was asked.
        last = theirs[-1]
    reason = last.reason
    if last in theirs and all(fault.rate_limited for fault in theirs):
        reason = Reason.PROVIDER_RATE_LIMITED
    elif reason is Reason.PROVIDER_RATE_LIMITED:
        # Another one failed otherwise: waiting for this one's limit may be in vain.
        reason = Reason.PROVIDER_FAILED
    message = last.message if len(tried) == 1 else f"All {len(attempts)} attempts failed. {last.message}"
    return Failure(reason, message[:500], last.status_code, retry_after_s, after_first_token, attempts, last.body)
