"""`dac models search, compare, rankings, providers`: what is known of models, found and set beside each other."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from mesh.cli.client import USAGE, Client, Failure
from mesh.cli.output import AsJson, Url, clean, command, enum_word, milliseconds, money, note, print_json, table
from mesh.cli.provider import age, models


def register(parent: typer.Typer) -> None:
    """Adds the commands to `dac model`."""
    for name, function in (
        ("search", search),
        ("compare", compare),
        ("rankings", rankings),
        ("providers", list_figures),
        ("refresh", refresh),
    ):
        command(models, name)(function)


def _price(one: Mapping[str, Any], side: str) -> str:
    found = one.get(f"{side}_nano_usd_per_mtok")
    return "?" if found is None else money(found)


def _share(value: object) -> str:
    return f"{float(str(value)):.2f}"


def _speed(one: Mapping[str, Any]) -> str:
    return f"{float(one['speed_tokens_per_s']):.0f}/s" if one.get("speed_tokens_per_s") else "-"


def search(
    words: Annotated[list[str], typer.Argument(help="What to look for, e.g. llama 70b tools.")],
    everything: Annotated[bool, typer.Option("--all", help="Also those that cannot be asked now.")] = False,
    provider: Annotated[str, typer.Option("--provider", help="Only this provider's.")] = "",
    capability: Annotated[str, typer.Option("--can", help="Only those with this capability, e.g. images.")] = "",
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Find models by words: each must be found in a name, a provider or a capability.

    Example: dac model search claude images
    """
    query = {"q": " ".join(words), "provider": provider, "capability": capability}
    if everything:
        query["include_unavailable"] = "true"
    answer = Client(url).call("GET", "/v1/models/search", query={name: text for name, text in query.items() if text})
    if as_json:
        print_json(answer)
        return
    found = answer.get("results") or []
    rows = []
    for one in found:
        model = one["model"]
        rows.append((model["model"], _share(one["score"]), ", ".join(one["matched"]), *_figures(model)))
    if not rows:
        hint = "" if everything else "; --all also looks among those that cannot be asked now"
        note(f'no model fits "{" ".join(words)}"{hint}')
        return
    table(("model", "fit", "found in", *_FIGURES), rows, right=(1, 3, 4, 5, 6))
    if int(answer.get("total") or 0) > len(found):
        note(f"{answer['total']} models fit; the best {len(found)} are shown")


_FIGURES = ("context", "quality", "input $/M", "output $/M", "can", "available")


def _figures(model: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        str(model["context_tokens"]),
        _share(model["quality"]),
        _price(model, "input"),
        _price(model, "output"),
        ",".join(model["capabilities"]),
        "yes" if model["available"] else "no",
    )


