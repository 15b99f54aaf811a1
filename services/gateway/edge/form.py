"""Reading multipart/form-data (RFC 7578) in its strict shape: what two readers could understand differently is refused.

A part that DAC saw as one thing and the provider as another could name a model past a key's allow list; so nothing but
the parts read here goes on, written anew by the provider service.
"""

import re
from urllib.parse import unquote

from dac.provider.v1.provider_pb2 import FormPart
from mesh.errors import MeshError, invalid

MAX_PARTS = 64
MAX_HEAD_BYTES = 4096
_BOUNDARY = re.compile(
    r'multipart/form-data\s*;(?:[^;]*;)*?\s*boundary=("?)([\w\'()+,./:=?-]{1,70})\1\s*(?:;|$)', re.A | re.I
)
_HEADER = re.compile(rb"([\w-]{1,64}):[ \t]*([^\r\n\0]*)")
_DISPOSITION = re.compile(rb"form-data((?:[ \t]*;[ \t]*[\w*-]+=(?:\"(?:[^\"\\]|\\.)*\"|[^\s;\"]+))+)[ \t]*", re.I)
_NAME = re.compile(r"[\w.\[\]-]{1,100}", re.A)
_PARAMETER = re.compile(rb";[ \t]*([\w*-]+)=(?:\"((?:[^\"\\]|\\.)*)\"|([^\s;\"]+))")
_MEND = "Send multipart/form-data as OpenAI's SDK or `curl -F` does."


def read_form(body: bytes, content_type: str) -> list[FormPart]:
    """The parts in their order. Raises INVALID_REQUEST saying what is wrong."""
    found = _BOUNDARY.match(content_type)
    if not found:
        shown = content_type[:60] or "missing"
        raise invalid("content-type", f"The content type is {shown}, not multipart/form-data with a boundary. {_MEND}")
    mark = b"\r\n--" + found[2].encode()
    pieces = (b"\r\n" + body).split(mark)
    if pieces[0] or len(pieces) < 3 or pieces[-1] not in (b"--", b"--\r\n"):
        raise _broken("it does not begin and end with its boundary")
    if len(pieces) - 2 > MAX_PARTS:
        raise _broken(f"it has more than {MAX_PARTS} parts")
    return [_part(piece) for piece in pieces[1:-1]]


def _broken(what: str) -> MeshError:
    return invalid("body", f"The form cannot be read: {what}. {_MEND}")


def _part(piece: bytes) -> FormPart:
    head, blank, data = piece.partition(b"\r\n\r\n")
    if not blank or not head.startswith(b"\r\n") or len(head) > MAX_HEAD_BYTES:
        raise _broken("a part has no headers, or headers of more than 4 KiB")
    headers: dict[bytes, bytes] = {}
    for line in head[2:].split(b"\r\n"):
        told = _HEADER.fullmatch(line)
        if not told or told[1].lower() in headers:
            raise _broken("a header of a part is not of the form Name: value, or is there twice")
        headers[told[1].lower()] = told[2].strip()
    if headers.get(b"content-transfer-encoding", b"binary").lower() not in (b"binary", b"8bit", b"7bit"):
        raise _broken("a part is encoded for mail; send its bytes as they are")
    name, filename = _names(headers.get(b"content-disposition", b""))
    content_type = headers.get(b"content-type", b"").decode("latin-1")
    return FormPart(name=name, filename=filename, content_type=content_type[:200], data=data)


def _names(disposition: bytes) -> tuple[str, str]:
    found = _DISPOSITION.fullmatch(disposition)
    parameters: dict[bytes, bytes] = {}
    for name, quoted, plain in _PARAMETER.findall(found[1]) if found else ():
        if name.lower() in parameters:
            raise _broken("a part says its name twice")
        parameters[name.lower()] = re.sub(rb'\\(["\\])', rb"\1", quoted) or plain
    if not parameters.get(b"name") or parameters.keys() - {b"name", b"filename", b"filename*"}:
        raise _broken("a part has no name, or more than a name and a file name")
    try:
        name, filename = parameters[b"name"].decode(), parameters.get(b"filename", b"").decode()
        starred = parameters.get(b"filename*", b"").decode()
        if starred.lower().startswith("utf-8''"):
            filename = unquote(starred[7:], errors="strict")
    except UnicodeDecodeError:
        raise _broken("a part's name is not UTF-8") from None
    if not _NAME.fullmatch(name) or not filename.isprintable():
        raise _broken("a part's name is not of 1 to 100 letters, digits and .[]_-, or its file name cannot be printed")
    if b"filename" in parameters or starred:
        filename = filename or "file"
    return name, filename


def only(parts: list[FormPart], name: str) -> FormPart | None:
    """The part of that name. Raises INVALID_REQUEST when there are two: readers differ on which counts."""
    found = [part for part in parts if part.name == name]
    if len(found) > 1:
        raise invalid(name, f'"{name}" is there {len(found)} times: send it once.')
    return found[0] if found else None


def text_of(parts: list[FormPart], name: str) -> str:
    """A plain field as text; empty when it is missing. Raises INVALID_REQUEST."""
    part = only(parts, name)
    if part is None:
        return ""
    try:
        return part.data.decode()
    except UnicodeDecodeError:
        raise invalid(name, f'"{name}" is not UTF-8.') from None
