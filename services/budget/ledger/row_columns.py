"""The ledger's rows as PostgreSQL's parameters and back; what a batch writes, in one statement of what it needs."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Iterable, Sequence
from typing import Any

from services.budget.ledger.ledger import Book
from services.budget.ledger.rows import CounterKey, Entry, Level, Limit, Reservation, State
from services.budget.ledger.settling import SettlingBook
from services.budget.ledger.windows import Window

PLAN_BY_KEY = ("enable_seqscan", "off")
"""A plan made while a table is still empty would read it whole, and is kept. For the same reason the statements
look rows up one by one (LATERAL, ON CONFLICT) and leave the planner no join to choose."""
PLAN_ONCE = ("plan_cache_mode", "force_generic_plan")
"""The plans do not depend on the values, so none is made anew for them."""

WRITES = {
    "made": """
  INSERT INTO reservations (org_id, reservation_id, request_id, amount, expires_at, price_version, output_cap,
                            covered_output, body_hash, counters, selectors, draft)
  SELECT org_id, reservation_id, request_id, amount, expires_at, price_version, output_cap, covered_output, body_hash,
         counters::text[], selectors::text[], draft
  FROM unnest({0}::uuid[], {1}::uuid[], {2}::uuid[], {3}::bigint[], {4}::timestamptz[], {5}::bigint[], {6}::bigint[],
              {7}::bigint[], {8}::bytea[], {9}::text[], {10}::text[], {11}::bytea[])
    AS u (org_id, reservation_id, request_id, amount, expires_at, price_version, output_cap, covered_output, body_hash,
          counters, selectors, draft)
  ON CONFLICT (org_id, request_id) DO NOTHING RETURNING 1
""",
    "extended": """
  INSERT INTO reservations AS r (org_id, reservation_id, request_id, amount, covered_output, expires_at, price_version,
                                 output_cap, body_hash, counters, draft)
  SELECT org_id, reservation_id, request_id, amount, covered_output, expires_at, 0, 0, '', '{{}}', ''
  FROM unnest({0}::uuid[], {1}::uuid[], {2}::uuid[], {3}::bigint[], {4}::bigint[], {5}::timestamptz[])
    AS u (org_id, reservation_id, request_id, amount, covered_output, expires_at)
  ON CONFLICT (org_id, reservation_id) DO UPDATE
    SET amount = EXCLUDED.amount, covered_output = EXCLUDED.covered_output, expires_at = EXCLUDED.expires_at
""",
    "resolved": """
  INSERT INTO reservations AS r (org_id, reservation_id, request_id, amount, expires_at, price_version, output_cap,
                                 body_hash, counters, draft, state, cost)
  SELECT org_id, reservation_id, request_id, 0, 'epoch', 0, 0, '', '{{}}', '', state, cost
  FROM unnest({0}::uuid[], {1}::uuid[], {2}::uuid[], {3}::smallint[], {4}::bigint[])
    AS u (org_id, reservation_id, request_id, state, cost)
  ON CONFLICT (org_id, reservation_id) DO UPDATE SET state = EXCLUDED.state, cost = EXCLUDED.cost
""",
    "counted": """
  INSERT INTO counters (org_id, budget_id, window_start, committed, reserved, next_alert)
  SELECT * FROM unnest({0}::uuid[], {1}::uuid[], {2}::timestamptz[], {3}::bigint[], {4}::bigint[], {5}::bigint[])
  ON CONFLICT (org_id, budget_id, window_start) DO UPDATE
    SET committed = EXCLUDED.committed, reserved = EXCLUDED.reserved, next_alert = EXCLUDED.next_alert
""",
    "charged": """
  INSERT INTO ledger (org_id, reservation_id, attempt_id, kind, amount, price_version, request_id, counters, provider,
                      model, operation, path, tags, tokens)
  SELECT org_id, reservation_id, attempt_id, kind, amount, price_version, request_id, counters::text[], provider, model,
         operation, path::text[], tags::text[], tokens::bigint[]
  FROM unnest({0}::uuid[], {1}::uuid[], {2}::text[], {3}::text[], {4}::bigint[], {5}::bigint[], {6}::uuid[],
              {7}::text[], {8}::text[], {9}::text[], {10}::text[], {11}::text[], {12}::text[], {13}::text[])
    AS u (org_id, reservation_id, attempt_id, kind, amount, price_version, request_id, counters, provider, model,
          operation, path, tags, tokens)
""",
    "warned": """
  INSERT INTO alerts (org_id, budget_id, window_start, threshold_percent, spent_nano_usd, limit_nano_usd)
  SELECT * FROM unnest({0}::uuid[], {1}::uuid[], {2}::timestamptz[], {3}::smallint[], {4}::bigint[], {5}::bigint[])
  ON CONFLICT DO NOTHING
""",
    "told": """
  INSERT INTO record_outbox (org_id, request_id, record)
  SELECT * FROM unnest({0}::uuid[], {1}::uuid[], {2}::bytea[]) ON CONFLICT (org_id, request_id) DO NOTHING
