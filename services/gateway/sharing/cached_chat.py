"""A chat that may be answered from the cache, or by the call of an equal chat that is under way.

Everybody is authenticated, routed, admitted and recorded on their own account; shared is only the answer. The chat runs
in a task of its own, so that a caller who leaves takes nothing from those who follow it.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence

from dac.memory.v1.cache_pb2 import CachedAnswer, LookupResponse
from dac.provider.v1.provider_pb2 import GenerateFinish
from dac.type.v1 import record_pb2, usage_pb2
from mesh import telemetry
from mesh.errors import MeshError, Reason
from services.gateway.chat.pipeline import Done, Head, ProviderRefusal
from services.gateway.gating.answer_check import STORED
from services.gateway.gating.verdict import CACHE, COALESCED
from services.gateway.sharing.answer_cache import AnswerCache, kept_form, kind_of, replayed
from services.gateway.sharing.cache_control import Wish, not_cached
from services.gateway.sharing.cache_scope import scope_of
from services.gateway.sharing.coalescing import Flight, LeaderFailed, Overrun, Tape
from services.gateway.sharing.line import LEADER
from services.gateway.sharing.shared_answers import entry_headers, found_how, told_again
from services.gateway.sharing.shared_run import SharedRun
from services.gateway.wire import openai_documents

Status = record_pb2.CacheRecord
OWN = frozenset(
    {
        Reason.BUDGET_EXHAUSTED,
        Reason.SPENDING_STOPPED,
        Reason.RATE_LIMITED,
        Reason.PERMISSION_DENIED,
        Reason.DEADLINE_EXCEEDED,
        Reason.CANCELLED,
    }
)
"""Failures of the leader's own account, whenever they come."""
MOST_WAITS = 8
"""How many leaders of other replicas, one failing after another, are waited for."""
BYPASS = (b"x-dac-cache", b"bypass")
MISS = (b"x-dac-cache", b"miss")


