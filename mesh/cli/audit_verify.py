"""`dac audit verify`: reads the whole log and checks it, in processes beside each other where there are processors."""

import base64
import dataclasses
import datetime
import os
import pathlib
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, TypeVar

import typer

from mesh.cli.client import USAGE, Client, Failure, why_unread
from mesh.cli.output import AsJson, Url, counted, is_fancy, print_json

Key = Annotated[
    str, typer.Option("--key", help="The log's verifier key as you keep it, or a file with it.", show_default=False)
]
NOT_PINNED = "NOT KNOWN: whether the key is the log's own: the log itself showed it. Keep it, and give it with --key."
NOT_KEPT = (
    "NOT KNOWN: whether the whole log was rewritten by somebody who has database and signing key, or cut back to an "
    "earlier checkpoint: that needs a checkpoint that was kept elsewhere (--save FILE now, --checkpoint FILE then)."
)
BEHIND_KEPT = "NOT KNOWN: the same of entries {size} and later, which the kept checkpoint does not cover."
ORG_SCOPE = "this reads the whole log: use the operator's token (unset DAC_API_KEY on DAC's own machine)"
ENTRIES_PATH = "/v1/audit/entries"
T = TypeVar("T")
ALONE = 20_000
"""A log of fewer entries is checked before another process has begun."""


def operator_client(url: str | None) -> Client:
    """A client that is the operator where its token is at hand."""
    client = Client(url, env={name: value for name, value in os.environ.items() if name != "DAC_API_KEY"})
    return client if client.key else Client(url)


def _why(error: Exception) -> str:
    """Why a file or a word is no key or no checkpoint."""
    return why_unread(error) if isinstance(error, OSError | UnicodeDecodeError) else str(error)


def pinned(key: str) -> Any:
    """The verifier key of `--key`, or of the file that it names; None without one. Raises Failure."""
    from mesh.tlog.notes import NoteError, VerifierKey

    if not key:
        return None
    try:
        path = pathlib.Path(key)
        return VerifierKey.parse(path.read_text(encoding="utf-8") if path.is_file() else key)
    except (NoteError, OSError, UnicodeDecodeError) as error:
        raise Failure(f"--key: {_why(error)}", USAGE) from None


def kept(path: pathlib.Path | None, key: Any) -> Any:
    """The checkpoint of a file, whose signature must hold. Raises Failure."""
    from mesh.tlog.notes import Checkpoint, NoteError, open_checkpoint

    if path is None:
        return None
    try:
        text = path.read_text(encoding="utf-8")
        return open_checkpoint(text, key) if key else Checkpoint.parse(text.rpartition("\n\n")[0] + "\n")
    except (NoteError, OSError, UnicodeDecodeError) as error:
        raise Failure(f"{path}: {_why(error)}", USAGE) from None


