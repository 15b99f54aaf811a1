"""Who looks: the organisation and, inside it, whose threads and memories the caller may see."""

from __future__ import annotations

from dataclasses import dataclass

from mesh.call import has_scope, require_principal
from services.memory import errors


@dataclass(frozen=True, slots=True)
class Viewer:
    """What the caller may see. Always a filter on columns, never on what was already read."""

    org_id: str
    user_id: str = ""
    """Empty = a key without a user: it sees what belongs to the organisation."""
    sees_all: bool = False
    """Whether it sees what belongs to any user of the organisation."""


def organisation() -> str:
    """The caller's organisation: the only partition that memory opens for a call."""
    org_id = require_principal().org_id
    if not org_id:
        raise errors.no_organisation()
    return org_id


def viewer() -> Viewer:
    """The current caller. Raises PERMISSION_DENIED for one without an organisation."""
    principal = require_principal()
    return Viewer(organisation(), principal.user_id, has_scope(principal, "admin"))
