"""What a request says of redaction in a header: the same in every form of a chat."""

from __future__ import annotations

from mesh.errors import invalid

REDACTION_HEADER = b"x-dac-redaction"
_SAID = {"on": True, "off": False}


def read_redaction(value: bytes) -> bool:
    """True: private values are kept from the provider. Raises INVALID_REQUEST."""
    said = value.decode("latin-1").strip().lower()
    if said not in _SAID:
        raise invalid("x-dac-redaction", f'"{said[:40]}" says nothing of redaction: say on, or leave the header out.')
    return _SAID[said]
