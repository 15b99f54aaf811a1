"""An OpenAI chat request said as an Anthropic messages request.

What cannot be said is refused (n > 1, logprobs, audio, files by id, a temperature or a forced call where a model takes
none). What only hints is left out: seed, penalties, logit_bias, reasoning_effort of models that do not think. A schema
is kept to by models that have structured outputs; for the others, as a JSON object for all, it becomes a sentence in
the system prompt. Temperatures above 1 become 1. System messages anywhere are moved to the front.
"""

from typing import Any

import msgspec

from services.provider.adapters.anthropic_content import WHO, Block, cached, split
from services.provider.adapters.anthropic_schema import closed
from services.provider.adapters.anthropic_thinking import Thinking, thinking_of
from services.provider.adapters.claude import Generation, generation_of
from services.provider.adapters.openai_request import choice_of, functions_of, limit_of, schema_of, stops_of
from services.provider.errors import not_translatable

DEFAULT_MAX_TOKENS = 4096
"""Anthropic needs a limit; this one is sent when neither the caller nor the reservation sets one."""
DEFAULT_THINKING_TOKENS = 12288
"""What is added to it for a model that thinks without a budget: thinking counts into the limit."""
LEAST_THINKING_TOP_P = 0.95


def to_messages(body: dict[str, Any], upstream_name: str, cap: int, *, stream: bool) -> dict[str, Any]:
    """The Anthropic request. Raises ProviderFault for what it cannot say."""
    _refuse(body)
    claude = generation_of(upstream_name)
    system, messages = split(body["messages"])
    if not messages:
        raise not_translatable(f"messages: {WHO} need a message with content that is not a system message.")
    if claude and not claude.continues and messages[-1]["role"] == "assistant":
        raise not_translatable(f"messages: {upstream_name} goes on with no begun answer; end with a user's message.")
    limit = limit_of(body, cap)
    thinking = thinking_of(body.get("reasoning_effort"), claude, limit, messages)
    made: dict[str, Any] = {"model": upstream_name, "max_tokens": limit or _default_limit(thinking, claude)}
    made["messages"] = messages
    output = {"effort": thinking.effort} if thinking.effort else {}
    system += _add_format(output, body, claude)
    if system:
        made["system"] = system
    if stream:
        made["stream"] = True
    _add_sampling(made, body, upstream_name, claude, thinking)
    if stops := stops_of(body):
        made["stop_sequences"] = stops
    if body.get("user"):
        made["metadata"] = {"user_id": body["user"]}
    if thinking.config:
        made["thinking"] = thinking.config
    if output:
        made["output_config"] = output
    _add_tools(made, body, upstream_name, claude, thinking)
    return cached(made, body)


def _refuse(body: dict[str, Any]) -> None:
    if (body.get("n") or 1) != 1:
        raise not_translatable("n: Anthropic models answer once per request; send n=1.")
    if body.get("logprobs"):
        raise not_translatable("logprobs: Anthropic models give no log probabilities.")
    if "audio" in (body.get("modalities") or ()):
        raise not_translatable("modalities: Anthropic models give no audio.")
    if body.get("functions"):
        raise not_translatable("functions: this old form is not translated; send tools.")
    if body.get("web_search_options") is not None:
        raise not_translatable("web_search_options: Anthropic models are not given a web search.")


def _default_limit(thinking: Thinking, claude: Generation | None) -> int:
    if thinking.budget_tokens:
        return DEFAULT_MAX_TOKENS + thinking.budget_tokens
    kind = (thinking.config or {}).get("type")
    thinks = kind == "adaptive" or (kind is None and claude is not None and claude.thinks_unasked)
    return DEFAULT_MAX_TOKENS + (DEFAULT_THINKING_TOKENS if thinks else 0)


def _add_sampling(
    made: dict[str, Any], body: dict[str, Any], name: str, claude: Generation | None, thinking: Thinking
) -> None:
    """1 is the default of both: where only one may be set, or none, it is left out."""
    given = {one: body[one] for one in ("temperature", "top_p") if body.get(one) is not None}
    if "temperature" in given:
        given["temperature"] = min(1.0, given["temperature"])
    if claude is not None and (claude.samples_by_one or thinking.config):
        given = {one: value for one, value in given.items() if value != 1}
    if claude is not None and not claude.samples and given:
        raise not_translatable(f"{min(given)}: {name} takes none but 1; leave it out.")
    if thinking.config and "temperature" in given:
        raise not_translatable(
            f"temperature: {name} takes none but 1 while it thinks; leave it or reasoning_effort out."
        )
    if thinking.config and given.get("top_p", 1) < LEAST_THINKING_TOP_P:
        raise not_translatable(
            f"top_p: {name} takes {LEAST_THINKING_TOP_P} to 1 while it thinks; leave it or reasoning_effort out."
        )
    if len(given) == 2 and claude is not None and claude.samples_by_one:
        raise not_translatable(f"top_p: {name} takes a temperature or top_p, not both; leave one out.")
    made.update(given)


def _add_format(output: dict[str, Any], body: dict[str, Any], claude: Generation | None) -> list[Block]:
    """The schema, where the model can be held to it; else the sentence that asks for it."""
    kind, schema = schema_of(body, WHO)
    if kind == "text":
        return []
    if kind == "json_object":
        return [_sentence("Answer with one valid JSON object and nothing else.")]
    exact = closed(schema) if claude is not None and claude.has_schemas else None
    if exact is not None:
        output["format"] = {"type": "json_schema", "schema": exact}
        return []
    said = msgspec.json.encode(schema or {}).decode()
    return [_sentence(f"Answer with one valid JSON value that follows this JSON Schema, and nothing else: {said}")]


def _sentence(text: str) -> Block:
    return {"type": "text", "text": text}


def _add_tools(
    made: dict[str, Any], body: dict[str, Any], name: str, claude: Generation | None, thinking: Thinking
) -> None:
    functions = functions_of(body, WHO)
    if not functions:
        return
    made["tools"] = [
        cached(cached(_tool(function, claude), function), tool)
        for tool, function in zip(body["tools"], functions, strict=True)
    ]
    choice, wanted = choice_of(body, WHO)
    if choice in ("required", "function"):
        if claude is not None and not claude.can_be_forced:
            raise not_translatable(f"tool_choice: {name} cannot be made to call a tool; send auto or none.")
        if thinking.budget_tokens:
            raise not_translatable(
                f"tool_choice: {name} cannot be made to call a tool while it thinks; send auto, or leave "
                "reasoning_effort out."
            )
    chosen: dict[str, Any] = {"type": {"required": "any", "function": "tool"}.get(choice, choice)}
    if wanted:
        chosen["name"] = wanted
    if body.get("parallel_tool_calls") is False and choice != "none":
        chosen["disable_parallel_tool_use"] = True
    if chosen != {"type": "auto"}:
        made["tool_choice"] = chosen


def _tool(function: dict[str, Any], claude: Generation | None) -> dict[str, Any]:
    """`strict` is kept where the model has it and its schema can be said; else it is left out, as a hint."""
    schema = function.get("parameters") or {"type": "object"}
    shape = {"name": function["name"], "input_schema": schema}
    if function.get("description"):
        shape["description"] = function["description"]
    if function.get("strict") and claude is not None and claude.has_schemas:
        exact = closed(schema)
        if exact is not None:
            shape |= {"input_schema": exact, "strict": True}
    return shape
