"""The chat pipeline: route → context → cache → reserve → generate → settle, the same for HTTP and gRPC callers.

The gateway decides nothing a service owns: it asks them in order, passes bytes through, and hands the one record of
the request to budget after the last byte.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import grpc.aio
import msgspec

from dac.budget.v1.budget_pb2 import (
    CommitRequest,
)
from dac.budget.v1.budget_pb2_grpc import BudgetServiceStub
from dac.budget.v1.limit_pb2_grpc import LimitServiceStub
from dac.memory.v1.cache_pb2_grpc import CacheServiceStub
from dac.memory.v1.conversation_pb2_grpc import ConversationServiceStub
from dac.memory.v1.memory_pb2_grpc import MemoryServiceStub
from dac.provider.v1.provider_pb2_grpc import ProviderServiceStub
from dac.router.v1.router_pb2_grpc import RouterServiceStub
from dac.type.v1 import chat_pb2, record_pb2, usage_pb2
from mesh import telemetry
from mesh.call import Call
from mesh.errors import MeshError, Reason
from services.gateway.chat.budget_session import BudgetSession, Ledger
from services.gateway.chat.outcome_reports import OutcomeReports
from services.gateway.chat.recorded_texts import RecordedTexts
from services.gateway.chat.second_sends import SecondSends
from services.gateway.chat.settlement import Settlements
from services.gateway.config import CONTEXT_TOKENS
from services.gateway.identity.callers import Caller
from services.gateway.sharing.line import Sharing
from services.gateway.threads.late_saves import LateSaves

if TYPE_CHECKING:
    from services.gateway.gating.validation import Validation

DONE = b"data: [DONE]\n\n"
CHAT = "chat"
"""What the record of a chat says was asked for."""
RETRIES = 2
RETRY_WAIT_S = 0.1
MAX_WORDS = 1000


@dataclasses.dataclass(slots=True)
class Head:
    """What answers; comes before the first bytes."""

    model: str
    provider: str
    route: str


@dataclasses.dataclass(slots=True)
class Done:
    """A good answer has ended; for a stream everything but its end mark was sent."""

    finish_reason: str
    usage: usage_pb2.Usage
    usage_source: int
    cost_nano_usd: int | None
    """None when no price is known."""
    text: str = ""
    end: bytes = DONE
    """What a stream ends with."""


class ProviderRefusal(MeshError):
    """The provider refused the caller's request; its own error body goes through."""

    def __init__(self, message: str, status_code: int, body: bytes) -> None:
        super().__init__(Reason.PROVIDER_REFUSED, message)
        self.status_code, self.body = status_code, body


class _Refused(msgspec.Struct):
    message: str = ""


class _RefusalBody(msgspec.Struct):
    error: _Refused = msgspec.field(default_factory=_Refused)


def in_words(refusal: ProviderRefusal) -> MeshError:
    """A refusal for callers who get no body: the provider's own words stand in the message, cut to MAX_WORDS."""
    words, known = "", {"provider_status": str(refusal.status_code)}
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
        words = msgspec.json.decode(refusal.body, type=_RefusalBody).error.message[:MAX_WORDS]
    message = f"{refusal.message} Its own words: {words}" if words else refusal.message
    return MeshError(refusal.reason, message, metadata=known)


class Stubs:
    """The services a chat needs."""

    def __init__(self, channel_to: Callable[[str], grpc.aio.Channel], here: Collection[str] = ()) -> None:
        """`here`: the services of this process. A budget elsewhere is reached by one session, not by a call each."""
        self.router = RouterServiceStub(channel_to("router"))
        self.provider = ProviderServiceStub(channel_to("provider"))
        budget = channel_to("budget")
        self.session = None if "budget" in here else BudgetSession(budget)
        self.budget: Ledger = self.session or BudgetServiceStub(budget)  # type: ignore[assignment]
        self.limits = LimitServiceStub(budget)
        self.threads = ConversationServiceStub(channel_to("memory"))
        self.memories = MemoryServiceStub(channel_to("memory"))
        self.cache = CacheServiceStub(channel_to("memory"))

    async def close(self) -> None:
        """Ends what is open."""
        if self.session is not None:
            await self.session.close()


class Pipeline:
    """Makes a `ChatRun` for every chat."""

    def __init__(
        self,
        stubs: Stubs,
        settlements: Settlements,
        second_sends: SecondSends = SecondSends(),  # noqa: B008
        sharing: Sharing | None = None,
        context_tokens: int = CONTEXT_TOKENS,
        auto_line: str = "",
    ) -> None:
        """`auto_line`: what a model that the router chose is told of who it is; empty = nothing."""
        self.validation: Validation | None = None
        """What checks answers; set once all of it is there."""
        self.texts: RecordedTexts | None = None
        """What hands prompts and answers to audit; None = no organisation's are recorded."""
        self.sharing = sharing or Sharing()
        self.stubs, self.settlements, self.second_sends = stubs, settlements, second_sends
        self.auto_line = auto_line
        self.context_tokens, self.late_saves = context_tokens, LateSaves(stubs.threads)
        self._reports = OutcomeReports(stubs.router)

    def refuse(
        self,
        caller: Caller,
        call: Call,
        error: MeshError,
        *,
        client_request_id: str,
        http_status: int,
        asked_model: str = "",
        dialect: chat_pb2.Dialect = chat_pb2.DIALECT_OPENAI_CHAT,
        operation: str = CHAT,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Records a request that was refused after authentication, before any step."""
        record = record_pb2.RequestRecord(
            request_id=call.request_id,
            org_id=caller.principal.org_id,
            path=caller.principal.path,
            asked_model=asked_model[:200],
            dialect_in=dialect,
            dialect_out=dialect,
            operation=operation,
            outcome=record_pb2.OUTCOME_REFUSED,
            reason=int(error.reason),  # type: ignore[arg-type]
            message=error.message[:500],
            client_request_id=client_request_id,
            http_status=http_status,
            trace_id=call.trace_id,
            tags=tags,
        )
        telemetry.observe_org(record.org_id, record_pb2.Outcome.Name(record.outcome))
        telemetry.observe_failure("refused", record.reason)
        record.started_at.GetCurrentTime()
        record.ended_at.CopyFrom(record.started_at)
        self.settlements.submit(CommitRequest(record=record), caller)

    def report(self, attempts: Sequence[record_pb2.AttemptRecord], *, stream: bool) -> None:
        """Tells router how the attempts of a request ended, off the request's path."""
        self._reports.add(attempts, stream=stream)


async def persistently(step: Callable[[], Awaitable[Any]]) -> Any:
    """Runs an idempotent step again while its service is not reachable."""
    for left in range(RETRIES, -1, -1):
        try:
            return await step()
        except MeshError as error:
            if error.reason is not Reason.UNAVAILABLE or not left:
                raise
        await asyncio.sleep(RETRY_WAIT_S)
    raise AssertionError
