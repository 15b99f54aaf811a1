"""The whole budget bench, quickly: every key is there, and what must hold holds."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.long
@pytest.mark.timeout(330)
def test_the_quick_profile_admits_what_fits_and_loses_nothing():
    command = [sys.executable, "-m", "bench.budget", "--json", "--profile", "quick", "--seconds", "2"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gen'}"}
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    found = json.loads(ran.stdout)
    assert found["race"]["admitted"] == found["race"]["expected"] == 50
    assert found["kill9"]["lost"] == found["kill9"]["double"] == 0
    # No speed is asked for: other work may share the machine. Row locks are the floor on any.
    hot = found["hot"]
    assert hot["stream_cycles_per_s"] > hot["naive_cycles_per_s"] > 0 and hot["unary_cycles_per_s"] > 0
    assert hot["p99_ms"] > 0 and found["inproc_cpu_ms"] > 0
