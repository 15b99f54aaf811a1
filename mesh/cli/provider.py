"""`dac provider` and `dac model`: whose models DAC may use. Keys are asked for hidden, never taken as an argument."""

import datetime
from typing import Annotated, Any

import typer

from mesh.cli import provider_keys
from mesh.cli.client import Client, Failure, segment
from mesh.cli.output import (
    AsJson,
    Url,
    clean,
    command,
    confirm,
    local_time,
    milliseconds,
    moment,
    note,
    print_json,
    relative,
    table,
)
from mesh.cli.secret_input import read_key

app = typer.Typer(help="Providers: add, list, remove.", no_args_is_help=True)
models = typer.Typer(help="The models that can be asked.", no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    """Adds the commands."""
    provider_keys.register(app)
    parent.add_typer(app, name="provider")
    parent.add_typer(models, name="model")


def models_of(client: Client, provider: str) -> list[dict[str, Any]]:
    """The models of one provider that can be asked now."""
    listed = client.call("GET", "/v1/models", query={"provider": provider}).get("data") or []
    return [one for one in listed if one.get("available", True)]


@command(app, "add")
def add(
    name: Annotated[str, typer.Argument(help="Its name here, e.g. openai, anthropic, mistral, or one of your own.")],
    kind: Annotated[str, typer.Option("--kind", help="The wire format it speaks: openai, anthropic, gemini, …")] = "",
    base_url: Annotated[str, typer.Option("--base-url", help="Its address, e.g. https://api.example.com/v1.")] = "",
    skip_test: Annotated[bool, typer.Option("--skip-test", help="Store it without the test call.")] = False,
    key_env: Annotated[str | None, typer.Option("--key-env", help="Read the key from this variable.")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Add a provider, or replace its key. The key is asked for, or read from a pipe.

    Example: dac provider add openai --key-env OPENAI_API_KEY
    """
    client = Client(url)
    body = {"provider": name, "kind": kind, "base_url": base_url, "skip_test": skip_test}
    body["api_key"] = read_key(name, key_env)
    added = client.call("POST", "/v1/providers", {field: value for field, value in body.items() if value})
    if as_json:
        print_json(added)
        return
    tested = f", its key works ({milliseconds(added['test_ms'])})" if added.get("test_ms") else ", not tested"
    note(f"added {name}{tested}")
    available = models_of(client, name)
    if available:
        note(f"{len(available)} models are now available:")
        print("\n".join(clean(one["id"]) for one in available))
    else:
        note(f"no model of {name} is available yet: see `dac model list --all` in a moment")


@command(app, "list")
def list_providers(url: Url = None, as_json: AsJson = False) -> None:
    """List the providers without their keys.

    Example: dac provider list
    """
    found = Client(url).pages("/v1/providers", "providers")
    if as_json:
        print_json({"providers": found})
        return
    rows = [
        (
            one.get("provider"),
            one.get("kind", ""),
            "on" if one.get("enabled") else "off",
            one.get("managed_by", ""),
            f"…{one['key_hint']}" if one.get("key_hint") else "-",
            len(one.get("upstream_models") or []) or "catalog",
            local_time(one.get("changed_at")),
        )
        for one in found
    ]
    table(("provider", "kind", "state", "managed by", "key", "models", "changed"), rows, right=(5,))


@command(app, "remove")
def remove(
    name: Annotated[str, typer.Argument(help="The provider's name.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Remove a provider that was added with `dac provider add`.

    Example: dac provider remove openai --yes
    """
    if not yes and not confirm(f"Remove provider {name} and its key?"):
        raise Failure(f"{name} is not removed: nothing was confirmed (--yes does)")
    done = Client(url).call("DELETE", f"/v1/providers/{segment(name)}")
    if as_json:
        print_json(done)
    else:
        note(f"removed {name}")


def per_million(price: object) -> str:
    """Dollars per million tokens, from the listing's number."""
    return "$" + (f"{float(str(price)):.6f}".rstrip("0").rstrip(".") or "0")


def age(seen_at: str | None) -> str:
    """How long ago; "-" for never."""
    at = moment(seen_at)
    return "-" if at is None else relative((datetime.datetime.now(datetime.UTC) - at).total_seconds())


def _available(model: dict[str, Any]) -> str:
    """Whether it can be asked, and until when."""
    if not model.get("available", True):
        return "no"
    day = model.get("retires_on")
    if not day:
        return "yes"
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return f"until {day}" if today < day else f"retired {day}"


@command(models, "list")
def list_models(
    everything: Annotated[bool, typer.Option("--all", help="Also those that cannot be asked now.")] = False,
    provider: Annotated[str, typer.Option("--provider", help="Only this provider's.")] = "",
    sort: Annotated[
        str, typer.Option("--sort", help='name, quality, price, context, speed, first_token; " desc" turns it round.')
    ] = "",
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """List the models with context, quality and price per million tokens.

    "source" is who describes the model: config (your file), api (dac model set), catalog (shipped) or listed (only its
    provider's list); "seen" is when its provider last listed it; "until" names the day on which it is retired.

    Example: dac model list --all --sort price
    """
    query = {"include_unavailable": "true" if everything else "", "provider": provider, "order_by": sort}
    answer = Client(url).call("GET", "/v1/models", query={name: text for name, text in query.items() if text})
    if as_json:
        print_json(answer)
        return
    rows = []
    for one in answer.get("data") or []:
        price = one.get("price")
        costs = [per_million(price[f"{side}_usd_per_mtok"]) for side in ("input", "output")] if price else ["?", "?"]
        row = (one["id"], one.get("owned_by", ""), one.get("context_tokens") or "?", one.get("quality", ""), *costs)
        can, available = ",".join(one.get("capabilities") or []), _available(one)
        rows.append((*row, can, available, one.get("source") or "-", age(one.get("seen_at"))))
    headings = (
        "model",
        "provider",
        "context",
        "quality",
        "input $/M",
        "output $/M",
        "can",
        "available",
        "source",
        "seen",
    )
    table(headings, rows, right=(2, 3, 4, 5))
    if not rows:
        note("no model is available: add a provider with `dac provider add openai`, or see `dac model list --all`")
