"""`dac team`, `dac project`, `dac user`: what lies between an organisation and its keys."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from mesh.cli.client import USAGE, Client, Failure, segment
from mesh.cli.output import AsJson, Url, clean, command, confirm, local_time, note, print_json, table

UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
MOST_DEEP = 8
teams = typer.Typer(help="Teams: make, list, change, delete. They lie within each other.", no_args_is_help=True)
projects = typer.Typer(help="Projects: make, list, change, delete.", no_args_is_help=True)
users = typer.Typer(help="Users: make, list, change, delete.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Its name: unique among its kind in your organisation.")]
NewName = Annotated[str | None, typer.Option("--name", help="Another name.")]
Which = Annotated[str, typer.Argument(help="Its name or id.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def register(parent: typer.Typer) -> None:
    """Adds the commands."""
    parent.add_typer(teams, name="team")
    parent.add_typer(projects, name="project")
    parent.add_typer(users, name="user")


def id_of(client: Client, kind: str, which: str) -> str:
    """The id of a team, project or user that is called by its name or id. Raises Failure."""
    if UUID.fullmatch(which):
        return which.lower()
    for one in client.pages(f"/v1/{kind}s", f"{kind}s"):
        if one.get("name") == which:
            return str(one[f"{kind}_id"])
    raise Failure(f'there is no {kind} "{which}": see `dac {kind} list`')


def moved(client: Client, kind: str, to: str | None, out: bool, option: str = "") -> str | None:
    """Where something goes: an id, "" for out of there, None for as it is. Raises Failure."""
    if to and out:
        raise Failure(f"--{option or kind} and --no-{option or kind} exclude each other", USAGE)
    return id_of(client, kind, to) if to else "" if out else None


def paths(found: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Team id → its name behind those of the teams that it lies in: research/vision."""
    by_id = {str(one["team_id"]): one for one in found}

    def path(team_id: str) -> str:
        names: list[str] = []
        while team_id in by_id and len(names) < MOST_DEEP:
            names.insert(0, str(by_id[team_id].get("name", "")))
            team_id = str(by_id[team_id].get("parent_team_id") or "")
        return "/".join(names)

    return {team_id: path(team_id) for team_id in by_id}


def _made(kind: str, answer: Mapping[str, Any], as_json: bool, verb: str) -> None:
    if as_json:
        print_json(answer)
        return
    one = answer.get(kind) or {}
    note(f"{verb} {kind} {clean(one.get('name'))} ({clean(one.get(f'{kind}_id'))})")


def _change(kind: str, which: str, body: Mapping[str, str | None], url: str | None, as_json: bool) -> None:
    named = {field: value for field, value in body.items() if value is not None}
    if not named:
        raise Failure(f"nothing to change: see `dac {kind} update --help`", USAGE)
    client = Client(url)
    answer = client.call("PATCH", f"/v1/{kind}s/{segment(id_of(client, kind, which))}", named)
    _made(kind, answer, as_json, "changed")


def _delete(kind: str, which: str, yes: bool, url: str | None, as_json: bool) -> None:
    if not yes and not confirm(f"Delete {kind} {which}?"):
        raise Failure(f"{kind} {which} is not deleted: nothing was confirmed (--yes does)")
    client = Client(url)
    done = client.call("DELETE", f"/v1/{kind}s/{segment(id_of(client, kind, which))}")
    if as_json:
        print_json(done)
    else:
        note(f"deleted {kind} {which}")


