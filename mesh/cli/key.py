"""`dac key`: API keys."""

import datetime
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from mesh.cli.client import USAGE, Client, Failure, segment
from mesh.cli.output import AsJson, Url, clean, command, confirm, local_time, note, print_json, table
from mesh.cli.tree import id_of, moved, paths

UNITS_S = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 31_536_000}
app = typer.Typer(help="API keys: make, list, move, revoke.", no_args_is_help=True)


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
    team: Annotated[str, typer.Option("--team", help="The team it stands in, by name or id.")] = "",
    project: Annotated[str, typer.Option("--project", help="The project it is for, by name or id.")] = "",
    user: Annotated[str, typer.Option("--user", help="Whose it is, by name or id.")] = "",
    org: Annotated[str, typer.Option("--org", help="The organisation, by id; only for the operator.")] = "",
    no_persona: Annotated[bool, typer.Option("--no-persona", help="Answers without the policy's persona.")] = False,
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
    for kind, which in (("team", team), ("project", project), ("user", user)):
        if which:
            # Names are those of the caller's own organisation.
            body[f"{kind}_id"] = which if org else id_of(client, kind, which)
    if org:
        body["org_id"] = org
    if no_persona:
        body["without_persona"] = True
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
    client = Client(url)
    keys = client.pages("/v1/keys", "keys")
    if as_json:
        print_json({"keys": keys})
        return
    places = _places(client, keys)
    rows = [
        (
            one.get("key_id"),
            one.get("name", ""),
            one.get("prefix", ""),
            ",".join(one.get("scopes") or []),
            ",".join(one.get("models") or []) or "all",
            places.get(str(one.get("key_id")), "-"),
            local_time(one.get("created_at")),
            f"revoked {local_time(one['revoked_at'])}" if one.get("revoked_at") else "live",
            local_time(one.get("expires_at")),
        )
        for one in keys
    ]
    table(("key id", "name", "prefix", "scopes", "models", "place", "made", "state", "expires"), rows)


def _places(client: Client, keys: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Key id → where it stands, in names: research/vision, chatbot, Ann."""
    names: dict[str, str] = {}
    for kind in ("team", "project", "user"):
        if any(one.get(f"{kind}_id") for one in keys):
            found = client.pages(f"/v1/{kind}s", f"{kind}s")
            names |= paths(found) if kind == "team" else {str(one[f"{kind}_id"]): str(one["name"]) for one in found}
    stands = {str(key["key_id"]): [key.get(field) for field in ("team_id", "project_id", "user_id")] for key in keys}
    return {key: ", ".join(names.get(one, one) for one in ids if one) or "-" for key, ids in stands.items()}


@command(app, "move")
def move(
    key_id: Annotated[str, typer.Argument(help="The key's id (dac key list).")],
    team: Annotated[str | None, typer.Option("--team", help="To this team, by name or id.")] = None,
    no_team: Annotated[bool, typer.Option("--no-team", help="Out of its team.")] = False,
    project: Annotated[str | None, typer.Option("--project", help="To this project, by name or id.")] = None,
    no_project: Annotated[bool, typer.Option("--no-project", help="Out of its project.")] = False,
    user: Annotated[str | None, typer.Option("--user", help="To this user, by name or id.")] = None,
    no_user: Annotated[bool, typer.Option("--no-user", help="Nobody's.")] = False,
    name: Annotated[str | None, typer.Option("--name", help="Another name for the key.")] = None,
    persona: Annotated[
        bool | None, typer.Option("--persona/--no-persona", help="Answers with the policy's persona, or without.")
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Move a key to another team, project or user, or rename it. What it spent stays where it was spent.

    Example: dac key move 0192f3c4-… --team research --no-project
    """
    client = Client(url)
    wanted: dict[str, object] = {
        "team_id": moved(client, "team", team, no_team),
        "project_id": moved(client, "project", project, no_project),
        "user_id": moved(client, "user", user, no_user),
        "name": name,
        "without_persona": None if persona is None else not persona,
    }
    body = {field: value for field, value in wanted.items() if value is not None}
    if not body:
        raise Failure(
            "nothing to change: say --team, --project, --user, --no-team, --no-project, --no-user, --name, --persona "
            "or --no-persona",
            USAGE,
        )
    changed = client.call("PATCH", f"/v1/keys/{segment(key_id)}", body)
    if as_json:
        print_json(changed)
        return
    key = changed.get("key") or {}
    (place,) = _places(client, [key]).values()
    where = "directly in the organisation" if place == "-" else f"in {clean(place)}"
    note(f"key {clean(key.get('name'))} ({clean(key_id)}) stands {where}")


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
