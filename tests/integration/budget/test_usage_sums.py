"""The sums beside the ledger: always what its lines say, whoever commits, folds, dies, or comes late meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import os
import pathlib
import random
import shutil
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from dac.budget.v1 import budget_pb2
from dac.type.v1 import record_pb2
from dac.type.v1.principal_pb2 import Level
from dac.type.v1.usage_pb2 import Usage
from mesh.call import Call, serving
from mesh.errors import MeshError
from mesh.ids import uuid7
from mesh.migrate import migrate
from mesh.postgres import Database
from services.budget.ledger.verification import verify
from services.budget.server import BudgetService
from services.budget.usage.folding import Folder
from services.budget.usage.store import PostgresUsageStore
from services.budget.usage.usage import Query
from tests.conftest import Migrated
from tests.integration.budget.ledger_lines import INSERT, Ledger
from tests.integration.budget.usage_oracle import Oracle, assert_equal
from tests.integration.budget.world import CENT, USD, MakeBudget, as_key, principal

SEED = int(os.environ.get("DAC_SEED") or random.SystemRandom().randrange(1 << 32))
MONTH = Query("", dt.datetime(2026, 11, 1, tzinfo=dt.UTC), dt.datetime(2026, 12, 1, tzinfo=dt.UTC))


@pytest.fixture
async def database(database_for: Callable[..., Awaitable[Database]]) -> Database:
    return await database_for("budget")


@pytest.fixture
def store(database: Database) -> PostgresUsageStore:
    return PostgresUsageStore(database)


async def total(store: PostgresUsageStore, org_id: str) -> int:
    query = Query(org_id, MONTH.start, MONTH.end)
    return (await store.page(query, (), None, 1)).total.cost_nano_usd


async def differences(database: Database, org_id: str) -> list[str]:
    """Between the sums and the ledger; lines written by hand have no counters and reservations."""
    return [one for one in (await verify(database, org_id)).differences if one.startswith("usage")]


class Traffic:
    """Requests of any kind, written as the ledger's writer does: all lines of one in one transaction."""

    def __init__(self, database: Database, org_id: str, dice: random.Random) -> None:
        self.database, self.org_id, self._dice = database, org_id, dice
        self._now = dt.datetime.now(dt.UTC)
        self._budgets = [uuid7() for _ in range(3)]

    def _lines(self) -> list[tuple[Any, ...]]:
        dice, request = self._dice, uuid7()
        ago = dice.choice((dice.uniform(0, 4000), dice.uniform(0, 200_000), dice.uniform(0, 8_000_000)))
        at = self._now - dt.timedelta(seconds=ago)
        path = [f"org:{self.org_id}", f"team:{dice.randrange(3)}", f"team:{dice.randrange(9)}"]
        path = dice.choice(([], path, [*path, f"user:{dice.randrange(5)}", f"key:{dice.randrange(7)}"]))
        tags = dice.sample(["app=shop", "app=zoo", "env=prod"], dice.randrange(3))
        counters = [f"{one}@{dice.choice((0, 0, 7))}" for one in self._budgets[: dice.randrange(4)]]
        kind = dice.choice(("commit", "commit", "commit", "commit", "indeterminate", "release"))

        def line(attempt: str, kind: str, amount: int, model: str) -> tuple[Any, ...]:
            tokens = [dice.randrange(99) for _ in range(5)] if dice.random() < 0.9 else []
            about = (model.partition("/")[0], model, dice.choice(("chat", "embeddings")), path, tags, tokens)
            return (request, attempt, kind, amount, request, counters, at, *about)

        if kind != "commit":
            return [line("", kind, 0 if kind == "release" else dice.randrange(10**9), "")]
        models = [dice.choice(("a/é", "a/two", "b/one", "b/Z")) for _ in range(dice.choice((1, 1, 1, 2, 3, 12)))]
        made = [line(f"{n}:{uuid7()}", "commit", dice.randrange(10**9), model) for n, model in enumerate(models)]
        if dice.random() < 0.2:
            made.append(line("", "overrun", 5, ""))
        if dice.random() < 0.3:
            made.append(line(uuid7(), "adjust", dice.randrange(-100, 100), models[0]))
        return made

    async def send(self, requests: int) -> None:
        async with self.database.transaction(self.org_id) as connection:
            for _ in range(requests):
                await connection.executemany(INSERT, [(self.org_id, *line) for line in self._lines()])


