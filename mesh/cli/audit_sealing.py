"""`dac audit seal-status`: how much of the record is sealed."""

from __future__ import annotations

import typer

from mesh.cli.client import Client
from mesh.cli.output import AsJson, Url, command, note, print_json, table


def register(app: typer.Typer) -> None:
    """Adds the command to `dac audit`."""
    command(app, "seal-status")(seal_status)


def seal_status(url: Url = None, as_json: AsJson = False) -> None:
    """How many of your organisation's records are sealed, and how many keys of users and keys that hangs on.

    Example: dac audit seal-status
    """
    status = Client(url).call("GET", "/v1/audit/seal-status")
    if as_json:
        print_json(status)
        return
    note(f"new records are {'sealed' if status.get('seal_payloads') else 'not sealed (audit.seal_payloads)'}")
    rows = [
        (kind, status.get(f"plain_{kind}") or 0, status.get(f"sealed_{kind}") or 0) for kind in ("requests", "changes")
    ]
    table(("records", "plain", "sealed"), rows, right=(1, 2))
    live, gone = status.get("subject_keys") or 0, status.get("destroyed_keys") or 0
    note(f"{live} users and keys have a key; erasures destroyed {gone}")
