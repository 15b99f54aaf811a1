"""The providers that DAC finds by themselves: their addresses, the dialects they speak, the settings of their kinds."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class KnownProvider:
    """A provider whose address and dialect need not be said."""

    kind: str
    base_url: str
    env: str
    """The environment variable that holds its key (for ollama: its address)."""
    address_env: str = ""
    """The environment variable that holds its address, where everybody has one of their own."""


KNOWN: Mapping[str, KnownProvider] = {
    "openai": KnownProvider("openai", "https://api.openai.com/v1", "OPENAI_API_KEY"),
    "anthropic": KnownProvider("anthropic", "https://api.anthropic.com", "ANTHROPIC_API_KEY"),
    "google": KnownProvider("gemini", "https://generativelanguage.googleapis.com/v1beta", "GOOGLE_API_KEY"),
    "perplexity": KnownProvider("openai", "https://api.perplexity.ai", "PERPLEXITY_API_KEY"),
    "openrouter": KnownProvider("openai", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    "mistral": KnownProvider("openai", "https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    "moonshot": KnownProvider("openai", "https://api.moonshot.ai/v1", "MOONSHOT_API_KEY"),
    "llama": KnownProvider("openai", "https://api.llama.com/compat/v1", "LLAMA_API_KEY"),
    "huggingface": KnownProvider("openai", "https://router.huggingface.co/v1", "HF_TOKEN"),
    "deepseek": KnownProvider("openai", "https://api.deepseek.com", "DEEPSEEK_API_KEY"),
    "xai": KnownProvider("openai", "https://api.x.ai/v1", "XAI_API_KEY"),
    "groq": KnownProvider("openai", "https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    "together": KnownProvider("openai", "https://api.together.xyz/v1", "TOGETHER_API_KEY"),
    "fireworks": KnownProvider("openai", "https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
    "azure": KnownProvider("openai", "", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT"),
    "cohere": KnownProvider("cohere", "https://api.cohere.com", "COHERE_API_KEY"),
    "ollama": KnownProvider("ollama", "http://127.0.0.1:11434", "OLLAMA_BASE_URL"),
}
"""Providers that DAC finds by themselves."""

KINDS = ("openai", "anthropic", "gemini", "ollama", "cohere", "bedrock", "vertex", "local")
DIALECTS = (
    *("plain", "openai", "azure", "perplexity", "moonshot", "mistral", "llama", "openrouter", "huggingface"),
    *("deepseek", "xai", "groq", "together", "fireworks", "vllm", "lmstudio", "llamacpp"),
)
"""What a provider of kind openai may be said to speak; without it the address, then the name tells."""
AZURE_PATH = "/openai/v1"
"""Where a resource of Azure OpenAI's has OpenAI's own API."""

OPTIONS: Mapping[str, tuple[str, ...]] = {"ollama": ("num_ctx", "keep_alive"), "bedrock": ("region",)}
"""The settings of a kind's own that `options` may hold."""

_OPENAI_PATHS = {"gemini": "/openai", "ollama": "/v1", "cohere": "/compatibility/v1"}
"""Where these kinds serve OpenAI's dialect, too: entries written for it keep working."""


def kind_of(provider: str, base_url: str) -> str:
    """The dialect a known provider speaks at an address of the operator's ("" = its own); "" for unknown names."""
    known = KNOWN.get(provider)
    if known is None:
        return ""
    path = _OPENAI_PATHS.get(known.kind)
    return "openai" if path and base_url.rstrip("/").endswith(path) else known.kind


def address_of(provider: str, kind: str) -> str:
    """The address of a known provider in a dialect; "" when it has none there."""
    known = KNOWN.get(provider)
    if known is None:
        return ""
    if kind == "openai" and known.kind in _OPENAI_PATHS:
        return known.base_url + _OPENAI_PATHS[known.kind]
    return known.base_url if known.kind == kind else ""
