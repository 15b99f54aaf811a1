"""Who leads and who follows, and what they are shown: no wire, no store."""

import asyncio

import pytest

from services.gateway.sharing.coalescing import MOST_FAILED_CALLS, Flights, LeaderFailed, Overrun, Tape

KEY, SHAPE = b"k" * 32, ("chat", True)


class Clock:
    """Moves when it is told to."""

    now = 0.0

    def __call__(self):
        return self.now


def flights(window_s=5.0):
    clock = Clock()
    return Flights(window_s=window_s, now=clock), clock


async def read(tape, **more):
    return [event async for event in tape.read(**more)]


async def shown(flight):
    with flight.followed():
        return [event async for event in flight.shown()]


async def test_everybody_reads_everything_from_the_first_on():
    tape = Tape()
    early = asyncio.create_task(read(tape))
    for event in (b"one", b"two"):
        tape.add(event, 3)
        await asyncio.sleep(0)
    late = asyncio.create_task(read(tape))
    tape.add(b"three", 5)
    tape.end()
    assert await early == await late == await read(tape) == [b"one", b"two", b"three"]


async def test_a_reader_that_leaves_takes_nobody_with_it():
    tape = Tape()
    leaving, staying = (asyncio.create_task(read(tape)) for _ in range(2))
    tape.add(b"one")
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    tape.add(b"two")
    tape.end()
    assert await staying == [b"one", b"two"]


async def test_a_slow_reader_holds_nobody_and_is_told_what_it_missed():
    tape = Tape(most_bytes=10)
    slow = tape.read()
    tape.add(b"12345", 5)
    assert await anext(slow) == b"12345"
    for _ in range(4):
        tape.add(b"12345", 5)
    tape.end()
    assert not tape.whole
    with pytest.raises(Overrun):
        await anext(slow)


async def test_what_is_held_is_shown_at_the_end_and_to_its_own_caller_at_once():
    tape = Tape()
    tape.held = True
    own, other = tape.read(own=True), asyncio.create_task(read(tape))
    tape.add(b"one")
    assert await anext(own) == b"one"
    await asyncio.sleep(0)
    assert not other.done()
    tape.end()
    assert await other == [b"one"]


def test_an_equal_chat_joins_within_the_window_and_leads_anew_behind_it():
    known, clock = flights()
    first = known.join(KEY, "a", SHAPE, Tape())
    clock.now = 5.0
    assert known.join(KEY, "b", SHAPE, Tape()) is first
    assert known.join(b"other", "c", SHAPE, Tape()).leader_id == "c"
    clock.now = 5.1
    assert known.join(KEY, "d", SHAPE, Tape()).leader_id == "d"


def test_nobody_joins_what_failed_or_was_closed():
    known, _ = flights()
    first = known.join(KEY, "a", SHAPE, Tape())
    known.close(first)
    second = known.join(KEY, "b", SHAPE, Tape())
    assert second.leader_id == "b"
    known.close(first)
    assert known.join(KEY, "c", SHAPE, Tape()) is second, "closing an old flight closes no new one"
    second.tape.end()
    assert known.join(KEY, "d", SHAPE, Tape()) is second, "its answer may not be in the cache yet"
    known.close(second)
    third = known.join(KEY, "e", SHAPE, Tape())
    third.tape.end(RuntimeError("boom"))
    assert known.join(KEY, "f", SHAPE, Tape()).leader_id == "f" and len(known) == 1


async def test_exactly_one_follower_takes_over_and_the_others_follow_it():
    known, _ = flights()
    leader = known.join(KEY, "leader", SHAPE, Tape())
    led, answers = [], []

    async def chat(name):
        after, tape = leader, Tape()
        flight = known.join(KEY, name, SHAPE, tape)
        assert flight is leader
        while True:
            try:
                answers.append(await shown(flight))
                return
            except LeaderFailed as failed:
                assert not failed.everybodys
            flight = known.join(KEY, name, SHAPE, tape, after)
            if flight.leader_id == name:
                led.append(name)
                tape.add(b"answer")
                await asyncio.sleep(0.01)
                known.close(flight)
                tape.end()
                return

    chats = [asyncio.create_task(chat(str(number))) for number in range(50)]
    await asyncio.sleep(0)
    leader.dispatched = True
    known.close(leader)
    leader.tape.end(RuntimeError("boom"))
    await asyncio.gather(*chats)
    assert len(led) == 1 and answers == [[b"answer"]] * 49


@pytest.mark.parametrize("own", [True, False])
async def test_only_failures_of_providers_are_everybodys_and_only_when_they_go_on(own):
    known, _ = flights()
    flight, told = None, []
    for number in range(MOST_FAILED_CALLS + 2):
        flight = known.join(KEY, str(number), SHAPE, Tape(), flight)
        flight.dispatched, flight.own_failure = True, own
        known.close(flight)
        flight.tape.end(RuntimeError("boom"))
        told.append(flight.failure().everybodys)
    assert told == [False] * (MOST_FAILED_CALLS + 2) if own else [False] * MOST_FAILED_CALLS + [True, True]


async def test_a_refusal_before_anything_was_sent_is_the_leaders_own():
    known, _ = flights()
    flight = known.join(KEY, "a", SHAPE, Tape())
    flight.final = True
    flight.tape.end(RuntimeError("no money"))
    assert not flight.failure().everybodys
    flight.dispatched = True
    assert flight.failure().everybodys, "the same request would be refused again"


async def test_the_leader_hears_when_the_last_follower_has_left():
    known, _ = flights()
    flight, heard = known.join(KEY, "a", SHAPE, Tape()), []
    flight.deserted = lambda: heard.append(flight.following)
    with flight.followed():
        with flight.followed():
            pass
        assert not heard
    assert heard == [0]


async def test_a_follower_that_is_cancelled_is_not_told_of_the_leader():
    known, _ = flights()
    flight = known.join(KEY, "a", SHAPE, Tape())
    following = asyncio.create_task(shown(flight))
    await asyncio.sleep(0)
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
    assert flight.following == 0
