"""What operators write under `providers:` and `models:`, as frozen entries that every service reads alike."""

import dataclasses
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, get_type_hints

from mesh.config import ConfigError, Secret, convert, nearest, read_secret

PRICE_KEYS = {
    "input_usd_per_mtok": "input",
    "input_cached_usd_per_mtok": "input_cached",
    "cache_write_usd_per_mtok": "cache_write",
    "output_usd_per_mtok": "output",
    "reasoning_usd_per_mtok": "reasoning",
    "request_usd": "request",
}
"""Price keys in files → price buckets."""


@dataclasses.dataclass(frozen=True)
class KnownProvider:
    """A provider whose address and dialect need not be said."""

    kind: str
    base_url: str
    env: str
    """The environment variable that holds its key (for ollama: its address)."""


KNOWN: Mapping[str, KnownProvider] = {
    "openai": KnownProvider("openai", "https://api.openai.com/v1", "OPENAI_API_KEY"),
    "anthropic": KnownProvider("anthropic", "https://api.anthropic.com", "ANTHROPIC_API_KEY"),
    "google": KnownProvider("gemini", "https://generativelanguage.googleapis.com/v1beta", "GOOGLE_API_KEY"),
    "perplexity": KnownProvider("openai", "https://api.perplexity.ai", "PERPLEXITY_API_KEY"),
    "openrouter": KnownProvider("openai", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    "mistral": KnownProvider("openai", "https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    "ollama": KnownProvider("openai", "http://127.0.0.1:11434/v1", "OLLAMA_BASE_URL"),
}
"""Providers that DAC finds by themselves."""

KINDS = ("openai", "anthropic", "gemini", "local")


def kind_of(provider: str, base_url: str) -> str:
    """The dialect a known provider speaks at an address of the operator's ("" = its own); "" for unknown names."""
    known = KNOWN.get(provider)
    if known is None:
        return ""
    # Google serves OpenAI's dialect under this path: entries written for it keep working.
    return "openai" if known.kind == "gemini" and base_url.rstrip("/").endswith("/openai") else known.kind


def address_of(provider: str, kind: str) -> str:
    """The address of a known provider in a dialect; "" when it has none there."""
    known = KNOWN.get(provider)
    if known is None:
        return ""
    if known.kind == "gemini" and kind == "openai":
        return known.base_url + "/openai"
    return known.base_url if known.kind == kind else ""


@dataclasses.dataclass(frozen=True)
class PriceEntry:
    """What a model costs."""

    free: bool
    """The operator said it costs nothing."""
    nano_usd_per_mtok: Mapping[str, int]
    """Bucket → nano-USD per million tokens; "request" is nano-USD per request."""


@dataclasses.dataclass(frozen=True)
class ModelEntry:
    """A model from a file."""

    model: str
    """DAC id, e.g. "openai/gpt-4o-mini"."""
    provider: str
    name: str
    """The provider's own name for it."""
    context_tokens: int
    max_output_tokens: int = 0
    """0 = unknown."""
    quality: float = 0.5
    """0–1 against fixed references."""
    speed_tokens_per_s: float = 0.0
    """0 = unknown."""
    first_token_ms: float = 0.0
    """0 = unknown."""
    capabilities: tuple[str, ...] = ()
    model_class: str = "standard"
    """"demo" for models that only show that the house works."""
    source: str = "config"
    """"config" for the operator's own, "catalog" for shipped ones."""
    price: PriceEntry | None = None
    """None = unknown."""


@dataclasses.dataclass(frozen=True)
class ProviderEntry:
    """A provider from a file or the environment."""

    provider: str
    kind: str
    base_url: str
    api_key: Secret | None = None
    enabled: bool = True
    allow_private_address: bool = False
    managed_by: str = "file"
    max_concurrent: int = 256
    connect_timeout_s: float = 5.0
    first_token_timeout_s: float = 30.0
    idle_timeout_s: float = 30.0
    total_timeout_s: float = 600.0
    model_class: str = "standard"
    require_key: bool = False
    """Without an api_key only organisations with keys of their own may ask it."""


LOCAL = ProviderEntry(
    "local", "local", "http://local/v1", allow_private_address=True, model_class="demo", max_concurrent=8
)
"""The embedded model's provider."""

_MODEL_KEYS = {
    "id": "model",
    "provider": "provider",
    "name": "name",
    "context_tokens": "context_tokens",
    "max_output_tokens": "max_output_tokens",
    "quality": "quality",
    "speed_tokens_per_s": "speed_tokens_per_s",
    "first_token_ms": "first_token_ms",
    "capabilities": "capabilities",
    "class": "model_class",
    "price": "price",
}
_PROVIDER_KEYS = {field.name for field in dataclasses.fields(ProviderEntry)} - {"provider", "managed_by"}


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
    if not {"input", "output"} <= set(buckets) and "request" not in buckets:
        raise ConfigError(f"{where}: say at least input_usd_per_mtok and output_usd_per_mtok")
    return PriceEntry(False, buckets)


def parse_model(raw: object, where: str, source: str) -> ModelEntry:
    """One entry of `models:`. Raises ConfigError."""
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{where}: a model is a mapping with id, provider, name and context_tokens")
    values: dict[str, Any] = {}
    for key, value in raw.items():
        if key not in _MODEL_KEYS:
            raise ConfigError(f'{where}: unknown key "{key}"{nearest(str(key), _MODEL_KEYS)}')
        values[_MODEL_KEYS[key]] = value
    for needed in ("model", "provider", "context_tokens"):
        if needed not in values:
            raise ConfigError(f'{where}: "{"id" if needed == "model" else needed}" is missing')
    values.setdefault("name", str(values["model"]).split("/", 1)[-1])
    values["price"] = parse_price(values.get("price"), f"{where}.price")
    if not isinstance(values.get("capabilities", []), list):
        raise ConfigError(f"{where}.capabilities: a list is needed, e.g. [tools, images, json]")
    hints, written = get_type_hints(ModelEntry), {field: key for key, field in _MODEL_KEYS.items()}
    for field, value in values.items():
        if field != "price":
            values[field] = convert(value, hints[field], f"{where}.{written[field]}", {})
    if values["context_tokens"] < 1 or values.get("max_output_tokens", 0) < 0:
        raise ConfigError(f"{where}: context_tokens must be 1 or more, and max_output_tokens 0 or more")
    if not 0 <= values.get("quality", 0.5) <= 1:
        raise ConfigError(f"{where}: quality must be between 0 and 1, not {values['quality']}")
    return ModelEntry(source=source, **values)


def parse_provider(name: str, raw: object, env: Mapping[str, str]) -> ProviderEntry:
    """One entry of `providers:`. Raises ConfigError."""
    where = f"providers.{name}"
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{where}: a provider is a mapping with kind, base_url and api_key")
    for key in raw:
        if key not in _PROVIDER_KEYS:
            raise ConfigError(f'{where}: unknown key "{key}"{nearest(str(key), _PROVIDER_KEYS)}')
    hints = get_type_hints(ProviderEntry)
    values: dict[str, Any] = {
        key: convert(value, hints[key], f"{where}.{key}", env) for key, value in raw.items() if key != "api_key"
    }
    api_key = read_secret(raw.get("api_key"), f"{where}.api_key", env)
    if name == "local":
        values.pop("kind", None)
        return dataclasses.replace(LOCAL, api_key=api_key, **values)
    values.setdefault("kind", kind_of(name, str(values.get("base_url", ""))) or "openai")
    values.setdefault("base_url", address_of(name, values["kind"]))
    if values["kind"] not in KINDS:
        raise ConfigError(f'{where}.kind: "{values["kind"]}" is none of {", ".join(KINDS)}')
    if not values["base_url"]:
        raise ConfigError(f'{where}: "base_url" is missing, e.g. https://api.example.com/v1')
    return ProviderEntry(provider=name, api_key=api_key, **{**values, "base_url": str(values["base_url"]).rstrip("/")})


def parse_catalog(
    document: Mapping[str, Any], shipped: Mapping[str, Any], env: Mapping[str, str]
) -> tuple[tuple[ProviderEntry, ...], tuple[ModelEntry, ...]]:
    """Providers and models of the operator's document on top of the shipped one and the environment."""
    providers: dict[str, ProviderEntry] = {"local": LOCAL}
    for name, known in KNOWN.items():
        value = env.get(known.env, "")
        if value and name == "ollama":
            base = value.rstrip("/") if value.rstrip("/").endswith("/v1") else value.rstrip("/") + "/v1"
            providers[name] = ProviderEntry(
                name, known.kind, base, allow_private_address=True, managed_by="environment"
            )
        elif value:
            providers[name] = ProviderEntry(name, known.kind, known.base_url, Secret(value), managed_by="environment")
    own = document.get("providers") or {}
    if not isinstance(own, Mapping):
        raise ConfigError("providers: a mapping of names to providers is needed")
    for name, raw in own.items():
        providers[str(name)] = parse_provider(str(name), raw, env)
    models: dict[str, ModelEntry] = {}
    for source, part in (("catalog", shipped), ("config", document)):
        listed = part.get("models") or []
        if not isinstance(listed, list):
            raise ConfigError("models: a list of models is needed")
        for index, raw in enumerate(listed):
            model = parse_model(raw, f"models[{index}]", source)
            if source == "config" and model.provider not in providers and model.provider not in KNOWN:
                raise ConfigError(
                    f'models[{index}] ({model.model}): there is no provider "{model.provider}"'
                    f"{nearest(model.provider, providers)}; add it under providers:"
                )
            models[model.model] = model
    return tuple(providers.values()), tuple(models.values())
