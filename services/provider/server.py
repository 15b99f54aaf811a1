"""The provider service's servicers: proto in, domain, proto out; and `build`."""

import datetime
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc.aio

from dac.provider.v1 import discovery_pb2, key_pb2_grpc, provider_pb2, provider_pb2_grpc
from mesh.admin_changes import ChangeOutbox, ChangeTeller, append_to_audit
from mesh.ids import uuid7
from mesh.inprocess_calls import gives_away
from mesh.model_book import ModelFollower
from mesh.service import Context
from services.provider.asks import audio_ask, chat_ask, embed_ask
from services.provider.audio import Heard, audio
from services.provider.calling import events
from services.provider.calling.frames import coalesce
from services.provider.calling.generation import Generator
from services.provider.config import ProviderConfig
from services.provider.conversions import (
    attempt_record,
    failure_message,
    finish_message,
    generate_response,
    provider_status,
    source_number,
    started_message,
    usage_message,
)
from services.provider.discovery.discovery import Discovery
from services.provider.discovery.listing_store import PostgresListingStore
from services.provider.discovery.probing import Prober
from services.provider.discovery.schedule import DiscoverySchedule
from services.provider.discovery.server import DiscoveryDesk, KnownIds
from services.provider.discovery.till import PriceTeller
from services.provider.embedding import embed
from services.provider.keys.book import KeyBook
from services.provider.keys.desk import ProviderKeyDesk
from services.provider.keys.keys import KeyDesk
from services.provider.keys.rotation import PostgresSealStore
from services.provider.keys.server import KeyServicer
from services.provider.keys.store import PostgresKeyStore
from services.provider.keys.vault import PURPOSE, Vault
from services.provider.registry import Registry
from services.provider.store import PostgresStore

SPLIT_INTERVAL_MS = 5.0
"""How long events are gathered when this process serves others over sockets and the configuration says nothing."""


class ProviderServicer(provider_pb2_grpc.ProviderServiceServicer):
    """dac.provider.v1.ProviderService."""

    def __init__(
        self, generator: Generator, registry: Registry, *, desk: DiscoveryDesk, interval_s: float, frame_bytes: int
    ) -> None:
        self._generator, self._registry, self._desk = generator, registry, desk
        self._interval_s, self._frame_bytes = interval_s, frame_bytes

    @gives_away
    async def Generate(
        self, request: provider_pb2.GenerateRequest, context: Any
    ) -> AsyncIterator[provider_pb2.GenerateResponse]:
        """See the proto."""
        gathers = self._interval_s > 0 and request.stream
        # In process only; see mesh.inprocess.LocalContext.
        outlet = None if gathers else getattr(context, "outlet", None)
        run: AsyncGenerator[events.Event, None] = self._generator.run(chat_ask(request), outlet)
        if gathers:
            run = coalesce(run, interval_s=self._interval_s, max_bytes=self._frame_bytes)
        async with aclosing(run) as stream:
            async for event in stream:
                yield generate_response(event)

    async def Embed(self, request: provider_pb2.EmbedRequest, context: Any) -> provider_pb2.EmbedResponse:
        """See the proto."""
        ended = await embed(self._generator, embed_ask(request))
        if isinstance(ended, events.Failure):
            return provider_pb2.EmbedResponse(failure=failure_message(ended))
        answer = provider_pb2.EmbedAnswer(
            body=ended.body,
            usage=usage_message(ended.usage),
            usage_source=source_number(ended.usage_source),
            attempts=[attempt_record(one) for one in ended.attempts],
        )
        return provider_pb2.EmbedResponse(answer=answer)

    async def Audio(
        self, request: provider_pb2.AudioRequest, context: Any
    ) -> AsyncIterator[provider_pb2.AudioResponse]:
        """See the proto."""
        kinds: list[str] = []
        async with aclosing(audio(self._generator, audio_ask(request, kinds.append), kinds)) as stream:
            async for event in stream:
                if isinstance(event, Heard):
                    piece = provider_pb2.AudioBytes(data=event.data, content_type=event.content_type)
                    yield provider_pb2.AudioResponse(bytes=piece)
                elif isinstance(event, events.Started):
                    yield provider_pb2.AudioResponse(attempt=started_message(event))
                elif isinstance(event, events.Finish):
                    yield provider_pb2.AudioResponse(finish=finish_message(event))
                elif isinstance(event, events.Failure):
                    yield provider_pb2.AudioResponse(failure=failure_message(event))

    async def WatchProviders(
        self, request: provider_pb2.WatchProvidersRequest, context: Any
    ) -> AsyncIterator[provider_pb2.WatchProvidersResponse]:
        """See the proto."""
        async with aclosing(self._registry.snapshots()) as snapshots:
            async for providers in snapshots:
                yield provider_pb2.WatchProvidersResponse(
                    providers=[provider_status(one, one.org_ids) for one in providers]
                )

    async def Discover(self, request: discovery_pb2.DiscoverRequest, context: Any) -> discovery_pb2.DiscoverResponse:
        """See the proto."""
        return await self._desk.discover(request)

    async def Probe(self, request: discovery_pb2.ProbeRequest, context: Any) -> discovery_pb2.ProbeResponse:
        """See the proto."""
        return await self._desk.probe(request)

    async def ListListings(
        self, request: discovery_pb2.ListListingsRequest, context: Any
    ) -> discovery_pb2.ListListingsResponse:
        """See the proto."""
        return self._desk.listings()

    async def WatchListings(
        self, request: discovery_pb2.WatchListingsRequest, context: Any
    ) -> AsyncIterator[discovery_pb2.WatchListingsResponse]:
        """See the proto."""
        async with aclosing(self._desk.watch()) as snapshots:
            async for snapshot in snapshots:
                yield snapshot


