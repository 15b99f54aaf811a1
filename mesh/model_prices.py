"""What models cost, as operators write it under `price:`: dollars in, whole nano-USD by bucket out."""

import dataclasses
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

from mesh.config import ConfigError, nearest

PRICE_KEYS = {
    "input_usd_per_mtok": "input",
    "input_cached_usd_per_mtok": "input_cached",
    "cache_write_usd_per_mtok": "cache_write",
    "output_usd_per_mtok": "output",
    "reasoning_usd_per_mtok": "reasoning",
    "audio_usd_per_hour": "audio_second",
    "input_usd_per_mchar": "input_character",
    "request_usd": "request",
}
"""Price keys in files → price buckets."""


@dataclasses.dataclass(frozen=True)
class PriceEntry:
    """What a model costs."""

    free: bool
    """The operator said it costs nothing."""
    nano_usd_per_mtok: Mapping[str, int]
    """Bucket → nano-USD per million tokens (seconds, characters); "request" is nano-USD per request."""

    @property
    def buckets(self) -> Mapping[str, int]:
        """The same as budget keeps it: empty = free."""
        return {} if self.free else self.nano_usd_per_mtok


def nano_usd(amount: object, where: str) -> int:
    """Dollars as written in a file → nano-USD. Raises ConfigError for anything inexact or negative."""
    try:
        nano = Decimal(str(amount)).scaleb(9)
        if not nano.is_finite():
            raise InvalidOperation
    except InvalidOperation:
        raise ConfigError(f'{where}: "{amount}" is not an amount of dollars, e.g. "0.15"') from None
    if nano < 0 or nano != nano.to_integral_value():
        raise ConfigError(f"{where}: {amount} must not be negative and have at most nine decimals")
    return int(nano)


def parse_price(raw: object, where: str) -> PriceEntry | None:
    """A `price:` value: "free", a mapping, or nothing."""
    if raw is None:
        return None
    if raw == "free":
        return PriceEntry(True, {})
    if not isinstance(raw, Mapping):
        raise ConfigError(f'{where}: a price is "free" or a mapping such as {{input_usd_per_mtok: "0.15"}}')
    buckets = {}
    for key, amount in raw.items():
        if key not in PRICE_KEYS:
            raise ConfigError(f'{where}: unknown key "{key}"{nearest(str(key), PRICE_KEYS)}')
        buckets[PRICE_KEYS[key]] = nano_usd(amount, f"{where}.{key}")
    if "audio_second" in buckets:
        # Rounded up to a nano-USD per million seconds.
        buckets["audio_second"] = -(-buckets["audio_second"] * 1_000_000 // 3600)
    measured = {"audio_second", "input_character"} & set(buckets)
    if not {"input", "output"} <= set(buckets) and not measured and "request" not in buckets:
        raise ConfigError(f"{where}: say at least input_usd_per_mtok and output_usd_per_mtok")
    by_tokens = bool({"input", "input_cached", "cache_write"} & set(buckets))
    if len(measured) + by_tokens > 1:
        raise ConfigError(
            f"{where}: input is priced by tokens, by hours of audio or by characters, not by two of them: every one "
            "is counted for every request"
        )
    return PriceEntry(False, buckets)
