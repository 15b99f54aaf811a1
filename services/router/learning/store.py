"""Where what is learned is kept: sums per organisation, intent and model, and the answers that may still be rated.

Outcomes are added with the cursor behind them in one transaction, so that none counts twice, whoever dies when. Every
replica reads the sums and decides by the same ones.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from mesh.postgres import Database
from services.router.experiments import store as experiment_store
from services.router.experiments.experiments import TrialOutcome
from services.router.learning.learning import Key, Learned, LearningRules, Observation, Sums, reward
from services.router.policies.store import TELL, Author

CONSUMER = "router"
MOST_ORGS = 500
"""Organisations read in one transaction."""
START = "0"

CLAIM = "INSERT INTO learning_cursors (consumer, cursor) VALUES ($1, '') ON CONFLICT DO NOTHING"
ADVANCE = "UPDATE learning_cursors SET cursor = $3 WHERE consumer = $1 AND cursor = $2"
ADD = """WITH ticks AS (
    INSERT INTO learned_clocks AS c (org_id, intent, clock)
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::float8[])
    ON CONFLICT (org_id, intent) DO UPDATE SET clock = c.clock + EXCLUDED.clock, changed = pg_current_xact_id()
    RETURNING c.org_id, c.intent, c.clock),
  sums AS (
    INSERT INTO learned AS l
      (org_id, intent, model, clock, outcomes, quality, expected, cost_usd, latency_s, explored)
    SELECT d.org_id, d.intent, d.model, t.clock, d.outcomes, d.quality, d.expected, d.cost_usd, d.latency_s, d.explored
    FROM unnest($4::uuid[], $5::text[], $6::text[], $7::float8[], $8::float8[], $9::float8[], $10::float8[],
        $11::float8[], $12::float8[])
      AS d(org_id, intent, model, outcomes, quality, expected, cost_usd, latency_s, explored)
      JOIN ticks t ON t.org_id = d.org_id AND t.intent = d.intent
    ORDER BY d.org_id, d.intent, d.model
    ON CONFLICT (org_id, intent, model) DO UPDATE SET
      outcomes = faded(l.outcomes, EXCLUDED.clock - l.clock, $13) + EXCLUDED.outcomes,
      quality = faded(l.quality, EXCLUDED.clock - l.clock, $13) + EXCLUDED.quality,
      expected = faded(l.expected, EXCLUDED.clock - l.clock, $13) + EXCLUDED.expected,
      cost_usd = faded(l.cost_usd, EXCLUDED.clock - l.clock, $13) + EXCLUDED.cost_usd,
      latency_s = faded(l.latency_s, EXCLUDED.clock - l.clock, $13) + EXCLUDED.latency_s,
      explored = faded(l.explored, EXCLUDED.clock - l.clock, $13) + EXCLUDED.explored,
      clock = EXCLUDED.clock, changed = pg_current_xact_id())
  INSERT INTO answers (org_id, request_id, intent, model, clock, graded, counted)
  SELECT a.org_id, a.request_id, a.intent, a.model, t.clock, a.graded, a.counted
  FROM unnest($14::uuid[], $15::uuid[], $16::text[], $17::text[], $18::float8[], $19::float8[])
    AS a(org_id, request_id, intent, model, graded, counted)
    JOIN ticks t ON t.org_id = a.org_id AND t.intent = a.intent
  ON CONFLICT (org_id, request_id) DO NOTHING"""
ANSWER = "SELECT intent, model, clock, graded, counted FROM answers WHERE org_id = $1 AND request_id = $2 FOR UPDATE"
COUNT_ANSWER = "UPDATE answers SET counted = $3 WHERE org_id = $1 AND request_id = $2"
RATE = """UPDATE learned SET changed = pg_current_xact_id(),
  quality = greatest(0, quality + faded($4, clock - $5, $6)) WHERE org_id = $1 AND intent = $2 AND model = $3"""
RESET = """UPDATE learned SET outcomes = 0, quality = 0, expected = 0, cost_usd = 0, latency_s = 0, explored = 0,
  changed = pg_current_xact_id()
  WHERE org_id = $1 AND ($2 = '' OR intent = $2) AND ($3 = '' OR model = $3) AND outcomes > 0"""
RESET_ANSWERS = "DELETE FROM answers WHERE org_id = $1 AND ($2 = '' OR intent = $2) AND ($3 = '' OR model = $3)"
CHANGED = """SELECT pg_snapshot_xmin(pg_current_snapshot())::text,
  ARRAY(SELECT org_id::text FROM learning_organisations($1::text::xid8) ORDER BY 1)"""
CLOCKS = "SELECT org_id::text, intent, clock FROM learned_clocks WHERE org_id = ANY ($1::uuid[])"
ROWS = """SELECT org_id::text, intent, model, clock, outcomes, quality, expected, cost_usd, latency_s, explored
  FROM learned WHERE org_id = ANY ($1::uuid[])"""


class Answer(NamedTuple):
    """An answer that may be rated."""

    org_id: str
    request_id: str
    intent: str
    model: str
    graded: float | None
    """What others than its reader gave it, 0–1; None = nobody did."""
    counted: float
    """The reward it counted for."""


@dataclass(frozen=True)
class Batch:
    """Outcomes in the order they came, and the answers among them."""

    observations: Sequence[Observation] = ()
    forward: Sequence[float] = ()
    """By how much more than one each puts its intent's clock forward; empty = by nothing more."""
    answers: Sequence[Answer] = ()
    trials: Sequence[TrialOutcome] = ()
    """What came of requests in experiments."""


