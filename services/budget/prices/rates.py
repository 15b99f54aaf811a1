"""The rates of a price: every bucket filled, for each service tier and each length of the prompt that has its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from mesh.model_prices import MEASURES, bucket_name, split_bucket

BUCKETS = (
    *("input", "input_cached", "cache_write", "output", "reasoning", "audio_second", "input_character"),
    *("cache_write_1h", "input_audio", "input_audio_cached", "input_image", "output_audio", "output_image"),
    "request",
)
"""The names a price may have; `request` is nano-USD per request, all others per million of what they count.

A stored name may carry more: `flex:input` counts in the service tier flex, `input>200000` when the prompt is longer
than that. A program that does not know such names takes no notice of them.
"""
INPUT = ("input", "input_cached", "cache_write", "cache_write_1h", "input_audio", "input_audio_cached", "input_image")
OUTPUT = ("output", "reasoning", "output_audio", "output_image")


class Rates(NamedTuple):
    """The price of every bucket after the fallbacks of `rates_of`."""

    input: int
    input_cached: int
    cache_write: int
    output: int
    reasoning: int
    audio_second: int
    input_character: int
    cache_write_1h: int
    input_audio: int
    input_audio_cached: int
    input_image: int
    output_audio: int
    output_image: int
    request: int


class Tariff(NamedTuple):
    """The rates that count in one service tier ("" = the standard one) for prompts longer than so many tokens."""

    service_tier: str
    above_tokens: int
    rates: Rates
    lines: tuple[str, ...]
    """What the line of each bucket but `request` is called; "" for a measure without a price, which has no line."""
    request_line: str


class Bound(NamedTuple):
    """The dearest rates of a tariff; it counts only for prompts longer than `above_tokens`."""

    above_tokens: int
    input: int
    output: int
    audio_second: int
    input_character: int
    request: int


def rates_of(buckets: Mapping[str, int]) -> Rates:
    """Fills the buckets a price does not name, never with less than a bucket of the same direction.

    Those of the input fall back to input (a write for an hour to the other writes first), those of the answer to
    output. A price without input takes its dearest input-side bucket; one without output takes reasoning, then input.
    An empty price (free) is 0 everywhere.
    """
    get = buckets.get
    input_rate = get("input")
    if input_rate is None:
        input_rate = max(get(name, 0) for name in INPUT)
    output = get("output", get("reasoning", input_rate))
    cache_write = get("cache_write", input_rate)
    return Rates(
        input=input_rate,
        input_cached=get("input_cached", input_rate),
        cache_write=cache_write,
        output=output,
        reasoning=get("reasoning", output),
        audio_second=get("audio_second", 0),
        input_character=get("input_character", 0),
        cache_write_1h=get("cache_write_1h", cache_write),
        input_audio=get("input_audio", input_rate),
        # Read from the cache it is no dearer than read anew, and what is known of a cached prompt is of its text.
        input_audio_cached=get("input_audio_cached", get("input_audio", get("input_cached", input_rate))),
        input_image=get("input_image", input_rate),
        output_audio=get("output_audio", output),
        output_image=get("output_image", output),
        request=get("request", 0),
    )


def tariffs_of(buckets: Mapping[str, int]) -> tuple[Tariff, ...]:
    """All tariffs of a price, the plain one first, those of one tier by length.

    What a tariff does not name it takes from the same tier's shorter prompts, and a service tier from the standard
    one. A tier that names nothing for a length for which the standard one has a price takes the standard one's there.
    """
    named: dict[tuple[str, int], dict[str, int]] = {("", 0): {}}
    for name, rate in buckets.items():
        found = split_bucket(name)
        if found is not None and found.bucket in BUCKETS:
            named.setdefault((found.service_tier, found.above_tokens), {})[found.bucket] = rate
    made = {("", 0): named["", 0]}
    for above in sorted(length for tier, length in named if not tier and length):
        made["", above] = {**made[_last(made, "", above)], **named["", above]}
    standard = [above for _, above in made]
    for tier in sorted({tier for tier, _ in named if tier}):
        for above in sorted({0, *standard, *(length for other, length in named if other == tier)}):
            own = named.get((tier, above))
            if own is None and above in standard:
                made[tier, above] = made["", above]
                continue
            under = made[_last(made, tier, above)] if above and above not in standard else made["", above]
            made[tier, above] = {**under, **(own or {})}
    return tuple(_tariff(tier, above, filled) for (tier, above), filled in made.items())


def _last(made: Iterable[tuple[str, int]], tier: str, before: int) -> tuple[str, int]:
    """The longest tariff of a tier before a length."""
    return max(one for one in made if one[0] == tier and one[1] < before)


def _tariff(tier: str, above: int, buckets: Mapping[str, int]) -> Tariff:
    rates = rates_of(buckets)
    lines = tuple(
        "" if name in MEASURES and not getattr(rates, name) else bucket_name(tier, name, above) for name in BUCKETS[:-1]
    )
    return Tariff(tier, above, rates, lines, bucket_name(tier, "request", above))


def bounds_of(tariffs: Iterable[Tariff]) -> tuple[Bound, ...]:
    """The dearest rates, without those that another bound covers wherever they count: a discount bounds nothing."""
    found = [
        Bound(
            one.above_tokens,
            max(getattr(one.rates, name) for name in INPUT),
            max(getattr(one.rates, name) for name in OUTPUT),
            one.rates.audio_second,
            one.rates.input_character,
            one.rates.request,
        )
        for one in tariffs
    ]
    kept: list[Bound] = []
    for bound in sorted(set(found), key=lambda one: (one.above_tokens, *(-rate for rate in one[1:]))):
        if not any(other.above_tokens <= bound.above_tokens and _covers(other, bound) for other in kept):
            kept.append(bound)
    return tuple(kept)


def _covers(bound: Bound, other: Bound) -> bool:
    return all(mine >= theirs for mine, theirs in zip(bound[1:], other[1:], strict=True))
