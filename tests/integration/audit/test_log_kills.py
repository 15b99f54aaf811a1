"""kill -9 of what stores and sequences: nothing acknowledged is lost, no number is missing, no log is forked."""

from __future__ import annotations

import pathlib

import pytest

from bench.audit import kills
from bench.audit.victim import BATCHES

OVERTAKEN = """
ALTER TABLE requests DISABLE TRIGGER requests_positions;
CREATE FUNCTION wait_until_overtaken() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = audit AS $$
DECLARE last bigint := (SELECT max(position) FROM stored);
BEGIN
  IF (SELECT count(*) FROM stored) = {longest} THEN
    FOR tries IN 1..1000 LOOP
      EXIT WHEN EXISTS (SELECT FROM log_entries WHERE kind = 1 AND position > last);
      PERFORM pg_sleep(0.005);
    END LOOP;
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER overtaken AFTER INSERT ON requests REFERENCING NEW TABLE AS stored
  FOR EACH STATEMENT EXECUTE FUNCTION wait_until_overtaken();
"""
"""No lock on positions, and what makes a rare order of commits the usual one: a longest batch commits when the log has
gone past its positions."""


@pytest.mark.parametrize("count", [2, pytest.param(60, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
async def test_kills_lose_nothing_and_fork_nothing(server: pathlib.Path, count: int) -> None:
    found = await kills.measure(count, postgres=server)
    assert found["said"] > 0
    assert (found["kills"], found["lost"], found["gaps"]) == (count, 0, 0)


async def test_kills_lose_nothing_where_payloads_are_sealed(server: pathlib.Path) -> None:
    found = await kills.measure(2, seals=True, postgres=server)
    assert found["said"] > 0 and found["sealed"]
    assert (found["kills"], found["lost"], found["gaps"]) == (2, 0, 0)


async def test_without_the_lock_on_positions_what_was_acknowledged_is_lost(server: pathlib.Path) -> None:
    """The guard is needed: rows that commit after later ones are passed over."""
    longest = max(BATCHES)
    found = await kills.measure(1, without=OVERTAKEN.format(longest=longest), batch=longest, postgres=server)
    assert found["lost"] > 0
