"""Who makes models, under the names that sources use, and which families are theirs.

Only what no rule can tell: organisations whose names do not begin alike ("z-ai" and "THUDM"), and the home of a family
for names that come without an organisation ("gemma-2-9b-it"). Nothing here says which model is which.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

MAKERS: Mapping[str, tuple[str, ...]] = {
    "01ai": ("01-ai", "yi"),
    "ai21": ("ai21", "ai21labs"),
    "alibaba": ("qwen", "alibaba", "alibaba-nlp"),
    "allenai": ("allenai", "ai2"),
    "cohere": ("cohere", "cohereforai", "coherelabs", "c4ai"),
    "cognitive": ("cognitivecomputations", "dphn", "ehartford"),
    "huggingface": ("huggingfaceh4", "huggingfacetb"),
    "meta": ("meta", "meta-llama", "facebook", "codellama"),
    "mosaicml": ("mosaicml", "databricks"),
    "nous": ("nous", "nousresearch", "teknium"),
    "nvidia": ("nvidia", "nv"),
    "wizardlm": ("wizardlm", "wizardlmteam"),
    "xai": ("x-ai", "xai", "xai-org"),
    "zhipu": ("z-ai", "zai-org", "thudm", "zhipuai"),
}
"""A maker → the organisations it publishes under."""

HOMES: Mapping[str, tuple[str, ...]] = {
    "aya": ("cohere",),
    "chatglm": ("zhipu",),
    "chatgpt": ("openai",),
    "claude": ("anthropic",),
    "codellama": ("meta",),
    "command": ("cohere",),
    "dbrx": ("mosaicml",),
    "deepseek": ("deepseekai",),
    "devstral": ("mistralai",),
    "dolly": ("mosaicml",),
    "dolphin": ("cognitive",),
    "falcon": ("tiiuae",),
    "gemini": ("google",),
    "gemma": ("google",),
    "glm": ("zhipu",),
    "gpt": ("openai",),
    "granite": ("ibmgranite",),
    "grok": ("xai",),
    "hermes": ("nous",),
    "internlm": ("internlm",),
    "jamba": ("ai21",),
    "kimi": ("moonshotai",),
    "llama": ("meta",),
    "magistral": ("mistralai",),
    "ministral": ("mistralai",),
    "mistral": ("mistralai",),
    "mixtral": ("mistralai",),
    "mpt": ("mosaicml",),
    "nemotron": ("nvidia",),
    "o": ("openai",),
    "olmo": ("allenai",),
    "phi": ("microsoft",),
    "pixtral": ("mistralai",),
    "qwen": ("alibaba",),
    "qwq": ("alibaba",),
    "smollm": ("huggingface",),
    "solar": ("upstage",),
    "tulu": ("allenai",),
    "vicuna": ("lmsys",),
    "wizardlm": ("microsoft", "wizardlm"),
    "yi": ("01ai",),
    "zephyr": ("huggingface",),
}
"""A family → the makers whose own it is."""

SHORTEST_PREFIX = 3
"""Letters that two names of an organisation must share from the beginning to count as one ("liquid", "LiquidAI")."""


@functools.lru_cache(maxsize=8192)
def plain_organisation(organisation: str) -> str:
    """Only its letters and digits, lower case."""
    return re.sub(r"[^a-z0-9]", "", organisation.lower())


_BY_ORGANISATION = {plain_organisation(name): maker for maker, names in MAKERS.items() for name in names}


@functools.lru_cache(maxsize=8192)
def maker_of(organisation: str) -> str:
    """The maker behind an organisation; one that is not listed is its own maker."""
    plain = plain_organisation(organisation)
    return _BY_ORGANISATION.get(plain, plain)


@functools.lru_cache(maxsize=65536)
def same_maker(one: str, other: str) -> bool:
    """Whether two organisations are one: the same maker, or one name is how the other begins."""
    if maker_of(one) == maker_of(other):
        return True
    shorter, longer = sorted((plain_organisation(one), plain_organisation(other)), key=len)
    # Where all names of a maker are listed, a like beginning ("meta", "metamath") says nothing.
    if shorter in _BY_ORGANISATION or longer in _BY_ORGANISATION:
        return False
    return len(shorter) >= SHORTEST_PREFIX and longer.startswith(shorter)


@functools.lru_cache(maxsize=65536)
def is_maker_word(word: str, organisation: str) -> bool:
    """Whether a word of a model's name is only the name of its organisation ("Meta-Llama-3", "NVIDIA-Nemotron")."""
    if _BY_ORGANISATION.get(word) == maker_of(organisation):
        return True
    return len(word) >= SHORTEST_PREFIX and plain_organisation(organisation).startswith(word)
