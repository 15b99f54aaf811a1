"""Usage as the ledger's lines say it, line by line in plain Python: what the sums must always agree with."""

from __future__ import annotations

import bisect
import datetime as dt
import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from mesh.postgres import Database
from services.budget.ledger.windows import Window
from services.budget.usage.store import Page, PostgresUsageStore
from services.budget.usage.usage import Dimension, Query, Row

LINES = "SELECT * FROM ledger WHERE org_id = $1"
CHARGING = ("commit", "indeterminate", "adjust")
LEVELS = {Dimension.TEAM: "team", Dimension.PROJECT: "project", Dimension.USER: "user", Dimension.KEY: "key"}
TOKENS = ("input_tokens", "input_cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")


class Oracle:
    """All lines of an organisation at one moment."""

    def __init__(self, lines: Sequence[Any]) -> None:
        self.lines = [line for line in lines if line["kind"] in CHARGING]
        self._of = defaultdict(list)
        for line in self.lines:
            if line["kind"] == "commit":
                self._of[line["reservation_id"]].append(line)

    @classmethod
    async def read(cls, database: Database, org_id: str) -> Oracle:
        async with database.transaction(org_id) as connection:
            return cls(await connection.fetch(LINES, org_id))

    def charged_since(self, since: dt.datetime) -> int:
        return sum(line["amount"] for line in self.lines if line["at"] >= since)

    def spent_recently(self, key: str, since: dt.datetime) -> int:
        return sum(line["amount"] * line["counters"].count(key) for line in self.lines if line["at"] >= since)

    def page(self, query: Query, steps: Sequence[dt.datetime]) -> Page:
        rows: dict[tuple[int, tuple[str, ...]], Row] = {}
        total = Row()
        chosen = query.chosen
        apart = [one for one in (Dimension.MODEL, Dimension.PROVIDER) if one in query.dimensions or one in chosen]
        for line in self.lines:
            if not query.start <= line["at"] < query.end:
                continue
            if (query.level and query.level not in line["path"]) or (query.tag and query.tag not in line["tags"]):
                continue
            if query.model not in ("", line["model"]) or query.provider not in ("", line["provider"]):
                continue
            step = bisect.bisect_right(steps, line["at"]) if steps else 0
            place = (step, tuple(self._group(one, line, query.tag_key) for one in query.dimensions))
            rows[place] = _added(rows.get(place, Row(*place)), line, self._counts(line, apart))
            total = _added(total, line, self._counts(line, chosen))
        ordered = [rows[place] for place in sorted(rows, key=lambda one: (one[0], [x.encode() for x in one[1]]))]
        return Page(ordered, total, False)

    def _counts(self, line: Any, apart: Sequence[Dimension]) -> bool:
        """Whether a line stands for a request: its first, or its first with the same model and provider."""
        if line["kind"] == "adjust":
            return False
        if line["attempt_id"] == "" or line["attempt_id"].startswith("0:"):
            return True
        names = [one.name.lower() for one in apart]
        return bool(names) and not any(
            e["attempt_id"].encode() < line["attempt_id"].encode() and all(e[name] == line[name] for name in names)
            for e in self._of[line["reservation_id"]]
        )

    @staticmethod
    def _group(dimension: Dimension, line: Any, tag_key: str) -> str:
        if dimension is Dimension.TAG:
            return str(min((tag for tag in line["tags"] if tag.startswith(f"{tag_key}=")), default=""))
        if dimension in LEVELS:
            found = [one for one in line["path"] if one.startswith(f"{LEVELS[dimension]}:")]
            return str(found[-1].split(":")[1]) if found else ""
        return str(line[dimension.name.lower()])


def _added(row: Row, line: Any, counts: bool) -> Row:
    tokens = [*line["tokens"], 0, 0, 0, 0, 0][:5]
    return Row(
        row.step,
        row.group,
        row.requests + counts,
        *(getattr(row, name) + count for name, count in zip(TOKENS, tokens, strict=True)),
        row.cost_nano_usd + line["amount"],
    )


def any_query(dice: random.Random, org_id: str, lines: Sequence[Any]) -> Query:
    """A question about these lines; its times lie anywhere around theirs."""
    moments = [line["at"] for line in lines]
    start = dice.choice(moments) - dt.timedelta(seconds=dice.choice((0, 1, 4000, 90_000, 3_000_000)))
    end = max(start, dice.choice(moments)) + dt.timedelta(seconds=dice.choice((1, 900, 50_000, 2_000_000)))
    if dice.random() < 0.5:
        start, end = (one.replace(minute=0, second=0, microsecond=0) for one in (start, end + dt.timedelta(hours=1)))
    one, kinds = dice.choice(lines), dice.sample(list(Dimension), dice.choice((0, 1, 1, 2, 4)))
    step = dice.choice((None, Window.HOUR, Window.DAY, Window.WEEK, Window.MONTH))
    if step is Window.HOUR:
        start = max(start, end - dt.timedelta(days=30))
    return Query(
        org_id,
        start,
        end,
        tuple(kinds),
        step,
        dice.choice(("UTC", "UTC", "Europe/Berlin", "Asia/Kathmandu")),
        level=dice.choice(one["path"]) if one["path"] and dice.random() < 0.3 else "",
        model=one["model"] if dice.random() < 0.2 else "",
        provider=one["provider"] if dice.random() < 0.2 else "",
        tag=dice.choice(one["tags"]) if one["tags"] and dice.random() < 0.2 else "",
        tag_key="app" if Dimension.TAG in kinds else "",
    )


async def assert_equal(store: PostgresUsageStore, org_id: str, dice: random.Random, questions: int) -> None:
    """The store's answers are the lines', whatever is asked."""
    oracle = await Oracle.read(store.database, org_id)
    if not oracle.lines:
        return
    for _ in range(questions):
        query = any_query(dice, org_id, oracle.lines)
        found = await store.page(query, query.steps, None, 100_000)
        expected = oracle.page(query, query.steps)
        assert found == expected, f"{query}\nfound    {found}\nexpected {expected}"
    moment = dice.choice(oracle.lines)["at"]
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    month = day.replace(day=1)
    assert await store.charged_since(org_id, day, month) == (oracle.charged_since(day), oracle.charged_since(month))
    since = moment - dt.timedelta(seconds=dice.choice((0, 1, 86_400)))
    epoch = dt.datetime.fromtimestamp(0, dt.UTC)
    budgets = sorted({key.partition("@")[0] for line in oracle.lines for key in line["counters"] if key.endswith("@0")})
    recent = await store.spent_recently(org_id, [(one, epoch) for one in budgets], since)
    assert recent == {
        one: oracle.spent_recently(f"{one}@0", since)
        for one in budgets
        if any(line["at"] >= since and f"{one}@0" in line["counters"] for line in oracle.lines)
    }
