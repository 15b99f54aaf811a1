"""The quality predictor: probabilities, monotone in ability, silent outside of what was learned."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.router.prompt.ngrams import hashed
from services.router.prompt.predictor import QualityPredictor, Reading
from services.router.prompt.prompt import read_once
from services.router.prompt.quality_features import BUCKETS, COLUMNS, row
from services.router.prompt.quality_model import QualityModel, odds

PREDICTOR = QualityPredictor.load()
MODEL = PREDICTOR.model

SUMS = (
    "Mara bakes 4 trays of 12 rolls every morning. She sells 3/4 of them at $2 each and gives the rest to her "
    "neighbours. How many dollars does Mara earn in 5 days?"
)
HARD = (
    "A spin-1/2 particle is prepared in an eigenstate of the operator $S_x + S_z$ with the larger eigenvalue. After a "
    "measurement of $S_y$, what is the probability that a second measurement of $S_z$ yields $+\\hbar/2$?\n"
    "['1/2', '(2+\\\\sqrt{2})/4', '1/4', '3/8']"
)
NONSENSE = "xkqj zzvw pqlmv wwqqx jzkt bvxq hhqz mwkkp qqjx"
OTHER_LANGUAGE = "请帮我写一封邮件给房东，说明暖气坏了，并且请求尽快修理。"

texts = st.one_of(st.text(max_size=120), st.sampled_from([SUMS, HARD, NONSENSE, OTHER_LANGUAGE, ""]))
abilities = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20).map(lambda a: np.array(a, np.float32))


def _read(text: str) -> Reading:
    return PREDICTOR.read(text, hashed(text))


@settings(max_examples=30, deadline=None)
@given(texts, abilities)
def test_expected_quality_is_a_probability_and_the_same_twice(text: str, able: np.ndarray) -> None:
    """Any text and any candidates give numbers from 0 to 1, always the same ones."""
    places = np.arange(len(able)) % (len(PREDICTOR.measured) + 1) - 1
    first = PREDICTOR.expected(_read(text), able, places)
    again = PREDICTOR.expected(_read(text), able, places)
    assert first.shape == able.shape
    assert np.isfinite(first).all()
    assert (first >= 0).all()
    assert (first <= 1).all()
    assert np.array_equal(first, again)
    assert 0.0 <= _read(text).confidence <= 1.0


@settings(max_examples=30, deadline=None)
@given(texts, abilities)
def test_between_models_that_were_not_measured_the_abler_is_never_expected_to_do_worse(
    text: str, able: np.ndarray
) -> None:
    """Difficulty moves all such candidates, it never changes their order."""
    expected = PREDICTOR.expected(_read(text), np.sort(able))
    assert (np.diff(expected) >= -1e-6).all()


@pytest.mark.parametrize("text", [NONSENSE, OTHER_LANGUAGE, "", "\x00\x01", "()" * 700])
def test_outside_of_what_was_learned_the_catalog_decides(text: str) -> None:
    """No confidence: the expected quality is the catalog's own, whoever was measured."""
    reading = _read(text)
    able = np.linspace(0.1, 0.9, len(PREDICTOR.measured), dtype=np.float32)
    assert reading.confidence == 0.0
    assert np.array_equal(PREDICTOR.expected(reading, able, np.arange(len(able))), able)


def test_a_familiar_prompt_is_recognised_and_hard_ones_spread_the_models() -> None:
    """School sums are known and easy; a question of quantum mechanics is harder."""
    easy, hard = _read(SUMS), _read(HARD)
    assert easy.confidence > 0.5
    assert hard.confidence > 0.5
    assert easy.difficulty < 0 < hard.difficulty
    able = np.array([0.6], np.float32)
    assert PREDICTOR.expected(easy, able)[0] > 0.6 > PREDICTOR.expected(hard, able)[0]


def test_a_measured_model_is_judged_by_its_own_results() -> None:
    """Of two models of the same ability, the one that fails at sums is expected to fail here."""
    places = PREDICTOR.places(["nvidia/Llama3-ChatQA-1.5-8B", "qwen2.5-7b-instruct", "acme/unheard-of"])
    assert places.tolist()[2] == -1
    assert [PREDICTOR.measured[place] for place in places[:2]] == ["llama3-chatqa-1.5-8b", "qwen2.5-7b-instruct"]
    poor, good, unknown = PREDICTOR.expected(_read(SUMS), np.full(3, 0.5, np.float32), places)
    assert poor < unknown
    assert good > poor + 0.2


def _plainly(text: str) -> tuple[float, float, np.ndarray]:
    """Difficulty, confidence and heads by the plain product of a row and the weights, each expert for itself."""
    read = row(text, hashed(text))
    plain = np.zeros(COLUMNS, np.float32)
    np.add.at(plain, read.columns, read.weights)
    spoken = plain @ MODEL.weights
    shaped = plain[BUCKETS:] @ MODEL.weights[BUCKETS:]
    at, most, difficulty, heads = 0, 0.0, 0.0, []
    for expert in MODEL.experts:
        like = at + expert.width - len(expert.kinds)
        scores = np.concatenate((spoken[at:like], shaped[like : at + expert.width]))
        at += expert.width
        many, trusts = expert.judge(scores[None], np.array([expert.familiarity(read.ids)], np.float32))
        trust, harder = float(trusts[0]), float(odds(expert.overall.mean()) - odds(many[0].mean()))
        heads.append(odds(many[0]) - odds(expert.overall) + harder if trust > 0 else np.zeros(len(expert.models)))
        if trust > most:
            most, difficulty = trust, harder
    return difficulty, most, np.concatenate(heads)


@settings(max_examples=60, deadline=None)
@given(st.one_of(texts, st.sampled_from(["é" * 4000, "if x\n```" * 300, "\x00", "4 trays of 12 rolls, 9 times"])))
def test_one_prompt_is_judged_as_the_plain_product_says(text: str) -> None:
    """What the bench measures in a batch is what the router computes for one prompt, in one pass over all experts."""
    difficulty, confidence, heads = _plainly(text)
    found = _read(text)
    assert found.confidence == pytest.approx(confidence, abs=1e-4)
    assert found.difficulty == pytest.approx(difficulty, abs=1e-3)
    assert np.allclose(found.measured, heads, atol=1e-3)
    assert PREDICTOR.read_again(read_once(text)).confidence == pytest.approx(found.confidence, abs=1e-6)


def test_weights_survive_saving(tmp_path: Path) -> None:
    """What is saved answers as what was loaded."""
    MODEL.save(tmp_path / "weights" / "quality.npz")
    again = QualityPredictor.load(tmp_path / "weights" / "quality.npz")
    for text in (SUMS, NONSENSE):
        before, after = _read(text), again.read(text, hashed(text))
        assert (before.difficulty, before.confidence) == (after.difficulty, after.confidence)
        assert np.array_equal(before.measured, after.measured)


def test_weights_of_another_shape_are_refused() -> None:
    """Weights made for other features never score silently."""
    with pytest.raises(ValueError, match="train again"):
        QualityModel(MODEL.experts, MODEL.weights[:-1])
