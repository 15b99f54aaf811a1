"""Thousands of streams, half of them left early: memory, file descriptors and connections come back."""

import asyncio
import pathlib
import re
import time

import aiohttp
import psutil
import pytest

from tests.long.traffic import DONE, FAST, SLOW
from tests.long.truth import Truth

STREAMS = 2000
WARM_UP = 600
CLIENTS = 20
GROWTH_BYTES = 40 << 20
"""What each process may have more after the streams than after the warm-up."""
DESCRIPTORS = 10
SETTLE_S = 60
"""Idle connections are kept for a while; longer than that."""
COMPLAINTS = re.compile(
    r"never retrieved|never awaited|was destroyed but it is pending|Traceback|Unclosed|unexpected error"
)


def processes(dac) -> list[psutil.Process]:
    """`dac up` and the services it started, without PostgreSQL."""
    own = psutil.Process(dac.process.pid)
    return [own, *(one for one in own.children(recursive=True) if "mesh" in one.cmdline())]


def connections_to(dac, port: int) -> int:
    """How many TCP connections DAC has to this port."""
    found = (one for process in processes(dac) for one in process.net_connections("tcp"))
    return sum(one.raddr.port == port and one.status != psutil.CONN_TIME_WAIT for one in found if one.raddr)


async def stream(session: aiohttp.ClientSession, dac, number: int) -> str:
    """One stream; every other one is left in the middle. Returns its request id."""
    leave = number % 2 == 1
    body = {
        "model": SLOW if leave else FAST,
        "stream": True,
        "messages": [{"role": "user", "content": f"leak {number}"}],
    }
    if number % 10 < 4:
        body["thread_id"] = f"leak-{number // 40}"
    async with session.post(f"{dac.url}/v1/chat/completions", json=body, headers=dac.headers) as answer:
        assert answer.status == 200, await answer.text()
        if leave:
            for _ in range(number % 5):
                await answer.content.readline()
            answer.close()
        else:
            assert (await answer.text()).endswith(DONE)
        return answer.headers["x-dac-request-id"]


async def streams(dac, count: int) -> list[str]:
    """`count` streams, CLIENTS at a time."""
    numbers, request_ids = iter(range(count)), []

    async def client(session: aiohttp.ClientSession) -> None:
        for number in numbers:
            request_ids.append(await stream(session, dac, number))

    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(client(session))
    return request_ids


async def until(condition, timeout_s: float) -> bool:
    """Whether it became true in time."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0.1)
    return True


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("arguments", [(), ("--split",)], ids=["one_process", "split"])
async def test_streams_left_early_leave_nothing_behind(start_dac, upstream_process, arguments):
    dac = await asyncio.to_thread(start_dac, *arguments)
    port = int(upstream_process.origin.rpartition(":")[2])
    truth = Truth(dac.data_dir)
    await streams(dac, WARM_UP)
    assert await until(lambda: connections_to(dac, port) == 0, SETTLE_S), "connections to the provider stay"
    watched = processes(dac)
    before = [(one.memory_info().rss, one.num_fds()) for one in watched]

    request_ids = await streams(dac, STREAMS)
    assert len(set(request_ids)) == STREAMS
    assert await until(lambda: connections_to(dac, port) == 0, SETTLE_S), (
        f"{connections_to(dac, port)} connections to the provider are open {SETTLE_S} s after the last stream"
    )
    seen = await asyncio.to_thread(upstream_process.requests)
    running = [one for one in seen if one["finished_s"] is None and one["disconnected_s"] is None]
    assert not running, f"{len(running)} requests still run at the provider"
    left = sum(one["disconnected_s"] is not None for one in seen)
    assert left > (WARM_UP + STREAMS) * 0.4, f"only {left} upstream streams were stopped when their clients left"

    assert not await asyncio.to_thread(truth.wait_settled, request_ids, 20)
    money = await asyncio.to_thread(truth.money)
    assert all(money[one].kinds in (("commit",), ("release",)) for one in request_ids)
    assert (await asyncio.to_thread(dac.get, "/v1/budgets:verify")).json()["differences"] == []
    metrics = (await asyncio.to_thread(dac.get, "/metrics")).text
    active = [line for line in metrics.splitlines() if "active_streams" in line and line[0] != "#"]
    assert active and all(float(line.split()[-1]) == 0 for line in active), active

    def descriptors_back() -> bool:
        return all(one.num_fds() <= fds + DESCRIPTORS for one, (_, fds) in zip(watched, before, strict=True))

    assert await until(descriptors_back, SETTLE_S), [
        (one.cmdline()[-1], fds, one.num_fds()) for one, (_, fds) in zip(watched, before, strict=True)
    ]
    for one, (rss, fds) in zip(watched, before, strict=True):
        now = one.memory_info().rss
        print(f"{one.cmdline()[-1]}: {rss >> 20} → {now >> 20} MiB, {fds} → {one.num_fds()} descriptors")
        assert now - rss < GROWTH_BYTES, f"{one.cmdline()} grew from {rss >> 20} to {now >> 20} MiB"

    log: pathlib.Path = dac.data_dir.parent / "dac.log"
    assert await asyncio.to_thread(dac.stop) == 0
    written = await asyncio.to_thread(log.read_text)
    complaints = [line for line in written.splitlines() if COMPLAINTS.search(line)]
    assert not complaints, complaints[:10]
