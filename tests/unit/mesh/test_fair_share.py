"""Heavy work: an organisation's pieces take turns, and nobody else waits for them."""

import asyncio
import threading

import pytest

from dac.type.v1.principal_pb2 import Principal
from mesh.call import Call, serving
from mesh.fair_share import in_turn


class Desk:
    """Notes what is at work at once."""

    def __init__(self) -> None:
        self.at_work: set[str] = set()
        self.most = 0
        self.begun = threading.Event()
        self.may_end = threading.Event()

    def piece(self, name: str) -> str:
        self.at_work.add(name)
        self.most = max(self.most, len(self.at_work))
        self.begun.set()
        assert self.may_end.wait(10)
        self.at_work.discard(name)
        return name


async def ask(org_id: str, desk: Desk, name: str) -> str:
    with serving(Call(principal=Principal(org_id=org_id))):
        return await in_turn(desk.piece, name)


async def begun(desk: Desk) -> None:
    assert await asyncio.to_thread(desk.begun.wait, 10)


async def test_an_organisations_pieces_are_done_one_after_the_other_and_anothers_beside_them():
    mine, other = Desk(), Desk()
    waiting = [asyncio.create_task(ask("a", mine, str(number))) for number in range(4)]
    await begun(mine)
    other.may_end.set()
    assert await asyncio.wait_for(ask("b", other, "b"), 10) == "b"
    mine.may_end.set()
    assert await asyncio.gather(*waiting) == ["0", "1", "2", "3"] and mine.most == 1


async def test_who_leaves_lets_nobody_in_before_the_work_has_ended():
    desk = Desk()
    first = asyncio.create_task(ask("a", desk, "first"))
    await begun(desk)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = asyncio.create_task(ask("a", desk, "second"))
    done, _ = await asyncio.wait({second}, timeout=0.1)
    assert not done and desk.at_work == {"first"}
    desk.may_end.set()
    assert await second == "second" and desk.most == 1


async def test_a_failure_is_its_callers_and_the_next_has_its_turn():
    def fails() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await in_turn(fails)
    assert await asyncio.wait_for(in_turn(lambda: 5), 10) == 5
