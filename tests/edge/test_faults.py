"""The fault bench in its fast profile: provider faults at a real `dac up`, as `python -m bench.faults` runs them."""

import json
import os
import subprocess
import sys

from bench.systems import ROOT

SLOW = {"S15"}
"""Ten seconds by itself: tests/long has it."""


def rows(only: str = "") -> dict[str, dict[str, str]]:
    """The bench's rows by id."""
    command = [sys.executable, "-m", "bench.faults", "--json", "--profile", "fast", "-f", only]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, env=os.environ)
    assert done.returncode in (0, 1) and done.stdout, done.stderr
    found = {row["id"]: row for row in json.loads(done.stdout)}
    assert done.returncode == int(any(row["result"] == "fail" for row in found.values()))
    return found


def not_passed(found: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """Rows below what DAC does today."""
    return {name: row for name, row in found.items() if row["result"] != "pass"}


def test_the_fast_scenarios_pass():
    wanted = {f"S{number:02}" for number in range(1, 17)} - SLOW
    found = rows(",".join(sorted(wanted)))
    assert set(found) == wanted and not_passed(found) == {}
