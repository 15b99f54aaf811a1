"""What stands behind the RPCs of discovery: proto in, domain, proto out."""

import datetime
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing

import grpc.aio

from dac.provider.v1 import discovery_pb2 as pb
from dac.type.v1 import principal_pb2
from mesh.call import remaining_s, require_principal, require_scope
from mesh.catalog import ModelEntry
from mesh.errors import MeshError, Reason, invalid
from mesh.model_links import never_chats
from services.provider.calling.events import Candidate
from services.provider.discovery.discovery import Discovery, Ran
from services.provider.discovery.listing_store import Listing, Probed
from services.provider.discovery.listings import Listed
from services.provider.discovery.probing import ANSWER_S, DEFAULT_MAX_NANO_USD, Outcome, Prober
from services.provider.discovery.till import BudgetTill

MAX_PROBED = 50
"""Models asked in one run."""
MOST_NANO_USD = 100 * 10**9
"""A limit above this is taken for a mistake."""
LEFT_S = 5.0
"""Kept of a run's time for its answer."""


class KnownIds:
    """Which DAC ids a provider's models have: those of files and the catalog, else `provider/name`."""

    def __init__(self, models: Iterable[ModelEntry]) -> None:
        self._by_id: dict[str, ModelEntry] = {}
        self._by_name: dict[tuple[str, str], list[str]] = {}
        self.take(models)

    def take(self, models: Iterable[ModelEntry]) -> None:
        """What files say now."""
        self._by_id = {one.model: one for one in models}
        self._by_name = {}
        for one in self._by_id.values():
            for place in one.endpoints:
                self._by_name.setdefault((place.provider, _plain(place.name)), []).append(one.model)

    def ids_of(self, provider: str, name: str) -> Sequence[str]:
        """The ids of a listed model."""
        return self._by_name.get((provider, _plain(name))) or [f"{provider}/{name}"]

    def in_catalog(self, provider: str, name: str) -> bool:
        """Whether a file or the catalog describes it."""
        return (provider, _plain(name)) in self._by_name

    def entry(self, model: str) -> ModelEntry | None:
        """The entry of a file or the catalog."""
        return self._by_id.get(model)


class DiscoveryDesk:
    """Runs discovery for callers."""

    def __init__(
        self,
        discovery: Discovery,
        prober: Prober,
        known: KnownIds,
        channel_to: Callable[[str], grpc.aio.Channel],
    ) -> None:
        self._discovery, self._prober, self._known, self._channel_to = discovery, prober, known, channel_to

    async def discover(self, request: pb.DiscoverRequest) -> pb.DiscoverResponse:
        """See ProviderService.Discover."""
        require_scope("operator" if request.probe else "admin")
        limit = _limit(request.max_nano_usd)
        if request.max_nano_usd and not request.probe:
            raise invalid("max_nano_usd", "max_nano_usd limits the graded questions: set probe too, or leave it out.")
        ran = await self._discovery.run(list(request.providers))
        response = pb.DiscoverResponse(providers=[_ran(one) for one in ran])
        if request.probe:
            await self._probe_new({one.provider for one in ran}, limit, response)
        return response

    async def _probe_new(self, providers: set[str], limit: int, response: pb.DiscoverResponse) -> None:
        till = BudgetTill(self._channel_to, _payer())
        candidates = self._unprobed(providers)
        for candidate in candidates[:MAX_PROBED]:
            left_s = remaining_s()
            if left_s is not None and left_s < ANSWER_S / 2 + LEFT_S:
                why = "there was no time left in this run: run it again for the rest"
                response.probed.add(model=candidate.model, why_not=why)
                return
            within_s = None if left_s is None else left_s - LEFT_S
            outcome = await self._prober.probe(candidate, till, limit - response.cost_nano_usd, within_s=within_s)
            response.cost_nano_usd += outcome.cost_nano_usd
            response.probed.append(await self._kept(candidate, outcome))

    def _unprobed(self, providers: set[str]) -> list[Candidate]:
        """Models that chat, have a price and are described by nobody, cheapest first."""
        found = []
        for name, listing in self._discovery.listings().items():
            for one in listing.models if name in providers else ():
                if one.gone or not one.chats or one.price is None or self._known.in_catalog(name, one.name):
                    continue
                if self._discovery.probe_of(name, one.name) is None:
                    price = one.price.get("input", 0) + one.price.get("output", 0)
                    found.append((price, Candidate(f"{name}/{one.name}", name, one.name)))
        return [candidate for _, candidate in sorted(found, key=lambda one: (one[0], one[1].model))]

    async def probe(self, request: pb.ProbeRequest) -> pb.ProbeResponse:
        """See ProviderService.Probe."""
        require_scope("operator")
        limit = _limit(request.max_nano_usd)
        candidate = self._candidate(request.model)
        left_s = remaining_s()
        outcome = await self._prober.probe(
            candidate,
            BudgetTill(self._channel_to, _payer()),
            limit,
            within_s=None if left_s is None else max(1.0, left_s - LEFT_S),
        )
        questions = [
            pb.ProbedQuestion(question=one.question, right=one.right, reason=int(one.reason))  # type: ignore[arg-type]
            for one in outcome.asked
        ]
        return pb.ProbeResponse(probed=await self._kept(candidate, outcome), questions=questions)

    def _candidate(self, model: str) -> Candidate:
        entry = self._known.entry(model)
        if entry is not None:
            if never_chats(entry.capabilities):
                raise invalid("model", f"{model} does not chat: there is nothing to ask it.")
            return Candidate(entry.model, entry.provider, entry.name)
        provider, _, name = model.partition("/")
        listing = self._discovery.listings().get(provider)
        listed = next((one for one in listing.models if one.name == name and not one.gone), None) if listing else None
        if listed is None:
            raise MeshError(
                Reason.MODEL_NOT_FOUND,
                f'No model "{model[:200]}" is known: name it as GET /v1/models does, or run dac models discover.',
                metadata={"field": "model"},
            )
        if not listed.chats:
            raise invalid("model", f"{model} does not chat: there is nothing to ask it.")
        return Candidate(model, provider, name)

    async def _kept(self, candidate: Candidate, outcome: Outcome) -> pb.ProbedModel:
        made = pb.ProbedModel(model=candidate.model, cost_nano_usd=outcome.cost_nano_usd, why_not=outcome.why_not)
        if outcome.probed is not None:
            await self._discovery.keep_probe(outcome.probed)
            made.result.CopyFrom(_result(outcome.probed))
        return made

    def listings(self) -> pb.ListListingsResponse:
        """See ProviderService.ListListings."""
        require_principal()
        return pb.ListListingsResponse(providers=[_listing(one) for one in self._sorted(self._discovery.listings())])

    async def watch(self) -> AsyncGenerator[pb.WatchListingsResponse, None]:
        """See ProviderService.WatchListings."""
        async with aclosing(self._discovery.snapshots()) as snapshots:
            async for listings in snapshots:
                yield pb.WatchListingsResponse(listings=[self._whole(one) for one in self._sorted(listings)])

    def _sorted(self, listings: Mapping[str, Listing]) -> list[Listing]:
        return [listings[name] for name in sorted(listings)]

    def _whole(self, listing: Listing) -> pb.ProviderListing:
        made = _listing(listing)
        for one in listing.models:
            made.models.append(_model(one, self._discovery.probe_of(listing.provider, one.name)))
        return made


