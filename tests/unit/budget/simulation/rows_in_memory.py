"""PostgreSQL as far as the ledger's store speaks to it, in memory: the statements of services.budget.ledger.store, one
snapshot a statement, row locks until the end of a transaction, unique keys, checks. The real store runs on it.

Nothing here decides anything about money. A statement that it does not know fails loudly.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any

from mesh.errors import MeshError, Reason
from services.budget.ledger import store
from services.budget.ledger.row_columns import WRITES
from services.budget.ledger.rows import Limit

Key = tuple[Any, ...]
Row = dict[str, Any]
Pause = Callable[[str], Awaitable[None]]
"""Called before each statement and around COMMIT with what comes; it may take its time, or raise."""


class Broken(AssertionError):
    """A unique key or a check that PostgreSQL would have refused."""


async def at_once(point: str) -> None:
    """No pause: every statement is answered on the spot."""


def unavailable(what: str) -> MeshError:
    """What a driver's failure becomes."""
    return MeshError(Reason.UNAVAILABLE, what, retry_after_s=1.0)


@functools.cache
def _without_numbers(statement: str) -> str:
    return re.sub(r"\$\d+|\{\d+\}", "?", statement)


READS = {
    _without_numbers(text): name
    for name, text in (
        ("resolved", store.READ_RESOLVED),
        ("unanswered", store.READ_UNANSWERED),
        ("reserved", store.READ_RESERVED),
        ("limits", store.READ_LIMITS),
    )
}
_WIDTH = {name: 1 + max(map(int, re.findall(r"\{(\d+)\}", text))) for name, text in WRITES.items()}


@functools.cache
def _reads_in(statement: str) -> list[tuple[str, int]]:
    found = []
    for part in statement.split("UNION ALL"):
        found.append((READS[_without_numbers(part)], len(re.findall(r"\$\d+", part))))
    return found


@functools.cache
def _writes_in(statement: str) -> list[str]:
    names = [name for name in re.findall(r"(\w+) AS \(\s*INSERT", statement) if name in WRITES]
    assert names and statement.count("INSERT INTO") == len(names), statement
    return names


class Server:
    """The rows that are committed, and who holds which lock."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[Key, Row]] = {
            name: {}
            for name in ("budgets", "counters", "reservations", "ledger", "alerts", "record_outbox", "admin_outbox")
        }
        self.by_request: dict[Key, Key] = {}
        self.held: dict[Key, Session] = {}
        self.waiting: dict[Key, deque[asyncio.Future[None]]] = {}
        self.deadlocks = 0
        self.after_commit: Callable[[], None] = lambda: None

    def table(self, name: str) -> dict[Key, Row]:
        """The committed rows of a table."""
        return self.tables[name]

    def database(self, pause: Pause = at_once) -> Login:
        """A pool of a process."""
        return Login(self, pause)

    def put_budget(self, limit: Limit, session: Session | None = None) -> None:
        """Sets a budget, as services.budget.budget_store does: its counters ask for their thresholds again."""
        row = {"limit": limit}
        if session is None:
            self.tables["budgets"][limit.level.org_id, limit.budget_id] = row
            for key, counter in self.tables["counters"].items():
                if key[:2] == (limit.level.org_id, limit.budget_id):
                    counter["next_alert"] = 0
        else:
            session.write("budgets", (limit.level.org_id, limit.budget_id), row)

    def drop_budget(self, org_id: str, budget_id: str) -> None:
        """Deletes a budget with its counters and warnings."""
        del self.tables["budgets"][org_id, budget_id]
        for name in ("counters", "alerts"):
            for key in [key for key in self.tables[name] if key[:2] == (org_id, budget_id)]:
                del self.tables[name][key]


class Login:
    """mesh.postgres.Database, as far as the ledger's store uses it."""

    def __init__(self, server: Server, pause: Pause) -> None:
        self.server, self._pause = server, pause

    def prefer(self, setting: str, value: str) -> None:
        """No planner here."""

    @contextlib.asynccontextmanager
    async def transaction(self, *org_ids: str) -> AsyncIterator[Session]:
        """BEGIN … COMMIT."""
        session = Session(self.server, self._pause, frozenset(org_ids))
        try:
            await self._pause("begin")
            yield session
            await self._pause("commit")
            session.commit()
        finally:
            session.end()
        await self._pause("committed")


