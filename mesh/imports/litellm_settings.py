"""LiteLLM's settings: fallbacks and aliases of models, time limits, a budget; and what to do about all the others."""

from collections.abc import Iterator, Mapping
from typing import Any

from mesh.imports.notes import CHANGED, DO, NONE, Place, Source
from mesh.model_links import never_chats

RETRIES = (CHANGED, "DAC tries once more at the same provider, then goes on to deployments and fallbacks")
COOLDOWN = (CHANGED, "a model or deployment that fails is left alone for a while by itself; see docs/router.md")
TELEMETRY = (
    CHANGED,
    "DAC writes a record of every request (`dac logs`), serves /metrics and sends spans by OTLP (docs/telemetry.md)",
)
REDIS = (DO, "DAC needs no Redis; several replicas of its router share breakers through REDIS_URL")
DROP = (NONE, "parameters go to the provider as they come, and its refusal comes back: leave them out in the client")
OWN_BUDGETS = (NONE, "DAC limits organisations and keys: `dac budget set`")
WHY: Mapping[str, tuple[str, str]] = {
    "router_settings.num_retries": RETRIES,
    "router_settings.retry_policy": RETRIES,
    "router_settings.retry_after": RETRIES,
    "router_settings.allowed_fails": COOLDOWN,
    "router_settings.allowed_fails_policy": COOLDOWN,
    "router_settings.cooldown_time": COOLDOWN,
    "router_settings.disable_cooldowns": COOLDOWN,
    "router_settings.routing_strategy": (
        CHANGED,
        "among deployments DAC goes by priority, weight and load; a name chooses the model, `auto` lets DAC choose",
    ),
    "router_settings.enable_pre_call_checks": (CHANGED, "DAC always checks whether a request fits the context window"),
    "router_settings.redis_host": REDIS,
    "router_settings.redis_port": REDIS,
    "router_settings.redis_password": REDIS,
    "router_settings.redis_url": REDIS,
    "router_settings.provider_budget_config": OWN_BUDGETS,
    "litellm_settings.num_retries": RETRIES,
    "litellm_settings.allowed_fails": COOLDOWN,
    "litellm_settings.cache": (
        DO,
        'DAC caches only what asks for it: send "enable_cache": true in the body of a chat (docs/memory.md)',
    ),
    "litellm_settings.cache_params": (
        CHANGED,
        "DAC's cache is exact and in its database; how long answers live is memory.cache_lifetime_s",
    ),
    "litellm_settings.drop_params": DROP,
    "litellm_settings.modify_params": DROP,
    "litellm_settings.callbacks": TELEMETRY,
    "litellm_settings.success_callback": TELEMETRY,
    "litellm_settings.failure_callback": TELEMETRY,
    "litellm_settings.service_callbacks": TELEMETRY,
    "litellm_settings.set_verbose": (CHANGED, "mesh.log_level: debug"),
    "litellm_settings.json_logs": (CHANGED, "mesh.log_format: json"),
    "litellm_settings.turn_off_message_logging": (CHANGED, "DAC never logs prompts or answers"),
    "litellm_settings.max_internal_user_budget": OWN_BUDGETS,
    "litellm_settings.default_team_settings": (NONE, "DAC has no teams yet: make an organisation, or keys"),
    "general_settings.master_key": (
        DO,
        "not carried over: DAC's operator has a token of its own (DAC_OPERATOR_TOKEN, else in data/secrets)",
    ),
    "general_settings.database_url": (DO, "not carried over: DAC needs a database of its own (DATABASE_URL), or none"),
    "general_settings.store_model_in_db": (
        DO,
        "models that were added in LiteLLM's pages are not in this file: write them into model_list and import again",
    ),
    "general_settings.alerting": (DO, "DAC's alerts are rules for Prometheus: docs/alerts.md"),
    "general_settings.alerting_threshold": (DO, "DAC's alerts are rules for Prometheus: docs/alerts.md"),
    "general_settings.salt_key": (DO, "not carried over: DAC has a master key of its own (docs/security.md)"),
    "general_settings.max_parallel_requests": (NONE, "max_concurrent of each provider limits what is sent at once"),
    "general_settings.global_max_parallel_requests": (
        NONE,
        "max_concurrent of each provider limits what is sent at once",
    ),
    "environment_variables": (DO, "not copied, they may be secrets: set those in DAC's environment that are needed"),
    "include": (DO, "files that are included are not read: import each of them"),
    "guardrails": (NONE, "DAC has no guardrails"),
    "mcp_servers": (NONE, "DAC is no gateway for MCP"),
    "credential_list": (DO, "write each credential's api_base and api_key into its models and import again"),
}
"""Place → what to say about it; a place that is not here has no equivalent."""
SECTIONS = ("router_settings", "litellm_settings", "general_settings")
LISTS = ("fallbacks", "context_window_fallbacks", "content_policy_fallbacks")
EVERY = "*"


