"""`dac provider key` and `dac provider rotate-master`: several keys of a provider, and the master key they hang on."""

import dataclasses
import pathlib
from typing import Annotated, Any

import typer

from mesh.cli.client import REFUSED, USAGE, Client, Failure, segment
from mesh.cli.output import AsJson, Url, clean, command, confirm, local_time, note, print_json, table
from mesh.cli.secret_input import read_key

app = typer.Typer(help="Keys of a provider: add, list, change, remove.", no_args_is_help=True)

Org = Annotated[str, typer.Option("--org", help="The organisation, by id; without it your key's own.")]
Everybody = Annotated[bool, typer.Option("--everybody", help="A key for all who have no own; only the operator.")]
KeyEnv = Annotated[str | None, typer.Option("--key-env", help="Read the secret from this variable.")]
KeyFile = Annotated[pathlib.Path | None, typer.Option("--key-file", help="Read the secret from this file.")]
Weight = Annotated[int, typer.Option("--weight", help="How often it is taken beside the others: 1 to 1000.")]


def register(parent: typer.Typer) -> None:
    """Adds the commands to `dac provider`."""
    parent.add_typer(app, name="key")
    command(parent, "rotate-master")(rotate_master)


def place(client: Client, org: str, *, everybody: bool, provider: str) -> str:
    """The path of the keys that are meant. Raises Failure."""
    if everybody and org:
        raise Failure("--org and --everybody exclude each other", USAGE)
    if everybody:
        return f"/v1/providers/{segment(provider)}/keys"
    return f"/api/orgs/{segment(org or str(client.call('GET', '/v1/caller').get('org_id')))}/provider-keys"


