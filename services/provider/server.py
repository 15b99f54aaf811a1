"""The provider service's servicers: proto in, domain, proto out; and `build`."""

import datetime
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import grpc.aio

from dac.provider.v1 import discovery_pb2, key_pb2, key_pb2_grpc, provider_pb2, provider_pb2_grpc
from dac.type.v1 import chat_pb2, deployment_pb2
from mesh.admin_changes import ChangeTeller, append_to_audit
from mesh.admin_record import Change, admin_change
from mesh.call import require_scope
from mesh.errors import invalid
from mesh.ids import uuid7
from mesh.inprocess_calls import gives_away
from mesh.service import Context
from services.provider.audio import Heard, audio
from services.provider.calling import events
from services.provider.calling.frames import coalesce
from services.provider.calling.generation import Generator
from services.provider.config import ProviderConfig
from services.provider.conversions import (
    attempt_record,
    failure_message,
    fill_finish,
    fill_started,
    finish_message,
    source_number,
    started_message,
    usage_message,
    usage_of,
)
from services.provider.discovery.discovery import Discovery
from services.provider.discovery.listing_store import PostgresListingStore
from services.provider.discovery.probing import Prober
from services.provider.discovery.schedule import DiscoverySchedule
from services.provider.discovery.server import DiscoveryDesk, KnownIds
from services.provider.discovery.till import PriceTeller
from services.provider.embedding import embed
from services.provider.form import FormPart
from services.provider.keys.book import KeyBook
from services.provider.keys.desk import ProviderKeyDesk, visible_to
from services.provider.keys.keys import Describe, KeyDesk
from services.provider.keys.rotation import PostgresSealStore
from services.provider.keys.server import ProviderKeyServicer
from services.provider.keys.store import PostgresKeyStore
from services.provider.keys.vault import PURPOSE, Vault
from services.provider.kinds import audio_of
from services.provider.registry import Provider, Registry
from services.provider.store import PostgresStore

SPLIT_INTERVAL_MS = 5.0
"""How long events are gathered when this process serves others over sockets and the configuration says nothing."""
PAGE = 100
AUDIO: Mapping[int, events.Operation] = {
    provider_pb2.AUDIO_TASK_TRANSCRIPTION: events.Operation.TRANSCRIPTION,
    provider_pb2.AUDIO_TASK_TRANSLATION: events.Operation.TRANSLATION,
    provider_pb2.AUDIO_TASK_SPEECH: events.Operation.SPEECH,
}


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
        run: AsyncGenerator[events.Event, None] = self._generator.run(_ask(request), outlet)
        if gathers:
            run = coalesce(run, interval_s=self._interval_s, max_bytes=self._frame_bytes)
        async with aclosing(run) as stream:
            async for event in stream:
                yield _response(event)

    async def Embed(self, request: provider_pb2.EmbedRequest, context: Any) -> provider_pb2.EmbedResponse:
        """See the proto."""
        ended = await embed(self._generator, _embed_ask(request))
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
        async with aclosing(audio(self._generator, _audio_ask(request, kinds.append), kinds)) as stream:
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
                yield provider_pb2.WatchProvidersResponse(providers=[_status(one, one.org_ids) for one in providers])

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


class KeyServicer(ProviderKeyServicer):
    """dac.provider.v1.KeyService."""

    def __init__(self, desk: KeyDesk, registry: Registry, told: Callable[[], None], key_desk: ProviderKeyDesk) -> None:
        super().__init__(key_desk, told)
        self._desk, self._registry, self._told = desk, registry, told

    async def AddProvider(self, request: key_pb2.AddProviderRequest, context: Any) -> key_pb2.AddProviderResponse:
        """See the proto."""
        describe = _describer(require_scope("operator").org_id)
        provider, test_ms = await self._desk.add(
            request.provider,
            request.kind,
            request.base_url,
            request.api_key,
            skip_test=request.skip_test,
            describe=describe,
        )
        self._told()
        return key_pb2.AddProviderResponse(provider=_status(provider), test_ms=test_ms)

    async def ListProviders(self, request: key_pb2.ListProvidersRequest, context: Any) -> key_pb2.ListProvidersResponse:
        """See the proto. The page token is the last name of the page before."""
        org_id = require_scope("admin").org_id
        if request.page_size < 0:
            raise invalid("page_size", f"page_size must not be negative, it is {request.page_size}.")
        size = min(request.page_size or PAGE, PAGE)
        rest = [
            one for one in visible_to(self._registry.providers(), org_id) if one.entry.provider > request.page_token
        ]
        page = rest[:size]
        token = page[-1].entry.provider if len(rest) > size else ""
        return key_pb2.ListProvidersResponse(providers=[_status(one) for one in page], next_page_token=token)

    async def RemoveProvider(
        self, request: key_pb2.RemoveProviderRequest, context: Any
    ) -> key_pb2.RemoveProviderResponse:
        """See the proto."""
        describe = _describer(require_scope("operator").org_id)
        await self._desk.remove(request.provider, describe=describe)
        self._told()
        return key_pb2.RemoveProviderResponse()


