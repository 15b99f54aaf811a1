"""The connections to one provider: made when none is free, kept for a while, given up when it is taken away.

Names are resolved by aiohttp's resolvers, so the one that leads to public addresses only (mesh.public_addresses) guards
here as it does elsewhere: the connection goes to an address that was checked. Connecting tries addresses as
RFC 8305 says ("happy eyeballs"), by the library that aiohttp uses for it.
"""

import asyncio
import functools
import socket
import ssl
import time
from collections.abc import Callable
from typing import Protocol

import aiohappyeyeballs
from aiohappyeyeballs import AddrInfoType
from aiohttp.abc import AbstractResolver
from aiohttp.resolver import ThreadedResolver

from services.provider.calling.wire import Wire

IDLE_S = 30.0
"""How long a connection is kept that nobody uses."""
NAMES_S = 10.0
"""How long a name's addresses are believed."""
NEXT_ADDRESS_S = 0.25
"""How long an address may take before the next one is tried beside it."""


class Unreachable(Exception):
    """No connection could be made; says why, without addresses."""


class ConnectTimeout(Exception):
    """No address could be connected to in time."""


class Opens(Protocol):
    """Makes connections to one place."""

    async def open(self, make: Callable[[], Wire], connect_s: float) -> Wire:
        """A new connection. Raises Unreachable or ConnectTimeout."""


class Socket:
    """A unix socket."""

    def __init__(self, path: str) -> None:
        self._path = path

    async def open(self, make: Callable[[], Wire], connect_s: float) -> Wire:
        """See Opens."""
        try:
            async with asyncio.timeout(connect_s):
                _, wire = await asyncio.get_running_loop().create_unix_connection(make, self._path)
        except TimeoutError:
            raise ConnectTimeout from None
        except OSError as error:
            raise Unreachable(_told(error)) from None
        return wire


class Host:
    """A host and port, with TLS or without. `resolver`: who looks its name up, and may refuse what it finds."""

    def __init__(self, host: str, port: int, *, tls: bool, resolver: AbstractResolver | None = None) -> None:
        self._host, self._port, self._tls, self._resolver = host, port, tls, resolver
        self._guarded = resolver is not None
        self._known: list[AddrInfoType] = []
        self._known_until = 0.0
        self._asking: asyncio.Task[None] | None = None

    async def open(self, make: Callable[[], Wire], connect_s: float) -> Wire:
        """See Opens. Each address may take `connect_s`, its TLS included."""
        try:
            left = await self._addresses()
        except OSError:
            raise Unreachable("its name does not resolve") from None
        while True:
            try:
                async with asyncio.timeout(connect_s):
                    return await self._open_one_of(left, make)
            except (OSError, RuntimeError) as error:
                # (RuntimeError: uvloop's, for a socket that ended while it was connected.)
                aiohappyeyeballs.pop_addr_infos_interleave(left)
                if left:
                    continue
                if isinstance(error, TimeoutError) and error.errno is None:
                    raise ConnectTimeout from None
                raise Unreachable(_told(error)) from None

    async def _open_one_of(self, addresses: list[AddrInfoType], make: Callable[[], Wire]) -> Wire:
        """A connection to whichever answers first. Raises OSError (ssl.SSLError is one)."""
        loop = asyncio.get_running_loop()
        made = await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=NEXT_ADDRESS_S, loop=loop)
        if not self._tls:
            _, wire = await loop.create_connection(make, sock=made)
            return wire
        # Certificates name hosts without the dot that ends a full name.
        name = self._host.rstrip(".")
        _, wire = await loop.create_connection(make, sock=made, ssl=_trusting(), server_hostname=name)
        return wire

    async def _addresses(self) -> list[AddrInfoType]:
        """Where to connect, another one first each time. Raises OSError."""
        if time.monotonic() >= self._known_until:
            if self._asking is None:
                self._asking = asyncio.create_task(self._look_up())
                self._asking.add_done_callback(lambda asked: asked.cancelled() or asked.exception())
            # Whoever leaves takes the answer from nobody else.
            await asyncio.shield(self._asking)
        known = self._known
        self._known = known[1:] + known[:1]
        return list(known)

    async def _look_up(self) -> None:
        try:
            if not self._guarded and _is_address(self._host):
                found = [self._host]
            else:
                if self._resolver is None:
                    self._resolver = ThreadedResolver()
                found = [one["host"] for one in await self._resolver.resolve(self._host, self._port, socket.AF_UNSPEC)]
            if not found:
                raise OSError(None, "its name has no address")
            self._known = [_address(one, self._port) for one in found]
            self._known_until = time.monotonic() + NAMES_S
        finally:
            self._asking = None


class Pool:
    """Connections to one place."""

    def __init__(self, opens: Opens) -> None:
        self._opens = opens
        self._all: set[Wire] = set()
        self._idle: list[Wire] = []
        self._sweeping: asyncio.TimerHandle | None = None
        self.closed = False

    @property
    def idle(self) -> int:
        """How many connections wait for a request."""
        return len(self._idle)

    def kept(self) -> Wire | None:
        """The connection that was used last, of those that are free."""
        while self._idle:
            wire = self._idle.pop()
            if wire.usable:
                return wire
        return None

    async def open(self, connect_s: float) -> Wire:
        """A new connection. Raises Unreachable or ConnectTimeout."""
        if self.closed:
            raise Unreachable("it was just taken away")
        return self._counted(await self._opens.open(lambda: Wire(self._free, self._lost), connect_s))

    def _counted(self, wire: Wire) -> Wire:
        self._all.add(wire)
        if self.closed:
            # While it was made.
            wire.drop()
        return wire

    def close(self) -> None:
        """Drops every connection."""
        self.closed = True
        if self._sweeping is not None:
            self._sweeping.cancel()
        for wire in list(self._all):
            wire.drop()

    def _free(self, wire: Wire) -> None:
        if self.closed:
            wire.drop()
            return
        self._idle.append(wire)
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().call_later(IDLE_S, self._sweep)

    def _lost(self, wire: Wire) -> None:
        self._all.discard(wire)
        if wire in self._idle:
            self._idle.remove(wire)

    def _sweep(self) -> None:
        """Drops what was idle for long."""
        self._sweeping, now = None, time.monotonic()
        for wire in [one for one in self._idle if now - one.idle_since >= IDLE_S - 1.0]:
            wire.drop()
        self._idle = [one for one in self._idle if one.usable]
        if self._idle:
            self._sweeping = asyncio.get_running_loop().call_later(IDLE_S, self._sweep)


@functools.cache
def _trusting() -> ssl.SSLContext:
    """Checks certificates against those that this machine trusts."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _is_address(host: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host.split("%")[0])
    except OSError:
        return False
    return True


def _address(host: str, port: int) -> AddrInfoType:
    if ":" in host:
        return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port, 0, 0)
    return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port)


def _told(error: Exception) -> str:
    """What went wrong, without addresses."""
    if isinstance(error, ssl.SSLError):
        return "its TLS certificate was not accepted"
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused"
    return "the connection broke before it answered"
