"""What may be stored and for how long; how sure an observed error is."""

import json
import random
from typing import Any

import pytest

from services.memory.answers.counts import error_bounds
from services.memory.answers.rules import Offered, is_volatile, life_s, refuses
from services.memory.config import MemoryConfig

CONFIG = MemoryConfig()


def offered(text: Any, **message: Any) -> Offered:
    body = json.dumps({"choices": [{"message": {"content": text, **message}}]}).encode()
    return Offered(body, "stop", len(body), None, "What is tar?")


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.", "I\u2019m unable to help with that request.",
        "As an AI language model, I cannot …",
        "Sorry, something went wrong.", "I cannot assist with this.", "Something went wrong. Please retry.",
        "Es tut mir leid, aber nein.",
        "The service is down, please try again later.", "Unfortunately, I can not do that.", "Internal server error",
        "Lo siento, no puedo.",
    ],
)  # fmt: skip
def test_refusals_and_faults_are_not_stored(text: str) -> None:
    assert refuses(offered(text), CONFIG) == "refusal"


@pytest.mark.parametrize(
    "text",
    [
        "Tar is a dark liquid.", "To say sorry in German, say: Es tut mir leid.", "Sorrel is a herb.",
        "Errors are raised by open().",
        "You can't: the shop is closed on Mondays.", "An AI winter is a time of little interest.", [{"type": "text",
        "text": "Tar."}],
    ],
)  # fmt: skip
def test_answers_are_stored(text: Any) -> None:
    assert refuses(offered(text), CONFIG) == ""


def test_answers_with_tool_calls_or_of_low_quality_are_not_stored() -> None:
    assert refuses(offered(None, tool_calls=[{"id": "a"}]), CONFIG) == "tool_calls"
    assert refuses(offered("x", tool_calls=[]), CONFIG) == ""
    low = Offered(offered("x").openai_json, "stop", 10, 0.6, "")
    assert refuses(low, CONFIG) == "quality"


@pytest.mark.parametrize(
    "prompt", ["What's on today?", "Latest iPhone?", "price of gold", "What time is it", "今天天气", "Wetter in Bonn"]
)
def test_what_changes_soon_is_volatile(prompt: str) -> None:
    assert is_volatile(prompt)
    assert life_s(0, prompt, scoped=True, config=CONFIG, chance=random.Random(1)) <= CONFIG.cache_volatile_lifetime_s
    assert life_s(9e9, prompt, scoped=True, config=CONFIG, chance=random.Random(1)) == CONFIG.cache_volatile_lifetime_s


def test_lives_are_spread_only_when_nobody_says_how_long() -> None:
    assert not is_volatile("What is known of Hadrian's wall?")
    lives = {life_s(0, "What is tar?", scoped=True, config=CONFIG, chance=random.Random(seed)) for seed in range(50)}
    day = 86_400
    assert len(lives) == 50 and 27 * day <= min(lives) <= max(lives) <= 30 * day
    assert life_s(60, "What is tar?", scoped=True, config=CONFIG, chance=random.Random(1)) == 60
    assert life_s(0, "", scoped=False, config=CONFIG, chance=random.Random(1)) == CONFIG.cache_lifetime_s


@pytest.mark.parametrize(
    ("errors", "trials"), [(0, 1), (0, 140), (1, 1), (1, 10), (3, 400), (50, 100), (99, 100), (7, 250_000)]
)
def test_bounds_are_those_of_clopper_and_pearson(errors: int, trials: int) -> None:
    from scipy.stats import beta

    low, high = error_bounds(errors, trials)
    assert low == pytest.approx(beta.ppf(0.025, errors, trials - errors + 1) if errors else 0.0, abs=1e-9)
    assert high == pytest.approx(beta.ppf(0.975, errors + 1, trials - errors) if errors < trials else 1.0, abs=1e-9)


def test_without_trials_nothing_is_known() -> None:
    assert error_bounds(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(
    "setting",
    [
        {"cache_max_entries": 0}, {"cache_max_prompt_bytes": 0}, {"cache_semantic_lifetime_s": 0},
        {"cache_min_quality": 1.5},
    ],
)  # fmt: skip
def test_settings_that_cannot_work_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        MemoryConfig(**setting)
