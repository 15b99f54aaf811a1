"""Where experiments and what came of them are kept: every change is one transaction with its record for audit.

Outcomes are added in the transaction that moves the learner's cursor (learning/store.py), so that none counts twice.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from mesh.postgres import Database
from services.router.experiments import experiment_errors as errors
from services.router.experiments.experiments import (
    IN_FORCE,
    PROMOTED,
    QUALITY_AT,
    RUNNING,
    SHADOW,
    STOPPED,
    ArmSums,
    Judgement,
    Plan,
    TrialKey,
    TrialOutcome,
)
from services.router.experiments.form import decode, encode
from services.router.policies.store import TELL, Author

CHANNEL = "router_experiments"
MOST_EXPERIMENTS = 200
"""Of one organisation."""
Figures = dict[int, dict[str, ArmSums]]
"""Step → arm → what came of it."""
_log = logging.getLogger(__name__)
_ROW = """SELECT experiment_id::text, document, state, step, verdict, reason, version, created_at, step_at, ended_at
  FROM experiments WHERE org_id = $1 """
_COUNT = """INSERT INTO experiment_counts (org_id, changes) VALUES ($1, 1)
  ON CONFLICT (org_id) DO UPDATE SET changes = experiment_counts.changes + 1"""
_CREATE = """INSERT INTO experiments
  (org_id, experiment_id, document, kind, state, request_id, created_at, step_at)
  VALUES ($1, $2, $3, $4, 'running', $5, $6, $6)"""
_MOVE = """UPDATE experiments SET state = $3, step = $4, verdict = $5, reason = $6, version = version + 1,
  step_at = CASE WHEN step = $4 THEN step_at ELSE $7 END, ended_at = CASE WHEN $3 = 'running' THEN NULL ELSE $7 END
  WHERE org_id = $1 AND experiment_id = $2"""
# An experiment that is deleted just now takes its outcomes along.
_ADD = """INSERT INTO experiment_arms AS m (org_id, experiment_id, step, arm, sums, latencies)
  SELECT org_id, experiment_id, $3, $4, $5, $6 FROM experiments WHERE org_id = $1 AND experiment_id = $2 FOR KEY SHARE
  ON CONFLICT (org_id, experiment_id, step, arm) DO UPDATE
  SET sums = added(m.sums, EXCLUDED.sums), latencies = added(m.latencies, EXCLUDED.latencies)"""
_ANSWERS = """INSERT INTO experiment_answers (org_id, request_id, experiment_id, step, arm, graded, counted)
  SELECT e.org_id, n.request_id, e.experiment_id, n.step, n.arm, n.graded, n.graded
  FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::int[], $5::text[], $6::float8[])
    AS n(org_id, request_id, experiment_id, step, arm, graded)
    JOIN experiments e ON e.org_id = n.org_id AND e.experiment_id = n.experiment_id
  FOR KEY SHARE OF e
  ON CONFLICT (org_id, request_id) DO NOTHING"""
_ANSWER = """SELECT experiment_id::text, step, arm, graded, counted FROM experiment_answers
  WHERE org_id = $1 AND request_id = $2 FOR UPDATE"""
_COUNT_ANSWER = "UPDATE experiment_answers SET counted = $3 WHERE org_id = $1 AND request_id = $2"
_CORRECT = """UPDATE experiment_arms SET sums = added(sums, $5)
  WHERE org_id = $1 AND experiment_id = $2 AND step = $3 AND arm = $4"""


@dataclass(frozen=True)
class ExperimentRow:
    """An experiment as it stands."""

    experiment_id: str
    plan: Plan
    state: str
    step: int
    verdict: str
    reason: str
    version: int
    created_at: dt.datetime
    step_at: dt.datetime
    ended_at: dt.datetime | None

    @property
    def etag(self) -> str:
        """Versions never come again, so the version says it."""
        return str(self.version)


def _row(row: Any) -> ExperimentRow:
    experiment_id, document, *rest = row
    return ExperimentRow(experiment_id, decode(document), *rest)


class PostgresExperimentStore:
    """The schema `router`, as far as it is about experiments."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def follow(self, changed: Callable[[], None]) -> None:
        """Calls `changed` soon after any replica changed something, best effort."""
        await self._database.listen(CHANNEL, lambda _: changed(), on_gap=changed)

    async def counts(self) -> dict[str, int]:
        """Every organisation that ever had an experiment → how often its experiments changed."""
        async with self._database.transaction() as connection:
            rows = await connection.fetch("SELECT org_id::text, changes FROM experiment_organisations()")
        return {row[0]: row[1] for row in rows}

    async def in_force(self, org_id: str) -> list[ExperimentRow]:
        """Those that count for decisions."""
        async with self._database.transaction(org_id) as connection:
            rows = await connection.fetch(_ROW + "AND state = ANY ($2)", org_id, list(IN_FORCE))
        found = []
        for row in rows:
            try:
                found.append(_row(row))
            except msgspec.MsgspecError as error:
                # Written by a newer DAC: the policy in force is for all, and what others run is not held up.
                _log.error("experiment %s of %s cannot be read, and does not run here: %s", row[0], org_id, error)
        return found

    async def read(self, org_id: str, experiment_id: str) -> tuple[ExperimentRow, Figures]:
        """One, with all its figures. Raises NOT_FOUND."""
        async with self._database.transaction(org_id) as connection:
            row = await self._standing(connection, org_id, experiment_id)
            figures = await _figures(connection, org_id, [experiment_id])
        return row, figures.get(experiment_id, {})

    async def page(self, org_id: str, before: str, limit: int) -> list[tuple[ExperimentRow, Figures]]:
        """The latest first, behind one of them (empty = from the first)."""
        async with self._database.transaction(org_id) as connection:
            rows = await connection.fetch(
                _ROW + "AND ($2::uuid IS NULL OR experiment_id < $2::uuid) ORDER BY experiment_id DESC LIMIT $3",
                org_id,
                before or None,
                limit,
            )
            figures = await _figures(connection, org_id, [row[0] for row in rows])
        return [(_row(row), figures.get(row[0], {})) for row in rows]

    async def create(
        self, org_id: str, experiment_id: str, plan: Plan, request_id: str, author: Author
    ) -> ExperimentRow:
        """Begins one; the one that this request_id began already. Raises FAILED_PRECONDITION."""
        document = encode(plan)
        async with self._changing(org_id, author) as connection:
            if request_id:
                known = await connection.fetchrow(_ROW + "AND request_id = $2", org_id, request_id)
                if known is not None:
                    if known["document"] != document:
                        raise errors.request_id_used(request_id)
                    return _row(known)
            standing = await connection.fetchval(
                "SELECT experiment_id::text FROM experiments "
                "WHERE org_id = $1 AND (kind = 'shadow') = $2 AND state = ANY ($3)",
                org_id,
                plan.kind == SHADOW,
                list(IN_FORCE),
            )
            if standing is not None:
                raise errors.one_in_force(plan.kind, standing)
            count = await connection.fetchval("SELECT count(*) FROM experiments WHERE org_id = $1", org_id)
            if count >= MOST_EXPERIMENTS:
                raise errors.too_many(MOST_EXPERIMENTS)
            await connection.execute(_CREATE, org_id, experiment_id, document, plan.kind, request_id, author.at)
            row = await self._standing(connection, org_id, experiment_id)
            await _tell(connection, author, None, {"state": RUNNING, "plan": document})
        return row

    async def end(
        self, org_id: str, experiment_id: str, state: str, etag: str, author: Author, note: str
    ) -> ExperimentRow:
        """Stops or promotes one by hand. Raises NOT_FOUND or FAILED_PRECONDITION."""
        async with self._changing(org_id, author) as connection:
            before = await self._standing(connection, org_id, experiment_id)
            if etag and etag != before.etag:
                raise errors.etag_conflict(experiment_id, etag, before.etag)
            if before.state == state:
                return before
            if before.state != RUNNING and (before.state, state) != (PROMOTED, STOPPED):
                raise errors.has_ended(experiment_id, before.state, state)
            if state == PROMOTED and before.plan.kind == SHADOW:
                raise errors.shadows_decide_nothing(experiment_id)
            done = Judgement(state, before.step, before.verdict, f"{state} by {author.actor}.")
            return await self._move(connection, org_id, before, done, author, note)

    async def move(
        self,
        org_id: str,
        experiment_id: str,
        look: Callable[[ExperimentRow, Mapping[str, ArmSums]], Judgement],
        author_for: Callable[[Judgement], Author],
    ) -> ExperimentRow | None:
        """Does what a look at a running one says; None = nothing is to be done."""
        async with self._database.transaction(org_id) as connection:
            found = await connection.fetchrow(_ROW + "AND experiment_id = $2", org_id, experiment_id)
            before = None if found is None else _row(found)
            if before is None or before.state != RUNNING:
                return None
            arms = (await _figures(connection, org_id, [experiment_id])).get(experiment_id, {}).get(before.step, {})
            said = look(before, arms)
            if (said.state, said.step) == (before.state, before.step):
                return None
        author = author_for(said)
        async with self._changing(org_id, author) as connection:
            standing = await connection.fetchrow(_ROW + "AND experiment_id = $2", org_id, experiment_id)
            # Somebody ended it meanwhile: their word counts.
            if standing is None or _row(standing) != before:
                return None
            return await self._move(connection, org_id, before, said, author, "")

    async def delete(self, org_id: str, experiment_id: str, author: Author) -> None:
        """Takes one away with its figures. Raises NOT_FOUND."""
        async with self._changing(org_id, author) as connection:
            before = await self._standing(connection, org_id, experiment_id)
            await connection.execute(
                "DELETE FROM experiments WHERE org_id = $1 AND experiment_id = $2", org_id, experiment_id
            )
            await _tell(connection, author, _said(before), None)

    @contextlib.asynccontextmanager
    async def _changing(self, org_id: str, author: Author) -> AsyncIterator[Any]:
        """A transaction that alone changes this organisation's experiments, and tells replicas when it is done."""
        others = {author.org_id} - {"", org_id}
        async with self._database.transaction(org_id, *others) as connection:
            await connection.execute(_COUNT, org_id)
            yield connection
            await connection.execute("SELECT pg_notify($1, '')", CHANNEL)

    @staticmethod
    async def _standing(connection: Any, org_id: str, experiment_id: str) -> ExperimentRow:
        row = await connection.fetchrow(_ROW + "AND experiment_id = $2", org_id, experiment_id)
        if row is None:
            raise errors.experiment_not_found(experiment_id)
        return _row(row)

    async def _move(
        self, connection: Any, org_id: str, before: ExperimentRow, done: Judgement, author: Author, note: str
    ) -> ExperimentRow:
        await connection.execute(
            _MOVE, org_id, before.experiment_id, done.state, done.step, done.verdict, done.reason, author.at
        )
        row = await self._standing(connection, org_id, before.experiment_id)
        await _tell(connection, author, _said(before), {**_said(row), **({"note": note} if note else {})})
        return row


