"""HTML from plain functions: every text is escaped here, unless it was built here. And how figures are written."""

from __future__ import annotations

import datetime as dt
import html
from collections.abc import Iterable
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from mesh.money import NANO_USD_PER_USD

_VOID = frozenset({"br", "hr", "img", "input", "link", "meta"})
_DRAWN = frozenset({"path", "rect", "circle"})
"""Drawings close themselves: an open one would hold those that follow."""


class Safe(str):
    """Markup that was built by `el`. Any other text is escaped."""

    __slots__ = ()


def text(*children: Any) -> Safe:
    """Children side by side: Safe as it is, None as nothing, lists one by one, everything else escaped."""
    parts: list[str] = []
    for child in children:
        if child is None or child is False:
            continue
        if isinstance(child, Safe):
            parts.append(child)
        elif isinstance(child, Iterable) and not isinstance(child, str | bytes):
            parts.append(text(*child))
        else:
            parts.append(html.escape(str(child).replace("\x00", "\ufffd"), quote=True))
    return Safe("".join(parts))


def el(tag: str, *children: Any, **attributes: Any) -> Safe:
    """An element. `class_`, `for_`, `data_x` and `aria_x` become class, for, data-x and aria-x; True = bare name."""
    opened = [tag]
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        written = name.rstrip("_").replace("_", "-")
        opened.append(written if value is True else f'{written}="{html.escape(str(value), quote=True)}"')
    head = f"<{' '.join(opened)}>"
    if tag in _DRAWN:
        return Safe(f"{head[:-1]}/>")
    return Safe(head) if tag in _VOID else Safe(f"{head}{text(*children)}</{tag}>")


def prose(message: str) -> Safe:
    """A sentence; what stands between `backticks` is code."""
    pieces = message.split("`")
    if len(pieces) % 2 == 0:
        return text(message)
    return text(el("code", piece) if index % 2 else piece for index, piece in enumerate(pieces))


def money(nano_usd: int) -> str:
    """Nano-USD as dollars, exact: two decimals or as many as it takes."""
    whole, rest = divmod(abs(nano_usd), NANO_USD_PER_USD)
    digits = f"{rest:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if nano_usd < 0 else ''}${whole:,}.{digits}"


def milliseconds(value: float) -> str:
    """A duration in the unit that suits it; "–" for none."""
    if value <= 0:
        return "–"
    if value >= 1000:
        return f"{value / 1000:.2f} s"
    return f"{value:.0f} ms" if value >= 10 else f"{value:.2f} ms"


def elapsed_ms(started: Timestamp, ended: Timestamp) -> float:
    """Milliseconds between two times; 0 when one is missing."""
    if not started.ToNanoseconds() or not ended.ToNanoseconds():
        return 0.0
    return (ended.ToNanoseconds() - started.ToNanoseconds()) / 1e6


def count(value: int) -> str:
    """A whole number with thousands apart."""
    return f"{value:,}"


def tokens(value: int) -> str:
    """A size in tokens, short: 128k, 1M."""
    if value >= 1_000_000:
        return f"{value / 1_000_000:.3g}M"
    return f"{value / 1000:.3g}k" if value >= 1000 else str(value)


def when(stamp: Timestamp, *, relative: bool = False) -> Safe:
    """A time: UTC as served, the reader's own zone once the script ran."""
    try:
        at = stamp.ToDatetime(dt.UTC)
    except (ValueError, OverflowError):
        return text("–")
    if not stamp.seconds:
        return text("–")
    return el(
        "time",
        f"{at:%Y-%m-%d %H:%M:%S} UTC",
        datetime=at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        data_relative=relative,
    )


def enum_word(name: str, prefix: str) -> str:
    """OUTCOME_CLIENT_GONE → "client gone"."""
    return name.removeprefix(prefix).replace("_", " ").lower()


def bar(parts: Iterable[tuple[str, float]], label: str, *, width: int = 100, height: int = 6) -> Safe:
    """A bar of shares 0–1, each with its class.

    `label` is for who cannot see it; empty when its figure stands beside it.
    """
    x, drawn = 0.0, []
    for kind, share in parts:
        size = max(0.0, min(share, 1.0 - x))
        if size > 0:
            drawn.append(el("rect", x=f"{x * width:.2f}", y=0, width=f"{size * width:.2f}", height=height, class_=kind))
        x += size
    return el(
        "svg",
        el("rect", width=width, height=height, class_="track"),
        *drawn,
        class_="bar",
        viewBox=f"0 0 {width} {height}",
        preserveAspectRatio="none",
        role="img" if label else None,
        aria_label=label or None,
        aria_hidden=None if label else "true",
    )
