"""A step between provider and caller, and the chat that it is made for: what every kind of stage is written against."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol

from dac.router.v1.answers_pb2 import AnswerRules
from dac.type.v1.record_pb2 import RequestRecord
from services.gateway.identity.callers import Caller
from services.gateway.wire.openai_wire import ChatAsk


class AnswerStage(Protocol):
    """One step between provider and caller; a new one for every request, in the order of `answer_stages.ORDER`."""

    scope: str
    """What tells its answers from those of other rules, beside the body that is sent; known when it is made."""
    private: bool
    """The answer is this caller's alone: nothing of it is looked up, shared or stored. Known when `sent` is done."""

    async def sent(self, body: bytes) -> bytes:
        """What goes to the provider. Raises MeshError for what must not be sent at all."""

    def shown(self, data: bytes) -> bytes:
        """Whole events of a stream in, whole events out, its last one (message_stop, response.completed) among them;
        holds text back only inside a possible match."""

    def rest(self) -> bytes:
        """What was held, before the end of a good stream."""

    def whole(self, body: bytes) -> bytes:
        """An answer that is no stream."""

    def told(self, text: str) -> str:
        """The answer's text for thread and cache, from what the provider said: the same as what was shown."""

    def told_calls(self, calls_json: str) -> str:
        """The same of its tool calls, as JSON; empty = it makes none."""


@dataclasses.dataclass(frozen=True, slots=True)
class Staged:
    """The chat that stages are made for."""

    rules: AnswerRules
    ask: ChatAsk
    caller: Caller
    record: RequestRecord
    """A stage writes its own part of it, counts and kinds only."""
    model: Callable[[], str]
    """The DAC id of the model that answers by now."""
