"""What models say of each other: which ones stand in for them (`fallbacks:`), and other names for them (`aliases:`)."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from mesh.config import ConfigError, nearest

AUTO = "auto"
EMBEDDINGS = "embeddings"
NEVER_CHAT = frozenset({EMBEDDINGS, "transcription", "speech"})
"""Capabilities of models that need not chat."""


def never_chats(capabilities: Collection[str]) -> bool:
    """Whether a model of these, and no others, is asked for no chat."""
    return bool(capabilities) and NEVER_CHAT.issuperset(capabilities)


def check_fallbacks(model: str, fallbacks: Sequence[str], capabilities: Mapping[str, Collection[str]]) -> None:
    """Refuses fallbacks of a model that could never stand in; `capabilities` of all models. Raises ConfigError."""
    where, own = f"models ({model}).fallbacks", capabilities[model]
    if fallbacks and set(own) == {EMBEDDINGS}:
        raise ConfigError(
            f"{where}: {model} makes embeddings, and vectors of two models cannot be compared: leave them out"
        )
    if fallbacks and never_chats(own):
        raise ConfigError(f"{where}: {model} does not chat, and only chats fall back: leave them out")
    for number, name in enumerate(fallbacks):
        if name not in capabilities:
            known = nearest(name, capabilities)
            raise ConfigError(f'{where}: there is no model "{name}"{known}; write its id as in models:')
        if name == model:
            raise ConfigError(f"{where}: {name} cannot stand in for itself: name other models")
        if name in fallbacks[:number]:
            raise ConfigError(f"{where}: {name} is there twice: once is enough")
        if set(capabilities[name]) == {EMBEDDINGS}:
            raise ConfigError(f"{where}: {name} makes embeddings and does not chat: name a model that chats")
        if never_chats(capabilities[name]):
            raise ConfigError(f"{where}: {name} does not chat: name a model that chats")


def aliases_of(raw: object, models: Collection[str]) -> dict[str, tuple[str, ...]]:
    """What `aliases:` calls models besides: id → its other names, for those that have some. Raises ConfigError."""
    if raw is None:
        return {}
    if not isinstance(raw, Mapping):
        raise ConfigError("aliases: a mapping of names to model ids is needed, e.g. {gpt-4: openai/gpt-4o}")
    named: dict[str, tuple[str, ...]] = {}
    for alias, target in raw.items():
        _check_alias(alias, target, raw, models)
        named[target] = (*named.get(target, ()), alias)
    return named


def _check_alias(alias: object, target: object, aliases: Mapping[Any, Any], models: Collection[str]) -> None:
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
