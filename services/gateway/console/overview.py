"""The console's overview and playground."""

from __future__ import annotations

import datetime as dt
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from dac.budget.v1.budget_pb2 import Budget
from dac.router.v1.catalog_pb2 import Model
from dac.type.v1 import record_pb2
from dac.type.v1.record_pb2 import RequestRecord
from services.gateway.console.budgets import budget_bar, left_of, level_name
from services.gateway.console.frame import Reader, badge, chat_curl, empty, field, option, paste
from services.gateway.console.html import Safe, count, el, milliseconds, money, when
from services.gateway.console.story import answered_by, outcome_badge, why

PROFILES = {
    "auto": "default",
    "auto:balanced": "",
    "auto:quality": "best",
    "auto:speed": "fastest",
    "auto:budget": "cheapest",
    "auto:long_context": "",
    "auto:local-preferred": "",
    "auto:performance": "",
}
BUCKETS = 12
BUCKET_S = 300
FAILED = frozenset({record_pb2.OUTCOME_FAILED, record_pb2.OUTCOME_REFUSED, record_pb2.OUTCOME_INDETERMINATE})


def tile(label: str, value: str, hint: str = "", kind: str = "") -> Safe:
    """One figure."""
    return el(
        "div",
        el("dt", label),
        el("dd", value, class_=kind or None),
        el("dd", hint, class_="soft") if hint else None,
        class_="tile",
    )


def tiles(records: Sequence[RequestRecord], more: bool) -> Safe:
    """The last hour in four figures; `more` says that there were more requests than were read."""
    least = "at least " if more else ""
    failed = sum(one.outcome in FAILED for one in records)
    cost = sum(one.cost_nano_usd for one in records)
    firsts = [one.attempts[-1].first_token_ms for one in records if one.attempts and one.attempts[-1].first_token_ms]
    slow = f"median; p95 {milliseconds(p95(firsts))}" if firsts else "median"
    share = f"{failed / len(records):.0%} of requests" if records else "none to fail"
    return el(
        "dl",
        tile("Requests", f"{len(records)}{'+' if more else ''}", "in the last hour"),
        tile("Refused or failed", count(failed), share, "bad" if failed else ""),
        tile("Cost", money(cost), f"{least}charged in the last hour"),
        tile("First token", milliseconds(statistics.median(firsts)) if firsts else "–", slow),
        class_="tiles",
    )


def p95(values: Sequence[float]) -> float:
    """What 95 of 100 stay below (nearest rank)."""
    return sorted(values)[math.ceil(len(values) * 0.95) - 1]


