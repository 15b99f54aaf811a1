"""How the router is put together: its parts, its background work, its health."""

from __future__ import annotations

import functools
import time

import grpc.aio

from dac.router.v1 import catalog_pb2_grpc, router_pb2_grpc
from mesh import telemetry
from mesh.admin_changes import APPEND_TIMEOUT_S, append_to_audit
from mesh.catalog import ModelEntry
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.model_book import ModelFollower
from mesh.redis import connect
from mesh.service import Context, Service
from services.router.catalog.catalog import CatalogView
from services.router.catalog.followers import Followers, LiveCatalog
from services.router.catalog.server import CatalogServicer
from services.router.config import RouterConfig
from services.router.deciding.breakers import BreakerRules, Breakers, State
from services.router.deciding.decision import Decider, default_policy
from services.router.deciding.held import HeldBreakers
from services.router.deciding.held_store import PostgresHeldStore
from services.router.deciding.hints import BreakerHints, Line, PostgresLine
from services.router.deciding.latency import Speeds
from services.router.experiments.server import ExperimentDesk
from services.router.learning.outcomes import UNKNOWN_QUALITY
from services.router.learning.server import LearningDesk
from services.router.policies.service import PolicyDesk
from services.router.policies.trial import Trial
from services.router.prompt.predictor import QualityPredictor
from services.router.resolving.overrides import overrides_of
from services.router.router_server import RouterServicer, Tell
from services.router.sources.scheduler import Sources
from services.router.sources_server import build_sources

_OPENNESS = {State.CLOSED: 0.0, State.RECOVERING: 0.5, State.HALF_OPEN: 0.5, State.OPEN: 1.0}


