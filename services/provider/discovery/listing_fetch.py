"""Asking a provider for its models: every page of its list, within one time limit and one size."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from urllib.parse import quote, urlsplit

import aiohttp

from mesh.catalog import ProviderEntry
from mesh.public_resolver import PublicResolver
from services.provider.adapters.anthropic import VERSION
from services.provider.adapters.dialects import dialect_of, key_headers
from services.provider.discovery.listings import MAX_MODELS, Listed, NotAList, read_page
from services.provider.registry import API, root_of

KINDS = frozenset({"openai", "anthropic", "gemini", "ollama", "cohere"})
"""Kinds whose list is read; others have none at the address where they are asked."""
CURSORS = {"anthropic": "after_id", "gemini": "pageToken", "cohere": "page_token"}
MAX_PAGES = 20
MAX_LIST_BYTES = 16 << 20
"""All pages together."""


class ListingFailed(Exception):
    """The list could not be had; the text says why, without anything the provider wrote."""


@dataclasses.dataclass(frozen=True, slots=True)
class Fetched:
    """A whole list."""

    models: list[Listed]
    dropped: int


Fetch = Callable[[ProviderEntry, float], Awaitable[Fetched]]
"""(provider, seconds) → its list. Raises ListingFailed."""


async def fetch_list(entry: ProviderEntry, timeout_s: float) -> Fetched:
    """The whole list of one provider. Raises ListingFailed."""
    try:
        async with asyncio.timeout(timeout_s):
            return await _fetch(entry)
    except TimeoutError:
        raise ListingFailed(f"it took longer than {timeout_s:g} s") from None
    except (aiohttp.ClientError, OSError) as error:
        cause = error.__cause__ or error
        told = getattr(cause, "strerror", None) or type(error).__name__
        raise ListingFailed(f"it could not be reached ({told})") from None
    except NotAList as error:
        raise ListingFailed(f"its answer is no list of models: {error}") from None


def request_of(entry: ProviderEntry) -> tuple[str, dict[str, str]]:
    """The path of the first page and the headers, by the provider's kind."""
    key = entry.api_key.reveal() if entry.api_key is not None else ""
    if entry.kind == "anthropic":
        return "/v1/models?limit=1000", {"x-api-key": key, "anthropic-version": VERSION}
    if entry.kind == "gemini":
        return "/models?pageSize=1000", {"x-goog-api-key": key}
    dialect = dialect_of(entry.provider, urlsplit(entry.base_url).hostname or "", entry.dialect)
    own = {"ollama": "/api/tags", "cohere": "/v1/models?page_size=1000"}
    return own.get(entry.kind, dialect.models_path), key_headers(dialect, key)


async def _fetch(entry: ProviderEntry) -> Fetched:
    path, headers = request_of(entry)
    guarded = entry.managed_by == API and not entry.allow_private_address
    connector = aiohttp.TCPConnector(resolver=PublicResolver() if guarded else None)
    models: dict[str, Listed] = {}
    dropped = left = 0
    left, at = MAX_LIST_BYTES, path
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        for _ in range(MAX_PAGES):
            body = await _page(session, root_of(entry) + at, headers, left)
            left -= len(body)
            page = read_page(entry.kind, body)
            fresh = [one for one in page.models if one.name not in models]
            dropped += page.dropped + len(page.models) - len(fresh)
            room = MAX_MODELS - len(models)
            models.update((one.name, one) for one in fresh[:room])
            dropped += max(0, len(fresh) - room)
            if not page.next or not fresh or room <= len(fresh):
                break
            at = f"{path}&{CURSORS[entry.kind]}={quote(page.next, safe='')}"
    return Fetched(list(models.values()), dropped)


async def _page(session: aiohttp.ClientSession, url: str, headers: dict[str, str], limit: int) -> bytes:
    async with session.get(url, headers=headers, allow_redirects=False) as response:
        if response.status != 200:
            raise ListingFailed(f"it answered {response.status}")
        parts, size = [], 0
        while piece := await response.content.readany():
            size += len(piece)
            if size > limit:
                raise ListingFailed(f"its list is larger than {MAX_LIST_BYTES >> 20} MiB")
            parts.append(piece)
    return b"".join(parts)
