"""Tables on a terminal: drawn where the rows fit, else each row as a short paragraph, so that no id is torn apart."""

import re
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

GAP, EDGE = 3, 2
"""What is drawn between two columns and at both sides."""
MOST_LINES = 3
"""What a cell may take of them."""
_LIST = re.compile(r"(?<=[a-z]),(?=[a-z])")
"""A comma between two words; none within a number."""


def draw(headings: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> None:
    """Prints rows under headings, or as paragraphs; `right` are the columns of numbers."""
    console = Console(highlight=False)
    texts = [[_LIST.sub(", ", cell) for cell in row] for row in rows]
    columns = list(zip(headings, *texts, strict=True))
    widths = [max(map(_longest_word, column)) for column in columns]
    spare = console.width - sum(widths) - GAP * (len(widths) - 1) - EDGE
    wanted = [max(map(len, column)) for column in columns]
    for index, most in enumerate(wanted):
        more = max(0, min(spare, most - widths[index]))
        widths[index], spare = widths[index] + more, spare - more
    if texts and (spare < 0 or any(most > MOST_LINES * width for most, width in zip(wanted, widths, strict=True))):
        for row in texts:
            console.print(_paragraph(headings, row, console.width), soft_wrap=True)
        return
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, heading in enumerate(headings):
        drawn.add_column(heading, justify="right" if index in right else "left", width=widths[index])
    for row in texts:
        drawn.add_row(*(Text(cell) for cell in row))
    console.print(drawn)


def _longest_word(cell: str) -> int:
    return max((len(word) for word in cell.split()), default=0)


def _paragraph(headings: Sequence[str], row: Sequence[str], width: int) -> Text:
    """The first cell, and under it what the others say, as many to a line as fit."""
    shown = Text(row[0] or "-", style="bold")
    room = 0
    for heading, cell in zip(headings[1:], row[1:], strict=True):
        if cell in ("", "-"):
            continue
        size = len(heading) + len(cell) + 2
        shown.append("  " if size < room else "\n  ", style="not bold")
        room = room - size - 1 if size < room else width - size - 1
        shown.append(f"{heading} ", style="not bold dim")
        shown.append(cell, style="not bold")
    return shown
