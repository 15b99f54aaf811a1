"""Learns from budget's outbox of request records: one leader among the replicas, with a cursor of its own.

Whoever leads, an outcome counts once: it is added in the transaction that moves the cursor, and only from where the
cursor stands.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import NamedTuple

from dac.type.v1 import record_pb2
from mesh import telemetry
from mesh.errors import MeshError, Reason
from mesh.ids import is_uuid
from mesh.postgres import Database
from services.router.config import RouterConfig
from services.router.experiments.experiments import TrialOutcome
from services.router.experiments.outcomes import outcomes_of
from services.router.learning.drift import ChangeWatch
from services.router.learning.learning import Key, Learned, Observation, reward
from services.router.learning.store import Answer, Batch, LearnedStore

TAKE_LEAD = "SELECT pg_try_advisory_lock(hashtext('dac.router.learner'))"
FAULTS = frozenset(
    map(int, (Reason.PROVIDER_FAILED, Reason.PROVIDER_RATE_LIMITED, Reason.PROVIDER_TIMEOUT, Reason.PROVIDER_CUT))
)
"""What speaks against a model; a refused request or a busy minute does not."""
UNKNOWN_QUALITY = 0.5
"""Expected of a model that the record of the route does not tell of."""
MOST_NAME_CHARS = 200
RETRY_FIRST_S = 0.1
RETRY_LAST_S = 5.0
FORGET_EVERY_S = 60.0
FORGET_AT_ONCE = 5_000
_log = logging.getLogger(__name__)


class Fetched(NamedTuple):
    """One answer of budget."""

    records: Sequence[record_pb2.RequestRecord]
    cursor: str


Fetch = Callable[[str], Awaitable[Fetched]]
"""Records after a cursor; waits for the first."""


class Lesson(NamedTuple):
    """What one record teaches."""

    observations: list[Observation]
    graded: list[bool]
    answer: Answer | None


def lesson(record: record_pb2.RequestRecord) -> Lesson | None:
    """What a record teaches of the models that were asked; None = nothing."""
    if not is_uuid(record.org_id) or not is_uuid(record.request_id) or record.operation not in ("", "chat"):
        return None
    if record.cache.status == record_pb2.CacheRecord.STATUS_COALESCED:
        # Its leader's record tells of the call, once.
        return None
    intent = _name(record.features.intent)
    expected = {one.model: one.prior_quality or one.quality_score for one in record.route.candidates}
    grades, own = _grades(record), _by_attempt(record)
    # A model that answered from another place was not to blame for the first one: that place's breaker hears of it.
    answered = {one.model for one in record.attempts if not one.reason}
    found = Lesson([], [], None)
    for number, attempt in enumerate(record.attempts):
        succeeded, model = not attempt.reason, _name(attempt.model)
        blocked = int(record.reason) == Reason.ANSWER_BLOCKED
        whole = blocked or record.outcome in (record_pb2.OUTCOME_OK, record_pb2.OUTCOME_CLIENT_GONE)
        told = whole if succeeded else int(attempt.reason) in FAULTS and attempt.model not in answered
        if not model or not told:
            continue
        last = number == len(record.attempts) - 1
        graded = own.get(attempt.attempt_id, ()) if own else grades if succeeded and last else ()
        hoped = min(1.0, max(0.0, expected.get(attempt.model, UNKNOWN_QUALITY)))
        worth = reward(succeeded=succeeded, expected=hoped, graded=graded)
        found.observations.append(
            Observation(
                Key(record.org_id.lower(), intent, model),
                worth,
                hoped,
                cost_usd=max(0, attempt.cost_nano_usd) / 1e9,
                latency_s=max(0, attempt.ended_at.ToNanoseconds() - attempt.started_at.ToNanoseconds()) / 1e9,
                explored=number == 0 and record.route.explored,
            )
        )
        found.graded.append(bool(graded))
        if succeeded:
            grade = worth if graded else None
            answer = Answer(record.org_id.lower(), record.request_id.lower(), intent, model, grade, worth)
            found = found._replace(answer=answer)
    return found if found.observations else None


def _by_attempt(record: record_pb2.RequestRecord) -> dict[str, tuple[float]]:
    """The grade of every answer that was checked, by its attempt; one that could not be judged has none."""
    answers = record.validation.answers
    return {one.attempt_id: (one.quality,) for one in answers if one.attempt_id and one.HasField("quality")}


def _grades(record: record_pb2.RequestRecord) -> tuple[float, ...]:
    """What validation gave the answer: its quality where it says one, else all it says; each 0–1, 1 is best."""
    if record.validation.HasField("quality"):
        return (record.validation.quality,)
    if record.validation.status:
        return ()
    scores = record.validation.scores
    if "quality" in scores:
        return (scores["quality"],)
    return tuple(scores.values())


def _name(text: str) -> str:
    """PostgreSQL's text holds every character but NUL."""
    return text.replace("\x00", "\ufffd")[:MOST_NAME_CHARS]


