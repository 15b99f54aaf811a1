"""What models say of each other: which ones stand in for them (`fallbacks:`), and other names for them (`aliases:`)."""

import dataclasses
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from mesh.config import ConfigError, nearest

if TYPE_CHECKING:
    from mesh.catalog import ModelEntry

AUTO = "auto"
EMBEDDINGS = "embeddings"
NEVER_CHAT = frozenset({EMBEDDINGS, "transcription", "speech"})
"""Capabilities of models that need not chat."""


def never_chats(capabilities: Collection[str]) -> bool:
    """Whether a model of these, and no others, is asked for no chat."""
    return bool(capabilities) and NEVER_CHAT.issuperset(capabilities)


def check_fallbacks(entry: "ModelEntry", models: Mapping[str, "ModelEntry"]) -> None:
    """Refuses fallbacks that could never stand in. Raises ConfigError."""
    where = f"models ({entry.model}).fallbacks"
    if entry.fallbacks and set(entry.capabilities) == {EMBEDDINGS}:
        raise ConfigError(
            f"{where}: {entry.model} makes embeddings, and vectors of two models cannot be compared: leave them out"
        )
    if entry.fallbacks and never_chats(entry.capabilities):
        raise ConfigError(f"{where}: {entry.model} does not chat, and only chats fall back: leave them out")
    for number, name in enumerate(entry.fallbacks):
        if name not in models:
            raise ConfigError(f'{where}: there is no model "{name}"{nearest(name, models)}; write its id as in models:')
        if name == entry.model:
            raise ConfigError(f"{where}: {name} cannot stand in for itself: name other models")
        if name in entry.fallbacks[:number]:
            raise ConfigError(f"{where}: {name} is there twice: once is enough")
        if set(models[name].capabilities) == {EMBEDDINGS}:
            raise ConfigError(f"{where}: {name} makes embeddings and does not chat: name a model that chats")
        if never_chats(models[name].capabilities):
            raise ConfigError(f"{where}: {name} does not chat: name a model that chats")


def with_aliases(models: Mapping[str, "ModelEntry"], raw: object) -> dict[str, "ModelEntry"]:
    """The models, each with the other names that `aliases:` gives it. Raises ConfigError."""
    if raw is None:
        return dict(models)
    if not isinstance(raw, Mapping):
        raise ConfigError("aliases: a mapping of names to model ids is needed, e.g. {gpt-4: openai/gpt-4o}")
    named: dict[str, list[str]] = {}
    for alias, target in raw.items():
        _check_alias(alias, target, raw, models)
        named.setdefault(target, []).append(alias)
    return {
        model: dataclasses.replace(entry, aliases=tuple(named[model])) if model in named else entry
        for model, entry in models.items()
    }


def _check_alias(alias: object, target: object, aliases: Mapping[Any, Any], models: Mapping[str, Any]) -> None:
    if not isinstance(alias, str) or not alias or not isinstance(target, str):
        raise ConfigError(f"aliases.{alias}: a name and a model id are needed, both text (put them in quotes)")
    if alias == AUTO or alias.startswith(AUTO + ":"):
        raise ConfigError(
            f'aliases.{alias}: "{alias}" lets the router choose and cannot be an alias: take another name'
        )
    if alias in models:
        raise ConfigError(f"aliases.{alias}: a model of this id exists: take another name")
    if target in aliases and target not in models:
        further = "itself" if target == alias else f'"{target}", which is an alias, too'
        raise ConfigError(f"aliases.{alias}: it stands for {further}: name the id of a model")
    if target not in models:
        raise ConfigError(
            f'aliases.{alias}: there is no model "{target}"{nearest(target, models)}; write its id as in models:'
        )
