"""Fixtures of the long campaigns: the same `dac up` and upstream as the edge tests have."""

import os
import pathlib
import random
import signal
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.edge.conftest import Dac, UpstreamProcess, fresh_upstream, make_dac, upstream_process
from tests.long.traffic import SLOW

__all__ = ["fresh_upstream", "upstream_process"]


@pytest.fixture
def kills() -> int:
    """How many rounds a campaign has."""
    return int(os.environ.get("DAC_KILLS", "20"))


@pytest.fixture
def seed() -> int:
    """What decides victims and moments; DAC_SEED repeats a campaign."""
    chosen = int(os.environ.get("DAC_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"seed: DAC_SEED={chosen}")
    return chosen


@pytest.fixture
def start_dac(tmp_path: pathlib.Path, upstream_process: UpstreamProcess) -> Iterator[Callable[..., Dac]]:
    """Factory: a started `dac up` with a budget on its organisation and a slow second model."""
    made: list[Dac] = []

    def start(*arguments: str) -> Dac:
        upstream_process.script("ok", model=SLOW.partition("/")[2], token_delay_s=0.008)
        more = "budget: {sweep_interval_s: 0.2}"
        dac = make_dac(tmp_path, upstream_process, *arguments, more=more)  # type: ignore[arg-type]
        made.append(dac)
        dac.start()
        budget = {"level": {"kind": "KIND_ORG"}, "window": "WINDOW_MONTH", "limit_nano_usd": str(10**15)}
        httpx.put(f"{dac.url}/v1/budgets", headers=dac.headers, json=budget, timeout=20).raise_for_status()
        return dac

    yield start
    for dac in made:
        dac.stop(signal.SIGKILL)
