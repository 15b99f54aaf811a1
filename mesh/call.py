"""The call being served: who calls, under which request id, until when. Set by the interceptors, read anywhere."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from dac.type.v1.principal_pb2 import Principal
from mesh.errors import MeshError, Reason, invalid
from mesh.ids import is_uuid


@dataclasses.dataclass(slots=True)
class Call:
    """What travels with a call from hop to hop."""

    request_id: str = ""
    principal: Principal | None = None
    """Proven identity of the caller; None when nobody proved one."""
    signed_principal: bytes = b""
    """The serialised SignedPrincipal as it came, for forwarding to another process."""
    deadline: float | None = None
    """On time.monotonic()'s scale; None = no deadline."""
    trace_id: str = ""
    """32 hexadecimal digits, or empty."""
    span_id: str = ""
    """16 hexadecimal digits, or empty."""
    sampled: bool = False


_current: ContextVar[Call] = ContextVar("dac_call")
_service_principal: Callable[[str], tuple[Principal, bytes]] | None = None
_IMPLIED = {"operator": {"admin", "read", "chat"}, "admin": {"read"}}


def current() -> Call:
    """The call being served, or an empty one outside of any."""
    try:
        return _current.get()
    except LookupError:
        return Call()


def enter(call: Call) -> None:
    """Makes `call` the current one for the rest of this task."""
    _current.set(call)


class serving:
    """Makes a call the current one inside the block."""

    __slots__ = ("_call", "_token")

    def __init__(self, call: Call) -> None:
        self._call = call

    def __enter__(self) -> Call:
        self._token = _current.set(self._call)
        return self._call

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


def remaining_s() -> float | None:
    """Seconds until the current call's deadline; None without one."""
    deadline = current().deadline
    return None if deadline is None else deadline - time.monotonic()


def require_principal() -> Principal:
    """The current caller's principal. Raises PRINCIPAL_REQUIRED without one."""
    principal = current().principal
    if principal is None:
        raise MeshError(
            Reason.PRINCIPAL_REQUIRED,
            "This method needs a principal: call it through the gateway, or as a DAC service.",
        )
    return principal


def has_scope(principal: Principal, scope: str) -> bool:
    """Whether the principal holds `scope`, itself or through a wider one."""
    scopes = principal.scopes
    return scope in scopes or any(scope in _IMPLIED.get(held, ()) for held in scopes)


def require_scope(scope: str) -> Principal:
    """The current principal, which holds `scope`. Raises PRINCIPAL_REQUIRED or PERMISSION_DENIED."""
    principal = require_principal()
    if not has_scope(principal, scope):
        raise MeshError(
            Reason.PERMISSION_DENIED,
            f'This needs a key with scope "{scope}"; yours has {", ".join(principal.scopes) or "none"}.',
            metadata={"scope": scope},
        )
    return principal


def require_organisation(scope: str = "") -> Principal:
    """The current principal, which acts for an organisation and holds `scope`, empty = any.

    Raises PRINCIPAL_REQUIRED, PERMISSION_DENIED or INVALID_REQUEST.
    """
    principal = require_scope(scope) if scope else require_principal()
    if not is_uuid(principal.org_id):
        raise invalid("org_id", "This needs a key of an organisation; the operator's token has none.")
    return principal


def require_service(*names: str) -> str:
    """The calling service's name, one of `names`. Raises PERMISSION_DENIED for anybody else."""
    principal = require_principal()
    if principal.kind != Principal.KIND_SERVICE or (names and principal.service not in names):
        raise MeshError(Reason.PERMISSION_DENIED, "This method is only for DAC's own services.")
    return principal.service


def install_service_principals(mint: Callable[[str], tuple[Principal, bytes]]) -> None:
    """Tells how SERVICE principals are made in this process; called once by mesh.app."""
    global _service_principal
    _service_principal = mint


@contextmanager
def acting_as(service: str) -> Iterator[Call]:
    """Background work of a service: calls made inside carry its SERVICE principal."""
    if _service_principal is None:
        raise RuntimeError("install_service_principals was not called")
    principal, signed = _service_principal(service)
    with serving(Call(principal=principal, signed_principal=signed)) as call:
        yield call
