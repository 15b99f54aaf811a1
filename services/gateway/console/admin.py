"""What admins manage in the console: keys."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

from dac.gateway.v1.identity_pb2 import ApiKey
from services.gateway.console.frame import (
    Reader,
    badge,
    card,
    cell,
    chat_curl,
    chips,
    confirm,
    csrf_field,
    empty,
    field,
    option,
    paste,
    table,
)
from services.gateway.console.html import Safe, el, when

EXPIRIES = {"": "never", "1": "in a day", "7": "in a week", "30": "in 30 days", "90": "in 90 days", "365": "in a year"}
SCOPES = {
    "chat": "ask models, write threads",
    "read": "read requests, budgets, threads",
    "admin": "manage keys and budgets, and read",
    "operator": "everything, in every organisation",
}


def scope_boxes(reader: Reader) -> Safe:
    """The scopes the reader can give."""
    return el(
        "fieldset",
        el("legend", "Scopes"),
        *(
            el(
                "label",
                el("input", type="checkbox", name="scope", value=scope, checked=scope in ("chat", "read")),
                el("span", scope, el("small", means)),
                class_="check",
            )
            for scope, means in SCOPES.items()
            if reader.may(scope)
        ),
    )


def key_form(reader: Reader, values: Mapping[str, str]) -> Safe:
    """Makes a key."""
    name = el("input", id="name", name="name", required=True, maxlength=100, value=values.get("name"))
    hint = "models-hint"
    models = el(
        "input", id="models", name="models", placeholder="all", value=values.get("models"), aria_describedby=hint
    )
    expiry = el(
        "select",
        *(option(days, word, values.get("days", "")) for days, word in EXPIRIES.items()),
        id="days",
        name="days",
    )
    form = el(
        "form",
        csrf_field(reader),
        field("Name", name, for_="name"),
        field("Models", models, "Ids or patterns such as openai/*, apart by commas.", for_="models"),
        field("Expires", expiry, for_="days"),
        scope_boxes(reader),
        el("button", "Create key", class_="primary"),
        method="post",
        action="/console/keys",
        class_="grid",
    )
    return card("New key", form)


def new_token(token: str, name: str, base_url: str) -> Safe:
    """A fresh key: the only time that it is shown."""
    line = chat_curl(base_url).replace("$DAC_API_KEY", token)
    return card(
        f"Key “{name}” is made",
        el("p", "Copy it now. DAC keeps no copy: this is the only time it is shown."),
        paste(token, "new-token"),
        el("details", el("summary", "Try it with curl"), paste(line, "new-token-curl")),
        class_="fresh",
    )


def key_row(reader: Reader, key: ApiKey, now: dt.datetime) -> Safe:
    """A key in the list."""
    over = key.HasField("expires_at") and key.expires_at.ToDatetime(dt.UTC) <= now
    gone = key.HasField("revoked_at")
    state = badge("revoked", "bad") if gone else badge("expired", "warn") if over else badge("live", "good")
    own = badge("this session") if key.key_id == reader.key_id else None
    question = f"Revoke “{key.name}”? Programs that use it are refused within a second. This cannot be undone."
    if own:
        question += " It is the key you are signed in with: you will be signed out."
    ask = confirm(reader, question, "/console/keys/revoke", {"key_id": key.key_id}, "Revoke", name=key.name)
    return el(
        "tr",
        cell("Name", el("b", key.name), own, el("small", f"{key.prefix}_…", class_="mono"), sort=key.name),
        cell("Scopes", chips(key.scopes), sort=" ".join(key.scopes)),
        cell("Models", chips(key.models) if key.models else el("span", "all", class_="soft")),
        cell("Made", when(key.created_at), sort=key.created_at.seconds, class_="nowrap"),
        cell("Expires", when(key.expires_at) if key.HasField("expires_at") else "never", sort=key.expires_at.seconds),
        cell("State", state, sort=f"{gone}{over}"),
        cell("", None if gone else ask, class_="act"),
        class_="left-out" if gone else None,
    )


def key_list(reader: Reader, keys: Sequence[ApiKey], now: dt.datetime, older: str) -> Safe:
    """All keys."""
    headings = (("Name", ""), ("Scopes", ""), ("Models", "-"), ("Made", ""), ("Expires", ""), ("State", ""))
    rows = [key_row(reader, key, now) for key in keys]
    more = el("p", el("a", "Older keys", href=older, class_="button"), class_="more") if older else None
    if not rows:
        return card("Keys", empty("There is no key yet. Make one above, or:", "dac key create NAME", "key-line"))
    return card("Keys", table("Keys", (*(h for h in headings), ("", "-")), rows), more)
