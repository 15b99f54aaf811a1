"""The named failures of the router."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from mesh.errors import MeshError, Reason


class Special(NamedTuple):
    """How something that models do beside chatting is spoken of."""

    do: str
    does: str
    noun: str
    path: str
    why_named: str


SPECIAL: Mapping[str, Special] = {
    "embeddings": Special(
        "make embeddings",
        "makes embeddings",
        "embeddings have",
        "/v1/embeddings",
        "Embeddings of different models cannot be compared",
    ),
    "transcription": Special(
        "transcribe",
        "transcribes",
        "transcriptions have",
        "/v1/audio/transcriptions",
        "Models that transcribe take different options",
    ),
    "speech": Special(
        "speak", "speaks", "speech has", "/v1/audio/speech", "The voices of different models are not the same"
    ),
}
"""By the capability."""


def unknown_profile(profile: str, profiles: Iterable[str]) -> MeshError:
    """The profile is none of ours."""
    return MeshError(
        Reason.INVALID_REQUEST,
        f'There is no profile "{profile[:64]}"; the profiles are {", ".join(profiles)}.',
        metadata={"field": "profile"},
    )


def model_not_found(model: str, nearest: Sequence[str]) -> MeshError:
    """No model of that name is known."""
    hint = f" Did you mean {' or '.join(nearest)}?" if nearest else ""
    return MeshError(
        Reason.MODEL_NOT_FOUND,
        f'There is no model "{model[:128]}".{hint} GET /v1/models lists the models; "auto" chooses one.',
        metadata={"model": model[:128], "nearest": ",".join(nearest)},
    )


def ambiguous_model(model: str, ids: Sequence[str]) -> MeshError:
    """Several providers serve a model of that bare name."""
    return MeshError(
        Reason.MODEL_NOT_FOUND,
        f'"{model[:128]}" names several models here: say {" or ".join(ids[:4])}.',
        metadata={"model": model[:128], "nearest": ",".join(ids[:4])},
    )


def does_not_chat(model: str, capabilities: Iterable[str]) -> MeshError:
    """A chat names a model that does something else."""
    what = next(SPECIAL[one] for one in SPECIAL if one in capabilities)
    return MeshError(
        Reason.INVALID_REQUEST,
        f"{model} {what.does} and does not chat: send it to POST {what.path}, or name a model that chats.",
        metadata={"field": "model", "model": model},
    )


def cannot(model: str, capability: str, able: Sequence[str], *, chats: bool) -> MeshError:
    """Something beside a chat is asked of a model that has no such capability."""
    what = SPECIAL[capability]
    return MeshError(
        Reason.INVALID_REQUEST,
        f"{model} {'chats and ' if chats else ''}does not {what.do}.{_instead(able)}",
        metadata={"field": "model", "model": model},
    )


def special_not_named(capability: str, able: Sequence[str]) -> MeshError:
    """Something beside a chat is asked of no model in particular."""
    return MeshError(
        Reason.INVALID_REQUEST,
        f"{SPECIAL[capability].why_named}, so none is chosen for you: name the model.{_instead(able)}",
        metadata={"field": "model"},
    )


def no_audio(model: str, places: Sequence[str], operation: str) -> MeshError:
    """Nobody who serves the model has that path of OpenAI's."""
    has = "which has" if len(places) == 1 else "which have"
    return MeshError(
        Reason.INVALID_REQUEST,
        f"{model} cannot be asked for a {operation}: it stands at {', '.join(places)}, {has} none of OpenAI's form. "
        f"Name a model of a provider that has it.",
        metadata={"field": "model", "model": model},
    )


def unknown_need(capability: str) -> MeshError:
    """Something that is no capability beside chatting."""
    return MeshError(
        Reason.INVALID_REQUEST,
        f'needs_audio is "{capability[:32]}": say transcription, translation or speech.',
        metadata={"field": "needs_audio"},
    )


def _instead(embedding: Sequence[str]) -> str:
    if not embedding:
        return ' None is available: set the key of a provider that has one, or write one under "models:".'
    return f" Available: {', '.join(embedding[:4])}."


def model_unavailable(model: str, provider: str, because: str, *, configured: bool) -> MeshError:
    """The model is known and its provider cannot be used."""
    mend = (
        f"Name another model, or check what {provider} offers your account."
        if configured
        else f"Add its key with `dac provider add {provider}`."
    )
    return MeshError(
        Reason.NO_MODEL_AVAILABLE,
        f"{model} cannot be used: {because}. {mend}",
        metadata={"model": model, "provider": provider},
    )


def not_allowed(model: str, allowed: Sequence[str]) -> MeshError:
    """The caller's key may not use this model."""
    return MeshError(
        Reason.PERMISSION_DENIED,
        f"This key may not use {model}; it may use {', '.join(allowed[:8])}.",
        metadata={"model": model},
    )


