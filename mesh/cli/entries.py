"""`dac model set, kept, show, delete, history, rollback`: the operator's own models, made while DAC runs."""

import pathlib
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from mesh.cli.client import USAGE, Client, Failure, segments
from mesh.cli.output import AsJson, Url, command, local_time, note, print_json, table
from mesh.cli.provider import models

Id = Annotated[str, typer.Argument(help="The model's id (dac model kept).")]
HEADINGS = ("model", "version", "provider", "context", "price", "aliases", "changed")
_RENAMED = {"id": "model", "class": "model_class"}
"""Keys of files that the API calls otherwise."""


def register(parent: typer.Typer) -> None:
    """Adds the commands to `dac model`."""
    for name, function in (
        ("set", set_models),
        ("kept", list_kept),
        ("show", show),
        ("delete", delete),
        ("history", history),
        ("rollback", rollback),
    ):
        command(models, name)(function)


def path_of(model: str) -> str:
    """The path of a model."""
    return f"/v2/models/{segments(model)}"


def as_message(written: Mapping[str, Any], where: str) -> dict[str, Any]:
    """An entry of a file as the API takes it. Raises ConfigError."""
    message = {_RENAMED.get(key, key): value for key, value in written.items() if key != "price"}
    if "retires_on" in message:
        message["retires_on"] = str(message["retires_on"])
    if written.get("price") is not None:
        message["prices"] = _prices(written["price"], f"{where}.price")
    if isinstance(written.get("deployments"), list):
        message["deployments"] = [
            as_message(one, f"{where}.deployments[{index}]") if isinstance(one, Mapping) else one
            for index, one in enumerate(written["deployments"])
        ]
    return message


def _prices(written: object, where: str) -> list[dict[str, Any]]:
    from mesh.model_prices import parse_price

    price = parse_price(written, where)
    made = []
    for index, one in enumerate((price, *price.later) if price is not None else ()):
        said: dict[str, Any] = (
            {"free": True}
            if one.free
            else {"nano_usd_per_mtok": {name: str(nano) for name, nano in one.nano_usd_per_mtok.items()}}
        )
        made.append(said | ({"valid_from": one.valid_from.isoformat()} if index and one.valid_from else {}))
    return made


def as_written(message: Mapping[str, Any]) -> dict[str, Any]:
    """What the API answers, as a file has it: an answer also has every field that says nothing."""
    found = {key: value for key, value in message.items() if value not in ("", [], {}, None, 0, "0", False)}
    found = {
        {new: old for old, new in _RENAMED.items()}.get(key, key): int(value) if key.endswith("_tokens") else value
        for key, value in found.items()
    }
    prices = [_as_price(one) for one in found.pop("prices", [])]
    if prices:
        found["price"] = prices if len(prices) > 1 else prices[0]
    if "deployments" in found:
        found["deployments"] = [as_written(one) for one in found["deployments"]]
    return found


def _as_price(one: Mapping[str, Any]) -> dict[str, Any]:
    begins = {"from": one["valid_from"]} if one.get("valid_from") else {}
    if one.get("free"):
        return {**begins, "free": True}
    return {**begins, "nano_usd_per_mtok": {name: int(nano) for name, nano in one["nano_usd_per_mtok"].items()}}


def read_models(file: str) -> list[dict[str, Any]]:
    """The models that a file holds under `models:`, as the API takes them. Raises Failure."""
    import yaml

    from mesh.config import ConfigError, read_documents

    try:
        document = yaml.safe_load(sys.stdin.read()) if file == "-" else read_documents(pathlib.Path(file))
        found = document.get("models") if isinstance(document, dict) else None
        if not isinstance(found, list) or not found or not all(isinstance(one, dict) and "id" in one for one in found):
            raise Failure(f"{file}: it holds no models: write models: [{{id: mine/large, provider: mine, …}}]", USAGE)
        return [as_message(one, f"{file}: models[{index}]") for index, one in enumerate(found)]
    except ConfigError as error:
        raise Failure(error.message, USAGE) from None
    except yaml.YAMLError as error:
        raise Failure(f"{file}: not valid YAML: {' '.join(str(error).split())}", USAGE) from None


