"""What models cost, as operators write it under `price:`: dollars in, whole nano-USD by bucket out."""

import dataclasses
import datetime as dt
import itertools
import re
from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import NamedTuple

from mesh.config import ConfigError, nearest

PRICE_KEYS = {
    "input_usd_per_mtok": "input",
    "input_cached_usd_per_mtok": "input_cached",
    "cache_write_usd_per_mtok": "cache_write",
    "cache_write_1h_usd_per_mtok": "cache_write_1h",
    "output_usd_per_mtok": "output",
    "reasoning_usd_per_mtok": "reasoning",
    "input_audio_usd_per_mtok": "input_audio",
    "input_audio_cached_usd_per_mtok": "input_audio_cached",
    "input_image_usd_per_mtok": "input_image",
    "output_audio_usd_per_mtok": "output_audio",
    "output_image_usd_per_mtok": "output_image",
    "audio_usd_per_hour": "audio_second",
    "input_usd_per_mchar": "input_character",
    "request_usd": "request",
}
"""Price keys in files → price buckets."""
BUCKETS = "nano_usd_per_mtok"
"""The key that holds a price by its buckets, instead of all others."""
MEASURES = ("audio_second", "input_character")
"""Buckets that count no tokens, and that no other stands in for: most prices have none of them."""
_BY_TOKENS = frozenset(
    ("input", "input_cached", "cache_write", "cache_write_1h", "input_audio", "input_audio_cached", "input_image")
)
_NAME = re.compile(r"(?:([a-z][a-z0-9_]{0,31}):)?([a-z][a-z0-9_]{0,31})(?:>([1-9][0-9]{0,9}))?")
_TIER = re.compile(r"[a-z][a-z0-9_]{0,31}")
STANDARD = ("standard", "default", "auto", "on_demand")
"""Providers' words for being served as usual: no service tiers of their own."""
MAX_NANO_USD = 10_000 * 10**9
"""No price is higher: it would be a slip of the decimal point."""
MAX_SERVICE_TIERS = 8
MAX_LENGTHS = 8


class BucketName(NamedTuple):
    """A bucket as it is stored, e.g. `flex:input>200000`, taken apart."""

    service_tier: str
    bucket: str
    above_tokens: int


def split_bucket(name: str) -> BucketName | None:
    """A stored name's parts; None for what is none."""
    if found := _NAME.fullmatch(name):
        return BucketName(found[1] or "", found[2], int(found[3] or 0))
    return None


def bucket_name(service_tier: str, bucket: str, above_tokens: int) -> str:
    """The other way."""
    name = f"{service_tier}:{bucket}" if service_tier else bucket
    return f"{name}>{above_tokens}" if above_tokens else name


@dataclasses.dataclass(frozen=True)
class PriceEntry:
    """What a model costs."""

    free: bool
    """The operator said it costs nothing."""
    nano_usd_per_mtok: Mapping[str, int]
    """Bucket → nano-USD per million tokens (seconds, characters); "request" is nano-USD per request."""
    valid_from: dt.datetime | None = None
    """None = ever since."""
    later: tuple["PriceEntry", ...] = ()
    """The prices after this one, by their dates."""

    @property
    def buckets(self) -> Mapping[str, int]:
        """The same as budget keeps it: empty = free."""
        return {} if self.free else self.nano_usd_per_mtok


def nano_usd(amount: object, where: str) -> int:
    """Dollars as written in a file → nano-USD. Raises ConfigError for anything inexact or negative."""
    nano = _decimal(amount, where).scaleb(9)
    if nano < 0 or nano != nano.to_integral_value():
        raise ConfigError(f"{where}: {amount} must not be negative and have at most nine decimals")
    return int(nano)


def _decimal(amount: object, where: str) -> Decimal:
    try:
        value = Decimal(str(amount))
        if not value.is_finite():
            raise InvalidOperation
    except InvalidOperation:
        raise ConfigError(f'{where}: "{amount}" is not an amount of dollars, e.g. "0.15"') from None
    return value