def activity(records: Sequence[RequestRecord], now: dt.datetime) -> Safe:
    """Requests of the last hour in steps of five minutes."""
    good, bad = [0] * BUCKETS, [0] * BUCKETS
    for one in records:
        index = BUCKETS - 1 - int((now.timestamp() - one.started_at.ToNanoseconds() / 1e9) // BUCKET_S)
        if 0 <= index < BUCKETS:
            (bad if one.outcome in FAILED else good)[index] += 1
    most = max(1, *(sum(pair) for pair in zip(good, bad, strict=True)))
    drawn = []
    for index, (fine, failed) in enumerate(zip(good, bad, strict=True)):
        x, high, low = index * 20 + 2, fine / most * 56, failed / most * 56
        if fine:
            drawn.append(el("rect", x=x, y=f"{60 - high:.1f}", width=16, height=f"{high:.1f}", class_="fill"))
        if failed:
            top = f"{60 - high - low:.1f}"
            drawn.append(el("rect", x=x, y=top, width=16, height=f"{low:.1f}", class_="over"))
        if not fine and not failed:
            drawn.append(el("rect", x=x, y=58, width=16, height=2, class_="track"))
    label = f"{sum(good)} good and {sum(bad)} refused or failed requests in the last hour, by five minutes"
    figure = el("svg", *drawn, viewBox="0 0 240 60", preserveAspectRatio="none", role="img", aria_label=label)
    legend = el("p", el("span", "60 min ago"), el("span", "now"), class_="axis")
    return el("div", figure, legend, class_="activity")


def latest(records: Sequence[RequestRecord], base_url: str) -> Safe:
    """The newest requests with why they went where they went."""
    if not records:
        return empty("Nothing was asked yet. Try the playground, or paste this:", chat_curl(base_url), "latest-curl")
    lines = [
        el(
            "li",
            el(
                "a",
                el("span", answered_by(one) or "no model", class_="mono"),
                outcome_badge(one),
                el("span", when(one.started_at, relative=True), class_="soft"),
                href=f"/console/requests/{one.request_id}",
            ),
            el("p", why(one), class_="soft"),
        )
        for one in records
    ]
    return el("ul", *lines, class_="lines")


def part_lines(parts: Mapping[str, Mapping[str, Any]]) -> Safe:
    """Every part in a short line."""
    return el(
        "ul",
        *(
            el(
                "li",
                el("b", name),
                badge(str(part["status"]), "good" if part["status"] == "up" else "bad"),
                el("small", milliseconds(float(part.get("latency_ms", 0)))) if "latency_ms" in part else None,
            )
            for name, part in parts.items()
        ),
        class_="parts",
    )


def playground(reader: Reader, models: Sequence[Model]) -> Safe:
    """The form and an empty transcript; the script fills it."""
    groups: dict[str, list[Model]] = {}
    for one in models:
        groups.setdefault(one.provider, []).append(one)
    select = el(
        "select",
        el(
            "optgroup",
            *(option(one, f"{one} · {means}" if means else one) for one, means in PROFILES.items()),
            label="DAC chooses",
        ),
        *(
            el("optgroup", *(option(one.model, one.model) for one in group), label=provider)
            for provider, group in groups.items()
        ),
        id="model",
        name="model",
    )
    settings = el(
        "div",
        field("Model or profile", select, for_="model"),
        field("Most tokens", el("input", id="most", name="most", type="number", min=1, placeholder="any"), for_="most"),
        el(
            "details",
            el("summary", "System message"),
            el("textarea", id="system", name="system", rows=4, aria_label="System message"),
        ),
        el("button", "New chat", type="button", data_clear=True),
        class_="settings",
    )
    box = el(
        "div",
        el(
            "textarea",
            id="message",
            name="message",
            rows=3,
            placeholder="Ask something …",
            aria_label="Message",
            required=True,
        ),
        el(
            "div",
            el("small", "Ctrl Enter sends", class_="soft"),
            el("button", "Stop", type="button", data_stop=True, hidden=True),
            el("button", "Send", class_="primary", type="submit", data_send=True),
            class_="row",
        ),
        class_="composer",
    )
    talk = el("div", id="talk", role="log", aria_label="Conversation", aria_live="polite", tabindex="0")
    hint = el("p", "Answers stream in here, with the model, why it was chosen, tokens, cost and time.", class_="hint")
    # Not <noscript>: it stands here until the script takes it away, whatever kept the script from running.
    script = el(
        "div",
        el("p", "The playground needs a script. Without one, ask with curl:"),
        paste(chat_curl(reader.base_url), "play-curl"),
        class_="empty",
        data_without_script=True,
    )
    return el(
        "form", settings, el("div", el("div", hint, talk, class_="talkbox"), box, class_="stage"), script, id="play"
    )


def budget_lines(budgets: Sequence[Budget], names: Mapping[str, str]) -> Safe:
    """Budgets in short."""
    return el(
        "ul",
        *(
            el(
                "li",
                el("p", el("b", level_name(one.level, names)), f" {left_of(one)} left of {money(one.limit_nano_usd)}")
                if not one.unlimited
                else el("p", el("b", level_name(one.level, names)), " unlimited"),
                budget_bar(one),
            )
            for one in budgets
        ),
        class_="lines",
    )