async def add_outcomes(connection: Any, outcomes: Iterable[TrialOutcome]) -> None:
    """Adds what came of requests, within the caller's transaction."""
    sums, ratable = dict[TrialKey, ArmSums](), list[TrialOutcome]()
    for one in outcomes:
        sums.setdefault(one.key, ArmSums()).add(one)
        if one.ratable:
            ratable.append(one)
    for key in sorted(sums):
        await connection.execute(_ADD, *key, sums[key].numbers(), sums[key].latencies)
    if ratable:
        await connection.execute(
            _ANSWERS,
            [one.key.org_id for one in ratable],
            [one.request_id for one in ratable],
            [one.key.experiment_id for one in ratable],
            [one.key.step for one in ratable],
            [one.key.arm for one in ratable],
            [one.quality for one in ratable],
        )


async def rate_answer(connection: Any, org_id: str, request_id: str, rating: float) -> None:
    """Counts a rating (0–1) for the arm of its request, in place of the last one; beside validation's grade."""
    row = await connection.fetchrow(_ANSWER, org_id, request_id)
    if row is None:
        return
    experiment_id, step, arm, graded, before = row
    counts = rating if graded is None else (graded + rating) / 2
    change = [0.0] * len(ArmSums().numbers())
    change[QUALITY_AT : QUALITY_AT + 3] = [
        float(before is None),
        counts - (before or 0.0),
        counts**2 - (before or 0.0) ** 2,
    ]
    await connection.execute(_COUNT_ANSWER, org_id, request_id, counts)
    await connection.execute(_CORRECT, org_id, experiment_id, step, arm, change)


async def forget_answers(connection: Any, before: dt.datetime, most: int) -> int:
    """Removes answers that can be rated no more; returns how many."""
    return int(await connection.fetchval("SELECT forget_experiment_answers($1, $2)", before, most))


async def _figures(connection: Any, org_id: str, experiment_ids: list[str]) -> dict[str, Figures]:
    found: dict[str, Figures] = {}
    rows = await connection.fetch(
        "SELECT experiment_id::text, step, arm, sums, latencies FROM experiment_arms "
        "WHERE org_id = $1 AND experiment_id = ANY ($2::uuid[])",
        org_id,
        experiment_ids,
    )
    for experiment_id, step, arm, sums, latencies in rows:
        found.setdefault(experiment_id, {}).setdefault(step, {})[arm] = ArmSums.of(sums, latencies)
    return found


def _said(row: ExperimentRow) -> dict[str, object]:
    return {"state": row.state, "step": row.step, "verdict": row.verdict, "reason": row.reason}


async def _tell(connection: Any, author: Author, before: object, after: object) -> None:
    change = author.seal(before, after)
    if change is not None:
        await connection.execute(TELL, change.org_id, change.record_id, change.record)
