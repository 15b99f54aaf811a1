"""Refusals without a lock: where too little was left at one moment since a request was asked for, it is refused.

Many requests of an organisation that has nothing left would otherwise wait for each other's row locks, replica by
replica, only to be told so. What would be held is not decided here: it goes the way with the locks.
"""

from __future__ import annotations

from collections.abc import Sequence

from mesh.errors import MeshError
from mesh.postgres import Database
from services.budget.ledger.ledger import Book
from services.budget.ledger.operations import Reserve
from services.budget.ledger.row_columns import limit_of, number_array, plain_array
from services.budget.ledger.rows import Counter, CounterKey
from services.budget.prices.book import PriceBook

LOOK = """SELECT * FROM look_simply($1, $2::text::uuid[], $3::text::uuid[], $4::text::uuid[], $5::text::smallint[],
  $6::text::uuid[], $7::text::text[], $8::text::timestamptz[])"""


async def refused_early(
    database: Database,
    prices: PriceBook,
    default_output_tokens: int,
    windows: tuple[str, str],
    asked: Sequence[tuple[int, Reserve]],
) -> dict[int, MeshError]:
    """The refusals among what is asked, by the numbers beside it. `windows`: zones and six starts for each, as arrays,
    of the windows in which all of it is asked."""
    levels = {level: None for _, op in asked for level in op.levels}
    rows = await database.rows(
        LOOK,
        ",".join(sorted({op.org_id for _, op in asked})),
        plain_array([op.org_id for _, op in asked]),
        plain_array([op.request_id for _, op in asked]),
        plain_array([level.org_id for level in levels]),
        number_array([level.kind for level in levels]),
        plain_array([level.level_id for level in levels]),
        *windows,
    )
    book = Book(prices, default_output_tokens)
    taken: set[tuple[str, str]] = set()
    unopened: set[str] = set()
    """Budgets whose window has no counter yet, or a zone that is not known here."""
    for org, request, budget, kind, level, window, most, is_hard, selector, zone, note, since, used in rows:
        org_id = str(org)
        if request is not None:
            taken.add((org_id, str(request)))
            continue
        limit = limit_of(org_id, budget, kind, level, window, most, (), is_hard, selector, zone, note)
        book.limits.setdefault(limit.level, []).append(limit)
        if used is None:
            unopened.add(limit.budget_id)
        else:
            book.counters[CounterKey(org_id, limit.budget_id, since)] = Counter(used)
    refused: dict[int, MeshError] = {}
    for at, op in asked:
        if (op.org_id, op.request_id) in taken:
            continue
        if unopened and any(limit.budget_id in unopened for limit in book.limits_of(op)):
            continue
        refusal = book.refusal_of(op)
        if refusal is not None:
            refused[at] = refusal
    return refused