@command(app, "add")
def add(
    provider: Annotated[str, typer.Argument(help="The provider's name, e.g. openai.")],
    org: Org = "",
    everybody: Everybody = False,
    weight: Weight = 1,
    off: Annotated[bool, typer.Option("--off", help="Store it switched off.")] = False,
    key_env: KeyEnv = None,
    key_file: KeyFile = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Add a key of your organisation. The secret is asked for, read from a pipe, a file or a variable.

    Example: dac provider key add openai --key-env OPENAI_API_KEY
    """
    client = Client(url)
    path = place(client, org, everybody=everybody, provider=provider)
    body = {"provider": provider, "weight": weight, "is_active": not off}
    made = client.call("POST", path, {**body, "api_key": read_key(provider, key_env, key_file)})
    if as_json:
        print_json(made)
        return
    key = made.get("key") or {}
    note(f"added key {clean(key.get('key_id'))} of {provider}, ending in {clean(key.get('key_hint')) or '(short)'}")


@command(app, "list")
def list_keys(
    provider: Annotated[str, typer.Argument(help="Only this provider's; needed with --everybody.")] = "",
    org: Org = "",
    everybody: Everybody = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """List keys without their secrets.

    Example: dac provider key list
    """
    client = Client(url)
    if everybody and not provider:
        raise Failure("say whose keys: `dac provider key list openai --everybody`", USAGE)
    path = place(client, org, everybody=everybody, provider=provider)
    found = client.pages(path, "keys", {"provider": provider} if provider and not everybody else None)
    if as_json:
        print_json({"keys": found})
        return
    rows = [
        (
            one.get("key_id"),
            one.get("provider"),
            f"…{one['key_hint']}" if one.get("key_hint") else "-",
            "on" if one.get("is_active") else "off",
            one.get("weight"),
            one.get("unusable_because") or "used",
            local_time(one.get("changed_at")),
        )
        for one in found
    ]
    table(("key", "provider", "ends in", "state", "weight", "now", "changed"), rows, right=(4,))


@command(app, "set")
def change(
    provider: Annotated[str, typer.Argument(help="The provider's name.")],
    key_id: Annotated[str, typer.Argument(help="The key's id, from `dac provider key list`.")],
    org: Org = "",
    everybody: Everybody = False,
    weight: Annotated[int | None, typer.Option("--weight", help="Another weight, 1 to 1000.")] = None,
    on: Annotated[bool | None, typer.Option("--on/--off", help="Switch it on or off.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Ask for another secret.")] = False,
    key_env: KeyEnv = None,
    key_file: KeyFile = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Change a key: its weight, whether it is used, its secret.

    Example: dac provider key set openai KEY_ID --off
    """
    client = Client(url)
    body: dict[str, Any] = {"provider": provider}
    body |= {} if weight is None else {"weight": weight}
    body |= {} if on is None else {"is_active": on}
    if replace or key_env or key_file:
        body["api_key"] = read_key(provider, key_env, key_file)
    if len(body) == 1:
        raise Failure("nothing to change: say --weight, --on, --off or --replace", USAGE)
    path = place(client, org, everybody=everybody, provider=provider)
    changed = client.call("PUT", f"{path}/{segment(key_id)}", body)
    if as_json:
        print_json(changed)
    else:
        note(f"changed key {key_id}")


@command(app, "remove")
def remove(
    provider: Annotated[str, typer.Argument(help="The provider's name.")],
    key_id: Annotated[str, typer.Argument(help="The key's id, from `dac provider key list`.")],
    org: Org = "",
    everybody: Everybody = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Remove a key. With the last one your organisation is served with the operator's key again, where there is one.

    Example: dac provider key remove openai KEY_ID --yes
    """
    client = Client(url)
    if not yes and not confirm(f"Remove key {key_id} of {provider}?"):
        raise Failure(f"{key_id} is not removed: nothing was confirmed (--yes does)")
    path = place(client, org, everybody=everybody, provider=provider)
    done = client.call("DELETE", f"{path}/{segment(key_id)}", query={"provider": provider} if not everybody else None)
    if as_json:
        print_json(done)
    else:
        note(f"removed key {key_id}")


def rotate_master(
    check: Annotated[bool, typer.Option("--check", help="Change nothing; fail when something is left.")] = False,
    batch: Annotated[int, typer.Option("--batch", min=1, max=1000, help="How many secrets at a time.")] = 100,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Seal everything anew with the present master key. Run it again after a break: it goes on where it was.

    DAC has to run with both keys: DAC_MASTER_KEY_FILE names the new one, DAC_MASTER_KEY_OLD_FILE the former one.

    Example: dac provider rotate-master
    """
    client = Client(url)
    keys = _all_anew(client, "/v1/provider-keys:rotate", "provider keys", check=check, batch=batch)
    data = _all_anew(client, "/v1/memory/data-keys:rewrap", "data keys of memory", check=check, batch=batch)
    payload = _all_anew(client, "/v1/audit/payload-keys:rewrap", "keys of audit payloads", check=check, batch=batch)
    left, lost = keys.left + data.left + payload.left, keys.lost + data.lost + payload.lost
    hashes = client.call("POST", "/v1/keys:rotate-master", {"check_only": check or left > 0})
    present = hashes["master_key_id"]
    bound = hashes["bound_to"] == present
    if as_json:
        print_json(
            {
                "master_key_id": present,
                **dataclasses.asdict(keys),
                "data_keys": dataclasses.asdict(data),
                "payload_keys": dataclasses.asdict(payload),
                "api_keys_bound": bound,
                "done": bound and not left,
            }
        )
    if lost:
        raise Failure(
            f"{keys.lost} provider keys, {data.lost} data keys of memory and {payload.lost} keys of audit payloads "
            "open with neither master key: set provider keys again or remove them, erase the memory of those "
            "organisations, and restore the master key that payloads were sealed under",
            REFUSED,
        )
    if left or not bound:
        state = "done" if bound else "not done"
        raise Failure(
            f"not done: {keys.left} provider keys, {data.left} data keys of memory, {payload.left} keys of audit "
            f"payloads, API keys {state}",
            REFUSED,
        )
    note(f"nothing is left under another master key than {present}: the former one is not needed any more")


@dataclasses.dataclass(frozen=True)
class Rotated:
    """What was sealed anew, and what is left; `lost` of it opens with no master key."""

    rotated: int
    left: int
    lost: int


def _all_anew(client: Client, path: str, what: str, *, check: bool, batch: int) -> Rotated:
    """Calls until nothing is left that opens; only counts when `check`."""
    rotated, step = 0, client.call("POST", path, {"check_only": True})
    while not check and int(step["left"]) > int(step["lost"]):
        step = client.call("POST", path, {"limit": batch})
        rotated += int(step["rotated"])
        note(f"{rotated} {what} sealed anew, {step['left']} left")
        if not int(step["rotated"]):
            break
    return Rotated(rotated, int(step["left"]), int(step["lost"]))