class RouterService:
    """The service as the mesh runs it."""

    def __init__(
        self,
        router: RouterServicer,
        catalog_servicer: CatalogServicer,
        catalog: LiveCatalog,
        followers: Followers,
        hints: BreakerHints | None,
        policies: PolicyDesk,
        sources: Sources | None = None,
        learning: LearningDesk | None = None,
        experiments: ExperimentDesk | None = None,
        models: ModelFollower | None = None,
        held: HeldBreakers | None = None,
    ) -> None:
        self.router, self.catalog_servicer, self.policies = router, catalog_servicer, policies
        self.learning, self.experiments = learning, experiments
        self._catalog, self._followers, self._hints = catalog, followers, hints
        self.sources, self._models, self._held = sources, models, held

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the servicers."""
        router_pb2_grpc.add_RouterServiceServicer_to_server(self.router, server)
        catalog_pb2_grpc.add_CatalogServiceServicer_to_server(self.catalog_servicer, server)
        if self.learning is not None:
            self.learning.register(server)
        if self.experiments is not None:
            self.experiments.register(server)
        self.policies.register(server)

    async def start(self) -> None:
        """Reads the policies, begins to follow provider and budget, to keep what sources say, and to exchange hints
        with a Redis."""
        await self.policies.start()
        if self.experiments is not None:
            await self.experiments.start()
        if self._held is not None:
            await self._held.start()
        if self._hints is not None:
            await self._hints.start()
        self._followers.start()
        if self._models is not None:
            await self._models.begin()
        if self.sources is not None:
            await self.sources.start()
        if self.learning is not None:
            await self.learning.start()

    async def close(self) -> None:
        """Stops following, asking and listening."""
        if self.learning is not None:
            await self.learning.close()
        if self.sources is not None:
            await self.sources.close()
        if self._models is not None:
            await self._models.close()
        await self._followers.close()
        if self.experiments is not None:
            await self.experiments.close()
        await self.policies.close()
        if self._held is not None:
            await self._held.close()
        if self._hints is not None:
            await self._hints.close()

    async def health(self) -> None:
        """Raises UNAVAILABLE when no model is known at all; old news is shown by GetStatus and is no failure."""
        if not self._catalog.view.by_id:
            raise MeshError(Reason.UNAVAILABLE, "The catalog is empty: add models to the configuration under models:.")


def breaker_rules(config: RouterConfig) -> BreakerRules:
    """When breakers open and how they close, as it is set."""
    return BreakerRules(
        failures=config.breaker_failures,
        open_s=config.breaker_open_s,
        ramp=config.breaker_ramp,
        ramp_successes=config.breaker_ramp_successes,
        ramp_s=config.breaker_ramp_s,
        error_rate=config.breaker_error_rate,
        window_s=config.breaker_window_s,
        min_outcomes=config.breaker_min_outcomes,
    )


def _hints(context: Context, catalog: LiveCatalog, breakers: Breakers) -> BreakerHints | None:
    """What replicas tell each other of breakers; None without a Redis and without a database."""
    if not context.redis_url and context.database is None:
        return None

    def hear_open(model: str, provider: str) -> None:
        if catalog.view.holds(model, provider):
            breakers.hear_open(model, provider)

    async def open_line() -> Line:
        if context.redis_url:
            return await connect(context.redis_url)
        assert context.database is not None
        return PostgresLine(context.database)

    hints = BreakerHints(open_line, context.instance or uuid7(), hear_open)
    breakers.on_open = hints.announce
    return hints


def _held(context: Context, catalog: LiveCatalog, breakers: Breakers) -> HeldBreakers | None:
    """How an operator's hand reaches the breakers of all replicas; None without a database: then this one's alone."""
    if context.database is None:
        return None
    poll_s = context.config.policy_poll_s

    def known(model: str, provider: str) -> bool:
        return catalog.view.holds(model, provider)

    return HeldBreakers(PostgresHeldStore(context.database), breakers, known, poll_s=poll_s)


def _tell(context: Context) -> Tell:
    """How audit hears of it."""
    append = append_to_audit("router", context.channel_to, APPEND_TIMEOUT_S)

    async def tell(record: bytes) -> None:
        await append([record])

    return tell


def _hear_models(context: Context, sources: Sources, catalog: LiveCatalog, models: tuple[ModelEntry, ...]) -> None:
    """Other models are in force."""
    sources.hear_overrides(overrides_of(models, context.config.never_join))
    catalog.hear_models(models)


def _experiments(context: Context, policies: PolicyDesk) -> ExperimentDesk | None:
    """Experiments with policies; None without a database to keep them in."""
    if context.database is None:
        return None
    book = policies.book
    return ExperimentDesk(context, lambda: book.now, refresh_policies=book.refresh, told=policies.told)


def build(context: Context) -> Service:
    """The router from its context; opens nothing."""
    config: RouterConfig = context.config
    breakers, speeds = Breakers(time.monotonic, breaker_rules(config)), Speeds(time.monotonic)
    catalog = LiveCatalog(context.models, context.providers, config, time.monotonic)

    def expected_quality(org_id: str, model: str) -> float:
        known = catalog.view_for(org_id).by_id.get(model)
        return UNKNOWN_QUALITY if known is None else known.scores.quality

    policies = PolicyDesk(context, default_policy(config), poll_s=config.policy_poll_s)
    experiments = _experiments(context, policies)
    look = experiments.look if experiments is not None else None
    learning = LearningDesk(context, expected_quality, look) if context.database is not None else None
    learned = learning.learned if learning is not None else None
    decider = Decider(config, breakers, speeds, learned, QualityPredictor.load())

    def catalog_changed(view: CatalogView) -> None:
        known = view.holdings()
        breakers.keep_only(known)
        speeds.keep_only(known)
        decider.forget()

    sources, models = build_sources(context, catalog), None
    if context.model_book is not None:
        models = ModelFollower(
            context.name, context.model_book, functools.partial(_hear_models, context, sources, catalog)
        )
    hints = _hints(context, catalog, breakers)
    held = _held(context, catalog, breakers)
    catalog.on_change = catalog_changed
    telemetry.BREAKER_OPEN.watch(
        context.name, lambda: [((one.model, one.provider), _OPENNESS[one.state]) for one in breakers.statuses()]
    )
    telemetry.MODELS_AVAILABLE.watch(context.name, lambda: [((), catalog.view.available_count)])
    policies.servicer.entries.provider_names = lambda: catalog.provider_names
    policies.servicer.trial = Trial(decider, catalog.view_for)
    servicer = RouterServicer(
        catalog,
        breakers,
        config,
        decider=decider,
        speeds=speeds,
        policy_for=policies.policy_for,
        policy_status=policies.servicer.status,
        learned_status=learning.status if learning is not None else None,
        force=held.hold if held is not None else None,
        tell=_tell(context),
        arms=experiments.arms if experiments is not None else None,
    )
    servicer.source_statuses = sources.statuses
    servicer.model_book = context.model_book
    return RouterService(
        servicer,
        CatalogServicer(
            catalog,
            breakers,
            default_profile=config.default_profile,
            speeds=speeds,
            sources=sources,
            policy_for=policies.policy_for,
        ),
        catalog,
        Followers(catalog, context.channel_to, config),
        hints,
        policies,
        sources,
        learning,
        experiments,
        models,
        held,
    )
