"""Cells: what a batch of facts adds to every kind of row, with each request counted once in every kind."""

from __future__ import annotations

import datetime as dt
import enum
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from services.audit.analytics.facts import MEASURES, Fact, Tried, Who

NOBODY = Who(None, None, None, None)


class Grain(enum.Enum):
    """How long a cell is; its value is the table."""

    MINUTE = "rollup_minutes"
    HOUR = "rollup_hours"
    DAY = "rollup_days"


class Kind(enum.IntEnum):
    """Which dimensions a cell has."""

    TOTAL = 0
    WHAT = 1
    """Model, provider, intent."""
    WHO = 2
    """Team, project, user, key."""
    FULL = 3
    """All of these."""
    EVIDENCE = 4
    """Team, model, provider, intent, complexity: what recommendations compare."""
    TRIED = 5
    """Model and provider of every attempt."""
    TEAM = 6
    """Few rows for what is asked most: the team alone."""
    PROJECT = 7
    """The project alone."""


KINDS: Mapping[Grain, tuple[Kind, ...]] = {
    Grain.MINUTE: (Kind.TOTAL, Kind.WHAT, Kind.FULL),
    Grain.HOUR: (Kind.TOTAL, Kind.WHAT, Kind.WHO, Kind.FULL, Kind.TEAM, Kind.PROJECT),
    Grain.DAY: tuple(Kind),
}
LENGTHS: Mapping[Grain, dt.timedelta] = {
    Grain.MINUTE: dt.timedelta(minutes=1),
    Grain.HOUR: dt.timedelta(hours=1),
    Grain.DAY: dt.timedelta(days=1),
}


class Place(NamedTuple):
    """Which cell. The fields are columns, in order; the owner is the user, or the key of a caller without one."""

    org_id: str
    kind: int
    bucket: dt.datetime
    who: Who
    model: str
    provider: str
    intent: str
    complexity: int

    @property
    def owner(self) -> str | None:
        """Whose own figures these are."""
        return self.who.user or self.who.key

    @property
    def cell(self) -> bytes:
        """A digest of the values: the key's last part, 16 bytes."""
        return hashlib.blake2b(repr(self[3:]).encode(), digest_size=16).digest()


class Cell(NamedTuple):
    """What a batch adds to one row."""

    place: Place
    measures: list[int]
    clean_squared: int
    latency: list[int]
    first_token: list[int]


def floor(at: dt.datetime, grain: Grain) -> dt.datetime:
    """Where the step begins that holds `at` (UTC)."""
    if grain is Grain.DAY:
        return at.replace(hour=0, minute=0, second=0, microsecond=0)
    if grain is Grain.HOUR:
        return at.replace(minute=0, second=0, microsecond=0)
    return at.replace(second=0, microsecond=0)


def cells_of(facts: Sequence[Fact], grain: Grain) -> list[Cell]:
    """The cells that the facts fall into, summed."""
    found: list[Cell] = []
    if not facts:
        return found
    matrix = np.array([fact.measures for fact in facts], dtype=np.int64)
    buckets = [floor(fact.at, grain) for fact in facts]
    for kind in KINDS[grain]:
        if kind is Kind.TRIED:
            found += _tried(facts, buckets)
            continue
        places: dict[Place, int] = {}
        of = [places.setdefault(_place(fact, kind, at), len(places)) for fact, at in zip(facts, buckets, strict=True)]
        sums = np.zeros((len(places), len(MEASURES)), dtype=np.int64)
        np.add.at(sums, of, matrix)
        drawn = [Cell(place, row, 0, [], []) for place, row in zip(places, sums.tolist(), strict=True)]
        squares = [0] * len(drawn)
        for index, fact in zip(of, facts, strict=True):
            squares[index] += fact.clean_squared
            if fact.latency is not None:
                drawn[index].latency.append(fact.latency)
            if fact.first_token is not None:
                drawn[index].first_token.append(fact.first_token)
        # Only what is compared needs its spread.
        found += (
            [cell._replace(clean_squared=square) for cell, square in zip(drawn, squares, strict=True)]
            if kind is Kind.EVIDENCE
            else drawn
        )
    return found


def _place(fact: Fact, kind: Kind, bucket: dt.datetime) -> Place:
    has_what = kind in (Kind.WHAT, Kind.FULL, Kind.EVIDENCE)
    who = fact.who if kind in (Kind.WHO, Kind.FULL) else NOBODY
    if kind in (Kind.EVIDENCE, Kind.TEAM):
        who = NOBODY._replace(team=fact.who.team)
    elif kind is Kind.PROJECT:
        who = NOBODY._replace(project=fact.who.project)
    return Place(
        fact.org_id,
        int(kind),
        bucket,
        who,
        fact.model if has_what else "",
        fact.provider if has_what else "",
        fact.intent if has_what else "",
        fact.complexity if kind is Kind.EVIDENCE else 0,
    )


def _tried(facts: Iterable[Fact], buckets: Iterable[dt.datetime]) -> Iterator[Cell]:
    """Attempts by the model and provider that was asked, whoever answered in the end."""
    counts: dict[tuple[str, dt.datetime, Tried], int] = {}
    for fact, bucket in zip(facts, buckets, strict=True):
        for one in fact.tried:
            key = (fact.org_id, bucket, one)
            counts[key] = counts.get(key, 0) + 1
    joined: dict[Place, dict[str, int]] = {}
    for (org_id, bucket, one), count in counts.items():
        place = Place(org_id, int(Kind.TRIED), bucket, NOBODY, one.model, one.provider, "", 0)
        sums = joined.setdefault(place, {"attempts": 0, "failed_attempts": 0})
        sums["attempts"] += count
        sums["failed_attempts"] += count if one.failed else 0
    for place, sums in joined.items():
        yield Cell(place, [sums.get(name, 0) for name in MEASURES], 0, [], [])


def threads_of(facts: Iterable[Fact]) -> dict[tuple[str, str, dt.date, str], int]:
    """Turns by organisation, owner, day and thread."""
    turns: dict[tuple[str, str, dt.date, str], int] = {}
    for fact in facts:
        owner = fact.who.user or fact.who.key
        if fact.thread_id and owner:
            key = (fact.org_id, owner, fact.at.date(), fact.thread_id)
            turns[key] = turns.get(key, 0) + 1
    return turns
