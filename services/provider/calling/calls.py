"""One HTTP attempt over aiohttp: the timeout ladder, size bounds, named faults. Knows no dialect and no retry."""

import asyncio
import dataclasses
import socket
import time
from collections.abc import Callable
from typing import Any

import aiohttp
from yarl import URL

from services.provider.adapters import Outgoing
from services.provider.calling.bulkhead import Bulkhead
from services.provider.errors import (
    MAX_ERROR_BODY_BYTES,
    ProviderFault,
    cut,
    garbage,
    not_configured,
    refused_status,
    timed_out,
    unreachable,
)

DRAIN_S = 0.25
"""How long an answered connection may take to end its body before it is dropped instead of reused."""


@dataclasses.dataclass(slots=True)
class Limits:
    """The timeout ladder of one attempt."""

    connect_s: float
    first_token_s: float
    idle_s: float
    total_s: float


class Endpoint:
    """One provider's address with its connection pool and its bulkhead."""

    def __init__(
        self,
        provider: str,
        base_url: str,
        *,
        limits: Limits,
        bulkhead: Bulkhead,
        connector: aiohttp.BaseConnector | None = None,
        max_answer_bytes: int = 11 << 20,
    ) -> None:
        self.provider, self.base_url, self.limits, self.bulkhead = provider, base_url.rstrip("/"), limits, bulkhead
        self.max_answer_bytes = max_answer_bytes
        self._root = str(URL(self.base_url))
        self._connector = connector
        self._session: aiohttp.ClientSession | None = None
        self._drains: set[asyncio.Task[None]] = set()

    def session(self) -> aiohttp.ClientSession:
        """The one session, made at the first use: inside the loop."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=self._connector or aiohttp.TCPConnector(limit=0, keepalive_timeout=30),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=True,
                trust_env=False,
                read_bufsize=1 << 18,
                headers={"User-Agent": "dac", "Accept-Encoding": "gzip, deflate"},
            )
        return self._session

    def url(self, path: str) -> URL:
        """The address of a path; what the adapter quoted (and perhaps signed) is not quoted anew."""
        return URL(self._root + path, encoded=True)

    async def close(self) -> None:
        """Drops every connection."""
        for drain in self._drains:
            drain.cancel()
        if self._session is not None:
            await self._session.close()

    def drain(self, response: aiohttp.ClientResponse) -> None:
        """Reads the rest of an answered body in the background, so that the connection can be used again."""
        if response.content.at_eof():
            response.close()
            return
        task = asyncio.create_task(_drain(response))
        self._drains.add(task)
        task.add_done_callback(self._drains.discard)


async def _drain(response: aiohttp.ClientResponse) -> None:
    try:
        async with asyncio.timeout(DRAIN_S):
            while await response.content.readany():
                pass
    except (TimeoutError, aiohttp.ClientError):
        pass
    finally:
        response.close()


class Patience:
    """A time limit that moves with every piece and hardly ever comes: one timer, set anew only when it rings.

    It cancels the task that made it, as asyncio.timeout does; that costs microseconds a piece less than one of those
    around every read.
    """

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = self._until = 0.0
        self._waits = self._rang = False

    def lasts_until(self, until: float) -> None:
        """From now on somebody waits, at most until then (time.monotonic)."""
        self._until, self._waits = until, True
        if self._timer is None or until < self._rings_at - 0.001:
            self._set(until)

    def rests(self) -> None:
        """Nobody waits any more."""
        self._waits = False

    def ends(self) -> None:
        """The timer is not needed again."""
        if self._timer is not None:
            self._timer.cancel()

    def is_over(self) -> bool:
        """Whether the CancelledError at hand is this limit's own."""
        return self._rang and self._task is not None and self._task.uncancel() <= 0

    def _set(self, at: float) -> None:
        self.ends()
        self._rings_at = at
        self._timer = self._loop.call_later(max(0.0, at - time.monotonic()), self._ring)

    def _ring(self) -> None:
        self._timer = None
        if not self._waits:
            return
        if self._until - time.monotonic() > 0.001:
            self._set(self._until)
        elif self._task is not None:
            self._rang = True
            self._task.cancel()


