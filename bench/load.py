"""The load generator: closed loops (N connections, each sends when answered) and open loops (a fixed offered rate).

Runs as its own process and takes one JSON specification a line on stdin, answering with one JSON result a line
on stdout, so that the measured process tree never holds it. In an open loop a latency counts from the moment the
request *should* have been sent: a slow server cannot slow its own measurement down. Every answer is checked, not
only its status.
"""

from __future__ import annotations

import asyncio
import collections
import ctypes
import gc
import os
import struct
import sys
import time
from collections.abc import AsyncIterator, Callable

import httptools
import msgspec
import uvloop

from bench.upstream import TEXT_EVENTS, WORD

_WORD = WORD.encode()
_PROMPT = "Please describe in one short sentence what colour mixes out of violet and grey; this is question "


class Spec(msgspec.Struct, kw_only=True):
    """One load run; everything is bounded by `seconds`, `max_requests` and `drain_s`."""

    port: int
    path: str = "/v1/chat/completions"
    model: str
    headers: dict[str, str] = {}
    stream: bool = False
    connections: int = 16
    rate_per_s: float = 0.0
    """Above 0: open loop at this rate with at most `connections` at once; 0: closed loop."""
    seconds: float = 5.0
    max_requests: int = 200_000
    drain_s: float = 10.0
    """How long requests under way may still take when the time is up."""


class Result(msgspec.Struct, kw_only=True):
    """What came out; times in milliseconds."""

    sent: int
    ok: int
    errors: dict[str, int]
    error_sample: str
    elapsed_s: float
    rps: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    ttft_p50_ms: float
    ttft_p99_ms: float
    offered_per_s: float
    client_busy: float
    """Share of a core the load generator used; near 1 the figures are its own ceiling, not the system's."""


def percentile(values: list[float], share: float) -> float:
    """Nearest-rank percentile; 0 for no values."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1))]


class Wire(asyncio.Protocol):
    """One keep-alive connection with one request under way at most."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._pieces: list[bytes] = []
        self.status = 0
        self.first_event_at = 0.0
        self.ended_at = 0.0
        self.alive = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self.alive = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.alive = False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(ConnectionResetError("closed before the answer was complete"))

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def on_body(self, body: bytes) -> None:
        if not self.first_event_at and b"data:" in body:
            self.first_event_at = time.perf_counter()
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        self.ended_at = time.perf_counter()
        self.status = self._parser.get_status_code()
        if not self._parser.should_keep_alive():
            self.close()
        self._parser = httptools.HttpResponseParser(self)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        self.alive = False
        if self._transport is not None:
            self._transport.close()

    async def exchange(self, request: bytes) -> bytes:
        """Send and wait for the whole answer; the body."""
        assert self._transport is not None
        self._pieces = []
        self.first_event_at = self.ended_at = 0.0
        self._waiter = self._loop.create_future()
        self._transport.write(request)
        await self._waiter
        return b"".join(self._pieces)


def fault_of(status: int, body: bytes, stream: bool) -> str:
    """What is wrong with an answer, in a word; empty when it is right and complete."""
    if status != 200:
        return f"status_{status}"
    if stream:
        if not body.rstrip().endswith(b"data: [DONE]"):
            return "no_done"
        if body.count(_WORD) != TEXT_EVENTS:
            return "text_incomplete"
        return "" if b'"completion_tokens"' in body else "no_usage"
    try:
        answer = msgspec.json.decode(body)
        text = answer["choices"][0]["message"]["content"]
        tokens = answer["usage"]["completion_tokens"]
    except (msgspec.MsgspecError, KeyError, IndexError, TypeError):
        return "bad_json"
    return "" if WORD in text and tokens == TEXT_EVENTS else "wrong_answer"


