"""Audit in the console: who changed what, the state of the log, files to take away, receipts."""

from __future__ import annotations

import datetime as dt
import json
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dac.audit.v1.audit_pb2 import ListChangesRequest
from dac.audit.v1.log_pb2 import GetCheckpointResponse
from dac.type.v1.record_pb2 import AdminRecord
from mesh.errors import MeshError, Reason
from services.gateway.console.frame import card, cell, empty, paste, table
from services.gateway.console.html import Safe, count, el, text, when

PAGE = 50
FIELDS = ("actor", "action", "target", "after", "before")
HEADINGS = (("When", ""), ("Who", ""), ("Action", ""), ("What", ""), ("Change", "-"), ("", "-"))
MAX_SHOWN = 400
"""So many characters of one value are shown; the file has it whole."""


class Wanted(NamedTuple):
    """What the form asks for, as typed."""

    actor: str
    action: str
    target: str
    after: str
    before: str
    page: str

    def query(self, **more: str) -> str:
        """As the end of an address."""
        given = {**self._asdict(), **more}
        return urllib.parse.urlencode({name: value for name, value in given.items() if value})

    @property
    def is_filtered(self) -> bool:
        """Whether anything narrows the list."""
        return any(getattr(self, name) for name in FIELDS)


def chosen(asked: Mapping[str, str]) -> Wanted:
    """What an address asks for; days that are none are no filter."""
    said = {name: asked.get(name, "").strip().replace("\x00", "") for name in (*FIELDS, "page")}
    for name in ("after", "before"):
        if said[name] and _day(said[name]) is None:
            said[name] = ""
    return Wanted(**said)


def _day(typed: str) -> dt.datetime | None:
    try:
        return dt.datetime.combine(dt.date.fromisoformat(typed), dt.time(), dt.UTC)
    except ValueError:
        return None


def asked(wanted: Wanted, most: int) -> ListChangesRequest:
    """What to ask audit: both days are included."""
    made = ListChangesRequest(
        page_size=most, page_token=wanted.page, actor=wanted.actor, action=wanted.action, target=wanted.target
    )
    first, last = _day(wanted.after), _day(wanted.before)
    # Audit's bounds are not included, and times are whole microseconds.
    if first is not None and first.year > 1:
        made.after.FromDatetime(first - dt.timedelta(microseconds=1))
    if last is not None and last.year < 9999:
        made.before.FromDatetime(last + dt.timedelta(days=1))
    return made


def _label(name: str, label: str, value: str, **attributes: Any) -> Safe:
    control = el("input", id=name, name=name, value=value or None, autocomplete="off", maxlength=300, **attributes)
    return text(el("label", label, for_=name), control)


def _form(wanted: Wanted) -> Safe:
    return el(
        "form",
        _label("actor", "Who", wanted.actor, placeholder="operator, key:0192…"),
        _label("action", "Action", wanted.action, placeholder="key or key.create"),
        _label("target", "What", wanted.target, placeholder="begins with, e.g. budget:"),
        _label("after", "From", wanted.after, type="date"),
        _label("before", "To", wanted.before, type="date"),
        el("button", "Find"),
        el("a", "Clear", href="/console/audit", class_="button quiet") if wanted.is_filtered else None,
        el("small", "Days are whole days in UTC; an action without a verb is all of its verbs."),
        method="get",
        action="/console/audit",
        class_="filters",
    )


def changes(found: Sequence[AdminRecord], wanted: Wanted, next_page: str) -> Safe:
    """The filters, the list, and the files."""
    if not found and not wanted.is_filtered and not wanted.page:
        line = "dac key create NAME --scope read"
        return card("Changes", empty("Nothing was changed yet. Making a key is a change:", line, "audit-line"))
    files = [
        el("a", name, href=f"/console/audit/changes.{form}?{wanted._replace(page='').query()}", class_="button quiet")
        for form, name in (("csv", "Download CSV"), ("jsonl", "Download JSON lines"))
    ]
    aside = el("span", *files, class_="row")
    if not found:
        return card("Changes", _form(wanted), el("p", "No change fits these filters.", class_="empty"), aside=aside)
    older = el("a", "Older changes", href=f"/console/audit?{wanted.query(page=next_page)}", class_="button")
    return card(
        "Changes",
        _form(wanted),
        table("Changes", HEADINGS, [_row(one) for one in found]),
        el("p", older, class_="more") if next_page else None,
        aside=aside,
    )