class Reply:
    """A provider's answer with status 200, read piece by piece within the ladder."""

    def __init__(self, endpoint: Endpoint, response: aiohttp.ClientResponse, limits: Limits, started: float) -> None:
        self._endpoint, self._response, self._limits, self._started = endpoint, response, limits, started
        self._patience = Patience()
        self.drained = False

    async def pieces(self, *, started: bool, short: float | None) -> bytes:
        """The next bytes; empty at the end. `started`: a token was seen. `short`: a tighter idle limit."""
        limits, provider = self._limits, self._endpoint.provider
        now = time.monotonic()
        until = now + limits.idle_s if started else self._started + limits.first_token_s
        if short is not None:
            until = min(until, now + short)
        end = self._started + limits.total_s
        self._patience.lasts_until(min(until, end))
        try:
            return await self._response.content.readany()
        except asyncio.CancelledError:
            if not self._patience.is_over():
                raise
            # By the limit that was nearest, not by the clock: a timer may ring a little early.
            if until >= end:
                raise timed_out(provider, "the whole answer", limits.total_s, out_of_time=True) from None
            if started:
                raise timed_out(provider, "the next piece of the answer", limits.idle_s) from None
            raise timed_out(provider, "the first token", limits.first_token_s) from None
        except aiohttp.ClientPayloadError as error:
            if "can not decode content" in str(error).lower():
                raise garbage(provider, "its compressed body cannot be unpacked") from None
            raise cut(provider, "the connection closed inside the body") from None
        except (aiohttp.ClientError, OSError) as error:
            raise cut(provider, type(error).__name__) from None
        finally:
            self._patience.rests()

    def close(self) -> None:
        """No more is read."""
        self._patience.ends()
        if not self.drained:
            self._response.close()

    async def whole(self) -> bytes:
        """The whole body. Raises ProviderFault for one that is too large or cut."""
        parts, size = [], 0
        while piece := await self.pieces(started=size > 0, short=None):
            size += len(piece)
            self.check_size(size)
            parts.append(piece)
        return b"".join(parts)

    def check_size(self, size_bytes: int) -> None:
        """Raises ProviderFault for an answer that is too large."""
        if size_bytes > self._endpoint.max_answer_bytes:
            raise garbage(self._endpoint.provider, f"it is larger than {self._endpoint.max_answer_bytes} bytes")

    def keep_connection(self) -> None:
        """The answer is complete: what is left of the body may be read in the background."""
        self.drained = True
        self._endpoint.drain(self._response)


class posting:
    """Sends the request and gives the reply; however the block is left, the socket is closed or reused at once."""

    __slots__ = ("_endpoint", "_limits", "_outgoing", "_reply", "_stream")

    def __init__(self, endpoint: Endpoint, outgoing: Outgoing, limits: Limits, *, stream: bool) -> None:
        self._endpoint, self._outgoing, self._limits, self._stream = endpoint, outgoing, limits, stream

    async def __aenter__(self) -> Reply:
        started = time.monotonic()
        response = await _headers(self._endpoint, self._outgoing, self._limits, stream=self._stream)
        self._reply = Reply(self._endpoint, response, self._limits, started)
        return self._reply

    async def __aexit__(self, *_: object) -> None:
        self._reply.close()


async def _headers(endpoint: Endpoint, outgoing: Outgoing, limits: Limits, *, stream: bool) -> aiohttp.ClientResponse:
    """The response once its status is 200 and its type fits. Raises ProviderFault otherwise."""
    provider = endpoint.provider
    timeout = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=limits.connect_s, sock_read=None)
    headers = dict(outgoing.headers)
    framing = outgoing.framing
    headers["Accept"] = framing.content_type if stream or framing.fits else "application/json"
    wait = min(limits.first_token_s, limits.total_s)
    try:
        async with asyncio.timeout(wait):
            response = await endpoint.session().post(
                endpoint.url(outgoing.path),
                data=outgoing.body,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
            )
    except aiohttp.ConnectionTimeoutError:
        raise timed_out(provider, "the connection", limits.connect_s, retry=True) from None
    except TimeoutError:
        raise timed_out(provider, "the first token" if stream else "the answer", wait) from None
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError) as error:
        raise unreachable(provider, _told(error)) from None
    except aiohttp.ClientError as error:
        raise garbage(provider, type(error).__name__) from None
    except ValueError:
        # Its words may hold the key.
        raise not_configured(provider, "its api_key has a line break or another character no header may have") from None
    try:
        await _check(endpoint, response, framing.content_type if stream else "", framing.fits)
    except BaseException:
        response.close()
        raise
    return response


async def _check(
    endpoint: Endpoint, response: aiohttp.ClientResponse, streamed_as: str, fits: Callable[[str], bool] | None
) -> None:
    provider = endpoint.provider
    if response.status != 200:
        raise refused_status(provider, response.status, _lower(response), await _error_body(response))
    kind = response.content_type
    if fits is not None:
        if not fits(kind):
            raise garbage(provider, f"its content type is {kind[:60]}, which is no answer to this")
        return
    if streamed_as and streamed_as.partition("/")[2] not in kind:
        if "json" in kind:
            # Some compatible servers report failures as JSON with status 200.
            raise garbage(provider, "it answered a streamed request with JSON")
        raise garbage(provider, f"its content type is {kind[:60]}, not {streamed_as}")
    if not streamed_as and kind in ("text/html", "text/event-stream"):
        raise garbage(provider, f"its content type is {kind}, not application/json")


async def _error_body(response: aiohttp.ClientResponse) -> bytes:
    """The start of an error's body, for two seconds at most."""
    body = b""
    try:
        async with asyncio.timeout(2.0):
            while len(body) <= MAX_ERROR_BODY_BYTES and (piece := await response.content.readany()):
                body += piece
    except (TimeoutError, aiohttp.ClientError, OSError):
        pass
    return body


def _lower(response: aiohttp.ClientResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _told(error: Exception) -> str:
    """What went wrong with a connection, without addresses."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name does not resolve"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return "its TLS certificate was not accepted"
    cause: Any = error.__cause__ or error
    if isinstance(cause, ConnectionRefusedError):
        return "the connection was refused"
    if isinstance(cause, ProviderFault | socket.gaierror):
        return str(cause)
    return "the connection broke before it answered"
