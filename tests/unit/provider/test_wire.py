"""The HTTP client towards providers: what servers may send, what is kept open, what is refused."""

import asyncio
import gzip
import socket
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mesh.errors import Reason
from mesh.public_resolver import PublicResolver
from services.provider.adapters import Outgoing
from services.provider.adapters.framing import SSE
from services.provider.calling import connecting, wire
from services.provider.calling.bulkhead import Bulkhead
from services.provider.calling.calls import Endpoint, Limits, posting
from services.provider.errors import ProviderFault

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
LIMITS = Limits(5.0, 5.0, 5.0, 20.0)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


class Server:
    """Says the bytes of `answers` to one request after the other."""

    def __init__(self, *answers: bytes, closes: bool = False) -> None:
        self.answers, self.closes = list(answers), closes
        self.heads: list[bytes] = []
        self.connections = 0
        self.left = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self.answers:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                writer.write(self.answers.pop(0))
                if self.closes:
                    break
            if not self.closes:
                await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        self.left.set()
        writer.close()


@asynccontextmanager
async def endpoint_to(serve: Serve, base: str = "http://127.0.0.1:{}", **more: Any) -> AsyncIterator[Endpoint]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = base.format(server.sockets[0].getsockname()[1])
    made = Endpoint("p", url, limits=LIMITS, bulkhead=Bulkhead("p", 9, 9), **more)
    try:
        yield made
    finally:
        await made.close()
        server.close()


def outgoing(path: str = "/x", body: bytes = b"{}", **headers: str) -> Outgoing:
    return Outgoing(path, headers, body, SSE)


async def ask(endpoint: Endpoint, asked: Outgoing | None = None, limits: Limits = LIMITS) -> bytes:
    async with posting(endpoint, asked or outgoing(), limits, stream=False) as reply:
        body = await reply.whole()
        reply.keep_connection()
        return body


def sized(body: bytes, more: bytes = b"") -> bytes:
    return HEAD + more + b"Content-Length: %d\r\n\r\n" % len(body) + body


async def test_a_request_as_it_goes_out() -> None:
    server = Server(sized(b"ok"))
    async with endpoint_to(server.serve, "http://127.0.0.1:{}/v1/") as endpoint:
        assert await ask(endpoint, outgoing("/chat?a=%20b", b"{1}", Authorization="Bearer k")) == b"ok"
        host = endpoint.base_url.removeprefix("http://").partition("/")[0]
    lines = server.heads[0].decode().split("\r\n")
    assert lines[0] == "POST /v1/chat?a=%20b HTTP/1.1"
    assert {f"Host: {host}", "User-Agent: dac", "Accept-Encoding: gzip, deflate", "Accept: application/json"} < {*lines}
    assert {"Authorization: Bearer k", "Content-Length: 3"} < {*lines}


