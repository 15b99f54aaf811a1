"""`dac logs`: the organisation's requests, and new ones as they are recorded."""

import datetime
from typing import Annotated, Any

import typer

from mesh.cli.client import Client
from mesh.cli.output import AsJson, Url, clean, command, elapsed_ms, enum_word, milliseconds, moment, money, print_json


def register(app: typer.Typer) -> None:
    """Adds the command."""
    command(app, "logs")(logs)


def line(record: dict[str, Any], *, today: datetime.date | None = None) -> str:
    """A request on one line."""
    at = moment(record.get("started_at"))
    local = at.astimezone() if at else None
    clock = "-"
    if local is not None:
        same = local.date() == (today or datetime.datetime.now().astimezone().date())
        clock = f"{local:%H:%M:%S}" if same else f"{local:%Y-%m-%d %H:%M:%S}"
    attempts = record.get("attempts") or [{}]
    asked, answered = record.get("asked_model") or "?", attempts[-1].get("model") or "-"
    outcome = enum_word(record.get("outcome"), "OUTCOME_") or "?"
    reason = enum_word(record.get("reason"), "ERROR_REASON_")
    ended = outcome if reason in ("", "unspecified") else f"{outcome}: {reason}"
    took = milliseconds(elapsed_ms(record.get("started_at"), record.get("ended_at")))
    model = answered if asked == answered else f"{asked} → {answered}"
    operation = record.get("operation") or "chat"
    model += f" ({operation})" if operation != "chat" else ""
    cost = money(record.get("cost_nano_usd"))
    return clean(f"{clock}  {record.get('request_id', '?')}  {model:<40}  {took:>9}  {cost:>12}  {ended}")


def show(record: dict[str, Any], *, as_json: bool) -> None:
    """Prints one request."""
    if as_json:
        print_json(record)
    else:
        print(line(record), flush=True)


def logs(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new ones; Ctrl-C ends it.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, max=1000, help="How many of the last ones.")] = 20,
    model: Annotated[str, typer.Option("--model", help="Only those that this model answered.")] = "",
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show the last requests, oldest first; with -f new ones as they come (--json: one value a line).

    Example: dac logs -f --limit 5
    """
    client = Client(url)
    if not follow:
        found = last(client, limit, model)
        if as_json:
            print_json({"requests": found})
        for record in [] if as_json else reversed(found):
            show(record, as_json=False)
        return
    # Following begins before the list is read, so that nothing falls between the two.
    with client.stream("GET", "/v1/requests:follow") as answer:
        seen = set()
        for record in reversed(last(client, limit, model)):
            seen.add(record.get("request_id"))
            show(record, as_json=as_json)
        for event in answer.events():
            record = event.get("request") or event
            if record.get("request_id") in seen or (model and model not in answered_by(record)):
                continue
            show(record, as_json=as_json)


def answered_by(record: dict[str, Any]) -> set[str]:
    """The model that answered, or the one asked for when none did: what the server's filter looks at."""
    attempts = record.get("attempts") or []
    return {str(attempts[-1].get("model") if attempts else record.get("asked_model"))}


def last(client: Client, limit: int, model: str) -> list[dict[str, Any]]:
    """The last requests, newest first."""
    found: list[dict[str, Any]] = []
    token = ""
    while len(found) < limit:
        query: dict[str, object] = {"page_size": min(100, limit - len(found))}
        query.update({name: value for name, value in (("page_token", token), ("model", model)) if value})
        answer = client.call("GET", "/v1/requests", query=query)
        found += answer.get("requests") or []
        token = answer.get("next_page_token") or ""
        if not token:
            break
    return found[:limit]
