"""Reading what strangers wrote: an answer as a whole, its rows, and single values, each within what can be true.

A value that is not there is unknown; one that cannot be true (a negative price, a context of a billion tokens, a number
where a list belongs) condemns its row. An answer of which more than half the rows are condemned is condemned whole.
"""

from __future__ import annotations

import decimal
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from services.router.sources import CAPABILITIES, BrokenAnswer, Parsed, SourceRecord

MAX_ROWS = 50_000
"""More rows than this are no list of models."""
MAX_NAME = 200
MAX_TOKENS = 100_000_000
MAX_PARAMETERS = 100_000_000_000_000
MAX_USD_PER_MTOK = 10_000
MAX_USD_PER_REQUEST = 100
MODALITIES = ("text", "image", "audio", "video", "file", "pdf", "embeddings")
_NANO_USD = 1_000_000_000
_MTOK = 1_000_000


class BadRow(ValueError):
    """A row that cannot be true; the text names the value."""


def read_json(body: bytes) -> Any:
    """The answer as JSON. Raises BrokenAnswer."""
    start = body[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
    if not start:
        raise BrokenAnswer("it is empty")
    if start[:1] == b"<":
        raise BrokenAnswer("it is a page of HTML, not JSON")
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError, OverflowError):
        raise BrokenAnswer("it is not JSON, or ends too early") from None


def rows_of(found: Any, what: str) -> list[Any]:
    """A list of rows. Raises BrokenAnswer."""
    if not isinstance(found, list):
        raise BrokenAnswer(f"it has no list of {what}")
    if len(found) > MAX_ROWS:
        raise BrokenAnswer(f"it has {len(found)} {what}, more than {MAX_ROWS}")
    return found


def collected(rows: Iterable[Any], read: Callable[[Any], Iterable[SourceRecord]]) -> Parsed:
    """The records of all rows; of two with one id the first stands. Raises BrokenAnswer when too few can be used."""
    records: dict[str, SourceRecord] = {}
    bad = doubles = 0
    why = ""
    for row in rows:
        try:
            found = list(read(row))
        except BadRow as error:
            bad += 1
            why = why or str(error)
            continue
        for one in found:
            doubles += one.id in records
            records.setdefault(one.id, one)
    if not records and not bad:
        raise BrokenAnswer("it lists no models")
    if bad > len(records):
        raise BrokenAnswer(f"{bad} of its {bad + len(records)} rows cannot be true, the first because {why}")
    return Parsed(list(records.values()), bad + doubles)


def mapping(value: Any, name: str) -> Mapping[str, Any]:
    """A mapping; nothing = an empty one. Raises BadRow."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise BadRow(f"{name} is no object")
    return value


def label(value: Any, name: str, *, needed: bool = False) -> str:
    """A name that may be shown, logged and compared; "" = not said. Raises BadRow."""
    if value is None or value == "":
        if needed:
            raise BadRow(f"{name} is missing")
        return ""
    if not isinstance(value, str):
        raise BadRow(f"{name} is no text")
    text = value.strip()
    if not text or len(text) > MAX_NAME or not text.isascii() or not text.isprintable():
        raise BadRow(f"{name} is longer than {MAX_NAME} characters, or has some that no name has")
    return text


def shown(value: Any) -> str:
    """A name only to be shown: made plain instead of refused."""
    return "".join(one for one in value if one.isprintable())[:MAX_NAME].strip() if isinstance(value, str) else ""


def number(value: Any, name: str, least: float, most: float) -> float | None:
    """A number; None = not said. Raises BadRow."""
    if value is None:
        return None
    # NaN fails both comparisons.
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise BadRow(f"{name} is no number from {least:g} to {most:g}")
    return float(value)


def tokens(value: Any, name: str) -> int:
    """A number of tokens; 0 = not said. Raises BadRow."""
    return int(number(value, name, 0, MAX_TOKENS) or 0)


def parameters(value: Any, name: str) -> int:
    """A number of parameters; 0 = not said. Raises BadRow."""
    return int(number(value, name, 0, MAX_PARAMETERS) or 0)


def flag(value: Any, name: str) -> bool | None:
    """Yes or no; None = not said. Raises BadRow."""
    if value is not None and not isinstance(value, bool):
        raise BadRow(f"{name} is neither true nor false")
    return value


def words(value: Any, name: str) -> tuple[str, ...]:
    """A list of words; nothing = none. Raises BadRow."""
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > 1000 or not all(isinstance(one, str) for one in value):
        raise BadRow(f"{name} is no list of words")
    return tuple(value)


def modalities(value: Any, name: str) -> tuple[str, ...]:
    """The modalities that are known of those listed. Raises BadRow."""
    found = set(words(value, name))
    return tuple(one for one in MODALITIES if one in found)


def capable(found: Iterable[str]) -> tuple[str, ...]:
    """Capabilities in one order."""
    found = set(found)
    return tuple(one for one in CAPABILITIES if one in found)


def nano_usd(value: Any, name: str, *, per_tokens: int = _MTOK, most_usd: float = MAX_USD_PER_MTOK) -> int | None:
    """Dollars for `per_tokens` tokens, as a number or as text, in nano-USD per million tokens; None = not said. Raises
    BadRow for what is no price: negative, infinite, not a number, too high."""
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str) or len(str(value)) > 64:
        raise BadRow(f"{name} is no price")
    try:
        usd = decimal.Decimal(str(value)) * _MTOK / per_tokens
        # Also refuses NaN, which compares with nothing.
        if not 0 <= usd <= decimal.Decimal(most_usd):
            raise BadRow(f"{name} is no price from 0 to {most_usd:g} dollars")
        return int((usd * _NANO_USD).to_integral_value())
    except (decimal.InvalidOperation, decimal.Overflow):
        raise BadRow(f"{name} is no price") from None


def per_request(value: Any, name: str) -> int | None:
    """Dollars for a request, in nano-USD. Raises BadRow."""
    return nano_usd(value, name, most_usd=MAX_USD_PER_REQUEST)


def priced(**buckets: int | None) -> dict[str, int] | None:
    """A price of what is said: nothing without input and output, empty when all is free, without buckets that are 0."""
    if buckets.get("input") is None or buckets.get("output") is None:
        return None
    if not any(buckets.values()):
        return {}
    return {name: value for name, value in buckets.items() if value or (value == 0 and name in ("input", "output"))}
