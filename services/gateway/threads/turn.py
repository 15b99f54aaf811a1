"""A chat's part in a thread: its context goes along, the question is saved before dispatch, the answer before the end.

A memory that fails loses no answer: what it did not take is saved later, and the caller is told so. An answer that is
cut is saved as partial, off its caller's path.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import quote

from dac.memory.v1.conversation_pb2 import AppendMessagesRequest, Message, OpenTurnRequest
from dac.router.v1.router_pb2 import Candidate
from dac.type.v1 import record_pb2
from dac.type.v1.record_pb2 import ContextRecord
from mesh import telemetry
from mesh.call import Call
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.tokens import estimate_tokens
from mesh.turn_limits import check_context_messages, check_messages_at_once
from services.gateway.chat.pipeline import Pipeline, persistently
from services.gateway.identity.callers import Caller
from services.gateway.threads.events import shown_text
from services.gateway.threads.late_saves import UNREACHED, Step
from services.gateway.threads.turn_context import Earlier, TurnContext, role_of
from services.gateway.wire import openai_documents, openai_wire
from services.gateway.wire.openai_wire import ChatAsk

_UNSAVED = {ContextRecord.SAVED_LATER: b"later", ContextRecord.SAVED_REFUSED: b"refused"}
MADE_AT_ONCE = 500
"""How many messages are made ready to be saved within one turn of the event loop."""
SAVE_TIMEOUT_S, SAVE_AFTER_SILENCE_S = 10.0, 2.0
"""How long one try to save may take before the answer goes on without it; less when memory gave no context either."""


def _question(said: Iterable[tuple[openai_wire.ChatMessage, bytes]]) -> Iterator[Message]:
    """What of a body is saved: read messages, each with its raw form."""
    for message, raw in said:
        if message.role not in ("system", "developer"):
            yield Message(
                role=role_of(message),
                text=openai_wire.text_of(message),
                openai_json="" if openai_wire.is_plain(message) else raw.decode(),
                tokens_estimated=estimate_tokens(len(raw)),
            )


class ThreadTurn:
    """One turn of one thread; without a thread only memories go along, and nothing is saved."""

    def __init__(self, pipeline: Pipeline, ask: ChatAsk, caller: Caller, call: Call) -> None:
        self._threads, self._late = pipeline.stubs.threads, pipeline.late_saves
        self._most_tokens = pipeline.context_tokens
        self._ask, self._caller, self._call = ask, caller, call
        across = ask.enable_memory is True or bool(caller.principal.user_id or ask.agent_id)
        memories = pipeline.stubs.memories
        self._context = TurnContext(self._threads, memories, ask, call.request_id, across_threads=across)
        self._own = (ask.input_tokens, ask.input_tokens_max, ask.turns)
        self._earlier = Earlier([], 0, 0)
        self._steps: list[Step] = []
        """What memory has not taken yet."""
        self._answered = False
        self.record = self._context.record
        self._message_id = uuid7() if ask.thread_id else ""
        """The answer's, known before there is an answer: a stream's headers can tell it."""

    @property
    def recalls(self) -> bool:
        """Whether memories were looked for."""
        return self._ask.enable_memory is not False and self.record.source == ContextRecord.SOURCE_MEMORY

    @property
    def recalled_texts(self) -> Sequence[str]:
        """What was recalled besides the thread's own messages, as it went along."""
        return self._context.recalled

    @property
    def private(self) -> bool:
        """The context holds memories of the caller: the answer must not be shared with others."""
        return self._context.private

    async def body(self) -> bytes:
        """The body with its context. Nothing is saved yet: the request may still be refused."""
        check = check_messages_at_once if self._ask.thread_id else check_context_messages
        check(len(self._ask.messages))
        return await self._with(self._most_tokens)

    async def _with(self, most_tokens: int) -> bytes:
        ask = self._ask
        self._earlier = earlier = await self._context.build(most_tokens)
        self.record.user_message_id, self.record.message_id = ask.question_id, self._message_id
        tokens, tokens_max, turns = self._own
        ask.input_tokens = tokens + earlier.tokens
        ask.input_tokens_max = tokens_max + sum(map(len, earlier.messages))
        ask.turns = turns + earlier.turns if turns else 0
        if not earlier.messages:
            return ask.body
        return openai_wire.with_messages(ask, earlier.messages)

    async def body_after(self, refusal: MeshError) -> bytes | None:
        """A shorter one, when the context is what made the request too long for every model; else None."""
        if refusal.reason is not Reason.CONTEXT_TOO_LONG or not self._earlier.messages:
            return None
        needed, largest = (refusal.metadata.get(name, "") for name in ("needed_tokens", "largest_tokens"))
        over = int(needed) - int(largest) if needed.isdigit() and largest.isdigit() else self._earlier.tokens
        return await self._with(self._earlier.tokens - over)

    async def body_for(self, candidates: Sequence[Candidate]) -> bytes | None:
        """A shorter one, when the model's window is too short for this one and its answer; else None."""
        first = candidates[0] if candidates else Candidate()
        if not first.context_tokens or not self._earlier.messages:
            return None
        answer = self._ask.max_output_tokens or min(first.max_output_tokens, first.context_tokens // 4)
        room = first.context_tokens - answer - self._own[0]
        return await self._with(room) if self._earlier.tokens > room else None

    async def save_question(self) -> None:
        """Saves the user's turn; durable when it returns, unless memory does not answer: then it is saved later."""
        ask = self._ask
        if not ask.thread_id:
            return
        if ask.question_id:
            await self._check_place()
            return
        if not self.record.messages:
            telemetry.CONVERSATIONS.inc()
        turn = OpenTurnRequest(
            thread_id=ask.thread_id,
            request_id=self._call.request_id,
            max_tokens=1,
            parent_message_id=ask.parent_message_id,
            agent_id=ask.agent_id,
        )
        said = list(zip(ask.messages, openai_wire.raw_messages(ask), strict=True))
        for start in range(0, len(said), MADE_AT_ONCE):
            if start:
                await asyncio.sleep(0)
            turn.messages.extend(_question(said[start : start + MADE_AT_ONCE]))
        silent = self.record.source == ContextRecord.SOURCE_NONE
        timeout_s = SAVE_AFTER_SILENCE_S if silent else SAVE_TIMEOUT_S
        try:
            opened = await persistently(lambda: self._threads.OpenTurn(turn, timeout=timeout_s))
        except MeshError as error:
            self._later(turn, error)
            return
        self.record.saved = ContextRecord.SAVED_QUESTION
        if opened.message_ids:
            self.record.user_message_id = opened.message_ids[-1]

    async def _check_place(self) -> None:
        """What is answered once more is there, and another answer has a place. Raises what saving it would raise."""
        ask = self._ask
        look = OpenTurnRequest(
            thread_id=ask.thread_id,
            request_id=self._call.request_id,
            parent_message_id=ask.question_id,
            max_tokens=1,
            max_messages=1,
        )
        try:
            await persistently(lambda: self._threads.OpenTurn(look, timeout=SAVE_TIMEOUT_S))
        except MeshError as error:
            if error.reason not in UNREACHED:
                raise

    def _later(self, step: Step, error: MeshError) -> None:
        """Keeps a step for when memory is back. Raises what it says of the request, and when too many wait already."""
        if error.reason not in UNREACHED or self._late.full:
            raise error
        self._steps.append(step)
        self.record.saved = ContextRecord.SAVED_LATER

    def _answer(self, message: Message) -> AppendMessagesRequest:
        return AppendMessagesRequest(
            thread_id=self._ask.thread_id,
            request_id=self._call.request_id,
            parent_message_id=self._ask.question_id,
            messages=[message],
        )

    async def save_answer(
        self, text: str, tool_calls_json: str, output_tokens: int, model: str, finish_reason: str
    ) -> None:
        """Saves the answer; durable when it returns, unless memory does not answer: then it is saved later."""
        ask = self._ask
        if not ask.thread_id:
            return
        message = Message(
            message_id=self._message_id,
            role="assistant",
            text=text,
            openai_json=openai_documents.assistant_message(text, tool_calls_json) if tool_calls_json else "",
            tokens_estimated=output_tokens or estimate_tokens(len(text.encode())),
            model=model,
            status=Message.STATUS_COMPLETE,
            finish_reason=finish_reason,
            replaces_message_id=ask.replaces_message_id,
        )
        self._answered = True
        # Whoever leaves from here on leaves a whole answer behind: `settle` saves it when this is broken off.
        self._steps.append(request := self._answer(message))
        if len(self._steps) > 1:
            return
        try:
            saved = await persistently(lambda: self._threads.AppendMessages(request, timeout=SAVE_TIMEOUT_S))
        except MeshError as error:
            self._steps.clear()
            if error.reason in UNREACHED or error.reason is Reason.INTERNAL:
                self._later(request, error)
            else:
                # The answer is paid for and there: a thread that was deleted meanwhile does not take it away.
                self.record.saved, self.record.message_id = ContextRecord.SAVED_REFUSED, ""
            return
        self._steps.clear()
        self.record.saved, self.record.message_id = ContextRecord.SAVED_WHOLE, saved.message_ids[0]

    def settle(self, record: record_pb2.RequestRecord, shown: bytes, model: str) -> None:
        """When the request has ended, however: what is not saved is handed over.

        `shown`: what a stream had shown when it was cut.
        """
        ask = self._ask
        asked = self.record.saved or bool(ask.question_id)
        if shown and asked and ask.thread_id and not self._answered:
            text = shown_text(shown)
            if text:
                # Calls of tools are left out: nobody was told that they are whole, so nobody will answer them.
                message = Message(
                    message_id=self._message_id,
                    role="assistant",
                    text=text,
                    tokens_estimated=estimate_tokens(len(text.encode())),
                    model=model,
                    status=Message.STATUS_PARTIAL,
                    replaces_message_id=ask.replaces_message_id,
                )
                self._steps.append(self._answer(message))
                self.record.saved = ContextRecord.SAVED_PARTIAL
        elif self._steps:
            self.record.saved = ContextRecord.SAVED_LATER
        elif not self._answered:
            self.record.message_id = ""
        if self._steps:
            self._late.submit(self._steps, self._call, self._caller)
        record.context.CopyFrom(self.record)

    def headers(self) -> list[tuple[bytes, bytes]]:
        """What the answer's headers tell of the thread."""
        record, told = self.record, [(b"x-dac-context", self._context_line().encode())]
        for name, value in (
            (b"x-dac-thread-id", self._ask.thread_id),
            (b"x-dac-user-message-id", record.user_message_id),
            (b"x-dac-message-id", record.message_id),
        ):
            if value:
                told.append((name, value.encode() if value.isascii() else quote(value).encode()))
        if record.saved in _UNSAVED:
            told.append((b"x-dac-thread-saved", _UNSAVED[record.saved]))
        return told

    def _context_line(self) -> str:
        record = self.record
        parts = [ContextRecord.Source.Name(record.source).removeprefix("SOURCE_").lower()]
        parts += [f"messages={record.messages}"] if record.messages else []
        parts += [f"recalled={record.recalled}"] if record.recalled else []
        parts += ["summary"] if record.summarised else []
        left_out = sum(one.count for one in record.left_out)
        return "; ".join([*parts, *([f"left_out={left_out}"] if left_out else [])])

    def told(self) -> dict[str, Any]:
        """The same for a body."""
        record = self.record
        own = {
            "thread_id": self._ask.thread_id,
            "user_message_id": record.user_message_id,
            "message_id": record.message_id,
            "saved": ContextRecord.Saved.Name(record.saved).removeprefix("SAVED_").lower(),
        }
        context = {
            "source": ContextRecord.Source.Name(record.source).removeprefix("SOURCE_").lower(),
            "messages": record.messages,
            "tokens": record.tokens,
            "recalled": record.recalled,
            "summarised": record.summarised,
            "left_out": [
                {"kind": one.kind, "count": one.count, "tokens": one.tokens, "why": one.why} for one in record.left_out
            ],
        }
        return {**(own if self._ask.thread_id else {}), "context": context}
