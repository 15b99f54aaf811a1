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


def policies_unknown() -> MeshError:
    """The policies have not been read since the start."""
    return MeshError(
        Reason.UNAVAILABLE,
        "The router has not read its policies yet, so it cannot tell which one you are under: try again in a second.",
        retry_after_s=1.0,
    )


def names_unknown() -> MeshError:
    """The tenants file names organisations, and their ids have not been heard yet."""
    return MeshError(
        Reason.UNAVAILABLE,
        "The router does not know yet which organisations the tenants file names, so it cannot tell your policy: "
        "try again in a second.",
        retry_after_s=1.0,
    )


def policy_not_found(name: str) -> MeshError:
    """No policy of that name is there, or the caller cannot change it."""
    return MeshError(
        Reason.NOT_FOUND,
        f'There is no policy "{name[:64]}" here; GET /v2/policies lists them.',
        metadata={"policy": name[:64]},
    )


def policy_exists(name: str) -> MeshError:
    """The name is taken."""
    return MeshError(
        Reason.ALREADY_EXISTS,
        f'There is a policy "{name}" already: take another name, or change that one with PUT /v2/policies/{name}.',
        metadata={"policy": name},
    )


def policy_of_file(name: str, managed_by: str) -> MeshError:
    """The policy is not the API's to change."""
    if managed_by == "built_in":
        return MeshError(
            Reason.MANAGED_BY_FILE, f'The policy "{name}" is built in: make one of your own under another name.'
        )
    return MeshError(Reason.MANAGED_BY_FILE, f'The policy "{name}" stands in a file, under policies: change it there.')


def tenant_of_file(org_id: str) -> MeshError:
    """What holds for an organisation stands in a file."""
    return MeshError(
        Reason.MANAGED_BY_FILE,
        f"What holds for organisation {org_id} stands in a file, under tenants: change it there.",
    )


def etag_conflict(name: str, given: str, now: str) -> MeshError:
    """Somebody else changed the policy."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        f'The policy "{name}" has the etag "{now}" by now, not "{given[:40]}": read it again, then say your change anew.',
        metadata={"policy": name, "etag": now},
    )


def version_not_found(name: str, wanted: int, latest: int) -> MeshError:
    """The policy never had such a version, or it was a deletion."""
    return MeshError(
        Reason.NOT_FOUND,
        f'The policy "{name}" has no version {wanted} to go back to; its latest is {latest}, and '
        f"GET /v2/policies/{name}/versions lists what each said.",
        metadata={"policy": name},
    )


def policy_in_use(name: str, uses: int) -> MeshError:
    """Levels are under the policy."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        f'The policy "{name}" is assigned {uses} time{"" if uses == 1 else "s"}: assign another one there first '
        "(GET /v2/policy-assignments).",
        metadata={"policy": name, "uses": str(uses)},
    )


def assignment_not_found(level_id: str) -> MeshError:
    """The level is under no policy of its own."""
    return MeshError(
        Reason.NOT_FOUND, f"No policy is assigned to {level_id[:64]}; GET /v2/policy-assignments lists all."
    )


def assigned_by_operator(managed_by: str) -> MeshError:
    """The operator said what holds for the organisation as a whole."""
    return MeshError(
        Reason.PERMISSION_DENIED,
        f"What the organisation as a whole is under was said by the operator (managed by: {managed_by}): assign "
        "policies to teams, projects, users and keys, or ask the operator.",
    )


def request_id_used(request_id: str) -> MeshError:
    """The request id made something else before."""
    return MeshError(Reason.ALREADY_EXISTS, f"request_id {request_id} made another policy before: take a new one.")


def too_many(what: str, most: int) -> MeshError:
    """The organisation has all it may have."""
    return MeshError(Reason.FAILED_PRECONDITION, f"There are {most} {what} already: remove one before you add another.")


def no_policy_database() -> MeshError:
    """The router was built without a database."""
    return MeshError(Reason.FAILED_PRECONDITION, "This DAC runs without a database: write policies into a file.")


def wrong_redis_url() -> MeshError:
    """The address of Redis cannot be read; its text may hold a password and is not repeated."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        "mesh.redis_url (REDIS_URL) is no address of a Redis: write redis://host:6379/0, rediss://… or unix://…, "
        "with special characters of the password percent-encoded, or leave it out.",
    )