class Run:
    """The state of one load run."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        body: dict[str, object] = {
            "model": spec.model,
            "messages": [{"role": "user", "content": _PROMPT + "000000000000"}],
        }
        if spec.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        payload = msgspec.json.encode(body)
        lines = [f"POST {spec.path} HTTP/1.1", f"host: 127.0.0.1:{spec.port}", "content-type: application/json"]
        lines += [f"content-length: {len(payload)}", *(f"{name}: {value}" for name, value in spec.headers.items())]
        # Each prompt differs: no cache and no coalescing can answer for the model.
        before, after = payload.split(b"000000000000")
        self._before = "\r\n".join(lines).encode() + b"\r\n\r\n" + before
        self._after = after
        self._number = time.time_ns() // 1000 % 10**6 * 10**6
        self._idle: list[Wire] = []
        self.sent = 0
        self.latencies_ms: list[float] = []
        self.ttfts_ms: list[float] = []
        self.errors: collections.Counter[str] = collections.Counter()
        self.error_sample = ""
        self.last_end = 0.0

    async def _wire(self) -> Wire:
        while self._idle:
            wire = self._idle.pop()
            if wire.alive:
                return wire
        loop = asyncio.get_running_loop()
        _, wire = await loop.create_connection(Wire, "127.0.0.1", self._spec.port)
        return wire

    async def once(self, intended_at: float) -> None:
        """One request, timed from `intended_at`, judged and written down."""
        spec = self._spec
        self.sent += 1
        self._number += 1
        request = b"%b%012d%b" % (self._before, self._number, self._after)
        try:
            wire = await self._wire()
        except OSError as failure:
            self._fault("connect", str(failure))
            await asyncio.sleep(0.05)
            return
        try:
            body = await wire.exchange(request)
        except ConnectionResetError as failure:
            self._fault("cut", str(failure))
            return
        except asyncio.CancelledError:
            wire.close()
            self._fault("unfinished", "still under way when the time for draining was over")
            raise
        self.last_end = wire.ended_at
        fault = fault_of(wire.status, body, spec.stream)
        if fault:
            self._fault(fault, body[:400].decode("utf-8", "replace"))
        else:
            self.latencies_ms.append((wire.ended_at - intended_at) * 1000)
            if spec.stream:
                self.ttfts_ms.append((wire.first_event_at - intended_at) * 1000)
        if wire.alive:
            self._idle.append(wire)

    def _fault(self, kind: str, sample: str) -> None:
        self.errors[kind] += 1
        self.error_sample = self.error_sample or f"{kind}: {sample}"

    async def closed_loop(self) -> None:
        """`connections` clients, each sending its next request when the last is answered."""
        spec = self._spec
        until = time.perf_counter() + spec.seconds

        async def client() -> None:
            while time.perf_counter() < until and self.sent < spec.max_requests:
                await self.once(time.perf_counter())

        clients = [asyncio.create_task(client()) for _ in range(spec.connections)]
        await self._bounded(clients, spec.seconds + spec.drain_s)

    async def open_loop(self) -> None:
        """Requests leave at a fixed rate whatever the answers do."""
        spec = self._spec
        slots = asyncio.Semaphore(spec.connections)
        tasks: list[asyncio.Task[None]] = []

        async def fire(intended_at: float) -> None:
            async with slots:
                await self.once(intended_at)

        total = min(spec.max_requests, max(1, int(spec.seconds * spec.rate_per_s)))
        async for intended_at in arrivals(1 / spec.rate_per_s, total):
            tasks.append(asyncio.create_task(fire(intended_at)))
        await self._bounded(tasks, spec.drain_s)
        # A request that never got a connection counts as offered and failed.
        if total > self.sent:
            self.errors["unfinished"] += total - self.sent
            self.sent = total

    async def _bounded(self, tasks: list[asyncio.Task[None]], limit_s: float) -> None:
        _, late = await asyncio.wait(tasks, timeout=limit_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def close(self) -> None:
        for wire in self._idle:
            wire.close()


async def arrivals(period_s: float, total: int) -> AsyncIterator[float]:
    """The moments at which requests are due, from a kernel timer: event loops round theirs to a millisecond."""
    queue: asyncio.Queue[float] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    first = time.perf_counter() + max(0.02, period_s)
    timer = _interval_timer(first, period_s)
    due = 0

    def tick() -> None:
        nonlocal due
        expirations = struct.unpack("Q", os.read(timer, 8))[0]
        for _ in range(expirations):
            queue.put_nowait(first + due * period_s)
            due += 1

    loop.add_reader(timer, tick)
    try:
        for _ in range(total):
            yield await queue.get()
    finally:
        loop.remove_reader(timer)
        os.close(timer)


def _interval_timer(first: float, period_s: float) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    monotonic, nonblocking, absolute = 1, os.O_NONBLOCK | os.O_CLOEXEC, 1
    timer = int(libc.timerfd_create(monotonic, nonblocking))
    if timer < 0:
        raise OSError(ctypes.get_errno(), "timerfd_create failed: the open loop needs Linux")
    fields: list[int] = []
    for value in (period_s, first):
        fields += [int(value), int(value % 1 * 1e9)]
    if libc.timerfd_settime(timer, absolute, struct.pack("qqqq", *fields), None) != 0:
        raise OSError(ctypes.get_errno(), "timerfd_settime failed")
    return timer


async def run(spec: Spec) -> Result:
    """Carry out one specification."""
    state = Run(spec)
    started, cpu_started = time.perf_counter(), time.process_time()
    try:
        await (state.open_loop() if spec.rate_per_s > 0 else state.closed_loop())
    finally:
        state.close()
    elapsed_s = max(1e-6, (state.last_end or time.perf_counter()) - started)
    ok = len(state.latencies_ms)
    return Result(
        sent=state.sent,
        ok=ok,
        errors=dict(state.errors),
        error_sample=state.error_sample,
        elapsed_s=elapsed_s,
        rps=ok / elapsed_s,
        p50_ms=percentile(state.latencies_ms, 0.50),
        p99_ms=percentile(state.latencies_ms, 0.99),
        max_ms=max(state.latencies_ms, default=0.0),
        ttft_p50_ms=percentile(state.ttfts_ms, 0.50),
        ttft_p99_ms=percentile(state.ttfts_ms, 0.99),
        offered_per_s=spec.rate_per_s,
        client_busy=round((time.process_time() - cpu_started) / elapsed_s, 3),
    )


def main(loop_runner: Callable[..., Result] = uvloop.run) -> None:
    gc.freeze()
    for line in sys.stdin:
        spec = msgspec.json.decode(line, type=Spec)
        gc.collect()
        gc.disable()
        result = loop_runner(run(spec))
        gc.enable()
        sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
