"""Makes costs.json: 300 charges worked out with fractions, without any of the code that charges.

Run it in this folder: python make_costs.py > costs.json. Prices are written as operators write them, in dollars; what
counts is chosen here by the documentation's words, and only rounded at the end: up, once for each attempt.
"""

import json
import math
import random
import sys
from fractions import Fraction
from typing import Any

ORDER = (
    *("input", "input_cached", "cache_write", "output", "reasoning", "audio_second", "input_character"),
    *("cache_write_1h", "input_audio", "input_audio_cached", "input_image", "output_audio", "output_image"),
)
"""The order of a charge's lines."""
USED = {
    **{name: f"{name}_tokens" for name in ORDER if name not in ("audio_second", "input_character")},
    "audio_second": "audio_seconds",
    "input_character": "input_characters",
}
PROMPT = ("input", "input_cached", "cache_write", "cache_write_1h", "input_audio", "input_audio_cached", "input_image")
STANDS_IN = {
    "input_cached": ("input",),
    "cache_write": ("input",),
    "cache_write_1h": ("cache_write", "input"),
    "input_audio": ("input",),
    "input_audio_cached": ("input_audio", "input_cached", "input"),
    "input_image": ("input",),
    "reasoning": ("output",),
    "output_audio": ("output",),
    "output_image": ("output",),
}
"""What a bucket costs that a price does not name: the first of these that it names."""

M = "_usd_per_mtok"
PRICES: dict[str, dict[str, Any]] = {
    "openai/gpt-5.6": {
        **{f"input{M}": "4", f"input_cached{M}": "0.4", f"cache_write{M}": "5", f"cache_write_1h{M}": "10"},
        f"output{M}": "20",
        "above": {
            272000: {
                **{f"input{M}": "8", f"input_cached{M}": "0.8", f"cache_write{M}": "10", f"cache_write_1h{M}": "20"},
                f"output{M}": "30",
            }
        },
        "service_tiers": {"flex": "0.5", "priority": "2", "batch": "0.5"},
    },
    "openai/gpt-5.5": {
        **{f"input{M}": "5", f"input_cached{M}": "0.5", f"output{M}": "30"},
        "above": {272000: {f"input{M}": "10", f"input_cached{M}": "1", f"output{M}": "45"}},
        "service_tiers": {
            "flex": "0.5",
            "priority": {f"input{M}": "12.5", f"input_cached{M}": "1.25", f"output{M}": "75"},
        },
    },
    "openai/gpt-5-nano": {
        **{f"input{M}": "0.05", f"input_cached{M}": "0.005", f"output{M}": "0.4"},
        "service_tiers": {"flex": "0.5", "batch": "0.5"},
    },
    "openai/gpt-4o-mini": {
        **{f"input{M}": "0.15", f"input_cached{M}": "0.075", f"output{M}": "0.6"},
        "service_tiers": {
            "priority": {f"input{M}": "0.25", f"input_cached{M}": "0.125", f"output{M}": "1"},
            "batch": {f"input{M}": "0.075", f"output{M}": "0.3"},
        },
    },
    "openai/gpt-4o-audio-preview": {
        **{f"input{M}": "2.5", f"output{M}": "10", f"input_audio{M}": "40", f"output_audio{M}": "80"}
    },
    "openai/gpt-4o-transcribe": {f"input{M}": "2.5", f"input_audio{M}": "6", f"output{M}": "10"},
    "openai/whisper-1": {"audio_usd_per_hour": "0.36"},
    "openai/tts-1": {"input_usd_per_mchar": "15"},
    "openai/gpt-image-1": {
        **{f"input{M}": "5", f"input_cached{M}": "1.25", f"input_image{M}": "10", f"output{M}": "40"},
        "service_tiers": {"batch": "0.5"},
    },
    "anthropic/claude-opus-4-8": {
        **{f"input{M}": "5", f"input_cached{M}": "0.5", f"cache_write{M}": "6.25", f"cache_write_1h{M}": "10"},
        f"output{M}": "25",
        "service_tiers": {"batch": "0.5", "fast": "2"},
    },
    "anthropic/claude-sonnet-4-5": {
        **{f"input{M}": "3", f"input_cached{M}": "0.3", f"cache_write{M}": "3.75", f"cache_write_1h{M}": "6"},
        f"output{M}": "15",
        "above": {
            200000: {
                **{f"input{M}": "6", f"input_cached{M}": "0.6", f"cache_write{M}": "7.5", f"cache_write_1h{M}": "12"},
                f"output{M}": "22.5",
            }
        },
        "service_tiers": {"batch": "0.5"},
    },
    "google/gemini-2.5-pro": {
        **{f"input{M}": "1.25", f"input_cached{M}": "0.125", f"output{M}": "10"},
        "above": {200000: {f"input{M}": "2.5", f"input_cached{M}": "0.25", f"output{M}": "15"}},
        "service_tiers": {
            "batch": {
                f"input{M}": "0.625",
                f"output{M}": "5",
                "above": {200000: {f"input{M}": "1.25", f"output{M}": "7.5"}},
            }
        },
    },
    "google/gemini-2.5-flash": {
        **{f"input{M}": "0.3", f"input_cached{M}": "0.03", f"output{M}": "2.5"},
        **{f"input_audio{M}": "1", f"input_audio_cached{M}": "0.1"},
    },
    "google/gemini-2.5-flash-image": {f"input{M}": "0.3", f"output{M}": "2.5", f"output_image{M}": "30"},
    "perplexity/sonar": {f"input{M}": "1", f"output{M}": "1", "request_usd": "0.012"},
    "openrouter/x-ai/grok-4.6": {
        **{f"input{M}": "2", f"input_cached{M}": "0.5", f"output{M}": "6"},
        "above": {200000: {f"input{M}": "4", f"input_cached{M}": "1", f"output{M}": "12"}},
    },
    "openrouter/moonshotai/kimi-k2.6": {f"input{M}": "0.95", f"input_cached{M}": "0.16", f"output{M}": "4"},
    "house/odd": {
        **{f"input{M}": "0.000000007", f"input_cached{M}": "0.000000001", f"output{M}": "0.333333333"},
        **{f"reasoning{M}": "0.444444444", "request_usd": "0.000000001"},
        "above": {
            10: {f"input{M}": "0.000000011"},
            1000: {f"output{M}": "0.555555555", "request_usd": "0.000000002"},
        },
        "service_tiers": {"flex": "0.333"},
    },
    "house/request": {"request_usd": "0.005"},
    "house/free": {"free": True},
}