class Settings:
    """Reads everything but `model_list`."""

    def __init__(self, source: Source, models: dict[str, dict[str, Any]]) -> None:
        self._source, self._models = source, models
        self.aliases: dict[str, str] = {}
        self.budget: tuple[Any, Any, Place] | None = None
        """(amount, duration, place) for all that is spent."""
        self.request_timeout_s: float | None = None

    def read(self) -> None:
        """Fills aliases, budget and time limit, and the models' fallbacks."""
        self._read_aliases()
        self._read_fallbacks()
        self._read_timeout()
        settings = self._source.section("litellm_settings")
        if settings.get("max_budget") is not None:
            place = ("litellm_settings", "max_budget")
            self.budget = (settings["max_budget"], settings.get("budget_duration"), place)
        self._tell_the_rest()

    def _read_aliases(self) -> None:
        place = ("router_settings", "model_group_alias")
        for alias, raw in self._source.section(*place).items():
            target = raw.get("model") if isinstance(raw, Mapping) else raw
            name, here = str(alias), (*place, str(alias))
            if target not in self._models:
                self._source.note(here, DO, f'left out: no model "{target}" was carried over')
            elif name in self._models or name == "auto" or name.startswith("auto:"):
                self._source.note(here, NONE, f'left out: "{name}" is the name of a model, or not free')
            else:
                self.aliases[name] = str(target)
                if isinstance(raw, Mapping) and raw.get("hidden"):
                    self._source.note(here, CHANGED, "an alias is shown beside its model, never as a model of its own")

    def _lists(self, name: str) -> Iterator[tuple[str, list[Any], Place]]:
        """(model, its stand-ins, place) of both sections that may say so."""
        for section in ("router_settings", "litellm_settings"):
            listed = self._source.section(section).get(name) or []
            for index, one in enumerate(listed if isinstance(listed, list) else []):
                for model, others in one.items() if isinstance(one, Mapping) else ():
                    place = (section, name, index, str(model))
                    yield str(model), others if isinstance(others, list) else [others], place

    def _read_fallbacks(self) -> None:
        for name in LISTS:
            every: list[tuple[list[Any], Place]] = []
            for model, others, place in self._lists(name):
                target = self.aliases.get(model, model)
                if model == EVERY:
                    every.append((others, place))
                elif target not in self._models:
                    self._source.note(place, DO, f'left out: no model "{model}" was carried over')
                else:
                    if self._add(target, others, place) and name != "fallbacks":
                        self._say_when(name, place)
            if name == "fallbacks":
                for section in ("router_settings", "litellm_settings"):
                    default = self._source.section(section).get("default_fallbacks")
                    if isinstance(default, list):
                        every.append((default, (section, "default_fallbacks")))
            for others, place in every:
                for target in self._models:
                    if name == "fallbacks" and not self._models[target].get("fallbacks"):
                        self._add(target, others, place, quiet=True)
                if name != "fallbacks":
                    self._source.note(place, NONE, "left out: name the models that need it")

    def _say_when(self, name: str, place: Place) -> None:
        when = "a prompt is too long" if name.startswith("context") else "a content filter refuses"
        self._source.note(
            place,
            CHANGED,
            f"added to the model's fallbacks: DAC has one list, which is for every failure and not only when {when}",
        )

    def _add(self, model: str, others: list[Any], place: Place, *, quiet: bool = False) -> bool:
        """Adds stand-ins; whether there was one to add."""
        entry = self._models[model]
        if never_chats(entry["capabilities"]):
            if not quiet:
                self._source.note(place, NONE, "left out: only chats fall back, and it makes embeddings or audio")
            return False
        found: list[str] = list(entry.get("fallbacks") or ())
        before = len(found)
        for raw in others:
            target = self.aliases.get(str(raw), str(raw))
            if isinstance(raw, Mapping):
                self._source.note(place, NONE, "left out: a fallback with parameters of its own; name a model")
            elif target not in self._models or never_chats(self._models[target]["capabilities"]):
                self._source.note(place, DO, f'left out: no model "{raw}" that chats was carried over')
            elif target != model and target not in found:
                found.append(target)
        if found:
            entry["fallbacks"] = found
        return len(found) > before

    def _read_timeout(self) -> None:
        for section, key in (("router_settings", "timeout"), ("litellm_settings", "request_timeout")):
            value = self._source.section(section).get(key)
            if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
                self.request_timeout_s = float(value)
                text = "written as gateway.request_timeout_s: the longest a request may take, all attempts together"
                self._source.note((section, key), CHANGED, text)

    def _tell_the_rest(self) -> None:
        read = {f"{section}.{name}" for section in SECTIONS for name in (*LISTS, "default_fallbacks")}
        read |= {"router_settings.model_group_alias", "router_settings.timeout", "litellm_settings.request_timeout"}
        read |= {"litellm_settings.max_budget", "litellm_settings.budget_duration"}
        for key, value in self._source.document.items():
            if key == "model_list":
                continue
            if key in SECTIONS and isinstance(value, Mapping):
                for name in value:
                    if f"{key}.{name}" not in read:
                        kind, text = WHY.get(f"{key}.{name}", (NONE, "DAC has nothing like it"))
                        self._source.note((key, str(name)), kind, text)
            else:
                kind, text = WHY.get(str(key), (NONE, "DAC has nothing like it"))
                self._source.note((str(key),), kind, text)
