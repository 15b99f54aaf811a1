"""A continuation is joined to what was shown without a word twice or a word lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.provider.calling.overlap import MIN_ANEW, MIN_OVERLAP, Differs, Trimmer

TEXT = st.text(st.sampled_from("abcde ,.\né"), max_size=200)
SHOWN = "The quick brown fox jumps over the lazy dog, and then it "


def fed(trimmer: Trimmer, text: str, step: int) -> str:
    """What comes back when `text` comes in pieces."""
    parts = [trimmer.feed(text[at : at + step]) for at in range(0, len(text), step)]
    return "".join(parts) + trimmer.flush()


@given(TEXT, TEXT, st.integers(1, 30))
def test_an_answer_that_comes_again_whole_adds_only_its_rest(shown: str, rest: str, step: int) -> None:
    trimmer = Trimmer(shown, anew_only=True)
    assert fed(trimmer, shown + rest, step) == rest == trimmer.added


@given(TEXT, st.data())
def test_an_answer_sent_anew_that_is_another_one_is_never_joined(shown: str, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, max(0, len(shown) - 1)))
    other = shown[:cut] + "X" + data.draw(TEXT)
    if shown:
        with pytest.raises(Differs):
            fed(Trimmer(shown, anew_only=True), other, data.draw(st.integers(1, 30)))


@given(st.integers(1, 30), st.integers(MIN_OVERLAP, len(SHOWN) - MIN_ANEW))
def test_an_end_that_is_repeated_is_taken_out(step: int, length: int) -> None:
    assert fed(Trimmer(SHOWN), SHOWN[-length:] + "sleeps.", step) == "sleeps."


@given(st.integers(1, 30), st.sampled_from(["sleeps.", "\n\n- a list", "XYZ and then it "]))
def test_what_is_no_repetition_is_kept_whole(step: int, more: str) -> None:
    assert fed(Trimmer(SHOWN.rstrip()), more, step) == more


@pytest.mark.parametrize("step", [1, 5, 100])
def test_how_words_meet(step: int) -> None:
    assert fed(Trimmer("one two", glue=True), "three", step) == " three"
    assert fed(Trimmer("one two", glue=True), " three", step) == " three"
    assert fed(Trimmer("one two", glue=True), ", three", step) == ", three"
    assert fed(Trimmer("one tw"), "o three", step) == "o three"
    assert fed(Trimmer("one two ", glue=True), " three", step) == "three"


@pytest.mark.parametrize("whole", ["世界你好", "日本語です", "สวัสดีครับ", "ສະບາຍດີ", "សួស្តីបង"])
def test_scripts_without_blanks_between_words_get_none(whole: str) -> None:
    assert fed(Trimmer(whole[:2], glue=True), whole[2:], 1) == whole[2:]


@pytest.mark.parametrize("step", [1, 3, 100])
@pytest.mark.parametrize("again", ["", "def f(x):"])
def test_lines_and_indentation_are_kept_at_the_seam(again: str, step: int) -> None:
    """The shown part goes along without the blanks at its end: the continuation brings them, and more."""
    code = "# a program\ndef f(x):\n\n    return x\n"
    for cut in range(code.index("):") + 2, code.index("return") + 1):
        said = again + code[code.index("):") + 2 :]
        assert code[:cut] + fed(Trimmer(code[:cut]), said, step) == code, cut
    assert fed(Trimmer("def f(x):\n"), "    return x", step) == "    return x"
    assert fed(Trimmer("and so on.\n\n"), "so on.\nThen", step) == "Then"


def test_text_is_held_only_while_it_may_be_a_repetition() -> None:
    trimmer = Trimmer(SHOWN)
    assert trimmer.feed("and then") == ""
    assert trimmer.feed(" he") == "and then he"
    assert trimmer.feed(" left") == " left"


def test_an_answer_begun_anew_in_other_words_is_not_joined() -> None:
    with pytest.raises(Differs):
        fed(Trimmer(SHOWN), SHOWN[: MIN_ANEW + 2] + " cat", 3)


def test_an_answer_that_ends_inside_what_was_shown_is_another_one() -> None:
    """Otherwise the shown part, which breaks off in the middle, would pass for a whole answer."""
    for trimmer, said in ((Trimmer(SHOWN, anew_only=True), "The quick"), (Trimmer(SHOWN), SHOWN[:40])):
        with pytest.raises(Differs):
            fed(trimmer, said, 7)
    with pytest.raises(Differs):
        fed(Trimmer(SHOWN, anew_only=True), "", 1)
    assert fed(Trimmer(SHOWN, anew_only=True), SHOWN.rstrip(), 7) == ""
    assert fed(Trimmer(SHOWN), SHOWN.rstrip(), 7) == ""