def verify(
    checkpoint: Annotated[
        pathlib.Path | None, typer.Option("--checkpoint", help="A checkpoint that you kept elsewhere.")
    ] = None,
    save: Annotated[pathlib.Path | None, typer.Option("--save", help="Where to keep the newest checkpoint.")] = None,
    archive: Annotated[
        pathlib.Path | None, typer.Option("--archive", help="Check this folder of `dac audit archive` and ask nobody.")
    ] = None,
    witness: Annotated[
        str, typer.Option("--witness", help="The verifier key of a witness, who must have cosigned a checkpoint.")
    ] = "",
    key: Key = "",
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Read the whole log and check every signature, leaf, record, root and number, and a checkpoint that you kept.

    Example: dac audit verify --checkpoint monday.txt --save tuesday.txt
    """
    own_key = pinned(key)
    if witness and (checkpoint is not None or archive is not None):
        raise Failure("--checkpoint, --archive and --witness: a witness is asked for by itself", USAGE)
    seen = _witnessed(operator_client(url), witness, own_key) if witness else None
    outside = seen.checkpoint if seen else kept(checkpoint, own_key)
    unknown = [] if own_key else [NOT_PINNED]
    unknown.append(BEHIND_KEPT.format(size=outside.size) if outside else NOT_KEPT)
    if archive is not None:
        from mesh.cli.audit_archive import check_archive

        if not check_archive(archive, own_key, outside, unknown, as_json):
            raise typer.Exit(1)
        return
    started = time.monotonic()
    checked, holds = check_log(url, own_key, outside)
    if as_json:
        found = [f"{one.where}: {one.what}" for one in checked.findings]
        about = {"entries": checked.entries, "organisations": checked.organisations, "key": str(checked.key)}
        about |= {"redacted": checked.redacted, "pending": checked.pending, "start": checked.start}
        print_json({"holds": holds, "faults": checked.faults, "findings": found, **about, "not_known": unknown})
    else:
        _say(checked, holds, time.monotonic() - started, outside, unknown)
        if holds and seen:
            at = datetime.datetime.fromtimestamp(seen.time_s, datetime.UTC)
            print(f"OK: the witness has cosigned them on {at:%Y-%m-%d %H:%M:%S} UTC.")
    if holds and save is not None:
        save.write_text(checked.note, encoding="utf-8")
    if not holds:
        raise typer.Exit(1)


@dataclasses.dataclass(frozen=True)
class Stretches:
    """Where the processes that check get their stretches from: the operator's client, with this one's environment."""

    url: str | None

    def __call__(self, first: int, end: int) -> Iterator[bytes]:
        """The frames of a stretch. Raises Failure, and NoStretches where DAC does not know them."""
        from mesh.tlog.side_by_side import NoStretches

        try:
            yield from operator_client(self.url).download(ENTRIES_PATH, {"first": first, "end": end})
        except Failure as failure:
            if failure.error.get("param") in ("first", "end"):
                raise NoStretches(failure.message) from None
            raise


def check_log(url: str | None, key: Any, outside: Any) -> tuple[Any, bool]:
    """Reads the log and checks it; the verification, and whether everything held. Raises Failure."""
    from mesh.tlog.side_by_side import MOST_PROCESSES, CheckerEnded, NoStretches, join_stretches, processors
    from mesh.tlog.stretches import BrokenStream
    from mesh.tlog.verification import Verification

    client, checked = operator_client(url), Verification(key, outside)
    processes = min(processors(), MOST_PROCESSES)
    try:
        newest = client.call("GET", "/v1/audit/checkpoint")
        size, start = int(newest.get("size") or 0), int(newest.get("start") or 0)
        if size - start >= ALONE and processes > 1:
            try:
                if start:
                    checked.begin(client.download(ENTRIES_PATH, {"first": 0, "end": start}))
                for _ in followed(join_stretches(checked, Stretches(url), size, processes), checked, size):
                    pass
            except NoStretches:
                checked = Verification(key, outside)
        query = {"first": checked.due} if checked.due else None
        for part in followed(client.download(ENTRIES_PATH, query), checked):
            checked.feed(part)
        if outside and checked.checkpoint and outside.size < checked.start:
            checked.kept_proof = _proof(client, outside.size, checked.checkpoint.size)
        return checked, checked.finish()
    except (BrokenStream, CheckerEnded) as error:
        raise Failure(f"the log could not be read: {error}") from None
    except Failure as failure:
        raise Failure(f"{failure.message} ({ORG_SCOPE})", failure.exit_code) from None


def _proof(client: Client, size: int, to_size: int) -> list[bytes] | None:
    """The log's proof that the tree of `to_size` entries begins with that of `size`; None when it cannot prove that."""
    try:
        answer = client.call("GET", "/v1/audit/consistency", query={"size": size, "to_size": to_size})
    except Failure:
        return None
    return [base64.b64decode(one) for one in answer.get("hashes") or []]


def followed(parts: Iterable[T], checked: Any, size: int = 0, stream: Any = None, every_s: float = 0.5) -> Iterator[T]:
    """The parts of a log; on a terminal, beside them, how much of it has been checked, of its checkpoint's size."""
    stream = stream or sys.stderr
    if not is_fancy(stream):
        yield from parts
        return
    told_at, begun = time.monotonic(), False
    try:
        for part in parts:
            yield part
            of = checked.checkpoint.size if checked.checkpoint else size
            if of and time.monotonic() - told_at >= every_s:
                print(f"\r{checked.entries:,} of {of:,} entries", end="", file=stream, flush=True)
                told_at, begun = time.monotonic(), True
    finally:
        if begun:
            print("\r\x1b[K", end="", file=stream, flush=True)


def _witnessed(client: Client, typed: str, key: Any) -> Any:
    """The newest checkpoint that a witness has cosigned: its own word, not the log's."""
    from mesh.tlog.cosignatures import open_cosigned, witness_key
    from mesh.tlog.notes import NoteError, VerifierKey, open_checkpoint

    try:
        path = pathlib.Path(typed)
        witness = witness_key(path.read_text(encoding="utf-8") if path.is_file() else typed)
    except (NoteError, OSError, UnicodeDecodeError) as error:
        raise Failure(f"--witness: {_why(error)}", USAGE) from None
    answer = client.call("GET", "/v1/audit/checkpoint")
    try:
        note = answer.get("cosigned_checkpoint") or ""
        open_checkpoint(note, key or VerifierKey.parse(answer["verifier_key"]))
        return open_cosigned(note, witness)
    except NoteError as error:
        raise Failure(f"no checkpoint that {witness.name} has cosigned: {error}") from None


def _say(checked: Any, holds: bool, seconds: float, outside: Any, unknown: list[str]) -> None:
    for one in checked.findings:
        print(f"WRONG: {one.where}: {one.what}")
    if checked.faults > len(checked.findings):
        print(f"WRONG: and {checked.faults - len(checked.findings)} more")
    if holds:
        print(
            f"OK: {counted(checked.entries, 'entry')} of {counted(checked.organisations, 'organisation')} "
            f"in {seconds:.1f} s: every record is what its leaf commits to, no number is missing, and the signed root "
            "is theirs."
        )
        if checked.start:
            print(f"    dropped {checked.start}: the log begins with entry {checked.start}, as a later one declares")
        if checked.redacted:
            print(f"    redacted {checked.redacted}: their records are gone, as later entries declare")
        if checked.pending:
            print(f"    pending {checked.pending}: declared gone, and still there; DAC removes them next")
        print(f"    key {checked.key}")
        if outside:
            print(f"OK: the log begins with the {outside.size} entries of the kept checkpoint.")
    for line in unknown:
        print(line)
