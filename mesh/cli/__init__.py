"""The `dac` command: a client of a running DAC, and the launcher. Importing it loads no service and no command."""

import functools
import importlib
import sys
from typing import Annotated

import typer

ABOUT = """DAC: one assistant in front of many models.

Start it with `dac up`, then ask it something: dac chat "Hello"

The other commands talk to the DAC at DAC_BASE_URL (http://127.0.0.1:8000),
with the key in DAC_API_KEY or, on the same machine, as its operator.
Answers go to standard output (--json: one JSON value), notes to standard error.

Exit codes: 0 done; 1 refused or failed; 2 wrong usage or configuration;
3 DAC does not answer; 4 no key or a wrong one; 130 interrupted.
"""

PARTS = (
    ("run", ("up", "serve", "migrate", "status")),
    ("chat", ("chat",)),
    ("route", ("route", "breaker")),
    ("redact", ("redact",)),
    ("explain", ("explain",)),
    ("validate", ("validate",)),
    ("logs", ("logs",)),
    ("doctor", ("doctor",)),
    ("backup", ("backup", "restore")),
    ("key", ("key",)),
    ("tree", ("team", "project", "user")),
    ("provider", ("provider", "model", "models")),
    ("catalog", ("model", "models")),
    ("discover", ("model", "models")),
    ("entries", ("model", "models")),
    ("budget", ("budget",)),
    ("limit", ("limit",)),
    ("policy", ("policy",)),
    ("conversations", ("conversations",)),
    ("memory", ("memory",)),
    ("experiment", ("experiment",)),
    ("price", ("price",)),
    ("usage", ("usage",)),
    ("analytics", ("analytics", "recommendations")),
    ("cost", ("cost",)),
    ("audit", ("audit",)),
    ("configuration", ("config",)),
    ("envoy", ("envoy",)),
    ("importing", ("import",)),
)
"""(module of this package, the commands that need it), in the order of the help."""


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"dac {version('dac')}")
        raise typer.Exit


def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


_top.__doc__ = ABOUT


@functools.cache
def application(only: str = "") -> typer.Typer:
    """The command line: whole, or what the command `only` needs: to read all of it costs more than most commands do."""
    app = typer.Typer(
        name="dac",
        help=ABOUT,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_top)
    for module, commands in PARTS:
        if not only or only in commands:
            importlib.import_module(f"{__name__}.{module}").register(app)
    return app


def main() -> None:
    """Runs the command line. Ctrl-C ends it with 130, a closed pipe quietly."""
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    known = any(asked in commands for _, commands in PARTS)
    try:
        application(asked if known else "")(prog_name="dac")
    except KeyboardInterrupt:
        sys.exit(130)