class Session:
    """One transaction."""

    def __init__(self, server: Server, pause: Pause, org_ids: frozenset[str]) -> None:
        self.server, self._pause, self._org_ids = server, pause, org_ids
        self._written: dict[tuple[str, Key], Row | None] = {}
        self._locks: list[Key] = []
        self.waits_for: Session | None = None

    def read(self, table: str, key: Key) -> Row | None:
        """A row as this transaction sees it now."""
        assert key[0] in self._org_ids, f"row-level security: {table} {key}"
        if (table, key) in self._written:
            return self._written[table, key]
        return self.server.tables[table].get(key)

    def write(self, table: str, key: Key, row: Row | None) -> None:
        """A row to be there after COMMIT; None = deleted."""
        assert key[0] in self._org_ids, f"row-level security: {table} {key}"
        self._written[table, key] = row

    def commit(self) -> None:
        """Makes it seen."""
        for (table, key), row in self._written.items():
            if row is None or (table == "counters" and key[:2] not in self.server.tables["budgets"]):
                self.server.tables[table].pop(key, None)  # ON DELETE CASCADE.
            else:
                self.server.tables[table][key] = row
            if table == "reservations" and row is not None:
                self.server.by_request[row["org_id"], row["request_id"]] = key
        self._written.clear()
        self.server.after_commit()

    def end(self) -> None:
        """Lets go of what is locked."""
        for key in self._locks:
            del self.server.held[key]
            for future in self.server.waiting.pop(key, ()):
                if not future.done():
                    future.set_result(None)
        self._locks.clear()

    async def lock(self, key: Key) -> None:
        """Waits for whoever holds it. A circle ends as in PostgreSQL: who closes it is aborted."""
        while (holder := self.server.held.get(key)) is not None and holder is not self:
            one: Session | None = holder
            while one is not None:
                if one is self:
                    self.server.deadlocks += 1
                    raise unavailable("deadlock detected")
                one = one.waits_for
            future = asyncio.get_running_loop().create_future()
            self.server.waiting.setdefault(key, deque()).append(future)
            self.waits_for = holder
            try:
                await future
            finally:
                self.waits_for = None
        if holder is None:
            self.server.held[key] = self
            self._locks.append(key)

    async def fetch(self, statement: str, *columns: list[Any]) -> list[Any]:
        """The rows of a read."""
        await self._pause("statement")
        if statement == store.LOCK_COUNTERS:
            return await self._lock_counters(list(zip(*columns, strict=True)))
        if statement == store.READ_CHARGED:
            return [row for key in zip(*columns, strict=True) for row in self._ledger_of(key)]
        rows: list[Any] = []
        first = 0
        parts = []
        for name, width in _reads_in(statement):
            parts.append((name, list(zip(*columns[first : first + width], strict=True))))
            first += width
        # What is read without a lock is as it was when the statement began.
        unlocked = [self._unlocked(name, keys) for name, keys in parts]
        for (name, keys), found in zip(parts, unlocked, strict=True):
            if name in ("resolved", "unanswered"):
                rows += [row async for row in self._locked(name, keys)]
            rows += found
        return rows

    async def execute(self, statement: str, *columns: list[Any]) -> None:
        """OPEN_COUNTERS."""
        await self._pause("statement")
        assert statement == store.OPEN_COUNTERS, statement
        there = {key for key in zip(*columns[:2], strict=True) if self.read("budgets", key) is not None}
        for key in zip(*columns, strict=True):
            if key[:2] not in there:
                continue
            await self.lock(("budgets", *key[:2]))
            if self.read("counters", key) is None:
                await self.lock(("counters", *key))
                if self.read("counters", key) is None and self.read("budgets", key[:2]) is not None:
                    self.write("counters", key, {"committed": 0, "reserved": 0, "next_alert": 0})

    async def fetchval(self, statement: str, *columns: list[Any]) -> int:
        """What a batch writes."""
        await self._pause("statement")
        made, first = 0, 0
        for name in _writes_in(statement):
            rows = list(zip(*columns[first : first + _WIDTH[name]], strict=True))
            first += _WIDTH[name]
            for row in rows:
                if name == "made":
                    made += await self._make(row)
                else:
                    getattr(self, f"_{name}")(row)
        return made

    def _unlocked(self, name: str, keys: Iterable[Key]) -> list[Any]:
        if name == "reserved":
            found = (self.server.by_request.get(key) for key in keys)
            return [self._reservation(key) for key in found if key is not None]
        if name == "limits":
            wanted = [tuple(key) for key in keys]
            return [
                (
                    *(2, limit.level.org_id, limit.budget_id, limit.level.level_id, limit.limit_nano_usd, 0),
                    *(limit.level.kind, None, 0, int(limit.window), None, [str(t) for t in limit.thresholds_percent]),
                    *(int(limit.is_hard), [limit.selector, limit.zone, limit.note]),
                )
                for level in wanted
                for limit in self._budgets_at(level)
            ]
        return []

    def _budgets_at(self, level: Key) -> Iterator[Limit]:
        for row in self.server.tables["budgets"].values():
            limit = row["limit"]
            if (limit.level.org_id, limit.level.kind, limit.level.level_id) == level:
                yield limit

    async def _locked(self, name: str, keys: list[Key]) -> AsyncIterator[Any]:
        for key in keys:
            found = self.server.by_request.get(key) if name == "unanswered" else key
            if found is None or self.read("reservations", found) is None:
                continue
            await self.lock(("reservations", *found))
            yield self._reservation(found)

    def _reservation(self, key: Key) -> Any:
        row = self.read("reservations", key)
        assert row is not None
        names = "org_id reservation_id request_id amount cost state expires_at price_version output_cap body_hash"
        return (1, *(row[name] for name in names.split()), row["counters"], row["covered_output"], row["selectors"])

    def _ledger_of(self, wanted: Key) -> list[Any]:
        found = [row["values"] for key, row in self.server.tables["ledger"].items() if key[:2] == wanted]
        # As read: arrays instead of their literals.
        lists = [(*v[:7], _texts(v[7]), *v[8:11], _texts(v[11]), _texts(v[12]), _numbers(v[13])) for v in found]
        return sorted(lists, key=lambda values: (values[2], values[3]))

    async def _lock_counters(self, keys: list[Key]) -> list[Any]:
        # Both as they were when the statement began: the lock alone reads a counter anew.
        seen = [key for key in keys if self.read("counters", key) is not None]
        limits = {key: self.read("budgets", key[:2]) for key in seen}
        rows = []
        for key in seen:
            await self.lock(("counters", *key))
            counter = self.read("counters", key)
            if counter is None:
                continue
            budget = limits[key]
            limit = budget["limit"] if budget else None
            told: tuple[Any, ...] = (None,) * 10
            if limit is not None:
                told = (limit.budget_id, limit.level.kind, limit.level.level_id, int(limit.window))
                told += (limit.limit_nano_usd, [str(t) for t in limit.thresholds_percent], limit.is_hard)
                told += (limit.selector, limit.zone, limit.note)
            rows.append((*key, counter["committed"], counter["reserved"], counter["next_alert"], *told))
        return rows

    async def _make(self, row: Key) -> int:
        org_id, reservation_id, request_id, amount, expires_at, version, cap, covered, body_hash, keys, selectors, _ = (
            row
        )
        await self.lock(("request", org_id, request_id))
        mine = [r for (table, _), r in self._written.items() if table == "reservations" and r is not None]
        if (org_id, request_id) in self.server.by_request or any(r["request_id"] == request_id for r in mine):
            return 0
        if amount < 0:
            raise Broken(f"a reservation of {amount}")
        self.write(
            "reservations",
            (org_id, reservation_id),
            {"org_id": org_id, "reservation_id": reservation_id, "request_id": request_id, "amount": amount, "cost": 0}
            | {"state": 0, "expires_at": expires_at, "price_version": version, "output_cap": cap, "draft": row[11]}
            | {"covered_output": covered, "body_hash": body_hash}
            | {"counters": _texts(keys), "selectors": _texts(selectors)},
        )
        return 1

    def _change(self, table: str, key: Key, **values: Any) -> None:
        self._must_hold(table, key)
        row = self.read(table, key)
        if row is not None:
            self.write(table, key, row | values)

    def _must_hold(self, table: str, key: Key) -> None:
        if self.server.held.get((table, *key)) is not self:
            raise Broken(f"{table} {key} is written without its lock")

    def _extended(self, row: Key) -> None:
        self._change("reservations", row[:2], amount=row[3], covered_output=row[4], expires_at=row[5])

    def _resolved(self, row: Key) -> None:
        if row[4] < 0:
            raise Broken(f"a cost of {row[4]}")
        self._change("reservations", row[:2], state=row[3], cost=row[4])

    def _counted(self, row: Key) -> None:
        if row[3] < 0 or row[4] < 0:
            raise Broken(f"a counter of committed {row[3]} and reserved {row[4]}")
        self._change("counters", row[:3], committed=row[3], reserved=row[4], next_alert=row[5])

    def _charged(self, row: Key) -> None:
        key = row[:4]
        if self.read("ledger", key) is not None:
            raise Broken(f"the ledger has {key} already")
        if row[4] < 0 and row[3] != "adjust":
            raise Broken(f"a ledger line {row[3]} of {row[4]}")
        self.write("ledger", key, {"values": row, "kind": row[3], "amount": row[4], "counters": _texts(row[7])})

    def _warned(self, row: Key) -> None:
        if self.read("alerts", row[:4]) is None:
            self.write("alerts", row[:4], {"spent": row[4], "limit": row[5]})

    def _told(self, row: Key) -> None:
        if self.read("record_outbox", row[:2]) is None:
            self.write("record_outbox", row[:2], {"record": row[2]})

    def _administered(self, row: Key) -> None:
        self.write("admin_outbox", row[:2], {"record": row[2]})


@functools.lru_cache(maxsize=4096)
def _texts(literal: str) -> list[str]:
    assert "\\" not in literal
    return [text.strip('"') for text in literal[1:-1].split(",")] if literal != "{}" else []


def _numbers(literal: str) -> list[int]:
    return [int(text) for text in _texts(literal)]
