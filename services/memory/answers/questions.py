"""A question taken apart once: its words with what each does, for the guards and the word alignment."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from services.memory.answers.synonyms import GROUP_OF, PHRASES
from services.memory.answers.vocabulary import known_words
from services.memory.answers.word_lists import (
    ASKING,
    FUNCTION,
    NEGATIONS,
    NUMBERS,
    PERSONS,
    QUANTITIES,
    TIMES,
    UNITS,
    words,
)
from services.memory.answers.wording import plain

KEPT = 8192
"""Questions kept taken apart."""
MAX_TOKENS = 96
"""What comes after is one word of its own: two such texts are alike only when they end alike."""

_MENDED = words("which where would could should whose there these those their")
"""Words without content that are taken for what they are when mistyped; a name must not become one of the others."""
MIN_SLIP_LETTERS = 5
"""Shorter words are never taken for slips of the pen."""

_TOKEN = re.compile(r"[€£$¥₹%]|\d(?:[\d.,:/-]*\d)?[^\W\d_]*|[^\W_]+(?:['.&_/@-][^\W_]+)*[+#]*|[^\w\s]", re.UNICODE)
_HYPHEN = re.compile(r"(?<=\d)-(?=[^\W\d_]{2})|(?<=[^\W\d_]{2})-(?=[^\W\d_]{2}|\d)")
_AMOUNT = re.compile(r"^(\d[\d.,:/]*)([a-z%]+)$")
_ORDINAL = re.compile(r"^(\d+)(?:st|nd|rd|th)$")
_AUXILIARIES = "do|does|did|is|are|was|were|would|should|could|must|has|have|had|need|ai"


def _uncontracted(match: re.Match[str]) -> str:
    return {"can": "can not", "won": "will not"}.get(match[1].lower(), "shall not")


_CONTRACTIONS = (
    (re.compile(r"\b(can|won|shan)['\u2019]?t\b", re.I), _uncontracted),
    (re.compile(r"\b(" + _AUXILIARIES + r")n['\u2019]?t\b", re.I), r"\1 not"),
    (re.compile(r"\b(cannot)\b", re.I), "can not"),
    (re.compile(r"\b(what|who|where|when|how|that|there|here)['\u2019]?s\b", re.I), r"\1 is"),
    (re.compile(r"\b(it|he|she)'s\b", re.I), r"\1 is"),
    (re.compile(r"\blet's\b", re.I), "let us"),
    (re.compile(r"\b(i)'?m\b", re.I), r"\1 am"),
    (re.compile(r"\b(\w+)'re\b", re.I), r"\1 are"),
    (re.compile(r"\b(\w+)'ve\b", re.I), r"\1 have"),
    (re.compile(r"\b(\w+)'ll\b", re.I), r"\1 will"),
    (re.compile(r"\b(\w+)'d\b", re.I), r"\1 would"),
)  # fmt: skip
_WIFI = re.compile(r"\bwi-fi\b", re.I)
_PHRASE = re.compile(r"\b(?:" + "|".join(re.escape(one) for one in sorted(PHRASES, key=len, reverse=True)) + r")\b")
_ENDINGS = (
    "ations",
    "ation",
    "ings",
    "ing",
    "ions",
    "ion",
    "als",
    "al",
    "ies",
    "ied",
    "es",
    "ed",
    "ly",
    "ment",
    "s",
    "e",
    "y",
)
_PREPOSITIONS = words("to into onto from than by for of with without at in on before after over under versus vs as")
NOT_CONTENT = FUNCTION | NEGATIONS | ASKING | _PREPOSITIONS
_MONTH_BEFORE = words("in on until till since by from last next this early late mid of")


@dataclass(frozen=True)
class Word:
    """One word of a question."""

    text: str
    """Lower case, without a possessive ending."""
    key: str
    """What it is compared by: its group of synonyms, else its stem."""
    is_name: bool
    """Capitalised inside a sentence that is not all capitals, or with digits inside."""
    after: str
    """The preposition that governs it, "'s" for an owner, or ""."""


@dataclass(frozen=True)
class Question:
    """A question taken apart."""

    text: str
    words: tuple[str, ...]
    """Every word in its order, lower case, contractions and phrases undone."""
    content: tuple[Word, ...]
    """The words that carry content, in their order."""
    amounts: tuple[tuple[str, str], ...]
    """Numbers with their unit's group, in their order: `2 adults, 1 child` is not `1 adult, 2 children`."""
    times: tuple[str, ...]
    quantities: tuple[str, ...]
    persons: frozenset[str]
    has_comma: bool
    mended: bool
    """Whether a mistyped word was put right."""


