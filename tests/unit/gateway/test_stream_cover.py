"""Asking for more before what is covered runs out: how often, how far ahead, and what a refusal does."""

import asyncio
from collections.abc import Sequence

import pytest

from dac.budget.v1.budget_pb2 import ExtendRequest, ExtendResponse, ReserveResponse
from dac.provider.v1.provider_pb2 import AttemptStarted
from dac.type.v1.chat_pb2 import Frames
from mesh.errors import MeshError, Reason
from services.gateway.chat.stream_cover import AHEAD_TOKENS, StreamCover

ATTEMPT = AttemptStarted(provider="p", model="m")


class Till:
    """Covers up to its answers, one after the other; then refuses."""

    def __init__(self, *covered: int) -> None:
        self.covered, self.asked = list(covered), list[int]()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def extend(self, request: ExtendRequest) -> ExtendResponse:
        self.asked.append(request.output_tokens)
        await self.may_answer.wait()
        if not self.covered:
            raise MeshError(Reason.BUDGET_EXHAUSTED, "nothing is left")
        return ExtendResponse(covered_output_tokens=self.covered.pop(0))


def cover_of(till: Till, covered: int) -> StreamCover:
    return StreamCover(
        ReserveResponse(covered_output_tokens=covered), "o", "q", till.extend, lambda f: sum(map(len, f))
    )


async def show(cover: StreamCover, events: Sequence[int]) -> int:
    """Shows events until it is refused; how many tokens were shown."""
    shown = 0
    for count in events:
        try:
            await cover.show(Frames(data=b"", events=count), ATTEMPT)
        except MeshError:
            break
        shown += count
        await asyncio.sleep(0)
    await cover.close()
    return shown


async def test_nothing_is_asked_while_enough_is_covered() -> None:
    till = Till()
    assert await show(cover_of(till, 1000), [1] * (1000 - AHEAD_TOKENS)) == 1000 - AHEAD_TOKENS
    assert till.asked == []


async def test_more_is_asked_ahead_and_once_for_each_step() -> None:
    till = Till(1000, 1500, 2000)
    assert await show(cover_of(till, 500), [1] * 1600) == 1600
    assert till.asked == [501, 1001, 1501]


async def test_the_stream_goes_on_while_it_asks_and_waits_only_at_the_end_of_what_is_covered() -> None:
    till = Till(1000)
    till.may_answer.clear()
    showing = asyncio.create_task(show(cover := cover_of(till, 300), [1] * 400))
    while cover._shown <= 300:
        await asyncio.sleep(0)
    for _ in range(10):
        await asyncio.sleep(0)
    assert cover._shown == 301 and not showing.done()
    till.may_answer.set()
    assert await showing == 400


async def test_a_refusal_ends_the_stream_only_where_nothing_is_covered_and_is_asked_for_once() -> None:
    till = Till(600)
    assert await show(cover_of(till, 500), [1] * 1000) == 600
    assert till.asked == [501, 601]


async def test_events_that_come_at_once_are_covered_whole_or_not_shown() -> None:
    assert await show(cover_of(Till(600, 2000), 500), [1500]) == 1500
    assert await show(cover_of(Till(600, 700), 500), [1500]) == 0


async def test_an_answer_that_covers_no_more_ends_the_stream() -> None:
    assert await show(cover_of(Till(500), 500), [501]) == 0


async def test_long_events_count_as_the_tokens_of_their_text() -> None:
    till = Till()
    cover = cover_of(till, 1000)
    await cover.show(Frames(data=b"x" * 3400, events=1), ATTEMPT)
    assert till.asked == []
    with pytest.raises(MeshError):
        await cover.show(Frames(data=b"x" * 700, events=1), ATTEMPT)
    assert till.asked == [1026]
