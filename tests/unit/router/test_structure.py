"""The row of a prompt's shape: what is looked for only where it can be is found wherever it is."""

import re

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.router.prompt.lexicon import PHRASES, SUBJECTS, WORDS
from services.router.prompt.ngrams import capped
from services.router.prompt.pieces import GROUPS
from services.router.prompt.prompt import read_once
from services.router.prompt.structure import NAMES, structure

ALL = [piece for _, pieces in GROUPS for piece in pieces] + [piece for piece, _ in PHRASES]
NOISE = [
    "outlet ",
    "İn Python",
    "é",
    "•",
    "\U0001f642",
    "_",
    "\0",
    " the ",
    "K",
    "9",
    "\n",
    "x" * 4000,
    *list(WORDS)[::400],
]
TEXTS = st.lists(st.one_of(st.sampled_from(ALL), st.sampled_from(NOISE), st.text(max_size=4)), max_size=12).map("".join)


def there(piece: str, lowered: str, words: set[str]) -> bool:
    """Whether a piece counts: it is there, and so is the longest of its words by itself."""
    longest = max(re.findall(r"[^\W_]+", piece), key=len, default="") if piece.isascii() else ""
    return piece in lowered and (not longest or longest in words)


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_every_piece_and_every_word_counts_as_if_all_were_looked_for(text: str) -> None:
    """No guard (n-grams, words, signs, first characters) keeps out what is there."""
    lowered = capped(text).lower()
    words = set(re.findall(r"[^\W_]+", lowered))
    row = dict(zip(NAMES, structure(read_once(text)).tolist(), strict=True))
    for name, pieces in GROUPS:
        count = sum(there(piece, lowered, words) for piece in pieces)
        assert row[name] == np.float32(min(1.0, 0.4 + 0.2 * count) if count else 0.0), name
    for place, subject in enumerate(SUBJECTS):
        said = sum(1 / len(WORDS[word]) for word in words if place in WORDS.get(word, ()))
        said += sum(there(piece, lowered, words) for piece, of in PHRASES if of == subject)
        assert row[f"share_{subject}"] == np.float32(min(1.0, 2 * said / (len(words) + 2))), subject


def test_reading_a_row_twice_changes_nothing() -> None:
    """What words say of subjects belongs to the reading; a row only adds to it."""
    said = read_once("how many eggs are in the word egg, 多少?")
    assert structure(said).tolist() == structure(said).tolist()
