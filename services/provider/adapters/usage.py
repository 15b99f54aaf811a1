"""What providers of OpenAI's form tell of tokens: the same totals under different names, read into disjoint buckets."""

import re
from typing import Any, TypeGuard

from mesh.model_prices import STANDARD
from services.provider.calling.events import Usage

MAX_TOKENS = 1_000_000_000
"""More than any answer has, and the most that budget takes down: a provider that says more is not believed."""
_TIER = re.compile(r"[a-z][a-z0-9_]{0,31}")
_CACHED = ("cached_tokens", "prompt_cache_hit_tokens", "num_cached_tokens")
"""Beside OpenAI's own place: Moonshot and Together, DeepSeek, Mistral."""


def usage_of(raw: Any, *, added: bool = False, service_tier: Any = None) -> Usage | None:
    """Totals as disjoint buckets; an explicit 0 is 0, a missing or absurd number is no usage.

    `added`: reasoning is counted beside completion_tokens (xAI, Perplexity), not in it, unless the total tells better.
    `service_tier`: what the answer says beside its usage.
    """
    if not isinstance(raw, dict):
        return None
    prompt, completion = raw.get("prompt_tokens"), raw.get("completion_tokens")
    if not is_count(prompt) or not is_count(completion):
        return None
    told, said = _group(raw, "prompt_tokens_details"), _group(raw, "completion_tokens_details")
    cached = _count(told, "cached_tokens") or next((one for name in _CACHED if (one := _count(raw, name))), 0)
    reasoning = _count(said, "reasoning_tokens") or (_count(raw, "reasoning_tokens") if added else 0)
    prompt += _count(raw, "citation_tokens") if added else 0
    if added and not _within(raw, said, reasoning):
        completion += reasoning
    if not is_count(prompt) or not is_count(completion):
        return None
    cached = min(prompt, cached)
    written = min(prompt - cached, _count(told, "cache_write_tokens"))
    rest, kept = prompt - cached - written, min(written, kept_long(told))
    heard = min(rest, _count(told, "audio_tokens"))
    seen = min(rest - heard, _count(told, "image_tokens"))
    reasoning = min(completion, reasoning)
    shown = completion - reasoning
    spoken = min(shown, _count(said, "audio_tokens"))
    drawn = min(shown - spoken, _count(said, "image_tokens"))
    return Usage(
        rest - heard - seen,
        cached,
        written - kept,
        shown - spoken - drawn,
        reasoning,
        cache_write_1h_tokens=kept,
        input_audio_tokens=heard,
        input_image_tokens=seen,
        output_audio_tokens=spoken,
        output_image_tokens=drawn,
        service_tier=tier_of(service_tier),
    )


def tier_of(said: Any) -> str:
    """A service tier by the provider's own word; "" for being served as usual, and for what is no word."""
    if not isinstance(said, str):
        return ""
    word = said.lower().replace("-", "_")
    return word if _TIER.fullmatch(word) and word not in STANDARD else ""


def kept_long(details: dict[str, Any]) -> int:
    """How many of the tokens written to OpenAI's cache stay there for longer than is usual."""
    return _count(_group(details, "cache_write_tokens_details"), "ttl_12h_tokens")


def is_count(value: Any) -> TypeGuard[int]:
    """Whether it can be a number of tokens: whole, not negative, not absurd; True is an int in Python and no count."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_TOKENS


def _group(raw: dict[str, Any], name: str) -> dict[str, Any]:
    group = raw.get(name)
    return group if isinstance(group, dict) else {}


def _count(group: dict[str, Any], name: str) -> int:
    """A part of a total; 0 when it is not told, or told as something that is no count."""
    value = group.get(name)
    return value if is_count(value) else 0


def _within(raw: dict[str, Any], said: dict[str, Any], reasoning: int) -> bool:
    """Whether the total shows that reasoning is a part of completion_tokens after all."""
    if not said.get("reasoning_tokens"):
        # Perplexity: its total holds neither reasoning nor citations, both are billed beside it.
        return False
    completion = raw.get("completion_tokens") or 0
    return raw.get("total_tokens") == raw["prompt_tokens"] + completion and reasoning <= completion


def at_top(chunk: dict[str, Any]) -> Any:
    """OpenAI's place of usage."""
    return chunk.get("usage")


def at_groq(chunk: dict[str, Any]) -> Any:
    """Groq's: also under x_groq, in the last chunk."""
    return chunk.get("usage") or (chunk.get("x_groq") or {}).get("usage")


def at_choice(chunk: dict[str, Any]) -> Any:
    """Moonshot's: also in the first choice, in the last chunk."""
    return chunk.get("usage") or next((choice.get("usage") for choice in chunk.get("choices") or []), None)
