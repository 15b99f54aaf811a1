"""`dac analytics` and `dac recommendations`: what requests add up to, and what would have cost less."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

import typer

from mesh.cli.client import USAGE, Client, Failure, one_of
from mesh.cli.output import AsJson, Url, command, counted, enum_word, milliseconds, money, note, print_json, table

DIMENSIONS = ("team", "project", "user", "key", "model", "provider", "intent")
STEPS = ("minute", "hour", "day")
HEADINGS = ("requests", "errors", "input", "output", "cost", "p50", "p95", "first p95", "cache", "quality")
FILTERS = ("team_id", "project_id", "user_id", "key_id", "model", "provider", "intent")
app = typer.Typer(help="What requests add up to: show it, count it anew.", no_args_is_help=True)

Start = Annotated[str, typer.Option("--from", help="The first day (UTC), e.g. 2026-11-01.")]
End = Annotated[str, typer.Option("--to", help="The last day, included.")]


def register(parent: typer.Typer) -> None:
    """Adds the commands."""
    parent.add_typer(app, name="analytics")
    command(parent, "recommendations")(recommendations)


def show(
    by: Annotated[str, typer.Option("--by", help=f"Break down by, e.g. team,model: {', '.join(DIMENSIONS)}.")] = "",
    step: Annotated[str, typer.Option("--step", help=f"Points of the series: {', '.join(STEPS)}.")] = "",
    start: Start = "",
    end: End = "",
    hours: Annotated[int, typer.Option("--hours", min=0, help="Instead of days: the last so many hours.")] = 0,
    team: Annotated[str, typer.Option("--team", help="Only this team (its id).")] = "",
    project: Annotated[str, typer.Option("--project", help="Only this project (its id).")] = "",
    user: Annotated[str, typer.Option("--user", help="Only this user (its id).")] = "",
    key: Annotated[str, typer.Option("--key", help="Only this key (its id).")] = "",
    model: Annotated[str, typer.Option("--model", help="Only this model.")] = "",
    provider: Annotated[str, typer.Option("--provider", help="Only this provider.")] = "",
    intent: Annotated[str, typer.Option("--intent", help="Only this intent, e.g. qa_retrieval.")] = "",
    mine: Annotated[bool, typer.Option("--mine", help="Your own figures.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show requests, errors, tokens, cost, latency, cache and quality of a window; the last day if none is said.

    Example: dac analytics show --by team,model --from 2026-11-01 --to 2026-11-30
    """
    if hours and (start or end):
        raise Failure("--hours: say either it, or --from and --to", USAGE)
    wanted: list[tuple[str, object]] = [("start_date", start)] if start else []
    wanted += [("end_date", end)] if end else []
    if hours:
        since = dt.datetime.now(dt.UTC) - dt.timedelta(hours=hours)
        wanted.append(("start_at", f"{since:%Y-%m-%dT%H:%M:%SZ}"))
    if step:
        wanted.append(("step", f"ANALYTICS_STEP_{one_of('--step', step, STEPS).upper()}"))
    only = dict(zip(FILTERS, (team, project, user, key, model, provider, intent), strict=True))
    if mine and (by or any(only.values())):
        raise Failure("--mine takes no --by and no filters: it shows what is yours", USAGE)
    wanted += [(name, value) for name, value in only.items() if value]
    dimensions = [one_of("--by", one.strip(), DIMENSIONS) for one in by.split(",") if one.strip()]
    wanted += [("group_by", f"ANALYTICS_DIMENSION_{one.upper()}") for one in dimensions]
    path = "/v1/users/me/analytics/dashboard" if mine else "/v2/analytics/dashboard"
    answer = Client(url).call("GET", path, query=wanted)
    if as_json:
        print_json(answer)
        return
    _print(answer)


def _print(answer: dict[str, Any]) -> None:
    rows: list[list[object]] = [["in all", *_cells(answer.get("total") or {})]]
    rows.append(["window before", *_cells(answer.get("before") or {})])
    numbers = tuple(range(1, len(HEADINGS) + 1))
    table(("", *HEADINGS), rows, right=numbers)
    for part in answer.get("breakdowns") or []:
        dimension = enum_word(part.get("dimension"), "ANALYTICS_DIMENSION_")
        groups = part.get("groups") or []
        print()
        table(
            (dimension, *HEADINGS),
            [[one.get("value") or "-", *_cells(one["figures"])] for one in groups],
            right=numbers,
        )
        if int(part.get("left_out") or 0):
            note(f"and {part['left_out']} more")
    if not int((answer.get("total") or {}).get("requests") or 0):
        note("nothing was asked in this window")


def _cells(figures: dict[str, Any]) -> list[object]:
    def number(name: str) -> int:
        return int(figures.get(name) or 0)

    latency, first = figures.get("latency") or {}, figures.get("first_token") or {}
    errors = number("refused") + number("failed") + number("indeterminate")
    rate, quality = figures.get("cache_hit_rate"), figures.get("quality")
    return [
        f"{number('requests'):,}",
        f"{errors:,}",
        f"{number('input_tokens') + number('input_cached_tokens') + number('cache_write_tokens'):,}",
        f"{number('output_tokens') + number('reasoning_tokens'):,}",
        money(figures.get("cost_nano_usd")),
        *(_time(found, share) for found, share in ((latency, "p50_ms"), (latency, "p95_ms"), (first, "p95_ms"))),
        "-" if rate is None else f"{float(rate):.0%}",
        "-" if quality is None else f"{float(quality):.2f}",
    ]


def _time(found: dict[str, Any], share: str) -> str:
    value = float(found.get(share) or 0.0)
    return milliseconds(value) if value else "-"


def rebuild(start: Start = "", end: End = "", url: Url = None, as_json: AsJson = False) -> None:
    """Count the figures anew from the records, day by day, beside running traffic (--json: one value a line).

    Example: dac analytics rebuild --from 2026-11-01
    """
    wanted = {"start_date": start, "end_date": end}
    body = {name: value for name, value in wanted.items() if value}
    days = requests = 0
    with Client(url).stream("POST", "/v2/analytics:rebuild", body) as answer:
        for one in answer.events():
            days, requests = days + 1, requests + int(one.get("requests") or 0)
            if as_json:
                print_json(one)
            else:
                print(f"{one.get('date')}  {int(one.get('requests') or 0):,}", flush=True)
    note(f"{days:,} days, {requests:,} requests counted anew")


def recommendations(
    start: Start = "",
    end: End = "",
    team: Annotated[str, typer.Option("--team", help="Only this team's requests (its id).")] = "",
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show what would have cost less, with the record's evidence; the last 30 days if no others are said.

    Example: dac recommendations --from 2026-11-01
    """
    fields = {"start_date": start, "end_date": end, "team_id": team}
    query = [(name, value) for name, value in fields.items() if value]
    answer = Client(url).call("GET", "/v2/recommendations", query=query)
    if as_json:
        print_json(answer)
        return
    found = answer.get("recommendations") or []
    for one in found:
        saved = int(one.get("saved_nano_usd") or 0)
        print(f"{money(saved) if saved else '-':>12}  {one.get('summary')}")
    note(f"{counted(len(found), 'recommendation')} from {counted(int(answer.get('requests') or 0), 'request')}")
    for one in answer.get("missing") or []:
        note(f"missing: {one.get('message')}")


command(app, "show")(show)
command(app, "rebuild")(rebuild)
