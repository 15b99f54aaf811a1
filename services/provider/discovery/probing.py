"""Asking one model the graded questions: each is reserved, asked and charged like any request of the caller."""

import asyncio
import dataclasses
import datetime
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from mesh.errors import MeshError, Reason
from mesh.tokens import estimate_tokens, upper_bound_tokens
from services.provider.calling.events import Ask, Attempt, Candidate, Deadlines, Failure, Finish, Started
from services.provider.calling.generation import Generator
from services.provider.discovery.listing_store import Probed
from services.provider.discovery.questions import OUTPUT_TOKENS, QUESTIONS, Question, answer_of, quality_of

ANSWER_S = 20.0
"""How long one answer may take."""
DEFAULT_MAX_NANO_USD = 10_000_000
"""One cent."""


@dataclasses.dataclass(frozen=True, slots=True)
class Held:
    """Money held for one question."""

    amount_nano_usd: int
    priced: bool
    """Whether a price is known at all."""
    output_cap_tokens: int
    """0 = no cap."""
    token: Any
    """What the till needs to settle it."""


class Till(Protocol):
    """Where the money is held and charged, for the organisation that asks."""

    async def hold(self, candidate: Candidate, body: bytes, input_tokens: int, input_tokens_max: int) -> Held:
        """Holds the worst case of one question. Raises MeshError."""

    async def charge(self, held: Held, attempts: Sequence[Attempt], error: MeshError | None) -> int:
        """Charges what was used; returns what it cost."""

    async def free(self, held: Held, why: MeshError) -> None:
        """Nothing was asked after all."""


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """What one question came to."""

    question: str
    right: bool
    reason: Reason = Reason.UNSPECIFIED
    """Set when no answer came."""


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What asking a model came to."""

    probed: Probed | None
    """None = it was not asked, or did not answer."""
    asked: tuple[Asked, ...]
    cost_nano_usd: int
    why_not: str = ""


@dataclasses.dataclass(slots=True)
class _Tally:
    """What was gathered on the way."""

    asked: list[Asked] = dataclasses.field(default_factory=list)
    shown: set[str] = dataclasses.field(default_factory=set)
    first_token_ms: list[float] = dataclasses.field(default_factory=list)
    speeds: list[float] = dataclasses.field(default_factory=list)
    cost_nano_usd: int = 0
    why_not: str = ""
    left_s: float = ANSWER_S
    """For the next answer."""


class Prober:
    """Asks models the questions."""

    def __init__(
        self,
        generator: Generator,
        *,
        now: Callable[[], datetime.datetime],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._generator, self._now, self._clock = generator, now, clock

    async def probe(
        self, candidate: Candidate, till: Till, max_nano_usd: int, *, within_s: float | None = None
    ) -> Outcome:
        """All questions, one after the other, for at most this much and within this time.

        A failing model, a spent limit or no time ends it.
        """
        tally = _Tally()
        until = None if within_s is None else self._clock() + within_s
        for question in QUESTIONS:
            tally.left_s = ANSWER_S if until is None else min(ANSWER_S, until - self._clock())
            if tally.left_s < 1:
                tally.why_not = "it did not answer all questions in the time of this call: ask it again"
                break
            # Shielded: a caller that leaves now must not leave money held, nor an answer unpaid.
            asking = asyncio.ensure_future(self._ask(question, candidate, till, max_nano_usd, tally))
            if not await asyncio.shield(asking):
                break
        if tally.why_not or not tally.asked:
            return Outcome(None, tuple(tally.asked), tally.cost_nano_usd, tally.why_not)
        right = sum(one.right for one in tally.asked)
        probed = Probed(
            candidate.provider,
            candidate.upstream_name,
            quality_of(right, len(QUESTIONS)),
            right,
            len(QUESTIONS),
            round(statistics.median(tally.speeds), 1) if tally.speeds else 0.0,
            round(statistics.median(tally.first_token_ms), 1) if tally.first_token_ms else 0.0,
            tuple(sorted(tally.shown)),
            self._now(),
        )
        return Outcome(probed, tuple(tally.asked), tally.cost_nano_usd)

    async def _ask(
        self, question: Question, candidate: Candidate, till: Till, max_nano_usd: int, tally: _Tally
    ) -> bool:
        """One question; False = the model is not asked any further."""
        body = question.body()
        try:
            held = await till.hold(candidate, body, estimate_tokens(len(body)), upper_bound_tokens(len(body)))
        except MeshError as error:
            tally.why_not = error.message
            return False
        refused = _refusal(held, max_nano_usd - tally.cost_nano_usd)
        if refused:
            await till.free(held, MeshError(Reason.FAILED_PRECONDITION, refused))
            tally.why_not = refused
            return False
        # Shielded: a caller that leaves now must not leave money held, nor an answer unpaid.
        ended, cost = await asyncio.shield(
            asyncio.ensure_future(self._answer(body, candidate, till, held, tally.left_s))
        )
        tally.cost_nano_usd += cost
        if isinstance(ended, Failure):
            tally.asked.append(Asked(question.name, False, ended.reason))
            if question.shows and ended.reason in (Reason.PROVIDER_REFUSED, Reason.INVALID_REQUEST):
                # It refuses tools, which is an answer too.
                return True
            tally.why_not = ended.message
            return False
        right = question.right(answer_of(ended.text, ended.tool_calls_json))
        tally.asked.append(Asked(question.name, right))
        if right and question.shows:
            tally.shown.add(question.shows)
        _measure(ended.attempts[-1], tally)
        return True

    async def _answer(
        self, body: bytes, candidate: Candidate, till: Till, held: Held, within_s: float
    ) -> tuple[Finish | Failure, int]:
        """The answer and what it cost; whatever happens, the money is settled."""
        cap = min(held.output_cap_tokens or OUTPUT_TOKENS, OUTPUT_TOKENS)
        ask = Ask(
            input=body,
            candidates=[dataclasses.replace(candidate, output_cap_tokens=cap)],
            deadlines=Deadlines(total_s=within_s),
            stream=True,
            need_text=True,
        )
        ended: Finish | Failure | None = None
        started: list[Attempt] = []
        try:
            async for event in self._generator.run(ask):
                if isinstance(event, Finish | Failure):
                    ended = event
                elif isinstance(event, Started):
                    started = list(event.before)
        finally:
            attempts = ended.attempts if ended is not None else started
            error = None
            if not isinstance(ended, Finish):
                told = ended.message if ended is not None else "The question was broken off."
                error = MeshError(ended.reason if ended is not None else Reason.CANCELLED, told)
            cost = await till.charge(held, attempts, error)
        assert ended is not None, "a generation ends with a Finish or a Failure"
        return ended, cost


def _refusal(held: Held, left_nano_usd: int) -> str:
    """Why the question is not asked; empty when it is."""
    if not held.priced:
        return "its price is not known, so nothing could hold it to a limit: set a price under models:"
    if held.amount_nano_usd > left_nano_usd:
        return (
            f"the next question may cost ${held.amount_nano_usd / 1e9:.6f}, and ${max(0, left_nano_usd) / 1e9:.6f} "
            "of the limit are left"
        )
    return ""


def _measure(attempt: Attempt, tally: _Tally) -> None:
    if attempt.first_token_ms <= 0:
        return
    tally.first_token_ms.append(attempt.first_token_ms)
    writing_s = attempt.ended_at_s - attempt.started_at_s - attempt.first_token_ms / 1000
    tokens = attempt.usage.output_tokens + attempt.usage.reasoning_tokens
    # A handful of tokens in one packet says nothing about speed.
    if tokens >= 8 and writing_s > 0.02:
        tally.speeds.append(tokens / writing_s)
