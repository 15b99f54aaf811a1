"""Prices and costs in whole nano-USD: pure integer arithmetic, one rounding (up) per attempt."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from services.budget.prices.rates import Bound, Rates, Tariff, bounds_of, tariffs_of

TOKENS_PER_PRICE = 1_000_000
"""Prices are nano-USD per this many tokens, because the price of one token can be below one nano-USD."""

SEAM_TOKENS = 200
"""More than what provider puts between the shown part of an answer and its continuation: the wish to go on, and the
last words once more."""


class Usage(NamedTuple):
    """What one attempt used; the buckets of tokens are disjoint, and a price has either them or another measure.

    In the order of BUCKETS.
    """

    input: int = 0
    input_cached: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0
    audio_seconds: int = 0
    input_characters: int = 0
    cache_write_1h: int = 0
    input_audio: int = 0
    input_audio_cached: int = 0
    input_image: int = 0
    output_audio: int = 0
    output_image: int = 0
    service_tier: str = ""
    """The provider's word for how it was served, e.g. "flex"; "" = as usual."""

    @property
    def prompt_tokens(self) -> int:
        """All of the prompt: what decides which price counts."""
        read = self.input + self.input_cached + self.cache_write + self.cache_write_1h
        return read + self.input_audio + self.input_audio_cached + self.input_image


def tokens_of(used: Usage) -> tuple[int, int, int, int, int]:
    """input, input_cached, cache_write, output and reasoning, whatever they carry: text, sound or pictures."""
    read = used.input + used.input_audio + used.input_image
    cached, written = used.input_cached + used.input_audio_cached, used.cache_write + used.cache_write_1h
    return read, cached, written, used.output + used.output_audio + used.output_image, used.reasoning


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


@dataclass(frozen=True)
class Price:
    """One version of a model's price."""

    version: int
    provider: str
    model: str
    buckets: Mapping[str, int]
    source: str
    known: bool = True
    """False = the price was withdrawn: from this version on it is unknown."""
    valid_from: dt.datetime | None = None
    rates: Rates = field(init=False)
    """Those of the plain tariff."""
    tariffs: tuple[Tariff, ...] = field(init=False)
    """The plain one first."""
    by_tier: Mapping[str, tuple[Tariff, ...]] = field(init=False)
    """The same by service tier, each by the length of the prompt."""
    bounds: tuple[Bound, ...] = field(init=False)
    """What a request can cost at most that names no service tier."""
    is_free: bool = field(init=False)

    def __post_init__(self) -> None:
        tariffs = tariffs_of(self.buckets)
        object.__setattr__(self, "tariffs", tariffs)
        tiers = dict.fromkeys(one.service_tier for one in tariffs)
        by_tier = {tier: tuple(one for one in tariffs if one.service_tier == tier) for tier in tiers}
        object.__setattr__(self, "by_tier", by_tier)
        object.__setattr__(self, "rates", tariffs[0].rates)
        object.__setattr__(self, "bounds", bounds_of(by_tier[""]))
        object.__setattr__(self, "is_free", not any(any(one.rates) for one in tariffs))

    @functools.cached_property
    def in_any_tier(self) -> Price:
        """The same price, bounded by its dearest service tier: for a request that names one."""
        if len(self.by_tier) == 1:
            return self
        made = dataclasses.replace(self)
        object.__setattr__(made, "bounds", bounds_of(self.tariffs))
        return made

    def tariff_for(self, usage: Usage) -> Tariff:
        """The tariff that counts: of the usage's service tier if the price has it, by the length of the prompt."""
        own = self.by_tier.get(usage.service_tier) or self.by_tier[""]
        found = own[0]
        if len(own) > 1:
            prompt = usage.prompt_tokens
            for one in own[1:]:
                if prompt > one.above_tokens:
                    found = one
        return found


@dataclass(slots=True)
class Charge:
    """The cost of one attempt and how it comes about; version 0 = no price was known, the cost is 0."""

    cost_nano_usd: int
    price_version: int
    lines: tuple[Line, ...]


