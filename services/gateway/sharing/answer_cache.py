"""A chat's part in the response cache: what is looked up, what is stored, and a stored answer as its asker gets it.

A cache that fails or is slow never loses the answer, and holds it no longer than its timeout.
"""

import asyncio
import hashlib
from collections.abc import Collection
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from dac.memory.v1 import cache_pb2
from dac.memory.v1.cache_pb2 import CachedAnswer, LookupRequest, LookupResponse, StoreRequest
from dac.provider.v1.provider_pb2 import GenerateFinish
from dac.type.v1 import chat_pb2
from mesh import telemetry
from mesh.errors import MeshError
from mesh.usage import openai_usage
from services.gateway.sharing import replay, replay_anthropic, replay_responses
from services.gateway.sharing.cache_control import Mode, Wish
from services.gateway.sharing.cache_scope import Scoped
from services.gateway.wire import openai_documents
from services.gateway.wire.openai_wire import ChatAsk

if TYPE_CHECKING:
    from dac.memory.v1.cache_pb2_grpc import CacheServiceAsyncStub

STORE_TIMEOUT_S = 10.0
"""How long storing may go on behind its answer."""
OPENAI, RESPONSES = chat_pb2.DIALECT_OPENAI_CHAT, chat_pb2.DIALECT_OPENAI_RESPONSES
_MODES = {
    Mode.EXACT: cache_pb2.MATCH_MODE_EXACT_ONLY,
    Mode.DEFAULT: cache_pb2.MATCH_MODE_DEFAULT,
    Mode.BALANCED: cache_pb2.MATCH_MODE_BALANCED,
}
_KINDS = {cache_pb2.MATCH_KIND_EXACT: "exact", cache_pb2.MATCH_KIND_SEMANTIC: "semantic"}
_storing: set[asyncio.Task[Any]] = set()


def kind_of(found: LookupResponse) -> str:
    """How an answer was found: exact or semantic."""
    return _KINDS.get(found.kind, "exact")


