"""`dac redact`: which private values DAC would find in a text and keep from providers."""

import pathlib
import sys
from typing import Annotated

import typer

from mesh.cli.client import USAGE, Client, Failure, why_unread
from mesh.cli.output import AsJson, Url, command, note, print_json


def register(parent: typer.Typer) -> None:
    """Adds the command."""
    command(parent, "redact")(redact)


def redact(
    file: Annotated[str, typer.Argument(help="A file with text, or - for what is piped in.")],
    kind: Annotated[list[str] | None, typer.Option("--kind", help="Only this kind; may be repeated.")] = None,
    region: Annotated[
        list[str] | None,
        typer.Option("--region", help="A country whose numbers are known without their code; may be repeated."),
    ] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show a text as a provider would get it, and how many private values it holds. Nothing is sent to a provider.

    Example: dac redact letter.txt --kind email --kind phone
    """
    try:
        text = sys.stdin.read() if file == "-" else pathlib.Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{file} cannot be read: {why_unread(error)}", USAGE) from None
    asked = {"text": text, "kinds": kind or [], "regions": region or []}
    found = Client(url).call("POST", "/v2/redact", asked)
    if as_json:
        print_json(found)
        return
    sys.stdout.write(found.get("text", ""))
    sys.stdout.flush()
    kinds = found.get("kinds") or {}
    told = ", ".join(f"{name} {kinds[name]}" for name in sorted(kinds))
    note(f"found: {told}" if told else "nothing private was found")
