"""Snippets: they show what was found, where it stands, and never more than a piece."""

from hypothesis import given
from hypothesis import strategies as st

from services.memory.conversations.snippets import MAX_SNIPPETS, SNIPPET_CHARS, places_of, snippets_of
from services.memory.conversations.terms import terms_of


def shown(text: str, query: str) -> list[list[str]]:
    return [[one.text[start:end] for start, end in one.found] for one in snippets_of(text, frozenset(terms_of(query)))]


def test_a_snippet_marks_every_form_of_a_word() -> None:
    assert shown("We painted it. (Painting is fun!)", "paint") == [["painted", "Painting"]]
    assert shown("Call Café-Bar, on 1,000 days", "cafe 1000") == [["Café", "1,000"]]
    assert shown("我住在东京塔附近", "东京塔") == [["东京塔"]]
    assert shown("Anna’s keys/locks", "anna key") == [["Anna’s", "keys"]]


def test_far_places_are_shown_in_pieces_of_their_own() -> None:
    text = "cats " + "x " * 500 + "dogs and birds " + "y " * 500 + "cats"
    assert shown(text, "dog bird cat") == [["cats"], ["dogs", "birds"], ["cats"]]


def test_without_a_word_the_beginning_is_shown() -> None:
    (one,) = snippets_of("hello there " * 100, frozenset({"absent"}))
    assert (one.offset, one.found) == (0, ())
    assert 0 < len(one.text) <= SNIPPET_CHARS


@given(st.text(), st.text(max_size=20), st.integers(0, 30))
def test_what_is_marked_is_in_the_text(text: str, query: str, repeat: int) -> None:
    long_text = text * repeat + query + text
    wanted = frozenset(terms_of(query))
    found = snippets_of(long_text, wanted)
    assert 1 <= len(found) <= MAX_SNIPPETS
    for one in found:
        assert long_text[one.offset : one.offset + len(one.text)] == one.text
        assert len(one.text) <= 2 * SNIPPET_CHARS
        assert all(0 <= start < end <= len(one.text) for start, end in one.found)


@given(st.lists(st.sampled_from(["dog", "house", "东京", "painted", "42", "to"]), min_size=1))
def test_what_a_text_says_is_marked_in_it(words: list[str]) -> None:
    text = " ".join(words)
    assert bool(places_of(text, frozenset(terms_of("painting 东京 42")))) == bool(
        {"东京", "painted", "42"} & set(words)
    )
