"""`dac key`: API keys."""

import datetime
import re
from typing import Annotated

import typer

from mesh.cli.client import USAGE, Client, Failure, segment
from mesh.cli.output import AsJson, Url, clean, command, confirm, local_time, note, print_json, table

UNITS_S = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 31_536_000}
app = typer.Typer(help="API keys: make, list, revoke.", no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    """Adds the commands."""
    parent.add_typer(app, name="key")


def expiry(text: str, now: datetime.datetime) -> str:
    """ "30d", "12h" or a date → RFC 3339. Raises Failure."""
    found = re.fullmatch(r"(\d{1,6})([mhdwy])", text.strip().lower())
    try:
        if found:
            at = now + datetime.timedelta(seconds=int(found[1]) * UNITS_S[found[2]])
        else:
            at = datetime.datetime.fromisoformat(text)
            at = at if at.tzinfo else at.astimezone()
    except (ValueError, OverflowError):
        raise Failure(f'"{text}" is no expiry: write 30d, 12h, 8w, 1y, or a date such as 2027-01-31', USAGE) from None
    if at <= now:
        raise Failure(f'"{text}" lies in the past', USAGE)
    return at.astimezone(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


@command(app, "create")
def create(
    name: Annotated[str, typer.Argument(help="What it is for, e.g. laptop.")],
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help="chat, read, admin or operator; repeat it. Default: chat, read.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", help='A model or pattern ("openai/*") it may use; repeat it.')
    ] = None,
    expires: Annotated[str | None, typer.Option("--expires", help="When it ends: 30d, 12h or 2027-01-31.")] = None,
    org: Annotated[str, typer.Option("--org", help="The organisation, by id; only for the operator.")] = "",
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. It is shown once.

    Example: dac key create laptop --scope chat --scope read --expires 30d
    """
    client = Client(url)
    body: dict[str, object] = {"name": name, "scopes": scope or [], "models": model or []}
    if expires:
        body["expires_at"] = expiry(expires, datetime.datetime.now(datetime.UTC))
    if org:
        body["org_id"] = org
    made = client.call("POST", "/v1/keys", body)
    if as_json:
        print_json(made)
        return
    key = made.get("key") or {}
    note(f"made key {clean(key.get('name'))} ({clean(key.get('key_id'))}), scopes {', '.join(key.get('scopes') or [])}")
    note("this is the only time it is shown:\n")
    print(clean(made.get("token")))
    note(
        f"\ntry it:\n\ncurl {client.url}/v1/chat/completions -H 'Authorization: Bearer {clean(made.get('token'))}' "
        "-H 'Content-Type: application/json' "
        """-d '{"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}'"""
    )


@command(app, "list")
def list_keys(url: Url = None, as_json: AsJson = False) -> None:
    """List the keys, newest first, without their secrets.

    Example: dac key list --json
    """
    keys = Client(url).pages("/v1/keys", "keys")
    if as_json:
        print_json({"keys": keys})
        return
    rows = [
        (
            one.get("key_id"),
            one.get("name", ""),
            one.get("prefix", ""),
            ",".join(one.get("scopes") or []),
            ",".join(one.get("models") or []) or "all",
            local_time(one.get("created_at")),
            f"revoked {local_time(one['revoked_at'])}" if one.get("revoked_at") else "live",
            local_time(one.get("expires_at")),
        )
        for one in keys
    ]
    table(("key id", "name", "prefix", "scopes", "models", "made", "state", "expires"), rows)


@command(app, "revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(help="The key's id (dac key list).")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Revoke a key: refused everywhere within a second.

    Example: dac key revoke 0192f3c4-… --yes
    """
    if not yes and not confirm(f"Revoke key {key_id}? Programs that use it stop working."):
        raise Failure(f"key {key_id} is not revoked: nothing was confirmed (--yes does)")
    done = Client(url).call("DELETE", f"/v1/keys/{segment(key_id)}")
    if as_json:
        print_json(done)
    else:
        note(f"revoked {key_id}")
