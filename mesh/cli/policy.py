"""`dac policy`: which models may answer whom, and what is weighed."""

import pathlib
import sys
from typing import Annotated, Any

import typer

from mesh.cli.client import USAGE, Client, Failure, segment
from mesh.cli.limit import level_of
from mesh.cli.logs import last
from mesh.cli.output import AsJson, Url, command, enum_word, local_time, money, note, print_json, table

app = typer.Typer(help="Routing policies: list, show, set, assign, roll back.", no_args_is_help=True)

Shared = Annotated[bool, typer.Option("--shared", help="One of everybody's; only the operator changes these.")]
Name = Annotated[str, typer.Argument(help="The policy's name (dac policy list).")]
Level = Annotated[
    str, typer.Option("--level", help="What it is for: org, team:NAME, project:NAME, user:NAME (or their ids), key:ID.")
]
HEADINGS = ("policy", "whose", "version", "managed by", "weighs", "bounds", "changed")


def register(parent: typer.Typer) -> None:
    """Adds the commands."""
    parent.add_typer(app, name="policy")


def said(rules: dict[str, Any] | None) -> dict[str, Any]:
    """What rules say, as a file would: the answer also has every field that says nothing."""
    found = {key: value for key, value in (rules or {}).items() if value not in ("", [], {}, None)}
    if "max_cost_nano_usd" in found:
        found["max_cost_nano_usd"] = int(found["max_cost_nano_usd"])
    if "weights" in found:
        found["weights"] = {key: value for key, value in found["weights"].items() if value}
    if "intents" in found:
        found["intents"] = {intent: said(over) for intent, over in found["intents"].items()}
    return found


def row(one: dict[str, Any]) -> tuple[object, ...]:
    """A policy as a row."""
    rules = said(one.get("rules"))
    weights = rules.get("weights")
    weighs = rules.get("profile") or (
        " ".join(f"{key} {value:g}" for key, value in weights.items()) if weights else "as default"
    )
    bounds = [key for key in rules if key not in ("profile", "weights", "intents", "exploration")]
    version = one.get("version") or "0"
    return (
        one.get("name"),
        "everybody's" if one.get("shared") else "own",
        "-" if version == "0" else version,
        one.get("managed_by"),
        weighs,
        "-" if one.get("managed_by") == "built_in" else ", ".join(bounds) or "-",
        local_time(one.get("changed_at")),
    )


@command(app, "list")
def list_policies(url: Url = None, as_json: AsJson = False) -> None:
    """List policies, and who is under which.

    Example: dac policy list
    """
    client = Client(url)
    found = client.pages("/v2/policies", "policies")
    assignments = client.pages("/v2/policy-assignments", "assignments")
    tenant = client.call("GET", "/v2/policy-assignments", query={"page_size": 1}).get("tenant")
    if as_json:
        print_json({"policies": found, "assignments": assignments, "tenant": tenant})
        return
    table(HEADINGS, [row(one) for one in found], right=(2,))
    if assignments:
        print()
        table(("level", "id", "policy", "changed"), [_assigned(one) for one in assignments])
    if tenant:
        words = [f"{key} {value}" for key, value in tenant.items() if value and key not in ("org_id", "managed_by")]
        note(f"the operator says: {'; '.join(words)} (managed by {tenant.get('managed_by')})")


def _assigned(one: dict[str, Any]) -> tuple[object, ...]:
    level = one.get("level") or {}
    policy = str(one.get("policy")) + ("" if one.get("exists") else " (missing: nothing is allowed)")
    return enum_word(level.get("kind"), "KIND_"), level.get("id"), policy, local_time(one.get("changed_at"))


@command(app, "show")
def show(name: Name, url: Url = None, as_json: AsJson = False) -> None:
    """Show a policy as `dac policy set` takes it.

    Example: dac policy show thrifty > thrifty.yaml
    """
    import yaml

    answer = Client(url).call("GET", f"/v2/policies/{segment(name)}")
    if as_json:
        print_json(answer)
        return
    print(yaml.safe_dump({"policies": {name: said(answer["policy"].get("rules"))}}, sort_keys=False), end="")


