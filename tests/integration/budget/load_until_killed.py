"""A budget service and its callers in a process that is to be killed.

`python -m tests.integration.budget.load_until_killed DSN ORG KEY SEED`. Each line it writes is something that was
acknowledged; a pipe keeps lines when their writer dies.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from dac.budget.v1 import budget_pb2 as pb
from dac.type.v1 import record_pb2
from dac.type.v1.principal_pb2 import Level, Principal
from dac.type.v1.usage_pb2 import Usage
from mesh.call import Call, serving
from mesh.errors import MeshError, Reason
from mesh.ids import uuid7
from mesh.postgres import Database
from services.budget.config import BudgetConfig
from services.budget.server import BudgetService, build
from tests.integration.budget.world import context_for

CALLERS = 12
TRIES = 40
OPTIONS: dict[str, Any] = {"reservation_mode": "balanced", "default_output_tokens": 50, "sweep_interval_s": 3600.0}


def told(*words: object) -> None:
    """One acknowledged thing; one write, so that a kill never leaves half a line of it."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


class Caller:
    """Requests one after the other, until the process is killed."""

    def __init__(self, budget: BudgetService, principal: Principal, dice: random.Random) -> None:
        self._budget, self._principal, self._dice = budget.budget, principal, dice

    async def _ask(self, call: Callable[[Any, None], Awaitable[Any]], request: Any) -> Any:
        for _ in range(TRIES):
            try:
                with serving(Call(principal=self._principal)):
                    return await call(request, None)
            except MeshError as refusal:
                if refusal.reason is not Reason.UNAVAILABLE:
                    raise
                await asyncio.sleep(0.05)
        return None

    async def request(self) -> None:
        """Reserve, extend, and commit; some are never ended."""
        dice, request_id = self._dice, uuid7()
        ask = pb.ReserveRequest(
            request_id=request_id, body_hash=b"h" * 32, input_tokens=10, input_tokens_max=20, stream=True
        )
        ask.candidates.add(provider="test", model="test/metered")
        held = await self._ask(self._budget.Reserve, ask)
        if held is None:
            return
        told("held", request_id, held.reservation_id)
        if dice.random() < 0.3:
            more = pb.ExtendRequest(
                org_id=self._principal.org_id,
                request_id=request_id,
                reservation_id=held.reservation_id,
                reservation_secret=held.reservation_secret,
                provider="test",
                model="test/metered",
                output_tokens=80,
            )
            answer = await self._ask(self._budget.Extend, more)
            if answer is not None:
                told("extended", request_id, answer.covered_output_tokens)
        if dice.random() < 0.05:
            return
        record = record_pb2.RequestRecord(org_id=self._principal.org_id, request_id=request_id)
        attempts = dice.choice([1, 1, 2])
        for _ in range(attempts):
            usage = Usage(input_tokens=10, output_tokens=dice.randrange(40))
            record.attempts.add(attempt_id=uuid7(), provider="test", model="test/metered", usage=usage)
        ids = {"reservation_id": held.reservation_id, "reservation_secret": held.reservation_secret}
        ended = await self._ask(self._budget.Commit, pb.CommitRequest(record=record, **ids))
        if ended is not None:
            told("charged", request_id, ended.cost_nano_usd, attempts)

    async def live(self) -> None:
        """Until the end."""
        while True:
            await self.request()


async def started(dsn: str) -> BudgetService:
    """A service; begun again while its database is just being killed, as whatever runs it would."""
    while True:
        budget = build(context_for(Database(dsn, "budget"), BudgetConfig(required_consumers=(), **OPTIONS)))
        try:
            await budget.start()
            return budget
        except MeshError as error:
            if error.reason is not Reason.UNAVAILABLE:
                raise
            await asyncio.sleep(0.1)


async def main(dsn: str, org_id: str, key_id: str, seed: str) -> None:
    """Starts the service and its callers."""
    budget = await started(dsn)
    principal = Principal(kind=Principal.KIND_USER_KEY, org_id=org_id, key_id=key_id, scopes=["chat"])
    principal.path.extend([Level(kind=Level.KIND_ORG, id=org_id), Level(kind=Level.KIND_KEY, id=key_id)])
    told("ready")
    await asyncio.gather(*(Caller(budget, principal, random.Random(f"{seed}/{n}")).live() for n in range(CALLERS)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
