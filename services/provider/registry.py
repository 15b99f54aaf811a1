"""The configured providers: those of files and the environment, and those added through the API, always current."""

import asyncio
import contextlib
import copy
import dataclasses
import datetime
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from urllib.parse import urlsplit

from mesh.call import current
from mesh.catalog import ProviderEntry
from mesh.config import Secret
from mesh.errors import MeshError
from mesh.following import Follower
from mesh.known_providers import KNOWN
from mesh.public_resolver import PublicResolver
from services.provider.adapters import Exchange
from services.provider.addresses import check_base_url
from services.provider.calling.bulkhead import Bulkhead
from services.provider.calling.calls import Endpoint, Limits
from services.provider.calling.events import Ask, Candidate
from services.provider.config import ProviderConfig
from services.provider.errors import ProviderFault, not_configured, of_own_key
from services.provider.keys.book import Key, KeyBook, blames_key
from services.provider.keys.vault import Place, Vault
from services.provider.kinds import Account, Credentials, exchange_of, guarding_others, kind_named, prefill_of
from services.provider.local import BASE_URL, LocalModel
from services.provider.local_model import ALIAS
from services.provider.plugin_loading import BrokenPlugIn
from services.provider.store import ProviderStore, Row

API = "api"
NO_KEY = "it has no api_key"
KEYED_ADDRESSES = (
    "https://api.openai.com",
    "https://api.anthropic.com",
    "https://generativelanguage.googleapis.com",
    "https://api.cohere.com",
)
"""Addresses that serve nobody without a key."""
_log = logging.getLogger("dac.provider.registry")


@dataclasses.dataclass(frozen=True)
class Provider:
    """One configured provider."""

    entry: ProviderEntry
    changed_at: datetime.datetime
    key_hint: str = ""
    upstream_models: tuple[str, ...] = ()
    disabled_reason: str = ""
    org_ids: tuple[str, ...] = dataclasses.field(default=(), compare=False)
    """While nobody else may: the organisations that may ask it with keys of their own."""
    known_only: bool = False
    """Nobody configured it: it is here for those organisations alone."""

    @property
    def enabled(self) -> bool:
        """Whether everybody can ask it."""
        return self.entry.enabled and not self.disabled_reason


class _Line:
    """A provider that can be asked: its endpoint and the dialects it speaks."""

    def __init__(
        self, provider: Provider, endpoint: Endpoint, config: ProviderConfig, local: LocalModel | None, book: KeyBook
    ) -> None:
        self.provider, self.endpoint = provider, endpoint
        self._local, entry = local, provider.entry
        self._book = book
        self.key: Key | None = None
        self._account = self._given = Account(
            entry.provider,
            entry.kind,
            entry.api_key.reveal() if entry.api_key is not None else "",
            host=urlsplit(entry.base_url).hostname or "",
            base_url=root_of(entry),
            options=options_of(entry),
            local_max_tokens=config.local_max_tokens,
            said_dialect=entry.dialect,
            responses=entry.responses,
            google_token_address=config.google_token_address,
            shares_store=entry.shared_store,
        )
        self._credentials: dict[str, Credentials] = {}
        """By the key that they are made of; shared by the copies of `keyed`."""

    async def ready(self, wait_s: float) -> None:
        """See generation.Line."""
        if self._local is not None:
            await self._local.ready(wait_s)
        make = kind_named(self._account.kind).credentials
        if make is not None:
            with guarding_others(self._account, "to get its key"):
                found = self._credentials.get(self._given.key)
                if found is None:
                    found = self._credentials[self._given.key] = make(self._given)
                key = await found.current(wait_s)
            if key != self._account.key:
                self._account = dataclasses.replace(self._account, key=key)

    async def close(self) -> None:
        """Drops every connection."""
        await self.endpoint.close()
        for credentials in self._credentials.values():
            with contextlib.suppress(Exception):
                await credentials.close()

    def prefill(self, upstream_name: str) -> str:
        """See generation.Line."""
        return prefill_of(self._account, upstream_name)

    def keyed(self) -> "_Line":
        """See generation.Line."""
        entry, principal = self.provider.entry, current().principal
        org_id, enabled = principal.org_id if principal is not None else "", self.provider.enabled
        own = entry.api_key.reveal() if entry.api_key is not None else ""
        key = self._book.choose(entry.provider, org_id, entry.base_url, own, enabled=enabled)
        if key is None:
            if not enabled:
                raise not_configured(entry.provider, self.provider.disabled_reason)
            return self
        line = copy.copy(self)
        line.key = key
        shares = self._given.shares_store or bool(key.org_id)
        line._account = line._given = dataclasses.replace(self._given, key=key.secret, shares_store=shares)
        return line

    def blames_key(self, fault: ProviderFault) -> bool:
        """See generation.Line."""
        if self.key is None or self.key.alone or not blames_key(fault):
            return False
        self._book.failed(self.key, fault)
        if self.key.org_id:
            of_own_key(fault, self.key.provider, self.key.hint)
        return True

    def exchange(self, ask: Ask, candidate: Candidate) -> Exchange:
        """See generation.Line."""
        return exchange_of(ask, candidate, self._account)


