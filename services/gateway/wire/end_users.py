"""Which of a caller's own users a body is for: an application serves many behind one key."""

import hashlib
from collections.abc import Mapping
from typing import TypeVar

import msgspec

_NAMED = ("user", "safety_identifier")
_DIGEST_BYTES = 16
T = TypeVar("T")


class _Metadata(msgspec.Struct):
    user_id: str = ""


_text, _metadata = msgspec.json.Decoder(str), msgspec.json.Decoder(_Metadata)


def end_user(fields: Mapping[str, msgspec.Raw]) -> str:
    """A digest of OpenAI's `user` or `safety_identifier`, or of Anthropic's `metadata.user_id`, by the top level of a
    body; empty = it names nobody. What has another form is the provider's to refuse."""
    for name in _NAMED:
        if (raw := fields.get(name)) is not None and (found := _read(_text, raw)):
            return _digest(found)
    raw = fields.get("metadata")
    metadata = _read(_metadata, raw) if raw is not None else None
    return _digest(metadata.user_id) if metadata is not None and metadata.user_id else ""


def _read(decoder: msgspec.json.Decoder[T], raw: msgspec.Raw) -> T | None:
    try:
        return decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _digest(name: str) -> str:
    return hashlib.blake2b(name.encode(), digest_size=_DIGEST_BYTES).hexdigest()
