"""One request for embeddings on its way: route → reserve → embed → settle, by the rules of a chat that is not streamed.

The caller's bytes go to the provider and the provider's bytes come back; only what must be priced and checked is read.
"""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec

from dac.provider.v1.provider_pb2 import EmbedAnswer, EmbedRequest
from dac.router.v1.router_pb2 import RouteRequest
from dac.type.v1 import record_pb2, usage_pb2
from dac.type.v1.record_pb2 import AttemptRecord
from mesh import telemetry
from mesh.call import Call
from mesh.errors import MeshError, Reason, invalid
from mesh.ids import uuid7
from mesh.tokens import estimate_tokens, upper_bound_tokens
from services.gateway.chat import candidates
from services.gateway.chat.pipeline import Head, Pipeline
from services.gateway.chat.reserved_run import ReservedRun
from services.gateway.identity.callers import Caller
from services.gateway.redaction.requests import taken_out, without_values
from services.gateway.wire import raw_bodies

OPERATION = "embeddings"
"""What the record says was asked for."""
ADDED_TOKENS = 2
"""What some models put around every input (a begin and an end mark) beside its own tokens."""
EXAMPLE = '{"model": "openai/text-embedding-3-small", "input": "Hello"}'
"""A right body, for those who sent another."""
_NOT_SENT = frozenset({Reason.UNAVAILABLE, Reason.UNIMPLEMENTED, Reason.PERMISSION_DENIED, Reason.PRINCIPAL_REQUIRED})
"""Failures of the call to provider that it makes before it asks anybody."""
MOST_INPUTS = 100_000
"""More than any provider takes; looking at each takes time that is everybody's."""
Token = Annotated[int, msgspec.Meta(ge=0, le=10_000_000)]
"""A number of a vocabulary's; none has as many as these."""
Input = str | list[str | Token | list[Token]]
"""A text, texts, a text as tokens, or texts as tokens."""
_inputs: "msgspec.json.Decoder[Input]" = msgspec.json.Decoder(Input)


@dataclasses.dataclass(frozen=True, slots=True)
class EmbedAsk:
    """A body for embeddings, as far as DAC reads it."""

    model: str
    body: bytes
    vectors: int
    """How many inputs there are, each answered by one vector."""
    input_tokens: int
    input_tokens_max: int
    redaction: bool | None = None
    """Whether private values are to be kept from the provider; None = as its policy says."""


@dataclasses.dataclass(frozen=True, slots=True)
class Embedded:
    """A good answer."""

    body: bytes
    head: Head
    cost_nano_usd: int | None
    """None when no price is known."""


def parse_embeddings(body: bytes, *, max_depth: int = 64) -> EmbedAsk:
    """Reads and checks a body. Raises INVALID_REQUEST naming the field and the mend."""
    fields = raw_bodies.top_level(body, max_depth, EXAMPLE)
    ask = _read(fields, body)
    redaction, body = taken_out(fields, body)
    return dataclasses.replace(ask, body=body, redaction=redaction)


def _read(fields: Mapping[str, msgspec.Raw], body: bytes) -> EmbedAsk:
    model = raw_bodies.model_of(fields, f"Say which model makes the embeddings, e.g. {EXAMPLE}.")
    raw = fields.get("input")
    if raw is None or bytes(raw) == b"null":
        raise invalid("input", f'"input" is missing: send a text, a list of texts, or tokens, e.g. {EXAMPLE}.')
    given = _input_of(raw)
    if not given:
        raise invalid("input", '"input" is empty: send at least one text.')
    if isinstance(given, str):
        given = [given]
    if len(given) > MOST_INPUTS and not isinstance(given[0], int):
        raise invalid("input", f'"input" holds {len(given)} texts; at most {MOST_INPUTS} are taken at once.')
    if len(set(map(type, given))) > 1:
        raise invalid("input", '"input" mixes texts and tokens: send texts only, or tokens only.')
    if isinstance(given[0], int):
        return EmbedAsk(model, body, 1, len(given), len(given) + ADDED_TOKENS)
    likely = most = 0
    for index, one in enumerate(given):
        if not one:
            raise invalid(f"input[{index}]", f'"input[{index}]" is empty: leave it out, or send a text.')
        if isinstance(one, str):
            size = len(one) if one.isascii() else len(one.encode())
            likely, most = likely + estimate_tokens(size), most + upper_bound_tokens(size)
        elif isinstance(one, list):
            likely, most = likely + len(one), most + len(one)
    return EmbedAsk(model, body, len(given), likely, most + ADDED_TOKENS * len(given))


