"""OpenAI's stream chunks and usage, for adapters that translate another provider's answers into them."""

from typing import Any

import msgspec

from mesh.usage import answer_tokens, cached_tokens, prompt_tokens
from services.provider.calling.events import Usage


def chunk(
    answer_id: str, created_s: int, model: str, delta: dict[str, Any] | None, finish: str | None, **more: Any
) -> bytes:
    """One chat.completion.chunk as a stream event; without a delta it has no choices. `more`: fields put behind."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    made: dict[str, Any] = {
        "id": answer_id,
        "object": "chat.completion.chunk",
        "created": created_s,
        "model": model,
        "choices": choices,
        **more,
    }
    return b"data: " + msgspec.json.encode(made) + b"\n\n"


def usage_object(usage: Usage) -> dict[str, Any]:
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
