"""The texts of a request: where they stand in a body of any of the wire formats, and putting others in their place.

A body is never rebuilt: only the objects and lists around a text that changes are joined anew, from the very bytes of
their other members. Pictures, sound, files, ids and what a provider has signed are no texts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from mesh.errors import MeshError, Reason, invalid

Path = tuple[str | int, ...]
SPOKEN = ("system", "instructions", "messages", "input", "prompt", "prediction")
"""The members of a body that hold what is said, whatever the wire format; in this order they are numbered."""
BESIDE = ("tools", "user", "safety_identifier", "metadata")
"""Further members that hold texts."""
_NO_TEXT = frozenset(
    {
        "type",
        "role",
        "id",
        "name",
        "tool_call_id",
        "tool_use_id",
        "call_id",
        "item_id",
        "file_id",
        "image_url",
        "input_audio",
        "audio",
        "file_data",
        "file_url",
        "url",
        "media_type",
        "format",
        "encrypted_content",
        "encrypted_index",
        "signature",
        "thinking",
        "reasoning_details",
        "cache_control",
        "status",
        "detail",
    }
)
"""Members that are no texts, or that only hold when they come back as they were sent."""
_UNTOUCHED = frozenset({"thinking", "redacted_thinking", "base64", "image_url", "input_image", "input_audio", "image"})
"""Kinds of parts that are no texts at all."""
_IN_JSON = frozenset({"arguments", "partial_json"})
"""Members whose text is JSON itself."""
LONG_NUMBER = 10**8
"""A number of so many digits may be one of a card or a person; in its place there is a string."""


DEEPEST = 64
"""How many levels below its top a document's texts are looked for; no form of a chat comes near."""
MOST_VALUES = 32_768
"""How many values of a document are looked at, lists of numbers counting once."""
MOST_BRACKETS = 100_000
"""How many lists and objects a body may hold to be read at all; megabytes of code have fewer brackets."""
MOST_QUOTES = 250_000
"""How many quotation marks of its own; names and texts of as many values as are looked at have fewer."""


class Steps:
    """How many values of a document, and of all JSON within it, are looked at."""

    __slots__ = ("left",)

    def __init__(self, most: int = MOST_VALUES) -> None:
        self.left = most

    def take(self, path: Path) -> None:
        """One more. Raises TOO_LARGE, or INVALID_REQUEST for a value that stands too deep."""
        self.left -= 1
        if self.left < 0:
            raise _too_many_values()
        if len(path) > DEEPEST:
            raise invalid("body", f"It is nested deeper than the {DEEPEST} levels that are looked through.")


def _too_many_values() -> MeshError:
    return MeshError(
        Reason.TOO_LARGE,
        "The request holds too many single values to look through each for private ones: send it in parts.",
        metadata={"field": "redaction"},
    )


class Texts:
    """The texts of one document, each with its place."""

    def __init__(self, *, everything: bool = False, steps: Steps | None = None) -> None:
        """`everything`: whatever the members are called, as in what a tool is called with."""
        self._no_text = frozenset[str]() if everything else _NO_TEXT
        self._everything = everything
        self.paths: list[Path] = []
        self.texts: list[str] = []
        self.steps = steps or Steps()

    def add(self, path: Path, text: str) -> None:
        """One more."""
        if text:
            self.paths.append(path)
            self.texts.append(text)

    def walk(self, value: Any, path: Path = (), name: str = "") -> None:
        """All texts of a value, in their order. Raises TOO_LARGE or INVALID_REQUEST, see Steps."""
        self.steps.take(path)
        if isinstance(value, str):
            if name != "data" or self._everything:
                self.add(path, value)
        elif isinstance(value, int):
            if value >= LONG_NUMBER:
                self.add(path, str(value))
        elif isinstance(value, list):
            if not _short_numbers(value):
                for index, one in enumerate(value):
                    self.walk(one, (*path, index), name)
        elif isinstance(value, dict):
            kind = value.get("type")
            if isinstance(kind, str) and kind in _UNTOUCHED and not self._everything:
                return
            if kind == "tool_use" and not self._everything:
                self._call(value, path)
                return
            for key, one in value.items():
                if key == "data" and kind == "text" and isinstance(one, str):
                    self.add((*path, key), one)
                elif key not in self._no_text:
                    self.walk(one, (*path, key), key)

    def _call(self, part: dict[str, Any], path: Path) -> None:
        """What a tool is called with: its members are the tool's own."""
        within = Texts(everything=True, steps=self.steps)
        within.walk(part.get("input"), (*path, "input"))
        self.paths += within.paths
        self.texts += within.texts


