"""What happens after the money: expired reservations, the outbox of records, prices, changes told to audit."""

from __future__ import annotations

import asyncio
import datetime as dt
import pathlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from dac.budget.v1 import budget_pb2 as pb
from dac.budget.v1 import price_pb2
from dac.budget.v1 import record_pb2 as outbox_pb2
from dac.type.v1 import record_pb2
from mesh import telemetry
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.postgres import Database
from mesh.transport import reading
from services.budget.background import ChangeTeller, Sweeper
from services.budget.config import BudgetConfig
from services.budget.ledger.writer import Writer
from services.budget.record_feed import MAX_ANSWER_BYTES
from services.budget.record_store import START
from services.budget.server import BudgetService, build
from tests.integration.budget.test_money_flow import asking, commit, in_balance, limit, only_budget, record, reserve
from tests.integration.budget.world import CENT, MODELS, USD, MakeBudget, as_key, as_service, context_for, model

DatabaseFor = Callable[..., Awaitable[Database]]


def later() -> dt.datetime:
    return dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)


async def fetch(
    budget: BudgetService, cursor: str = "", wait_s: float = 0, consumer: str = "test", limit: int = 1000
) -> outbox_pb2.FetchRecordsResponse:
    request = outbox_pb2.FetchRecordsRequest(consumer=consumer, cursor=cursor, limit=limit, wait_s=wait_s)
    with as_service("audit"):
        return await budget.record.FetchRecords(request, None)


async def records_of(budget: BudgetService, org_id: str) -> list[record_pb2.RequestRecord]:
    found: list[record_pb2.RequestRecord] = []
    rows, cursor = await budget._records.read(START, 1000, MAX_ANSWER_BYTES)
    # Other tests' records come before, more than one answer carries; asking for the next would acknowledge these.
    while rows:
        found += [made for row in rows if (made := record_pb2.RequestRecord.FromString(row)).org_id == org_id]
        rows, cursor = await budget._records.read(cursor, 1000, MAX_ANSWER_BYTES)
    return found


async def read_all(budget: BudgetService, consumer: str) -> list[record_pb2.RequestRecord]:
    """Everything, other tests' records too, and that it was read."""
    found: list[record_pb2.RequestRecord] = []
    answer = await fetch(budget, consumer=consumer)
    while answer.records:
        found += answer.records
        answer = await fetch(budget, answer.cursor, consumer=consumer)
    return found


async def test_an_abandoned_reservation_is_charged_its_bound_once(
    make_budget: MakeBudget, database_for: DatabaseFor, org_id: str
) -> None:
    replicas = [await make_budget(), await make_budget()]
    await limit(replicas[0], org_id, USD)
    ask = asking(draft=record_pb2.RequestRecord(asked_model="test/dime"))
    held = await reserve(replicas[0], org_id, ask)
    database = await database_for("budget")
    sweepers = [Sweeper(database, replica.writer, 500, later) for replica in replicas]
    # The candidates come from the database's clock, so the row is made old instead of the clock young.
    async with database.transaction(org_id) as connection:
        await connection.execute(
            "UPDATE reservations SET expires_at = now() - interval '1 s' WHERE org_id = $1", org_id
        )
    assert sum(await asyncio.gather(*(sweeper.sweep() for sweeper in sweepers))) == 1
    state = await only_budget(replicas[0], org_id)
    assert (state.spent_nano_usd, state.reserved_nano_usd) == (10 * CENT, 0)
    (told,) = await records_of(replicas[0], org_id)
    assert told.outcome == record_pb2.OUTCOME_INDETERMINATE
    assert (told.asked_model, told.cost_nano_usd, told.request_id) == ("test/dime", 10 * CENT, ask.request_id)
    assert [level.id for level in told.path] == [org_id]
    assert await commit(replicas[1], held, record(org_id, ask.request_id, "free")) == 10 * CENT
    assert len(await records_of(replicas[0], org_id)) == 1
    await in_balance(replicas[0], org_id)


