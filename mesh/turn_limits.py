"""How much one request may save in a thread: what the gateway refuses early and memory refuses in any case."""

from mesh.errors import MeshError, Reason

MESSAGES_AT_ONCE = 10_000
"""The most messages of one turn, or of one AppendMessages: ten thousand take half a second of a core."""


def check_messages_at_once(count: int) -> None:
    """Raises INVALID_REQUEST for more messages than are saved at once."""
    if count > MESSAGES_AT_ONCE:
        raise MeshError(
            Reason.INVALID_REQUEST,
            f"messages: has {count}, at most {MESSAGES_AT_ONCE} are saved in a thread at once: send only those that "
            "the thread does not hold yet, and bring a longer past by an import (POST /v1/conversations/import).",
            metadata={"field": "messages"},
        )


def check_context_messages(count: int) -> None:
    """Raises INVALID_REQUEST for more messages than a context is built for."""
    if count > MESSAGES_AT_ONCE:
        raise MeshError(
            Reason.INVALID_REQUEST,
            f"messages: has {count}, at most {MESSAGES_AT_ONCE} go along with what memory knows: send fewer, or leave "
            "enable_memory and agent_id out.",
            metadata={"field": "messages"},
        )