def compare(
    names: Annotated[list[str], typer.Argument(help="Two to ten models, by id or alias.")],
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Set models side by side; * is the best of a row.

    Example: dac model compare openai/gpt-5-mini anthropic/claude-haiku-4-5
    """
    answer = Client(url).call("GET", "/v1/models/compare", query={"model_ids": ",".join(names)})
    if as_json:
        print_json(answer)
        return
    compared, best = answer["models"], answer["best"]
    ids = [one["model"]["model"] for one in compared]

    def row(heading: str, measure: str, cells: list[str]) -> tuple[str, ...]:
        marked = [cell + " *" if best.get(measure) == model else cell for cell, model in zip(cells, ids, strict=True)]
        return (heading, *marked)

    shown = [one["model"] for one in compared]
    rows = [
        row("model", "", ids),
        row("provider", "", [one["provider"] for one in shown]),
        row("available", "", ["yes" if one["available"] else "no" for one in shown]),
        row("context", "context", [str(one["context_tokens"]) for one in shown]),
        row("longest answer", "", [str(one["max_output_tokens"] or "-") for one in shown]),
        row("quality", "quality", [_share(one["quality"]) for one in shown]),
        row("input $/M", "", [_price(one, "input") for one in shown]),
        row("output $/M", "price", [_price(one, "output") for one in shown]),
        row("speed", "speed", [_speed(one) for one in shown]),
        row("first token", "first_token", [milliseconds(one["first_token_ms"]) for one in shown]),
        row("can", "", [",".join(one["capabilities"]) or "-" for one in shown]),
    ]
    for part, heading in (("score_by_profile", "profile"), ("quality_by_intent", "intent")):
        for name in compared[0][part]:
            cells = [_share(one[part][name]) for one in compared]
            rows.append(row(f"{heading} {enum_word(name, '')}", f"{heading}:{name}", cells))
    table(("", *(str(number) for number in range(1, len(ids) + 1))), rows)


def rankings(
    profile: Annotated[str, typer.Option("--profile", help="quality, balanced, speed, budget, …")] = "",
    intent: Annotated[str, typer.Option("--intent", help="coding_help, reasoning_math, …; without it overall.")] = "",
    limit: Annotated[int, typer.Option("--limit", help="How many.")] = 20,
    everything: Annotated[bool, typer.Option("--all", help="Also those that cannot be asked now.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Rank the models that chat under a profile, for an intent.

    Example: dac model rankings --profile budget --intent coding_help
    """
    if limit < 1:
        raise Failure(f"--limit must be 1 or more, not {limit}", USAGE)
    query = {"profile": profile, "intent": intent, "page_size": str(limit)}
    if everything:
        query["include_unavailable"] = "true"
    answer = Client(url).call("GET", "/v1/rankings", query={name: text for name, text in query.items() if text})
    if as_json:
        print_json(answer)
        return
    rows = []
    for one in answer["models"]:
        sides = [_share(one["scores"][side]) for side in ("quality", "latency", "cost", "context")]
        rows.append((str(one["rank"]), one["model"]["model"], _share(one["score"]), *sides))
    note(f"profile {answer['profile']}" + (f", intent {answer['intent']}" if answer["intent"] else ""))
    if not rows:
        note("no model that chats can be asked: dac model list --all shows what is known")
        return
    table(("", "model", "score", "quality", "latency", "cost", "context"), rows, right=(0, 2, 3, 4, 5, 6))


def list_figures(url: Url = None, as_json: AsJson = False) -> None:
    """List providers with what they offer and how they do.

    Example: dac model providers
    """
    answer = Client(url).call("GET", "/v1/models/providers")
    if as_json:
        print_json(answer)
        return
    rows = []
    for one in answer.get("providers") or []:
        cheapest = one.get("cheapest_nano_usd_per_mtok")
        rows.append(
            (
                one["provider"],
                "yes" if one["configured"] else "no",
                f"{one['available']}/{one['models']}",
                str(one["breakers_open"] or "-"),
                one["best_model"] or "-",
                one["cheapest_model"] or "-",
                "-" if cheapest is None else money(cheapest),
                milliseconds(one["first_token_ms"]),
                age(one.get("listed_at")),
                one["error"] or "-",
            )
        )
    headings = (
        "provider",
        "set up",
        "models",
        "resting",
        "best",
        "cheapest",
        "$/M",
        "first token",
        "listed",
        "problem",
    )
    table(headings, rows, right=(2, 3, 6, 7))


def refresh(
    sources: Annotated[list[str] | None, typer.Argument(help="Only these, e.g. openrouter models_dev.")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Ask public sources of models now, instead of when they are due.

    Example: dac model refresh openrouter
    """
    client = Client(url)
    known = client.call("GET", "/v1/status").get("sources") or []
    # One after the other: together they may take longer than a request may.
    names = sources or [one["source"] for one in known if one.get("asked")]
    if not names:
        raise Failure("no source is asked: router.offline is set, or router.sources is empty")
    found: list[dict[str, Any]] = []
    for name in names:
        note(f"asking {clean(name)} …")
        found += client.call("POST", "/v1/sources/refresh", {"sources": [name]}).get("sources") or []
    if as_json:
        print_json({"sources": found})
        return
    rows = [
        (one["source"], one["origin"] or "-", str(one["rows"]), age(one.get("seen_at")), one["error"] or "-")
        for one in found
    ]
    table(("source", "known from", "models", "as of", "problem"), rows, right=(2,))
    if found and all(one["error"] for one in found):
        raise Failure("no source could be asked; what was known stays")
