"""What a provider's model says of itself, put in the organisation's name, in a text that comes in pieces.

However a text is cut, what comes out is the same as of the whole text, and text waits only where a claim (or the mark
of a code block or a quotation) has begun. Code, quotations and JSON stay as they are. Pure.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import re

from services.gateway.persona.claims import CLAIMS, HEADS, vocabulary
from services.gateway.persona.grammar import END, begun, dull, going_on, whole
from services.gateway.persona.wording import edits_of

LEFT = 160
"""How many characters left of a claim are looked at."""
_KEPT = 4 * LEFT
"""From so many characters on those that nobody looks at any more are let go; at once would cost more."""
_OPENERS = {
    "ticks": r"(?<=`)(?:`{63}|`{0,62}(?!`))",
    "tildes": r"(?<=\n)~~~",
    "line": r"(?<=\n)(?:    |\t| {0,3}>)",
    "quote": r'(?<![\w.,!?:;)\]\\]")(?<=")(?=\S)',
    "single": r"(?<!\w['‘])(?<=['‘])(?=[A-Z])",
    "curly": r"(?<=[“„«])",
}
"""What begins that is not the model's own speech, behind its first character."""
_MARKS = "`\n\"'‘“„«"
"""Their first characters."""
_OPENERS_BEGUN = rf"(?<=`)`{{0,62}}{END}|(?<=\n)~{{0,2}}{END}|(?<=\n) {{0,3}}{END}|(?<=[\"'‘]){END}"
_CLOSERS = {
    "tildes": re.compile(rf"(?<=\n)(?:~~~|~{{0,2}}(?P<more>{END}))"),
    "line": re.compile(r"(?=\n)"),
    "quote": re.compile(r'(?<!\\)"|\n'),
    "single": re.compile(rf"['’](?P<more>{END})|['’](?!\w)|\n"),
    "curly": re.compile(r"[”“»]|(?<=\n)\n"),
    "ticks": re.compile(rf"(?P<more>`{{1,63}}{END})|`{{1,64}}|(?<=\n)\n"),
}
_JSON, _JSON_BEGUN, MOST_BLANK = re.compile(r'\{\s*["}]|\[\s*[\[{"]'), re.compile(r"[{\[]?\s*"), 64
MOST_CHARS = 100_000
"""How much of a text is looked at; more than nearly every answer has, and what a hostile one may cost is bounded."""
MOST_LOOKS, _LOOK = 8_000, 4
"""How many marks of code and quotations are looked at in one text, and for how many a beginning of a claim counts;
behind them nothing is changed."""
_PLAIN, _RAW, _WAITING = "plain", "raw", ("more", "still")


