"""Guards: what tells two questions apart although they look alike. Rules only; the first that fires is named."""

from __future__ import annotations


def fires(a: str, b: str) -> str | None:
    """The name of the guard that tells `a` and `b` apart, or None: they may share an answer if they are alike."""
    return None if a == b else "unchecked"
