"""The `dac` command: a client of a running DAC, and the launcher. Importing it loads no service."""

import sys
from typing import Annotated

import typer

from mesh.cli import (
    analytics,
    audit,
    backup,
    budget,
    catalog,
    chat,
    configuration,
    conversations,
    cost,
    discover,
    doctor,
    envoy,
    experiment,
    explain,
    importing,
    key,
    limit,
    logs,
    memory,
    policy,
    price,
    provider,
    redact,
    route,
    tree,
    usage,
    validate,
)
from mesh.cli.run import register

ABOUT = """DAC: one assistant in front of many models.

Start it with `dac up`, then ask it something: dac chat "Hello"

The other commands talk to the DAC at DAC_BASE_URL (http://127.0.0.1:8000),
with the key in DAC_API_KEY or, on the same machine, as its operator.
Answers go to standard output (--json: one JSON value), notes to standard error.

Exit codes: 0 done; 1 refused or failed; 2 wrong usage or configuration;
3 DAC does not answer; 4 no key or a wrong one; 130 interrupted.
"""

app = typer.Typer(
    name="dac",
    help=ABOUT,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"dac {version('dac')}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


_top.__doc__ = ABOUT
register(app)
for _part in (chat, route, redact, explain, validate, logs, doctor, backup):
    _part.register(app)
for _part in (
    key,
    tree,
    provider,
    catalog,
    discover,
    budget,
    limit,
    policy,
    conversations,
    memory,
    experiment,
    price,
    usage,
    analytics,
    cost,
    audit,
    configuration,
    envoy,
    importing,
):
    _part.register(app)


def main() -> None:
    """Runs the command line. Ctrl-C ends it with 130, a closed pipe quietly."""
    try:
        app(prog_name="dac")
    except KeyboardInterrupt:
        sys.exit(130)
