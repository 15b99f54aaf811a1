"""What a request says of the checks of its answer: whether they are wanted, and what it should rest on."""

from collections.abc import Sequence

from mesh.errors import invalid

HEADER = b"x-dac-validation"
"""Of a request in a form that has no such field; of an answer: what was found."""
MOST_SOURCES = 64
MOST_SOURCE_CHARS = 200_000
"""In all."""


def read_sources(given: Sequence[str], field: str) -> tuple[str, ...]:
    """Sources as a request names them. Raises INVALID_REQUEST for more than is read."""
    if len(given) > MOST_SOURCES:
        raise invalid(field, f'"{field}" has at most {MOST_SOURCES} texts, not {len(given)}.')
    if (size := sum(map(len, given))) > MOST_SOURCE_CHARS:
        raise invalid(field, f'"{field}" has at most {MOST_SOURCE_CHARS} characters in all, not {size}.')
    return tuple(one for one in given if one.strip())


def read_wish(said: str) -> bool | None:
    """What the header says; None = nothing. Raises INVALID_REQUEST."""
    if not said:
        return None
    if said.lower() not in ("on", "off"):
        raise invalid("x-dac-validation", f'"{said[:40]}" is not understood: say on or off.')
    return said.lower() == "on"
