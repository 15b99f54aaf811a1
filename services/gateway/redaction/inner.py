"""Texts that are JSON themselves, such as the arguments of a tool's call: looked through string by string."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import msgspec

from services.gateway.redaction.bodies import Path, Steps, Texts, is_json, spliced
from services.gateway.redaction.kinds import Match
from services.gateway.redaction.placeholders import Redactor


@dataclasses.dataclass(frozen=True, slots=True)
class _Place:
    """Where a leaf stands."""

    outer: Path
    inner: Path | None
    """Within the JSON that the outer text is; None = it is the outer text."""


class Leaves:
    """Every text of a document that is looked through, with its place."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self.leaves: list[str] = []
        self._places: list[_Place] = []
        self._outer: dict[Path, str] = {}

    def add(self, place: _Place, text: str) -> None:
        """One more."""
        self.leaves.append(text)
        self._places.append(place)

    def add_json(self, path: Path, text: str) -> bool:
        """The strings of a text that is JSON; False when it is none. Raises TOO_LARGE or INVALID_REQUEST."""
        try:
            document = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            return False
        if not isinstance(document, dict | list):
            return False
        within = Texts(everything=True, steps=self._steps)
        within.walk(document)
        self._outer[path] = text
        for inner, one in zip(within.paths, within.texts, strict=True):
            self.add(_Place(path, inner), one)
        return True

    def changes(self, joined: bytes, found: Sequence[Match], redactor: Redactor) -> dict[Path, str]:
        """What becomes of the texts in which something was found; `joined`: the leaves, a NUL between each two."""
        changes: dict[Path, str] = {}
        inner: dict[Path, dict[Path, str]] = {}
        begins = at = 0
        for place in self._places:
            ends = joined.find(b"\x00", begins)
            ends = len(joined) if ends < 0 else ends
            own = []
            while at < len(found) and found[at].start < ends:
                own.append(Match(found[at].kind, found[at].start - begins, found[at].end - begins))
                at += 1
            if own:
                made = redactor.replaced(joined[begins:ends], own).decode("utf-8", "replace")
                if place.inner is None:
                    changes[place.outer] = made
                else:
                    inner.setdefault(place.outer, {})[place.inner] = made
            begins = ends + 1
        for path, within in inner.items():
            changes[path] = spliced(self._outer[path].encode(), within).decode()
        return changes


def inner_texts(texts: Texts) -> Leaves:
    """The leaves of a document's texts."""
    leaves = Leaves(texts.steps)
    for path, text in zip(texts.paths, texts.texts, strict=True):
        if not (is_json(path) and leaves.add_json(path, text)):
            leaves.add(_Place(path, None), text)
    return leaves
