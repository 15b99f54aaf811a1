"""What a request says of the policy's persona, in a header: the same in every form."""

from __future__ import annotations

from mesh.errors import invalid

PERSONA_HEADER = b"x-dac-persona"
_SAID = {"on": True, "off": False}


def read_persona(value: bytes) -> bool:
    """False: the answer goes without it. Raises INVALID_REQUEST."""
    said = value.decode("latin-1").strip().lower()
    if said not in _SAID:
        raise invalid("x-dac-persona", f'"{said[:40]}" says nothing of the persona: say off, or leave the header out.')
    return _SAID[said]
