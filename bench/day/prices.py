"""The price list of the day: fifteen models, what a million tokens of them cost.

Fourteen as listed in ulab-uiuc/LLMRouter (MIT), and GPT-4 Turbo at its list price of November 2023.
"""

ANSWER_TOKENS = 256
"""Tokens of an answer, where a set does not say what a call really cost."""
BYTES_PER_TOKEN = 4
USD_PER_MTOK: dict[str, tuple[float, float]] = {
    "codegemma-7b": (0.2, 0.2),
    "gemma-2-9b-it": (0.1, 0.1),
    "gpt-4-1106-preview": (10.0, 30.0),
    "llama-3.1-8b-instruct": (0.2, 0.2),
    "llama-3.1-nemotron-51b-instruct": (0.9, 0.9),
    "llama-3.3-nemotron-super-49b-v1": (0.9, 0.9),
    "llama3-70b-instruct": (0.9, 0.9),
    "llama3-chatqa-1.5-70b": (0.9, 0.9),
    "llama3-chatqa-1.5-8b": (0.2, 0.2),
    "mistral-7b-instruct-v0.3": (0.2, 0.2),
    "mistral-nemo-12b-instruct": (0.3, 0.3),
    "mixtral-8x22b-instruct-v0.1": (1.2, 1.2),
    "mixtral-8x7b-instruct-v0.1": (0.6, 0.6),
    "palmyra-creative-122b": (1.8, 1.8),
    "qwen2.5-7b-instruct": (0.2, 0.2),
}
"""Model → (input, output)."""


def cost_usd(model: str, prompt_bytes: int) -> float:
    """What an answer to a prompt of that length costs."""
    per_input, per_output = USD_PER_MTOK[model]
    return (prompt_bytes / BYTES_PER_TOKEN * per_input + ANSWER_TOKENS * per_output) / 1e6