def nano(usd: str) -> Fraction:
    """Dollars → nano-USD."""
    return Fraction(usd) * 1_000_000_000


def level(raw: dict[str, Any]) -> dict[str, Fraction]:
    """Bucket → nano-USD per million (seconds, characters) or per request."""
    found = {}
    for key, usd in raw.items():
        if key == "audio_usd_per_hour":
            # To a whole nano-USD per million seconds, up.
            found["audio_second"] = Fraction(math.ceil(nano(usd) * 1_000_000 / 3600))
        elif key == "input_usd_per_mchar":
            found["input_character"] = nano(usd)
        elif key == "request_usd":
            found["request"] = nano(usd)
        elif key.endswith(M):
            found[key.removesuffix(M)] = nano(usd)
    return found


def lengths_of(raw: dict[str, Any], prompt: int) -> list[int]:
    """Which of a price's lengths the prompt is above, the shortest first."""
    return sorted(length for length in raw.get("above", {}) if prompt > length)


def rates_for(raw: dict[str, Any], tier: str, prompt: int) -> tuple[dict[str, Fraction], str, int]:
    """(what is named for this tier and length, the tier that counts, the length that counts)."""
    standard = level(raw)
    above = lengths_of(raw, prompt)
    for length in above:
        standard |= level(raw["above"][length])
    said = raw.get("service_tiers", {}).get(tier)
    if said is None:
        return standard, "", above[-1] if above else 0
    if isinstance(said, str):
        # A factor on everything but the fee per request; to a whole nano-USD per million, up.
        own = {name: Fraction(math.ceil(rate * Fraction(said))) for name, rate in standard.items() if name != "request"}
        return {**standard, **own}, tier, above[-1] if above else 0
    own_above = lengths_of(said, prompt)
    if above and (not own_above or own_above[-1] < above[-1]):
        # The tier says nothing of prompts this long: they cost what they do without it.
        return standard, tier, above[-1]
    own = level(said) if not own_above else level(said["above"][own_above[-1]])
    return {**standard, **own}, tier, own_above[-1] if own_above else 0


