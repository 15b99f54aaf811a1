"""From one master key to the next: what an earlier one sealed is sealed anew, a few secrets at a time.

Every step is one transaction over one organisation, so it may be broken off anywhere, begun again, and run beside
itself.
"""

import dataclasses
from collections.abc import Sequence
from typing import Protocol, TypeVar

from mesh.errors import invalid

Again = TypeVar("Again", contravariant=True)
"""How a store's secret is sealed anew."""


MOST, USUAL = 1000, 100
"""How many secrets a step that is asked for may seal anew, and does when nobody says."""


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """What a step did, and what there is left to do."""

    rotated: int
    left: int
    lost: int
    """Those of `left` that no master key at hand opens."""


class SealStore(Protocol[Again]):
    """Everything sealed, by where it stands: a table, and an organisation for those that belong to one."""

    async def stale(self, present: str) -> Sequence[tuple[str, str, int]]:
        """(table, organisation or "", how many) that another master key than `present` sealed."""

    async def reseal(self, table: str, org_id: str, present: str, limit: int, again: Again) -> tuple[int, int]:
        """Seals anew in one transaction; how many, and how many more were met that do not open."""


def step_limit(limit: int, *, check_only: bool) -> int:
    """How many secrets a step that is asked for seals anew; 0 = it only looks. Raises INVALID_REQUEST."""
    if not 0 <= limit <= MOST:
        raise invalid("limit", f"limit must be 0 to {MOST}, it is {limit}.")
    return 0 if check_only else limit or USUAL


async def rotate(store: SealStore[Again], present: str, limit: int, again: Again) -> Progress:
    """At most `limit` secrets sealed anew; 0 = only looked at. Raises MeshError."""
    rotated = left = lost = 0
    for table, org_id, stale in await store.stale(present):
        done, shut = await store.reseal(table, org_id, present, limit - rotated, again)
        rotated, left, lost = rotated + done, left + stale - done, lost + shut
    return Progress(rotated, max(0, left), lost)
