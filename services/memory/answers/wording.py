"""How a question is worded: what may be left out before two questions are compared, and its words.

Everything here is bounded: texts longer than a question are never compared by meaning at all.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

COMPARABLE_CHARACTERS = 400
"""Longer texts are only ever compared for equality: an embedder reads the beginning of a text alone."""
PARSED_KEPT = 4096

_LETTER = re.compile(r"[^\W\d_]")
_SPACES = re.compile(r"\s+")
_CLOSING = re.compile(r"(?<!\d)[\s.!?…,;:]+$")
_APOSTROPHES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u02bc": "'", "`": "'", "\u2032": "'"})
_GREETING = re.compile(
    r"^(?:(?:hi|hiya|hello|hey|hallo|howdy|greetings|dear|good (?:morning|afternoon|evening|day))(?: (?:there|all"
    r"|team|everyone|everybody|folks|guys|sir|madam|again))?|(?:just )?(?:a )?quick (?:one|question|query|q)"
    r"|(?:one )?quick thing|question|quick|just (?:wondering|curious|checking)|i(?:'m| am|m|) (?:just )?wondering"
    r"|i was (?:just )?wondering|sorry|excuse me|pardon me|apologies|hope you are well|um+|uh+|er+m*|hm+|ah+|oh|ok"
    r"|okay|so|well|right|yeah|yes|yep|please|pls|kindly|anyway|basically|actually|(?:could|can|would) (?:you"
    r"|anyone|someone|somebody) (?:please |kindly )?tell me|tell me|(?:please )?let me know|(?:do|does) (?:you"
    r"|anyone|anybody) know|i(?:'d| would)? (?:like|want|need) to know|any idea)"
    r"(?:[\s,.:;!…–-]+|$)",
    re.IGNORECASE,
)
_SIGN_OFF = re.compile(
    r"(?:^|[\s,.;!?…–-]+)(?:thanks?(?: you)?(?: so much| very much| a lot| a million| again| in advance)?"
    r"|many thanks|thx|ty|cheers|ta|much appreciated|please|pls|regards|kind regards|best regards|best wishes|best"
    r"|asap|mate|lol|haha)[\s.!…,]*$",
    re.IGNORECASE,
)
_FILLERS = re.compile(r"\b(?:um+|uh+|erm+|er|hmm+|please|pls|kindly|y'know|you know)\b[,]?\s*", re.IGNORECASE)


def normalised(text: str) -> str:
    """What an exact match compares: case, spaces, closing punctuation and Unicode forms do not count.

    Only for questions: what has several lines or code in it is compared as it is written.
    """
    if len(text) > COMPARABLE_CHARACTERS or "\n" in text or "`" in text:
        return text
    return _flattened(text)


@lru_cache(maxsize=PARSED_KEPT)
def _flattened(text: str) -> str:
    flat = _SPACES.sub(" ", unicodedata.normalize("NFC", text)).translate(_APOSTROPHES).strip()
    return _lowered(_CLOSING.sub("", flat)) or flat


def _lowered(text: str) -> str:
    """Lowers what says nothing: a first letter, a text that shouts. `Polish` and `polish` stay two words."""
    if text.isupper() and " " in text:
        return text.casefold()
    first, blank, rest = text.partition(" ")
    return (first.casefold() if first[1:].islower() or len(first) == 1 else first) + blank + rest


@lru_cache(maxsize=PARSED_KEPT)
def plain(text: str) -> str:
    """What is embedded and compared: without greetings, sign-offs, fillers, closing punctuation."""
    text = _SPACES.sub(" ", unicodedata.normalize("NFKC", text[:COMPARABLE_CHARACTERS])).translate(_APOSTROPHES).strip()
    core = text
    for _ in range(4):
        shorter = _GREETING.sub("", core, count=1).strip()
        if not shorter or shorter == core:
            break
        core = shorter
    for _ in range(3):
        shorter = _SIGN_OFF.sub("", core).strip()
        if not shorter or shorter == core:
            break
        core = shorter
    core = _CLOSING.sub("", _FILLERS.sub("", core)).strip()
    return core or text


def comparable(text: str) -> bool:
    """Whether a text is short and plain enough to be compared by meaning."""
    return (
        0 < len(text.strip()) <= COMPARABLE_CHARACTERS
        and "```" not in text
        and text.count("\n") <= 2
        and bool(_LETTER.search(text))
    )
