"""Hugging Face: what its hub says of open models (licence, parameters) and its router of those served (context, tools).

The hub answers with a list, the router with an object; a page of either kind is told by its form.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from services.router.sources import BrokenAnswer, Parsed, SourceRecord
from services.router.sources import values as v

NAME = "hugging_face"
_EXPAND = "".join(f"&expand%5B%5D={one}" for one in ("safetensors", "tags", "pipeline_tag", "author"))
_HUB = "https://huggingface.co/api/models?pipeline_tag={}&sort=downloads&limit=1000" + _EXPAND
ADDRESSES = (
    "https://router.huggingface.co/v1/models",
    _HUB.format("text-generation"),
    _HUB.format("image-text-to-text"),
)
_LICENCE = "license:"
_SEES = "image-text-to-text"


def parse(pages: Sequence[bytes], now_s: float) -> Parsed:
    """The records of all pages, what router and hub say of one model joined. Raises BrokenAnswer."""
    served: list[SourceRecord] = []
    held: list[SourceRecord] = []
    dropped = 0
    for page in pages:
        document = v.read_json(page)
        if isinstance(document, Mapping):
            found = v.collected(v.rows_of(document.get("data"), "models"), lambda row: _served(row, now_s))
            served += found.records
        else:
            found = v.collected(v.rows_of(document, "models"), lambda row: _held(row, now_s))
            held += found.records
        dropped += found.dropped
    if not served and not held:
        raise BrokenAnswer("it lists no models")
    records = {one.id: one for one in reversed(served)}
    for one in held:
        records[one.id] = _joined(records[one.id], one) if one.id in records else one
    return Parsed(list(records.values()), dropped)


def _held(row: Any, now_s: float) -> Iterable[SourceRecord]:
    row = v.mapping(row, "the row")
    name = v.label(row.get("id"), "id", needed=True)
    if v.flag(row.get("private"), "private"):
        return
    tags = v.words(row.get("tags"), "tags")
    weights = v.mapping(row.get("safetensors"), "safetensors")
    yield SourceRecord(
        source=NAME,
        id=name,
        name=name.rsplit("/", 1)[-1],
        author=name.split("/", 1)[0] if "/" in name else "",
        input_modalities=("text", "image") if row.get("pipeline_tag") == _SEES else ("text",),
        output_modalities=("text",),
        licence=v.shown(next((tag.removeprefix(_LICENCE) for tag in tags if tag.startswith(_LICENCE)), "")),
        open_weights=True,
        parameters=v.parameters(weights.get("total"), "safetensors.total"),
        hugging_face_id=name,
        seen_at_s=now_s,
    )


def _served(row: Any, now_s: float) -> Iterable[SourceRecord]:
    row = v.mapping(row, "the row")
    name = v.label(row.get("id"), "id", needed=True)
    architecture = v.mapping(row.get("architecture"), "architecture")
    inputs = v.modalities(architecture.get("input_modalities"), "input_modalities")
    places = row.get("providers") or []
    if not isinstance(places, list):
        raise v.BadRow("providers is no list")
    live = [one for place in places if (one := v.mapping(place, "a provider")).get("status") == "live"]
    can = {
        capability
        for key, capability in (("supports_tools", "tools"), ("supports_structured_output", "json"))
        if any(v.flag(one.get(key), key) for one in live)
    }
    yield SourceRecord(
        source=NAME,
        id=name,
        name=name.rsplit("/", 1)[-1],
        author=name.split("/", 1)[0] if "/" in name else "",
        # Places differ; what the best of them has is what the model can do.
        context_tokens=max((v.tokens(one.get("context_length"), "context_length") for one in live), default=0),
        capabilities=v.capable(can | ({"images"} if "image" in inputs else set())) if live else None,
        input_modalities=inputs,
        output_modalities=v.modalities(architecture.get("output_modalities"), "output_modalities"),
        open_weights=True,
        available=bool(live),
        hugging_face_id=name,
        seen_at_s=now_s,
    )


def _joined(served: SourceRecord, held: SourceRecord) -> SourceRecord:
    return SourceRecord(
        source=NAME,
        id=served.id,
        name=served.name,
        author=served.author,
        context_tokens=served.context_tokens,
        capabilities=served.capabilities,
        input_modalities=served.input_modalities or held.input_modalities,
        output_modalities=served.output_modalities or held.output_modalities,
        licence=held.licence,
        open_weights=True,
        parameters=held.parameters,
        available=served.available,
        hugging_face_id=served.id,
        seen_at_s=served.seen_at_s,
    )
