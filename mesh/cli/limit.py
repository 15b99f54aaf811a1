"""`dac limit`: how many requests and tokens a minute, and how many requests at once."""

from typing import Annotated, Any

import typer

from mesh.cli.client import USAGE, Client, Failure, segment
from mesh.cli.output import AsJson, Url, command, confirm, enum_word, note, print_json, table
from mesh.cli.tree import id_of

LEVELS = ("org", "team", "project", "user", "key")
app = typer.Typer(help="Rate limits: set, list, delete.", no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    """Adds the commands."""
    parent.add_typer(app, name="limit")


def level_of(client: Client, text: str) -> dict[str, str]:
    """ "key:ID", "team:NAME" → the level; "org" alone is the caller's organisation. Raises Failure."""
    kind, _, level_id = text.partition(":")
    if kind not in LEVELS or (not level_id and kind != "org"):
        raise Failure(f'--level "{text}" is no level: write org, team:NAME, project:NAME, user:NAME or key:ID', USAGE)
    if kind in ("team", "project", "user"):
        level_id = id_of(client, kind, level_id)
    return {"kind": f"KIND_{kind.upper()}", **({"id": level_id} if level_id else {})}


def row(one: dict[str, Any]) -> tuple[object, ...]:
    """A rate limit as a row; "-" = unlimited."""
    level = one.get("level") or {}
    values = (one.get(name) for name in ("requests_per_minute", "tokens_per_minute", "concurrent_requests"))
    return (
        one.get("rate_limit_id"),
        enum_word(level.get("kind"), "KIND_"),
        level.get("id", ""),
        one.get("model") or "all",
        *("-" if value is None else value for value in values),
    )


HEADINGS = ("rate limit id", "level", "id", "model", "requests/min", "tokens/min", "at once")


@command(app, "set")
def set_limit(
    level: Annotated[
        str,
        typer.Option("--level", help="What it is for: org, team:NAME, project:NAME, user:NAME (or their ids), key:ID."),
    ] = "org",
    model: Annotated[str, typer.Option("--model", help="Only this model, or these: openai/*.")] = "",
    rpm: Annotated[int | None, typer.Option("--rpm", help="Requests within any 60 seconds; 0 = none.")] = None,
    tpm: Annotated[int | None, typer.Option("--tpm", help="Tokens within any 60 seconds; 0 = none.")] = None,
    concurrent: Annotated[int | None, typer.Option("--concurrent", help="Requests at once; 0 = none.")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Set the rate limit of a level; what is not said is not limited.

    Example: dac limit set --level key:0192f3c4-… --rpm 60 --tpm 100000 --concurrent 5
    """
    given = {"requests_per_minute": rpm, "tokens_per_minute": tpm, "concurrent_requests": concurrent}
    values = {name: str(value) for name, value in given.items() if value is not None}
    if not values:
        raise Failure(
            "say what is limited: --rpm N, --tpm N or --concurrent N (dac limit delete removes a limit)", USAGE
        )
    client = Client(url)
    body = {"level": level_of(client, level), **({"model": model} if model else {}), **values}
    answer = client.call("PUT", "/v1/rate-limits", body)
    if as_json:
        print_json(answer)
    else:
        table(HEADINGS, [row(answer.get("rate_limit") or {})], right=(4, 5, 6))


@command(app, "list")
def list_limits(url: Url = None, as_json: AsJson = False) -> None:
    """List the rate limits.

    Example: dac limit list
    """
    found = Client(url).pages("/v1/rate-limits", "rate_limits")
    if as_json:
        print_json({"rate_limits": found})
        return
    table(HEADINGS, [row(one) for one in found], right=(4, 5, 6))
    if not found:
        note("nothing is limited: dac limit set --level org --rpm 600")


@command(app, "delete")
def delete(
    rate_limit_id: Annotated[str, typer.Argument(help="The rate limit's id (dac limit list).")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Delete a rate limit.

    Example: dac limit delete 0192f3c4-… --yes
    """
    if not yes and not confirm(f"Delete rate limit {rate_limit_id}? Its level may then ask as often as it likes."):
        raise Failure(f"rate limit {rate_limit_id} is not deleted: nothing was confirmed (--yes does)")
    done = Client(url).call("DELETE", f"/v1/rate-limits/{segment(rate_limit_id)}")
    if as_json:
        print_json(done)
    else:
        note(f"deleted {rate_limit_id}")