def stem(word: str) -> str:
    """A word without its grammatical ending; what is left has four letters at least."""
    if len(word) < 5 or not word.isascii():
        return word[:-1] if len(word) == 4 and word.endswith("s") and not word.endswith("ss") else word
    for ending in _ENDINGS:
        if (
            word.endswith(ending)
            and len(word) - len(ending) >= 4
            and not (ending == "s" and word.endswith(("ss", "us", "is")))
        ):
            base = word[: -len(ending)]
            return base[:-1] if len(base) > 4 and base[-1] == base[-2] and base[-1] not in "ls" else base
    return word


def key_of(word: str) -> str:
    """What a word is compared by."""
    group = GROUP_OF.get(word)
    if group is None:
        base = stem(word)
        group = GROUP_OF.get(base) or GROUP_OF.get(base + "e") or base
    return group


@lru_cache(maxsize=KEPT)
def taken_apart(text: str) -> Question:
    """The question in a text. Any text is taken apart; only what it begins with is looked at word by word."""
    core = plain(text)
    for pattern, replacement in _CONTRACTIONS:
        core = pattern.sub(replacement, core)
    tokens = _TOKEN.findall(_HYPHEN.sub(" ", _WIFI.sub("wifi", core)))
    tokens = tokens[:MAX_TOKENS] + (["".join(tokens[MAX_TOKENS:])] if len(tokens) > MAX_TOKENS else [])
    names = _names(tokens)
    typed = tokens
    tokens = [one if one.lower() in names else _corrected(one) for one in tokens]
    spoken_names = frozenset(one.lower() for one in tokens if one != "I" and one.lower() in FUNCTION) & names
    flat = _PHRASE.sub(lambda match: PHRASES[match[0]], " ".join(tokens).lower())
    return _built(core, flat.split(), names, spoken_names, mended=tokens != typed)


@lru_cache(maxsize=1)
def _lookups() -> tuple[frozenset[str], dict[str, str]]:
    """The known words, and every listed word by its forms with one letter left out."""
    listed = {*_MENDED, *NEGATIONS, *QUANTITIES, *TIMES, *PERSONS, *NUMBERS, *GROUP_OF}
    shortened: dict[str, str] = {}
    for word in sorted(one for one in listed if len(one) >= MIN_SLIP_LETTERS and one.isalpha()):
        for place in range(1, len(word)):
            shortened.setdefault(word[:place] + word[place + 1 :], word)
    return known_words(), shortened


def _corrected(token: str) -> str:
    """A listed word for its mistyped form: one that nobody knows, one edit away, with the same first letter."""
    if len(token) < MIN_SLIP_LETTERS - 1 or not token.isalpha() or not token[1:].islower():
        return token
    known, shortened = _lookups()
    word = token.lower()
    if word in known or word in GROUP_OF or word in TIMES:
        return token
    for form in (word, *(word[:place] + word[place + 1 :] for place in range(1, len(word)))):
        listed = shortened.get(form)
        if listed is not None and one_edit_apart(word, listed):
            return listed
    return token


def one_edit_apart(a: str, b: str) -> bool:
    """One letter more, less or another, or two neighbours exchanged."""
    if abs(len(a) - len(b)) > 1:
        return False
    start = 0
    while start < min(len(a), len(b)) and a[start] == b[start]:
        start += 1
    rest_a, rest_b = a[start:], b[start:]
    if len(a) == len(b):
        return rest_a[1:] == rest_b[1:] or (rest_a[:2] == rest_b[1::-1] and rest_a[2:] == rest_b[2:])
    return rest_a[1:] == rest_b if len(a) > len(b) else rest_a == rest_b[1:]


