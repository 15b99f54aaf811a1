"""One HTTP attempt: the timeout ladder, size bounds, named faults. Knows no dialect and no retry."""

import asyncio
import base64
import dataclasses
import time
from collections.abc import Callable, Mapping

from aiohttp.abc import AbstractResolver
from yarl import URL

from services.provider.adapters import Outgoing
from services.provider.calling.bulkhead import Bulkhead
from services.provider.calling.connecting import ConnectTimeout, Host, Opens, Pool, Socket, Unreachable
from services.provider.calling.unpacking import ENCODINGS, UNREADABLE, Unpackable, Unpacker
from services.provider.calling.wire import Broken, Malformed, Sink, Wire
from services.provider.error_bodies import MAX_ERROR_BODY_BYTES
from services.provider.errors import (
    ProviderFault,
    cut,
    garbage,
    not_configured,
    refused_status,
    timed_out,
    unreachable,
)

ERROR_BODY_S = 2.0
"""How long the body of a refusal may take."""
_UNSAFE = frozenset("\r\n\0")


@dataclasses.dataclass(slots=True)
class Limits:
    """The timeout ladder of one attempt."""

    connect_s: float
    first_token_s: float
    idle_s: float
    total_s: float


class Endpoint:
    """One provider's address with its connections and its bulkhead."""

    def __init__(
        self,
        provider: str,
        base_url: str,
        *,
        limits: Limits,
        bulkhead: Bulkhead,
        resolver: AbstractResolver | None = None,
        socket_path: str = "",
        max_answer_bytes: int = 11 << 20,
    ) -> None:
        """`resolver`: who looks names up; None = the machine's own way. `socket_path`: a unix socket to connect to."""
        self.provider, self.base_url, self.limits, self.bulkhead = provider, base_url.rstrip("/"), limits, bulkhead
        self.max_answer_bytes = max_answer_bytes
        url = URL(self.base_url)
        opens: Opens = Socket(socket_path) if socket_path else _host_of(url, resolver)
        self.pool = Pool(opens)
        self._prefix = url.raw_path_qs.rstrip("/")
        self._fixed = _fixed_headers(url)
        self._has_user = bool(url.raw_user or url.raw_password)

    def request(self, outgoing: Outgoing, accept: str) -> bytes:
        """The bytes of a request; what the adapter quoted (and perhaps signed) is not quoted anew. Raises ValueError
        for what no request may hold."""
        target = self._prefix + outgoing.path
        if not target.startswith("/"):
            target = "/" + target
        if not target.isascii() or not target.isprintable() or " " in target:
            raise ValueError
        lines = [f"POST {target} HTTP/1.1\r\n", self._fixed, f"Accept: {accept}\r\n"]
        for name, value in outgoing.headers.items():
            if not _UNSAFE.isdisjoint(name) or not _UNSAFE.isdisjoint(value):
                raise ValueError
            if self._has_user and name.lower() == "authorization":
                raise ValueError
            lines.append(f"{name}: {value}\r\n")
        lines.append(f"Content-Length: {len(outgoing.body)}\r\n\r\n")
        return "".join(lines).encode() + outgoing.body

    async def close(self) -> None:
        """Drops every connection."""
        self.pool.close()


def _host_of(url: URL, resolver: AbstractResolver | None) -> Host:
    host, port, tls = url.raw_host or "", url.port or 0, url.scheme == "https"
    return Host(host, port, tls=tls, resolver=resolver)


def _fixed_headers(url: URL) -> str:
    """The headers of every request to an address."""
    host = url.host_port_subcomponent or ""
    lines = [f"Host: {host}\r\n", "User-Agent: dac\r\n", "Accept-Encoding: gzip, deflate\r\n"]
    if url.raw_user or url.raw_password:
        said = base64.b64encode(f"{url.user or ''}:{url.password or ''}".encode()).decode()
        lines.append(f"Authorization: Basic {said}\r\n")
    return "".join(lines)


