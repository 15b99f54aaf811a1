"""`dac cost`: what DAC charged beside what the provider says."""

import datetime as dt
import pathlib
from collections.abc import Iterable
from decimal import Decimal
from typing import Annotated, Any

import typer

from mesh.cli.client import REFUSED, USAGE, Client, Failure, one_of
from mesh.cli.output import AsJson, Url, command, money, note, print_json, table
from mesh.cli.provider_exports import PROVIDERS, Export, Place, Usage, base_name, read_exports
from mesh.cli.reconciliation import Comparison, Line, compare

MAX_FILE_BYTES = 200 * 1024 * 1024
app = typer.Typer(help="What DAC charged beside what the provider says.", no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    """Adds the commands."""
    parent.add_typer(app, name="cost")


@app.callback()
def _group() -> None:
    """What DAC charged beside what the provider says."""


@command(app, "reconcile")
def reconcile(
    files: Annotated[
        list[pathlib.Path], typer.Argument(help="Their exports: costs, usage, or both.", metavar="FILE...")
    ],
    provider: Annotated[str, typer.Option("--provider", help="Whose they are: openai or anthropic.")],
    name: Annotated[str, typer.Option("--as", help="What the provider is called in DAC, if not so.")] = "",
    same: Annotated[
        list[str] | None, typer.Option("--same", help="A model that is called otherwise: OURS=THEIRS.")
    ] = None,
    tolerance: Annotated[float, typer.Option("--tolerance", min=0, help="Percent that may differ in all.")] = 1.0,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Explain our costs against the provider's own export, by UTC day and model.

    Exit code 1 when they are further apart than --tolerance.

    Example: dac cost reconcile --provider openai costs.csv activity.csv
    """
    one_of("--provider", provider, PROVIDERS)
    export = read_exports(provider, ((str(one), _content(one)) for one in files))
    if not export.days:
        raise Failure("the files say nothing: there is no day in them", USAGE)
    first, last = min(export.days), max(export.days)
    ours = _ours(Client(url), name or provider, first, last + dt.timedelta(days=1), _names(same or []))
    found = compare({place: usage for place, usage in ours.items() if place[0] in export.days}, export.usage)
    if as_json:
        print_json(_document(found, export))
    else:
        _show(found, export, provider)
    if found.apart_percent > Decimal(str(tolerance)):
        note(f"{found.apart_percent:.2f} % apart, more than {tolerance:g} %")
        raise typer.Exit(REFUSED)


def _content(file: pathlib.Path) -> bytes:
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise Failure(f"{file} is larger than {MAX_FILE_BYTES // 2**20} MiB: export fewer days", USAGE)
        return file.read_bytes()
    except OSError as error:
        raise Failure(f"{file} cannot be read: {error.strerror}", USAGE) from None


def _names(same: Iterable[str]) -> dict[str, str]:
    """Our model → theirs, as said by hand."""
    found = {}
    for one in same:
        ours, sign, theirs = one.partition("=")
        if not (ours and sign and theirs):
            raise Failure(f'--same "{one}" is not OURS=THEIRS, e.g. mine/large=gpt-4o', USAGE)
        found[ours] = base_name(theirs)
    return found


def _ours(client: Client, provider: str, start: dt.date, end: dt.date, names: dict[str, str]) -> dict[Place, Usage]:
    query = {
        "group_by": "DIMENSION_MODEL",
        "step": "WINDOW_DAY",
        "provider": provider,
        "start_at": f"{start}T00:00:00Z",
        "end_at": f"{end}T00:00:00Z",
    }
    found: dict[Place, Usage] = {}
    for row in client.pages("/v2/usage", "rows", query):
        (model,) = row.get("group") or [""]
        place = dt.date.fromisoformat(row["start"][:10]), names.get(model) or base_name(model)
        found.setdefault(place, Usage()).add(_usage(row))
    return found


def _usage(row: dict[str, Any]) -> Usage:
    def number(field: str) -> int:
        return int(row.get(field) or 0)

    return Usage(
        requests=number("requests"),
        input_tokens=number("input_tokens"),
        input_cached_tokens=number("input_cached_tokens"),
        cache_write_tokens=number("cache_write_tokens"),
        output_tokens=number("output_tokens") + number("reasoning_tokens"),
        cost_nano_usd=Decimal(number("cost_nano_usd")),
    )


def _show(found: Comparison, export: Export, provider: str) -> None:
    headings = ("day", "model", "ours", "theirs", "difference", "likely reason")
    table(headings, [_row(line, in_tokens=not found.has_costs) for line in found.lines], right=(2, 3, 4))
    ours, theirs = found.ours_nano_usd, found.theirs_nano_usd
    if found.has_costs:
        difference = _dollars(ours - theirs, signed=True)
        print(f"\nIn all: {_dollars(ours)} here, {_dollars(theirs)} at {provider}: {difference}", end="")
    else:
        print("\nTheir files say no costs, so tokens are compared", end="")
    print(f"; {found.apart_percent:.2f} % apart, model by model")
    for what, cost in sorted(export.other.items()):
        note(f"not compared: {_dollars(cost)} for {what}")
    if export.is_cut:
        note("their last page says has_more: fetch the following pages and give them as well")


def _row(line: Line, *, in_tokens: bool) -> tuple[str, ...]:
    difference = f"{line.difference_tokens:+,}" if in_tokens else _dollars(line.difference_nano_usd, signed=True)
    return (
        str(line.day),
        line.model,
        _side(line.ours, in_tokens=in_tokens),
        _side(line.theirs, in_tokens=in_tokens),
        difference,
        "; ".join(line.reasons) or "agrees",
    )


def _side(usage: Usage | None, *, in_tokens: bool) -> str:
    if usage is None:
        return "-"
    return f"{usage.tokens or 0:,} tokens" if in_tokens else _dollars(usage.cost_nano_usd or Decimal(0))


def _dollars(nano_usd: Decimal, *, signed: bool = False) -> str:
    shown = money(int(nano_usd.to_integral_value()))
    return f"+{shown}" if signed and nano_usd > 0 else shown


def _plain(value: Decimal | int) -> str:
    """A number without an exponent and without zeros behind the point."""
    return f"{Decimal(value).normalize():f}"


def _document(found: Comparison, export: Export) -> dict[str, Any]:
    def side(usage: Usage | None) -> dict[str, str] | None:
        if usage is None:
            return None
        said = {key: value for key, value in vars(usage).items() if value is not None and key != "has_batch"}
        return {key: _plain(value) for key, value in said.items()}

    return {
        "lines": [
            {
                "day": str(line.day),
                "model": line.model,
                "ours": side(line.ours),
                "theirs": side(line.theirs),
                "difference_nano_usd": _plain(line.difference_nano_usd),
                "reasons": line.reasons,
            }
            for line in found.lines
        ],
        "ours_nano_usd": _plain(found.ours_nano_usd),
        "theirs_nano_usd": _plain(found.theirs_nano_usd),
        "apart_percent": f"{found.apart_percent:.4f}",
        "not_compared": {what: _plain(cost) for what, cost in export.other.items()},
        "is_cut": export.is_cut,
    }
