"""kill -9 of who drops old leaves, at each step: the log verifies as the kill left it, and the next one goes on."""

from __future__ import annotations

import asyncio
import subprocess
import sys

from mesh.tlog.packing import WINDOW
from tests.conftest import REPOSITORY
from tests.integration.audit.dropped_world import ORGS, Dropped
from tests.integration.audit.log_world import request

MOST_STEPS = 40


def begun() -> subprocess.Popen[str]:
    """The process whose children kill themselves."""
    command = [sys.executable, "-m", "tests.integration.audit.drop_victim"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)


async def test_a_kill_at_any_step_leaves_all_or_nothing(ready: Dropped) -> None:
    victims = begun()
    assert victims.stdin is not None and victims.stdout is not None
    kept, before = await ready.kept_now(), await ready.store.all_seqs()
    starts = []
    try:
        victims.stdin.write(ready.made.dsn("audit") + "\n")
        for step in range(1, MOST_STEPS):
            victims.stdin.write(f"{step}\n")
            victims.stdin.flush()
            said = (await asyncio.to_thread(victims.stdout.readline)).strip()
            checked = await ready.verify(kept)
            assert (checked.findings, said in ("killed", "dropped")) == ([], True), said
            starts.append(checked.start)
            assert checked.start in (0, WINDOW)
            if checked.start:
                break
    finally:
        victims.stdin.close()
        victims.kill()
        victims.wait()
        victims.stdout.close()
    # Killed within the transaction, too: after the leaves were deleted, and after the leaf was appended.
    assert said == "killed" and len(starts) >= 5 and starts[-1] == WINDOW and not any(starts[:-1])

    ready.leader = ready.sequencer(heads_every_s=1e-6)
    await ready.leader.lead()
    ready.dropper = ready.dropping()
    assert await ready.drop() == 0, "what is dropped is dropped once"
    await ready.store_all([request(ORGS[1])])
    assert (await ready.store.all_seqs())[ORGS[1]] == before[ORGS[1]] + 1
    assert (await ready.verify(kept)).findings == []
