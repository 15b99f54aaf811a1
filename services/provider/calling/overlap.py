"""Where a continuation meets the text that was already shown: what came again is taken out, nothing is guessed.

Pure text: a continuation is fed in pieces, and only what the caller has not seen comes back. Text is held back only as
long as it can still turn out to be a repetition.
"""

import unicodedata

_WITHOUT_BLANKS = (("\u0e00", "\u0eff"), ("\u1000", "\u109f"), ("\u1780", "\u17ff"))
"""Thai and Lao, Burmese, Khmer."""
MIN_OVERLAP = 6
"""A shorter match between the end of what was shown and the beginning of what came is chance, not repetition."""
MIN_ANEW = 24
"""An answer that repeats this much from the very beginning and then differs was begun anew with other words."""
REACH = 4096
"""How much of the end of the shown text a repetition may begin in."""


class Differs(Exception):
    """The answer was begun anew and is another one: its rest does not belong behind what was shown."""


class Trimmer:
    """Takes repetitions out of a continuation.

    `anew_only`: the request was sent as at first, so the text must repeat what was shown, all of it, to be of use.
    `glue`: a blank is put between two words that would run together.
    """

    def __init__(self, shown: str, *, anew_only: bool = False, glue: bool = False) -> None:
        self._shown, self._anew_only, self._glue = shown, anew_only, glue
        self._held = ""
        self._decided = not shown
        self._added: list[str] = []

    @property
    def added(self) -> str:
        """Everything that was given back."""
        return "".join(self._added)

    def feed(self, piece: str) -> str:
        """What of the text so far is new. Raises Differs."""
        if self._decided:
            return self._give(piece)
        self._held += piece
        if self._may_repeat_from_the_start() or (not self._anew_only and self._may_repeat_the_end()):
            return ""
        return self._decide()

    def flush(self) -> str:
        """What was still held when the text ended. Raises Differs."""
        return "" if self._decided else self._decide()

    def _give(self, text: str) -> str:
        if text:
            self._added.append(text)
        return text

    def _may_repeat_from_the_start(self) -> bool:
        held = self._held
        return len(held) < len(self._shown) and self._shown.startswith(held)

    def _may_repeat_the_end(self) -> bool:
        """Whether more text could still make `held` begin with an end of the shown text."""
        held, shown = self._held.lstrip(), self._shown
        return len(held) < len(shown) and shown.find(held, max(0, len(shown) - REACH)) >= 0

    def _decide(self) -> str:
        shown, held = self._shown, self._held
        self._held, self._decided = "", True
        if held.startswith(shown):
            return self._give(held[len(shown) :])
        same = _common(shown, held)
        if same == len(held) and not shown[same:].strip() and (self._anew_only or same >= MIN_ANEW):
            # It ended with the last word that was shown.
            return ""
        if self._anew_only or same >= MIN_ANEW:
            # Also one that ended earlier: what its caller has would then end in the middle of a sentence.
            raise Differs
        stripped = held.lstrip()
        tail, words = shown[-REACH:], shown.rstrip()[-REACH:]
        for length in range(min(len(tail), len(stripped)), MIN_OVERLAP - 1, -1):
            if tail.endswith(stripped[:length]):
                return self._give(stripped[length:])
            if words.endswith(stripped[:length]):
                return self._give(_without(_blanks_behind(shown), stripped[length:]))
        if shown[-1].isspace():
            return self._give(_without(_blanks_behind(shown), held))
        blank = " " if self._glue and _ends_word(shown[-1]) and _ends_word(held[:1]) else ""
        return self._give(blank + held)


def _blanks_behind(text: str) -> str:
    return text[len(text.rstrip()) :]


def _without(blanks: str, text: str) -> str:
    """A text without those of its first blanks that were shown: the others may be the indentation of code."""
    own = text[: len(text) - len(text.lstrip())]
    if blanks.startswith(own):
        return text[len(own) :]
    return text.removeprefix(blanks)


def _ends_word(char: str) -> bool:
    """Whether a letter or digit is of a script that puts blanks between words."""
    if unicodedata.east_asian_width(char or " ") in ("W", "F"):
        return False
    return char.isalnum() and not any(first <= char <= last for first, last in _WITHOUT_BLANKS)


def _common(one: str, other: str) -> int:
    """How many first characters two texts share."""
    length = 0
    for first, second in zip(one, other, strict=False):
        if first != second:
            break
        length += 1
    return length
