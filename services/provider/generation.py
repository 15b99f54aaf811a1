"""The one retry and fallback loop: candidates in order, each with one attempt and at most one retry.

Before the first token another attempt starts anew; after it one may take the answer up (rescue.py), as often as the
request's reservation covers. Every attempt is accounted for in the Finish or Failure that ends the stream.
"""

import asyncio
import dataclasses
import random
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Protocol

from mesh import sse
from mesh.call import current
from mesh.errors import Reason
from mesh.tracing import attempting
from services.provider.adapters import Exchange, Outgoing
from services.provider.calls import Endpoint, Limits, Reply, posting
from services.provider.config import ProviderConfig
from services.provider.errors import ProviderFault, garbage, reading
from services.provider.events import Ask, Attempt, Candidate, Deadlines, Event, Failure, Finish, Frames, Started
from services.provider.health import FailFast
from services.provider.key_book import Key
from services.provider.rescue import Rescuer, added

AFTER_FINISH_S = 3.0
"""How long usage and the end mark may take after the finish reason."""
MAX_HELD_BYTES = 1 << 20
"""How much of a stream may come before its first token."""
MAX_BY_KEY = 8
"""The most attempts of one request that may be followed by another one just because a key was refused."""
NOT_FAILING = frozenset(
    {
        Reason.PROVIDER_REFUSED,
        Reason.CONTEXT_TOO_LONG,
        Reason.INVALID_REQUEST,
        Reason.PROVIDER_BUSY,
        Reason.FAILED_PRECONDITION,
    }
)
"""Reasons that say nothing about the model's health: the caller's faults, DAC's own full waiting line, and keys that
cannot be used."""


class Line(Protocol):
    """A provider that can be asked."""

    endpoint: Endpoint
    prefill: str
    """See rescue.PREFILL."""

    async def ready(self, wait_s: float) -> None:
        """Waits until it can be asked. Raises ProviderFault."""

    key: Key | None
    """The one of several keys that it sends."""

    def keyed(self) -> "Line":
        """The line with the key of one attempt. Raises ProviderFault when the caller's keys cannot be used."""

    def blames_key(self, fault: ProviderFault) -> bool:
        """Whether the fault is its key's alone; then that key rests and others are taken meanwhile."""

    def exchange(self, ask: Ask, candidate: Candidate) -> Exchange:
        """A new exchange for one attempt. Raises ProviderFault when the dialects do not meet."""


Find = Callable[[str], Line]
"""provider name → line. Raises ProviderFault for an unknown one."""


