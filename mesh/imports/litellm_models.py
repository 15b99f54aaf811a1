"""LiteLLM's `model_list` as models of DAC: one model for each name, several deployments where a name stands twice."""

import dataclasses
import decimal
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from mesh.config import ConfigError
from mesh.imports.litellm_providers import Providers, split
from mesh.imports.notes import CHANGED, DO, NONE, Place, Source
from mesh.imports.rate_limits import RateLimit, summed

PRICES = {
    "input_cost_per_token": "input_usd_per_mtok",
    "output_cost_per_token": "output_usd_per_mtok",
    "cache_read_input_token_cost": "input_cached_usd_per_mtok",
    "cache_creation_input_token_cost": "cache_write_usd_per_mtok",
    "output_cost_per_reasoning_token": "reasoning_usd_per_mtok",
    "input_cost_per_second": "audio_usd_per_hour",
    "input_cost_per_character": "input_usd_per_mchar",
}
AUDIO = {"audio_transcription": "transcription", "audio_speech": "speech"}
"""Modes of models that hear or speak, and their capability."""
MEASURES = {"audio_usd_per_hour", "input_usd_per_mchar"}
"""Prices of input that are not by the token."""
MOST_DOLLARS = 10**15
"""A higher price per million tokens is none."""
UNKNOWN_CONTEXT = 128_000
MOST_WEIGHT, MOST_PRIORITY = 1000, 100
SERVED_MODES = ("chat", "embedding", "responses", *AUDIO, None)
CAPABILITIES = {
    "supports_function_calling": "tools",
    "supports_vision": "images",
    "supports_response_schema": "json",
    "supports_reasoning": "reasoning",
}
HARMLESS = {"id", "description", "base_model", "mode", "db_model", "access_groups", "updated_at", "created_at"}
READ = {
    "model",
    "api_base",
    "base_url",
    "api_key",
    "custom_llm_provider",
    "weight",
    "order",
    "rpm",
    "tpm",
    "timeout",
    "max_parallel_requests",
    *PRICES,
}
WHY = {
    "api_version": (CHANGED, "not needed at the address that DAC asks"),
    "stream_timeout": (NONE, "set first_token_timeout_s and idle_timeout_s of the provider"),
    "max_retries": (CHANGED, "DAC tries once more at the same provider, then goes on to the fallbacks"),
    "num_retries": (CHANGED, "DAC tries once more at the same provider, then goes on to the fallbacks"),
    "organization": (NONE, "make a key of that organisation at the provider"),
    "tags": (NONE, "DAC has no routing by tags: give the deployments model names of their own"),
    "litellm_credential_name": (DO, "write the credential's api_base and api_key here and import again"),
    "max_budget": (NONE, "DAC limits keys and organisations, not deployments: `dac budget set`"),
    "budget_duration": (NONE, "see max_budget"),
    "drop_params": (NONE, "parameters go to the provider as they come: leave them out in the client"),
    "additional_drop_params": (NONE, "parameters go to the provider as they come: leave them out in the client"),
    "extra_headers": (NONE, "DAC sends no headers of your own to providers"),
}


@dataclasses.dataclass
class Converted:
    """What became of the list."""

    models: dict[str, dict[str, Any]]
    groups: dict[str, list[str]]
    """Access group → model names."""
    limits: dict[str, RateLimit]
    """What the organisation may ask of a model, by its name."""


def cost(value: object, units: int = 1_000_000) -> Decimal | None:
    """A cost per token as dollars per million; None when it is none. Rounded up to whole nano-dollars."""
    try:
        dollars = Decimal(str(value)) * units
    except decimal.DecimalException:
        return None
    if not dollars.is_finite() or not 0 <= dollars < MOST_DOLLARS:
        return None
    return dollars.quantize(Decimal("1e-9"), rounding=decimal.ROUND_CEILING)


def plain(number: Decimal) -> str:
    """A number as files write it: "0.15"."""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


