"""The named failures of audit."""

from __future__ import annotations

from mesh.errors import MeshError, Reason


def invalid(field: str, problem: str) -> MeshError:
    """A field breaks the contract."""
    return MeshError(Reason.INVALID_REQUEST, f"{field}: {problem}", metadata={"field": field})


def request_not_found(request_id: str) -> MeshError:
    """No such request in the caller's organisation."""
    return MeshError(
        Reason.NOT_FOUND,
        f"request {request_id} is not recorded in this organisation; the id is the x-dac-request-id header of the "
        "answer; GET /v1/requests lists the newest.",
        metadata={"request_id": request_id},
    )


def page_token_invalid() -> MeshError:
    """The token is not one of this method, or came with other filters."""
    return invalid(
        "page_token",
        "it is not one that this method returned for these filters; start without it, or repeat the filters",
    )
