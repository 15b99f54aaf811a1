"""`dac experiment`: a second policy beside the one in force, for a share of the requests."""

from typing import Annotated, Any

import typer

from mesh.cli.client import USAGE, Client, Failure, segment
from mesh.cli.output import AsJson, Url, command, enum_word, local_time, money, note, print_json, table
from mesh.ids import is_uuid

app = typer.Typer(help="Experiments with policies: list, create, show, stop, promote, delete.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(help="The experiment's id, or its name: the latest of that name.")]
Note = Annotated[str, typer.Option("--note", help="Why, for the audit's record.")]
HEADINGS = ("experiment", "name", "kind", "policy", "state", "verdict", "share", "requests a / b", "begun")
KINDS = ("ab", "shadow", "canary")


def register(parent: typer.Typer) -> None:
    """Adds the commands."""
    parent.add_typer(app, name="experiment")


def row(one: dict[str, Any]) -> tuple[object, ...]:
    """An experiment as a row."""
    arms = {arm["arm"]: arm for figures in (one.get("figures") or [])[-1:] for arm in figures["arms"]}
    requests = " / ".join(str(arms.get(arm, {}).get("requests") or 0) for arm in ("a", "b"))
    return (
        one.get("experiment_id"),
        one.get("name"),
        enum_word(one.get("kind"), "KIND_"),
        str(one.get("policy")) + (" (missing)" if one.get("policy_missing") else ""),
        enum_word(one.get("state"), "STATE_"),
        one.get("verdict"),
        f"{one.get('share_now') or 0:.0%}",
        requests,
        local_time(one.get("created_at")),
    )


@command(app, "list")
def list_experiments(url: Url = None, as_json: AsJson = False) -> None:
    """List experiments, the latest first.

    Example: dac experiment list
    """
    found = Client(url).pages("/v2/experiments", "experiments")
    if as_json:
        print_json({"experiments": found})
        return
    table(HEADINGS, [row(one) for one in found])


def steps_of(written: str) -> list[dict[str, Any]]:
    """Steps as SHARE:REQUESTS:SECONDS, with commas between them. Raises Failure."""
    steps = []
    for one in written.split(","):
        parts = one.strip().split(":")
        try:
            share = float(parts[0].removesuffix("%")) / (100 if parts[0].endswith("%") else 1)
            requests = int(parts[1]) if len(parts) > 1 else 200
            seconds = float(parts[2]) if len(parts) > 2 else 600.0
        except ValueError:
            raise Failure(f'--steps: "{one.strip()}" is no SHARE:REQUESTS:SECONDS, e.g. 5%:200:600', USAGE) from None
        steps.append({"share": share, "min_requests": str(requests), "min_s": seconds})
    return steps


@command(app, "create")
def create(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    policy: Annotated[str, typer.Option("--policy", help="The policy that is tried (dac policy list).")],
    kind: Annotated[str, typer.Option("--kind", help="ab, shadow or canary.")] = "ab",
    control: Annotated[str, typer.Option("--control", help="Only requests under this policy take part.")] = "",
    share: Annotated[float, typer.Option("--share", help="ab, shadow: the share of requests, 0 to 1.")] = 0.0,
    steps: Annotated[
        str, typer.Option("--steps", help="canary: SHARE:REQUESTS:SECONDS,…, e.g. 1%:200:600,25%:500:3600")
    ] = "",
    metric: Annotated[
        str, typer.Option("--metric", help="ab, shadow: quality, errors, fallbacks, latency, first_token, cost.")
    ] = "",
    guard: Annotated[
        list[str] | None,
        typer.Option("--guard", help="errors, fallbacks, latency_p95 or quality; may be said again; none = all."),
    ] = None,
    sticky_by: Annotated[str, typer.Option("--sticky-by", help="caller or request.")] = "",
    max_requests: Annotated[int, typer.Option("--max-requests", help="ab, shadow: when it ends; 0 = 20000.")] = 0,
    alpha: Annotated[float, typer.Option("--alpha", help="How probable a wrong verdict may be; 0 = 0.05.")] = 0.0,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Begin an experiment.

    Example: dac experiment create "cheaper answers" --policy thrifty --kind canary
    """
    if kind not in KINDS:
        raise Failure(f'--kind is "{kind}": say {", ".join(KINDS)}', USAGE)
    body: dict[str, Any] = {
        "name": name,
        "kind": f"KIND_{kind.upper()}",
        "policy": policy,
        "control": control,
        "share": share,
        "metric": metric,
        "guards": guard or [],
        "sticky_by": sticky_by,
        "max_requests": str(max_requests),
        "alpha": alpha,
        "steps": steps_of(steps) if steps else [],
    }
    answer = Client(url).call("POST", "/v2/experiments", body)
    if as_json:
        print_json(answer)
        return
    table(HEADINGS, [row(answer["experiment"])])


def _id_of(client: Client, given: str) -> str:
    """The id that is meant; what is neither an id nor a name goes on as it is, for the server to say so."""
    if is_uuid(given):
        return given
    listed = client.pages("/v2/experiments", "experiments")
    return next((str(one["experiment_id"]) for one in listed if one.get("name") == given), given)


@command(app, "show")
def show(experiment_id: Id, url: Url = None, as_json: AsJson = False) -> None:
    """Show what came of an experiment: both arms, and how they compare.

    Example: dac experiment show 01a1fccc-d17f-7000-8000-000000000001
    """
    client = Client(url)
    answer = client.call("GET", f"/v2/experiments/{segment(_id_of(client, experiment_id))}")
    if as_json:
        print_json(answer)
        return
    one = answer["experiment"]
    table(HEADINGS, [row(one)])
    note(_plan(one))
    for words in (one.get("reason"), *(one.get("warnings") or [])):
        if words:
            note(words)
    if one.get("kind") == "KIND_SHADOW":
        note(
            f"both chose the same model in {one.get('agreement') or 0:.1%} of the decisions; figures are expected ones"
        )
    for figures in one.get("figures") or []:
        print()
        arms = figures["arms"]
        heads = ("step", "arm", "requests", "errors", "fallbacks", "p95", "first token", "cost", "quality", "graded")
        table(heads, [_arm(figures.get("step") or 0, arm) for arm in arms], right=(2, 3, 4, 5, 6, 7, 8, 9))
        rows = [
            (
                found["metric"],
                f"{found.get('a') or 0:.6g}",
                f"{found.get('b') or 0:.6g}",
                f"{found.get('p_value') or 0:.2g}",
                f"{found.get('always_valid_p') or 0:.2g}",
                found["verdict"],
            )
            for found in figures.get("comparisons") or []
        ]
        table(("metric", "a", "b", "p", "always-valid p", "b is"), rows, right=(1, 2, 3, 4))


def _arm(step: int, arm: dict[str, Any]) -> tuple[object, ...]:
    return (
        step,
        arm["arm"],
        arm.get("requests") or 0,
        f"{arm.get('error_rate') or 0:.2%}",
        f"{arm.get('fallback_rate') or 0:.2%}",
        _measured(arm, "latency_p95_ms"),
        _measured(arm, "first_token_ms"),
        money(arm.get("cost_nano_usd") or 0),
        f"{arm.get('quality') or 0:.3f}" if int(arm.get("graded") or 0) else "-",
        arm.get("graded") or 0,
    )


def _measured(arm: dict[str, Any], name: str) -> str:
    return f"{arm[name]:.0f} ms" if arm.get(name) else "-"


def _plan(one: dict[str, Any]) -> str:
    """What was asked for, in a line."""
    if steps := one.get("steps"):
        said = ", then ".join(_step(step) for step in steps)
    else:
        said = f"{one.get('share') or 0:.0%} of the requests, at most {one.get('max_requests')}"
        said += f"; decided by {one.get('metric')}"
    guards = ", ".join(one.get("guards") or [])
    control = f" under {one['control']}" if one.get("control") else ""
    return f"{one.get('policy')}{control}: {said}; guards {guards}; sticky by {one.get('sticky_by')}"


def _step(step: dict[str, Any]) -> str:
    share = f"{step.get('share') or 0:.0%}"
    fewest, seconds = int(step.get("min_requests") or 0), float(step.get("min_s") or 0)
    return f"{share} for {fewest} requests and {seconds:.0f} s" if fewest or seconds else share


def _end(experiment_id: str, state: str, why: str, url: str | None, as_json: bool) -> None:
    client = Client(url)
    path = f"/v2/experiments/{segment(_id_of(client, experiment_id))}"
    answer = client.call("PATCH", path, {"state": state, "note": why})
    if as_json:
        print_json(answer)
    else:
        table(HEADINGS, [row(answer["experiment"])])


@command(app, "stop")
def stop(experiment_id: Id, why: Note = "", url: Url = None, as_json: AsJson = False) -> None:
    """Stop an experiment: every request goes by the policy in force again.

    Example: dac experiment stop 01a1fccc-d17f-7000-8000-000000000001
    """
    _end(experiment_id, "STATE_STOPPED", why, url, as_json)


@command(app, "promote")
def promote(experiment_id: Id, why: Note = "", url: Url = None, as_json: AsJson = False) -> None:
    """End an experiment in favour of the tried policy: every request goes by it.

    Example: dac experiment promote 01a1fccc-d17f-7000-8000-000000000001
    """
    _end(experiment_id, "STATE_PROMOTED", why, url, as_json)


@command(app, "delete")
def delete(experiment_id: Id, url: Url = None, as_json: AsJson = False) -> None:
    """Delete an experiment with its figures.

    Example: dac experiment delete 01a1fccc-d17f-7000-8000-000000000001
    """
    client = Client(url)
    answer = client.call("DELETE", f"/v2/experiments/{segment(_id_of(client, experiment_id))}")
    if as_json:
        print_json(answer)
    else:
        note(f"deleted {experiment_id}")
