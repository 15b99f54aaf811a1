"""Who answers a day's requests when some of them repeat: the exact cache, a call under way, the semantic cache.

Word-for-word repeats are played against the gateway's own rules (its flights, on a clock of the day's): no mesh runs,
and when requests come and how long answers take is made up, as said in each constant. Repeats in other words need
texts: `worded` asks memory itself, as it ships, with a file of question pairs.
"""

from __future__ import annotations

import asyncio
import heapq
import pathlib
import tempfile
from typing import Any

import numpy as np
import numpy.typing as npt

from services.gateway.sharing.coalescing import Flight, Flights, Tape

RATES = (0.0, 0.1, 0.3, 0.6)
"""The shares of requests that somebody asked before."""
DAY_S = 8 * 3600.0
"""The requests come evenly over a working day."""
BURST = 0.2
"""So many of the repeats come right behind what they repeat, as retries, fan-outs and shared links do; the others
repeat anything of the day."""
BURST_S = 10.0
ANSWER_S = 4.0
"""The median time of an answer; lognormal."""
SPREAD = 0.6
WINDOW_S = 5.0
"""As gateway.coalescing_window_s."""
SHAPE = ("chat",)


def arrivals(count: int, rate: float, seed: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """When each request comes, in order, and which question it asks."""
    rng = np.random.default_rng(seed)
    came = np.sort(rng.uniform(0, DAY_S, count))
    asked = np.zeros(count, np.int64)
    fresh = 0
    for place in range(count):
        if place and rng.random() < rate:
            source = int(rng.integers(place))
            asked[place] = asked[source]
            if rng.random() < BURST:
                came[place] = came[source] + rng.exponential(BURST_S / 3)
        else:
            asked[place], fresh = fresh, fresh + 1
    order = np.argsort(came, kind="stable")
    return came[order], asked[order]


def exact(count: int, rate: float, seed: int) -> dict[str, float]:
    """The shares of word-for-word repeats: answered from the cache, by a call under way, or by a call of their own."""
    came, asked = arrivals(count, rate, seed)
    took = np.random.default_rng(seed + 1).lognormal(np.log(ANSWER_S), SPREAD, count)
    now = 0.0
    flights = Flights(window_s=WINDOW_S, now=lambda: now)
    landing: list[tuple[float, int, Flight]] = []
    stored = set[bytes]()
    hits = followed = 0
    for place, at in enumerate(came.tolist()):
        while landing and landing[0][0] <= at:
            _, _, flight = heapq.heappop(landing)
            flights.close(flight)
            flight.tape.end()
            stored.add(flight.key)
        now, key = at, int(asked[place]).to_bytes(8, "big")
        flight = flights.join(key, str(place), SHAPE, Tape())
        if flight.leader_id != str(place):
            followed += 1
        elif key in stored:
            flights.close(flight)
            hits += 1
        else:
            heapq.heappush(landing, (at + float(took[place]), place, flight))
    return {"exact_cache": hits / count, "coalescing": followed / count, "calls": 1 - (hits + followed) / count}


def play(count: int, seed: int) -> list[dict[str, float]]:
    """One row for each rate."""
    return [{"repeat_rate": rate, "semantic_cache": 0.0, **exact(count, rate, seed)} for rate in RATES]


def worded(file: pathlib.Path, count: int, seed: int) -> list[dict[str, float]]:
    """The same with repeats of which half are in other words, as the pairs of `file` that people called the same.

    Asked one after the other of CacheService, so nothing is under way. A question in other words that is not found
    is a call of its own; `other_question` is the share that got the answer of a question from another pair.
    """
    return asyncio.run(_worded(file, count, seed))


async def _worded(file: pathlib.Path, count: int, seed: int) -> list[dict[str, float]]:
    # Here, because only this needs a mesh.
    from bench.cache import data, measure
    from dac.memory.v1 import cache_pb2
    from dac.memory.v1.cache_pb2_grpc import CacheServiceStub
    from mesh.testing import mesh_in_process

    pairs = [
        (str(case.before[-1]["content"]), str(case.after[-1]["content"]))
        for case in data.question_pairs(file)
        if case.same
    ]
    rows = []
    with tempfile.TemporaryDirectory(prefix="dac-bench-day-") as folder:
        async with mesh_in_process(pathlib.Path(folder), targets=("memory",)) as process:
            stub: Any = CacheServiceStub(process.channel_to("memory"))
            caller = process.caller("chat", "read")
            for rate in RATES:
                rng = np.random.default_rng(seed)
                most = min(count, int(len(pairs) / (1 - rate)))
                told, owner = dict[int, str](), dict[str, int]()
                found = {"exact_cache": 0, "semantic_cache": 0, "other_question": 0}
                for _ in range(most):
                    again = bool(told) and rng.random() < rate
                    number = int(rng.choice(list(told))) if again else len(told)
                    if number >= len(pairs):
                        break
                    words = pairs[number][1] if again and rng.random() < 0.5 else pairs[number][0]
                    told.setdefault(number, words)
                    scope = measure.scoped([{"role": "user", "content": words}], f"day {rate}")
                    answer = await measure.look_up(stub, caller, scope, "default")
                    if not answer.HasField("answer"):
                        await measure.store(stub, caller, scope)
                        kept = await measure.look_up(stub, caller, scope, "default")
                        owner[kept.entry_id] = number
                        continue
                    kind = "exact_cache" if answer.kind == cache_pb2.MATCH_KIND_EXACT else "semantic_cache"
                    found[kind] += 1
                    found["other_question"] += owner.get(answer.entry_id, number) != number
                calls = most - found["exact_cache"] - found["semantic_cache"]
                shares = {name: value / most for name, value in found.items()}
                rows.append({"repeat_rate": rate, **shares, "calls": calls / most, "requests": float(most)})
    return rows