def _payer() -> principal_pb2.Principal:
    principal = require_principal()
    if not principal.org_id:
        raise MeshError(
            Reason.FAILED_PRECONDITION,
            "Graded questions are charged to an organisation, and this caller has none: use an organisation's key.",
        )
    return principal


def _limit(nano_usd: int) -> int:
    if not 0 <= nano_usd <= MOST_NANO_USD:
        raise invalid("max_nano_usd", f"max_nano_usd is {nano_usd}: it is 0 (one cent) to {MOST_NANO_USD} ($100).")
    return nano_usd or DEFAULT_MAX_NANO_USD


def _plain(name: str) -> str:
    """A name without what providers put around it in lists."""
    return name.removeprefix("models/").removesuffix(":latest")


def _ran(one: Ran) -> pb.DiscoveredProvider:
    made = pb.DiscoveredProvider(
        provider=one.provider, found=one.found, added=one.added, gone=one.gone, dropped=one.dropped, error=one.error
    )
    if one.listed_at is not None:
        made.listed_at.FromDatetime(one.listed_at)
    return made


def _listing(one: Listing) -> pb.ProviderListing:
    gone = sum(model.gone for model in one.models)
    made = pb.ProviderListing(provider=one.provider, error=one.error, found=len(one.models) - gone, gone=gone)
    made.tried_at.FromDatetime(one.tried_at)
    if one.listed_at is not None:
        made.listed_at.FromDatetime(one.listed_at)
    return made


def _model(one: Listed, probed: Probed | None) -> pb.ListedModel:
    made = pb.ListedModel(
        name=one.name,
        chats=one.chats,
        embeds=one.embeds,
        context_tokens=one.context_tokens,
        max_output_tokens=one.max_output_tokens,
        capabilities=one.capabilities,
        capabilities_known=one.capabilities_known,
        gone=one.gone,
    )
    made.seen_at.FromDatetime(datetime.datetime.fromtimestamp(one.seen_s, datetime.UTC))
    if probed is not None:
        made.probe.CopyFrom(_result(probed))
    return made


def _result(probed: Probed) -> pb.ProbeResult:
    made = pb.ProbeResult(
        quality=probed.quality,
        right=probed.right,
        asked=probed.asked,
        speed_tokens_per_s=probed.speed_tokens_per_s,
        first_token_ms=probed.first_token_ms,
        capabilities=probed.capabilities,
    )
    made.probed_at.FromDatetime(probed.probed_at)
    return made
