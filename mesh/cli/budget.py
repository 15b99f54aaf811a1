"""`dac budget`: limits on spending."""

from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

import typer

from mesh.cli.client import REFUSED, USAGE, Client, Failure, one_of, segment
from mesh.cli.output import AsJson, Url, command, confirm, enum_word, local_time, money, note, print_json, table
from mesh.cli.tree import id_of

WINDOWS = {word: f"WINDOW_{word.upper()}" for word in ("none", "minute", "hour", "day", "week", "month")}
app = typer.Typer(
    help="Limits on spending: set, show, list, delete, verify, correct, and the emergency stop.", no_args_is_help=True
)


def register(parent: typer.Typer) -> None:
    """Adds the commands."""
    parent.add_typer(app, name="budget")


def nano(typed: str, option: str = "--limit-usd") -> int:
    """Dollars as typed → nano-USD, exact. Raises Failure."""
    try:
        amount = Decimal(typed.strip().lstrip("$"))
        exact = amount * 1_000_000_000
        if amount.is_finite() and amount >= 0 and exact == exact.to_integral_value() and exact < 2**63:
            return int(exact)
    except InvalidOperation:
        pass
    raise Failure(f'{option} "{typed}" is no amount of dollars: write e.g. 5 or 0.25', USAGE)


def level(**ids: str) -> dict[str, str]:
    """What the limit hangs on. Raises Failure unless exactly one is given."""
    given = [(kind, one) for kind, one in ids.items() if one]
    if len(given) != 1:
        raise Failure("say what the limit is for: --org, --team, --project, --user or --key (one of them)", USAGE)
    kind, one = given[0]
    return {"kind": f"KIND_{kind.upper()}", "id": one}


def percents(text: str) -> list[int]:
    """ "50,80" → [50, 80]. Raises Failure."""
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise Failure(f'--thresholds "{text}": write percents such as 50,80,95,100, or "" for none', USAGE) from None


def limit_of(one: dict[str, Any]) -> str:
    """A budget's limit as people read it."""
    if one.get("unlimited"):
        return "unlimited"
    soft = one.get("enforcement") == "ENFORCEMENT_SOFT"
    return money(one.get("limit_nano_usd")) + (" soft" if soft else "")


def row(one: dict[str, Any]) -> tuple[object, ...]:
    """A budget as a row."""
    return (
        one.get("budget_id"),
        enum_word((one.get("level") or {}).get("kind"), "KIND_"),
        (one.get("level") or {}).get("id", ""),
        one.get("model") or one.get("tag") or "",
        enum_word(one.get("window"), "WINDOW_"),
        limit_of(one),
        money(one.get("spent_nano_usd")),
        money(one.get("reserved_nano_usd")),
        local_time(one.get("resets_at")),
    )


HEADINGS = ("budget id", "level", "id", "only", "window", "limit", "spent", "held", "resets")
NUMBERS = (5, 6, 7)


