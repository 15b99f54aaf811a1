"""A route in messages: what a RouteRequest asks, as the decision sees it; the decision, as it is answered and kept."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf import json_format

from dac.router.v1 import answers_pb2, router_pb2
from dac.type.v1 import deployment_pb2, record_pb2
from mesh.errors import invalid
from mesh.tokens import IMAGE_TOKENS, estimate_tokens
from services.router.catalog.catalog import KnownModel
from services.router.deciding.scoring import length_share
from services.router.deciding.sheet import MAX_RECORDED, Decision
from services.router.experiments.experiments import ShadowChoice
from services.router.policies.answer_rules import AnswerRules
from services.router.policies.intents import intent_of_task
from services.router.policies.policy import Ask, is_auto
from services.router.prompt.read_prompts import ReadPrompts

MAX_RECORD_BYTES = 4096
MOST_NAMED = 1000
"""How many models, or regions, a request may be held to: each is compared with each model."""
MAX_REASON_CHARS = 800
MAX_EXCLUDED_CHARS = 120
SURE_ENOUGH = 0.4
"""How sure an intent must be before models are compared by it and not in general."""


def asked(
    request: router_pb2.RouteRequest, call_id: str, org_id: str, prompts: ReadPrompts
) -> tuple[Ask, record_pb2.Features | None]:
    """The request as the decision sees it, and what was understood of its prompt. Raises INVALID_REQUEST."""
    prompt, turns, input_tokens = request.prompt, request.turns, max(0, request.input_tokens)
    needs_images = request.needs_images
    if request.messages:
        said = _read(request.messages)
        prompt, turns = prompt or said.prompt, turns or said.turns
        input_tokens, needs_images = input_tokens or said.tokens, needs_images or said.images > 0
    intent, complexity, features, reading = intent_of_task(request.task_type), None, None, None
    if prompt and not input_tokens:
        input_tokens = estimate_tokens(len(prompt.encode()))
    if prompt and is_auto(request.model):
        found = prompts.of(prompt)
        complexity, reading = found.complexity, found.reading
        features = record_pb2.Features(
            intent=intent or found.intent,
            complexity=complexity,
            language=found.language,
            input_tokens_estimated=input_tokens,
            intent_confidence=1.0 if intent else found.intent_confidence,
            needs_web=found.needs_web,
        )
        # An intent that is little better than a guess would choose by what the prompt is not for.
        if not intent and found.intent_confidence >= SURE_ENOUGH:
            intent = found.intent
    elif intent:
        features = record_pb2.Features(intent=intent, intent_confidence=1.0, input_tokens_estimated=input_tokens)
    long_context = length_share(input_tokens, turns) > 0
    if long_context or needs_images or request.needs_tools or request.needs_json:
        features = features or record_pb2.Features(input_tokens_estimated=input_tokens)
        features.needs_tools, features.needs_images = request.needs_tools, needs_images
        features.needs_json, features.long_context = request.needs_json, long_context
    for name, values in (("allowed_models", request.allowed_models), ("regions", request.regions)):
        if len(values) > MOST_NAMED:
            raise invalid(name, f"{name}: at most {MOST_NAMED} are compared with each model, not {len(values)}.")
    ask = Ask(
        model=request.model,
        profile=request.profile,
        input_tokens=input_tokens,
        max_output_tokens=max(0, request.max_output_tokens),
        needs_tools=request.needs_tools,
        needs_images=needs_images,
        needs_json=request.needs_json,
        needs_embeddings=request.needs_embeddings,
        needs_audio=request.needs_audio,
        allowed_models=tuple(request.allowed_models),
        turns=turns,
        intent=intent,
        complexity=complexity,
        reading=reading,
        min_quality=request.min_quality,
        max_first_token_ms=request.max_first_token_ms,
        max_latency_ms=request.max_latency_ms,
        max_cost_nano_usd=max(0, request.max_cost_nano_usd),
        regions=tuple(one.lower() for one in request.regions),
        seed=request.request_id or call_id,
        org_id=org_id,
        dry_run=request.dry_run,
    )
    return ask, features


class _Said:
    """A conversation in OpenAI's form, as far as a route depends on it."""

    def __init__(self) -> None:
        self.prompt = ""
        self.turns = self.bytes = self.images = 0

    @property
    def tokens(self) -> int:
        """About how long it is."""
        return estimate_tokens(self.bytes) + self.images * IMAGE_TOKENS


