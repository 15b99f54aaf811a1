"""OpenRouter's list of models: context, longest answer, modalities, parameters that work, what it asks for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from services.router.sources import BrokenAnswer, Parsed, SourceRecord
from services.router.sources import values as v

NAME = "openrouter"
ADDRESSES = ("https://openrouter.ai/api/v1/models",)
_CAPABLE = {
    "tools": "tools",
    "tool_choice": "tools",
    "structured_outputs": "json",
    "response_format": "json",
    "reasoning": "reasoning",
    "include_reasoning": "reasoning",
    "web_search_options": "web",
}


def parse(pages: Sequence[bytes], now_s: float) -> Parsed:
    """The records of an answer. Raises BrokenAnswer."""
    rows: list[Any] = []
    for page in pages:
        document = v.read_json(page)
        if not isinstance(document, Mapping):
            raise BrokenAnswer("it is no object with data")
        rows += v.rows_of(document.get("data"), "models")
    return v.collected(rows, lambda row: _read(row, now_s))


def _read(row: Any, now_s: float) -> Iterable[SourceRecord]:
    row = v.mapping(row, "the row")
    name = v.label(row.get("id"), "id", needed=True)
    architecture, top = v.mapping(row.get("architecture"), "architecture"), v.mapping(row.get("top_provider"), "top")
    inputs = v.modalities(architecture.get("input_modalities"), "input_modalities")
    can = {_CAPABLE[one] for one in v.words(row.get("supported_parameters"), "supported_parameters") if one in _CAPABLE}
    can |= {capability for modality, capability in (("image", "images"), ("audio", "audio")) if modality in inputs}
    price = v.mapping(row.get("pricing"), "pricing")
    hugging_face_id = v.label(row.get("hugging_face_id"), "hugging_face_id")
    yield SourceRecord(
        source=NAME,
        id=name,
        name=v.shown(row.get("name")),
        author=name.split("/", 1)[0].lstrip("~") if "/" in name else "",
        provider=NAME,
        context_tokens=v.tokens(row.get("context_length"), "context_length"),
        max_output_tokens=v.tokens(top.get("max_completion_tokens"), "max_completion_tokens"),
        nano_usd_per_mtok=v.priced(
            input=v.nano_usd(price.get("prompt"), "pricing.prompt", per_tokens=1),
            output=v.nano_usd(price.get("completion"), "pricing.completion", per_tokens=1),
            input_cached=v.nano_usd(price.get("input_cache_read"), "pricing.input_cache_read", per_tokens=1),
            cache_write=v.nano_usd(price.get("input_cache_write"), "pricing.input_cache_write", per_tokens=1),
            request=v.per_request(price.get("request"), "pricing.request"),
        ),
        capabilities=v.capable(can),
        input_modalities=inputs,
        output_modalities=v.modalities(architecture.get("output_modalities"), "output_modalities"),
        open_weights=True if hugging_face_id else None,
        available=True,
        hugging_face_id=hugging_face_id,
        seen_at_s=now_s,
    )
