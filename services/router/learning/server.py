"""The servicer of learning, and how this part of the router is put together: store, leader's loop, reader, servicer."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import grpc.aio

from dac.budget.v1 import record_pb2 as budget_record_pb2
from dac.budget.v1 import record_pb2_grpc as budget_record_pb2_grpc
from dac.router.v1 import learning_pb2, learning_pb2_grpc, router_pb2
from dac.type.v1.principal_pb2 import Principal
from mesh import call
from mesh.errors import MeshError, invalid
from mesh.ids import is_uuid
from mesh.service import Context
from services.router.changes import author
from services.router.config import RouterConfig
from services.router.learning import learning_errors as errors
from services.router.learning.learning import Learned, LearningRules, Standing
from services.router.learning.outcomes import Fetched, Learner
from services.router.learning.store import CONSUMER, START, LearnedStore, PostgresLearnedStore
from services.router.policies.intents import intent_of_task

FETCH_WAIT_S = 20.0
LOOK_EVERY_S = 0.25
THUMBS, STARS = "thumbs", "stars"
MOST_SCORE_DIGITS = 6
Prior = Callable[[str, str], float]
"""(organisation, model) → the quality that the catalog expects."""
Look = Callable[[Iterable[tuple[str, str]]], Awaitable[None]]
_log = logging.getLogger(__name__)


def rules_of(config: RouterConfig) -> LearningRules:
    """How quickly is believed and forgotten, as it is set."""
    return LearningRules(
        prior_strength=config.learn_prior_strength,
        discount=config.learn_discount,
        cost_per_usd=config.learn_cost_per_usd,
        latency_per_s=config.learn_latency_per_s,
    )


def grade_of(rating: float, scale: str) -> float:
    """A rating as a grade, 0–1. Raises INVALID_REQUEST."""
    if scale not in ("", THUMBS, STARS):
        raise invalid("scale", f'scale is "{scale[:32]}": say {THUMBS} (-1 to 1) or {STARS} (1 to 5).')
    stars = scale == STARS or (not scale and rating > 1)
    lowest, highest = (1.0, 5.0) if stars else (-1.0, 1.0)
    if not lowest <= rating <= highest:
        raise invalid("rating", f"rating is {rating:g}: say -1 (bad) to 1 (good), or 1 to 5 stars.")
    return (rating - lowest) / (highest - lowest)


def task_of(task_type: str) -> str:
    """The intent that a caller means; empty = all. Raises INVALID_REQUEST."""
    intent = intent_of_task(task_type)
    if task_type and not intent:
        raise errors.unknown_task(task_type)
    return intent


class LearningServicer(learning_pb2_grpc.LearningServiceServicer):
    """dac.router.v1.LearningService."""

    def __init__(self, desk: LearningDesk, prior: Prior) -> None:
        self._desk, self._prior = desk, prior

    async def GetLearned(
        self, request: learning_pb2.GetLearnedRequest, context: Any
    ) -> learning_pb2.GetLearnedResponse:
        """See the proto."""
        org_id, intent = call.require_organisation("read").org_id, task_of(request.task_type)
        await self._desk.refresh()
        found = [
            self._told(org_id, one) for one in self._desk.learned.standings(org_id, intent) if one.sums.outcomes > 0
        ]
        found.sort(key=lambda one: (one.task_type, -one.efficiency_score, one.model))
        return learning_pb2.GetLearnedResponse(models=found)

    async def SubmitFeedback(
        self, request: learning_pb2.SubmitFeedbackRequest, context: Any
    ) -> learning_pb2.SubmitFeedbackResponse:
        """See the proto."""
        org_id = call.require_organisation("chat").org_id
        if not is_uuid(request.request_id):
            raise errors.answer_not_found(request.request_id)
        if not math.isfinite(request.rating):
            raise invalid("rating", "rating is no number: say -1 (bad) to 1 (good), or 1 to 5 stars.")
        grade = grade_of(request.rating, request.scale)
        ends_at = time.monotonic() + self._desk.config.feedback_wait_s
        while True:
            rated = await self._desk.store.rate(org_id, request.request_id.lower(), grade)
            if rated is not None:
                break
            if time.monotonic() >= ends_at:
                raise errors.answer_not_found(request.request_id)
            await asyncio.sleep(LOOK_EVERY_S)
        await self._desk.refresh()
        return learning_pb2.SubmitFeedbackResponse(model=rated.model, task_type=rated.intent)

    async def ResetLearned(
        self, request: learning_pb2.ResetLearnedRequest, context: Any
    ) -> learning_pb2.ResetLearnedResponse:
        """See the proto."""
        org_id, intent = call.require_organisation("admin").org_id, task_of(request.task_type)
        target = f"learned:{intent or '*'}:{request.model[:200] or '*'}"
        by = author(call.require_principal(), "learned.reset", target, dt.datetime.now(dt.UTC), org_id=org_id)
        forgotten = await self._desk.store.reset(org_id, intent, request.model, by)
        await self._desk.refresh()
        return learning_pb2.ResetLearnedResponse(forgotten=forgotten)

    def _told(self, org_id: str, one: Standing) -> learning_pb2.LearnedModel:
        learned, rules, sums = self._desk.learned, self._desk.learned.rules, one.sums
        prior = self._prior(org_id, one.model)
        quality = learned.mean_of(org_id, one.intent, one.model, prior)
        cost_usd, latency_s = sums.cost_usd / sums.outcomes, sums.latency_s / sums.outcomes
        score = quality - rules.cost_per_usd * cost_usd - rules.latency_per_s * latency_s
        return learning_pb2.LearnedModel(
            model=one.model,
            task_type=one.intent,
            efficiency_score=round(min(1.0, max(0.0, score)), MOST_SCORE_DIGITS),
            confidence=round(sums.outcomes / (sums.outcomes + rules.prior_strength), MOST_SCORE_DIGITS),
            n=round(sums.outcomes, 3),
            expected_quality=round(quality, MOST_SCORE_DIGITS),
            catalog_quality=prior,
            cost_nano_usd=round(cost_usd * 1e9),
            latency_ms=round(latency_s * 1000, 1),
            explored_share=round(sums.explored / sums.outcomes, MOST_SCORE_DIGITS),
        )


class LearningDesk:
    """Learning as the router's other parts see it: `learned` is in memory, and current within `learned_refresh_s`."""

    def __init__(self, context: Context, prior: Prior, look: Look | None = None) -> None:
        """`look` judges the experiments that outcomes came of."""
        assert context.database is not None, "learning needs PostgreSQL"
        self.config: RouterConfig = context.config
        self._channel_to = context.channel_to
        rules = rules_of(self.config)
        self.learned = Learned(rules)
        self.store: LearnedStore = PostgresLearnedStore(context.database, rules)
        self.servicer = LearningServicer(self, prior)
        self._learner = Learner(
            context.database, self.store, self._fetch, self.learned, self.config, self.refresh, look
        )
        self._mark = START
        self._read_s: float | None = None
        self._reading = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the servicer."""
        learning_pb2_grpc.add_LearningServiceServicer_to_server(self.servicer, server)

    async def start(self) -> None:
        """Begins to learn and to follow what other replicas have learned; without PostgreSQL, later."""
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self._follow(), name="router-learned"),
                asyncio.create_task(self._learner.run(), name="router-learner"),
            ]

    async def close(self) -> None:
        """Stops; what was not learned yet is still in budget's outbox."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def refresh(self) -> None:
        """Reads what has changed. Raises UNAVAILABLE."""
        async with self._reading:
            mark, changed = await self.store.changed(self._mark)
            for org_id, found in changed.items():
                self.learned.put(org_id, found.clocks, found.rows)
            self._mark, self._read_s = mark, time.monotonic()

    def status(self, principal: Principal) -> router_pb2.LearnedStatus:
        """What was learned in the caller's organisation; in all of them, if it is the operator."""
        is_operator = call.has_scope(principal, "operator")
        orgs = self.learned.organisations if is_operator else (principal.org_id,)
        known = [one for org_id in orgs for one in self.learned.standings(org_id) if one.sums.outcomes > 0]
        return router_pb2.LearnedStatus(
            models=len({one.model for one in known}),
            task_types=len({one.intent for one in known}),
            n=round(sum(one.sums.outcomes for one in known), 3),
            organisations=len(orgs) if is_operator else 0,
            age_s=-1.0 if self._read_s is None else time.monotonic() - self._read_s,
        )

    async def _follow(self) -> None:
        silent = False
        while True:
            try:
                await self.refresh()
                silent = False
            except MeshError as error:
                if not silent:
                    _log.warning("what was learned cannot be read, going on with what is known: %s", error.message)
                    silent = True
            except Exception:
                # A reader that died would leave this replica with old sums for good.
                _log.exception("reading what was learned failed, trying again")
            await asyncio.sleep(self.config.learned_refresh_s)

    async def _fetch(self, cursor: str) -> Fetched:
        stub = budget_record_pb2_grpc.RecordServiceStub(self._channel_to("budget"))
        request = budget_record_pb2.FetchRecordsRequest(
            consumer=CONSUMER, cursor=cursor, limit=self.config.learn_fetch_limit, wait_s=FETCH_WAIT_S
        )
        with call.acting_as("router"):
            answer = await stub.FetchRecords(request, timeout=FETCH_WAIT_S + 10)
        return Fetched(answer.records, answer.cursor)