class ProviderApp:
    """The built service."""

    def __init__(self, context: Context) -> None:
        config: ProviderConfig = context.config
        former = {one.id: one.subkey(PURPOSE) for one in context.keyring.former}
        vault = Vault(context.keyring.subkey(PURPOSE), context.keyring.id, former=former)
        database = self._database = context.database
        store = self._store = PostgresStore(database) if database is not None else None
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
        self.teller = ChangeTeller("provider", store, append) if store is not None else None
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

    async def close(self) -> None:
        """See mesh.service.Service."""
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


def _describer(org_id: str) -> Describe:
    """Makes the audit record of a change. Without an organisation nobody could read one: then there is none."""

    def describe(action: str, before: Provider | None, after: Provider | None) -> Change | None:
        if not org_id:
            return None
        changed = after or before
        target = f"provider:{changed.entry.provider if changed else ''}"
        return admin_change(action, target, _now(), org_id=org_id, before=_public(before), after=_public(after))

    return describe


def _public(provider: Provider | None) -> dict[str, object] | None:
    """The fields anybody may see."""
    if provider is None:
        return None
    entry = provider.entry
    fields = {"provider": entry.provider, "kind": entry.kind, "base_url": entry.base_url}
    return {**fields, "key_hint": provider.key_hint}


def _candidates(given: Iterable[provider_pb2.GenerateCandidate]) -> list[events.Candidate]:
    return [
        events.Candidate(
            one.model,
            one.provider,
            one.upstream_name,
            one.output_cap_tokens,
            one.context_tokens,
            [_deployment(each) for each in one.deployments],
            one.sticky,
        )
        for one in given
    ]


def _deployment(given: deployment_pb2.Deployment) -> events.Deployment:
    weight = given.weight if given.weight > 0 else 1.0
    return events.Deployment(given.provider, given.upstream_name, weight, given.priority)


def _deadlines(waits: provider_pb2.Deadlines) -> events.Deadlines:
    return events.Deadlines(waits.connect_s, waits.first_token_s, waits.idle_s, waits.total_s)


def _embed_ask(request: provider_pb2.EmbedRequest) -> events.Ask:
    return events.Ask(
        input=request.input,
        candidates=_candidates(request.candidates),
        deadlines=_deadlines(request.deadlines),
        operation=events.Operation.EMBEDDINGS,
        vectors=max(0, request.vectors),
        input_tokens=max(0, request.input_tokens),
    )


def _audio_ask(request: provider_pb2.AudioRequest, heard: Callable[[str], None]) -> events.Ask:
    operation = AUDIO.get(request.task)
    if operation is None:
        raise invalid("task", f"task is {request.task}: say transcription, translation or speech.")
    return events.Ask(
        input=request.input,
        candidates=_candidates(request.candidates),
        deadlines=_deadlines(request.deadlines),
        stream=request.stream,
        operation=operation,
        bound=usage_of(request.bound),
        form=[FormPart(one.name, one.data, one.filename, one.content_type) for one in request.form],
        heard=heard,
    )


def _ask(request: provider_pb2.GenerateRequest) -> events.Ask:
    dialect_in = request.dialect_in or chat_pb2.DIALECT_OPENAI_CHAT
    return events.Ask(
        input=request.input,
        candidates=_candidates(request.candidates),
        dialect_in=events.Dialect(dialect_in),
        dialect_out=events.Dialect(request.dialect_out or dialect_in),
        deadlines=_deadlines(request.deadlines),
        stream=request.stream,
        include_usage=request.include_usage,
        need_text=request.need_text,
        answer_model=request.answer_model,
        rescues=max(0, request.rescues),
        hedge_after_s=request.hedge_after_s if request.stream else 0.0,
        anthropic_beta=request.anthropic_beta,
    )


def _response(event: events.Event) -> provider_pb2.GenerateResponse:
    made = provider_pb2.GenerateResponse()
    if isinstance(event, events.Frames):
        frames = made.frames
        frames.data, frames.events = event
    elif isinstance(event, events.Started):
        fill_started(made.attempt, event)
    elif isinstance(event, events.Finish):
        fill_finish(made.finish, event)
    else:
        made.failure.CopyFrom(failure_message(event))
    return made


def _status(provider: Provider, org_ids: Sequence[str] = ()) -> provider_pb2.ProviderStatus:
    made = provider_pb2.ProviderStatus(
        provider=provider.entry.provider,
        kind=provider.entry.kind,
        enabled=provider.enabled,
        managed_by=provider.entry.managed_by,
        upstream_models=provider.upstream_models,
        model_class=provider.entry.model_class,
        key_hint=provider.key_hint,
        org_ids=org_ids,
        audio=audio_of(provider.entry),
        region=provider.entry.region,
    )
    made.changed_at.FromDatetime(provider.changed_at)
    return made
