"""What a caller says of a request in headers of its own: tags for the record, and whom the request is for."""

import dataclasses
import re
from collections.abc import Iterable

from mesh.errors import MeshError, invalid
from services.gateway.identity.places import named_id

TAGS_HEADER, TEAM_HEADER, PROJECT_HEADER = b"x-dac-tags", b"x-dac-team", b"x-dac-project"
BODY_FIELDS = {"team_id": TEAM_HEADER, "project_id": PROJECT_HEADER}
"""The fields of a chat's body that say the same as a header."""
MOST_TAGS = 8
_OWN = frozenset({TAGS_HEADER, TEAM_HEADER, PROJECT_HEADER})
_KEY = re.compile(r"[a-z0-9_.-]{1,40}")
_VALUE_LENGTH = 80
_FORM = (
    f"The header x-dac-tags takes at most {MOST_TAGS} tags as key=value with commas between them, e.g. "
    "feature=search,env=prod. Keys are up to 40 of a-z, 0-9, _, . and -; values up to 80 printable characters without "
    "a comma."
)


@dataclasses.dataclass(slots=True)
class Labels:
    """What the headers say."""

    tags: dict[str, str] = dataclasses.field(default_factory=dict)
    team_id: str = ""
    project_id: str = ""

    def place(self, team_id: str, project_id: str) -> tuple[str, str]:
        """The team and the project that the headers or the body name. Raises INVALID_REQUEST when they differ."""
        return _same("team_id", self.team_id, team_id), _same("project_id", self.project_id, project_id)


def read_labels(headers: Iterable[tuple[bytes, bytes]]) -> Labels | None:
    """What a request's headers say; None when they say nothing of this. Raises INVALID_REQUEST."""
    own = [header for header in headers if header[0] in _OWN]
    if not own:
        return None
    labels, tags = Labels(), list[bytes]()
    for name, value in own:
        if name == TAGS_HEADER:
            tags.append(value)
        elif name == TEAM_HEADER:
            labels.team_id = _same("team_id", labels.team_id, named_id("team_id", _text(value)))
        else:
            labels.project_id = _same("project_id", labels.project_id, named_id("project_id", _text(value)))
    # Several headers of one name are one list.
    given = b",".join(tags).strip()
    if given:
        try:
            labels.tags = read_tags(given.decode())
        except UnicodeDecodeError:
            raise _bad_tags("This is not UTF-8.") from None
    return labels


def read_tags(text: str) -> dict[str, str]:
    """key=value,key2=value2. Raises INVALID_REQUEST."""
    tags: dict[str, str] = {}
    pieces = text.split(",")
    if len(pieces) > MOST_TAGS:
        raise _bad_tags(f"These are {len(pieces)}.")
    for piece in pieces:
        key, equals, value = (part.strip() for part in piece.partition("="))
        if not equals or not _KEY.fullmatch(key) or not 1 <= len(value) <= _VALUE_LENGTH or not value.isprintable():
            raise _bad_tags(f'"{piece.strip()[:80]}" is none.')
        if key in tags:
            raise _bad_tags(f'"{key}" is there twice.')
        tags[key] = value
    return tags


def only_a_header(field: str) -> MeshError:
    """A body of another form names a team or a project."""
    return invalid(
        field, f'"{field}" stands in the body of a chat completion only: send {BODY_FIELDS[field].decode()}.'
    )


def _bad_tags(why: str) -> MeshError:
    return invalid("x-dac-tags", f"{_FORM} {why}")


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace").strip()


def _same(field: str, one: str, other: str) -> str:
    if one and other and one != other:
        header = BODY_FIELDS[field].decode()
        raise invalid(field, f'"{field}" (or {header}) names both "{one}" and "{other}": name one.')
    return one or other
