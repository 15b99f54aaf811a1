"""The words by which texts find each other: lexical analysis for message search and for recall's BM25.

Folded (case, accents, full width), English lightly stemmed, stop words left out, numbers kept. Scripts that write no
spaces between words become pairs of neighbouring characters. The same text gives the same terms on every machine: their
numbers are stored, so a change here needs a migration that sets them to NULL; they are then made anew.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from itertools import chain, islice

MAX_CHARS = 131_072
"""Only the beginning of a longer text is analysed."""
MAX_TERMS = 16_384
"""The most terms of one text."""
MAX_TERM_CHARS = 64
"""A longer word is cut; what people search for is shorter."""

_STOP_WORDS = """
    a about am an and any are as at be because been being both but by can could did do does doing done for from had has
    have having he her hers herself him himself his how i if in into is it its itself just let me more most my myself
    nor of off on or our ours ourselves own s same she should so some such t than that the their theirs them themselves
    then there these they this those through to too us very was we were what when where which while who whom whose why
    will with would you your yours yourself yourselves
"""
_STOP = frozenset(_STOP_WORDS.split())
_SHORTENED = frozenset({"s", "t", "d", "m", "ll", "re", "ve"})
_NEGATED = """
    ain aren can couldn didn doesn don hadn hasn haven isn mightn mustn needn shan shouldn wasn weren won wouldn
"""
_BEFORE_T = frozenset(_NEGATED.split())
# English verbs and nouns whose forms no rule gives; those spelled like another common word (saw, left) stay out.
_FORMS = """
    become became; begin began begun; break broke broken; bring brought; build built; buy bought; catch caught;
    child children; choose chose chosen; come came; die dying; draw drew drawn; dream dreamt; drink drank drunk;
    drive drove driven; eat ate eaten; feed fed; feel felt; fight fought; find found; fly flew flown; foot feet;
    forget forgot forgotten; forgive forgave forgiven; get got gotten; give gave given; go goes went gone;
    grow grew grown; hear heard; hide hid hidden; hold held; keep kept; know knew known; lead led; learn learnt;
    lend lent; lie lying; lose lost; make made; man men; mean meant; meet met; mouse mice; pay paid; person people;
    ride rode ridden; ring rang rung; rise risen; run ran; say said; see seen; sell sold; send sent; shoot shot;
    sing sang sung; sit sat; sleep slept; speak spoke spoken; spend spent; stand stood; steal stole stolen; swim swam
    swum; take took taken; teach taught; tell told; think thought; throw threw thrown; tooth teeth;
    understand understood; wake woke woken; wear wore worn; win won; wife wives; wolf wolves; woman women;
    write wrote written
