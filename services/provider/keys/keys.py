"""Adding and removing providers through the API: checked, tested with one call, sealed, followed by all replicas."""

import asyncio
import dataclasses
import datetime
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp
import msgspec

from mesh.admin_record import Change
from mesh.catalog import ProviderEntry
from mesh.config import Secret
from mesh.errors import MeshError, Reason, invalid
from mesh.known_providers import address_of, kind_of
from mesh.plugins import PROVIDERS, named
from mesh.public_resolver import PublicResolver
from services.provider.adapters.anthropic import VERSION
from services.provider.adapters.dialects import dialect_of, key_headers
from services.provider.addresses import check_base_url
from services.provider.errors import key_refused, managed_by_file, unknown_provider
from services.provider.keys.vault import Place, Vault
from services.provider.registry import API, Provider, Registry, hint_of, root_of
from services.provider.store import ProviderStore, Row

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
ADDABLE = ("openai", "anthropic", "gemini", "ollama", "cohere", "bedrock", "vertex")
"""DAC's own kinds that may come through the API."""
TESTABLE = frozenset(ADDABLE) - {"bedrock", "vertex"}
"""Kinds whose list of models can be asked for."""
TEST_TIMEOUT_S = 10.0
MAX_MODELS = 2000
MAX_LIST_BYTES = 8 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class Trial:
    """What the test call found."""

    ms: float
    upstream_models: tuple[str, ...]


T = TypeVar("T")
Describe = Callable[[str, T | None, T | None], Change | None]
"""(action, before, after) → what audit is told; None = nobody to tell it of."""
Test = Callable[[ProviderEntry], Awaitable[Trial]]


class KeyDesk:
    """Changes the API-added providers."""

    def __init__(
        self,
        registry: Registry,
        store: ProviderStore | None,
        vault: Vault,
        *,
        now: Callable[[], datetime.datetime],
        test: Test | None = None,
    ) -> None:
        self._registry, self._store, self._vault, self._now = registry, store, vault, now
        self._test = test or list_models

    async def add(
        self,
        name: str,
        kind: str,
        base_url: str,
        key: str,
        *,
        skip_test: bool,
        describe: Describe[Provider] | None = None,
    ) -> tuple[Provider, float]:
        """Stores a provider; returns it and how long the test call took. Raises MeshError."""
        store = self._writable()
        if not NAME.fullmatch(name) or name == "local":
            raise invalid(
                "provider", f'"{name}" cannot be a provider\'s name: use a-z, 0-9 and "-", at most 63, not "local".'
            )
        own = self._registry.from_file(name)
        if own is not None:
            raise managed_by_file(name, own.managed_by)
        kind = kind or kind_of(name, base_url)
        if kind not in ADDABLE and kind not in named(PROVIDERS):
            told = f'kind "{kind}" is none of {", ".join(ADDABLE)}; "{name}" is not known by itself.'
            raise invalid("kind", told)
        base_url = base_url or address_of(name, kind)
        if not base_url:
            raise invalid(
                "base_url", f'"{name}" is not known by itself: say its base_url, e.g. https://example.com/v1.'
            )
        base_url = check_base_url(base_url)
        if not key.isascii() or not key.isprintable() or len(key) > 4096:
            raise invalid("api_key", "api_key must be at most 4096 printable ASCII characters.")
        if not skip_test and kind not in TESTABLE:
            raise invalid("skip_test", f"Providers of kind {kind} have no list of models to test with: set skip_test.")
        entry = ProviderEntry(name, kind, base_url, Secret(key) if key else None, managed_by=API)
        tested = Trial(0.0, ()) if skip_test else await self._test(entry)
        row = Row(
            name,
            kind,
            base_url,
            self._vault.seal(Place(name, base_url), key),
            hint_of(key),
            tested.upstream_models,
            self._now(),
        )
        after = Provider(entry, row.changed_at, row.key_hint, row.upstream_models)
        before = self._known(name)
        change = describe("provider.replace" if before else "provider.add", before, after) if describe else None
        await store.put(row, change)
        await self._registry.refresh()
        return next(one for one in self._registry.providers() if one.entry.provider == name), tested.ms

    async def remove(self, name: str, *, describe: Describe[Provider] | None = None) -> None:
        """Forgets a provider and its key. Raises MeshError."""
        own = self._registry.from_file(name)
        if own is not None:
            raise managed_by_file(name, own.managed_by)
        change = describe("provider.remove", self._known(name), None) if describe else None
        if not await self._writable().remove(name, change):
            raise unknown_provider(name)
        await self._registry.refresh()

    def _known(self, name: str) -> Provider | None:
        known = next((one for one in self._registry.providers() if one.entry.provider == name), None)
        return None if known is not None and known.known_only else known

    def _writable(self) -> ProviderStore:
        if self._store is None:
            raise MeshError(Reason.FAILED_PRECONDITION, "This DAC runs without a database: set providers in a file.")
        return self._store


async def list_models(entry: ProviderEntry, resolver: Any = None) -> Trial:
    """The test call: the provider's list of models. Raises FAILED_PRECONDITION when it does not answer well."""
    key = entry.api_key.reveal() if entry.api_key is not None else ""
    if entry.kind == "anthropic":
        path, headers = "/v1/models", {"x-api-key": key, "anthropic-version": VERSION}
    elif entry.kind == "gemini":
        path, headers = "/models?pageSize=1000", {"x-goog-api-key": key}
    else:
        dialect = dialect_of(entry.provider, urlsplit(entry.base_url).hostname or "", entry.dialect)
        listing = {"ollama": "/api/tags", "cohere": "/v1/models?page_size=1000"}
        path, headers = listing.get(entry.kind, dialect.models_path), key_headers(dialect, key)
    if resolver is None and not entry.allow_private_address:
        resolver = PublicResolver()
    connector = aiohttp.TCPConnector(resolver=resolver)
    started = time.monotonic()
    status = 0
    try:
        async with (
            asyncio.timeout(TEST_TIMEOUT_S),
            aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.get(root_of(entry) + path, headers=headers, allow_redirects=False) as response,
        ):
            status = response.status
            if status != 200:
                raise key_refused(entry.provider, status, f"it answered {status}")
            body = b""
            while piece := await response.content.readany():
                body += piece
                if len(body) > MAX_LIST_BYTES:
                    raise key_refused(entry.provider, status, "its list of models is larger than 8 MiB")
            listed = msgspec.json.decode(body)
            if entry.kind in ("ollama", "cohere"):
                models = tuple(str(row["name"]) for row in listed["models"][:MAX_MODELS])
            elif entry.kind == "gemini":
                models = tuple(str(row["name"]).removeprefix("models/") for row in listed["models"][:MAX_MODELS])
            else:
                # Together's is a bare list.
                rows = listed if isinstance(listed, list) else listed["data"]
                models = tuple(str(row["id"]) for row in rows[:MAX_MODELS])
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        told = "it took too long" if isinstance(error, TimeoutError) else f"it could not be reached ({_cause(error)})"
        raise key_refused(entry.provider, status, told) from None
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        raise key_refused(entry.provider, status, "its answer is no list of models") from None
    return Trial((time.monotonic() - started) * 1000, models)


def _cause(error: Exception) -> str:
    cause = error.__cause__ or error
    return getattr(cause, "strerror", None) or type(error).__name__
