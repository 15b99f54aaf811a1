"""One audio request on its way: route → reserve → ask → settle, by the rules of a chat."""

import dataclasses
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

from dac.provider.v1.provider_pb2 import AttemptStarted, AudioRequest, GenerateFinish
from dac.router.v1.router_pb2 import RouteRequest
from dac.type.v1 import record_pb2, usage_pb2
from dac.type.v1.record_pb2 import AttemptRecord
from mesh import sse, telemetry
from mesh.call import Call
from mesh.errors import MeshError, Reason
from mesh.tokens import estimate_tokens
from mesh.transport import reading
from mesh.usage import prompt_tokens
from services.gateway.audio import TASKS, AudioAsk
from services.gateway.chat import candidates
from services.gateway.chat.pipeline import Head, Pipeline
from services.gateway.chat.reserved_run import ReservedRun
from services.gateway.identity.callers import Caller
from services.gateway.redaction.requests import form_without_values, without_values

EVENTS = "text/event-stream"
COUNTED_BYTES_MAX = 8 * 1024 * 1024
"""How much of a streamed transcription is kept for counting it when its caller leaves."""


@dataclasses.dataclass(frozen=True, slots=True)
class AudioHead:
    """What answers, and in what form; comes before the first bytes."""

    head: Head
    content_type: str


@dataclasses.dataclass(frozen=True, slots=True)
class AudioDone:
    """A good answer has ended."""

    cost_nano_usd: int | None
    """None when no price is known."""


class AudioRun(ReservedRun):
    """One request. `events` yields AudioHead, then bytes, then AudioDone; it raises MeshError on failure."""

    def __init__(
        self, pipeline: Pipeline, ask: AudioAsk, caller: Caller, call: Call, *, client_request_id: str
    ) -> None:
        super().__init__(
            pipeline,
            caller,
            call,
            model=ask.model,
            operation=ask.operation,
            input_tokens=ask.input_tokens,
            client_request_id=client_request_id,
            stream=ask.stream,
        )
        self.ask = ask
        self._attempt: AttemptStarted | None = None
        self._attempt_ns = 0
        self._bound = usage_pb2.Usage()
        self._content_type = ""
        self._kept: list[bytes] = []
        self._kept_bytes = 0

    async def events(self) -> AsyncGenerator[AudioHead | bytes | AudioDone, None]:
        """The answer, piece by piece."""
        with self._accounted("the audio pipeline"):
            await self._route()
            await self._redact()
            await self._reserve()
            async for event in self._hear():
                yield event

    async def _route(self) -> None:
        ask = self.ask
        await self._route_by(
            RouteRequest(
                model=ask.model,
                input_tokens=ask.input_tokens,
                needs_audio=ask.operation,
                stream=ask.stream,
                allowed_models=self.caller.models,
            )
        )

    async def _redact(self) -> None:
        """Takes private values out of what is to be spoken, and out of what goes along with an upload."""
        ask, record = self.ask, self.record.redaction
        if not ask.form:
            self.ask = dataclasses.replace(ask, body=await without_values(self.rules, ask.redaction, ask.body, record))
            return
        form = await form_without_values(self.rules, ask.redaction, ask.form, record)
        self.ask = dataclasses.replace(ask, form=form)

    async def _reserve(self) -> None:
        ask = self.ask
        self._bound = most = ask.bound(self._candidates)
        held = await self._hold(
            ask.body,
            input_tokens=min(ask.input_tokens, prompt_tokens(most)),
            input_tokens_max=prompt_tokens(most),
            max_output_tokens=most.output_tokens,
            asked_output_tokens=max(1, most.output_tokens),
            audio_seconds_max=most.audio_seconds,
            input_characters_max=most.input_characters,
        )
        if 0 < held.output_cap_tokens < most.output_tokens:
            # No provider can be told to say less.
            raise MeshError(
                Reason.BUDGET_EXHAUSTED,
                f"What is left of the budget pays for {held.output_cap_tokens} tokens of the answer, and this may take "
                f"{most.output_tokens}: send less, or raise the budget.",
            )
        self.stage("reserve")

    def _request(self) -> AudioRequest:
        ask = self.ask
        return AudioRequest(
            request_id=self.call.request_id,
            task=TASKS[ask.operation],
            input=b"" if ask.form else ask.body,
            form=ask.form,
            candidates=candidates.asked(self._candidates),
            stream=ask.stream,
            bound=self._bound,
        )

    async def _hear(self) -> AsyncIterator[AudioHead | bytes | AudioDone]:
        self._dispatched, finish = True, None
        # Never sent again from here: the provider may have been asked already.
        async with reading(self._stubs.provider.Audio(self._request())) as events:
            async for event in events:
                kind = event.WhichOneof("event")
                if kind == "bytes":
                    if not self._content_type:
                        yield self._head(event.bytes.content_type)
                    self._keep(event.bytes.data)
                    yield event.bytes.data
                elif kind == "attempt":
                    self._attempt, self._attempt_ns = event.attempt, time.time_ns()
                else:
                    # Read on to the end: a call that is left early counts as cancelled.
                    finish = event
        if finish is not None and finish.HasField("failure"):
            raise self._refused(finish.failure)
        if finish is None or not self._content_type:
            raise MeshError(Reason.INTERNAL, "The provider service ended without a result. Try again.")
        yield self._finished(finish.finish)

    def _head(self, content_type: str) -> AudioHead:
        assert self._attempt is not None
        self._content_type = content_type
        self.stage("first_token")
        return AudioHead(Head(self._attempt.model, self._attempt.provider, self.record.route.reason), content_type)

    def _keep(self, data: bytes) -> None:
        if self._content_type == EVENTS and self._kept_bytes < COUNTED_BYTES_MAX:
            self._kept.append(data)
            self._kept_bytes += len(data)

    def _finished(self, finish: GenerateFinish) -> AudioDone:
        self.record.attempts.extend(finish.attempts)
        self._end(record_pb2.OUTCOME_OK)
        self.record.http_status = 200
        self.stage("generate")
        return AudioDone(self._cost(finish.attempts))

    def _count_open_attempt(self, why: MeshError) -> None:
        """Nobody told what was used: the most that it can be, and of a streamed text what was shown."""
        if self._attempt is None:
            return
        self.record.attempts.extend(self._attempt.before)
        used = usage_pb2.Usage()
        used.CopyFrom(self._bound)
        if self._content_type == EVENTS and self.ask.operation != "speech":
            used.output_tokens = estimate_tokens(_text_bytes(b"".join(self._kept)))
        self._add_open_attempt(
            self._attempt_ns,
            why,
            attempt_id=self._attempt.attempt_id,
            provider=self._attempt.provider,
            model=self._attempt.model,
            usage=used,
            usage_source=usage_pb2.USAGE_SOURCE_ESTIMATED,
        )

    def _observe(
        self, label: str, outcome: str, attempts: Sequence[AttemptRecord], charge: int | None, seconds: float
    ) -> None:
        telemetry.observe_audio(self.ask.operation, label, outcome, attempts, charge, seconds=seconds)


def _text_bytes(stream: bytes) -> int:
    """How much text the events of a transcription carry."""
    total = 0
    for data in sse.events_in(stream):
        document = sse.read_json(data) if data else None
        delta = document.get("delta") if isinstance(document, dict) else None
        total += len(delta.encode("utf-8", "replace")) if isinstance(delta, str) else 0
    return total