class Learner:
    """The leader's loop. Losing the database session loses the lead."""

    def __init__(
        self,
        database: Database,
        store: LearnedStore,
        fetch: Fetch,
        learned: Learned,
        config: RouterConfig,
        refresh: Callable[[], Awaitable[None]],
        look: Callable[[Iterable[tuple[str, str]]], Awaitable[None]] | None = None,
    ) -> None:
        """`look` judges experiments, as (organisation, id), that outcomes came of."""
        self._database, self._store, self._fetch, self._config = database, store, fetch, config
        self._learned, self._refresh, self._look = learned, refresh, look
        self._watch = ChangeWatch(learned.rules)
        self._forgets_at = 0.0

    async def run(self) -> None:
        """Tries to lead, learns while it does, and comes back after failures; never returns."""
        pause_s = RETRY_FIRST_S
        while True:
            try:
                async with self._database.session() as session:
                    if await session.fetchval(TAKE_LEAD):
                        cursor = await self._store.cursor()
                        while True:
                            cursor = await self._step(cursor)
                            pause_s = RETRY_FIRST_S
                            # A lost session has lost the lock: somebody else may be the leader now.
                            await session.fetchval("SELECT 1")
                    pause_s = RETRY_LAST_S
            except MeshError as error:
                if pause_s == RETRY_FIRST_S:
                    _log.warning("learning from request records is interrupted: %s", error.message)
            except Exception:
                _log.exception("learning from request records failed")
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, RETRY_LAST_S)

    async def _step(self, cursor: str) -> str:
        """Learns what is there; returns the cursor behind it."""
        records, behind = await self._fetch(cursor)
        if behind != cursor:
            batch = self.batch(records)
            try:
                moved = await self._store.add(batch, cursor, behind)
            except MeshError as error:
                if error.reason is Reason.UNAVAILABLE or not (batch.observations or batch.trials):
                    raise
                # One record that PostgreSQL refuses must not stop learning for good.
                _log.error("%d outcomes are not learned: %s", len(batch.observations), error.message)
                moved = await self._store.add(Batch(), cursor, behind)
            if not moved:
                return await self._store.cursor()
            telemetry.LEARNED_OUTCOMES.inc(len(batch.observations))
            if batch.observations:
                await self._refresh()
            if batch.trials and self._look is not None:
                await self._look({(one.key.org_id, one.key.experiment_id) for one in batch.trials})
        if time.monotonic() >= self._forgets_at:
            self._forgets_at = time.monotonic() + FORGET_EVERY_S
            before = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=self._config.feedback_window_s)
            while await self._store.forget_answers(before, FORGET_AT_ONCE) == FORGET_AT_ONCE:
                pass
        if len(records) < self._config.learn_fetch_limit:
            # One transaction for many records: learning is not what requests wait for.
            await asyncio.sleep(self._config.learn_every_s)
        return behind

    def batch(self, records: Iterable[record_pb2.RequestRecord]) -> Batch:
        """What records teach, with what the watch says of it."""
        observations, forward, answers = list[Observation](), list[float](), list[Answer]()
        trials = list[TrialOutcome]()
        for record in records:
            if record.route.HasField("experiment") or record.route.HasField("shadow"):
                trials += outcomes_of(record, _grades(record))
            taught = lesson(record)
            if taught is None:
                continue
            for one, graded in zip(taught.observations, taught.graded, strict=True):
                observations.append(one)
                # An outage is the breakers' business; a change is one of what the answers are worth.
                forward.append(self._watch.see(one, self._learned.known(one.key)) if graded else 0.0)
            if taught.answer is not None:
                answers.append(taught.answer)
        return Batch(observations, forward, answers, trials)
