"""Ollama's library: tags with size, quantisation and context.

Two forms are read: `/api/tags` (of a server, or of ollama.com) and the library as a list of models with their tags.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from services.router.sources import Parsed, SourceRecord
from services.router.sources import values as v

NAME = "ollama"
ADDRESSES = ("https://ollama.com/api/tags",)
_SIZE = re.compile(r"([0-9]{1,4}(?:\.[0-9]{1,4})?) ?([KMBT])", re.ASCII)
_UNITS = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_CONTEXT = re.compile(r"([0-9]{1,5}) ?([KM])", re.ASCII)
_CAPABLE = {"tools": "tools", "vision": "images", "thinking": "reasoning", "embedding": "embeddings", "audio": "audio"}


def parse(pages: Sequence[bytes], now_s: float) -> Parsed:
    """The records of an answer: one for each tag, `name` alone for `name:latest`. Raises BrokenAnswer."""
    rows: list[Any] = []
    for page in pages:
        document = v.read_json(page)
        rows += v.rows_of(document.get("models") if isinstance(document, Mapping) else document, "models")
    return v.collected(rows, lambda row: _read(row, now_s))


def _read(row: Any, now_s: float) -> Iterable[SourceRecord]:
    row = v.mapping(row, "the row")
    name = v.label(row.get("name"), "name", needed=True)
    if "tags" in row:
        tags = row["tags"]
        if not isinstance(tags, list) or len(tags) > v.MAX_ROWS:
            raise v.BadRow("tags is no list")
        abilities = v.words(row.get("capabilities"), "capabilities")
        return list(_tags(name, [v.mapping(tag, "a tag") for tag in tags], abilities, now_s))
    details = v.mapping(row.get("details"), "details")
    said = v.words(row.get("capabilities"), "capabilities")
    return [
        SourceRecord(
            source=NAME,
            id=name.removesuffix(":latest"),
            name=name,
            provider=NAME,
            context_tokens=v.tokens(details.get("context_length"), "details.context_length"),
            capabilities=_capable(said) if said else None,
            parameters=_parameters(details.get("parameter_size")),
            quantization=v.label(details.get("quantization_level"), "details.quantization_level").lower(),
            available=True,
            seen_at_s=now_s,
        )
    ]


def _tags(name: str, tags: list[Mapping[str, Any]], said: Sequence[str], now_s: float) -> Iterable[SourceRecord]:
    # `latest` says no size itself; it is the tag with the same content.
    sizes = {str(tag.get("hash")): tag["parameter_size"] for tag in tags if tag.get("parameter_size")}
    for tag in tags:
        own = v.label(tag.get("name"), "a tag's name", needed=True)
        size = v.number(tag.get("parameter_size") or sizes.get(str(tag.get("hash"))), "parameter_size", 0, 100_000)
        sees = tag.get("model_type") == "text+vision"
        yield SourceRecord(
            source=NAME,
            id=name if own == "latest" else f"{name}:{own}",
            name=f"{name}:{own}",
            provider=NAME,
            context_tokens=_context(tag.get("context_window")),
            capabilities=_capable((*said, "vision") if sees else said),
            input_modalities=("text", "image") if sees else ("text",),
            output_modalities=("embeddings",) if "embedding" in said else ("text",),
            open_weights=True,
            parameters=round((size or 0) * 10**9),
            quantization=v.label(tag.get("quantization"), "quantization"),
            available=True,
            seen_at_s=now_s,
        )


def _capable(said: Iterable[str]) -> tuple[str, ...]:
    found = {_CAPABLE[one] for one in said if one in _CAPABLE}
    # Its servers hold any model that chats to a form.
    return v.capable(found if "embeddings" in found else found | {"json"})


def _context(value: Any) -> int:
    """`128K` and the like, in units of 1024; 0 = not said."""
    text = v.label(value, "context_window")
    found = _CONTEXT.fullmatch(text.upper())
    if found is None:
        return 0
    return v.tokens(int(found[1]) * (1024 if found[2] == "K" else 1024**2), "context_window")


def _parameters(value: Any) -> int:
    """`8.0B` and the like; 0 = not said."""
    found = _SIZE.fullmatch(v.label(value, "details.parameter_size").upper())
    return 0 if found is None else v.parameters(round(float(found[1]) * _UNITS[found[2]]), "details.parameter_size")
