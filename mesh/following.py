"""Keeping what is in memory current: read again when somebody says that it changed, and now and then anyway."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from mesh.rounds import Rounds


class Follower(Rounds):
    """Calls `refresh` in the background: soon after each `wake`, and every `every_s` seconds, as news can be lost.

    What is known stays in force without the database; it is asked again at the next turn.
    """

    def __init__(self, name: str, refresh: Callable[[], Awaitable[None]], every_s: float, log: logging.Logger) -> None:
        """`name` is the task's, and what the log calls it."""
        told = f"{name}: what is new could not be read"
        super().__init__(name, refresh, every_s, log, meanwhile=told, level=logging.DEBUG, at_once=False)