def rate_of(named: dict[str, Fraction], bucket: str) -> Fraction:
    """What a bucket costs, or what stands in for it."""
    for name in (bucket, *STANDS_IN.get(bucket, ())):
        if name in named:
            return named[name]
    return Fraction(0)


def worked_out(model: str, usage: dict[str, Any], *, answered: bool) -> dict[str, Any]:
    """A case with its cost and lines."""
    raw = PRICES[model]
    prompt = sum(usage.get(USED[name], 0) for name in PROMPT)
    named, tier, length = rates_for(raw, usage.get("service_tier", ""), prompt)
    exact, told, lines = Fraction(0), 0, []

    def called(bucket: str) -> str:
        return (f"{tier}:" if tier else "") + bucket + (f">{length}" if length else "")

    for bucket in ORDER:
        count, rate = usage.get(USED[bucket], 0), rate_of(named, bucket)
        if not count or (bucket in ("audio_second", "input_character") and not rate):
            continue
        exact += Fraction(count) * rate / 1_000_000
        lines.append([called(bucket), count, int(rate), math.ceil(exact) - told])
        told = math.ceil(exact)
    fee = named.get("request", Fraction(0)) if answered else Fraction(0)
    if fee:
        lines.append([called("request"), 1, int(fee), int(fee)])
    cost = math.ceil(exact + fee)
    return {"model": model, "usage": usage, "answered": answered, "cost_nano_usd": cost, "lines": lines}


def usages(model: str, chance: random.Random) -> list[dict[str, Any]]:
    """What is charged by one price: everyday requests, the edges of its lengths, its tiers, and odd ones."""
    raw = PRICES[model]
    names = [name for name in ORDER if name in level(raw) or name in ("input", "output")]

    def some(most: int) -> dict[str, Any]:
        chosen = [name for name in names if chance.random() < 0.8] or names[:1]
        used = {USED[name]: chance.randrange(1, most) for name in chosen}
        if chance.random() < 0.3:
            used["reasoning_tokens"] = chance.randrange(1, most)
        return used

    made = [
        {"input_tokens": 1},
        {"output_tokens": 1},
        {"input_tokens": 1_000_000_000, "output_tokens": 1_000_000_000},
        {},
    ]
    made += [some(5_000) for _ in range(4)] + [some(150_000) for _ in range(2)]
    for length in raw.get("above", {}):
        cached = chance.randrange(length)
        for more in (0, 1):
            made.append({"input_tokens": length - cached + more, "input_cached_tokens": cached, "output_tokens": 777})
    for tier in raw.get("service_tiers", {"flex": ""}):
        made += [{**some(5_000), "service_tier": tier}, {**some(900_000), "service_tier": tier}]
    return [*made, {**some(999), "service_tier": "scale"}]


def main() -> None:
    """Prints the file."""
    chance = random.Random(20261121)
    cases = [
        worked_out(model, usage, answered=bool(index % 5))
        for model in PRICES
        for index, usage in enumerate(usages(model, chance), 1)
    ]
    rest = list(PRICES)
    while len(cases) < 300:
        model = rest[len(cases) % len(rest)]
        cases.append(worked_out(model, chance.choice(usages(model, chance)[4:]), answered=True))
    out = sys.stdout.write
    out('{"about": "Made by make_costs.py. A line: bucket, count, nano-USD per million, nano-USD.",\n"prices": {\n')
    out(",\n".join(f"  {json.dumps(model)}: {json.dumps(price)}" for model, price in PRICES.items()))
    out('\n},\n"cases": [\n')
    out(",\n".join(f"  {json.dumps(case)}" for case in cases[:300]))
    out("\n]}\n")


if __name__ == "__main__":
    main()