def charge(price: Price | None, usage: Usage, *, answered: bool) -> Charge:
    """Prices one attempt: ceil(Σ tokens·price / 1e6). The per-request fee counts only if the provider answered."""
    if price is None or not price.known:
        return Charge(0, 0, ())
    _, _, rates, names, request_line = price.tariffs[0] if len(price.tariffs) == 1 else price.tariff_for(usage)
    lines: list[Line] = []
    scaled = total = 0
    # `names` is the shortest of the three: the fee and the service tier stand behind it.
    for name, tokens, rate in zip(names, usage, rates, strict=False):
        if name and tokens > 0:  # type: ignore[operator]
            scaled += tokens * rate  # type: ignore[operator]
            before, total = total, -(-scaled // TOKENS_PER_PRICE)
            lines.append(Line(name, tokens, rate, total - before))  # type: ignore[arg-type]
    if answered and rates.request:
        total += rates.request
        lines.append(Line(request_line, 1, rates.request, rates.request))
    return Charge(total, price.version, tuple(lines))


def worst_case(prices: Iterable[Price], given: Input, output_tokens: int) -> int:
    """The most that a request can cost at any of the candidates, in nano-USD, however long its prompt turns out to be
    and in whatever service tier it is served."""
    tokens, seconds, characters = given
    most = 0
    for price in prices:
        if not price.known:
            continue
        for above, read, written, second, character, request in price.bounds:
            if tokens > above or not above:
                scaled = tokens * read + output_tokens * written + request * TOKENS_PER_PRICE
                if second or character:
                    scaled += seconds * second + characters * character
                if scaled > most:
                    most = scaled
    return -(-most // TOKENS_PER_PRICE)


def worst_case_rescued(prices: Iterable[Price], given: Input, output_tokens: int, rescues: int) -> int:
    """The most that an answer can cost whose output comes in up to 1 + `rescues` parts, each from any candidate.

    Every part sends the input anew with what was shown behind it and a few words more (SEAM_TOKENS), may add a token
    where nothing of the limit is left, and is rounded up on its own. The parts may come from different candidates: so
    the dearest input meets the dearest output, though no single one may have both.
    """
    longest = given.tokens + (output_tokens + SEAM_TOKENS if rescues else 0)
    read = written = second = character = request = 0
    for price in prices:
        if price.known:
            for bound in price.bounds:
                if longest > bound.above_tokens or not bound.above_tokens:
                    read, written = max(read, bound.input), max(written, bound.output)
                    second, character = max(second, bound.audio_second), max(character, bound.input_character)
                    request = max(request, bound.request)
    if not (read or written or second or character or request):
        return 0
    parts = 1 + rescues
    scaled = (given.tokens * parts + (output_tokens + SEAM_TOKENS) * rescues) * read
    scaled += (output_tokens + rescues) * written
    scaled += (given.audio_seconds * second + given.characters * character) * parts
    return -(-scaled // TOKENS_PER_PRICE) + parts * request + rescues


def affordable_output(prices: Sequence[Price], given: Input, remaining_nano_usd: int, wanted: int) -> int:
    """How many answer tokens, up to `wanted`, fit into what remains at every candidate; below 1 = nothing fits."""
    most = wanted
    for price in prices:
        if price.is_free:
            continue  # A free model fits also where nothing is left.
        for above, read, written, second, character, request in price.bounds:
            if given.tokens > above or not above:
                left = (remaining_nano_usd - request) * TOKENS_PER_PRICE - given.tokens * read
                left -= given.audio_seconds * second + given.characters * character
                if left < 0:
                    return 0
                if written:
                    most = min(most, left // written)
    return most


def output_cost(price: Price, tokens: int) -> int:
    """The most that so many answer tokens more can cost, in nano-USD."""
    return -(-tokens * max(bound.output for bound in price.bounds) // TOKENS_PER_PRICE)


def output_tokens_for(price: Price, remaining_nano_usd: int, wanted: int) -> int:
    """How many answer tokens more, up to `wanted`, can be paid with what remains."""
    rate = max(bound.output for bound in price.bounds)
    return min(wanted, max(0, remaining_nano_usd) * TOKENS_PER_PRICE // rate) if rate else wanted
