"""Bodies that name what a provider's account stores, and bodies that only look so."""

import json
from typing import Any

import pytest

from services.provider.calling.events import Ask, Candidate, Dialect
from services.provider.errors import ProviderFault
from services.provider.kinds import Account, exchange_of

CHAT, RESPONSES, MESSAGES = Dialect.OPENAI_CHAT, Dialect.OPENAI_RESPONSES, Dialect.ANTHROPIC_MESSAGES
KINDS = {CHAT: "openai", RESPONSES: "openai", MESSAGES: "anthropic"}


def user(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


FILE = {"type": "file", "file_id": "f"}
NAMING: list[tuple[Dialect, dict[str, Any], str]] = [
    (CHAT, {"messages": user({"type": "file", "file": {"file_id": "f"}})}, "messages[0].content[0].file.file_id"),
    (CHAT, {"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]}, "messages[0].audio.id"),
    (RESPONSES, {"previous_response_id": "r", "input": "hi"}, "previous_response_id"),
    (RESPONSES, {"conversation": {"id": "c"}, "input": "hi"}, "conversation"),
    (RESPONSES, {"input": [{"type": "item_reference", "id": "m"}]}, "input[0]"),
    (RESPONSES, {"input": user({"type": "input_file", "file_id": "f"})}, "input[0].content[0].file_id"),
    (RESPONSES, {"input": [{"type": "code_interpreter_call", "container_id": "c"}]}, "input[0].container_id"),
    (
        RESPONSES,
        {"input": [{"type": "function_call_output", "output": [{"type": "input_image", "file_id": "f"}]}]},
        "input[0].output[0].file_id",
    ),
    (
        RESPONSES,
        {"input": [{"type": "computer_call_output", "output": {"type": "computer_screenshot", "file_id": "f"}}]},
        "input[0].output.file_id",
    ),
    (RESPONSES, {"input": "hi", "tools": [{"type": "file_search", "vector_store_ids": ["v"]}]}, "tools[0]."),
    (
        RESPONSES,
        {"input": [{"type": "additional_tools", "tools": [{"type": "file_search", "vector_store_ids": ["v"]}]}]},
        "input[0].tools[0].vector_store_ids",
    ),
    (RESPONSES, {"input": "hi", "tools": [{"type": "code_interpreter", "container": "c"}]}, "tools[0].container"),
    (
        RESPONSES,
        {"input": "hi", "tools": [{"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["f"]}}]},
        "tools[0].container",
    ),
    (
        RESPONSES,
        {"input": "hi", "tools": [{"type": "image_generation", "input_image_mask": {"file_id": "f"}}]},
        "tools[0].input_image_mask.file_id",
    ),
    (MESSAGES, {"messages": user({"type": "document", "source": FILE})}, "messages[0].content[0].source.file_id"),
    (MESSAGES, {"messages": user({"type": "container_upload", "file_id": "f"})}, "messages[0].content[0].file_id"),
    (
        MESSAGES,
        {"messages": user({"type": "tool_result", "content": [{"type": "image", "source": FILE}]})},
        "messages[0].content[0].content[0].source.file_id",
    ),
    (
        MESSAGES,
        {"messages": user({"type": "document", "source": {"type": "content", "content": [{"source": FILE}]}})},
        "messages[0].content[0].source.content[0].source.file_id",
    ),
    (MESSAGES, {"messages": user({"type": "text", "text": "hi"}), "container": "c"}, "container"),
]
LOOKING_SO: list[tuple[Dialect, dict[str, Any]]] = [
    (CHAT, {"messages": user({"type": "text", "text": '{"file_id": "f"}'})}),
    (CHAT, {"messages": user({"type": "file", "file": {"file_data": "data:;base64,QQ==", "filename": "file_id"}})}),
    (CHAT, {"messages": user(), "modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}),
    (RESPONSES, {"input": "previous_response_id", "previous_response_id": None, "conversation": None}),
    (RESPONSES, {"input": "hi", "tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]}),
    (
        RESPONSES,
        {
            "input": "hi",
            "tools": [{"type": "function", "name": "f", "parameters": {"properties": {"file_id": {"type": "string"}}}}],
        },
    ),
    (MESSAGES, {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "input": {"file_id": "f"}}]}]}),
    (MESSAGES, {"messages": user({"type": "text", "text": "hi"}), "container": None}),
]


def said(dialect: Dialect, body: dict[str, Any], *, shares_store: bool) -> bytes:
    ask = Ask(json.dumps({"model": "m", **body}).encode(), [], dialect_in=dialect, dialect_out=dialect)
    account = Account("up", KINDS[dialect], "key", said_dialect="openai", shares_store=shares_store)
    return exchange_of(ask, Candidate("m", "up", "upstream"), account).outgoing().body


@pytest.mark.parametrize(("dialect", "body", "field"), NAMING)
def test_what_is_stored_is_for_who_owns_the_account(dialect: Dialect, body: dict[str, Any], field: str) -> None:
    with pytest.raises(ProviderFault) as caught:
        said(dialect, body, shares_store=False)
    assert caught.value.message.startswith(field) and "shared_store" in caught.value.message
    assert json.loads(said(dialect, body, shares_store=True))["model"] == "upstream"


@pytest.mark.parametrize(("dialect", "body"), LOOKING_SO)
def test_what_only_looks_so_passes(dialect: Dialect, body: dict[str, Any]) -> None:
    assert said(dialect, body, shares_store=False) == said(dialect, body, shares_store=True)


@pytest.mark.parametrize("body", [{"input": 3, "conversation": 1}, {"input": [[["file_id"]]], "tools": "container"}])
def test_odd_bodies_raise_nothing_else(body: dict[str, Any]) -> None:
    try:
        said(RESPONSES, body, shares_store=False)
    except ProviderFault as fault:
        assert fault.message