def _row(change: AdminRecord) -> Safe:
    at = when(change.at)
    utc = el("small", f"{change.at.ToDatetime():%Y-%m-%d %H:%M:%S} UTC") if change.at.seconds > 0 else None
    return el(
        "tr",
        cell("When", at, utc, sort=change.at.seconds, class_="nowrap"),
        cell("Who", el("span", change.actor or "–", class_="mono"), sort=change.actor),
        cell("Action", el("b", change.action or "–"), sort=change.action),
        cell("What", el("span", change.target or "–", class_="mono"), sort=change.target),
        cell("Change", _difference(change)),
        cell(
            "",
            el(
                "a",
                "Receipt",
                href=f"/console/audit/receipts/{urllib.parse.quote(change.record_id, safe='')}",
                class_="button quiet",
                aria_label=f"Download the receipt of {change.action} of {change.target}",
            ),
        ),
    )


def differences(before_json: str, after_json: str) -> list[tuple[str, str | None, str | None]]:
    """Field, value before, value after; None = it is not there. Values that stay are left out."""
    before, after = _fields(before_json), _fields(after_json)
    names = [*before, *(name for name in after if name not in before)]
    pairs = ((name, before.get(name), after.get(name)) for name in names)
    return [one for one in pairs if one[1] != one[2]]


def _fields(raw: str) -> dict[str, str]:
    """Field → value as text; what is no object is one field without a name."""
    if not raw:
        return {}
    try:
        said = json.loads(raw)
    except ValueError:
        return {"": raw}
    return _flat("", said) if isinstance(said, dict) else {"": raw}


def _flat(above: str, fields: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in fields.items():
        path = f"{above}.{name}" if above else str(name)
        if isinstance(value, dict) and value:
            found |= _flat(path, value)
        else:
            found[path] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return found


def _difference(change: AdminRecord) -> Safe:
    found = differences(change.before_json, change.after_json)
    if not found:
        return el("span", "–", class_="soft")
    lines = [
        el(
            "div",
            el("dt", name) if name else el("dt", "value"),
            el("dd", _value("del", before), _value("ins", after)),
        )
        for name, before, after in found
    ]
    return el("dl", *lines, class_="diff")


def _value(tag: str, value: str | None) -> Safe | None:
    if value is None:
        return None
    shown = value if len(value) <= MAX_SHOWN else f"{value[:MAX_SHOWN]}…"
    word = "was " if tag == "del" else "is "
    return el(tag, el("span", word, class_="unseen"), shown or "empty", class_=None if shown else "soft")


def log_state(found: GetCheckpointResponse) -> Safe:
    """How much the log holds, its checkpoint, and the key it verifies with."""
    return text(
        el("p", el("b", count(found.size)), " entries of all organisations stand in the signed log."),
        el("p", "The newest checkpoint. Keep it where DAC's administrators cannot write:", class_="soft"),
        paste(found.checkpoint.rstrip("\n"), "checkpoint"),
        el(
            "p",
            "The log's verifier key. Keep it, too: the key that a log shows by itself proves nothing.",
            class_="soft",
        ),
        paste(found.verifier_key, "verifier-key"),
        el("p", "Checked as a whole with ", el("code", "dac audit verify --key KEY --checkpoint FILE"), class_="soft"),
    )


def no_log(error: MeshError) -> Safe | None:
    """What stands there when the log has no entry yet; None = the error is another one."""
    if error.reason is not Reason.NOT_FOUND:
        return None
    return el("p", "The log has no entry yet. The first request or change will be one.", class_="empty")
