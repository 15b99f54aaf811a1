"""Limits of another gateway on requests and tokens a minute, as they are to be set here."""

import dataclasses
from collections.abc import Iterable
from typing import Any

MOST = 10**12
"""More a minute is no limit."""


@dataclasses.dataclass(frozen=True)
class RateLimit:
    """None = unlimited."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None

    def values(self) -> dict[str, str]:
        """What is limited, as LimitService.SetRateLimit takes it."""
        found = dataclasses.asdict(self).items()
        return {name: str(value) for name, value in found if value is not None}

    def __bool__(self) -> bool:
        return bool(self.values())

    def __str__(self) -> str:
        words = {"requests_per_minute": "requests a minute", "tokens_per_minute": "tokens a minute"}
        return ", ".join(f"{value} {words.get(name, 'at once')}" for name, value in self.values().items())


def whole(value: object) -> int | None:
    """A number of requests or tokens; None when it is none."""
    if isinstance(value, bool):
        return None
    try:
        number = int(str(value))
    except ValueError:
        return None
    return number if 0 <= number <= MOST else None


def summed(values: Iterable[Any]) -> int | None:
    """What several deployments may take together; None when one of them is unlimited."""
    numbers = [whole(value) for value in values]
    known = [number for number in numbers if number is not None]
    return sum(known) if known and len(known) == len(numbers) else None
