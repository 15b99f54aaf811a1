"""`dac route`: which model would answer, and why, without asking it. `dac breaker`: models taken out of service."""

import sys
from typing import Annotated, Any

import typer

from mesh.cli.client import USAGE, Client, Failure
from mesh.cli.output import AsJson, Url, clean, command, enum_word, needed, note, print_json, table

app = typer.Typer(help="Circuit breakers: list them, hold one open or closed, let it go.", no_args_is_help=True)
SHOWN = 12


def register(parent: typer.Typer) -> None:
    """Adds the commands."""
    command(parent, "route")(route)
    parent.add_typer(app, name="breaker")


def body_of(prompt: str, model: str, profile: str, task: str, **limits: Any) -> dict[str, Any]:
    """The request of a dry run; what was not said is left out."""
    said = {"profile": profile, "task_type": task, **limits}
    return {"model": model, "prompt": prompt, **{name: value for name, value in said.items() if value}}


def route(
    prompt: Annotated[str | None, typer.Argument(help="What would be asked; without it, what is piped in.")] = None,
    model: Annotated[str, typer.Option("--model", help="A model, auto, or auto:PROFILE.")] = "auto",
    profile: Annotated[
        str,
        typer.Option("--profile", help="quality, balanced, speed, budget, long_context, local-preferred, performance."),
    ] = "",
    task: Annotated[str, typer.Option("--task", help="What it is for, e.g. code; else the prompt tells.")] = "",
    min_quality: Annotated[float, typer.Option("--min-quality", help="No model below this, 0 to 1.")] = 0.0,
    max_first_token_ms: Annotated[float, typer.Option("--max-first-token-ms", help="No slower model.")] = 0.0,
    region: Annotated[list[str] | None, typer.Option("--region", help="Only there; may be repeated.")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show which model would answer, what every candidate scores, and who is left out and why. Nothing is sent.

    Example: dac route "Write a regular expression for dates" --profile budget
    """
    piped = "" if prompt is not None or sys.stdin is None or sys.stdin.isatty() else sys.stdin.read()
    text = prompt if prompt is not None else piped
    if not text.strip():
        raise Failure('there is nothing to route: dac route "Hello", or pipe a text in', USAGE)
    asked = body_of(
        text, model, profile, task, min_quality=min_quality, max_first_token_ms=max_first_token_ms, regions=region or []
    )
    found = Client(url).call("POST", "/v1/route", asked)
    if as_json:
        print_json(found)
    else:
        show(found)


def show(found: dict[str, Any]) -> None:
    """The sentence, the candidates with their sides, and who is left out."""
    record, features = found.get("route") or {}, found.get("features") or {}
    looked_at = record.get("candidates") or []
    chain = [one for one in looked_at if not one.get("excluded")]
    rows = [
        (
            index,
            one.get("model"),
            one.get("provider"),
            *(
                f"{float(one.get(name) or 0):.2f}"
                for name in ("score", "quality_score", "latency_score", "cost_score", "context_score")
            ),
        )
        for index, one in enumerate(chain, 1)
    ]
    headings = ("", "model", "provider", "score", "quality", "latency", "cost", "context")
    table(headings, rows, right=(0, 3, 4, 5, 6, 7))
    left_out = [one for one in looked_at if one.get("excluded")]
    if left_out:
        print()
        table(
            ("left out", "score", "why"),
            [(one.get("model"), f"{float(one.get('score') or 0):.2f}", one["excluded"]) for one in left_out],
            right=(1,),
        )
    more = int(record.get("left_out") or 0) - len(left_out)
    if more > 0 and len(looked_at) >= SHOWN:
        note(f"and {more} more that were not taken")
    print()
    if features.get("intent"):
        sure = f", {float(features.get('intent_confidence') or 1):.0%} sure"
        web = ", needs the web" if features.get("needs_web") else ""
        language = f", {features['language']}" if features.get("language") else ""
        complexity = float(features.get("complexity") or 0)
        print(clean(f"prompt: {features['intent']}{sure}, complexity {complexity:.2f}{language}{web}"))
    if needs := needed(features):
        print(f"needs: {', '.join(needs)}")
    print(clean(record.get("reason", "")))
    print(clean(f"policy: {record.get('policy_version', '')}"))


@command(app, "list")
def list_breakers(url: Url = None, as_json: AsJson = False) -> None:
    """List the breakers that count failures, are open, or are held by hand.

    Example: dac breaker list
    """
    found = Client(url).call("GET", "/v1/status").get("breakers") or []
    if as_json:
        print_json({"breakers": found})
        return
    table(
        ("model", "provider", "state", "lets through", "failures", "faults lately", "next trial"),
        [
            (
                one.get("model"),
                one.get("provider"),
                word(one),
                f"{float(one.get('traffic_share') or 0):.0%}",
                one.get("failures", 0),
                f"{float(one.get('error_rate') or 0):.0%} of {one.get('outcomes') or 0}",
                f"{float(one['retry_in_s']):.0f} s" if one.get("retry_in_s") else "-",
            )
            for one in found
        ],
        right=(3, 4, 5, 6),
    )
    if not found:
        note("no breaker counts failures: everything is let through")


def word(breaker: dict[str, Any]) -> str:
    """A breaker's state in words."""
    state = enum_word(breaker.get("state"), "STATE_")
    return f"held {state}" if breaker.get("forced") else state


def force(model: str, provider: str, state: str, note_text: str, url: str | None, *, as_json: bool) -> None:
    """Changes the breakers of a model and shows them."""
    body = {"model": model, "provider": provider, "note": note_text, **({"state": state} if state else {})}
    changed = Client(url).call("POST", "/v1/breakers", body).get("breakers") or []
    if as_json:
        print_json({"breakers": changed})
        return
    for one in changed:
        note(f"{clean(one.get('model'))} at {clean(one.get('provider'))}: {word(one)}")


Model = Annotated[str, typer.Argument(help="The model, e.g. openai/gpt-4o.")]
Provider = Annotated[str, typer.Option("--provider", help="Only there; else wherever the model stands.")]
Why = Annotated[str, typer.Option("--note", help="Why, for the audit's record.")]


@command(app, "open")
def open_breaker(
    model: Model, provider: Provider = "", why: Why = "", url: Url = None, as_json: AsJson = False
) -> None:
    """Take a model out of service until `dac breaker auto`. Needs the operator's key; it is audited.

    Example: dac breaker open openai/gpt-4o --note "wrong answers since noon"
    """
    force(model, provider, "STATE_OPEN", why, url, as_json=as_json)


@command(app, "close")
def close_breaker(
    model: Model, provider: Provider = "", why: Why = "", url: Url = None, as_json: AsJson = False
) -> None:
    """Let everything through to a model, whatever fails, until `dac breaker auto`.

    Example: dac breaker close openai/gpt-4o
    """
    force(model, provider, "STATE_CLOSED", why, url, as_json=as_json)


@command(app, "auto")
def auto_breaker(
    model: Model, provider: Provider = "", why: Why = "", url: Url = None, as_json: AsJson = False
) -> None:
    """Let the breaker of a model decide for itself again, beginning closed.

    Example: dac breaker auto openai/gpt-4o
    """
    force(model, provider, "", why, url, as_json=as_json)
