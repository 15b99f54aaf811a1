"""The console's models and health."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dac.provider.v1.provider_pb2 import ProviderStatus
from dac.router.v1.catalog_pb2 import Model
from dac.router.v1.router_pb2 import Breaker, GetStatusResponse, LiveSpeed
from services.gateway.console.frame import PARTS, badge, card, cell, chips, empty, table
from services.gateway.console.html import (
    Safe,
    bar,
    count,
    el,
    enum_word,
    milliseconds,
    money,
    prose,
    text,
    tokens,
    when,
)


def breaker_badge(breaker: Breaker | None) -> Safe | None:
    """What an open breaker keeps out."""
    if breaker is None or breaker.state in (Breaker.STATE_CLOSED, Breaker.STATE_UNSPECIFIED):
        return None
    if breaker.forced:
        return badge("held open by an operator", "bad")
    if breaker.state == Breaker.STATE_RECOVERING:
        return badge(f"recovering, {breaker.traffic_share:.0%} let through", "warn")
    word = "trial" if breaker.state == Breaker.STATE_HALF_OPEN else f"resting, again in {breaker.retry_in_s:.0f} s"
    return badge(word, "warn")


def speed_cell(speed: LiveSpeed | None) -> Safe:
    """How fast a model answered in the last minutes."""
    if speed is None:
        return cell("First token", "–", sort=-1, class_="num")
    told = f"{milliseconds(speed.first_token_p50_ms)} / {milliseconds(speed.first_token_p95_ms)}"
    return cell("First token", told, sort=speed.first_token_p50_ms, class_="num")


def model_row(
    one: Model,
    breakers: Mapping[tuple[str, str], Breaker],
    providers: Sequence[str] | None,
    speeds: Mapping[tuple[str, str], LiveSpeed],
) -> Safe:
    """A model in the list."""
    breaker = breakers.get((one.model, one.provider))
    state = breaker_badge(breaker)
    if state is None and breaker is not None and breaker.forced:
        state = badge("held closed by an operator", "good")
    if state is None and one.available:
        state = badge("available", "good")
    elif state is None:
        away = providers is not None and one.provider not in providers
        state = badge("provider not set up" if away else "not available")
    known = one.HasField("input_nano_usd_per_mtok")
    prices = (one.input_nano_usd_per_mtok, one.output_nano_usd_per_mtok)
    demo = badge("demo") if one.model_class == "demo" else None
    return el(
        "tr",
        cell("Model", el("span", one.model, class_="mono"), demo, sort=one.model),
        cell("Provider", one.provider, sort=one.provider),
        cell("State", state, sort=not one.available),
        cell("Quality", f"{one.quality:.2f}", bar([("fill", one.quality)], ""), sort=one.quality, class_="num"),
        cell("Context", tokens(one.context_tokens), sort=one.context_tokens, class_="num"),
        *(
            cell(name, money(price) if known else "unknown", sort=price if known else -1, class_="num")
            for name, price in zip(("In", "Out"), prices, strict=True)
        ),
        speed_cell(speeds.get((one.model, one.provider))),
        cell("Can", chips(one.capabilities) if one.capabilities else "text"),
    )


def model_list(models: Sequence[Model], status: GetStatusResponse | None, *, everything: bool) -> Safe:
    """All models, those that answer now first."""
    breakers = {(one.model, one.provider): one for one in status.breakers} if status else {}
    configured = list(status.providers_configured) if status else None
    speeds = {(one.model, one.provider): one for one in status.speeds} if status else {}
    headings = (("Model", ""), ("Provider", ""), ("State", ""), ("Quality", "num"), ("Context", "num"))
    rows = [model_row(one, breakers, configured, speeds) for one in sorted(models, key=lambda one: not one.available)]
    other = "/console/models" if everything else "/console/models?all=1"
    word = "Only those that answer now" if everything else "Also those without a provider"
    switch = el("a", word, href=other, class_="button quiet")
    search = el(
        "input", type="search", placeholder="Filter …", aria_label="Filter models", data_filter="#models", hidden=True
    )
    if not rows:
        line = "dac provider add openai"
        return card("Models", empty("No model answers now. Add a provider's key:", line, "model-line"), aside=switch)
    told = (
        "Prices are dollars per million tokens, in and out. First token: the median and the 95th percentile of "
        "the last minutes' streams."
    )
    note = el("p", told, class_="soft")
    cells = (*headings, ("In", "num"), ("Out", "num"), ("First token", "num"), ("Can", "-"))
    aside = el("div", search, switch, class_="row")
    return card("Models", note, table("Models", cells, rows), aside=aside, id_="models")


def part_table(parts: Mapping[str, Mapping[str, Any]]) -> Safe:
    """Every part with its state, what it is for and what to do when it is down."""
    rows = []
    for name, part in parts.items():
        up = part["status"] == "up"
        mend = (
            "`dac doctor` says more." if name != "database" else "Check that PostgreSQL runs and DATABASE_URL is right."
        )
        message = str(part.get("message", "It does not answer")).removesuffix(".")
        said = None if up else el("small", prose(f"{message}. {mend}"))
        rows.append(
            el(
                "tr",
                cell("Part", el("b", name), el("small", PARTS.get(name, "")), sort=name),
                cell("State", badge("up" if up else "down", "good" if up else "bad"), said, sort=up),
                cell("Answers in", milliseconds(float(part.get("latency_ms", 0))), class_="num"),
            )
        )
    return table("Parts", (("Part", ""), ("State", ""), ("Answers in", "num")), rows, sortable=False)


def router_facts(status: GetStatusResponse) -> Safe:
    """What the router knows, and how old that is."""
    facts = (
        ("Models known", count(status.models_known)),
        ("Models that answer", count(status.models_available)),
        ("Providers", ", ".join(status.providers_configured) or "none"),
        ("Provider news", f"{status.providers_age_s:.0f} s old"),
        ("Price news", f"{status.prices_age_s:.0f} s old"),
    )
    rest = [one for one in status.breakers if one.state not in (Breaker.STATE_CLOSED, Breaker.STATE_UNSPECIFIED)]
    resting = [
        el("li", el("span", one.model, class_="mono"), breaker_badge(one), el("small", f"{one.failures} failures"))
        for one in rest
    ]
    return text(
        el("dl", *(el("div", el("dt", name), el("dd", value)) for name, value in facts), class_="facts"),
        el("ul", *resting, class_="parts") if resting else el("p", "Every breaker is closed.", class_="soft"),
    )


def provider_table(providers: Sequence[ProviderStatus]) -> Safe:
    """The configured providers, without their secrets."""
    if not providers:
        return empty("No provider is configured. Add one:", "dac provider add openai", "provider-line")
    rows = [
        el(
            "tr",
            cell("Provider", el("b", one.provider), badge("demo") if one.model_class == "demo" else None),
            cell("Kind", one.kind),
            cell("State", badge("on", "good") if one.enabled else badge("off")),
            cell("Key ends in", el("span", one.key_hint or "–", class_="mono")),
            cell("Set by", enum_word(one.managed_by, "")),
            cell("Changed", when(one.changed_at) if one.HasField("changed_at") else "–"),
        )
        for one in providers
    ]
    headings = (("Provider", ""), ("Kind", ""), ("State", ""), ("Key ends in", ""), ("Set by", ""), ("Changed", ""))
    return table("Providers", headings, rows, sortable=False)


def verdict(health: Mapping[str, Any]) -> Safe:
    """All parts in one word."""
    return badge(str(health["status"]), "good" if not health["down"] else "warn")
