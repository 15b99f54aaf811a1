"""`dac usage`: what was used and charged, from the ledger."""

import datetime as dt
import sys
from typing import Annotated, Any

import typer

from mesh.cli.client import USAGE, Client, Failure, one_of
from mesh.cli.output import AsJson, Url, command, money, note, print_json, table

DIMENSIONS = ("team", "project", "user", "key", "model", "provider", "operation", "tag")
STEPS = ("hour", "day", "week", "month")
LEVELS = ("org", "team", "project", "user", "key")
AMOUNTS = (
    ("requests", "requests"),
    ("input_tokens", "input"),
    ("input_cached_tokens", "cached"),
    ("cache_write_tokens", "cache write"),
    ("output_tokens", "output"),
    ("reasoning_tokens", "reasoning"),
)


def register(app: typer.Typer) -> None:
    """Adds the command."""
    command(app, "usage")(usage)


def usage(
    by: Annotated[str, typer.Option("--by", help=f"What to sum by, e.g. team,model: {', '.join(DIMENSIONS)}.")] = "",
    step: Annotated[str, typer.Option("--step", help=f"Time steps: {', '.join(STEPS)}.")] = "",
    start: Annotated[str, typer.Option("--from", help="The first day or moment; this month if not said.")] = "",
    end: Annotated[str, typer.Option("--to", help="The first day or moment that is left out; now if not said.")] = "",
    zone: Annotated[str, typer.Option("--zone", help="The time zone of days and steps, e.g. Europe/Berlin.")] = "",
    level: Annotated[str, typer.Option("--level", help="Only below this level, e.g. team:0192f3c4-….")] = "",
    model: Annotated[str, typer.Option("--model", help="Only this model.")] = "",
    provider: Annotated[str, typer.Option("--provider", help="Only this provider.")] = "",
    tag: Annotated[str, typer.Option("--tag", help="Only requests with this tag, key=value.")] = "",
    tag_key: Annotated[str, typer.Option("--tag-key", help="Which tag `--by tag` is.")] = "",
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV on standard output.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Sum what was used and charged, by anything and in time steps.

    Example: dac usage --by team,model --step day --from 2026-11-01 --csv
    """
    if as_csv and as_json:
        raise Failure("--csv and --json: say one of them", USAGE)
    dimensions = _dimensions(by)
    query: list[tuple[str, object]] = [("group_by", f"DIMENSION_{one.upper()}") for one in dimensions]
    query += [("step", f"WINDOW_{one_of('--step', step, STEPS).upper()}")] if step else []
    query += [("start_at", _moment("--from", start, zone))] if start else []
    query += [("end_at", _moment("--to", end, zone))] if end else []
    query += _level(level) if level else []
    fields = {"time_zone": zone, "model": model, "provider": provider, "tag": tag, "tag_key": tag_key}
    query += [(field, value) for field, value in fields.items() if value]
    client = Client(url)
    if as_csv:
        for part in client.download("/v2/usage/export", [*query, ("format", "csv")]):
            sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()
        return
    rows, total = _all(client, query)
    if as_json:
        print_json({"rows": rows, "total": total})
        return
    headings = [*(["from"] if step else []), *dimensions, *(heading for _, heading in AMOUNTS), "cost"]
    numbers = range(len(headings) - len(AMOUNTS) - 1, len(headings))
    table(headings, [_cells(row, zone, bool(step)) for row in rows], right=tuple(numbers))
    if not rows:
        note("nothing was charged in this time")
    elif len(rows) > 1:
        note(f"in all: {int(total.get('requests') or 0):,} requests, {money(total.get('cost_nano_usd'))}")


def _all(client: Client, query: list[tuple[str, object]]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Every row, page by page, and the total."""
    rows: list[dict[str, Any]] = []
    token = ""
    while True:
        asked = [*query, ("page_size", 1000), *([("page_token", token)] if token else [])]
        answer = client.call("GET", "/v2/usage", query=asked)
        rows += answer.get("rows") or []
        token = answer.get("next_page_token") or ""
        if not token:
            return rows, answer.get("total") or {}


def _cells(row: dict[str, Any], zone: str, has_steps: bool) -> list[object]:
    start: list[object] = []
    if has_steps:
        begin = dt.datetime.fromisoformat(row["start"]).astimezone(_zone(zone))
        start = [f"{begin:%Y-%m-%d}" if (begin.hour, begin.minute) == (0, 0) else f"{begin:%Y-%m-%d %H:%M}"]
    groups = [one or "-" for one in row.get("group") or []]
    return [
        *start,
        *groups,
        *(f"{int(row.get(field) or 0):,}" for field, _ in AMOUNTS),
        money(row.get("cost_nano_usd")),
    ]


def _dimensions(by: str) -> list[str]:
    return [one_of("--by", one.strip(), DIMENSIONS) for one in by.split(",") if one.strip()]


def _level(text: str) -> list[tuple[str, object]]:
    kind, _, level_id = text.partition(":")
    return [("level.kind", f"KIND_{one_of('--level', kind, LEVELS).upper()}"), ("level.id", level_id)]


def _zone(name: str) -> dt.tzinfo:
    import zoneinfo

    try:
        return zoneinfo.ZoneInfo(name) if name else dt.UTC
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise Failure(f'--zone "{name}" is not an IANA time zone such as Europe/Berlin', USAGE) from None


def _moment(option: str, text: str, zone: str) -> str:
    """A day or a moment as typed, as an RFC 3339 time. A day begins at its midnight in the zone."""
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise Failure(
            f'{option} "{text}" is no day or moment: write e.g. 2026-11-01 or 2026-11-01T12:00Z', USAGE
        ) from None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=_zone(zone))
    return f"{aware.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
