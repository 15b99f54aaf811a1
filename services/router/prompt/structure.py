"""What the shape of a prompt tells beside its n-grams: code, formulas, digits, how it begins and ends, its subjects.

`structure` gives a fixed row of numbers, mostly between 0 and 1; `NAMES` names them in order. Weights must be trained
anew when anything here changes.
"""

from __future__ import annotations

import math
import operator

import numpy as np
import numpy.typing as npt

from services.router.prompt.lexicon import SUBJECTS
from services.router.prompt.pieces import GROUPS, PIECES, counted
from services.router.prompt.reading import Reading
from services.router.prompt.vocabulary import WHOLE, pieces_marked

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
_MATTERS = tuple(f"matter_{subject}" for subject in SUBJECTS) + tuple(f"share_{subject}" for subject in SUBJECTS)
_SHAPE = (
    "words", "characters", "lines", "one_line", "short", "very_short", "long", "question_end", "questions", "colon_end",
    "exclaims", "digits", "numbers", "upper", "symbols", "non_ascii", "beyond_latin", "lower_start", "full_stop_end",
    "camel", "snake", "sentences",
)  # fmt: skip
NAMES: tuple[str, ...] = (
    *_SHAPE,
    *(name for name, _ in _OPENINGS),
    *(name for name, _ in GROUPS),
    *_MATTERS,
)
_OPENING = {word: len(_SHAPE) + number for number, (_, words) in enumerate(_OPENINGS) for word in words.split()}
_GROUPS_AT = len(_SHAPE) + len(_OPENINGS)
_MATTERS_AT = _GROUPS_AT + len(GROUPS)
_SHARES_AT = _MATTERS_AT + len(SUBJECTS)
_SYMBOLS = operator.itemgetter(*map(ord, "{}()[]<>;=_/\\|&*+^$#@%~`"))
_DIGITS = slice(ord("0"), ord("9") + 1)
_CASES = bytes(ord("A" if 65 <= code <= 90 else "a" if 97 <= code <= 122 else " ") for code in range(256))
"""Every byte of ASCII as a capital, a small letter, or else."""
_NUMBERS = bytes(ord("0" if 48 <= code <= 57 else " ") for code in range(256))
"""Every byte of ASCII as a digit or else."""
_BEYOND = bytes(range(128, 256))


def structure(read: Reading) -> Row:
    """The row of a prompt, whose reading sought `PIECES` first."""
    signs = read.counts[:128].tolist()
    counts = counted(read.lowered, read.distinct, signs, read.found[: len(PIECES)], pieces_marked(read.marks))
    row = [0.0] * len(NAMES)
    row[: len(_SHAPE)] = _shape(read, signs)
    for word, worth in zip(read.words, (1.0, 0.5, 0.3), strict=False):
        number = _OPENING.get(word)
        if number is not None:
            row[number] = max(row[number], worth)
    subjects = read.subjects.copy()
    for number, count in counts.items():
        if number < len(GROUPS):
            row[_GROUPS_AT + number] = min(1.0, 0.4 + 0.2 * count)
        else:
            subjects[number - len(GROUPS)] += WHOLE * count
    size = len(read.distinct) + 2
    for number, said in enumerate(subjects):
        if said:
            told = said / WHOLE
            row[_MATTERS_AT + number] = 1.0 - math.exp(-0.5 * told)
            row[_SHARES_AT + number] = min(1.0, 2.0 * told / size)
    return np.array(row, np.float32)


def _shape(read: Reading, signs: list[int]) -> tuple[float, ...]:
    """The features of `_SHAPE`."""
    text, size, count = read.text, max(1, len(read.text)), len(read.words)
    stripped = text.strip()
    last, lines = stripped[-1:], signs[10] + 1
    digits = sum(signs[_DIGITS])
    outside = len(text) - sum(signs)
    beyond = np.count_nonzero(np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4") > 255) if outside else 0
    numbers = len(read.content.translate(_NUMBERS, _BEYOND).split()) if digits else 0
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
        float(b"aA" in read.content.translate(_CASES, _BEYOND)),
        float(signs[ord("_")] > 0),
        min(1.0, text.count(". ") / 6),
    )
