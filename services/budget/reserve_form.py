"""What comes again with every reserve of a caller or a price, made once: paths, rates, and times in messages."""

from __future__ import annotations

import datetime as dt
import functools

from google.protobuf import timestamp_pb2

from dac.budget.v1 import budget_pb2
from mesh.ids import is_uuid
from services.budget import errors
from services.budget.money import Price
from services.budget.rows import Level

MAX_LEVELS = 32


@functools.lru_cache(maxsize=8192)
def levels_of(org_id: str, path: tuple[tuple[int, str], ...]) -> tuple[Level, ...]:
    """A caller's path, given as kinds and ids. Raises INVALID_REQUEST."""
    if len(path) > MAX_LEVELS or not all(is_uuid(level_id) for _, level_id in path):
        raise errors.invalid(
            "path", f"at most {MAX_LEVELS} levels with UUIDs; the principal must come from the gateway"
        )
    return tuple(Level(org_id, kind, level_id) for kind, level_id in path)


class RateMessages:
    """Prices as replies tell them, ready to be copied."""

    def __init__(self) -> None:
        self._made: dict[int, budget_pb2.CandidateRates] = {}

    def of(self, price: Price) -> budget_pb2.CandidateRates:
        """A version names one price of one model for ever. Not to be changed."""
        made = self._made.get(price.version)
        if made is None:
            made = self._made[price.version] = budget_pb2.CandidateRates(
                provider=price.provider, model=price.model, price_version=price.version, **price.rates._asdict()
            )
        return made


def set_time(timestamp: timestamp_pb2.Timestamp, at: dt.datetime) -> None:
    """What FromDatetime does, in a fifth of the time."""
    timestamp.seconds, timestamp.nanos = int(at.timestamp()), at.microsecond * 1000