async def test_the_sums_are_the_lines_whatever_is_asked_and_when(store: PostgresUsageStore, org_id: str) -> None:
    dice = random.Random(SEED)
    print(f"DAC_SEED={SEED}")
    traffic = Traffic(store.database, org_id, dice)
    neighbour = Traffic(store.database, uuid7(), dice)
    for _ in range(12):
        await traffic.send(dice.randrange(1, 15))
        await neighbour.send(dice.randrange(3))
        if dice.random() < 0.6:
            assert await Folder(store.database, step_lines=dice.choice((1, 7, 1000))).fold()
        await assert_equal(store, org_id, dice, 6)
    await assert_equal(store, neighbour.org_id, dice, 6)
    assert await differences(store.database, org_id) == []


async def test_all_lines_are_folded_and_once(database: Database, store: PostgresUsageStore, org_id: str) -> None:
    """Guards that the test above asks the sums at all: without the lines they still say it, and each step counts."""
    await Ledger(database, org_id).fill(50, "2026-11-02T00:00:00+00:00", dt.timedelta(minutes=7))
    assert await Folder(database, step_lines=8).fold()
    async with database.transaction(org_id) as connection:
        sums = await connection.fetch(
            "SELECT kind, grain, sum(cost)::bigint, sum(requests)::bigint FROM usage_sums JOIN usage_cells "
            "USING (org_id, cell_id) WHERE org_id = $1 GROUP BY 1, 2",
            org_id,
        )
    assert [tuple(row[2:]) for row in sums] == [(50 * 51 // 2, 50)] * 4


async def test_a_changed_sum_is_found(database: Database, org_id: str) -> None:
    await Ledger(database, org_id).add("2026-11-02T10:00:00+00:00", 7, tokens=(1, 0, 0, 2, 0))
    await Folder(database).fold()
    assert await differences(database, org_id) == []
    async with database.transaction(org_id) as connection:
        await connection.execute("UPDATE usage_sums SET cost = cost + 1 WHERE org_id = $1 AND grain = 1", org_id)
    found = await differences(database, org_id)
    assert len(found) == 2 and "days by model: the sums say 8 nano-USD and 3 tokens, the ledger 7 and 3" in found[1]


async def test_a_line_that_comes_late_is_neither_missed_nor_doubled(
    database: Database, store: PostgresUsageStore, org_id: str
) -> None:
    """Its number was taken before those of lines that were committed before it."""
    ledger, folder = Ledger(database, org_id), Folder(database)
    async with database.transaction(org_id) as late:
        values = ("0:a", "commit", 100, uuid7(), [], dt.datetime(2026, 11, 2, tzinfo=dt.UTC), "p", "p/m")
        await late.execute(INSERT, org_id, uuid7(), *values, "chat", [], [], [])
        assert not await Folder(database).fold(), "it folded past the newest transaction, which is still to write"
        await ledger.add("2026-11-02T10:00:00+00:00", 1)
        assert not await folder.fold(), "it folded past an older transaction that is still to write"
        assert await total(store, org_id) == 1
        assert not await folder.fold()
    assert await total(store, org_id) == 101
    assert await folder.fold()
    assert await total(store, org_id) == 101
    # And one that has begun and taken no number yet holds up nothing for ever.
    await ledger.add("2026-11-02T10:00:00+00:00", 1000)
    assert await Folder(database).fold()
    assert await total(store, org_id) == 1101 and await differences(database, org_id) == []


async def test_who_dies_while_folding_leaves_nothing_half_done(
    database: Database, store: PostgresUsageStore, org_id: str, migrated: Migrated
) -> None:
    ledger = Ledger(database, org_id)
    await ledger.add("2026-11-02T10:00:00+00:00", 5)
    await Folder(database).fold()
    await ledger.add("2026-11-02T10:00:00+00:00", 70)
    administrator = await asyncpg.connect(migrated.superuser_dsn)
    try:
        async with database.transaction(org_id) as connection:
            await connection.execute("LOCK TABLE usage_sums IN SHARE MODE")
            dying = asyncio.create_task(Folder(database).fold())
            while not (victim := await administrator.fetchval(WAITING)):
                assert not dying.done(), "it did not wait for the locked sums"
            # Another one sees that somebody folds, and passes.
            assert await Folder(database).fold()
            assert await total(store, org_id) == 75
            await administrator.execute("SELECT pg_terminate_backend($1)", victim)
            with pytest.raises(MeshError):
                await dying
    finally:
        await administrator.close()
    assert await total(store, org_id) == 75
    assert await Folder(database).fold()
    assert await total(store, org_id) == 75 and await differences(database, org_id) == []


WAITING = """SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%fold_ledger%'
  AND datname = current_database()"""


async def test_the_first_line_of_all_is_folded(
    make_database: Callable[..., Awaitable[Migrated]], all_services: dict[str, pathlib.Path], org_id: str
) -> None:
    """A sequence that was never used stands where it stands after its first number."""
    fresh = await make_database({"budget": all_services["budget"]})
    database = Database(fresh.dsn("budget"), "budget")
    try:
        assert await Folder(database).fold()
        await Ledger(database, org_id).add("2026-11-02T10:00:00+00:00", 5)
        assert await total(PostgresUsageStore(database), org_id) == 5
        assert await Folder(database).fold()
        assert await total(PostgresUsageStore(database), org_id) == 5 and not await differences(database, org_id)
    finally:
        await database.close()


async def test_an_older_ledger_is_folded_little_by_little(
    make_database: Callable[..., Awaitable[Migrated]],
    all_services: dict[str, pathlib.Path],
    tmp_path: pathlib.Path,
    org_id: str,
) -> None:
    """Lines from before the migration have no position; the older program's statements give theirs one."""
    folder = tmp_path / "budget"
    folder.mkdir()
    plan = sorted(all_services["budget"].glob("*.sql"))
    for file in plan[:9]:
        shutil.copy(file, folder)
    old = await make_database({"budget": folder})
    database = Database(old.dsn("budget"), "budget")
    store, dice = PostgresUsageStore(database), random.Random(SEED)
    traffic = Traffic(database, org_id, dice)
    try:
        await traffic.send(40)
        for file in plan[9:]:
            shutil.copy(file, folder)
        assert ("budget", 10) in await migrate(old.owner_dsn, old.services, old.passwords)
        await assert_equal(store, org_id, dice, 5)
        await traffic.send(10)
        folder_of = Folder(database)
        end = None
        for step in range(100):
            async with database.transaction() as connection:
                end = end or await connection.fetchrow("SELECT last, before::text FROM ledger_end()")
                if not await connection.fetchval(FOLD_STEP, *end):
                    break
            if step % 20 == 0:
                await assert_equal(store, org_id, dice, 3)
        await assert_equal(store, org_id, dice, 5)
        assert await folder_of.fold()
        async with database.transaction() as connection:
            assert await connection.fetchval("SELECT history_at = 'infinity' FROM usage_mark")
        await assert_equal(store, org_id, dice, 8)
        assert await differences(database, org_id) == []
    finally:
        await database.close()


FOLD_STEP = "SELECT fold_ledger($1, $2::text::xid8, 5)"


async def test_counters_are_forgotten_and_their_pace_is_not(
    database: Database, store: PostgresUsageStore, org_id: str
) -> None:
    now, budget_id = dt.datetime.now(dt.UTC), uuid7()
    ledger = Ledger(database, org_id)
    for hours, amount in ((1, 1), (20, 20), (30, 300), (47, 4000), (60, 50_000)):
        await ledger.add((now - dt.timedelta(hours=hours)).isoformat(), amount, counters=(f"{budget_id}@0",))
    await Folder(database).fold()
    for ago in (200, 0):
        async with database.transaction(org_id) as connection:
            # As time goes by.
            await connection.execute("UPDATE usage_mark SET counters_since = now() - make_interval(hours => $1)", ago)
        if ago:
            await Folder(database).fold()
        for hours, expected in ((24, 21), (48, 4321), (61, 54_321)):
            since = [(budget_id, dt.datetime.fromtimestamp(0, dt.UTC))], now - dt.timedelta(hours=hours)
            assert await store.spent_recently(org_id, *since) == {budget_id: expected}
    async with database.transaction(org_id) as connection:
        oldest = await connection.fetchval("SELECT min(bucket) FROM counter_sums WHERE org_id = $1", org_id)
    assert oldest > now - dt.timedelta(hours=49)


async def test_nobody_sees_the_sums_of_others(database: Database, org_id: str) -> None:
    await Ledger(database, org_id).add("2026-11-02T10:00:00+00:00", 5, counters=("b@0",))
    async with database.transaction() as connection:
        await connection.execute("UPDATE usage_mark SET counters_since = '2026-01-01'")
    await Folder(database).fold()
    for asking, expected in ((org_id, True), (uuid7(), False)):
        async with database.transaction(asking) as connection:
            for table in ("usage_cells", "usage_sums", "counter_sums"):
                seen = await connection.fetchval(f"SELECT count(*) FROM {table} WHERE org_id = $1", org_id)
                assert bool(seen) == expected, table


async def spend(budget: BudgetService, org_id: str, told: list[int], submitted: list[int]) -> None:
    """One request, charged 10 cents; now and then a part of it is given back."""
    reserve = budget_pb2.ReserveRequest(
        request_id=uuid7(),
        body_hash=b"h" * 32,
        candidates=[budget_pb2.PricedCandidate(provider="test", model="test/dime")],
    )
    with as_key(org_id):
        held = await budget.budget.Reserve(reserve, None)
    record = record_pb2.RequestRecord(org_id=org_id, request_id=reserve.request_id)
    record.path.add(kind=Level.KIND_ORG, id=org_id)
    record.attempts.add(attempt_id=uuid7(), provider="test", model="test/dime", usage=Usage(input_tokens=3))
    commit = budget_pb2.CommitRequest(
        reservation_id=held.reservation_id, reservation_secret=held.reservation_secret, record=record
    )
    submitted[0] += 10 * CENT
    with serving(Call()):
        await budget.budget.Commit(commit, None)
    if random.random() < 0.3:
        adjust = budget_pb2.AdjustRequest(
            adjustment_id=uuid7(), request_id=reserve.request_id, amount_nano_usd=CENT, reason="invoice"
        )
        submitted[0] += CENT
        with serving(Call(principal=principal(org_id, "admin"))):
            await budget.budget.Adjust(adjust, None)
        told[0] += CENT
    told[0] += 10 * CENT


async def test_two_replicas_commit_and_two_fold(
    make_budget: MakeBudget, store: PostgresUsageStore, org_id: str
) -> None:
    replicas = [await make_budget(usage_fold_interval_s=0.01), await make_budget(usage_fold_interval_s=0.013)]
    limit = budget_pb2.SetBudgetRequest(
        level=Level(kind=Level.KIND_ORG, id=org_id), window=budget_pb2.WINDOW_DAY, limit_nano_usd=10**6 * USD
    )
    with as_key(org_id):
        made = (await replicas[0].budget.SetBudget(limit, None)).budget
    told, submitted = [0], [0]
    reads = 0

    async def caller(number: int) -> None:
        for _ in range(25):
            await spend(replicas[number % 2], org_id, told, submitted)

    async def reader() -> None:
        nonlocal reads
        while True:
            day = dt.datetime.now(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
            least = told[0]
            found, _ = await store.charged_since(org_id, day, day)
            assert least <= found <= submitted[0]
            reads += 1

    # Past midnight a day begins anew: the window of the day is the answer's, too.
    watching = asyncio.create_task(reader())
    await asyncio.gather(*(caller(number) for number in range(8)))
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    assert reads > 10 and told == submitted
    dice = random.Random(SEED)
    await assert_equal(store, org_id, dice, 10)
    for replica in replicas:
        await replica.folder.fold()
    await assert_equal(store, org_id, dice, 10)
    oracle = await Oracle.read(store.database, org_id)
    assert sum(line["amount"] for line in oracle.lines) == told[0]
    assert (await verify(store.database, org_id)).differences == []
    recent = await store.spent_recently(
        org_id, [(made.budget_id, made.resets_at.ToDatetime(tzinfo=dt.UTC) - dt.timedelta(days=1))], MONTH.start
    )
    assert recent == {made.budget_id: told[0]}
