"""Folds the ledger's lines into the sums that usage is read from. Of replicas that do so at once, one does.

What makes it safe is in the database: a step adds lines and moves the mark behind them in one transaction, under the
mark's lock, and takes only lines before which none can appear any more (`ledger_end`, `fold_ledger`).
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import NamedTuple

from mesh.postgres import Database

_log = logging.getLogger(__name__)

END = "SELECT last, before::text FROM ledger_end()"
FOLD = "SELECT fold_ledger($1::bigint, $2::text::xid8, $3::integer)"
STEP_LINES = 5_000
"""The most lines in one transaction: a tenth of a second, for which records of younger transactions wait."""
STEP_TIMEOUT_S = 600.0
"""An hour of lines from before there were positions may be many."""
HELD_UP_AFTER_S = 600.0


class _End(NamedTuple):
    """Where the ledger ended when it was looked at."""

    last: int
    before: str
    at_s: float


@dataclass
class Folder:
    """The worker of one process."""

    database: Database
    step_lines: int = STEP_LINES
    _end: _End | None = field(default=None, init=False)
    """What is being folded; kept while a transaction that may write before it still runs."""
    _is_held_up: bool = field(default=False, init=False)

    async def fold(self) -> bool:
        """Folds what was in the ledger when this began, or as far as it can; returns whether nothing held it up."""
        if self._end is None:
            async with self.database.transaction() as connection:
                last, before = await connection.fetchrow(END)
            self._end = _End(last, before, time.monotonic())
        while (has_more := await self._step(self._end)) is True:
            pass
        if has_more is None:
            self._tell_if_held_up(self._end)
            return False
        self._end, self._is_held_up = None, False
        return True

    async def _step(self, end: _End) -> bool | None:
        async with self.database.transaction() as connection:
            found: bool | None = await connection.fetchval(
                FOLD, end.last, end.before, self.step_lines, timeout=STEP_TIMEOUT_S
            )
            return found

    def _tell_if_held_up(self, end: _End) -> None:
        held_s = time.monotonic() - end.at_s
        if held_s > HELD_UP_AFTER_S and not self._is_held_up:
            self._is_held_up = True
            _log.warning(
                "a transaction has been open in PostgreSQL for %d s (pg_stat_activity.backend_xid names it): what came "
                "since is not folded into the sums of usage, and read line by line",
                held_s,
            )