def parse_price(raw: object, where: str) -> PriceEntry | None:
    """A `price:` value: "free", a mapping, a list of them with the days they begin, or nothing."""
    if raw is None:
        return None
    if not isinstance(raw, list):
        return _entry(raw, where)
    dated = [_dated(one, f"{where}[{index}]", first=not index) for index, one in enumerate(raw)]
    if not dated:
        raise ConfigError(f'{where}: the list is empty: say a price, or "free"')
    for index, (before, after) in enumerate(itertools.pairwise(dated), 1):
        if before.valid_from is not None and after.valid_from is not None and before.valid_from >= after.valid_from:
            raise ConfigError(f"{where}[{index}].from: it must be later than the one before it")
    return dataclasses.replace(dated[0], later=tuple(dated[1:]))


def _dated(raw: object, where: str, *, first: bool) -> PriceEntry:
    if not isinstance(raw, Mapping) or ("from" not in raw and not first):
        raise ConfigError(
            f"{where}: of several prices each but the first says the day it begins, e.g. "
            '{from: 2027-01-01, input_usd_per_mtok: "0.15", output_usd_per_mtok: "0.60"}'
        )
    rest = {key: value for key, value in raw.items() if key != "from"}
    begins = parse_moment(raw["from"], f"{where}.from") if "from" in raw else None
    return dataclasses.replace(_entry(rest, where), valid_from=begins)


def parse_moment(raw: object, where: str) -> dt.datetime:
    """A day (its first moment in UTC) or a moment with its zone. Raises ConfigError."""
    if isinstance(raw, str):
        try:
            raw = dt.datetime.fromisoformat(raw)
        except ValueError:
            raise ConfigError(
                f'{where}: "{raw}" is no day like 2027-01-01 or moment like 2027-01-01T00:00:00Z'
            ) from None
    if isinstance(raw, dt.datetime):
        # YAML gives moments with a zone as UTC without one.
        return raw.replace(tzinfo=dt.UTC) if raw.tzinfo is None else raw.astimezone(dt.UTC)
    if isinstance(raw, dt.date):
        return dt.datetime.combine(raw, dt.time(), dt.UTC)
    raise ConfigError(f'{where}: "{raw}" is no day like 2027-01-01 or moment like 2027-01-01T00:00:00Z')


def _entry(raw: object, where: str) -> PriceEntry:
    if raw == "free":
        return PriceEntry(True, {})
    if not isinstance(raw, Mapping):
        raise ConfigError(f'{where}: a price is "free" or a mapping such as {{input_usd_per_mtok: "0.15"}}')
    if "free" in raw:
        if raw["free"] is not True or len(raw) > 1:
            raise ConfigError(f"{where}.free: it stands alone, and true is all that it can be")
        return PriceEntry(True, {})
    if BUCKETS in raw:
        return PriceEntry(False, _named(raw, where))
    buckets = _level(raw, where)
    for tier, said in _pairs(raw.get("service_tiers", {}), f"{where}.service_tiers"):
        buckets.update(_tier(tier, said, buckets, f"{where}.service_tiers.{tier}"))
    if problem := problem_of(buckets):
        raise ConfigError(f"{where}: {problem}")
    return PriceEntry(False, buckets)


def _named(raw: Mapping[str, object], where: str) -> dict[str, int]:
    """A price that names the buckets themselves, as answers of the API do."""
    if len(raw) > 1:
        raise ConfigError(f"{where}.{BUCKETS}: it stands alone: it says all that the price has")
    buckets: dict[str, int] = {}
    for bucket, nano in _pairs(raw[BUCKETS], f"{where}.{BUCKETS}"):
        if not isinstance(nano, int) or isinstance(nano, bool):
            raise ConfigError(f'{where}.{BUCKETS}.{bucket}: a whole number of nano-USD is needed, not "{nano}"')
        buckets[str(bucket)] = nano
    if problem := problem_of(buckets):
        raise ConfigError(f"{where}.{BUCKETS}: {problem}")
    return buckets


def _level(raw: Mapping[str, object], where: str) -> dict[str, int]:
    """The buckets that a mapping names, and under `above` those for longer prompts."""
    buckets = _amounts(raw, where, also=("above", "service_tiers"))
    for tokens, said in _pairs(raw.get("above", {}), f"{where}.above"):
        place = f"{where}.above.{tokens}"
        if not str(tokens).isascii() or not str(tokens).isdigit() or not 0 < int(str(tokens)) < 10**10:
            raise ConfigError(f"{place}: a number of tokens is needed, e.g. above: {{200000: …}}")
        if not isinstance(said, Mapping) or not said:
            raise ConfigError(f'{place}: what longer prompts cost is a mapping such as {{input_usd_per_mtok: "0.30"}}')
        for bucket, nano in _amounts(said, place).items():
            buckets[bucket_name("", bucket, int(str(tokens)))] = nano
    return buckets


