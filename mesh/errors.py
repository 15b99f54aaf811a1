"""How DAC fails: one exception with a stable reason. Pure Python; `mesh.status` puts it on the wire."""

import enum
from collections.abc import Mapping


class Reason(enum.IntEnum):
    """Why a call failed: the names and numbers of dac.type.v1.ErrorReason (a test holds them together)."""

    UNSPECIFIED = 0
    INVALID_REQUEST = 1
    MISSING_CREDENTIAL = 2
    INVALID_CREDENTIAL = 3
    PERMISSION_DENIED = 4
    PRINCIPAL_REQUIRED = 5
    NOT_FOUND = 6
    MODEL_NOT_FOUND = 7
    NO_MODEL_AVAILABLE = 8
    BUDGET_EXHAUSTED = 9
    RATE_LIMITED = 10
    PRICE_UNKNOWN = 11
    REQUEST_ID_CONFLICT = 12
    RESERVATION_INVALID = 13
    PROVIDER_FAILED = 14
    PROVIDER_REFUSED = 15
    PROVIDER_TIMEOUT = 16
    PROVIDER_CUT = 17
    PROVIDER_BUSY = 18
    DEADLINE_EXCEEDED = 19
    UNAVAILABLE = 20
    ALREADY_EXISTS = 21
    MANAGED_BY_FILE = 22
    TOO_LARGE = 23
    INTERNAL = 24
    CANCELLED = 25
    UNIMPLEMENTED = 26
    CONTEXT_TOO_LONG = 27
    FAILED_PRECONDITION = 28
    SPENDING_STOPPED = 29
    ANSWER_BLOCKED = 30
    PRIVATE_DATA_REFUSED = 31
    REQUEST_IN_PROGRESS = 32
    PROVIDER_RATE_LIMITED = 33

    @classmethod
    def _missing_(cls, value: object) -> "Reason | None":
        """A number of a newer DAC, while a cluster rolls: it failed, and why is not known here."""
        return cls.INTERNAL if isinstance(value, int) and value > 0 else None


CODES: Mapping[Reason, str] = {
    Reason.UNSPECIFIED: "UNKNOWN",
    Reason.INVALID_REQUEST: "INVALID_ARGUMENT",
    Reason.MISSING_CREDENTIAL: "UNAUTHENTICATED",
    Reason.INVALID_CREDENTIAL: "UNAUTHENTICATED",
    Reason.PERMISSION_DENIED: "PERMISSION_DENIED",
    Reason.PRINCIPAL_REQUIRED: "UNAUTHENTICATED",
    Reason.NOT_FOUND: "NOT_FOUND",
    Reason.MODEL_NOT_FOUND: "NOT_FOUND",
    Reason.NO_MODEL_AVAILABLE: "FAILED_PRECONDITION",
    Reason.BUDGET_EXHAUSTED: "RESOURCE_EXHAUSTED",
    Reason.RATE_LIMITED: "RESOURCE_EXHAUSTED",
    Reason.PRICE_UNKNOWN: "FAILED_PRECONDITION",
    Reason.REQUEST_ID_CONFLICT: "ALREADY_EXISTS",
    Reason.RESERVATION_INVALID: "FAILED_PRECONDITION",
    Reason.PROVIDER_FAILED: "UNAVAILABLE",
    Reason.PROVIDER_REFUSED: "INVALID_ARGUMENT",
    Reason.PROVIDER_TIMEOUT: "DEADLINE_EXCEEDED",
    Reason.PROVIDER_CUT: "UNAVAILABLE",
    Reason.PROVIDER_BUSY: "RESOURCE_EXHAUSTED",
    Reason.DEADLINE_EXCEEDED: "DEADLINE_EXCEEDED",
    Reason.UNAVAILABLE: "UNAVAILABLE",
    Reason.ALREADY_EXISTS: "ALREADY_EXISTS",
    Reason.MANAGED_BY_FILE: "FAILED_PRECONDITION",
    Reason.TOO_LARGE: "INVALID_ARGUMENT",
    Reason.INTERNAL: "INTERNAL",
    Reason.CANCELLED: "CANCELLED",
    Reason.UNIMPLEMENTED: "UNIMPLEMENTED",
    Reason.CONTEXT_TOO_LONG: "INVALID_ARGUMENT",
    Reason.FAILED_PRECONDITION: "FAILED_PRECONDITION",
    Reason.SPENDING_STOPPED: "PERMISSION_DENIED",
    Reason.ANSWER_BLOCKED: "FAILED_PRECONDITION",
    Reason.PRIVATE_DATA_REFUSED: "INVALID_ARGUMENT",
    Reason.REQUEST_IN_PROGRESS: "ABORTED",
    Reason.PROVIDER_RATE_LIMITED: "RESOURCE_EXHAUSTED",
}
"""The gRPC status name of every reason."""


class MeshError(Exception):
    """A named failure. `message` says what was wrong, with which value, and how to mend it."""

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})
        self.retry_after_s = retry_after_s

    @property
    def status_name(self) -> str:
        """The gRPC status name, e.g. "NOT_FOUND"."""
        return CODES[self.reason]

    def __repr__(self) -> str:
        return f"MeshError({self.reason.name}, {self.message!r})"


def invalid(field: str, message: str) -> MeshError:
    """INVALID_REQUEST about one field; the field's name is in the metadata."""
    return MeshError(Reason.INVALID_REQUEST, message, metadata={"field": field})
