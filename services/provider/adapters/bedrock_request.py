"""An OpenAI chat request said as a request of Amazon Bedrock's Converse.

What cannot be said is refused: n > 1, logprobs, audio, images by address, a JSON object without a schema, tools that
must not be called after some were. What only hints is left out: seed, penalties, and what every adapter leaves out.
"""

from typing import Any

import msgspec

from services.provider.adapters.anthropic_thinking import BUDGETS, thinking_of
from services.provider.adapters.claude import generation_of
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

WHO = "Bedrock's models"
IMAGES = {"image/png": "png", "image/jpeg": "jpeg", "image/jpg": "jpeg", "image/gif": "gif", "image/webp": "webp"}
Block = dict[str, Any]


def to_converse(body: dict[str, Any], upstream_name: str, cap: int) -> dict[str, Any]:
    """The request. Raises ProviderFault for what cannot be said."""
    refuse_unsayable(body, WHO)
    system, messages = _split(body["messages"])
    if not messages:
        raise not_translatable(f"messages: {WHO} need a message with content that is not a system message.")
    made: dict[str, Any] = {"messages": messages}
    if system:
        made["system"] = system
    settings: dict[str, Any] = {}
    limit = limit_of(body, cap)
    if limit:
        settings["maxTokens"] = limit
    for name, theirs in (("temperature", "temperature"), ("top_p", "topP")):
        if body.get(name) is not None:
            settings[theirs] = body[name]
    if stops := stops_of(body):
        settings["stopSequences"] = stops
    if settings:
        made["inferenceConfig"] = settings
    _add_tools(made, body)
    _add_format(made, body)
    if more := _reasoning(body.get("reasoning_effort"), upstream_name, limit):
        made["additionalModelRequestFields"] = more
    return made


def _add_tools(made: dict[str, Any], body: dict[str, Any]) -> None:
    functions = functions_of(body, WHO)
    if not functions:
        return
    choice, name = choice_of(body, WHO)
    if choice == "none":
        if any("toolUse" in block for message in made["messages"] for block in message["content"]):
            raise not_translatable(
                f"tool_choice: {WHO} cannot be kept from tools after some were called; leave it out."
            )
        return
    specs = []
    for function in functions:
        parameters = function.get("parameters") or {"type": "object", "properties": {}}
        spec = {"name": function["name"], "inputSchema": {"json": parameters}}
        if function.get("description"):
            spec["description"] = function["description"]
        specs.append({"toolSpec": spec})
    made["toolConfig"] = {"tools": specs}
    if choice == "required":
        made["toolConfig"]["toolChoice"] = {"any": {}}
    elif choice == "function":
        made["toolConfig"]["toolChoice"] = {"tool": {"name": name}}


def _add_format(made: dict[str, Any], body: dict[str, Any]) -> None:
    kind, schema = schema_of(body, WHO)
    if kind == "text":
        return
    if schema is None:
        raise not_translatable(f"response_format: {WHO} need a json_schema with a schema.")
    said = {"schema": msgspec.json.encode(schema).decode()}
    for name in ("name", "description"):
        if body["response_format"]["json_schema"].get(name):
            said[name] = body["response_format"]["json_schema"][name]
    made["outputConfig"] = {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": said}}}


def _reasoning(effort: Any, upstream_name: str, limit: int) -> dict[str, Any]:
    """What a model's family calls it; nothing for the others. Claude's own fields pass through Converse as they are
    ("Adaptive thinking - Amazon Bedrock")."""
    if effort is None:
        return {}
    if effort != "none" and effort not in BUDGETS:
        raise not_translatable(f"reasoning_effort: {effort!r} is none of none, {', '.join(BUDGETS)}.")
    if "anthropic." in upstream_name:
        thinking = thinking_of(effort, generation_of(upstream_name), limit, [{"role": "user", "content": []}])
        config = {name: value for name, value in (thinking.config or {}).items() if name != "display"}
        level = {"output_config": {"effort": thinking.effort}} if thinking.effort else {}
        return {**({"thinking": config} if config else {}), **level}
    if "openai.gpt-oss" in upstream_name and effort != "none":
        return {"reasoning_effort": {"minimal": "low", "xhigh": "high", "max": "high"}.get(effort, effort)}
    return {}


def _split(messages: list[dict[str, Any]]) -> tuple[list[Block], list[dict[str, Any]]]:
    """(system blocks, messages with neighbours of one role joined: results of one turn's calls must stand together)."""
    system: list[Block] = []
    made: list[dict[str, Any]] = []
    for message in messages:
        role = message["role"]
        if role in ("system", "developer"):
            text = text_of(message, WHO)
            system.extend([{"text": text}] if text else [])
            continue
        if role == "tool":
            result = {"toolUseId": message["tool_call_id"], "content": [{"text": text_of(message, WHO) or " "}]}
            blocks: list[Block] = [{"toolResult": result}]
        elif role == "assistant":
            blocks = _assistant(message)
        elif role == "user":
            blocks = [block for part in parts_of(message) if (block := _block(part)) is not None]
        else:
            raise not_translatable(f"messages: {role!r} is none of system, user, assistant, tool.")
        role = "assistant" if role == "assistant" else "user"
        if not blocks:
            continue
        if made and made[-1]["role"] == role:
            made[-1]["content"].extend(blocks)
        else:
            made.append({"role": role, "content": blocks})
    return system, made


def _assistant(message: dict[str, Any]) -> list[Block]:
    """What was thought comes first, under the signature it came with."""
    kept = ((message.get("extra_content") or {}).get("bedrock") or {}).get("reasoning") or []
    blocks: list[Block] = [{"reasoningContent": block} for block in kept]
    if text := text_of(message, WHO):
        blocks.append({"text": text})
    for call in calls_of(message):
        blocks.append({"toolUse": {"toolUseId": call.id, "name": call.name, "input": call.arguments}})
    return blocks


def _block(part: dict[str, Any]) -> Block | None:
    """A part of a user's message; None for an empty text, which Bedrock refuses."""
    if (text := part_text(part)) is not None:
        return {"text": text} if text else None
    if part.get("type") == "image_url":
        image = inline_of(part["image_url"]["url"], WHO)
        if image.media_type not in IMAGES:
            raise not_translatable(f"messages: {WHO} see no {image.media_type}; send png, jpeg, gif or webp.")
        return {"image": {"format": IMAGES[image.media_type], "source": {"bytes": image.base64}}}
    raise not_translatable(f"messages: content of type {part.get('type')!r} cannot be given to {WHO}.")
