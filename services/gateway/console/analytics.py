"""Analytics in the console: a window in figures, over time and by anything, and what would have cost less."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

from dac.audit.v1 import analytics_pb2 as pb
from services.gateway.console.frame import badge, card, cell, chat_curl, empty, option, table
from services.gateway.console.html import Safe, bar, count, el, milliseconds, money, text, tokens
from services.gateway.console.overview import tile

WINDOWS = {"3h": ("3 hours", 3), "24h": ("day", 24), "7d": ("7 days", 168), "30d": ("30 days", 720)}
"""By the word in the address: label and hours."""
DIMENSIONS = {
    "model": pb.ANALYTICS_DIMENSION_MODEL,
    "provider": pb.ANALYTICS_DIMENSION_PROVIDER,
    "intent": pb.ANALYTICS_DIMENSION_INTENT,
    "team": pb.ANALYTICS_DIMENSION_TEAM,
    "project": pb.ANALYTICS_DIMENSION_PROJECT,
    "user": pb.ANALYTICS_DIMENSION_USER,
    "key": pb.ANALYTICS_DIMENSION_KEY,
}
STEPS = {
    pb.ANALYTICS_STEP_MINUTE: dt.timedelta(minutes=1),
    pb.ANALYTICS_STEP_HOUR: dt.timedelta(hours=1),
    pb.ANALYTICS_STEP_DAY: dt.timedelta(days=1),
}
NONE = {
    "model": "no model",
    "provider": "no provider",
    "intent": "not read",
    "team": "no team",
    "project": "no project",
    "user": "no user",
    "key": "no key",
}


def chosen(asked: Mapping[str, str]) -> tuple[str, str]:
    """The window and the dimension that an address asks for; what it does not know is the default."""
    window, by = asked.get("window", ""), asked.get("by", "")
    return window if window in WINDOWS else "24h", by if by in DIMENSIONS else "model"


def wanted(window: str, by: str, now: dt.datetime) -> pb.GetDashboardRequest:
    """What to ask analytics."""
    made = pb.GetDashboardRequest(group_by=[DIMENSIONS[by]])
    made.start_at.FromDatetime(now - dt.timedelta(hours=WINDOWS[window][1]))
    made.end_at.FromDatetime(now)
    return made


def dashboard(found: pb.GetDashboardResponse, window: str, by: str, names: Mapping[str, str], base_url: str) -> Safe:
    """The cards of a window. `names`: keys, teams, projects and users by id."""
    choice = _choice(window, by)
    if not found.total.requests:
        nothing = empty(
            "Nothing was asked in this window. Paste this, then reload:", chat_curl(base_url), "analytics-curl"
        )
        return text(card("Figures", nothing, aside=choice))
    return text(
        card("Figures", _tiles(found.total, found.before, WINDOWS[window][0]), _chart(found), aside=choice),
        *(card(f"By {by}", _groups(part, by, names)) for part in found.breakdowns),
    )


def recommended(found: pb.ListRecommendationsResponse) -> Safe:
    """Savings with their evidence, or what is missing for them."""
    if not found.recommendations:
        said = el("p", f"Nothing to recommend from {count(found.requests)} requests of the last 30 days.")
    else:
        said = el("ul", *(_recommendation(one) for one in found.recommendations), class_="lines")
    missing = [el("li", el("p", one.message, class_="soft")) for one in found.missing]
    return text(said, el("ul", *missing, class_="lines", aria_label="What is missing to say more") if missing else None)


def _recommendation(one: pb.Recommendation) -> Safe:
    saved = badge(f"{money(one.saved_nano_usd)} saved", "good") if one.saved_nano_usd else None
    return el("li", el("p", one.summary, " ", saved))


def _choice(window: str, by: str) -> Safe:
    return el(
        "form",
        el(
            "select",
            *(option(word, f"Last {label}", window) for word, (label, _) in WINDOWS.items()),
            name="window",
            aria_label="Window",
        ),
        el("select", *(option(one, f"By {one}", by) for one in DIMENSIONS), name="by", aria_label="Break down by"),
        el("button", "Show", class_="quiet"),
        method="get",
        action="/console/analytics",
        class_="filters",
    )


def _bad(figures: pb.Figures) -> int:
    return figures.refused + figures.failed + figures.indeterminate


def _tiles(total: pb.Figures, before: pb.Figures, label: str) -> Safe:
    used = total.input_tokens + total.input_cached_tokens + total.cache_write_tokens
    made = total.output_tokens + total.reasoning_tokens
    lookups = f"{count(total.cache_hits)} of {count(total.cache_lookups)}; saved {money(total.saved_nano_usd)}"
    timed, first = total.latency, total.first_token
    bad = _bad(total)
    return el(
        "dl",
        tile("Requests", count(total.requests), _change(total.requests, before.requests, label)),
        tile("Refused or failed", count(bad), f"{bad / total.requests:.1%} of requests", "bad" if bad else ""),
        tile("Cost", money(total.cost_nano_usd), _change(total.cost_nano_usd, before.cost_nano_usd, label)),
        tile("Tokens", f"{tokens(used)} in", f"{tokens(made)} out, {tokens(total.reasoning_tokens)} of them thought"),
        tile(
            "Latency",
            milliseconds(timed.p50_ms),
            f"median; p95 {milliseconds(timed.p95_ms)}, p99 {milliseconds(timed.p99_ms)}",
        ),
        tile("First token", milliseconds(first.p50_ms), f"median; p95 {milliseconds(first.p95_ms)}"),
        tile("Cache hits", f"{total.cache_hit_rate:.0%}" if total.cache_lookups else "–", lookups),
        tile(
            "Quality",
            f"{total.quality:.2f}" if total.quality_count else "–",
            f"measured {count(total.quality_count)} times; {count(total.fallbacks)} fallbacks",
        ),
        class_="tiles",
    )


def _change(now: int, before: int, label: str) -> str:
    if not before:
        return f"none in the {label} before"
    return f"{now / before - 1:+.0%} against the {label} before"


def _chart(found: pb.GetDashboardResponse) -> Safe:
    """Requests over time, good and bad on top of each other."""
    step = STEPS[found.step]
    start, end = found.start_at.ToDatetime(dt.UTC), found.end_at.ToDatetime(dt.UTC)
    steps = max(1, (end - start) // step)
    most = max(point.figures.requests for point in found.series)
    width = 720 / steps
    drawn = [el("rect", x=0, y=58, width=720, height=2, class_="track")]
    for point in found.series:
        at = (point.start_at.ToDatetime(dt.UTC) - start) // step
        bad = _bad(point.figures)
        high, low = (point.figures.requests - bad) / most * 56, bad / most * 56
        for height, top, kind in ((high, 60 - high, "fill"), (low, 60 - high - low, "over")):
            if height:
                shape = {"x": f"{at * width:.2f}", "y": f"{top:.1f}", "width": f"{width * 0.8:.2f}"}
                drawn.append(el("rect", **shape, height=f"{height:.1f}", class_=kind))
    word = pb.AnalyticsStep.Name(found.step).removeprefix("ANALYTICS_STEP_").lower()
    label = (
        f"{count(found.total.requests)} requests by the {word}, {count(_bad(found.total))} of them refused or failed"
    )
    figure = el("svg", *drawn, viewBox="0 0 720 60", preserveAspectRatio="none", role="img", aria_label=label)
    legend = el("p", el("span", f"{start:%Y-%m-%d %H:%M} UTC"), el("span", f"{end:%Y-%m-%d %H:%M} UTC"), class_="axis")
    return el("div", figure, legend, class_="activity")


def _groups(part: pb.Breakdown, by: str, names: Mapping[str, str]) -> Safe:
    most = max((one.figures.requests for one in part.groups), default=1)
    rows = [_row(one, by, names, most) for one in part.groups]
    headings: Sequence[tuple[str, str]] = (
        (by.capitalize(), ""),
        ("Requests", "num"),
        ("", "-"),
        ("Failed", "num"),
        ("Cost", "num"),
        ("Median", "num"),
        ("p95", "num"),
        ("Cache", "num"),
        ("Quality", "num"),
    )
    more = el("p", f"And {count(part.left_out)} more.", class_="soft") if part.left_out else None
    return text(table(f"Figures by {by}", headings, rows), more)


def _row(one: pb.DashboardGroup, by: str, names: Mapping[str, str], most: int) -> Safe:
    figures, bad = one.figures, _bad(one.figures)
    name = names.get(one.value, one.value) or NONE[by]
    return el(
        "tr",
        cell(by.capitalize(), el("span", name, class_="mono"), sort=name),
        cell("Requests", count(figures.requests), sort=figures.requests, class_="num"),
        cell("", bar([("fill", figures.requests / most)], ""), class_="wide"),
        cell("Failed", count(bad), sort=bad, class_="num"),
        cell("Cost", money(figures.cost_nano_usd), sort=figures.cost_nano_usd, class_="num"),
        cell("Median", milliseconds(figures.latency.p50_ms), sort=figures.latency.p50_ms, class_="num"),
        cell("p95", milliseconds(figures.latency.p95_ms), sort=figures.latency.p95_ms, class_="num"),
        cell("Cache", f"{figures.cache_hit_rate:.0%}" if figures.cache_lookups else "–", class_="num"),
        cell("Quality", f"{figures.quality:.2f}" if figures.quality_count else "–", class_="num"),
    )