"""
_IRREGULAR = {form: forms[0] for forms in map(str.split, _FORMS.split(";")) for form in forms[1:]}
# What ends in -ing or -ed and is no verb's form, without the ending.
_OTHER_ENDINGS = "anyth ceil duckl dur even everyth hundr kindr morn noth sacr sibl someth"
_NOT_VERBS = frozenset(_OTHER_ENDINGS.split())

# Written without spaces: kana, Han, Hangul, Bopomofo, Thai, Lao, Burmese, Khmer.
UNSPACED = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0eb9\u0ebb-\u0ece\u1000-\u1049\u1050-\u109d\u1100-\u11ff\u1780-\u17b3\u17b6-\u17d3"
    "\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff"
)
"""The inside of a character class."""
# Vowel signs and the like, which `\w` does not know: they belong to the letter before them.
_MARKS = "".join(
    chr(code)
    for first, last in ((0x0483, 0x1B00), (0xA66F, 0xABF0))
    for code in range(first, last)
    if unicodedata.category(chr(code)) in ("Mn", "Mc")
)
_NUMBER = r"\d{1,3}(?:,\d{3})++(?!\d)(?:\.\d++)?+|\d++(?:\.\d++)++"
_ASCII_WORD = re.compile(rf"{_NUMBER}|[a-z0-9]++(?:'[a-z0-9]++)*+")
_LETTERS = rf"(?:[^\W_{UNSPACED}]++[{_MARKS}\u200c\u200d]*+)++"
_ANY_WORD = re.compile(rf"{_NUMBER}|[{UNSPACED}]++|{_LETTERS}(?:'{_LETTERS})*+")
_FIRST_UNSPACED = re.compile(rf"[{UNSPACED}]")
# Accents of Latin, Greek and Cyrillic; points of Hebrew and Arabic, which most people leave out; soft hyphen, tatweel.
_DROPPED = re.compile("[\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u064b-\u0652\u0670\u00ad\u0640]")
_VOWEL = re.compile(r"[aeiouy]")
_SYLLABLES = re.compile(r"[aeiouy]+[^aeiouy]")


def terms_of(text: str) -> list[str]:
    """The terms of a text, in order, with repeats; of any text, at most MAX_TERMS.

    A text of nothing but stop words keeps them, so that whatever holds a word can be found by itself.
    """
    text = text[:MAX_CHARS]
    words = _ASCII_WORD.findall(text.lower()) if text.isascii() else _ANY_WORD.findall(_folded(text))
    known = _terms_of_short if max(map(len, words), default=0) <= MAX_TERM_CHARS else _terms_of_word
    kept = list(islice(chain.from_iterable(map(known, words)), MAX_TERMS))
    return kept or [_cut(word) for word in words[:MAX_TERMS]]


def _folded(text: str) -> str:
    """Lower case of every script, without accents and widths: "Ｃafé" is "cafe"."""
    plain = text.casefold().replace("’", "'").replace("ʼ", "'")
    # One character may unfold to eighteen: what is too long is cut again.
    apart = unicodedata.normalize("NFKD", plain)[:MAX_CHARS]
    return unicodedata.normalize("NFC", _DROPPED.sub("", apart))


def _cut(word: str) -> str:
    return word[:MAX_TERM_CHARS]


@lru_cache(maxsize=16_384)
def _terms_of_short(word: str) -> tuple[str, ...]:
    if _FIRST_UNSPACED.match(word):
        return tuple(word[at : at + 2] for at in range(len(word) - 1)) or (word,)
    if "'" in word:
        return _apostrophes(word)
    if word in _STOP:
        return ()
    if "," in word:
        word = word.replace(",", "")
    if not word.isascii():
        return (_plain_digits(word) if word.isdecimal() else word,)
    return (stem(word),)


def _terms_of_word(word: str) -> tuple[str, ...]:
    """Only short words are remembered: a hostile text must not fill the memory."""
    if len(word) <= MAX_TERM_CHARS:
        return _terms_of_short(word)
    if _FIRST_UNSPACED.match(word):
        return tuple(word[at : at + 2] for at in range(len(word) - 1))
    return (_cut(word),)


def _apostrophes(word: str) -> tuple[str, ...]:
    """ "don't" is a stop word, "anna's" is "anna", and "l'homme" two words."""
    parts = word.split("'")
    if parts[-1] in _SHORTENED:
        last = parts.pop()
        if last == "t" and parts[-1] in _BEFORE_T:
            parts.pop()
    return tuple(term for part in parts for term in _terms_of_short(part))


def _plain_digits(word: str) -> str:
    return "".join(str(unicodedata.decimal(digit)) for digit in word)


def stem(word: str) -> str:
    """The stem of a folded English word: plural, -ed, -ing, silent e and final y; other words stay as they are."""
    if len(word) < 3 or not word.isalpha():
        return word
    if word in _IRREGULAR:
        word = _IRREGULAR[word]
    word = _participle(_singular(word))
    if word.endswith("e") and len(word) > 3 and _may_lose_e(word[:-1]):
        word = word[:-1]
    if word.endswith("y") and len(word) > 2 and word[-2] not in "aeiou":
        word = word[:-1] + "i"
    return word


def _singular(word: str) -> str:
    if not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies"):
        return word[:-1] if len(word) == 4 else word[:-3] + "y"
    if word.endswith(("sses", "ches", "shes", "xes", "zzes")):
        return word[:-2]
    return word[:-1]


def _participle(word: str) -> str:
    if word.endswith("ied"):
        return word[:-1] if len(word) == 4 else word[:-3] + "y"
    if word.endswith("eed"):
        return word
    body = word[:-2] if word.endswith("ed") else word[:-3] if word.endswith("ing") else ""
    if len(body) < 2 or not _VOWEL.search(body) or (body in _NOT_VERBS):
        return word
    if body[-1] == body[-2] and body[-1] not in "aeiouylsz":
        return body[:-1]
    if body.endswith(("at", "bl", "iz")) or (_is_short(body) and len(_SYLLABLES.findall(body)) == 1):
        return body + "e"
    return body


def _is_short(body: str) -> bool:
    """Ends consonant, vowel, consonant: a silent e stood behind it ("hop" of "hoping")."""
    return len(body) > 2 and body[-1] not in "aeiouywx" and body[-2] in "aeiouy" and body[-3] not in "aeiou"


def _may_lose_e(body: str) -> bool:
    syllables = len(_SYLLABLES.findall(body))
    return syllables > 1 or (syllables == 1 and not _is_short(body))
