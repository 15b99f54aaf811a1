"""`dac audit witness`: remembers on another machine how far logs have come, and cosigns what goes on from there."""

import pathlib
import time
from typing import Annotated

import typer

from mesh.cli.client import USAGE, Failure
from mesh.cli.output import command


def register(app: typer.Typer) -> None:
    """Adds the command."""
    command(app, "witness")(witness)


def witness(
    data: Annotated[
        pathlib.Path, typer.Option("--data", help="A folder of its own: the key, and a file for each log.")
    ],
    log: Annotated[
        list[str], typer.Option("--log", help="A log's verifier key, as `dac audit verify` prints it; repeat it.")
    ],
    listen: Annotated[str, typer.Option("--listen", help="HOST:PORT.")] = "127.0.0.1:8099",
    name: Annotated[str, typer.Option("--name", help="The witness's name, e.g. witness.example.org/w1.")] = "",
) -> None:
    """Cosign the checkpoints of a DAC's audit log, on a machine that its administrators cannot write to.

    Example: dac audit witness --data witness --log 'dac/audit/8320a51977d8c38c+7642df0c+AdJ…' --listen 0.0.0.0:8099
    """
    from mesh.tlog.notes import NoteError, VerifierKey
    from mesh.tlog.witness import Witness, WitnessError, open_cosigner
    from mesh.tlog.witness_server import serve

    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise Failure(f"--listen: {listen!r} is not HOST:PORT", USAGE)
    try:
        keys = [VerifierKey.parse(one) for one in log]
    except NoteError as error:
        raise Failure(f"--log: {error}", USAGE) from None
    try:
        cosigner = open_cosigner(data, name)
        made = Witness(data, keys, cosigner, time.time)
    except NoteError as error:
        raise Failure(f"--name: {error}", USAGE) from None
    except (WitnessError, OSError) as error:
        raise Failure(str(error)) from None
    print(f"witness {cosigner.verifier}", flush=True)
    serve(made, host.strip("[]"), int(port))
