"""`dac audit text`: what was said in a request, where the organisation's texts are recorded."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mesh.cli.client import Client, Failure, segment
from mesh.cli.output import AsJson, Url, command, note, print_json


def register(app: typer.Typer) -> None:
    """Adds the command to `dac audit`."""
    command(app, "text")(text)


def text(
    request_id: Annotated[str, typer.Argument(help="The request's id.")], url: Url = None, as_json: AsJson = False
) -> None:
    """Show the prompt and the answer of a request. Needs a key with scope admin, and gateway.record_prompts.

    Example: dac audit text 01a1fccd-d1e7-7000-8000-000000000000
    """
    found = _text(Client(url), request_id)
    if as_json:
        print_json(found)
        return
    note("sent to the provider:")
    print(found.get("request") or "")
    note("answered:")
    print(found.get("answer") or "")
    if found.get("tool_calls_json"):
        note("tools called:")
        print(found["tool_calls_json"])


def add_texts(client: Client, requests: list[dict[str, Any]]) -> None:
    """Puts beside each request, as `text`, what was said in it, where that is recorded."""
    for one in requests:
        if one.get("text_commitment"):
            try:
                one["text"] = _text(client, one["request_id"])
            except Failure as error:
                # A text follows its record by a moment, and goes with it.
                if error.error.get("code") != "not_found":
                    raise


def _text(client: Client, request_id: str) -> dict[str, Any]:
    return dict(client.call("GET", f"/v1/requests/{segment(request_id)}/text").get("text") or {})
