"""The named failures of experiments."""

from __future__ import annotations

from mesh.errors import MeshError, Reason


def experiment_not_found(experiment_id: str) -> MeshError:
    """The organisation has no such experiment."""
    return MeshError(
        Reason.NOT_FOUND,
        f'There is no experiment "{experiment_id[:64]}" here; GET /v2/experiments lists them.',
        metadata={"experiment_id": experiment_id[:64]},
    )


def unknown_policy(name: str) -> MeshError:
    """There is nothing to try."""
    return MeshError(
        Reason.NOT_FOUND,
        f'There is no policy "{name[:64]}" to try; GET /v2/policies lists them, POST /v2/policies makes one.',
        metadata={"policy": name[:64]},
    )


def one_in_force(kind: str, experiment_id: str) -> MeshError:
    """Two experiments at once would spoil each other's figures."""
    what = "a shadow" if kind == "shadow" else "an experiment that takes requests"
    return MeshError(
        Reason.FAILED_PRECONDITION,
        f"There is {what} already, {experiment_id}: end it first (PATCH or DELETE /v2/experiments/{experiment_id}).",
        metadata={"experiment_id": experiment_id},
    )


def has_ended(experiment_id: str, state: str, wanted: str) -> MeshError:
    """What has ended does not change any more, but for a promoted one that is stopped."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        f"The experiment {experiment_id} is {state} and cannot become {wanted}: begin another one.",
        metadata={"experiment_id": experiment_id, "state": state},
    )


def shadows_decide_nothing(experiment_id: str) -> MeshError:
    """A shadow has no requests to give to the tried policy."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        f"The experiment {experiment_id} is a shadow, which decides nothing: stop it, and assign the policy "
        "(PUT /v2/policy-assignments) or begin a canary.",
        metadata={"experiment_id": experiment_id},
    )


def etag_conflict(experiment_id: str, given: str, now: str) -> MeshError:
    """Somebody else changed the experiment."""
    return MeshError(
        Reason.FAILED_PRECONDITION,
        f'The experiment {experiment_id} has the etag "{now}" by now, not "{given[:40]}": read it again.',
        metadata={"experiment_id": experiment_id, "etag": now},
    )


def request_id_used(request_id: str) -> MeshError:
    """The request id made something else before."""
    return MeshError(Reason.ALREADY_EXISTS, f"request_id {request_id} made another experiment before: take a new one.")


def too_many(most: int) -> MeshError:
    """The organisation has all it may have."""
    return MeshError(
        Reason.FAILED_PRECONDITION, f"There are {most} experiments already: delete one before you begin another."
    )
