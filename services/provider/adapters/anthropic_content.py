"""The messages of an OpenAI chat request as Anthropic's blocks. `cache_control` of a part or a message goes with it."""

import base64
import binascii
from typing import Any

from services.provider.adapters.anthropic_thinking import kept_in, put_back
from services.provider.adapters.openai_request import calls_of, inline_of, part_text, parts_of
from services.provider.errors import not_translatable

WHO = "Anthropic models"
Block = dict[str, Any]


def split(messages: list[dict[str, Any]]) -> tuple[list[Block], list[dict[str, Any]]]:
    """(system blocks, messages with neighbours of one role joined: tool results must stand in one user message)."""
    system: list[Block] = []
    made: list[dict[str, Any]] = []
    for message in messages:
        role = message["role"]
        if role in ("system", "developer"):
            system.extend(_system(message))
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


def cached(block: Block, source: dict[str, Any]) -> Block:
    """The block, marked for Anthropic's prompt cache where its source is."""
    mark = source.get("cache_control")
    return {**block, "cache_control": mark} if isinstance(mark, dict) else block


def _system(message: dict[str, Any]) -> list[Block]:
    """One block for a message's texts; one for each where a cache mark stands between them."""
    parts = parts_of(message)
    if any(part.get("cache_control") for part in parts):
        return _marked(
            [cached({"type": "text", "text": part["text"]}, part) for part in parts if part["text"]], message
        )
    text = "".join(part.get("text", "") for part in parts)
    return _marked([{"type": "text", "text": text}] if text else [], message)


def _marked(blocks: list[Block], message: dict[str, Any]) -> list[Block]:
    """A message's own mark stands on its last block."""
    return [*blocks[:-1], cached(blocks[-1], message)] if blocks else blocks


def _blocks(role: str, message: dict[str, Any]) -> list[Block]:
    blocks = [block for part in parts_of(message) if (block := _block(part)) is not None]
    if role in ("tool", "function"):
        result = {"type": "tool_result", "tool_use_id": message["tool_call_id"], "content": blocks}
        return [cached(result, message)]
    if role != "assistant":
        return _marked(blocks, message)
    if message.get("audio"):
        raise not_translatable(f"messages: an earlier answer in audio cannot be given to {WHO}.")
    for call in calls_of(message):
        blocks.append({"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments})
    return put_back(kept_in(message), _marked(blocks, message))


def _block(part: dict[str, Any]) -> Block | None:
    """A part of a message; None for an empty text, which Anthropic refuses."""
    if (text := part_text(part)) is not None:
        return cached({"type": "text", "text": text}, part) if text else None
    if part.get("type") == "image_url":
        return cached(_image(part["image_url"]["url"]), part)
    if part.get("type") == "file":
        return cached(_file(part["file"]), part)
    raise not_translatable(f"messages: content of type {part.get('type')!r} cannot be given to {WHO}.")


def _image(url: str) -> Block:
    if not url.startswith("data:"):
        return {"type": "image", "source": {"type": "url", "url": url}}
    inline = inline_of(url, WHO)
    return {"type": "image", "source": {"type": "base64", "media_type": inline.media_type, "data": inline.base64}}


def _file(file: dict[str, Any]) -> Block:
    data = file.get("file_data")
    if not isinstance(data, str) or not data.startswith("data:"):
        raise not_translatable(f"messages: {WHO} are given files as file_data, a data URL in base64.")
    inline = inline_of(data, WHO, what="a file")
    if inline.media_type.startswith("image/"):
        return _image(data)
    if inline.media_type == "application/pdf":
        source = {"type": "base64", "media_type": inline.media_type, "data": inline.base64}
    elif inline.media_type.startswith("text/"):
        source = {"type": "text", "media_type": "text/plain", "data": _decoded(inline.base64)}
    else:
        raise not_translatable(f"messages: {WHO} read no {inline.media_type}; send a PDF, a text or an image.")
    title = {"title": file["filename"]} if file.get("filename") else {}
    return {"type": "document", "source": source, **title}


def _decoded(data: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise not_translatable("messages: a text file must be UTF-8 in base64.") from None
