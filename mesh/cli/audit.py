"""`dac audit`: the log that proves itself: verify, prove, consistency, list, export, archive."""

import base64
import datetime
import pathlib
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from mesh.cli import audit_verify, audit_witness
from mesh.cli.audit_verify import NOT_PINNED, Key, kept, operator_client, pinned
from mesh.cli.client import USAGE, Client, Failure, segment
from mesh.cli.logs import show
from mesh.cli.output import AsJson, Url, command, local_time, note, print_json, table

app = typer.Typer(help="The audit log: verify, prove, list, export, erase, hold, prune.", no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    """Adds the commands."""
    from mesh.cli import audit_retention, audit_sealing, audit_texts

    audit_retention.register(app)
    audit_sealing.register(app)
    audit_texts.register(app)
    audit_witness.register(app)
    parent.add_typer(app, name="audit")


command(app, "verify")(audit_verify.verify)


@command(app, "prove")
def prove(
    record_id: Annotated[str, typer.Argument(help="A request's id, or that of a change.")],
    out: Annotated[pathlib.Path | None, typer.Option("--out", help="Where to write the proof (.tlog-proof).")] = None,
    wait: Annotated[float, typer.Option("--wait", help="Seconds to wait for what was just recorded.")] = 0,
    key: Key = "",
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Fetch the receipt of a request or a change of your organisation, and check it.

    Example: dac audit prove 01a1fccd-d1e7-7000-8000-000000000000 --out receipt.tlog-proof
    """
    from mesh.tlog.leaves import commit, read_leaf
    from mesh.tlog.notes import NoteError, VerifierKey
    from mesh.tlog.proofs import Proof

    client = Client(url)
    answer = client.call("GET", f"/v1/audit/proofs/{segment(record_id)}", query={"wait_s": wait})
    own_key = pinned(key)
    own = own_key or VerifierKey.parse(client.call("GET", "/v1/audit/checkpoint")["verifier_key"])
    leaf = answer["leaf"].encode()
    try:
        size = Proof.parse(answer["proof"]).check(leaf, own).size
    except NoteError as error:
        raise Failure(f"the proof does not hold: {error}") from None
    salt, record = base64.b64decode(answer.get("salt") or ""), base64.b64decode(answer.get("record") or "")
    if salt and commit(salt, record) != read_leaf(leaf).commitment:
        raise Failure("the stored record is not what its leaf commits to")
    if out is not None:
        out.write_text(answer["proof"], encoding="utf-8")
        out.with_suffix(".leaf").write_bytes(leaf)
    if as_json:
        print_json(answer)
        return
    if out is None:
        print(answer["proof"], end="")
    note(
        f"entry {answer.get('index') or 0} of the log of {size}, number {answer['org_seq']} of your organisation; "
        f"{'its record is what it commits to' if salt else 'its record is erased'}"
    )
    if own_key is None:
        note(NOT_PINNED)


@command(app, "consistency")
def consistency(
    checkpoint: Annotated[pathlib.Path, typer.Argument(help="A checkpoint that you kept.")],
    save: Annotated[pathlib.Path | None, typer.Option("--save", help="Where to keep the newest checkpoint.")] = None,
    key: Key = "",
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Prove that the log of today begins with the log of a checkpoint that you kept.

    Example: dac audit consistency monday.txt --save tuesday.txt
    """
    from mesh.tlog.merkle import is_consistent
    from mesh.tlog.notes import NoteError, VerifierKey, open_checkpoint

    client = Client(url)
    own_key = pinned(key)
    own = own_key or VerifierKey.parse(client.call("GET", "/v1/audit/checkpoint")["verifier_key"])
    old = kept(checkpoint, own)
    answer = client.call("GET", "/v1/audit/consistency", query={"size": old.size})
    try:
        new = open_checkpoint(answer["checkpoint"], own)
    except NoteError as error:
        raise Failure(f"the newest checkpoint does not hold: {error}") from None
    hashes = [base64.b64decode(one) for one in answer.get("hashes") or []]
    if not is_consistent(old.size, new.size, hashes, old.root, new.root):
        raise Failure(f"the log of {new.size} entries does not begin with the {old.size} of {checkpoint}")
    if save is not None:
        save.write_text(answer["checkpoint"], encoding="utf-8")
    if as_json:
        print_json({"consistent": True, "from": old.size, "to": new.size, "checkpoint": answer["checkpoint"]})
        return
    print(f"OK: the log of {new.size} entries begins with the {old.size} of {checkpoint}.")
    if own_key is None:
        print(NOT_PINNED)


@command(app, "list")
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
    texts: Annotated[bool, typer.Option("--texts", help="With --requests --json: what was said, too.")] = False,
    form: Annotated[str, typer.Option("--format", help="Everything that fits as a file: csv or jsonl.")] = "",
    out: Annotated[pathlib.Path | None, typer.Option("--out", help="Where to write the file.")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """List your organisation's administrative changes, or its requests, newest first; or take them away as a file.

    Example: dac audit list --actor operator --action key --after 2026-11-01 --format csv --out changes.csv
    """
    if texts and not (requests and as_json):
        raise Failure("--texts goes with --requests --json", USAGE)
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
    if texts:
        from mesh.cli.audit_texts import add_texts

        add_texts(client, found)
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
        given |= {"started_after": instant(after, "--after"), "started_before": instant(before, "--before")}
    else:
        given = {"actor": actor, "action": action, "target": target}
        given |= {"after": instant(after, "--after"), "before": instant(before, "--before")}
    path, field = ("/v1/requests", "requests") if requests else ("/v1/changes", "changes")
    return path, field, {name: value for name, value in given.items() if value}


def instant(typed: str, option: str) -> str:
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


@command(app, "export")
def export(
    folder: Annotated[pathlib.Path, typer.Argument(help="A new folder.")],
    cosigned: Annotated[
        bool, typer.Option("--cosigned", help="To the newest checkpoint that a witness has cosigned.")
    ] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Write everything that the log has of your organisation, with proofs and a verifier that needs no DAC.

    Example: dac audit export audit-2026
    """
    from mesh.cli.audit_bundle import VERIFIER, write_bundle

    count = write_bundle(Client(url).download("/v1/audit/export", {"cosigned": "true"} if cosigned else None), folder)
    if as_json:
        print_json({"entries": count, "folder": str(folder)})
    else:
        note(f"{count} entries in {folder}; check them anywhere: python {folder / VERIFIER}")


@command(app, "archive")
def archive(
    folder: Annotated[pathlib.Path, typer.Argument(help="A new folder, or one to go on with.")],
    key: Key = "",
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Write the log's files into a folder, or go on with one: plain files that any reader of tlog-tiles knows.

    Example: dac audit archive /mnt/elsewhere/dac-log
    """
    from mesh.cli.audit_archive import write_archive

    own_key = pinned(key)
    done = write_archive(operator_client(url), folder, own_key, note)
    if as_json:
        print_json(done)
        return
    note(f"{done['entries']} entries in {folder}, {done['before']} of them from before")
    note(f"check them anywhere: dac audit verify --archive {folder} --key '{done['key']}'")
    if own_key is None:
        note(NOT_PINNED)
