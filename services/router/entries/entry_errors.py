"""The named failures of models that are made through the API."""

from __future__ import annotations

from collections.abc import Sequence

from mesh.errors import MeshError, Reason


def model_not_found(model: str) -> MeshError:
    """The API made no such model."""
    return MeshError(
        Reason.NOT_FOUND,
        f'The API made no model "{model[:200]}"; GET /v2/models:kept lists those that it did.',
        metadata={"model": model[:200]},
    )


def model_exists(model: str) -> MeshError:
    """The id is taken."""
    return MeshError(
        Reason.ALREADY_EXISTS,
        f'There is a model "{model}" of the API already: change it with PUT /v2/models/{model}.',
        metadata={"model": model},
    )


def model_of_file(model: str) -> MeshError:
    """The model is not the API's to change."""
    return MeshError(
        Reason.MANAGED_BY_FILE,
        f'The model "{model}" stands in a file, under models: change it there.',
        metadata={"model": model},
    )


def etag_conflict(model: str, given: str, now: str) -> MeshError:
    """Somebody else changed the model."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        f'The model "{model}" has the etag "{now}" by now, not "{given[:40]}": read it again and change that.',
        metadata={"model": model, "etag": now},
    )


def version_not_found(model: str, wanted: int, latest: int) -> MeshError:
    """The model never had such a version, or it was a deletion."""
    return MeshError(
        Reason.NOT_FOUND,
        f'The model "{model}" has no version {wanted} to go back to; its latest is {latest}, and '
        f"GET /v2/models/{model}:versions lists what each said.",
        metadata={"model": model},
    )


def model_in_use(model: str, users: Sequence[str]) -> MeshError:
    """Other models fall back to it."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        f'The model "{model}" stands under fallbacks of {", ".join(users[:5])}: take it out there first.',
        metadata={"model": model},
    )


def request_id_used(request_id: str) -> MeshError:
    """The request id made something else before."""
    return MeshError(Reason.ALREADY_EXISTS, f"request_id {request_id} made another model before: take a new one.")


def too_many(most: int) -> MeshError:
    """The API has made all that it may."""
    return MeshError(
        Reason.FAILED_PRECONDITION, f"There are {most} models of the API already: remove one before you add another."
    )


def no_database() -> MeshError:
    """The router was built without a database."""
    return MeshError(Reason.FAILED_PRECONDITION, "This DAC runs without a database: write models into a file.")
