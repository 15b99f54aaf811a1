"""`dac audit list`: an organisation's changes, or its requests, read or taken away as a file."""

import datetime
import pathlib
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from mesh.cli.client import USAGE, Client, Failure
from mesh.cli.logs import show
from mesh.cli.output import AsJson, Url, command, local_time, note, print_json, table


def register(app: typer.Typer) -> None:
    """Adds the command to `dac audit`."""
    command(app, "list")(list_records)


def list_records(
    requests: Annotated[bool, typer.Option("--requests", help="Requests, not administrative changes.")] = False,
    actor: Annotated[str, typer.Option("--actor", help="Only by this one, e.g. operator or key:0192….")] = "",
    action: Annotated[
        str, typer.Option("--action", help="key.create, or key for all of keys; of requests e.g. embeddings.")
    ] = "",
    target: Annotated[str, typer.Option("--target", help="Only of what begins so, e.g. budget:.")] = "",
    model: Annotated[str, typer.Option("--model", help="Of requests: only those that this model answered.")] = "",
    outcome: Annotated[
        str, typer.Option("--outcome", help="Of requests: ok, client_gone, refused, failed or indeterminate.")
    ] = "",
    after: Annotated[str, typer.Option("--after", help="Only later ones: 2026-11-01 or 2026-11-01T08:00Z.")] = "",
    before: Annotated[str, typer.Option("--before", help="Only earlier ones.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="At most so many.")] = 50,
    form: Annotated[str, typer.Option("--format", help="Everything that fits as a file: csv or jsonl.")] = "",
    out: Annotated[pathlib.Path | None, typer.Option("--out", help="Where to write the file.")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """List your organisation's administrative changes, or its requests, newest first; or take them away as a file.

    Example: dac audit list --actor operator --action key --after 2026-11-01 --format csv --out changes.csv
    """
    client = Client(url)
    path, field, query = _asked(requests, actor, action, target, model, outcome, after, before)
    if form or out is not None:
        _write_file(client.download(f"{path}:export", {**query, "format": form or "csv"}), out)
        return
    found: list[dict[str, Any]] = []
    token = ""
    while len(found) < limit:
        page = {"page_size": min(500, limit - len(found)), **({"page_token": token} if token else {})}
        answer = client.call("GET", path, query={**query, **page})
        found += answer.get(field) or []
        token = answer.get("next_page_token") or ""
        if not token:
            break
    if as_json:
        print_json({field: found})
    elif requests:
        for record in found:
            show(record, as_json=False)
    else:
        rows = [
            (local_time(one.get("at")), one.get("actor"), one.get("action"), one.get("target"), one.get("record_id"))
            for one in found
        ]
        table(("when", "actor", "action", "target", "record"), rows)


def _asked(
    requests: bool, actor: str, action: str, target: str, model: str, outcome: str, after: str, before: str
) -> tuple[str, str, dict[str, object]]:
    """Path, field and query of a list."""
    if requests and target:
        raise Failure("--target is of changes; of requests it is --model", USAGE)
    if not requests and (model or outcome):
        raise Failure("--model and --outcome are of requests: add --requests", USAGE)
    said = f"OUTCOME_{outcome.upper()}" if outcome else ""
    if requests:
        given = {"actor": actor, "operation": action, "model": model, "outcome": said}
        given |= {"started_after": _instant(after, "--after"), "started_before": _instant(before, "--before")}
    else:
        given = {"actor": actor, "action": action, "target": target}
        given |= {"after": _instant(after, "--after"), "before": _instant(before, "--before")}
    path, field = ("/v1/requests", "requests") if requests else ("/v1/changes", "changes")
    return path, field, {name: value for name, value in given.items() if value}


def _instant(typed: str, option: str) -> str:
    """A day or a time as the API takes it; without a zone it is the reader's own. Raises Failure."""
    if not typed:
        return ""
    try:
        at = datetime.datetime.fromisoformat(typed.strip())
        return at.astimezone(datetime.UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError):
        raise Failure(f"{option}: {typed!r} is no time: write 2026-11-01 or 2026-11-01T08:00Z", USAGE) from None


def _write_file(parts: Iterator[bytes], out: pathlib.Path | None) -> None:
    """The file, whole or not at all; without a name on standard output."""
    if out is None:
        for part in parts:
            sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()
        return
    draft = out.with_name(f"{out.name}.part")
    try:
        with draft.open("wb") as file:
            for part in parts:
                file.write(part)
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)
    note(f"{out.stat().st_size} bytes in {out}")
