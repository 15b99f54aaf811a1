"""The named failures of policies, their assignments and tenants."""

from __future__ import annotations

from mesh.errors import MeshError, Reason


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
        f'The policy "{name}" has the etag "{now}" by now, not "{given[:40]}": read it again and change that.',
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


def tenant_version_not_found(org_id: str, wanted: int, latest: int) -> MeshError:
    """Nothing was ever said of the organisation, or not so often."""
    return MeshError(
        Reason.NOT_FOUND,
        f"What is said of organisation {org_id} has no version {wanted} to go back to; its latest is {latest}, and "
        f"GET /v2/tenants/{org_id}/versions lists what each said.",
    )


def no_tenant(tenant_id: str) -> MeshError:
    """The router knows no such organisation."""
    return MeshError(Reason.NOT_FOUND, f'There is no tenant "{tenant_id[:64]}"; GET /v2/tenants lists them.')


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