async def test_what_is_under_way_is_counted_over_all_organisations(
    make_database: Callable[..., Awaitable[Any]], all_services: dict[str, pathlib.Path], org_id: str
) -> None:
    alone = await make_database({name: all_services[name] for name in ("audit", "budget")})
    database = Database(alone.dsn("budget"), "budget")
    budget = build(context_for(database, BudgetConfig(sweep_interval_s=3600, required_consumers=("audit",)), MODELS))
    await budget.start()
    try:
        asks = [(one, asking("dime")) for one in (org_id, uuid7())]
        for one, _ in asks:
            await limit(budget, one, 10 * USD)
        held = [await reserve(budget, one, ask) for one, ask in asks]
        await budget.backlog.count()
        assert telemetry.RESERVATIONS_OPEN._value.get() == 2
        reserved = sum(one.reserved_nano_usd for one in held) / 1e9
        assert telemetry.RESERVED._value.get() == pytest.approx(reserved) and reserved > 0
        assert telemetry.RECORDS_UNREAD.labels("audit")._value.get() == 0
        for (one, ask), reservation in zip(asks, held, strict=True):
            await commit(budget, reservation, record(one, ask.request_id, "free"))
        await budget.backlog.count()
        assert telemetry.RESERVATIONS_OPEN._value.get() == 0
        assert telemetry.RECORDS_UNREAD.labels("audit")._value.get() == 2
        cursor = (await fetch(budget, consumer="audit")).cursor
        await fetch(budget, cursor, consumer="audit")
        await budget.backlog.count()
        assert telemetry.RECORDS_UNREAD.labels("audit")._value.get() == 0
    finally:
        await budget.close()
        await database.close()


async def test_operations_on_the_ledger_are_counted_once(budget: BudgetService, org_id: str) -> None:
    def counted(operation: str, outcome: str = "ok") -> float:
        return telemetry.BUDGET_OPERATIONS.labels(operation, outcome)._value.get()

    before = [counted("reserve"), counted("commit"), counted("reserve", "budget_exhausted")]
    await limit(budget, org_id, 11 * CENT)
    ask = asking("dime")
    held = await reserve(budget, org_id, ask)
    with pytest.raises(MeshError):
        await reserve(budget, org_id, asking("dime"))
    for _ in range(2):
        await commit(budget, held, record(org_id, ask.request_id, "free"))
    after = [counted("reserve"), counted("commit"), counted("reserve", "budget_exhausted")]
    assert after == [one + 1 for one in before]


async def test_a_living_reservation_is_not_swept(budget: BudgetService, org_id: str) -> None:
    await reserve(budget, org_id, asking())
    await budget.sweeper.sweep()
    assert (await in_balance(budget, org_id)).open_reservations == 1


