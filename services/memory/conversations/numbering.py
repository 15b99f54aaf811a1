"""Numbers the words of messages that a program before saved without, a few at a time, in the background."""

from __future__ import annotations

import logging
from typing import Protocol

from mesh.errors import MeshError
from mesh.rounds import Rounds
from services.memory.config import MemoryConfig

_log = logging.getLogger(__name__)
_MOST_ORGANISATIONS = 100


class Unnumbered(Protocol):
    """Messages whose words have no numbers yet."""

    async def organisations(self, most: int) -> list[str]:
        """Organisations that have such messages."""

    async def number(self, org_id: str, most: int) -> int:
        """Numbers the words of up to `most` messages; how many there were."""


class Numberer:
    """Looks again and again, for the program before may still be writing while this one starts."""

    def __init__(self, messages: Unnumbered, config: MemoryConfig) -> None:
        self._messages, self._config = messages, config
        self._rounds = Rounds(
            "memory-numberer",
            self.number_once,
            config.search_numbering_interval_s,
            _log,
            meanwhile="old messages are not found by search yet",
        )

    async def number_once(self) -> int:
        """Numbers what is there now; how many messages. An organisation that fails holds up no other."""
        done = 0
        for org_id in await self._messages.organisations(_MOST_ORGANISATIONS):
            try:
                while numbered := await self._messages.number(org_id, self._config.search_numbering_limit):
                    done += numbered
            except MeshError as error:
                _log.warning("messages of organisation %s are not found by search yet: %s", org_id, error.message)
        return done

    def start(self) -> None:
        """Begins to look."""
        self._rounds.start()

    async def close(self) -> None:
        """Stops looking."""
        await self._rounds.close()
