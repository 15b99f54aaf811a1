"""Pages of a list in the order of ids, as AIP-158 has them: a size, and a token that names the last id."""

from __future__ import annotations

import base64
from typing import Protocol

from mesh.ids import is_uuid
from services.budget import errors

MAX_PAGE = 200
DEFAULT_PAGE = 50


class PageRequest(Protocol):
    """A request for a page."""

    page_size: int
    page_token: str


def page_asked(request: PageRequest) -> tuple[int, str]:
    """How many are wished, and behind which id; "" = from the first. Raises INVALID_REQUEST."""
    if request.page_size < 0:
        raise errors.invalid("page_size", f"{request.page_size} is negative; 0 = {DEFAULT_PAGE}")
    size = min(request.page_size, MAX_PAGE) or DEFAULT_PAGE
    if not request.page_token:
        return size, ""
    try:
        after_id = base64.urlsafe_b64decode(request.page_token).decode()
    except ValueError:
        after_id = ""
    if not is_uuid(after_id):
        raise errors.invalid("page_token", "it is not one that this method returned; start without it")
    return size, after_id


def token_behind(last_id: str) -> str:
    """What asks for the page behind an id."""
    return base64.urlsafe_b64encode(last_id.encode()).decode()
