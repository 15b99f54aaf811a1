"""What operators write under `providers:` and `models:`, as frozen entries that every service reads alike."""

import dataclasses
import datetime as dt
import re
from collections.abc import Collection, Mapping
from typing import Any, get_type_hints

from mesh.config import ConfigError, Secret, convert, nearest, read_secret
from mesh.known_providers import AZURE_PATH, DIALECTS, KINDS, KNOWN, OPTIONS, address_of, kind_of
from mesh.model_links import aliases_of, check_fallbacks
from mesh.model_prices import PriceEntry, parse_price
from mesh.plugins import PROVIDERS, named

_ADDRESS = re.compile(r"https?://[^\s/?#]+[^\s]*$", re.IGNORECASE)


MOST_WEIGHT = 1000
MOST_PRIORITY = 100


@dataclasses.dataclass(frozen=True)
class DeploymentEntry:
    """One endpoint among several that serve the same model."""

    provider: str
    name: str
    """The name this provider knows the model by."""
    weight: float = 1.0
    """Its share beside others of the same priority."""
    priority: int = 0
    """Lower is asked first."""
    price: PriceEntry | None = None
    """None = the model's."""


OWN = ("config", "api")
"""The sources of the operator's own models, which are believed over lists."""


@dataclasses.dataclass(frozen=True)
class ModelEntry:
    """A model from a file, or from the API."""

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
    """"config" for the operator's own of a file, "api" for those of the API, "catalog" for shipped ones."""
    price: PriceEntry | None = None
    """None = unknown."""
    fallbacks: tuple[str, ...] = ()
    """Ids of the models that stand in for it, in this order."""
    deployments: tuple[DeploymentEntry, ...] = ()
    """The endpoints that serve it; empty = `provider` and `name` alone."""
    sticky: bool = False
    """Whether requests that begin alike go to the same deployment."""
    aliases: tuple[str, ...] = ()
    """Its other names, from `aliases:`."""
    identities: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Public source → what it is called there; "" = it is not there, whatever looks like it."""
    retires_on: dt.date | None = None
    """The day (UTC) from which its provider no longer serves it: `auto` leaves it out then. None = no day is known."""
    left_open: tuple[str, ...] = ()
    """Fields that whoever described it did not say: what public sources say may fill them."""

    @property
    def endpoints(self) -> tuple[DeploymentEntry, ...]:
        """Where it is served, at least one place, each with the price that counts there."""
        if not self.deployments:
            return (DeploymentEntry(self.provider, self.name, price=self.price),)
        return tuple(dataclasses.replace(one, price=one.price or self.price) for one in self.deployments)


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
    dialect: str = ""
    """One of DIALECTS; "" = told by the address or the name."""
    responses: bool = False
    shared_store: bool = False
    """Callers may name what its account stores, whoever stored it."""
    options: tuple[str, ...] = ()
    region: str = ""
    """Where it stands, e.g. eu, for policies that ask; "" = unknown."""


LOCAL = ProviderEntry(
    "local",
    "local",
    "http://local/v1",
    allow_private_address=True,
    model_class="demo",
    max_concurrent=8,
    region="local",
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
    "fallbacks": "fallbacks",
    "deployments": "deployments",
    "sticky": "sticky",
    "identities": "identities",
    "retires_on": "retires_on",
}
IDENTITY_SOURCES = (
    *("openrouter", "lmarena", "hugging_face", "models_dev", "ollama", "litellm"),
    *("genai_prices", "benchmarks", "open_llm_leaderboard"),
)
"""The public sources in which `identities:` may name a model."""
_MAY_STAY_OPEN = ("quality", "capabilities")
_DEPLOYMENT_KEYS = [field.name for field in dataclasses.fields(DeploymentEntry)]
_PROVIDER_KEYS = {field.name for field in dataclasses.fields(ProviderEntry)} - {"provider", "managed_by"}


def parse_deployments(raw: object, where: str, name: str) -> tuple[DeploymentEntry, ...]:
    """A `deployments:` list of a model; `name` is what those are called that say none. Raises ConfigError."""
    if not isinstance(raw, list) or not raw:
        raise ConfigError(f"{where}: a list is needed, e.g. [{{provider: azure-eu, name: gpt4o-prod}}]")
    hints, made = get_type_hints(DeploymentEntry), list[DeploymentEntry]()
    for index, one in enumerate(raw):
        place = f"{where}[{index}]"
        if not isinstance(one, Mapping) or "provider" not in one:
            raise ConfigError(f"{place}: a deployment is a mapping with provider and name")
        for key in one:
            if key not in _DEPLOYMENT_KEYS:
                raise ConfigError(f'{place}: unknown key "{key}"{nearest(str(key), _DEPLOYMENT_KEYS)}')
        values = {key: convert(value, hints[key], f"{place}.{key}", {}) for key, value in one.items() if key != "price"}
        entry = DeploymentEntry(**{"name": name, **values, "price": parse_price(one.get("price"), f"{place}.price")})
        if not 0 < entry.weight <= MOST_WEIGHT:
            raise ConfigError(f"{place}.weight: it must be above 0 and at most {MOST_WEIGHT}, not {entry.weight}")
        if not 0 <= entry.priority <= MOST_PRIORITY:
            raise ConfigError(f"{place}.priority: it must be 0 to {MOST_PRIORITY}, not {entry.priority}")
        for other in made:
            if other.provider == entry.provider and other.name == entry.name:
                raise ConfigError(
                    f"{place}: {entry.name} at {entry.provider} is there twice: give one of them more weight"
                )
            if other.provider == entry.provider and other.price != entry.price:
                raise ConfigError(
                    f"{place}.price: deployments of one model at one provider cost the same, and another one at "
                    f"{entry.provider} has another price: write them as two providers"
                )
        made.append(entry)
    return tuple(made)


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
        if needed not in values and not (needed == "provider" and "deployments" in values):
            raise ConfigError(f'{where}: "{"id" if needed == "model" else needed}" is missing')
    values.setdefault("name", str(values["model"]).split("/", 1)[-1])
    if "deployments" in values:
        values["deployments"] = found = parse_deployments(values["deployments"], f"{where}.deployments", values["name"])
        if values.setdefault("provider", found[0].provider) not in [one.provider for one in found]:
            raise ConfigError(
                f"{where}.provider: none of the deployments is at {values['provider']}: leave it out, or add one there"
            )
        values["name"] = next(one.name for one in found if one.provider == values["provider"])
    values["price"] = parse_price(values.get("price"), f"{where}.price")
    if not isinstance(values.get("capabilities", []), list):
        raise ConfigError(f"{where}.capabilities: a list is needed, e.g. [tools, images, json]")
    if not isinstance(values.get("fallbacks", []), list):
        raise ConfigError(f"{where}.fallbacks: a list of model ids is needed, e.g. [anthropic/claude-sonnet-4-5]")
    if "identities" in values:
        values["identities"] = _identities(values["identities"], f"{where}.identities")
    if values.get("retires_on") is not None:
        values["retires_on"] = _day(values["retires_on"], f"{where}.retires_on")
    values["left_open"] = tuple(field for field in _MAY_STAY_OPEN if field not in values)
    hints, written = get_type_hints(ModelEntry), {field: key for key, field in _MODEL_KEYS.items()}
    for field, value in values.items():
        if field not in ("price", "deployments", "identities", "retires_on", "left_open"):
            values[field] = convert(value, hints[field], f"{where}.{written[field]}", {})
    if values["context_tokens"] < 1 or values.get("max_output_tokens", 0) < 0:
        raise ConfigError(f"{where}: context_tokens must be 1 or more, and max_output_tokens 0 or more")
    if not 0 <= values.get("quality", 0.5) <= 1:
        raise ConfigError(f"{where}: quality must be between 0 and 1, not {values['quality']}")
    return ModelEntry(source=source, **values)


def _identities(raw: object, where: str) -> dict[str, str]:
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{where}: a mapping of sources to names is needed, e.g. {{lmarena: gpt-4o-2024-08-06}}")
    for source, name in raw.items():
        if source not in IDENTITY_SOURCES:
            raise ConfigError(f'{where}: there is no source "{source}"{nearest(str(source), IDENTITY_SOURCES)}')
        if not isinstance(name, str):
            raise ConfigError(f'{where}.{source}: a name is needed, or "" for "not there"')
    return dict(raw)


def _day(raw: object, where: str) -> dt.date:
    """A day as YAML or JSON write it."""
    if isinstance(raw, dt.date) and not isinstance(raw, dt.datetime):
        return raw
    try:
        return dt.date.fromisoformat(raw if isinstance(raw, str) else "")
    except ValueError:
        raise ConfigError(f'{where}: "{raw}" is no day like 2027-01-31') from None


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
    if values["kind"] not in KINDS and values["kind"] not in (offered := named(PROVIDERS)):
        told = f", nor of the installed plug-ins' ({', '.join(sorted(offered))})" if offered else ""
        raise ConfigError(f'{where}.kind: "{values["kind"]}" is none of {", ".join(KINDS)}{told}')
    check_options(values.get("options", ()), values["kind"], f"{where}.options")
    dialect = values.get("dialect", "")
    if dialect and (dialect not in DIALECTS or values["kind"] != "openai"):
        raise ConfigError(f'{where}.dialect: "{dialect}" is for kind openai, and one of {", ".join(DIALECTS)}')
    if values.get("responses") and values["kind"] != "openai":
        raise ConfigError(f"{where}.responses: only providers of kind openai have it, not {values['kind']}")
    if not values["base_url"]:
        raise ConfigError(f'{where}: "base_url" is missing, e.g. https://api.example.com/v1')
    if not _ADDRESS.match(str(values["base_url"])):
        raise ConfigError(
            f'{where}.base_url: "{values["base_url"]}" is not an address: write e.g. https://api.example.com/v1'
        )
    return ProviderEntry(provider=name, api_key=api_key, **{**values, "base_url": str(values["base_url"]).rstrip("/")})


def check_options(options: tuple[str, ...], kind: str, where: str) -> None:
    """Raises ConfigError for an option that the kind does not have."""
    known = OPTIONS.get(kind, ())
    for option in options:
        name, found, value = option.partition("=")
        if not found or not value:
            raise ConfigError(f'{where}: "{option}" is not of the form name=value')
        if kind in KINDS and name not in known:
            told = f"has {', '.join(known)}" if known else "has none"
            raise ConfigError(f'{where}: "{name}" is no option: the kind {kind} {told}{nearest(name, known)}')
        if name == "num_ctx" and not (value.isascii() and value.isdigit() and 0 < int(value) < 1 << 31):
            raise ConfigError(f"{where}: num_ctx is a number of tokens, not {value}")


def parse_catalog(
    document: Mapping[str, Any], shipped: Mapping[str, Any], env: Mapping[str, str]
) -> tuple[tuple[ProviderEntry, ...], tuple[ModelEntry, ...]]:
    """Providers and models of the operator's document on top of the shipped one and the environment."""
    providers: dict[str, ProviderEntry] = {"local": LOCAL}
    for name, known in KNOWN.items():
        value = env.get(known.env, "")
        if value and name == "ollama":
            providers[name] = ProviderEntry(
                name, kind_of(name, value), value.rstrip("/"), allow_private_address=True, managed_by="environment"
            )
        elif value and known.address_env:
            if root := env.get(known.address_env, "").rstrip("/"):
                base = root if root.endswith(AZURE_PATH) else root + AZURE_PATH
                providers[name] = ProviderEntry(name, known.kind, base, Secret(value), managed_by="environment")
        elif value:
            providers[name] = ProviderEntry(name, known.kind, known.base_url, Secret(value), managed_by="environment")
    own = document.get("providers") or {}
    if not isinstance(own, Mapping):
        raise ConfigError("providers: a mapping of names to providers is needed")
    for name, raw in own.items():
        providers[str(name)] = parse_provider(str(name), raw, env)
    return tuple(providers.values()), parse_models(document, shipped, providers)


def parse_models(
    document: Mapping[str, Any], shipped: Mapping[str, Any], providers: Collection[str]
) -> tuple[ModelEntry, ...]:
    """The models of the operator's document, with their aliases, on top of the shipped ones. Raises ConfigError."""
    models: dict[str, ModelEntry] = {}
    for source, part in (("catalog", shipped), ("config", document)):
        listed = part.get("models") or []
        if not isinstance(listed, list):
            raise ConfigError("models: a list of models is needed")
        for index, raw in enumerate(listed):
            model = parse_model(raw, f"models[{index}]", source)
            for provider in [one.provider for one in model.endpoints]:
                if source == "config" and provider not in providers and provider not in KNOWN:
                    raise ConfigError(
                        f'models[{index}] ({model.model}): there is no provider "{provider}"'
                        f"{nearest(provider, providers)}; add it under providers:"
                    )
            models[model.model] = model
    capabilities = {entry.model: entry.capabilities for entry in models.values()}
    for entry in models.values():
        check_fallbacks(entry.model, entry.fallbacks, capabilities)
    for target, aliases in aliases_of(document.get("aliases"), models).items():
        models[target] = dataclasses.replace(models[target], aliases=aliases)
    return tuple(models.values())
