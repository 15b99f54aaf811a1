"""Recomputing the counters and the sums of usage from the ledger and the open reservations, as of one moment."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from mesh.postgres import Database
from services.budget.ledger.row_columns import read_key
from services.budget.ledger.rows import CHARGING

VERIFY = """
SELECT 'charged' AS what, key, sum(amount)::bigint AS first, 0::bigint AS second
FROM ledger, unnest(counters) AS key WHERE org_id = $1 AND kind = ANY ($2::text[]) GROUP BY key
UNION ALL
SELECT 'held', key, sum(amount)::bigint, 0
FROM reservations, unnest(counters) AS key WHERE org_id = $1 AND state = 0 GROUP BY key
UNION ALL
SELECT 'counter', budget_id || '@' || extract(epoch FROM window_start)::bigint, committed, reserved
FROM counters WHERE org_id = $1
UNION ALL
SELECT 'budget', budget_id::text, 0, 0 FROM budgets WHERE org_id = $1
UNION ALL
SELECT 'rows', '', (SELECT count(*) FROM ledger WHERE org_id = $1),
       (SELECT count(*) FROM reservations WHERE org_id = $1 AND state = 0)
UNION ALL
SELECT 'folded', '', coalesce(sum(amount), 0)::bigint, coalesce(sum(tokens[1] + tokens[4]), 0)::bigint
FROM ledger, usage_mark AS m WHERE org_id = $1 AND kind = ANY ($2::text[])
  AND (ledger.position <= m.position OR ledger.position IS NULL AND at < m.history_at)
UNION ALL
SELECT 'summed', g.name, coalesce(sum(s.cost), 0)::bigint, coalesce(sum(s.input + s.output), 0)::bigint
FROM (VALUES (0, 0, 'quarters by model'), (0, 1, 'days by model'), (1, 0, 'quarters by caller'),
             (1, 1, 'days by caller')) AS g (kind, grain, name)
  LEFT JOIN usage_cells c ON c.org_id = $1 AND c.kind = g.kind
  LEFT JOIN usage_sums s ON s.org_id = $1 AND s.cell_id = c.cell_id AND s.grain = g.grain
GROUP BY g.name
UNION ALL
SELECT * FROM (
  SELECT 'wrong', r.reservation_id::text, r.cost,
         coalesce(sum(l.amount) FILTER (WHERE l.kind = ANY ($2::text[])), 0)::bigint
  FROM reservations r LEFT JOIN ledger l ON l.org_id = r.org_id AND l.reservation_id = r.reservation_id
  WHERE r.org_id = $1 GROUP BY r.org_id, r.reservation_id
  HAVING r.cost <> coalesce(sum(l.amount) FILTER (WHERE l.kind = ANY ($2::text[])), 0)
      OR (r.state = 0) <> (count(l.kind) = 0)
  LIMIT 100) w
"""
"""One statement, so that all of it is seen as of one moment."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What recomputing the counters found."""

    differences: list[str]
    ledger_rows: int
    open_reservations: int


async def verify(database: Database, org_id: str) -> Verification:
    """Recomputes every counter of an organisation, and what its sums of usage add up to."""
    async with database.transaction(org_id) as connection:
        rows = await connection.fetch(VERIFY, org_id, list(CHARGING))
    found: dict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    for what, key, first, second in rows:
        found[what][key] = (first, second)
    differences = []
    for key in sorted(found["counter"].keys() | found["charged"].keys() | found["held"].keys()):
        if key.partition("@")[0] not in found["budget"]:
            continue  # Deleted: the ledger still names it, its counters are gone.
        committed, reserved = found["counter"].get(key, (0, 0))
        should = (found["charged"].get(key, (0, 0))[0], found["held"].get(key, (0, 0))[0])
        if (committed, reserved) != should:
            counter = read_key(org_id, key)
            differences.append(
                f"budget {counter.budget_id}, window of {counter.window_start:%Y-%m-%dT%H:%MZ}: the counter says "
                f"committed {committed} and reserved {reserved} nano-USD, the ledger {should[0]} and {should[1]}"
            )
    differences += [
        f"reservation {reservation_id}: its cost is {cost} nano-USD, its ledger rows say {charged}"
        for reservation_id, (cost, charged) in found["wrong"].items()
    ]
    cost, tokens = found["folded"][""]
    differences += [
        f"usage, {name}: the sums say {summed[0]} nano-USD and {summed[1]} tokens, the ledger {cost} and {tokens}"
        for name, summed in sorted(found["summed"].items())
        if summed != (cost, tokens)
    ]
    return Verification(differences, *found["rows"][""])