class Models:
    """Reads `model_list`."""

    def __init__(self, source: Source, providers: Providers, shipped: Sequence[Mapping[str, Any]]) -> None:
        self._source, self._providers, self._shipped = source, providers, shipped

    def read(self) -> Converted:
        """Every entry of the list. Raises ConfigError when it is no list of models."""
        listed = self._source.document.get("model_list") or []
        if not isinstance(listed, list):
            raise ConfigError("model_list: a list of models is needed")
        found: dict[str, list[dict[str, Any]]] = {}
        groups: dict[str, list[str]] = {}
        for index, raw in enumerate(listed):
            place: Place = ("model_list", index)
            if not isinstance(raw, Mapping) or not isinstance(raw.get("litellm_params"), Mapping):
                raise ConfigError(f"model_list[{index}]: a model_name and litellm_params are needed")
            name, params = str(raw.get("model_name") or ""), raw["litellm_params"]
            info = raw.get("model_info") or {}
            made = self._deployment(name, params, info, place)
            if made is not None:
                found.setdefault(name, []).append(made)
                for group in info.get("access_groups") or ():
                    groups.setdefault(str(group), []).append(name)
            for key in raw:
                if key not in ("model_name", "litellm_params", "model_info"):
                    self._source.note((*place, key), NONE, "DAC has nothing like it")
        if found:
            self._source.note(
                ("model_list",),
                CHANGED,
                "beside these, DAC serves what its own catalog knows of the same providers (`dac model list`): give "
                "keys a list of models where that matters",
            )
        limits = {name: limit for name, parts in found.items() if (limit := self._limit(name, parts))}
        return Converted({name: self._model(name, parts) for name, parts in found.items()}, groups, limits)

    def _limit(self, name: str, parts: Sequence[Mapping[str, Any]]) -> RateLimit:
        """What all deployments of a name may take together."""
        limit = RateLimit(*(summed(part[key] for part in parts) for key in ("rpm", "tpm")))
        together = " together" if len(parts) > 1 else ""
        for part in parts:
            if part["rpm"] is None and part["tpm"] is None:
                continue
            place = (*part["place"], "litellm_params")
            if limit:
                told = f"rpm and tpm: a rate limit of the organisation for {name}, {limit}{together}: set with --apply"
                self._source.note(place, CHANGED, told)
            else:
                told = f"rpm and tpm: not all deployments of {name} say a number, so together they have no limit"
                self._source.note(place, NONE, told)
        return limit

    def _deployment(
        self, name: str, params: Mapping[str, Any], info: Mapping[str, Any], place: Place
    ) -> dict[str, Any] | None:
        inner = (*place, "litellm_params")
        if not name or name == "auto" or name.startswith("auto:"):
            self._source.note((*place, "model_name"), NONE, f'left out: "{name}" is not free as a name in DAC')
            return None
        mode = info.get("mode")
        if mode not in SERVED_MODES:
            self._source.note(
                (*place, "model_info", "mode"), NONE, f"left out: DAC does not serve models of mode {mode}"
            )
            return None
        wanted = str(params.get("model") or "")
        address = bool(params.get("api_base") or params.get("base_url"))
        prefix, upstream = split(wanted, str(params.get("custom_llm_provider") or ""), address)
        provider = self._providers.of(prefix, params, inner)
        if provider is None:
            return None
        if "*" in name or "*" in upstream:
            self._source.note(
                (*place, "model_name"),
                CHANGED,
                f"DAC has no wildcards: the provider {provider[0]} is written, and the models that it lists answer by "
                f"the id {provider[0]}/NAME. Name those that clients ask by another name.",
            )
            return None
        for key in params:
            if key not in READ:
                kind, text = WHY.get(key, (NONE, "DAC adds nothing to requests: set it in the client"))
                self._source.note((*inner, key), kind, text)
        for key in info:
            if key not in HARMLESS | set(CAPABILITIES) | set(PRICES) | {
                "max_tokens",
                "max_input_tokens",
                "max_output_tokens",
                "rpm",
                "tpm",
            }:
                self._source.note((*place, "model_info", key), NONE, "DAC keeps no such fact about a model")
        base_model = str(info.get("base_model") or "").rsplit("/", 1)[-1]
        return {
            "provider": provider[0],
            "name": upstream,
            "weight": params.get("weight"),
            "order": params.get("order"),
            "rate": params.get("rpm") or params.get("tpm"),
            "rpm": params.get("rpm", info.get("rpm")),
            "tpm": params.get("tpm", info.get("tpm")),
            "price": self._price({**info, **params}, inner),
            "shipped": self._shipped_entry(provider[1], upstream, base_model),
            "info": info,
            "place": place,
        }

    def _shipped_entry(self, provider: str, upstream: str, base_model: str) -> Mapping[str, Any]:
        """What DAC's own catalog says of the model, by its name or a dated form of it."""
        for names, where in (((upstream,), provider), ((base_model, upstream), "openai" if not provider else "")):
            for one in self._shipped if where else ():
                known = str(one.get("name") or str(one["id"]).split("/", 1)[-1])
                if one["provider"] == where and any(name == known or name.startswith(known + "-20") for name in names):
                    return one
        return {}

    def _price(self, fields: Mapping[str, Any], place: Place) -> Any:
        """A `price:`; None = unknown."""
        found: dict[str, Decimal] = {}
        for theirs, ours in PRICES.items():
            if fields.get(theirs) is not None:
                amount = cost(fields[theirs], 3600 if ours == "audio_usd_per_hour" else 1_000_000)
                if amount is None:
                    self._source.note((*place, theirs), DO, f"{fields[theirs]!r} is no price: set it by hand")
                    return None
                found[ours] = amount
        measured = {key: amount for key, amount in found.items() if key in MEASURES and amount}
        if measured and fields.get("mode") in AUDIO:
            # LiteLLM may tell several; DAC charges by one.
            return {key: plain(amount) for key, amount in list(measured.items())[:1]}
        found = {key: amount for key, amount in found.items() if key not in MEASURES}
        if not found:
            return None
        for side in ("input_usd_per_mtok", "output_usd_per_mtok"):
            found.setdefault(side, Decimal(0))
        return {key: plain(amount) for key, amount in found.items()} if any(found.values()) else "free"

    def _model(self, name: str, parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        first = parts[0]
        facts, info, place = first["shipped"], first["info"], first["place"]
        entry: dict[str, Any] = {"id": name, "provider": first["provider"], "name": first["name"]}
        context = info.get("max_input_tokens") or info.get("max_tokens") or facts.get("context_tokens")
        if not isinstance(context, int) or context < 1:
            context = UNKNOWN_CONTEXT
            self._source.note(
                place, DO, f"the context window of {name} is not known: {context} tokens are written, set what is true"
            )
        entry["context_tokens"] = context
        longest = info.get("max_output_tokens") or facts.get("max_output_tokens")
        if isinstance(longest, int) and longest > 0:
            entry["max_output_tokens"] = longest
        entry |= {key: facts[key] for key in ("quality", "speed_tokens_per_s", "first_token_ms") if key in facts}
        entry["capabilities"] = self._capabilities(name, info, facts, place)
        prices = [part["price"] if part["price"] is not None else part["shipped"].get("price") for part in parts]
        if prices[0] is not None:
            entry["price"] = prices[0]
        if None in prices:
            self._source.note(
                parts[prices.index(None)]["place"],
                DO,
                f"the price of {name} is not known: LiteLLM took it from its own list. Write one; until then a key "
                "with a budget cannot use it.",
            )
        made = self._deployments(parts, prices)
        if len(made) > 1:
            entry["deployments"] = made
        return entry

    def _capabilities(self, name: str, info: Mapping[str, Any], facts: Mapping[str, Any], place: Place) -> list[str]:
        if info.get("mode") == "embedding" or (not facts and info.get("mode") is None and "embed" in name):
            return ["embeddings"]
        if info.get("mode") in AUDIO:
            return [AUDIO[info["mode"]]]
        said = [ours for theirs, ours in CAPABILITIES.items() if info.get(theirs)]
        if said or facts:
            return list(dict.fromkeys([*facts.get("capabilities", ()), *said]))
        self._source.note(
            place, DO, f"what {name} can do is not known: tools and json are written; add images if it sees them"
        )
        return ["tools", "json"]

    def _deployments(self, parts: Sequence[Mapping[str, Any]], prices: Sequence[Any]) -> list[dict[str, Any]]:
        if len(parts) == 1:
            return []
        rates = [part["rate"] for part in parts if isinstance(part["rate"], int | float) and part["rate"] > 0]
        rated = len(rates) == len(parts) and not any(part["weight"] for part in parts)
        made: dict[tuple[str, str], dict[str, Any]] = {}
        for part, price in zip(parts, prices, strict=True):
            one: dict[str, Any] = {"provider": part["provider"], "name": part["name"]}
            weight = round(part["rate"] / min(rates), 3) if rated else part["weight"]
            if isinstance(weight, int | float) and weight > 0:
                one["weight"] = min(weight, MOST_WEIGHT)
            if isinstance(part["order"], int):
                one["priority"] = max(0, min(part["order"], MOST_PRIORITY))
            if price is not None and price != prices[0]:
                one["price"] = price
            if rated:
                told = "rpm and tpm: what they say became the deployments' weights"
                self._source.note((*part["place"], "litellm_params"), CHANGED, told)
            if (part["provider"], part["name"]) in made:
                self._source.note(part["place"], CHANGED, "the same deployment stands here twice: it is written once")
                continue
            made[part["provider"], part["name"]] = one
        return list(made.values())