class CachedChat:
    """The part of one chat in cache and coalescing."""

    def __init__(self, run: SharedRun, wish: Wish) -> None:
        self._run, self.wish = run, wish
        self._sharing = run.sharing
        self._tape = Tape()
        self._flight: Flight | None = None
        self._claimed = b""
        self._key = b""
        self.alone = not wish.shared or not self._sharing.window_s
        """It makes a call of its own, and nobody follows it."""
        self._cache: AnswerCache | None = None
        self._stored = False
        self._begun = time.perf_counter()
        self.left = False
        """The caller is gone, but others wait for the answer."""

    # --- the caller's side ---

    async def events(self, own: AsyncGenerator[Head | bytes | Done, None]) -> AsyncGenerator[Head | bytes | Done, None]:
        """What the caller is told of its chat, whose `own` events go on when it leaves while others follow."""
        task = self._sharing.spawn(self._record(own))
        try:
            async for event in self._tape.read(own=True):
                yield event
        except Overrun:
            raise MeshError(Reason.CANCELLED, "The client read the answer too slowly.") from None
        finally:
            await self._leave(task)

    async def _record(self, own: AsyncGenerator[Head | bytes | Done, None]) -> None:
        """Runs the chat onto its tape."""
        error: BaseException | None = MeshError(Reason.CANCELLED, "The client went away.")
        try:
            async for event in own:
                self._tape.add(event, len(event) if isinstance(event, bytes) else 0)
            error = None
        except MeshError as failed:
            error = failed
        finally:
            self._close(error)

    def _close(self, error: BaseException | None) -> None:
        flight = self._flight
        if flight is not None:
            flight.dispatched = self._run.dispatched
            flight.own_failure = isinstance(error, MeshError) and (error.reason in OWN or self._run.dispatched is False)
            blocked = isinstance(error, MeshError) and error.reason is Reason.ANSWER_BLOCKED
            flight.final = isinstance(error, ProviderRefusal) or blocked
        storing = self._cache.storing if self._cache is not None else None
        self._tape.end(error)
        if error is None and storing is not None and not storing.done():
            # Who comes before it is stored still gets it from here.
            storing.add_done_callback(
                lambda done: self._closed(error, stored=not done.cancelled() and bool(done.result()))
            )
        else:
            self._closed(error, stored=self._stored)

    def _closed(self, error: BaseException | None, *, stored: bool) -> None:
        if self._flight is not None:
            self._sharing.flights.close(self._flight)
        if self._claimed and self._sharing.line is not None:
            request_id = self._run.call.request_id
            self._sharing.line.release(self._claimed, request_id, stored=stored, failed=error is not None)

    async def _leave(self, task: asyncio.Task[None]) -> None:
        if task.done() or self._tape.ended:
            return
        flight = self._flight
        if flight is not None and flight.following:
            self.left, flight.deserted = True, lambda: self._desert(flight, task)
            return
        if flight is not None:
            self._sharing.flights.close(flight)
        task.cancel()
        await asyncio.wait({task})

    def _desert(self, flight: Flight, task: asyncio.Task[None]) -> None:
        """Nobody waits any more."""
        self._sharing.flights.close(flight)
        task.cancel()

    # --- the run's side ---

    async def answered(self, allowed: Collection[str]) -> AsyncIterator[Head | bytes | Done]:
        """The answer, when it need not be asked for; then the record's outcome is set. Else the run asks a provider."""
        run, wish = self._run, self.wish
        scoped = scope_of(run.ask, run.body, run.scope)
        principal, private = run.caller.principal, run.private
        self._cache = AnswerCache(
            run.cache_stub,
            wish,
            scoped,
            user_id=principal.user_id if private else None,
            timeout_s=self._sharing.timeout_s,
        )
        about = f"{principal.org_id}\n{principal.user_id if private else ''}\n{wish.terms()}\n"
        self._key = hashlib.sha256(about.encode() + scoped.key + scoped.prompt.encode("utf-8", "replace")).digest()
        if private and not principal.user_id:
            # Nobody else could be told from this caller: nothing is shared.
            self.alone = True
        run.answer_headers = [MISS]
        run.record.cache.status = Status.STATUS_MISS
        if not self.alone:
            async for event in self._join(allowed):
                yield event
            if run.record.outcome:
                return
        found = await self._cache.look_up(allowed) if wish.read else None
        leader = ""
        if found is None and wish.only_if_cached:
            raise not_cached()
        if found is None and self._flight is not None:
            found, leader = await self._elsewhere(allowed)
        run.stage("cache")
        if found is not None:
            if self._flight is not None and leader:
                self._flight.made_by, self._flight.answer = leader, found.answer
            elif self._flight is not None:
                self._flight.hit = found
            judged = self._judged(None, ended=True)
            async for event in self._served(found.answer, found, leader=leader, judged=judged):
                yield event

    async def _join(self, allowed: Collection[str]) -> AsyncIterator[Head | bytes | Done]:
        """Leads a flight, or follows one until it lands; one that fails is followed by another, or led anew."""
        run, after = self._run, None
        # What the provider's events do not say the same way for everybody is replayed from the whole answer.
        own = run.call.request_id if run.ask.include_dac else ""
        shape = (run.ask.dialect, run.ask.stream, run.ask.include_usage, own)
        while not self.alone and not run.record.outcome:
            flight = self._sharing.flights.join(self._key, run.call.request_id, shape, self._tape, after)
            if flight.leader_id == run.call.request_id:
                self._flight = flight
                flight.check = run.checking
                telemetry.COALESCED.labels("led_anew" if after is not None else "led").inc()
                return
            after = flight
            async for event in self._follow(flight, shape, allowed):
                yield event

    async def _follow(
        self, flight: Flight, shape: tuple[object, ...], allowed: Collection[str]
    ) -> AsyncIterator[Head | bytes | Done]:
        run, head = self._run, None
        with flight.followed():
            try:
                if flight.shape != shape:
                    async for event in self._landed(flight, allowed):
                        yield event
                    return
                parts = []
                async for event in flight.shown():
                    if isinstance(event, bytes):
                        parts.append(event)
                        yield event
                    elif isinstance(event, Head):
                        if event.model not in allowed:
                            self.alone = True
                            return
                        await self._take_seat(event.model, free=flight.hit is not None)
                        head, why = event, self._why(flight)
                        run.answer_headers = [*run.answer_headers, *self._judged(flight)]
                        yield Head(event.model, event.provider, why)
                    else:
                        assert head is not None
                        text, calls = self._said(parts)
                        await run.save_turn(text, calls, event.usage.output_tokens, head.model, event.finish_reason)
                        cost = self._charged(head.model, head.provider, event.usage, event.cost_nano_usd or 0, flight)
                        self._judged(flight, ended=True)
                        run.end_well(event.finish_reason)
                        source = event.usage_source
                        yield Done(event.finish_reason, event.usage, source, cost, event.text, event.end)
            except LeaderFailed as failed:
                if head is not None or failed.everybodys:
                    run.followed = True
                    self._judged(flight, ended=True)
                    raise told_again(failed.error) from None
            except Overrun:
                if head is not None:
                    raise MeshError(Reason.CANCELLED, "The client read the answer too slowly.") from None
                self.alone = True

    async def _landed(self, flight: Flight, allowed: Collection[str]) -> AsyncIterator[Head | bytes | Done]:
        """The whole answer, written anew for one who asked for it in another form."""
        await flight.tape.until_ended()
        if flight.tape.error is not None:
            raise flight.failure()
        answer = flight.hit.answer if flight.hit is not None else flight.answer
        if answer is None or answer.model not in allowed:
            self.alone = True
            return
        leader = "" if flight.hit is not None else flight.caller_id
        judged = self._judged(flight, ended=True)
        async for event in self._served(answer, flight.hit, leader=leader, judged=judged):
            yield event

    def _judged(self, flight: Flight | None, *, ended: bool = False) -> list[tuple[bytes, bytes]]:
        """What is said of the answer where answers are checked: what its leader was told of it; without a flight it
        was stored, and had passed."""
        check = self._run.checking
        if check is None:
            return []
        stored = flight is None or flight.hit is not None
        if flight is None or flight.check is None:
            check.share(STORED, CACHE)
        else:
            check.share(flight.check.verdict, CACHE if stored else COALESCED)
        if ended:
            check.write()
        return [check.header()]

    async def _elsewhere(self, allowed: Collection[str]) -> tuple[LookupResponse | None, str]:
        """(what a leader in another replica has stored, its request's id); nothing when this replica is to ask."""
        line, cache = self._sharing.line, self._cache
        assert cache is not None
        for _ in range(MOST_WAITS if line is not None else 0):
            assert line is not None
            standing = await line.claim(self._key, self._run.call.request_id)
            if standing.leads:
                self._claimed = self._key
                return None, ""
            leader = standing.leader_id
            if not standing.ended:
                standing = await line.wait(self._key)
            found = await cache.look_up(allowed)
            if found is not None:
                return found, leader
            if standing.leader_id:
                # It was answered, but not so that it could be stored.
                return None, ""
        return None, ""

    async def _served(
        self,
        answer: CachedAnswer,
        found: LookupResponse | None,
        *,
        leader: str,
        judged: Sequence[tuple[bytes, bytes]] = (),
    ) -> AsyncIterator[Head | bytes | Done]:
        """A whole answer, as this chat asks for it. `leader`: who shared it, if it was made just now; `judged`: what
        is said of it."""
        run = self._run
        made = replayed(run.ask, answer, run.end_mark)
        await self._take_seat(answer.model, free=not leader)
        text, calls = openai_documents.answer_of(answer.openai_json)
        await run.save_turn(text, calls, answer.usage.output_tokens, answer.model, answer.finish_reason)
        if leader:
            cost = self._coalesced(leader, answer.model, answer.provider, answer.usage, answer.cost_nano_usd)
        else:
            assert found is not None
            cost = self._hit(found)
        if found is not None:
            run.answer_headers = entry_headers(found)
        if leader:
            run.answer_headers = [*run.answer_headers, (b"x-dac-coalesced", leader.encode("ascii", "replace"))]
        run.answer_headers = [*run.answer_headers, *judged]
        run.end_well(answer.finish_reason)
        why = f"coalesced: request {leader} was under way" if leader else found_how(found)
        yield Head(answer.model, answer.provider, why)
        yield made.body
        if run.ask.stream and run.ask.include_dac:
            yield run.usage_event(answer.usage, answer.model, cost)
        source = usage_pb2.USAGE_SOURCE_PROVIDER
        yield Done(answer.finish_reason, answer.usage, source, cost, text, made.end)

    async def _take_seat(self, model: str, *, free: bool) -> None:
        """Before anything is shown: the request counts, what it may cost is held, its question is saved."""
        run = self._run
        if free or self._sharing.charge == LEADER:
            await run.admit(model)
        else:
            await run.reserve()
        await run.save_question()

    def _why(self, flight: Flight) -> str:
        run = self._run
        if flight.hit is not None:
            run.answer_headers = entry_headers(flight.hit)
            return found_how(flight.hit)
        run.answer_headers = [MISS, (b"x-dac-coalesced", flight.caller_id.encode("ascii", "replace"))]
        return f"coalesced: request {flight.caller_id} was under way"

    def _said(self, parts: list[bytes]) -> tuple[str, str]:
        """Text and tool calls of what was shown, for a thread."""
        if not self._run.has_thread:
            return "", ""
        return self._run.said_in(b"".join(parts))

    def _charged(self, model: str, provider: str, usage: usage_pb2.Usage, cost: int, flight: Flight) -> int:
        if flight.hit is not None:
            return self._hit(flight.hit)
        return self._coalesced(flight.caller_id, model, provider, usage, cost)

    def _hit(self, found: LookupResponse) -> int:
        """Writes down what was found stored; it costs nothing."""
        cache, answer = self._run.record.cache, found.answer
        cache.status, cache.kind, cache.entry_id = Status.STATUS_HIT, kind_of(found), found.entry_id
        cache.similarity = found.similarity or 1.0
        cache.saved_nano_usd = answer.cost_nano_usd
        cache.saved_ms = max(0.0, answer.duration_ms - self._took_ms())
        telemetry.observe_saved("cache", answer.cost_nano_usd)
        return 0

    def _coalesced(self, leader: str, model: str, provider: str, usage: usage_pb2.Usage, cost_nano_usd: int) -> int:
        """Writes down whose call was shared, and what that is charged with here."""
        run, cache = self._run, self._run.record.cache
        cache.status, cache.leader_request_id = Status.STATUS_COALESCED, leader
        charge = run.charge_share(model, provider, usage) if self._sharing.charge != LEADER else 0
        cache.saved_nano_usd = max(0, cost_nano_usd - charge)
        telemetry.COALESCED.labels("followed").inc()
        telemetry.observe_saved("coalescing", cache.saved_nano_usd)
        return charge

    def _took_ms(self) -> float:
        return (time.perf_counter() - self._begun) * 1e3

    # --- the leader's end ---

    def hold(self) -> None:
        """The answer is covered in steps and may end for the leader's own sake: others see it when it is whole."""
        self._tape.held = True

    async def keep(self, finish: GenerateFinish, body: bytes, end: bytes, cost_nano_usd: int | None) -> None:
        """Stores the answer, and lets those have it who asked for it in another form."""
        run = self._run
        ms, request_id = self._took_ms(), run.call.request_id
        answer = kept_form(run.ask, finish, body, end, request_id, cost_nano_usd=cost_nano_usd or 0, ms=ms)
        if answer is None:
            return
        if self._flight is not None:
            self._flight.answer = answer
        check = run.checking
        if not self.wish.store or self._cache is None or (check is not None and not check.storable):
            return
        entry_id = await self._cache.store(answer, None if check is None else check.quality)
        if entry_id:
            self._stored = True
            run.record.cache.status = Status.STATUS_STORED
            run.record.cache.entry_id = entry_id
            run.stage("store")
