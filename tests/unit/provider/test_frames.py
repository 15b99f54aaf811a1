"""Gathering joins events, keeps their order and bytes, and shows the first at once."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.provider.calling.events import Event, Finish, Frames, Started, Usage, UsageSource
from services.provider.calling.frames import coalesce

END = Finish(Usage(), UsageSource.PROVIDER, "stop", "", "", ())
BEGIN = Started("a", "m", "p")


async def source(pieces: list[bytes], pauses: list[int]) -> AsyncGenerator[Event, None]:
    yield BEGIN
    for piece, pause in zip(pieces, pauses, strict=False):
        for _ in range(pause):
            await asyncio.sleep(0)
        yield Frames(piece, 1)
    yield END


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=40), max_size=20), st.lists(st.integers(0, 3), min_size=20, max_size=20))
def test_the_whole_is_unchanged(pieces: list[bytes], pauses: list[int]) -> None:
    async def run() -> list[Event]:
        return [e async for e in coalesce(source(pieces, pauses), interval_s=0.001, max_bytes=64)]

    got = asyncio.run(run())
    frames = [event for event in got if isinstance(event, Frames)]
    assert got[0] == BEGIN and got[-1] == END
    assert b"".join(f.data for f in frames) == b"".join(pieces)
    assert sum(f.events for f in frames) == len(pieces)
    edges = {len(b"".join(pieces[:n])) for n in range(len(pieces) + 1)}
    at = 0
    for frame in frames:
        at += len(frame.data)
        assert at in edges, "an event was split"
    if pieces:
        assert frames[0].data == pieces[0], "the first is not held"
    assert all(len(f.data) < 64 + 40 for f in frames)


async def test_events_close_together_travel_together() -> None:
    got = [e async for e in coalesce(source([b"x"] * 50, [0] * 50), interval_s=0.05, max_bytes=16384)]
    assert len([e for e in got if isinstance(e, Frames)]) == 2


async def test_a_held_frame_is_not_held_longer_than_the_interval() -> None:
    async def slow() -> AsyncGenerator[Event, None]:
        yield Frames(b"1", 1)
        yield Frames(b"2", 1)
        await asyncio.Event().wait()

    stream = coalesce(slow(), interval_s=0.01, max_bytes=16384)
    async with asyncio.timeout(1):
        assert [(await anext(stream)), (await anext(stream))] == [Frames(b"1", 1), Frames(b"2", 1)]
    await stream.aclose()


async def test_leaving_closes_the_source_and_failures_come_through() -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncGenerator[Event, None]:
        try:
            while True:
                yield Frames(b"x", 1)
                await asyncio.sleep(0)
        finally:
            closed.set()

    stream = coalesce(endless(), interval_s=0.01, max_bytes=10)
    await anext(stream)
    await stream.aclose()
    assert closed.is_set()

    async def broken() -> AsyncGenerator[Event, None]:
        yield Frames(b"x", 1)
        raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        _ = [event async for event in coalesce(broken(), interval_s=0.01, max_bytes=10)]


async def test_a_reader_that_is_cancelled_does_not_leave_others_waiting() -> None:
    async def cancelled() -> AsyncGenerator[Event, None]:
        yield Frames(b"x", 1)
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(2):
            _ = [event async for event in coalesce(cancelled(), interval_s=0.01, max_bytes=10)]


async def test_leaving_with_much_unread_does_not_wait() -> None:
    read = 0

    async def endless() -> AsyncGenerator[Event, None]:
        nonlocal read
        while True:
            read += 1
            yield Frames(b"x", 1)

    stream = coalesce(endless(), interval_s=0.01, max_bytes=10)
    await anext(stream)
    seen = 0
    while read != seen:
        seen = read
        await asyncio.sleep(0)
    async with asyncio.timeout(2):
        await stream.aclose()
