"""What single words and characters say of a prompt's subject and language: one table of them all, read in one pass.

A word of several subjects or languages says less for each. Shares are kept as whole numbers of `WHOLE`ths, so that sums
are exact and do not depend on the order of words.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Set as AbstractSet

import numpy as np
import numpy.typing as npt

from services.router.prompt.lexicon import SUBJECTS, WORDS
from services.router.prompt.pieces import FIRST_BEYOND

Points = npt.NDArray[np.uint32]

_FREQUENT = {
    "en": """the of and to is in that it for you what how are this with on as be have i my can not me from or do an by
        was which your about will write make give why please would should who when where all there if so explain
        tell hello hi thanks them they we has but at some any does did code need want like using use""",
    "de": """der die das und ist nicht ich ein eine einen einem einer zu den dem des mit auf für von sich auch wie was
        wer warum wo wenn kann mir mein meine bitte schreibe sind wird oder aber es im über nach bei noch gibt""",
    "fr": """le la les des une et est que qui dans pour pas sur avec je vous tu il elle nous ce cette au aux du mon ma
        mes comment pourquoi quel quelle quels bonjour merci plus ou où sont être écris peux moi sans""",
    "es": """el la los las un una y es que en de por para con no del se lo como cómo qué cuál está son mi me puedes una
        escribe hola gracias pero más sobre este esta cuando dónde quién hay tiene sus muy""",
    "it": """il lo gli le un una e è che di per con non del della dei delle sono come cosa chi mi puoi perché quale
        questo questa scrivi ciao grazie anche più nel nella ho hai si alla dove""",
    "pt": """o os as um uma e é que de para com não do da dos das em no na por como qual quais você meu minha está são
        mais olá obrigado escreva mas sobre quando onde quem isso este esta ao pelo faça""",
    "nl": """de het een en is niet ik dat van in op te voor met zijn aan wat hoe waar waarom wie mijn mij je jij kun
        schrijf maar ook als bij naar over er wordt deze dit heeft graag kan""",
    "pl": """i w nie na się z jest to do że co jak czy dla o po mi mnie mój moja gdzie kiedy dlaczego kto jaki jaka
        jakie napisz proszę są być ale od za przez ten ta tym jeden""",
    "tr": """ve bir bu ne için ile de da mi mı nasıl neden nedir kim nerede ben sen bana benim çok daha gibi olarak
        yaz var yok değil ama hakkında merhaba olan kadar kaç""",
    "sv": """och att det är som en ett på för med inte jag du av den till har kan vad hur varför skriv om min mitt""",
    "vi": """là và của có không cho một các những được tôi bạn này trong với người như thế nào hãy viết gì""",
}
_LETTERS = {
    "de": "ß", "fr": "œêèçùëîâ", "es": "ñ¿¡", "it": "ìò", "pt": "ãõ", "pl": "łżąęśźćń", "tr": "ğış", "sv": "å",
    "vi": "ạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỷỹđ",
}  # fmt: skip

SPOKEN: tuple[str, ...] = tuple(sorted(_FREQUENT))
"""Languages that are told by words, in the order of their sums."""


def _shares() -> tuple[int, dict[str, int], npt.NDArray[np.float32]]:
    """The whole; each word's row; and the rows."""
    said: dict[str, tuple[list[int], list[int]]] = {}
    for word, subjects in WORDS.items():
        said.setdefault(word, ([], []))[0].extend(subjects)
    for place, code in enumerate(SPOKEN):
        for word in set(_FREQUENT[code].split()):
            said.setdefault(word, ([], []))[1].append(len(SUBJECTS) + place)
    whole = math.lcm(*(len(columns) for both in said.values() for columns in both if columns), 10)
    rows = np.zeros((len(said), len(SUBJECTS) + len(SPOKEN)), np.float32)
    for row, both in zip(rows, said.values(), strict=True):
        for columns in both:
            if columns:
                row[columns] = whole // len(columns)
    return whole, {word: number for number, word in enumerate(said)}, rows


WHOLE, _ROW_OF, _ROWS = _shares()
LETTER_SHARE = 0.9 * WHOLE
"""What a letter says for its language."""
_KNOWN = frozenset(_ROW_OF)
_ONES = np.ones(len(_ROWS), np.float32)
_NOTHING = [0.0] * _ROWS.shape[1]
_LETTER_OF: dict[str, list[int]] = {}
for _code, _letters in _LETTERS.items():
    for _letter in _letters:
        _LETTER_OF.setdefault(_letter, []).append(SPOKEN.index(_code))
_MARKS = ("", *sorted(FIRST_BEYOND | _LETTER_OF.keys()))
_MARK_OF = np.zeros(0x10000, np.uint8)
"""The number of each code point in `_MARKS`, 0 for nearly all. What is beyond is read as the last one."""
for _place, _mark in enumerate(_MARKS[1:], 1):
    _MARK_OF[ord(_mark)] = _place


def sums(words: AbstractSet[str]) -> tuple[list[float], list[float]]:
    """What the different words of a text, in lower case, say for each of `SUBJECTS` and of `SPOKEN`, in `WHOLE`ths."""
    known = _KNOWN & words
    if not known:
        said = _NOTHING
    else:
        rows = np.fromiter(map(_ROW_OF.__getitem__, known), np.intp, len(known))
        said = (_ONES[: len(known)] @ _ROWS.take(rows, axis=0)).tolist()
    return said[: len(SUBJECTS)], said[len(SUBJECTS) :]


def marks(points: Points) -> list[str]:
    """Those of the text's code points that pieces or languages are told by, each once."""
    found = np.bincount(_MARK_OF.take(points, mode="clip")).nonzero()[0].tolist()
    return list(itertools.compress(map(_MARKS.__getitem__, found), found))


def pieces_marked(found: list[str]) -> list[str]:
    """Those that guard a piece."""
    return [mark for mark in found if mark in FIRST_BEYOND]


def letters(found: list[str]) -> list[int]:
    """Of each letter that one language alone has, the language's place in `SPOKEN`."""
    return [place for mark in found for place in _LETTER_OF.get(mark, ())]