def nothing_configured() -> MeshError:
    """No provider serves any model."""
    return MeshError(
        Reason.NO_MODEL_AVAILABLE,
        "No model is available: no provider is configured. Add one with `dac provider add <provider>`, "
        "e.g. `dac provider add openai`.",
    )


def nothing_chats() -> MeshError:
    """Models are available and none of them chats."""
    return MeshError(
        Reason.NO_MODEL_AVAILABLE,
        "No available model chats: those that are available only make embeddings, transcribe or speak. Add a "
        "provider of chat models with `dac provider add <provider>`.",
    )


def only_retired(models: Sequence[str]) -> MeshError:
    """Models are available and the day of all of them has come."""
    return MeshError(
        Reason.NO_MODEL_AVAILABLE,
        f"Providers have retired every available model ({', '.join(models[:4])}), and auto chooses none of these: name "
        "one, or describe a newer one under models:.",
    )


def only_unproven(models: Sequence[str]) -> MeshError:
    """Models are available and all of them are known only from their providers' lists."""
    return MeshError(
        Reason.NO_MODEL_AVAILABLE,
        f"Every available model is known only from its provider's list, and auto chooses none of these: name one, "
        f"e.g. {models[0]}; or let `dac models discover --probe` ask them; or describe one under models:; or set "
        "router.auto_unprobed.",
    )


def nothing_allowed(allowed: Sequence[str]) -> MeshError:
    """Models are available and the caller's key may use none of them."""
    return MeshError(
        Reason.PERMISSION_DENIED,
        f"This key may use {', '.join(allowed[:8])}, and no available model is among them. "
        "Name the models in the key's allow list as in GET /v1/models, or configure their provider.",
    )


def not_permitted(model: str, why: str) -> MeshError:
    """The policy in force keeps the named model out."""
    return MeshError(
        Reason.PERMISSION_DENIED,
        f"{model} cannot be used here: {why}. Name another model, or ask your administrator to change the policy.",
        metadata={"model": model},
    )


def nothing_permitted(exclusions: Sequence[str]) -> MeshError:
    """Models are available and the policy in force keeps all of them out."""
    return MeshError(
        Reason.PERMISSION_DENIED,
        f"No available model may be used here: {'; '.join(exclusions[:4])}. "
        "Ask your administrator to change the policy, or configure a provider that it allows.",
    )


def costs_too_much(model: str, cost_nano_usd: int | None, cap_nano_usd: int) -> MeshError:
    """The named model costs more than one request may."""
    cost = "has no known price" if cost_nano_usd is None else f"would cost about ${cost_nano_usd / 1e9:.6f}"
    return MeshError(
        Reason.NO_MODEL_AVAILABLE,
        f"{model} {cost}, and one request may cost ${cap_nano_usd / 1e9:.6f} at most. Name a cheaper model, or shorten "
        "the request.",
        metadata={"model": model},
    )


def held_open(model: str) -> MeshError:
    """An operator has taken the model out of service."""
    return MeshError(
        Reason.NO_MODEL_AVAILABLE,
        f"{model} is out of service: an operator holds its circuit breaker open. `dac breaker auto {model}` ends that.",
        metadata={"model": model},
    )


def not_there(model: str, provider: str, places: Sequence[str]) -> MeshError:
    """A breaker is meant of a model at a provider that does not serve it."""
    return MeshError(
        Reason.INVALID_REQUEST,
        f'{model} is not served by "{provider[:64]}": it stands at {", ".join(dict.fromkeys(places))}.',
        metadata={"field": "provider"},
    )


def nothing_fits(exclusions: Sequence[str]) -> MeshError:
    """No allowed model can take the request, for several reasons or for one that is no question of length."""
    return MeshError(
        Reason.NO_MODEL_AVAILABLE,
        f"No available model can take this request: {'; '.join(exclusions[:4])}. "
        "Add a provider with `dac provider add <provider>`, or ask for less.",
    )


def context_too_long(needed_tokens: int, largest_tokens: int) -> MeshError:
    """The prompt with its answer is longer than every window."""
    return MeshError(
        Reason.CONTEXT_TOO_LONG,
        f"The request needs about {needed_tokens} tokens (prompt and answer), and the largest window available has "
        f"{largest_tokens}. Shorten the prompt, ask for fewer output tokens, or add a model with a larger window.",
        metadata={"needed_tokens": str(needed_tokens), "largest_tokens": str(largest_tokens)},
    )


def wrong_redis_url() -> MeshError:
    """The address of Redis cannot be read; its text may hold a password and is not repeated."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        "mesh.redis_url (REDIS_URL) is no address of a Redis: write redis://host:6379/0, rediss://… or unix://…, "
        "with special characters of the password percent-encoded, or leave it out.",
    )
