"""How commands print: one JSON value, or tables for people; notes on standard error."""

import datetime
import functools
import inspect
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import typer

from mesh.cli.client import INTERRUPTED, REFUSED, Failure
from mesh.money import NANO_USD_PER_USD

AsJson = Annotated[bool, typer.Option("--json", help="One JSON value on standard output.")]
Url = Annotated[str | None, typer.Option("--url", help="Where DAC is (also DAC_BASE_URL).", show_default=False)]


def is_fancy(stream: Any = None) -> bool:
    """Whether to draw and dim: on a terminal that did not ask for plain text."""
    stream = sys.stdout if stream is None else stream
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def print_json(value: object) -> None:
    """One JSON value on one line."""
    print(json.dumps(value, ensure_ascii=False), flush=True)


def note(text: str) -> None:
    """A remark, on standard error."""
    print(text, file=sys.stderr, flush=True)


def dim(text: str, stream: Any = None) -> str:
    """`text`, grey where that shows."""
    return f"\x1b[2m{text}\x1b[0m" if is_fancy(stream) else text


def clean(text: object) -> str:
    """Text from elsewhere without what could steer a terminal."""
    return "".join(char if char.isprintable() or char in "\n\t" else "�" for char in str(text))


def table(headings: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[int] = ()) -> None:
    """Rows under headings; `right` are the columns of numbers."""
    texts = [[clean(cell).replace("\n", " ") for cell in row] for row in rows]
    if is_fancy():
        from mesh.cli.drawing import draw

        draw(headings, texts, right=right)
        return
    print("\n".join(aligned(headings, texts, right=right)))


def aligned(headings: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> list[str]:
    """The lines of a plain table: columns two spaces apart."""
    everything = [[heading.upper() for heading in headings], *rows]
    widths = [max(len(row[index]) for row in everything) for index in range(len(headings))]
    return [
        "  ".join(
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in everything
    ]


def money(nano_usd: object) -> str:
    """Nano-USD (a number or its text) as dollars, exact, with two decimals or as many as it takes."""
    nano = int(str(nano_usd or 0))
    whole, rest = divmod(abs(nano), NANO_USD_PER_USD)
    digits = f"{rest:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if nano < 0 else ''}${whole:,}.{digits}"


def dollars(amount: object) -> str:
    """Dollars as an answer's header or event writes them."""
    from decimal import Decimal

    return money(int(Decimal(str(amount)) * NANO_USD_PER_USD))


def counted(number: int, noun: str) -> str:
    """ "1 entry", "1,200 entries"."""
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + ("es" if noun.endswith("s") else "s")
    return f"{number:,} {noun if number == 1 else plural}"


def moment(text: str | None) -> datetime.datetime | None:
    """An RFC 3339 time; None when there is none."""
    return datetime.datetime.fromisoformat(text) if text else None


def local_time(text: str | None, *, now: datetime.datetime | None = None) -> str:
    """A time as the clock here shows it, and how long ago (or ahead) that is; "-" when there is none."""
    at = moment(text)
    if at is None:
        return "-"
    here = at.astimezone()
    now = now or datetime.datetime.now(datetime.UTC)
    return f"{here:%Y-%m-%d %H:%M:%S} ({relative((now - at).total_seconds())})"


def relative(seconds: float) -> str:
    """ "3 min ago", "in 2 h"."""
    size = abs(seconds)
    for limit, unit_s, unit in ((90, 1, "s"), (5400, 60, "min"), (129_600, 3600, "h"), (float("inf"), 86_400, "d")):
        if size < limit:
            amount = f"{round(size / unit_s)} {unit}"
            break
    return f"{amount} ago" if seconds >= 0 else f"in {amount}"


def milliseconds(value: float | None) -> str:
    """A duration in the unit that suits it; "-" for none."""
    if not value:
        return "-"
    if value >= 1000:
        return f"{value / 1000:.2f} s"
    return f"{value:.0f} ms" if value >= 10 else f"{value:.2f} ms"


def elapsed_ms(started: str | None, ended: str | None) -> float:
    """Milliseconds between two times; 0 when one is missing."""
    first, last = moment(started), moment(ended)
    return (last - first).total_seconds() * 1000 if first and last else 0.0


def enum_word(value: object, prefix: str) -> str:
    """OUTCOME_CLIENT_GONE → "client gone"."""
    return str(value or "").removeprefix(prefix).replace("_", " ").lower()


def get(mapping: Mapping[str, Any], *path: str) -> Any:
    """A value deep in JSON; None when a step is missing."""
    value: Any = mapping
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def confirm(question: str) -> bool:
    """Asks on a terminal; without one the answer is no."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def command(app: typer.Typer, name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Registers a command whose failures become a sentence on standard error and an exit code."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> None:
            from mesh.errors import MeshError

            try:
                function(*args, **kwargs)
            except Failure as failure:
                note(f"error: {clean(failure.message)}")
                raise typer.Exit(failure.exit_code) from None
            except MeshError as error:
                note(f"error: {clean(error.message)}")
                raise typer.Exit(REFUSED) from None
            except KeyboardInterrupt:
                raise typer.Exit(INTERRUPTED) from None
            except BrokenPipeError:
                # Python would complain once more when it flushes at exit.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise typer.Exit(0) from None

        app.command(name, help=inspect.getdoc(function))(guarded)
        return function

    return register


def needed(features: dict[str, Any]) -> list[str]:
    """What a request needs of who answers."""
    words = {"tools": "needs_tools", "images": "needs_images", "JSON": "needs_json", "a long context": "long_context"}
    return [word for word, name in words.items() if features.get(name)]
