"""`dac audit erase`, `hold`, `prune`: what of the record goes, and what must not."""

import datetime
from typing import Annotated, Any

import typer

from mesh.cli.audit_verify import operator_client
from mesh.cli.client import USAGE, Client, Failure, segment
from mesh.cli.output import AsJson, Url, command, confirm, local_time, note, print_json, table

EVERYTHING = "all"
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Org = Annotated[str, typer.Option("--org", help="Whose, for the operator.", show_default=False)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count.")]


def register(app: typer.Typer) -> None:
    """Adds the commands to `dac audit`."""
    command(app, "erase")(erase)
    command(app, "hold")(hold)
    command(app, "prune")(prune)
    command(app, "status")(status)


def erase(
    subject: Annotated[str, typer.Argument(help="user:ID, key:ID or request:ID.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; it stands on the record.")],
    dry_run: DryRun = False,
    yes: Yes = False,
    org: Org = "",
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Erase every record of a user, a key or one request. It cannot be undone; proofs hold on, and the log says so.

    Example: dac audit erase user:01a1fccb-d17f-7000-9000-000000000001 --reason "ticket 4711" --yes
    """
    if not (dry_run or yes or confirm(f"Erase every record of {subject}?")):
        raise Failure("nothing is erased: nothing was confirmed (--yes does)")
    body = {"subject": subject, "basis": reason, "dry_run": dry_run, "org_id": org}
    done = Client(url).call("POST", "/v1/audit/erase", body)
    if as_json:
        print_json(done)
        return
    table(("requests", "changes", "declared by"), [_erased(done)], right=(0, 1))
    if dry_run:
        note("nothing was erased: this only counts (--dry-run)")
    if int(done.get("waiting") or 0):
        note(f"{done['waiting']} records are too new and were left: ask again in a moment")
    if int(done.get("pending") or 0):
        note("declared in the log, and not removed yet: DAC removes them when the log has taken that up")


def _erased(done: dict[str, Any]) -> tuple[object, ...]:
    return done.get("requests") or 0, done.get("changes") or 0, ", ".join(done.get("declarations") or []) or "-"


def hold(
    subject: Annotated[
        str, typer.Argument(help=f"user:ID, key:ID, request:ID, or {EVERYTHING}; without it the holds are listed.")
    ] = "",
    reason: Annotated[str, typer.Option("--reason", help="Why; it stands on the record.")] = "",
    lift: Annotated[str, typer.Option("--lift", help="The id of a hold to lift.", show_default=False)] = "",
    list_only: Annotated[bool, typer.Option("--list", help="List the holds.")] = False,
    org: Org = "",
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Set, lift or list legal holds: what one covers is neither erased nor pruned.

    Example: dac audit hold all --reason "Smith v. Jones"
    """
    if sum(map(bool, (subject, lift, list_only))) > 1:
        raise Failure("either name what is held, or --lift a hold, or --list", USAGE)
    client = Client(url)
    if subject:
        body = {"subject": "" if subject == EVERYTHING else subject, "reason": reason, "org_id": org}
        done = client.call("POST", "/v1/audit/holds", body)
        found = [done["hold"]]
    elif lift:
        done = client.call("DELETE", f"/v1/audit/holds/{segment(lift)}", query={"reason": reason, "org_id": org})
        found = [done["hold"]]
    else:
        done = client.call("GET", "/v1/audit/holds", query={"org_id": org})
        found = done.get("holds") or []
    if as_json:
        print_json(done)
        return
    rows = [
        (one["hold_id"], one.get("subject") or EVERYTHING, one["reason"], one["actor"], local_time(one.get("set_at")))
        for one in found
    ]
    table(("hold", "what", "reason", "by", "set"), rows)
    if lift:
        note("lifted")


def prune(
    before: Annotated[str, typer.Option("--before", help="A day or a time, e.g. 2026-08-01.")],
    with_changes: Annotated[bool, typer.Option("--with-changes", help="Changes as well as requests.")] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    org: Annotated[str, typer.Option("--org", help="Only this organisation's.", show_default=False)] = "",
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Remove records of before a day, of every organisation, except those that are held. For the operator.

    Example: dac audit prune --before 2026-08-01 --dry-run
    """
    if not (dry_run or yes or confirm(f"Remove the records of before {before}?")):
        raise Failure("nothing is removed: nothing was confirmed (--yes does)")
    body = {"before": _moment(before), "with_changes": with_changes, "dry_run": dry_run, "org_id": org}
    client = operator_client(url)
    names = ("requests", "changes", "waiting", "held")
    sums = dict.fromkeys(names, 0)
    while True:
        done = client.call("POST", "/v1/audit/prune", body)
        counted = {name: int(done.get(name) or 0) for name in names}
        gone = counted["requests"] + counted["changes"]
        sums = {name: counted[name] + (sums[name] if name in names[:2] else 0) for name in names}
        if dry_run or not done.get("has_more") or not gone:
            break
        note(f"{sums['requests']} requests and {sums['changes']} changes so far")
    if as_json:
        print_json({**sums, "has_more": bool(done.get("has_more"))})
        return
    table(names, [tuple(sums.values())], right=(0, 1, 2, 3))
    if dry_run:
        note("nothing was removed: this only counts (--dry-run)")
    if done.get("has_more"):
        note("there is more: ask again")
    note("leaves go by themselves, later: dac audit status")


WAITS = {
    "never": "they are kept for ever (audit.leaves_kept_days is 0)",
    "age": "they are not old enough",
    "packing": "they are not packed yet, or the window that they are in is not full",
    "archive": "no archive was reported to have them: dac audit archive FOLDER, or audit.drop_unarchived",
    "heads": "no heads were noted behind them (audit.heads_every_s)",
    "hold": "a legal hold covers an organisation that has an entry among them: dac audit hold",
    "payloads": "records of them are still there: dac audit prune",
}


def status(url: Url = None, as_json: AsJson = False) -> None:
    """With which entry the log begins, which leaves are dropped next and when, and what that waits for.

    Example: dac audit status
    """
    told = operator_client(url).call("GET", "/v1/audit/start")
    if as_json:
        print_json(told)
        return
    start, following, size = (int(told.get(name) or 0) for name in ("start", "next_start", "size"))
    kept_days, archived = int(told.get("leaves_kept_days") or 0), int(told.get("archived") or 0)
    dropped = f"{start} were dropped, as one of them declares" if start else "none was dropped"
    note(f"the log has entries {start} to {size - 1}; {dropped}" if size else "the log has no entries yet")
    if following > start:
        note(f"dropped in the next round: entries {start} to {following - 1}")
    waits_for = told.get("waits_for") or ""
    if waits_for:
        note(f"entries from {following} on stay: {WAITS.get(waits_for, waits_for)}")
    if told.get("due_at") and kept_days:
        note(f"the first of these are {kept_days} days old on {local_time(told['due_at'])}")
    at = f" on {local_time(told['archived_at'])}" if told.get("archived_at") else ""
    note(f"an archive was reported to have {archived} entries{at}" if archived else "no archive was reported")


def _moment(text: str) -> str:
    try:
        at = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise Failure(f'--before: "{text}" is not a day or a time: write e.g. 2026-08-01', USAGE) from None
    return (at if at.tzinfo else at.replace(tzinfo=datetime.UTC)).isoformat()
