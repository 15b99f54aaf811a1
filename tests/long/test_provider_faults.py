"""The whole fault campaign: every provider fault on every wire, streamed and not, at every position."""

import pytest

from tests.fault_campaign import campaign, cases, checks


@pytest.fixture(scope="module")
async def ran(tmp_path_factory):
    """Every case, run at once."""
    return await campaign.run(cases.CASES, tmp_path_factory.mktemp("faults"))


@pytest.mark.long
@pytest.mark.parametrize("name", [one.id for one in cases.CASES])
async def test_a_fault_ends_in_time_with_the_right_status_and_charge(ran, name):
    checks.check(cases.BY_ID[name], ran.results[name], ran.origin)


@pytest.mark.long
async def test_nothing_is_left_over(ran):
    checks.check_all(ran)
