"""`dac import`: another gateway's configuration and keys as DAC's."""

import datetime
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mesh.cli.client import USAGE, Client, Failure, why_unread
from mesh.cli.output import AsJson, Url, clean, command, counted, note, print_json

if TYPE_CHECKING:
    from mesh.imports.litellm import Conversion
    from mesh.imports.litellm_keys import Budget, Key
    from mesh.imports.notes import Note
    from mesh.imports.rate_limits import RateLimit

NOTES = "import-notes.txt"
AT_ONCE = 200
app = typer.Typer(help="Another gateway's configuration and keys as DAC's.", no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    """Adds the commands."""
    parent.add_typer(app, name="import")


def read(path: pathlib.Path) -> str:
    """A file's text. Raises Failure."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise Failure(f"{path} cannot be read: {why_unread(error)}", USAGE) from None


def line(file: str, one: "Note") -> str:
    """A note as one line."""
    where = f"{file}:{one.line}: " if one.line else ""
    return f"{where}{one.place}: {one.kind}: {one.text}"


def write(folder: pathlib.Path, files: dict[str, str], *, force: bool, keep: bool) -> bool:
    """Writes the files. When one is there already: none (`keep`), all (`force`), else Failure."""
    there = [name for name in files if (folder / name).exists()]
    if there and keep and not force:
        return False
    if there and not force:
        what = f"{folder} has {', '.join(there)} already"
        raise Failure(f"{what}: name another --output, or overwrite with --force", USAGE)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise Failure(f"{folder} cannot be written ({error.strerror}): name another with --output") from None
    return True


def set_budget(client: Client, level: dict[str, str], budget: "Budget") -> None:
    """Sets one limit."""
    limit = str(budget.limit_nano_usd)
    client.call("PUT", "/v1/budgets", {"level": level, "window": budget.window, "limit_nano_usd": limit})


def is_of_org(one: Mapping[str, Any]) -> bool:
    """Whether a limit is the organisation's."""
    return (one.get("level") or {}).get("kind") == "KIND_ORG"


def set_rate_limit(client: Client, level: dict[str, str], model: str, limit: "RateLimit") -> None:
    """Sets one rate limit."""
    client.call("PUT", "/v1/rate-limits", {"level": level, "model": model, **limit.values()})


def apply(
    client: Client, keys: Sequence["Key"], of_all: "Budget | None", of_models: "Mapping[str, RateLimit]"
) -> dict[str, int]:
    """Takes over the keys, and sets their budgets and rate limits and the organisation's where none stands. Can be
    done again."""
    rate_limits = client.pages("/v1/rate-limits", "rate_limits")
    levels = [one.get("level") or {} for one in client.pages("/v1/budgets", "budgets")]
    limited = {str(level.get("id")) for level in levels}
    rated = {(str((one.get("level") or {}).get("id")), str(one.get("model") or "")) for one in rate_limits}
    rated_models = {str(one.get("model") or "") for one in rate_limits if is_of_org(one)}
    counts = {"added": 0, "there": 0, "budgets": 0, "rate_limits": 0}
    for start in range(0, len(keys), AT_ONCE):
        part = keys[start : start + AT_ONCE]
        answer = client.call("POST", "/v1/keys:import", {"source": "litellm", "keys": [key.wanted() for key in part]})
        for key, made in zip(part, answer.get("keys") or [], strict=True):
            counts["added" if made.get("added") else "there"] += 1
            key_id = str(made["key"]["key_id"])
            if key.budget is not None and key_id not in limited:
                set_budget(client, {"kind": "KIND_KEY", "id": key_id}, key.budget)
                counts["budgets"] += 1
            if key.rate_limit and (key_id, "") not in rated:
                set_rate_limit(client, {"kind": "KIND_KEY", "id": key_id}, "", key.rate_limit)
                counts["rate_limits"] += 1
    for model, limit in of_models.items():
        if model not in rated_models:
            set_rate_limit(client, {"kind": "KIND_ORG"}, model, limit)
            counts["rate_limits"] += 1
    if of_all is not None and not any(level.get("kind") == "KIND_ORG" for level in levels):
        set_budget(client, {"kind": "KIND_ORG"}, of_all)
        counts["budgets"] += 1
    return counts


def tell(
    made: "Conversion", output: pathlib.Path, keys: Sequence["Key"], counts: dict[str, int], *, wrote: bool
) -> None:
    """Says what was done and what is left."""
    sizes = ", ".join(
        counted(len(some), noun)
        for some, noun in ((made.providers, "provider"), (made.models, "model"), (made.aliases, "alias"))
    )
    if wrote:
        note(f"\nwrote {output}: {sizes}; the lines above are in {output / NOTES}")
        variables = sorted({str(one["api_key"]["env"]) for one in made.providers.values() if "api_key" in one})
        if variables:
            note(f"keys of providers come from the environment: {', '.join(variables)}")
        note(f"check it: dac config check --config {output}; start it: dac up --config {output}")
    else:
        note(f"\n{output} is there already and stays as it is (--force overwrites it)")
    limits = sum(key.budget is not None for key in keys) + (made.budget is not None)
    rates = sum(bool(key.rate_limit) for key in keys) + len(made.limits)
    if counts:
        sent = f"{counts['budgets']} budgets and {counts['rate_limits']} rate limits set"
        note(f"keys: {counts['added']} taken over, {counts['there']} were there; {sent}")
    elif keys or limits or rates:
        what = f"{len(keys)} keys, {limits} budgets and {rates} rate limits"
        note(f"nothing was sent: {what} come with --apply, when DAC runs with {output}")


@command(app, "litellm")
def litellm(
    config: Annotated[pathlib.Path, typer.Argument(help="LiteLLM's config.yaml.")],
    keys: Annotated[
        pathlib.Path | None, typer.Option("--keys", help="A JSON dump of the table LiteLLM_VerificationToken.")
    ] = None,
    output: Annotated[pathlib.Path, typer.Option("--output", help="The folder to write.")] = pathlib.Path("dac-config"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")] = False,
    apply_them: Annotated[
        bool, typer.Option("--apply", help="Take the keys over into the running DAC, and set budgets and rate limits.")
    ] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Write DAC's configuration from LiteLLM's, and tell line by line what is not carried over.

    Example: dac import litellm config.yaml --keys keys.json
    """
    from mesh.app import SHIPPED_CONFIG
    from mesh.config import ConfigError, read_documents
    from mesh.imports.litellm import convert
    from mesh.imports.litellm_keys import Key, Keys, read_dump
    from mesh.imports.notes import Note

    try:
        made = convert(read(config), str(config), os.environ, read_documents(SHIPPED_CONFIG).get("models") or [])
        reader = Keys(
            {str(one["id"]) for one in made.models} | set(made.aliases),
            made.groups,
            datetime.datetime.now(datetime.UTC),
        )
        found: list[Key] = reader.read(read_dump(read(keys), str(keys))) if keys else []
    except ConfigError as error:
        raise Failure(error.message, USAGE) from None
    told: list[tuple[str, Note]] = [(str(config), one) for one in made.notes] + [("", one) for one in reader.notes]
    lines = [line(file, one) for file, one in told]
    wrote = write(output, {**made.files(), NOTES: "\n".join(lines) + "\n"}, force=force, keep=apply_them)
    counts = apply(Client(url), found, made.budget, made.limits) if apply_them else {}
    if as_json:
        shown: dict[str, Any] = {
            "output": str(output),
            "files": [*made.files(), NOTES] if wrote else [],
            "providers": list(made.providers),
            "models": [one["id"] for one in made.models],
            "aliases": dict(made.aliases),
            "notes": [
                {"file": file, "line": one.line, "place": one.place, "kind": one.kind, "text": one.text}
                for file, one in told
            ],
            "keys": {"found": len(found), **counts},
            "applied": apply_them,
        }
        print_json(shown)
        return
    if lines:
        print("\n".join(map(clean, lines)))
    tell(made, output, found, counts, wrote=wrote)
