"""Page tokens (AIP-158): opaque, and bound to the filters and the organisation that they were made for."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
from typing import NamedTuple

from mesh.ids import is_uuid

DEFAULT_PAGE = 50
MAX_PAGE = 500


class Place(NamedTuple):
    """The last row of a page; the next page begins after it."""

    at: dt.datetime
    row_id: str


def page_size(asked: int) -> int:
    """The rows of a page; 0 = the default, more than the maximum = the maximum."""
    return min(asked, MAX_PAGE) if asked > 0 else DEFAULT_PAGE


def _binding(filters: tuple[object, ...]) -> bytes:
    return hashlib.sha256(repr(filters).encode()).digest()[:8]


def write_token(place: Place, filters: tuple[object, ...]) -> str:
    """The token of the page after `place`."""
    since_epoch = place.at - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    text = f"{since_epoch // dt.timedelta(microseconds=1)}|{place.row_id}"
    return base64.urlsafe_b64encode(_binding(filters) + text.encode()).decode().rstrip("=")


def read_token(token: str, filters: tuple[object, ...]) -> Place | None:
    """Where the page begins; None = the token is not one for these filters."""
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        micros, _, row_id = raw[8:].decode().partition("|")
        at = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=int(micros))
    except (ValueError, OverflowError):
        return None
    return Place(at, row_id) if raw[:8] == _binding(filters) and is_uuid(row_id) else None