@command(teams, "create")
def create_team(
    name: Name,
    parent: Annotated[str, typer.Option("--parent", help="The team it lies in, by name or id.")] = "",
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Make a team.

    Example: dac team create vision --parent research
    """
    client = Client(url)
    body = {"name": name, "parent_team_id": id_of(client, "team", parent) if parent else ""}
    _made("team", client.call("POST", "/v1/teams", body), as_json, "made")


@command(teams, "list")
def list_teams(url: Url = None, as_json: AsJson = False) -> None:
    """List the teams, with what they lie in.

    Example: dac team list
    """
    found = Client(url).pages("/v1/teams", "teams")
    if as_json:
        print_json({"teams": found})
        return
    path = paths(found)
    rows = [(one["team_id"], path[one["team_id"]], local_time(one.get("created_at"))) for one in found]
    table(("team id", "team", "made"), sorted(rows, key=lambda row: str(row[1])))


@command(teams, "update")
def update_team(
    team: Which,
    name: NewName = None,
    parent: Annotated[str | None, typer.Option("--parent", help="The team it is to lie in, by name or id.")] = None,
    no_parent: Annotated[bool, typer.Option("--no-parent", help="Directly in the organisation.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Rename a team, or move it with all that hangs on it.

    Example: dac team update vision --parent research
    """
    to = moved(Client(url), "team", parent, no_parent, "parent")
    _change("team", team, {"name": name, "parent_team_id": to}, url, as_json)


@command(teams, "delete")
def delete_team(team: Which, yes: Yes = False, url: Url = None, as_json: AsJson = False) -> None:
    """Delete a team. Refused while a team, a project or a key that works hangs on it.

    Example: dac team delete vision --yes
    """
    _delete("team", team, yes, url, as_json)


@command(projects, "create")
def create_project(
    name: Name,
    team: Annotated[str, typer.Option("--team", help="The team it belongs to, by name or id.")] = "",
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Make a project.

    Example: dac project create chatbot --team research
    """
    client = Client(url)
    body = {"name": name, "team_id": id_of(client, "team", team) if team else ""}
    _made("project", client.call("POST", "/v1/projects", body), as_json, "made")


@command(projects, "list")
def list_projects(url: Url = None, as_json: AsJson = False) -> None:
    """List the projects, with their teams.

    Example: dac project list
    """
    client = Client(url)
    found = client.pages("/v1/projects", "projects")
    if as_json:
        print_json({"projects": found})
        return
    path = paths(client.pages("/v1/teams", "teams"))
    rows = [
        (one["project_id"], one["name"], path.get(one.get("team_id") or "", "-"), local_time(one.get("created_at")))
        for one in found
    ]
    table(("project id", "project", "team", "made"), sorted(rows, key=lambda row: str(row[1])))


@command(projects, "update")
def update_project(
    project: Which,
    name: NewName = None,
    team: Annotated[str | None, typer.Option("--team", help="Another team, by name or id.")] = None,
    no_team: Annotated[bool, typer.Option("--no-team", help="Out of every team.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Rename a project, or move it with its keys to another team.

    Example: dac project update chatbot --team vision
    """
    to = moved(Client(url), "team", team, no_team)
    _change("project", project, {"name": name, "team_id": to}, url, as_json)


@command(projects, "delete")
def delete_project(project: Which, yes: Yes = False, url: Url = None, as_json: AsJson = False) -> None:
    """Delete a project. Refused while a key that works hangs on it.

    Example: dac project delete chatbot --yes
    """
    _delete("project", project, yes, url, as_json)


@command(users, "create")
def create_user(
    name: Name,
    email: Annotated[str, typer.Option("--email", help="Where to write to.")] = "",
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Make a user: a person or a program that keys are given to.

    Example: dac user create Ann --email ann@example.com
    """
    _made("user", Client(url).call("POST", "/v1/users", {"name": name, "email": email}), as_json, "made")


@command(users, "list")
def list_users(url: Url = None, as_json: AsJson = False) -> None:
    """List the users.

    Example: dac user list --json
    """
    found = Client(url).pages("/v1/users", "users")
    if as_json:
        print_json({"users": found})
        return
    rows = [(one["user_id"], one["name"], one.get("email") or "-", local_time(one.get("created_at"))) for one in found]
    table(("user id", "user", "e-mail", "made"), sorted(rows, key=lambda row: str(row[1])))


@command(users, "update")
def update_user(
    user: Which,
    name: NewName = None,
    email: Annotated[str | None, typer.Option("--email", help='Another e-mail; "" for none.')] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Change a user's name or e-mail.

    Example: dac user update Ann --email ann@example.org
    """
    _change("user", user, {"name": name, "email": email}, url, as_json)


@command(users, "delete")
def delete_user(user: Which, yes: Yes = False, url: Url = None, as_json: AsJson = False) -> None:
    """Delete a user. Refused while a key that works hangs on it.

    Example: dac user delete Ann --yes
    """
    _delete("user", user, yes, url, as_json)
