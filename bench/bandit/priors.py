"""What a catalog would say of the models in the data sets before any of their answers there is seen.

MMLU accuracy as published for the model, or for the model it was tuned from: the Chatbot Arena leaderboard's table of
November 2023 (GPT-4, Claude, GPT-3.5, Llama 2, WizardLM, CodeLlama, Mistral) and the makers' model cards (the others),
rounded to a point. None of it comes from the answers that are replayed.
"""

from __future__ import annotations

from collections.abc import Sequence

UNKNOWN = 0.5
"""Expected of a model that is not listed."""
PUBLISHED = {
    "WizardLM/WizardLM-13B-V1.2": 0.53,
    "claude-instant-v1": 0.73,
    "claude-v1": 0.77,
    "claude-v2": 0.79,
    "codegemma-7b": 0.56,
    "gemma-2-9b-it": 0.71,
    "gpt-3.5-turbo-1106": 0.70,
    "gpt-4-1106-preview": 0.86,
    "llama-3.1-8b-instruct": 0.69,
    "llama-3.1-nemotron-51b-instruct": 0.80,
    "llama-3.3-nemotron-super-49b-v1": 0.81,
    "llama3-chatqa-1.5-70b": 0.80,
    "llama3-chatqa-1.5-8b": 0.67,
    "meta/code-llama-instruct-34b-chat": 0.54,
    "meta/llama-2-70b-chat": 0.63,
    "mistral-7b-instruct-v0.3": 0.62,
    "mistralai/mistral-7b-chat": 0.55,
    "mistralai/mixtral-8x7b-chat": 0.71,
    "qwen2.5-7b-instruct": 0.74,
    "zero-one-ai/Yi-34B-Chat": 0.74,
}
"""Model, as the data sets name it, to accuracy."""


def priors_of(models: Sequence[str]) -> list[float]:
    """What is expected of each."""
    return [PUBLISHED.get(model, UNKNOWN) for model in models]
