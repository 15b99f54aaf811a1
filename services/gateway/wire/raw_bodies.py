"""JSON bodies of any form: the top level read once as raw slices, and joined again.

Bodies are never rebuilt: what has to change is put between the slices, so unknown fields survive byte for byte.
"""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from mesh.errors import MeshError, invalid

MOST_PARTS = 100_000
"""How many lists and objects a body may hold: reading one takes a microsecond or more, and holds up everybody's."""
MOST_FIELDS = 1_000
"""How many fields a body may have at its top level."""
_NO_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"'))
_PATH = re.compile(r"`\$([^`]*)`")
T = TypeVar("T")
_top = msgspec.json.Decoder(dict[str, msgspec.Raw])
_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


def check_depth(body: bytes, limit: int) -> None:
    """Raises INVALID_REQUEST for JSON nested deeper than `limit`, or of more than `MOST_PARTS`; strings are skipped."""
    if body.count(b"[") + body.count(b"{") <= limit:
        return
    brackets = _brackets(body)
    if brackets.count(b"[") + brackets.count(b"{") > MOST_PARTS:
        raise invalid("body", f"The body holds more than {MOST_PARTS} lists and objects; that is the most allowed.")
    if len(brackets) > 2 * MOST_PARTS:
        return  # More ends than beginnings are no JSON: whoever decodes it says so.
    depth = 0
    for one in brackets:
        if one in b"[{":
            depth += 1
            if depth > limit:
                raise invalid("body", f"The body is nested more than {limit} levels deep; that is the most allowed.")
        else:
            depth -= 1


def _brackets(body: bytes) -> bytes:
    """The brackets outside strings, by steps that are C's: looking at each token takes seconds for a large body."""
    marks = body.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _NO_STRUCTURE)
    # Two quotation marks side by side change nothing about what is inside a string and what is not.
    return b"".join(marks.replace(b'""', b"").split(b'"')[::2])


def _bad_json(body: bytes, error: Exception, example: str) -> MeshError:
    if not body.strip():
        return invalid("body", f"The body is empty. Send JSON such as {example}.")
    try:
        body.decode()
    except UnicodeDecodeError as wrong:
        return invalid("body", f"The body is not UTF-8 (byte {wrong.start}). Send JSON encoded as UTF-8.")
    return invalid("body", f"The body is not a JSON object: {error}.")


def read_field(fields: Mapping[str, msgspec.Raw], name: str, kind: Any, default: T) -> T:
    """One top-level field, or `default` when it is missing or null. Raises INVALID_REQUEST."""
    raw = fields.get(name)
    if raw is None or bytes(raw) == b"null":
        return default
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind)
    try:
        return decoder.decode(raw)  # type: ignore[no-any-return]
    except msgspec.ValidationError as error:
        text = str(error)
        path = _PATH.search(text)
        where = name + (path.group(1) if path else "")
        raise invalid(where, f'"{where}": {_PATH.sub("", text).removesuffix(" - at ").lower()}.') from None
    except UnicodeDecodeError:
        raise invalid("body", f'"{name}" is not UTF-8. Send JSON encoded as UTF-8.') from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise invalid(name, f'"{name}" is not valid JSON: {error}.') from None


def top_level(body: bytes, max_depth: int, example: str) -> dict[str, msgspec.Raw]:
    """The top level of a body as raw slices. Raises INVALID_REQUEST for what is no JSON object."""
    check_depth(body, max_depth)
    try:
        fields = _top.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _bad_json(body, error, example) from None
    if len(fields) > MOST_FIELDS:
        raise invalid("body", f"The body has {len(fields)} fields; at most {MOST_FIELDS} are read.")
    return fields


def model_of(fields: Mapping[str, msgspec.Raw], missing: str) -> str:
    """The model's name. Raises INVALID_REQUEST; `missing` is what to say when there is none."""
    model = read_field(fields, "model", str, "")
    if not model:
        raise invalid("model", missing)
    if len(model) > 200 or not model.isprintable():
        raise invalid("model", "A model's name has at most 200 printable characters.")
    return model


def join_fields(fields: Mapping[str, msgspec.Raw | bytes]) -> bytes:
    """A JSON object of raw members, in their order."""
    return b"{" + b",".join(msgspec.json.encode(key) + b":" + bytes(raw) for key, raw in fields.items()) + b"}"
