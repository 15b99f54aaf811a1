"""How far two questions are the same word for word: what is left when equal words, synonyms and slips are paired."""

from __future__ import annotations

from dataclasses import dataclass

from services.memory.answers.questions import MIN_SLIP_LETTERS, Question, Word, one_edit_apart
from services.memory.answers.word_lists import words

_IN_PLACE = {
    **dict.fromkeys(("offer", "offers", "provide", "provides", "supply", "get"), words("do have there has")),
    "available": words("there have has get"),
}
"""Words that add nothing when the other question has one of these where they stand."""


_NONE: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Rest:
    """The words of each question that have no partner in the other."""

    left: tuple[str, ...]
    right: tuple[str, ...]
    mended: bool = False
    """Whether words were mistyped: then the embedder did not see what was meant."""

    @property
    def is_nothing(self) -> bool:
        """Whether every word has its partner."""
        return not self.left and not self.right


def rest(a: Question, b: Question, known: frozenset[str]) -> Rest:
    """What is left of both; `known`: the words that are no slips of the pen."""
    if not a.content or not b.content:
        return Rest((), ()) if a.words == b.words else Rest(a.words, b.words)
    left, right = _by_key(a), _by_key(b)
    mended = a.mended or b.mended
    only_left = [word for place, word in left.items() if place not in right]
    only_right = [word for place, word in right.items() if place not in left]
    for word in list(only_left):
        partner = next((other for other in only_right if is_slip(word, other, known)), None)
        if partner is not None:
            mended = True
            only_left.remove(word)
            only_right.remove(partner)
    if not only_right:
        only_left = [word for word in only_left if _IN_PLACE.get(word.text, _NONE).isdisjoint(b.words)]
    if not only_left:
        only_right = [word for word in only_right if _IN_PLACE.get(word.text, _NONE).isdisjoint(a.words)]
    return Rest(tuple(word.text for word in only_left), tuple(word.text for word in only_right), mended)


def _by_key(question: Question) -> dict[tuple[str, int], Word]:
    """Words by what they are compared by; two different words of one group count twice, a repeated word once."""
    found: dict[tuple[str, int], Word] = {}
    texts: dict[str, list[str]] = {}
    for word in question.content:
        of_key = texts.setdefault(word.key, [])
        if word.text not in of_key:
            of_key.append(word.text)
            found[word.key, len(of_key)] = word
    return found


def is_slip(a: Word, b: Word, known: frozenset[str]) -> bool:
    """Whether one of two words is a mistyped form of the other: not both are known words, and one edit apart."""
    if min(len(a.text), len(b.text)) < MIN_SLIP_LETTERS or a.text[0] != b.text[0] or (a.is_name and b.is_name):
        return False
    if not (a.text.isalpha() and b.text.isalpha()) or (a.text in known and b.text in known):
        return False
    if a.text not in known and b.text not in known:
        # Two rare words: only neighbours exchanged are surely a slip.
        return sorted(a.text) == sorted(b.text) and one_edit_apart(a.text, b.text)
    return one_edit_apart(a.text, b.text)


def is_narrowed(a: Question, b: Question, left_over: Rest) -> bool:
    """Whether what is left makes another thing of the same sentence: `joint account`, `a flat` for `an office`."""
    if len(left_over.left) == len(left_over.right) == 1:
        return _neighbours(a, left_over.left[0]) == _neighbours(b, left_over.right[0])
    if len(left_over.left) + len(left_over.right) == 1:
        longer, other, word = (a, b, left_over.left[0]) if left_over.left else (b, a, left_over.right[0])
        return _is_modifier(longer, other, word)
    return False


def _neighbours(question: Question, word: str) -> tuple[str, str]:
    keys = [one.key for one in question.content]
    place = next((place for place, one in enumerate(question.content) if one.text == word), None)
    if place is None:
        # What is left of a question without content is what it is written with: nothing stands beside it.
        return "", ""
    return keys[place - 1] if place else "", keys[place + 1] if place + 1 < len(keys) else ""


def _is_modifier(longer: Question, other: Question, word: str) -> bool:
    shared = {one.text for one in other.content}
    words = [one.removesuffix("'s") for one in longer.words]
    place = words.index(word) if word in words else len(words)
    return place + 1 < len(words) and words[place + 1] in shared
