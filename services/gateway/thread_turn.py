"""A chat's part in a thread: the window goes along, the turn is saved before dispatch, the answer before the end."""

from typing import TYPE_CHECKING

from dac.memory.v1.conversation_pb2 import AppendMessagesRequest, Message, OpenTurnRequest, OpenTurnResponse
from mesh import telemetry
from mesh.tokens import estimate_tokens
from services.gateway import openai_wire
from services.gateway.openai_wire import ChatAsk
from services.gateway.pipeline import persistently

if TYPE_CHECKING:
    from dac.memory.v1.conversation_pb2_grpc import ConversationServiceAsyncStub

WINDOW_TOKENS = 8_000
"""How much of a thread goes along with a new turn."""


class ThreadTurn:
    """One turn of one thread."""

    def __init__(self, threads: "ConversationServiceAsyncStub", ask: ChatAsk, request_id: str) -> None:
        self._threads, self._ask, self._request_id = threads, ask, request_id

    async def body_with_window(self) -> bytes:
        """The body with the earlier messages that fit. Nothing is saved yet: the request may still be refused."""
        ask = self._ask
        opened = await self._open([], WINDOW_TOKENS)
        earlier = [
            message.openai_json.encode() or openai_wire.plain_message(message.role, message.text)
            for message in opened.window
        ]
        if not earlier:
            telemetry.CONVERSATIONS.inc()
            return ask.body
        ask.input_tokens += opened.window_tokens
        if ask.turns:
            ask.turns += sum(message.role == "user" for message in opened.window)
        ask.input_tokens_max += sum(map(len, earlier))
        return openai_wire.with_messages(ask, earlier)

    async def save_question(self) -> None:
        """Saves the user's turn; durable when it returns."""
        new = [
            Message(
                role="tool" if message.role == "function" else message.role,
                text=openai_wire.text_of(message),
                openai_json="" if openai_wire.is_plain(message) else raw.decode(),
                tokens_estimated=estimate_tokens(len(raw)),
            )
            for message, raw in zip(self._ask.messages, openai_wire.raw_messages(self._ask), strict=True)
            if message.role not in ("system", "developer")
        ]
        await self._open(new, 1)

    async def _open(self, messages: list[Message], max_tokens: int) -> OpenTurnResponse:
        turn = OpenTurnRequest(
            thread_id=self._ask.thread_id, request_id=self._request_id, messages=messages, max_tokens=max_tokens
        )
        opened: OpenTurnResponse = await persistently(lambda: self._threads.OpenTurn(turn))
        return opened

    async def save_answer(self, text: str, tool_calls_json: str, output_tokens: int, model: str) -> None:
        """Saves the answer; durable when it returns."""
        message = Message(
            role="assistant",
            text=text,
            openai_json=openai_wire.assistant_message(text, tool_calls_json) if tool_calls_json else "",
            tokens_estimated=output_tokens or estimate_tokens(len(text.encode())),
            model=model,
        )
        request = AppendMessagesRequest(thread_id=self._ask.thread_id, request_id=self._request_id, messages=[message])
        await persistently(lambda: self._threads.AppendMessages(request))
