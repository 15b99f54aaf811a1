"""What the rows of the ledger and of reservations add up to, by counter, and what must hold of them at any time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from services.budget.ledger.rows import CHARGING
from tests.unit.budget.simulation.rows_in_memory import Server

RESOLUTIONS: dict[int, set[str]] = {1: {"commit"}, 2: {"release"}, 3: {"indeterminate"}}


@dataclass
class Accounts:
    """Sums by counter, as the rows write one: "<budget id>@<unix seconds>"."""

    committed: Counter[str] = field(default_factory=Counter)
    reserved: Counter[str] = field(default_factory=Counter)
    beyond: Counter[str] = field(default_factory=Counter)
    """Charged above what was held, and by corrections."""
    kinds: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """By reservation id: how many lines of which kind."""


def accounts(server: Server) -> Accounts:
    """All sums, from the rows alone."""
    found = Accounts()
    for key, row in server.tables["ledger"].items():
        found.kinds[key[1]][key[3]] += 1
        for place in row["counters"]:
            found.committed[place] += row["amount"] * (row["kind"] in CHARGING)
            found.beyond[place] += max(0, row["amount"]) * (row["kind"] in ("overrun", "adjust"))
    for row in server.tables["reservations"].values():
        for place in row["counters"]:
            found.reserved[place] += row["amount"] * (row["state"] == 0)
    return found


def check_rows(server: Server, highest: Mapping[str, int | None]) -> Accounts:
    """I1–I4. `highest`: by budget the highest hard limit it ever had, None = at some time there was none."""
    found = accounts(server)
    for key, counter in server.tables["counters"].items():
        place = f"{key[1]}@{int(key[2].timestamp())}"
        has = (counter["committed"], counter["reserved"])
        want = (found.committed[place], found.reserved[place])
        assert has == want, f"I2, I3: {place} has {has}, its rows {want}"
        assert min(has) >= 0, f"I1: {place} has {has}"
        most = highest[key[1]]
        assert most is None or sum(has) <= most + found.beyond[place], f"I1: {place} has {has} of {most}"
    for key, row in server.tables["reservations"].items():
        kinds = found.kinds[key[1]].keys() - {"overrun", "adjust"}
        assert kinds == RESOLUTIONS.get(row["state"], set()), f"I4: {key[1]} has {kinds}, state {row['state']}"
    return found
