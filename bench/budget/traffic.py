"""Reserve and commit as a gateway asks for them: the messages, closed loops and a fixed rate."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple, Protocol

from bench.budget.stage import CHAT, Organisation
from dac.budget.v1 import budget_pb2
from dac.type.v1 import record_pb2, usage_pb2
from mesh.ids import uuid7

INPUT_TOKENS, OUTPUT_TOKENS = 400, 120
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Ledger(Protocol):
    """A stub or a session."""

    def Reserve(self, request: budget_pb2.ReserveRequest, /) -> Awaitable[budget_pb2.ReserveResponse]: ...
    def Commit(self, request: budget_pb2.CommitRequest, /) -> Awaitable[budget_pb2.CommitResponse]: ...


class Halves(NamedTuple):
    """How long the two calls of a cycle took."""

    reserve_s: float
    commit_s: float


def reservation(model: str, **fields: object) -> budget_pb2.ReserveRequest:
    """What a gateway asks for one chat; the request id is still to be set."""
    request = budget_pb2.ReserveRequest(
        input_tokens=INPUT_TOKENS,
        input_tokens_max=2 * INPUT_TOKENS,
        max_output_tokens=512,
        body_hash=bytes(32),
        draft=record_pb2.RequestRecord(asked_model=model, trace_id=TRACE, operation="chat"),
        **fields,  # type: ignore[arg-type]
    )
    request.candidates.add(provider="bench", model=model)
    return request


def record(organisation: Organisation, model: str) -> record_pb2.RequestRecord:
    """The record of one chat with one attempt; the ids are still to be set."""
    made = record_pb2.RequestRecord(
        org_id=organisation.org_id,
        path=organisation.principal.path,
        asked_model=model,
        outcome=record_pb2.OUTCOME_OK,
        finish_reason="stop",
        http_status=200,
        trace_id=TRACE,
        operation="chat",
        stage_ms={"route": 0.4, "reserve": 2.5, "first_token": 210.0, "generate": 900.0},
    )
    made.route.profile, made.route.reason = "balanced", "the only model that was asked for"
    made.route.candidates.add(model=model, provider="bench", score=0.8, quality_score=0.5)
    made.started_at.GetCurrentTime()
    made.ended_at.GetCurrentTime()
    attempt = made.attempts.add(provider="bench", model=model, status_code=200, finish_reason="stop")
    attempt.usage_source = usage_pb2.USAGE_SOURCE_PROVIDER
    attempt.usage.input_tokens, attempt.usage.output_tokens = INPUT_TOKENS, OUTPUT_TOKENS
    return made


class Cycles:
    """Reserve and commit, one after the other, for one caller. Copies of ready messages: the caller's work is small."""

    def __init__(self, ledger: Ledger, organisation: Organisation, model: str = CHAT) -> None:
        self._ledger = ledger
        self._reserve = reservation(model)
        self._commit = budget_pb2.CommitRequest(record=record(organisation, model))

    async def one(self) -> Halves:
        """A whole cycle. Raises when either half fails."""
        request_id, began = uuid7(), time.perf_counter()
        request = budget_pb2.ReserveRequest()
        request.CopyFrom(self._reserve)
        request.request_id = request_id
        held = await self._ledger.Reserve(request)
        between = time.perf_counter()
        commit = budget_pb2.CommitRequest()
        commit.CopyFrom(self._commit)
        commit.reservation_id, commit.reservation_secret = held.reservation_id, held.reservation_secret
        commit.record.request_id = commit.record.attempts[0].attempt_id = request_id
        await self._ledger.Commit(commit)
        return Halves(between - began, time.perf_counter() - between)


async def closed_loop(cycle: Callable[[], Awaitable[Halves]], concurrent: int, seconds: float) -> list[Halves]:
    """Every worker begins a cycle when its last has ended; the cycles that began within the time, all of them ended."""
    until = time.perf_counter() + seconds
    done: list[Halves] = []

    async def worker() -> None:
        while time.perf_counter() < until:
            done.append(await cycle())

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrent):
            group.create_task(worker())
    return done


async def _ticks(rate_per_s: float, seconds: float) -> AsyncIterator[int]:
    began = time.perf_counter()
    for number in itertools.count():
        due = began + number / rate_per_s
        if due >= began + seconds:
            return
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        yield number


async def open_loop(cycle: Callable[[], Awaitable[Halves]], rate_per_s: float, seconds: float) -> list[Halves]:
    """Cycles that begin at a fixed rate, however long each takes."""
    done: list[Halves] = []

    async def one() -> None:
        done.append(await cycle())

    async with asyncio.TaskGroup() as group:
        async for _ in _ticks(rate_per_s, seconds):
            group.create_task(one())
    return done