async def test_an_aborted_writer_leaves_nothing_half_done(
    make_budget: MakeBudget, database_for: DatabaseFor, org_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = await make_budget()
    await limit(budget, org_id, 5 * USD)
    acknowledged = []

    async def one(replica: BudgetService) -> None:
        acknowledged.append(await reserve(replica, org_id, asking()))

    doomed = await make_budget(max_batch_operations=3)
    tasks = [asyncio.create_task(one(doomed)) for _ in range(40)]
    while len(acknowledged) < 10:
        await asyncio.sleep(0)
    task = doomed.writer._task
    assert task is not None
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    for waiting in tasks:
        waiting.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    monkeypatch.setattr(doomed.writer, "_task", None)
    found = await in_balance(budget, org_id)
    assert len(acknowledged) <= found.open_reservations < 40
    assert (await only_budget(budget, org_id)).reserved_nano_usd == found.open_reservations * 10 * CENT


async def test_the_record_carries_the_costs_line_by_line(budget: BudgetService, org_id: str) -> None:
    ask = asking("cheap", input_tokens_max=1000)
    held = await reserve(budget, org_id, ask)
    usage = {"input_tokens": 3, "input_cached_tokens": 5, "output_tokens": 7, "reasoning_tokens": 2}
    cost = await commit(budget, held, record(org_id, ask.request_id, "cheap", **usage))
    (told,) = await records_of(budget, org_id)
    (attempt,) = told.attempts
    assert told.cost_nano_usd == attempt.cost_nano_usd == cost == 22  # ceil(3 + 0.5 + 14 + 4)
    assert [(line.bucket, line.tokens) for line in attempt.price_lines] == [
        ("input", 3),
        ("input_cached", 5),
        ("output", 7),
        ("reasoning", 2),
    ]
    assert sum(line.cost_nano_usd for line in attempt.price_lines) == cost
    assert attempt.price_version == held.price_version
    assert told.reserved_nano_usd == held.reserved_nano_usd
    assert told.reservation_id == held.reservation_id


async def test_a_reader_sees_every_record_once_while_two_replicas_write(make_budget: MakeBudget, org_id: str) -> None:
    replicas = [await make_budget(record_linger_ms=1), await make_budget(record_linger_ms=1)]
    wanted = {uuid7() for _ in range(120)}

    async def write(replica: BudgetService, request_ids: list[str]) -> None:
        for request_id in request_ids:
            with as_key(org_id):
                await replica.budget.Commit(pb.CommitRequest(record=record(org_id, request_id)), None)

    ordered = sorted(wanted)
    writing = asyncio.gather(*(write(replicas[n % 2], ordered[n::6]) for n in range(6)))
    cursor = ""
    seen: list[str] = []
    while len(seen) < len(wanted):
        answer = await fetch(replicas[0], cursor, wait_s=5, limit=7)
        assert answer.cursor != cursor, "nothing came for 5 s: a record was skipped"
        cursor = answer.cursor
        seen += [r.request_id for r in answer.records if r.org_id == org_id]
    await writing
    assert len(seen) == len(set(seen)) and set(seen) == wanted


async def test_an_older_open_transaction_holds_back_newer_records(
    budget: BudgetService, database_for: DatabaseFor, org_id: str
) -> None:
    database = await database_for("budget")
    first, second = uuid7(), uuid7()
    insert = "INSERT INTO record_outbox (org_id, request_id, record) VALUES ($1, $2, $3)"
    async with database.transaction(org_id) as slow:
        await slow.execute(insert, org_id, first, record(org_id, first).SerializeToString())
        with as_key(org_id):
            await budget.budget.Commit(pb.CommitRequest(record=record(org_id, second)), None)
        assert await records_of(budget, org_id) == []
    assert [r.request_id for r in await records_of(budget, org_id)] == [first, second]


async def test_records_stay_until_the_slowest_consumer_has_read_them(make_budget: MakeBudget, org_id: str) -> None:
    budget, request_id = await make_budget(required_consumers=("slow",)), uuid7()
    with as_key(org_id):
        await budget.budget.Commit(pb.CommitRequest(record=record(org_id, request_id)), None)

    async def read(consumer: str) -> None:
        # Another test's transaction on this server holds records back until it ends.
        async with asyncio.timeout(10):
            while request_id not in {one.request_id for one in await read_all(budget, consumer)}:
                await asyncio.sleep(0.01)

    await read("fast")
    await budget._forget()
    assert len(await records_of(budget, org_id)) == 1
    await read("slow")
    await read("test")
    await budget._forget()
    assert await records_of(budget, org_id) == []


async def test_records_wait_for_a_consumer_from_its_first_question_on(make_budget: MakeBudget, org_id: str) -> None:
    budget = await make_budget()
    late = uuid7()
    await fetch(budget, consumer=late)
    with as_key(org_id):
        for _ in range(2):
            await budget.budget.Commit(pb.CommitRequest(record=record(org_id, uuid7())), None)
    for consumer in ("fast", "test"):
        await read_all(budget, consumer)
    await budget._forget()
    assert len([one for one in await read_all(budget, late) if one.org_id == org_id]) == 2


async def test_only_services_read_the_outbox(budget: BudgetService, org_id: str) -> None:
    with as_key(org_id, "operator"), pytest.raises(MeshError) as refusal:
        await budget.record.FetchRecords(outbox_pb2.FetchRecordsRequest(consumer="me"), None)
    assert refusal.value.reason is Reason.PERMISSION_DENIED


async def test_a_price_change_is_a_new_version_and_old_reservations_keep_theirs(
    make_budget: MakeBudget, org_id: str
) -> None:
    old = await make_budget()
    again = await make_budget()
    assert again.prices.latest_version == old.prices.latest_version, "an unchanged price must not make a version"
    ask = asking("metered", input_tokens_max=10)
    held = await reserve(old, org_id, ask)
    try:
        new = await make_budget(models=(model("metered", input=5_000_000_000, output=0),))
        assert new.prices.latest_version > old.prices.latest_version
        what = record(org_id, ask.request_id, "metered", input_tokens=1)
        assert await commit(new, held, what) == 1000
        async with reading(old.price.WatchPrices(price_pb2.WatchPricesRequest(), None)) as watch:
            await anext(watch)
            await old.price.follow(0.0)
            changed = {price.model: price for price in (await anext(watch)).prices}
        assert changed["test/metered"].nano_usd_per_mtok["input"] == 5_000_000_000
        assert "test/dime" not in changed, "a model that no file prices any more is unknown"
    finally:
        await make_budget()


async def test_a_change_is_told_to_audit_until_audit_has_it(budget: BudgetService, org_id: str) -> None:
    made = await limit(budget, org_id, USD)
    with as_key(org_id):
        await budget.budget.DeleteBudget(pb.DeleteBudgetRequest(budget_id=made.budget_id), None)
    told: list[record_pb2.AdminRecord] = []

    async def away(records: list[bytes]) -> None:
        raise MeshError(Reason.UNAVAILABLE, "audit is away")

    async def there(records: list[bytes]) -> None:
        told.extend(record_pb2.AdminRecord.FromString(r) for r in records)

    with pytest.raises(MeshError):
        await ChangeTeller(budget._database, away).tell()
    await ChangeTeller(budget._database, there).tell()
    await ChangeTeller(budget._database, there).tell()
    mine = [(r.action, r.target) for r in told if r.org_id == org_id]
    assert mine == [("budget.set", f"budget:{made.budget_id}"), ("budget.delete", f"budget:{made.budget_id}")]


async def test_budgets_are_the_organisations_own_and_paged(budget: BudgetService, org_id: str) -> None:
    keys = [uuid7() for _ in range(3)]
    for key_id in keys:
        await limit(budget, org_id, USD, key_id=key_id)
    with as_key(org_id):
        first = await budget.budget.ListBudgets(pb.ListBudgetsRequest(page_size=2), None)
        rest = await budget.budget.ListBudgets(
            pb.ListBudgetsRequest(page_size=2, page_token=first.next_page_token), None
        )
    assert [b.level.id for b in (*first.budgets, *rest.budgets)] == keys
    assert rest.next_page_token == ""
    stranger = uuid7()
    with as_key(stranger), pytest.raises(MeshError) as refusal:
        await budget.budget.DeleteBudget(pb.DeleteBudgetRequest(budget_id=first.budgets[0].budget_id), None)
    assert refusal.value.reason is Reason.NOT_FOUND
    with pytest.raises(MeshError):
        await limit(budget, stranger, 1, key_id="not-a-uuid")
    with as_key(org_id, "read"), pytest.raises(MeshError) as refused:
        await budget.budget.DeleteBudget(pb.DeleteBudgetRequest(budget_id=first.budgets[0].budget_id), None)
    assert refused.value.reason is Reason.PERMISSION_DENIED


async def test_verify_finds_a_counter_that_was_tampered_with(
    budget: BudgetService, database_for: DatabaseFor, org_id: str
) -> None:
    await limit(budget, org_id, USD)
    await reserve(budget, org_id, asking())
    database = await database_for("budget")
    async with database.transaction(org_id) as connection:
        await connection.execute("UPDATE counters SET reserved = reserved - 1 WHERE org_id = $1", org_id)
    with as_key(org_id):
        found = await budget.budget.VerifyLedger(pb.VerifyLedgerRequest(), None)
    assert len(found.differences) == 1 and "reserved 99999999" in found.differences[0]


async def test_the_ledger_is_append_only(database_for: DatabaseFor, org_id: str) -> None:
    database = await database_for("budget")
    for statement in ("DELETE FROM ledger", "UPDATE ledger SET amount = 0"):
        with pytest.raises(MeshError):
            async with database.transaction(org_id) as connection:
                await connection.execute(statement)


async def test_a_closed_writer_refuses(budget: BudgetService, org_id: str) -> None:
    writer = Writer(budget.writer._store, 10, lambda: None)
    writer.start()
    await writer.close()
    with pytest.raises(MeshError) as refusal:
        await writer.submit(None)  # type: ignore[call-overload]
    assert refusal.value.reason is Reason.UNAVAILABLE
