"""What admins manage in the console: keys and budgets."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

from dac.budget.v1 import budget_pb2
from dac.budget.v1.budget_pb2 import Budget
from dac.gateway.v1.identity_pb2 import ApiKey
from dac.type.v1.principal_pb2 import Level
from services.gateway.console_html import Safe, bar, el, money, when
from services.gateway.console_view import (
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

EXPIRIES = {"": "never", "1": "in a day", "7": "in a week", "30": "in 30 days", "90": "in 90 days", "365": "in a year"}
WINDOWS = {"WINDOW_MONTH": "per month", "WINDOW_DAY": "per day", "WINDOW_NONE": "in all"}
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


def level_name(level: Level, names: Mapping[str, str]) -> str:
    """What a budget hangs on."""
    if level.kind == Level.KIND_ORG:
        return "Organisation"
    return f"Key {names.get(level.id, level.id)}"


def budget_bar(budget: Budget) -> Safe:
    """Spent and held of the limit."""
    limit = budget.limit_nano_usd
    if not limit:
        return bar([("over", 1.0)], "nothing may be spent")
    spent, held = budget.spent_nano_usd / limit, budget.reserved_nano_usd / limit
    kind = "over" if spent >= 0.95 else "near" if spent >= 0.8 else "fill"
    label = f"{spent:.0%} of {money(limit)} spent, {held:.0%} held for running requests"
    return bar([(kind, max(spent, 0.006 if spent else 0)), ("held", held)], label)


def left_of(budget: Budget) -> str:
    """What may still be spent."""
    return money(max(0, budget.limit_nano_usd - budget.spent_nano_usd - budget.reserved_nano_usd))


def budget_row(reader: Reader, one: Budget, names: Mapping[str, str]) -> Safe:
    """A budget in the list."""
    name = level_name(one.level, names)
    question = f"Delete this budget of {name}? It may then spend without this limit."
    doing = el(
        "div",
        el("a", "Change", href=f"/console/budgets?change={one.budget_id}", class_="button quiet"),
        confirm(reader, question, "/console/budgets/delete", {"budget_id": one.budget_id}, "Delete", name=name),
        class_="row",
    )
    window = budget_pb2.Window.Name(one.window)
    return el(
        "tr",
        cell("For", el("b", name), el("small", WINDOWS.get(window, window)), sort=name),
        cell("Used", budget_bar(one), class_="wide", sort=one.spent_nano_usd / max(1, one.limit_nano_usd)),
        cell("Limit", money(one.limit_nano_usd), sort=one.limit_nano_usd, class_="num"),
        cell("Spent", money(one.spent_nano_usd), sort=one.spent_nano_usd, class_="num"),
        cell("Held", money(one.reserved_nano_usd), sort=one.reserved_nano_usd, class_="num"),
        cell("Left", left_of(one), class_="num"),
        cell("Resets", when(one.resets_at, relative=True) if one.HasField("resets_at") else "never"),
        cell("", doing if reader.may("admin") else None, class_="act"),
    )


def budget_list(reader: Reader, budgets: Sequence[Budget], names: Mapping[str, str]) -> Safe:
    """All budgets."""
    if not budgets:
        line = f"dac budget set --org {reader.org_id or 'ID'} --limit-usd 5 --window month"
        return card("Budgets", empty("Nothing is limited. Set a limit here, or:", line, "budget-line"))
    headings = (("For", ""), ("Used", ""), ("Limit", "num"), ("Spent", "num"), ("Held", "num"), ("Left", "num"))
    rows = [budget_row(reader, one, names) for one in budgets]
    return card("Budgets", table("Budgets", (*headings, ("Resets", "-"), ("", "-")), rows))


def budget_form(reader: Reader, keys: Sequence[ApiKey], values: Mapping[str, str]) -> Safe:
    """Sets a limit. The same level and window once more replaces it."""
    live = [key for key in keys if not key.HasField("revoked_at")]
    level = el(
        "select",
        option("org", "The whole organisation", values.get("level", "")),
        *(option(key.key_id, f"Key {key.name} ({key.prefix})", values.get("level", "")) for key in live),
        id="level",
        name="level",
    )
    window = el(
        "select",
        *(option(one, word, values.get("window", "")) for one, word in WINDOWS.items()),
        id="window",
        name="window",
    )
    limit = el(
        "input",
        id="limit",
        name="limit",
        inputmode="decimal",
        required=True,
        placeholder="5.00",
        value=values.get("limit"),
        aria_describedby="limit-hint",
    )
    form = el(
        "form",
        csrf_field(reader),
        field("For", level, for_="level"),
        field("Limit in dollars", limit, "0 blocks everything.", for_="limit"),
        field("Window", window, for_="window"),
        el("button", "Set budget", class_="primary"),
        method="post",
        action="/console/budgets",
        class_="grid",
    )
    return card("Change a budget" if values.get("limit") else "New budget", form)


def budget_values(one: Budget) -> dict[str, str]:
    """A budget as its form shows it."""
    return {
        "level": "org" if one.level.kind == Level.KIND_ORG else one.level.id,
        "window": budget_pb2.Window.Name(one.window),
        "limit": money(one.limit_nano_usd).lstrip("$").replace(",", ""),
    }
