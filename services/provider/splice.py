"""Changing top-level fields of a JSON object without touching the bytes of any other value."""

import re
from collections.abc import Mapping

import msgspec

_DECODER = msgspec.json.Decoder(dict[str, msgspec.Raw])
_MODEL = re.compile(rb'("model"\s*:\s*)"(?:[^"\\]|\\.)*"')

Fields = dict[str, msgspec.Raw]


def fields_of(body: bytes) -> Fields:
    """The top-level fields with their values as raw bytes. Raises ValueError when `body` is no JSON object."""
    return _DECODER.decode(body)


def join(fields: Mapping[str, msgspec.Raw | bytes]) -> bytes:
    """The object whose values are exactly the given bytes."""
    encode = msgspec.json.encode
    return b"{" + b",".join([encode(name) + b":" + bytes(raw) for name, raw in fields.items()]) + b"}"


def changed(
    fields: Mapping[str, msgspec.Raw | bytes], changes: Mapping[str, bytes | None]
) -> dict[str, msgspec.Raw | bytes]:
    """The fields with some values replaced or added; None removes. Order and other values are kept."""
    return {name: raw for name, raw in {**fields, **changes}.items() if raw is not None}


def splice(body: bytes, changes: Mapping[str, bytes | None]) -> bytes:
    """`body` with some top-level values `changed`."""
    return join(changed(fields_of(body), changes))


def replace_model(event: bytes, name: bytes) -> bytes:
    """A stream event with its first "model" value replaced by the JSON string `name`."""
    return _MODEL.sub(lambda found: found[1] + name, event, count=1)