def _short_numbers(values: list[Any]) -> bool:
    """Whether a list holds nothing but numbers, none of which may be one of a card or a person."""
    try:
        return bool(values) and isinstance(values[0], int | float) and max(values) < LONG_NUMBER
    except TypeError:
        return False


def texts_of(body: bytes) -> Texts:
    """Everything of a request that may hold private values, what is said first. Raises INVALID_REQUEST or TOO_LARGE."""
    quotes = body.count(b'"')
    if quotes > MOST_QUOTES:
        # Those that stand in texts are escaped.
        quotes -= body.count(b'\\"')
    if quotes > MOST_QUOTES or body.count(b"[") + body.count(b"{") > MOST_BRACKETS:
        raise _too_many_values()
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid("body", f"The body cannot be looked through for private values: {error}.") from None
    texts = Texts()
    if isinstance(document, dict):
        for name in SPOKEN:
            if name in document:
                texts.walk(document[name], (name,))
        for name in BESIDE:
            if name == "tools":
                _descriptions(document.get("tools"), ("tools",), texts)
            elif name in document:
                texts.walk(document[name], (name,))
    return texts


def _descriptions(value: Any, path: Path, texts: Texts) -> None:
    """What tools say of themselves to the model; their names and schemas are not changed."""
    texts.steps.take(path)
    if isinstance(value, list):
        for index, one in enumerate(value):
            _descriptions(one, (*path, index), texts)
    elif isinstance(value, dict):
        for key, one in value.items():
            if key == "description" and isinstance(one, str):
                texts.add((*path, key), one)
            else:
                _descriptions(one, (*path, key), texts)


def is_json(path: Path) -> bool:
    """Whether the text there is JSON itself, as the arguments of a tool's call are."""
    return bool(path) and path[-1] in _IN_JSON


def spliced(document: bytes | msgspec.Raw, changes: dict[Path, str]) -> bytes:
    """The document with other texts at some places."""
    return _spliced(bytes(document), list(changes.items()), 0)


def _spliced(raw: bytes, changes: list[tuple[Path, str]], depth: int) -> bytes:
    if len(changes[0][0]) == depth:
        return msgspec.json.encode(changes[0][1])
    below: dict[str | int, list[tuple[Path, str]]] = {}
    for change in changes:
        below.setdefault(change[0][depth], []).append(change)
    if isinstance(changes[0][0][depth], int):
        items = _list.decode(raw)
        parts = [
            _spliced(bytes(one), below[at], depth + 1) if at in below else bytes(one) for at, one in enumerate(items)
        ]
        return b"[" + b",".join(parts) + b"]"
    members = _object.decode(raw)
    return (
        b"{"
        + b",".join(
            msgspec.json.encode(key)
            + b":"
            + (_spliced(bytes(one), below[key], depth + 1) if key in below else bytes(one))
            for key, one in members.items()
        )
        + b"}"
    )


_list = msgspec.json.Decoder(list[msgspec.Raw])
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


def changes_of(texts: Texts, change: Callable[[str, bool], str]) -> dict[Path, str]:
    """Which texts `change` makes otherwise; its second argument says whether the text is JSON."""
    changes: dict[Path, str] = {}
    for path, text in zip(texts.paths, texts.texts, strict=True):
        made = change(text, is_json(path))
        if made != text:
            changes[path] = made
    return changes


def rewritten(document: bytes, texts: Texts, change: Callable[[str, bool], str]) -> bytes:
    """The document with every text as `change` makes it; its second argument says whether the text is JSON."""
    changes = changes_of(texts, change)
    return spliced(document, changes) if changes else document
