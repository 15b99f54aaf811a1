"""An OpenAI chat request said as an Anthropic messages request.

What cannot be said is refused (n > 1, logprobs, audio, files). What only hints is left out: seed, penalties,
logit_bias, reasoning_effort. `response_format` becomes a sentence in the system prompt: Anthropic is asked for JSON,
it is not forced to it. Temperatures above 1 become 1. System messages anywhere are moved to the front.
"""

from typing import Any

import msgspec

from services.provider.errors import not_translatable

DEFAULT_MAX_TOKENS = 4096
"""Anthropic needs a limit; this one is sent when neither the caller nor the reservation sets one."""


def to_messages(body: dict[str, Any], upstream_name: str, cap: int, *, stream: bool) -> dict[str, Any]:
    """The Anthropic request. Raises ProviderFault for what it cannot say."""
    _refuse(body)
    asked = body.get("max_completion_tokens") or body.get("max_tokens")
    limit = min(asked, cap) if asked and cap > 0 else asked or cap or DEFAULT_MAX_TOKENS
    system, messages = _split(body["messages"])
    system.extend(_format_instruction(body.get("response_format")))
    made: dict[str, Any] = {"model": upstream_name, "max_tokens": limit, "messages": messages}
    if system:
        made["system"] = [{"type": "text", "text": text} for text in system]
    if stream:
        made["stream"] = True
    if body.get("temperature") is not None:
        made["temperature"] = min(1.0, body["temperature"])
    if body.get("top_p") is not None:
        made["top_p"] = body["top_p"]
    if body.get("stop"):
        made["stop_sequences"] = [body["stop"]] if isinstance(body["stop"], str) else body["stop"]
    if body.get("user"):
        made["metadata"] = {"user_id": body["user"]}
    _add_tools(made, body)
    return made


def _refuse(body: dict[str, Any]) -> None:
    if (body.get("n") or 1) != 1:
        raise not_translatable("n: Anthropic models answer once per request; send n=1.")
    if body.get("logprobs"):
        raise not_translatable("logprobs: Anthropic models give no log probabilities.")
    if "audio" in (body.get("modalities") or ()):
        raise not_translatable("modalities: Anthropic models give no audio.")
    if body.get("functions"):
        raise not_translatable("functions: this old form is not translated; send tools.")


def _add_tools(made: dict[str, Any], body: dict[str, Any]) -> None:
    tools = body.get("tools") or []
    if not tools:
        return
    made["tools"] = []
    for tool in tools:
        if tool.get("type") != "function":
            raise not_translatable(f"tools: Anthropic models are only given functions, not {tool.get('type')!r}.")
        function = tool["function"]
        shape = {"name": function["name"], "input_schema": function.get("parameters") or {"type": "object"}}
        if function.get("description"):
            shape["description"] = function["description"]
        made["tools"].append(shape)
    choice = body.get("tool_choice") or "auto"
    if isinstance(choice, dict):
        chosen: dict[str, Any] = {"type": "tool", "name": choice["function"]["name"]}
    else:
        chosen = {"type": {"required": "any", "none": "none"}.get(choice, "auto")}
    if body.get("parallel_tool_calls") is False and chosen["type"] != "none":
        chosen["disable_parallel_tool_use"] = True
    if chosen != {"type": "auto"}:
        made["tool_choice"] = chosen


def _format_instruction(wanted: Any) -> list[str]:
    kind = (wanted or {}).get("type", "text")
    if kind == "json_object":
        return ["Answer with one valid JSON object and nothing else."]
    if kind == "json_schema":
        schema = msgspec.json.encode(wanted["json_schema"].get("schema") or {}).decode()
        return [f"Answer with one valid JSON value that follows this JSON Schema, and nothing else: {schema}"]
    return []


def _split(messages: list[dict[str, Any]]) -> tuple[list[str], list[dict[str, Any]]]:
    """(system texts, messages with neighbours of one role joined: tool results must stand in one user message)."""
    system: list[str] = []
    made: list[dict[str, Any]] = []
    for message in messages:
        role = message["role"]
        if role in ("system", "developer"):
            text = "".join(part.get("text", "") for part in _parts(message.get("content")))
            system.extend([text] if text else [])
            continue
        blocks = _blocks(role, message)
        role = "assistant" if role == "assistant" else "user"
        if not blocks:
            continue
        if made and made[-1]["role"] == role:
            made[-1]["content"].extend(blocks)
        else:
            made.append({"role": role, "content": blocks})
    for one in made:
        # Results come first in their message, whatever stood between them.
        one["content"].sort(key=lambda block: block["type"] != "tool_result" if one["role"] == "user" else False)
    return system, made


def _parts(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return list(content or [])


def _blocks(role: str, message: dict[str, Any]) -> list[dict[str, Any]]:
    if role in ("tool", "function"):
        result = [_block(part) for part in _parts(message.get("content")) if part.get("text") != ""]
        return [{"type": "tool_result", "tool_use_id": message["tool_call_id"], "content": result}]
    blocks = [_block(part) for part in _parts(message.get("content")) if part.get("text") != ""]
    for call in message.get("tool_calls") or []:
        function = call["function"]
        try:
            arguments = msgspec.json.decode(function.get("arguments") or "{}")
        except msgspec.DecodeError:
            raise not_translatable("messages: a tool call's arguments are not valid JSON.") from None
        blocks.append({"type": "tool_use", "id": call["id"], "name": function["name"], "input": arguments})
    return blocks


def _block(part: dict[str, Any]) -> dict[str, Any]:
    kind = part.get("type")
    if kind in ("text", "refusal"):
        return {"type": "text", "text": part.get("text") or part.get("refusal") or ""}
    if kind == "image_url":
        url = part["image_url"]["url"]
        if not url.startswith("data:"):
            return {"type": "image", "source": {"type": "url", "url": url}}
        head, _, data = url[5:].partition(",")
        if not head.endswith(";base64"):
            raise not_translatable("messages: an image in a data URL must be base64.")
        media_type = head.removesuffix(";base64")
        return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}
    raise not_translatable(f"messages: content of type {kind!r} cannot be given to Anthropic models.")
