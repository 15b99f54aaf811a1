"""What public sources say of models: one small adapter for each, one record for what any of them says.

An adapter turns the bytes of an answer into records and never fetches; fetching, keeping the last good copy and joining
what was said to the catalog have files of their own. Nothing a source says counts before what the operator wrote, and
no source prices a charge: prices in here are what somebody published, to look at.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec

FETCHED = ("openrouter", "lmarena", "hugging_face", "models_dev", "ollama", "litellm", "genai_prices")
"""The sources that can be asked."""
VERSION = 1
"""The form in which records are kept on disk. Another version is not read: it is fetched or shipped anew."""
CAPABILITIES = ("tools", "images", "json", "reasoning", "audio", "web", "embeddings")
"""What records may say that a model can; the words are those of `capabilities:` in the configuration."""


class Elo(msgspec.Struct, frozen=True, array_like=True):
    """A rating with the interval that it lies in."""

    rating: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """How far the truth may be from the rating, in points."""
        return (self.high - self.low) / 2


class SourceRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one source says of one model; empty, 0 and None = it does not say. Kept on disk: fields are only added."""

    source: str
    id: str
    """The source's own name for it."""
    name: str = ""
    author: str = ""
    """Who made it."""
    provider: str = ""
    """Where it is served, when the source lists models by place."""
    context_tokens: int = 0
    max_output_tokens: int = 0
    nano_usd_per_mtok: dict[str, int] | None = None
    """Bucket → nano-USD per million tokens, as published; empty = free."""
    capabilities: tuple[str, ...] | None = None
    """Of CAPABILITIES."""
    input_modalities: tuple[str, ...] = ()
    output_modalities: tuple[str, ...] = ()
    licence: str = ""
    open_weights: bool | None = None
    parameters: int = 0
    quantization: str = ""
    elo: dict[str, Elo] = {}
    """Category → rating."""
    benchmarks: dict[str, float] = {}
    """Name → figure, mostly 0 to 1."""
    speed_tokens_per_s: float = 0.0
    first_token_ms: float = 0.0
    available: bool | None = None
    """Whether its source says that it can be asked now."""
    hugging_face_id: str = ""
    """What the source says it is called on Hugging Face."""
    seen_at_s: float = 0.0
    """Unix time of the answer that said so."""


class Parsed(msgspec.Struct, frozen=True):
    """The whole of an answer."""

    records: list[SourceRecord]
    dropped: int = 0
    """Rows that could not be true, and were left out."""


class BrokenAnswer(ValueError):
    """The answer as a whole cannot be used: what was known before stays. The text says why, in words of our own."""


def fault_of(setting: str, *, private: bool) -> str:
    """What is wrong with a `name=address` of the configuration; empty when nothing is. Names are resolved, and private
    addresses refused, when they are asked."""
    name, found, address = setting.partition("=")
    if not found or name not in FETCHED:
        return f'"{setting[:200]}" is not of the form name=address, with a name of {", ".join(FETCHED)}'
    return fault_of_address(address, private=private)


def fault_of_address(address: str, *, private: bool) -> str:
    """What is wrong with an address, read as text; empty when nothing is."""
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return f'"{address[:200]}" is no address'
    if not address.isascii() or any(ord(one) <= 32 or one in '\\"<>' for one in address):
        return "an address holds no spaces, quotes, backslashes or other characters than ASCII"
    if parts.scheme != "https" and not (private and parts.scheme == "http"):
        return f'"{address[:200]}" is not https'
    if "@" in parts.netloc:
        return "an address of a source holds no user name or password"
    if not host or (not private and host.lower().rstrip(".") == "localhost"):
        return f'"{address[:200]}" names no public host'
    return ""
