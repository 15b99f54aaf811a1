"""UUIDv7 identifiers (RFC 9562 §5.7): sortable by time, unguessable in the rest."""

import os
import time
import uuid


def uuid7() -> str:
    """A new UUIDv7 as its canonical 36-character string."""
    stamp_ms = time.time_ns() // 1_000_000
    raw = bytearray(stamp_ms.to_bytes(6, "big") + os.urandom(10))
    raw[6] = 0x70 | (raw[6] & 0x0F)
    raw[8] = 0x80 | (raw[8] & 0x3F)
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def is_uuid(text: str) -> bool:
    """Whether `text` is a UUID in canonical form."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
