"""Terms: what should find what, and that no text breaks or delays them."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.memory.conversations.terms import MAX_TERM_CHARS, MAX_TERMS, stem, terms_of


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ("The children were painting kitchens", "paint kitchen child"),
        ("hoping moved deciding studies died", "hope move decide study dies"),
        ("She bought flowers and went home", "buy flower go home"),
        ("Café Straße ＦＵＬＬ Ёлка", "cafe strasse full елка"),
        ("Anna’s dog", "anna dog"),
        ("it cost 1,000 dollars", "1000 dollar"),
        ("at 3.5 of v1.2.3, room ١٢٣", "3.5 v1 123"),
        ("我住在东京塔附近", "东京"),
        ("東京タワーに行きました", "東京タワー"),
        ("어제 서울에 갔어요", "서울"),
        ("مَرْحَبًا", "مرحبا"),
        ("हिन्दी में लिखा", "हिन्दी"),
        ("l'homme", "homme"),
        ("snake_case", "case"),
    ],
)
def test_what_was_said_is_found_by_what_is_asked(said: str, asked: str) -> None:
    assert set(terms_of(asked)) <= set(terms_of(said))


@pytest.mark.parametrize(
    ("one", "other"), [("care", "car"), ("hoping", "hopping"), ("note", "not"), ("plane", "plan"), ("fire", "fir")]
)
def test_different_words_stay_apart(one: str, other: str) -> None:
    assert stem(one) != stem(other)


def test_stop_words_are_left_out_unless_there_is_nothing_else() -> None:
    assert terms_of("Where did you put the keys? I don't know") == ["put", "key", "know"]
    assert terms_of("Who is it?") == ["who", "is", "it"]
    assert terms_of("?! \u2026") == []


def test_order_and_repeats_are_kept() -> None:
    assert terms_of("dogs, cats; dog") == ["dog", "cat", "dog"]


@given(st.text())
def test_any_text_gives_the_same_bounded_terms(text: str) -> None:
    terms = terms_of(text)
    assert terms == terms_of(text)
    assert len(terms) <= MAX_TERMS
    assert all(0 < len(term) <= MAX_TERM_CHARS for term in terms)
    assert all(term.encode() for term in terms), "a term is text that can be stored"


@given(st.text(), st.from_regex(r"[a-z0-9]{1,12}", fullmatch=True), st.text())
def test_whatever_holds_a_word_has_a_term(before: str, word: str, after: str) -> None:
    assert terms_of(f"{before} {word} {after}")


@given(st.text(st.characters(whitelist_categories=["Lu", "Ll"]), max_size=30))
def test_case_does_not_matter(text: str) -> None:
    assert terms_of(text.casefold()) == terms_of(text)


@pytest.mark.parametrize(
    "text",
    [
        "a" * 10**6,
        "1." * 10**6,
        "1" + ",111" * 300_000,
        "a'" * 10**6,
        "漢" * 10**6,
        "a漢ก1'" * 200_000,
        "\ufdfa" * 10**6,
        "\u093f" * 10**6,
        "a" + "\u0301" * 10**6,
        " ".join(map(str, range(10**5))),
    ],
    ids=["run", "dots", "thousands", "apostrophes", "han", "scripts", "unfolding", "marks", "accents", "numbers"],
)
def test_a_hostile_text_costs_little(text: str) -> None:
    begun = time.process_time()
    terms = terms_of(text)
    assert time.process_time() - begun < 1.0
    assert len(terms) <= MAX_TERMS
