"""Models that were made through the API: read, checked as those of files are, and joined with these.

What a file says of a model counts over what the API does, and that over the shipped catalog.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from mesh.catalog import ModelEntry, parse_model
from mesh.config import ConfigError, nearest
from mesh.known_providers import KNOWN
from mesh.model_links import AUTO, aliases_of, check_fallbacks, never_chats

API = "api"
"""The `source` of a model that the API made."""
CONFIG = "config"
"""That of a model that a file of the operator's describes."""
CLASSES = ("standard", "demo")
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,199}")
VERBS = (":versions", ":rollback")
"""What ends a path of the API and no id: it could not be named there."""


@dataclasses.dataclass(frozen=True)
class ModelRow:
    """A model as it is kept."""

    model: str
    version: int
    document: str
    """JSON, as under `models:` in a file, with `aliases`."""


def parse_entry(said: Mapping[str, Any], where: str) -> ModelEntry:
    """What was written of a model, as under `models:`, with its `aliases`. Raises ConfigError."""
    entry = parse_model({key: value for key, value in said.items() if key != "aliases"}, where, API)
    if entry.model_class not in CLASSES:
        raise ConfigError(f'{where}.class: "{entry.model_class}" is none of {", ".join(CLASSES)}')
    for figure in ("speed_tokens_per_s", "first_token_ms"):
        if not 0 <= getattr(entry, figure) < math.inf:
            raise ConfigError(f"{where}.{figure}: it must be 0 or more, not {getattr(entry, figure)}")
    aliases = said.get("aliases", [])
    if not isinstance(aliases, list) or not all(isinstance(one, str) for one in aliases):
        raise ConfigError(f"{where}.aliases: a list of names is needed, e.g. [large]")
    for name in (entry.model, *aliases):
        if not ID.fullmatch(name) or name.endswith(VERBS):
            raise ConfigError(
                f'{where}: "{name[:200]}" is no name for a model: at most 200 letters, digits and . _ : @ / + -, not '
                f"ending in {' or '.join(VERBS)}"
            )
    if entry.model.partition(":")[0] == AUTO:
        raise ConfigError(f'{where}.id: "{entry.model}" lets the router choose: take another id')
    if len(set(aliases)) < len(aliases):
        raise ConfigError(f"{where}.aliases: a name is there twice: once is enough")
    return dataclasses.replace(entry, aliases=tuple(aliases))


def check_entry(entry: ModelEntry, others: Iterable[ModelEntry], providers: Collection[str], where: str) -> None:
    """Refuses what could not stand beside the other models in force. Raises ConfigError."""
    beside = {one.model: one for one in others if one.model != entry.model}
    for provider in [one.provider for one in entry.endpoints]:
        if provider not in providers and provider not in KNOWN:
            raise ConfigError(
                f'{where}: there is no provider "{provider}"{nearest(provider, providers)}; add it first '
                "(dac provider add)"
            )
    if entry.model in {alias for one in beside.values() for alias in one.aliases}:
        raise ConfigError(f'{where}: "{entry.model}" is an alias of another model: take another id')
    aliases_of(dict.fromkeys(entry.aliases, entry.model), (*beside, entry.model))
    for one in beside.values():
        if taken := sorted(set(one.aliases) & set(entry.aliases)):
            raise ConfigError(f'{where}.aliases: "{taken[0]}" is an alias of {one.model} already: take another name')
    abilities = {one.model: one.capabilities for one in (*beside.values(), entry)}
    check_fallbacks(entry.model, entry.fallbacks, abilities)


class Joiner:
    """Joins the models of files with rows; what was read of a row is kept, as most stay as they were."""

    def __init__(self) -> None:
        self._read: dict[ModelRow, ModelEntry | str] = {}

    def join(self, filed: Sequence[ModelEntry], rows: Sequence[ModelRow]) -> tuple[tuple[ModelEntry, ...], list[str]]:
        """The models in force, and why what rows say is not, or not wholly. A row that makes no sense beside files that
        were changed later must not stop a start: it is left out."""
        self._read = {row: self._read[row] if row in self._read else _read(row) for row in rows}
        models = {one.model: one for one in filed}
        names = {alias for one in filed for alias in one.aliases}
        made, problems = [], []
        for row, entry in self._read.items():
            standing = models.get(row.model)
            if isinstance(entry, str):
                problems.append(f"{row.model}: {entry}")
            elif standing is not None and standing.source == CONFIG:
                problems.append(f"{row.model}: a file describes it, too, and that counts")
            elif row.model in names:
                problems.append(f"{row.model}: a file has an alias of this name, and that counts")
            else:
                models[row.model] = dataclasses.replace(entry, aliases=standing.aliases if standing is not None else ())
                made.append(entry)
        for entry in made:
            models[entry.model], told = _linked(entry, models)
            problems += told
        return tuple(models.values()), problems


def _read(row: ModelRow) -> ModelEntry | str:
    try:
        return parse_entry(msgspec.json.decode(row.document), row.model)
    except (ConfigError, msgspec.DecodeError) as error:
        # Written by a newer DAC, or before a rule became stricter.
        return getattr(error, "message", str(error))


def _linked(entry: ModelEntry, models: Mapping[str, ModelEntry]) -> tuple[ModelEntry, list[str]]:
    """The entry with those of its names and stand-ins that are possible beside the models that there are."""
    problems, given = [], models[entry.model].aliases
    taken = {alias for one in models.values() for alias in one.aliases if one.model != entry.model} | set(models)
    aliases = [one for one in entry.aliases if one not in taken]
    for one in sorted(set(entry.aliases) - set(aliases)):
        problems.append(f'{entry.model}: its alias "{one}" is another model\'s')
    fallbacks = [one for one in entry.fallbacks if one in models and not never_chats(models[one].capabilities)]
    for one in sorted(set(entry.fallbacks) - set(fallbacks)):
        problems.append(f'{entry.model}: "{one}" under fallbacks is no model that chats')
    found = dataclasses.replace(entry, aliases=tuple(dict.fromkeys((*given, *aliases))), fallbacks=tuple(fallbacks))
    return found, problems
