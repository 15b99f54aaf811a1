"""The edge's HTTP protocol: how answers leave it, and who is told that a client left."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from services.gateway.edge import exchange as exchange_module
from services.gateway.edge.exchange import Exchange
from services.gateway.edge.http_protocol import BoundedProtocol

Answer = Callable[[Exchange], Awaitable[None]]
Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[Callable[..., Awaitable[Client]]]:
    """Connects clients to a server whose requests `answer` answers."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(Exchange(scope, receive, send, []))

    config = uvicorn.Config(app, port=0, http=BoundedProtocol, ws="none", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    port = server.servers[0].sockets[0].getsockname()[1]
    writers: list[asyncio.StreamWriter] = []

    async def connect(*requests: bytes, limit: int = 1 << 16) -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=limit)
        writers.append(writer)
        writer.write(b"".join(requests))
        return reader, writer

    try:
        yield connect
    finally:
        for writer in writers:
            writer.close()
        server.servers[0].close()


def post(body: bytes = b"{}", method: bytes = b"POST") -> bytes:
    return method + b" /x HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body) + body


async def read_until(reader: asyncio.StreamReader, end: bytes) -> bytes:
    async with asyncio.timeout(10):
        return await reader.readuntil(end)


async def test_a_stream_comes_as_it_was_sent_and_its_head_does_not_wait_for_it() -> None:
    go = asyncio.Event()

    async def answer(request: Exchange) -> None:
        await request.body(99)
        await request.start(200, [(b"a", b"b")])
        await go.wait()
        for piece in (b"one", b"", b"two two two two two"):
            await request.send_body(piece, more=True)
        await request.send_body(b"end", more=False)

    async with serving(answer) as connect:
        for _ in range(2):
            reader, _ = await connect(post())
            head = await read_until(reader, b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK\r\n") and b"a: b\r\n" in head and b"chunked" in head
            go.set()
            body = await read_until(reader, b"0\r\n\r\n")
            assert body == b"3\r\none\r\n13\r\ntwo two two two two\r\n3\r\nend\r\n0\r\n\r\n"
            go.clear()


async def test_whole_answers_and_those_without_a_body_and_requests_in_a_row() -> None:
    async def answer(request: Exchange) -> None:
        body = await request.body(99)
        if body == b"none":
            await request.start(204, [])
            await request.send_body(b"", more=False)
        else:
            await request.answer(200, [], b"HTTP/1.1 " + body)

    async with serving(answer) as connect:
        reader, _ = await connect(post(b"none"), post(b"first"), post(b"", b"HEAD"), post(b"last"))
        assert (await read_until(reader, b"\r\n\r\n")).startswith(b"HTTP/1.1 204")
        assert b"content-length: 14" in await read_until(reader, b"HTTP/1.1 first")
        assert b"content-length: 9" in await read_until(reader, b"\r\n\r\n")
        assert b"content-length: 13" in await read_until(reader, b"HTTP/1.1 last")


@pytest.mark.parametrize("size", [2, 300_000])
async def test_a_request_ends_when_its_client_leaves(size: int) -> None:
    """Also one whose body was so long that reading was stopped."""
    begun, ended = asyncio.Event(), asyncio.Event()
    seen: list[bool] = []

    async def answer(request: Exchange) -> None:
        await request.body(1 << 20)
        request.watch()
        begun.set()
        try:
            await asyncio.sleep(30)
        finally:
            seen.append(request.gone)
            ended.set()

    async with serving(answer) as connect:
        _, writer = await connect(post(b"x" * size))
        await asyncio.wait_for(begun.wait(), 10)
        writer.close()
        await asyncio.wait_for(ended.wait(), 10)
    assert seen == [True]


async def test_a_client_that_left_before_anybody_watched_is_told_too_and_one_that_was_answered_is_not() -> None:
    go, ended = asyncio.Event(), asyncio.Event()
    gone: list[bool] = []

    async def answer(request: Exchange) -> None:
        body = await request.body(99)
        if body == b"early":
            await go.wait()
        stop = request.watch()
        try:
            if body == b"early":
                await asyncio.sleep(30)
            await request.answer(200, [], b"ok")
        finally:
            stop()
            gone.append(request.gone)
            if body == b"early":
                ended.set()
        await asyncio.sleep(0.05)
        gone.append(request.gone)

    async with serving(answer) as connect:
        reader, writer = await connect(post(b"late"))
        await read_until(reader, b"ok")
        writer.close()
        async with asyncio.timeout(10):
            while len(gone) < 2:
                await asyncio.sleep(0.005)
        assert gone == [False, False]
        _, writer = await connect(post(b"early"))
        writer.close()
        await asyncio.sleep(0.1)
        go.set()
        await asyncio.wait_for(ended.wait(), 10)
    assert gone[2] is True


async def test_a_client_that_reads_nothing_is_let_go_and_its_stream_is_not_kept_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # One timer looks after both, and a body may take longer.
    monkeypatch.setattr(exchange_module, "SEND_TIMEOUT_S", 0.3)
    sent, ended = 0, asyncio.Event()

    async def answer(request: Exchange) -> None:
        nonlocal sent
        await request.body(99)
        await request.start(200, [])
        try:
            while True:
                await request.send_body(b"x" * 65536, more=True)
                sent += 65536
                await asyncio.sleep(0)
        finally:
            ended.set()

    async with serving(answer) as connect:
        await connect(post(), limit=1024)
        await asyncio.wait_for(ended.wait(), 10)
    assert 0 < sent < 64 << 20
