"""Pictures in a tool's result: a chat's results are text only, so they stand in a user's message behind all results."""

from typing import Any

SHOWN = "What it shows follows in the user's next message."
"""Stands in a tool's result where a picture was."""


def result_text(texts: list[str], pictures: list[dict[str, Any]]) -> str:
    """What the tool message says."""
    return "\n".join([*texts, SHOWN] if pictures else texts)


def pictures_of(call_id: str, pictures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the user's message behind the results shows of one of them."""
    return [{"type": "text", "text": f"What the tool call {call_id} shows:"}, *pictures] if pictures else []
