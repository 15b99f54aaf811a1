"""Grammars of programming languages, from single tree-sitter wheels; none is loaded before its first block."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import Any

MODULES = {
    "python": ("tree_sitter_python", "language"),
    "javascript": ("tree_sitter_javascript", "language"),
    "typescript": ("tree_sitter_typescript", "language_typescript"),
    "tsx": ("tree_sitter_typescript", "language_tsx"),
    "json": ("tree_sitter_json", "language"),
    "go": ("tree_sitter_go", "language"),
    "rust": ("tree_sitter_rust", "language"),
    "java": ("tree_sitter_java", "language"),
    "bash": ("tree_sitter_bash", "language"),
    "sql": ("tree_sitter_sql", "language"),
    "c": ("tree_sitter_c", "language"),
    "cpp": ("tree_sitter_cpp", "language"),
    "html": ("tree_sitter_html", "language"),
    "css": ("tree_sitter_css", "language"),
    "yaml": ("tree_sitter_yaml", "language"),
    "ruby": ("tree_sitter_ruby", "language"),
}
ALIASES = {
    "py": "python", "python3": "python", "py3": "python", "js": "javascript", "jsx": "javascript", "mjs": "javascript",
    "node": "javascript", "ts": "typescript", "golang": "go", "rs": "rust", "sh": "bash", "shell": "bash",
    "zsh": "bash", "c++": "cpp", "cc": "cpp", "cxx": "cpp", "hpp": "cpp", "h": "c", "htm": "html", "yml": "yaml",
    "rb": "ruby", "postgresql": "sql", "postgres": "sql", "mysql": "sql", "sqlite": "sql", "tsql": "sql",
}  # fmt: skip
DIALECTS = frozenset({"sql", "yaml"})
"""Grammars that also refuse some dialects: what they find is a warning."""


class Stopped(Exception):
    """A parse that was not finished."""


class Grammars:
    """The parsers of this process."""

    def __init__(self) -> None:
        self._parsers: dict[str, Any] = {}

    def load(self, languages: Iterable[str]) -> None:
        """Loads the grammars of these languages, which takes a few milliseconds each, once."""
        for language in languages:
            if language in MODULES:
                self.parser(language)

    def parser(self, language: str) -> Any | None:
        """The language's parser; None = its wheel is not installed."""
        if language not in self._parsers:
            self._parsers[language] = _load(*MODULES[language])
        return self._parsers[language]

    def first_error(self, language: str, source: bytes, is_left: Callable[[], bool]) -> tuple[int, int] | None:
        """The first place in bytes that does not fit the grammar; None = all fits. The parser must be there."""
        parser = self._parsers[language]
        parser.reset()

        def read(offset: int, _: Any) -> bytes:
            return source[offset : offset + 4096]

        # True stops the parse: garbage can keep a tolerant parser busy for long.
        try:
            tree = parser.parse(read, progress_callback=lambda *_: not is_left())
        except (ValueError, RuntimeError) as error:
            raise Stopped from error
        if tree is None:
            raise Stopped
        return _first_error(tree.root_node) if tree.root_node.has_error else None


def _load(module: str, factory: str) -> Any | None:
    try:
        tree_sitter = importlib.import_module("tree_sitter")
        made = getattr(importlib.import_module(module), factory)()
        return tree_sitter.Parser(tree_sitter.Language(made))
    except (ImportError, AttributeError, ValueError):
        return None


def _first_error(root: Any) -> tuple[int, int]:
    """Down to the innermost place: each level holds the first child with an error."""
    node = root
    for _ in range(1000):
        if node.is_error or node.is_missing:
            break
        child = next((one for one in node.children if one.has_error or one.is_missing), None)
        if child is None:
            break
        node = child
    return int(node.start_byte), int(node.end_byte)
