"""Reading files of the public sets: one that is no such file is named, with what is wrong with it."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of packed JSON lines. Ends the program when the file holds anything else."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as opened:
            for line in opened:
                if line.strip():
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise ValueError("a row is a JSON object")
                    yield row
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise SystemExit(f"{path}: not packed JSON lines as the public sets have them: {error}") from None