def _input_of(raw: msgspec.Raw) -> Input:
    try:
        return _inputs.decode(raw)
    except msgspec.ValidationError as error:
        raise invalid(
            "input", f'"input" is a text, a list of texts, or lists of tokens: {str(error).lower()}.'
        ) from None
    except UnicodeDecodeError:
        raise invalid("body", '"input" is not UTF-8. Send JSON encoded as UTF-8.') from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise invalid("input", f'"input" is not valid JSON: {error}.') from None


class EmbedRun(ReservedRun):
    """One request. `answer` gives the vectors or raises MeshError; either way one record is handed over."""

    def __init__(
        self, pipeline: Pipeline, ask: EmbedAsk, caller: Caller, call: Call, *, client_request_id: str
    ) -> None:
        super().__init__(
            pipeline,
            caller,
            call,
            model=ask.model,
            operation=OPERATION,
            input_tokens=ask.input_tokens,
            client_request_id=client_request_id,
        )
        self.ask = ask
        self._dispatched_ns = 0

    async def answer(self) -> Embedded:
        """The vectors. Raises MeshError."""
        with self._accounted("the embeddings pipeline"):
            await self._route()
            body = await without_values(self.rules, self.ask.redaction, self.ask.body, self.record.redaction)
            self.ask = dataclasses.replace(self.ask, body=body)
            await self._reserve()
            return await self._embed()

    async def _route(self) -> None:
        request = RouteRequest(
            model=self.ask.model,
            input_tokens=self.ask.input_tokens,
            needs_embeddings=True,
            allowed_models=self.caller.models,
        )
        await self._route_by(request)

    async def _reserve(self) -> None:
        ask = self.ask
        # Nothing is written; 0 would mean the answer length that is usual for chats.
        await self._hold(
            ask.body,
            input_tokens=ask.input_tokens,
            input_tokens_max=ask.input_tokens_max,
            max_output_tokens=1,
            asked_output_tokens=1,
        )
        self.stage("reserve")

    async def _embed(self) -> Embedded:
        request = EmbedRequest(
            request_id=self.call.request_id,
            input=self.ask.body,
            candidates=candidates.asked(self._candidates),
            vectors=self.ask.vectors,
            input_tokens=self.ask.input_tokens,
        )
        self._dispatched, self._dispatched_ns = True, time.time_ns()
        # Never sent again from here: the provider may have been asked already.
        response = await self._stubs.provider.Embed(request)
        self.stage("embed")
        kind = response.WhichOneof("result")
        if kind == "failure":
            raise self._refused(response.failure)
        if kind != "answer":
            raise MeshError(Reason.INTERNAL, "The provider service ended without a result. Try again.")
        return self._answered(response.answer)

    def _answered(self, answer: EmbedAnswer) -> Embedded:
        record = self.record
        record.attempts.extend(answer.attempts)
        record.outcome, record.http_status = record_pb2.OUTCOME_OK, 200
        by = answer.attempts[-1] if answer.attempts else self._candidates[0]
        return Embedded(answer.body, Head(by.model, by.provider, record.route.reason), self._cost(record.attempts))

    def _count_open_attempt(self, why: MeshError) -> None:
        """Nobody told what was used: the provider has read the input, as far as anybody knows, so that is counted."""
        if not self._dispatched or why.reason in _NOT_SENT:
            return
        self._add_open_attempt(
            self._dispatched_ns,
            why,
            attempt_id=uuid7(),
            provider=self._candidates[0].provider,
            model=self._candidates[0].model,
            usage=usage_pb2.Usage(input_tokens=self.ask.input_tokens),
            usage_source=usage_pb2.USAGE_SOURCE_COUNTED,
        )

    def _observe(
        self, label: str, outcome: str, attempts: Sequence[AttemptRecord], charge: int | None, seconds: float
    ) -> None:
        telemetry.observe_embeddings(label, outcome, attempts, charge, seconds=seconds)
