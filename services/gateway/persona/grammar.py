"""Phrases as regular expressions, and the words that they are made of.

A stream shows a phrase piece by piece. What a phrase is made of says when it may still come: as long as only its words
stand there, the last one perhaps not whole. Where that is not so, no later text can change what was found. Pure.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping

END = r"\Z"
_WORD = re.compile(r"\w+")
MOST_WORDS = 80
"""More than the longest phrase has, with what is looked for behind it."""
_BETWEEN = r"(?:[^\w.!?;]|\.(?=\w)|(?<=A\.I)\.|(?<=Inc)\.)"
"""What may stand between the words of a phrase; behind the end of a sentence none goes on."""
_Trie = dict[str, "_Trie"]


class Phrase(ABC):
    """A bounded set of texts."""

    @abstractmethod
    def full(self, *, last: bool) -> str:
        """Matches one of them. `last`: no text comes any more, so that the text's end may stand for what follows."""

    def words(self) -> Iterator[str]:
        """The words that its texts are made of."""
        yield from ()


class Words(Phrase):
    """One of several texts, the longest that is there."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = tuple(texts)

    def full(self, *, last: bool) -> str:
        """See Phrase."""
        return _whole(_trie(self._texts))

    def words(self) -> Iterator[str]:
        """See Phrase."""
        for text in self._texts:
            yield from _WORD.findall(text)


class Char(Phrase):
    """One character of a class, as regular expressions write it; what it says of letters is about the next word."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern

    def full(self, *, last: bool) -> str:
        """See Phrase."""
        return self._pattern


class After(Char):
    """Nothing, behind one of these characters."""

    def __init__(self, chars: str) -> None:
        super().__init__(f"(?<=[{re.escape(chars)}])")


class Either(Phrase):
    """One of several phrases, the first that is there."""

    def __init__(self, *phrases: Phrase) -> None:
        self._phrases = phrases

    def full(self, *, last: bool) -> str:
        """See Phrase."""
        return f"(?:{'|'.join(one.full(last=last) for one in self._phrases)})"

    def words(self) -> Iterator[str]:
        """See Phrase."""
        for one in self._phrases:
            yield from one.words()


class Row(Either):
    """Phrases one behind the other."""

    def full(self, *, last: bool) -> str:
        """See Phrase."""
        return "".join(one.full(last=last) for one in self._phrases)


class Maybe(Either):
    """A phrase, a few times, or not at all."""

    def __init__(self, phrase: Phrase, most: int = 1) -> None:
        super().__init__(phrase)
        self._most = most

    def full(self, *, last: bool) -> str:
        """See Phrase."""
        return f"{super().full(last=last)}{{0,{self._most}}}"


class Named(Either):
    """A phrase whose text is asked for afterwards."""

    def __init__(self, name: str, phrase: Phrase) -> None:
        super().__init__(phrase)
        self._name = name

    def full(self, *, last: bool) -> str:
        """See Phrase."""
        return f"(?P<{self._name}>{super().full(last=last)})"


class Before(Either):
    """Nothing, where the phrase follows; `ends`: or the text has ended."""

    def __init__(self, phrase: Phrase, *, ends: bool = False) -> None:
        super().__init__(phrase)
        self._ends = ends

    def full(self, *, last: bool) -> str:
        """See Phrase."""
        return f"(?={super().full(last=last)}{'|' + END if last and self._ends else ''})"


class NotBefore(Either):
    """Nothing, where the phrase does not follow."""

    def full(self, *, last: bool) -> str:
        """See Phrase."""
        return f"(?!{super().full(last=last)})"


def going_on(words: Iterable[str]) -> str:
    """Matches what is left of a text where it may be the beginning of a phrase that goes on in `words`."""
    known = _trie(words)
    return (
        rf"(?:{_BETWEEN}{{0,4}}{_whole(known)}(?=\W)){{0,{MOST_WORDS}}}{_BETWEEN}{{0,4}}(?:\.?{END}|{_partial(known)})"
    )


def begun(heads: Mapping[str, Iterable[str]]) -> str:
    """Matches the end of a text that is a true beginning of a head. `heads`: first character, which is passed already →
    what stands behind it."""
    tries = {first: _trie(rests) for first, rests in heads.items()}
    return "|".join(f"(?<={re.escape(first)}){_partial(trie)}" for first, trie in tries.items())


def whole(heads: Mapping[str, Iterable[str]]) -> str:
    """Matches a whole head."""
    return "|".join(f"(?<={re.escape(first)}){_whole(_trie(rests))}" for first, rests in heads.items())


def dull(heads: Mapping[str, Iterable[str]], marks: str) -> re.Pattern[bytes]:
    """Matches a piece of text, as JSON has it, in which neither a mark stands nor a head begins or may have begun,
    whatever stands before the piece. Only ASCII; what would be escaped is none of it. `heads` as in `begun`."""
    letters = "".join(heads)
    plain = "".join(re.escape(char) for char in map(chr, range(32, 127)) if char not in letters + marks + '"\\')
    tries = {first: _trie(rests) for first, rests in heads.items()}
    begins = [rf"(?<=\w)[{letters}]", *(f"{one}(?!{_partial(trie)}|{_whole(trie)})" for one, trie in tries.items())]
    return re.compile(f"[{plain}]*+(?:(?:{'|'.join(begins)})[{plain}]*+)*+".encode())


def _trie(texts: Iterable[str]) -> _Trie:
    top: _Trie = {}
    for text in texts:
        node = top
        for char in text:
            node = node.setdefault(char, {})
        node[""] = {}
    return top


def _whole(node: _Trie) -> str:
    """Longer texts first."""
    found = [re.escape(char) + _whole(below) for char, below in node.items() if char]
    if "" in node:
        return f"(?:{'|'.join(found)})?" if found else ""
    return found[0] if len(found) == 1 else f"(?:{'|'.join(found)})"


def _partial(node: _Trie) -> str:
    """A beginning of one of the texts, up to the end."""
    found = [re.escape(char) + _partial(below) for char, below in node.items() if char]
    return f"(?:{'|'.join([END, *found])})"
