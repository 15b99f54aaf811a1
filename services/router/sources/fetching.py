"""Asking a source: fixed addresses from the configuration, https, one time limit and one size for all pages.

Nothing of DAC's is sent: no key, no cookie, no prompt, no name of a model. Redirects are not followed, and names that
resolve to anything but public addresses are refused, so that no answer of a stranger leads into the operator's network.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import aiohttp

from mesh.public_addresses import is_private_literal
from mesh.public_resolver import PublicResolver
from services.router.sources import fault_of_address

MAX_BYTES = 64 << 20
"""All pages of an answer together, unpacked."""
MAX_PAGES = 120
PAGE_ROWS = 100
OFFSET = "{offset}"
"""Stands in an address whose answer comes in pages."""
HEADERS = {"accept": "application/json", "user-agent": "dac-model-catalog"}
MAX_ETAG = 256


class FetchFailed(Exception):
    """The answer could not be had; the text says why, without anything the source wrote."""


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    pages: tuple[bytes, ...] | None
    """None = nothing changed since the answer with the ETag that was sent."""
    etag: str = ""


def check_address(address: str, *, allow_private: bool) -> None:
    """Raises FetchFailed for an address that is never asked. Names are checked when they are resolved; what is written
    as an address is not resolved."""
    fault = fault_of_address(address, private=allow_private)
    host = "" if fault else urlsplit(address).hostname or ""
    if not fault and not allow_private and is_private_literal(host):
        fault = f'"{host}" is a private, local or reserved address'
    if fault:
        raise FetchFailed(fault)


async def fetch(
    addresses: Sequence[str],
    *,
    etag: str = "",
    timeout_s: float,
    allow_private: bool = False,
    is_last: Callable[[bytes], bool] = lambda page: True,
    max_bytes: int = MAX_BYTES,
) -> Answer:
    """All pages of all addresses; `is_last` tells whether a page of one with OFFSET is followed by no other. Raises
    FetchFailed, and whatever `is_last` raises."""
    conditional = etag if len(addresses) == 1 else ""
    pages: list[bytes] = []
    told = ""
    left = max_bytes
    try:
        async with asyncio.timeout(timeout_s):
            connector = aiohttp.TCPConnector(resolver=None if allow_private else PublicResolver())
            async with aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), headers=HEADERS
            ) as session:
                for address in addresses:
                    check_address(address, allow_private=allow_private)
                    for at in range(MAX_PAGES):
                        url = address.replace(OFFSET, str(at * PAGE_ROWS))
                        page, tag = await _page(session, url, conditional if at == 0 else "", left)
                        if page is None:
                            return Answer(None, etag)
                        told = told or tag
                        left -= len(page)
                        pages.append(page)
                        if OFFSET not in address or is_last(page):
                            break
                    else:
                        raise FetchFailed(f"it has more than {MAX_PAGES} pages")
    except TimeoutError:
        raise FetchFailed(f"it took longer than {timeout_s:g} s") from None
    except (aiohttp.ClientError, OSError, UnicodeError) as error:
        cause = error.__cause__ or error
        why = getattr(cause, "strerror", None) or type(error).__name__
        raise FetchFailed(f"it could not be reached ({why})") from None
    return Answer(tuple(pages), told if len(addresses) == 1 else "")


async def _page(session: aiohttp.ClientSession, url: str, etag: str, left: int) -> tuple[bytes | None, str]:
    headers = {"if-none-match": etag} if etag else {}
    async with session.get(url, headers=headers, allow_redirects=False) as response:
        if response.status == 304 and etag:
            return None, etag
        if 300 <= response.status < 400:
            raise FetchFailed(f"it answered {response.status}: redirects are not followed")
        if response.status != 200:
            raise FetchFailed(f"it answered {response.status}")
        parts, size = [], 0
        while piece := await response.content.readany():
            size += len(piece)
            if size > left:
                raise FetchFailed("its answer is larger than what is read")
            parts.append(piece)
        tag = response.headers.get("etag", "")
        return b"".join(parts), tag if len(tag) <= MAX_ETAG and tag.isascii() and tag.isprintable() else ""
