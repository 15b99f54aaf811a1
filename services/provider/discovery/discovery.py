"""Discovery: asks providers for their models, keeps the last good copy of each list, and follows other replicas."""

import asyncio
import contextlib
import dataclasses
import datetime
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence

from mesh.errors import MeshError
from services.provider.config import ProviderConfig
from services.provider.discovery.listing_fetch import KINDS, Fetch, Fetched, ListingFailed, fetch_list
from services.provider.discovery.listing_store import Known, Listing, ListingStore, Probed
from services.provider.discovery.listings import Listed
from services.provider.errors import ProviderFault, not_listable, unknown_provider
from services.provider.registry import Provider, Registry

KEPT_S = 7 * 86_400.0
"""How long a model that vanished from its provider's list is kept as unavailable."""
AT_ONCE = 8
"""Providers asked at the same time."""
GATHER_S = 0.25
"""How long news of lists are gathered behind the last."""
_log = logging.getLogger("dac.provider.discovery")


@dataclasses.dataclass(frozen=True, slots=True)
class Ran:
    """What asking one provider came to."""

    provider: str
    found: int
    added: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    dropped: int = 0
    error: str = ""
    listed_at: datetime.datetime | None = None


Propose = Callable[[str, Sequence[Listed]], Awaitable[None]]
"""Tells budget the prices that a provider's list holds."""


