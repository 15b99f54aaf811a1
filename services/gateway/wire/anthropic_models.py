"""The list of models for clients that speak Anthropic's form: those that chat, in its words and its pages."""

from collections.abc import Mapping, Sequence
from typing import Any

from dac.router.v1.catalog_pb2 import Model
from mesh.errors import MeshError, Reason, invalid
from mesh.model_links import never_chats

PAGING = frozenset({"limit", "after_id", "before_id"})
"""What a client may ask of a list, beside DAC's filters."""
MOST = 1000
"""The longest page, and the length of one that names none."""
UNKNOWN_DATE = "1970-01-01T00:00:00Z"
"""What Anthropic's form says of a model whose date is not known."""


def asked_by(headers: Mapping[str, str]) -> bool:
    """Whether the client speaks Anthropic's form: every one of its clients sends its version."""
    return "anthropic-version" in headers


def authorization_of(headers: Mapping[str, str]) -> str:
    """The key as a bearer token, wherever the client put it."""
    key = headers.get("x-api-key", "") if asked_by(headers) else ""
    return f"Bearer {key}" if key else headers.get("authorization", "")


def model_object(model: Model, name: str) -> dict[str, Any]:
    """A model under its id or one of its aliases."""
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": UNKNOWN_DATE,
        "lifecycle": "active",
        "max_input_tokens": model.context_tokens or None,
        "max_tokens": model.max_output_tokens or None,
    }


def page(named: Sequence[tuple[Model, str]], query: Mapping[str, str]) -> dict[str, Any]:
    """The page that was asked for. Raises INVALID_REQUEST."""
    rows = [model_object(model, name) for model, name in named if _offered(model)]
    text = query.get("limit") or str(MOST)
    limit = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    if not 1 <= limit <= MOST:
        raise invalid("limit", f'"limit" must be a number between 1 and {MOST}, not "{text[:40]}".')
    after, before = query.get("after_id", ""), query.get("before_id", "")
    if after:
        rows = rows[_place(rows, after, "after_id") + 1 :]
    if before:
        rows = rows[: _place(rows, before, "before_id")]
    shown = rows[-limit:] if before else rows[:limit]
    return {
        "data": shown,
        "has_more": len(rows) > len(shown),
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
    }


def model_alone(model: Model, name: str) -> dict[str, Any]:
    """One model. Raises MODEL_NOT_FOUND for one that does not chat."""
    if not _offered(model):
        raise MeshError(Reason.MODEL_NOT_FOUND, f'"{name}" makes no messages and cannot be asked in this form.')
    return model_object(model, name)


def _place(rows: Sequence[Mapping[str, Any]], name: str, field: str) -> int:
    for number, row in enumerate(rows):
        if row["id"] == name:
            return number
    raise invalid(field, f'"{field}": there is no model "{name[:100]}" in this list.')


def _offered(model: Model) -> bool:
    return "embeddings" not in model.capabilities and not never_chats(model.capabilities)
