"""The language of a prompt, by its script, by its most frequent words and by letters only one language has.

No dictionary and no model: what cannot be told is `und`. Our own lists.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet

import numpy as np
import numpy.typing as npt

UNDETERMINED = "und"
LANGUAGES: tuple[str, ...] = (
    "en", "de", "fr", "es", "it", "pt", "nl", "pl", "tr", "sv", "vi",
    "ru", "uk", "zh", "ja", "ko", "ar", "hi", "fa", "el", "he", "th",
)  # fmt: skip
"""ISO 639-1 codes that can be told."""

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
_WEIGHTS: dict[str, list[tuple[str, float]]] = {}
for _code, _words in _FREQUENT.items():
    for _word in set(_words.split()):
        _WEIGHTS.setdefault(_word, []).append((_code, 1.0))
for _shared in _WEIGHTS.values():
    # A word of several languages says less for each.
    _shared[:] = [(code, 1.0 / len(_shared)) for code, _ in _shared]
_KNOWN = _WEIGHTS.keys()
_LETTER_OF = [(letter, code) for code, letters in _LETTERS.items() for letter in letters]
_SCRIPTS: tuple[tuple[str, tuple[tuple[int, int], ...]], ...] = (
    ("cyrillic", ((0x0400, 0x052F),)),
    ("han", ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF))),
    ("kana", ((0x3040, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F))),
    ("ko", ((0x1100, 0x11FF), (0x3130, 0x318F), (0xAC00, 0xD7AF))),
    ("arabic", ((0x0600, 0x06FF), (0x0750, 0x077F), (0xFB50, 0xFDFF), (0xFE70, 0xFEFC))),
    ("hi", ((0x0900, 0x097F),)),
    ("el", ((0x0370, 0x03FF),)),
    ("he", ((0x0590, 0x05FF),)),
    ("th", ((0x0E00, 0x0E7F),)),
)
_UKRAINIAN, _RUSSIAN, _PERSIAN = "іїєґ", "ыэёъ", "پچژگی"
_LEAST_WORDS = 0.9
_HALF_OF_LATIN = 0.4
"""A script of its own decides when it has at least so many signs for each Latin letter: code and names are Latin."""


def language(lowered: str, words: AbstractSet[str]) -> str:
    """The code of a text's language (in lower case, with its different words), or `und`."""
    if not lowered.isascii():
        by_script = _by_script(lowered)
        if by_script:
            return by_script
    return _by_words(lowered, words)


def _by_script(lowered: str) -> str | None:
    """The language that the script tells, unless the text is mostly Latin."""
    points = np.frombuffer(lowered.encode("utf-32-le", "surrogatepass"), "<u4")
    beyond = points[points >= 0x370]
    if not len(beyond):
        return None
    latin = _within(points, ((0x61, 0x7A), (0xC0, 0x24F)))
    counts = {name: _within(beyond, ranges) for name, ranges in _SCRIPTS}
    name = max(counts, key=lambda script: counts[script])
    # A sign of Chinese or Japanese is a syllable or a word, a letter is not.
    dense = 3 if name in ("han", "kana", "ko") else 1
    if not counts[name] or dense * (counts[name] + counts["kana"]) < _HALF_OF_LATIN * latin:
        return None
    if name in ("han", "kana"):
        return "ja" if counts["kana"] * 8 > counts["han"] else "zh"
    if name == "cyrillic":
        ukrainian, russian = _count(lowered, _UKRAINIAN), _count(lowered, _RUSSIAN)
        return "uk" if ukrainian > russian else "ru"
    if name == "arabic":
        return "fa" if _count(lowered, _PERSIAN) else "ar"
    return name


def _by_words(lowered: str, words: AbstractSet[str]) -> str:
    """The language whose frequent words and letters are most, when it is clear."""
    scores: dict[str, float] = {}
    for word in _KNOWN & words:
        for code, weight in _WEIGHTS[word]:
            scores[code] = scores.get(code, 0.0) + weight
    if not lowered.isascii():
        for letter, code in _LETTER_OF:
            if letter in lowered:
                scores[code] = scores.get(code, 0.0) + 0.9
    if not scores:
        return UNDETERMINED
    best, *others = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    clear = not others or best[1] >= others[0][1] + 0.2
    return best[0] if clear and best[1] >= _LEAST_WORDS / 2 else UNDETERMINED


def _within(points: npt.NDArray[np.uint32], ranges: Iterable[tuple[int, int]]) -> int:
    return int(sum(np.count_nonzero((points >= start) & (points <= end)) for start, end in ranges))


def _count(text: str, letters: str) -> int:
    return sum(map(text.count, letters))
