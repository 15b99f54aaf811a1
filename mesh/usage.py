"""What a usage adds up to: its buckets of tokens are disjoint, and this is the one place that knows which are which."""

from typing import Any, Protocol


class Tokens(Protocol):
    """dac.type.v1.Usage, or whatever has its counts."""

    @property
    def input_tokens(self) -> int: ...  # noqa: D102
    @property
    def input_cached_tokens(self) -> int: ...  # noqa: D102
    @property
    def cache_write_tokens(self) -> int: ...  # noqa: D102
    @property
    def output_tokens(self) -> int: ...  # noqa: D102
    @property
    def reasoning_tokens(self) -> int: ...  # noqa: D102
    @property
    def cache_write_1h_tokens(self) -> int: ...  # noqa: D102
    @property
    def input_audio_tokens(self) -> int: ...  # noqa: D102
    @property
    def input_audio_cached_tokens(self) -> int: ...  # noqa: D102
    @property
    def input_image_tokens(self) -> int: ...  # noqa: D102
    @property
    def output_audio_tokens(self) -> int: ...  # noqa: D102
    @property
    def output_image_tokens(self) -> int: ...  # noqa: D102


def prompt_tokens(usage: Tokens) -> int:
    """All of the prompt."""
    text = usage.input_tokens + usage.input_cached_tokens + usage.cache_write_tokens + usage.cache_write_1h_tokens
    return text + usage.input_audio_tokens + usage.input_audio_cached_tokens + usage.input_image_tokens


def answer_tokens(usage: Tokens) -> int:
    """All of the answer, with what was thought."""
    text = usage.output_tokens + usage.reasoning_tokens
    return text + usage.output_audio_tokens + usage.output_image_tokens


def cached_tokens(usage: Tokens) -> int:
    """What was read from the provider's cache."""
    return usage.input_cached_tokens + usage.input_audio_cached_tokens


def openai_usage(usage: Tokens) -> dict[str, Any]:
    """OpenAI's totals of the disjoint buckets."""
    prompt, completion = prompt_tokens(usage), answer_tokens(usage)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached_tokens(usage), "audio_tokens": usage.input_audio_tokens},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": usage.output_audio_tokens,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
