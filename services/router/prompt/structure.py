"""What the shape of a prompt tells beside its n-grams: code, formulas, digits, how it begins and ends, its subjects.

`structure` gives a fixed row of numbers, mostly between 0 and 1; `NAMES` names them in order. Weights must be trained
anew when anything here changes.
"""

from __future__ import annotations

import math
import operator
import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.router.prompt.lexicon import PHRASES, SUBJECTS, WORDS
from services.router.prompt.ngrams import Ids, Sought, hashed_seeking

Row = npt.NDArray[np.float32]

_OPENINGS: tuple[tuple[str, str], ...] = (
    ("opens_what", "what whats was que qué quel quelle cosa что co o wat"),
    ("opens_who", "who whom whose which where when wer wo wann quién dónde qui où chi dove кто где когда kto gdzie"),
    ("opens_why", "why warum wieso por pourquoi perché почему зачем dlaczego neden waarom"),
    ("opens_how", "how wie cómo como comment come как jak nasıl hoe"),
    ("opens_is", "is are was were do does did has have had am will would should shall may might есть ist est"),
    ("opens_can", "can could please kindly hey pls kannst puedes peux puoi pode можешь"),
    ("opens_write", "write rewrite compose draft craft translate summarize summarise edit proofread rephrase "
     "paraphrase correct improve continue imagine pretend rewrite shorten polish make напиши переведи escribe "
     "schreibe écris scrivi"),
    ("opens_tell", "explain describe tell discuss analyze analyse compare define list name outline recommend suggest "
     "give provide elaborate объясни расскажи explica erkläre explique spiega"),
    ("opens_solve", "find calculate compute solve prove evaluate determine simplify show count let suppose given if "
     "there assume consider a an the two three реши найди calcula berechne calcule calcola"),
    ("opens_build", "implement create build develop generate design fix debug refactor convert add optimize using use "
     "code import def class function select from создай"),
    ("opens_self", "i im my we ive our ich yo je io eu я"),
    ("opens_you", "you youre your act role roleplay play ты du tú tu"),
    ("opens_greeting", "hi hello hey thanks thank bye good sup yo lol haha привет hola hallo bonjour salut ciao olá"),
)  # fmt: skip
_OPENING = {word: number for number, (_, words) in enumerate(_OPENINGS) for word in words.split()}
_PIECES: tuple[tuple[str, tuple[str, ...]], ...] = (
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
_MATTERS = tuple(f"matter_{subject}" for subject in SUBJECTS) + tuple(f"share_{subject}" for subject in SUBJECTS)
_SHAPE = (
    "words", "characters", "lines", "one_line", "short", "very_short", "long", "question_end", "questions", "colon_end",
    "exclaims", "digits", "numbers", "upper", "symbols", "non_ascii", "beyond_latin", "lower_start", "full_stop_end",
    "camel", "snake", "sentences",
)  # fmt: skip
NAMES: tuple[str, ...] = (
    *_SHAPE,
    *(name for name, _ in _OPENINGS),
    *(name for name, _ in _PIECES),
    *_MATTERS,
)
_NUMBER_OF = {name: number for number, name in enumerate(SUBJECTS)}
_BETWEEN = str.maketrans({code: " " for code in range(128) if not chr(code).isalnum()})
_WORD = re.compile(r"[^\W_]+")
_SYMBOLS = operator.itemgetter(*map(ord, "{}()[]<>;=_/\\|&*+^$#@%~`"))
_DIGITS = slice(ord("0"), ord("9") + 1)
_CLASSES = bytes(
    ord("0Aa "[0 if 48 <= code <= 57 else 1 if 65 <= code <= 90 else 2 if 97 <= code <= 122 else 3])
    for code in range(256)
)
"""Every byte of ASCII as a digit, a capital, a small letter, or else."""
_BEYOND = bytes(range(128, 256))
SHORTEST_SOUGHT = 3
"""Characters of the shortest n-grams."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A prompt as its features read it."""

    text: str
    """Capped."""
    lowered: str
    words: list[str]
    """In lower case, numbers too, in order."""
    distinct: frozenset[str]
    ids: Ids
    """Its n-grams, `ngrams.hashed(text)`."""
    found: list[bool]
    """What was sought: False = it is not in `lowered`, nor in `text`."""
    content: bytes
    """`text` in UTF-8."""
    counts: npt.NDArray[np.intp]
    """(256) How often each byte is in `content`."""


def reading(part: str, sought: Sought) -> Reading:
    """Reads a text that is capped already, once for all that wants to know something of it."""
    lowered = part.lower()
    words = lowered.translate(_BETWEEN).split() if lowered.isascii() else _WORD.findall(lowered)
    ids, found = hashed_seeking(part, sought)
    content = part.encode("utf-8", "surrogatepass")
    counts = np.bincount(np.frombuffer(content, np.uint8), minlength=256)
    return Reading(part, lowered, words, frozenset(words), ids, found, content, counts)


# To look for two hundred pieces in every prompt would cost more than all else. So each piece is looked for only when
# its longest word is among the prompt's words or, for pieces without one, a sign of it is among the prompt's signs; and
# when its n-grams are among the prompt's.
_Found = tuple[str, int, int]
"""A piece, the place of what it counts for (first the entries of `_PIECES`, then `SUBJECTS`), and its place in
`PIECES`, or -1: too short to be sought."""
_BY_WORD: dict[str, list[_Found]] = {}
_BY_SIGN: list[tuple[int, str, int, int]] = []
_BEYOND_ASCII: list[tuple[str, int]] = []
_COMMON_SIGNS = "\n() "
"""The last is the commonest; a sign that is not among them is rarer still."""
PIECES: list[str] = []
"""What a reading must have sought before all else."""


def _guard(piece: str, number: int) -> None:
    """Files a piece under what must be in the prompt before it is looked for."""
    inside = _WORD.findall(piece)
    if not piece.isascii():
        _BEYOND_ASCII.append((piece, number))
        return
    sought = -1
    if len(piece) >= SHORTEST_SOUGHT:
        sought = len(PIECES)
        PIECES.append(piece)
    if inside:
        _BY_WORD.setdefault(max(inside, key=len), []).append((piece, number, sought))
    else:
        _BY_SIGN.append((ord(min(piece, key=_COMMON_SIGNS.find)), piece, number, sought))


for _place, (_, _pieces) in enumerate(_PIECES):
    for _piece in _pieces:
        _guard(_piece, _place)
for _piece, _subject in PHRASES:
    _guard(_piece, len(_PIECES) + _NUMBER_OF[_subject])
_SPOKEN = frozenset(WORDS) | frozenset(_BY_WORD)


def structure(read: Reading) -> Row:
    """The row of a prompt, whose reading sought `PIECES` first."""
    signs = read.counts[:128].tolist()
    counts = _counts(read, signs)
    pieces = [min(1.0, 0.4 + 0.2 * count) if count else 0.0 for count in counts[: len(_PIECES)]]
    subjects = counts[len(_PIECES) :]
    opening = [0.0] * len(_OPENINGS)
    for word, worth in zip(read.words, (1.0, 0.5, 0.3), strict=False):
        number = _OPENING.get(word)
        if number is not None:
            opening[number] = max(opening[number], worth)
    size = len(read.distinct) + 2
    matter = [1.0 - math.exp(-0.5 * count) if count else 0.0 for count in subjects]
    share = [min(1.0, 2.0 * count / size) if count else 0.0 for count in subjects]
    return np.array((*_shape(read, signs), *opening, *pieces, *matter, *share), np.float32)


def _counts(read: Reading, signs: list[int]) -> list[float]:
    """How many of the pieces of each entry of `_PIECES`, and of the words and phrases of each subject, there are."""
    counts, offset, lowered = [0.0] * (len(_PIECES) + len(SUBJECTS)), len(_PIECES), read.lowered
    # What is too short to be sought may be there: -1 is the last.
    found = [*read.found, True]
    for word in _SPOKEN & read.distinct:
        numbers = WORDS.get(word)
        if numbers is not None:
            for number in numbers:
                counts[offset + number] += 1.0 / len(numbers)
        for piece, number, sought in _BY_WORD.get(word, ()):
            if found[sought] and piece in lowered:
                counts[number] += 1.0
    for sign, piece, number, sought in _BY_SIGN:
        if signs[sign] and found[sought] and piece in lowered:
            counts[number] += 1.0
    if not lowered.isascii():
        for piece, number in _BEYOND_ASCII:
            if piece in lowered:
                counts[number] += 1.0
    return counts


def _shape(read: Reading, signs: list[int]) -> tuple[float, ...]:
    """The features of `_SHAPE`."""
    text, size, count = read.text, max(1, len(read.text)), len(read.words)
    stripped = text.strip()
    last, lines = stripped[-1:], signs[10] + 1
    digits = sum(signs[_DIGITS])
    outside = len(text) - sum(signs)
    beyond = size - len(text.encode("latin-1", "ignore")) if outside else 0
    classes = read.content.translate(_CLASSES, _BEYOND)
    numbers = sum(map(classes.count, (b" 0", b"A0", b"a0"))) + classes.startswith(b"0") if digits else 0
    return (
        math.log1p(count) / 6,
        math.log1p(size) / 8,
        math.log1p(lines) / 4,
        float(lines == 1),
        float(count <= 8),
        float(count <= 3),
        float(count > 120),
        float(last != "" and last in "?？؟"),
        min(1.0, signs[ord("?")] / 3),
        float(last != "" and last in ":："),
        min(1.0, signs[ord("!")] / 3),
        min(1.0, 5 * digits / size),
        min(1.0, numbers / 8),
        min(1.0, sum(word[0].isupper() for word in stripped[:200].split()[1:24]) / 8),
        min(1.0, 8 * sum(_SYMBOLS(signs)) / size),
        min(1.0, outside / size),
        min(1.0, beyond / size),
        float(stripped[:1].islower()),
        float(last != "" and last in ".。!"),
        float(b"aA" in classes),
        float(signs[ord("_")] > 0),
        min(1.0, text.count(". ") / 6),
    )
