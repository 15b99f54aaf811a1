"""CSV (RFC 4180) that spreadsheets cannot be made to run."""

import csv
import io
from collections.abc import Iterable, Sequence

CONTENT_TYPE = "text/csv; charset=utf-8; header=present"
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a spreadsheet takes a cell for a formula by."""


def defused(cell: str) -> str:
    """A text that no spreadsheet runs: one that begins like a formula gets an apostrophe in front."""
    return f"'{cell}" if cell.startswith(FORMULA) else cell


def csv_lines(rows: Iterable[Sequence[str]]) -> str:
    """Rows as text; a number is written as it is, so texts of others are given through `defused`."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue()
