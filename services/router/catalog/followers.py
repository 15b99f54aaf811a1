"""Keeps the live catalog: follows provider's and budget's news and rebuilds the view when they change.

`LiveCatalog` is the plain part (no streams); `Followers` runs the background tasks that feed it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import grpc.aio

from dac.budget.v1 import price_pb2, price_pb2_grpc
from dac.provider.v1 import discovery_pb2, provider_pb2, provider_pb2_grpc
from mesh.call import acting_as
from mesh.catalog import ModelEntry, ProviderEntry
from mesh.errors import MeshError
from mesh.transport import reading
from services.router.catalog.catalog import CatalogView, PriceView, ProviderView, build_view, price_of
from services.router.catalog.listed import ListedView, ListState, ProbeView
from services.router.config import RouterConfig
from services.router.sources.facts import Facts

MAX_SHARED_VIEWS = 64
"""Organisations whose own keys open the same providers share one view; so many are kept."""
TURN_S = 600.0
"""How often it is looked whether a day has come on which models are retired."""
_log = logging.getLogger(__name__)


def utc_today() -> dt.date:
    """The day by the wall clock."""
    return dt.datetime.now(dt.UTC).date()


class LiveCatalog:
    """The last known view. Before any news, the configuration's enabled providers count as configured."""

    def __init__(
        self,
        models: Iterable[ModelEntry],
        providers: Iterable[ProviderEntry],
        config: RouterConfig,
        clock: Callable[[], float],
        today: Callable[[], dt.date] = utc_today,
    ) -> None:
        self._models, self._config, self._clock, self._today = tuple(models), config, clock, today
        self._day = today()
        """By which models are retired in the views that are there."""
        entries = list(providers)
        self._providers: Mapping[str, ProviderView] = {
            entry.provider: ProviderView(entry.provider, entry.enabled, (), entry.model_class) for entry in entries
        }
        self._said_regions = self._regions = {entry.provider: entry.region.lower() for entry in entries if entry.region}
        self._prices: Mapping[tuple[str, str], PriceView] = {}
        self._lists: Mapping[str, Sequence[ListedView]] = {}
        self.list_states: Mapping[str, ListState] = {}
        """How every provider's list stands; no decision looks at it."""
        self._facts: Mapping[str, Facts] = {}
        self._providers_heard_s: float | None = None
        self._prices_heard_s: float | None = None
        self._began_s = clock()
        self.on_change: Callable[[CatalogView], None] | None = None
        """Called with every new view."""
        self.on_models: Callable[[CatalogView], None] | None = None
        """The same, for what looks for facts of the view's models."""
        self._shared: dict[frozenset[str], CatalogView] = {}
        self._own: dict[str, frozenset[str]] = {}
        self.view: CatalogView = self._built(self._providers)
        """What everybody may use."""

    @property
    def provider_names(self) -> frozenset[str]:
        """Every provider that there is, also one that is disabled."""
        return frozenset(self._providers)

    def view_for(self, org_id: str) -> CatalogView:
        """What one organisation may use: also providers that only its own keys open."""
        own = self._own.get(org_id) if self._own else None
        if own is None:
            return self.view
        found = self._shared.get(own)
        if found is None:
            opened = {name: dataclasses.replace(self._providers[name], enabled=True) for name in own}
            if len(self._shared) >= MAX_SHARED_VIEWS:
                self._shared.pop(next(iter(self._shared)))
            found = self._shared[own] = self._built({**self._providers, **opened})
        return found

    def _built(self, providers: Mapping[str, ProviderView]) -> CatalogView:
        return build_view(
            self._models,
            providers,
            self._prices,
            lists=self._lists,
            facts=self._facts,
            auto_unprobed=self._config.auto_unprobed,
            discovered_quality=self._config.discovered_quality,
            discovered_context_tokens=self._config.discovered_context_tokens,
            regions=self._regions,
            today=self._day,
        )

    def _rebuild(self) -> None:
        self._shared, self._day = {}, self._today()
        self.view = self._built(self._providers)
        if self.on_change is not None:
            self.on_change(self.view)
        if self.on_models is not None:
            self.on_models(self.view)

    def turn_day(self) -> None:
        """Leaves out what was retired since the view was built."""
        today = self._today()
        if any(model.retires_on and self._day < model.retires_on <= today for model in self._models):
            self._rebuild()

    def hear_models(self, models: tuple[ModelEntry, ...]) -> None:
        """All models of files and of the API, replacing what was known of them."""
        if models != self._models:
            self._models = models
            self._rebuild()

    def hear_providers(self, providers: Iterable[ProviderView]) -> None:
        """All providers, replacing what was known of them."""
        self._providers = {provider.provider: provider for provider in providers}
        heard = {provider.provider: provider.region for provider in self._providers.values() if provider.region}
        self._regions = self._said_regions | heard
        own: dict[str, set[str]] = {}
        for provider in self._providers.values():
            for org_id in () if provider.enabled else provider.org_ids:
                own.setdefault(org_id, set()).add(provider.provider)
        self._own = {org_id: frozenset(names) for org_id, names in own.items()}
        self._providers_heard_s = self._clock()
        self._rebuild()

    def hear_lists(self, lists: Mapping[str, Sequence[ListedView]]) -> None:
        """All providers' lists, replacing what was known of them."""
        if lists != self._lists:
            self._lists = dict(lists)
            self._rebuild()

    def hear_facts(self, facts: Mapping[str, Facts]) -> None:
        """What public sources say, by DAC id, replacing what was known of it."""
        if facts != self._facts:
            self._facts = dict(facts)
            self._rebuild()

    def hear_prices(self, prices: Mapping[tuple[str, str], PriceView]) -> None:
        """All prices in force, replacing what was known of them."""
        self._prices = dict(prices)
        self._prices_heard_s = self._clock()
        self._rebuild()

    @property
    def providers_age_s(self) -> float:
        """Seconds since provider was last heard; since the start when it never was."""
        return self._clock() - (self._began_s if self._providers_heard_s is None else self._providers_heard_s)

    @property
    def prices_age_s(self) -> float:
        """Seconds since budget was last heard; since the start when it never was."""
        return self._clock() - (self._began_s if self._prices_heard_s is None else self._prices_heard_s)