class AnswerCache:
    """Looks up and stores the answer of one chat, inside its caller's organisation."""

    def __init__(
        self, cache: "CacheServiceAsyncStub", wish: Wish, scoped: Scoped, *, user_id: str | None, timeout_s: float
    ) -> None:
        """`user_id`: only for this user; None = for the whole organisation."""
        self._cache, self._wish, self._scoped = cache, wish, scoped
        self._user_scoped, self._timeout_s = user_id is not None, timeout_s
        self.storing: asyncio.Task[str] | None = None
        """What stores the answer, while it does and after."""
        # What a memory of the release before knows an equal chat by, while both run.
        about = f"{user_id is not None}\n{user_id}\n{scoped.prompt}".encode("utf-8", "replace")
        self._fingerprint = hashlib.sha256(scoped.key + about).digest()

    async def look_up(self, allowed: Collection[str]) -> LookupResponse | None:
        """A stored answer of one of the `allowed` models, or None."""
        wish, found = self._wish, None
        request = LookupRequest(
            fingerprint=self._fingerprint,
            scope_key=self._scoped.key,
            prompt=self._scoped.prompt,
            mode=_MODES[wish.mode],
            min_similarity=wish.min_similarity,
            max_age_s=wish.max_age_s,
            user_scoped=self._user_scoped,
            # The organisation's other keys may use more models than this one.
            models=allowed,
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._cache.Lookup(request, timeout=self._timeout_s)
            fresh = not wish.max_age_s or answer.age_s <= wish.max_age_s
            if answer.HasField("answer") and answer.answer.model in allowed and fresh:
                found = answer
        except (MeshError, TimeoutError):
            telemetry.CACHE.labels("failed", "").inc()
            return None
        telemetry.CACHE.labels(*(("miss", "") if found is None else ("hit", kind_of(found)))).inc()
        return found

    async def store(self, answer: CachedAnswer, quality: float | None = None) -> str:
        """Stores a whole answer; its entry's id, or nothing where it was not stored in time or at all. `quality`: None
        = unknown."""
        request = StoreRequest(
            fingerprint=self._fingerprint,
            scope_key=self._scoped.key,
            prompt=self._scoped.prompt,
            answer=answer,
            user_scoped=self._user_scoped,
            exact_only=not self._wish.semantic,
            quality=quality,
            lifetime_s=self._wish.lifetime_s,
        )
        self.storing = storing = asyncio.create_task(self._store(request))
        _storing.add(storing)
        storing.add_done_callback(_storing.discard)
        done, _ = await asyncio.wait({storing}, timeout=self._timeout_s)
        return storing.result() if done else ""

    async def _store(self, request: StoreRequest) -> str:
        try:
            stored = await self._cache.Store(request, timeout=STORE_TIMEOUT_S)
        except MeshError:
            return ""
        return (stored.entry_id or "stored") if stored.stored else ""


def kept_form(
    ask: ChatAsk, finish: GenerateFinish, body: bytes, end: bytes, request_id: str, *, cost_nano_usd: int, ms: float
) -> CachedAnswer | None:
    """A whole answer as it is stored; None for one that is not: broken off, mended, or made of what cannot be joined.

    `body`: what the caller got; `end`: the end mark of its stream.
    """
    if finish.finish_reason != "stop" or not finish.attempts or finish.attempts[-1].rescue:
        return None
    last = finish.attempts[-1]
    try:
        both = _openai(ask, finish, body) if ask.dialect == OPENAI else _other(ask, finish, body, end, request_id)
    except (ValueError, KeyError, TypeError, AttributeError):
        # A provider that writes its answers otherwise than its form says.
        return None
    if both is None:
        return None
    document, events = both
    return CachedAnswer(
        openai_json=document,
        stream_events=events,
        model=last.model,
        provider=last.provider,
        usage=finish.usage,
        finish_reason=finish.finish_reason,
        cost_nano_usd=cost_nano_usd,
        duration_ms=ms,
    )


def _openai(ask: ChatAsk, finish: GenerateFinish, body: bytes) -> tuple[bytes, list[bytes]] | None:
    if not ask.stream:
        # Read, because an answer that was too long to be kept whole is none.
        msgspec.json.decode(body)
        return body, []
    events = replay.events_of(body)
    document = replay.assembled(events)
    if document is None or len(document["choices"]) != ask.choices:
        return None
    if "usage" not in document:
        document["usage"] = openai_usage(finish.usage)
    return msgspec.json.encode(document), events


def _other(
    ask: ChatAsk, finish: GenerateFinish, body: bytes, end: bytes, request_id: str
) -> tuple[bytes, list[bytes]] | None:
    if ask.stream:
        events = replay.events_of(body + end)
        if _form_of(ask).assembled(events) is None:
            return None
    else:
        # In place of events stands the one document: it is split when somebody asks for a stream.
        _form_of(ask).split(msgspec.json.decode(body))
        events = [body]
    model, reason = finish.attempts[-1].model, finish.finish_reason
    plain = openai_documents.completion(request_id, model, finish.text, finish.tool_calls_json, reason, finish.usage)
    return plain, events


def _form_of(ask: ChatAsk) -> ModuleType:
    return replay_responses if ask.dialect == RESPONSES else replay_anthropic


class Replayed(NamedTuple):
    """A stored answer as its asker gets it."""

    body: bytes
    end: bytes
    """What a stream ends with."""


def replayed(ask: ChatAsk, answer: CachedAnswer, end: bytes) -> Replayed:
    """In the asker's own form; `end`: what a stream of that form ends with."""
    if ask.dialect == OPENAI:
        if not ask.stream:
            return Replayed(answer.openai_json, b"")
        document = msgspec.json.decode(answer.openai_json)
        events = answer.stream_events or replay.split(document)
        usage = document.get("usage") or openai_usage(answer.usage)
        wanted = ask.include_usage and not ask.include_dac
        return Replayed(replay.framed(replay.with_usage(events, usage, wanted=wanted)), end)
    events, whole = list(answer.stream_events), len(answer.stream_events) == 1
    if not ask.stream:
        return Replayed(events[0] if whole else msgspec.json.encode(_form_of(ask).assembled(events)), b"")
    if whole:
        events = _form_of(ask).split(msgspec.json.decode(events[0]))
    return Replayed(replay.framed(events[:-1], named=True), replay.framed(events[-1:], named=True))