def _row(kept: Mapping[str, Any]) -> tuple[object, ...]:
    entry = kept["entry"]
    place = entry.get("provider") or ", ".join(one["provider"] for one in entry.get("deployments") or [])
    prices = entry.get("prices") or []
    price = "unknown" if not prices else "free" if prices[0].get("free") else "said"
    aliases = ", ".join(entry.get("aliases") or []) or "-"
    context = entry.get("context_tokens")
    return entry["model"], kept["version"], place, context, price, aliases, local_time(kept.get("changed_at"))


def _kept(client: Client) -> list[dict[str, Any]]:
    return client.pages("/v2/models:kept", "models")


def set_models(
    file: Annotated[str, typer.Argument(help='A file with models under "models:"; - = standard input.')],
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Make the models of a file, or replace what is said of them, without a restart and for all replicas.

    Example: dac model set mine.yaml
    """
    wanted, client, done = read_models(file), Client(url), []
    standing = {one["entry"]["model"]: one for one in _kept(client)}
    for entry in wanted:
        known = standing.get(entry["model"])
        if known is not None:
            body = {"entry": entry, "etag": known["etag"]}
            done.append(client.call("PUT", path_of(entry["model"]), body)["model"])
        else:
            done.append(client.call("POST", "/v2/models", {"entry": entry})["model"])
    if as_json:
        print_json({"models": done})
        return
    table(HEADINGS, [_row(one) for one in done], right=(1, 3))


def list_kept(url: Url = None, as_json: AsJson = False) -> None:
    """List the models that were made while DAC ran; `dac model list` has all that can be asked.

    Example: dac model kept
    """
    found = _kept(Client(url))
    if as_json:
        print_json({"models": found})
        return
    if not found:
        note("none were made: dac model set FILE makes those of a file")
        return
    table(HEADINGS, [_row(one) for one in found], right=(1, 3))


def show(model: Id, url: Url = None, as_json: AsJson = False) -> None:
    """Show a model as `dac model set` takes it.

    Example: dac model show mine/large > mine.yaml
    """
    import yaml

    found = Client(url).call("GET", "/v2/models:kept", query={"model": model}).get("models") or []
    if not found:
        raise Failure(f"{model} was not made here: dac model kept lists what was, dac model list what there is")
    if as_json:
        print_json(found[0])
        return
    print(yaml.safe_dump({"models": [as_written(found[0]["entry"])]}, sort_keys=False), end="")


def delete(model: Id, url: Url = None, as_json: AsJson = False) -> None:
    """Take a model away that no other falls back to; its versions stay.

    Example: dac model delete mine/large
    """
    done = Client(url).call("DELETE", path_of(model))
    if as_json:
        print_json(done)
    else:
        note(f"deleted {model}; dac model rollback {model} brings it back")


def history(model: Id, url: Url = None, as_json: AsJson = False) -> None:
    """Every state a model was in, the latest first.

    Example: dac model history mine/large
    """
    found = Client(url).pages(f"{path_of(model)}:versions", "versions")
    if as_json:
        print_json({"versions": found})
        return
    rows = [
        (one["version"], one["action"], one["actor"], local_time(one.get("at")), _short(one.get("entry")))
        for one in found
    ]
    table(("version", "action", "by", "at", "entry"), rows, right=(0,))


def _short(entry: Mapping[str, Any] | None) -> str:
    import json

    text = json.dumps({key: value for key, value in as_written(entry).items() if key != "id"}) if entry else "-"
    return text if len(text) <= 100 else text[:99] + "…"


def rollback(
    model: Id,
    version: Annotated[int, typer.Option("--version", help="Which (dac model history); 0 = the one before.")] = 0,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Make an earlier version the latest again, also of a model that was deleted.

    Example: dac model rollback mine/large --version 2
    """
    answer = Client(url).call("POST", f"{path_of(model)}:rollback", {"version": str(version)})
    if as_json:
        print_json(answer)
    else:
        table(HEADINGS, [_row(answer["model"])], right=(1, 3))
