"""The named failures of learning."""

from __future__ import annotations

from mesh.errors import MeshError, Reason, invalid
from services.router.policies.policies import INTENTS


def answer_not_found(request_id: str) -> MeshError:
    """There is nothing to rate."""
    return MeshError(
        Reason.NOT_FOUND,
        f'There is no answer to rate for request "{request_id[:64]}": send the id of the header x-dac-request-id of a '
        "chat that was answered within the last router.feedback_window_s.",
        metadata={"request_id": request_id[:64]},
    )


def unknown_task(task_type: str) -> MeshError:
    """A word that is none of the kinds of prompts."""
    return invalid("task_type", f'There is no task type "{task_type[:64]}": say {", ".join(INTENTS)}.')
