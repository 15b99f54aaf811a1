"""What a policy does to a chat between provider and caller, one stage for each thing: redaction, then persona.

What is sent goes through the stages before it is counted and held; what comes back goes through them before it is
shown, saved or stored. A chat whose policy asks for nothing has no stages and pays nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from services.gateway.chat.answer_stage import AnswerStage, Staged
from services.gateway.persona import stage as persona_stage
from services.gateway.redaction import stage as redaction_stage

Maker = Callable[[Staged], AnswerStage | None]
"""Makes a chat's stage; None = it has nothing to do."""
ORDER: tuple[Maker, ...] = (redaction_stage.stage_of, persona_stage.stage_of)
"""Each stage's maker, in the order in which a chat passes them, both on its way out and on its way back."""


class AnswerStages:
    """The stages of one chat, one behind the other."""

    def __init__(self, stages: Sequence[AnswerStage], *, stream: bool) -> None:
        self._stages, self._stream = stages, stream
        self._passes = [stage.shown for stage in stages]
        self._held: list[bytes] = []
        """The pieces of an answer that is no stream."""
        through = self._passes[0] if len(stages) == 1 else self._through
        self.shown: Callable[[bytes], bytes] = through if stream else self._hold
        """Whole events of an answer in, what of it may be shown by now out."""

    @property
    def scope(self) -> str:
        """What tells its answers from those of other rules."""
        return "\n".join(stage.scope for stage in self._stages)

    @property
    def private(self) -> bool:
        """Whether the answer is this caller's alone."""
        return any(stage.private for stage in self._stages)

    async def sent(self, body: bytes) -> bytes:
        """What goes to the provider."""
        for stage in self._stages:
            body = await stage.sent(body)
        return body

    def _hold(self, data: bytes) -> bytes:
        self._held.append(data)
        return b""

    def _through(self, data: bytes) -> bytes:
        for passed in self._passes:
            if data:
                data = passed(data)
        return data

    def rest(self) -> bytes:
        """What has not been shown of a good answer, but for its stream's end."""
        data = b""
        if not self._stream:
            data = b"".join(self._held)
            for stage in self._stages:
                data = stage.whole(data)
            return data
        for stage in self._stages:
            data = (stage.shown(data) if data else b"") + stage.rest()
        return data

    def end(self, mark: bytes) -> bytes:
        """The end mark of a stream as it is shown; behind `rest`."""
        return self.shown(mark) if self._stream and mark else mark

    def told(self, text: str) -> str:
        """The answer's text for thread and cache."""
        for stage in self._stages:
            text = stage.told(text)
        return text

    def told_calls(self, calls_json: str) -> str:
        """The answer's tool calls for the thread."""
        for stage in self._stages:
            calls_json = stage.told_calls(calls_json)
        return calls_json


def stages_of(staged: Staged) -> AnswerStages | None:
    """The stages of a chat; None when it has none."""
    stages = [stage for make in ORDER if (stage := make(staged)) is not None]
    return AnswerStages(stages, stream=staged.ask.stream) if stages else None
