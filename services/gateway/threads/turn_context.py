"""What goes along with a turn: memory's context, or the plain window, or nothing; a memory that fails loses no answer.

The context is asked for before a model is chosen, so it is the same whichever provider answers; only a model whose
window is too short for it gets a shorter one.
"""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dac.memory.v1.conversation_pb2 import Message, OpenTurnRequest, OpenTurnResponse
from dac.memory.v1.memory_pb2 import BuildContextRequest, BuildContextResponse, ContextMessage
from dac.type.v1.record_pb2 import ContextRecord
from mesh.errors import MeshError, Reason
from mesh.tokens import estimate_tokens
from services.gateway.wire import openai_documents, openai_wire
from services.gateway.wire.openai_wire import ChatAsk

if TYPE_CHECKING:
    from dac.memory.v1.conversation_pb2_grpc import ConversationServiceAsyncStub
    from dac.memory.v1.memory_pb2_grpc import MemoryServiceAsyncStub

TIMEOUT_S = 2.0
"""How long a context is waited for."""
WINDOW_TIMEOUT_S = 1.0
"""How long the plain window is waited for in its place."""
_FAILS = frozenset({Reason.UNAVAILABLE, Reason.DEADLINE_EXCEEDED, Reason.INTERNAL, Reason.UNIMPLEMENTED})
"""What says that memory cannot do its work; anything else is said of the request."""
_RECALLED = {ContextMessage.KIND_SYSTEM_BLOCK, ContextMessage.KIND_SUMMARY}
_GONE = {ContextMessage.KIND_NEW, ContextMessage.KIND_UNSPECIFIED}


@dataclasses.dataclass(slots=True)
class Earlier:
    """What goes along, in the order in which it is sent."""

    messages: list[bytes]
    tokens: int
    turns: int
    """How many of them the user said."""


class TurnContext:
    """Builds the context of one chat and writes on `record` what it is."""

    def __init__(
        self,
        threads: "ConversationServiceAsyncStub",
        memories: "MemoryServiceAsyncStub",
        ask: ChatAsk,
        request_id: str,
        *,
        across_threads: bool,
    ) -> None:
        self._threads, self._memories, self._ask, self._request_id = threads, memories, ask, request_id
        self._across_threads = across_threads
        self.record = ContextRecord()
        self.private = False
        """It holds something of the caller's memories outside of this thread: the answer is not for others."""
        self.recalled: Sequence[str] = ()
        """The texts of memories and summaries that went along."""

    async def build(self, most_tokens: int) -> Earlier:
        """At most about `most_tokens` beside the request's own messages. Raises what memory says of the request."""
        self.record.Clear()
        self.private = False
        if most_tokens <= 0:
            self.record.source = ContextRecord.SOURCE_MEMORY
            self.record.left_out.add(kind="window", why="max_tokens")
            return Earlier([], 0, 0)
        request = self._request(most_tokens)
        try:
            try:
                return self._of_memory(await self._memories.BuildContext(request, timeout=TIMEOUT_S))
            except MeshError as error:
                if error.reason is not Reason.NOT_FOUND:
                    raise
            # It begins with this turn; a thread or a message that is not the caller's is refused when it is saved.
            if not request.recall.across_threads:
                self.record.source = ContextRecord.SOURCE_MEMORY
                return Earlier([], 0, 0)
            request.thread_id = request.parent_message_id = ""
            return self._of_memory(await self._memories.BuildContext(request, timeout=TIMEOUT_S))
        except MeshError as error:
            if error.reason not in _FAILS:
                raise
        return await self._plain_window(most_tokens)

    def _request(self, most_tokens: int) -> BuildContextRequest:
        ask = self._ask
        own = [(one, raw) for one, raw in zip(ask.messages, openai_wire.raw_messages(ask), strict=True)]
        new = [
            BuildContextRequest.NewMessage(
                role=role_of(one),
                text=openai_wire.text_of(one),
                openai_json="" if openai_wire.is_plain(one) else raw.decode(),
            )
            for one, raw in own
            if one.role not in ("system", "developer")
        ]
        enabled = ask.enable_memory is not False
        return BuildContextRequest(
            thread_id="" if ask.begins_anew else ask.thread_id,
            parent_message_id=ask.parent_message_id,
            request_id=self._request_id,
            messages=new,
            max_tokens=most_tokens + sum(estimate_tokens(len(raw)) for _, raw in own),
            model="" if openai_wire.lets_choose(ask.model) else ask.model,
            recall=BuildContextRequest.RecallOptions(enabled=enabled, across_threads=enabled and self._across_threads),
            agent_id=ask.agent_id,
        )

    def _of_memory(self, built: BuildContextResponse) -> Earlier:
        earlier = [one for one in built.messages if one.kind not in _GONE]
        record, tokens = self.record, sum(one.tokens for one in earlier)
        record.source = ContextRecord.SOURCE_MEMORY
        record.messages = sum(one.kind == ContextMessage.KIND_WINDOW for one in earlier)
        record.tokens, record.recalled = tokens, len(built.recalled)
        record.summarised = any(one.kind == ContextMessage.KIND_SUMMARY for one in earlier)
        for one in built.left_out:
            kind = ContextMessage.Kind.Name(one.kind).removeprefix("KIND_").lower()
            record.left_out.add(kind=kind, count=one.count, tokens=one.tokens, why=one.why)
        self.private = built.private
        self.recalled = [one.text for one in earlier if one.kind in _RECALLED]
        return _sent(earlier, tokens)

    async def _plain_window(self, most_tokens: int) -> Earlier:
        ask, record = self._ask, self.record
        record.source = ContextRecord.SOURCE_NONE
        if not ask.thread_id or ask.begins_anew:
            return Earlier([], 0, 0)
        request = OpenTurnRequest(
            thread_id=ask.thread_id,
            request_id=self._request_id,
            max_tokens=most_tokens,
            parent_message_id=ask.parent_message_id,
        )
        try:
            opened: OpenTurnResponse = await self._threads.OpenTurn(request, timeout=WINDOW_TIMEOUT_S)
        except MeshError as error:
            if error.reason not in _FAILS:
                raise
            return Earlier([], 0, 0)
        record.source = ContextRecord.SOURCE_WINDOW
        record.messages, record.tokens = len(opened.window), opened.window_tokens
        return _sent(opened.window, opened.window_tokens)


def role_of(message: openai_wire.ChatMessage) -> str:
    """A message's role as memory knows it."""
    return "tool" if message.role == "function" else message.role


def _sent(messages: "Sequence[ContextMessage] | Sequence[Message]", tokens: int) -> Earlier:
    raw = [one.openai_json.encode() or openai_documents.plain_message(one.role, one.text) for one in messages]
    return Earlier(raw, tokens, sum(one.role == "user" for one in messages))