_NEAR_END, _MOST_WAITS = 80, 700
"""Longer than a mark or the beginning of a claim; longer than a whole claim with what is looked for behind it."""
_MOST_PASSED = 200
"""So many pieces are kept before they are joined."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Patterns:
    """What finds claims in a text."""

    seek: re.Pattern[str]
    """Finds the first thing that must be looked at."""
    seek_end: re.Pattern[str]
    """The same near the end of a text that may go on: also what may still become one."""
    claims: tuple[re.Pattern[str], re.Pattern[str]]
    """A claim, from its second character on: in a text that goes on, and in the last of it."""
    goes_on: re.Pattern[str]
    """Whether all that is left may be the beginning of one."""
    dull: re.Pattern[bytes]
    """A piece in which nothing has to be looked at."""


@functools.cache
def _patterns() -> _Patterns:
    """Made when the first persona speaks."""
    first, second = (
        re.compile("|".join(f"(?P<{kind}>{phrase.full(last=last)})" for kind, phrase in CLAIMS.items()))
        for last in (False, True)
    )
    goes_on = re.compile(going_on(vocabulary()))
    return _Patterns(_seek(near_end=False), _seek(near_end=True), (first, second), goes_on, dull(HEADS, _MARKS))


async def prepare() -> None:
    """Makes the patterns, if nobody has yet: a fifth of a second, in a thread, so that other requests go on."""
    if not _patterns.cache_info().currsize:
        await asyncio.to_thread(_patterns)


def _seek(*, near_end: bool) -> re.Pattern[str]:
    marks = [f"(?P<more>{_OPENERS_BEGUN})"] if near_end else []
    marks += [f"(?P<{kind}>{pattern})" for kind, pattern in _OPENERS.items()]
    heads = [f"(?P<still>{begun(HEADS)})"] if near_end else []
    heads += [f"(?P<head>{whole(HEADS)})"]
    letters = re.escape("".join(HEADS))
    # A class in front of everything: that is what the search runs to.
    return re.compile(rf"[{_MARKS}{letters}](?:(?<=\w)(?<!\w\w)(?:{'|'.join(heads)})|(?<!\w)(?:{'|'.join(marks)}))")


class Voice:
    """One text on its way: `feed` it in pieces, then ask for the `rest`."""

    __slots__ = (
        "_at",
        "_begins",
        "_dull",
        "_easy",
        "_left",
        "_looks",
        "_mode",
        "_name",
        "_passed",
        "_pos",
        "_seek",
        "_text",
        "_ticks",
        "rewritten",
    )

    def __init__(self, name: str) -> None:
        self._name, self.rewritten = name, 0
        # What is looked at left of the next piece, and behind it what waits. It begins as if behind a line's end.
        self._text, self._at, self._pos = "\n", 1, 0
        self._mode, self._ticks, self._looks = _PLAIN, 0, 0
        self._begins: str | None = ""
        self._easy, self._left = False, MOST_CHARS
        patterns = _patterns()
        self._seek, self._dull = patterns.seek_end.search, patterns.dull.fullmatch
        self._passed: list[bytes] = []
        """What was let pass since the text was last added to."""

    @property
    def holds(self) -> bool:
        """Whether text waits."""
        return not self._easy and self._at < len(self._text)

    def passes(self, piece: bytes) -> bool:
        """Whether a piece, as JSON has it, is shown as it is without being read: the same as `feed`, for most pieces.
        False = it was not taken."""
        if not self._easy or self._dull(piece) is None or len(piece) > self._left:
            return False
        self._left -= len(piece)
        self._passed.append(piece)
        if len(self._passed) > _MOST_PASSED:
            self._join()
        return True

    def _join(self) -> None:
        """Adds what was let pass to the text that is looked at left of a claim."""
        self._text = (self._text + b"".join(self._passed).decode())[-LEFT:]
        self._passed.clear()

    def feed(self, text: str) -> str:
        """What may be shown by now."""
        if self._passed:
            self._join()
        self._left -= len(text)
        if self._left < 0:
            return self._feed_end(text)
        if self._begins is not None:
            self._begin(text)
        if self._easy:
            # Nothing waits, as nearly always, and both places are the text's end: they are not counted on.
            at = len(self._text)
            if len(text) < _NEAR_END:
                joined = self._text + text
                if self._seek(joined, at) is None:
                    self._text = joined if at < _KEPT else joined[-LEFT:]
                    return text
            self._at, self._pos, self._easy = at, at, False
        if self._mode is _RAW:
            held, self._text, self._at = self._text[self._at :], "", 0
            return held + text
        self._text += text
        return self._read(last=False)

    def _feed_end(self, text: str) -> str:
        """What comes behind the most that is looked at."""
        looked_at = max(0, len(text) + self._left)
        shown = ""
        if looked_at:
            self._left = looked_at
            shown = self.feed(text[:looked_at])
        if self._mode is not _RAW:
            shown += self.rest()
            self._mode, self._text, self._at, self._pos, self._easy = _RAW, "", 0, 0, False
        self._left = -1
        return shown + text[looked_at:]

    def rest(self) -> str:
        """What waits; no text comes any more."""
        return self._read(last=True) if self.holds else ""

    def _begin(self, text: str) -> None:
        """Notes whether the text is JSON, as far as its first characters say; they do not wait for that."""
        assert self._begins is not None
        said = self._begins = (self._begins + text).lstrip()[:MOST_BLANK]
        if _JSON.match(said):
            self._mode, self._begins = _RAW, None
        elif _JSON_BEGUN.fullmatch(said) is None or len(said) == MOST_BLANK:
            self._begins = None
            self._easy = self._mode is _PLAIN and self._pos == len(self._text)

    def _read(self, *, last: bool) -> str:
        text, shown = self._text, list[str]()
        while self._pos < len(text) and self._looks <= MOST_LOOKS:
            goes_on = self._speak(text, shown, last=last) if self._mode is _PLAIN else self._pass(text)
            if not goes_on:
                break
        if self._looks > MOST_LOOKS:
            self._mode = _RAW
        self._show(text, self._pos if self._mode is _PLAIN and not last else len(text), shown)
        left = max(0, min(self._at, self._pos) - LEFT)
        self._text, self._at, self._pos = text[left:], self._at - left, self._pos - left
        self._easy = self._mode is _PLAIN and self._begins is None and self._pos == len(self._text)
        return "".join(shown)

    def _show(self, text: str, end: int, shown: list[str]) -> None:
        if end > self._at:
            shown.append(text[self._at : end])
            self._at = end

    def _pass(self, text: str) -> bool:
        """Goes on to the end of code or a quotation; nothing waits for it. False = it is not there yet."""
        found = _CLOSERS[self._mode].search(text, self._pos)
        if found is None or found.groupdict().get("more") is not None:
            self._pos = len(text) if found is None else found.start()
            return False
        self._looks, self._pos = self._looks + 1, found.end()
        if self._mode == "ticks":
            ran, wanted = found.end() - found.start(), self._ticks
            ends = wanted < 3 if found.group() == "\n" else ran == wanted or ran >= wanted >= 3
            if not ends:
                return True
        self._mode = _PLAIN
        return True

    def _speak(self, text: str, shown: list[str], *, last: bool) -> bool:
        """Goes on to the next thing that must be looked at, and behind it. False = the text may still go on in it."""
        found = self._sought(text, last=last)
        if found is None or found.lastgroup in _WAITING:
            self._pos = len(text) if found is None else found.start()
            return False
        start, kind = found.start(), found.lastgroup or ""
        patterns = _patterns()
        if kind != "head":
            self._mode, self._ticks, self._pos = kind, found.end() - start, found.end()
        elif not last and len(text) - start < _MOST_WAITS and patterns.goes_on.match(text, start):
            self._pos = start
            return False
        else:
            claim = patterns.claims[last].match(text, start + 1)
            edits = edits_of(claim, text[max(0, start - LEFT) : start], self._name) if claim is not None else []
            for begin, end, new in edits:
                self._show(text, begin, shown)
                shown.append(new)
                self._at = end
            self.rewritten += bool(edits)
            self._pos = claim.end() if claim is not None and edits else start + 1
            self._looks += _LOOK
        self._looks += 1
        return True

    def _sought(self, text: str, *, last: bool) -> re.Match[str] | None:
        """The next thing that must be looked at."""
        patterns, near = _patterns(), len(text) if last else max(self._pos, len(text) - _NEAR_END)
        found = patterns.seek.search(text, self._pos) if self._pos < near else None
        if last or (found is not None and found.start() < near):
            return found
        return patterns.seek_end.search(text, near)


def rewrite(text: str, name: str) -> tuple[str, int]:
    """A whole text in the organisation's voice, and how many claims were put otherwise."""
    voice = Voice(name)
    said = voice.feed(text)
    return said + voice.rest(), voice.rewritten
