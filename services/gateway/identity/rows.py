"""Identity's rows as they are read and written."""

import dataclasses
import datetime as dt

from mesh.admin_record import Change
from services.gateway.identity.places import NOWHERE, Place


@dataclasses.dataclass(frozen=True, slots=True)
class KeyRow:
    """A key as it is checked."""

    org_id: str
    key_id: str
    hash: bytes
    scopes: tuple[str, ...]
    models: tuple[str, ...]
    expires_at: dt.datetime | None
    revoked_at: dt.datetime | None
    place: Place = NOWHERE
    without_persona: bool = False
    """Its answers go without the persona of their policy."""


@dataclasses.dataclass(frozen=True, slots=True)
class KeyInfo:
    """A key as it is shown."""

    org_id: str
    key_id: str
    name: str
    prefix: str
    scopes: tuple[str, ...]
    models: tuple[str, ...]
    created_at: dt.datetime
    expires_at: dt.datetime | None
    revoked_at: dt.datetime | None
    team_id: str = ""
    """Its own, or its project's."""
    project_id: str = ""
    user_id: str = ""
    without_persona: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class KeyPlace:
    """What of a key may be changed, as it stands in its row."""

    name: str
    team_id: str
    project_id: str
    user_id: str
    without_persona: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class FoundPlace:
    """A team or a project that somebody wants to act for."""

    team_ids: tuple[str, ...]
    """The team and all that it lies in, outermost first; for a project with a team, that team."""
    project_exists: bool
    project_team_id: str


@dataclasses.dataclass(frozen=True, slots=True)
class Node:
    """A team, a project or a user."""

    kind: str
    """team, project or user."""
    org_id: str
    node_id: str
    name: str
    created_at: dt.datetime
    team_id: str = ""
    """The team that it lies in; a user lies in none."""
    email: str = ""
    """A user's."""


@dataclasses.dataclass(frozen=True, slots=True)
class OrganisationRow:
    """An organisation."""

    org_id: str
    name: str
    created_at: dt.datetime
    has_changes: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class NewKey:
    """A key to be added."""

    key: KeyInfo
    lookup_id: str
    hash: bytes
    change: Change
