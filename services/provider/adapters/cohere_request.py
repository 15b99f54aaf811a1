"""An OpenAI chat request said as a request of Cohere's /v2/chat.

What cannot be said is refused: n > 1, logprobs, audio, a format beside tools. One named function is asked for by giving
only that one and requiring a call. What only hints is left out, as for other providers.
"""

from typing import Any

from services.provider.adapters.openai_request import (
    calls_of,
    choice_of,
    functions_of,
    limit_of,
    part_text,
    parts_of,
    refuse_unsayable,
    schema_of,
    stops_of,
    text_of,
)
from services.provider.errors import not_translatable

WHO = "Cohere's models"
BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576}
"""reasoning_effort → token_budget: our choice, the same as for Gemini's."""
_NUMBERS = {"temperature": "temperature", "top_p": "p"}
_PENALTIES = ("presence_penalty", "frequency_penalty")


def to_chat(body: dict[str, Any], upstream_name: str, cap: int, *, stream: bool) -> dict[str, Any]:
    """The request. Raises ProviderFault for what cannot be said."""
    refuse_unsayable(body, WHO)
    made: dict[str, Any] = {"model": upstream_name, "messages": _messages(body["messages"]), "stream": stream}
    for name, theirs in _NUMBERS.items():
        if body.get(name) is not None:
            made[theirs] = body[name]
    for name in _PENALTIES:
        if body.get(name):
            # Cohere's go from 0 to 1 only.
            made[name] = min(1.0, max(0.0, body[name]))
    if limit := limit_of(body, cap):
        made["max_tokens"] = limit
    if stops := stops_of(body):
        made["stop_sequences"] = stops
    if body.get("seed") is not None:
        made["seed"] = body["seed"] % (1 << 63)
    effort = body.get("reasoning_effort")
    if effort is not None:
        if effort != "none" and effort not in BUDGETS:
            raise not_translatable(f"reasoning_effort: {effort!r} is none of none, {', '.join(BUDGETS)}.")
        off = effort == "none"
        made["thinking"] = {"type": "disabled"} if off else {"type": "enabled", "token_budget": BUDGETS[effort]}
    _add_tools(made, body)
    kind, schema = schema_of(body, WHO)
    if kind != "text":
        if made.get("tools"):
            raise not_translatable(f"response_format: {WHO} cannot be given a format and tools at once.")
        made["response_format"] = {"type": "json_object", **({} if schema is None else {"json_schema": schema})}
    return made


def _add_tools(made: dict[str, Any], body: dict[str, Any]) -> None:
    functions = functions_of(body, WHO)
    if not functions:
        return
    choice, name = choice_of(body, WHO)
    if choice == "function":
        functions = [function for function in functions if function["name"] == name]
        if not functions:
            raise not_translatable(f"tool_choice: there is no function {name!r} among the tools.")
    made["tools"] = [{"type": "function", "function": _function(function)} for function in functions]
    if all(function.get("strict") for function in functions):
        made["strict_tools"] = True
    if choice != "auto":
        made["tool_choice"] = "NONE" if choice == "none" else "REQUIRED"


def _function(function: dict[str, Any]) -> dict[str, Any]:
    made = {"name": function["name"], "parameters": function.get("parameters") or {"type": "object", "properties": {}}}
    return {**made, "description": function["description"]} if function.get("description") else made


def _messages(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for message in messages:
        role = message["role"]
        if role in ("system", "developer"):
            made.append({"role": "system", "content": text_of(message, WHO)})
        elif role == "user":
            made.append({"role": "user", "content": _content(message)})
        elif role == "assistant":
            made.append(_assistant(message))
        elif role == "tool":
            made.append({"role": "tool", "tool_call_id": message["tool_call_id"], "content": text_of(message, WHO)})
        else:
            raise not_translatable(f"messages: {role!r} is none of system, user, assistant, tool.")
    if not made:
        raise not_translatable("messages: at least one message is needed.")
    return made


def _content(message: dict[str, Any]) -> str | list[dict[str, Any]]:
    """Text alone as a string; with images as parts."""
    parts: list[dict[str, Any]] = []
    for part in parts_of(message):
        if (text := part_text(part)) is not None:
            parts.append({"type": "text", "text": text})
        elif part.get("type") == "image_url":
            parts.append({"type": "image_url", "image_url": {"url": part["image_url"]["url"]}})
        else:
            raise not_translatable(f"messages: content of type {part.get('type')!r} cannot be given to {WHO}.")
    if all(part["type"] == "text" for part in parts):
        return "".join(part["text"] for part in parts)
    return parts


def _assistant(message: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"role": "assistant"}
    text, thought = text_of(message, WHO), message.get("reasoning_content")
    calls = []
    for call, given in zip(calls_of(message), message.get("tool_calls") or [], strict=True):
        # The arguments' own words, once they are known to be an object.
        function = {"name": call.name, "arguments": given["function"].get("arguments") or "{}"}
        calls.append({"id": call.id, "type": "function", "function": function})
    if calls:
        made["tool_calls"] = calls
        if isinstance(thought, str) and thought:
            made["tool_plan"] = thought
    if text or not calls:
        made["content"] = text
    return made