class ProviderApp:
    """The built service."""

    def __init__(self, context: Context) -> None:
        config: ProviderConfig = context.config
        former = {one.id: one.subkey(PURPOSE) for one in context.keyring.former}
        vault = Vault(context.keyring.subkey(PURPOSE), context.keyring.id, former=former)
        database = self._database = context.database
        store = PostgresStore(database) if database is not None else None
        keys = PostgresKeyStore(database) if database is not None else None
        seals = PostgresSealStore(database) if database is not None else None
        book = KeyBook(
            keys,
            vault,
            opened_organisations=config.opened_organisations,
            refused_s=config.key_refused_s,
            limited_s=config.key_limited_s,
        )
        self.registry = Registry(context.providers, config, store, vault, now=_now, book=book)
        self.key_desk = ProviderKeyDesk(self.registry, keys, seals, vault, now=_now)
        self.generator = Generator(self.registry.find, config, new_id=uuid7)
        self.desk = KeyDesk(self.registry, store, vault, now=_now)
        interval_ms = config.frame_interval_ms or (SPLIT_INTERVAL_MS if context.split else 0.0)
        listings = PostgresListingStore(context.database) if context.database is not None else None
        catalog = KnownIds(context.models)
        models = context.model_book
        self._models = ModelFollower("provider", models, catalog.take) if models is not None else None
        prices = PriceTeller(context.channel_to, catalog.ids_of)
        self.discovery = Discovery(self.registry, listings, config, now=_now, propose=prices.propose)
        self.schedule = (
            DiscoverySchedule(self.discovery, context.database, config, now=_now) if context.database else None
        )
        self.discovery_desk = DiscoveryDesk(
            self.discovery, Prober(self.generator, now=_now), catalog, context.channel_to
        )
        self._servicer = ProviderServicer(
            self.generator,
            self.registry,
            desk=self.discovery_desk,
            interval_s=interval_ms / 1000,
            frame_bytes=config.frame_bytes,
        )
        append = append_to_audit("provider", context.channel_to)
        self.teller = ChangeTeller("provider", ChangeOutbox(database), append) if database is not None else None
        told = self.teller.wake if self.teller else lambda: None
        self._keys = KeyServicer(self.desk, self.registry, told, self.key_desk)

    def register(self, server: grpc.aio.Server) -> None:
        """See mesh.service.Service."""
        provider_pb2_grpc.add_ProviderServiceServicer_to_server(self._servicer, server)
        key_pb2_grpc.add_KeyServiceServicer_to_server(self._keys, server)

    async def start(self) -> None:
        """See mesh.service.Service."""
        await self.registry.start()
        await self.discovery.start()
        if self.schedule is not None:
            self.schedule.start()
        if self.teller is not None:
            self.teller.start()
        if self._models is not None:
            await self._models.begin()

    async def close(self) -> None:
        """See mesh.service.Service."""
        if self._models is not None:
            await self._models.close()
        if self.teller is not None:
            await self.teller.close()
        if self.schedule is not None:
            await self.schedule.close()
        await self.discovery.close()
        await self.registry.close()

    async def health(self) -> None:
        """Generations need no database: a provider without one still answers."""


def build(context: Context) -> ProviderApp:
    """The provider service."""
    return ProviderApp(context)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
