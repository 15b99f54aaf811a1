"""Text to the word pieces of BERT (uncased), as all-MiniLM-L6-v2 was trained with.

The vocabulary is bert_uncased_vocab.txt.gz beside this file; bert_uncased_vocab.LICENSE.md says where it is from.
"""

from __future__ import annotations

import gzip
import pathlib
import unicodedata

PIECES_MAX = 128
"""The most pieces of a text, its first and last mark included; what comes later is not looked at."""
CHARACTERS_MAX = 16_384
"""What is cut off before anything else: 126 pieces end long before, except in blank pages."""
WORD_CHARACTERS_MAX = 100
"""A longer word is one unknown piece, as in BERT."""
KNOWN_WORDS_MAX = 20_000
VOCABULARY = pathlib.Path(__file__).with_name("bert_uncased_vocab.txt.gz")

_IDEOGRAPHS = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0x2F800, 0x2FA1F),
)


class _Characters(dict[int, str | None]):
    """What becomes of each character: dropped, a blank, a word of its own, or itself."""

    def __missing__(self, code: int) -> str | None:
        found = self[code] = _becomes(chr(code), code)
        return found


def _becomes(character: str, code: int) -> str | None:
    category = unicodedata.category(character)
    if character in "\t\n\r" or category.startswith("Z"):
        return " "
    # Combining accents are gone after NFD: "é" and "e" are one letter to this model.
    if code == 0xFFFD or category == "Mn" or category.startswith("C"):
        return None
    is_symbol = 33 <= code <= 126 and not character.isalnum()
    if is_symbol or category.startswith("P") or any(first <= code <= last for first, last in _IDEOGRAPHS):
        return f" {character} "
    return character


class WordPiece:
    """The tokenizer. Not for two threads at a time."""

    def __init__(self, vocabulary: pathlib.Path = VOCABULARY) -> None:
        with gzip.open(vocabulary, "rt", encoding="utf-8", newline="\n") as lines:
            self._ids = {line.rstrip("\n"): number for number, line in enumerate(lines)}
        self._first, self._last, self._unknown = self._ids["[CLS]"], self._ids["[SEP]"], self._ids["[UNK]"]
        self._characters = _Characters()
        self._words: dict[str, tuple[int, ...]] = {}

    def words_of(self, text: str) -> list[str]:
        """Lower-cased words, punctuation and ideographs one by one, without accents and control characters."""
        # Python makes two characters of a capital dotted İ; the second is an accent and goes with them.
        plain = unicodedata.normalize("NFD", text[:CHARACTERS_MAX].lower())
        return plain.translate(self._characters).split()

    def encode(self, text: str, limit: int = PIECES_MAX) -> list[int]:
        """The numbers of the pieces, between the marks for first and last."""
        pieces = [self._first]
        for word in self.words_of(text):
            known = self._words.get(word)
            if known is None:
                known = self._pieces(word)
                if len(self._words) >= KNOWN_WORDS_MAX:
                    self._words.clear()
                self._words[word] = known
            pieces += known
            if len(pieces) >= limit:
                break
        return [*pieces[: limit - 1], self._last]

    def _pieces(self, word: str) -> tuple[int, ...]:
        """The longest known beginning, then the longest known continuation, and so on; all or nothing."""
        if len(word) > WORD_CHARACTERS_MAX:
            return (self._unknown,)
        found: list[int] = []
        begin = 0
        while begin < len(word):
            for end in range(len(word), begin, -1):
                piece = self._ids.get(word[begin:end] if begin == 0 else f"##{word[begin:end]}")
                if piece is not None:
                    found.append(piece)
                    begin = end
                    break
            else:
                return (self._unknown,)
        return tuple(found)
