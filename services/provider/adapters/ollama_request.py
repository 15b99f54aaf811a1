"""An OpenAI chat request said as a request of Ollama's own /api/chat.

What cannot be said is refused: n > 1, logprobs, audio, images by address, a tool that must be called (Ollama leaves
the choice to the model). What only hints is left out: logit_bias, user, metadata, store, service_tier, image detail.
"""

from collections.abc import Mapping
from typing import Any

from services.provider.adapters.openai_request import (
    calls_of,
    choice_of,
    functions_of,
    inline_of,
    limit_of,
    part_text,
    parts_of,
    refuse_unsayable,
    schema_of,
    stops_of,
    text_of,
)
from services.provider.errors import not_translatable

WHO = "Ollama's models"
EFFORTS = {"none": False, "minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high"}
"""reasoning_effort → think."""
_NUMBERS = ("temperature", "top_p", "seed", "presence_penalty", "frequency_penalty")


def to_chat(
    body: dict[str, Any], upstream_name: str, cap: int, options: Mapping[str, str], *, stream: bool
) -> dict[str, Any]:
    """The request. `options`: the operator's num_ctx and keep_alive. Raises ProviderFault for what cannot be said."""
    refuse_unsayable(body, WHO)
    made: dict[str, Any] = {"model": upstream_name, "messages": _messages(body["messages"]), "stream": stream}
    tools = functions_of(body, WHO)
    choice, _ = choice_of(body, WHO)
    if tools and choice in ("required", "function"):
        raise not_translatable(f"tool_choice: {WHO} cannot be made to call a tool; leave it out.")
    if tools and choice != "none":
        made["tools"] = [{"type": "function", "function": _function(function)} for function in tools]
    kind, schema = schema_of(body, WHO)
    if kind != "text":
        made["format"] = schema if schema is not None else "json"
    effort = body.get("reasoning_effort")
    if effort is not None:
        if effort not in EFFORTS:
            raise not_translatable(f"reasoning_effort: {effort!r} is none of {', '.join(EFFORTS)}.")
        made["think"] = EFFORTS[effort]
    settings = {name: body[name] for name in _NUMBERS if body.get(name) is not None}
    if limit := limit_of(body, cap):
        settings["num_predict"] = limit
    if stops := stops_of(body):
        settings["stop"] = stops
    if options.get("num_ctx"):
        settings["num_ctx"] = int(options["num_ctx"])
    if settings:
        made["options"] = settings
    if options.get("keep_alive"):
        made["keep_alive"] = keep_alive_of(options)
    return made


def keep_alive_of(options: Mapping[str, str]) -> float | str:
    """Ollama takes seconds as a number and durations as text."""
    try:
        return int(options["keep_alive"])
    except ValueError:
        return options["keep_alive"]


def _function(function: dict[str, Any]) -> dict[str, Any]:
    made = {"name": function["name"]}
    for name in ("description", "parameters"):
        if function.get(name):
            made[name] = function[name]
    return made


def _messages(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    made, names = [], dict[str, str]()
    for message in messages:
        role = message["role"]
        if role == "assistant":
            made.append(_assistant(message, names))
        elif role in ("tool", "function"):
            name = names.get(message.get("tool_call_id") or "") or message.get("name")
            if not name:
                called = message.get("tool_call_id")
                raise not_translatable(f"messages: the tool result {called!r} answers no call of an earlier message.")
            made.append({"role": "tool", "content": text_of(message, WHO), "tool_name": name})
        elif role in ("system", "developer"):
            made.append({"role": "system", "content": text_of(message, WHO)})
        elif role == "user":
            made.append(_user(message))
        else:
            raise not_translatable(f"messages: {role!r} is none of system, user, assistant, tool.")
    if not made:
        raise not_translatable("messages: at least one message is needed.")
    return made


def _assistant(message: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    made: dict[str, Any] = {"role": "assistant"}
    text = text_of(message, WHO)
    if text or not message.get("tool_calls"):
        made["content"] = text
    if isinstance(message.get("reasoning_content"), str) and message["reasoning_content"]:
        made["thinking"] = message["reasoning_content"]
    if calls := calls_of(message):
        names.update({call.id: call.name for call in calls})
        made["tool_calls"] = [{"function": {"name": call.name, "arguments": call.arguments}} for call in calls]
    return made


def _user(message: dict[str, Any]) -> dict[str, Any]:
    texts, images = [], []
    for part in parts_of(message):
        if (text := part_text(part)) is not None:
            texts.append(text)
        elif part.get("type") == "image_url":
            images.append(inline_of(part["image_url"]["url"], WHO).base64)
        else:
            raise not_translatable(f"messages: content of type {part.get('type')!r} cannot be given to {WHO}.")
    made: dict[str, Any] = {"role": "user", "content": "".join(texts)}
    return {**made, "images": images} if images else made
