"""`dac budget`: limits on spending."""

from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

import typer

from mesh.cli.client import REFUSED, USAGE, Client, Failure, segment
from mesh.cli.output import AsJson, Url, command, confirm, enum_word, local_time, money, note, print_json, table

WINDOWS = {"none": "WINDOW_NONE", "day": "WINDOW_DAY", "month": "WINDOW_MONTH"}
app = typer.Typer(help="Limits on spending: set, list, delete, verify.", no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    """Adds the commands."""
    parent.add_typer(app, name="budget")


def nano(limit_usd: str) -> int:
    """Dollars as typed → nano-USD, exact. Raises Failure."""
    try:
        amount = Decimal(limit_usd.strip().lstrip("$"))
        exact = amount * 1_000_000_000
        if amount.is_finite() and amount >= 0 and exact == exact.to_integral_value() and exact < 2**63:
            return int(exact)
    except InvalidOperation:
        pass
    raise Failure(f'--limit-usd "{limit_usd}" is no amount of dollars: write e.g. 5 or 0.25', USAGE)


def level(org: str, key: str) -> dict[str, str]:
    """What the limit hangs on. Raises Failure unless exactly one is given."""
    if bool(org) == bool(key):
        raise Failure("say what the limit is for: --org ID or --key ID (one of them)", USAGE)
    return {"kind": "KIND_ORG", "id": org} if org else {"kind": "KIND_KEY", "id": key}


def row(one: dict[str, Any]) -> tuple[object, ...]:
    """A budget as a row."""
    return (
        one.get("budget_id"),
        enum_word((one.get("level") or {}).get("kind"), "KIND_"),
        (one.get("level") or {}).get("id", ""),
        enum_word(one.get("window"), "WINDOW_"),
        money(one.get("limit_nano_usd")),
        money(one.get("spent_nano_usd")),
        money(one.get("reserved_nano_usd")),
        local_time(one.get("resets_at")),
    )


HEADINGS = ("budget id", "level", "id", "window", "limit", "spent", "held", "resets")


@command(app, "set")
def set_budget(
    limit_usd: Annotated[str, typer.Option("--limit-usd", help="The limit in dollars; 0 blocks everything.")],
    org: Annotated[str, typer.Option("--org", help="An organisation's id.")] = "",
    key: Annotated[str, typer.Option("--key", help="A key's id (dac key list).")] = "",
    window: Annotated[str, typer.Option("--window", help="When it starts anew: none, day or month.")] = "month",
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Set the limit of an organisation or a key.

    Example: dac budget set --key 0192f3c4-… --limit-usd 5 --window month
    """
    if window not in WINDOWS:
        raise Failure(f'--window "{window}" is none of {", ".join(WINDOWS)}', USAGE)
    body = {"level": level(org, key), "window": WINDOWS[window], "limit_nano_usd": str(nano(limit_usd))}
    answer = Client(url).call("PUT", "/v1/budgets", body)
    if as_json:
        print_json(answer)
    else:
        table(HEADINGS, [row(answer.get("budget") or {})], right=(4, 5, 6))


@command(app, "list")
def list_budgets(url: Url = None, as_json: AsJson = False) -> None:
    """List the limits with what is spent and held.

    Example: dac budget list
    """
    found = Client(url).pages("/v1/budgets", "budgets")
    if as_json:
        print_json({"budgets": found})
        return
    table(HEADINGS, [row(one) for one in found], right=(4, 5, 6))
    if not found:
        note("nothing is limited: dac budget set --org ID --limit-usd 5 --window month")


@command(app, "delete")
def delete(
    budget_id: Annotated[str, typer.Argument(help="The budget's id (dac budget list).")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Delete a limit.

    Example: dac budget delete 0192f3c4-… --yes
    """
    if not yes and not confirm(f"Delete budget {budget_id}? Its level is then unlimited."):
        raise Failure(f"budget {budget_id} is not deleted: nothing was confirmed (--yes does)")
    done = Client(url).call("DELETE", f"/v1/budgets/{segment(budget_id)}")
    if as_json:
        print_json(done)
    else:
        note(f"deleted {budget_id}")


@command(app, "verify")
def verify(url: Url = None, as_json: AsJson = False) -> None:
    """Recompute the counters from the ledger; exit code 1 when something differs.

    Example: dac budget verify
    """
    answer = Client(url).call("GET", "/v1/budgets:verify")
    differences = answer.get("differences") or []
    if as_json:
        print_json(answer)
    else:
        rows, held = answer.get("ledger_rows") or 0, answer.get("open_reservations") or 0
        print(f"{rows} ledger rows, {held} open reservations: ", end="")
        print("everything adds up" if not differences else f"{len(differences)} differences")
        for one in differences:
            print(f"  {one}")
    if differences:
        raise typer.Exit(REFUSED)
