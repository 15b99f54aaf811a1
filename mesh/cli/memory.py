"""`dac memory seal-status`, `rotate-key`, `erase`: text at rest, its data key, and the erasure of everything."""

from typing import Annotated

import typer

from mesh.cli.client import Client, Failure
from mesh.cli.memories import app
from mesh.cli.output import AsJson, Url, command, note, print_json, table


def register(parent: typer.Typer) -> None:
    """Adds the commands."""
    parent.add_typer(app, name="memory")


@command(app, "seal-status")
def seal_status(url: Url = None, as_json: AsJson = False) -> None:
    """How many of your organisation's rows with text are sealed, and how many still stand there as they were said.

    Example: dac memory seal-status
    """
    status = Client(url).call("GET", "/v1/memory/seal-status")
    if as_json:
        print_json(status)
        return
    note(f"new text is {'sealed' if status.get('encrypt_text') else 'not sealed (memory.encrypt_text)'}")
    rows = [
        (one["table"], one.get("plain_rows") or 0, one.get("sealed_rows") or 0, one.get("earlier_rows") or 0)
        for one in status.get("tables") or []
    ]
    table(("table", "plain", "sealed", "by an earlier key"), rows, right=(1, 2, 3))


@command(app, "rotate-key")
def rotate_key(url: Url = None, as_json: AsJson = False) -> None:
    """Seal your organisation's text with a new data key: from now on, and older rows in the background.

    Example: dac memory rotate-key
    """
    done = Client(url).call("POST", "/v1/memory/data-keys:rotate", {})
    if as_json:
        print_json(done)
    else:
        note(f"data key {done['key_id']} seals from now on; `dac memory seal-status` shows how far older rows are")


@command(app, "erase")
def erase(
    org: Annotated[str, typer.Argument(help="Your organisation's id, as the confirmation.")],
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Erase everything memory has of your organisation, and destroy its data keys. It cannot be undone.

    Example: dac memory erase ORG_ID
    """
    if not org.strip():
        raise Failure("name the organisation: `dac memory erase ORG_ID`")
    done = Client(url).call("POST", "/v1/memory/erase-organisation", {"org_id": org})
    if as_json:
        print_json(done)
    else:
        note(f"erased {done['deleted_rows']} rows; {done['destroyed_keys']} data keys are destroyed")