def read_policies(file: str) -> dict[str, Any]:
    """The policies that a file holds under `policies:`. Raises Failure."""
    import yaml

    from mesh.config import ConfigError, read_documents

    try:
        document = yaml.safe_load(sys.stdin.read()) if file == "-" else read_documents(pathlib.Path(file))
    except ConfigError as error:
        raise Failure(error.message, USAGE) from None
    except yaml.YAMLError as error:
        raise Failure(f"{file}: not valid YAML: {' '.join(str(error).split())}", USAGE) from None
    found = document.get("policies") if isinstance(document, dict) else None
    if not isinstance(found, dict) or not found or not all(isinstance(one, dict | None) for one in found.values()):
        raise Failure(f"{file}: it holds no policies: write policies: {{NAME: {{profile: budget}}}}", USAGE)
    return {str(name): rules or {} for name, rules in found.items()}


@command(app, "set")
def set_policy(
    file: Annotated[str, typer.Argument(help='A file with policies under "policies:"; - = standard input.')],
    shared: Shared = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Make the policies of a file, or replace their rules.

    Example: dac policy set thrifty.yaml
    """
    wanted, client, done = read_policies(file), Client(url), []
    standing = {one["name"]: one for one in client.pages("/v2/policies", "policies")}
    for name, rules in wanted.items():
        known = standing.get(name)
        body: dict[str, Any] = {"rules": rules, "shared": shared}
        if known is not None and bool(known.get("shared")) == shared and known.get("managed_by") == "api":
            body["etag"] = known["etag"]
            answer = client.call("PUT", f"/v2/policies/{segment(name)}", body)
        else:
            answer = client.call("POST", "/v2/policies", {"name": name, **body})
        done.append(answer["policy"])
    if as_json:
        print_json({"policies": done})
        return
    table(HEADINGS, [row(one) for one in done], right=(2,))


@command(app, "assign")
def assign(
    name: Annotated[str, typer.Argument(help="The policy's name; left out with --none.")] = "",
    level: Level = "org",
    none: Annotated[bool, typer.Option("--none", help="Take the level out from under its policy.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Put a level under a policy; the nearest level of a request wins.

    Example: dac policy assign thrifty --level team:research
    """
    if bool(name) == none:
        raise Failure("name a policy, or say --none: one of them", USAGE)
    client = Client(url)
    found = level_of(client, level)
    if not none:
        answer = client.call("PUT", "/v2/policy-assignments", {"level": found, "policy": name})
    else:
        level_id = found.get("id") or next(
            (
                one["level"]["id"]
                for one in client.pages("/v2/policy-assignments", "assignments")
                if one["level"]["kind"] == "KIND_ORG"
            ),
            "",
        )
        if not level_id:
            raise Failure("the organisation as a whole is under no policy of its own (dac policy list)")
        answer = client.call("DELETE", f"/v2/policy-assignments/{segment(level_id)}")
    if as_json:
        print_json(answer)
    else:
        note(f"{level} is under {name} now" if not none else f"{level} is under no policy of its own any more")


@command(app, "history")
def history(name: Name, shared: Shared = False, url: Url = None, as_json: AsJson = False) -> None:
    """Every state a policy was in, the latest first.

    Example: dac policy history thrifty
    """
    query = {"shared": "true"} if shared else None
    found = Client(url).pages(f"/v2/policies/{segment(name)}/versions", "versions", query)
    if as_json:
        print_json({"versions": found})
        return
    rows = [
        (one.get("version"), one.get("action"), one.get("actor"), local_time(one.get("at")), _short(one.get("rules")))
        for one in found
    ]
    table(("version", "action", "by", "at", "rules"), rows, right=(0,))


def _short(rules: dict[str, Any] | None) -> str:
    import json

    text = json.dumps(said(rules)) if rules else "-"
    return text if len(text) <= 100 else text[:99] + "…"


@command(app, "rollback")
def rollback(
    name: Name,
    version: Annotated[int, typer.Option("--version", help="Which (dac policy history); 0 = the one before.")] = 0,
    shared: Shared = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Make an earlier version the latest again, also of a policy that was deleted.

    Example: dac policy rollback thrifty --version 2
    """
    body = {"version": str(version), "shared": shared}
    answer = Client(url).call("POST", f"/v2/policies/{segment(name)}:rollback", body)
    if as_json:
        print_json(answer)
    else:
        table(HEADINGS, [row(answer["policy"])], right=(2,))


@command(app, "delete")
def delete(name: Name, shared: Shared = False, url: Url = None, as_json: AsJson = False) -> None:
    """Delete a policy that nobody is under; its versions stay.

    Example: dac policy delete thrifty
    """
    query = {"shared": "true"} if shared else None
    done = Client(url).call("DELETE", f"/v2/policies/{segment(name)}", query=query)
    if as_json:
        print_json(done)
    else:
        note(f"deleted {name}; dac policy rollback {name} brings it back")


def tested(record: dict[str, Any], models: dict[str, list[str]]) -> dict[str, Any]:
    """A request's record as TestPolicy takes it; `models` = what each key may use."""
    attempts, features = record.get("attempts") or [], record.get("features") or {}
    usage = (attempts[-1].get("usage") or {}) if attempts else {}
    path = [str(level.get("id")) for level in record.get("path") or []]

    def tokens(*beginnings: str) -> int:
        return sum(
            int(amount or 0)
            for name, amount in usage.items()
            if name.startswith(beginnings) and name.endswith("_tokens")
        )

    read = tokens("input_", "cache_write_")
    said = {"complexity": features.get("complexity", 0.0)} if features.get("intent") else {}
    return {
        "request_id": record.get("request_id", ""),
        "asked_model": record.get("asked_model", ""),
        "intent": features.get("intent", ""),
        **said,
        "input_tokens": str(read or int(features.get("input_tokens_estimated") or 0)),
        "output_tokens": str(tokens("output_", "reasoning_")),
        "model": attempts[-1].get("model", "") if attempts else "",
        "cost_nano_usd": str(record.get("cost_nano_usd") or 0),
        "path": path,
        "allowed_models": models.get(path[-1], []) if path else [],
        **{name: True for name in ("needs_tools", "needs_images", "needs_json") if features.get(name)},
    }


@command(app, "test")
def test(
    file: Annotated[str, typer.Argument(help='A file with one policy under "policies:"; - = standard input.')],
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many of the last requests.")] = 100,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Replay the last requests under a policy: which routes, costs and refusals would change.

    Example: dac policy test thrifty.yaml --limit 500
    """
    wanted = read_policies(file)
    if len(wanted) != 1:
        raise Failure(f"{file}: it holds {len(wanted)} policies: test them one by one", USAGE)
    (rules,) = wanted.values()
    client = Client(url)
    models = {one["key_id"]: one.get("models") or [] for one in client.pages("/v1/keys", "keys")}
    chats = [one for one in last(client, limit, "") if (one.get("operation") or "chat") == "chat"]
    found = client.call(
        "POST", "/v2/policies:test", {"rules": rules, "requests": [tested(one, models) for one in chats]}
    )
    if as_json:
        print_json(found)
        return
    changed = found.get("changed") or []
    if changed:
        table(("request", "asked", "now", "then", "cost now", "cost then"), [_change(one) for one in changed])
    note(
        f"{found['requests']} requests: {found['rerouted']} would go to another model; "
        f"refused {found['refused_now']} now, {found['refused_then']} then"
    )
    note(
        f"cost of what is answered both ways: {money(found['cost_was_nano_usd'])} as it was, "
        f"{money(found['cost_now_nano_usd'])} now, {money(found['cost_then_nano_usd'])} then"
    )


def _change(one: dict[str, Any]) -> tuple[object, ...]:
    def cost(name: str) -> str:
        return "-" if one.get(name) is None else money(one[name])

    return (
        one.get("request_id"),
        one.get("asked_model"),
        one.get("model_now") or f"refused: {one.get('refused_now')}",
        one.get("model_then") or f"refused: {one.get('refused_then')}",
        cost("cost_now_nano_usd"),
        cost("cost_then_nano_usd"),
    )
