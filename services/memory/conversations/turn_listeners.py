"""Who is told what is saved and erased, inside the same transaction: search terms, the turn index, caches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from services.memory.conversations.threads import Thread
from services.memory.conversations.window import Message


class TurnListener(Protocol):
    """Told under the thread's lock, before the commit. What it raises undoes the whole turn."""

    async def saved(self, connection: Any, org_id: str, thread: Thread, messages: Sequence[Message]) -> None:
        """These messages were inserted; their texts are open here, whatever is stored sealed.

        Only new rows: a retry that finds its rows saved tells nobody. Copies of a merge have `copied_from` set.
        """

    async def erased(self, connection: Any, org_id: str, thread_id: str, message_ids: Sequence[str] | None) -> None:
        """These messages were deleted, softly or for ever; None = the whole thread. What derives from them must go.

        A thread that is restored is told again by `saved`, with all its messages.
        """
