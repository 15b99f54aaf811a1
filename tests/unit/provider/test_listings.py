"""Lists of models in every form, and what is left out of them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.provider.discovery.listings import MAX_NAME, Listed, NotAList, Page, read_page, usable_name


def page_of(kind: str, document: Any) -> Page:
    return read_page(kind, json.dumps(document).encode())


def one(kind: str, document: Any) -> Listed:
    page = page_of(kind, document)
    assert len(page.models) == 1 and page.dropped == 0
    return page.models[0]


def test_openai_says_names_only() -> None:
    page = page_of(
        "openai", {"object": "list", "data": [{"id": name} for name in ("gpt-4o", "text-embedding-3-small")]}
    )
    chat, embedding = page.models
    assert (chat.name, chat.chats, chat.embeds, chat.capabilities_known, chat.price) == (
        "gpt-4o", True, False, False, None)  # fmt: skip
    assert (embedding.chats, embedding.embeds) == (False, True)
    for name in ("whisper-1", "dall-e-3", "omni-moderation-latest", "gpt-4o-realtime-preview", "sora-2"):
        found = one("openai", {"data": [{"id": name}]})
        assert not found.chats and not found.embeds, name


def test_openrouter_says_context_price_and_parameters() -> None:
    row = {
        "id": "openai/gpt-4o-mini",
        "context_length": 128000,
        "architecture": {"input_modalities": ["text", "image"], "output_modalities": ["text"]},
        "pricing": {"prompt": "0.00000015", "completion": "0.0000006", "request": "0", "image": "0.000217",
                    "input_cache_read": "0.000000075"},
        "top_provider": {"context_length": 128000, "max_completion_tokens": 16384},
        "supported_parameters": ["max_tokens", "tools", "response_format", "temperature"],
    }  # fmt: skip
    found = one("openai", {"data": [row]})
    assert (found.context_tokens, found.max_output_tokens) == (128000, 16384)
    assert found.capabilities == ("images", "json", "tools") and found.capabilities_known
    assert found.price == {"input": 150_000_000, "output": 600_000_000, "input_cached": 75_000_000}
    free = one("openai", {"data": [{"id": "a/b:free", "pricing": {"prompt": "0", "completion": "0"}}]})
    assert free.price == {}


@pytest.mark.parametrize(
    "pricing",
    [
        {"prompt": "-1", "completion": "-1"},
        {"prompt": "nan", "completion": "1"},
        {"prompt": "inf", "completion": "0"},
        {"prompt": "1e99", "completion": "0"},
        {"prompt": 0, "completion": 0},
        {"prompt": "0"},
        {"prompt": "free", "completion": "free"},
        [],
        "0",
        {"hourly": 0, "input": 0.2, "output": 0.2},
    ],
)
def test_a_doubtful_price_is_no_price(pricing: Any) -> None:
    assert one("openai", {"data": [{"id": "m", "pricing": pricing}]}).price is None


def test_a_price_is_never_rounded_down() -> None:
    pricing = {"prompt": "0.00000000000000012", "completion": "0.000001"}
    assert one("openai", {"data": [{"id": "m", "pricing": pricing}]}).price == {"input": 1, "output": 1_000_000_000}


def test_mistral_groq_vllm_and_together() -> None:
    mistral = {"id": "mistral-small", "max_context_length": 131072,
               "capabilities": {"completion_chat": True, "function_calling": True, "vision": False}}  # fmt: skip
    found = one("openai", {"data": [mistral]})
    assert (found.context_tokens, found.capabilities, found.chats) == (131072, ("tools",), True)
    ocr = {"id": "mistral-x", "capabilities": {"completion_chat": False}}
    assert not one("openai", {"data": [ocr]}).chats
    groq = one("openai", {"data": [{"id": "llama", "context_window": 8192, "max_completion_tokens": 4096}]})
    assert (groq.context_tokens, groq.max_output_tokens) == (8192, 4096)
    assert one("openai", {"data": [{"id": "q", "max_model_len": 32768}]}).context_tokens == 32768
    bare = page_of(
        "openai", [{"id": "a", "type": "chat"}, {"id": "b", "type": "image"}, {"id": "c", "type": "embedding"}]
    )
    assert [(m.chats, m.embeds) for m in bare.models] == [(True, False), (False, False), (False, True)]


def test_anthropic_says_limits_and_capabilities_by_pages() -> None:
    row = {"type": "model", "id": "claude-sonnet-4-5", "display_name": "Claude", "max_input_tokens": 200000,
           "max_tokens": 64000, "lifecycle": "active",
           "capabilities": {"image_input": {"supported": True}, "structured_outputs": {"supported": False},
                            "thinking": {"supported": True}}}  # fmt: skip
    page = page_of("anthropic", {"data": [row], "has_more": True, "first_id": "a", "last_id": "claude-sonnet-4-5"})
    assert page.next == "claude-sonnet-4-5"
    found = page.models[0]
    assert (found.context_tokens, found.max_output_tokens) == (200000, 64000)
    assert found.capabilities == ("images", "reasoning", "tools") and found.capabilities_known
    assert page_of("anthropic", {"data": [{**row, "lifecycle": "retired"}], "has_more": False}).models == []
    old = one("anthropic", {"data": [{"type": "model", "id": "claude-3"}]})
    assert old.capabilities == ("tools",) and not old.capabilities_known


def test_gemini_says_methods_and_limits() -> None:
    rows = [
        {"name": "models/gemini-2.5-pro", "inputTokenLimit": 1048576, "outputTokenLimit": 65536, "thinking": True,
         "supportedGenerationMethods": ["generateContent", "countTokens"]},
        {"name": "models/gemini-embedding-001", "supportedGenerationMethods": ["embedContent"]},
        {"name": "models/imagen-4", "supportedGenerationMethods": ["predict"]},
    ]  # fmt: skip
    page = page_of("gemini", {"models": rows, "nextPageToken": "next"})
    pro, embedding, imagen = page.models
    assert (pro.name, pro.context_tokens, pro.max_output_tokens) == ("gemini-2.5-pro", 1048576, 65536)
    assert pro.chats and pro.capabilities == ("reasoning",) and page.next == "next"
    assert (embedding.chats, embedding.embeds, imagen.chats, imagen.embeds) == (False, True, False, False)


def test_cohere_says_endpoints_and_features() -> None:
    rows = [
        {"name": "command-a", "endpoints": ["chat"], "context_length": 256000, "features": ["json_mode", "tools"]},
        {"name": "embed-v4.0", "endpoints": ["embed"], "context_length": 8192},
        {"name": "rerank-v3.5", "endpoints": ["rerank"]},
        {"name": "old", "endpoints": ["chat"], "is_deprecated": True},
    ]
    page = page_of("cohere", {"models": rows, "next_page_token": "more"})
    command, embed, rerank = page.models
    assert (command.context_tokens, command.capabilities, command.chats) == (256000, ("json", "tools"), True)
    assert (embed.chats, embed.embeds, rerank.chats or rerank.embeds) == (False, True, False)
    assert page.next == "more" and page.dropped == 1


def test_ollama_says_tags() -> None:
    rows = [
        {"name": "llama3.2:latest", "model": "llama3.2:latest", "details": {"family": "llama"}},
        {"name": "nomic-embed-text:latest"},
        {"name": "qwen3:4b", "capabilities": ["completion", "tools", "thinking"]},
        {"name": "gpt-oss:120b-cloud"},
    ]
    llama, nomic, qwen, cloud = page_of("ollama", {"models": rows}).models
    assert llama.chats and llama.price == {} and cloud.price is None
    assert (nomic.chats, nomic.embeds) == (False, True)
    assert qwen.capabilities == ("reasoning", "tools") and qwen.capabilities_known


HOSTILE = [
    "", " ", "a b", "a\nb", "a\x00b", "a\x1b[31mred", "gpt\u202e4o", "gрt-4o", "a/../b", "..", "../etc", "a//b",
    "/a", "a/", "-flag", ".hidden", "a?b=c", "a#b", "a%2f", "a\\b", "a'b", 'a"b', "<b>", "x" * (MAX_NAME + 1), "ａ",
    None, 7, True, [], {}, ["a"],
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: repr(name)[:20])
@pytest.mark.parametrize(
    ("kind", "rows", "key"),
    [
        ("openai", "data", "id"),
        ("gemini", "models", "name"),
        ("anthropic", "data", "id"),
        ("ollama", "models", "name"),
    ],
)
def test_an_unusable_name_is_dropped(kind: str, rows: str, key: str, name: object) -> None:
    page = page_of(kind, {rows: [{key: name}, {key: "good"}, {key: "good"}, "text", None, 3]})
    assert [model.name for model in page.models] == ["good"]
    assert page.dropped == 5


@pytest.mark.parametrize(
    "name",
    ["gpt-4o", "anthropic/claude-3.5-sonnet:beta", "hf.co/a/B-GGUF:Q4_K_M", "accounts/fireworks/models/x", "@cf/meta/l",
     "ft:gpt-4o-mini:org::id", "~a"],
)  # fmt: skip
def test_real_names_are_usable(name: str) -> None:
    assert usable_name(name)


@pytest.mark.parametrize("body", [b"", b"<html>", b"{", b"[1", b"null", b'"text"', b"{}", b'{"data": {}}', b"\xff\xfe",
                                  b'{"data": null}', b"7", b"[" * 100_000])  # fmt: skip
@pytest.mark.parametrize("kind", ["openai", "anthropic", "gemini", "ollama"])
def test_what_is_no_list_is_refused(kind: str, body: bytes) -> None:
    with pytest.raises(NotAList):
        read_page(kind, body)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "id",
                    "name",
                    "data",
                    "models",
                    "pricing",
                    "prompt",
                    "completion",
                    "capabilities",
                    "architecture",
                    "type",
                    "input_modalities",
                    "supported_parameters",
                    "details",
                    "top_provider",
                    "last_id",
                    "has_more",
                    "context_length",
                    "supportedGenerationMethods",
                    "nextPageToken",
                ]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=25,
)


@given(st.sampled_from(["openai", "anthropic", "gemini", "ollama"]), st.lists(anything, max_size=5))
def test_any_rows_are_read_or_dropped(kind: str, rows: list[Any]) -> None:
    key = "models" if kind in ("gemini", "ollama") else "data"
    page = page_of(kind, {key: rows})
    assert len(page.models) + page.dropped == len(rows)
    assert all(usable_name(model.name) and model.context_tokens >= 0 for model in page.models)
