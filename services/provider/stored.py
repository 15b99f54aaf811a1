"""What a provider's account stores (answers, conversations, files) belongs to the organisation that stored it.

Where one account serves several organisations, whoever learns the id of another one's file or answer could use it:
DAC does not know whose it is. So requests that name what is stored are refused there. They pass with a key of the
organisation's own, and where the operator says that everybody may share (`shared_store`).
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from services.provider.calling.events import Ask, Dialect
from services.provider.errors import ProviderFault, not_translatable

_MARKS = {
    Dialect.OPENAI_CHAT: (b'"file_id"', b'"audio"'),
    Dialect.OPENAI_RESPONSES: (
        *(b'"previous_response_id"', b'"conversation"', b'"item_reference"', b'"file_id"', b'"file_ids"'),
        *(b'"vector_store_ids"', b'"container"', b'"container_id"'),
    ),
    Dialect.ANTHROPIC_MESSAGES: (b'"file_id"', b'"container"'),
}
"""Without one of these in its bytes a body names nothing that is stored. In a text quotation marks are escaped."""
_decode = msgspec.json.decode


def check_stored(ask: Ask, provider: str) -> None:
    """Raises ProviderFault, with the field's name, for a body that names what an account stores."""
    if not any(mark in ask.input for mark in _MARKS.get(ask.dialect_in, ())):
        return
    try:
        body = _decode(ask.input)
        found = next(_FINDERS[ask.dialect_in](body), "")
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise not_translatable("The request body cannot be read as what it says it is.") from None
    if found:
        raise _belongs(found, provider)


def check_voice(ask: Ask, provider: str) -> None:
    """Raises ProviderFault for speech in a voice of the account's own, which is named by an object with its id."""
    if b'"voice"' not in ask.input:
        return
    try:
        voice = _decode(ask.input).get("voice")
    except (ValueError, AttributeError, RecursionError):
        raise not_translatable("The request body is not a JSON object of a speech.") from None
    if isinstance(voice, dict):
        raise _belongs("voice.id", provider)


def _belongs(field: str, provider: str) -> ProviderFault:
    return not_translatable(
        f"{field}: it names something that {provider} stores, and its account serves several organisations. Send the "
        "content itself; or use a key of your organisation's own; or the operator sets shared_store for this provider."
    )


def _parts(items: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for index, item in enumerate(items if isinstance(items, list) else ()):
        if isinstance(item, dict):
            yield f"{where}[{index}]", item


def _in_chat(body: dict[str, Any]) -> Iterator[str]:
    for place, message in _parts(body.get("messages"), "messages"):
        if isinstance(message.get("audio"), dict) and message["audio"].get("id"):
            yield f"{place}.audio.id"
        for where, part in _parts(message.get("content"), f"{place}.content"):
            if isinstance(part.get("file"), dict) and part["file"].get("file_id"):
                yield f"{where}.file.file_id"


def _in_responses(body: dict[str, Any]) -> Iterator[str]:
    yield from (name for name in ("previous_response_id", "conversation") if body.get(name))
    for place, item in _parts(body.get("input"), "input"):
        if item.get("type") == "item_reference":
            yield place
        if item.get("container_id"):
            yield f"{place}.container_id"
        for name in ("content", "output"):
            for where, part in _parts(item.get(name), f"{place}.{name}"):
                if part.get("file_id"):
                    yield f"{where}.file_id"
        for name in ("output", "content"):
            if isinstance(item.get(name), dict) and item[name].get("file_id"):
                yield f"{place}.{name}.file_id"
        yield from _in_tools(item.get("tools"), f"{place}.tools")
    yield from _in_tools(body.get("tools"), "tools")


def _in_tools(tools: Any, where: str) -> Iterator[str]:
    for place, tool in _parts(tools, where):
        container, mask = tool.get("container"), tool.get("input_image_mask")
        if tool.get("vector_store_ids"):
            yield f"{place}.vector_store_ids"
        if isinstance(container, str) or (isinstance(container, dict) and container.get("file_ids")):
            yield f"{place}.container"
        if isinstance(mask, dict) and mask.get("file_id"):
            yield f"{place}.input_image_mask.file_id"
        yield from _in_tools(tool.get("tools"), f"{place}.tools")


def _in_messages(body: dict[str, Any]) -> Iterator[str]:
    container = body.get("container")
    if isinstance(container, str) or (isinstance(container, dict) and container.get("id")):
        yield "container"
    for place, message in _parts(body.get("messages"), "messages"):
        yield from _in_blocks(message.get("content"), f"{place}.content")


def _in_blocks(blocks: Any, where: str) -> Iterator[str]:
    for place, block in _parts(blocks, where):
        source = block.get("source")
        if block.get("file_id"):
            yield f"{place}.file_id"
        if isinstance(source, dict) and source.get("file_id"):
            yield f"{place}.source.file_id"
        yield from _in_blocks(block.get("content"), f"{place}.content")
        if isinstance(source, dict):
            yield from _in_blocks(source.get("content"), f"{place}.source.content")


_FINDERS = {
    Dialect.OPENAI_CHAT: _in_chat,
    Dialect.OPENAI_RESPONSES: _in_responses,
    Dialect.ANTHROPIC_MESSAGES: _in_messages,
}