class Generator:
    """Runs generations."""

    def __init__(
        self,
        find: Find,
        config: ProviderConfig,
        *,
        new_id: Callable[[], str],
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._find, self._config, self._new_id = find, config, new_id
        self._clock, self._now, self._jitter = clock, now, jitter
        self.health = FailFast(clock, failing_after=config.failing_after, window_s=config.failing_window_s)

    async def run(self, ask: Ask) -> AsyncGenerator[Event, None]:
        """The events of one generation; exactly one Finish or Failure is the last."""
        attempts: list[Attempt] = []
        faults: list[ProviderFault] = []
        rescuer, cut = Rescuer(ask), list[ProviderFault]()
        started = self._clock()
        candidates = self._usable(ask.candidates)
        for index, candidate in enumerate(candidates):
            more, turn = index + 1 < len(candidates), 0
            while True:
                attempt = Attempt(self._new_id(), candidate.provider, candidate.model, self._now())
                attempts.append(attempt)
                run = _Run(self, ask, candidate, attempt, rescuer)
                with attempting(attempt, candidate.upstream_name, current(), ask.operation) as watched:
                    try:
                        await run.prepare(self._left(ask, started))
                        async with run.place():
                            # Not before: whoever sees an attempt begin may be charged for its input.
                            yield Started(
                                attempt.attempt_id, candidate.model, candidate.provider, attempts[:-1], attempt.rescue
                            )
                            # Closed by hand: a caller that leaves must close the socket now, not when garbage is
                            # collected.
                            async with aclosing(run.frames()) as stream:
                                async for frames in stream:
                                    watched.saw(frames.data)
                                    yield frames
                    except ProviderFault as fault:
                        self._note(run, fault)
                        faults.append(fault)
                    else:
                        run.close_books()
                if attempt.reason is Reason.UNSPECIFIED:
                    yield run.finish(attempts)
                    return
                pause: float | None = None
                if run.sent:
                    cut.append(faults[-1])
                    if not rescuer.takes_up(run.exchange, attempt, run.head, run.sent_bytes):
                        yield _failure(cut[:1], attempts, after_first_token=True)
                        return
                    # The next candidate goes on; without one the same is asked again.
                    turn, pause = 0, None if more else self._config.retry_delay_s * (0.5 + self._jitter())
                elif rescuer.refused(attempt, candidate) or (len(attempts) < MAX_BY_KEY and run.has_other_key()):
                    pause = 0.0
                else:
                    pause = self._pause_before_retry(faults[-1], turn, more)
                    turn += 1
                if pause is None or self._left(ask, started) <= pause:
                    break
                await asyncio.sleep(pause)
            if not (faults[-1].fall_back or rescuer.active) or self._left(ask, started) <= 0:
                break
        yield _failure(cut[:1] or faults, attempts, after_first_token=rescuer.active)

    def _usable(self, candidates: Sequence[Candidate]) -> Sequence[Candidate]:
        """The candidates without those known to fail now, unless none would be left."""
        healthy = [c for c in candidates if not self.health.failing(c.provider, c.upstream_name)]
        return healthy or candidates

    def _left(self, ask: Ask, started: float) -> float:
        total = ask.deadlines.total_s
        return total - (self._clock() - started) if total > 0 else float("inf")

    def _pause_before_retry(self, fault: ProviderFault, turn: int, more: bool) -> float | None:
        """Seconds before the same provider is asked again; None = not again."""
        if turn > 0 or not fault.retry:
            return None
        if fault.retry_after_s is not None:
            return fault.retry_after_s if fault.retry_after_s <= self._config.max_retry_after_s else None
        if fault.status_code == 429:
            # Without a hint another candidate is better than a guess.
            return None if more else 1.0 + self._jitter()
        return self._config.retry_delay_s * (0.5 + self._jitter())

    def _note(self, run: "_Run", fault: ProviderFault) -> None:
        """Writes the failed attempt's account."""
        attempt = run.attempt
        attempt.ended_at_s = self._now()
        attempt.status_code, attempt.reason, attempt.message = fault.status_code, fault.reason, fault.message
        if fault.body:
            fault.body = run.exchange.error_body(fault.body)
        if run.sent:
            result = run.exchange.result(need_text=False)
            attempt.usage, attempt.usage_source = result.usage, result.usage_source
            attempt.finish_reason, attempt.status_code = result.finish_reason, 200
        if run.blames_key(fault):
            attempt.message = fault.message
        elif fault.reason not in NOT_FAILING:
            self.health.failed(run.candidate.provider, run.candidate.upstream_name)

    def limits(self, endpoint: Endpoint, asked: Deadlines, total_left_s: float, *, stream: bool) -> Limits:
        """The ladder of one attempt: what the request asks, else the provider's own."""
        own = endpoint.limits
        first = asked.first_token_s or own.first_token_s
        return Limits(
            asked.connect_s or own.connect_s,
            first if stream else first * self._config.plain_wait_factor,
            asked.idle_s or own.idle_s,
            max(0.0, min(asked.total_s or own.total_s, total_left_s)),
        )

    def find(self, provider: str) -> Line:
        """See Find."""
        return self._find(provider)

    def clock(self) -> float:
        """The monotonic clock."""
        return self._clock()

    def now(self) -> float:
        """Wall clock."""
        return self._now()

    @property
    def max_event_bytes(self) -> int:
        """The largest stream event."""
        return self._config.max_event_bytes


class _Run:
    """One attempt while it runs."""

    exchange: Exchange
    _endpoint: Endpoint
    _outgoing: Outgoing
    _limits: Limits
    _begun: float

    def __init__(
        self, generator: Generator, ask: Ask, candidate: Candidate, attempt: Attempt, rescuer: Rescuer
    ) -> None:
        self._generator, self._ask, self._rescuer = generator, ask, rescuer
        self.candidate, self.attempt = candidate, attempt
        self.sent = False
        """Frames were handed to the caller: no way back."""
        self.head, self.sent_bytes = b"", 0
        """The first of them, and their size."""
        self._line: Line | None = None
        self._blamed = False

    def blames_key(self, fault: ProviderFault) -> bool:
        """See Line."""
        self._blamed = self._line is not None and self._line.blames_key(fault)
        return self._blamed

    def has_other_key(self) -> bool:
        """Whether the key was at fault and the provider can be asked with another one now."""
        if not self._blamed:
            return False
        try:
            self._generator.find(self.candidate.provider).keyed()
        except ProviderFault:
            return False
        return True

    async def prepare(self, total_left_s: float) -> None:
        """Makes the request and waits until the provider can be asked. Raises ProviderFault."""
        ask, generator = self._ask, self._generator
        line = self._line = generator.find(self.candidate.provider).keyed()
        if line.key is not None:
            self.attempt.provider_key_id = line.key.key_id
        if self._rescuer.active:
            self.exchange = self._rescuer.exchange(line, self.candidate, self.attempt)
        else:
            self.exchange = line.exchange(ask, self.candidate)
        self._endpoint, self._outgoing = line.endpoint, self.exchange.outgoing()
        self._limits = generator.limits(line.endpoint, ask.deadlines, total_left_s, stream=ask.stream)
        self._begun = generator.clock()
        await line.ready(min(self._limits.first_token_s, self._limits.total_s))

    def place(self) -> AbstractAsyncContextManager[None]:
        """Holds a place at the provider. Raises ProviderFault."""
        return self._endpoint.bulkhead.place(min(self._limits.first_token_s, self._limits.total_s))

    async def frames(self) -> AsyncGenerator[Frames, None]:
        """Sends the request; the answer's frames. Raises ProviderFault."""
        begun, stream_asked = self._begun, self._ask.stream
        waited = self._generator.clock() - begun
        limits = dataclasses.replace(self._limits, total_s=max(0.0, self._limits.total_s - waited))
        async with posting(self._endpoint, self._outgoing, limits, stream=stream_asked) as reply:
            if not stream_asked:
                raw = await reply.whole()
                with reading(self.candidate.provider):
                    body = self.exchange.plain(raw)
                # Again: a translation may be larger than what it was made of.
                reply.check_size(len(body))
                self._first(begun)
                yield Frames(body, 1)
                return
            async with aclosing(self._stream(reply, begun)) as stream:
                async for frames in stream:
                    yield frames

    async def _stream(self, reply: Reply, begun: float) -> AsyncGenerator[Frames, None]:
        """One Frames per network read, held back until the first token."""
        exchange, provider = self.exchange, self.candidate.provider
        splitter = sse.Splitter(self._generator.max_event_bytes)
        held: list[bytes] = []
        held_bytes = 0
        while True:
            try:
                piece = await reply.pieces(started=exchange.first, short=AFTER_FINISH_S if exchange.finished else None)
            except ProviderFault:
                if exchange.finished:
                    # Everything but the end mark came: the answer is whole.
                    break
                raise
            fault: ProviderFault | None = None
            try:
                with reading(provider):
                    for event in splitter.feed(piece or b"\n\n"):
                        if out := exchange.event(event):
                            held.append(out)
                            held_bytes += len(out)
                        if exchange.done:
                            break
            except ProviderFault as error:
                fault = error
            if held and exchange.first:
                self._first(begun)
                data = b"".join(held)
                self.head = self.head or data
                self.sent_bytes += len(data)
                yield Frames(data, len(held))
                held, held_bytes = [], 0
            if fault is not None:
                raise fault
            if held_bytes > MAX_HELD_BYTES:
                raise garbage(provider, "more than 1 MiB came before the first token")
            if not piece or exchange.done:
                break
        tail = exchange.end()
        if held or tail:
            self._first(begun)
            yield Frames(b"".join([*held, tail]), len(held) + tail.count(b"\n\n"))
        reply.keep_connection()

    def _first(self, begun: float) -> None:
        """Marks the way of no return."""
        if not self.sent:
            self.sent = True
            self.attempt.first_token_ms = (self._generator.clock() - begun) * 1000
            self._generator.health.succeeded(self.candidate.provider, self.candidate.upstream_name)

    def finish(self, attempts: Sequence[Attempt]) -> Finish:
        """The end of a good answer; its usage is that of all its parts."""
        attempt, result = self.attempt, self.exchange.result(need_text=self._ask.need_text)
        usage = attempt.usage
        if self._rescuer.active:
            usage = added((self._rescuer.usage_before(), usage))
        return Finish(usage, attempt.usage_source, attempt.finish_reason, result.text, result.tool_calls_json, attempts)

    def close_books(self) -> None:
        """Writes the good attempt's account."""
        attempt, result = self.attempt, self.exchange.result(need_text=False)
        attempt.ended_at_s = self._generator.now()
        attempt.status_code = 200
        attempt.usage, attempt.usage_source = result.usage, result.usage_source
        attempt.finish_reason = result.finish_reason


def _failure(faults: Sequence[ProviderFault], attempts: Sequence[Attempt], *, after_first_token: bool) -> Failure:
    """What to tell the caller after the last attempt."""
    if not faults:
        return Failure(Reason.NO_MODEL_AVAILABLE, "No candidate was given.", 0, 0.0, False, attempts)
    last = faults[-1]
    waits = [fault.retry_after_s for fault in faults if fault.retry_after_s is not None]
    retry_after_s = min(waits) if waits else 0.0
    tried = {attempt.model for attempt in attempts}
    theirs = [fault for fault in faults if fault.reason not in (Reason.PROVIDER_REFUSED, Reason.INVALID_REQUEST)]
    if len(tried) > 1 and last.reason in (Reason.PROVIDER_REFUSED, Reason.INVALID_REQUEST) and theirs:
        # A fallback that cannot take the request must not hide why it was asked.
        last = theirs[-1]
    message = last.message if len(tried) == 1 else f"All {len(attempts)} attempts failed. {last.message}"
    return Failure(last.reason, message[:500], last.status_code, retry_after_s, after_first_token, attempts, last.body)