def _amounts(raw: Mapping[str, object], where: str, also: tuple[str, ...] = ()) -> dict[str, int]:
    buckets = {}
    for key, amount in raw.items():
        if key in also:
            continue
        if key not in PRICE_KEYS:
            raise ConfigError(f'{where}: unknown key "{key}"{nearest(str(key), (*PRICE_KEYS, *also))}')
        buckets[PRICE_KEYS[key]] = nano_usd(amount, f"{where}.{key}")
    if "audio_second" in buckets:
        # Rounded up to a nano-USD per million seconds.
        buckets["audio_second"] = -(-buckets["audio_second"] * 1_000_000 // 3600)
    return buckets


def _pairs(raw: object, where: str) -> list[tuple[object, object]]:
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{where}: a mapping is needed")
    return list(raw.items())


def _tier(tier: object, said: object, standard: Mapping[str, int], where: str) -> dict[str, int]:
    """A service tier: what its own mapping names, or a factor on everything but the fee per request."""
    name = str(tier)
    if not _TIER.fullmatch(name) or name in STANDARD:
        raise ConfigError(f"{where}: a service tier is named as providers do, e.g. batch, flex or priority")
    if isinstance(said, Mapping):
        if not said:
            raise ConfigError(f"{where}: it is empty: say a factor such as 0.5, or prices")
        return {f"{name}:{bucket}": nano for bucket, nano in _level(_no_tiers(said, where), where).items()}
    factor = _decimal(said, where)
    if not 0 < factor <= 100:
        raise ConfigError(f'{where}: a factor is above 0 and at most 100, e.g. 0.5, not "{said}"')
    named = [(found, nano) for key, nano in standard.items() if (found := split_bucket(key)) is not None]
    own, under = dict[str, int](), dict[str, int]()
    for above in sorted({found.above_tokens for found, _ in named if not found.service_tier}):
        # What a length does not name it has from the shorter ones: it is reduced there, too.
        under |= {one.bucket: nano for one, nano in named if (one.service_tier, one.above_tokens) == ("", above)}
        for bucket, nano in under.items():
            if bucket != "request":
                # Rounded up to a nano-USD per million tokens.
                own[bucket_name(name, bucket, above)] = int((nano * factor).to_integral_value(ROUND_CEILING))
    return own


def _no_tiers(said: Mapping[str, object], where: str) -> Mapping[str, object]:
    if "service_tiers" in said:
        raise ConfigError(f"{where}.service_tiers: a service tier has no tiers of its own")
    return said


def problem_of(buckets: Mapping[str, int]) -> str:
    """What is wrong with stored names and amounts; "" when nothing is."""
    plain: dict[str, int] = {}
    tiers, lengths, measured = set[str](), set[int](), set[str]()
    for name, nano in buckets.items():
        found = split_bucket(name)
        if found is None or found.bucket not in PRICE_KEYS.values() or found.service_tier in STANDARD:
            return f'there is no bucket "{name[:80]}"'
        if not 0 <= nano <= MAX_NANO_USD * (100 if found.bucket == "audio_second" else 1):
            return f"{name} is {nano} nano-USD: it must not be below 0, nor above 10,000 dollars"
        tiers.add(found.service_tier)
        lengths.add(found.above_tokens)
        measured.add("tokens" if found.bucket in _BY_TOKENS else found.bucket)
        if name == found.bucket:
            plain[name] = nano
    if len(tiers) > MAX_SERVICE_TIERS or len(lengths) > MAX_LENGTHS:
        return f"at most {MAX_SERVICE_TIERS - 1} service tiers and {MAX_LENGTHS - 1} lengths of a prompt have prices"
    if not {"input", "output"} <= set(plain) and not {*MEASURES, "request"} & set(plain):
        return "say at least input_usd_per_mtok and output_usd_per_mtok"
    if len(measured & {"tokens", *MEASURES}) > 1:
        return (
            "input is priced by tokens, by hours of audio or by characters, not by two of them: every one is counted "
            "for every request"
        )
    return ""