class Registry:
    """Knows every provider and keeps an endpoint for each."""

    def __init__(
        self,
        entries: Sequence[ProviderEntry],
        config: ProviderConfig,
        store: ProviderStore | None,
        vault: Vault,
        *,
        now: Callable[[], datetime.datetime],
        book: KeyBook | None = None,
    ) -> None:
        self._entries, self._config, self._store, self._vault = entries, config, store, vault
        self.book = book or KeyBook(None, vault)
        self._started_at = now()
        self._lines: dict[str, _Line] = {}
        self._providers: dict[str, Provider] = {}
        self._local: LocalModel | None = None
        self._version = 0
        self._changed = asyncio.Condition()
        self._follower = Follower("provider-registry", self.refresh, config.poll_interval_s, _log)
        self._retired: dict[_Line, asyncio.Task[None]] = {}
        self._generation = 0

    async def start(self) -> None:
        """Opens the providers of files at once and follows the table in the background."""
        local = next((entry for entry in self._entries if entry.kind == "local" and entry.enabled), None)
        if local is not None:
            self._local = LocalModel(context_tokens=self._config.local_context_tokens, slots=self._config.local_slots)
            self._local.start()
        await self._apply([])
        if self._store is not None:
            with contextlib.suppress(MeshError):
                await self.refresh()
            await self._store.follow(self._follower.wake)
            self._follower.start()

    async def close(self) -> None:
        """Stops following and drops every connection."""
        await self._follower.close()
        retired = dict(self._retired)
        for task in retired.values():
            task.cancel()
        await asyncio.gather(*retired.values(), return_exceptions=True)
        for line in [*self._lines.values(), *retired]:
            await line.close()
        if self._local is not None:
            await self._local.close()

    def find(self, provider: str) -> _Line:
        """See generation.Find."""
        line = self._lines.get(provider)
        if line is None:
            known = self._providers.get(provider)
            raise not_configured(provider, "" if known is None else known.disabled_reason or "it is switched off")
        return line

    def providers(self) -> list[Provider]:
        """All of them, by name."""
        return [self._providers[name] for name in sorted(self._providers)]

    def entry_for_everybody(self, provider: Provider) -> ProviderEntry:
        """The entry with one of everybody's keys, for what no organisation asks for. Raises ProviderFault."""
        entry = provider.entry
        own = entry.api_key.reveal() if entry.api_key is not None else ""
        key = self.book.choose(entry.provider, "", entry.base_url, own, enabled=provider.enabled)
        return entry if key is None else dataclasses.replace(entry, api_key=Secret(key.secret))

    def from_file(self, provider: str) -> ProviderEntry | None:
        """The entry of a file or the environment."""
        return next((entry for entry in self._entries if entry.provider == provider), None)

    async def snapshots(self) -> AsyncGenerator[list[Provider], None]:
        """All providers, now and after every change."""
        seen = -1
        while True:
            async with self._changed:
                while self._generation == seen:
                    await self._changed.wait()
                seen = self._generation
            yield self.providers()

    async def refresh(self) -> None:
        """Reads the table when its version is another than the known one. Raises MeshError."""
        if self._store is not None and await self._store.version() != self._version:
            version, rows = await self._store.read()
            await self.book.refresh()
            await self._apply(rows)
            self._version = version

    async def _apply(self, rows: Sequence[Row]) -> None:
        wanted = {entry.provider: self._of_entry(entry) for entry in self._entries}
        for row in rows:
            if row.provider not in wanted:
                wanted[row.provider] = self._of_row(row)
        self._share(wanted)
        for name in list(self._lines):
            if wanted.get(name) != self._providers.get(name) or not _asked(wanted[name]):
                self._retire(self._lines.pop(name))
        for name, provider in wanted.items():
            if _asked(provider) and name not in self._lines:
                local = self._local if provider.entry.kind == "local" else None
                self._lines[name] = _Line(provider, self._endpoint(provider), self._config, local, self.book)
        self._providers = wanted
        async with self._changed:
            self._generation += 1
            self._changed.notify_all()

    def _share(self, wanted: dict[str, Provider]) -> None:
        """Providers without a key of their own: for everybody by a further key, else for who has one."""
        for name, org_ids in self.book.owners().items():
            provider = wanted.get(name)
            if provider is None:
                entry = known_entry(name)
                if entry is None:
                    continue
                provider = Provider(entry, self._started_at, disabled_reason=NO_KEY, known_only=True)
            if provider.disabled_reason == NO_KEY and "" in org_ids:
                provider = dataclasses.replace(provider, disabled_reason="", known_only=False)
            elif provider.disabled_reason == NO_KEY and provider.entry.enabled:
                provider = dataclasses.replace(provider, org_ids=org_ids)
            wanted[name] = provider

    def _retire(self, line: _Line) -> None:
        """Running answers may end; then the connections are dropped."""

        async def end() -> None:
            await asyncio.sleep(line.endpoint.limits.total_s)
            await line.close()

        task = asyncio.create_task(end(), name=f"retire-{line.endpoint.provider}")
        # The loop itself would let a task that nobody holds be collected.
        self._retired[line] = task
        task.add_done_callback(lambda _: self._retired.pop(line, None))

    def _of_entry(self, entry: ProviderEntry) -> Provider:
        hint = hint_of(entry.api_key.reveal()) if entry.api_key is not None else ""
        if entry.kind == "local":
            missing = self._local.missing if self._local is not None else ""
            return Provider(entry, self._started_at, upstream_models=(ALIAS,), disabled_reason=missing)
        known_to_need = entry.require_key or entry.base_url.startswith(KEYED_ADDRESSES)
        reason = NO_KEY if known_to_need and entry.api_key is None else _broken(entry.kind)
        return Provider(entry, self._started_at, hint, disabled_reason=reason)

    def _of_row(self, row: Row) -> Provider:
        known = self._providers.get(row.provider)
        if known is not None and known.enabled and not known.known_only:
            entry = known.entry
            if (entry.kind, entry.base_url, known.changed_at) == (row.kind, row.base_url, row.changed_at):
                # Only sealed anew, perhaps by a master key that this process does not have.
                return known
        reason, key = "", ""
        try:
            # Again: rules become stricter, and addresses written as numbers never reach the resolver.
            check_base_url(row.base_url)
            key = self._vault.open(Place(row.provider, row.base_url), row.sealed)
        except MeshError as error:
            reason = error.message
            _log.error("%s", error.message)
        reason = reason or _broken(row.kind)
        entry = ProviderEntry(row.provider, row.kind, row.base_url, Secret(key) if key else None, managed_by=API)
        return Provider(entry, row.changed_at, row.key_hint, row.upstream_models, reason)

    def _endpoint(self, provider: Provider) -> Endpoint:
        entry = provider.entry
        local = self._local.socket if self._local is not None and entry.kind == "local" else ""
        guarded = entry.managed_by == API and not entry.allow_private_address
        return Endpoint(
            entry.provider,
            BASE_URL if entry.kind == "local" else root_of(entry),
            limits=Limits(
                entry.connect_timeout_s, entry.first_token_timeout_s, entry.idle_timeout_s, entry.total_timeout_s
            ),
            bulkhead=Bulkhead(entry.provider, entry.max_concurrent, self._config.max_waiting),
            resolver=PublicResolver() if guarded else None,
            socket_path=str(local),
            max_answer_bytes=self._config.max_answer_bytes,
        )


def _asked(provider: Provider) -> bool:
    """Whether anybody can ask it."""
    return provider.enabled or bool(provider.org_ids)


def known_entry(name: str) -> ProviderEntry | None:
    """A provider that needs no configuration but a key."""
    known = KNOWN.get(name)
    if known is None or not known.base_url.startswith("https://"):
        return None
    return ProviderEntry(name, known.kind, known.base_url, managed_by=API)


def _broken(kind: str) -> str:
    """Why a kind cannot be had; empty when it can."""
    try:
        kind_named(kind)
    except BrokenPlugIn as error:
        return str(error)
    return ""


def root_of(entry: ProviderEntry) -> str:
    """What paths are put behind: Anthropic's begin with /v1 and Cohere's with /v2, OpenAI's base_url ends with it."""
    version = {"anthropic": "/v1", "cohere": "/v2"}.get(entry.kind, "")
    return entry.base_url.removesuffix(version)


def options_of(entry: ProviderEntry) -> dict[str, str]:
    """The kind's own settings: "name=value" each, checked when the file was read."""
    return dict(one.split("=", 1) for one in entry.options)


def hint_of(key: str) -> str:
    """The last four characters, of keys long enough to lose them."""
    return key[-4:] if len(key) >= 16 else ""
