"""The measurements, through CacheService as it ships: stored as one chat, looked up as the other."""

from __future__ import annotations

import asyncio
import json
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.cache.data import Case
from dac.memory.v1 import cache_pb2
from mesh.call import Call, serving
from services.gateway.sharing.cache_scope import Scoped, scope_of
from services.gateway.wire.openai_wire import parse_chat

AT_ONCE = 16
MODES = {"default": cache_pb2.MATCH_MODE_DEFAULT, "balanced": cache_pb2.MATCH_MODE_BALANCED}
_COMPLETION = {"object": "chat.completion", "choices": [{"message": {"role": "assistant", "content": "the answer"}}]}
ANSWER = cache_pb2.CachedAnswer(openai_json=json.dumps(_COMPLETION).encode(), model="m", finish_reason="stop")


@dataclass(frozen=True)
class Outcome:
    """What a lookup said of a case."""

    case: Case
    hit: bool
    similarity: float
    guard: str


def scoped(messages: list[dict[str, Any]], place: str) -> Scoped:
    """The chat's scope as the gateway makes it; `place` is a system message that keeps cases apart."""
    turns = [{"role": "system", "content": place}, *messages]
    body = json.dumps({"model": "auto", "messages": turns}).encode()
    return scope_of(parse_chat(body), body)


async def outcomes(stub: Any, caller: Call, cases: Sequence[Case], mode: str, name: str) -> list[Outcome]:
    """Every case alone in its scope: stored as `before`, asked as `after`."""
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(number: int, case: Case) -> Outcome:
        async with limit:
            first = scoped(case.before, f"{name} {number}")
            await store(stub, caller, first)
            found = await look_up(stub, caller, scoped(case.after, f"{name} {number}"), mode)
            return Outcome(case, found.HasField("answer"), found.similarity, found.guard)

    return list(await asyncio.gather(*(one(number, case) for number, case in enumerate(cases))))


async def store(stub: Any, caller: Call, scope: Scoped) -> None:
    """Stores an answer."""
    with serving(caller):
        request = cache_pb2.StoreRequest(scope_key=scope.key, prompt=scope.prompt, answer=ANSWER, lifetime_s=3600)
        stored = await stub.Store(request)
    if not stored.stored:
        raise RuntimeError(f"an answer was not stored: {stored.reason}")


async def look_up(stub: Any, caller: Call, scope: Scoped, mode: str) -> Any:
    """Looks an answer up."""
    with serving(caller):
        return await stub.Lookup(cache_pb2.LookupRequest(scope_key=scope.key, prompt=scope.prompt, mode=MODES[mode]))


def rates(found: Sequence[Outcome]) -> dict[str, Any]:
    """Hits of what should hit, wrong ones of what should not, with Wilson's 95 % bounds."""
    should = [one.hit for one in found if one.case.same]
    traps = [one.hit for one in found if not one.case.same]
    return {
        "hit_rate": _share(should), "wrong_rate": _share(traps), "hits": sum(should), "of": len(should),
        "wrong": sum(traps), "traps": len(traps), "hit_bounds": wilson(sum(should), len(should)),
        "wrong_bounds": wilson(sum(traps), len(traps)),
    }  # fmt: skip


def precision(found: Sequence[Outcome]) -> dict[str, Any]:
    """Of what was served, how much should be; of what should be served, how much was."""
    right = sum(one.hit and one.case.same for one in found)
    served, wanted = sum(one.hit for one in found), sum(one.case.same for one in found)
    return {
        "precision": round(right / served, 4) if served else 1.0,
        "recall": round(right / wanted, 4) if wanted else 0.0,
        "served": served,
        "precision_bounds": wilson(right, served),
    }


def curve(found: Sequence[Outcome]) -> list[dict[str, float]]:
    """Precision at every share of hits that a higher threshold would give (P-CHR)."""
    points = []
    for threshold in (0.70, 0.75, 0.80, 0.85, 0.90, 0.95, 0.98):
        served = [one for one in found if one.hit and one.similarity >= threshold]
        right = sum(one.case.same for one in served)
        points.append({
            "threshold": threshold, "hit_share": round(len(served) / len(found), 4),
            "precision": round(right / len(served), 4) if served else 1.0,
        })  # fmt: skip
    return points


def by_kind(found: Sequence[Outcome]) -> dict[str, dict[str, Any]]:
    """The rates of each category."""
    return {
        kind: rates([one for one in found if one.case.kind == kind]) for kind in sorted({x.case.kind for x in found})
    }


def wilson(successes: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's bounds of a share; (0, 1) when there is none."""
    if not trials:
        return 0.0, 1.0
    share, square = successes / trials, z * z
    middle = (share + square / (2 * trials)) / (1 + square / trials)
    spread = z * math.sqrt(share * (1 - share) / trials + square / (4 * trials * trials)) / (1 + square / trials)
    return round(max(0.0, middle - spread), 4), round(min(1.0, middle + spread), 4)


async def latency(stub: Any, caller: Call, questions: Sequence[str], entries: int) -> dict[str, float]:
    """Lookups that no equal question answers, one after another, beside `entries` stored questions of one scope."""
    limit = asyncio.Semaphore(AT_ONCE)

    async def fill(number: int) -> None:
        async with limit:
            await store(stub, caller, scoped([{"role": "user", "content": filler(number)}], "latency"))

    await asyncio.gather(*(fill(number) for number in range(entries)))
    asked = [scoped([{"role": "user", "content": text}], "latency") for text in questions]
    # The first lookup reads the scope's vectors.
    await look_up(stub, caller, scoped([{"role": "user", "content": "how do I warm up?"}], "latency"), "default")
    times = []
    for one in asked:
        started = time.perf_counter()
        await look_up(stub, caller, one, "default")
        times.append((time.perf_counter() - started) * 1000)
    times.sort()
    return {"p50": round(statistics.median(times), 2), "p99": round(times[int(0.99 * (len(times) - 1))], 2)}


async def exact_cpu_ms(stub: Any, caller: Call, rounds: int) -> float:
    """CPU of this process for one exact hit; PostgreSQL's own is not in it."""
    scope = scoped([{"role": "user", "content": filler(0)}], "exact")
    await store(stub, caller, scope)
    for _ in range(200):
        await look_up(stub, caller, scope, "default")
    request = cache_pb2.LookupRequest(scope_key=scope.key, prompt=scope.prompt, mode=MODES["default"])
    best = math.inf
    for _ in range(5):
        started = time.process_time()
        for _ in range(rounds):
            with serving(caller):
                await stub.Lookup(request)
        best = min(best, (time.process_time() - started) * 1000 / rounds)
    return round(best, 4)


_THINGS = ("kettle", "lathe", "kayak", "violin", "ladder", "tent", "printer", "scooter", "aquarium", "heater")
_DEEDS = ("clean", "store", "lend", "paint", "repair", "measure", "ship", "insure", "rebuild", "inspect")
_PLACES = ("attic", "harbour", "workshop", "school", "garage", "market", "office", "stadium", "cellar", "orchard")


def filler(number: int) -> str:
    """A question of our own; all are different."""
    digits = [number // 10**place % 10 for place in range(3)]
    return (
        f"How do I {_DEEDS[digits[0]]} a {_THINGS[digits[1]]} in the {_PLACES[digits[2]]} before inspection {number}?"
    )


def _share(values: Sequence[bool]) -> float:
    return round(sum(values) / len(values), 4) if values else 0.0
