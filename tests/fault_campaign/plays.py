"""What the provider does with a request of a case: one function a fault, written to the connection by hand."""

import asyncio
import functools
import gzip
from collections.abc import Awaitable, Callable
from typing import Any

from bench.faults.raw_http import Connection
from tests.fault_campaign import answers

FAR_S = 20.0
"""Longer than any limit of the campaign's DAC."""
BOMB_BYTES = 200 << 20
Play = Callable[..., Awaitable[bool]]


def fixed_body(body: bytes, kind: str = "application/json", **headers: str) -> dict[str, str]:
    """Headers of a whole body."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return {"Content-Type": kind, "Content-Length": str(len(body)), **named}


async def status(c: Connection, dialect: str, stream: bool, key: str, *, code: int, body: str, after: str = "") -> bool:
    """A refusal; the key is in its words, as some providers have it."""
    message = f"refused with {code}, key {key}" if code in (401, 403) else f"refused with {code}"
    made = {
        "json": answers.error(dialect, code, message),
        "html": b"<html><body><h1>Bad gateway</h1></body></html>",
        "empty": b"",
        "huge": answers.error(dialect, code, "x" * (1 << 20)),
    }[body]
    kind = "text/html" if body == "html" else "application/json"
    await c.answer(code, made, kind=kind, more={"Retry-After": after} if after else {})
    return True


async def reset(c: Connection, dialect: str, stream: bool, key: str) -> bool:
    """No byte of an answer."""
    c.reset()
    return False


async def bytes_only(c: Connection, dialect: str, stream: bool, key: str, *, data: bytes, wait_s: float = 0.0) -> bool:
    """Something that is no whole HTTP answer, then the end (or silence)."""
    await c.write(data)
    await c.left_within(wait_s)
    return False


async def silence(c: Connection, dialect: str, stream: bool, key: str, *, headers: bool) -> bool:
    """Nothing, or headers and nothing."""
    if headers:
        await c.begin_chunks(kind="text/event-stream" if stream else "application/json")
    await c.left_within(FAR_S)
    return False


async def good(
    c: Connection,
    dialect: str,
    stream: bool,
    key: str,
    *,
    usage: Any = answers.GOOD_USAGE,
    kind: str = "",
    change: Callable[[list[bytes]], list[bytes]] | None = None,
    zipped: bool = False,
) -> bool:
    """A whole answer, its usage, its type or its bytes changed."""
    more = {"Content-Encoding": "gzip"} if zipped else {}
    if not stream:
        body = answers.whole(dialect, usage)
        body = b"".join(change([body])) if change else body
        body = gzip.compress(body) if zipped else body
        await c.answer(200, body, kind=kind or "application/json", more=more)
        return True
    head, words, tail = answers.parts(dialect, usage)
    events = [*head, *words, *tail]
    events = change(events) if change else events
    await c.begin_chunks(kind=kind or "text/event-stream", more=more)
    for data in [gzip.compress(b"".join(events))] if zipped else events:
        await c.chunk(data)
    await c.end_chunks()
    return True


async def drip(c: Connection, dialect: str, stream: bool, key: str, *, after: int) -> bool:
    """A byte a second, after so many words."""
    head, words, tail = answers.parts(dialect)
    body = answers.whole(dialect)
    if stream:
        await c.begin_chunks()
        for data in [*head, *words[:after]] if after else []:
            await c.chunk(data)
        rest = b"".join([*(head if not after else []), *words[after:], *tail])
    else:
        await c.head(200, fixed_body(body))
        rest = body
    for index in range(len(rest)):
        one = rest[index : index + 1]
        await (c.chunk(one) if stream else c.write(one))
        if await c.left_within(1.0):
            return False
    return False


async def endless(c: Connection, dialect: str, stream: bool, key: str) -> bool:
    """Words without end, or a body without end."""
    head, words, _ = answers.parts(dialect)
    await c.begin_chunks(kind="text/event-stream" if stream else "application/json")
    for data in head if stream else []:
        await c.chunk(data)
    while True:
        await c.chunk(b"".join(words) if stream else b" " * (1 << 19))
        await asyncio.sleep(0.1 if stream else 0.02)


@functools.cache
def bomb_bytes(dialect: str, stream: bool) -> bytes:
    """Little that becomes BOMB_BYTES; a stream has three words before."""
    head, words, _ = answers.parts(dialect)
    if not stream:
        return gzip.compress(b" " * BOMB_BYTES)
    return gzip.compress(b"".join([*head, *words[:3], b":", b"x" * BOMB_BYTES]))


async def bomb(c: Connection, dialect: str, stream: bool, key: str) -> bool:
    """Little that becomes much."""
    data = bomb_bytes(dialect, stream)
    await c.head(200, fixed_body(data, "text/event-stream" if stream else "application/json", Content_Encoding="gzip"))
    await c.write(data)
    return True


async def broken_gzip(c: Connection, dialect: str, stream: bool, key: str) -> bool:
    """Compressed, it says."""
    data = b"\x1f\x8b" + b"no gzip at all" * 20
    await c.head(200, fixed_body(data, "text/event-stream" if stream else "application/json", Content_Encoding="gzip"))
    await c.write(data)
    return False


async def broken_chunk(c: Connection, dialect: str, stream: bool, key: str, *, after: int) -> bool:
    """A chunk whose size is no number, after so many words."""
    head, words, _ = answers.parts(dialect)
    await c.begin_chunks(kind="text/event-stream" if stream else "application/json")
    for data in [*head, *words[:after]] if stream else [answers.whole(dialect)[: after * 10 + 1]]:
        await c.chunk(data)
    # By itself: together with the headers it would break them.
    await asyncio.sleep(0.1)
    await c.write(b"zz-not-hex\r\nwhat\r\n")
    await c.left_within(0.5)
    return False


async def cut(c: Connection, dialect: str, stream: bool, key: str, *, after: int, how: str) -> bool:
    """The connection ends after so many words: `how` is closed, reset, or ended (as if the body were whole)."""
    head, words, _ = answers.parts(dialect)
    if stream:
        await c.begin_chunks()
        for data in [*head, *words[:after]]:
            await c.chunk(data)
        if how == "ended":
            await c.end_chunks()
            return True
    else:
        body = answers.whole(dialect)
        share = body[: len(body) * (after + 1) // 25]
        await c.head(200, fixed_body(body))
        await c.write(share)
    if how == "reset":
        # What was written must be on its way: a reset drops what is not.
        await asyncio.sleep(0.05)
        c.reset()
    return False


async def cut_once(c: Connection, dialect: str, stream: bool, key: str, *, after: int, how: str, turn: int) -> bool:
    """Cut at the first attempt; every later one gives the whole answer, from its beginning."""
    if turn > 1:
        return await good(c, dialect, stream, key)
    return await cut(c, dialect, stream, key, after=after, how=how)


async def until_left(
    c: Connection, dialect: str, stream: bool, key: str, *, after: int, told: Callable[[bool], None]
) -> bool:
    """So many words, then nothing until the other side leaves; `told` hears whether it did."""
    head, words, _ = answers.parts(dialect)
    if stream:
        await c.begin_chunks()
        for data in [*head, *words[:after]]:
            await c.chunk(data)
    told(await c.left_within(FAR_S))
    return False
