"""What a turn below a thread has to know first: whether the thread is there, what it wants, what is answered."""

import uuid
from typing import TYPE_CHECKING

from dac.memory.v1.conversation_pb2 import (
    GetMessageRequest,
    Message,
    OpenTurnRequest,
    OpenTurnResponse,
    UpdateMessageRequest,
)
from mesh import call as calls
from mesh.errors import MeshError, Reason, invalid
from services.gateway.chat.pipeline import persistently
from services.gateway.errors import not_a_message, results_missing
from services.gateway.threads import thread_paths
from services.gateway.threads.thread_paths import ThreadAsk
from services.gateway.wire.openai_wire import ChatAsk

if TYPE_CHECKING:
    from services.gateway.chat.pipeline import Pipeline

MOST_EARLIER = 100
"""How far back the question of an answer may lie."""


def _is_id(text: str) -> bool:
    try:
        return bool(uuid.UUID(text))
    except ValueError:
        return False


class ThreadOpener:
    """Makes a chat of a turn below a thread."""

    def __init__(self, pipeline: "Pipeline") -> None:
        self._pipeline = pipeline

    async def open(self, turn: ThreadAsk) -> ChatAsk:
        """The chat. Raises NOT_FOUND for a thread or a message that is not the caller's, and INVALID_REQUEST."""
        path = turn.path
        message_id = path.message_id
        if path.edits:
            # Checked before anything is saved.
            before = await self._window(path.thread_id, message_id)
            if before.window and before.window[-1].message_id == message_id and before.window[-1].role != "user":
                raise invalid("regenerate", "Only an edited question can be answered once more: this is no question.")
            thread_paths.ask_of(turn, before.thread, before.window)
            message_id = await self._edited(turn)
        opened = await self._window(path.thread_id, message_id)
        if not message_id:
            return thread_paths.ask_of(turn, opened.thread)
        earlier = list(opened.window)
        if not earlier or earlier[-1].message_id != message_id:
            # A window leaves out calls of tools without their results, which come behind the message.
            earlier = await self._until_calls(path.thread_id, message_id)
        return thread_paths.ask_of(turn, opened.thread, earlier)

    async def _until_calls(self, thread_id: str, message_id: str) -> list[Message]:
        """The path to an answer that calls tools, itself last. Raises NOT_FOUND, and INVALID_REQUEST for another."""
        request = GetMessageRequest(thread_id=thread_id, message_id=message_id)
        found = (await persistently(lambda: self._pipeline.stubs.threads.GetMessage(request))).message
        if found.role != "assistant" or not found.parent_message_id:
            raise results_missing()
        before = await self._window(thread_id, found.parent_message_id)
        return [*before.window, found]

    async def _window(self, thread_id: str, message_id: str) -> OpenTurnResponse:
        if message_id and not _is_id(message_id):
            raise not_a_message(message_id[:80])
        request = OpenTurnRequest(
            thread_id=thread_id,
            parent_message_id=message_id,
            max_tokens=0 if message_id else 1,
            max_messages=MOST_EARLIER if message_id else 1,
        )
        opened: OpenTurnResponse = await persistently(lambda: self._pipeline.stubs.threads.OpenTurn(request))
        if not opened.HasField("thread"):
            raise MeshError(
                Reason.NOT_FOUND,
                f'There is no thread "{thread_id[:80]}" of yours: begin it with POST /api/threads.',
                metadata={"field": "thread_id"},
            )
        return opened

    async def _edited(self, turn: ThreadAsk) -> str:
        """Saves the edit as a new version of the message; its id."""
        request = UpdateMessageRequest(
            thread_id=turn.path.thread_id,
            message_id=turn.path.message_id,
            text=turn.text,
            request_id=calls.current().request_id,
        )
        edited = await persistently(lambda: self._pipeline.stubs.threads.UpdateMessage(request))
        return str(edited.message.message_id)
