"""Cached answers that were made for one user go with that user's memories: they may tell what those told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from services.memory.answers.store import LOCK_ORGANISATION

_DROP = "DELETE FROM cache_answers WHERE org_id = $1 AND user_id = ANY ($2) AND user_id <> ''"


class PrivateAnswers:
    """A MemoryListener. Nobody wrote down which memory went into which answer, so all of the user's go; answers that
    may be shared were made of none (`private` in BuildContext), and stay.
    """

    async def forgotten(self, connection: Any, org_id: str, user_ids: Sequence[str], memory_ids: Sequence[str]) -> None:
        """See MemoryListener."""
        owners = [user_id for user_id in user_ids if user_id]
        if owners:
            await connection.execute(LOCK_ORGANISATION, org_id)
            await connection.execute(_DROP, org_id, owners)
