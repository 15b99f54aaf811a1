"""What a provider can do wrong, from refusals to gzip bombs: the part of the fault campaign that is quick.

One `dac up` and one provider for all; the cases are in tests/fault_campaign/cases.py, and tests/long runs every one.
"""

from collections.abc import AsyncIterator

import pytest

from tests.fault_campaign import campaign, cases, checks

QUICK = [one for one in cases.CASES if one.quick]


@pytest.fixture(scope="module")
async def ran(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[campaign.Campaign]:
    """All quick cases, run at once."""
    yield await campaign.run(QUICK, tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("name", [one.id for one in QUICK])
async def test_a_fault_ends_in_time_with_the_right_status_and_charge(ran, name):
    checks.check(cases.BY_ID[name], ran.results[name], ran.origin)


async def test_nothing_is_left_over(ran):
    checks.check_all(ran)


def test_every_kind_of_fault_is_among_the_quick_ones():
    assert {one.play for one in QUICK} == {one.play for one in cases.CASES}
    assert {one.args.get("code") for one in QUICK} >= set(cases.CODES)
    assert 120 < len(QUICK) < len(cases.CASES) and len(cases.CASES) >= 400
