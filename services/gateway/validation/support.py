"""How much of an answer stands in the sources that it was given: a fixed blend, nothing of it learned.

For each sentence three figures of the same weight: the words that stand in the same order in one source sentence, the
runs of three words that stand in the sources, and the meaning's likeness to the nearest source sentence (with an
embedder). An entailment model, if there is one, counts as much as the three together. It tells what is supported, not
what is true.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from rapidfuzz.distance import LCSseq

from services.gateway.validation.effort import Effort
from services.gateway.validation.outcome import FINDINGS_MAX, UNCHECKED, Outcome, judged
from services.gateway.validation.sentences import sentences
from services.gateway.validation.subject import SUPPORT, WARN, Finding

SENTENCES_MAX = 24
"""The most sentences of an answer that are looked at, its first."""
SOURCE_SENTENCES_MAX = 300
SOURCE_CHARACTERS_MAX = 24_000
QUESTION_CHARACTERS_MAX = 4_000
ANSWER_CHARACTERS_MAX = 12_000
NEAR_MAX = 8
"""How many source sentences, those that share the most words, each sentence is laid beside."""
EMBEDDED_SOURCES_MAX = 64
PREMISES_MAX = 2
RUN = 3
FLAG = 0.35
"""Below this an answer is flagged."""
UNSUPPORTED = 0.2
"""Below this a sentence is named in a finding."""
_WORD = re.compile(r"[^\W_]{1,80}")
_NUMBER = re.compile(
    r"(?<![\w.,])\d{1,3}(?:,\d{3}){1,5}(?:\.\d{1,9})?(?!\w|,\d)|(?<![\w.,])\d{1,18}(?:\.\d{1,9})?(?!\d|,\d)"
)
_NAME = re.compile(r"(?<![.!?:\n\"“'‘(*#-] )(?<=[\w,;] )[A-Z][a-z][\w'’-]{1,40}(?: [A-Z][a-z][\w'’-]{1,40}){0,3}")
_UNITS = frozenset(str(number) for number in range(11))
_CAPITALS = (
    "January February March April May June July August September October November December Monday Tuesday Wednesday "
    "Thursday Friday Saturday Sunday However Therefore Moreover Note Yes English I"
)
_NOT_NAMES = frozenset(_CAPITALS.split())


@dataclass(frozen=True, slots=True)
class _Sentence:
    text: str
    start: int
    end: int
    words: tuple[str, ...]
    near: tuple[int, ...] = field(default=())


class Comparison:
    """An answer laid beside its sources: what is to be embedded and asked is known before anybody is."""

    def __init__(self, text: str, context: Sequence[str], effort: Effort) -> None:
        self._sources: list[str] = []
        self._known: set[str] = set()
        left = SOURCE_CHARACTERS_MAX
        for one in context:
            piece = one[:left]
            self._known |= _numbers(piece)
            most = SOURCE_SENTENCES_MAX - len(self._sources)
            self._sources += [piece[start:end] for start, end in sentences(piece, most)]
            left -= len(piece)
            if left <= 0:
                break
        self._words = [_words(one) for one in self._sources]
        self._sets = [frozenset(words) for words in self._words]
        self._runs = {run for words in self._words for size in range(1, RUN + 1) for run in _runs(words, size)}
        self.sentences: list[_Sentence] = []
        if not self._sources:
            return
        for start, end in sentences(text[:ANSWER_CHARACTERS_MAX], SENTENCES_MAX):
            words = _words(text[start:end])
            if not words or not effort.is_left():
                continue
            self.sentences.append(_Sentence(text[start:end], start, end, words, self._near(words)))

    def _near(self, words: tuple[str, ...]) -> tuple[int, ...]:
        wanted = frozenset(words)
        order = sorted(range(len(self._sets)), key=lambda at: -len(wanted & self._sets[at]))
        return tuple(order[:NEAR_MAX])

    def to_embed(self) -> list[str]:
        """The sentences of the answer and of the sources whose meanings are compared."""
        return [one.text for one in self.sentences] + [self._sources[at] for at in self._embedded()]

    def _embedded(self) -> list[int]:
        if len(self._sources) <= EMBEDDED_SOURCES_MAX:
            return list(range(len(self._sources)))
        chosen: dict[int, None] = {}
        for rank in range(NEAR_MAX):
            for one in self.sentences:
                if rank < len(one.near) and len(chosen) < EMBEDDED_SOURCES_MAX:
                    chosen[one.near[rank]] = None
        return list(chosen)

    def pairs(self) -> list[tuple[str, str]]:
        """What an entailment model is asked: each sentence with the source sentences that share the most words."""
        return [
            (" ".join(self._sources[at] for at in sorted(one.near[:PREMISES_MAX])), one.text) for one in self.sentences
        ]

    def outcome(
        self, text: str, question: str, rows: Mapping[str, Sequence[float]] | None, entailed: Sequence[float] | None
    ) -> Outcome:
        """What is to be said. `rows` has the vectors of `to_embed`, `entailed` the answers to `pairs`."""
        if not self.sentences:
            return UNCHECKED
        likeness = self._likeness(rows)
        scores, findings = [], []
        for at, one in enumerate(self.sentences):
            parts = [self._in_order(one), self._coverage(one.words)]
            if likeness is not None:
                parts.append(float(likeness[at]))
            score = sum(parts) / len(parts)
            if entailed is not None:
                score = (score + min(1.0, max(0.0, entailed[at]))) / 2
            scores.append(score)
            if score < UNSUPPORTED:
                findings.append(Finding(SUPPORT, WARN, "the sources do not say this", one.start, one.end))
        score = sum(scores) / len(scores)
        if score < FLAG and not findings:
            findings.append(Finding(SUPPORT, WARN, "little of this stands in the sources", 0, len(text)))
        findings = [*findings[:FINDINGS_MAX], *self._strangers(text, question)]
        judged_so = judged(findings, warned=1.0, failed=1.0, score=score)
        return Outcome(judged_so.status, judged_so.findings, score, min(1.0, 0.4 + score))

    def _in_order(self, one: _Sentence) -> float:
        best = max((LCSseq.similarity(one.words, self._words[at]) for at in one.near), default=0)
        return best / len(one.words)

    def _coverage(self, words: tuple[str, ...]) -> float:
        wanted = _runs(words, min(RUN, len(words)))
        return sum(run in self._runs for run in wanted) / len(wanted)

    def _likeness(self, rows: Mapping[str, Sequence[float]] | None) -> list[float] | None:
        if rows is None:
            return None
        sources = np.array([rows[self._sources[at]] for at in self._embedded()], np.float32)
        answers = np.array([rows[one.text] for one in self.sentences], np.float32)
        return [float(value) for value in np.clip((answers @ sources.T).max(axis=1), 0.0, 1.0)]

    def _strangers(self, text: str, question: str) -> list[Finding]:
        """Numbers and names that neither the sources nor the question have."""
        known = self._known | _numbers(question[:QUESTION_CHARACTERS_MAX]) | _UNITS
        words = frozenset().union(*self._sets, _words(question[:QUESTION_CHARACTERS_MAX]))
        found: list[Finding] = []
        for one in self.sentences:
            for match in _NUMBER.finditer(one.text):
                if _plain(match.group()) not in known:
                    message = f"the number {match.group()} is not in the sources"
                    found.append(Finding(SUPPORT, WARN, message, one.start + match.start(), one.start + match.end()))
            for match in _NAME.finditer(one.text):
                parts = [part for part in match.group().split() if part not in _NOT_NAMES]
                if parts and not any(word in words for part in parts for word in _words(part)):
                    message = f"the name {match.group()[:60]} is not in the sources"
                    found.append(Finding(SUPPORT, WARN, message, one.start + match.start(), one.start + match.end()))
        return found[:FINDINGS_MAX]


def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(text.lower()))


def _runs(words: Sequence[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(words[at : at + size]) for at in range(len(words) - size + 1)]


def _numbers(text: str) -> set[str]:
    return {_plain(number) for number in _NUMBER.findall(text)}


def _plain(number: str) -> str:
    plain = number.replace(",", "")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain.lstrip("0") or "0"
