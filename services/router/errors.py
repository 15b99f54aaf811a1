"""The named failures of the router."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mesh.errors import MeshError, Reason


def unknown_profile(profile: str, profiles: Iterable[str]) -> MeshError:
    """The profile is none of the five."""
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


def does_not_chat(model: str) -> MeshError:
    """A chat names a model that only embeds."""
    return MeshError(
        Reason.INVALID_REQUEST,
        f"{model} makes embeddings and does not chat: send it to POST /v1/embeddings, or name a model that chats.",
        metadata={"field": "model", "model": model},
    )


def does_not_embed(model: str, embedding: Sequence[str]) -> MeshError:
    """Embeddings are asked of a model that only chats."""
    return MeshError(
        Reason.INVALID_REQUEST,
        f"{model} chats and does not make embeddings.{_instead(embedding)}",
        metadata={"field": "model", "model": model},
    )


def embedding_not_named(embedding: Sequence[str]) -> MeshError:
    """Embeddings are asked of no model in particular."""
    return MeshError(
        Reason.INVALID_REQUEST,
        "Embeddings of different models cannot be compared, so none is chosen for you: name the model."
        + _instead(embedding),
        metadata={"field": "model"},
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
    """Models are available and all of them only embed."""
    return MeshError(
        Reason.NO_MODEL_AVAILABLE,
        "No available model chats: those that are available only make embeddings. Add a provider of chat models with "
        "`dac provider add <provider>`.",
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