def _names(tokens: list[str]) -> frozenset[str]:
    """Lower-case forms of the tokens that are written as names."""
    letters = [one for one in tokens if one[0].isalpha()]
    capitals = sum(one[0].isupper() for one in letters)
    shouting = len(letters) > 2 and capitals > 0.8 * len(letters)
    found = set()
    for place, token in enumerate(tokens):
        mixed = any(one.isdigit() for one in token) and any(one.isalpha() for one in token)
        begins = place == 0 or tokens[place - 1] in ".!?:"
        if token.isupper() and token.lower() in GROUP_OF:
            continue
        if mixed or (
            token[0].isupper() and not shouting and token != "I" and (not begins or token[1:].lower() != token[1:])
        ):
            found.add(_bare(token.lower()))
    return frozenset(found)


def _bare(word: str) -> str:
    return word.removesuffix("'s").removesuffix("'")


def _built(
    text: str, tokens: list[str], names: frozenset[str], spoken_names: frozenset[str], *, mended: bool
) -> Question:
    content: list[Word] = []
    amounts: list[tuple[str, str]] = []
    times: list[str] = []
    quantities: list[str] = []
    persons: set[str] = set()
    after = ""
    skip = False
    for place, token in enumerate(tokens):
        if skip:
            skip = False
            continue
        word = _bare(token)
        following = _bare(tokens[place + 1]) if place + 1 < len(tokens) else ""
        amount = _amount(word, following, tokens[place - 1] if place else "")
        if amount is not None:
            amounts.append(amount)
            skip = following in UNITS and word[-1:].isalpha() == (word in NUMBERS)
            continue
        if word in _PREPOSITIONS:
            after = word
        if word in TIMES or (word == "may" and place and tokens[place - 1] in _MONTH_BEFORE and "may" in names):
            times.append(TIMES.get(word, "may"))
        elif word in QUANTITIES:
            quantities.append(QUANTITIES[word])
        elif word in PERSONS:
            persons.add(PERSONS[word])
            content.append(Word(word, PERSONS[word] + ":" + key_of(word), False, "'s" if token != word else after))
            after = ""
        elif (word not in NOT_CONTENT or word in spoken_names) and word[:1].isalnum():
            content.append(Word(word, key_of(word), word in names, "'s" if token != word else after))
            after = ""
    return Question(
        text, tuple(tokens), tuple(content), tuple(amounts), tuple(times), tuple(quantities),
        frozenset(persons), "," in text, mended,
    )  # fmt: skip


def _amount(word: str, following: str, before: str) -> tuple[str, str] | None:
    """A number with its unit's group, or None."""
    unit = UNITS.get(following, "") or UNITS.get(before if before in "€£$¥₹" and before else "", "")
    if word in NUMBERS and not (
        word in ("one", "second", "single", "both", "third", "quarter", "once") and not UNITS.get(following)
    ):
        return _in_small_units(NUMBERS[word], unit)
    if not word[:1].isdigit():
        return None
    ordinal = _ORDINAL.match(word)
    if ordinal:
        return "o" + ordinal[1], ""
    joined = _AMOUNT.match(word)
    if joined and joined[2] in UNITS:
        return _in_small_units(joined[1], UNITS[joined[2]])
    return _in_small_units(word, unit)


_SAME = {
    "week": (7, "day"),
    "fortnight": (14, "day"),
    "year": (12, "month"),
    "min": (60, "s"),
    "h": (3600, "s"),
    "kg": (1000, "g"),
}


def _in_small_units(number: str, unit: str) -> tuple[str, str]:
    """`two weeks` and `14 days` are one amount; thousands have no separators."""
    value = number.replace(",", "") if re.fullmatch(r"\d{1,3}(,\d{3})+(\.\d+)?", number) else number
    if unit in _SAME and value.isdigit() and len(value) < 7:
        times, smaller = _SAME[unit]
        return str(int(value) * times), smaller
    if unit in ("am", "pm"):
        value = value.removesuffix(":00").removesuffix(".00")
    return value.removesuffix(".00") if unit in ("gbp", "usd", "eur") else value, unit
