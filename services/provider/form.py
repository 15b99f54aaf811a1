"""Writing a form as multipart/form-data (RFC 7578): always in one shape, whatever the caller's looked like."""

import dataclasses
import re
import secrets
from collections.abc import Iterable

_TYPE = re.compile(r"[\w.+-]{1,64}/[\w.+-]{1,64}(?:; ?[\w-]{1,32}=[\w.-]{1,64}){0,4}", re.A)
# A backslash too: to some readers it hides the quotation mark that follows it.
_ESCAPED = {'"': "%22", "\\": "%5C", "\r": "%0D", "\n": "%0A"}


@dataclasses.dataclass(frozen=True, slots=True)
class FormPart:
    """One part of a form."""

    name: str
    data: bytes
    filename: str = ""
    """Empty = a plain field."""
    content_type: str = ""


def written(parts: Iterable[FormPart]) -> tuple[str, bytes]:
    """(content type, body).

    The boundary is drawn anew, so that no part can hold it; names and file names are escaped as browsers do, and a
    content type that is none is left out. Nothing of a part can become another part or a header.
    """
    boundary = f"dac-{secrets.token_hex(16)}"
    pieces: list[bytes] = []
    for part in parts:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{_escaped(part.name)}"'
        if part.filename:
            head += f'; filename="{_escaped(part.filename)}"'
        if _TYPE.fullmatch(part.content_type):
            head += f"\r\nContent-Type: {part.content_type}"
        pieces += [head.encode("utf-8", "replace"), b"\r\n\r\n", part.data, b"\r\n"]
    pieces.append(f"--{boundary}--\r\n".encode())
    return f"multipart/form-data; boundary={boundary}", b"".join(pieces)


def _escaped(value: str) -> str:
    return "".join(_ESCAPED.get(one, one) for one in value if one in _ESCAPED or one.isprintable())
