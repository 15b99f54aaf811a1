"""JSON bodies into protobuf messages, for a price that their bytes bound.

protobuf's own reader looks at each value of a list by itself: millions of short ones take seconds. Vectors are put in
whole; of everything else the lists of a body may hold so many.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any

import msgspec
from google.protobuf import json_format, struct_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from mesh.errors import MeshError, invalid
from services.gateway.wire.raw_bodies import check_depth

MOST_DEPTH = 64
MOST_LISTED = 100_000
"""How many values the lists of a body may hold together, besides the numbers of vectors."""
MOST_STRUCT_VALUES = 100_000
"""How many values the free-form fields of a body may hold together: each costs far more than a number in a list."""
_STRUCT = struct_pb2.Struct.DESCRIPTOR
_FLOATS = (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE)
_NUMBERS = frozenset({int, float})
_MOST_FLOAT = 3.4028234663852886e38
_UNKNOWN = re.compile(r'Message type "([^"]+)" has no field named "([^"]*)"')
Path = tuple[tuple[str, int | None], ...]
"""Where a message stands within another: fields, each with the place in its list."""


def parse_json(body: bytes, message: Message) -> None:
    """Reads JSON into a message. Raises INVALID_REQUEST naming the field."""
    if not body.strip():
        return
    check_depth(body, MOST_DEPTH)
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise invalid("body", f"The body is not JSON: {error}.") from None
    if not isinstance(document, dict):
        raise invalid("body", "The body must be a JSON object.")
    vectors = _taken_out(document, message.DESCRIPTOR)
    try:
        json_format.ParseDict(document, message, max_recursion_depth=MOST_DEPTH)
        for path, name, numbers in vectors:
            getattr(_at(message, path), name).extend(numbers)
    except json_format.ParseError as error:
        text = str(error)
        unknown = _UNKNOWN.search(text)
        if unknown:
            owner = message.DESCRIPTOR.file.pool.FindMessageTypeByName(unknown[1])
            raise unknown_field(unknown[2], [field.name for field in owner.fields]) from None
        raise invalid("body", f"The body does not fit: {text.splitlines()[0][:300]}") from None
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise invalid("body", f"The body does not fit: {str(error)[:300]}") from None


def _at(message: Any, path: Path) -> Any:
    for name, place in path:
        message = getattr(message, name)
        if place is not None:
            message = message[place]
    return message


def _taken_out(document: dict[str, Any], form: Any) -> list[tuple[Path, str, list[float]]]:
    """Takes vectors out of a document that is to be read as `form`, a descriptor: where each stood, its field, itself.

    Raises INVALID_REQUEST when other lists, or free-form fields, hold too many values.
    """
    found: list[tuple[dict[str, Any], Any, Path | None]] = [(document, form, ())]
    vectors, structs, left = list[tuple[Path, str, list[float]]](), list[Any](), MOST_LISTED
    while found:
        part, of, path = found.pop()
        for name, value in part.items():
            field = of.fields_by_name.get(name) or of.fields_by_camelcase_name.get(name)
            if field is None:
                continue
            if isinstance(value, list):
                if path is not None and _is_vector(field, value):
                    vectors.append((path, field.name, value))
                    part[name] = []
                    continue
                left -= len(value)
                if left < 0:
                    raise invalid(name[:80], f"The lists of the body hold more than {MOST_LISTED} values: send parts.")
            if field.message_type is _STRUCT:
                structs += value if isinstance(value, list) else [value]
            elif field.message_type is not None:
                found += _below(value, field, path)
    _check_structs(structs)
    return vectors


def _is_vector(field: Any, value: list[Any]) -> bool:
    """Whether a list can be put into its field as it is; one that cannot is refused by who looks at each value."""
    if not value or not field.is_repeated or field.type not in _FLOATS or not _NUMBERS.issuperset(map(type, value)):
        return False
    return bool(field.type == FieldDescriptor.TYPE_DOUBLE or max(map(abs, value)) <= _MOST_FLOAT)


def _below(value: Any, field: Any, path: Path | None) -> list[tuple[dict[str, Any], Any, Path | None]]:
    """The messages in a field's value, each with its descriptor and its place; within a map none has one."""
    places = enumerate(value) if isinstance(value, list) else [(None, value)]
    has_place = path is not None and not field.message_type.GetOptions().map_entry
    return [
        (one, field.message_type, (*(path or ()), (field.name, place)) if has_place else None)
        for place, one in places
        if isinstance(one, dict)
    ]


def _check_structs(structs: list[Any]) -> None:
    left = MOST_STRUCT_VALUES
    while structs:
        one = structs.pop()
        if isinstance(one, dict | list):
            left -= len(one)
            if left < 0:
                raise invalid("body", f"Its free-form fields hold more than {MOST_STRUCT_VALUES} values.")
            structs += one.values() if isinstance(one, dict) else one


def unknown_field(name: str, known: Sequence[str]) -> MeshError:
    """INVALID_REQUEST with the nearest right name."""
    close = difflib.get_close_matches(name[:80], known, n=1, cutoff=0.5)
    hint = f'Did you mean "{close[0]}"?' if close else f"Known: {', '.join(sorted(known)) or 'none'}."
    return invalid(name[:80], f'There is no field "{name[:80]}". {hint}')
