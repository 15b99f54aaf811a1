"""`dac price`: what models cost, and the operator's own prices."""

from typing import Annotated, Any

import typer

from mesh.cli.client import USAGE, Client, Failure
from mesh.cli.output import AsJson, Url, command, local_time, money, note, print_json, table

app = typer.Typer(help="What models cost: list prices, set your own.", no_args_is_help=True)

Model = Annotated[str, typer.Option("--model", help="Only this model's, by its id.")]
HEADINGS = ("model", "provider", "bucket", "price", "source", "version", "from")


def register(parent: typer.Typer) -> None:
    """Adds the commands."""
    parent.add_typer(app, name="price")


def rows(one: dict[str, Any]) -> list[tuple[object, ...]]:
    """A price as rows, one for each bucket."""
    from mesh.model_prices import split_bucket

    version = one.get("price_version") or "0"
    told = (one.get("source"), version if version != "0" else "to come", local_time(one.get("valid_from")))
    place = (one.get("model"), one.get("provider"))
    buckets = one.get("nano_usd_per_mtok") or {}
    if one.get("withdrawn") or not buckets:
        return [(*place, "-", "unknown" if one.get("withdrawn") else "free", *told)]
    made: list[tuple[object, ...]] = []
    for name, nano in buckets.items():
        found = split_bucket(name)
        bucket = found.bucket if found is not None else ""
        if bucket == "audio_second":
            amount = f"{money(int(nano) * 3600 // 1_000_000)} an hour"
        else:
            amount = money(nano) + (" a request" if bucket == "request" else " per million")
        made.append((*place, name, amount, *told))
    return made


@command(app, "list")
def list_prices(
    model: Model = "",
    provider: Annotated[str, typer.Option("--provider", help="Only this provider's.")] = "",
    history: Annotated[bool, typer.Option("--history", help="Every version that ever counted.")] = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """List what models cost, and what they will.

    Example: dac price list --model openai/gpt-4o-mini
    """
    query = {"model": model, "provider": provider, **({"history": "true"} if history else {})}
    found = Client(url).pages("/v1/prices", "prices", {name: value for name, value in query.items() if value})
    if as_json:
        print_json({"prices": found})
        return
    table(HEADINGS, [row for one in found for row in rows(one)], right=(3, 5))
    if not found:
        note("no price is known: dac price set MODEL --input 0.15 --output 0.60")


def body_of(model: str, flags: dict[str, str], price: str) -> dict[str, Any]:
    """What the flags say a model costs, as SetPrice takes it. Raises Failure."""
    import yaml

    from mesh.config import ConfigError
    from mesh.model_prices import parse_price

    said: Any = {f"{name}_usd_per_mtok": usd for name, usd in flags.items() if usd}
    if price:
        if said:
            raise Failure("--price says all of it: leave --input, --output and --cached out", USAGE)
        try:
            said = yaml.safe_load(price)
        except yaml.YAMLError:
            raise Failure("--price is no YAML: write it as under `price:` in the configuration file", USAGE) from None
        if isinstance(said, list):
            raise Failure("--price takes one price: say each of a list by itself, with --from", USAGE)
    try:
        entry = parse_price(said, model)
    except ConfigError as error:
        raise Failure(error.message, USAGE) from None
    if entry is None:
        raise Failure("--price is empty", USAGE)
    if entry.free:
        return {"free": True}
    return {"nano_usd_per_mtok": {name: str(nano) for name, nano in entry.nano_usd_per_mtok.items()}}


@command(app, "set")
def set_price(
    model: Annotated[str, typer.Argument(help="The model's id, e.g. openai/gpt-4o-mini.")],
    provider: Annotated[str, typer.Option("--provider", help="Where it is served, when that is several places.")] = "",
    input_usd: Annotated[str, typer.Option("--input", help="Dollars per million tokens of the prompt.")] = "",
    output_usd: Annotated[str, typer.Option("--output", help="Dollars per million tokens of the answer.")] = "",
    cached_usd: Annotated[str, typer.Option("--cached", help="Dollars per million tokens read from a cache.")] = "",
    price: Annotated[str, typer.Option("--price", help="All of it, as under `price:` in the configuration.")] = "",
    free: Annotated[bool, typer.Option("--free", help="It costs nothing.")] = False,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Take your price back, and those to come.")] = False,
    begins: Annotated[str, typer.Option("--from", help="From this day on, e.g. 2027-01-01 (midnight UTC).")] = "",
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Set your own price of a model; only the operator may. A price in the configuration file counts over it.

    Example: dac price set openai/gpt-4o-mini --input 0.15 --output 0.60 --from 2027-01-01
    """
    from mesh.config import ConfigError
    from mesh.model_prices import parse_moment

    flags = {"input": input_usd, "output": output_usd, "input_cached": cached_usd}
    if free + withdraw + bool(price or any(flags.values())) != 1:
        raise Failure("say what it costs (--input and --output, or --price), --free, or --withdraw: one of them", USAGE)
    body: dict[str, Any] = {"free": True} if free else {"withdraw": True} if withdraw else body_of(model, flags, price)
    if begins:
        try:
            body["valid_from"] = parse_moment(begins, "--from").isoformat().replace("+00:00", "Z")
        except ConfigError as error:
            raise Failure(error.message, USAGE) from None
    answer = Client(url).call("PUT", "/v1/prices", {"model": model, "provider": provider, **body})
    if as_json:
        print_json(answer)
        return
    made = answer.get("price")
    if made:
        table(HEADINGS, rows(made), right=(3, 5))
    else:
        note(f"the price of {model} is unknown now")
