"""A batch in one statement: what ends frees room for what begins, and nobody is spoilt by another's trouble."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.ids import uuid7
from mesh.postgres import Database
from services.budget.ledger.row_columns import text_array
from services.budget.server import BudgetService
from tests.integration.budget.test_money_flow import asking, commit, in_balance, limit, only_budget, record, reserve
from tests.integration.budget.world import CENT, USD, MakeBudget

NASTY = ('a","b', "back\\slash", "{braces}", "comma, NULL", '"', "new\nline", "Zürich", "")


@pytest.fixture
def statements(budget: BudgetService, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, bool]]]:
    """(organisations, whether something was held) of every statement that is a whole batch."""
    seen: list[tuple[str, bool]] = []
    call = budget._database.call

    async def counted(statement: str, *values: Any) -> Any:
        told = None
        try:
            told = await call(statement, *values)
        finally:
            seen.append((values[0], bool(told)))
        return told

    monkeypatch.setattr(budget._database, "call", counted)
    yield seen


def metered(**fields: Any) -> Any:
    return asking("metered", input_tokens_max=100, max_output_tokens=50, **fields)


async def test_what_ends_makes_room_for_what_begins_in_the_same_statement(
    budget: BudgetService, org_id: str, statements: list[tuple[str, bool]]
) -> None:
    await limit(budget, org_id, 250_000)
    first = metered()
    # Opens the window's counter, and finds its first threshold.
    await commit(
        budget, await reserve(budget, org_id, first), record(org_id, first.request_id, "metered", input_tokens=1)
    )
    second = metered()
    held = await reserve(budget, org_id, second)
    assert held.reserved_nano_usd == 200_000
    statements.clear()
    cost, third = await asyncio.gather(
        commit(budget, held, record(org_id, second.request_id, "metered", input_tokens=10)),
        reserve(budget, org_id, metered()),
    )
    assert statements == [(org_id, True)]
    assert (cost, third.reserved_nano_usd, third.output_cap_tokens) == (10_000, 200_000, 50)
    state = await only_budget(budget, org_id)
    assert (state.spent_nano_usd, state.reserved_nano_usd) == (11_000, 200_000)
    assert (await in_balance(budget, org_id)).open_reservations == 1


async def test_an_organisation_with_nothing_left_holds_up_nobody_else(
    budget: BudgetService, org_id: str, statements: list[tuple[str, bool]]
) -> None:
    other = uuid7()
    await limit(budget, org_id, 10 * CENT)
    await limit(budget, other, USD)
    await reserve(budget, org_id, asking())
    await reserve(budget, other, asking())
    refused = await asyncio.gather(reserve(budget, org_id, asking()), return_exceptions=True)
    assert isinstance(refused[0], BaseException)
    statements.clear()
    both = await asyncio.gather(
        reserve(budget, org_id, asking()), reserve(budget, other, asking()), return_exceptions=True
    )
    assert isinstance(both[0], BaseException) and not isinstance(both[1], BaseException)
    assert statements == [(other, True)]
    await limit(budget, org_id, USD)
    statements.clear()
    await reserve(budget, org_id, asking())
    await reserve(budget, org_id, asking())
    assert statements == [(org_id, True)], "once something fits again, the next goes in one statement"
    await in_balance(budget, org_id)


@pytest.mark.parametrize(("callers", "batches"), [(64, 1), (100, 2), (300, 4)])
async def test_a_long_queue_is_taken_in_halves(
    budget: BudgetService, org_id: str, statements: list[tuple[str, bool]], callers: int, batches: int
) -> None:
    await asyncio.gather(*(reserve(budget, org_id, asking()) for _ in range(callers)))
    assert statements == [(org_id, True)] * batches
    assert (await in_balance(budget, org_id)).open_reservations == callers


async def test_a_taken_request_id_undoes_the_statement_and_what_ended_is_charged_once(
    make_budget: MakeBudget, org_id: str
) -> None:
    first, second = await make_budget(), await make_budget()
    await limit(first, org_id, USD)
    await reserve(first, org_id, asking())
    ask, taken = asking(), asking()
    held = await reserve(first, org_id, ask)
    elsewhere = await reserve(second, org_id, taken)
    cost, again = await asyncio.gather(
        commit(first, held, record(org_id, ask.request_id, "dime")), reserve(first, org_id, taken)
    )
    assert cost == 10 * CENT and again.reservation_id == elsewhere.reservation_id
    found = await in_balance(first, org_id)
    assert (found.ledger_rows, found.open_reservations) == (1, 2)


async def test_any_text_reaches_the_ledger_as_it_is(
    budget: BudgetService, org_id: str, database_for: Callable[..., Awaitable[Database]]
) -> None:
    await limit(budget, org_id, 100 * USD)
    first = asking()
    await commit(budget, await reserve(budget, org_id, first), record(org_id, first.request_id, "dime"))
    asks = [asking() for _ in NASTY]
    helds = [await reserve(budget, org_id, ask) for ask in asks]
    records = [record(org_id, ask.request_id, "dime") for ask in asks]
    for told, text in zip(records, NASTY, strict=True):
        told.attempts[0].attempt_id = text
        told.attempts[0].finish_reason = text
        told.tags["odd"] = text
        told.operation = text
    await asyncio.gather(*(commit(budget, held, told) for held, told in zip(helds, records, strict=True)))
    database = await database_for("budget")
    async with database.transaction(org_id) as connection:
        rows = await connection.fetch("SELECT request_id::text, attempt_id, tags, operation FROM ledger")
    found = {row[0]: tuple(row)[1:] for row in rows}
    for ask, text in zip(asks, NASTY, strict=True):
        assert found[ask.request_id] == (f"0:{text}", [f"odd={text}"], text or "chat")
    await in_balance(budget, org_id)


async def test_an_array_literal_is_read_back_as_it_was(database_for: Callable[..., Awaitable[Database]]) -> None:
    database = await database_for("budget")
    found: list[list[str]] = []

    @given(st.lists(st.text(st.characters(exclude_characters="\x00", codec="utf-8")) | st.sampled_from(NASTY)))
    def collect(texts: list[str]) -> None:
        found.append(texts)

    collect()
    async with database.transaction() as connection:
        for texts in found:
            assert await connection.fetchval("SELECT $1::text::text[]", text_array(texts)) == texts