def _read(messages: Iterable[Any]) -> _Said:
    said = _Said()
    for message in messages:
        one: Mapping[str, Any] = json_format.MessageToDict(message)
        texts = [one["content"]] if isinstance(one.get("content"), str) else []
        for part in one["content"] if isinstance(one.get("content"), list) else ():
            if isinstance(part, Mapping) and part.get("type") == "image_url":
                said.images += 1
            elif isinstance(part, Mapping) and isinstance(part.get("text"), str):
                texts.append(part["text"])
        text = "\n".join(texts)
        said.bytes += len(text.encode()) + len(str(one.get("tool_calls") or ""))
        if one.get("role") == "user":
            said.turns, said.prompt = said.turns + 1, text
    return said


def answered(decision: Decision, features: record_pb2.Features | None, decision_id: str) -> router_pb2.RouteResponse:
    """The whole answer. Its parts are made inside it: to put a message into another copies it."""
    response = router_pb2.RouteResponse(
        features=features, answers=answers_message(decision.answers) if decision.answers is not None else None
    )
    response.candidates.extend(map(_candidate, decision.chain))
    _record(response.route, decision, decision_id)
    return response


@functools.lru_cache(maxsize=1024)
def _candidate(model: KnownModel) -> router_pb2.Candidate:
    """A model of the chain as the gateway takes it; made once for each, and never changed."""
    entry, first = model.entry, model.deployments[0]
    return router_pb2.Candidate(
        model=entry.model,
        provider=first.provider,
        upstream_name=first.name,
        context_tokens=entry.context_tokens,
        max_output_tokens=entry.max_output_tokens,
        quality=entry.quality,
        deployments=[
            deployment_pb2.Deployment(
                provider=one.provider, upstream_name=one.name, weight=one.weight, priority=one.priority
            )
            for one in model.deployments
        ]
        if len(model.deployments) > 1
        else (),
        sticky=entry.sticky,
    )


@functools.lru_cache(maxsize=1024)
def answers_message(rules: AnswerRules) -> answers_pb2.AnswerRules | None:
    """What is in force of them; made once for each set of rules, and never changed. None = nothing."""
    kept = rules.in_force()
    if kept is None:
        return None
    said = {name: one for name, one in dataclasses.asdict(kept).items() if one is not None}
    return answers_pb2.AnswerRules(**said)


def _record(record: record_pb2.RouteRecord, decision: Decision, decision_id: str) -> None:
    """The decision as the request's record keeps it, within its bound."""
    record.decision_id, record.profile = decision_id, decision.profile
    record.policy_version, record.reason = decision.policy_version, decision.reason[:MAX_REASON_CHARS]
    record.basis, record.fitting = decision.basis, decision.fitting
    record.left_out, record.explored = decision.left_out_count, decision.explored
    _look(record, decision, ((model, "") for model in decision.chain[:MAX_RECORDED]))
    _look(record, decision, decision.left_out[: max(0, MAX_RECORDED - len(decision.chain))])
    if decision.part is not None:
        part = decision.part
        record.experiment.experiment_id, record.experiment.arm = part.experiment_id, part.arm
        record.experiment.step, record.experiment.refused = part.step, part.refused
    if decision.shadow is not None:
        record.shadow.CopyFrom(_shadow(decision.shadow))
    while len(record.candidates) > 1 and record.ByteSize() > MAX_RECORD_BYTES:
        del record.candidates[-1]


def _shadow(choice: ShadowChoice) -> record_pb2.ShadowRecord:
    priced = choice.cost_nano_usd is not None and choice.chosen_cost_nano_usd is not None
    return record_pb2.ShadowRecord(
        experiment_id=choice.experiment_id,
        policy_version=choice.policy_version,
        model=choice.model,
        quality=choice.quality,
        cost_nano_usd=choice.cost_nano_usd if priced else 0,
        chosen_quality=choice.chosen_quality,
        chosen_cost_nano_usd=choice.chosen_cost_nano_usd if priced else 0,
        priced=priced,
        agreed=choice.agreed,
        latency_ms=choice.latency_ms,
        chosen_latency_ms=choice.chosen_latency_ms,
    )


def _look(record: record_pb2.RouteRecord, decision: Decision, models: Iterable[tuple[KnownModel, str]]) -> None:
    """What each model scored, and why it was not taken."""
    add, sides = record.candidates.add, decision.sides
    for model, why in models:
        looked = add()
        # One after another takes two thirds of the time that they take as arguments of `add`.
        looked.model, looked.provider = model.entry.model, model.places[0]
        total, quality, latency, cost, context, prior = sides(model)
        looked.score, looked.quality_score, looked.latency_score = total, quality, latency
        looked.cost_score, looked.context_score = cost, context
        if prior:
            looked.prior_quality = prior
        if why:
            looked.excluded = why[:MAX_EXCLUDED_CHARS]