""",
    "administered": """
  INSERT INTO admin_outbox (org_id, record_id, record) SELECT * FROM unnest({0}::uuid[], {1}::uuid[], {2}::bytea[])
""",
}
"""What a batch may write. A batch's statement holds only the parts it needs: an empty part costs as much to start as a
full one. The reservations resolved and the counters counted are locked by the transaction, so their inserts always
conflict."""

Columns = list[list[Any]]


@functools.cache
def numbered(parts: tuple[str, ...], sizes: tuple[int, ...]) -> tuple[str, ...]:
    """The parts with their parameters numbered through; `sizes` says how many each has."""
    made, first = [], 1
    for part, size in zip(parts, sizes, strict=True):
        made.append(part.format(*(f"${number}" for number in range(first, first + size))))
        first += size
    return tuple(made)


@functools.cache
def write_statement(names: tuple[str, ...], sizes: tuple[int, ...]) -> str:
    """One statement for several writes; it counts what was inserted by "made"."""
    bodies = numbered(tuple(WRITES[name] for name in names), sizes)
    steps = ", ".join(f"{name} AS ({body})" for name, body in zip(names, bodies, strict=True))
    # Only constants of this file are put together here.
    return f"WITH {steps} SELECT {'count(*) FROM made' if 'made' in names else '0'}"  # noqa: S608


def columns_of(book: Book) -> dict[str, Columns]:
    """The parameters of every part of WRITES."""
    made, extended, resolved = book.made, book.extended.values(), book.resolved.values()
    entries, records = book.entries, book.records
    touched = [(key, book.counters[key]) for key in sorted(book.touched)]
    return {
        "made": [
            [r.org_id for r in made],
            [r.reservation_id for r in made],
            [r.request_id for r in made],
            [r.amount_nano_usd for r in made],
            [r.expires_at for r in made],
            [r.price_version for r in made],
            [r.output_cap_tokens for r in made],
            [r.covered_output_tokens for r in made],
            [r.body_hash for r in made],
            [written_keys(r.counters) for r in made],
            [_array(r.selectors) for r in made],
            [r.draft for r in made],
        ],
        "extended": [
            [r.org_id for r in extended],
            [r.reservation_id for r in extended],
            [r.request_id for r in extended],
            [r.amount_nano_usd for r in extended],
            [r.covered_output_tokens for r in extended],
            [r.expires_at for r in extended],
        ],
        "resolved": [
            [r.org_id for r in resolved],
            [r.reservation_id for r in resolved],
            [r.request_id for r in resolved],
            [int(r.state) for r in resolved],
            [r.cost_nano_usd for r in resolved],
        ],
        "counted": [
            [key.org_id for key, _ in touched],
            [key.budget_id for key, _ in touched],
            [key.window_start for key, _ in touched],
            [counter.committed for _, counter in touched],
            [counter.reserved for _, counter in touched],
            [counter.next_alert for _, counter in touched],
        ],
        "charged": _entry_columns(entries),
        "warned": [
            [a.key.org_id for a in book.alerts],
            [a.key.budget_id for a in book.alerts],
            [a.key.window_start for a in book.alerts],
            [a.threshold_percent for a in book.alerts],
            [a.spent_nano_usd for a in book.alerts],
            [a.limit_nano_usd for a in book.alerts],
        ],
        "told": [[r.org_id for r in records], [r.request_id for r in records], [r.sealed for r in records]],
        "administered": [
            [r.org_id for r in book.admin_records],
            [r.request_id for r in book.admin_records],
            [r.sealed for r in book.admin_records],
        ],
    }


def _entry_columns(entries: Sequence[Entry]) -> Columns:
    return [
        [e.org_id for e in entries],
        [e.reservation_id for e in entries],
        [e.attempt_id for e in entries],
        [e.kind for e in entries],
        [e.amount_nano_usd for e in entries],
        [e.price_version for e in entries],
        [e.request_id for e in entries],
        [written_keys(e.counters) for e in entries],
        [e.provider for e in entries],
        [e.model for e in entries],
        [e.operation for e in entries],
        [_array(e.path) for e in entries],
        [_array(e.tags) for e in entries],
        ["{" + ",".join(map(str, e.tokens)) + "}" for e in entries],
    ]


def key_columns(keys: set[CounterKey]) -> Columns:
    """Counters in the global order."""
    ordered = sorted(keys)
    return [[k.org_id for k in ordered], [k.budget_id for k in ordered], [k.window_start for k in ordered]]


def limit_of(
    org_id: object,
    budget_id: object,
    kind: int,
    level_id: object,
    window: int,
    limit_nano_usd: int | None,
    thresholds: Iterable[str | int],
    is_hard: bool | int,
    selector: str,
    zone: str,
    note: str,
) -> Limit:
    """A row of `budgets`."""
    return Limit(
        str(budget_id),
        Level(str(org_id), kind, str(level_id)),
        Window(window),
        limit_nano_usd,
        zone,
        selector,
        bool(is_hard),
        tuple(map(int, thresholds)),
        note=note,
    )


def reservation_of(row: Any) -> Reservation:
    """A row of `reservations`, behind the kind of row."""
    org_id = str(row[1])
    return Reservation(
        reservation_id=str(row[2]),
        org_id=org_id,
        request_id=str(row[3]),
        amount_nano_usd=row[4],
        cost_nano_usd=row[5],
        state=State(row[6]),
        expires_at=row[7],
        price_version=row[8],
        output_cap_tokens=row[9],
        body_hash=row[10],
        counters=tuple(read_key(org_id, text) for text in row[11]),
        covered_output_tokens=row[12],
        selectors=tuple(row[13]),
        is_hard=bool(row[11]),
    )


def entry_of(row: Any) -> Entry:
    """A row of `ledger`."""
    org_id = str(row[0])
    counters = tuple(read_key(org_id, text) for text in row[7])
    attempt_id, kind, amount, version = row[2:6]
    provider, model, operation, path, tags, tokens = row[8:14]
    where = (provider, model, operation, tuple(path), tuple(tags), tuple(tokens))
    return Entry(org_id, str(row[1]), attempt_id, kind, amount, version, str(row[6]), counters, *where)


def read_key(org_id: str, text: str) -> CounterKey:
    """ "<budget_id>@<unix seconds>" as stored."""
    budget_id, _, seconds = text.partition("@")
    return CounterKey(org_id, budget_id, dt.datetime.fromtimestamp(int(seconds), dt.UTC))


@functools.lru_cache(maxsize=4096)
def written_keys(keys: tuple[CounterKey, ...]) -> str:
    """An array literal: unnest cannot carry arrays of different lengths."""
    return "{" + ",".join(f"{key.budget_id}@{int(key.window_start.timestamp())}" for key in keys) + "}"


@functools.lru_cache(maxsize=4096)
def _array(texts: tuple[str, ...]) -> str:
    """An array literal of any texts; those that are all empty say nothing."""
    return text_array(texts) if any(texts) else "{}"


def text_array(texts: Sequence[str]) -> str:
    """An array literal of any texts.

    Arrays as literals: the driver looks at each element of a list several times, which costs more than all else here.
    """
    joined = '","'.join(texts)
    if "\\" in joined or joined.count('"') > 2 * (len(texts) - 1):
        joined = '","'.join(text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
    return f'{{"{joined}"}}' if texts else "{}"


def plain_array(words: Iterable[str]) -> str:
    """An array literal of what needs no quotes: UUIDs, timestamps, numbers."""
    return "{" + ",".join(words) + "}"


@functools.lru_cache(maxsize=1024)
def _time(at: dt.datetime) -> str:
    return at.isoformat()


def number_array(numbers: Iterable[int]) -> str:
    """An array literal of numbers."""
    return "{" + ",".join(map(str, numbers)) + "}"


def settling_columns(book: SettlingBook) -> list[Any]:
    """What run_simply is told of what ends, in its order: each reservation resolved, with the one record of it."""
    # In the order in which the general path locks them: two replicas must not wait for each other.
    both = sorted(
        zip(book.resolved.values(), book.records, strict=True),
        key=lambda pair: (pair[0].org_id, pair[0].reservation_id),
    )
    resolved = [reservation for reservation, _ in both]
    totals = sorted(book.totals().items())
    numbers = {r.reservation_id: number for number, r in enumerate(resolved, 1)}
    about: dict[tuple[Any, ...], int] = {}
    entries = book.entries
    places = [
        about.setdefault(
            (e.kind, e.price_version, e.counters, e.provider, e.model, e.operation, e.path, e.tags), len(about) + 1
        )
        for e in entries
    ]
    kinds, versions, counters, *texts, paths, tags = zip(*about, strict=True) if about else ((),) * 8
    return [
        plain_array([r.org_id for r in resolved]),
        plain_array([r.reservation_id for r in resolved]),
        plain_array([r.request_id for r in resolved]),
        number_array([r.amount_nano_usd for r in resolved]),
        number_array([int(r.state) for r in resolved]),
        number_array([r.cost_nano_usd for r in resolved]),
        [record.sealed for _, record in both],
        plain_array([key.org_id for key, _ in totals]),
        plain_array([key.budget_id for key, _ in totals]),
        plain_array([_time(key.window_start) for key, _ in totals]),
        number_array([spent for _, (spent, _) in totals]),
        number_array([freed for _, (_, freed) in totals]),
        number_array([numbers[e.reservation_id] for e in entries]),
        text_array([e.attempt_id for e in entries]),
        number_array([e.amount_nano_usd for e in entries]),
        text_array([number_array(e.tokens) for e in entries]),
        number_array(places),
        text_array(kinds),
        number_array(versions),
        [written_keys(keys) for keys in counters],
        *map(text_array, texts),
        [_array(path) for path in paths],
        [_array(tag) for tag in tags],
    ]
