"""Answers in the forms of the sources, written for the tests: a good one of each, and what can be wrong with any."""

import json
from typing import Any

from services.router.sources import genai_prices, hugging_face, litellm, lmarena, models_dev, ollama, openrouter

OPENROUTER: dict[str, Any] = {
    "data": [
        {
            "id": "acme/large-2",
            "hugging_face_id": "Acme/Large-2-70B",
            "name": "Acme: Large 2",
            "context_length": 131072,
            "architecture": {"input_modalities": ["text", "image"], "output_modalities": ["text"]},
            "pricing": {
                "prompt": "0.0000004",
                "completion": "0.0000016",
                "request": "0",
                "input_cache_read": "0.0000001",
            },
            "top_provider": {"context_length": 131072, "max_completion_tokens": 16384},
            "supported_parameters": ["tools", "response_format", "temperature", "reasoning"],
        },
        {
            "id": "acme/large-2:free",
            "name": "Acme: Large 2 (free)",
            "context_length": 32768,
            "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
            "pricing": {"prompt": "0", "completion": "0"},
            "top_provider": {"max_completion_tokens": None},
            "supported_parameters": [],
        },
    ]
}
LMARENA_ROWS: dict[str, Any] = {
    "rows": [
        {
            "row_idx": at,
            "row": {
                "model_name": "acme-large-2",
                "organization": "Acme",
                "license": "Proprietary",
                "rating": rating,
                "rating_lower": rating - 5,
                "rating_upper": rating + 5,
                "vote_count": 9000,
                "category": category,
                "leaderboard_publish_date": "2026-11-01",
            },
            "truncated_cells": [],
        }
        for at, (category, rating) in enumerate([("overall", 1400.2), ("coding", 1450.0), ("industry_law", 1.0)])
    ],
    "num_rows_total": 3,
}
LMARENA_FILE: dict[str, Any] = {
    "full": {"acme-large-2": {"rating": 1400.2, "rating_q975": 1405.2, "rating_q025": 1395.2}},
    "coding": {"acme-large-2": {"rating": 1450.0, "rating_q975": 1455.0, "rating_q025": 1445.0}},
    "industry_law": {"acme-large-2": {"rating": 1.0}},
}
HUB: list[dict[str, Any]] = [
    {
        "id": "Acme/Large-2-70B",
        "private": False,
        "pipeline_tag": "text-generation",
        "tags": ["transformers", "license:apache-2.0", "conversational"],
        "safetensors": {"parameters": {"BF16": 70_000_000_000}, "total": 70_000_000_000},
    },
    {"id": "Acme/Sees", "pipeline_tag": "image-text-to-text", "tags": []},
]
HUB_ROUTER: dict[str, Any] = {
    "object": "list",
    "data": [
        {
            "id": "Acme/Large-2-70B",
            "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
            "providers": [
                {"provider": "one", "status": "live", "context_length": 32768, "supports_tools": False},
                {"provider": "two", "status": "live", "context_length": 131072, "supports_tools": True},
                {"provider": "three", "status": "error", "context_length": 999999, "supports_structured_output": True},
            ],
        }
    ],
}
MODELS_DEV: dict[str, Any] = {
    "acme": {
        "id": "acme",
        "models": {
            "large-2": {
                "id": "large-2",
                "name": "Large 2",
                "tool_call": True,
                "reasoning": False,
                "structured_output": None,
                "open_weights": True,
                "modalities": {"input": ["text", "image", "pdf"], "output": ["text"]},
                "limit": {"context": 131072, "output": 16384},
                "cost": {"input": 0.4, "output": 1.6, "cache_read": 0.1},
                "status": "deprecated",
            }
        },
    }
}
OLLAMA_TAGS: dict[str, Any] = {
    "models": [
        {
            "name": "large2:latest",
            "model": "large2:latest",
            "size": 40_000_000_000,
            "details": {"family": "large", "parameter_size": "70.6B", "quantization_level": "Q4_K_M"},
        }
    ]
}
OLLAMA_LIBRARY: list[dict[str, Any]] = [
    {
        "name": "large2",
        "capabilities": ["tools", "thinking"],
        "tags": [
            {"name": "70b", "hash": "aa", "context_window": "128K", "model_type": "text", "parameter_size": 70},
            {"name": "latest", "hash": "aa", "context_window": "128K", "model_type": "text", "parameter_size": None},
            {
                "name": "70b-q8_0",
                "hash": "b",
                "context_window": "Unknown",
                "model_type": "text",
                "quantization": "q8_0",
            },
        ],
    },
    {"name": "vectors", "capabilities": ["embedding"], "tags": [{"name": "latest", "model_type": "text"}]},
]
LITELLM: dict[str, Any] = {
    "sample_spec": {"mode": "one of: chat", "max_input_tokens": "a number"},
    "acme/large-2": {
        "litellm_provider": "acme",
        "mode": "chat",
        "max_input_tokens": 131072,
        "max_output_tokens": 16384,
        "input_cost_per_token": 4e-07,
        "output_cost_per_token": 1.6e-06,
        "supports_function_calling": True,
        "supports_vision": False,
    },
    "acme/paint": {"litellm_provider": "acme", "mode": "image_generation", "max_input_tokens": -7},
}
GENAI_PRICES: list[dict[str, Any]] = [
    {
        "id": "acme",
        "models": [
            {
                "id": "large-2",
                "name": "Large 2",
                "match": {"starts_with": "large-2"},
                "context_window": 131072,
                "prices": [
                    {"prices": {"input_mtok": {"base": 9, "tiers": [{"start": 1, "price": 99}]}, "output_mtok": 9}},
                    {"constraint": {"start_date": "1970-01-01"}, "prices": {"input_mtok": 0.4, "output_mtok": 1.6}},
                    {"constraint": {"start_date": "9999-01-01"}, "prices": {"input_mtok": 7, "output_mtok": 7}},
                    {"constraint": {"start_time": "01:00:00Z"}, "prices": {"input_mtok": 8, "output_mtok": 8}},
                ],
            },
            {
                "id": "small-2",
                "deprecated": True,
                "prices": {"input_mtok": {"base": 0.1}, "output_mtok": 0.2, "cache_read_mtok": 0.01},
            },
        ],
    }
]
GOOD = (
    (openrouter, OPENROUTER),
    (lmarena, LMARENA_ROWS),
    (lmarena, LMARENA_FILE),
    (hugging_face, HUB),
    (hugging_face, HUB_ROUTER),
    (models_dev, MODELS_DEV),
    (ollama, OLLAMA_TAGS),
    (ollama, OLLAMA_LIBRARY),
    (litellm, LITELLM),
    (genai_prices, GENAI_PRICES),
)
"""Every adapter with every form that it reads."""


def encoded(document: Any) -> bytes:
    """As it is sent."""
    return json.dumps(document).encode()
