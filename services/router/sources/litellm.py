"""LiteLLM's price list (MIT): one object with an entry for each model at each provider. Shipped, and not fetched unless
an address is set for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from services.router.sources import BrokenAnswer, Parsed, SourceRecord
from services.router.sources import values as v

NAME = "litellm"
ADDRESSES = ("https://raw.githubusercontent.com/BerriAI/litellm/main/model_prices_and_context_window.json",)
MODES = ("chat", "completion", "responses", "embedding")
"""What kinds of entries are models for this house."""
_CAPABLE = {
    "supports_function_calling": "tools",
    "supports_response_schema": "json",
    "supports_native_structured_output": "json",
    "supports_vision": "images",
    "supports_reasoning": "reasoning",
    "supports_audio_input": "audio",
    "supports_web_search": "web",
}


def parse(pages: Sequence[bytes], now_s: float) -> Parsed:
    """The records of an answer. Raises BrokenAnswer."""
    rows: list[tuple[str, Any]] = []
    for page in pages:
        document = v.read_json(page)
        if not isinstance(document, Mapping):
            raise BrokenAnswer("it is no object of models")
        rows += [(name, row) for name, row in document.items() if name != "sample_spec"]
    return v.collected(v.rows_of(rows, "models"), lambda row: _read(row, now_s))


def _read(entry: tuple[str, Any], now_s: float) -> Iterable[SourceRecord]:
    row = v.mapping(entry[1], "the row")
    if row.get("mode") not in MODES:
        return
    name = v.label(entry[0], "name", needed=True)
    provider = v.label(row.get("litellm_provider"), "litellm_provider")
    can = {capability for key, capability in _CAPABLE.items() if v.flag(row.get(key), key)}
    embeds = row["mode"] == "embedding"
    yield SourceRecord(
        source=NAME,
        id=name,
        name=name,
        provider=provider,
        context_tokens=v.tokens(row.get("max_input_tokens"), "max_input_tokens"),
        max_output_tokens=0 if embeds else v.tokens(row.get("max_output_tokens"), "max_output_tokens"),
        nano_usd_per_mtok=v.priced(
            input=v.nano_usd(row.get("input_cost_per_token"), "input_cost_per_token", per_tokens=1),
            output=v.nano_usd(row.get("output_cost_per_token"), "output_cost_per_token", per_tokens=1),
            input_cached=v.nano_usd(row.get("cache_read_input_token_cost"), "cache_read", per_tokens=1),
            cache_write=v.nano_usd(row.get("cache_creation_input_token_cost"), "cache_creation", per_tokens=1),
        ),
        capabilities=("embeddings",) if embeds else v.capable(can),
        output_modalities=("embeddings",) if embeds else (),
        seen_at_s=now_s,
    )