class Followers:
    """The background tasks. A lost stream is opened again after a wait that doubles up to its limit."""

    def __init__(
        self, catalog: LiveCatalog, channel_to: Callable[[str], grpc.aio.Channel], config: RouterConfig
    ) -> None:
        self._catalog, self._channel_to, self._config = catalog, channel_to, config
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begins to follow."""
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self._follow("provider", self._open_providers, self._take_providers)),
                asyncio.create_task(self._follow("provider", self._open_lists, self._take_lists)),
                asyncio.create_task(self._follow("budget", self._open_prices, self._take_prices)),
                asyncio.create_task(self._turn_days()),
            ]

    async def close(self) -> None:
        """Stops following."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _open_providers(self) -> Any:
        stub = provider_pb2_grpc.ProviderServiceStub(self._channel_to("provider"))
        return stub.WatchProviders(provider_pb2.WatchProvidersRequest())

    def _open_lists(self) -> Any:
        stub = provider_pb2_grpc.ProviderServiceStub(self._channel_to("provider"))
        return stub.WatchListings(discovery_pb2.WatchListingsRequest())

    def _open_prices(self) -> Any:
        stub = price_pb2_grpc.PriceServiceStub(self._channel_to("budget"))
        return stub.WatchPrices(price_pb2.WatchPricesRequest())

    def _take_providers(self, news: provider_pb2.WatchProvidersResponse) -> None:
        self._catalog.hear_providers(
            ProviderView(
                one.provider,
                one.enabled,
                tuple(one.upstream_models),
                one.model_class or "standard",
                frozenset(one.org_ids),
                frozenset(one.audio),
                one.region.lower(),
            )
            for one in news.providers
        )

    def _take_lists(self, news: discovery_pb2.WatchListingsResponse) -> None:
        self._catalog.hear_lists({one.provider: [_listed(model) for model in one.models] for one in news.listings})
        self._catalog.list_states = {one.provider: _list_state(one) for one in news.listings}

    def _take_prices(self, news: price_pb2.WatchPricesResponse) -> None:
        self._catalog.hear_prices(
            {(one.provider, one.model): price_of(dict(one.nano_usd_per_mtok)) for one in news.prices}
        )

    async def _turn_days(self) -> None:
        while True:
            await asyncio.sleep(TURN_S)
            self._catalog.turn_day()

    async def _follow(self, service: str, open_stream: Callable[[], Any], take: Callable[[Any], None]) -> None:
        wait_s, silent = self._config.reconnect_min_s, False
        while True:
            try:
                with acting_as("router"):
                    async with reading(open_stream()) as events:
                        async for news in events:
                            take(news)
                            wait_s, silent = self._config.reconnect_min_s, False
            except MeshError as error:
                if not silent:
                    _log.warning("the news of %s stopped, going on with what is known: %s", service, error.message)
                    silent = True
            except Exception:
                # A follower that died would leave the router with old news for good.
                _log.exception("following %s failed, trying again", service)
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, self._config.reconnect_max_s)


def _list_state(listing: discovery_pb2.ProviderListing) -> ListState:
    return ListState(
        listing.found,
        listing.gone,
        listing.listed_at.ToNanoseconds() / 1e9,
        listing.tried_at.ToNanoseconds() / 1e9,
        listing.error,
    )


def _listed(model: discovery_pb2.ListedModel) -> ListedView:
    probe = None
    if model.HasField("probe"):
        did = model.probe
        probe = ProbeView(
            did.quality,
            did.speed_tokens_per_s,
            did.first_token_ms,
            tuple(did.capabilities),
            did.probed_at.ToNanoseconds() / 1e9,
        )
    return ListedView(
        model.name,
        model.chats,
        model.embeds,
        model.context_tokens,
        model.max_output_tokens,
        tuple(model.capabilities) if model.capabilities_known else None,
        model.seen_at.ToNanoseconds() / 1e9,
        model.gone,
        probe,
    )