@command(app, "set")
def set_budget(
    limit_usd: Annotated[str, typer.Option("--limit-usd", help="The limit in dollars; 0 blocks everything.")] = "",
    unlimited: Annotated[bool, typer.Option("--unlimited", help="No limit: only count.")] = False,
    org: Annotated[str, typer.Option("--org", help="An organisation's id.")] = "",
    team: Annotated[str, typer.Option("--team", help="A team, by name or id.")] = "",
    project: Annotated[str, typer.Option("--project", help="A project, by name or id.")] = "",
    user: Annotated[str, typer.Option("--user", help="A user, by name or id.")] = "",
    key: Annotated[str, typer.Option("--key", help="A key's id (dac key list).")] = "",
    model: Annotated[str, typer.Option("--model", help='Count only this model: an id, or "openai/*".')] = "",
    tag: Annotated[str, typer.Option("--tag", help="Count only requests with this tag: KEY=VALUE.")] = "",
    window: Annotated[
        str, typer.Option("--window", help="When it starts anew: none, minute, hour, day, week or month.")
    ] = "month",
    zone: Annotated[str, typer.Option("--zone", help="In which time zone, e.g. Europe/Berlin.")] = "UTC",
    soft: Annotated[bool, typer.Option("--soft", help="Let requests through, and say so.")] = False,
    thresholds: Annotated[
        str, typer.Option("--thresholds", help="Percents of the limit at which to warn.")
    ] = "50,80,95,100",
    email: Annotated[list[str] | None, typer.Option("--email", help="Whom to write to; may be repeated.")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Set the limit of an organisation, team, project, user or key.

    Example: dac budget set --key 0192f3c4-… --limit-usd 5 --window month
    """
    one_of("--window", window, WINDOWS)
    if bool(limit_usd) == unlimited:
        raise Failure("say --limit-usd DOLLARS or --unlimited (one of them)", USAGE)
    named = level(org=org, team=team, project=project, user=user, key=key)
    amount = {"unlimited": True} if unlimited else {"limit_nano_usd": str(nano(limit_usd))}
    client = Client(url)
    for kind, which in (("team", team), ("project", project), ("user", user)):
        if which:
            named["id"] = id_of(client, kind, which)
    body = {
        "level": named,
        "window": WINDOWS[window],
        "time_zone": zone,
        "model": model,
        "tag": tag,
        "enforcement": "ENFORCEMENT_SOFT" if soft else "ENFORCEMENT_HARD",
        "thresholds": {"percent": percents(thresholds)},
        "alert_emails": email or [],
        **amount,
    }
    answer = client.call("PUT", "/v1/budgets", body)
    if as_json:
        print_json(answer)
    else:
        table(HEADINGS, [row(answer.get("budget") or {})], right=NUMBERS)


@command(app, "list")
def list_budgets(url: Url = None, as_json: AsJson = False) -> None:
    """List the limits with what is spent and held.

    Example: dac budget list
    """
    found = Client(url).pages("/v1/budgets", "budgets")
    if as_json:
        print_json({"budgets": found})
        return
    table(HEADINGS, [row(one) for one in found], right=NUMBERS)
    if not found:
        note("nothing is limited: dac budget set --org ID --limit-usd 5 --window month")


@command(app, "show")
def show(
    budget_id: Annotated[str, typer.Argument(help="The budget's id (dac budget list).")],
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show one limit, with its zone, warnings and where the pace leads.

    Example: dac budget show 0192f3c4-…
    """
    answer = Client(url).call("GET", f"/v2/budgets/{segment(budget_id)}")
    if as_json:
        print_json(answer)
        return
    one = answer.get("budget") or {}
    forecast = one.get("forecast") or {}
    rows: list[tuple[object, object]] = list(zip(HEADINGS, row(one), strict=True))
    rows += [
        ("zone", one.get("time_zone")),
        ("warns at", ", ".join(f"{percent} %" for percent in one.get("thresholds_percent") or []) or "never"),
        ("reached", ", ".join(f"{percent} %" for percent in one.get("reached_percent") or []) or "none"),
        ("writes to", ", ".join(one.get("alert_emails") or [])),
        ("at this pace", money(forecast["spent_nano_usd"]) if forecast else "not known yet"),
        ("exhausted", local_time(forecast.get("exhausted_at")) if forecast.get("exhausted_at") else ""),
    ]
    table(("what", "value"), [(name, value) for name, value in rows if value not in ("", None)])


@command(app, "stop")
def stop(
    reason: Annotated[str, typer.Option("--reason", help="Told to those who are refused.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Stop all spending of the organisation at once, until it is resumed.

    Example: dac budget stop --reason "leaked key" --yes
    """
    if not yes and not confirm("Refuse every new request of the organisation?"):
        raise Failure("nothing is stopped: nothing was confirmed (--yes does)")
    answer = Client(url).call("POST", "/v2/budgets:stop", {"reason": reason})
    if as_json:
        print_json(answer)
    else:
        note("stopped; go on with: dac budget resume")


@command(app, "resume")
def resume(url: Url = None, as_json: AsJson = False) -> None:
    """End the emergency stop.

    Example: dac budget resume
    """
    answer = Client(url).call("POST", "/v2/budgets:resume", {})
    if as_json:
        print_json(answer)
    else:
        note("resumed" if answer.get("was_stopped") else "nothing was stopped")


@command(app, "adjust")
def adjust(
    request_id: Annotated[str, typer.Argument(help="The request's id (dac logs).")],
    amount_usd: Annotated[str, typer.Option("--amount-usd", help="Added to its charge; -0.25 gives back.")],
    reason: Annotated[str, typer.Option("--reason", help="Why: it stands in the audit trail.")],
    attempt: Annotated[str, typer.Option("--attempt", help="Which attempt, when there were several.")] = "",
    adjustment_id: Annotated[str, typer.Option("--id", help="A UUID of your own, to say it twice safely.")] = "",
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Correct what a request was charged, for example by a provider's invoice.

    Example: dac budget adjust 0192f3c4-… --amount-usd -0.25 --reason "invoice 2026-11"
    """
    from mesh.ids import uuid7

    sign, amount = ("-", amount_usd[1:]) if amount_usd.startswith("-") else ("", amount_usd)
    body = {
        "adjustment_id": adjustment_id or uuid7(),
        "request_id": request_id,
        "attempt_id": attempt,
        "amount_nano_usd": f"{sign}{nano(amount, '--amount-usd')}",
        "reason": reason,
    }
    answer = Client(url).call("POST", "/v2/budgets:adjust", body)
    if as_json:
        print_json(answer)
    else:
        print(f"request {request_id} costs {money(answer.get('cost_nano_usd'))} now")


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
