"""One attempt: a request put to one provider, its answer read piece by piece, its account written."""

import dataclasses
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from mesh.call import current
from mesh.errors import Reason
from mesh.tracing import attempting
from services.provider.adapters import Exchange, Outgoing
from services.provider.calling.answer_reading import Outlet, StreamedAnswer, WholeAnswer
from services.provider.calling.calls import Endpoint, Limits, Reply, posting
from services.provider.calling.deployments import Balancer
from services.provider.calling.events import Ask, Attempt, Candidate, Deadlines, Event, Finish, Frames, Started, added
from services.provider.calling.health import FailFast
from services.provider.calling.rescue import Rescuer
from services.provider.config import ProviderConfig
from services.provider.errors import ProviderFault
from services.provider.keys.book import Key

MIN_SECRET_BYTES = 8
"""A shorter key is a word, such as the "none" of a server without keys."""
_KEY_HEADERS = frozenset({"authorization", "x-api-key", "api-key", "x-goog-api-key"})
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
    key: Key | None
    """The one of several keys that it sends."""

    def keyed(self) -> "Line":
        """The line with the key of one attempt. Raises ProviderFault when the caller's keys cannot be used."""

    def blames_key(self, fault: ProviderFault) -> bool:
        """Whether the fault is its key's alone; then that key rests and others are taken meanwhile."""

    def prefill(self, upstream_name: str) -> str:
        """How that model goes on with a begun answer: see rescue.PREFILL."""

    async def ready(self, wait_s: float) -> None:
        """Waits until it can be asked. Raises ProviderFault."""

    def exchange(self, ask: Ask, candidate: Candidate) -> Exchange:
        """A new exchange for one attempt. Raises ProviderFault when the dialects do not meet."""


Find = Callable[[str], Line]
"""provider name → line. Raises ProviderFault for an unknown one."""


@dataclasses.dataclass(frozen=True, slots=True)
class Ground:
    """What every attempt stands on."""

    find: Find
    config: ProviderConfig
    new_id: Callable[[], str]
    clock: Callable[[], float]
    """Monotonic."""
    now: Callable[[], float]
    """Wall clock."""
    health: FailFast
    balancer: Balancer

    def limits(self, endpoint: Endpoint, asked: Deadlines, total_left_s: float, *, stream: bool) -> Limits:
        """The ladder of one attempt: what the request asks, else the provider's own."""
        own = endpoint.limits
        first = asked.first_token_s or own.first_token_s
        return Limits(
            asked.connect_s or own.connect_s,
            first if stream else first * self.config.plain_wait_factor,
            asked.idle_s or own.idle_s,
            max(0.0, min(asked.total_s or own.total_s, total_left_s)),
        )

    def full(self, provider: str) -> bool:
        """Whether no place is free at a provider, or it is not there."""
        try:
            return self.find(provider).endpoint.bulkhead.free <= 0
        except ProviderFault:
            return True


