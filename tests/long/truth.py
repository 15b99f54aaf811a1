"""What PostgreSQL itself holds, read as its superuser: no row-level security, none of DAC's code in between."""

import asyncio
import dataclasses
import pathlib
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

import asyncpg

MONEY = """SELECT r.request_id::text, r.state, r.cost, l.kinds, l.charged, r.reservation_id::text
  FROM budget.reservations r LEFT JOIN LATERAL (
    SELECT array_agg(kind ORDER BY kind) FILTER (WHERE kind <> 'overrun') AS kinds,
           coalesce(sum(amount) FILTER (WHERE kind IN ('commit', 'indeterminate')), 0)::bigint AS charged
    FROM budget.ledger l WHERE l.request_id = r.request_id) l ON true"""
STRAY = """SELECT DISTINCT l.request_id::text FROM budget.ledger l
  WHERE NOT EXISTS (SELECT 1 FROM budget.reservations r WHERE r.reservation_id = l.reservation_id)"""
RECORDS = "SELECT request_id::text, count(*), max(cost_nano_usd) FROM audit.requests GROUP BY 1"
MESSAGES = """SELECT request_id, role, count(*) FROM memory.messages WHERE request_id <> '' GROUP BY 1, 2"""
EXPIRE = "UPDATE budget.reservations SET expires_at = now() WHERE state = 0"
KIND_OF_STATE = {1: "commit", 2: "release", 3: "indeterminate"}


@dataclasses.dataclass(frozen=True)
class Money:
    """One request's reservation and ledger rows."""

    state: int
    cost: int
    kinds: tuple[str, ...]
    """Of its ledger rows, without the overrun notes."""
    charged: int


class Truth:
    """The embedded server of a data folder."""

    def __init__(self, data_dir: pathlib.Path) -> None:
        self._root = data_dir / "postgres"

    def postmaster(self) -> int:
        """Its process id; 0 while there is none."""
        try:
            return int(self._pid_file()[0])
        except (OSError, ValueError, IndexError):
            return 0

    def _pid_file(self) -> list[str]:
        return (self._root / "data" / "postmaster.pid").read_text().splitlines()

    def ask(self, sql: str, *arguments: Any) -> list[Any]:
        """Rows of one statement."""

        async def run() -> list[Any]:
            lines = self._pid_file()
            connection = await asyncpg.connect(
                host=lines[4],
                port=int(lines[3]),
                user="postgres",
                password=(self._root / "superuser.pw").read_text(),
                database="dac",
            )
            try:
                return list(await connection.fetch(sql, *arguments))
            finally:
                await connection.close()

        with asyncio.Runner() as runner:
            return runner.run(run())

    def money(self) -> dict[str, Money]:
        """By request id. A request with two reservations, or a reservation with two outcomes, fails here."""
        rows = self.ask(MONEY)
        twice = [one for one, count in Counter(row[0] for row in rows).items() if count > 1]
        assert not twice, f"requests with more than one reservation: {twice}"
        assert not (stray := self.ask(STRAY)), f"ledger rows without a reservation: {stray}"
        found = {row[0]: Money(row[1], row[2], tuple(row[3] or ()), row[4]) for row in rows}
        for request_id, money in found.items():
            wanted = (KIND_OF_STATE[money.state],) if money.state else ()
            assert money.kinds == wanted, f"request {request_id}: ledger rows {money.kinds}, state {money.state}"
            assert money.charged == money.cost, f"request {request_id}: charged {money.charged}, says {money.cost}"
        return found

    def records(self) -> dict[str, int]:
        """Audit's cost by request id; each request is there once."""
        rows = self.ask(RECORDS)
        assert all(row[1] == 1 for row in rows), [row for row in rows if row[1] != 1]
        return {row[0]: row[2] for row in rows}

    def messages(self) -> Counter[tuple[str, str]]:
        """How many messages a request left in threads, by (request id, role)."""
        return Counter({(row[0], row[1]): row[2] for row in self.ask(MESSAGES)})

    def open_of(self, request_ids: Iterable[str]) -> set[str]:
        """Those whose reservation is still open."""
        open_now = {row[0] for row in self.ask("SELECT request_id::text FROM budget.reservations WHERE state = 0")}
        return open_now & set(request_ids)

    def wait_settled(self, request_ids: Iterable[str], timeout_s: float) -> set[str]:
        """Waits until none of them is open; returns those that still are."""
        wanted, end = set(request_ids), time.monotonic() + timeout_s
        while (left := self.open_of(wanted)) and time.monotonic() < end:
            time.sleep(0.05)
        return left

    def wait_swept(self, timeout_s: float = 20) -> None:
        """Lets the time of every open reservation run out, and waits for the sweeper to have charged them."""
        self.ask(EXPIRE)
        end = time.monotonic() + timeout_s
        while self.ask("SELECT 1 FROM budget.reservations WHERE state = 0 LIMIT 1"):
            assert time.monotonic() < end, f"expired reservations are not resolved after {timeout_s} s"
            time.sleep(0.05)
