"""Three replicas of budget on one store, clients that ask again, and everything that goes wrong between them; by seed.

The writers, the store's transactions and the rules are the real ones. PostgreSQL and time are in memory.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import random
from collections.abc import Sequence
from typing import Any

from mesh.errors import MeshError, Reason
from services.budget.ledger.ledger import Decision
from services.budget.ledger.operations import Adjust, Attempt, Extend, Operation, Reserve, Resolve
from services.budget.ledger.rows import STOP, Level, LevelKind, Limit, Reservation, State
from services.budget.ledger.store import PostgresLedgerStore
from services.budget.ledger.windows import Window
from services.budget.ledger.writer import Writer
from services.budget.prices.book import PriceBook
from services.budget.prices.money import Price, Usage
from tests.unit.budget.simulation.accounts import check_rows
from tests.unit.budget.simulation.clockwork import ClockworkLoop
from tests.unit.budget.simulation.rows_in_memory import Server, Session, unavailable

ORG = "00000000-0000-7000-8000-000000000001"
START = dt.datetime(2026, 10, 31, 23, 59, 50, tzinfo=dt.UTC)
"""Ten seconds before an hour, a day and a month begin."""
DEFAULT_OUTPUT_TOKENS = 8
PRICES = PriceBook(
    [
        Price(1, "a", "a/small", {"input": 10**6, "output": 2 * 10**6}, "config"),
        Price(2, "b", "b/large", {"input": 2 * 10**6, "output": 5 * 10**6, "request": 1}, "config"),
    ]
)
CANDIDATES = (("a", "a/small"), ("b", "b/large"))
ORG_LEVEL = Level(ORG, LevelKind.ORG, ORG)
ASKED_S = 2.0
"""How long a client waits for an answer."""


class Replica:
    """One process: its clock is wrong by some seconds, and what it remembers is gone when it is killed."""

    def __init__(self, world: World, number: int) -> None:
        self.world, self.number = world, number
        self.skew_s = world.dice.uniform(-2.0, 2.0) if number else 0.0
        self.start()

    def start(self) -> None:
        """A new process."""
        database = self.world.server.database(self.world.pause)
        self._store = PostgresLedgerStore(database, PRICES, DEFAULT_OUTPUT_TOKENS)  # type: ignore[arg-type]
        self.writer = Writer(self, self.world.dice.choice([2, 4, 256]), lambda: None)
        self.writer.start()

    def now(self) -> dt.datetime:
        """What its clock says."""
        return START + dt.timedelta(seconds=asyncio.get_running_loop().time() + self.skew_s - self.world.began_s)

    async def run(self, operations: Sequence[Operation]) -> list[Decision]:
        """LedgerStore, watched: the writer answers whatever goes wrong, also what never may."""
        try:
            return await self._store.run(operations)
        except MeshError:
            raise
        except Exception as error:
            self.world.broken.append(f"{type(error).__name__}: {error}")
            raise

    async def kill(self) -> None:
        """kill -9, and a new start."""
        task = self.writer._task
        assert task is not None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        self.start()

    async def sweep(self) -> None:
        """As services.budget.background.Sweeper."""
        rows = self.world.server.tables["reservations"].values()
        now = self.now()
        expired = [row for row in rows if row["state"] == 0 and row["expires_at"] <= now]
        await asyncio.gather(
            *(
                self.writer.submit(Resolve(ORG, r["request_id"], r["reservation_id"], State.INDETERMINATE, now))
                for r in expired
            ),
            return_exceptions=True,
        )


class Client:
    """One request from Reserve to its end, with an account of what it was told."""

    def __init__(self, world: World, number: int) -> None:
        self.world, self.request_id = world, f"q{number}"
        self.reservation_ids: set[str] = set()
        self.costs: set[int] = set()
        """What acknowledged commits said it costs."""
        self.committed: Resolve | None = None
        self.covered = 0
        self.adjusted: dict[str, int] = {}
        self.tasks: list[asyncio.Task[Any]] = []

    async def ask(self, make: Any, tries: int) -> Any:
        """Asks one replica after the other, sometimes two at once; None = no answer ever came."""
        dice = self.world.dice
        for _ in range(tries):
            replica = dice.choice(self.world.replicas)
            if dice.random() < 0.15:
                self.tasks.append(asyncio.create_task(self._once(dice.choice(self.world.replicas), make)))
            answer = await self._once(replica, make)
            if answer is not None:
                return answer
            await asyncio.sleep(dice.random() * 0.2)
        return None

    async def _once(self, replica: Replica, make: Any) -> Any:
        op = make(replica.now())
        try:
            async with asyncio.timeout(ASKED_S):
                answer: Any = await replica.writer.submit(op)
        except TimeoutError:
            return None
        except MeshError as refusal:
            return None if refusal.reason is Reason.UNAVAILABLE else refusal
        self._note(op, answer)
        return answer

    def _note(self, op: Operation, answer: Any) -> None:
        if isinstance(op, Reserve):
            self.reservation_ids.add(answer.reservation_id)
        elif isinstance(op, Extend):
            self.covered = max(self.covered, answer.covered_output_tokens)
        elif isinstance(op, Adjust):
            self.adjusted[op.adjustment_id] = op.amount_nano_usd
        elif op.to is State.COMMITTED and op.reservation_id:
            self.costs.add(answer.cost_nano_usd)

    async def live(self) -> None:
        """One request."""
        dice = self.world.dice
        await asyncio.sleep(dice.random() * 12)
        began_stopped = self.world.is_stopped
        held = await self.ask(self._reserve(), 3)
        if began_stopped and self.world.is_stopped and self.reservation_ids:
            self.world.broken.append(f"{self.request_id} was admitted while spending was stopped")
        if not isinstance(held, Reservation):
            if held is None and dice.random() < 0.7:
                await self.ask(lambda now: Resolve(ORG, self.request_id, "", State.COMMITTED, now), 3)
            return
        await asyncio.sleep(dice.choice([0.0, 0.1, 6.0]) * dice.random())
        for more in range(dice.choice([0, 0, 1, 2])):
            if held.covered_output_tokens:
                upto, name = held.covered_output_tokens + 6 * (more + 1), dice.choice(held_candidates(held))
                ids = (ORG, self.request_id, held.reservation_id, *name, upto)
                await self.ask(lambda now, ids=ids: Extend(*ids, now, dice.choice([0.0, 4.0])), 2)
        await self._end(held)

    def _reserve(self) -> Any:
        dice, world = self.world.dice, self.world
        levels = (ORG_LEVEL, Level(ORG, LevelKind.KEY, dice.choice(["k1", "k2"])))
        wanted = {"candidates": dice.choice([CANDIDATES, CANDIDATES[:1]]), "covers_in_steps": dice.random() < 0.5}
        wanted |= {"input_tokens_max": dice.randint(1, 12), "max_output_tokens": dice.choice([0, 5, 20])}
        ttl_s = dice.choice([3.0, 30.0])
        return lambda now: Reserve(
            f"r{next(world.numbers)}", ORG, self.request_id, levels, body_hash=b"", now=now, ttl_s=ttl_s, **wanted
        )

    async def _end(self, held: Reservation) -> None:
        dice = self.world.dice
        ends = dice.random()
        if ends < 0.1:
            return  # Nobody ever says how it ended.
        attempts = tuple(
            Attempt(
                "x",
                *dice.choice(held_candidates(held)),
                Usage(input=dice.randint(0, 12), output=dice.randint(0, 8)),
                True,
            )
            for _ in range(dice.choice([1, 1, 1, 2]))
        )
        to, attempts = (State.RELEASED, ()) if ends < 0.2 else (State.COMMITTED, attempts)

        def resolve(now: dt.datetime) -> Resolve:
            return Resolve(ORG, self.request_id, held.reservation_id, to, now, attempts)

        answer = await self.ask(resolve, 8)
        if to is State.COMMITTED and answer is not None:
            self.committed = resolve(START)
            if dice.random() < 0.3:
                change = (f"adj-{self.request_id}", dice.choice([-3, 4]), "")
                seal = (f"adm-{self.request_id}", b"")
                await self.ask(lambda now: Adjust(ORG, self.request_id, *change, now, seal), 4)


def held_candidates(held: Reservation) -> Sequence[tuple[str, str]]:
    """Those that the reservation was made for, by its price version."""
    return CANDIDATES[: held.price_version]


class World:
    """One seed."""

    def __init__(self, seed: int, clients: int = 6) -> None:
        self.seed, self.dice = seed, random.Random(seed)
        self.server = Server()
        self.server.after_commit = self._look
        self.numbers = itertools.count(1)
        self.broken: list[str] = []
        self.is_stopped = False
        self.faults = self.dice.choice([0.0, 0.02, 0.08])
        self.began_s = asyncio.get_running_loop().time()
        self.highest: dict[str, int | None] = {}
        for limit in self._budgets():
            self._set(limit)
        self.replicas = [Replica(self, number) for number in range(3)]
        self.clients = [Client(self, number) for number in range(clients)]

    def _budgets(self) -> list[Limit]:
        dice = self.dice
        found = [Limit("b-org", ORG_LEVEL, dice.choice(list(Window)), dice.choice([60, 120, 300]))]
        for key in ("k1", "k2"):
            level = Level(ORG, LevelKind.KEY, key)
            if dice.random() < 0.6:
                found.append(Limit(f"b-{key}", level, dice.choice(list(Window)), dice.randint(20, 150)))
        if dice.random() < 0.5:
            found.append(Limit("b-large", ORG_LEVEL, Window.DAY, 60, selector="model:b/*"))
        if dice.random() < 0.3:
            found.append(Limit("b-soft", ORG_LEVEL, Window.HOUR, 30, is_hard=False))
        return found

    def _set(self, limit: Limit, session: Session | None = None) -> None:
        self.server.put_budget(limit, session)
        was = self.highest.get(limit.budget_id, 0)
        now = limit.limit_nano_usd if limit.is_hard else None
        self.highest[limit.budget_id] = None if was is None or now is None else max(was, now)

    def _look(self) -> None:
        try:
            check_rows(self.server, self.highest)
        except AssertionError as error:
            self.broken.append(str(error))

    async def pause(self, point: str) -> None:
        """What happens at a statement: it takes its time, or fails; a COMMIT's reply may be lost."""
        dice = self.dice.random()
        if dice < self.faults:
            raise unavailable("the reply is lost" if point == "committed" else "aborted")
        if dice < 0.6:
            await asyncio.sleep(dice * 0.02)
        elif dice > 0.995:
            await asyncio.sleep(3.0)

    async def _administer(self) -> None:
        """A limit goes down and up again, or spending is stopped for a while."""
        dice = self.dice
        await asyncio.sleep(dice.random() * 10)
        if dice.random() < 0.5:
            stop = Limit("b-stop", ORG_LEVEL, Window.NONE, 0, selector=STOP, thresholds_percent=())
            self._set(stop)
            self.is_stopped = True
            await asyncio.sleep(dice.random() * 5)
            self.is_stopped = False
            self.server.drop_budget(ORG, "b-stop")
            return
        limit: Limit = self.server.tables["budgets"][ORG, "b-org"]["limit"]
        database = self.server.database()
        for amount in dice.choice([(30, 200), (300, 30)]):
            async with database.transaction(ORG) as session:
                await session.lock(("budgets", ORG, limit.budget_id))
                self._set(Limit(limit.budget_id, limit.level, limit.window, amount), session)
                for key in sorted(self.server.tables["counters"]):
                    if key[1] == "b-org":
                        await session.lock(("counters", *key))
                        session._change("counters", key, next_alert=0)
                await asyncio.sleep(dice.random() * 1.0)
            await asyncio.sleep(dice.random() * 4)

    async def run(self) -> None:
        """Until nothing is under way any more."""
        lives = [asyncio.create_task(client.live()) for client in self.clients]
        others = [asyncio.create_task(self._trouble(replica)) for replica in self.replicas]
        if self.dice.random() < 0.6:
            others.append(asyncio.create_task(self._administer()))
        await asyncio.gather(*lives)
        await asyncio.gather(*others, *(task for client in self.clients for task in client.tasks))
        self.faults = 0.0
        self.began_s -= 7200
        # What callers gave up may still be queued: it is written before the last sweep.
        await asyncio.gather(*(replica.writer.close() for replica in self.replicas))
        self.replicas[0].start()
        for _ in range(3):
            await self.replicas[0].sweep()
        await self.replicas[0].writer.close()
        self.check()

    async def _trouble(self, replica: Replica) -> None:
        """Sweeps now and then, and is killed sometimes."""
        for _ in range(4):
            await asyncio.sleep(self.dice.uniform(2, 5))
            if self.dice.random() < 0.15:
                await replica.kill()
            else:
                await replica.sweep()

    def check(self) -> None:
        """What must hold at the end."""
        assert not self.broken, self.broken[0]
        assert not self.server.deadlocks, "replicas waited for each other in a circle"
        found = check_rows(self.server, self.highest)
        assert not any(counter["reserved"] for counter in self.server.tables["counters"].values()), "I7"
        rows = {row["request_id"]: row for row in self.server.tables["reservations"].values()}
        assert all(row["state"] for row in rows.values()), "I7: still open"
        self._check_thresholds()
        told = {key[1] for key in self.server.tables["record_outbox"]}
        assert rows.keys() <= told, "a request without a record"
        for client in self.clients:
            row = rows.get(client.request_id)
            charged = sum(
                line["amount"]
                for key, line in self.server.tables["ledger"].items()
                if row is not None and key[1] == row["reservation_id"] and key[3] in ("commit", "indeterminate")
            )
            self._check_client(client, row, charged, found.kinds)

    def _check_thresholds(self) -> None:
        """What a counter waits for is a threshold of its budget as it is now, or is to be found out."""
        told = {(key[:3], key[3]) for key in self.server.tables["alerts"]}
        for key, counter in self.server.tables["counters"].items():
            limit: Limit = self.server.tables["budgets"][key[:2]]["limit"]
            amounts = {
                percent: -(-(limit.limit_nano_usd or 0) * percent // 100) for percent in limit.thresholds_percent
            }
            waits_for = counter["next_alert"]
            if waits_for is None:
                assert not limit.limit_nano_usd or all((key, percent) in told for percent in amounts), f"I10: {key}"
            else:
                assert waits_for in (0, *amounts.values()), f"I10: {key} waits for {waits_for}, not for {amounts}"

    @staticmethod
    def _check_client(client: Client, row: Any, charged: int, kinds: Any) -> None:
        name = client.request_id
        assert len(client.reservation_ids) <= 1, f"{name} was held twice: {client.reservation_ids}"
        if row is None:
            assert not client.reservation_ids and not client.committed, f"{name} is lost"
            return
        assert client.reservation_ids <= {row["reservation_id"]}, f"{name} was told another reservation"
        assert row["covered_output"] >= client.covered, f"{name}: an acknowledged extension is lost"
        lines = kinds[row["reservation_id"]]
        assert lines["adjust"] >= len(client.adjusted), f"I6: {name}: an acknowledged correction is lost"
        assert lines["adjust"] <= 1, f"I4: {name} was corrected twice"
        if client.costs:
            assert row["state"] in (1, 3), f"I6: {name} was acknowledged and is in state {row['state']}"
            possible = {row["cost"], charged}
            assert client.costs <= possible, f"{name}: told {client.costs}, it costs one of {possible}"
        if client.committed is not None and row["state"] == 1:
            assert lines["commit"] == len(client.committed.attempts), f"I6: {name}: {lines}"


def play(seed: int, clients: int = 6) -> World:
    """One seed. Raises AssertionError with it."""
    with asyncio.Runner(loop_factory=_loop) as runner:

        async def run() -> World:
            world = World(seed, clients)
            await world.run()
            return world

        try:
            return runner.run(run())
        except AssertionError as error:
            raise AssertionError(f"DAC_SEED={seed}: {error}") from error


def _loop() -> ClockworkLoop:
    return ClockworkLoop()
