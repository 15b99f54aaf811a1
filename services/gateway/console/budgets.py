"""Budgets in the console: what is used of each, and the form that sets one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dac.budget.v1 import budget_pb2
from dac.budget.v1.budget_pb2 import Budget
from dac.gateway.v1.identity_pb2 import ApiKey
from dac.type.v1.principal_pb2 import Level
from services.gateway.console.frame import Reader, card, cell, confirm, csrf_field, empty, field, option, table
from services.gateway.console.html import Safe, bar, el, money, when

WINDOWS = {
    "WINDOW_MONTH": "per month",
    "WINDOW_WEEK": "per week",
    "WINDOW_DAY": "per day",
    "WINDOW_HOUR": "per hour",
    "WINDOW_MINUTE": "per minute",
    "WINDOW_NONE": "in all",
}


def level_name(level: Level, names: Mapping[str, str]) -> str:
    """What a budget hangs on."""
    if level.kind == Level.KIND_ORG:
        return "Organisation"
    kind = Level.Kind.Name(level.kind).removeprefix("KIND_").capitalize()
    return f"{kind} {names.get(level.id, level.id)}"


def particulars(one: Budget) -> str:
    """What is special about a budget, behind its window."""
    zone = "" if one.time_zone in ("", "UTC") or one.window == budget_pb2.WINDOW_NONE else f"in {one.time_zone}"
    narrowed = f"only {one.model or one.tag}" if one.model or one.tag else ""
    soft = "soft" if one.enforcement == budget_pb2.ENFORCEMENT_SOFT else ""
    return ", ".join(part for part in (zone, narrowed, soft) if part)


def budget_bar(budget: Budget) -> Safe:
    """Spent and held of the limit."""
    limit = budget.limit_nano_usd
    if budget.unlimited:
        return bar([], f"{money(budget.spent_nano_usd)} spent, unlimited")
    if not limit:
        return bar([("over", 1.0)], "nothing may be spent")
    spent, held = budget.spent_nano_usd / limit, budget.reserved_nano_usd / limit
    kind = "over" if spent >= 0.95 else "near" if spent >= 0.8 else "fill"
    label = f"{spent:.0%} of {money(limit)} spent, {held:.0%} held for running requests"
    return bar([(kind, max(spent, 0.006 if spent else 0)), ("held", held)], label)


def left_of(budget: Budget) -> str:
    """What may still be spent."""
    if budget.unlimited:
        return "unlimited"
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
    kind = ", ".join(part for part in (WINDOWS.get(window, window), particulars(one)) if part)
    limit = "unlimited" if one.unlimited else money(one.limit_nano_usd)
    return el(
        "tr",
        cell("For", el("b", name), el("small", kind), sort=name),
        cell("Used", budget_bar(one), class_="wide", sort=one.spent_nano_usd / max(1, one.limit_nano_usd)),
        cell("Limit", limit, sort=one.limit_nano_usd, class_="num"),
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
    """Sets a limit; one that is changed keeps everything else. The same level and window once more replaces it."""
    if values.get("budget_id"):
        return _change_form(reader, values)
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
    form = el(
        "form",
        csrf_field(reader),
        field("For", level, for_="level"),
        _limit_field(values),
        field("Window", window, for_="window"),
        el("button", "Set budget", class_="primary"),
        method="post",
        action="/console/budgets",
        class_="grid",
    )
    return card("New budget", form)


def _limit_field(values: Mapping[str, str]) -> Safe:
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
    return field("Limit in dollars", limit, "0 blocks everything.", for_="limit")


def _change_form(reader: Reader, values: Mapping[str, str]) -> Safe:
    form = el(
        "form",
        csrf_field(reader),
        el("input", type="hidden", name="budget_id", value=values["budget_id"]),
        el("p", el("b", values.get("name", "")), " ", el("small", values.get("kind", ""))),
        _limit_field(values),
        el("button", "Set budget", class_="primary"),
        method="post",
        action="/console/budgets",
        class_="grid",
    )
    return card("Change a budget", form)


def budget_values(one: Budget, names: Mapping[str, str]) -> dict[str, str]:
    """A budget as its form shows it."""
    window = budget_pb2.Window.Name(one.window)
    return {
        "budget_id": one.budget_id,
        "name": level_name(one.level, names),
        "kind": ", ".join(part for part in (WINDOWS.get(window, window), particulars(one)) if part),
        "limit": "" if one.unlimited else money(one.limit_nano_usd).lstrip("$").replace(",", ""),
    }