class Run:
    """One attempt while it runs."""

    exchange: Exchange
    _endpoint: Endpoint
    _outgoing: Outgoing
    _limits: Limits
    _begun: float

    def __init__(
        self,
        ground: Ground,
        ask: Ask,
        candidate: Candidate,
        attempts: list[Attempt],
        rescuer: Rescuer,
        left_s: Callable[[], float],
    ) -> None:
        self._ground, self._ask, self._rescuer, self._left_s = ground, ask, rescuer, left_s
        self.candidate, self._attempts = candidate, attempts
        self.attempt = Attempt(ground.new_id(), candidate.provider, candidate.model, ground.now())
        attempts.append(self.attempt)
        self.fault: ProviderFault | None = None
        """Why it failed, once it has."""
        self.sent = False
        """Frames were handed to the caller: no way back."""
        self._asked = False
        """The request was put to the provider."""
        self.head = b""
        """The first of them."""
        self.outlet: Outlet | None = None
        """What takes its frames behind the first in the moment they come; None = all are yielded."""
        self._answer: WholeAnswer | StreamedAnswer | None = None
        self._line: Line | None = None
        self._key_blamed = False

    @property
    def last(self) -> "Run":
        """Itself: alone it is a race of one (see hedging.Race)."""
        return self

    @property
    def racers(self) -> "list[Run]":
        """Itself."""
        return [self]

    @property
    def sent_bytes(self) -> int:
        """The size of the frames that were handed over."""
        return 0 if self._answer is None else self._answer.given_bytes

    async def events(self) -> AsyncGenerator[Event, None]:
        """Started and the frames; afterwards `fault` says how it ended, and the attempt's account is written."""
        attempt, at = self.attempt, self.candidate
        watching = attempting(attempt, at.upstream_name, current(), self._ask.operation)
        with self._ground.balancer.asking(at), watching as watched:
            try:
                await self._prepare(self._left_s())
                async with self._place():
                    # Not before: whoever sees an attempt begin may be charged for its input.
                    yield self.started()
                    async with self._sending() as reply:
                        answer = self._answer = self._reading(reply)
                        while (frames := await answer.next()) is not None:
                            if not self.sent:
                                self._note_first(frames)
                                watched.saw(frames.data)
                            yield frames
                            if self.outlet is not None and isinstance(answer, StreamedAnswer):
                                await answer.pour(self.outlet)
                        reply.keep_connection()
            except ProviderFault as fault:
                self._note(fault)
            else:
                self._close_books()

    def has_other_key(self) -> bool:
        """Whether the key was at fault and the provider can be asked with another one now."""
        if not self._key_blamed:
            return False
        try:
            self._ground.find(self.candidate.provider).keyed()
        except ProviderFault:
            return False
        return True

    def started(self) -> Started:
        """That it begins, with the accounts of those that have ended."""
        attempt, at = self.attempt, self.candidate
        before = [one for one in self._attempts if one.ended_at_s and one is not attempt]
        return Started(attempt.attempt_id, at.model, at.provider, before, attempt.rescue)

    def stopped(self) -> Attempt:
        """Its account if it were stopped now because another answered: a request that was sent counts its input."""
        if self.fault is not None:
            return self.attempt
        made = dataclasses.replace(self.attempt, ended_at_s=self._ground.now())
        made.reason, made.message = Reason.CANCELLED, "Another attempt answered first."
        if self._asked:
            result = self.exchange.result(need_text=False)
            made.usage, made.usage_source = result.usage, result.usage_source
        return made

    def lost(self) -> None:
        """Another attempt answered first, and this one was stopped."""
        attempt, made = self.attempt, self.stopped()
        attempt.ended_at_s, attempt.reason, attempt.message = made.ended_at_s, made.reason, made.message
        attempt.usage, attempt.usage_source = made.usage, made.usage_source

    async def _prepare(self, total_left_s: float) -> None:
        """Makes the request and waits until the provider can be asked. Raises ProviderFault."""
        ask, ground = self._ask, self._ground
        line = self._line = ground.find(self.candidate.provider).keyed()
        if line.key is not None:
            self.attempt.provider_key_id = line.key.key_id
        self._endpoint = line.endpoint
        self._limits = ground.limits(line.endpoint, ask.deadlines, total_left_s, stream=ask.stream)
        self._begun = ground.clock()
        await line.ready(min(self._limits.first_token_s, self._limits.total_s))
        # Not before: a key that changes is current once the line is ready.
        if self._rescuer.active:
            self.exchange = self._rescuer.exchange(line, self.candidate, self.attempt)
        else:
            self.exchange = line.exchange(ask, self.candidate)
        self._outgoing = self.exchange.outgoing()

    def _place(self) -> AbstractAsyncContextManager[None]:
        """Holds a place at the provider. Raises ProviderFault."""
        return self._endpoint.bulkhead.place(min(self._limits.first_token_s, self._limits.total_s))

    def _sending(self) -> posting:
        """The request on its way, within what is left of its time."""
        waited = self._ground.clock() - self._begun
        most = self._limits
        limits = Limits(most.connect_s, most.first_token_s, most.idle_s, max(0.0, most.total_s - waited))
        self._asked = True
        return posting(self._endpoint, self._outgoing, limits, stream=self._ask.stream)

    def _reading(self, reply: Reply) -> WholeAnswer | StreamedAnswer:
        """What reads its answer."""
        provider, exchange = self.candidate.provider, self.exchange
        if not self._ask.stream:
            return WholeAnswer(reply, exchange, provider)
        most = self._ground.config.max_event_bytes
        return StreamedAnswer(reply, exchange, provider, self._outgoing.framing, max_event_bytes=most)

    def _note_first(self, frames: Frames) -> None:
        """Notes the first of what is shown: the way of no return."""
        self.sent, self.head = True, frames.data
        self.attempt.first_token_ms = (self._ground.clock() - self._begun) * 1000
        self._ground.health.succeeded(self.candidate.provider, self.candidate.upstream_name)
        if self.candidate.deployments:
            waited_s = self.attempt.first_token_ms / 1000
            self._ground.balancer.answered(self.candidate, waited_s, stream=self._ask.stream)

    def finish(self, attempts: Sequence[Attempt]) -> Finish:
        """The end of a good answer; its usage is that of all its parts."""
        attempt, result = self.attempt, self.exchange.result(need_text=self._ask.need_text)
        usage = attempt.usage
        if self._rescuer.active:
            usage = added((self._rescuer.usage_before(), usage))
        return Finish(usage, attempt.usage_source, attempt.finish_reason, result.text, result.tool_calls_json, attempts)

    def _close_books(self) -> None:
        """Writes the good attempt's account."""
        attempt, result = self.attempt, self.exchange.result(need_text=False)
        attempt.ended_at_s = self._ground.now()
        attempt.status_code = 200
        attempt.usage, attempt.usage_source = result.usage, result.usage_source
        attempt.finish_reason = result.finish_reason

    def _note(self, fault: ProviderFault) -> None:
        """Writes the failed attempt's account."""
        attempt, ground, at = self.attempt, self._ground, self.candidate
        self.fault = fault
        attempt.ended_at_s = ground.now()
        attempt.status_code, attempt.reason, attempt.message = fault.status_code, fault.reason, fault.message
        if fault.body:
            fault.body = _without_key(self.exchange.error_body(fault.body), self._outgoing)
        if self.sent:
            result = self.exchange.result(need_text=False)
            attempt.usage, attempt.usage_source = result.usage, result.usage_source
            attempt.finish_reason, attempt.status_code = result.finish_reason, 200
        if self._line is not None and self._line.blames_key(fault):
            # Other keys, and other organisations, may well be served: neither endpoint nor model is at fault.
            self._key_blamed, attempt.message = True, fault.message
            return
        if at.deployments and (fault.reason not in NOT_FAILING or fault.status_code == 404):
            ground.balancer.failed(at, fault.retry_after_s)
        if fault.reason not in NOT_FAILING:
            ground.health.failed(at.provider, at.upstream_name)


def _without_key(body: bytes, outgoing: Outgoing) -> bytes:
    """An error body that goes to the caller, without DAC's own key: some servers say the headers they got."""
    for name, value in outgoing.headers.items():
        key = value.removeprefix("Bearer ").encode()
        if name.lower() in _KEY_HEADERS and len(key) >= MIN_SECRET_BYTES:
            body = body.replace(key, b"***")
    return body
