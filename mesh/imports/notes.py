"""A YAML document that remembers its lines, and notes about places in it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import yaml

from mesh.config import ConfigError

Place = tuple[str | int, ...]
"""Where something stands: keys and indices from the top."""

DO, CHANGED, NONE = "do", "changed", "no equivalent"
"""What a note says: something is left to do, DAC does it in another way, or DAC does not do it."""


MOST_NODES = 1_000_000
"""More values has no configuration."""


@dataclasses.dataclass(frozen=True)
class Note:
    """One thing to know about one place."""

    line: int
    """In the file; 0 = nowhere."""
    place: str
    kind: str
    text: str


def place_text(place: Place) -> str:
    """ "model_list[0].litellm_params.rpm"."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _lines(node: yaml.Node | None, place: Place, found: dict[Place, int]) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*place, str(key.value))
            found[inner] = key.start_mark.line + 1
            _lines(value, inner, found)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            found[(*place, index)] = value.start_mark.line + 1
            _lines(value, (*place, index), found)


def _check_size(node: yaml.Node | None) -> None:
    """Raises ConfigError for a document that grows without end, or without measure, where its aliases are written
    out."""
    sizes: dict[int, int] = {}

    def size(one: yaml.Node | None) -> int:
        if not isinstance(one, yaml.CollectionNode):
            return 1
        if (known := sizes.get(id(one))) is None:
            # Met again before its own size is known, it holds itself.
            sizes[id(one)] = MOST_NODES + 1
            parts = (part for pair in one.value for part in (pair if isinstance(pair, tuple) else (pair,)))
            known = sizes[id(one)] = 1 + sum(map(size, parts))
        return known

    if size(node) > MOST_NODES:
        raise ConfigError(f"its aliases stand for more than {MOST_NODES} values, or for themselves")


class Source:
    """A document of another gateway, and what there is to say about it."""

    def __init__(self, text: str, name: str) -> None:
        try:
            node = yaml.compose(text, yaml.SafeLoader)
            _check_size(node)
            document = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"{name}: not valid YAML: {' '.join(str(error).split())}") from None
        except RecursionError:
            raise ConfigError(f"{name}: nested too deep") from None
        except ConfigError as error:
            raise ConfigError(f"{name}: {error.message}") from None
        if not isinstance(document, dict):
            raise ConfigError(f"{name}: the top of a configuration is a mapping of sections")
        self.text = text
        self.document: Mapping[str, Any] = document
        self.notes: list[Note] = []
        self._line_of: dict[Place, int] = {}
        _lines(node, (), self._line_of)

    def note(self, place: Place, kind: str, text: str) -> None:
        """Notes something about a place."""
        while place and place not in self._line_of:
            place = place[:-1]
        told = Note(self._line_of.get(place, 0), place_text(place), kind, text)
        if told not in self.notes:
            self.notes.append(told)

    def section(self, *place: str) -> Mapping[str, Any]:
        """A mapping in the document; empty when there is none. Raises ConfigError for anything else."""
        value: Any = self.document
        for part in place:
            value = value.get(part) or {}
            if not isinstance(value, Mapping):
                raise ConfigError(f"{place_text(place)}: a mapping is needed")
        return value  # type: ignore[no-any-return]
