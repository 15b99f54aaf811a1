"""The language of a text by its script and its most frequent words, for the question: is it the one that was asked for?

Small on purpose. What cannot be told is the empty string, and nothing is said of it.
"""

from __future__ import annotations

import re
from collections import Counter

READ_CHARACTERS_MAX = 6_000
WORDS_MIN = 4
"""So many frequent words, at least, tell a language."""
SHARE_MIN = 0.08
LEAD = 1.5
"""How many times as many as the next language."""
_FREQUENT = {
    "en": "the of and to is in that it for you are with as be this have not from or your can was which an by on at how "
    "what when why who where does do did my we will would should if they their its has",
    "de": "der die das und ist nicht ich ein eine einen zu den dem des mit auf für von sich auch wie werden sind oder "
    "was wann warum wer wo kann wir sie es im hat",
    "fr": "le la les des une est et que qui dans pour pas sur avec vous il elle nous ce cette au aux du sont être "
    "comment quel quelle pourquoi quand où je mon",
    "es": "el los las una y es que en de por para con no del se lo como más su sus este esta hay son puede cómo cuál "
    "qué cuándo dónde",
    "it": "il lo gli una e è che di per con non del della dei delle sono come questo questa anche più nel nella cosa "
    "perché quando dove",
    "pt": "o os as um uma é que de para com não do da dos das em no na por como mais são isso este esta você qual "
    "quando onde",
    "nl": "de het een en is niet ik dat van op te voor met zijn aan wat hoe maar ook als bij naar er worden deze "
    "waarom",
    "pl": "w nie na się z jest to do że co jak czy dla po są być ale od za przez ten oraz jego które dlaczego kiedy",
    "sv": "och att det är som en ett på för med inte jag av den till har kan om var från eller hur vad varför",
    "tr": "ve bir bu ne için ile de da mi nasıl çok daha gibi olarak var yok değil ama olan kadar neden",
}
_LISTS: dict[str, tuple[str, ...]] = {}
for _code, _words in _FREQUENT.items():
    for _one in _words.split():
        _LISTS[_one] = (*_LISTS.get(_one, ()), _code)
_SCRIPTS = (
    ("ru", re.compile(r"[\u0400-\u04ff]")),
    ("ja", re.compile(r"[\u3040-\u30ff]")),
    ("zh", re.compile(r"[\u3400-\u9fff]")),
    ("ko", re.compile(r"[\uac00-\ud7a3]")),
    ("ar", re.compile(r"[\u0600-\u06ff]")),
    ("hi", re.compile(r"[\u0900-\u097f]")),
    ("el", re.compile(r"[\u0370-\u03ff]")),
    ("he", re.compile(r"[\u0590-\u05ff]")),
    ("th", re.compile(r"[\u0e00-\u0e7f]")),
)
_LATIN = re.compile(r"[a-z\u00e0-\u024f]+")
NAMED = re.compile(
    r"translat|übersetz|tradui|traduc|\b(?:english|german|french|spanish|italian|portuguese|dutch|polish|swedish|turkish|"
    r"russian|ukrainian|chinese|mandarin|japanese|korean|arabic|hindi|greek|hebrew|thai|latin|language|deutsch|"
    r"englisch|französisch|français|anglais|español|inglés)\b",
    re.IGNORECASE,
)
"""A question that speaks of languages: the answer may be in another one."""


def language(text: str) -> str:
    """The ISO 639-1 code of a text's language; empty = it cannot be told."""
    lowered = text[:READ_CHARACTERS_MAX].lower()
    words = _LATIN.findall(lowered)
    if not lowered.isascii():
        signs = {code: len(pattern.findall(lowered)) for code, pattern in _SCRIPTS}
        # Kana are always mixed with Han, and Han alone is Chinese.
        if signs["ja"] * 10 > signs["zh"]:
            signs["ja"] += signs.pop("zh")
        code, count = max(signs.items(), key=lambda one: one[1])
        if count >= 8 and count * 2.5 > sum(map(len, words)):
            return code
    found: Counter[str] = Counter()
    for word in words:
        for code in _LISTS.get(word, ()):
            found[code] += 1
    if not found:
        return ""
    first, *rest = found.most_common(2)
    if first[1] < WORDS_MIN or first[1] < SHARE_MIN * len(words) or (rest and first[1] < LEAD * rest[0][1]):
        return ""
    return first[0]


def frequent_share(text: str) -> tuple[int, float]:
    """How many words in Latin letters a text has, and the share of them that are frequent in some language."""
    words = _LATIN.findall(text[:READ_CHARACTERS_MAX].lower())
    return len(words), sum(word in _LISTS for word in words) / max(1, len(words))
