"""Frames that go straight to who shows them: nothing is lost, doubled or told otherwise than when they are yielded."""

import asyncio
import re
from collections.abc import Callable

import pytest

from mesh.call import Call, current, serving
from mesh.errors import Reason
from services.provider.calling.events import Ask, Deadlines, Event, Failure, Finish, Frames
from tests.integration.provider.conftest import Bench

SLOWLY = "token_delay_s=0.002"
"""So that tokens come one by one, after somebody waits for them."""


def unnumbered(data: bytes) -> bytes:
    """A stream without the ids of its answer, of which each has another one."""
    return re.sub(rb'"id": ?"[^"]*"', b"", data)


async def straight(bench: Bench, ask: Ask, takes: Callable[[int], bool]) -> tuple[bytes, int, Event]:
    """All bytes in the order in which they came, how many pieces went straight, and the last event. `takes`: whether
    the piece of that number is taken."""
    shown, seen, straight_on, last = list[bytes](), 0, 0, None

    def outlet(data: bytes) -> bool:
        nonlocal seen, straight_on
        seen += 1
        if not takes(seen):
            return False
        straight_on += 1
        shown.append(data)
        return True

    async for event in bench.generator.run(ask, outlet):
        last = event
        if isinstance(event, Frames):
            shown.append(event.data)
    assert isinstance(last, Finish | Failure)
    return b"".join(shown), straight_on, last


@pytest.mark.parametrize(
    "fault", ["usage_missing", "gzip", "crlf", "no_done", "garbage_event", "cut", "stall", "error_event", "endless"]
)
async def test_whoever_takes_the_frames_the_answer_is_the_same(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr("services.provider.calling.answer_reading.AFTER_FINISH_S", 0.2)
    limits = Deadlines(idle_s=1.0, total_s=0.5 if fault == "endless" else 10.0)
    model = f"fault:{fault},{SLOWLY}"
    ask = bench.ask(model, stream=True, include_usage=True, deadlines=limits)
    ways: list[Callable[[int], bool]] = [lambda _: True, lambda number: number % 3 > 0, lambda _: False]
    plain, *others = await asyncio.gather(
        bench.run(model, stream=True, include_usage=True, deadlines=limits),
        *(straight(bench, ask, takes) for takes in ways),
    )
    for (data, straight_on, last), takes in zip(others, ways, strict=True):
        assert fault == "endless" or unnumbered(data) == unnumbered(plain.data)
        # A compressed answer comes the usual way, but for the end that DAC puts to it.
        assert straight_on == 0 if not takes(1) else straight_on == 1 if fault == "gzip" else straight_on > 10
        if isinstance(plain.last, Finish):
            assert isinstance(last, Finish)
            told = last.usage, last.usage_source, last.finish_reason
            assert told == (plain.last.usage, plain.last.usage_source, plain.last.finish_reason)
        else:
            assert isinstance(last, Failure) and last.attempts[0].usage.output_tokens > 0
            assert (last.reason, last.message) == (plain.failure.reason, plain.failure.message)
            assert last.after_first_token


async def test_an_answer_that_broke_is_taken_up_where_it_went_straight_to_its_reader(bench: Bench) -> None:
    bench.upstream.script("cut", after_tokens=20, token_delay_s=0.002, times=1)
    ask = bench.ask("gpt-4o-mini", stream=True, rescues=1)
    data, straight_on, last = await straight(bench, ask, lambda _: True)
    assert isinstance(last, Finish) and straight_on > 10 and data.count(b'"rescue"') == 1
    assert [one.reason for one in last.attempts] == [Reason.PROVIDER_CUT, Reason.UNSPECIFIED]
    assert data.count(b"[DONE]") == 1 and data.endswith(b"data: [DONE]\n\n")


async def test_every_piece_that_goes_straight_on_has_the_whole_idle_time(bench: Bench) -> None:
    ask = bench.ask("fault:ok,token_delay_s=0.1,text=a b c d e f g h", stream=True, deadlines=Deadlines(idle_s=0.5))
    _, straight_on, last = await straight(bench, ask, lambda _: True)
    assert isinstance(last, Finish) and straight_on >= 8


async def test_frames_go_straight_on_in_the_call_they_belong_to(bench: Bench) -> None:
    for request_id in ("first", "second"):
        seen = set[str]()

        def outlet(data: bytes, seen: set[str] = seen) -> bool:
            seen.add(current().request_id)
            return True

        with serving(Call(request_id=request_id)):
            async for _ in bench.generator.run(bench.ask(f"fault:ok,{SLOWLY}", stream=True), outlet):
                pass
        # The second one is asked by the connection that the first one opened.
        assert seen == {request_id}


async def test_what_breaks_while_it_takes_frames_ends_the_generation_and_the_call(bench: Bench) -> None:
    def outlet(data: bytes) -> bool:
        raise LookupError("a mistake of who shows it")

    ask = bench.ask(f"fault:endless,{SLOWLY}", stream=True)
    with pytest.raises(LookupError):
        async for _ in bench.generator.run(ask, outlet):
            pass
    await asyncio.wait_for(bench.upstream.requests[-1].left.wait(), 1)


async def test_leaving_while_frames_go_straight_on_stops_them_and_the_provider(bench: Bench) -> None:
    shown, many = list[bytes](), asyncio.Event()

    def outlet(data: bytes) -> bool:
        shown.append(data)
        if len(shown) == 5:
            many.set()
        return True

    async def read() -> None:
        async for _ in bench.generator.run(bench.ask(f"fault:endless,{SLOWLY}", stream=True), outlet):
            pass

    reading = asyncio.create_task(read())
    await asyncio.wait_for(many.wait(), 5)
    reading.cancel()
    seen = len(shown)
    await asyncio.gather(reading, return_exceptions=True)
    await asyncio.wait_for(bench.upstream.requests[-1].left.wait(), 1)
    assert len(shown) == seen