class Reply:
    """A provider's answer, read piece by piece within the ladder."""

    def __init__(self, endpoint: Endpoint, wire: Wire, limits: Limits, started: float) -> None:
        self._endpoint, self._wire, self._limits, self._started = endpoint, wire, limits, started
        self.idle_s = limits.idle_s
        """How long the next piece may take."""
        self.end = started + limits.total_s
        """When the whole answer has to be there; time.monotonic."""
        self._left = False
        encoding = wire.headers.get(b"content-encoding", b"").lower()
        packed = encoding in ENCODINGS or encoding in UNREADABLE
        self._unpacker = Unpacker(encoding) if packed else None

    async def pieces(self, *, started: bool, short: float | None) -> bytes:
        """The next bytes; empty at the end. `started`: a token was seen. `short`: a tighter idle limit."""
        limits, provider = self._limits, self._endpoint.provider
        now = time.monotonic()
        until = now + limits.idle_s if started else self._started + limits.first_token_s
        if short is not None:
            until = min(until, now + short)
        until = min(until, self.end)
        try:
            if self._unpacker is None:
                return await self._wire.read(until)
            return await self._unpacked(self._unpacker, until)
        except TimeoutError:
            raise self._late(started=started) from None
        except Unpackable:
            raise garbage(provider, "its compressed body cannot be unpacked") from None
        except Broken:
            raise cut(provider, "the connection closed inside the body") from None
        except Malformed:
            raise cut(provider, "its body stopped being HTTP") from None

    async def pour(self, sink: Sink, until: float) -> None:
        """Gives `sink` the pieces behind the first token as they come: see Wire.pour. A compressed answer is not
        poured. Raises ProviderFault."""
        if self._unpacker is None:
            try:
                await self._wire.pour(sink, until)
            except TimeoutError:
                raise self._late(started=True) from None

    def _late(self, *, started: bool) -> ProviderFault:
        """Nothing came in time. (By the limit that was nearest, not by the clock: a timer may ring a little early.)"""
        limits, provider = self._limits, self._endpoint.provider
        if self._wire.until >= self.end:
            return timed_out(provider, "the whole answer", limits.total_s, out_of_time=True)
        if started:
            return timed_out(provider, "the next piece of the answer", limits.idle_s)
        return timed_out(provider, "the first token", limits.first_token_s)

    async def _unpacked(self, unpacker: Unpacker, until: float) -> bytes:
        """The next bytes of a compressed answer."""
        while True:
            if unpacker.more:
                made = unpacker.take()
            elif packed := await self._wire.read(until):
                made = unpacker.take(packed)
            else:
                unpacker.end()
                return b""
            if made:
                return made

    async def error_body(self) -> bytes:
        """The start of a refusal's body, as much as comes in time."""
        body, until = b"", time.monotonic() + ERROR_BODY_S
        try:
            while len(body) <= MAX_ERROR_BODY_BYTES:
                piece = await (
                    self._wire.read(until) if self._unpacker is None else self._unpacked(self._unpacker, until)
                )
                if not piece:
                    break
                body += piece
        except (TimeoutError, Broken, Malformed, Unpackable):
            pass
        return body

    def close(self) -> None:
        """No more is read."""
        if not self._left:
            self._left = True
            self._wire.leave()

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
        """The answer is complete: what is left of the body may come, unread."""
        self._left = True
        self._wire.leave_soon()


class posting:
    """Sends the request and gives the reply, once its status is 200 and its type fits; however the block is left, the
    socket is closed or reused at once."""

    __slots__ = ("_endpoint", "_limits", "_outgoing", "_reply", "_stream")

    def __init__(self, endpoint: Endpoint, outgoing: Outgoing, limits: Limits, *, stream: bool) -> None:
        self._endpoint, self._outgoing, self._limits, self._stream = endpoint, outgoing, limits, stream

    async def __aenter__(self) -> Reply:
        """Raises ProviderFault."""
        started, endpoint, limits = time.monotonic(), self._endpoint, self._limits
        framing, stream = self._outgoing.framing, self._stream
        accept = framing.content_type if stream or framing.fits else "application/json"
        try:
            request = endpoint.request(self._outgoing, accept)
        except ValueError:
            # Its words may hold the key.
            told = "its api_key has a line break or another character no header may have"
            raise not_configured(endpoint.provider, told) from None
        wire = await _asked(endpoint, request, limits, started, stream=stream)
        try:
            self._reply = await _checked(endpoint, wire, limits, started, self._outgoing, stream=stream)
        except BaseException:
            wire.leave()
            raise
        return self._reply

    async def __aexit__(self, *_: object) -> None:
        self._reply.close()


async def _asked(endpoint: Endpoint, request: bytes, limits: Limits, started: float, *, stream: bool) -> Wire:
    """The connection, once the headers of its answer are there. Raises ProviderFault."""
    provider, wait = endpoint.provider, min(limits.first_token_s, limits.total_s)
    try:
        wire = endpoint.pool.kept()
        if wire is None:
            async with asyncio.timeout(wait):
                wire = await endpoint.pool.open(limits.connect_s)
        wire.send(request)
        try:
            await wire.head(started + wait)
        except BaseException:
            wire.drop()
            raise
    except ConnectTimeout:
        raise timed_out(provider, "the connection", limits.connect_s, retry=True) from None
    except TimeoutError:
        raise timed_out(provider, "the first token" if stream else "the answer", wait) from None
    except Unreachable as error:
        raise unreachable(provider, str(error)) from None
    except Broken:
        raise unreachable(provider, "the connection broke before it answered") from None
    except Malformed:
        raise garbage(provider, "it is no HTTP") from None
    return wire


async def _checked(
    endpoint: Endpoint, wire: Wire, limits: Limits, started: float, outgoing: Outgoing, *, stream: bool
) -> Reply:
    """The reply, if it can be what was asked for. Raises ProviderFault otherwise."""
    provider, framing = endpoint.provider, outgoing.framing
    try:
        reply = Reply(endpoint, wire, limits, started)
    except Unpackable:
        raise garbage(provider, "its compressed body cannot be unpacked") from None
    if wire.status != 200:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in wire.headers.items()}
        raise refused_status(provider, wire.status, headers, await reply.error_body())
    _check_type(provider, _content_type(wire.headers), framing.content_type if stream else "", framing.fits)
    return reply


def _content_type(headers: Mapping[bytes, bytes]) -> str:
    """What an answer says it is, without parameters."""
    said = headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")
    return said if "/" in said else "application/octet-stream"


def _check_type(provider: str, kind: str, streamed_as: str, fits: Callable[[str], bool] | None) -> None:
    """Raises ProviderFault for a content type that is no answer to what was asked."""
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
