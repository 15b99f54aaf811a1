"""`dac validate`: what the checks of answers say of a text."""

import json
import pathlib
import sys
from typing import Annotated, Any

import typer

from mesh.cli.client import REFUSED, USAGE, Client, Failure, why_unread
from mesh.cli.output import AsJson, Url, command, note, print_json, table


def register(parent: typer.Typer) -> None:
    """Adds the command."""
    command(parent, "validate")(validate)


def validate(
    file: Annotated[str, typer.Argument(help="The text: a file, or - for standard input.")],
    question: Annotated[str, typer.Option("--question", help="What the text answers.")] = "",
    context: Annotated[
        list[pathlib.Path] | None, typer.Option("--context", help="A file the text should rest on; may be repeated.")
    ] = None,
    schema: Annotated[
        pathlib.Path | None, typer.Option("--schema", help="A file with the JSON Schema the text should obey.")
    ] = None,
    checks: Annotated[
        str, typer.Option("--checks", help="Only these, e.g. toxicity,code; else all that can be made.")
    ] = "",
    task: Annotated[str, typer.Option("--task", help="What it is for, e.g. code.")] = "",
    min_quality: Annotated[float, typer.Option("--min-quality", help="0 to 1: below it the text does not pass.")] = 0.0,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Check a text as answers are checked: harm, support, code, arithmetic, schema, shape; 1 = it does not pass.

    Example: dac validate answer.txt --question "What is 2 + 2?"
    """
    body: dict[str, Any] = {
        "text": sys.stdin.read() if file == "-" else _read(pathlib.Path(file)),
        "question": question,
        "context": [_read(path) for path in context or ()],
        "task_type": task,
        "checks": [name.strip() for name in checks.split(",") if name.strip()],
        "min_quality": min_quality,
    }
    if schema is not None:
        try:
            body["schema"] = json.loads(_read(schema))
        except json.JSONDecodeError as error:
            raise Failure(f"--schema {schema} is not JSON: {error}", USAGE) from None
    found = Client(url).call("POST", "/v2/validate", body)
    if as_json:
        print_json(found)
    else:
        _show(found)
    if found.get("status") == "flagged":
        raise typer.Exit(REFUSED)


def _read(path: pathlib.Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{path} cannot be read: {why_unread(error)}", USAGE) from None


def _show(found: dict[str, Any]) -> None:
    quality, scores = found.get("quality"), found.get("scores") or {}
    note(f"{found.get('status')}{'' if quality is None else f', quality {quality:.2f}'}")
    checks = sorted((found.get("checks") or {}).items())
    rows = [(name, status, "-" if scores.get(name) is None else f"{scores[name]:.2f}") for name, status in checks]
    table(("check", "status", "score"), rows, right=(2,))
    places = [
        (one.get("check"), one.get("severity"), f"{one.get('start') or 0}-{one.get('end') or 0}", one.get("message"))
        for one in found.get("findings") or ()
    ]
    if places:
        table(("check", "severity", "place", "what"), places)
