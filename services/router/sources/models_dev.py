"""models.dev's catalogue (MIT): every provider's models with limits, modalities, what they can do, published prices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from services.router.sources import BrokenAnswer, Parsed, SourceRecord
from services.router.sources import values as v

NAME = "models_dev"
ADDRESSES = ("https://models.dev/api.json",)


def parse(pages: Sequence[bytes], now_s: float) -> Parsed:
    """The records of an answer, with ids of the form provider/model. Raises BrokenAnswer."""
    rows: list[tuple[str, Any]] = []
    for page in pages:
        document = v.read_json(page)
        if not isinstance(document, Mapping):
            raise BrokenAnswer("it is no object of providers")
        for provider, about in document.items():
            models = about.get("models") if isinstance(about, Mapping) else None
            if not isinstance(models, Mapping):
                rows.append((provider, None))
                continue
            rows += [(provider, model) for model in models.values()]
    return v.collected(v.rows_of(rows, "models"), lambda row: _read(row, now_s))


def _read(row: tuple[str, Any], now_s: float) -> Iterable[SourceRecord]:
    provider, about = v.label(row[0], "provider", needed=True), row[1]
    if about is None:
        raise v.BadRow("a provider has no object of models")
    model = v.mapping(about, "the row")
    name = v.label(model.get("id"), "id", needed=True)
    limit, cost = v.mapping(model.get("limit"), "limit"), v.mapping(model.get("cost"), "cost")
    kinds = v.mapping(model.get("modalities"), "modalities")
    inputs, outputs = (v.modalities(kinds.get(way), f"modalities.{way}") for way in ("input", "output"))
    calls = v.flag(model.get("tool_call"), "tool_call")
    shapes = v.flag(model.get("structured_output"), "structured_output")
    can = {
        "tools": calls,
        # What it does not say of JSON: who writes calls of tools writes objects.
        "json": calls if shapes is None else shapes,
        "reasoning": v.flag(model.get("reasoning"), "reasoning"),
        "images": "image" in inputs,
        "audio": "audio" in inputs,
    }
    yield SourceRecord(
        source=NAME,
        id=f"{provider}/{name}"[: v.MAX_NAME],
        name=v.shown(model.get("name")),
        author=name.split("/", 1)[0] if "/" in name else provider,
        provider=provider,
        context_tokens=v.tokens(limit.get("context"), "limit.context"),
        max_output_tokens=v.tokens(limit.get("output"), "limit.output"),
        nano_usd_per_mtok=v.priced(
            input=v.nano_usd(cost.get("input"), "cost.input"),
            output=v.nano_usd(cost.get("output"), "cost.output"),
            input_cached=v.nano_usd(cost.get("cache_read"), "cost.cache_read"),
            cache_write=v.nano_usd(cost.get("cache_write"), "cost.cache_write"),
            reasoning=v.nano_usd(cost.get("reasoning"), "cost.reasoning"),
        ),
        capabilities=None if calls is None else v.capable(name for name, on in can.items() if on),
        input_modalities=inputs,
        output_modalities=outputs,
        open_weights=v.flag(model.get("open_weights"), "open_weights"),
        available=False if model.get("status") == "deprecated" else None,
        seen_at_s=now_s,
    )