@pytest.mark.parametrize(
    ("answer", "closes", "body"),
    [
        (CHUNKED + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: x\r\n\r\n", False, b"abcde"),
        (HEAD + b"\r\nto the end", True, b"to the end"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + sized(b"late"), False, b"late"),
        (sized(gzip.compress(b"one") + gzip.compress(b"two"), b"Content-Encoding: gzip\r\n"), False, b"onetwo"),
        (sized(zlib.compress(b"packed"), b"Content-Encoding: deflate\r\n"), False, b"packed"),
        (sized(zlib.compress(b"bare")[2:-4], b"Content-Encoding: deflate\r\n"), False, b"bare"),
        (sized(b"plain", b"Content-Encoding: utf-8\r\n"), False, b"plain"),
    ],
)
async def test_what_an_answer_may_look_like(answer: bytes, closes: bool, body: bytes) -> None:
    async with endpoint_to(Server(answer, closes=closes).serve) as endpoint:
        assert await ask(endpoint) == body


@pytest.mark.parametrize(
    ("answer", "reason", "told"),
    [
        (CHUNKED + b"3\r\nabc\r\n", Reason.PROVIDER_CUT, "closed inside"),
        (CHUNKED + b"3\r\nabc\r\nzz\r\n", Reason.PROVIDER_CUT, "stopped being HTTP"),
        (HEAD + b"Content-Length: 9\r\n\r\nabc", Reason.PROVIDER_CUT, "closed inside"),
        (b"SSH-2.0-x\r\n", Reason.PROVIDER_FAILED, "no HTTP"),
        (b"", Reason.PROVIDER_FAILED, "broke before it answered"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", Reason.PROVIDER_FAILED, "no HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000 + b"\r\n", Reason.PROVIDER_FAILED, "no HTTP"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", Reason.PROVIDER_FAILED, "no HTTP"),
        (sized(b"x", b"Content-Encoding: br\r\n"), Reason.PROVIDER_FAILED, "unpacked"),
        (sized(b"\x1f\x8bnone", b"Content-Encoding: gzip\r\n"), Reason.PROVIDER_FAILED, "unpacked"),
        (sized(zlib.compress(b"cut short")[:-5], b"Content-Encoding: deflate\r\n"), Reason.PROVIDER_FAILED, "unpacked"),
    ],
)
async def test_what_is_no_whole_answer(answer: bytes, reason: Reason, told: str) -> None:
    async with endpoint_to(Server(answer, closes=True).serve) as endpoint:
        with pytest.raises(ProviderFault, match=told) as fault:
            await ask(endpoint)
        assert fault.value.reason is reason
        assert told == "unpacked" or endpoint.pool.idle == 0


async def test_what_came_before_a_cut_is_read_first() -> None:
    server = Server(CHUNKED + b"3\r\nabc\r\n", closes=True)
    async with endpoint_to(server.serve) as endpoint, posting(endpoint, outgoing(), LIMITS, stream=False) as reply:
        async with asyncio.timeout(5):
            while endpoint.pool._all:
                await asyncio.sleep(0.005)
        assert await reply.pieces(started=True, short=None) == b"abc"
        with pytest.raises(ProviderFault, match="inside the body"):
            await reply.pieces(started=True, short=None)


async def test_a_little_that_becomes_much_is_never_there_whole() -> None:
    bomb = gzip.compress(b" " * (24 << 20))
    async with endpoint_to(Server(sized(bomb, b"Content-Encoding: gzip\r\n")).serve) as endpoint:
        async with posting(endpoint, outgoing(), LIMITS, stream=False) as reply:
            for _ in range(9):
                assert 0 < len(await reply.pieces(started=True, short=None)) <= 1 << 18
        with pytest.raises(ProviderFault, match="is larger than"):
            async with endpoint_to(Server(sized(bomb, b"Content-Encoding: gzip\r\n")).serve) as other:
                await ask(other)


async def test_a_connection_serves_one_request_after_the_other() -> None:
    server = Server(*[sized(b"%d" % n) for n in range(4)])
    async with endpoint_to(server.serve) as endpoint:
        assert [await ask(endpoint) for _ in range(4)] == [b"0", b"1", b"2", b"3"]
    assert server.connections == 1


@pytest.mark.parametrize(
    "first",
    [
        sized(b"a", b"Connection: close\r\n"),
        sized(b"a") + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged",
        sized(b"a") + b"junk",
    ],
)
async def test_a_connection_with_more_on_it_than_the_answer_is_not_used_again(first: bytes) -> None:
    server = Server(first, sized(b"b"))
    async with endpoint_to(server.serve) as endpoint:
        assert await ask(endpoint) == b"a"
        assert await ask(endpoint) == b"b"
    assert server.connections == 2


async def test_bytes_that_nobody_asked_for_end_an_idle_connection() -> None:
    opened: list[asyncio.StreamWriter] = []
    server = Server(sized(b"a"), sized(b"b"))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(writer)
        await server.serve(reader, writer)

    async with endpoint_to(serve) as endpoint:
        assert await ask(endpoint) == b"a"
        opened[0].write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")
        async with asyncio.timeout(5):
            while endpoint.pool.idle:
                await asyncio.sleep(0.005)
        assert await ask(endpoint) == b"b"


async def test_an_answer_that_comes_before_the_request_was_read_ends_the_connection() -> None:
    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(sized(b"early"))
        await writer.drain()
        await asyncio.sleep(5)

    async with endpoint_to(early) as endpoint:
        assert await ask(endpoint, outgoing(body=b"x" * (32 << 20))) == b"early"
        assert endpoint.pool.idle == 0


async def test_what_is_not_read_is_not_taken_from_the_network() -> None:
    written = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await reader.readuntil(b"\r\n\r\n")
        writer.write(CHUNKED)
        while True:
            writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            await writer.drain()
            written += 65536

    async with endpoint_to(endless) as endpoint, posting(endpoint, outgoing(), LIMITS, stream=False) as reply:
        await reply.pieces(started=True, short=None)
        before = -1
        async with asyncio.timeout(5):
            while before < written:
                before = written
                await asyncio.sleep(0.1)
        assert written < 32 << 20
        for _ in range(200):
            await reply.pieces(started=True, short=None)
        assert written > before


async def test_an_answer_whose_end_comes_late_keeps_its_connection_and_one_that_never_comes_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(CHUNKED + b"2\r\nab\r\n")
            await go.wait()
            go.clear()
            writer.write(b"2\r\nno\r\n0\r\n\r\n")
        await reader.read()

    async def begin(endpoint: Endpoint) -> None:
        async with posting(endpoint, outgoing(), LIMITS, stream=False) as reply:
            assert await reply.pieces(started=True, short=None) == b"ab"
            reply.keep_connection()

    async with endpoint_to(serve) as endpoint:
        await begin(endpoint)
        go.set()
        async with asyncio.timeout(5):
            while not endpoint.pool.idle:
                await asyncio.sleep(0.005)
        monkeypatch.setattr(wire, "DRAIN_S", 0.05)
        await begin(endpoint)
        async with asyncio.timeout(5):
            while endpoint.pool._all:
                await asyncio.sleep(0.005)
        assert endpoint.pool.idle == 0


async def test_idle_connections_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "IDLE_S", 1.05)
    server = Server(sized(b"a"), sized(b"b"))
    async with endpoint_to(server.serve) as endpoint:
        await ask(endpoint)
        assert endpoint.pool.idle == 1
        await asyncio.wait_for(server.left.wait(), 5)
        assert endpoint.pool.idle == 0


@pytest.mark.parametrize("silent_after", [b"", CHUNKED, CHUNKED + b"2\r\nab\r\n"])
async def test_silence_ends_at_its_rung(silent_after: bytes) -> None:
    limits = Limits(5.0, 0.2, 0.2, 20.0)
    async with endpoint_to(Server(silent_after).serve) as endpoint:
        began = time.monotonic()
        with pytest.raises(ProviderFault) as fault:
            await ask(endpoint, limits=limits)
        assert fault.value.reason is Reason.PROVIDER_TIMEOUT and 0.19 < time.monotonic() - began < 3


async def test_leaving_drops_the_connection_at_once() -> None:
    server = Server(CHUNKED + b"2\r\nab\r\n")
    async with endpoint_to(server.serve) as endpoint:
        asking = asyncio.create_task(ask(endpoint))
        async with asyncio.timeout(5):
            while not server.heads:
                await asyncio.sleep(0.005)
        asking.cancel()
        await asyncio.wait_for(server.left.wait(), 1)
        await asyncio.gather(asking, return_exceptions=True)


@pytest.mark.parametrize(
    "asked", [outgoing("/a b"), outgoing("/a\r\nX: y"), outgoing(K="a\r\nX: y"), outgoing(**{"K\n": "v"})]
)
async def test_nothing_smuggles_a_header_in(asked: Outgoing) -> None:
    server = Server(sized(b"never"))
    async with endpoint_to(server.serve) as endpoint:
        with pytest.raises(ProviderFault, match="not configured"):
            await ask(endpoint, asked)
    assert not server.heads


@pytest.mark.parametrize("base", ["http://127.0.0.1:{}", "http://localhost:{}", "http://[::1]:{}"])
async def test_a_guarded_endpoint_connects_to_no_private_address(base: str) -> None:
    server = Server(sized(b"never"))
    async with endpoint_to(server.serve, base, resolver=PublicResolver()) as endpoint:
        with pytest.raises(ProviderFault, match="does not resolve"):
            await ask(endpoint)
    assert not server.connections


class Names:
    """A resolver that says what a test wrote."""

    def __init__(self, *hosts: str) -> None:
        self.hosts, self.asked = hosts, 0

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[dict[str, Any]]:
        self.asked += 1
        await asyncio.sleep(0.01)
        if not self.hosts:
            raise socket.gaierror
        return [{"host": one} for one in self.hosts]


async def test_a_name_is_looked_up_once_for_all_who_ask_and_the_next_address_serves_where_one_does_not() -> None:
    server, names = Server(*[sized(b"ok")] * 9), Names("127.0.0.2", "127.0.0.1")
    async with endpoint_to(server.serve, "http://p.example:{}", resolver=names) as endpoint:
        assert await asyncio.gather(*[ask(endpoint) for _ in range(6)]) == [b"ok"] * 6
    assert names.asked == 1


async def test_a_lookup_that_failed_is_made_again() -> None:
    names = Names()
    async with endpoint_to(Server(sized(b"ok")).serve, "http://p.example:{}", resolver=names) as endpoint:
        with pytest.raises(ProviderFault, match="does not resolve"):
            await ask(endpoint)
        names.hosts = ("127.0.0.1",)
        assert await ask(endpoint) == b"ok"


async def test_tls_without_a_trusted_certificate_is_refused() -> None:
    async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 plain\r\n\r\n")
        writer.close()

    async with endpoint_to(hello, "https://127.0.0.1:{}") as endpoint:
        with pytest.raises(ProviderFault, match="TLS certificate was not accepted"):
            await ask(endpoint)


async def test_an_endpoint_that_was_taken_away_connects_no_more() -> None:
    async with endpoint_to(Server(sized(b"ok")).serve) as endpoint:
        await endpoint.close()
        with pytest.raises(ProviderFault, match="taken away"):
            await ask(endpoint)


async def test_nothing_is_poured_to_who_was_told_to_leave() -> None:
    poured = list[bytes]()

    def sink(piece: bytes) -> float:
        poured.append(piece)
        return time.monotonic() + 5

    server = Server(CHUNKED + b"2\r\nab\r\n")
    async with endpoint_to(server.serve) as endpoint, posting(endpoint, outgoing(), LIMITS, stream=False) as reply:
        pouring = asyncio.create_task(reply.pour(sink, time.monotonic() + 5))
        async with asyncio.timeout(5):
            while not poured:
                await asyncio.sleep(0.005)
        pouring.cancel()
        # Before the task could notice.
        reply._wire.data_received(b"2\r\ncd\r\n")
        await asyncio.gather(pouring, return_exceptions=True)
        assert poured == [b"ab"]
        assert await reply.pieces(started=True, short=None) == b"cd"
