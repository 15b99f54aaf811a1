"""The servicer of experiments, and how this part of the router is put together: store, arms in memory, the judge."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import grpc.aio
import msgspec

from dac.router.v1 import experiment_pb2, experiment_pb2_grpc
from mesh import call
from mesh.errors import MeshError, Reason, invalid
from mesh.following import Follower
from mesh.ids import is_uuid, uuid7
from mesh.service import Context
from services.router.changes import author
from services.router.config import RouterConfig
from services.router.experiments import experiment_errors as errors
from services.router.experiments.arms import Arms, OrgTrials
from services.router.experiments.experiments import (
    PROMOTED,
    ROLLED_BACK,
    SHADOW,
    STOPPED,
    ArmSums,
    Judgement,
    Tried,
    judge,
)
from services.router.experiments.form import plan_of
from services.router.experiments.messages import STATES, kind_of, of_experiment, steps_of
from services.router.experiments.store import ExperimentRow, Figures, PostgresExperimentStore
from services.router.policies.policies import Policies
from services.router.policies.store import Author

PAGE = 50
MAX_NOTE_CHARS = 200
_log = logging.getLogger(__name__)


class ExperimentServicer(experiment_pb2_grpc.ExperimentServiceServicer):
    """dac.router.v1.ExperimentService."""

    def __init__(self, desk: ExperimentDesk) -> None:
        self._desk = desk

    async def CreateExperiment(
        self, request: experiment_pb2.CreateExperimentRequest, context: Any
    ) -> experiment_pb2.CreateExperimentResponse:
        """See the proto."""
        org_id = call.require_organisation("admin").org_id
        if request.request_id and not is_uuid(request.request_id):
            raise invalid("request_id", f'request_id "{request.request_id[:80]}" is not a UUID.')
        plan = plan_of(
            name=request.name,
            kind=kind_of(request.kind),
            policy=request.policy,
            control=request.control,
            share=request.share,
            steps=steps_of(request.steps),
            metric=request.metric,
            guards=tuple(request.guards),
            alpha=request.alpha,
            max_requests=request.max_requests,
            sticky_by=request.sticky_by,
        )
        await self._desk.refresh_policies()
        if not self._desk.arms.exists(org_id, plan.policy):
            raise errors.unknown_policy(plan.policy)
        experiment_id = uuid7()
        by = _author("experiment.create", experiment_id, org_id)
        row = await self._desk.store.create(org_id, experiment_id, plan, request.request_id.lower(), by)
        await self._desk.changed()
        return experiment_pb2.CreateExperimentResponse(experiment=self._told(org_id, row, {}))

    async def GetExperiment(
        self, request: experiment_pb2.GetExperimentRequest, context: Any
    ) -> experiment_pb2.GetExperimentResponse:
        """See the proto."""
        org_id, experiment_id = call.require_organisation("admin").org_id, _known(request.experiment_id)
        row, figures = await self._desk.store.read(org_id, experiment_id)
        return experiment_pb2.GetExperimentResponse(experiment=self._told(org_id, row, figures))

    async def ListExperiments(
        self, request: experiment_pb2.ListExperimentsRequest, context: Any
    ) -> experiment_pb2.ListExperimentsResponse:
        """See the proto. The page token is the last experiment of the page before."""
        org_id, token = call.require_organisation("admin").org_id, request.page_token
        if request.page_size < 0:
            raise invalid("page_size", f"page_size must not be negative, it is {request.page_size}.")
        if token and not is_uuid(token):
            raise invalid("page_token", f'page_token "{token[:40]}" is of no list of experiments.')
        size = min(request.page_size or PAGE, PAGE)
        found = await self._desk.store.page(org_id, token, size + 1)
        return experiment_pb2.ListExperimentsResponse(
            experiments=[
                self._told(org_id, row, {step: one for step, one in figures.items() if step == max(figures)})
                for row, figures in found[:size]
            ],
            next_page_token=found[size - 1][0].experiment_id if len(found) > size else "",
        )

    async def UpdateExperiment(
        self, request: experiment_pb2.UpdateExperimentRequest, context: Any
    ) -> experiment_pb2.UpdateExperimentResponse:
        """See the proto."""
        org_id, experiment_id = call.require_organisation("admin").org_id, _known(request.experiment_id)
        wanted = STATES.get(request.state, "")
        if wanted not in (STOPPED, PROMOTED):
            raise invalid("state", "state: say STATE_STOPPED or STATE_PROMOTED.")
        by = _author(f"experiment.{'stop' if wanted == STOPPED else 'promote'}", experiment_id, org_id)
        note = request.note[:MAX_NOTE_CHARS]
        await self._desk.store.end(org_id, experiment_id, wanted, request.etag, by, note)
        await self._desk.changed()
        row, figures = await self._desk.store.read(org_id, experiment_id)
        return experiment_pb2.UpdateExperimentResponse(experiment=self._told(org_id, row, figures))

    async def DeleteExperiment(
        self, request: experiment_pb2.DeleteExperimentRequest, context: Any
    ) -> experiment_pb2.DeleteExperimentResponse:
        """See the proto."""
        org_id, experiment_id = call.require_organisation("admin").org_id, _known(request.experiment_id)
        await self._desk.store.delete(org_id, experiment_id, _author("experiment.delete", experiment_id, org_id))
        await self._desk.changed()
        return experiment_pb2.DeleteExperimentResponse()

    def _told(self, org_id: str, row: ExperimentRow, figures: Figures) -> experiment_pb2.Experiment:
        return of_experiment(row, figures, policy_missing=not self._desk.arms.exists(org_id, row.plan.policy))


class ExperimentDesk:
    """Experiments as the router's other parts see them: `arms` is in memory, and current within a second."""

    def __init__(
        self,
        context: Context,
        policies: Callable[[], Policies],
        *,
        refresh_policies: Callable[[], Awaitable[None]],
        told: Callable[[], None],
    ) -> None:
        """`told` is called once there is something to tell audit."""
        assert context.database is not None, "experiments need PostgreSQL"
        config: RouterConfig = context.config
        self.store = PostgresExperimentStore(context.database)
        self.arms = Arms(policies, config.default_output_tokens)
        self.servicer = ExperimentServicer(self)
        self._refresh_policies, self._told = refresh_policies, told
        self._counts: dict[str, int] = {}
        self._lock = asyncio.Lock()
        self._follower = Follower("router-experiments", self.refresh, config.policy_poll_s, _log)

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the servicer."""
        experiment_pb2_grpc.add_ExperimentServiceServicer_to_server(self.servicer, server)

    async def start(self) -> None:
        """Reads what is in force and follows it; until it is read, the policies in force are for all."""
        try:
            await self.refresh()
        except MeshError as error:
            _log.warning("experiments could not be read yet: %s", error.message)
        await self.store.follow(self._follower.wake)
        self._follower.start()

    async def close(self) -> None:
        """Stops following."""
        await self._follower.close()

    async def refresh(self) -> None:
        """Reads what changed. Raises MeshError."""
        async with self._lock:
            counts = await self.store.counts()
            changed = [org_id for org_id, count in counts.items() if self._counts.get(org_id) != count]
            if not changed:
                return
            by_org = dict(self.arms.by_org)
            for org_id in changed:
                rows = await self.store.in_force(org_id)
                by_org.pop(org_id, None)
                if rows:
                    by_org[org_id] = _trials(rows)
            self.arms.by_org, self._counts = by_org, counts

    async def refresh_policies(self) -> None:
        """Reads policies that another replica made just now; without the database what is known counts."""
        try:
            await self._refresh_policies()
        except MeshError as error:
            if error.reason is not Reason.UNAVAILABLE:
                raise

    async def changed(self) -> None:
        """This replica knows at once; the others within a second."""
        self._told()
        try:
            await self.refresh()
        except MeshError as error:
            if error.reason is not Reason.UNAVAILABLE:
                raise

    async def look(self, touched: Iterable[tuple[str, str]]) -> None:
        """Judges the experiments, as (organisation, id), that outcomes came of; called by the leader alone."""
        moved = False
        for org_id, experiment_id in sorted(set(touched)):
            now = dt.datetime.now(dt.UTC)

            def said(row: ExperimentRow, arms: Mapping[str, ArmSums], now: dt.datetime = now) -> Judgement:
                return judge(row.plan, row.step, arms, (now - row.step_at).total_seconds())

            def by(done: Judgement, org_id: str = org_id, experiment_id: str = experiment_id) -> Author:
                action = "experiment.step" if done.state == "running" else f"experiment.{_VERBS[done.state]}"
                with call.acting_as("router"):
                    return _author(action, experiment_id, org_id)

            try:
                row = await self.store.move(org_id, experiment_id, said, by)
            except (MeshError, msgspec.MsgspecError) as error:
                _log.warning("experiment %s could not be judged: %s", experiment_id, error)
                continue
            if row is not None:
                moved = True
                level = logging.WARNING if row.state == ROLLED_BACK else logging.INFO
                _log.log(level, "experiment %s of %s: %s %s", experiment_id, org_id, row.state, row.reason)
        if moved:
            await self.changed()


_VERBS = {"concluded": "conclude", "rolled_back": "rollback", "promoted": "promote"}


def _trials(rows: Iterable[ExperimentRow]) -> OrgTrials:
    found = OrgTrials()
    for row in rows:
        tried = Tried(row.experiment_id, row.plan, row.step, promoted=row.state == PROMOTED)
        found = found._replace(shadow=tried) if row.plan.kind == SHADOW else found._replace(live=tried)
    return found


def _known(experiment_id: str) -> str:
    if not is_uuid(experiment_id):
        raise errors.experiment_not_found(experiment_id)
    return experiment_id.lower()


def _author(action: str, experiment_id: str, org_id: str) -> Author:
    target = f"experiment:{experiment_id}"
    return author(call.require_principal(), action, target, dt.datetime.now(dt.UTC), org_id=org_id)
