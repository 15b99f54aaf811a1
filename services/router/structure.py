"""What the shape of a prompt tells beside its n-grams: code, formulas, digits, how it begins and ends, its subjects.

`structure` gives a fixed row of numbers, mostly between 0 and 1; `NAMES` names them in order. Weights must be trained
anew when anything here changes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from services.router.lexicon import PHRASES, SUBJECTS, WORDS

Row = npt.NDArray[np.float32]

_OPENINGS: tuple[tuple[str, str], ...] = (
    ("opens_what", "what whats what's was que qué quel quelle cosa что co o wat"),
    ("opens_who", "who whom whose which where when wer wo wann quién dónde qui où chi dove кто где когда kto gdzie"),
    ("opens_why", "why warum wieso por pourquoi perché почему зачем dlaczego neden waarom"),
    ("opens_how", "how wie cómo como comment come как jak nasıl hoe"),
    ("opens_is", "is are was were do does did has have had am will would should shall may might isn't don't есть ist est"),
    ("opens_can", "can could please kindly hey pls kannst puedes peux puoi pode можешь"),
    ("opens_write", "write rewrite compose draft craft translate summarize summarise edit proofread rephrase paraphrase "
     "correct improve continue imagine pretend rewrite shorten polish make напиши переведи escribe schreibe écris scrivi"),
    ("opens_tell", "explain describe tell discuss analyze analyse compare define list name outline recommend suggest "
     "give provide elaborate объясни расскажи explica erkläre explique spiega"),
    ("opens_solve", "find calculate compute solve prove evaluate determine simplify show count let suppose given if "
     "there assume consider a an the two three реши найди calcula berechne calcule calcola"),
    ("opens_build", "implement create build develop generate design fix debug refactor convert add optimize using use "
     "code import def class function select from создай"),
    ("opens_self", "i i'm im my we i've i'd our ich yo je io eu я"),
    ("opens_you", "you you're your act role roleplay play ты du tú tu"),
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
    ("latex", ("\\frac", "\\(", "\\[", "$$", "\\sum", "\\int", "\\sqrt", "\\mathbb", "\\le", "\\alpha", "\\begin", "\\")),
    ("formulas", (" = ", "^", "²", "√", "∫", "∑", "≤", "≥", "×", "÷", "π", "x =", "f(x", "x+", "+ ", " - ", "*")),
    ("links", ("http://", "https://", "www.")),
    ("quotes", ('"', "“", "”", "«", "「", "'")),
    ("bullets", ("\n-", "\n*", "\n1", "\n•", "\n#")),
    ("choices", ("a)", "b)", "(a)", "(b)", "a.", "b.", "c.", "\nb")),
    ("paths", (".py", ".js", ".exe", ".txt", ".csv", ".html", ".json", ".sh", "/usr", "c:\\", "./", ".com")),
    ("my_text", ("following", "below", "this text", "this sentence", "my essay", "this paragraph", "for me", "this:")),
    ("roles", ("you are", "act as", "as a ", "your task", "role", "pretend", "imagine")),
    ("a_work", ("a story", "a poem", "an essay", "a song", "a letter", "an email", "a script", "a scene", "a short", "about a")),
    ("what_is", ("what is", "what are", "who is", "how to", "how do", "difference between", "tell me about", "what's the")),
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
_SUBJECT_NUMBER = {name: number for number, name in enumerate(SUBJECTS)}
_PHRASE_NUMBERS = tuple((phrase, _SUBJECT_NUMBER[subject]) for phrase, subject in PHRASES)
_ASCII_PHRASES = tuple((phrase, number) for phrase, number in _PHRASE_NUMBERS if phrase.isascii())
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_CAMEL = re.compile(r"[a-z][A-Z]")
_SNAKE = re.compile(r"[a-zA-Z]_[a-zA-Z]")
_NUMBER = re.compile(r"\d+")
_ENDING = ("s", "ing", "ed", "es", "d", "er")
_KNOWN = WORDS.keys()


def words_of(lowered: str) -> list[str]:
    """The words of a text in lower case; numbers count."""
    return _WORD.findall(lowered)


def structure(text: str, lowered: str, words: Sequence[str]) -> Row:
    """The row of a text (already capped), given also in lower case and as words."""
    counts, subjects = [0.0] * len(_PIECES), _subjects(lowered, words)
    for number, (_, pieces) in enumerate(_PIECES):
        found = 0
        for piece in pieces:
            if piece in lowered:
                found += 1
        if found:
            counts[number] = min(1.0, 0.4 + 0.2 * found)
    opening = [0.0] * len(_OPENINGS)
    for place, word in enumerate(words[:3]):
        number_of = _OPENING.get(word)
        if number_of is not None:
            opening[number_of] = max(opening[number_of], (1.0, 0.5, 0.3)[place])
    distinct = max(1, len(set(words)))
    matter = [1.0 - math.exp(-0.5 * count) for count in subjects]
    share = [min(1.0, 2.0 * count / (distinct + 2)) for count in subjects]
    return np.array((*_shape(text, words), *opening, *counts, *matter, *share), np.float32)


def _subjects(lowered: str, words: Sequence[str]) -> list[float]:
    """How many different known words and phrases of each subject there are."""
    counts = [0.0] * len(SUBJECTS)
    for word in _KNOWN & set(words):
        numbers = WORDS[word]
        for number in numbers:
            counts[number] += 1.0 / len(numbers)
    for phrase, number in _ASCII_PHRASES if lowered.isascii() else _PHRASE_NUMBERS:
        if phrase in lowered:
            counts[number] += 1.0
    return counts


def _shape(text: str, words: Sequence[str]) -> tuple[float, ...]:
    """The features of `_SHAPE`."""
    size, count = max(1, len(text)), len(words)
    stripped = text.strip()
    last = stripped[-1:]
    lines = text.count("\n") + 1
    digits = sum(map(text.count, "0123456789"))
    symbols = sum(map(text.count, "{}()[]<>;=_/\\|&*+^$#@%~`"))
    ascii_only = text.isascii()
    outside = 0 if ascii_only else size - len(text.encode("ascii", "ignore"))
    beyond = 0 if ascii_only else size - len(text.encode("latin-1", "ignore"))
    return (
        math.log1p(count) / 6,
        math.log1p(size) / 8,
        math.log1p(lines) / 4,
        float(lines == 1),
        float(count <= 8),
        float(count <= 3),
        float(count > 120),
        float(last in "?？؟" and last != ""),
        min(1.0, text.count("?") / 3),
        float(last in ":：" and last != ""),
        min(1.0, text.count("!") / 3),
        min(1.0, 5 * digits / size),
        min(1.0, len(_NUMBER.findall(text)) / 8),
        min(1.0, sum(map(str.isupper, words_start(stripped))) / 8),
        min(1.0, 8 * symbols / size),
        min(1.0, outside / size),
        min(1.0, beyond / size),
        float(stripped[:1].islower()),
        float(last in ".。!" and last != ""),
        float(bool(_CAMEL.search(text))),
        float(bool(_SNAKE.search(text))),
        min(1.0, (text.count(". ") + text.count("? ")) / 6),
    )


def words_start(text: str) -> list[str]:
    """The first letters of the first words after the first, for names."""
    return [word[:1] for word in text[:200].split()[1:24]]
