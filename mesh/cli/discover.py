"""`dac models discover`: asks every provider for its models and, with --probe, asks new models graded questions."""

import time
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

import typer

from mesh.cli.client import USAGE, Client, Failure
from mesh.cli.output import AsJson, Url, clean, command, local_time, milliseconds, money, note, print_json, table
from mesh.cli.provider import models
from mesh.money import NANO_USD_PER_USD

LISTING = frozenset({"openai", "anthropic", "gemini", "ollama", "cohere"})
"""Kinds of providers that have a list of models."""
HEARD_S = 5.0
"""How long the router may take to hear of a new list."""


def register(parent: typer.Typer) -> None:
    """Adds the command, and `dac models` as the other name of `dac model`."""
    parent.add_typer(models, name="models", help="The same as `dac model`.")


def nano_of(max_usd: str) -> int:
    """Dollars as typed → nano-USD. Raises Failure."""
    try:
        exact = Decimal(max_usd.strip().lstrip("$")) * NANO_USD_PER_USD
        if exact.is_finite() and 0 < exact <= 100 * NANO_USD_PER_USD and exact == exact.to_integral_value():
            return int(exact)
    except InvalidOperation:
        pass
    raise Failure(f'--max-usd "{max_usd}" is no amount above 0 and at most 100 dollars: write e.g. 0.05', USAGE)


def askable(client: Client) -> list[str]:
    """The providers that have a list of models."""
    found = client.pages("/v1/providers", "providers")
    return [one["provider"] for one in found if one.get("enabled") and one.get("kind") in LISTING]


def refresh(client: Client, names: list[str]) -> list[dict[str, Any]]:
    """Asks one provider after the other, telling how far it is."""
    found = []
    for index, name in enumerate(names, 1):
        answer = client.call("POST", "/v1/models/refresh", {"providers": [name]})
        one = (answer.get("providers") or [{"provider": name, "error": "no answer"}])[0]
        found.append(one)
        told = one.get("error") or f"{one.get('found', 0)} models, {len(one.get('added') or [])} new"
        note(f"[{index}/{len(names)}] {clean(name)}: {clean(told)}")
    return found


def wait_until_known(client: Client, found: list[dict[str, Any]]) -> None:
    """Waits until the router has heard of the new lists."""
    wanted = {f"{one['provider']}/{one['added'][0]}" for one in found if one.get("added")}
    end = time.monotonic() + HEARD_S
    while wanted and time.monotonic() < end:
        listed = client.call("GET", "/v1/models", query={"include_unavailable": "true"}).get("data") or []
        # A model that the catalog describes under another id is known as well.
        seen = {one["id"] for one in listed} | {f"{one['owned_by']}/{one.get('upstream_name')}" for one in listed}
        if wanted <= seen:
            return
        time.sleep(0.1)


def unprobed(client: Client, providers: set[str]) -> list[dict[str, Any]]:
    """Models with a price that only a list knows and nobody asked yet, cheapest first."""
    listed = client.call("GET", "/v1/models").get("data") or []
    fit = [
        one
        for one in listed
        if one.get("source") == "listed" and one.get("owned_by") in providers and not one.get("probed_at")
        if set(one.get("capabilities") or []) != {"embeddings"}
    ]
    unpriced = [one for one in fit if not one.get("price")]
    if unpriced:
        note(f"{len(unpriced)} models have no known price and are not asked: give them one under models:")
    return sorted(
        (one for one in fit if one.get("price")),
        key=lambda one: (sum(one["price"].values()), one["id"]),
    )


def probe(client: Client, wanted: list[dict[str, Any]], limit: int) -> tuple[list[dict[str, Any]], int]:
    """Asks one model after the other until the limit is spent; what came of it and what it cost."""
    probed, spent = [], 0
    for index, one in enumerate(wanted, 1):
        if spent >= limit:
            note(f"the limit of {money(limit)} is spent: {len(wanted) - index + 1} models were not asked")
            break
        body = {"model": one["id"], "max_nano_usd": str(limit - spent)}
        made = client.call("POST", "/v1/models/probe", body).get("probed") or {}
        spent += int(made.get("cost_nano_usd") or 0)
        probed.append({"model": one["id"], **made})
        result = made.get("result")
        told = f"{result.get('right', 0)}/{result.get('asked', 0)} right" if result else made.get("why_not", "")
        note(f"[{index}/{len(wanted)}] {clean(one['id'])}: {clean(told)}, {money(spent)} so far")
    return probed, spent


@command(models, "discover")
def discover(
    provider: Annotated[list[str] | None, typer.Option("--provider", help="Only this one; may be repeated.")] = None,
    ask: Annotated[bool, typer.Option("--probe", help="Ask new models graded questions; costs money.")] = False,
    max_usd: Annotated[str, typer.Option("--max-usd", help="What all questions together may cost.")] = "0.01",
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Ask every provider for its models and keep what they say.

    With --probe, models that nobody describes are asked four questions with one right answer each. These are charged
    to your organisation like any request; a model without a known price is not asked.

    Example: dac model discover --provider openrouter --probe --max-usd 0.05
    """
    limit, client = nano_of(max_usd), Client(url)
    found = refresh(client, provider or askable(client))
    probed: list[dict[str, Any]] = []
    spent = 0
    if ask:
        wait_until_known(client, found)
        probed, spent = probe(client, unprobed(client, {str(one["provider"]) for one in found}), limit)
    if as_json:
        print_json({"providers": found, "probed": probed, "cost_nano_usd": str(spent)})
    else:
        show(found, probed, spent, asked=ask)
    if found and all(one.get("error") for one in found):
        raise Failure("no provider could be listed; what was known of their models stays")


def show(found: list[dict[str, Any]], probed: list[dict[str, Any]], spent: int, *, asked: bool) -> None:
    """Both tables."""
    rows = [
        (
            one.get("provider"),
            one.get("found", 0),
            len(one.get("added") or []),
            len(one.get("gone") or []),
            one.get("dropped", 0),
            local_time(one.get("listed_at")),
            one.get("error") or "-",
        )
        for one in found
    ]
    table(("provider", "models", "new", "gone", "dropped", "listed", "error"), rows, right=(1, 2, 3, 4))
    if not found:
        note("no provider has a list of models: add one with `dac provider add openai`")
    if asked:
        table(
            ("model", "right", "quality", "first token", "tokens/s", "cost", "remark"),
            [_probed(one) for one in probed],
            right=(1, 2, 3, 4, 5),
        )
        note(f"the questions cost {money(spent)}")


def _probed(one: dict[str, Any]) -> tuple[object, ...]:
    result = one.get("result") or {}
    return (
        one.get("model"),
        f"{result.get('right', 0)}/{result['asked']}" if result.get("asked") else "-",
        result.get("quality", 0) if result else "-",
        milliseconds(result.get("first_token_ms")),
        result.get("speed_tokens_per_s") or "-",
        money(one.get("cost_nano_usd")),
        one.get("why_not") or "",
    )
