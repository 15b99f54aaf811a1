"""A LiteLLM proxy's configuration → DAC's files, budgets to set, and notes. Nothing is written or sent here."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from mesh.config import ConfigError
from mesh.imports.litellm_keys import Budget, budget_of
from mesh.imports.litellm_models import Models
from mesh.imports.litellm_providers import Providers
from mesh.imports.litellm_settings import Settings
from mesh.imports.notes import CHANGED, DO, Note, Source
from mesh.imports.rate_limits import RateLimit

HEAD = "# From a LiteLLM configuration by `dac import litellm`; what was not carried over is in import-notes.txt.\n"


@dataclasses.dataclass(frozen=True)
class Conversion:
    """What became of a configuration."""

    providers: Mapping[str, Any]
    models: Sequence[Mapping[str, Any]]
    aliases: Mapping[str, str]
    sections: Mapping[str, Any]
    """Other sections of DAC's configuration."""
    groups: Mapping[str, Sequence[str]]
    """Access group → model names."""
    budget: Budget | None
    """For the whole organisation."""
    limits: Mapping[str, RateLimit]
    """Of the organisation, by model name."""
    notes: Sequence[Note]

    def files(self) -> dict[str, str]:
        """File name → text of the configuration folder."""
        parts: dict[str, dict[str, Any]] = {
            "dac.yaml": dict(self.sections),
            "providers.yaml": {"providers": dict(self.providers)},
            "models.yaml": {"models": list(self.models), **({"aliases": dict(self.aliases)} if self.aliases else {})},
        }
        return {
            name: HEAD + yaml.dump(part, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=120)
            for name, part in parts.items()
            if part
        }


class _Plain(yaml.SafeDumper):
    """Writes a value that stands twice twice."""

    def ignore_aliases(self, data: Any) -> bool:
        """See yaml.Dumper."""
        return True


def convert(text: str, name: str, env: Mapping[str, str], shipped: Sequence[Mapping[str, Any]]) -> Conversion:
    """Reads the configuration `name`; `shipped` are the models of DAC's own catalog. Raises ConfigError."""
    source = Source(text, name)
    try:
        return _converted(source, env, shipped)
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ConfigError(f"{name}: something in it has a form that LiteLLM's files do not have: {error}") from None


def _converted(source: Source, env: Mapping[str, str], shipped: Sequence[Mapping[str, Any]]) -> Conversion:
    providers = Providers(source, env)
    converted = Models(source, providers, shipped).read()
    settings = Settings(source, converted.models)
    settings.read()
    budget = None
    if settings.budget is not None:
        amount, duration, place = settings.budget
        budget, said = budget_of(amount, duration)
        window = budget.window.removeprefix("WINDOW_").lower() if budget else ""
        told = f"a budget of the organisation for window {window}: set with --apply" if budget else said
        source.note(place, DO if budget is None else CHANGED, f"{told}; {said}" if budget and said else told)
    taken = {str(one["id"]) for one in shipped}
    for alias in [one for one in settings.aliases if one in taken]:
        source.note(
            ("router_settings", "model_group_alias", alias), DO, "left out: DAC's catalog has a model of this id"
        )
        del settings.aliases[alias]
    sections: dict[str, Any] = {}
    if settings.request_timeout_s is not None:
        sections["gateway"] = {"request_timeout_s": settings.request_timeout_s}
    notes = sorted(source.notes, key=lambda note: note.line)
    models = list(converted.models.values())
    return Conversion(
        providers.entries, models, settings.aliases, sections, converted.groups, budget, converted.limits, notes
    )
