"""Where a command gets a provider's secret from: never from its arguments, which every process may read."""

import getpass
import os
import pathlib
import sys

from mesh.cli.client import USAGE, Failure, why_unread


def read_key(provider: str, variable: str | None, file: pathlib.Path | None = None) -> str:
    """The provider's key: from a file, a variable, a pipe, or asked for without showing it. Raises Failure."""
    if variable and file:
        raise Failure("--key-env and --key-file exclude each other", USAGE)
    if file:
        try:
            key = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Failure(f"{file} cannot be read: {why_unread(error)}", USAGE) from None
    elif variable:
        key = os.environ.get(variable, "").strip()
        if not key:
            raise Failure(f"{variable} is not set or empty: export it, or leave --key-env out to be asked", USAGE)
        return key
    elif sys.stdin.isatty():
        key = getpass.getpass(f"API key of {provider} (not shown; empty = none): ", stream=sys.stderr).strip()
    else:
        key = sys.stdin.read().strip()
    if any(char.isspace() for char in key):
        raise Failure("an API key is one word: the input has spaces or several lines", USAGE)
    return key
