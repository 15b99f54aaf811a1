"""Guards and word alignment: generated traps, symmetry, any text, time."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.cache.traps import repeats, traps
from services.memory.answers import guards
from services.memory.answers.guards import fires
from services.memory.answers.likeness import is_narrowed, rest
from services.memory.answers.matching import Thresholds, judge, thresholds_of
from services.memory.answers.questions import taken_apart
from services.memory.answers.vocabulary import known_words
from services.memory.answers.word_lists import words
from services.memory.answers.wording import comparable, normalised, plain

ALIKE = Thresholds(0.5, 0.7, 0.86)
TRAPS = traps()


def served(a: str, b: str, *, balanced: bool = False, similarity: float = 1.0) -> bool:
    return judge(a, b, similarity, ALIKE, balanced=balanced).serves


def test_no_generated_trap_is_served_however_alike_the_texts_are() -> None:
    assert len(TRAPS) >= 1000
    assert [pair for pair in TRAPS if served(pair.a, pair.b) or served(pair.b, pair.a)] == []


def test_balanced_serves_hardly_a_trap_even_at_similarity_1() -> None:
    assert sum(served(pair.a, pair.b, balanced=True) for pair in TRAPS) <= len(TRAPS) * 0.005


def test_the_same_question_in_other_clothes_is_served() -> None:
    assert [pair for pair in repeats() if not served(pair.a, pair.b)] == []


def test_every_guard_is_needed() -> None:
    """Without a guard some trap passes: none stands there for nothing."""
    needed = set()
    for pair in TRAPS:
        a, b = taken_apart(pair.a), taken_apart(pair.b)
        firing = [name for name, told_apart in guards._GUARDS if told_apart(a, b)]
        if len(firing) == 1 and not is_narrowed(a, b, rest(a, b, known_words())):
            needed.update(firing)
    assert set(words("numbers times negation opposites quantities question tense modality direction symbols")) <= needed


@pytest.mark.parametrize(
    ("a", "b", "guard"),
    [
        ("Track parcel 4411", "Track parcel 4141", "numbers"),
        ("Is it open on Monday?", "Is it open on Tuesday?", "times"),
        ("Cancel it", "Don't cancel it", "negation"),
        ("How do I lock the door?", "How do I unlock the door?", "opposites"),
        ("What is Ann's address?", "What is Ben's address?", "names"),
        ("What does my child pay?", "What does my friend pay?", "persons"),
        ("What is your name?", "What is my name?", "persons"),
        ("Can I swim before lunch?", "Can I swim after lunch?", "opposites"),
        ("Is every seat free?", "Is a seat free?", "quantities"),
        ("When did it open?", "Where did it open?", "question"),
        ("Who is the head?", "Who was the head?", "tense"),
        ("Is a < b?", "Is a > b?", "symbols"),
        ("What is my score?", "What is this score?", "pointing"),
        ("Fly from Rome to Oslo", "Fly from Oslo to Rome", "direction"),
        ("Did the cat chase the dog?", "Did the dog chase the cat?", "direction"),
    ],
)  # fmt: skip
def test_each_guard_says_its_name(a: str, b: str, guard: str) -> None:
    assert fires(a, b) == guard
    assert fires(b, a) == guard


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("How do I renew my card?", "How can I renew my card?"),
        ("What's the fastest way to dry boots?", "What is the quickest way to dry boots"),
        ("On Sundays, is the pool open?", "Is the pool open on Sundays?"),
        ("Can I return it after two weeks?", "Can I return it after 14 days?"),
        ("Is the shop open?", "IS THE SHOP OPEN?"),
        ("Who repairs bicycles?", "who repairs bicylces"),
        ("What is the guest Wi-Fi password?", "What's the wifi password for guests?"),
        ("How much is £5 in yen?", "How much is 5 pounds in yen"),
    ],
)
def test_other_words_for_the_same_are_not_told_apart(a: str, b: str) -> None:
    assert served(a, b) and served(b, a)


def test_what_narrows_a_question_is_not_served_in_the_balanced_mode() -> None:
    for a, b in (
        ("What is the balance of my account?", "What is the balance of my joint account?"),
        ("What does cleaning a flat cost?", "What does cleaning an office cost?"),
    ):
        left = rest(taken_apart(a), taken_apart(b), known_words())
        assert is_narrowed(taken_apart(a), taken_apart(b), left) and not served(a, b, balanced=True)


def test_similarity_still_has_to_agree() -> None:
    a, b = "How do I renew my card?", "How can I renew my card?"
    assert served(a, b, similarity=0.71) and not served(a, b, similarity=0.69)
    assert thresholds_of("someone-elses:1").alike > thresholds_of("minilm-l6-int8:8199be6f").alike


PIECES = [
    "how",
    "do",
    "I",
    "not",
    "from",
    "to",
    "3",
    "7pm",
    "£5",
    "Anna",
    "Bob",
    "un-",
    "'s",
    "'",
    "-",
    "<",
    "今日",
    "🙂",
]
TEXTS = st.one_of(st.text(max_size=600), st.lists(st.sampled_from(PIECES), max_size=40).map(" ".join))


@settings(max_examples=300, deadline=None)
@given(TEXTS, TEXTS)
def test_any_two_texts_are_judged_the_same_way_round(a: str, b: str) -> None:
    assert (fires(a, b) is None) == (fires(b, a) is None)
    assert rest(taken_apart(a), taken_apart(b), known_words()).is_nothing == (
        rest(taken_apart(b), taken_apart(a), known_words()).is_nothing
    )
    judge(a, b, 1.0, ALIKE, balanced=True)


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_a_text_is_never_told_apart_from_itself_and_normalising_twice_changes_nothing(text: str) -> None:
    assert fires(text, text) is None
    assert normalised(normalised(text)) == normalised(text)
    assert plain(text) or not text.strip()


@pytest.mark.parametrize(
    "text",
    [
        "a" * 400, "-" * 400, "hi " * 130, "1,2,3," * 60, "' " * 200, "please thanks " * 28, "\u0301" * 400,
        "x-y-" * 100,
        "um, er, so, hi, " * 24, "$$$" * 130, "9" * 400, "\u200b" * 400, ".!?" * 133, "can't won't shan't " * 20,
    ],
)  # fmt: skip
def test_hostile_texts_cost_no_more_than_others(text: str) -> None:
    known_words()
    started = time.process_time()
    fires(text, text + " not")
    assert time.process_time() - started < 0.05


def test_a_pair_takes_less_than_half_a_millisecond() -> None:
    fires("warm", "up")
    taken_apart.cache_clear()
    plain.cache_clear()
    started = time.process_time()
    for pair in TRAPS:
        fires(pair.a, pair.b)
    assert (time.process_time() - started) / len(TRAPS) < 0.0005


def test_what_is_no_question_is_compared_for_equality_only() -> None:
    assert not comparable("x" * 401) and not comparable("```\ncode\n```") and not comparable("a\nb\nc\nd")
    assert not comparable("123 + 4") and comparable("What is 123 + 4?")


def test_exact_matches_look_through_case_blanks_and_closing_marks_only() -> None:
    assert normalised("  What is  tar?? ") == normalised("what is tar")
    assert normalised("What is 5!") != normalised("What is 5")
    assert normalised("Is Polish hard?") != normalised("Is polish hard?")
    assert normalised("if a:\n  b") != normalised("if a:\n    b")
