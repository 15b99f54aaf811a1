"""What callers ask of providers: protos as the domain's asks."""

from collections.abc import Callable, Iterable, Mapping

from dac.provider.v1 import provider_pb2
from dac.type.v1 import chat_pb2, deployment_pb2
from mesh.errors import invalid
from services.provider.calling import events
from services.provider.conversions import usage_of
from services.provider.form import FormPart

AUDIO: Mapping[int, events.Operation] = {
    provider_pb2.AUDIO_TASK_TRANSCRIPTION: events.Operation.TRANSCRIPTION,
    provider_pb2.AUDIO_TASK_TRANSLATION: events.Operation.TRANSLATION,
    provider_pb2.AUDIO_TASK_SPEECH: events.Operation.SPEECH,
}


def _candidates(given: Iterable[provider_pb2.GenerateCandidate]) -> list[events.Candidate]:
    return [
        events.Candidate(
            one.model,
            one.provider,
            one.upstream_name,
            one.output_cap_tokens,
            one.context_tokens,
            [_deployment(each) for each in one.deployments],
            one.sticky,
        )
        for one in given
    ]


def _deployment(given: deployment_pb2.Deployment) -> events.Deployment:
    weight = given.weight if given.weight > 0 else 1.0
    return events.Deployment(given.provider, given.upstream_name, weight, given.priority)


def _deadlines(waits: provider_pb2.Deadlines) -> events.Deadlines:
    return events.Deadlines(waits.connect_s, waits.first_token_s, waits.idle_s, waits.total_s)


def embed_ask(request: provider_pb2.EmbedRequest) -> events.Ask:
    """Of an embedding."""
    return events.Ask(
        input=request.input,
        candidates=_candidates(request.candidates),
        deadlines=_deadlines(request.deadlines),
        operation=events.Operation.EMBEDDINGS,
        vectors=max(0, request.vectors),
        input_tokens=max(0, request.input_tokens),
    )


def audio_ask(request: provider_pb2.AudioRequest, heard: Callable[[str], None]) -> events.Ask:
    """Of speech. Raises INVALID_REQUEST for a task that is none."""
    operation = AUDIO.get(request.task)
    if operation is None:
        raise invalid("task", f"task is {request.task}: say transcription, translation or speech.")
    return events.Ask(
        input=request.input,
        candidates=_candidates(request.candidates),
        deadlines=_deadlines(request.deadlines),
        stream=request.stream,
        operation=operation,
        bound=usage_of(request.bound),
        form=[FormPart(one.name, one.data, one.filename, one.content_type) for one in request.form],
        heard=heard,
    )


def chat_ask(request: provider_pb2.GenerateRequest) -> events.Ask:
    """Of a chat."""
    dialect_in = request.dialect_in or chat_pb2.DIALECT_OPENAI_CHAT
    return events.Ask(
        input=request.input,
        candidates=_candidates(request.candidates),
        dialect_in=events.Dialect(dialect_in),
        dialect_out=events.Dialect(request.dialect_out or dialect_in),
        deadlines=_deadlines(request.deadlines),
        stream=request.stream,
        include_usage=request.include_usage,
        need_text=request.need_text,
        answer_model=request.answer_model,
        rescues=max(0, request.rescues),
        hedge_after_s=request.hedge_after_s if request.stream else 0.0,
        anthropic_beta=request.anthropic_beta,
    )
