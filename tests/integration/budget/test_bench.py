"""The budget bench, shortened: a race over three replicas, and kills of budget and of its database under load."""

from __future__ import annotations

import asyncio
import json
import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]


async def test_exactly_what_fits_is_admitted_and_kills_lose_nothing(tmp_path: pathlib.Path) -> None:
    command = ["-m", "bench.budget", "--json", "--profile", "quick", "--only", "race", "kill9"]
    command += ["--repeats", "2", "--kills", "2", "--scratch", str(tmp_path)]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *command),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gen'}"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, progress = await process.communicate()
    assert process.returncode == 0, progress.decode()[-3000:]
    found = json.loads(said)
    race, kill9 = found["race"], found["kill9"]
    assert race["admitted"] == race["expected"] == 50 and race["repeats"] == 2
    assert race["overspend_nano_usd"] == 0
    assert (kill9["kills"], kill9["lost"], kill9["double"], kill9["differences"]) == (2, 0, 0, [])
    assert kill9["acknowledged"] > 50
