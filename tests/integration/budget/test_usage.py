"""UsageService over a real ledger: sums, groups, steps in any zone, filters, pages, files, and nobody else's rows."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import time
import zoneinfo
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from dac.budget.v1 import budget_pb2, usage_pb2
from dac.type.v1.principal_pb2 import Level, Principal
from mesh.call import Call, serving
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.postgres import Database
from services.budget.ledger.windows import Window, end_of, start_of
from services.budget.server import BudgetService
from services.budget.usage.usage import read_token
from tests.integration.budget.ledger_lines import Ledger
from tests.integration.budget.world import as_key, principal

NOVEMBER = {"start_at": "2026-11-01T00:00:00+00:00", "end_at": "2026-12-01T00:00:00+00:00"}
DIMENSIONS = usage_pb2.Dimension


@pytest.fixture
async def ledger(database_for: Callable[..., Awaitable[Database]], org_id: str) -> Ledger:
    return Ledger(await database_for("budget"), org_id)


def asking(kind: Any = usage_pb2.QueryUsageRequest, *by: str, **fields: Any) -> Any:
    """A request from words: dimensions by their names, times as text, a level as "team:<id>"."""
    request = kind()
    for field, text in {**NOVEMBER, **{k: v for k, v in fields.items() if k in NOVEMBER}}.items():
        if text:
            getattr(request, field).FromDatetime(dt.datetime.fromisoformat(text))
    request.group_by.extend(DIMENSIONS.Value(f"DIMENSION_{name.upper()}") for name in by)
    if "step" in fields:
        request.step = budget_pb2.Window.Value(f"WINDOW_{fields.pop('step').upper()}")
    if "level" in fields:
        level, _, level_id = fields.pop("level").partition(":")
        request.level.CopyFrom(Level(kind=Level.Kind.Value(f"KIND_{level.upper()}"), id=level_id))
    for field, value in fields.items():
        if field not in NOVEMBER:
            setattr(request, field, value)
    return request


async def query(budget: BudgetService, org_id: str, *by: str, **fields: Any) -> usage_pb2.QueryUsageResponse:
    with as_key(org_id, "read"):
        return await budget.usage.QueryUsage(asking(usage_pb2.QueryUsageRequest, *by, **fields), None)


async def refused(budget: BudgetService, org_id: str, *by: str, **fields: Any) -> MeshError:
    with pytest.raises(MeshError) as caught:
        await query(budget, org_id, *by, **fields)
    assert caught.value.reason is Reason.INVALID_REQUEST
    return caught.value


def costs(response: usage_pb2.QueryUsageResponse) -> dict[tuple[str, ...], int]:
    return {tuple(row.group): row.cost_nano_usd for row in response.rows}


async def test_what_was_charged_is_summed_and_nothing_else(budget: BudgetService, ledger: Ledger, org_id: str) -> None:
    whole = await ledger.add("2026-11-02T10:00:00+00:00", 70, tokens=(1, 2, 3, 4, 5))
    await ledger.add("2026-11-02T10:00:00+00:00", 30, kind="overrun", attempt="", request=whole)
    await ledger.add("2026-11-20T10:00:00+00:00", -20, kind="adjust", attempt="adj", request=whole)
    await ledger.add("2026-11-03T10:00:00+00:00", 0, kind="release", attempt="")
    await ledger.add("2026-11-03T10:00:00+00:00", 500, kind="indeterminate", attempt="", model="", provider="")
    await ledger.add("2026-11-04T10:00:00+00:00", 0, tokens=(10, 0, 0, 1, 0))
    for outside in ("2026-10-31T23:59:59.999999+00:00", "2026-12-01T00:00:00+00:00"):
        await ledger.add(outside, 10**6)
    total = (await query(budget, org_id)).total
    assert (total.requests, total.cost_nano_usd) == (3, 70 - 20 + 500)
    assert (total.input_tokens, total.input_cached_tokens, total.cache_write_tokens) == (11, 2, 3)
    assert (total.output_tokens, total.reasoning_tokens) == (5, 5)
    assert not total.HasField("start") and not total.group


async def test_a_request_with_two_models_counts_with_both_and_once_in_all(
    budget: BudgetService, ledger: Ledger, org_id: str
) -> None:
    at = "2026-11-02T10:00:00+00:00"
    first = await ledger.add(at, 5, model="a/one", provider="a", attempt="0:x")
    await ledger.add(at, 7, model="b/two", provider="b", attempt="1:y", request=first)
    await ledger.add(at, 9, model="b/two", provider="b", attempt="2:z", request=first)
    await ledger.add(at, 1, model="b/two", provider="b")
    by_model = await query(budget, org_id, "model")
    assert {row.group[0]: (row.requests, row.cost_nano_usd) for row in by_model.rows} == {
        "a/one": (1, 5),
        "b/two": (2, 17),
    }
    assert by_model.total.requests == 2
    assert (await query(budget, org_id, "operation")).rows[0].requests == 2
    only = await query(budget, org_id, "provider", model="b/two")
    assert (only.rows[0].requests, only.total.requests, only.total.cost_nano_usd) == (2, 2, 17)
    assert (await query(budget, org_id, provider="b")).total.requests == 2
    assert (await query(budget, org_id, "provider", "model", provider="a")).total.requests == 1


async def test_every_dimension(budget: BudgetService, ledger: Ledger, org_id: str) -> None:
    at, outer, inner = "2026-11-02T10:00:00+00:00", uuid7(), uuid7()
    project, user, key = uuid7(), uuid7(), uuid7()
    path = (f"team:{outer}", f"team:{inner}", f"project:{project}", f"user:{user}", f"key:{key}")
    await ledger.add(at, 5, path=path, tags=("app=shop", "app=zoo", "env=prod"), operation="embeddings")
    await ledger.add(at, 7, path=(f"team:{outer}",))
    expected = {
        "team": {(inner,): 5, (outer,): 7},
        "project": {(project,): 5, ("",): 7},
        "user": {(user,): 5, ("",): 7},
        "key": {(key,): 5, ("",): 7},
        "model": {("openai/gpt-4o",): 12},
        "provider": {("openai",): 12},
        "operation": {("embeddings",): 5, ("chat",): 7},
    }
    for name, groups in expected.items():
        assert costs(await query(budget, org_id, name)) == groups, name
    assert costs(await query(budget, org_id, "tag", tag_key="app")) == {("app=shop",): 5, ("",): 7}
    assert costs(await query(budget, org_id, "tag", tag_key="ap")) == {("",): 12}
    both = await query(budget, org_id, "tag", "team", "model", tag_key="env")
    assert costs(both) == {("env=prod", inner, "openai/gpt-4o"): 5, ("", outer, "openai/gpt-4o"): 7}
    assert costs(await query(budget, org_id, "key", level=f"team:{outer}")) == {(key,): 5, ("",): 7}
    assert costs(await query(budget, org_id, "key", level=f"team:{inner}")) == {(key,): 5}
    assert costs(await query(budget, org_id, level=f"org:{org_id}")) == {(): 12}
    assert costs(await query(budget, org_id, tag="app=zoo")) == {(): 5}
    assert costs(await query(budget, org_id, level=f"user:{uuid7()}")) == {}


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", ""])
@pytest.mark.parametrize("step", ["hour", "day", "week", "month"])
@pytest.mark.parametrize(
    "around", ["2026-03-29T01:00:00+00:00", "2026-10-25T01:00:00+00:00", "2026-11-01T06:00:00+00:00"]
)
async def test_steps_begin_where_windows_do(
    budget: BudgetService, ledger: Ledger, org_id: str, zone: str, step: str, around: str
) -> None:
    middle = dt.datetime.fromisoformat(around).replace(tzinfo=dt.UTC)
    begin, finish = middle - dt.timedelta(hours=30), middle + dt.timedelta(hours=30)
    moments = [begin + dt.timedelta(minutes=37) * number for number in range(97)]
    for moment in moments:
        await ledger.add(moment.isoformat(), 1)
    limits = {"start_at": begin.isoformat(), "end_at": finish.isoformat()}
    found = await query(budget, org_id, step=step, time_zone=zone, page_size=1000, **limits)
    window = Window[step.upper()]
    expected: dict[dt.datetime, int] = {}
    for moment in moments:
        start = start_of(window, moment, zone or "UTC")
        expected[start] = expected.get(start, 0) + 1
    assert {row.start.ToDatetime(tzinfo=dt.UTC): row.cost_nano_usd for row in found.rows} == expected
    for start in expected:
        local = start.astimezone(zoneinfo.ZoneInfo(zone or "UTC"))
        if step != "hour":
            assert (local.hour, local.minute) == (0, 0)
        assert (end_of(window, start, zone or "UTC") or start) > start


async def test_pages_fit_together_while_usage_goes_on(budget: BudgetService, ledger: Ledger, org_id: str) -> None:
    for day in range(1, 8):
        for model in ("é", "a", "Z", "_", "b/2", "b/10"):
            await ledger.add(f"2026-11-{day:02}T10:00:00+00:00", 1, model=model)
    limits: dict[str, Any] = {"step": "day", "time_zone": "Asia/Tokyo", "start_at": "2026-11-01T00:00:00+00:00"}
    limits["end_at"] = ""
    whole = await query(budget, org_id, "model", page_size=1000, **limits)
    assert len(whole.rows) == 42 and not whole.next_page_token
    seen: list[Any] = []
    token = ""
    while True:
        page = await query(budget, org_id, "model", page_size=5, page_token=token, **limits)
        seen += page.rows
        assert len(page.rows) <= 5 and page.total == whole.total
        token = page.next_page_token
        # What happens after the first page was asked for belongs to none of the pages.
        await ledger.add((dt.datetime.now(dt.UTC) + dt.timedelta(minutes=5)).isoformat(), 10**6, model="0")
        if not token:
            break
        assert read_token(token) is not None
    assert [list(row.group) for row in seen] == [list(row.group) for row in whole.rows]
    assert seen == list(whole.rows)
    assert [row.start.seconds for row in seen] == sorted(row.start.seconds for row in seen)


async def test_a_token_belongs_to_its_question(budget: BudgetService, ledger: Ledger, org_id: str) -> None:
    for model in "abc":
        await ledger.add("2026-11-02T10:00:00+00:00", 1, model=model)
    token = (await query(budget, org_id, "model", page_size=1)).next_page_token
    assert costs(await query(budget, org_id, "model", page_size=2, page_token=token)) == {("b",): 1, ("c",): 1}
    error = await refused(budget, org_id, "provider", page_size=1, page_token=token)
    assert "another question" in error.message
    for wrong in ("x", "WzFd", "Iu2gvSI=", "bnVsbA==", "a" * 100_000):
        assert (await refused(budget, org_id, "model", page_token=wrong)).metadata["field"] == "page_token"


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("start_at", {"start_at": "2026-12-01T00:00:00+00:00"}),
        ("start_at", {"start_at": "1900-01-01T00:00:00+00:00"}),
        ("end_at", {"end_at": "9999-12-31T00:00:00+00:00"}),
        ("step", {"step": "minute"}),
        ("step", {"step": "hour", "start_at": "2020-01-01T00:00:00+00:00"}),
        ("time_zone", {"time_zone": "Mars/Olympus"}),
        ("time_zone", {"time_zone": "../../etc/passwd"}),
        ("tag_key", {"tag_key": "app"}),
        ("tag", {"tag": "app"}),
        ("model", {"model": "x" * 301}),
        ("model", {"model": "\x00"}),
        ("page_size", {"page_size": -1}),
        ("level.id", {"level": "team:'; DROP TABLE ledger; --"}),
        ("level.kind", {"level": "unspecified:"}),
    ],
)
async def test_what_cannot_be_asked_is_named(
    budget: BudgetService, org_id: str, field: str, fields: dict[str, Any]
) -> None:
    assert (await refused(budget, org_id, **fields)).metadata["field"] == field


async def test_dimensions_that_cannot_be_asked_for(budget: BudgetService, org_id: str) -> None:
    for by in (["model", "model"], ["unspecified"], ["team", "project", "user", "key", "model"]):
        assert (await refused(budget, org_id, *by)).metadata["field"] == "group_by"
    assert (await refused(budget, org_id, "tag")).metadata["field"] == "tag_key"


async def test_nobody_sees_another_organisation(budget: BudgetService, ledger: Ledger, org_id: str) -> None:
    other, team, user = uuid7(), uuid7(), uuid7()
    await ledger.add("2026-11-02T10:00:00+00:00", 5, path=(f"team:{team}", f"user:{user}"))
    foreign = Ledger(ledger.database, other)
    await foreign.add("2026-11-02T10:00:00+00:00", 7, path=(f"team:{team}", f"user:{user}"))
    for asked in ({}, {"level": f"team:{team}"}, {"model": "openai/gpt-4o"}):
        assert costs(await query(budget, org_id, **asked)) == {(): 5}
        assert costs(await query(budget, other, **asked)) == {(): 7}
    assert (await refused(budget, org_id, level=f"org:{other}")).metadata["field"] == "level.id"
    token = (await query(budget, other, "model", page_size=1)).next_page_token
    assert not token
    mine = Principal(kind=Principal.KIND_USER_KEY, org_id=org_id, user_id=user, scopes=("chat",))
    mine.path.add(kind=Level.KIND_ORG, id=org_id)
    mine.path.add(kind=Level.KIND_USER, id=user)
    with serving(Call(principal=mine)):
        answer = await budget.usage.GetMyUsage(my_november(), None)
    assert answer.total.cost_nano_usd == 5 and [list(row.group) for row in answer.rows] == [["openai/gpt-4o"]]


def my_november() -> usage_pb2.GetMyUsageRequest:
    request = usage_pb2.GetMyUsageRequest()
    for field, text in NOVEMBER.items():
        getattr(request, field).FromDatetime(dt.datetime.fromisoformat(text))
    return request


async def test_row_level_security_is_the_guard(ledger: Ledger, org_id: str) -> None:
    await ledger.add("2026-11-02T10:00:00+00:00", 5)
    async with ledger.database.transaction(uuid7()) as connection:
        assert await connection.fetchval("SELECT count(*) FROM ledger WHERE org_id = $1", org_id) == 0


async def test_a_caller_sees_its_user_or_else_its_key(budget: BudgetService, ledger: Ledger, org_id: str) -> None:
    user, key, other = uuid7(), uuid7(), uuid7()
    at = "2026-11-02T10:00:00+00:00"
    await ledger.add(at, 5, path=(f"user:{user}", f"key:{key}"))
    await ledger.add(at, 7, path=(f"user:{user}", f"key:{other}"))
    await ledger.add(at, 9, path=(f"key:{key}",))
    owner = principal(org_id, "chat", key_id=key)
    with serving(Call(principal=owner)):
        assert (await budget.usage.GetMyUsage(my_november(), None)).total.cost_nano_usd == 14
    del owner.path[1:]
    owner.path.add(kind=Level.KIND_USER, id=user)
    owner.path.add(kind=Level.KIND_KEY, id=key)
    with serving(Call(principal=owner)):
        assert (await budget.usage.GetMyUsage(my_november(), None)).total.cost_nano_usd == 12
    with as_key(org_id, "chat"), pytest.raises(MeshError) as caught:
        await budget.usage.GetMyUsage(my_november(), None)
    assert caught.value.reason is Reason.INVALID_REQUEST


async def test_scopes(budget: BudgetService, org_id: str) -> None:
    with as_key(org_id, "chat"):
        for method, request in (
            (budget.usage.QueryUsage, usage_pb2.QueryUsageRequest()),
            (budget.usage.GetBudgetStatus, usage_pb2.GetBudgetStatusRequest()),
        ):
            with pytest.raises(MeshError) as caught:
                await method(request, None)
            assert caught.value.reason is Reason.PERMISSION_DENIED
        with pytest.raises(MeshError) as caught:
            await anext(budget.usage.ExportUsage(usage_pb2.ExportUsageRequest(), None))
        assert caught.value.reason is Reason.PERMISSION_DENIED
    operator = Principal(kind=Principal.KIND_OPERATOR, scopes=("operator",))
    with serving(Call(principal=operator)), pytest.raises(MeshError) as caught:
        await budget.usage.QueryUsage(usage_pb2.QueryUsageRequest(), None)
    assert caught.value.reason is Reason.INVALID_REQUEST


async def exported(budget: BudgetService, org_id: str, *by: str, **fields: Any) -> tuple[str, str]:
    with as_key(org_id, "read"):
        request = asking(usage_pb2.ExportUsageRequest, *by, **fields)
        parts = [part async for part in budget.usage.ExportUsage(request, None)]
    assert len({part.content_type for part in parts}) == 1
    return parts[0].content_type, b"".join(part.data for part in parts).decode()


async def test_a_file_of_comma_separated_values(budget: BudgetService, ledger: Ledger, org_id: str) -> None:
    models = ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", 'a "quoted", one', "two\nlines", "é", "plain", "\tx", "\rx"]
    for model in models:
        await ledger.add("2026-11-02T10:00:00+00:00", 1_500_000_001, model=model)
    await ledger.add("2026-11-05T10:00:00+00:00", -7, model="refund", kind="adjust")
    kind, text = await exported(budget, org_id, "model", step="day")
    assert kind.startswith("text/csv") and text.count("\r\n") == len(models) + 2
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert {row["model"] for row in rows} == {
        "'=cmd|' /C calc'!A0", "'+1", "'-1", "'@SUM(A1)", 'a "quoted", one', "two\nlines", "é", "plain", "'\tx", "'\rx",
        "refund",
    }  # fmt: skip
    assert rows[0]["start"] == "2026-11-02T00:00:00Z"
    assert (rows[0]["cost_nano_usd"], rows[0]["cost_usd"], rows[0]["requests"]) == ("1500000001", "1.500000001", "1")
    assert (rows[-1]["cost_nano_usd"], rows[-1]["cost_usd"]) == ("-7", "-0.000000007")


async def test_a_file_of_json_is_whole_whatever_its_size(
    budget: BudgetService, ledger: Ledger, org_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert json.loads((await exported(budget, org_id, "model", format="json"))[1]) == {"rows": []}
    await ledger.fill(500, "2026-11-01T00:00:00+00:00", dt.timedelta(hours=1))
    monkeypatch.setattr("services.budget.usage.server.EXPORT_PAGE", 7)
    for form in ("json", "csv"):
        kind, text = await exported(budget, org_id, "key", step="day", format=form)
        rows = json.loads(text)["rows"] if form == "json" else list(csv.DictReader(io.StringIO(text, newline="")))
        assert ("json" in kind) == (form == "json")
        assert len(rows) == 500 and sum(int(row["cost_nano_usd"]) for row in rows) == 500 * 501 // 2
        assert {tuple(row) for row in map(dict.keys, rows)} == {tuple(rows[0])}
    with as_key(org_id, "read"), pytest.raises(MeshError) as caught:
        await anext(budget.usage.ExportUsage(usage_pb2.ExportUsageRequest(format="xlsx"), None))
    assert caught.value.metadata["field"] == "format"


async def test_a_month_by_day_and_model_is_quick(budget: BudgetService, ledger: Ledger, org_id: str) -> None:
    await ledger.fill(100_000, "2026-11-01T00:00:00+00:00", dt.timedelta(seconds=25))
    quickest = 9.9
    for _ in range(5):
        began = time.perf_counter()
        found = await query(budget, org_id, "model", step="day", page_size=1000, time_zone="Europe/Berlin")
        quickest = min(quickest, time.perf_counter() - began)
    assert found.total.requests == 100_000 and len(found.rows) >= 7 * 29
    # 0.3 s is the aim and what an idle machine takes a third of; the rest is for a busy one.
    assert quickest < 0.9, f"{quickest:.3f} s"
    print(f"a month of 100 000 lines by day and model: {quickest * 1000:.0f} ms")