class Discovery:
    """Knows every provider's list. Without a database it remembers only while it runs."""

    def __init__(
        self,
        registry: Registry,
        store: ListingStore | None,
        config: ProviderConfig,
        *,
        now: Callable[[], datetime.datetime],
        propose: Propose,
        fetch: Fetch = fetch_list,
    ) -> None:
        self._registry, self._store, self._config = registry, store, config
        self._now, self._propose, self._fetch = now, propose, fetch
        self._known = Known()
        self._under_way: dict[str, asyncio.Task[Ran]] = {}
        self._places = asyncio.Semaphore(AT_ONCE)
        self._complaints: dict[str, str] = {}
        self._changed = asyncio.Condition()
        self._generation = 0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._addresses: dict[str, str] = {}

    async def start(self) -> None:
        """Reads the last good copies and follows the tables in the background."""
        if self._store is not None:
            with contextlib.suppress(MeshError):
                await self.refresh()
            await self._store.follow(self._wake.set)
            self._task = asyncio.create_task(self._follow(), name="provider-listings")

    async def close(self) -> None:
        """Stops following and asking."""
        tasks = [*self._under_way.values(), *([self._task] if self._task is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def listings(self) -> Mapping[str, Listing]:
        """The list of every configured provider that was asked; one from another address does not count."""
        found = {}
        for provider in self._registry.providers():
            listing = self._known.listings.get(provider.entry.provider)
            if listing is not None and listing.base_url == provider.entry.base_url:
                found[listing.provider] = listing
        return found

    def probe_of(self, provider: str, name: str) -> Probed | None:
        """How a model did in the graded questions."""
        return self._known.probes.get((provider, name))

    async def keep_probe(self, probed: Probed) -> None:
        """Stores a result. Raises MeshError."""
        if self._store is None:
            probes = {**self._known.probes, (probed.provider, probed.name): probed}
            await self._take(dataclasses.replace(self._known, probes=probes))
            return
        await self._store.put_probe(probed)
        await self.refresh()

    async def snapshots(self) -> AsyncGenerator[Mapping[str, Listing], None]:
        """`listings`, now and after every change of a list, a probe or a provider's address."""
        seen = -1
        while True:
            async with self._changed:
                while self._generation == seen:
                    await self._changed.wait()
                seen = self._generation
            yield self.listings()
            # Lists come one after the other, and a router builds its whole catalog anew for each news.
            await asyncio.sleep(GATHER_S)

    async def run(self, names: Sequence[str] = ()) -> list[Ran]:
        """Asks these providers, or all. One that is being asked already is not asked twice: its answer is shared.

        Raises NOT_FOUND or FAILED_PRECONDITION for a name that cannot be asked.
        """
        asked = [self._named(name) for name in dict.fromkeys(names)] or [
            one for one in self._registry.providers() if _askable(one)
        ]
        return list(await asyncio.gather(*(asyncio.shield(self._asking(one)) for one in asked)))

    def last_try(self) -> datetime.datetime | None:
        """When the provider that has waited longest was last asked; None when one never was."""
        listings = self.listings()
        tries = [
            listings[one.entry.provider].tried_at if one.entry.provider in listings else None
            for one in self._registry.providers()
            if _askable(one)
        ]
        if None in tries:
            return None
        return min((one for one in tries if one is not None), default=self._now())

    def failing(self, before: datetime.datetime) -> list[str]:
        """Providers whose last try failed, and was not after this time."""
        listings = self.listings()
        asked = [listings.get(one.entry.provider) for one in self._registry.providers() if _askable(one)]
        return [one.provider for one in asked if one is not None and one.error and one.tried_at <= before]

    async def refresh(self) -> None:
        """Reads the tables when their version is another than the known one. Raises MeshError."""
        if self._store is not None and await self._store.version() != self._known.version:
            await self._take(await self._store.read())

    def _named(self, name: str) -> Provider:
        found = next((one for one in self._registry.providers() if one.entry.provider == name), None)
        if found is None:
            raise unknown_provider(name[:64])
        if not _askable(found):
            raise not_listable(name, found.disabled_reason)
        return found

    def _asking(self, provider: Provider) -> asyncio.Task[Ran]:
        name = provider.entry.provider
        task = self._under_way.get(name)
        if task is None:
            task = asyncio.create_task(self._ask(provider), name=f"listing-{name}")
            self._under_way[name] = task
            task.add_done_callback(lambda _: self._under_way.pop(name, None))
        return task

    async def _ask(self, provider: Provider) -> Ran:
        entry = provider.entry
        try:
            async with self._places:
                asked = self._registry.entry_for_everybody(provider)
                fetched = await self._fetch(asked, self._config.discovery_timeout_s)
            if not fetched.models and entry.kind != "ollama":
                raise ListingFailed("its list is empty")
        except ListingFailed as failed:
            return await self._failed(provider, str(failed))
        except ProviderFault as fault:
            return await self._failed(provider, fault.message)
        except Exception as error:
            # Whatever a list from outside brings about, the other providers are asked all the same.
            _log.exception("listing the models of %s failed", entry.provider)
            return await self._failed(provider, f"reading its list failed ({type(error).__name__})")
        return await self._listed(provider, fetched)

    async def _listed(self, provider: Provider, fetched: Fetched) -> Ran:
        entry, now = provider.entry, self._now()
        before = self.listings().get(entry.provider)
        models, added, gone = merge(before.models if before else (), fetched.models, now.timestamp())
        await self._keep(Listing(entry.provider, entry.base_url, now, now, "", models))
        self._complaints.pop(entry.provider, None)
        try:
            await self._propose(entry.provider, fetched.models)
        except MeshError as error:
            _log.warning("budget was not told the prices of %s: %s", entry.provider, error.message)
        return Ran(entry.provider, len(fetched.models), added, gone, fetched.dropped, "", now)

    async def _failed(self, provider: Provider, error: str) -> Ran:
        entry, now = provider.entry, self._now()
        before = self.listings().get(entry.provider)
        at, models = (before.listed_at, before.models) if before else (None, ())
        if self._complaints.get(entry.provider) != error:
            # Once for each cause: a machine without a network would fill its log.
            self._complaints[entry.provider] = error
            _log.warning("the models of %s could not be listed, keeping what is known: %s", entry.provider, error)
        await self._keep(Listing(entry.provider, entry.base_url, at, now, error, models))
        return Ran(entry.provider, sum(not one.gone for one in models), error=error, listed_at=at)

    async def _keep(self, listing: Listing) -> None:
        if self._store is None:
            listings = {**self._known.listings, listing.provider: listing}
            await self._take(dataclasses.replace(self._known, listings=listings))
            return
        await (self._store.put_failure(listing) if listing.error else self._store.put(listing))
        await self.refresh()

    async def _take(self, known: Known) -> None:
        self._known = known
        async with self._changed:
            self._generation += 1
            self._changed.notify_all()

    async def _follow(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._config.poll_interval_s * 4):
                    await self._wake.wait()
            self._wake.clear()
            addresses = {one.entry.provider: one.entry.base_url for one in self._registry.providers()}
            try:
                if addresses != self._addresses:
                    # A provider that moved has no list any more.
                    self._addresses = addresses
                    await self._take(self._known)
                await self.refresh()
            except MeshError:
                _log.debug("the version of the lists could not be read")
            except Exception:
                # A follower that died would leave this replica with old lists for good.
                _log.exception("reading the lists failed")


def merge(
    before: Iterable[Listed], now: Iterable[Listed], at_s: float
) -> tuple[list[Listed], tuple[str, ...], tuple[str, ...]]:
    """The new list with those that vanished not long ago; the names that came; the names that just went."""
    old = {one.name: one for one in before}
    made = {one.name: _seen(one, at_s, gone=False) for one in now}
    added = tuple(sorted(name for name in made if name not in old or old[name].gone))
    missing = [one for name, one in old.items() if name not in made]
    gone = tuple(sorted(one.name for one in missing if not one.gone))
    kept = [_seen(one, one.seen_s, gone=True) for one in missing if one.seen_s > at_s - KEPT_S]
    return [*made.values(), *kept], added, gone


def _seen(one: Listed, at_s: float, *, gone: bool) -> Listed:
    return Listed(
        one.name,
        one.chats,
        one.embeds,
        one.context_tokens,
        one.max_output_tokens,
        one.capabilities,
        one.capabilities_known,
        one.price,
        at_s,
        gone,
    )


def _askable(provider: Provider) -> bool:
    """Some kinds have no list to ask for: the embedded model's, Bedrock's, Vertex's, those of plug-ins."""
    return provider.enabled and provider.entry.kind in KINDS