@dataclass(frozen=True)
class OrgLearned:
    """The sums of one organisation."""

    clocks: dict[str, float] = field(default_factory=dict)
    rows: list[tuple[Key, float, Sums]] = field(default_factory=list)


class Rated(NamedTuple):
    """What a rating was for."""

    intent: str
    model: str


class LearnedStore(Protocol):
    """What is learned, kept."""

    async def cursor(self) -> str:
        """How far budget's outbox has been read; empty = not at all."""

    async def add(self, batch: Batch, before: str, behind: str) -> bool:
        """Adds outcomes and moves the cursor; False = somebody else has moved it meanwhile, and nothing was added."""

    async def changed(self, since: str) -> tuple[str, Mapping[str, OrgLearned]]:
        """The organisations whose sums changed since a mark, and the next mark."""

    async def rate(self, org_id: str, request_id: str, rating: float) -> Rated | None:
        """Counts a rating (0–1) in place of the last one; None = there is no such answer."""

    async def reset(self, org_id: str, intent: str, model: str, author: Author) -> int:
        """Forgets; returns how many sums."""

    async def forget_answers(self, before: dt.datetime, most: int) -> int:
        """Removes answers that can be rated no more; returns how many."""


class PostgresLearnedStore:
    """The schema `router`, as far as it is about learning."""

    def __init__(self, database: Database, rules: LearningRules) -> None:
        self._database, self._rules = database, rules

    async def cursor(self) -> str:
        """How far budget's outbox has been read; empty = not at all."""
        async with self._database.transaction() as connection:
            found = await connection.fetchval("SELECT cursor FROM learning_cursors WHERE consumer = $1", CONSUMER)
        return found or ""

    async def add(self, batch: Batch, before: str, behind: str) -> bool:
        """Adds outcomes and moves the cursor; False = somebody else has moved it meanwhile, and nothing was added."""
        scratch = Learned(self._rules)
        forward = batch.forward or [0.0] * len(batch.observations)
        for one, more in zip(batch.observations, forward, strict=True):
            scratch.add([one], more)
        keys = sorted({one.key for one in batch.observations})
        intents = sorted({key[:2] for key in keys})
        sums = [scratch.known(key) for key in keys]
        orgs = {key.org_id for key in keys} | {one.key.org_id for one in batch.trials}
        async with self._database.transaction(*sorted(orgs)) as connection:
            if not before:
                await connection.execute(CLAIM, CONSUMER)
            if await connection.execute(ADVANCE, CONSUMER, before, behind) != "UPDATE 1":
                return False
            if keys:
                await connection.execute(
                    ADD,
                    *_columns(intents, 2),
                    [scratch.clock(*intent) for intent in intents],
                    *_columns(keys, 3),
                    [one.outcomes for one in sums],
                    [one.quality for one in sums],
                    [one.expected for one in sums],
                    [one.cost_usd for one in sums],
                    [one.latency_s for one in sums],
                    [one.explored for one in sums],
                    self._rules.discount,
                    *_columns(batch.answers, 6),
                )
            await experiment_store.add_outcomes(connection, batch.trials)
        return True

    async def changed(self, since: str) -> tuple[str, Mapping[str, OrgLearned]]:
        """The organisations whose sums changed since a mark, and the next mark.

        The mark is the oldest transaction that was still open: what it and later ones write is read again.
        """
        async with self._database.transaction() as connection:
            mark, orgs = await connection.fetchrow(CHANGED, since)
        found: dict[str, OrgLearned] = {}
        for start in range(0, len(orgs), MOST_ORGS):
            part = orgs[start : start + MOST_ORGS]
            found |= {org_id: OrgLearned() for org_id in part}
            async with self._database.transaction(*part) as connection:
                # Clocks first: sums never hold at a later clock than was read with them, or at worst fade too little.
                for org_id, intent, clock in await connection.fetch(CLOCKS, part):
                    found[org_id].clocks[intent] = clock
                for org_id, intent, model, clock, *sums in await connection.fetch(ROWS, part):
                    found[org_id].rows.append((Key(org_id, intent, model), clock, Sums(*sums)))
        return mark, found

    async def rate(self, org_id: str, request_id: str, rating: float) -> Rated | None:
        """Counts a rating (0–1) in place of the last one; None = there is no such answer."""
        async with self._database.transaction(org_id) as connection:
            row = await connection.fetchrow(ANSWER, org_id, request_id)
            if row is None:
                return None
            intent, model, clock, graded, counted = row
            grades = [rating] if graded is None else [graded, rating]
            counts = reward(succeeded=True, expected=0.0, graded=grades)
            await connection.execute(COUNT_ANSWER, org_id, request_id, counts)
            await connection.execute(RATE, org_id, intent, model, counts - counted, clock, self._rules.discount)
            await experiment_store.rate_answer(connection, org_id, request_id, rating)
        return Rated(intent, model)

    async def reset(self, org_id: str, intent: str, model: str, author: Author) -> int:
        """Forgets; returns how many sums. Their rows stay, so that every replica reads that they are empty."""
        async with self._database.transaction(org_id) as connection:
            done = await connection.execute(RESET, org_id, intent, model)
            await connection.execute(RESET_ANSWERS, org_id, intent, model)
            forgotten = int(done.rsplit(" ", 1)[-1])
            change = author.seal(None, {"task_type": intent, "model": model, "forgotten": forgotten})
            if change is not None:
                await connection.execute(TELL, change.org_id, change.record_id, change.record)
        return forgotten

    async def forget_answers(self, before: dt.datetime, most: int) -> int:
        """Removes answers that can be rated no more; returns how many."""
        async with self._database.transaction() as connection:
            of_experiments = await experiment_store.forget_answers(connection, before, most)
            return max(of_experiments, int(await connection.fetchval("SELECT forget_answers($1, $2)", before, most)))


def _columns(rows: Sequence[tuple[object, ...]], count: int) -> list[list[object]]:
    """Rows as the columns of a statement's arrays."""
    return [[row[index] for row in rows] for index in range(count)]
