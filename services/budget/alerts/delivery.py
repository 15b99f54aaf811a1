"""Tells of crossed thresholds: at least once by every way there is, each way tried again by itself until it works.

An alert is leased before it is told, so that no other replica tells it at the same time; a replica that dies leaves a
lease that ends by itself. All of its clock is the database's.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mesh import telemetry
from mesh.errors import MeshError, Reason
from mesh.postgres import Database
from services.budget.alerts.alerts import Alert
from services.budget.alerts.channels import MAIL, MAIL_TIMEOUT_S, WEBHOOK, WEBHOOK_TIMEOUT_S, Channel, Untold
from services.budget.background import organisations_with
from services.budget.budget_form import forecast_of
from services.budget.budget_store import PostgresBudgetStore
from services.budget.errors import usd
from services.budget.ledger.rows import LevelKind
from services.budget.ledger.windows import end_of

_log = logging.getLogger(__name__)

AT_ONCE = 8
LEASE = dt.timedelta(seconds=2 * (WEBHOOK_TIMEOUT_S + MAIL_TIMEOUT_S))
"""Longer than telling can take: all that are leased together are told at the same time."""

CLAIM = """
UPDATE alerts a SET tries = a.tries + 1, next_try_at = now() + $2
FROM (SELECT budget_id, window_start, threshold_percent FROM alerts
      WHERE org_id = $1 AND told_at IS NULL AND next_try_at <= now()
      ORDER BY next_try_at LIMIT $3 FOR UPDATE SKIP LOCKED) AS w
WHERE a.org_id = $1 AND a.budget_id = w.budget_id AND a.window_start = w.window_start
  AND a.threshold_percent = w.threshold_percent
RETURNING a.alert_id::text, a.budget_id::text, a.window_start, a.threshold_percent, a.spent_nano_usd, a.limit_nano_usd,
  a.at, a.tries, a.webhook_told_at IS NOT NULL AS webhook, a.mail_told_at IS NOT NULL AS mail, now() - a.at AS age
"""
NOTE = """
UPDATE alerts SET webhook_told_at = coalesce(webhook_told_at, CASE WHEN $5 THEN now() END),
  mail_told_at = coalesce(mail_told_at, CASE WHEN $6 THEN now() END),
  told_at = CASE WHEN $7 THEN now() END,
  next_try_at = CASE WHEN tries = $8 THEN now() + $9 ELSE next_try_at END
WHERE org_id = $1 AND budget_id = $2 AND window_start = $3 AND threshold_percent = $4 AND told_at IS NULL
"""
"""What was told stays told, also when somebody else has leased the alert meanwhile; the next try is theirs then."""
GIVE_UP = """UPDATE alerts SET next_try_at = 'infinity'
  WHERE org_id = $1 AND budget_id = $2 AND window_start = $3 AND threshold_percent = $4 AND told_at IS NULL"""


FORGET = """DELETE FROM alerts
  WHERE org_id = $1 AND budget_id = $2 AND window_start = $3 AND threshold_percent = $4"""


@dataclass(frozen=True)
class Patience:
    """How long a way that fails is tried."""

    first: dt.timedelta
    """The first pause; it doubles."""
    longest: dt.timedelta
    give_up_after: dt.timedelta
    """Since the threshold was crossed."""

    def pause(self, tries: int) -> dt.timedelta:
        """How long to wait after so many tries."""
        doubled: int = 2 ** min(tries - 1, 20)
        return min(self.longest, self.first * doubled)


@dataclass(frozen=True)
class AlertTeller:
    """Tells what waits. Replicas may do so at once."""

    database: Database
    channels: Sequence[Channel]
    patience: Patience
    now: Callable[[], dt.datetime]

    async def tell(self) -> int:
        """Tells what waits in every organisation; returns how many alerts are done with."""
        done = 0
        for org_id in await organisations_with(self.database, "alert"):
            while claimed := await self._claim(org_id):
                taken = await asyncio.gather(*(self._take(org_id, row) for row in claimed), return_exceptions=True)
                for one in taken:
                    if isinstance(one, BaseException):
                        raise one
                    done += one
        return done

    async def close(self) -> None:
        """Ends what the channels have open."""
        for channel in self.channels:
            await channel.close()

    async def _claim(self, org_id: str) -> list[Any]:
        async with self.database.transaction(org_id) as connection:
            found: list[Any] = await connection.fetch(CLAIM, org_id, LEASE, AT_ONCE)
            return found

    async def _take(self, org_id: str, row: Any) -> bool:
        """Tells one leased alert by every way that has not taken it yet; True = it is done with."""
        alert = await self._alert(org_id, row)
        key = (org_id, row["budget_id"], row["window_start"], row["threshold_percent"])
        if alert is None:
            # Its budget was deleted at the moment of the charge, and with it all that was to be told.
            async with self.database.transaction(org_id) as connection:
                await connection.execute(FORGET, *key)
            return True
        if row["tries"] == 1:
            _log_event(alert)
        wanted = [channel for channel in self.channels if channel.takes(alert) and not row[channel.name]]
        failures = await asyncio.gather(*(self._tell(channel, alert) for channel in wanted))
        told = {channel.name for channel, failure in zip(wanted, failures, strict=True) if failure is None}
        is_done = len(told) == len(wanted)
        async with self.database.transaction(org_id) as connection:
            pause = self.patience.pause(row["tries"])
            await connection.execute(NOTE, *key, WEBHOOK in told, MAIL in told, is_done, row["tries"], pause)
            if not is_done and row["age"] + pause > self.patience.give_up_after:
                await connection.execute(GIVE_UP, *key)
                _log.error("alert %s is given up after %d tries", alert.alert_id, row["tries"])
        for failure in filter(None, failures):
            _log.warning("alert %s, try %d: %s", alert.alert_id, row["tries"], failure)
        return is_done

    @staticmethod
    async def _tell(channel: Channel, alert: Alert) -> str | None:
        """Why it was not told; None = it was."""
        try:
            await channel.tell(alert)
        except Untold as error:
            telemetry.ALERTS_TOLD.labels(channel.name, "failed").inc()
            return str(error)
        telemetry.ALERTS_TOLD.labels(channel.name, "told").inc()
        return None

    async def _alert(self, org_id: str, row: Any) -> Alert | None:
        store, now = PostgresBudgetStore(self.database), self.now()
        try:
            status = await store.get(org_id, row["budget_id"], now)
        except MeshError as error:
            if error.reason is not Reason.NOT_FOUND:
                raise
            return None
        is_current = status.window_start == row["window_start"]
        if is_current:
            (status,) = await store.paced(org_id, [status], now)
        limit = status.limit
        return Alert(
            alert_id=row["alert_id"],
            limit=limit,
            window_start=row["window_start"],
            threshold_percent=row["threshold_percent"],
            spent_nano_usd=row["spent_nano_usd"],
            limit_nano_usd=row["limit_nano_usd"],
            at=row["at"],
            resets_at=end_of(limit.window, row["window_start"], limit.zone),
            forecast=forecast_of(status, now) if is_current else None,
        )


def _log_event(alert: Alert) -> None:
    """The line that says so also where nobody is told."""
    level = alert.limit.level
    _log.warning(
        "budget.threshold: budget %s of %s %s in organisation %s has spent %s of %s, at least %d %%",
        alert.limit.budget_id,
        LevelKind(level.kind).name.lower(),
        level.level_id,
        level.org_id,
        usd(alert.spent_nano_usd),
        usd(alert.limit_nano_usd),
        alert.threshold_percent,
    )
