"""kill -9 of who erases and prunes: what is missing is declared at every moment, and what is declared goes."""

from __future__ import annotations

import pathlib

import pytest

from bench.audit import retention_kills

REMOVES_AT_ONCE = """DO $$ BEGIN EXECUTE replace(
  pg_get_functiondef('remove_declared(uuid,uuid)'::regprocedure), 'RETURN ''unlogged''', 'NULL'); END $$"""


@pytest.mark.parametrize("count", [12, pytest.param(150, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
async def test_kills_leave_nothing_undeclared_missing_and_nothing_declared(server: pathlib.Path, count: int) -> None:
    found = await retention_kills.measure(count, postgres=server)
    wrong = {name: found[name] for name in retention_kills.FAULTS}
    assert wrong == dict.fromkeys(wrong, 0)
    assert found["kills"] == count and found["redacted"] >= found["erased"] > 0 and found["held"] > 0
    assert found["halfway"] > 0, "no kill came between a declaration and its carrying out"


async def test_what_goes_before_the_log_declares_it_is_missing(server: pathlib.Path) -> None:
    """The guard is needed: removed as soon as it is decided, a log lacks what no entry of it declares."""
    found = await retention_kills.measure(5, as_erased=True, most_lag_s=1.0, without=REMOVES_AT_ONCE, postgres=server)
    assert found["faults"] > 0
