"""What a request asks of a model, and whether a model meets it: names, profiles, allow lists, room, capabilities."""

from __future__ import annotations

import difflib
import fnmatch
import functools
import hashlib
import re

import msgspec

from services.router import errors
from services.router.catalog.catalog import AGGREGATORS, CatalogView, KnownModel
from services.router.catalog.listed import EMBEDDINGS
from services.router.config import RouterConfig
from services.router.deciding.scoring import PROFILES
from services.router.prompt.predictor import Reading

AUTO = "auto"
AUDIO = {"transcription": "transcription", "translation": "transcription", "speech": "speech"}
"""The capability by what may be wanted of audio."""


class Ask(msgspec.Struct, frozen=True):
    """A request as the decision sees it: no text, only its shape and what was understood of it."""

    model: str = AUTO
    profile: str = ""
    input_tokens: int = 0
    max_output_tokens: int = 0
    needs_tools: bool = False
    needs_images: bool = False
    needs_json: bool = False
    needs_embeddings: bool = False
    needs_audio: str = ""
    """"transcription", "translation" or "speech"."""
    allowed_models: tuple[str, ...] = ()
    """What the caller's key may use; empty = all."""
    turns: int = 0
    """How many times the user has spoken; 0 = not said."""
    intent: str = ""
    """One of `intents.INTENTS`; empty = not understood."""
    complexity: float | None = None
    """0–1; None = not understood: the catalog's quality counts as it is."""
    reading: Reading | None = None
    """What the prompt says of how well models will do on it; None = nothing."""
    min_quality: float = 0.0
    max_first_token_ms: float = 0.0
    max_latency_ms: float = 0.0
    max_cost_nano_usd: int = 0
    regions: tuple[str, ...] = ()
    """Where the provider must stand, in small letters."""
    seed: str = ""
    """What chance draws from: the same seed, the same draw."""
    org_id: str = ""
    """Whose request it is: what is learned is learned for each."""
    dry_run: bool = False
    """Nothing is sent: no trial of a breaker is given out."""

    @property
    def special(self) -> str:
        """The capability that is wanted instead of a chat's answer; empty = a chat."""
        return EMBEDDINGS if self.needs_embeddings else AUDIO.get(self.needs_audio, "")


def policy_version(config: RouterConfig) -> str:
    """A short hash of everything that shapes decisions and is not learned or live."""
    return hashlib.sha256(repr((config, PROFILES)).encode()).hexdigest()[:12]


def resolve_profile(ask: Ask, default: str) -> str:
    """The profile in force: the field, else the suffix of "auto:…", else the default. Raises INVALID_REQUEST."""
    suffix = ask.model[len(AUTO) + 1 :] if ask.model.startswith(AUTO + ":") else ""
    profile = ask.profile or suffix or default
    if profile not in PROFILES:
        raise errors.unknown_profile(profile, PROFILES)
    return profile


def is_auto(model: str) -> bool:
    """Whether the router chooses."""
    return not model or model == AUTO or model.startswith(AUTO + ":")


@functools.lru_cache(maxsize=4096)
def _pattern(allowed: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(one) for one in allowed))


def may_use(model: str, allowed: tuple[str, ...]) -> bool:
    """Whether an allow list of ids and patterns (`openai/*`) holds the model; an empty list holds all."""
    return not allowed or _pattern(allowed).match(model) is not None


def may_ask(model: KnownModel, allowed: tuple[str, ...]) -> bool:
    """Whether an allow list holds the model's id or one of its aliases."""
    return may_use(model.id, allowed) or any(may_use(alias, allowed) for alias in model.entry.aliases)


def misfit(model: KnownModel, ask: Ask, default_output_tokens: int) -> str:
    """Why the model cannot take the request; empty when it can."""
    entry = model.entry
    if ask.input_tokens + (ask.max_output_tokens or default_output_tokens) > entry.context_tokens:
        return f"context of {entry.context_tokens} tokens is too small"
    if ask.max_output_tokens and 0 < entry.max_output_tokens < ask.max_output_tokens:
        return f"writes at most {entry.max_output_tokens} tokens"
    if ask.needs_tools and "tools" not in entry.capabilities:
        return "cannot call tools"
    if ask.needs_images and "images" not in entry.capabilities:
        return "cannot see images"
    if ask.needs_json and "json" not in entry.capabilities:
        return "cannot be held to JSON"
    return ""


def nearest_models(view: CatalogView, name: str) -> list[str]:
    """Up to three known ids that look like `name`, those that are available first."""
    close = difflib.get_close_matches(name, list(view.by_id), n=6, cutoff=0.5)
    for alias in difflib.get_close_matches(name, list(view.by_alias), n=3, cutoff=0.8):
        if view.by_alias[alias].id not in close:
            close.insert(0, view.by_alias[alias].id)
    by_tail = difflib.get_close_matches(name.rsplit("/", 1)[-1], list(view.by_upstream), n=6, cutoff=0.5)
    for tail in by_tail:
        close += [model.id for model in view.by_upstream[tail] if model.id not in close]
    return sorted(close, key=lambda one: not view.by_id[one].available)[:3]


def find_named(view: CatalogView, name: str) -> tuple[KnownModel, str]:
    """The model that `name` means, and a note when it was not a full id. Raises MODEL_NOT_FOUND."""
    exact = view.by_id.get(name)
    if exact is not None:
        return exact, ""
    meant = view.by_alias.get(name)
    if meant is not None:
        return meant, f'"{name}" is an alias of it'
    found = list(view.by_upstream.get(name, ()))
    found = [model for model in found if model.available] or found
    native = [model for model in found if model.provider not in AGGREGATORS]
    found = native or found
    if not found:
        # A name can be as long as a request body; comparing it with every id costs its length.
        raise errors.model_not_found(name, nearest_models(view, name[:128]))
    if len(found) > 1:
        raise errors.ambiguous_model(name, sorted(model.id for model in found))
    return found[0], f'"{name}" was taken as {found[0].id}'
