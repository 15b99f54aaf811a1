"""Pieces of text that say what a prompt is: code, formulas, lists, phrases; each is looked for only where it can be.

To look for two hundred pieces in every prompt would cost more than all else. So each has a guard: its n-grams are among
the prompt's (`ngrams.hashed_seeking`), its longest word among its words, its rarest sign among its signs, or its first
character beyond ASCII among those.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from services.router.prompt.lexicon import PHRASES, SUBJECTS

GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("fence", ("```",)),
    ("calls", ("()", "();", "( ", ".get(", ".append(", "print(", "printf", "self.", "console.log")),
    ("braces", ("{\n", "}\n", "};", "){", ") {", "</", "/>", "<?", "[]", "#include", "<<", "::", "->", "=>")),
    ("keywords", ("def ", "import ", "return ", "void ", "public ", "const ", "let ", "var ", "select ", "class ")),
    ("compares", ("==", "!=", "&&", "||", "+=", "!==")),
    ("indents", ("\n    ", "\n\t", "\n  ")),
    ("errors", ("error:", "exception", "traceback", "failed", "warning:", "not found", "undefined")),
    ("latex", ("\\frac", "\\(", "\\[", "$$", "\\sum", "\\int", "\\sqrt", "\\mathbb", "\\le", "\\alpha", "\\")),
    ("formulas", (" = ", "^", "²", "√", "∫", "∑", "≤", "≥", "×", "÷", "π", "x =", "f(x", "x+", "+ ", " - ", "*")),
    ("links", ("http://", "https://", "www.")),
    ("quotes", ('"', "“", "”", "«", "「", "'")),
    ("bullets", ("\n-", "\n*", "\n1", "\n•", "\n#")),
    ("choices", ("a)", "b)", "(a)", "(b)", "a.", "b.", "c.", "\nb")),
    ("paths", (".py", ".js", ".exe", ".txt", ".csv", ".html", ".json", ".sh", "/usr", "c:\\", "./", ".com")),
    ("my_text", ("following", "below", "this text", "this sentence", "my essay", "this paragraph", "for me", "this:")),
    ("roles", ("you are", "act as", "as a ", "your task", "role", "pretend", "imagine")),
    ("a_work", ("a story", "a poem", "an essay", "a song", "a letter", "an email", "a script", "a scene", "about a")),
    ("what_is", ("what is", "what are", "who is", "how to", "how do", "difference between", "tell me about")),
    ("amounts", ("how many", "how much", "how long", "how old", "what is the probability", "in total", "each", "per ")),
    ("to_you", ("are you", "do you", "you feel", "about you", "can you", "your ", "u ", "will you", "you think")),
    ("code_wanted", ("in python", "in java", "in c", "in r", "code", "script", "function", "program", "app", "using ")),
    ("lets", ("let ", "suppose", "given", "such that", "assume", "find the", "prove", "show that", "if ")),
)  # fmt: skip
"""Groups of pieces, and what each counts for."""
SHORTEST_SOUGHT = 3
"""Characters of the shortest n-grams."""
_WORD = re.compile(r"[^\W_]+")
_COMMON_SIGNS = "\n() "
"""The last is the commonest; a sign that is not among them is rarer still."""

_ALL = [(piece, number) for number, (_, pieces) in enumerate(GROUPS) for piece in pieces]
_ALL += [(piece, len(GROUPS) + SUBJECTS.index(subject)) for piece, subject in PHRASES]
_ASCII = [(piece, number, max(_WORD.findall(piece), key=len, default="")) for piece, number in _ALL if piece.isascii()]
_WORDED = [one for one in _ASCII if len(one[0]) >= SHORTEST_SOUGHT and one[2]]
_SIGNED = [one for one in _ASCII if len(one[0]) >= SHORTEST_SOUGHT and not one[2]]
PIECES: tuple[str, ...] = tuple(piece for piece, _, _ in _WORDED + _SIGNED)
"""What is to be sought among a prompt's n-grams."""
_SHORT_WORDED = [one for one in _ASCII if len(one[0]) < SHORTEST_SOUGHT and one[2]]
_SHORT_SIGNED = [
    (ord(min(piece, key=_COMMON_SIGNS.find)), piece, number)
    for piece, number, word in _ASCII
    if len(piece) < SHORTEST_SOUGHT and not word
]
_BEYOND: dict[str, list[tuple[str, int]]] = {}
for _piece, _number in _ALL:
    if not _piece.isascii():
        _BEYOND.setdefault(next(one for one in _piece if not one.isascii()), []).append((_piece, _number))
FIRST_BEYOND = frozenset(_BEYOND)
"""The characters that pieces beyond ASCII are guarded by."""


def counted(
    lowered: str, words: AbstractSet[str], signs: Sequence[int], found: Iterable[bool], beyond: Iterable[str]
) -> Mapping[int, int]:
    """How many pieces of each group (by its number; behind the groups, of each of `SUBJECTS`) are in a text.

    `lowered`, `words`: the text in lower case, and its different words. `signs`: how often each character of ASCII is
    in it. `found`: of each of `PIECES`, False = it is not there. `beyond`: those of `FIRST_BEYOND` that are there.
    """
    counts: dict[int, int] = {}
    sought = iter(found)
    for piece, number, word in itertools.compress(_WORDED, itertools.islice(sought, len(_WORDED))):
        if word in words and piece in lowered:
            counts[number] = counts.get(number, 0) + 1
    for piece, number, _ in itertools.compress(_SIGNED, sought):
        if piece in lowered:
            counts[number] = counts.get(number, 0) + 1
    for piece, number, word in _SHORT_WORDED:
        if word in words and piece in lowered:
            counts[number] = counts.get(number, 0) + 1
    for sign, piece, number in _SHORT_SIGNED:
        if signs[sign] and piece in lowered:
            counts[number] = counts.get(number, 0) + 1
    for first in beyond:
        for piece, number in _BEYOND[first]:
            if piece in lowered:
                counts[number] = counts.get(number, 0) + 1
    return counts
