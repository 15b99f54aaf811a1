"""Prices and costs in whole nano-USD: pure integer arithmetic, one rounding (up) per attempt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

TOKENS_PER_PRICE = 1_000_000
"""Prices are nano-USD per this many tokens, because the price of one token can be below one nano-USD."""

BUCKETS = (
    *("input", "input_cached", "cache_write", "output", "reasoning", "audio_second", "input_character"),
    "request",
)
"""The names a price may have; `request` is nano-USD per request, all others per million of what they count."""
MEASURES = ("audio_second", "input_character", "request")
"""Buckets that count no tokens, and that no other stands in for: most prices have none of them."""


SEAM_TOKENS = 200
"""More than what provider puts between the shown part of an answer and its continuation: the wish to go on, and the
last words once more."""


class Rates(NamedTuple):
    """The price of every bucket after the fallbacks of `rates_of`."""

    input: int
    input_cached: int
    cache_write: int
    output: int
    reasoning: int
    audio_second: int
    input_character: int
    request: int


class Usage(NamedTuple):
    """What one attempt used; the buckets of tokens are disjoint, and a price has either them or another measure."""

    input: int = 0
    input_cached: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0
    audio_seconds: int = 0
    input_characters: int = 0


class Input(NamedTuple):
    """The most that a request can bring to a provider, by every measure."""

    tokens: int
    audio_seconds: int = 0
    characters: int = 0


class Line(NamedTuple):
    """One line of a charge. The lines' costs add up to the charge exactly."""

    bucket: str
    tokens: int
    nano_usd_per_mtok: int
    cost_nano_usd: int


@dataclass(frozen=True, slots=True)
class Price:
    """One version of a model's price."""

    version: int
    provider: str
    model: str
    buckets: Mapping[str, int]
    source: str
    known: bool = True
    """False = the price was withdrawn: from this version on it is unknown."""
    rates: Rates = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rates", rates_of(self.buckets))


@dataclass(frozen=True, slots=True)
class Charge:
    """The cost of one attempt and how it comes about; version 0 = no price was known, the cost is 0."""

    cost_nano_usd: int
    price_version: int
    lines: tuple[Line, ...]


def rates_of(buckets: Mapping[str, int]) -> Rates:
    """Fills the buckets a price does not name, never with less than a bucket of the same direction.

    input_cached and cache_write fall back to input, reasoning to output. A price without input takes its dearest
    input-side bucket; one without output takes reasoning, then input. An empty price (free) is 0 everywhere.
    """
    dearest_input = max(buckets.get("input_cached", 0), buckets.get("cache_write", 0))
    input_rate = buckets.get("input", dearest_input)
    output = buckets.get("output", buckets.get("reasoning", input_rate))
    return Rates(
        input=input_rate,
        input_cached=buckets.get("input_cached", input_rate),
        cache_write=buckets.get("cache_write", input_rate),
        output=output,
        reasoning=buckets.get("reasoning", output),
        audio_second=buckets.get("audio_second", 0),
        input_character=buckets.get("input_character", 0),
        request=buckets.get("request", 0),
    )


def _ceil_tokens(scaled: int) -> int:
    return -(-scaled // TOKENS_PER_PRICE)


def charge(price: Price | None, usage: Usage, *, answered: bool) -> Charge:
    """Prices one attempt: ceil(Σ tokens·price / 1e6). The per-request fee counts only if the provider answered."""
    if price is None or not price.known:
        return Charge(0, 0, ())
    rates = price.rates
    lines: list[Line] = []
    scaled = 0
    for bucket, tokens, rate in zip(BUCKETS, (*usage, 1 if answered else 0), rates, strict=True):
        if tokens <= 0:
            continue
        before = _ceil_tokens(scaled)
        scaled += tokens * (rate * TOKENS_PER_PRICE if bucket == "request" else rate)
        if bucket not in MEASURES or rate:
            lines.append(Line(bucket, tokens, rate, _ceil_tokens(scaled) - before))
    return Charge(_ceil_tokens(scaled), price.version, tuple(lines))


def _dearest_input(rates: Rates) -> int:
    return max(rates.input, rates.input_cached, rates.cache_write)


def _scaled_floor(rates: Rates, given: Input) -> int:
    """What a request costs before its first answer token, times 1e6: the dearest input bucket for all of the input."""
    measured = given.audio_seconds * rates.audio_second + given.characters * rates.input_character
    return given.tokens * _dearest_input(rates) + measured + rates.request * TOKENS_PER_PRICE


def worst_case(prices: Iterable[Price], given: Input, output_tokens: int) -> int:
    """The most that a request can cost at any of the candidates, in nano-USD."""
    return max(
        (
            _ceil_tokens(_scaled_floor(p.rates, given) + output_tokens * max(p.rates.output, p.rates.reasoning))
            for p in prices
            if p.known
        ),
        default=0,
    )


def worst_case_rescued(prices: Iterable[Price], given: Input, output_tokens: int, rescues: int) -> int:
    """The most that an answer can cost whose output comes in up to 1 + `rescues` parts, each from any candidate.

    Every part sends the input anew with what was shown behind it and a few words more (SEAM_TOKENS), may add a token
    where nothing of the limit is left, and is rounded up on its own. The parts may come from different candidates: so
    the dearest input meets the dearest output, though no single one may have both.
    """
    known = [price.rates for price in prices if price.known]
    if not any(any(rates) for rates in known):
        return 0
    parts = 1 + rescues
    input_rate = max(map(_dearest_input, known))
    output_rate = max(max(rates.output, rates.reasoning) for rates in known)
    measured = given.audio_seconds * max(rates.audio_second for rates in known)
    measured += given.characters * max(rates.input_character for rates in known)
    read = given.tokens * parts + (output_tokens + SEAM_TOKENS) * rescues
    scaled = read * input_rate + (output_tokens + rescues) * output_rate + measured * parts
    return _ceil_tokens(scaled) + parts * max(rates.request for rates in known) + rescues


def affordable_output(prices: Sequence[Price], given: Input, remaining_nano_usd: int, wanted: int) -> int:
    """How many answer tokens, up to `wanted`, fit into what remains at every candidate; below 1 = nothing fits."""
    tokens = wanted
    for price in prices:
        if not any(price.rates):
            continue  # A free model fits also where nothing is left.
        left = remaining_nano_usd * TOKENS_PER_PRICE - _scaled_floor(price.rates, given)
        if left < 0:
            return 0
        rate = max(price.rates.output, price.rates.reasoning)
        if rate:
            tokens = min(tokens, left // rate)
    return tokens


def output_cost(price: Price, tokens: int) -> int:
    """The most that so many answer tokens more can cost, in nano-USD."""
    return _ceil_tokens(tokens * max(price.rates.output, price.rates.reasoning))


def output_tokens_for(price: Price, remaining_nano_usd: int, wanted: int) -> int:
    """How many answer tokens more, up to `wanted`, can be paid with what remains."""
    rate = max(price.rates.output, price.rates.reasoning)
    return min(wanted, max(0, remaining_nano_usd) * TOKENS_PER_PRICE // rate) if rate else wanted
