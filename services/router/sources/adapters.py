"""The sources that there are: where each is asked, who reads its answer, how often it is asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from services.router.config import RouterConfig
from services.router.sources import Parsed, genai_prices, hugging_face, litellm, lmarena, models_dev, ollama, openrouter

HOURLY = frozenset({openrouter.NAME})
"""Sources whose prices and places change within a day."""
SHIPPED_ONLY = ("benchmarks", "open_llm_leaderboard")
"""Sources that are only in the snapshot."""


def _one_page(page: bytes) -> bool:
    return True


@dataclasses.dataclass(frozen=True)
class Adapter:
    """One source that can be asked."""

    name: str
    addresses: tuple[str, ...]
    parse: Callable[[Sequence[bytes], float], Parsed]
    """(pages, Unix time) → records. Raises BrokenAnswer."""
    interval_s: float
    is_last: Callable[[bytes], bool] = _one_page
    """Whether no page follows. Raises BrokenAnswer."""


_ALL = (
    Adapter(openrouter.NAME, openrouter.ADDRESSES, openrouter.parse, 0),
    Adapter(lmarena.NAME, lmarena.ADDRESSES, lmarena.parse, 0, lmarena.is_last),
    Adapter(hugging_face.NAME, hugging_face.ADDRESSES, hugging_face.parse, 0),
    Adapter(models_dev.NAME, models_dev.ADDRESSES, models_dev.parse, 0),
    Adapter(ollama.NAME, ollama.ADDRESSES, ollama.parse, 0),
    Adapter(litellm.NAME, litellm.ADDRESSES, litellm.parse, 0),
    Adapter(genai_prices.NAME, genai_prices.ADDRESSES, genai_prices.parse, 0),
)
NAMES = tuple(one.name for one in _ALL) + SHIPPED_ONLY


def adapters_of(config: RouterConfig) -> Mapping[str, Adapter]:
    """The sources that are asked, by name, with the operator's addresses and intervals."""
    addresses: dict[str, tuple[str, ...]] = {}
    for one in config.source_addresses:
        name, _, address = one.partition("=")
        addresses[name] = (*addresses.get(name, ()), address)
    return {
        one.name: dataclasses.replace(
            one,
            addresses=addresses.get(one.name, one.addresses),
            interval_s=config.openrouter_interval_s if one.name in HOURLY else config.source_interval_s,
        )
        for one in _ALL
        if one.name in config.sources
    }
