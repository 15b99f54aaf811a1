"""kill -9 of budget's processes and of PostgreSQL's postmaster under load: nothing acknowledged is lost or doubled."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import asyncpg
import pytest

from dac.budget.v1 import budget_pb2 as pb
from mesh.embedded import EmbeddedPostgres
from mesh.ids import uuid7
from mesh.migrate import bootstrap, migrate, role_of, with_login
from mesh.postgres import Database
from services.budget.config import BudgetConfig
from services.budget.server import build
from tests import prepared
from tests.integration.budget.load_until_killed import OPTIONS
from tests.integration.budget.test_money_flow import limit
from tests.integration.budget.world import USD, as_key, context_for

ROOT = pathlib.Path(__file__).resolve().parents[3]
FOUND = """SELECT r.request_id::text, r.reservation_id::text, r.state, r.cost, r.covered_output,
    count(l.*) FILTER (WHERE l.kind = 'commit'), count(DISTINCT l.kind) FILTER (WHERE l.kind <> 'overrun'),
    coalesce(sum(l.amount) FILTER (WHERE l.kind IN ('commit', 'indeterminate')), 0)::bigint
  FROM budget.reservations r LEFT JOIN budget.ledger l ON l.reservation_id = r.reservation_id GROUP BY 1, 2, 3, 4, 5"""


@dataclasses.dataclass
class Acknowledged:
    """What the callers were told, of all processes that ever were."""

    held: dict[str, str] = dataclasses.field(default_factory=dict)
    covered: dict[str, int] = dataclasses.field(default_factory=dict)
    charged: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    ready: int = 0

    def note(self, line: str) -> None:
        what, *words = line.split()
        if what == "held":
            assert self.held.setdefault(words[0], words[1]) == words[1]
        elif what == "extended":
            self.covered[words[0]] = int(words[1])
        elif what == "charged":
            self.charged[words[0]] = (int(words[1]), int(words[2]))
        else:
            self.ready += 1


class Installation:
    """PostgreSQL and two budget processes on it."""

    def __init__(self, root: pathlib.Path, seed: int) -> None:
        self.server: EmbeddedPostgres = prepared.server_in(root)
        self.server.start()
        self.org_id, self.key_id, self.dice = uuid7(), uuid7(), random.Random(seed)
        self.seed, self.told = seed, Acknowledged()
        self.processes: list[subprocess.Popen[str]] = []
        self.readers: list[threading.Thread] = []

    async def set_up(self) -> None:
        owner = await bootstrap(self.server.superuser_dsn, "owner")
        await migrate(owner, {"budget": ROOT / "services" / "budget" / "migrations"}, {"budget": "pw"})
        self.dsn = with_login(owner, role_of("budget"), "pw")
        budget = build(context_for(Database(self.dsn, "budget"), BudgetConfig(required_consumers=(), **OPTIONS)))
        await budget.start()
        await limit(budget, self.org_id, 10**6 * USD)
        await limit(budget, self.org_id, 10**6 * USD, key_id=self.key_id, window=pb.WINDOW_DAY)
        await budget.close()
        await budget._database.close()
        for _ in range(2):
            self.begin()

    def begin(self) -> None:
        """One more budget process."""
        arguments = [self.dsn, self.org_id, self.key_id, str(self.dice.random())]
        command = [sys.executable, "-m", "tests.integration.budget.load_until_killed", *arguments]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gen'}"}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment)
        reader = threading.Thread(target=self._read, args=(process,), daemon=True)
        reader.start()
        self.processes.append(process)
        self.readers.append(reader)

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.endswith("\n"):
                self.told.note(line)

    def await_more(self, count: int, timeout_s: float = 60) -> None:
        """Until that many more charges were acknowledged."""
        wanted, end = len(self.told.charged) + count, time.monotonic() + timeout_s
        while len(self.told.charged) < wanted:
            assert time.monotonic() < end, f"DAC_SEED={self.seed}: no charges for {timeout_s} s"
            assert all(process.poll() is None for process in self.processes), "a budget process ended by itself"
            time.sleep(0.02)

    def kill(self, victim: str) -> None:
        """kill -9; then it is started again."""
        self.await_more(self.dice.randrange(1, 60))
        time.sleep(self.dice.random() * 0.05)  # The random moment itself.
        if victim == "budget":
            process = self.processes.pop(self.dice.randrange(len(self.processes)))
            process.kill()
            process.wait()
            self.begin()
        else:
            pid = int((self.server.data / "postmaster.pid").read_text().splitlines()[0])
            os.kill(pid, signal.SIGKILL)
            assert self.server.process is not None
            self.server.process.wait(30)
            assert self.server.revive()

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        for reader in self.readers:
            reader.join(10)
        self.processes.clear()

    async def check(self) -> None:
        """Everything acknowledged is there, once; the rest is charged at its bound, and all of it adds up."""
        budget = build(context_for(Database(self.dsn, "budget"), BudgetConfig(required_consumers=(), **OPTIONS)))
        await budget.start()
        connection = await asyncpg.connect(self.server.superuser_dsn.replace("@/postgres?", "@/dac?"))
        try:
            await connection.execute("UPDATE budget.reservations SET expires_at = now() WHERE state = 0")
            while await budget.sweeper.sweep():
                pass
            rows = await connection.fetch(FOUND)
        finally:
            await connection.close()
        with as_key(self.org_id):
            verified = await budget.budget.VerifyLedger(pb.VerifyLedgerRequest(), None)
        await budget.close()
        await budget._database.close()
        assert (list(verified.differences), verified.open_reservations) == ([], 0)
        assert len({row[0] for row in rows}) == len(rows), "a request was held twice"
        self._check_rows({row[0]: row for row in rows})

    def _check_rows(self, found: dict[str, asyncpg.Record]) -> None:
        lost = self.told.held.keys() - found.keys()
        assert not lost, f"acknowledged reservations are lost: {lost}"
        for request_id, reservation_id in self.told.held.items():
            assert found[request_id][1] == reservation_id
        for request_id, covered in self.told.covered.items():
            assert found[request_id][4] >= covered, f"an acknowledged extension of {request_id} is lost"
        for request_id, (cost, attempts) in self.told.charged.items():
            _, _, state, stored, _, commits, _, charged = found[request_id]
            assert (state, stored, charged, commits) == (1, cost, cost, attempts), found[request_id]
        for row in found.values():
            assert row[2] in (1, 3) and row[6] == 1 and row[3] == row[7], f"ended not exactly once: {row}"


@pytest.fixture
def installation(tmp_path: pathlib.Path) -> Iterator[Installation]:
    made = Installation(tmp_path, int(os.environ.get("DAC_SEED") or random.SystemRandom().randrange(1 << 32)))
    yield made
    made.end()
    made.server.stop()


async def campaign(installation: Installation, kills: int) -> None:
    await installation.set_up()
    for number in range(1, kills + 1):
        installation.kill("postmaster" if number % 3 == 0 else "budget")
    installation.await_more(20)
    installation.end()
    await installation.check()
    told = installation.told
    print(f"{kills} kills: {len(told.held)} reservations and {len(told.charged)} charges acknowledged, all there once")


@pytest.mark.timeout(45)
async def test_three_kills_lose_and_double_nothing(installation: Installation) -> None:
    await campaign(installation, 3)
    # And the check can fail: a charge of which the ledger knows nothing, and one that it has with another amount.
    told, (request_id, (cost, attempts)) = installation.told, next(iter(installation.told.charged.items()))
    for planted in ({request_id: (cost + 1, attempts)}, {request_id: (cost, attempts + 1)}):
        with pytest.raises(AssertionError):
            installation.told = dataclasses.replace(told, charged={**told.charged, **planted})
            await installation.check()
    with pytest.raises(AssertionError, match="are lost"):
        installation.told = dataclasses.replace(told, held={**told.held, uuid7(): uuid7()})
        await installation.check()


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_sixty_kills_lose_and_double_nothing(installation: Installation) -> None:
    await campaign(installation, int(os.environ.get("DAC_KILLS", "60")))
